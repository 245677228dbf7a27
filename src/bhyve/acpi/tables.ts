/**
 * The fixed ACPI tables, laid out below 1 MiB: RSDP, RSDT, XSDT, MADT, FADT, HPET, MCFG, FACS, DSDT.
 * Implements: ACPI 6.4 5.2 (table formats); PCI Firmware 3.2 4.1.2 MCFG; IA-PC HPET 1.0a 3.2.4; bhyve-map 2.2.
 * Runs on: main event loop. Not modelled: SRAT, TPM2, SPCR.
 */
import { VmError } from '../../base/errors.ts';
import {
  ACPI_BASE,
  ACPI_DISABLE,
  ACPI_ENABLE,
  ACPI_END,
  ECAM,
  HPET_BASE,
  IOAPIC_BASE,
  LAPIC_BASE,
  PORT,
  RESET_VALUE,
  SCI_IRQ,
} from '../layout.ts';
import { ByteWriter, checksum } from './bytes.ts';

const OEM_ID = 'BHYVE ';
const HEADER_BYTES = 36;
const CREATOR = 'TSHV';

export interface AcpiInput {
  readonly cpus: number;
  readonly hpetCapabilities: number;
  readonly dsdt: Uint8Array;
}

export interface AcpiTables {
  readonly rsdpGpa: number;
  /** Everything from the RSDP on, contiguous. */
  readonly gpa: number;
  readonly bytes: Uint8Array;
  /** Where each table begins. */
  readonly places: ReadonlyMap<string, number>;
}

/** A system description table: header, body, length and checksum (5.2.6). */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = new ByteWriter()
    .text(signature, 4)
    .u32(HEADER_BYTES + body.length)
    .u8(revision, 0)
    .text(OEM_ID, 6, 0x20)
    .text(`BV${signature === 'APIC' ? 'MADT' : signature}`, 8, 0x20)
    .u32(1)
    .text(CREATOR, 4)
    .u32(1)
    .bytes(body)
    .finish();
  bytes[9] = checksum(bytes);
  return bytes;
}

/** Generic Address Structure of an I/O port (5.2.3.2). */
function ioAddress(writer: ByteWriter, port: number, widthBits: number, accessSize: number): void {
  writer.u8(port === 0 ? 0 : 1, widthBits, 0, accessSize).u64(port);
}

/** 5.2.12: one LAPIC per vCPU (id = index), the IOAPIC, the two overrides of a PC, NMI on LINT1 of all. */
function madt(cpus: number): Uint8Array {
  const body = new ByteWriter().u32(LAPIC_BASE).u32(1); // PCAT_COMPAT: there is a pair of PICs
  for (let cpu = 0; cpu < cpus; cpu++) body.u8(0, 8, cpu, cpu).u32(1);
  body.u8(1, 12, 0, 0).u32(IOAPIC_BASE).u32(0);
  body.u8(2, 10, 0, 0).u32(2).u16(0); // IRQ 0 on input 2, edge, high as the bus says
  body.u8(2, 10, 0, SCI_IRQ).u32(SCI_IRQ).u16(0x0f); // level, active low
  body.u8(4, 6, 0xff).u16(0x05).u8(1); // edge, active high
  return table('APIC', 1, body.finish());
}

/** 5.2.9, revision 5.1. */
function fadt(facsGpa: number, dsdtGpa: number): Uint8Array {
  const WBINVD = 1 << 0,
    C1_SUPPORTED = 1 << 2,
    SLEEP_BUTTON_NONE = 1 << 5,
    TIMER_32 = 1 << 8,
    RESET_REGISTER = 1 << 10,
    HEADLESS = 1 << 12,
    APIC_PHYSICAL = 1 << 19;
  // Unlike bhyve the flags say that there is an 8042: Linux does not probe it otherwise.
  const NO_VGA = 1 << 2,
    NO_ASPM = 1 << 4,
    LEGACY_DEVICES = 1 << 0,
    HAS_8042 = 1 << 1;
  const body = new ByteWriter()
    .u32(facsGpa)
    .u32(dsdtGpa)
    .u8(1, 0)
    .u16(SCI_IRQ)
    .u32(PORT.SMI_COMMAND)
    .u8(ACPI_ENABLE, ACPI_DISABLE, 0, 0)
    .u32(PORT.PM1_EVENT)
    .u32(0)
    .u32(PORT.PM1_CONTROL)
    .u32(0)
    .u32(0)
    .u32(PORT.PM_TIMER)
    .u32(PORT.GPE0)
    .u32(0)
    .u8(4, 2, 0, 4, 2, 0, 0, 0) // lengths of PM1 event, PM1 control, PM2, timer, GPE0, GPE1; GPE1 base; no _CST
    .u16(0xfff)
    .u16(0xfff) // no C2, no C3
    .u16(0)
    .u16(0)
    .u8(0, 0, 0, 0, 0x32) // flush, duty cycle, alarms; the century is CMOS byte 32h
    .u16(NO_VGA | NO_ASPM | LEGACY_DEVICES | HAS_8042)
    .u8(0)
    .u32(WBINVD | C1_SUPPORTED | SLEEP_BUTTON_NONE | TIMER_32 | RESET_REGISTER | HEADLESS | APIC_PHYSICAL);
  ioAddress(body, PORT.RESET_CONTROL, 8, 1);
  body.u8(RESET_VALUE).u16(0).u8(1); // ARM boot flags, minor version
  body.u64(0).u64(dsdtGpa); // the FACS is found by its 32-bit address; then the other one has to be 0
  ioAddress(body, PORT.PM1_EVENT, 32, 2);
  ioAddress(body, 0, 0, 0);
  ioAddress(body, PORT.PM1_CONTROL, 16, 2);
  ioAddress(body, 0, 0, 0);
  ioAddress(body, 0, 0, 0);
  ioAddress(body, PORT.PM_TIMER, 32, 3);
  ioAddress(body, PORT.GPE0, 16, 1);
  ioAddress(body, 0, 0, 0);
  ioAddress(body, 0, 0, 0); // sleep control and status: not hardware-reduced
  ioAddress(body, 0, 0, 0);
  return table('FACP', 5, body.finish());
}

function hpetTable(capabilities: number): Uint8Array {
  const body = new ByteWriter().u32(capabilities).u8(0, 0, 0, 0).u64(HPET_BASE).u8(0).u16(0).u8(1); // page protection: 4 KiB
  return table('HPET', 1, body.finish());
}

function mcfg(): Uint8Array {
  return table('MCFG', 1, new ByteWriter().zeroes(8).u64(ECAM.start).u16(0).u8(0, 0xff).u32(0).finish());
}

/** 5.2.10: no header, no checksum; 64 bytes, aligned to 64. */
function facs(): Uint8Array {
  return new ByteWriter().text('FACS', 4).u32(64).u32(0).u32(0).u32(0).u32(0).u64(0).u8(2).zeroes(31).finish();
}

/**
 * All tables at their addresses.
 * @throws VmError ENOSPC when they would leave the area (too many vCPUs or PCI pins).
 */
export function acpiTables(input: AcpiInput): AcpiTables {
  const places = new Map<string, number>();
  const parts: { readonly gpa: number; readonly bytes: Uint8Array }[] = [];
  const put = (name: string, gpa: number, bytes: Uint8Array): number => {
    places.set(name, gpa);
    parts.push({ gpa, bytes });
    return gpa;
  };
  const align = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment;

  const madtGpa = ACPI_BASE + 0x100;
  const madtBytes = madt(input.cpus);
  const fadtGpa = madtGpa + align(madtBytes.length, 0x100);
  const hpetGpa = fadtGpa + 0x140,
    mcfgGpa = hpetGpa + 0x40,
    facsGpa = mcfgGpa + 0x40,
    dsdtGpa = facsGpa + 0x40;
  const rsdtGpa = ACPI_BASE + 0x40,
    xsdtGpa = ACPI_BASE + 0x80;
  const pointers = [madtGpa, fadtGpa, hpetGpa, mcfgGpa];

  const rsdp = new ByteWriter()
    .text('RSD PTR ', 8)
    .u8(0)
    .text(OEM_ID, 6, 0x20)
    .u8(2)
    .u32(rsdtGpa)
    .u32(36)
    .u64(xsdtGpa)
    .u8(0)
    .zeroes(3)
    .finish();
  rsdp[8] = checksum(rsdp.subarray(0, 20));
  rsdp[32] = checksum(rsdp);
  put('RSDP', ACPI_BASE, rsdp);
  put('RSDT', rsdtGpa, table('RSDT', 1, pointers.reduce((body, gpa) => body.u32(gpa), new ByteWriter()).finish()));
  put('XSDT', xsdtGpa, table('XSDT', 1, pointers.reduce((body, gpa) => body.u64(gpa), new ByteWriter()).finish()));
  put('APIC', madtGpa, madtBytes);
  put('FACP', fadtGpa, fadt(facsGpa, dsdtGpa));
  put('HPET', hpetGpa, hpetTable(input.hpetCapabilities));
  put('MCFG', mcfgGpa, mcfg());
  put('FACS', facsGpa, facs());
  put('DSDT', dsdtGpa, table('DSDT', 2, input.dsdt));

  const end = dsdtGpa + HEADER_BYTES + input.dsdt.length;
  if (end > ACPI_END)
    throw new VmError(
      'ENOSPC',
      `ACPI tables for ${input.cpus} vCPUs take ${end - ACPI_BASE} bytes: expected at most ${ACPI_END - ACPI_BASE}`,
    );
  const bytes = new Uint8Array(end - ACPI_BASE);
  for (const part of parts) bytes.set(part.bytes, part.gpa - ACPI_BASE);
  return { rsdpGpa: ACPI_BASE, gpa: ACPI_BASE, bytes, places };
}
