/**
 * CPUID out of the table that cpu/cpuid.ts wrote, with the bits that follow the vCPU's present state.
 * Implements: SDM vol. 2A CPUID. Runs on: the vCPU's own thread.
 */
import { CPUID_ROWS, CPUID_ROW_BYTES, CPUID_TABLE } from '../../base/memory-map.ts';
import { VCPU_APIC_BASE, VCPU_APIC_ID, VCPU_CR4, VCPU_GPR } from '../../generated/vcpu-layout.ts';
import { CR4_OSXSAVE } from './bits';

const ANY: u32 = 0xffffffff, MAXIMUM_ROWS: u32 = 1024;
const OSXSAVE: u32 = 1 << 27, APIC: u32 = 1 << 9, APIC_ENABLED: u64 = 0x800;

/** @returns the row of (leaf, subleaf), or 0. */
function findRow(leaf: u32, subleaf: u32): usize {
  const count = min<u32>(load<u32>(CPUID_TABLE), MAXIMUM_ROWS);
  let row: usize = CPUID_ROWS;
  for (let i: u32 = 0; i < count; i++) {
    if (load<u32>(row) == leaf && (load<u32>(row, 4) == subleaf || load<u32>(row, 4) == ANY)) return row;
    row += CPUID_ROW_BYTES;
  }
  return 0;
}

/** Leaf 1 EAX: RESET leaves it in EDX. */
export function signature(): u32 {
  const row = findRow(1, 0);
  return row != 0 ? load<u32>(row, 8) : 0;
}

/** Highest leaf of the group that starts at `first`. */
function highest(first: u32): u32 {
  const row = findRow(first, 0);
  return row != 0 ? load<u32>(row, 8) : 0;
}

export function cpuid(vcpu: usize): void {
  let leaf = load<u32>(vcpu, VCPU_GPR);
  const subleaf = load<u32>(vcpu + 8, VCPU_GPR), group = leaf & 0xffff0000;
  // A leaf out of range answers as the highest basic one (SDM 2A CPUID, "INPUT EAX").
  if ((group != 0 && group != 0x40000000 && group != 0x80000000) || leaf > highest(group)) leaf = highest(0);
  const row = findRow(leaf, subleaf);
  let eax: u32 = 0, ebx: u32 = 0, ecx: u32 = 0, edx: u32 = 0;
  if (row != 0) {
    eax = load<u32>(row, 8);
    ebx = load<u32>(row, 12);
    ecx = load<u32>(row, 16);
    edx = load<u32>(row, 20);
  }
  const id = load<u32>(vcpu, VCPU_APIC_ID);
  if (leaf == 1) {
    ebx = (ebx & 0xffffff) | (id << 24);
    ecx = (load<u64>(vcpu, VCPU_CR4) & CR4_OSXSAVE) != 0 ? ecx | OSXSAVE : ecx & ~OSXSAVE;
    edx = (load<u64>(vcpu, VCPU_APIC_BASE) & APIC_ENABLED) != 0 ? edx : edx & ~APIC;
  } else if (leaf == 0xb || leaf == 0x1f) {
    ecx = (ecx & ~0xff) | (subleaf & 0xff);
    edx = id;
  }
  store<u64>(vcpu, eax, VCPU_GPR);
  store<u64>(vcpu + 3 * 8, ebx, VCPU_GPR);
  store<u64>(vcpu + 8, ecx, VCPU_GPR);
  store<u64>(vcpu + 2 * 8, edx, VCPU_GPR);
}
