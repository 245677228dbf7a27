/**
 * Single-instruction vectors: their types, and files of them.
 * Implements: the line format of the one-instruction runner (docs: one-instruction runner). A vector is an input line with a field
 * `expect`, which holds what the instruction changed: what is absent there is as it was in the input.
 * Runs on: any thread of Node; reads files.
 */
import { readFileSync } from 'node:fs';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { VmError } from '../../base/errors.ts';

export interface MemoryBytes {
  readonly addr: string;
  readonly data: string;
}
export interface FpuState {
  readonly fcw: string;
  readonly fsw: string;
  readonly ftw: string;
  readonly st: readonly string[];
}

/** What both the input and the answer hold. Numbers are '0x..', bytes are hex in address order. */
export interface MachineState {
  readonly regs: Readonly<Record<string, string>>;
  readonly xmm?: readonly string[];
  readonly ymm?: readonly string[];
  readonly mxcsr?: string;
  readonly fpu?: FpuState;
  readonly mem: readonly MemoryBytes[];
}

export interface StepInput extends MachineState {
  readonly id: number;
  readonly mode: 32 | 64;
  readonly code: string;
}

export interface StepAnswer extends MachineState {
  readonly id: number;
  readonly exception: number | null;
  readonly error?: string;
  readonly cr2?: string;
}

export interface Unsupported {
  readonly id: number;
  readonly unsupported: string;
}

export type Tolerance = 'rel12' | 'nan32' | 'nan64' | 'x87';

export interface ExpectedAnswer extends StepAnswer {
  readonly flagsMask?: string;
  readonly fswMask?: string;
  readonly ignore?: readonly string[];
  readonly tol?: Tolerance;
}

/** `expect` as it stands in a file: changes only. `fpu.st` and `xmm` are keyed by their index. */
export interface Changes {
  readonly exception: number | null;
  readonly error?: string;
  readonly cr2?: string;
  readonly regs?: Readonly<Record<string, string>>;
  readonly xmm?: Readonly<Record<string, string>>;
  readonly mxcsr?: string;
  readonly fpu?: { readonly fcw?: string; readonly fsw?: string; readonly ftw?: string; readonly st?: Readonly<Record<string, string>> };
  readonly mem?: Readonly<Record<string, string>>;
  readonly flagsMask?: string;
  readonly fswMask?: string;
  readonly ignore?: readonly string[];
  readonly tol?: Tolerance;
}

export interface Vector extends StepInput {
  readonly expect: Changes;
}

/** Head of a file of vectors: who recorded it and where. It is its first line. */
export interface VectorsHead {
  readonly cpu: string;
  readonly recorder: string;
  readonly seed: number;
  readonly count: number;
}

/** Changes from one state to the other, by key; `undefined` when there are none. */
function changedEntries(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): Record<string, string> | undefined {
  const changed = Object.entries(after).filter(([key, value]) => before[key] !== value);
  return changed.length === 0 ? undefined : Object.fromEntries(changed);
}

const byIndex = <T>(list: readonly T[]): Record<string, T> => Object.fromEntries(list.entries());

export function toVector(input: StepInput, answer: ExpectedAnswer): Vector {
  const regs = changedEntries(input.regs, answer.regs);
  const xmm = changedEntries(byIndex(input.xmm ?? []), byIndex(answer.xmm ?? []));
  const mem = changedEntries(byIndex(input.mem.map((entry) => entry.data)), byIndex(answer.mem.map((entry) => entry.data)));
  const mxcsr = answer.mxcsr === input.mxcsr ? undefined : answer.mxcsr;
  let fpu: Changes['fpu'];
  if (input.fpu !== undefined && answer.fpu !== undefined) {
    const st = changedEntries(byIndex(input.fpu.st), byIndex(answer.fpu.st));
    const words = changedEntries(
      { fcw: input.fpu.fcw, fsw: input.fpu.fsw, ftw: input.fpu.ftw },
      { fcw: answer.fpu.fcw, fsw: answer.fpu.fsw, ftw: answer.fpu.ftw },
    );
    if (st !== undefined || words !== undefined) fpu = { ...words, ...(st && { st }) };
  }
  const { exception, error, cr2, flagsMask, fswMask, ignore, tol } = answer;
  return {
    ...input,
    expect: {
      exception,
      ...(error && { error }),
      ...(cr2 && { cr2 }),
      ...(regs && { regs }),
      ...(xmm && { xmm }),
      ...(mxcsr && { mxcsr }),
      ...(fpu && { fpu }),
      ...(mem && { mem }),
      ...(flagsMask && { flagsMask }),
      ...(fswMask && { fswMask }),
      ...(ignore?.length && { ignore }),
      ...(tol && { tol }),
    },
  };
}

const overlay = (list: readonly string[], changes: Readonly<Record<string, string>> | readonly string[] | undefined): string[] =>
  list.map((value, index) => (changes as Record<string, string> | undefined)?.[index] ?? value);

/** The whole answer that a vector expects. A file may also hold `expect` as a whole answer already. */
export function expectedOf(vector: Vector): ExpectedAnswer {
  const { expect, id, regs, xmm, ymm, mxcsr, fpu, mem } = vector;
  const whole = expect as Changes & { mem?: readonly MemoryBytes[]; ymm?: readonly string[] };
  const { exception, error, cr2, flagsMask, fswMask, ignore, tol } = expect;
  return {
    id,
    exception,
    ...(error && { error }),
    ...(cr2 && { cr2 }),
    ...(flagsMask && { flagsMask }),
    ...(fswMask && { fswMask }),
    ...(ignore && { ignore }),
    ...(tol && { tol }),
    regs: { ...regs, ...expect.regs },
    ...(xmm && { xmm: overlay(xmm, expect.xmm) }),
    ...(ymm && { ymm: overlay(ymm, whole.ymm) }),
    ...((mxcsr !== undefined || xmm || ymm) && { mxcsr: expect.mxcsr ?? mxcsr ?? '0x1f80' }),
    ...(fpu && {
      fpu: {
        fcw: expect.fpu?.fcw ?? fpu.fcw,
        fsw: expect.fpu?.fsw ?? fpu.fsw,
        ftw: expect.fpu?.ftw ?? fpu.ftw,
        st: overlay(fpu.st, expect.fpu?.st),
      },
    }),
    mem: Array.isArray(whole.mem)
      ? (whole.mem as MemoryBytes[])
      : mem.map(({ addr, data }, index) => ({ addr, data: expect.mem?.[index] ?? data })),
  };
}

/**
 * Read a file of vectors: JSON lines, plain, .gz or .br. A head line (without `code`) is skipped; `expected` and `answer` are taken as
 * other names of `expect`.
 * @throws VmError EINVAL for a line that is no vector
 */
export function readVectors(path: string): Vector[] {
  const bytes = readFileSync(path);
  const text = (path.endsWith('.br') ? brotliDecompressSync(bytes) : path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
  const vectors: Vector[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '') continue;
    const parsed = JSON.parse(line);
    const input = parsed.input ?? parsed;
    if (typeof input.code !== 'string') {
      if (index === 0) continue;
      throw new VmError('EINVAL', `${path}:${index + 1}: expected a vector with "code" and "expect"`);
    }
    vectors.push({ ...input, expect: parsed.expect ?? parsed.expected ?? parsed.answer });
  }
  return vectors;
}

export function readHead(path: string): VectorsHead {
  const bytes = readFileSync(path);
  const text = (path.endsWith('.br') ? brotliDecompressSync(bytes) : path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
  return JSON.parse(text.slice(0, text.indexOf('\n')));
}
