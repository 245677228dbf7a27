/**
 * Floating-point cases: deterministic random states, the instructions that the helpers implement, the machine that runs them,
 * the real processor (native/float-oracle.c), and the comparison of the two.
 * Implements: nothing of the machine. Runs on: tests.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VCPU } from '../state.ts';
import { isModelledVendor } from './native-cpu.ts';

type Helper = (...parameters: (number | bigint)[]) => number | bigint | undefined;

/** One instruction and how the machine does it. */
export interface Operation {
  readonly name: string;
  readonly code: readonly number[];
  /** What the memory operand is filled with; absent: no memory operand. */
  readonly memory?: 'f32' | 'f64' | 'f80' | 'i16' | 'i32' | 'i64' | 'bcd' | 'out' | 'v32' | 'v64' | 'vi32' | 'env' | 'words';
  readonly sse?: 'f32' | 'f64' | 'i32';
  /** Result may differ by this many units in the last place, and PE, UE and C1 with it. */
  readonly ulps?: number;
  /** Relative error allowed in each f32 lane. */
  readonly relative?: number;
  /** Bits of FSW which are compared. */
  readonly fswMask?: number;
  /** The result is in RAX. */
  readonly rax?: boolean;
  readonly range?: 'unit' | 'angle' | 'small' | 'any';
  /** Bytes of memory that depend on where things lie: not compared. */
  readonly pointers?: readonly number[];
  readonly run: (cpu: FloatCpu) => void;
}

const VCPU_ADDRESS = 0x20000;
/** Where the memory operand lies in memory 0, and its size. */
export const OPERAND = 0x30000;
const OPERAND_BYTES = 128;
/** Size of an input and of an output record. */
export const RECORD_BYTES = 528 + OPERAND_BYTES;
const FIP = 0x1111,
  FDP = 0x2222,
  FOP = 0x333,
  NEW_FIP = 0x4444,
  NEW_FDP = 0x5555,
  NEW_FOP = 0x666;

/** The built helpers over one vCPU record. */
export class FloatCpu {
  readonly memory: WebAssembly.Memory;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly helpers: Readonly<Record<string, Helper>>;

  constructor(wasmFile: string) {
    this.memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: true });
    const module = new WebAssembly.Module(readFileSync(wasmFile));
    const imports: Record<string, Record<string, WebAssembly.ImportValue>> = {};
    for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
      imports[from] ??= {};
      imports[from][name] =
        kind === 'memory'
          ? this.memory
          : kind === 'table'
            ? new WebAssembly.Table({ initial: 64, element: 'anyfunc' })
            : () => {
                throw new Error(`${from}.${name} is not for floating point`);
              };
    }
    this.helpers = new WebAssembly.Instance(module, imports).exports as unknown as Record<string, Helper>;
    this.view = new DataView(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
  }

  call(name: string, ...parameters: (number | bigint)[]): number | bigint {
    const helper = this.helpers[name];
    if (helper === undefined) throw new Error(`no helper ${name}`);
    return helper(VCPU_ADDRESS, ...parameters) ?? 0;
  }

  /** As an instruction does with the flags that a helper returns, unless it has raised. */
  setFlags(bits: number | bigint): void {
    if (this.fault === 0) this.call('writeFlags', bits);
  }

  at(name: keyof typeof VCPU.offset): number {
    return VCPU_ADDRESS + VCPU.offset[name];
  }
  get fault(): number {
    return this.view.getUint32(this.at('fault'), true);
  }
  u32(): number {
    return this.view.getUint32(OPERAND, true);
  }
  u64(): bigint {
    return this.view.getBigUint64(OPERAND, true);
  }
  xmm(n: number): number {
    return this.at('vector') + n * 32;
  }

  /** Stores as an instruction handler does: value, memory, commit. */
  store(name: string, sizeBytes: number, pops: number, ...parameters: number[]): void {
    const value = this.call(name, ...parameters);
    if (this.fault !== 0 || this.view.getBigUint64(this.at('scratch') + 16, true) === 0n) return;
    if (sizeBytes === 10) this.bytes.copyWithin(OPERAND, this.at('scratch'), this.at('scratch') + 10);
    else if (sizeBytes === 8) this.view.setBigUint64(OPERAND, BigInt.asUintN(64, BigInt(value)), true);
    else if (sizeBytes === 4) this.view.setUint32(OPERAND, Number(BigInt.asUintN(32, BigInt(value))), true);
    else this.view.setUint16(OPERAND, Number(BigInt.asUintN(16, BigInt(value))), true);
    this.call('fpuStoreCommit', pops);
  }

  /** Run one case. @returns a record in the oracle's output form; flags in rflags, rax in its low word. */
  run(operation: Operation, input: Uint8Array): Uint8Array {
    const { view, bytes } = this;
    const source = new DataView(input.buffer, input.byteOffset);
    const fx = 16;
    bytes.fill(0, VCPU_ADDRESS, VCPU_ADDRESS + 0x1000);
    for (const [name, at] of [
      ['fcw', 0],
      ['fsw', 2],
      ['fop', 6],
    ] as const)
      view.setUint32(this.at(name), source.getUint16(fx + at, true), true);
    view.setUint32(this.at('ftw'), input[fx + 4]!, true);
    view.setUint32(this.at('mxcsr'), source.getUint32(fx + 24, true), true);
    view.setBigUint64(this.at('fip'), BigInt(FIP), true);
    view.setBigUint64(this.at('fdp'), BigInt(FDP), true);
    view.setBigUint64(this.at('rip'), BigInt(NEW_FIP), true);
    view.setBigUint64(this.at('fpuOperand'), BigInt(NEW_FDP), true);
    view.setUint32(this.at('fpuOpcode'), NEW_FOP, true);
    view.setBigUint64(this.at('flagQ'), 0x8d5n, true);
    const top = (view.getUint32(this.at('fsw'), true) >> 11) & 7;
    for (let i = 0; i < 8; i++) bytes.set(input.subarray(fx + 32 + i * 16, fx + 42 + i * 16), this.at('fpr') + ((top + i) & 7) * 16);
    for (let i = 0; i < 16; i++) bytes.set(input.subarray(fx + 160 + i * 16, fx + 176 + i * 16), this.xmm(i));
    bytes.set(input.subarray(528, RECORD_BYTES), OPERAND);

    operation.run(this);

    const out = new Uint8Array(RECORD_BYTES);
    const to = new DataView(out.buffer);
    to.setUint32(0, this.fault, true);
    to.setBigUint64(8, view.getBigUint64(this.at('scratch') + 24, true), true);
    const at = 16;
    for (const [name, offset] of [
      ['fcw', 0],
      ['fsw', 2],
      ['fop', 6],
    ] as const)
      to.setUint16(at + offset, view.getUint32(this.at(name), true), true);
    out[at + 4] = view.getUint32(this.at('ftw'), true);
    to.setBigUint64(at + 8, view.getBigUint64(this.at('fip'), true), true);
    to.setBigUint64(at + 16, view.getBigUint64(this.at('fdp'), true), true);
    to.setUint32(at + 24, view.getUint32(this.at('mxcsr'), true), true);
    const newTop = (view.getUint32(this.at('fsw'), true) >> 11) & 7;
    for (let i = 0; i < 8; i++) {
      const register = this.at('fpr') + ((newTop + i) & 7) * 16;
      out.set(bytes.subarray(register, register + 10), at + 32 + i * 16);
    }
    for (let i = 0; i < 16; i++) out.set(bytes.subarray(this.xmm(i), this.xmm(i) + 16), at + 160 + i * 16);
    out.set(bytes.subarray(OPERAND, OPERAND + OPERAND_BYTES), 528);
    to.setUint32(4, Number(view.getBigUint64(this.at('flagQ'), true) & 0x8d5n), true);
    return out;
  }
}

// --- cases ---

/** Deterministic random numbers (xorshift32). */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed * 2654435761) | 0 || 1;
    this.u32();
    this.u32();
  }
  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return Math.imul(x, 0x9e3779b1) >>> 0;
  }
  below(count: number): number {
    return Math.floor((this.u32() / 4294967296) * count);
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

const EXPONENTS_80 = [
  0,
  0,
  1,
  2,
  0x3fff,
  0x3ffe,
  0x4000,
  0x3fff - 1022,
  0x3fff - 1023,
  0x3fff - 1074,
  0x3fff - 1075,
  0x3fff + 1023,
  0x3fff + 1024,
  0x3fff - 126,
  0x3fff - 127,
  0x3fff - 149,
  0x3fff - 150,
  0x3fff + 127,
  0x3fff + 128,
  0x3fff + 15,
  0x3fff + 30,
  0x3fff + 31,
  0x3fff + 58,
  0x3fff + 59,
  0x3fff + 62,
  0x3fff + 63,
  0x7ffe,
  0x7fff,
  0x7fff,
];
const SIGNIFICANDS_80 = [
  0x8000000000000000n,
  0xffffffffffffffffn,
  0x8000000000000001n,
  0xc000000000000000n,
  0xa000000000000000n,
  0xfffffffffffffffen,
  0xfffffffffffffc00n,
  0xfffffffffffff800n,
  0x8000000000000400n,
  0xffffff8000000000n,
  0xffffff0000000000n,
  0x8000008000000000n,
  0xde0b6b3a763ffff8n,
  0xc90fdaa22168c234n,
  0xc90fdaa22168c235n,
];

/** [significand, sign and exponent] of any encoding. */
export function randomF80(random: Random, range: Operation['range']): [bigint, number] {
  const sign = random.below(2) << 15;
  let significand = random.chance(40) ? random.pick(SIGNIFICANDS_80) : random.u64() | (1n << 63n);
  if (random.chance(25))
    significand = (((significand >> BigInt(random.below(64))) << BigInt(random.below(64))) & ((1n << 64n) - 1n)) | (1n << 63n);
  if (range === 'unit' || range === 'small')
    return [
      significand,
      sign | (0x3ffe - (random.chance(70) ? random.below(range === 'small' ? 6 : 20) : random.below(0x3fff)) - (range === 'small' ? 2 : 0)),
    ];
  if (range === 'angle') return [significand, sign | (0x3ff0 + (random.chance(80) ? random.below(30) : random.below(80)))];
  switch (random.below(9)) {
    case 0:
      return [0n, sign]; // zero
    case 1:
      return [random.u64() >> BigInt(random.below(64)), sign]; // denormal, pseudo-denormal
    case 2:
      return [significand, sign | random.pick(EXPONENTS_80)];
    case 3:
      return [random.pick([0x8000000000000000n, 0xc000000000000000n, 0xa000000000000001n, significand]), sign | 0x7fff];
    case 4:
      return random.chance(40)
        ? [random.u64() >> BigInt(1 + random.below(63)), sign | random.pick([1, 0x3fff, 0x7fff, random.below(0x8000)])]
        : [significand, sign | 0x3fff];
    case 5:
      return [significand, sign | random.below(0x8000)];
    default:
      return [significand, sign | (0x3fff + random.below(140) - 70)];
  }
}

export function randomF64(random: Random): bigint {
  const sign = BigInt(random.below(2)) << 63n;
  const fraction = random.pick([
    0n,
    1n,
    (1n << 52n) - 1n,
    1n << 51n,
    random.u64() & ((1n << 52n) - 1n),
    random.u64() & ((1n << 52n) - 1n),
    (random.u64() & ((1n << 52n) - 1n)) >> BigInt(random.below(52)),
  ]);
  const exponent = random.pick([
    0,
    0,
    1,
    2,
    52,
    0x3ff,
    0x3fe,
    0x400,
    0x3ff + 30,
    0x3ff + 31,
    0x3ff + 62,
    0x3ff + 63,
    0x3ff - 126,
    0x3ff - 149,
    0x3ff + 127,
    0x3ff + 128,
    0x7fe,
    0x7ff,
    random.below(0x800),
    0x3ff + random.below(80) - 40,
    0x3ff + random.below(40) - 20,
  ]);
  return sign | (BigInt(exponent) << 52n) | fraction;
}

export function randomF32(random: Random): number {
  const sign = random.below(2) * 0x80000000;
  const fraction = random.pick([
    0,
    1,
    0x7fffff,
    0x400000,
    random.u32() & 0x7fffff,
    random.u32() & 0x7fffff,
    (random.u32() & 0x7fffff) >> random.below(23),
  ]);
  const exponent = random.pick([
    0,
    0,
    1,
    2,
    23,
    127,
    126,
    128,
    157,
    158,
    189,
    190,
    254,
    255,
    random.below(256),
    127 + random.below(60) - 30,
    127 + random.below(30) - 15,
  ]);
  return sign + exponent * 0x800000 + fraction;
}

/** The input record of case `seed` of an operation. */
export function makeCase(operation: Operation, seed: number): Uint8Array {
  const random = new Random(seed);
  const record = new Uint8Array(RECORD_BYTES);
  const view = new DataView(record.buffer);
  record.fill(0x90, 0, 16);
  record.set(operation.code, 0);
  record[operation.code.length] = 0xc3;
  const fx = 16;
  const masks = random.chance(65) ? 0x3f : random.below(64);
  const fcw = masks | 0x40 | (random.pick([0, 2, 3, 3, 3]) << 8) | (random.below(4) << 10);
  let fsw = (random.below(8) << 11) | (random.chance(30) ? random.below(64) & masks : 0) | (random.chance(50) ? random.u32() & 0x4700 : 0);
  if (random.chance(1)) fsw |= ~fcw & 0x3f & random.below(64);
  if (fsw & ~fcw & 0x3f) fsw |= 0x8080;
  view.setUint16(fx, fcw, true);
  view.setUint16(fx + 2, fsw, true);
  // Mostly six registers in use from the top, so that most pushes and pops succeed.
  record[fx + 4] = operation.sse !== undefined ? 0 : random.chance(80) ? rotate(0x3f, (fsw >> 11) & 7) : random.below(256);
  view.setUint16(fx + 6, FOP, true);
  view.setBigUint64(fx + 8, BigInt(FIP), true);
  view.setBigUint64(fx + 16, BigInt(FDP), true);
  const exceptions = random.chance(60) ? 0x3f : random.below(64);
  view.setUint32(
    fx + 24,
    (exceptions << 7) |
      (random.below(4) << 13) |
      (random.chance(30) ? 0x8000 : 0) |
      (random.chance(30) ? 0x40 : 0) |
      (random.chance(20) ? random.below(64) : 0),
    true,
  );
  for (let i = 0; i < 8; i++) {
    let [significand, signExponent] = randomF80(
      random,
      i === 0 || operation.range === 'unit' ? operation.range : random.chance(50) ? 'any' : undefined,
    );
    if (i === 1 && random.chance(15)) {
      // Close to ST(0): cancellation and quotients near 1.
      significand = (view.getBigUint64(fx + 32, true) + BigInt(random.below(5) - 2)) & ((1n << 64n) - 1n);
      signExponent = ((view.getUint16(fx + 40, true) + random.below(5) - 2) & 0x7fff) | (random.below(2) << 15);
    }
    view.setBigUint64(fx + 32 + i * 16, significand, true);
    view.setUint16(fx + 40 + i * 16, signExponent, true);
  }
  const fill = (at: number, form: string): void => {
    if (form === 'f32') for (let i = 0; i < 4; i++) view.setUint32(at + i * 4, randomF32(random), true);
    else if (form === 'f64') for (let i = 0; i < 2; i++) view.setBigUint64(at + i * 8, randomF64(random), true);
    else
      for (let i = 0; i < 4; i++)
        view.setUint32(
          at + i * 4,
          random.pick([0, 1, 0x7fffffff, 0x80000000, 0xffffffff, random.u32(), random.u32() >>> random.below(32)]),
          true,
        );
  };
  for (let i = 0; i < 2; i++) fill(fx + 160 + i * 16, operation.sse ?? 'f32');
  if (random.chance(10)) record.copyWithin(fx + 176, fx + 160, fx + 176);
  switch (operation.memory) {
    case 'f32':
      view.setUint32(528, randomF32(random), true);
      break;
    case 'f64':
      view.setBigUint64(528, randomF64(random), true);
      break;
    case 'f80': {
      const [significand, signExponent] = randomF80(random, undefined);
      view.setBigUint64(528, significand, true);
      view.setUint16(536, signExponent, true);
      break;
    }
    case 'bcd':
      for (let i = 0; i < 9; i++) record[528 + i] = random.below(10) * 16 + random.below(10);
      record[537] = random.below(2) * 0x80;
      break;
    case 'words':
      for (let i = 0; i < OPERAND_BYTES; i++) record[528 + i] = random.u32();
      break;
    case 'out':
      record.fill(0xa5, 528);
      break;
    case undefined:
      break;
    default:
      fill(528, 'i32');
  }
  return record;
}

const rotate = (bits: number, by: number): number => ((bits << by) | (bits >> (8 - by))) & 0xff;

/** What of an answer is compared, as text: equal texts, equal answers. Pointers count as changed or not. */
function describe(operation: Operation, record: Uint8Array): Record<string, string> {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const hex = (from: number, sizeBytes: number): string =>
    Buffer.from(record.subarray(from, from + sizeBytes))
      .reverse()
      .toString('hex');
  const fx = 16;
  const fswMask = (operation.fswMask ?? 0xffff) & (operation.ulps === undefined ? 0xffff : ~0x0210);
  const signal = view.getUint32(0, true);
  const result: Record<string, string> = {
    fault: String(signal !== 0),
    flags: view.getUint32(4, true).toString(16),
    fcw: hex(fx, 2),
    fsw: (view.getUint16(fx + 2, true) & fswMask).toString(16),
    ftw: hex(fx + 4, 1),
    mxcsr: hex(fx + 24, 4),
    memory: hex(528, OPERAND_BYTES),
    fop: String(view.getUint16(fx + 6, true) !== FOP),
    fip: String(view.getBigUint64(fx + 8, true) !== BigInt(FIP)),
    fdp: String(view.getBigUint64(fx + 16, true) !== BigInt(FDP)),
  };
  for (const at of operation.pointers ?? [])
    result['memory'] =
      result['memory']!.slice(0, (OPERAND_BYTES - at - 4) * 2) + '........' + result['memory']!.slice((OPERAND_BYTES - at) * 2);
  if (operation.rax && signal === 0) result['rax'] = hex(8, 8);
  if (signal !== 0) delete result['flags'];
  for (let i = 0; i < 8; i++) result[`st${i}`] = hex(fx + 32 + i * 16, 10);
  for (let i = 0; i < 2; i++) result[`xmm${i}`] = hex(fx + 160 + i * 16, 16);
  return result;
}

/** Distance of two 80-bit numbers in units in the last place. */
function ulpDistance(x: string, y: string): number {
  const order = (text: string): bigint => {
    const bits = BigInt(`0x${text}`);
    const exponent = (bits >> 64n) & 0x7fffn,
      significand = bits & ((1n << 64n) - 1n);
    const magnitude = (exponent << 63n) + (exponent === 0n ? significand : significand - (1n << 63n));
    return bits >> 79n ? -magnitude : magnitude;
  };
  const distance = order(x) - order(y);
  return Number(distance < 0n ? -distance : distance);
}

/** @returns differences in words; none when they agree. */
export function differences(operation: Operation, ours: Uint8Array, native: Uint8Array): string[] {
  const x = describe(operation, ours),
    y = describe(operation, native);
  const found: string[] = [];
  for (const key of Object.keys(y)) {
    const a = x[key]!,
      b = y[key]!;
    if (a === b) continue;
    if (operation.ulps !== undefined && key.startsWith('st') && ulpDistance(a, b) <= operation.ulps) continue;
    if (operation.relative !== undefined && key.startsWith('xmm') && closeLanes(a, b, operation.relative)) continue;
    found.push(`${key} ${a} expected ${b}`);
  }
  return found;
}

function closeLanes(a: string, b: string, relative: number): boolean {
  const x = new Float32Array(Uint8Array.from(Buffer.from(a, 'hex').reverse()).buffer),
    y = new Float32Array(Uint8Array.from(Buffer.from(b, 'hex').reverse()).buffer);
  return x.every((value, i) => Object.is(value, y[i]) || Math.abs(value / y[i]! - 1) <= relative);
}

// --- the real processor ---

/** Answers of this host's processor, or undefined where gcc or the processor is missing. */
export function askProcessor(inputs: readonly Uint8Array[]): Uint8Array[] | undefined {
  if (process.arch !== 'x64' || process.platform !== 'linux' || !isModelledVendor()) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'float-oracle-'));
  try {
    const program = join(folder, 'float-oracle');
    if (spawnSync('gcc', ['-O1', '-o', program, fileURLToPath(new URL('native/float-oracle.c', import.meta.url))]).status !== 0)
      return undefined;
    const { status, stdout } = spawnSync(program, { input: Buffer.concat(inputs), maxBuffer: 2 ** 30 });
    if (status !== 0) return undefined;
    return inputs.map((_, i) => Uint8Array.from(stdout.subarray(i * RECORD_BYTES, (i + 1) * RECORD_BYTES)));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
