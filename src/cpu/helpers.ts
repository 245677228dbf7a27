/**
 * Helpers that instructions call: functions of cpu.wasm, with their types and what they may do. `vcpu` (i32) comes first and is implied.
 * Implements: docs/internals.md "Calls and faults". Runs on: any thread; a table. helpers.test.ts compares it with the exports of cpu.wasm.
 */
export type HelperType = 'i32' | 'i64';

export interface HelperRow {
  readonly parameters: readonly HelperType[];
  readonly result?: HelperType;
  /** May raise: the caller tests `vcpu.fault` after the call and leaves. Then nothing architectural has changed. */
  readonly faults?: true;
  /** Needs `rip` and `nextRip` in the record. */
  readonly rip?: true;
  /** A pure function: the vCPU is not passed. */
  readonly bare?: true;
  /** Changes rip, the mode, the access class or mappings: its instruction is declared `ends: 'system'`. */
  readonly system?: true;
}

const row = (parameters: string, result: HelperType | '' = '', marks = ''): HelperRow => ({
  parameters: parameters === '' ? [] : (parameters.split(' ') as HelperType[]),
  ...(result === '' ? {} : { result }),
  ...(marks.includes('f') ? { faults: true as const } : {}),
  ...(marks.includes('r') ? { rip: true as const } : {}),
  ...(marks.includes('s') ? { system: true as const } : {}),
});

/** Marks: f faults, r needs rip and nextRip, s system (rip is valid after it). `gva` is a linear address, `seg` a SEG number for #SS or #GP. */
export const HELPERS = {
  // --- memory: gva, [value or size], seg ---
  slowLoad8: row('i64 i32', 'i32', 'f'), slowLoad16: row('i64 i32', 'i32', 'f'), slowLoad32: row('i64 i32', 'i32', 'f'), slowLoad64: row('i64 i32', 'i64', 'f'),
  /** 16 bytes to scratch[0..1]. */
  slowLoad128: row('i64 i32', '', 'f'),
  slowStore8: row('i64 i32 i32', '', 'f'), slowStore16: row('i64 i32 i32', '', 'f'), slowStore32: row('i64 i32 i32', '', 'f'), slowStore64: row('i64 i64 i32', '', 'f'),
  /** 16 bytes from scratch[0..1]. */
  slowStore128: row('i64 i32', '', 'f'),
  /** gva, sizeBytes, seg: hva for a read-modify-write; after a store below HVA_RAM, commitBounce. */
  slowProbe: row('i64 i32 i32', 'i64', 'f'),
  commitBounce: row(''),
  /** seg, offset, sizeBytes, write (0, 1): linear address outside 64-bit mode. */
  legacyAddress: row('i32 i64 i32 i32', 'i64', 'f'),
  /** destination, source, count, log2Size (DF clear): elements moved at once, 0 = do one the plain way. */
  stringMove: row('i64 i64 i64 i32', 'i64'),
  /** destination, value, count, log2Size (DF clear): elements stored at once. */
  stringFill: row('i64 i64 i64 i32', 'i64'),

  // --- faults ---
  /** vector, 1 with an error code, error code. */
  raiseFault: row('i32 i32 i32', '', 'f'),
  /** rip of a near jump outside 64-bit mode: #GP(0) beyond the limit of CS. */
  checkNear: row('i64', '', 'f'),
  /** FPU_CLASS of the instruction: #UD, #NM as CR0 and CR4 say. */
  checkFpu: row('i32', '', 'f'),

  // --- flags ---
  /** op, p, q, r of a record, and no vCPU: CF PF AF ZF SF OF in their places. */
  computeFlags: { parameters: ['i32', 'i64', 'i64', 'i64'], result: 'i32', bare: true },
  /** CF PF AF ZF SF OF in their places. */
  readFlags: row('', 'i32'),
  writeFlags: row('i32'),
  /** The image PUSHF pushes: RFLAGS with RF and VM clear. */
  pushFlags: row('', 'i64'),
  /** value, sizeBytes: POPF. */
  popFlags: row('i64 i32', '', 'fs'),
  cli: row('', '', 'fs'), sti: row('', '', 'fs'),
  clac: row('', '', 'fs'), stac: row('', '', 'fs'),

  // --- integer ---
  /** High half of an unsigned or signed 64 x 64 product. */
  multiplyHigh: row('i64 i64', 'i64'), multiplyHighSigned: row('i64 i64', 'i64'),
  /** high, low, divisor (zero-extended; sign-extended for the signed one), sizeBytes: quotient; remainder in scratch[0]. #DE. */
  divide: row('i64 i64 i64 i32', 'i64', 'f'), divideSigned: row('i64 i64 i64 i32', 'i64', 'f'),
  /** They work on AX in the record. */
  daa: row(''), das: row(''), aaa: row(''), aas: row(''),
  aam: row('i32', '', 'f'), aad: row('i32'),
  /** sizeBytes of the operand, frame bytes, nesting level: the whole of ENTER. */
  enter: row('i32 i32 i32', '', 'f'),
  /** index, lower, upper, sign-extended: #BR. */
  bound: row('i64 i64 i64', '', 'f'),
  /** sizeBytes: the whole of PUSHA and POPA. */
  pushAll: row('i32', '', 'f'), popAll: row('i32', '', 'f'),
  /** crc, data, sizeBytes of the data. */
  crc32: row('i32 i64 i32', 'i32'),
  /** 64 random bits (RDRAND, RDSEED); the handler cuts them and sets CF. */
  random: row('', 'i64'),
  /** PCMPISTRI, PCMPISTRM: first operand in scratch[0..1], second in scratch[2..3], imm8; index, or mask to scratch[0..1]. They set the flags. */
  pcmpistri: row('i32', 'i32'), pcmpistrm: row('i32'),
  /** The same with imm8, the first's and the second's length (RAX and RDX, sign-extended from their width). */
  pcmpestri: row('i32 i64 i64', 'i32'), pcmpestrm: row('i32 i64 i64'),

  // --- segments ---
  /** seg, selector: LES LDS LSS LFS LGS, POP FS and the like. */
  loadSegment: row('i32 i32', '', 'fs'),
  /** seg, selector: MOV and POP; for SS with the interrupt shadow. */
  moveToSegment: row('i32 i32', '', 'fs'),
  lldt: row('i32', '', 'f'), ltr: row('i32', '', 'f'), sldt: row('', 'i32', 'f'), str: row('', 'i32', 'f'),
  /** selector, old destination, sizeBytes: new destination; they set ZF. */
  lar: row('i32 i64 i32', 'i64', 'f'), lsl: row('i32 i64 i32', 'i64', 'f'),
  verr: row('i32', '', 'f'), verw: row('i32', '', 'f'),
  /** destination selector, source selector: new destination; sets ZF. */
  arpl: row('i32 i32', 'i32', 'f'),
  /** gva, seg, sizeBytes of the operand (2, 4, 8). */
  lgdt: row('i64 i32 i32', '', 'f'), lidt: row('i64 i32 i32', '', 'f'), sgdt: row('i64 i32 i32', '', 'f'), sidt: row('i64 i32 i32', '', 'f'),
  /** seg (FS or GS), sizeBytes. */
  readSegmentBase: row('i32', 'i64', 'f'),
  writeSegmentBase: row('i32 i64', '', 'f'),
  swapgs: row('', '', 'f'),

  // --- transfers: selector, offset, sizeBytes of the operand ---
  farJump: row('i32 i64 i32', '', 'frs'), farCall: row('i32 i64 i32', '', 'frs'),
  /** sizeBytes, bytes to release. */
  farReturn: row('i32 i32', '', 'frs'),
  iret: row('i32', '', 'frs'),
  /** vector, kind (EVENT_SOFTWARE for INT n, EVENT_SOFTWARE_EXCEPTION for INT3 and INTO, EVENT_ICEBP for INT1). */
  softwareInterrupt: row('i32 i32', '', 'frs'),
  syscall: row('', '', 'frs'),
  /** sizeBytes: 4 or 8. */
  sysret: row('i32', '', 'frs'),
  sysenter: row('', '', 'frs'), sysexit: row('i32', '', 'frs'),

  // --- control, debug, model-specific ---
  readControl: row('i32', 'i64', 'f'), writeControl: row('i32 i64', '', 'fs'),
  readDebug: row('i32', 'i64', 'f'), writeDebug: row('i32 i64', '', 'fs'),
  smsw: row('', 'i64', 'f'), lmsw: row('i32', '', 'fs'), clts: row('', '', 'fs'),
  /** Linear address. */
  invlpg: row('i64', '', 'fs'),
  /** type, gva and seg of the descriptor. */
  invpcid: row('i64 i64 i32', '', 'fs'),
  hlt: row('', '', 'fs'),
  /** #GP(0) unless CPL is 0: INVD, WBINVD. */
  requireSupervisor: row('', '', 'f'),
  /** #UD. */
  undefinedInstruction: row('', '', 'f'),
  /** They work on ECX, EDX:EAX in the record. */
  rdmsr: row('', '', 'f'), wrmsr: row('', '', 'fs'), rdtsc: row('', '', 'f'), rdtscp: row('', '', 'f'), rdpmc: row('', '', 'f'),
  xgetbv: row('', '', 'f'), xsetbv: row('', '', 'f'),
  /** EAX, ECX to EAX, EBX, ECX, EDX. */
  cpuid: row(''),

  // --- ports: port, sizeBytes ---
  /** Permission: IOPL, then the I/O bitmap of the TSS. */
  portCheck: row('i32 i32', '', 'f'),
  portRead: row('i32 i32', 'i32', ''),
  portWrite: row('i32 i32 i32', '', ''),

  // --- extended state: gva, seg, 1 with REX.W ---
  fxsave: row('i64 i32 i32', '', 'f'), fxrstor: row('i64 i32 i32', '', 'f'),
  xsave: row('i64 i32 i32', '', 'f'), xsaveopt: row('i64 i32 i32', '', 'f'), xrstor: row('i64 i32 i32', '', 'f'),
} as const satisfies Record<string, HelperRow>;

export type HelperName = keyof typeof HELPERS;

/** Kinds of an event in delivery, numbered as in VMCS and bhyve's intinfo. */
export const EVENT_EXTERNAL = 0, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFTWARE = 4, EVENT_ICEBP = 5, EVENT_SOFTWARE_EXCEPTION = 6;
