/**
 * The ACPI tables as firmware takes them over fw_cfg: two blobs with offsets in place of addresses, and a script that links them.
 * Implements: QEMU hw/acpi/bios-linker-loader.c as read by OVMF and SeaBIOS (128-byte commands); bhyve-map 2.2.
 * Runs on: main event loop.
 */
import { ByteWriter } from './bytes.ts';
import type { AcpiTables } from './tables.ts';

export const RSDP_FILE = 'etc/acpi/rsdp',
  TABLES_FILE = 'etc/acpi/tables',
  LOADER_FILE = 'etc/table-loader';

const COMMAND_BYTES = 128,
  NAME_BYTES = 56;
const ALLOCATE = 1,
  ADD_POINTER = 2,
  ADD_CHECKSUM = 3;
const ZONE_HIGH = 1,
  ZONE_FSEG = 2;
const RSDP_BYTES = 36,
  HEADER_BYTES = 36,
  CHECKSUM_AT = 9;
const TABLES_ALIGNMENT = 64; // the FACS's

/** Fields of the FADT that hold addresses: firmware control, DSDT, and the DSDT's 64-bit form (ACPI 6.4 table 5.9). */
const FADT_POINTERS = [
  { offset: 36, sizeBytes: 4 },
  { offset: 40, sizeBytes: 4 },
  { offset: 140, sizeBytes: 8 },
] as const;

export function tableLoaderFiles(tables: AcpiTables): { readonly name: string; readonly bytes: Uint8Array }[] {
  const rsdp = tables.bytes.slice(0, RSDP_BYTES);
  const tablesGpa = tables.places.get('RSDT') ?? tables.gpa; // the first behind the RSDP
  const blob = tables.bytes.slice(tablesGpa - tables.gpa);
  const script = new ByteWriter();
  const command = (number: number, write: (body: ByteWriter) => void): void => {
    const body = new ByteWriter().u32(number);
    write(body);
    script.bytes(body.zeroes(COMMAND_BYTES - body.length).finish());
  };
  const offsetOf = (signature: string): number => (tables.places.get(signature) ?? tablesGpa) - tablesGpa;
  const lengthOf = (signature: string): number => new DataView(blob.buffer).getUint32(offsetOf(signature) + 4, true);
  /** Turn the address at `offset` of a blob into an offset in the tables, for the firmware to add the blob's address to. */
  const pointer = (file: string, bytes: Uint8Array, offset: number, sizeBytes: 4 | 8): void => {
    const view = new DataView(bytes.buffer);
    view.setUint32(offset, view.getUint32(offset, true) - tablesGpa, true);
    command(ADD_POINTER, (body) => body.text(file, NAME_BYTES).text(TABLES_FILE, NAME_BYTES).u32(offset).u8(sizeBytes));
  };
  const sum = (file: string, bytes: Uint8Array, at: number, start: number, lengthBytes: number): void => {
    bytes[at] = 0;
    command(ADD_CHECKSUM, (body) => body.text(file, NAME_BYTES).u32(at).u32(start).u32(lengthBytes));
  };

  command(ALLOCATE, (body) => body.text(RSDP_FILE, NAME_BYTES).u32(16).u8(ZONE_FSEG));
  command(ALLOCATE, (body) => body.text(TABLES_FILE, NAME_BYTES).u32(TABLES_ALIGNMENT).u8(ZONE_HIGH));
  for (const field of FADT_POINTERS) pointer(TABLES_FILE, blob, offsetOf('FACP') + field.offset, field.sizeBytes);
  for (const [signature, sizeBytes] of [
    ['RSDT', 4],
    ['XSDT', 8],
  ] as const) {
    for (let at = HEADER_BYTES; at < lengthOf(signature); at += sizeBytes) pointer(TABLES_FILE, blob, offsetOf(signature) + at, sizeBytes);
  }
  for (const signature of ['FACP', 'RSDT', 'XSDT'])
    sum(TABLES_FILE, blob, offsetOf(signature) + CHECKSUM_AT, offsetOf(signature), lengthOf(signature));
  pointer(RSDP_FILE, rsdp, 16, 4);
  pointer(RSDP_FILE, rsdp, 24, 8);
  rsdp[32] = 0;
  sum(RSDP_FILE, rsdp, 8, 0, 20);
  sum(RSDP_FILE, rsdp, 32, 0, RSDP_BYTES);
  return [
    { name: RSDP_FILE, bytes: rsdp },
    { name: TABLES_FILE, bytes: blob },
    { name: LOADER_FILE, bytes: script.finish() },
  ];
}
