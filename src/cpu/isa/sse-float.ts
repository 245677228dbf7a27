/**
 * What lines of SSE arithmetic share: the two formats and the tests that tell ordinary numbers from those whose flags, payloads or flushing
 * are left to the exact helpers of cpu/assembly/sse.ts.
 *
 * An ordinary operation raises PE at most: its operands are normal or zero, its result is larger than the smallest normal number. A result
 * that equals it may have been rounded up from below, which is an underflow (SDM vol. 1 4.9.1.5: tininess is detected after rounding).
 * Implements: SDM vol. 1 4.8.3 Real Number and Non-number Encodings, 11.5.2 SIMD Floating-Point Exception Conditions. Runs on: see cpu/emit.ts.
 */
import type { Emit, Operand, Value } from '../emit.ts';
import type { PlainOp } from '../wasm/opcodes.ts';
import type { Attributes } from './inst.ts';

export const SSE: Attributes = { fpu: 'sse', cpuid: 'sse' };
export const SSE2: Attributes = { fpu: 'sse', cpuid: 'sse2' };
export const SSE3: Attributes = { fpu: 'sse', cpuid: 'sse3' };
export const SSE41: Attributes = { fpu: 'sse', cpuid: 'sse4.1' };

/** One of the two element types, by wasm's names. */
export interface Format {
  readonly scalar: 'f32' | 'f64';
  readonly packed: 'f32x4' | 'f64x2';
  readonly sizeBytes: 4 | 8;
  readonly lanes: 4 | 2;
  readonly toFloat: PlainOp;
  readonly toBits: PlainOp;
  /** Bits of the smallest normal number and of infinity. */
  readonly smallest: bigint;
  readonly infinity: bigint;
  /** Of the upper, or only, 32 bits, the lowest bit of the exponent. */
  readonly exponentStep: number;
  /** Words of a v128 with sign and exponent: a mask of lanes, and the low element's lane. */
  readonly headMask: number;
  readonly headLane: number;
}
export const F32: Format = {
  scalar: 'f32', packed: 'f32x4', sizeBytes: 4, lanes: 4, toFloat: 'f32.reinterpret_i32', toBits: 'i32.reinterpret_f32', smallest: 0x0080_0000n, infinity: 0x7f80_0000n,
  exponentStep: 1 << 23, headMask: 0b1111, headLane: 0,
};
export const F64: Format = {
  scalar: 'f64', packed: 'f64x2', sizeBytes: 8, lanes: 2, toFloat: 'f64.reinterpret_i64', toBits: 'i64.reinterpret_f64',
  smallest: 0x0010_0000_0000_0000n, infinity: 0x7ff0_0000_0000_0000n, exponentStep: 1 << 20, headMask: 0b1010, headLane: 1,
};

export const ZERO: readonly number[] = new Array<number>(16).fill(0);
export const int = (b: Emit, value: number): Value => b.constant(value, 4);

// --- one element, as bits ---

const constant = (b: Emit, format: Format, value: bigint): Value => b.constant(format.sizeBytes === 4 ? Number(value) : value, format.sizeBytes);
export const floatOf = (b: Emit, format: Format, bits: Value): Value => b.plain(format.toFloat, bits);
export const bitsOf = (b: Emit, format: Format, value: Value): Value => b.plain(format.toBits, value);
/** The magnitude, twice. */
const doubled = (b: Emit, format: Format, bits: Value): Value => b.shl(bits, constant(b, format, 1n));

// --- the quick test of arithmetic: exponents alone, of the words that hold them, shifted left so that the sign is gone ---

/** From here on, in such a word, an operand is normal; one step more, or an overflow to below it, tells the same of a result. */
const plainFrom = (format: Format): number => 8 * format.exponentStep;
/** The low element's word of an operand whose bits have been read from memory, else of its register. */
export const headOf = (b: Emit, format: Format, operand: Operand, bits: Value): Value =>
  operand.isMemory ? (format.sizeBytes === 4 ? bits : b.resize(b.shr(bits, b.constant(32, 8)), 4)) : headIn(b, format, operand.whole());
export const headIn = (b: Emit, format: Format, vector: Value): Value => b.lane('i32x4.extract_lane', format.headLane, vector);
/** i32: perhaps no normal number: a zero, a denormal, or one of the smallest. */
export const isSmall = (b: Emit, format: Format, head: Value): Value => b.compare('lt_u', b.shl(head, int(b, 1)), int(b, plainFrom(format)));
/** i32: perhaps one of those, an infinity or a NaN. */
export const isExtreme = (b: Emit, format: Format, head: Value): Value =>
  b.compare('lt_u', b.add(b.shl(head, int(b, 1)), int(b, 2 * format.exponentStep)), int(b, plainFrom(format)));
/** i32: no normal number above zero. */
export const isNotPositive = (b: Emit, format: Format, head: Value): Value => {
  const step = format.exponentStep, infinity = 0x7fff_ffff + 1 - step;
  return b.compare('ge_u', b.sub(head, int(b, step)), int(b, infinity - step));
};
/** i32: the same as isExtreme for any element of a result or its operands. */
export function anyExtreme(b: Emit, format: Format, result: Value, ...operands: Value[]): Value {
  const doubled = (x: Value): Value => b.plain('i32x4.add', x, x), step = splat(b, format, BigInt(2 * format.exponentStep) << BigInt(8 * format.sizeBytes - 32));
  const least = operands.reduce((x, y) => b.plain('i32x4.min_u', x, doubled(y)), b.plain('i32x4.add', doubled(result), step));
  const small = b.plain('i32x4.eq', b.plain('i32x4.shr_u', least, int(b, Math.log2(plainFrom(format)))), b.v128(ZERO));
  return b.and(b.plain('i32x4.bitmask', small), int(b, format.headMask));
}

export const isZero = (b: Emit, format: Format, bits: Value): Value => b.isZero(doubled(b, format, bits));
/** Neither zero nor normal, and no infinity or NaN. */
export const isDenormal = (b: Emit, format: Format, bits: Value): Value =>
  b.compare('lt_u', b.sub(doubled(b, format, bits), constant(b, format, 1n)), constant(b, format, 2n * format.smallest - 1n));
export const isNan = (b: Emit, format: Format, bits: Value): Value => b.compare('gt_u', doubled(b, format, bits), constant(b, format, 2n * format.infinity));
/** Beyond the smallest normal number, below infinity. */
export const isOrdinary = (b: Emit, format: Format, bits: Value): Value => {
  const from = 2n * format.smallest + 2n;
  return b.compare('lt_u', b.sub(doubled(b, format, bits), constant(b, format, from)), constant(b, format, 2n * format.infinity - from));
};
/** A positive normal number. */
export const isPositive = (b: Emit, format: Format, bits: Value): Value =>
  b.compare('lt_u', b.sub(bits, constant(b, format, format.smallest)), constant(b, format, format.infinity - format.smallest));

// --- all elements of a register: results are masks ---

/** A v128 of one element's bits. */
export const splat = (b: Emit, format: Format, bits: bigint): Value => {
  const bytes = Array.from({ length: format.sizeBytes }, (_, index) => Number((bits >> BigInt(8 * index)) & 0xffn));
  return b.v128(Array.from({ length: 16 }, (_, index) => bytes[index % format.sizeBytes]!));
};
export const both = (b: Emit, x: Value, y: Value): Value => b.plain('v128.and', x, y);
export const either = (b: Emit, x: Value, y: Value): Value => b.plain('v128.or', x, y);
export const areZero = (b: Emit, { packed }: Format, x: Value): Value => b.plain(`${packed}.eq`, x, b.v128(ZERO));
const magnitude = (b: Emit, { packed }: Format, x: Value): Value => b.plain(`${packed}.abs`, x);
/** Zero, normal or infinite. */
export const areComparable = (b: Emit, format: Format, x: Value): Value =>
  either(b, b.plain(`${format.packed}.ge`, magnitude(b, format, x), splat(b, format, format.smallest)), areZero(b, format, x));
export const areOrdinary = (b: Emit, format: Format, x: Value): Value => {
  const size = magnitude(b, format, x);
  return both(b, b.plain(`${format.packed}.gt`, size, splat(b, format, format.smallest)), b.plain(`${format.packed}.lt`, size, splat(b, format, format.infinity)));
};
/** Magnitude below a bound, given by its bits; not so for a NaN. */
export const areBelow = (b: Emit, format: Format, x: Value, bound: bigint): Value =>
  b.plain(`${format.packed}.lt`, magnitude(b, format, x), splat(b, format, bound));
/** i32: not all of a mask is set. */
export const notAll = (b: Emit, mask: Value): Value => b.compare('ne', b.plain('i8x16.bitmask', mask), int(b, 0xffff));

// --- operands ---

/** Read an operand now, if it is in memory; a register is read again each time, so that each use may have it as it likes. */
export function reader(b: Emit, operand: Operand): () => Value {
  if (!operand.isMemory) return () => operand.read();
  const value = b.pin(operand.read());
  return () => value;
}

/** The whole register of an XMM operand, now. */
export const wholeOf = (b: Emit, dst: Operand): Value => b.pin(dst.whole());
const LANES = { i32: 'i32x4', i64: 'i64x2', f32: 'f32x4', f64: 'f64x2' } as const;
/**
 * Write the low element, float or integer, with the rest of the register as it is: sixteen bytes, since a load of the whole after a store of a
 * part waits until that store is in the cache, on every processor, and compilers copy registers as wholes.
 */
export function writeElement(b: Emit, dst: Operand, element: Value, whole = wholeOf(b, dst)): void {
  dst.write(b.lane(`${LANES[element.type as keyof typeof LANES]}.replace_lane`, 0, whole, element));
}

/** Address in memory 0 (i32) of an operand: a register's own, or the scratch area with what was read from memory. */
export function addressOf(b: Emit, operand: Operand, value: Value): Value {
  if (!operand.isMemory) return operand.recorded();
  b.setField('scratch', value.size === 4 ? 'i32' : value.size === 8 ? 'i64' : 'v128', value);
  return b.fieldAddress('scratch');
}
