/**
 * SMBIOS tables: what the machine says of itself.
 * Implements: DMTF DSP0134 2.6 (entry point 5.2.1; types 0, 1, 2, 3, 4, 16, 17, 19, 32, 127); bhyve-map 2.2.
 * Runs on: main event loop.
 */
import { VmError } from '../../base/errors.ts';
import { HIGHMEM_BASE, KIB, MIB, SMBIOS_BASE, SMBIOS_END } from '../layout.ts';
import { ByteWriter, checksum } from './bytes.ts';

export interface SmbiosInput {
  /** Configuration variables: `bios.vendor`, `system.sku`, ... */
  readonly get: (name: string) => string | undefined;
  /** 8-4-4-4-12 hexadecimal digits. */
  readonly uuid: string;
  readonly sockets: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
  readonly lowmemBytes: number;
  readonly highmemBytes: number;
}

const ENTRY_BYTES = 31;
const MAX_STRING_CHARS = 64;

/** One structure: formatted part, then its strings. */
class Structure {
  readonly #body: ByteWriter;
  readonly #strings: string[] = [];

  constructor(type: number, handle: number) {
    this.#body = new ByteWriter().u8(type, 0).u16(handle);
  }

  get write(): ByteWriter {
    return this.#body;
  }

  /** Write the number of a string; empty strings have number 0. */
  string(value: string): this {
    const clean = value.slice(0, MAX_STRING_CHARS).replaceAll(/[^\x20-\x7e]/g, '?');
    this.#body.u8(clean === '' ? 0 : this.#strings.push(clean));
    return this;
  }

  finish(): Uint8Array {
    this.#body.patch(1, this.#body.length);
    const strings = this.#strings.length === 0 ? '\0' : this.#strings.map((value) => `${value}\0`).join('');
    return this.#body.text(`${strings}\0`, strings.length + 1).finish();
  }
}

/** A UUID's first three fields are little-endian in SMBIOS 2.6 (7.2.1). */
function uuidBytes(uuid: string): number[] {
  const digits = uuid.replaceAll('-', '');
  if (!/^[0-9a-fA-F]{32}$/.test(digits)) throw new VmError('EINVAL', `-U ${uuid}: expected 8-4-4-4-12 hexadecimal digits`);
  const bytes = Array.from({ length: 16 }, (_unused, index) => Number.parseInt(digits.slice(index * 2, index * 2 + 2), 16));
  return [...bytes.slice(0, 4).reverse(), ...bytes.slice(4, 6).reverse(), ...bytes.slice(6, 8).reverse(), ...bytes.slice(8)];
}

/** @returns entry point and structures, to be written at SMBIOS_BASE. @throws VmError ENOSPC when they do not fit. */
export function smbiosTables(input: SmbiosInput): Uint8Array {
  const get = (name: string, standard: string): string => input.get(name) ?? standard;
  const structures: Uint8Array[] = [];
  const add = (structure: Structure): void => {
    structures.push(structure.finish());
  };

  const bios = new Structure(0, 0);
  bios.string(get('bios.vendor', 'BHYVE')).string(get('bios.version', '14.0'));
  bios.write.u16(0xf000);
  bios.string(get('bios.release_date', '10/17/2021'));
  // Characteristics: ISA (4) and PCI (7) are supported; extension bytes: ACPI, virtual machine.
  bios.write
    .u8(0)
    .u64((1 << 4) | (1 << 7))
    .u8(0x01, 0x10)
    .u8(0, 0, 0xff, 0xff);
  add(bios);

  const system = new Structure(1, 0x100);
  system
    .string(get('system.manufacturer', 'FreeBSD'))
    .string(get('system.product_name', 'BHYVE'))
    .string(get('system.version', '1.0'))
    .string(get('system.serial_number', 'None'));
  system.write.u8(...uuidBytes(input.uuid), 6); // woken by the power switch
  system.string(get('system.sku', 'None')).string(get('system.family_name', 'Virtual Machine'));
  add(system);

  const board = new Structure(2, 0x200);
  board
    .string(get('board.manufacturer', 'FreeBSD'))
    .string(get('board.product_name', 'BHYVE'))
    .string(get('board.version', '1.0'))
    .string(get('board.serial_number', 'None'))
    .string(get('board.asset_tag', 'None'));
  board.write.u8(0x01); // hosting board
  board.string(get('board.location', 'None'));
  board.write.u16(0x300).u8(0x0a, 0); // motherboard
  add(board);

  const chassis = new Structure(3, 0x300);
  chassis.string(get('chassis.manufacturer', 'FreeBSD'));
  chassis.write.u8(0x02); // type unknown
  chassis.string(get('chassis.version', '1.0')).string(get('chassis.serial_number', 'None')).string(get('chassis.asset_tag', 'None'));
  chassis.write.u8(3, 3, 3, 2).u32(0).u8(0, 0, 0, 0); // states safe, security unknown
  chassis.string(get('chassis.sku', 'None'));
  add(chassis);

  for (let socket = 0; socket < input.sockets; socket++) {
    const cpu = new Structure(4, 0x400 + socket);
    cpu.string(`CPU #${socket}`);
    cpu.write.u8(3, 2); // central processor, family unknown
    cpu.string('');
    cpu.write.zeroes(8);
    cpu.string('');
    cpu.write.u8(0).u16(0).u16(0).u16(0).u8(0x41, 6).u16(0xffff).u16(0xffff).u16(0xffff); // populated, enabled; no cache handles
    cpu.string('').string('').string('');
    const threads = input.coresPerSocket * input.threadsPerCore;
    cpu.write
      .u8(Math.min(input.coresPerSocket, 255), Math.min(input.coresPerSocket, 255), Math.min(threads, 255))
      .u16(0x04 | (input.coresPerSocket > 1 ? 0x08 : 0))
      .u16(2);
    add(cpu);
  }

  const totalBytes = input.lowmemBytes + input.highmemBytes;
  const array = new Structure(16, 0x1000);
  const totalKib = totalBytes / KIB;
  array.write
    .u8(3, 3, 3)
    .u32(totalKib < 0x8000_0000 ? totalKib : 0x8000_0000)
    .u16(0xfffe)
    .u16(1)
    .u64(totalKib < 0x8000_0000 ? 0 : totalBytes);
  add(array);

  const device = new Structure(17, 0x1100);
  const totalMib = Math.floor(totalBytes / MIB);
  device.write
    .u16(0x1000)
    .u16(0xfffe)
    .u16(64)
    .u16(64)
    .u16(totalMib < 0x7fff ? totalMib : 0x7fff)
    .u8(2, 0);
  device.string('').string('');
  device.write.u8(2).u16(0x04).u16(0);
  device.string('').string('').string('').string('');
  device.write
    .u8(0)
    .u32(totalMib < 0x7fff ? 0 : totalMib)
    .u16(0);
  add(device);

  const mapped = (handle: number, start: number, sizeBytes: number): void => {
    const structure = new Structure(19, handle);
    // KiB numbers; where they do not fit 32 bits, all ones and the extended byte addresses.
    const last = start + sizeBytes - 1;
    const fits = last / KIB < 0xffff_ffff;
    structure.write
      .u32(fits ? start / KIB : 0xffff_ffff)
      .u32(fits ? Math.floor(last / KIB) : 0xffff_ffff)
      .u16(0x1000)
      .u8(1)
      .u64(fits ? 0 : start)
      .u64(fits ? 0 : last);
    add(structure);
  };
  mapped(0x1300, 0, input.lowmemBytes);
  if (input.highmemBytes > 0) mapped(0x1301, HIGHMEM_BASE, input.highmemBytes);

  const boot = new Structure(32, 0x2000);
  boot.write.zeroes(7);
  add(boot);
  add(new Structure(127, 0x7f00));

  const tableAt = SMBIOS_BASE + Math.ceil(ENTRY_BYTES / 16) * 16;
  const tableBytes = structures.reduce((sum, bytes) => sum + bytes.length, 0);
  if (tableAt + tableBytes > SMBIOS_END)
    throw new VmError(
      'ENOSPC',
      `SMBIOS tables for ${input.sockets} sockets take ${tableBytes} bytes: expected at most ${SMBIOS_END - tableAt}`,
    );
  const largest = structures.reduce((most, bytes) => Math.max(most, bytes.length), 0);
  const intermediate = new ByteWriter().text('_DMI_', 5).u8(0).u16(tableBytes).u32(tableAt).u16(structures.length).u8(0x26).finish();
  intermediate[5] = checksum(intermediate);
  const entry = new ByteWriter().text('_SM_', 4).u8(0, ENTRY_BYTES, 2, 6).u16(largest).u8(0).zeroes(5).bytes(intermediate).finish();
  entry[4] = checksum(entry);

  const bytes = new Uint8Array(tableAt - SMBIOS_BASE + tableBytes);
  bytes.set(entry);
  let at = tableAt - SMBIOS_BASE;
  for (const structure of structures) {
    bytes.set(structure, at);
    at += structure.length;
  }
  return bytes;
}
