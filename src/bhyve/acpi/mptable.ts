/**
 * MP table: processors, buses, IOAPIC and interrupt routing for guests without ACPI.
 * Implements: Intel MultiProcessor Specification 1.4, chapter 4; bhyve-map 2.2. Runs on: main event loop.
 */
import { VmError } from '../../base/errors.ts';
import { IOAPIC_BASE, LAPIC_BASE, MPTABLE_BASE, SCI_IRQ, SMBIOS_BASE } from '../layout.ts';
import { ByteWriter, checksum } from './bytes.ts';

export interface MptablePin {
  readonly bus: number;
  readonly slot: number;
  readonly pin: number;
  readonly ioapicPin: number;
}

const POINTER_BYTES = 16;
const LAPIC_VERSION = 0x10,
  IOAPIC_VERSION = 0x11,
  IOAPIC_ID = 0;
const SIGNATURE = (6 << 8) | (26 << 4) | 5,
  FEATURES = 0xbfeb_fbff;
const BUS_PCI = 0,
  BUS_ISA = 1;
const INT = 0,
  NMI = 1,
  EXT_INT = 3;
const CONFORMS = 0,
  LEVEL_LOW = 0x0f;
const ISA_PINS = 16;

/**
 * Pointer and configuration table, to be written at MPTABLE_BASE.
 * @throws VmError EINVAL with PCI buses other than 0 (the table numbers them differently), ENOSPC when it does not fit.
 */
export function mpTable(cpus: number, intx: readonly MptablePin[], buses: readonly number[]): Uint8Array {
  if (buses.some((bus) => bus !== 0))
    throw new VmError(
      'EINVAL',
      'MPtable is incompatible with multiple PCI hierarchies: expected -Y (x86.mptable=false) with PCI buses other than 0',
    );
  const entries = new ByteWriter();
  let count = 0;
  const entry = (): ByteWriter => {
    count++;
    return entries;
  };
  for (let cpu = 0; cpu < cpus; cpu++)
    entry()
      .u8(0, cpu, LAPIC_VERSION, cpu === 0 ? 3 : 1)
      .u32(SIGNATURE)
      .u32(FEATURES)
      .zeroes(8);
  entry().u8(1, BUS_PCI).text('PCI', 6, 0x20);
  entry().u8(1, BUS_ISA).text('ISA', 6, 0x20);
  entry().u8(2, IOAPIC_ID, IOAPIC_VERSION, 1).u32(IOAPIC_BASE);
  // Pin 0 is the PICs' output; the timer, IRQ 0, is on pin 2, where the cascade would be.
  for (let pin = 0; pin < ISA_PINS; pin++) {
    const isSci = pin === SCI_IRQ;
    entry()
      .u8(3, pin === 0 ? EXT_INT : INT)
      .u16(isSci ? LEVEL_LOW : CONFORMS)
      .u8(BUS_ISA, pin === 2 ? 0 : pin, IOAPIC_ID, pin);
  }
  for (const pin of intx)
    entry()
      .u8(3, INT)
      .u16(LEVEL_LOW)
      .u8(BUS_PCI, (pin.slot << 2) | (pin.pin - 1), IOAPIC_ID, pin.ioapicPin);
  entry().u8(4, EXT_INT).u16(CONFORMS).u8(BUS_ISA, 0, 0xff, 0);
  entry().u8(4, NMI).u16(CONFORMS).u8(BUS_ISA, 0, 0xff, 1);

  const body = entries.finish();
  const table = new ByteWriter()
    .text('PCMP', 4)
    .u16(44 + body.length)
    .u8(4, 0)
    .text('BHyVe   ', 8)
    .text('Hypervisor  ', 12)
    .u32(0)
    .u16(0)
    .u16(count)
    .u32(LAPIC_BASE)
    .u32(0)
    .bytes(body)
    .finish();
  table[7] = checksum(table);
  const pointer = new ByteWriter()
    .text('_MP_', 4)
    .u32(MPTABLE_BASE + POINTER_BYTES)
    .u8(1, 4, 0, 0, 0, 0, 0, 0)
    .finish();
  pointer[10] = checksum(pointer);
  const bytes = new Uint8Array(POINTER_BYTES + table.length);
  bytes.set(pointer);
  bytes.set(table, POINTER_BYTES);
  if (bytes.length > SMBIOS_BASE - MPTABLE_BASE)
    throw new VmError('ENOSPC', `MP table for ${cpus} vCPUs takes ${bytes.length} bytes: expected at most ${SMBIOS_BASE - MPTABLE_BASE}`);
  return bytes;
}
