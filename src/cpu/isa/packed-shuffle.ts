/**
 * What moves packed elements about: shuffles, packs, unpacks, extensions, blends, inserts and extracts.
 * Implements: SDM vol. 2B PACK*, PBLEND*, PEXTR*, PINSR*, PMOVSX, PMOVZX, PSHUF*, PUNPCK*. Runs on: see cpu/emit.ts.
 */
import type { Emit, Operand, Size, Value } from '../emit.ts';
import type { PlainOp } from '../wasm/opcodes.ts';
import { inst, rw, w } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';
import { IOTA, MMX, SSE2, SSE41, SSSE3, beforeMemory, binary, both, commitMmx, elements, int, low64, vectorOf } from './packed.ts';
import type { VectorOperation } from './packed.ts';

// --- pack and unpack ---

/** x below y: wasm narrows two vectors; the halves of MMX operands make one. */
const pack = (narrow: PlainOp): Body => binary((b, x, y, half) => {
  if (!half) return b.plain(narrow, x, y);
  const joined = b.lane('i64x2.replace_lane', 1, x, low64(b, y));
  return b.plain(narrow, joined, joined);
});
/** Elements of x and y in turn. An MMX result is one half of what the lower halves give. */
const unpack = (sizeBytes: number, high: boolean): Body => binary((b, x, y, half) => {
  const from = high ? (half ? 4 : 8) : 0, lanes: number[] = [];
  for (let at = from; lanes.length < 16; at += sizeBytes) for (const operand of [0, 16]) for (let byte = 0; byte < sizeBytes; byte++) lanes.push(operand + ((at + byte) & 15));
  return b.shuffle(x, y, lanes);
});

/** The MMX form of a low unpack reads 32 bits. */
const unpackLow = (name: string, opcode: string, sizeBytes: number): Line[] => {
  const body = unpack(sizeBytes, false);
  return [inst(name, [rw('Pq'), 'Qd'], `np 0f ${opcode} /r`, body, MMX), inst(name, [rw('Vx'), 'Wx'], `66 0f ${opcode} /r`, body, SSE2)];
};

const packs: readonly Line[] = [
  ...unpackLow('punpcklbw', '60', 1), ...unpackLow('punpcklwd', '61', 2), ...unpackLow('punpckldq', '62', 4),
  ...both('punpckhbw', '68', unpack(1, true)), ...both('punpckhwd', '69', unpack(2, true)), ...both('punpckhdq', '6a', unpack(4, true)),
  inst('punpcklqdq', [rw('Vx'), 'Wx'], '66 0f 6c /r', unpack(8, false), SSE2),
  inst('punpckhqdq', [rw('Vx'), 'Wx'], '66 0f 6d /r', unpack(8, true), SSE2),
  ...both('packsswb', '63', pack('i8x16.narrow_i16x8_s')), ...both('packuswb', '67', pack('i8x16.narrow_i16x8_u')), ...both('packssdw', '6b', pack('i16x8.narrow_i32x4_s')),
  inst('packusdw', [rw('Vx'), 'Wx'], '66 0f 38 2b /r', pack('i16x8.narrow_i32x4_u'), SSE41),
];

// --- shuffles ---

const shuffleBytes: VectorOperation = (b, x, y, half) => b.plain('i8x16.swizzle', x, b.plain('v128.and', y, b.v128(new Array<number>(16).fill(half ? 0x87 : 0x8f))));

/**
 * Bytes that two-bit fields of an immediate choose. A multiplication moves each element's field to bits 6 and 7.
 * @param fields which field an element takes; undefined: the element stays.
 */
function selectors(b: Emit, imm: Value, sizeBytes: 2 | 4, fields: readonly (number | undefined)[], base: readonly number[]): Value {
  const lanes = sizeBytes === 2 ? 'i16x8' : 'i32x4', factors = elements(sizeBytes, fields.map((field) => (field === undefined ? 0 : 1 << (6 - 2 * field))));
  const chosen = b.plain('v128.and', b.plain(`${lanes}.shr_u`, b.plain(`${lanes}.mul`, b.plain(`${lanes}.splat`, imm), b.v128(factors)), int(b, 6)), b.v128(elements(sizeBytes, fields.map(() => 3))));
  const scaled = b.plain(`${lanes}.mul`, chosen, b.v128(new Array<number>(16).fill(sizeBytes)));
  return b.plain('v128.or', scaled, b.v128(base));
}
const shuffle = (sizeBytes: 2 | 4, fields: readonly (number | undefined)[], base: readonly number[]): Body => (b, dst, src, imm) => {
  if (dst.size === 8) beforeMemory(b, src!);
  const x = vectorOf(b, src!), result = b.plain('i8x16.swizzle', x, selectors(b, b.resize(imm!.read(), 4), sizeBytes, fields, base));
  if (dst.size === 8) commitMmx(b, dst, low64(b, result));
  else dst.write(result);
};
const STAYS = [undefined, undefined, undefined, undefined], WORDS_LOW = [0, 1, 0, 1, 0, 1, 0, 1], WORDS_HIGH = [8, 9, 8, 9, 8, 9, 8, 9];
const lowWords = shuffle(2, [0, 1, 2, 3, ...STAYS], [...WORDS_LOW, ...IOTA.slice(8)]);

const shuffles: readonly Line[] = [
  ...both('pshufb', '38 00', binary(shuffleBytes), SSSE3, 'ssse3'),
  inst('pshufw', [w('Pq'), 'Qq', 'Ib'], 'np 0f 70 /r', lowWords, { ...MMX, cpuid: 'sse' }),
  inst('pshufd', [w('Vx'), 'Wx', 'Ib'], '66 0f 70 /r', shuffle(4, [0, 1, 2, 3], IOTA.map((i) => i & 3)), SSE2),
  inst('pshufhw', [w('Vx'), 'Wx', 'Ib'], 'f3 0f 70 /r', shuffle(2, [...STAYS, 0, 1, 2, 3], [...IOTA.slice(0, 8), ...WORDS_HIGH]), SSE2),
  inst('pshuflw', [w('Vx'), 'Wx', 'Ib'], 'f2 0f 70 /r', lowWords, SSE2),
];

// --- blends ---

const blendWords: Body = (b, dst, src, imm) => {
  const bits = b.v128(elements(2, IOTA.slice(0, 8).map((i) => 1 << i))), y = src!.read();
  const mask = b.plain('i16x8.eq', b.plain('v128.and', b.plain('i16x8.splat', b.resize(imm!.read(), 4)), bits), bits);
  dst.write(b.plain('v128.bitselect', y, dst.read(), mask));
};
/** XMM0 chooses by the high bit of each byte. */
const blendBytes: Body = (b, dst, src) => {
  const y = src!.read();
  dst.write(b.plain('v128.bitselect', y, dst.read(), b.plain('i8x16.shr_s', b.vector(0).read(), int(b, 7))));
};

// --- extensions: Wq, Wd and Ww hold what becomes sixteen bytes ---

const extension = (...steps: readonly PlainOp[]): Body => (b, dst, src) => dst.write(steps.reduce((value, step) => b.plain(step, value), vectorOf(b, src!)));
const extensions = (['s', 'u'] as const).flatMap((sign): Line[] => {
  const name = sign === 's' ? 'pmovsx' : 'pmovzx', row = sign === 's' ? '2' : '3';
  const words: PlainOp = `i16x8.extend_low_i8x16_${sign}`, dwords: PlainOp = `i32x4.extend_low_i16x8_${sign}`, qwords: PlainOp = `i64x2.extend_low_i32x4_${sign}`;
  const line = (suffix: string, opcode: string, source: string, body: Body): Line => inst(`${name}${suffix}`, [w('Vx'), source], `66 0f 38 ${row}${opcode} /r`, body, SSE41);
  return [
    line('bw', '0', 'Wq', extension(words)), line('bd', '1', 'Wd', extension(words, dwords)), line('bq', '2', 'Ww', extension(words, dwords, qwords)),
    line('wd', '3', 'Wq', extension(dwords)), line('wq', '4', 'Wd', extension(dwords, qwords)), line('dq', '5', 'Wq', extension(qwords)),
  ];
});

// --- one element ---

/** Number of the element that the immediate names. */
const placeOf = (b: Emit, imm: Operand, count: number): Value => b.and(b.resize(imm.read(), 4), int(b, count - 1));
/** The element, zero-extended to an i32; of 8 bytes, an i64. @param count how many the register has. */
function extracted(b: Emit, x: Value, imm: Operand, sizeBytes: Size, count: number): Value {
  const place = placeOf(b, imm, count);
  if (sizeBytes === 8) return b.select(place, b.lane('i64x2.extract_lane', 1, x), b.lane('i64x2.extract_lane', 0, x));
  const first = b.integer('mul', place, int(b, sizeBytes)), down = b.plain('i8x16.swizzle', x, b.plain('i8x16.add', b.v128(IOTA), b.plain('i8x16.splat', first)));
  if (sizeBytes === 4) return b.lane('i32x4.extract_lane', 0, down);
  return b.lane(sizeBytes === 2 ? 'i16x8.extract_lane_u' : 'i8x16.extract_lane_u', 0, down);
}
const LANES = { 1: 'i8x16', 2: 'i16x8', 4: 'i32x4', 8: 'i64x2' } as const;
function inserted(b: Emit, x: Value, value: Value, imm: Operand, sizeBytes: Size, count: number): Value {
  const lanes = LANES[sizeBytes], place = placeOf(b, imm, count), numbers = b.v128(elements(sizeBytes, IOTA.slice(0, 16 / sizeBytes)));
  const mask = b.plain(`${lanes}.eq`, numbers, b.plain(`${lanes}.splat`, sizeBytes === 8 ? b.resize(place, 8) : place));
  return b.plain('v128.bitselect', b.plain(`${lanes}.splat`, value), x, mask);
}
const extract = (sizeBytes: Size): Body => (b, dst, src, imm) => {
  const mmx = src!.size === 8, value = b.pin(extracted(b, vectorOf(b, src!), imm!, sizeBytes, (mmx ? 8 : 16) / sizeBytes));
  if (mmx) b.call('mmxEnter');
  dst.write(b.resize(b.resize(value, sizeBytes), dst.size as Size));
};
const insert = (sizeBytes: Size): Body => (b, dst, src, imm) => {
  const mmx = dst.size === 8;
  if (mmx) beforeMemory(b, src!);
  const read = src!.read(), value = sizeBytes === 8 ? read : b.resize(read, 4), x = vectorOf(b, dst);
  const result = inserted(b, x, value, imm!, sizeBytes, (mmx ? 8 : 16) / sizeBytes);
  if (mmx) commitMmx(b, dst, low64(b, result));
  else dst.write(result);
};
const MMX_SSE: Attributes = { fpu: 'mmx', cpuid: 'sse' }, SSE41_64: Attributes = { ...SSE41, mode: '64' };
const extractWord = extract(2), insertWord = insert(2), extractByte = extract(1), insertByte = insert(1);

const single: readonly Line[] = [
  inst('pinsrw', [rw('Pq'), 'Rd', 'Ib'], 'np 0f c4 /r', insertWord, MMX_SSE), inst('pinsrw', [rw('Pq'), 'Mw', 'Ib'], 'np 0f c4 /r', insertWord, MMX_SSE),
  inst('pinsrw', [rw('Vx'), 'Rd', 'Ib'], '66 0f c4 /r', insertWord, SSE2), inst('pinsrw', [rw('Vx'), 'Mw', 'Ib'], '66 0f c4 /r', insertWord, SSE2),
  inst('pinsrb', [rw('Vx'), 'Rd', 'Ib'], '66 0f 3a 20 /r', insertByte, SSE41), inst('pinsrb', [rw('Vx'), 'Mb', 'Ib'], '66 0f 3a 20 /r', insertByte, SSE41),
  inst('pinsrd', [rw('Vx'), 'Ed', 'Ib'], 'rex.w0 66 0f 3a 22 /r', insert(4), SSE41), inst('pinsrq', [rw('Vx'), 'Eq', 'Ib'], 'rex.w 66 0f 3a 22 /r', insert(8), SSE41_64),
  inst('pextrw', [w('Gd'), 'Nq', 'Ib'], 'np 0f c5 /r', extractWord, MMX_SSE), inst('pextrw', [w('Gd'), 'Ux', 'Ib'], '66 0f c5 /r', extractWord, SSE2),
  inst('pextrb', [w('Rd'), 'Vx', 'Ib'], '66 0f 3a 14 /r', extractByte, SSE41), inst('pextrb', [w('Mb'), 'Vx', 'Ib'], '66 0f 3a 14 /r', extractByte, SSE41),
  inst('pextrw', [w('Rd'), 'Vx', 'Ib'], '66 0f 3a 15 /r', extractWord, SSE41), inst('pextrw', [w('Mw'), 'Vx', 'Ib'], '66 0f 3a 15 /r', extractWord, SSE41),
  inst('pextrd', [w('Ed'), 'Vx', 'Ib'], 'rex.w0 66 0f 3a 16 /r', extract(4), SSE41), inst('pextrq', [w('Eq'), 'Vx', 'Ib'], 'rex.w 66 0f 3a 16 /r', extract(8), SSE41_64),
];

export const packedShuffle: readonly Line[] = [
  ...packs, ...shuffles, ...extensions, ...single,
  inst('pblendw', [rw('Vx'), 'Wx', 'Ib'], '66 0f 3a 0e /r', blendWords, SSE41),
  inst('pblendvb', [rw('Vx'), 'Wx'], '66 0f 38 10 /r', blendBytes, SSE41),
];
