/**
 * Rearranging floating-point elements: SHUFPS SHUFPD UNPCKLPS UNPCKHPS ..., BLENDPS BLENDPD BLENDVPS BLENDVPD, INSERTPS EXTRACTPS.
 * Implements: SDM vol. 2B/2C SHUFPS, UNPCKLPS ...; vol. 2A BLENDPS, BLENDVPS, INSERTPS, EXTRACTPS. Runs on: see cpu/emit.ts.
 */
import type { Emit, Value } from '../emit.ts';
import { inst, rw, w } from './inst.ts';
import type { Body, Line } from './inst.ts';
import { SSE, SSE2, SSE41, int } from './sse-float.ts';

/** A v128 of four i32. */
const i32x4 = (b: Emit, ...values: readonly number[]): Value => b.v128(values.flatMap((value) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)));
/** Bytes 0, 1, 2, 3 of each element, and a factor that copies a byte to four. */
const BYTES = 0x0302_0100, FOURFOLD = 0x0101_0101;

/** Indexes for a swizzle: element i is number `(selector >> shifts[i]) & mask`, of `bytes` bytes, in i32 pieces (two to an f64). */
function indexes(b: Emit, selector: Value, shifts: readonly number[], mask: number, pieces: readonly number[], piecesPerElement: number): Value {
  // Lanes have no shifts of their own: multiply up to one place, then shift all down.
  const top = 8, scaled = b.plain('i32x4.mul', b.plain('i32x4.splat', selector), i32x4(b, ...shifts.map((shift) => 1 << (top - shift))));
  const numbers = b.plain('v128.and', b.plain('i32x4.shr_u', scaled, int(b, top)), i32x4(b, mask, mask, mask, mask));
  const factor = 4 * piecesPerElement * FOURFOLD;
  return b.plain('i32x4.add', b.plain('i32x4.mul', numbers, i32x4(b, factor, factor, factor, factor)), i32x4(b, ...pieces.map((piece) => BYTES + piece * 4 * FOURFOLD)));
}

/** Two elements of the destination, then two of the source. */
const shufflePs: Body = (b, dst, src, immediate) => {
  const y = b.pin(src.read()), selector = b.resize(immediate!.read(), 4);
  const at = b.pin(indexes(b, selector, [0, 2, 4, 6], 3, [0, 0, 0, 0], 1));
  dst.write(b.shuffle(b.plain('i8x16.swizzle', dst.read(), at), b.plain('i8x16.swizzle', y, at), [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31]));
};
const shufflePd: Body = (b, dst, src, immediate) => {
  const y = b.pin(src.read()), selector = b.resize(immediate!.read(), 4);
  const at = b.pin(indexes(b, selector, [0, 0, 1, 1], 1, [0, 1, 0, 1], 2));
  dst.write(b.shuffle(b.plain('i8x16.swizzle', dst.read(), at), b.plain('i8x16.swizzle', y, at), [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31]));
};

const interleave = (sizeBytes: 4 | 8, high: boolean): Body => {
  const from = high ? 8 : 0;
  const lanes = Array.from({ length: 16 }, (_, index) => {
    const element = Math.floor(index / sizeBytes);
    return from + (element >> 1) * sizeBytes + (index % sizeBytes) + (element & 1) * 16;
  });
  return (b, dst, src) => {
    const y = b.pin(src.read());
    dst.write(b.shuffle(dst.read(), y, lanes));
  };
};

/** All ones in the i32 lanes whose bit of `control` is set. */
const lanesOfBits = (b: Emit, control: Value, bits: readonly number[]): Value => {
  const wanted = i32x4(b, ...bits);
  return b.plain('i32x4.eq', b.plain('v128.and', b.plain('i32x4.splat', control), wanted), wanted);
};
const blend = (bits: readonly number[]): Body => (b, dst, src, immediate) => {
  const y = b.pin(src.read()), mask = lanesOfBits(b, b.resize(immediate!.read(), 4), bits);
  dst.write(b.plain('v128.bitselect', y, dst.read(), mask));
};
/** By the sign bits of XMM0. */
const blendVariable = (shift: 'i32x4.shr_s' | 'i64x2.shr_s', count: number): Body => (b, dst, src) => {
  const y = b.pin(src.read()), mask = b.plain(shift, b.vector(0).read(), int(b, count));
  dst.write(b.plain('v128.bitselect', y, dst.read(), mask));
};

/** INSERTPS: bits 4-5 the destination's element, bits 0-3 elements to clear. `element` is in all lanes. */
function insertElement(b: Emit, old: Value, element: Value, control: Value): Value {
  const place = b.plain('i32x4.eq', b.plain('i32x4.splat', b.and(b.shr(control, int(b, 4)), int(b, 3))), i32x4(b, 0, 1, 2, 3));
  return b.plain('v128.andnot', b.plain('v128.bitselect', element, old, place), lanesOfBits(b, control, [1, 2, 4, 8]));
}
const insertFromRegister: Body = (b, dst, src, immediate) => {
  const control = b.pin(b.resize(immediate!.read(), 4)), from = b.and(b.shr(control, int(b, 6)), int(b, 3));
  const at = b.plain('i32x4.splat', b.integer('add', b.mul(from, int(b, 4 * FOURFOLD)), int(b, BYTES)));
  dst.write(insertElement(b, dst.read(), b.plain('i8x16.swizzle', src.read(), at), control));
};
const insertFromMemory: Body = (b, dst, src, immediate) => {
  const element = b.plain('i32x4.splat', b.pin(src.read()));
  dst.write(insertElement(b, dst.read(), element, b.pin(b.resize(immediate!.read(), 4))));
};
const extractElement: Body = (b, dst, src, immediate) => {
  const from = b.and(b.resize(immediate!.read(), 4), int(b, 3));
  const at = b.plain('i32x4.splat', b.integer('add', b.mul(from, int(b, 4 * FOURFOLD)), int(b, BYTES)));
  dst.write(b.lane('i32x4.extract_lane', 0, b.plain('i8x16.swizzle', src.read(), at)));
};

export const sseShuffle: readonly Line[] = [
  inst('unpcklps', [rw('Vps'), 'Wps'], 'np 0f 14 /r', interleave(4, false), SSE),
  inst('unpcklpd', [rw('Vpd'), 'Wpd'], '66 0f 14 /r', interleave(8, false), SSE2),
  inst('unpckhps', [rw('Vps'), 'Wps'], 'np 0f 15 /r', interleave(4, true), SSE),
  inst('unpckhpd', [rw('Vpd'), 'Wpd'], '66 0f 15 /r', interleave(8, true), SSE2),
  inst('shufps', [rw('Vps'), 'Wps', 'Ib'], 'np 0f c6 /r', shufflePs, SSE),
  inst('shufpd', [rw('Vpd'), 'Wpd', 'Ib'], '66 0f c6 /r', shufflePd, SSE2),
  inst('blendps', [rw('Vps'), 'Wps', 'Ib'], '66 0f 3a 0c /r', blend([1, 2, 4, 8]), SSE41),
  inst('blendpd', [rw('Vpd'), 'Wpd', 'Ib'], '66 0f 3a 0d /r', blend([1, 1, 2, 2]), SSE41),
  inst('blendvps', [rw('Vps'), 'Wps'], '66 0f 38 14 /r', blendVariable('i32x4.shr_s', 31), SSE41),
  inst('blendvpd', [rw('Vpd'), 'Wpd'], '66 0f 38 15 /r', blendVariable('i64x2.shr_s', 63), SSE41),
  inst('extractps', [w('Rd'), 'Vps', 'Ib'], '66 0f 3a 17 /r', extractElement, SSE41),
  inst('extractps', [w('Md'), 'Vps', 'Ib'], '66 0f 3a 17 /r', extractElement, SSE41),
  inst('insertps', [rw('Vps'), 'Ups', 'Ib'], '66 0f 3a 21 /r', insertFromRegister, SSE41),
  inst('insertps', [rw('Vps'), 'Md', 'Ib'], '66 0f 3a 21 /r', insertFromMemory, SSE41),
];
