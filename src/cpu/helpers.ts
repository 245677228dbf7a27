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
  /** The same over several pages, whatever DF is. */
  stringMovePages: row('i64 i64 i64 i32', 'i64'), stringFillPages: row('i64 i64 i64 i32', 'i64'),

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
  /** Instructions left: the time-stamp counter. */
  readTsc: row('i32', 'i64', 'f'),
  /** They work on ECX, EDX:EAX in the record. */
  rdmsr: row('', '', 'f'), wrmsr: row('', '', 'fs'), rdpmc: row('', '', 'f'),
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

  // --- x87 (assembly/x87.ts says what handlers do besides: fpuOpcode, fpuOperand, split stores). i is relative to TOP ---
  fpuWait: row('', '', 'f'), fpuNop: row('', '', 'fr'),
  /** operation (0 add 1 mul 4 sub 5 subr 6 div 7 divr), destination i, source i, pops. */
  fpuArithmetic: row('i32 i32 i32 i32', '', 'fr'),
  /** operation, bits or value: ST(0) op memory. */
  fpuArithmeticF32: row('i32 i32', '', 'fr'), fpuArithmeticF64: row('i32 i64', '', 'fr'), fpuArithmeticI32: row('i32 i32', '', 'fr'),
  /** source i, 1 quiet (FUCOM), pops. fpuCompareFlags: FCOMI; it returns CF PF AF ZF SF OF. */
  fpuCompare: row('i32 i32 i32', '', 'fr'), fpuCompareFlags: row('i32 i32 i32', 'i32', 'fr'),
  /** bits or value, pops. */
  fpuCompareF32: row('i32 i32', '', 'fr'), fpuCompareF64: row('i64 i32', '', 'fr'), fpuCompareI32: row('i32 i32', '', 'fr'),
  fpuTest: row('', '', 'fr'), fpuExamine: row('', '', 'fr'),
  /** F80 and Bcd: from scratch[0..1]. I64: m16, m32 and m64, sign-extended. */
  fpuLoadF32: row('i32', '', 'fr'), fpuLoadF64: row('i64', '', 'fr'), fpuLoadF80: row('', '', 'fr'), fpuLoadI64: row('i64', '', 'fr'), fpuLoadBcd: row('', '', 'fr'),
  fpuLoadRegister: row('i32', '', 'fr'),
  /** 0 1, 1 L2T, 2 L2E, 3 PI, 4 LG2, 5 LN2, 6 Z. */
  fpuLoadConstant: row('i32', '', 'fr'),
  /** The value; scratch[2] is 1 when it is to be stored and committed. F80 and Bcd: in scratch[0..1]. Integer: width in bits, 1 truncate. */
  fpuStoreF32Value: row('', 'i32', 'fr'), fpuStoreF64Value: row('', 'i64', 'fr'), fpuStoreF80Value: row('', '', 'fr'), fpuStoreBcdValue: row('', '', 'fr'),
  fpuStoreIntegerValue: row('i32 i32', 'i64', 'fr'),
  /** pops; after the memory write. */
  fpuStoreCommit: row('i32', '', 'r'),
  /** i, pops. */
  fpuStoreRegister: row('i32 i32', '', 'fr'), fpuFree: row('i32 i32', '', 'fr'),
  fpuExchange: row('i32', '', 'fr'),
  /** condition (0 or not), i: FCMOVcc. */
  fpuMoveIf: row('i32 i32', '', 'fr'),
  /** +1 FINCSTP, -1 FDECSTP. */
  fpuRotate: row('i32', '', 'fr'),
  /** and, xor of sign and exponent: FCHS 0xffff 0x8000, FABS 0x7fff 0. */
  fpuSign: row('i32 i32', '', 'fr'),
  fpuSquareRoot: row('', '', 'fr'), fpuRoundToInteger: row('', '', 'fr'), fpuExtract: row('', '', 'fr'), fpuScale: row('', '', 'fr'),
  /** 0 FPREM, 1 FPREM1. */
  fpuRemainder: row('i32', '', 'fr'),
  fpuExponential: row('', '', 'fr'), fpuLogarithm: row('', '', 'fr'), fpuLogarithmPlus1: row('', '', 'fr'), fpuArcTangent: row('', '', 'fr'),
  fpuSine: row('', '', 'fr'), fpuCosine: row('', '', 'fr'),
  /** 0 FSINCOS, 1 FPTAN. */
  fpuSineCosine: row('i32', '', 'fr'),
  fpuLoadControl: row('i32', '', 'f'), fpuInitialize: row(''), fpuClearExceptions: row(''),
  /** gva, seg, 1 for the 32-bit operand size: FNSTENV, FLDENV, FNSAVE, FRSTOR. */
  fpuStoreEnvironment: row('i64 i32 i32', '', 'f'), fpuLoadEnvironment: row('i64 i32 i32', '', 'f'), fpuSave: row('i64 i32 i32', '', 'f'), fpuRestore: row('i64 i32 i32', '', 'f'),
  /** Before every MMX instruction's work; EMMS. */
  mmxEnter: row('', '', 'f'), mmxLeave: row('', '', 'f'),
  /** n, value. */
  mmxWrite: row('i32 i64'),

  // --- SSE floating point (assembly/sse.ts): operands are addresses in memory 0, dst is written when nothing is raised ---
  /** operation (1 sqrt 8 add 9 mul 12 sub 13 min 14 div 15 max), dst, first, second, lanes. */
  sseArithmeticF32: row('i32 i32 i32 i32 i32', '', 'f'), sseArithmeticF64: row('i32 i32 i32 i32 i32', '', 'f'),
  /** 0 ADDSUB, 1 HADD, 2 HSUB; dst, first, second. */
  ssePairwiseF32: row('i32 i32 i32 i32', '', 'f'), ssePairwiseF64: row('i32 i32 i32 i32', '', 'f'),
  /** predicate, dst, first, second, lanes. */
  sseCompareF32: row('i32 i32 i32 i32 i32', '', 'f'), sseCompareF64: row('i32 i32 i32 i32 i32', '', 'f'),
  /** 1 quiet (UCOMI), first, second as bits: CF PF AF ZF SF OF. */
  sseCompareFlagsF32: row('i32 i32 i32', 'i32', 'f'), sseCompareFlagsF64: row('i32 i64 i64', 'i32', 'f'),
  /** source type | destination type << 2 (0 f32 1 f64 2 i32 3 i64), 1 truncate, dst, src, lanes. */
  sseConvert: row('i32 i32 i32 i32 i32', '', 'f'),
  /** 1 from f64, 1 to 64 bits, 1 truncate, bits. */
  sseToInteger: row('i32 i32 i32 i64', 'i64', 'f'),
  /** immediate, dst, src, lanes. */
  sseRoundF32: row('i32 i32 i32 i32', '', 'f'), sseRoundF64: row('i32 i32 i32 i32', '', 'f'),
  /** immediate, dst, first, second. */
  sseDotProductF32: row('i32 i32 i32 i32', '', 'f'), sseDotProductF64: row('i32 i32 i32 i32', '', 'f'),
  /** 0 RCP, 1 RSQRT; dst, src, lanes. */
  sseReciprocal: row('i32 i32 i32 i32'),
} as const satisfies Record<string, HelperRow>;

export type HelperName = keyof typeof HELPERS;

/** Kinds of an event in delivery, numbered as in VMCS and bhyve's intinfo. */
export const EVENT_EXTERNAL = 0, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFTWARE = 4, EVENT_ICEBP = 5, EVENT_SOFTWARE_EXCEPTION = 6;
