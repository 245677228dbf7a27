/**
 * SSE conversions between floats and between floats and integers, and rounding to integral values: CVT*, ROUNDPS ROUNDPD ROUNDSS ROUNDSD.
 * Implements: SDM vol. 2A CVTDQ2PD ... CVTTSS2SI; vol. 2B ROUNDPD (table 4-18, the immediate); vol. 1 4.8.3.7 (integer indefinite).
 * Runs on: see cpu/emit.ts. Where a value does not fit or is no ordinary number, cpu/assembly/sse.ts converts.
 */
import type { Emit, Operand, Value } from '../emit.ts';
import { inst, w } from './inst.ts';
import type { Body, Line } from './inst.ts';
import { commitMmx } from './packed.ts';
import {
  F32, F64, SSE, SSE2, SSE41, addressOf, areBelow, areComparable, areZero, bitsOf, both, either, floatOf, int, isDenormal, isNan, isOrdinary, isZero, notAll, splat, writeElement,
} from './sse-float.ts';
import type { Format } from './sse-float.ts';

/** Element types as the helper numbers them. */
const TYPE = { f32: 0, f64: 1, i32: 2, i64: 3 } as const;
type ElementType = keyof typeof TYPE;

const scratchAddress = (b: Emit): Value => b.fieldAddress('scratch');
/** By the helper, from the scratch area into it: nothing is raised when this returns. */
function convertInScratch(b: Emit, from: ElementType, to: ElementType, truncate: boolean, value: Value, lanes: number): void {
  b.setField('scratch', value.size === 4 ? 'i32' : value.size === 8 ? 'i64' : 'v128', value);
  b.call('sseConvert', int(b, TYPE[from] | (TYPE[to] << 2)), int(b, truncate ? 1 : 0), scratchAddress(b), scratchAddress(b), int(b, lanes));
}

// --- integers to floats ---

const scalarFromInteger = (format: Format): Body => (b, dst, src) => {
  const value = b.pin(src.read()), from = src.size === 8 ? 'i64' : 'i32';
  const fast = (): void => writeElement(b, dst, b.plain(`${format.scalar}.convert_${from}_s`, value));
  if (format === F64 && from === 'i32') fast();   // always exact
  else {
    b.whenFpDefault(fast, () => {
      convertInScratch(b, from, format.scalar, false, value, 1);
      dst.write(b.loadAt(scratchAddress(b), format.sizeBytes === 4 ? 'i32' : 'i64'));
    });
  }
};
const packedFromI32 = (b: Emit, dst: Operand, value: Value): void => {
  b.whenFpDefault(() => dst.write(b.plain('f32x4.convert_i32x4_s', value)), () => {
    convertInScratch(b, 'i32', 'f32', false, value, 4);
    dst.write(b.loadAt(scratchAddress(b), 'v128'));
  });
};
const doublesOf = (b: Emit, pair: Value): Value => b.plain('f64x2.convert_low_i32x4_s', b.plain('i64x2.splat', pair));

// --- between the formats ---

/** Widening is exact; only NaNs and denormals show. */
const scalarWiden: Body = (b, dst, src) => {
  const x = b.pin(src.read());
  b.attempt((rare) => {
    rare(b.or(isDenormal(b, F32, x), isNan(b, F32, x)));
    writeElement(b, dst, b.plain('f64.promote_f32', floatOf(b, F32, x)));
  }, () => {
    convertInScratch(b, 'f32', 'f64', false, x, 1);
    dst.write(b.loadAt(scratchAddress(b), 'i64'));
  });
};
const packedWiden: Body = (b, dst, src) => {
  const x = b.pin(src.read());
  b.attempt((rare) => {
    const pairs = b.pin(b.plain('i64x2.splat', x));
    rare(notAll(b, areComparable(b, F32, pairs)));
    dst.write(b.plain('f64x2.promote_low_f32x4', pairs));
  }, () => {
    convertInScratch(b, 'f32', 'f64', false, x, 2);
    dst.write(b.loadAt(scratchAddress(b), 'v128'));
  });
};
const scalarNarrow: Body = (b, dst, src) => {
  const x = b.pin(src.read());
  b.whenFpDefault((rare) => {
    const result = b.pin(b.plain('f32.demote_f64', floatOf(b, F64, x)));
    rare(b.isZero(b.or(isOrdinary(b, F32, bitsOf(b, F32, result)), isZero(b, F64, x))));
    writeElement(b, dst, result);
  }, () => {
    convertInScratch(b, 'f64', 'f32', false, x, 1);
    dst.write(b.loadAt(scratchAddress(b), 'i32'));
  });
};
/** 2^-126 and 2^128 - 2^103, where rounding would reach infinity, as doubles. */
const F32_SMALLEST = 0x3810_0000_0000_0000n, F32_OVERFLOW = 0x47ef_ffff_f000_0000n;
const packedNarrow: Body = (b, dst, src) => {
  const x = b.pin(src.read());
  b.whenFpDefault((rare) => {
    const fits = both(b, areBelow(b, F64, x, F32_OVERFLOW), b.plain('f64x2.gt', b.plain('f64x2.abs', x), splat(b, F64, F32_SMALLEST)));
    rare(notAll(b, either(b, fits, areZero(b, F64, x))));
    dst.write(b.plain('f32x4.demote_f64x2_zero', x));
  }, () => {
    convertInScratch(b, 'f64', 'f32', false, x, 2);
    dst.write(lowHalf(b));
  });
};
/** What the helper left in the low half of the scratch area, with zero above. */
const lowHalf = (b: Emit): Value => b.f.load('v64zero', b.pin(scratchAddress(b)), 0);

// --- floats to integers: NaNs and what does not fit are the helper's, which answers with the integer indefinite ---

/** 2^31 and 2^63 by format. */
const LIMIT = { f32: { 4: 0x4f00_0000n, 8: 0x5f00_0000n }, f64: { 4: 0x41e0_0000_0000_0000n, 8: 0x43e0_0000_0000_0000n } } as const;

const scalarToInteger = (format: Format, truncate: boolean): Body => (b, dst, src) => {
  const bits = b.pin(src.read()), size = dst.size as 4 | 8;
  b.whenFpDefault((rare) => {
    const x = floatOf(b, format, bits), rounded = b.pin(truncate ? x : b.plain(`${format.scalar}.nearest`, x));
    const limit = floatOf(b, format, b.constant(format === F32 ? Number(LIMIT.f32[size]) : LIMIT.f64[size], format.sizeBytes));
    rare(b.isZero(b.plain(`${format.scalar}.lt`, b.plain(`${format.scalar}.abs`, rounded), limit)));
    dst.write(b.plain(`${size === 4 ? 'i32' : 'i64'}.trunc_sat_${format.scalar}_s`, rounded));
  }, () => {
    const value = b.call('sseToInteger', int(b, format === F64 ? 1 : 0), int(b, size === 8 ? 1 : 0), int(b, truncate ? 1 : 0), b.resize(bits, 8));
    dst.write(b.resize(value, size));
  });
};
/** Four or two i32 in a v128, the rest of it zero. */
function packedToIntegers(b: Emit, format: Format, truncate: boolean, x: Value, lanes: number, take: (value: Value) => void): void {
  b.whenFpDefault((rare) => {
    const rounded = b.pin(truncate ? x : b.plain(`${format.packed}.nearest`, x));
    rare(notAll(b, areBelow(b, format, rounded, LIMIT[format.scalar][4])));
    take(b.plain(format === F32 ? 'i32x4.trunc_sat_f32x4_s' : 'i32x4.trunc_sat_f64x2_s_zero', rounded));
  }, () => {
    convertInScratch(b, format.scalar, 'i32', truncate, x, lanes);
    take(lanes === 4 ? b.loadAt(scratchAddress(b), 'v128') : lowHalf(b));
  });
}
const packedToInteger = (format: Format, truncate: boolean): Body => (b, dst, src) => {
  packedToIntegers(b, format, truncate, b.pin(src.read()), format.lanes, (value) => dst.write(value));
};

// --- the forms with MMX registers ---

/** A pending x87 exception comes first, then faults of memory. Processors change to the MMX state even when the conversion raises #XM. */
const mmxFromFloats = (format: Format, truncate: boolean): Body => (b, dst, src) => {
  b.call('fpuWait');
  const value = b.pin(src.read()), x = format === F32 ? b.pin(b.plain('i64x2.splat', value)) : value;
  b.call('mmxEnter');
  packedToIntegers(b, format, truncate, x, 2, (result) => commitMmx(b, dst, b.lane('i64x2.extract_lane', 0, result)));
};
/** With a memory operand processors leave the x87 alone here too. */
const floatsFromMmx: Body = (b, dst, src) => {
  if (!src.isMemory) b.call('fpuWait');
  const pair = b.pin(src.read());
  if (!src.isMemory) b.call('mmxEnter');
  b.whenFpDefault(() => dst.write(b.lane('i64x2.extract_lane', 0, b.plain('f32x4.convert_i32x4_s', b.plain('i64x2.splat', pair)))), () => {
    convertInScratch(b, 'i32', 'f32', false, pair, 2);
    dst.write(b.loadAt(scratchAddress(b), 'i64'));
  });
};
/** SDM vol. 2A CVTPI2PD: with a memory operand it is no MMX instruction. */
const doublesFromMmx: Body = (b, dst, src) => {
  const pair = b.pin(src.read());
  if (!src.isMemory) b.call('mmxEnter');
  dst.write(doublesOf(b, pair));
};

// --- ROUND: bits 0-1 the rounding, bit 2 MXCSR's instead, bit 3 without PE ---

const NEAREST = 0, DOWN = 1, UP = 2, USE_MXCSR = 4;
function rounded(b: Emit, immediate: Value, type: 'f32' | 'f64' | 'v128', round: (way: 'nearest' | 'floor' | 'ceil' | 'trunc') => Value): Value {
  const result = b.variable(type), control = b.pin(immediate), is = (bits: number, value: number): Value => b.compare('eq', b.and(control, int(b, bits)), int(b, value));
  const nearest = b.or(b.compare('ne', b.and(control, int(b, USE_MXCSR)), int(b, 0)), is(3, NEAREST));
  b.if(nearest, () => result.set(round('nearest')), () => b.if(is(3, DOWN), () => result.set(round('floor')), () => b.if(is(3, UP), () => result.set(round('ceil')), () => result.set(round('trunc')))));
  return result.get();
}
const roundScalar = (format: Format): Body => (b, dst, src, immediate) => {
  const bits = b.pin(src.read()), control = b.resize(immediate!.read(), 4);
  b.whenFpDefault((rare) => {
    rare(b.or(isDenormal(b, format, bits), isNan(b, format, bits)));
    const x = b.pin(floatOf(b, format, bits));
    writeElement(b, dst, rounded(b, control, format.scalar, (way) => b.plain(`${format.scalar}.${way}`, x)));
  }, () => dst.throughRecord((to) => b.call(format === F32 ? 'sseRoundF32' : 'sseRoundF64', control, to, addressOf(b, src, bits), int(b, 1))));
};
const roundPacked = (format: Format): Body => (b, dst, src, immediate) => {
  const x = b.pin(src.read()), control = b.resize(immediate!.read(), 4);
  b.whenFpDefault((rare) => {
    rare(notAll(b, areComparable(b, format, x)));
    dst.write(rounded(b, control, 'v128', (way) => b.plain(`${format.packed}.${way}`, x)));
  }, () => dst.throughRecord((to) => b.call(format === F32 ? 'sseRoundF32' : 'sseRoundF64', control, to, addressOf(b, src, x), int(b, format.lanes))));
};

export const sseConvert: readonly Line[] = [
  inst('cvtpi2ps', [w('Vq'), 'Qq'], 'np 0f 2a /r', floatsFromMmx, SSE),
  inst('cvtpi2pd', [w('Vpd'), 'Qq'], '66 0f 2a /r', doublesFromMmx, SSE2),
  inst('cvtsi2ss', [w('Vss'), 'Ey'], 'f3 0f 2a /r', scalarFromInteger(F32), SSE),
  inst('cvtsi2sd', [w('Vsd'), 'Ey'], 'f2 0f 2a /r', scalarFromInteger(F64), SSE2),
  inst('cvttps2pi', [w('Pq'), 'Wq'], 'np 0f 2c /r', mmxFromFloats(F32, true), SSE),
  inst('cvttpd2pi', [w('Pq'), 'Wpd'], '66 0f 2c /r', mmxFromFloats(F64, true), SSE2),
  inst('cvttss2si', [w('Gy'), 'Wss'], 'f3 0f 2c /r', scalarToInteger(F32, true), SSE),
  inst('cvttsd2si', [w('Gy'), 'Wsd'], 'f2 0f 2c /r', scalarToInteger(F64, true), SSE2),
  inst('cvtps2pi', [w('Pq'), 'Wq'], 'np 0f 2d /r', mmxFromFloats(F32, false), SSE),
  inst('cvtpd2pi', [w('Pq'), 'Wpd'], '66 0f 2d /r', mmxFromFloats(F64, false), SSE2),
  inst('cvtss2si', [w('Gy'), 'Wss'], 'f3 0f 2d /r', scalarToInteger(F32, false), SSE),
  inst('cvtsd2si', [w('Gy'), 'Wsd'], 'f2 0f 2d /r', scalarToInteger(F64, false), SSE2),
  inst('cvtps2pd', [w('Vpd'), 'Wq'], 'np 0f 5a /r', packedWiden, SSE2),
  inst('cvtpd2ps', [w('Vps'), 'Wpd'], '66 0f 5a /r', packedNarrow, SSE2),
  inst('cvtss2sd', [w('Vsd'), 'Wss'], 'f3 0f 5a /r', scalarWiden, SSE2),
  inst('cvtsd2ss', [w('Vss'), 'Wsd'], 'f2 0f 5a /r', scalarNarrow, SSE2),
  inst('cvtdq2ps', [w('Vps'), 'Wx'], 'np 0f 5b /r', (b, dst, src) => packedFromI32(b, dst, b.pin(src.read())), SSE2),
  inst('cvtps2dq', [w('Vx'), 'Wps'], '66 0f 5b /r', packedToInteger(F32, false), SSE2),
  inst('cvttps2dq', [w('Vx'), 'Wps'], 'f3 0f 5b /r', packedToInteger(F32, true), SSE2),
  inst('cvttpd2dq', [w('Vx'), 'Wpd'], '66 0f e6 /r', packedToInteger(F64, true), SSE2),
  inst('cvtdq2pd', [w('Vpd'), 'Wq'], 'f3 0f e6 /r', (b, dst, src) => dst.write(doublesOf(b, src.read())), SSE2),
  inst('cvtpd2dq', [w('Vx'), 'Wpd'], 'f2 0f e6 /r', packedToInteger(F64, false), SSE2),
  inst('roundps', [w('Vps'), 'Wps', 'Ib'], '66 0f 3a 08 /r', roundPacked(F32), SSE41),
  inst('roundpd', [w('Vpd'), 'Wpd', 'Ib'], '66 0f 3a 09 /r', roundPacked(F64), SSE41),
  inst('roundss', [w('Vss'), 'Wss', 'Ib'], '66 0f 3a 0a /r', roundScalar(F32), SSE41),
  inst('roundsd', [w('Vsd'), 'Wsd', 'Ib'], '66 0f 3a 0b /r', roundScalar(F64), SSE41),
];
