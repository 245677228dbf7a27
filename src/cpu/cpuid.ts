/**
 * CPUID: what this processor tells about itself, as a table in memory 0 that cpu.wasm reads.
 * Implements: SDM vol. 2A CPUID; bhyve-map 3.6 (hypervisor leaves, topology leaves, out-of-range leaves).
 * Runs on: whoever creates the VM. Bits that follow the vCPU's state (OSXSAVE, APIC, APIC id) are in cpu/assembly/cpuid.ts.
 */
import { CPUID_ANY_SUBLEAF, CPUID_ROWS, CPUID_ROW_BYTES, CPUID_TABLE } from '../base/memory-map.ts';
import { VmError } from '../base/errors.ts';

export interface CpuidConfig {
  /** 12 ASCII characters. */
  readonly vendor?: string;
  /** Up to 47 ASCII characters. */
  readonly brand?: string;
  readonly family?: number;
  readonly model?: number;
  readonly stepping?: number;
  readonly sockets?: number;
  readonly cores?: number;
  readonly threads?: number;
  /** Offer x2APIC. */
  readonly x2apic?: boolean;
  readonly tscHz?: number;
  /** Input clock of the LAPIC timer: CPUID 15h names it, and Linux believes it. */
  readonly lapicTimerHz?: number;
}

export interface CpuidRow {
  readonly leaf: number;
  /** 'any': the leaf has no subleaves. */
  readonly subleaf: number | 'any';
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

export const DEFAULT_VENDOR = 'GenuineIntel';
export const DEFAULT_BRAND = 'tshyve virtual x86-64 processor';
const LAPIC_TIMER_HZ = 134_217_728;
export const PHYSICAL_ADDRESS_BITS = 46;
const LINEAR_ADDRESS_BITS = 48;

const bits = (...numbers: readonly number[]): number => numbers.reduce((word, bit) => (word | (1 << bit)) >>> 0, 0);

/** Bits by the names of SDM tables 3-10, 3-11 and 3-8. */
const LEAF1_ECX = bits(
  0 /* SSE3 */,
  9 /* SSSE3 */,
  13 /* CX16 */,
  17 /* PCID */,
  19 /* SSE4.1 */,
  20 /* SSE4.2 */,
  22 /* MOVBE */,
  23 /* POPCNT */,
  24 /* TSC-Deadline */,
  26 /* XSAVE */,
  30 /* RDRAND */,
  31 /* hypervisor */,
);
const X2APIC = bits(21);
const LEAF1_EDX = bits(
  0 /* FPU */,
  2 /* DE */,
  3 /* PSE */,
  4 /* TSC */,
  5 /* MSR */,
  6 /* PAE */,
  7 /* MCE */,
  8 /* CX8 */,
  9 /* APIC */,
  11 /* SEP */,
  12 /* MTRR */,
  13 /* PGE */,
  14 /* MCA */,
  15 /* CMOV */,
  16 /* PAT */,
  17 /* PSE-36 */,
  19 /* CLFSH */,
  23 /* MMX */,
  24 /* FXSR */,
  25 /* SSE */,
  26 /* SSE2 */,
);
const HTT = bits(28);
const LEAF7_EBX = bits(
  0 /* FSGSBASE */,
  1 /* TSC_ADJUST */,
  7 /* SMEP */,
  9 /* ERMS */,
  10 /* INVPCID */,
  18 /* RDSEED */,
  20 /* SMAP */,
  23 /* CLFLUSHOPT */,
);
const LEAF7_ECX = bits(2 /* UMIP */);
const LEAF7_EDX = bits(26 /* IBRS and IBPB */, 27 /* STIBP */, 29 /* IA32_ARCH_CAPABILITIES */, 31 /* SSBD */);
const LEAF80000001_ECX = bits(0 /* LAHF */, 8 /* PREFETCHW */);
const LEAF80000001_EDX = bits(11 /* SYSCALL */, 20 /* NX */, 26 /* 1 GiB pages */, 27 /* RDTSCP */, 29 /* long mode */);
const INVARIANT_TSC = bits(8);
const ARAT = bits(2);

/** Legacy region and header; nothing beyond x87 and SSE is offered. */
const XSAVE_BYTES = 576;

function asciiWords(text: string, sizeBytes: number): number[] {
  const padded = text.padEnd(sizeBytes, '\0');
  const words: number[] = [];
  for (let i = 0; i < sizeBytes; i += 4) {
    words.push(
      (padded.charCodeAt(i) | (padded.charCodeAt(i + 1) << 8) | (padded.charCodeAt(i + 2) << 16) | (padded.charCodeAt(i + 3) << 24)) >>> 0,
    );
  }
  return words;
}

/** CPUID 1 EAX (SDM figure 3-6). RESET leaves it in EDX. */
export function signatureOf(config: CpuidConfig = {}): number {
  const family = config.family ?? 6;
  const model = config.model ?? 0x8f;
  const stepping = config.stepping ?? 8;
  const baseFamily = Math.min(family, 15);
  return ((stepping & 15) | ((model & 15) << 4) | (baseFamily << 8) | ((model >> 4) << 16) | ((family - baseFamily) << 20)) >>> 0;
}

/** Deterministic cache parameters (SDM table 3-8, leaf 4): type 1 data, 2 instruction, 3 unified. */
function cacheRow(subleaf: number, type: number, level: number, kib: number, ways: number, sharing: number, cores: number): CpuidRow {
  const lineBytes = 64;
  return {
    leaf: 4,
    subleaf,
    eax: (type | (level << 5) | (1 << 8) | ((sharing - 1) << 14) | ((cores - 1) << 26)) >>> 0,
    ebx: ((lineBytes - 1) | ((ways - 1) << 22)) >>> 0,
    ecx: (kib * 1024) / lineBytes / ways - 1,
    edx: 0,
  };
}

/**
 * Large: C libraries leave REP MOVS, which is one memory.copy for each page here, for loops of streaming stores where a copy exceeds three
 * quarters of the last level.
 */
const LAST_LEVEL_KIB = 128 * 1024;

const powerOfTwo = (value: number): number => 2 ** Math.ceil(Math.log2(value));

const greatestCommonDivisor = (x: number, y: number): number => (y === 0 ? x : greatestCommonDivisor(y, x % y));

/**
 * All rows, sorted.
 * @throws VmError EINVAL for a vendor or brand that CPUID cannot hold.
 */
export function cpuidRows(config: CpuidConfig = {}): readonly CpuidRow[] {
  const vendor = config.vendor ?? DEFAULT_VENDOR;
  const brand = config.brand ?? DEFAULT_BRAND;
  if (!/^[\x20-\x7e]{12}$/.test(vendor)) throw new VmError('EINVAL', `cpu vendor '${vendor}': expected 12 printable ASCII characters`);
  if (!/^[\x20-\x7e]{0,47}$/.test(brand))
    throw new VmError('EINVAL', `cpu brand '${brand}': expected at most 47 printable ASCII characters`);
  const threads = config.threads ?? 1;
  const cores = config.cores ?? 1;
  const perPackage = threads * cores;
  const tscHz = config.tscHz ?? 1_000_000_000;
  const crystalHz = config.lapicTimerHz ?? LAPIC_TIMER_HZ;
  // TSC = crystal * numerator / denominator; both are 32 bits wide.
  const divisor = greatestCommonDivisor(tscHz, crystalHz);
  const numerator = tscHz / divisor;
  const [vendorB = 0, vendorD = 0, vendorC = 0] = asciiWords(vendor, 12);
  const [hyperB = 0, hyperC = 0, hyperD = 0] = asciiWords('bhyve bhyve ', 12);
  const brandWords = asciiWords(brand, 48);
  const any = (leaf: number, eax: number, ebx: number, ecx: number, edx: number): CpuidRow => ({
    leaf,
    subleaf: 'any',
    eax,
    ebx,
    ecx,
    edx,
  });
  const sub = (leaf: number, subleaf: number, eax: number, ebx: number, ecx: number, edx: number): CpuidRow => ({
    leaf,
    subleaf,
    eax,
    ebx,
    ecx,
    edx,
  });
  // Linux multiplies in 32 bits: the crystal's kHz by the numerator (arch/x86/kernel/tsc.c native_calibrate_tsc).
  const isRatioTold = divisor > 0 && Number.isInteger(tscHz) && Math.floor(crystalHz / 1000) * numerator <= 0xffffffff;
  const mhz = Math.min(Math.round(tscHz / 1e6), 0xffff);
  // Who finds no ratio takes these megahertz for exact: better none, and a measurement, than rounded ones.
  const isMhzTold = isRatioTold || mhz * 1e6 === tscHz;
  return [
    any(0, 0x16, vendorB, vendorC, vendorD),
    any(
      1,
      signatureOf(config),
      ((Math.min(powerOfTwo(perPackage), 255) << 16) | (8 << 8)) >>> 0,
      (LEAF1_ECX | (config.x2apic === true ? X2APIC : 0)) >>> 0,
      (LEAF1_EDX | (perPackage > 1 ? HTT : 0)) >>> 0,
    ),
    any(2, 0x00feff01, 0xf0, 0, 0),
    cacheRow(0, 1, 1, 32, 8, powerOfTwo(threads), powerOfTwo(cores)),
    cacheRow(1, 2, 1, 32, 8, powerOfTwo(threads), powerOfTwo(cores)),
    cacheRow(2, 3, 2, 1024, 16, powerOfTwo(threads), powerOfTwo(cores)),
    cacheRow(3, 3, 3, LAST_LEVEL_KIB, 16, powerOfTwo(perPackage), powerOfTwo(cores)),
    any(6, ARAT, 0, 0, 0),
    sub(7, 0, 0, LEAF7_EBX, LEAF7_ECX, LEAF7_EDX),
    any(0xa, 0, 0, 0, 0),
    sub(0xb, 0, Math.ceil(Math.log2(threads)), threads, 0x100, 0),
    sub(0xb, 1, Math.ceil(Math.log2(powerOfTwo(threads) * cores)), perPackage, 0x200, 0),
    sub(0xd, 0, 3, XSAVE_BYTES, XSAVE_BYTES, 0),
    sub(0xd, 1, 1 /* XSAVEOPT */, 0, 0, 0),
    isRatioTold ? any(0x15, crystalHz / divisor, numerator, crystalHz, 0) : any(0x15, 0, 0, 0, 0),
    isMhzTold ? any(0x16, mhz, mhz, 100, 0) : any(0x16, 0, 0, 0, 0),
    any(0x40000000, 0x40000001, hyperB, hyperC, hyperD),
    any(0x40000001, 0, 0, 0, 0),
    any(0x80000000, 0x80000008, 0, 0, 0),
    any(0x80000001, 0, 0, LEAF80000001_ECX, LEAF80000001_EDX),
    ...[0, 1, 2].map((part) => any(0x80000002 + part, ...(brandWords.slice(part * 4, part * 4 + 4) as [number, number, number, number]))),
    any(0x80000006, 0, 0, (1024 << 16) | (6 << 12) | 64, 0),
    any(0x80000007, 0, 0, 0, INVARIANT_TSC),
    any(0x80000008, PHYSICAL_ADDRESS_BITS | (LINEAR_ADDRESS_BITS << 8), 0, 0, 0),
  ];
}

/** Write the table. @param memory0 all of memory 0 */
export function writeCpuidTable(memory0: DataView, rows: readonly CpuidRow[]): void {
  memory0.setUint32(CPUID_TABLE, rows.length, true);
  rows.forEach(({ leaf, subleaf, eax, ebx, ecx, edx }, index) => {
    const at = CPUID_ROWS + index * CPUID_ROW_BYTES;
    [leaf, subleaf === 'any' ? CPUID_ANY_SUBLEAF : subleaf, eax, ebx, ecx, edx].forEach((word, column) =>
      memory0.setUint32(at + column * 4, word, true),
    );
  });
}
