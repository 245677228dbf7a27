/**
 * Registers by bhyve's names and numbers, and where each lies in the vCPU record.
 * Implements: bhyve-map 3.4 (enum vm_reg_name, vcpu_reset); SDM vol. 3A 9.1.1 Table 9-1 Processor State After Reset.
 * Runs on: whoever holds the vCPU.
 */
import { VmError } from '../base/errors.ts';
import { FLAG_RAW, FLAG_STATUS, PHYSICAL_ADDRESS_BITS, SEG } from '../cpu/index.ts';
import * as AT from '../generated/vcpu-layout.ts';

const MEMORY_TYPE_UC = 0n,
  MEMORY_TYPE_WB = 6n,
  MTRR_VALID = 0x800n,
  MTRR_ENABLE = 0x800n;

/** Index is the register's number. */
export const REGISTER_NAMES = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'cr0',
  'cr3',
  'cr4',
  'dr7',
  'rsp',
  'rip',
  'rflags',
  'es',
  'cs',
  'ss',
  'ds',
  'fs',
  'gs',
  'ldtr',
  'tr',
  'idtr',
  'gdtr',
  'efer',
  'cr2',
  'pdpte0',
  'pdpte1',
  'pdpte2',
  'pdpte3',
  'intr_shadow',
  'dr0',
  'dr1',
  'dr2',
  'dr3',
  'dr6',
  'entry_inst_length',
  'fs_base',
  'gs_base',
  'kgs_base',
  'tpr',
] as const;
export type RegisterName = (typeof REGISTER_NAMES)[number];
/** By name or by number. */
export type RegisterId = RegisterName | number;

export const DESCRIPTOR_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr', 'idtr', 'gdtr'] as const;
export type DescriptorName = (typeof DESCRIPTOR_NAMES)[number];

/** bhyve's access word: type 0-4 (with S), DPL 5-6, P 7, AVL 12, L 13, D 14, G 15, unusable 16. */
export interface SegmentDescriptor {
  readonly base: bigint;
  readonly limit: number;
  readonly access: number;
}

const GPR_ORDER = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
const SEGMENT_INDEX: Readonly<Record<string, number>> = {
  es: SEG.ES,
  cs: SEG.CS,
  ss: SEG.SS,
  ds: SEG.DS,
  fs: SEG.FS,
  gs: SEG.GS,
  ldtr: SEG.LDTR,
  tr: SEG.TR,
};

type Place = { readonly at: number; readonly width: 4 | 8 };
const PLACES = new Map<RegisterName, Place>([
  ...GPR_ORDER.map((name, index) => [name, { at: AT.VCPU_GPR + index * 8, width: 8 }] as const),
  ...(Object.entries(SEGMENT_INDEX) as [RegisterName, number][]).map(
    ([name, index]) => [name, { at: AT.VCPU_SEG_SELECTOR + index * 4, width: 4 }] as const,
  ),
  ...(
    [
      ['rip', AT.VCPU_RIP],
      ['cr0', AT.VCPU_CR0],
      ['cr2', AT.VCPU_CR2],
      ['cr3', AT.VCPU_CR3],
      ['cr4', AT.VCPU_CR4],
      ['efer', AT.VCPU_EFER],
      ['fs_base', AT.VCPU_SEG_BASE + SEG.FS * 8],
      ['gs_base', AT.VCPU_SEG_BASE + SEG.GS * 8],
      ['kgs_base', AT.VCPU_KERNEL_GS_BASE],
      ...[0, 1, 2, 3, 6, 7].map((number) => [`dr${number}`, AT.VCPU_DR + number * 8]),
      ...[0, 1, 2, 3].map((number) => [`pdpte${number}`, AT.VCPU_PDPTE + number * 8]),
    ] as [RegisterName, number][]
  ).map(([name, at]) => [name, { at, width: 8 }] as const),
]);

/** @throws VmError EINVAL for an unknown name or number. */
export function registerName(id: RegisterId): RegisterName {
  const name = typeof id === 'number' ? REGISTER_NAMES[id] : REGISTER_NAMES.includes(id) ? id : undefined;
  if (name === undefined)
    throw new VmError('EINVAL', `register ${id}: expected 0 to ${REGISTER_NAMES.length - 1} or one of ${REGISTER_NAMES.join(' ')}`);
  return name;
}

/** The record of one vCPU as registers. TPR is not here: it lives in the LAPIC. */
export class RegisterFile {
  readonly #view: DataView;
  readonly #base: number;

  constructor(view: DataView, base: number) {
    this.#view = view;
    this.#base = base;
  }

  u32(offset: number): number {
    return this.#view.getUint32(this.#base + offset, true);
  }
  setU32(offset: number, value: number): void {
    this.#view.setUint32(this.#base + offset, value, true);
  }
  u64(offset: number): bigint {
    return this.#view.getBigUint64(this.#base + offset, true);
  }
  setU64(offset: number, value: bigint): void {
    this.#view.setBigUint64(this.#base + offset, value, true);
  }

  /** @throws VmError EINVAL for registers that have no value of their own (idtr, gdtr: descriptors; entry_inst_length). */
  get(name: RegisterName): bigint {
    if (name === 'rflags') return this.u64(AT.VCPU_RFLAGS) | (this.u64(AT.VCPU_FLAG_Q) & BigInt(FLAG_STATUS)) | 2n; // settled: FLAG_RAW
    if (name === 'intr_shadow') return this.u32(AT.VCPU_SHADOW) === 0 ? 0n : 1n;
    const { at, width } = place(name);
    return width === 8 ? this.u64(at) : BigInt(this.u32(at));
  }

  set(name: RegisterName, value: bigint): void {
    const bits = BigInt.asUintN(64, value);
    if (name === 'rflags') {
      this.setU64(AT.VCPU_RFLAGS, (bits & ~BigInt(FLAG_STATUS)) | 2n);
      this.setRawFlags(bits);
      return;
    }
    if (name === 'intr_shadow') {
      this.setU32(AT.VCPU_SHADOW, bits === 0n ? 0 : 1);
      return;
    }
    const { at, width } = place(name);
    if (width === 8) this.setU64(at, bits);
    else this.setU32(at, Number(bits & 0xffffn));
    if (name === 'rip') this.setU64(AT.VCPU_NEXT_RIP, bits);
  }

  setRawFlags(bits: bigint): void {
    this.setU32(AT.VCPU_FLAG_OP, FLAG_RAW << 2);
    this.setU64(AT.VCPU_FLAG_P, 0n);
    this.setU64(AT.VCPU_FLAG_Q, bits & BigInt(FLAG_STATUS));
  }

  descriptor(name: DescriptorName): SegmentDescriptor {
    if (name === 'gdtr') return { base: this.u64(AT.VCPU_GDTR_BASE), limit: this.u32(AT.VCPU_GDTR_LIMIT), access: 0 };
    if (name === 'idtr') return { base: this.u64(AT.VCPU_IDTR_BASE), limit: this.u32(AT.VCPU_IDTR_LIMIT), access: 0 };
    const index = segmentIndex(name);
    return {
      base: this.u64(AT.VCPU_SEG_BASE + index * 8),
      limit: this.u32(AT.VCPU_SEG_LIMIT + index * 4),
      access: this.u32(AT.VCPU_SEG_ACCESS + index * 4),
    };
  }

  /** @throws VmError EINVAL for a limit or access word above 32 bits. */
  setDescriptor(name: DescriptorName, { base, limit, access }: SegmentDescriptor): void {
    for (const [what, value] of [
      ['limit', limit],
      ['access', access],
    ] as const) {
      if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff)
        throw new VmError('EINVAL', `descriptor ${name}: ${what} ${value}: expected 0 to 0xffffffff`);
    }
    const bits = BigInt.asUintN(64, base);
    if (name === 'gdtr' || name === 'idtr') {
      this.setU64(name === 'gdtr' ? AT.VCPU_GDTR_BASE : AT.VCPU_IDTR_BASE, bits);
      this.setU32(name === 'gdtr' ? AT.VCPU_GDTR_LIMIT : AT.VCPU_IDTR_LIMIT, limit);
      return;
    }
    const index = segmentIndex(name);
    this.setU64(AT.VCPU_SEG_BASE + index * 8, bits);
    this.setU32(AT.VCPU_SEG_LIMIT + index * 4, limit);
    this.setU32(AT.VCPU_SEG_ACCESS + index * 4, access);
    // What a privilege change would have left: CPL is SS.DPL (bhyve reads it there too).
    if (name === 'ss') this.setU32(AT.VCPU_CPL, (access >>> 5) & 3);
  }

  /** MTRRs on, write-back but for one uncached range. SDM vol. 3A 12.11.2.1, 12.11.2.3. */
  setMtrrs(start: bigint, sizeBytes: bigint): void {
    const physicalEnd = 1n << BigInt(PHYSICAL_ADDRESS_BITS);
    this.setU64(AT.VCPU_MTRR_VARIABLE, start | MEMORY_TYPE_UC);
    this.setU64(AT.VCPU_MTRR_VARIABLE + 8, (physicalEnd - sizeBytes) | MTRR_VALID);
    this.setU64(AT.VCPU_MTRR_DEF_TYPE, MTRR_ENABLE | MEMORY_TYPE_WB);
  }

  /** libvmmapi's vcpu_reset: what INIT and a SIPI leave. FPU, SSE and most MSRs keep their values. */
  reset(): void {
    for (const name of GPR_ORDER) this.set(name, name === 'rdx' ? 0xf00n : 0n);
    this.set('rflags', 2n);
    this.set('rip', 0xfff0n);
    // Only NE: the documented ET, NW and CD crash some guests on the original.
    this.set('cr0', 0x20n);
    for (const name of [
      'cr2',
      'cr3',
      'cr4',
      'efer',
      'dr0',
      'dr1',
      'dr2',
      'dr3',
      'intr_shadow',
      'pdpte0',
      'pdpte1',
      'pdpte2',
      'pdpte3',
    ] as const)
      this.set(name, 0n);
    this.set('dr6', 0xffff_0ff0n);
    this.set('dr7', 0x400n);
    for (const name of ['es', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const) this.set(name, 0n);
    this.set('cs', 0xf000n);
    for (const name of ['es', 'ss', 'ds', 'fs', 'gs'] as const) this.setDescriptor(name, { base: 0n, limit: 0xffff, access: 0x93 });
    this.setDescriptor('cs', { base: 0xffff_0000n, limit: 0xffff, access: 0x93 });
    this.setDescriptor('tr', { base: 0n, limit: 0, access: 0x8b });
    this.setDescriptor('ldtr', { base: 0n, limit: 0xffff, access: 0x82 });
    this.setDescriptor('gdtr', { base: 0n, limit: 0xffff, access: 0 });
    this.setDescriptor('idtr', { base: 0n, limit: 0xffff, access: 0 });
    for (const offset of [
      AT.VCPU_FAULT,
      AT.VCPU_HALTED,
      AT.VCPU_NMI_BLOCKED,
      AT.VCPU_NMI_PENDING,
      AT.VCPU_BOUNCE_KIND,
      AT.VCPU_PENDING_DEBUG,
    ])
      this.setU32(offset, 0);
    for (const offset of [AT.VCPU_INTINFO, AT.VCPU_INJECTED]) this.setU64(offset, 0n);
  }

  /** Power-on: an all-zero record, then reset, FPU and MSRs. Statistics start over. */
  powerOn(index: number): void {
    for (let at = 0; at < AT.VCPU_SIZE_BYTES; at += 8) this.setU64(at, 0n);
    this.reset();
    this.setU32(AT.VCPU_APIC_ID, index);
    this.setU32(AT.VCPU_FCW, 0x40);
    this.setU32(AT.VCPU_FTW, 0xff);
    this.setU32(AT.VCPU_MXCSR, 0x1f80);
    this.setU64(AT.VCPU_XCR0, 1n);
    this.setU64(AT.VCPU_PAT, 0x0007_0406_0007_0406n);
    // Enabled, at its default address; bit 8 marks the processor that boots.
    this.setU64(AT.VCPU_APIC_BASE, 0xfee0_0800n | (index === 0 ? 0x100n : 0n));
    this.setU64(AT.VCPU_MISC_ENABLE, 1n);
  }
}

function place(name: RegisterName): Place {
  const found = PLACES.get(name);
  if (found === undefined) throw new VmError('EINVAL', `register ${name}: has no value of its own`);
  return found;
}

function segmentIndex(name: DescriptorName): number {
  const index = SEGMENT_INDEX[name];
  if (index === undefined) throw new VmError('EINVAL', `descriptor ${name}: expected one of ${DESCRIPTOR_NAMES.join(' ')}`);
  return index;
}
