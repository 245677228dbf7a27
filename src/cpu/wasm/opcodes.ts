/**
 * Opcodes of the WebAssembly instructions that the builder emits.
 * Implements: WebAssembly core specification 5.4 (with threads, SIMD, bulk memory). Runs on: any thread.
 */
export type Type = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';
export const TYPES: readonly Type[] = ['i32', 'i64', 'f32', 'f64', 'v128'];
export const TYPE_CODE: Readonly<Record<Type, number>> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

/** Prefixed opcodes are written as (prefix << 16) | number. */
export const SIMD = 0xfd0000;
export const ATOMIC = 0xfe0000;

/** Two-operand and one-operand integer arithmetic: [i32 opcode, i64 opcode]. */
export const INTEGER = {
  add: [0x6a, 0x7c], sub: [0x6b, 0x7d], mul: [0x6c, 0x7e], div_s: [0x6d, 0x7f], div_u: [0x6e, 0x80], rem_s: [0x6f, 0x81], rem_u: [0x70, 0x82],
  and: [0x71, 0x83], or: [0x72, 0x84], xor: [0x73, 0x85], shl: [0x74, 0x86], shr_s: [0x75, 0x87], shr_u: [0x76, 0x88],
  rotl: [0x77, 0x89], rotr: [0x78, 0x8a], clz: [0x67, 0x79], ctz: [0x68, 0x7a], popcnt: [0x69, 0x7b],
  extend8_s: [0xc0, 0xc2], extend16_s: [0xc1, 0xc3],
} as const;
export const COMPARISON = {
  eqz: [0x45, 0x50], eq: [0x46, 0x51], ne: [0x47, 0x52], lt_s: [0x48, 0x53], lt_u: [0x49, 0x54], gt_s: [0x4a, 0x55], gt_u: [0x4b, 0x56],
  le_s: [0x4c, 0x57], le_u: [0x4d, 0x58], ge_s: [0x4e, 0x59], ge_u: [0x4f, 0x5a],
} as const;

/** Everything else without an immediate: [opcode, result, operands]. */
export const PLAIN = {
  'f32.eq': [0x5b, 'i32', 2], 'f32.ne': [0x5c, 'i32', 2], 'f32.lt': [0x5d, 'i32', 2], 'f32.gt': [0x5e, 'i32', 2], 'f32.le': [0x5f, 'i32', 2], 'f32.ge': [0x60, 'i32', 2],
  'f64.eq': [0x61, 'i32', 2], 'f64.ne': [0x62, 'i32', 2], 'f64.lt': [0x63, 'i32', 2], 'f64.gt': [0x64, 'i32', 2], 'f64.le': [0x65, 'i32', 2], 'f64.ge': [0x66, 'i32', 2],
  'f32.abs': [0x8b, 'f32', 1], 'f32.neg': [0x8c, 'f32', 1], 'f32.ceil': [0x8d, 'f32', 1], 'f32.floor': [0x8e, 'f32', 1], 'f32.trunc': [0x8f, 'f32', 1],
  'f32.nearest': [0x90, 'f32', 1], 'f32.sqrt': [0x91, 'f32', 1], 'f32.add': [0x92, 'f32', 2], 'f32.sub': [0x93, 'f32', 2], 'f32.mul': [0x94, 'f32', 2],
  'f32.div': [0x95, 'f32', 2], 'f32.min': [0x96, 'f32', 2], 'f32.max': [0x97, 'f32', 2],
  'f64.abs': [0x99, 'f64', 1], 'f64.neg': [0x9a, 'f64', 1], 'f64.ceil': [0x9b, 'f64', 1], 'f64.floor': [0x9c, 'f64', 1], 'f64.trunc': [0x9d, 'f64', 1],
  'f64.nearest': [0x9e, 'f64', 1], 'f64.sqrt': [0x9f, 'f64', 1], 'f64.add': [0xa0, 'f64', 2], 'f64.sub': [0xa1, 'f64', 2], 'f64.mul': [0xa2, 'f64', 2],
  'f64.div': [0xa3, 'f64', 2], 'f64.min': [0xa4, 'f64', 2], 'f64.max': [0xa5, 'f64', 2],
  'f32.convert_i32_s': [0xb2, 'f32', 1], 'f32.convert_i64_s': [0xb4, 'f32', 1], 'f32.demote_f64': [0xb6, 'f32', 1],
  'f64.convert_i32_s': [0xb7, 'f64', 1], 'f64.convert_i64_s': [0xb9, 'f64', 1], 'f64.promote_f32': [0xbb, 'f64', 1],
  'i32.reinterpret_f32': [0xbc, 'i32', 1], 'i64.reinterpret_f64': [0xbd, 'i64', 1], 'f32.reinterpret_i32': [0xbe, 'f32', 1], 'f64.reinterpret_i64': [0xbf, 'f64', 1],
  'i32.trunc_sat_f32_s': [0xfc0000, 'i32', 1], 'i32.trunc_sat_f64_s': [0xfc0002, 'i32', 1], 'i64.trunc_sat_f32_s': [0xfc0004, 'i64', 1], 'i64.trunc_sat_f64_s': [0xfc0006, 'i64', 1],
  'i8x16.swizzle': [SIMD + 14, 'v128', 2], 'i8x16.splat': [SIMD + 15, 'v128', 1], 'i16x8.splat': [SIMD + 16, 'v128', 1], 'i32x4.splat': [SIMD + 17, 'v128', 1], 'i64x2.splat': [SIMD + 18, 'v128', 1],
  'f32x4.splat': [SIMD + 19, 'v128', 1], 'f64x2.splat': [SIMD + 20, 'v128', 1],
  'i8x16.eq': [SIMD + 35, 'v128', 2], 'i8x16.ne': [SIMD + 36, 'v128', 2], 'i8x16.lt_s': [SIMD + 37, 'v128', 2], 'i8x16.gt_s': [SIMD + 39, 'v128', 2],
  'i16x8.eq': [SIMD + 45, 'v128', 2], 'i16x8.ne': [SIMD + 46, 'v128', 2], 'i16x8.gt_s': [SIMD + 49, 'v128', 2],
  'i32x4.eq': [SIMD + 55, 'v128', 2], 'i32x4.ne': [SIMD + 56, 'v128', 2], 'i32x4.gt_s': [SIMD + 59, 'v128', 2],
  'f32x4.eq': [SIMD + 65, 'v128', 2], 'f32x4.ne': [SIMD + 66, 'v128', 2], 'f32x4.lt': [SIMD + 67, 'v128', 2], 'f32x4.gt': [SIMD + 68, 'v128', 2], 'f32x4.le': [SIMD + 69, 'v128', 2], 'f32x4.ge': [SIMD + 70, 'v128', 2],
  'f64x2.eq': [SIMD + 71, 'v128', 2], 'f64x2.ne': [SIMD + 72, 'v128', 2], 'f64x2.lt': [SIMD + 73, 'v128', 2], 'f64x2.gt': [SIMD + 74, 'v128', 2], 'f64x2.le': [SIMD + 75, 'v128', 2], 'f64x2.ge': [SIMD + 76, 'v128', 2],
  'v128.not': [SIMD + 77, 'v128', 1], 'v128.and': [SIMD + 78, 'v128', 2], 'v128.andnot': [SIMD + 79, 'v128', 2], 'v128.or': [SIMD + 80, 'v128', 2], 'v128.xor': [SIMD + 81, 'v128', 2],
  'v128.bitselect': [SIMD + 82, 'v128', 3], 'v128.any_true': [SIMD + 83, 'i32', 1],
  'f32x4.demote_f64x2_zero': [SIMD + 94, 'v128', 1], 'f64x2.promote_low_f32x4': [SIMD + 95, 'v128', 1],
  'i8x16.abs': [SIMD + 96, 'v128', 1], 'i8x16.neg': [SIMD + 97, 'v128', 1], 'i8x16.popcnt': [SIMD + 98, 'v128', 1], 'i8x16.all_true': [SIMD + 99, 'i32', 1], 'i8x16.bitmask': [SIMD + 100, 'i32', 1],
  'i8x16.narrow_i16x8_s': [SIMD + 101, 'v128', 2], 'i8x16.narrow_i16x8_u': [SIMD + 102, 'v128', 2],
  'f32x4.ceil': [SIMD + 103, 'v128', 1], 'f32x4.floor': [SIMD + 104, 'v128', 1], 'f32x4.trunc': [SIMD + 105, 'v128', 1], 'f32x4.nearest': [SIMD + 106, 'v128', 1],
  'i8x16.shl': [SIMD + 107, 'v128', 2], 'i8x16.shr_s': [SIMD + 108, 'v128', 2], 'i8x16.shr_u': [SIMD + 109, 'v128', 2],
  'i8x16.add': [SIMD + 110, 'v128', 2], 'i8x16.add_sat_s': [SIMD + 111, 'v128', 2], 'i8x16.add_sat_u': [SIMD + 112, 'v128', 2], 'i8x16.sub': [SIMD + 113, 'v128', 2], 'i8x16.sub_sat_s': [SIMD + 114, 'v128', 2], 'i8x16.sub_sat_u': [SIMD + 115, 'v128', 2],
  'f64x2.ceil': [SIMD + 116, 'v128', 1], 'f64x2.floor': [SIMD + 117, 'v128', 1], 'i8x16.min_s': [SIMD + 118, 'v128', 2], 'i8x16.min_u': [SIMD + 119, 'v128', 2], 'i8x16.max_s': [SIMD + 120, 'v128', 2], 'i8x16.max_u': [SIMD + 121, 'v128', 2],
  'f64x2.trunc': [SIMD + 122, 'v128', 1], 'i8x16.avgr_u': [SIMD + 123, 'v128', 2],
  'i16x8.extadd_pairwise_i8x16_s': [SIMD + 124, 'v128', 1], 'i16x8.extadd_pairwise_i8x16_u': [SIMD + 125, 'v128', 1], 'i32x4.extadd_pairwise_i16x8_s': [SIMD + 126, 'v128', 1], 'i32x4.extadd_pairwise_i16x8_u': [SIMD + 127, 'v128', 1],
  'i16x8.abs': [SIMD + 128, 'v128', 1], 'i16x8.neg': [SIMD + 129, 'v128', 1], 'i16x8.q15mulr_sat_s': [SIMD + 130, 'v128', 2], 'i16x8.bitmask': [SIMD + 132, 'i32', 1],
  'i16x8.narrow_i32x4_s': [SIMD + 133, 'v128', 2], 'i16x8.narrow_i32x4_u': [SIMD + 134, 'v128', 2],
  'i16x8.extend_low_i8x16_s': [SIMD + 135, 'v128', 1], 'i16x8.extend_high_i8x16_s': [SIMD + 136, 'v128', 1], 'i16x8.extend_low_i8x16_u': [SIMD + 137, 'v128', 1], 'i16x8.extend_high_i8x16_u': [SIMD + 138, 'v128', 1],
  'i16x8.shl': [SIMD + 139, 'v128', 2], 'i16x8.shr_s': [SIMD + 140, 'v128', 2], 'i16x8.shr_u': [SIMD + 141, 'v128', 2],
  'i16x8.add': [SIMD + 142, 'v128', 2], 'i16x8.add_sat_s': [SIMD + 143, 'v128', 2], 'i16x8.add_sat_u': [SIMD + 144, 'v128', 2], 'i16x8.sub': [SIMD + 145, 'v128', 2], 'i16x8.sub_sat_s': [SIMD + 146, 'v128', 2], 'i16x8.sub_sat_u': [SIMD + 147, 'v128', 2],
  'f64x2.nearest': [SIMD + 148, 'v128', 1], 'i16x8.mul': [SIMD + 149, 'v128', 2], 'i16x8.min_s': [SIMD + 150, 'v128', 2], 'i16x8.min_u': [SIMD + 151, 'v128', 2], 'i16x8.max_s': [SIMD + 152, 'v128', 2], 'i16x8.max_u': [SIMD + 153, 'v128', 2], 'i16x8.avgr_u': [SIMD + 155, 'v128', 2],
  'i16x8.extmul_low_i8x16_s': [SIMD + 156, 'v128', 2], 'i16x8.extmul_high_i8x16_s': [SIMD + 157, 'v128', 2], 'i16x8.extmul_low_i8x16_u': [SIMD + 158, 'v128', 2], 'i16x8.extmul_high_i8x16_u': [SIMD + 159, 'v128', 2],
  'i32x4.abs': [SIMD + 160, 'v128', 1], 'i32x4.neg': [SIMD + 161, 'v128', 1], 'i32x4.bitmask': [SIMD + 164, 'i32', 1],
  'i32x4.extend_low_i16x8_s': [SIMD + 167, 'v128', 1], 'i32x4.extend_high_i16x8_s': [SIMD + 168, 'v128', 1], 'i32x4.extend_low_i16x8_u': [SIMD + 169, 'v128', 1], 'i32x4.extend_high_i16x8_u': [SIMD + 170, 'v128', 1],
  'i32x4.shl': [SIMD + 171, 'v128', 2], 'i32x4.shr_s': [SIMD + 172, 'v128', 2], 'i32x4.shr_u': [SIMD + 173, 'v128', 2], 'i32x4.add': [SIMD + 174, 'v128', 2], 'i32x4.sub': [SIMD + 177, 'v128', 2], 'i32x4.mul': [SIMD + 181, 'v128', 2],
  'i32x4.min_s': [SIMD + 182, 'v128', 2], 'i32x4.min_u': [SIMD + 183, 'v128', 2], 'i32x4.max_s': [SIMD + 184, 'v128', 2], 'i32x4.max_u': [SIMD + 185, 'v128', 2], 'i32x4.dot_i16x8_s': [SIMD + 186, 'v128', 2],
  'i32x4.extmul_low_i16x8_s': [SIMD + 188, 'v128', 2], 'i32x4.extmul_high_i16x8_s': [SIMD + 189, 'v128', 2], 'i32x4.extmul_low_i16x8_u': [SIMD + 190, 'v128', 2], 'i32x4.extmul_high_i16x8_u': [SIMD + 191, 'v128', 2],
  'i64x2.neg': [SIMD + 193, 'v128', 1], 'i64x2.bitmask': [SIMD + 196, 'i32', 1],
  'i64x2.extend_low_i32x4_s': [SIMD + 199, 'v128', 1], 'i64x2.extend_high_i32x4_s': [SIMD + 200, 'v128', 1], 'i64x2.extend_low_i32x4_u': [SIMD + 201, 'v128', 1], 'i64x2.extend_high_i32x4_u': [SIMD + 202, 'v128', 1],
  'i64x2.shl': [SIMD + 203, 'v128', 2], 'i64x2.shr_s': [SIMD + 204, 'v128', 2], 'i64x2.shr_u': [SIMD + 205, 'v128', 2], 'i64x2.add': [SIMD + 206, 'v128', 2], 'i64x2.sub': [SIMD + 209, 'v128', 2], 'i64x2.mul': [SIMD + 213, 'v128', 2],
  'i64x2.eq': [SIMD + 214, 'v128', 2], 'i64x2.gt_s': [SIMD + 217, 'v128', 2],
  'i64x2.extmul_low_i32x4_s': [SIMD + 220, 'v128', 2], 'i64x2.extmul_low_i32x4_u': [SIMD + 222, 'v128', 2],
  'f32x4.abs': [SIMD + 224, 'v128', 1], 'f32x4.neg': [SIMD + 225, 'v128', 1], 'f32x4.sqrt': [SIMD + 227, 'v128', 1], 'f32x4.add': [SIMD + 228, 'v128', 2], 'f32x4.sub': [SIMD + 229, 'v128', 2], 'f32x4.mul': [SIMD + 230, 'v128', 2], 'f32x4.div': [SIMD + 231, 'v128', 2],
  'f32x4.pmin': [SIMD + 234, 'v128', 2], 'f32x4.pmax': [SIMD + 235, 'v128', 2],
  'f64x2.abs': [SIMD + 236, 'v128', 1], 'f64x2.neg': [SIMD + 237, 'v128', 1], 'f64x2.sqrt': [SIMD + 239, 'v128', 1], 'f64x2.add': [SIMD + 240, 'v128', 2], 'f64x2.sub': [SIMD + 241, 'v128', 2], 'f64x2.mul': [SIMD + 242, 'v128', 2], 'f64x2.div': [SIMD + 243, 'v128', 2],
  'f64x2.pmin': [SIMD + 246, 'v128', 2], 'f64x2.pmax': [SIMD + 247, 'v128', 2],
  'i32x4.trunc_sat_f32x4_s': [SIMD + 248, 'v128', 1], 'f32x4.convert_i32x4_s': [SIMD + 250, 'v128', 1], 'i32x4.trunc_sat_f64x2_s_zero': [SIMD + 252, 'v128', 1], 'f64x2.convert_low_i32x4_s': [SIMD + 254, 'v128', 1],
} as const;

/** SIMD with a lane number: [opcode, result, operands]. */
export const LANE = {
  'i8x16.extract_lane_s': [SIMD + 21, 'i32', 1], 'i8x16.extract_lane_u': [SIMD + 22, 'i32', 1], 'i8x16.replace_lane': [SIMD + 23, 'v128', 2],
  'i16x8.extract_lane_s': [SIMD + 24, 'i32', 1], 'i16x8.extract_lane_u': [SIMD + 25, 'i32', 1], 'i16x8.replace_lane': [SIMD + 26, 'v128', 2],
  'i32x4.extract_lane': [SIMD + 27, 'i32', 1], 'i32x4.replace_lane': [SIMD + 28, 'v128', 2], 'i64x2.extract_lane': [SIMD + 29, 'i64', 1], 'i64x2.replace_lane': [SIMD + 30, 'v128', 2],
  'f32x4.extract_lane': [SIMD + 31, 'f32', 1], 'f32x4.replace_lane': [SIMD + 32, 'v128', 2], 'f64x2.extract_lane': [SIMD + 33, 'f64', 1], 'f64x2.replace_lane': [SIMD + 34, 'v128', 2],
} as const;

/** Loads: [opcode, log2 of the natural alignment, result]. */
export const LOAD = {
  i32: [0x28, 2, 'i32'], i64: [0x29, 3, 'i64'], f32: [0x2a, 2, 'f32'], f64: [0x2b, 3, 'f64'],
  u8: [0x2d, 0, 'i32'], s8: [0x2c, 0, 'i32'], u16: [0x2f, 1, 'i32'], s16: [0x2e, 1, 'i32'], s8wide: [0x30, 0, 'i64'], s16wide: [0x32, 1, 'i64'], u32: [0x35, 2, 'i64'], s32: [0x34, 2, 'i64'],
  v128: [SIMD + 0, 4, 'v128'], v32zero: [SIMD + 92, 2, 'v128'], v64zero: [SIMD + 93, 3, 'v128'],
  atomicI32: [ATOMIC + 0x10, 2, 'i32'], atomicI64: [ATOMIC + 0x11, 3, 'i64'],
} as const;
/** Followed by a byte that is 0. */
export const ATOMIC_FENCE = ATOMIC + 3;
/** Stores: [opcode, log2 of the natural alignment]. */
export const STORE = { i32: [0x36, 2], i64: [0x37, 3], f32: [0x38, 2], f64: [0x39, 3], u8: [0x3a, 0], u16: [0x3b, 1], u32: [0x3e, 2], v128: [SIMD + 11, 4] } as const;
/** Atomic compare-and-exchange (expected, replacement) -> old: [opcode, log2 of the alignment, type]. */
export const COMPARE_EXCHANGE = { u8: [ATOMIC + 0x4a, 0, 'i32'], u16: [ATOMIC + 0x4b, 1, 'i32'], i32: [ATOMIC + 0x48, 2, 'i32'], i64: [ATOMIC + 0x49, 3, 'i64'] } as const;

export type IntegerOp = keyof typeof INTEGER;
export type ComparisonOp = keyof typeof COMPARISON;
export type PlainOp = keyof typeof PLAIN;
export type LaneOp = keyof typeof LANE;
export type LoadKind = keyof typeof LOAD;
export type StoreKind = keyof typeof STORE;
export type CompareExchangeKind = keyof typeof COMPARE_EXCHANGE;
