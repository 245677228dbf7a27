/**
 * Compares an answer of the one-instruction runner with the expected one.
 * Implements: "How an answer is judged" of the runner's format: undefined flags, x87 status bits and registers are masked, estimates and
 * transcendental functions have a tolerance; error code, CR2 and C1 count in the strict comparison alone.
 * Runs on: any thread.
 */
import type { ExpectedAnswer, FpuState, StepAnswer, Tolerance, Unsupported } from './vectors.ts';

/** CF PF AF ZF SF DF OF: the bits of RFLAGS that are compared at all. */
export const COMPARED_FLAGS = 0xcd5;
const FLAG_BITS = [
  ['CF', 0],
  ['PF', 2],
  ['AF', 4],
  ['ZF', 6],
  ['SF', 7],
  ['DF', 10],
  ['OF', 11],
] as const;
const FSW_BITS = [
  ['IE', 0],
  ['DE', 1],
  ['ZE', 2],
  ['OE', 3],
  ['UE', 4],
  ['PE', 5],
  ['SF', 6],
  ['ES', 7],
  ['C0', 8],
  ['C1', 9],
  ['C2', 10],
  ['C3', 14],
  ['B', 15],
] as const;
const MXCSR_BITS = [
  ['IE', 0],
  ['DE', 1],
  ['ZE', 2],
  ['OE', 3],
  ['UE', 4],
  ['PE', 5],
] as const;
const FSW_C1 = 0x200;

/** 1.5 * 2^-11: the architecture's bound of the error of RCPPS and RSQRTPS is 1.5 * 2^-12 on each of the two sides. */
const ESTIMATE_RELATIVE_ERROR = 1.5 / 2048;
const X87_ULPS = 64n;

export interface JudgeOptions {
  readonly strict?: boolean;
  /** C1 counts also without `strict`: FPREM, FPREM1, FXAM. */
  readonly c1?: boolean;
}

/** One line per difference, e.g. `rax: got 0x1, want 0x2`; none when the answer is right. */
export function judge(answer: StepAnswer | Unsupported, expected: ExpectedAnswer, options: JudgeOptions = {}): string[] {
  if ('unsupported' in answer) return [`unsupported: ${answer.unsupported}`];
  const differences: string[] = [];
  const differ = (name: string, got: unknown, want: unknown): void => {
    differences.push(`${name}: got ${got}, want ${want}`);
  };
  if (answer.exception !== expected.exception) differ('exception', answer.exception, expected.exception);
  if (options.strict && expected.exception !== null && answer.exception === expected.exception) {
    if (expected.error !== undefined && number(answer.error) !== number(expected.error)) differ('error', answer.error, expected.error);
    if (expected.cr2 !== undefined && number(answer.cr2) !== number(expected.cr2)) differ('cr2', answer.cr2, expected.cr2);
  }
  const ignored = new Set(expected.ignore);
  for (const [name, want] of Object.entries(expected.regs)) {
    const got = answer.regs?.[name];
    if (name === 'rflags') {
      const mask = Number(number(expected.flagsMask ?? '0xffff')!) & COMPARED_FLAGS;
      const gotBits = Number(number(got) ?? 0n) & mask,
        wantBits = Number(number(want)!) & mask;
      if (gotBits !== wantBits) differ('rflags', bitNames(gotBits, FLAG_BITS), bitNames(wantBits, FLAG_BITS));
    } else if (!ignored.has(name) && got !== want && number(got) !== number(want)) {
      differ(name, got, want);
    }
  }
  for (const file of ['xmm', 'ymm'] as const) {
    for (const [index, want] of (expected[file] ?? []).entries()) {
      const got = answer[file]?.[index];
      if (got !== want && !ignored.has(`${file}${index}`) && !lanesEqual(got ?? '', want, expected.tol))
        differ(`${file}${index}`, lanes(got), lanes(want));
    }
  }
  if (expected.mxcsr !== undefined && number(answer.mxcsr) !== number(expected.mxcsr)) {
    differ(
      'mxcsr',
      `${answer.mxcsr} (${bitNames(Number(number(answer.mxcsr) ?? 0n), MXCSR_BITS)})`,
      `${expected.mxcsr} (${bitNames(Number(number(expected.mxcsr)), MXCSR_BITS)})`,
    );
  }
  if (expected.fpu !== undefined) judgeFpu(answer.fpu, expected.fpu, expected, options, differ);
  for (const [index, { addr, data }] of expected.mem.entries()) {
    const got = answer.mem?.[index]?.data;
    if (got !== data && !memoryEqual(got ?? '', data, expected.tol)) differ(`mem ${addr}`, ...firstDifference(got ?? '', data));
  }
  return differences;
}

function judgeFpu(
  got: FpuState | undefined,
  want: FpuState,
  expected: ExpectedAnswer,
  options: JudgeOptions,
  differ: (name: string, got: unknown, want: unknown) => void,
): void {
  if (got === undefined) return differ('fpu', 'nothing', 'a state');
  if (number(got.fcw) !== number(want.fcw)) differ('fcw', got.fcw, want.fcw);
  if (number(got.ftw) !== number(want.ftw)) differ('ftw', got.ftw, want.ftw);
  let mask = Number(number(expected.fswMask ?? '0xffff'));
  if (!options.strict && !options.c1) mask &= ~FSW_C1;
  const gotFsw = Number(number(got.fsw)) & mask,
    wantFsw = Number(number(want.fsw)) & mask;
  if (gotFsw !== wantFsw) differ('fsw', fswNames(gotFsw), fswNames(wantFsw));
  for (const [index, value] of want.st.entries()) {
    const other = got.st[index] ?? '';
    if (other !== value && !(expected.ignore ?? []).includes(`st${index}`) && !(expected.tol === 'x87' && extendedClose(other, value))) {
      differ(`st${index}`, extendedText(other), extendedText(value));
    }
  }
}

function number(text: string | undefined): bigint | undefined {
  return text === undefined ? undefined : BigInt(text);
}

function bitNames(value: number, names: readonly (readonly [string, number])[]): string {
  return `[${names
    .filter(([, bit]) => (value >>> bit) & 1)
    .map(([name]) => name)
    .join(' ')}]`;
}

const fswNames = (fsw: number): string => `TOP=${(fsw >>> 11) & 7}${bitNames(fsw, FSW_BITS)}`;
const lanes = (hex: string | undefined): string => (hex ?? 'nothing').replace(/.{8}(?=.)/g, '$&_');
/** Sign and exponent, then significand, as they are written: highest digit first. */
const extendedText = (hex: string): string => hex.match(/../g)?.toReversed().join('').replace(/^..../, '$&:') ?? 'nothing';

function firstDifference(got: string, want: string): [string, string] {
  let at = 0;
  while (at < want.length && got[at] === want[at]) at++;
  at -= at % 2;
  const show = (hex: string): string => `${at > 0 ? `+${at / 2}: ` : ''}${hex.slice(at, at + 40)}${hex.length > at + 40 ? '..' : ''}`;
  return [show(got), show(want)];
}

function bytesOf(hex: string): DataView {
  return new DataView(Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)).buffer);
}

function lanesEqual(gotHex: string, wantHex: string, tolerance: Tolerance | undefined): boolean {
  if (tolerance === undefined || tolerance === 'x87' || gotHex.length !== wantHex.length) return false;
  const got = bytesOf(gotHex),
    want = bytesOf(wantHex);
  const sizeBytes = tolerance === 'nan64' ? 8 : 4;
  for (let at = 0; at < want.byteLength; at += sizeBytes) {
    const a = sizeBytes === 8 ? got.getFloat64(at, true) : got.getFloat32(at, true);
    const b = sizeBytes === 8 ? want.getFloat64(at, true) : want.getFloat32(at, true);
    if (Number.isNaN(a) && Number.isNaN(b) && tolerance !== 'rel12') continue;
    if (gotHex.slice(at * 2, (at + sizeBytes) * 2) === wantHex.slice(at * 2, (at + sizeBytes) * 2)) continue;
    if (tolerance === 'rel12' && Math.abs(a - b) <= Math.abs(b) * ESTIMATE_RELATIVE_ERROR) continue;
    return false;
  }
  return true;
}

function memoryEqual(got: string, want: string, tolerance: Tolerance | undefined): boolean {
  return (tolerance === 'nan32' || tolerance === 'nan64') && got.length % 16 === 0 && lanesEqual(got, want, tolerance);
}

/** Within 64 units in the last place, counted across exponents. */
function extendedClose(gotHex: string, wantHex: string): boolean {
  if (gotHex.length !== 20 || wantHex.length !== 20) return false;
  const got = bytesOf(gotHex),
    want = bytesOf(wantHex);
  const gotExponent = got.getUint16(8, true),
    wantExponent = want.getUint16(8, true);
  if (gotExponent >>> 15 !== wantExponent >>> 15) return false;
  // Neighbouring binades: a significand with its integer bit set goes on counting in the next exponent.
  const rank = (view: DataView, exponent: number): bigint =>
    (BigInt(exponent & 0x7fff) << 63n) + (view.getBigUint64(0, true) & 0x7fffffffffffffffn);
  const distance = rank(got, gotExponent) - rank(want, wantExponent);
  return distance <= X87_ULPS && distance >= -X87_ULPS;
}
