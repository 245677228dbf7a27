/**
 * Makes random single-instruction vectors: draws an instruction from the opcode tables of an outside disassembler, sets up a state in
 * which it has something to do, lets the real CPU answer, and works out which results the architecture leaves undefined.
 * Implements: level x86-64-v2 at CPL 3 (SDM vol. 2; undefined flags also from its per-instruction "Flags Affected").
 * Runs on: any thread; the answers come from native-cpu.ts.
 */
import {
  Code,
  CodeExt,
  CpuidFeature,
  Decoder,
  DecoderOptions,
  EncodingKind,
  MandatoryPrefix,
  MemorySize,
  MemorySizeExt,
  Mnemonic,
  OpCodeOperandKind,
  OpCodeTableKind,
  OpKind,
  Register,
  RegisterExt,
} from 'iced-x86';
import type { Instruction } from 'iced-x86';
import { GPR_NAMES } from '../state.ts';
import type { NativeCpu, NativeRequest } from './native-cpu.ts';
import { toVector } from './vectors.ts';
import type { ExpectedAnswer, FpuState, MemoryBytes, StepAnswer, StepInput, Tolerance, Vector } from './vectors.ts';

const DATA = 0x10000000n,
  CODE = 0x20000000n,
  REGION_BYTES = 0x10000n;
const CF = 1,
  PF = 4,
  AF = 0x10,
  ZF = 0x40,
  SF = 0x80,
  DF = 0x400,
  OF = 0x800,
  AC = 0x40000;
const STATUS_FLAGS = CF | PF | AF | ZF | SF | OF;
const COMPARED = STATUS_FLAGS | DF;

/** What level x86-64-v2 has, by the disassembler's names. */
const LEVEL = new Set<CpuidFeature>(
  (
    [
      'INTEL8086',
      'INTEL186',
      'INTEL286',
      'INTEL386',
      'INTEL486',
      'X64',
      'CLFSH',
      'CLFLUSHOPT',
      'CMOV',
      'CMPXCHG16B',
      'CX8',
      'FPU',
      'FPU287',
      'FPU387',
      'FXSR',
      'MMX',
      'MOVBE',
      'MULTIBYTENOP',
      'PAUSE',
      'POPCNT',
      'PREFETCHW',
      'SSE',
      'SSE2',
      'SSE3',
      'SSSE3',
      'SSE4_1',
      'SSE4_2',
      'CET_IBT',
      'MSR',
      'CPUID',
      'SEP',
      'SYSCALL',
      'TSC',
      'RDPMC',
      'XSAVE',
    ] as const
  ).map((name) => CpuidFeature[name]),
);

/** Not reproducible, not an instruction of its own, or dependent on what the format leaves open (selectors, CR4.UMIP, XCR0). */
const EXCLUDED = new Set<Mnemonic>(
  (
    [
      'Cpuid',
      'Rdtsc',
      'Rdpmc',
      'Syscall',
      'Sysenter',
      'Sysexit',
      'Sysret',
      'Sysexitq',
      'Sysretq',
      'Int',
      'Int1',
      'Int3',
      'Into',
      'Sgdt',
      'Sidt',
      'Sldt',
      'Str',
      'Smsw',
      'Xgetbv',
      'Xsave',
      'Xsave64',
      'Xrstor',
      'Xrstor64',
      'Monitor',
      'Mwait',
      'Bound',
      'Rsm',
      'Loadall',
      'Rdsspd',
      'Rdsspq',
      'Db',
      'Dw',
      'Dd',
      'Dq',
    ] as string[]
  )
    .map((name) => (Mnemonic as unknown as Record<string, Mnemonic>)[name])
    .filter((mnemonic) => mnemonic !== undefined),
);

/** Their result depends on the selector's descriptor: kept with selectors for which every table gives the same answer. */
const SELECTOR = new Set<Mnemonic>([
  Mnemonic.Lar,
  Mnemonic.Lsl,
  Mnemonic.Verr,
  Mnemonic.Verw,
  Mnemonic.Lds,
  Mnemonic.Les,
  Mnemonic.Lss,
  Mnemonic.Lfs,
  Mnemonic.Lgs,
  Mnemonic.Iret,
  Mnemonic.Iretd,
  Mnemonic.Iretq,
  Mnemonic.Retf,
]);

const STRING = new Set<Mnemonic>([
  Mnemonic.Movsb,
  Mnemonic.Movsw,
  Mnemonic.Movsd,
  Mnemonic.Movsq,
  Mnemonic.Cmpsb,
  Mnemonic.Cmpsw,
  Mnemonic.Cmpsd,
  Mnemonic.Cmpsq,
  Mnemonic.Stosb,
  Mnemonic.Stosw,
  Mnemonic.Stosd,
  Mnemonic.Stosq,
  Mnemonic.Lodsb,
  Mnemonic.Lodsw,
  Mnemonic.Lodsd,
  Mnemonic.Lodsq,
  Mnemonic.Scasb,
  Mnemonic.Scasw,
  Mnemonic.Scasd,
  Mnemonic.Scasq,
]);
const PUSHF = new Set<Mnemonic>([Mnemonic.Pushf, Mnemonic.Pushfd, Mnemonic.Pushfq]);
const POPF = new Set<Mnemonic>([Mnemonic.Popf, Mnemonic.Popfd, Mnemonic.Popfq]);
const ESTIMATES = new Set<Mnemonic>([Mnemonic.Rcpps, Mnemonic.Rcpss, Mnemonic.Rsqrtps, Mnemonic.Rsqrtss]);
const TRANSCENDENTAL = new Set<Mnemonic>([
  Mnemonic.F2xm1,
  Mnemonic.Fyl2x,
  Mnemonic.Fyl2xp1,
  Mnemonic.Fptan,
  Mnemonic.Fpatan,
  Mnemonic.Fsin,
  Mnemonic.Fcos,
  Mnemonic.Fsincos,
]);
const DIVIDES = new Set<Mnemonic>([Mnemonic.Div, Mnemonic.Idiv, Mnemonic.Aam]);

/** Random numbers from a seed: xorshift128+ (Vigna 2014) kept in 32-bit halves would be slower than this 32-bit sfc32. */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = (seed ^ 0x9e3779b9) | 0;
    this.#c = 0x2545f491;
    for (let i = 0; i < 16; i++) this.u32();
  }

  u32(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  /** 0 <= result < end */
  below(end: number): number {
    return Math.floor((this.u32() / 2 ** 32) * end);
  }
  chance(probability: number): boolean {
    return this.u32() < probability * 2 ** 32;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

const INTEGERS = [
  0n,
  1n,
  2n,
  3n,
  7n,
  8n,
  0xfn,
  0x10n,
  0x1fn,
  0x20n,
  0x3fn,
  0x40n,
  0x41n,
  0x7fn,
  0x80n,
  0x81n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x10000n,
  0x7fffffffn,
  0x80000000n,
  0x80000001n,
  0xffffffffn,
  0x100000000n,
  0x7fffffffffffffffn,
  0x8000000000000000n,
  0x8000000000000001n,
  0xffffffffffffffffn,
  0xfffffffffffffffen,
  0xffffffffffffff80n,
  0xffffffffffff8000n,
  0xffffffff80000000n,
  0x5555555555555555n,
  0xaaaaaaaaaaaaaaaan,
  0x0123456789abcdefn,
  0x9999999999999999n,
  0x4141414141414141n,
];
const FLOATS32 = [
  0, 0x80000000, 0x3f800000, 0xbf800000, 0x40000000, 0x3f000000, 0x3fc00000, 0xbfc00000, 0x40200000, 0x7f800000, 0xff800000, 0x7fc00000,
  0xffc00000, 0x7fc12345, 0x7f800001, 0xff812345, 0x7fbfffff, 0x00000001, 0x807fffff, 0x007fffff, 0x00800000, 0x00800001, 0x7f7fffff,
  0xff7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0xdf000000, 0x5effffff, 0x3effffff, 0x3f7fffff, 0x3f800001, 0x40490fdb,
  0x4b000001, 0x4b800000, 0x33800000, 0x34000000,
];
const FLOATS64 = [
  0n,
  0x8000000000000000n,
  0x3ff0000000000000n,
  0xbff0000000000000n,
  0x4000000000000000n,
  0x3fe0000000000000n,
  0x3ff8000000000000n,
  0xbff8000000000000n,
  0x4004000000000000n,
  0x7ff0000000000000n,
  0xfff0000000000000n,
  0x7ff8000000000000n,
  0xfff8000000000000n,
  0x7ff8123456789abcn,
  0x7ff0000000000001n,
  0xfff4000000000001n,
  1n,
  0x000fffffffffffffn,
  0x800fffffffffffffn,
  0x0010000000000000n,
  0x0010000000000001n,
  0x7fefffffffffffffn,
  0xffefffffffffffffn,
  0x41dfffffffc00000n,
  0x41e0000000000000n,
  0xc1e0000000000000n,
  0xc1e0000000200000n,
  0x41dfffffffe00000n,
  0x43e0000000000000n,
  0xc3e0000000000000n,
  0x43dfffffffffffffn,
  0x3fefffffffffffffn,
  0x3ff0000000000001n,
  0x400921fb54442d18n,
  0x36a0000000000000n,
  0x3690000000000001n,
  0x47efffffe0000000n,
  0x47efffffefffffffn,
  0x47f0000000000000n,
  0x380fffffffffffffn,
  0x3ca0000000000000n,
  0x4330000000000001n,
];
/** Sign and exponent, significand. Among them what only an 8087 would make: pseudo-denormals, unnormals, pseudo-NaN, pseudo-infinity. */
const FLOATS80: readonly (readonly [number, bigint])[] = [
  [0, 0n],
  [0x8000, 0n],
  [0x3fff, 1n << 63n],
  [0xbfff, 1n << 63n],
  [0x4000, 1n << 63n],
  [0x3ffe, 1n << 63n],
  [0x3fff, 0xc000000000000000n],
  [0x4000, 0xa000000000000000n],
  [0xbfff, 0xc000000000000000n],
  [0x7fff, 1n << 63n],
  [0xffff, 1n << 63n],
  [0x7fff, 0xc000000000000000n],
  [0xffff, 0xc000000000000000n],
  [0x7fff, 0xc000000000012345n],
  [0x7fff, 0x8000000000000001n],
  [0xffff, 0xa000000000000000n],
  [0, 1n],
  [0x8000, 0x7fffffffffffffffn],
  [0, 1n << 63n],
  [0x8000, 0xffffffffffffffffn],
  [1, 1n << 63n],
  [1, 0x8000000000000001n],
  [0x7ffe, 0xffffffffffffffffn],
  [0xfffe, 0xffffffffffffffffn],
  [0x4000, 0xc90fdaa22168c235n],
  [0x3ffe, 0xc90fdaa22168c235n],
  [0x403e, 1n << 63n],
  [0xc03e, 1n << 63n],
  [0x403e, 0x8000000000000001n],
  [0x403d, 0xffffffffffffffffn],
  [0x401e, 1n << 63n],
  [0xc01e, 1n << 63n],
  [0x401d, 0xffffffff00000000n],
  [0x401d, 0xfffffffe00000000n],
  [0x400e, 1n << 63n],
  [0xc00e, 1n << 63n],
  [0x400d, 0xfffe000000000000n],
  [0x3fff, 0x8000000000000001n],
  [0x3ffe, 0xffffffffffffffffn],
  [0x3ffd, 0xb504f333f9de6485n],
  [0x3c01, 1n << 63n],
  [0x3c00, 0xfffffffffffff800n],
  [0x43fe, 0xfffffffffffff800n],
  [0x43fe, 0xfffffffffffffc00n],
  [0x43ff, 1n << 63n],
  [0x3f81, 1n << 63n],
  [0x407e, 0xffffff0000000000n],
  [0x407e, 0xffffff8000000000n],
  [0x4039, 0xde0b6b3a763fffffn],
  [0x403a, 0xde0b6b3a763fffffn],
  [0x403e, 0x8ac7230489e80000n],
  [0x3fbf, 1n << 63n],
  [0x4000, 0x4000000000000000n],
  [0x7fff, 0n],
  [0x7fff, 0x1234n],
  [0x7fff, 0x4000000000000000n],
  [0x1234, 0n],
];

type Lane = 'int' | 'f32' | 'f64' | 'f80';

/** Everything that draws a value. */
class Values {
  readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  integer(): bigint {
    const { random } = this;
    switch (random.below(8)) {
      case 0:
      case 1:
      case 2:
        return random.pick(INTEGERS);
      case 3:
        return BigInt.asUintN(64, random.pick(INTEGERS) + BigInt(random.below(5) - 2));
      case 4:
        return BigInt(random.below(256));
      case 5:
        return 1n << BigInt(random.below(64));
      default:
        return random.u64();
    }
  }

  float32(): number {
    const { random } = this;
    switch (random.below(6)) {
      case 0:
      case 1:
        return random.pick(FLOATS32);
      case 2:
        return (random.u32() & 0x807fffff) | ((0x7f - 4 + random.below(9)) << 23);
      case 3:
        return (random.u32() & 0x80000007) | (random.below(2) ? 0x3f800000 : 0x4b000000);
      case 4:
        return (random.u32() & 0x80700000) | ((0x7f - 2 + random.below(40)) << 23);
      default:
        return random.u32();
    }
  }

  float64(): bigint {
    const { random } = this;
    const bits = random.u64();
    switch (random.below(6)) {
      case 0:
      case 1:
        return random.pick(FLOATS64);
      case 2:
        return (bits & 0x800fffffffffffffn) | (BigInt(0x3ff - 4 + random.below(9)) << 52n);
      case 3:
        return (bits & 0x8000000000000007n) | (random.below(2) ? 0x3ff0000000000000n : 0x4330000000000000n);
      case 4:
        return (bits & 0x800e000000000000n) | (BigInt(0x3ff - 2 + random.below(70)) << 52n);
      default:
        return bits;
    }
  }

  float80(): [number, bigint] {
    const { random } = this;
    const sign = random.u32() & 0x8000;
    switch (random.below(7)) {
      case 0:
      case 1:
      case 2: {
        const [head, significand] = random.pick(FLOATS80);
        return [head, significand];
      }
      case 3:
        return [sign | (0x3fff - 4 + random.below(9)), random.u64() | (1n << 63n)];
      case 4:
        return [sign | (0x3fff + random.below(66)), ((random.u64() << 52n) | (1n << 63n)) & 0xffffffffffffffffn];
      case 5:
        return [sign | (random.u32() & 0x7fff), random.u64() | (1n << 63n)];
      default:
        return [
          sign | (0x3fff - 2 + random.below(4)),
          random.pick([1n << 63n, 0xc000000000000000n, 0xfffffffffffffc00n, 0x8000000000000400n, 0x8000000000000200n, 0x8000008000000000n]),
        ];
    }
  }

  bytes(sizeBytes: number, lane: Lane): Buffer {
    const { random } = this;
    const bytes = Buffer.alloc(sizeBytes + 16);
    for (let at = 0; at < sizeBytes;) {
      if (lane === 'f32') {
        bytes.writeUInt32LE(this.float32() >>> 0, at);
        at += 4;
      } else if (lane === 'f64') {
        bytes.writeBigUInt64LE(this.float64(), at);
        at += 8;
      } else if (lane === 'f80') {
        const [head, significand] = this.float80();
        bytes.writeBigUInt64LE(significand, at);
        bytes.writeUInt16LE(head, at + 8);
        at += 10;
      } else {
        const sort = random.below(6);
        if (sort === 0) {
          bytes.writeUInt32LE(random.u32(), at);
          at += 4;
        } else if (sort === 1) {
          bytes.writeUInt8(random.pick([0, 1, 0x7f, 0x80, 0xff, 0x41]), at);
          at += 1;
        } else if (sort === 2) {
          bytes.writeUInt16LE(random.pick([0, 1, 0x7fff, 0x8000, 0xffff, 0x00ff, 0xff00]), at);
          at += 2;
        } else {
          bytes.writeBigUInt64LE(this.integer(), at);
          at += 8;
        }
      }
    }
    return bytes.subarray(0, sizeBytes);
  }
}

interface Form {
  readonly code: Code;
  readonly opcode: readonly number[];
  readonly opcodeRegister: boolean;
  readonly modrm: 'none' | 'memory' | 'register' | 'both';
  readonly group: number;
  readonly rmGroup: number;
  readonly prefix: number;
  readonly operandSize: number;
  readonly addressSize: number;
  readonly rexW: boolean;
  readonly lock: boolean;
  readonly string: boolean;
  readonly modes: readonly (32 | 64)[];
}

/** The disassembler's own list of legacy-encoded instructions, which is not the table that our decoder is made of. */
function readForms(): Form[] {
  const forms: Form[] = [];
  const kindNames = Object.fromEntries(Object.entries(OpCodeOperandKind).map(([name, value]) => [value, name]));
  for (const value of Object.values(Code)) {
    if (typeof value !== 'number') continue;
    const code = value as Code;
    const info = CodeExt.opCode(code);
    if (info.encoding === EncodingKind.Legacy && info.isInstruction && (info.mode32 || info.mode64)) {
      const kinds = Array.from({ length: info.opCount }, (_, index) => kindNames[info.opKind(index)]!);
      const hasMemory = kinds.some((kind) => /^(mem|mem_mpx|mem_mib)$|OrMem|_or_mem|^Mem$|^MemMpx$/i.test(kind));
      const hasRegister = kinds.some((kind) => /or_?mem|_?rm$|Rm$/i.test(kind) && !/^mem$/i.test(kind));
      const hasReg = kinds.some((kind) => /Reg$|_reg$|RegMem$|_reg_mem$/i.test(kind));
      const twoBytes = info.opCodeLength === 2;
      const escape =
        info.table === OpCodeTableKind.T0F
          ? [0x0f]
          : info.table === OpCodeTableKind.T0F38
            ? [0x0f, 0x38]
            : info.table === OpCodeTableKind.T0F3A
              ? [0x0f, 0x3a]
              : [];
      const opcode = [...escape, ...(twoBytes ? [info.opCode >>> 8, info.opCode & 0xff] : [info.opCode])];
      const prefix =
        info.mandatoryPrefix === MandatoryPrefix.P66
          ? 0x66
          : info.mandatoryPrefix === MandatoryPrefix.PF3
            ? 0xf3
            : info.mandatoryPrefix === MandatoryPrefix.PF2
              ? 0xf2
              : 0;
      forms.push({
        code,
        opcode,
        prefix,
        opcodeRegister: kinds.some((kind) => /opcode$/i.test(kind)),
        modrm: hasMemory ? (hasRegister ? 'both' : 'memory') : hasRegister || hasReg || info.isGroup ? 'register' : 'none',
        group: info.isGroup ? info.groupIndex : -1,
        rmGroup: info.isRmGroup ? info.rmGroupIndex : -1,
        operandSize: info.operandSize,
        addressSize: info.addressSize,
        rexW: info.W === 1 || (info.operandSize === 64 && !info.defaultOpSize64 && !info.forceOpSize64),
        lock: info.canUseLockPrefix,
        string: info.canUseRepPrefix || info.canUseRepnePrefix,
        modes: info.mode64 && info.mode32 ? [64, 64, 64, 32] : info.mode64 ? [64] : [32],
      });
    }
    info.free();
  }
  return forms;
}

const SEGMENT_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

/** What memory an instruction will touch, before a state is chosen for it. */
interface Access {
  readonly start: bigint;
  readonly sizeBytes: number;
  readonly lane: Lane;
}

export interface MakerOptions {
  readonly seed: number;
  readonly count: number;
}

export class Maker {
  readonly #random: Random;
  readonly #values: Values;
  readonly #forms: readonly Form[];
  #nextForm = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#values = new Values(this.#random);
    const forms = readForms();
    // Forms which are never accepted (out of the level, excluded) would only cost time.
    this.#forms = forms.filter((form) => {
      for (let attempt = 0; attempt < 12; attempt++) if (this.#make(form, 0) !== null) return true;
      return false;
    });
  }

  get formCount(): number {
    return this.#forms.length;
  }

  /** Make `count` vectors and let the CPU answer them; fewer come back where its answer depends on the host. */
  vectors(cpu: NativeCpu, count: number, firstId = 1): Vector[] {
    const vectors: Vector[] = [];
    while (vectors.length < count) {
      const drafts: Draft[] = [];
      const wanted = Math.min(4000, count - vectors.length);
      while (drafts.length < wanted) {
        const form = this.#random.chance(0.02) ? null : this.#forms[this.#nextForm++ % this.#forms.length]!;
        const draft = form === null ? this.#makeInvalid(drafts.length) : this.#make(form, drafts.length);
        if (draft !== null) drafts.push(draft);
      }
      for (const [index, result] of cpu.run(drafts.map((draft) => draft.request)).entries()) {
        const draft = drafts[index]!;
        if (result === null || !reproducible(draft, result.answer)) continue;
        const id = firstId + vectors.length;
        vectors.push(toVector({ ...result.input, id }, { ...result.answer, id, ...undefinedResults(draft, result.answer) }));
      }
    }
    return vectors;
  }

  /** Bytes that the disassembler refuses: most raise #UD. */
  #makeInvalid(id: number): Draft | null {
    const random = this.#random;
    const mode = random.chance(0.7) ? 64 : 32;
    const head = random.pick([[0x0f], [0x0f, 0x38], [0x0f, 0x3a], [], [0xf0], [0x66], [0xf3, 0x0f], [0xf2, 0x0f], [0xf0, 0x0f]]);
    const bytes = Uint8Array.from([...head, ...Array.from({ length: 8 }, () => random.u32() & 0xff)]);
    if (bytes.some((byte, index) => index < head.length + 1 && [0xc4, 0xc5, 0x62, 0x8f, 0xd6].includes(byte))) return null;
    const decoder = new Decoder(mode, bytes, DecoderOptions.None);
    decoder.ip = CODE;
    const instruction = decoder.decode();
    const invalid = instruction.code === Code.INVALID;
    instruction.free();
    decoder.free();
    if (!invalid) return null;
    const state = this.#plainState(mode);
    return {
      request: { input: { id, mode, code: Buffer.from(bytes).toString('hex'), regs: state, mem: [] }, repeat: false, pushf: false },
      mnemonic: Mnemonic.INVALID,
      invalid: true,
      flagsUndefined: 0,
      count: null,
      operandBits: 0,
      tolerance: undefined,
      zeroSource: null,
      memoryDestination: false,
      destination: null,
      selector: null,
      fpu: false,
    };
  }

  #plainState(mode: 32 | 64): Record<string, string> {
    const names = mode === 64 ? GPR_NAMES : GPR_NAMES.slice(0, 8);
    const regs: Record<string, string> = {};
    for (const [index, name] of names.entries()) regs[name] = `0x${(DATA + 0x1000n * BigInt(index)).toString(16)}`;
    regs['rip'] = '0x20008000';
    regs['rflags'] = '0x202';
    return regs;
  }

  #encode(form: Form, mode: 32 | 64): number[] {
    const random = this.#random;
    const legacy: number[] = [];
    if (form.prefix) legacy.push(form.prefix);
    if (form.operandSize === 16 && form.prefix !== 0x66) legacy.push(0x66);
    if (mode === 64 ? form.addressSize === 32 : form.addressSize === 16) legacy.push(0x67);
    else if (random.chance(form.modrm === 'memory' || form.modrm === 'both' ? (mode === 64 ? 0.06 : 0.02) : 0.02)) legacy.push(0x67);
    if (random.chance(0.1)) legacy.push(random.pick(SEGMENT_PREFIXES));
    if (random.chance(0.03)) legacy.push(random.pick([0x66, 0xf2, 0xf3]));
    if (form.string && random.chance(0.6)) legacy.push(random.pick([0xf2, 0xf3]));
    if (random.chance(form.lock ? 0.3 : 0.01)) legacy.push(0xf0);
    if (random.chance(0.02)) legacy.push(random.pick(SEGMENT_PREFIXES), random.pick([...legacy, 0x66]));
    if (random.chance(0.003)) while (legacy.length < 10 + random.below(5)) legacy.push(random.pick([0x66, 0x67, 0x2e, 0x3e]));
    for (let i = legacy.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [legacy[i], legacy[j]] = [legacy[j]!, legacy[i]!];
    }
    // A REX prefix which is not right before the opcode is ignored.
    if (mode === 64 && random.chance(0.01)) legacy.splice(random.below(legacy.length), 0, 0x40 | random.below(16));
    const bytes = [...legacy];
    if (mode === 64) {
      const rex = (random.chance(0.45) ? random.below(8) : 0) | (form.rexW || random.chance(0.03) ? 8 : 0);
      if (rex || random.chance(0.08)) bytes.push(0x40 | rex);
    }
    const opcode = [...form.opcode];
    if (form.opcodeRegister) opcode[opcode.length - 1]! |= random.below(8);
    bytes.push(...opcode);
    if (form.modrm !== 'none') {
      const memory = form.modrm === 'memory' ? random.chance(0.98) : form.modrm === 'both' ? random.chance(0.6) : random.chance(0.02);
      const mod = memory ? random.below(3) : 3;
      const reg = form.group >= 0 ? form.group : random.below(8);
      const rm = form.rmGroup >= 0 ? form.rmGroup : random.below(8);
      bytes.push((mod << 6) | (reg << 3) | rm);
      if (memory && rm === 4) bytes.push(random.u32() & 0xff);
    }
    const tail = random.below(4);
    for (let i = 0; i < 12; i++)
      bytes.push(tail === 0 ? random.pick([0, 1, 2, 3, 7, 8, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xff]) : random.u32() & 0xff);
    return bytes;
  }

  #make(form: Form, id: number): Draft | null {
    const random = this.#random;
    const mode = random.pick(form.modes);
    const bytes = Uint8Array.from(this.#encode(form, mode));
    // #GP for more than 15 bytes comes before anything else: no operands needed.
    let decoder = new Decoder(mode, bytes, DecoderOptions.None);
    const rip = CODE + BigInt(random.chance(0.9) ? 0x8000 : random.chance(0.6) ? 0x9000 - random.below(16) : 0x1000 + random.below(0xe000));
    decoder.ip = rip;
    let instruction = decoder.decode();
    if (instruction.code === Code.INVALID) {
      // A LOCK where none is allowed: the length is that of the same bytes without the check.
      instruction.free();
      decoder.free();
      decoder = new Decoder(mode, bytes, DecoderOptions.NoInvalidCheck);
      decoder.ip = rip;
      instruction = decoder.decode();
    }
    try {
      return this.#fill(instruction, decoder, bytes, mode, rip, id, form);
    } finally {
      instruction.free();
      decoder.free();
    }
  }

  #fill(instruction: Instruction, decoder: Decoder, bytes: Uint8Array, mode: 32 | 64, rip: bigint, id: number, form: Form): Draft | null {
    const random = this.#random,
      values = this.#values;
    const { mnemonic } = instruction;
    if (instruction.code === Code.INVALID || EXCLUDED.has(mnemonic)) return null;
    const features = instruction.cpuidFeatures();
    for (const feature of features) if (!LEVEL.has(feature)) return null;
    if (instruction.code !== form.code && random.chance(0.5)) return null;
    const lengthBytes = instruction.length;
    const code = bytes.slice(0, lengthBytes);
    // F3 0F BC/BD are TZCNT and LZCNT on newer processors, F3 0F B8 without POPCNT is something else.
    if ([Mnemonic.Bsf, Mnemonic.Bsr].includes(mnemonic) && code.includes(0xf3)) return null;
    if (mnemonic === Mnemonic.Bswap && RegisterExt.size(instruction.op0Register) === 2) return null;
    const opCount = instruction.opCount;
    const kinds = Array.from({ length: opCount }, (_, index) => instruction.opKind(index));
    const registers = kinds.map((kind, index) => (kind === OpKind.Register ? instruction.opRegister(index) : Register.None));
    // Selector values are the host's own.
    if (registers.some((register, index) => index > 0 && RegisterExt.isSegmentRegister(register))) return null;
    if (mnemonic === Mnemonic.Push && registers.some((register) => RegisterExt.isSegmentRegister(register))) return null;

    const addressMask = mode === 32 ? 0xffffffffn : 0xffffffffffffffffn;
    const names = mode === 64 ? GPR_NAMES : GPR_NAMES.slice(0, 8);
    const gpr = new Map<string, bigint>();
    for (const [index, name] of names.entries())
      gpr.set(name, ((mode === 64 ? 0x1111111111111111n : 0x11111111n) * BigInt(index + 1)) & addressMask);
    for (const register of registers) {
      const name = gprName(register);
      if (name !== null && gpr.has(name)) gpr.set(name, this.#operandValue() & addressMask);
    }
    for (const name of ['rax', 'rcx', 'rdx'] as const) if (random.chance(0.5)) gpr.set(name, this.#operandValue() & addressMask);
    if (random.chance(0.2)) gpr.set(random.pick(names), this.#operandValue() & addressMask);
    gpr.set('rsp', this.#stackPointer() & addressMask);
    if (random.chance(0.7)) gpr.set('rbp', this.#stackPointer() & addressMask);

    const accesses: Access[] = [];
    const isString = STRING.has(mnemonic) || form.string;
    const hasRep = isString && (instruction.hasRepPrefix || instruction.hasRepnePrefix);
    let flags =
      0x202 | (random.chance(0.5) ? random.u32() & STATUS_FLAGS : 0) | (random.chance(0.1) ? DF : 0) | (random.chance(0.04) ? AC : 0);
    if (random.chance(0.3)) flags |= STATUS_FLAGS;
    if (isString) {
      if (random.chance(0.3)) flags |= DF;
      const elementBytes = Math.max(1, MemorySizeExt.size(instruction.memorySize));
      for (const name of ['rsi', 'rdi']) {
        if (random.chance(0.04)) continue;
        const target = this.#target(elementBytes * (random.chance(0.5) ? 1 : 4));
        gpr.set(name, target & addressMask);
        accesses.push({ start: flags & DF ? target - 56n : target, sizeBytes: 64, lane: 'int' });
      }
      gpr.set(
        'rcx',
        hasRep
          ? BigInt(random.chance(0.85) ? random.below(12) : random.chance(0.5) ? random.below(600) : 0x10000)
          : values.integer() & addressMask,
      );
      if (hasRep && mode === 64 && code.includes(0x67)) gpr.set('rcx', gpr.get('rcx')! | (random.u64() & 0xffffffff00000000n));
    }

    const memoryOperand = kinds.indexOf(OpKind.Memory);
    const lane = laneOf(instruction, mnemonic, random);
    let sizeBytes = MemorySizeExt.size(instruction.memorySize);
    const packedBytes = sizeBytes;
    if (sizeBytes === 0) sizeBytes = form.modrm === 'none' ? 1 : 16;
    let memoryStart: bigint | null = null;
    if (memoryOperand >= 0) {
      memoryStart = this.#aim(instruction, decoder, code, mode, rip, gpr, sizeBytes, addressMask);
      let start = memoryStart;
      // BTx with a register: the bit offset reaches beyond the operand.
      if (
        [Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc].includes(mnemonic) &&
        registers[1] !== undefined &&
        registers[1] !== Register.None
      ) {
        const name = gprName(registers[1])!;
        const operandBits = BigInt(packedBytes * 8);
        if (random.chance(0.8) && gprName(instruction.memoryBase) !== name && gprName(instruction.memoryIndex) !== name)
          gpr.set(name, BigInt.asUintN(64, BigInt(random.below(2000) - 1000)) & addressMask);
        const offset = BigInt.asIntN(Number(operandBits), gpr.get(name)!);
        start += (offset >> BigInt(Math.log2(Number(operandBits)))) * BigInt(packedBytes);
      }
      const near = mnemonic === Mnemonic.Jmp || mnemonic === Mnemonic.Call;
      if (near) accesses.push({ start, sizeBytes: 16, lane: 'int' });
      else
        accesses.push({
          start: random.chance(0.2) ? start - 8n : start,
          sizeBytes: sizeBytes + 16 > 600 ? sizeBytes : sizeBytes + (random.chance(0.2) ? 16 : 0),
          lane,
        });
    }
    if (mnemonic === Mnemonic.Xlatb) {
      const base = this.#target(1);
      gpr.set('rbx', base & addressMask);
      accesses.push({ start: base + (gpr.get('rax')! & 0xffn), sizeBytes: 8, lane: 'int' });
    }
    if (mnemonic === Mnemonic.Maskmovq || mnemonic === Mnemonic.Maskmovdqu) {
      const target = this.#target(16);
      gpr.set('rdi', target & addressMask);
      accesses.push({ start: target, sizeBytes: 16, lane: 'int' });
    }
    const stack = form.code !== Code.INVALID && CodeExt.opCode(instruction.code).isStackInstruction;
    const branchTarget = (): bigint =>
      (random.chance(0.85) ? CODE + BigInt(random.below(0x10000)) : random.chance(0.5) ? DATA + 0x100n : values.integer()) & addressMask;
    const mem = new Map<bigint, Buffer>();
    for (const access of accesses) this.#addMemory(mem, access, mnemonic, addressMask);
    if (stack && random.chance(0.95)) {
      const top = gpr.get(mnemonic === Mnemonic.Leave || (mnemonic === Mnemonic.Enter && random.chance(0.7)) ? 'rbp' : 'rsp')!;
      const content = SELECTOR.has(mnemonic) ? Buffer.alloc(40) : values.bytes(40, 'int');
      const width = mode === 64 ? 8 : 4;
      if ([Mnemonic.Ret, Mnemonic.Retf, Mnemonic.Iret, Mnemonic.Iretd, Mnemonic.Iretq].includes(mnemonic)) {
        const target = branchTarget();
        if (width === 8) content.writeBigUInt64LE(target, 0);
        else content.writeUInt32LE(Number(target), 0);
      }
      if (POPF.has(mnemonic)) {
        content.fill(0);
        content.writeUInt32LE(0x2 | (random.u32() & (COMPARED | 0x200 | (random.chance(0.1) ? AC | 0x203000 : 0))), 0);
      }
      const start = mnemonic === Mnemonic.Enter ? top - 32n : top;
      this.#addBytes(mem, start, content);
    }
    if ((mnemonic === Mnemonic.Jmp || mnemonic === Mnemonic.Call) && random.chance(0.9)) {
      if (memoryStart !== null) {
        const content = Buffer.alloc(16);
        const far =
          (/far|ptr/i.test(CodeExt.opCode(instruction.code).instructionString) && instruction.isJmpFarIndirect) ||
          instruction.isCallFarIndirect;
        if (far) {
          if (mode === 64) content.writeUInt32LE(Number(branchTarget() & 0xffffn), 0);
        } else if (mode === 64) content.writeBigUInt64LE(branchTarget(), 0);
        else content.writeUInt32LE(Number(branchTarget()), 0);
        this.#addBytes(mem, memoryStart, content);
      } else if (registers[0] !== undefined && gprName(registers[0]) !== null) gpr.set(gprName(registers[0])!, branchTarget());
    }
    if (instruction.isJmpFar || instruction.isCallFar) return null; // direct: mode 32 only, the selector is in the code
    let selector: bigint | null = null;
    const toSegment = registers[0] !== undefined && RegisterExt.isSegmentRegister(registers[0]);
    if (SELECTOR.has(mnemonic) || toSegment || mnemonic === Mnemonic.Lldt || mnemonic === Mnemonic.Ltr) {
      // Null, or beyond the end of any table (and an LDT that does not exist).
      selector = BigInt(random.pick([0, 0, 0, 1, 2, 3, 0xfff8, 0xfffb, 0xfff0]));
      if (toSegment || (opCount > 0 && SELECTOR.has(mnemonic))) {
        const source = registers[mnemonic === Mnemonic.Verr || mnemonic === Mnemonic.Verw ? 0 : 1];
        if (source !== undefined && gprName(source) !== null) gpr.set(gprName(source)!, (gpr.get(gprName(source)!)! & ~0xffffn) | selector);
        const content = Buffer.alloc(2);
        content.writeUInt16LE(Number(selector));
        if (memoryStart !== null && [Mnemonic.Lds, Mnemonic.Les, Mnemonic.Lss, Mnemonic.Lfs, Mnemonic.Lgs].includes(mnemonic))
          this.#addBytes(mem, memoryStart + BigInt(Math.max(packedBytes - 2, 2)), content);
        else if (memoryStart !== null) this.#addBytes(mem, memoryStart, content);
        else if (mnemonic === Mnemonic.Pop) this.#addBytes(mem, gpr.get('rsp')!, content);
      }
    }

    const has = (name: keyof typeof CpuidFeature): boolean => features.includes(CpuidFeature[name] as unknown as number);
    const fpu =
      has('FPU') ||
      has('FPU287') ||
      has('FPU387') ||
      has('MMX') ||
      registers.some((register) => RegisterExt.isMM(register)) ||
      has('FXSR') ||
      random.chance(0.01);
    const vector =
      registers.some((register) => RegisterExt.isXMM(register)) ||
      has('FXSR') ||
      mnemonic === Mnemonic.Ldmxcsr ||
      mnemonic === Mnemonic.Stmxcsr ||
      mnemonic === Mnemonic.Cvtpi2ps ||
      mnemonic === Mnemonic.Cvtpi2pd ||
      random.chance(0.01);
    if (has('FXSR') && memoryStart !== null) this.#addFxsave(mem, memoryStart);
    if (mnemonic === Mnemonic.Fbld && memoryStart !== null && random.chance(0.8)) {
      const digits = Array.from({ length: 9 }, () => random.below(10) * 16 + random.below(10));
      this.#addBytes(mem, memoryStart, Buffer.from([...digits, random.chance(0.5) ? 0x80 : 0]));
    }

    // The instruction's own bytes come last: data on top of them would be another instruction.
    const patched = Buffer.from(code);
    const regs: Record<string, string> = {};
    for (const name of names) regs[name] = `0x${gpr.get(name)!.toString(16)}`;
    regs['rip'] = `0x${rip.toString(16)}`;
    regs['rflags'] = `0x${(flags & ~(isString || memoryOperand >= 0 || stack ? 0 : AC)).toString(16)}`;
    const entries: MemoryBytes[] = [];
    for (const [address, content] of mem) {
      if (address < rip + BigInt(lengthBytes) && rip < address + BigInt(content.length)) return null;
      entries.push({ addr: `0x${address.toString(16)}`, data: content.toString('hex') });
    }
    const input: StepInput = {
      id,
      mode,
      code: patched.toString('hex'),
      regs,
      ...(vector && { xmm: this.#vectors(mode, registers, lane), mxcsr: `0x${this.#mxcsr().toString(16)}` }),
      ...(fpu && { fpu: this.#fpuState(mnemonic, has('MMX') || registers.some((register) => RegisterExt.isMM(register))) }),
      mem: entries,
    };

    // For the undefined results: what count, what size, does it go to memory.
    const operandBits =
      memoryOperand === 0
        ? packedBytes * 8
        : registers[0] !== undefined && registers[0] !== Register.None
          ? RegisterExt.size(registers[0]) * 8
          : 0;
    let count: number | null = null;
    if (SHIFTS.has(mnemonic)) {
      const last = opCount - 1;
      const raw = kinds[last] === OpKind.Register ? Number(gpr.get('rcx')! & 0xffn) : instruction.immediate(last);
      count = Number(raw) & (operandBits === 64 ? 63 : 31);
    }
    return {
      request: { input, repeat: hasRep, pushf: PUSHF.has(mnemonic) },
      mnemonic,
      invalid: false,
      flagsUndefined: icedFlags(instruction.rflagsUndefined),
      count,
      operandBits,
      memoryDestination: memoryOperand === 0,
      tolerance: ESTIMATES.has(mnemonic) ? 'rel12' : TRANSCENDENTAL.has(mnemonic) ? 'x87' : undefined,
      zeroSource: null,
      destination: registers[0] === undefined ? null : gprName(registers[0]),
      selector,
      fpu: has('FPU') || has('FPU287') || has('FPU387') || has('CMOV'),
    };
  }

  #operandValue(): bigint {
    const random = this.#random;
    return random.chance(0.12) ? DATA + BigInt(random.below(0x10000)) : this.#values.integer();
  }

  #stackPointer(): bigint {
    const random = this.#random;
    const aligned = DATA + 0x100n + BigInt(random.below(0xe00)) * 16n;
    switch (random.below(24)) {
      case 0:
        return aligned + BigInt(random.below(16));
      case 1:
        return DATA + REGION_BYTES - BigInt(random.below(10));
      case 2:
        return DATA + BigInt(random.below(10));
      case 3:
        return random.pick([
          0n,
          8n,
          0x7fffffffffffn,
          0x800000000000n,
          0xffff800000000000n,
          0xfffffffffffffff8n,
          CODE + 0x4000n,
          DATA + 0x3000n,
          DATA + 0x2ffcn,
        ]);
      default:
        return aligned;
    }
  }

  /** An address for an operand: mostly usable, with every way of going wrong. */
  #target(sizeBytes: number): bigint {
    const random = this.#random;
    const size = BigInt(Math.max(sizeBytes, 1));
    const alignment = BigInt(Math.min(16, 1 << Math.floor(Math.log2(Math.max(1, sizeBytes)))));
    const inside = 0x200n + BigInt(random.below(0xf000));
    switch (random.below(32)) {
      case 0:
      case 1:
        return DATA + REGION_BYTES - BigInt(random.below(Number(size) + 2));
      case 2:
        return DATA - BigInt(random.below(Number(size) + 1));
      case 3:
      case 4:
        return CODE + (inside & ~15n);
      case 5:
      case 6:
        return DATA + BigInt(1 + random.below(15)) * 0x1000n - BigInt(random.below(Number(size) + 1));
      case 7:
        return random.chance(0.5)
          ? random.pick([
              0n,
              0x1000n,
              0x7ffffff0n,
              0x800000000000n,
              0xffff7ffffffffff8n,
              0xffffffffffffffffn,
              0x12345678n,
              CODE + REGION_BYTES - 2n,
            ])
          : DATA + inside;
      case 8:
      case 9:
      case 10:
      case 11:
      case 12:
        return DATA + inside;
      default:
        return DATA + (inside / alignment) * alignment;
    }
  }

  /** Choose base, index or displacement so that the operand lies at a good target; returns where it really lies. */
  #aim(
    instruction: Instruction,
    decoder: Decoder,
    code: Uint8Array,
    mode: 32 | 64,
    rip: bigint,
    gpr: Map<string, bigint>,
    sizeBytes: number,
    addressMask: bigint,
  ): bigint {
    const random = this.#random;
    const target = this.#target(sizeBytes);
    const { memoryBase, memoryIndex, memoryIndexScale } = instruction;
    const displacement = instruction.memoryDisplacementU64;
    const base = gprName(memoryBase),
      index = gprName(memoryIndex);
    const registerBytes =
      memoryBase !== Register.None ? RegisterExt.size(memoryBase) : memoryIndex !== Register.None ? RegisterExt.size(memoryIndex) : 8;
    const mask =
      instruction.isIpRelMemoryOperand || (base === null && index === null)
        ? addressMask
        : registerBytes === 8
          ? 0xffffffffffffffffn
          : registerBytes === 4
            ? 0xffffffffn
            : 0xffffn;
    if (instruction.isIpRelMemoryOperand || (base === null && index === null)) {
      const offsets = decoder.getConstantOffsets(instruction);
      const { displacementOffset, displacementSize } = offsets;
      offsets.free();
      if (displacementSize < 4) return displacement;
      const inReach = BigInt.asUintN(64, target) < 0x7fff0000n ? target : DATA + 0x4000n;
      const value = instruction.isIpRelMemoryOperand ? inReach - (rip + BigInt(code.length)) : inReach;
      for (let i = 0; i < displacementSize; i++) code[displacementOffset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
      return inReach;
    }
    const high = registerBytes === 4 && mode === 64 ? random.u64() & 0xffffffff00000000n : 0n;
    const set = (name: string, value: bigint): void => {
      gpr.set(name, (registerBytes === 2 ? (gpr.get(name)! & ~0xffffn) | (value & 0xffffn) : (value & mask) | high) & addressMask);
    };
    const wanted = BigInt.asIntN(64, target - displacement);
    const scale = BigInt(memoryIndexScale);
    if (base !== null && index !== null && base !== index) {
      if (index !== 'rsp') set(index, random.chance(0.8) ? BigInt.asUintN(64, BigInt(random.below(4096) - 2048)) : this.#values.integer());
      set(base, BigInt.asUintN(64, wanted - (gpr.get(index)! & mask) * scale));
    } else if (base !== null && index !== null) {
      set(base, BigInt.asUintN(64, (registerBytes === 4 ? BigInt.asUintN(32, wanted) : wanted) / (scale + 1n)));
    } else if (base !== null) {
      set(base, BigInt.asUintN(64, wanted));
    } else {
      set(index!, BigInt.asUintN(64, (registerBytes === 4 ? BigInt.asUintN(32, wanted) : wanted) / scale));
    }
    const sum = (base === null ? 0n : gpr.get(base)! & mask) + (index === null ? 0n : (gpr.get(index)! & mask) * scale) + displacement;
    return sum & mask;
  }

  #addMemory(mem: Map<bigint, Buffer>, { start, sizeBytes, lane }: Access, mnemonic: Mnemonic, addressMask: bigint): void {
    const random = this.#random;
    let content = this.#values.bytes(sizeBytes, lane);
    // Comparing strings needs runs of equal elements.
    if (STRING.has(mnemonic) && random.chance(0.6))
      content = Buffer.from(Array.from({ length: sizeBytes }, () => (random.chance(0.02) ? 1 : 0x41)));
    this.#addBytes(mem, start & addressMask, content);
  }

  /** Writes into the given entries where they overlap, so that no byte is given twice; cuts what lies outside of the regions. */
  #addBytes(mem: Map<bigint, Buffer>, start: bigint, content: Buffer): void {
    for (const region of [DATA, CODE]) {
      const from = start > region ? start : region;
      const end = start + BigInt(content.length) < region + REGION_BYTES ? start + BigInt(content.length) : region + REGION_BYTES;
      if (from >= end) continue;
      const part = Buffer.from(content.subarray(Number(from - start), Number(end - start)));
      let low = from,
        high = end,
        merged = part;
      for (const [address, other] of mem) {
        const otherEnd = address + BigInt(other.length);
        if (otherEnd < low || high < address) continue;
        const newLow = address < low ? address : low,
          newHigh = otherEnd > high ? otherEnd : high;
        const joined = Buffer.alloc(Number(newHigh - newLow));
        other.copy(joined, Number(address - newLow));
        merged.copy(joined, Number(low - newLow));
        mem.delete(address);
        [low, high, merged] = [newLow, newHigh, joined];
      }
      mem.set(low, merged);
    }
  }

  /** An image that FXRSTOR accepts, most of the time. */
  #addFxsave(mem: Map<bigint, Buffer>, start: bigint): void {
    const random = this.#random;
    const image = Buffer.alloc(512);
    const state = this.#fpuState(Mnemonic.Fxrstor, false);
    image.writeUInt16LE(Number(state.fcw), 0);
    image.writeUInt16LE(Number(state.fsw), 2);
    image[4] = Number(state.ftw);
    image.writeUInt32LE(random.chance(0.9) ? this.#mxcsr() : random.u32(), 24);
    state.st.forEach((value, index) => image.write(value, 32 + index * 16, 'hex'));
    for (let index = 0; index < 16; index++) image.writeBigUInt64LE(this.#values.integer(), 160 + index * 16);
    this.#addBytes(mem, start, image);
  }

  #mxcsr(): number {
    const random = this.#random;
    if (random.chance(0.45)) return 0x1f80;
    let value = 0x1f80 | (random.below(4) << 13);
    if (random.chance(0.3)) value |= 0x8000;
    if (random.chance(0.3)) value |= 0x40;
    if (random.chance(0.3)) value |= random.below(64);
    if (random.chance(0.4)) value = (value & ~0x1f80) | (random.below(64) << 7);
    return value;
  }

  #vectors(mode: 32 | 64, registers: readonly Register[], lane: Lane): string[] {
    const random = this.#random;
    const count = mode === 64 ? 16 : 8;
    const used = new Set(registers.filter((register) => RegisterExt.isXMM(register)).map((register) => RegisterExt.number(register)));
    used.add(0);
    return Array.from({ length: count }, (_, index) =>
      used.has(index) || random.chance(0.05) ? this.#values.bytes(16, lane).toString('hex') : (0x10 + index).toString(16).repeat(16),
    );
  }

  #fpuState(mnemonic: Mnemonic, integers: boolean): FpuState {
    const random = this.#random;
    let fcw = 0x37f;
    if (random.chance(0.5)) fcw = (fcw & ~0xf00) | (random.pick([0, 2, 3, 3, 3]) << 8) | (random.below(4) << 10);
    if (random.chance(0.25)) fcw = (fcw & ~0x3f) | random.below(64);
    if (random.chance(0.02)) fcw |= 0x1000;
    let fsw = random.below(8) << 11;
    if (random.chance(0.3)) fsw |= random.u32() & 0x4700;
    if (random.chance(0.2)) fsw |= random.below(64);
    if (random.chance(0.05)) fsw |= 0x41;
    // ES and B say that an unmasked exception waits (SDM vol. 1 8.1.3.3).
    if (fsw & ~fcw & 0x3f) {
      if (random.chance(0.6)) fsw &= ~(~fcw & 0x3f);
      else fsw |= 0x8080;
    }
    const ftw = random.chance(0.75) ? 0xff : random.chance(0.3) ? 0 : random.below(256);
    const empty = random.chance(0.5);
    const st = Array.from({ length: 8 }, (_, index) => {
      if (index > 2 && mnemonic !== Mnemonic.Fxrstor && random.chance(0.7)) return empty ? '00000000000000000000' : '0000000000000080ff3f';
      return integers ? `${this.#values.bytes(8, 'int').toString('hex')}ffff` : this.#values.bytes(10, 'f80').toString('hex');
    });
    return { fcw: `0x${fcw.toString(16)}`, fsw: `0x${fsw.toString(16)}`, ftw: `0x${ftw.toString(16)}`, st };
  }
}

const SHIFTS = new Set<Mnemonic>([
  Mnemonic.Shl,
  Mnemonic.Sal,
  Mnemonic.Shr,
  Mnemonic.Sar,
  Mnemonic.Rol,
  Mnemonic.Ror,
  Mnemonic.Rcl,
  Mnemonic.Rcr,
  Mnemonic.Shld,
  Mnemonic.Shrd,
]);

interface Draft {
  readonly request: NativeRequest;
  readonly mnemonic: Mnemonic;
  readonly invalid: boolean;
  readonly flagsUndefined: number;
  readonly count: number | null;
  readonly operandBits: number;
  readonly memoryDestination: boolean;
  readonly tolerance: Tolerance | undefined;
  readonly zeroSource: null;
  readonly destination: string | null;
  readonly selector: bigint | null;
  readonly fpu: boolean;
}

const EXCEPTIONS = new Set([0, 6, 12, 13, 14, 16, 17, 19]);

/** False where the answer is the host's own affair, or where the architecture leaves a result open that can't be masked. */
function reproducible(draft: Draft, answer: StepAnswer): boolean {
  const { mnemonic } = draft;
  if (answer.exception !== null && !EXCEPTIONS.has(answer.exception)) return false;
  // Undefined to the disassembler, yet it runs: an instruction newer than the level.
  if (draft.invalid && answer.exception !== 6 && answer.exception !== 13) return false;
  // MASKMOV with a mask of zeros: faults are up to the implementation (SDM vol. 2B MASKMOVDQU).
  if ((mnemonic === Mnemonic.Maskmovdqu || mnemonic === Mnemonic.Maskmovq) && answer.exception === 14) return false;
  if (draft.request.repeat) {
    // It overwrote itself: how soon that is seen is not architectural within one instruction.
    const { code, regs } = draft.request.input;
    const rip = BigInt(regs['rip']!);
    for (const { addr, data } of answer.mem) {
      const start = BigInt(addr);
      if (start < rip + BigInt(code.length / 2) && rip < start + BigInt(data.length / 2)) return false;
    }
  }
  if ((mnemonic === Mnemonic.Shld || mnemonic === Mnemonic.Shrd) && draft.count! > draft.operandBits && draft.memoryDestination)
    return false;
  // Far transfers that went through: the selector is the host's.
  if (draft.selector === null && SELECTOR.has(mnemonic) && answer.exception === null) return false;
  return true;
}

/** `flagsMask`, `fswMask`, `ignore` and `tol` of an answer. */
function undefinedResults(draft: Draft, answer: StepAnswer): Partial<ExpectedAnswer> {
  const { mnemonic, count, operandBits } = draft;
  const ignore: string[] = [];
  let undefinedFlags = draft.flagsUndefined;
  if (count !== null) {
    // SDM vol. 2: a masked count of 0 changes nothing; OF is defined for 1 alone; AF is undefined after a shift.
    const isDouble = mnemonic === Mnemonic.Shld || mnemonic === Mnemonic.Shrd;
    const isRotate = [Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr].includes(mnemonic);
    undefinedFlags = count === 0 ? 0 : (isRotate ? 0 : AF) | (count === 1 ? 0 : OF);
    if ([Mnemonic.Shl, Mnemonic.Sal, Mnemonic.Shr].includes(mnemonic) && count >= operandBits) undefinedFlags |= CF;
    if (isDouble && count > operandBits) {
      undefinedFlags = STATUS_FLAGS;
      if (draft.destination !== null) ignore.push(draft.destination);
    }
  }
  if (answer.exception !== null) undefinedFlags = DIVIDES.has(mnemonic) && answer.exception === 0 ? STATUS_FLAGS : 0;
  if (
    (mnemonic === Mnemonic.Bsf || mnemonic === Mnemonic.Bsr) &&
    answer.exception === null &&
    Number(answer.regs['rflags']) & ZF &&
    draft.destination !== null
  )
    ignore.push(draft.destination);
  const fswMask = answer.fpu === undefined ? undefined : 0xffff & ~undefinedStatus(draft, Number(answer.fpu.fsw));
  return {
    ...(undefinedFlags !== 0 && { flagsMask: `0x${(COMPARED & ~undefinedFlags).toString(16)}` }),
    ...(fswMask !== undefined && fswMask !== 0xffff && { fswMask: `0x${fswMask.toString(16)}` }),
    ...(ignore.length > 0 && { ignore }),
    ...(draft.tolerance && { tol: draft.tolerance }),
  };
}

const C0 = 0x100,
  C1 = 0x200,
  C2 = 0x400,
  C3 = 0x4000;
const COMPARES = new Set<Mnemonic>([
  Mnemonic.Fcom,
  Mnemonic.Fcomp,
  Mnemonic.Fcompp,
  Mnemonic.Ficom,
  Mnemonic.Ficomp,
  Mnemonic.Ftst,
  Mnemonic.Fucom,
  Mnemonic.Fucomp,
  Mnemonic.Fucompp,
  Mnemonic.Fxam,
  Mnemonic.Fninit,
  Mnemonic.Finit,
  Mnemonic.Frstor,
  Mnemonic.Fldenv,
  Mnemonic.Fxrstor,
  Mnemonic.Fxrstor64,
  Mnemonic.Fnsave,
  Mnemonic.Fsave,
  Mnemonic.Fcomi,
  Mnemonic.Fcomip,
  Mnemonic.Fucomi,
  Mnemonic.Fucomip,
]);
const ALL_CONDITIONS_UNDEFINED = new Set<Mnemonic>([
  Mnemonic.Ffree,
  Mnemonic.Fldcw,
  Mnemonic.Fnclex,
  Mnemonic.Fclex,
  Mnemonic.Fnop,
  Mnemonic.Fnstcw,
  Mnemonic.Fstcw,
  Mnemonic.Fnstenv,
  Mnemonic.Fstenv,
  Mnemonic.Fnstsw,
  Mnemonic.Fstsw,
  Mnemonic.Wait,
]);

/** Condition codes that the SDM's "FPU Flags Affected" calls undefined. */
function undefinedStatus(draft: Draft, fsw: number): number {
  const { mnemonic } = draft;
  if (!draft.fpu || draft.invalid || COMPARES.has(mnemonic)) return 0;
  if (ALL_CONDITIONS_UNDEFINED.has(mnemonic)) return C0 | C1 | C2 | C3;
  if (mnemonic === Mnemonic.Fprem || mnemonic === Mnemonic.Fprem1) return fsw & C2 ? C0 | C1 | C3 : 0;
  if ([Mnemonic.Fsin, Mnemonic.Fcos, Mnemonic.Fsincos, Mnemonic.Fptan].includes(mnemonic)) return fsw & C2 ? C0 | C1 | C3 : C0 | C3;
  return C0 | C2 | C3;
}

/** RflagsBits of the disassembler, as RFLAGS. */
function icedFlags(bits: number): number {
  // OF SF ZF AF CF PF are its bits 0 to 5 (RflagsBits).
  return [OF, SF, ZF, AF, CF, PF].reduce((flags, flag, index) => (bits & (1 << index) ? flags | flag : flags), 0);
}

/** Name of the 64-bit register that holds it, or null. */
function gprName(register: Register): string | null {
  if (register === Register.None || !RegisterExt.isGPR(register)) return null;
  const full = RegisterExt.fullRegister(register);
  return GPR_NAMES[RegisterExt.number(full)] ?? null;
}

function laneOf(instruction: Instruction, mnemonic: Mnemonic, random: Random): Lane {
  const element = MemorySizeExt.elementType(instruction.memorySize);
  if (element === MemorySize.Float32 || instruction.memorySize === MemorySize.Float32) return 'f32';
  if (element === MemorySize.Float64) return 'f64';
  if (element === MemorySize.Float80) return 'f80';
  const name = MNEMONIC_NAMES.get(mnemonic) ?? '';
  if (/(ps|ss|ps2pd|ss2sd|tps2dq|ps2dq)$|^cvtt?ps|^cvtt?ss/.test(name)) return 'f32';
  if (/(pd|sd|pd2ps|sd2ss)$|^cvtt?pd|^cvtt?sd/.test(name) && !/^(movs|cmps)d$/.test(name)) return 'f64';
  return random.chance(0.8) ? 'int' : random.chance(0.5) ? 'f32' : 'f64';
}

const MNEMONIC_NAMES = new Map<number, string>(
  Object.entries(Mnemonic)
    .filter(([, value]) => typeof value === 'number')
    .map(([name, value]) => [value as unknown as number, name.toLowerCase()]),
);
