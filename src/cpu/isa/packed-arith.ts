/**
 * Packed integer arithmetic, comparison, logic, minimum and maximum: MMX to SSE4.2.
 * Implements: SDM vol. 2B PABS* .. PXOR. Runs on: see cpu/emit.ts.
 */
import type { Emit, Value } from '../emit.ts';
import type { PlainOp } from '../wasm/opcodes.ts';
import { inst, rw, w } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';
import { IOTA, SSE2, SSE41, SSE42, SSSE3, ZEROS, binary, both, elements, int, vectorOf } from './packed.ts';
import type { VectorOperation } from './packed.ts';

const op = (name: PlainOp): Body => binary((b, x, y) => b.plain(name, x, y));

/** Those that are one wasm instruction. */
const DIRECT: readonly (readonly [string, string, PlainOp])[] = [
  ['pcmpgtb', '64', 'i8x16.gt_s'], ['pcmpgtw', '65', 'i16x8.gt_s'], ['pcmpgtd', '66', 'i32x4.gt_s'],
  ['pcmpeqb', '74', 'i8x16.eq'], ['pcmpeqw', '75', 'i16x8.eq'], ['pcmpeqd', '76', 'i32x4.eq'],
  ['pmullw', 'd5', 'i16x8.mul'],
  ['psubusb', 'd8', 'i8x16.sub_sat_u'], ['psubusw', 'd9', 'i16x8.sub_sat_u'],
  ['pand', 'db', 'v128.and'],
  ['paddusb', 'dc', 'i8x16.add_sat_u'], ['paddusw', 'dd', 'i16x8.add_sat_u'],
  ['psubsb', 'e8', 'i8x16.sub_sat_s'], ['psubsw', 'e9', 'i16x8.sub_sat_s'],
  ['por', 'eb', 'v128.or'],
  ['paddsb', 'ec', 'i8x16.add_sat_s'], ['paddsw', 'ed', 'i16x8.add_sat_s'],
  ['pxor', 'ef', 'v128.xor'],
  ['pmaddwd', 'f5', 'i32x4.dot_i16x8_s'],
  ['psubb', 'f8', 'i8x16.sub'], ['psubw', 'f9', 'i16x8.sub'], ['psubd', 'fa', 'i32x4.sub'],
  ['paddb', 'fc', 'i8x16.add'], ['paddw', 'fd', 'i16x8.add'], ['paddd', 'fe', 'i32x4.add'],
];
/** Their MMX forms came with SSE, those of PADDQ and PSUBQ with SSE2. */
const DIRECT_LATER: readonly (readonly [string, string, PlainOp, string])[] = [
  ['pminub', 'da', 'i8x16.min_u', 'sse'], ['pmaxub', 'de', 'i8x16.max_u', 'sse'], ['pminsw', 'ea', 'i16x8.min_s', 'sse'], ['pmaxsw', 'ee', 'i16x8.max_s', 'sse'],
  ['pavgb', 'e0', 'i8x16.avgr_u', 'sse'], ['pavgw', 'e3', 'i16x8.avgr_u', 'sse'],
  ['paddq', 'd4', 'i64x2.add', 'sse2'], ['psubq', 'fb', 'i64x2.sub', 'sse2'],
];
const DIRECT_SSE4: readonly (readonly [string, string, PlainOp, Attributes])[] = [
  ['pcmpeqq', '29', 'i64x2.eq', SSE41], ['pcmpgtq', '37', 'i64x2.gt_s', SSE42],
  ['pminsb', '38', 'i8x16.min_s', SSE41], ['pminsd', '39', 'i32x4.min_s', SSE41], ['pminuw', '3a', 'i16x8.min_u', SSE41], ['pminud', '3b', 'i32x4.min_u', SSE41],
  ['pmaxsb', '3c', 'i8x16.max_s', SSE41], ['pmaxsd', '3d', 'i32x4.max_s', SSE41], ['pmaxuw', '3e', 'i16x8.max_u', SSE41], ['pmaxud', '3f', 'i32x4.max_u', SSE41],
  ['pmulld', '40', 'i32x4.mul', SSE41],
];

// --- multiplication ---

const shift = (b: Emit, name: PlainOp, x: Value, count: number): Value => b.plain(name, x, int(b, count));
/** The high word of each of eight products. */
const HIGH_WORDS = IOTA.filter((i) => i < 8).flatMap((i) => [i * 4 + 2, i * 4 + 3]);
const multiplyHigh = (sign: 's' | 'u'): VectorOperation => (b, x, y) =>
  b.shuffle(b.plain(`i32x4.extmul_low_i16x8_${sign}`, x, y), b.plain(`i32x4.extmul_high_i16x8_${sign}`, x, y), HIGH_WORDS);
const EVEN_DWORDS = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
const multiplyEven = (sign: 's' | 'u'): VectorOperation => (b, x, y) =>
  b.plain(`i64x2.extmul_low_i32x4_${sign}`, b.shuffle(x, x, EVEN_DWORDS), b.shuffle(y, y, EVEN_DWORDS));
/** (x * y + 4000h) >> 15; wasm's saturates where both are 8000h, which wraps here. */
const multiplyRounded: VectorOperation = (b, x, y) => {
  const least = b.v128(elements(2, new Array<number>(8).fill(0x8000))), wraps = b.plain('v128.and', b.plain('i16x8.eq', x, least), b.plain('i16x8.eq', y, least));
  return b.plain('v128.xor', b.plain('i16x8.q15mulr_sat_s', x, y), wraps);
};
/** Unsigned bytes of x by signed bytes of y; sums of neighbours saturate. */
const multiplyAddBytes: VectorOperation = (b, x, y) => {
  const even = b.plain('i16x8.mul', b.plain('v128.and', x, b.v128(elements(2, new Array<number>(8).fill(0xff)))), shift(b, 'i16x8.shr_s', shift(b, 'i16x8.shl', y, 8), 8));
  const odd = b.plain('i16x8.mul', shift(b, 'i16x8.shr_u', x, 8), shift(b, 'i16x8.shr_s', y, 8));
  return b.plain('i16x8.add_sat_s', even, odd);
};

// --- sums and differences across elements ---

/** Even or odd elements of x, then of y. */
const every = (sizeBytes: number, odd: number, half: boolean): number[] => {
  const count = (half ? 8 : 16) / sizeBytes, picked: number[] = [];
  for (const from of [0, 16]) for (let i = odd; i < count; i += 2) for (let byte = 0; byte < sizeBytes; byte++) picked.push(from + i * sizeBytes + byte);
  return half ? [...picked, ...picked] : picked;
};
const horizontal = (name: PlainOp, sizeBytes: number): Body => binary((b, x, y, half) =>
  b.plain(name, b.shuffle(x, y, every(sizeBytes, 0, half)), b.shuffle(x, y, every(sizeBytes, 1, half))));
const sumOfDifferences: VectorOperation = (b, x, y) => {
  const difference = b.plain('i8x16.sub', b.plain('i8x16.max_u', x, y), b.plain('i8x16.min_u', x, y));
  const sums = b.plain('i32x4.extadd_pairwise_i16x8_u', b.plain('i16x8.extadd_pairwise_i8x16_u', difference));
  return b.plain('i64x2.add', shift(b, 'i64x2.shr_u', shift(b, 'i64x2.shl', sums, 32), 32), shift(b, 'i64x2.shr_u', sums, 32));
};
/** MPSADBW: eight overlapping groups of four bytes of x, from byte 0 or 4, against four bytes of y. */
const blockDifferences = (b: Emit, x: Value, y: Value, imm: Value): Value => {
  const from = b.plain('i8x16.splat', b.and(imm, int(b, 4))), group = b.shl(b.and(imm, int(b, 3)), int(b, 2));
  const bytes = b.plain('i8x16.swizzle', x, b.plain('i8x16.add', b.v128(IOTA), from));
  const four = b.lane('i32x4.extract_lane', 0, b.plain('i8x16.swizzle', y, b.plain('i8x16.add', b.v128(IOTA), b.plain('i8x16.splat', group))));
  const terms = [0, 1, 2, 3].map((k) => {
    const mine = b.plain('i16x8.extend_low_i8x16_u', b.shuffle(bytes, bytes, IOTA.map((i) => (i + k) & 15)));
    const other = b.plain('i16x8.splat', b.and(b.shr(four, int(b, 8 * k)), int(b, 0xff)));
    return b.plain('i16x8.abs', b.plain('i16x8.sub', mine, other));
  });
  return terms.reduce((sum, term) => b.plain('i16x8.add', sum, term));
};
/** PHMINPOSUW: the smallest word and its place, as one comparison of (word, place) pairs. */
const smallestWord: Body = (b, dst, src) => {
  const words = src.read(), place = (first: number): Value => b.v128(elements(4, [first, first + 1, first + 2, first + 3]));
  const pairs = (extend: PlainOp, first: number): Value => b.plain('v128.or', shift(b, 'i32x4.shl', b.plain(extend, words), 16), place(first));
  const four = b.plain('i32x4.min_u', pairs('i32x4.extend_low_i16x8_u', 0), pairs('i32x4.extend_high_i16x8_u', 4));
  const two = b.plain('i32x4.min_u', four, b.shuffle(four, four, IOTA.map((i) => (i + 8) & 15)));
  const one = b.plain('i32x4.min_u', two, b.shuffle(two, two, IOTA.map((i) => (i + 4) & 15)));
  dst.write(b.lane('i32x4.replace_lane', 0, b.v128(ZEROS), b.integer('rotl', b.lane('i32x4.extract_lane', 0, one), int(b, 16))));
};

// --- signs ---

const absolute = (name: PlainOp): Body => binary((b, _, y) => b.plain(name, y));
const sign = (lanes: 'i8x16' | 'i16x8' | 'i32x4'): Body => binary((b, x, y) => {
  const zero = b.v128(ZEROS), negative = b.plain(`${lanes}.gt_s`, zero, y);
  const signed = b.plain(`${lanes}.sub`, b.plain('v128.xor', x, negative), negative);
  return b.plain('v128.andnot', signed, b.plain(`${lanes}.eq`, y, zero));
});

// --- tests ---

const ZF_BIT = 6;
const test: Body = (b, x, y) => {
  const source = y.read(), destination = x.read(), none = (value: Value): Value => b.isZero(b.plain('v128.any_true', value));
  const zf = b.pin(none(b.plain('v128.and', source, destination))), cf = b.pin(none(b.plain('v128.andnot', source, destination)));
  b.setEflags(b.or(b.shl(zf, int(b, ZF_BIT)), cf));
};
const moveMask: Body = (b, dst, src) => {
  const mask = b.plain('i8x16.bitmask', vectorOf(b, src));
  if (src.size === 16) {
    dst.write(mask);
    return;
  }
  const bits = b.pin(b.and(mask, int(b, 0xff)));
  b.call('mmxEnter');
  dst.write(bits);
};

const twoWays = (name: string, opcode: string, operation: VectorOperation, since = 'mmx'): Line[] => both(name, opcode, binary(operation), SSE2, since);
const ssse3 = (name: string, opcode: string, body: Body): Line[] => both(name, `38 ${opcode}`, body, SSSE3, 'ssse3');
const blocks: Body = (b, dst, src, imm) => {
  const y = src!.read();
  dst.write(blockDifferences(b, dst.read(), y, imm!.read()));
};

export const packedArith: readonly Line[] = [
  ...DIRECT.flatMap(([name, opcode, operation]) => both(name, opcode, op(operation))),
  ...DIRECT_LATER.flatMap(([name, opcode, operation, since]) => both(name, opcode, op(operation), SSE2, since)),
  ...DIRECT_SSE4.map(([name, opcode, operation, since]) => inst(name, [rw('Vx'), 'Wx'], `66 0f 38 ${opcode} /r`, op(operation), since)),
  ...twoWays('pandn', 'df', (b, x, y) => b.plain('v128.andnot', y, x)),
  ...twoWays('pmulhw', 'e5', multiplyHigh('s')),
  ...twoWays('pmulhuw', 'e4', multiplyHigh('u'), 'sse'),
  ...twoWays('pmuludq', 'f4', multiplyEven('u'), 'sse2'),
  ...twoWays('psadbw', 'f6', sumOfDifferences, 'sse'),
  ...ssse3('phaddw', '01', horizontal('i16x8.add', 2)), ...ssse3('phaddd', '02', horizontal('i32x4.add', 4)), ...ssse3('phaddsw', '03', horizontal('i16x8.add_sat_s', 2)),
  ...ssse3('phsubw', '05', horizontal('i16x8.sub', 2)), ...ssse3('phsubd', '06', horizontal('i32x4.sub', 4)), ...ssse3('phsubsw', '07', horizontal('i16x8.sub_sat_s', 2)),
  ...ssse3('pmaddubsw', '04', binary(multiplyAddBytes)),
  ...ssse3('psignb', '08', sign('i8x16')), ...ssse3('psignw', '09', sign('i16x8')), ...ssse3('psignd', '0a', sign('i32x4')),
  ...ssse3('pmulhrsw', '0b', binary(multiplyRounded)),
  ...ssse3('pabsb', '1c', absolute('i8x16.abs')), ...ssse3('pabsw', '1d', absolute('i16x8.abs')), ...ssse3('pabsd', '1e', absolute('i32x4.abs')),
  inst('pmuldq', [rw('Vx'), 'Wx'], '66 0f 38 28 /r', binary(multiplyEven('s')), SSE41),
  inst('phminposuw', [w('Vx'), 'Wx'], '66 0f 38 41 /r', smallestWord, SSE41),
  inst('mpsadbw', [rw('Vx'), 'Wx', 'Ib'], '66 0f 3a 42 /r', blocks, SSE41),
  inst('ptest', ['Vx', 'Wx'], '66 0f 38 17 /r', test, { ...SSE41, flags: 'oszapc' }),
  inst('pmovmskb', [w('Gd'), 'Nq'], 'np 0f d7 /r', moveMask, { fpu: 'mmx', cpuid: 'sse' }),
  inst('pmovmskb', [w('Gd'), 'Ux'], '66 0f d7 /r', moveMask, SSE2),
];
