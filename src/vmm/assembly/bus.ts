/**
 * Accesses to guest-physical addresses that are no memory: in-core devices here, the rest by the posted ring or a synchronous exit.
 * Implements: bhyve-map 2.1 and 4 (a hole reads as ones). Runs on: the vCPU's own thread.
 */
import { VCPU_EXIT_GPA, VCPU_EXIT_IN, VCPU_EXIT_REASON, VCPU_EXIT_VALUE, VCPU_EXIT_WIDTH_BYTES } from '../../generated/vcpu-layout.ts';
import { EXIT_INST_EMUL } from '../exits.ts';
import { HPET_END_GPA, HPET_GPA, IOAPIC_END_GPA, IOAPIC_GPA, LAPIC_END_GPA, LAPIC_GPA, PORT_MODE_EXIT } from '../layout.ts';
import { hpetMmioRead, hpetMmioWrite } from './hpet.ts';
import { hostExit } from './host.ts';
import { ioapicMmioRead, ioapicMmioWrite } from './ioapic.ts';
import { lapicMmioRead, lapicMmioWrite } from './lapic.ts';
import { postedMode, postMemory } from './posted.ts';

function onesMask(sizeBytes: u32): u64 { return sizeBytes >= 8 ? ~<u64>0 : (<u64>1 << (sizeBytes << 3)) - 1; }

function inside(gpa: u64, sizeBytes: u32, start: u64, end: u64): bool { return gpa >= start && gpa < end && end - gpa >= sizeBytes; }

export function readMmio(vcpu: usize, gpa: u64, sizeBytes: u32): u64 {
  const mask = onesMask(sizeBytes);
  if (inside(gpa, sizeBytes, LAPIC_GPA, LAPIC_END_GPA)) return lapicMmioRead(vcpu, <u32>(gpa - LAPIC_GPA), sizeBytes) & mask;
  if (inside(gpa, sizeBytes, IOAPIC_GPA, IOAPIC_END_GPA)) return ioapicMmioRead(<u32>(gpa - IOAPIC_GPA), sizeBytes) & mask;
  if (inside(gpa, sizeBytes, HPET_GPA, HPET_END_GPA)) return hpetMmioRead(<u32>(gpa - HPET_GPA), sizeBytes) & mask;
  store<u32>(vcpu, EXIT_INST_EMUL, VCPU_EXIT_REASON);
  store<u64>(vcpu, gpa, VCPU_EXIT_GPA);
  store<u32>(vcpu, sizeBytes, VCPU_EXIT_WIDTH_BYTES);
  store<u32>(vcpu, 1, VCPU_EXIT_IN);
  store<u64>(vcpu, mask, VCPU_EXIT_VALUE);
  hostExit(<u32>vcpu, EXIT_INST_EMUL);
  return load<u64>(vcpu, VCPU_EXIT_VALUE) & mask;
}

export function writeMmio(vcpu: usize, gpa: u64, sizeBytes: u32, value: u64): void {
  value &= onesMask(sizeBytes);
  if (inside(gpa, sizeBytes, LAPIC_GPA, LAPIC_END_GPA)) { lapicMmioWrite(vcpu, <u32>(gpa - LAPIC_GPA), sizeBytes, value); return; }
  if (inside(gpa, sizeBytes, IOAPIC_GPA, IOAPIC_END_GPA)) { ioapicMmioWrite(<u32>(gpa - IOAPIC_GPA), sizeBytes, value); return; }
  if (inside(gpa, sizeBytes, HPET_GPA, HPET_END_GPA)) { hpetMmioWrite(<u32>(gpa - HPET_GPA), sizeBytes, value); return; }
  const mode = postedMode(gpa, sizeBytes);
  if (mode != PORT_MODE_EXIT) { postMemory(vcpu, gpa, sizeBytes, value, mode); return; }
  store<u32>(vcpu, EXIT_INST_EMUL, VCPU_EXIT_REASON);
  store<u64>(vcpu, gpa, VCPU_EXIT_GPA);
  store<u32>(vcpu, sizeBytes, VCPU_EXIT_WIDTH_BYTES);
  store<u32>(vcpu, 0, VCPU_EXIT_IN);
  store<u64>(vcpu, value, VCPU_EXIT_VALUE);
  hostExit(<u32>vcpu, EXIT_INST_EMUL);
}
