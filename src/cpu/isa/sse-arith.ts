/**
 * SSE arithmetic: ADD SUB MUL DIV SQRT MIN MAX in PS PD SS SD, ADDSUB HADD HSUB, RCP RSQRT, DPPS DPPD.
 * Implements: SDM vol. 2A/2B ADDPS, SUBPS, MULPS, DIVPS, SQRTPS, MINPS, MAXPS, ADDSUBPS, HADDPS, HSUBPS, RCPPS, RSQRTPS, DPPS, DPPD.
 * Runs on: see cpu/emit.ts. What is not ordinary (sse-float.ts) goes to cpu/assembly/sse.ts.
 */
import type { Emit, Operand, Value } from '../emit.ts';
import { inst, rw, w } from './inst.ts';
import type { Body, Line } from './inst.ts';
import {
  F32, F64, SSE, SSE2, SSE3, SSE41, ZERO, addressOf, anyExtreme, areComparable, areOrdinary, areZero, both, either, floatOf, headIn, headOf, int, isDenormal, isExtreme,
  isNotPositive, isPositive, isSmall, isZero, notAll, reader, splat, wholeOf, writeElement,
} from './sse-float.ts';
import type { Format } from './sse-float.ts';

type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt' | 'min' | 'max';
/** As the helper knows them: the low half of the opcode. */
const OPERATION: Readonly<Record<Operation, number>> = { sqrt: 1, add: 8, mul: 9, sub: 12, min: 13, div: 14, max: 15 };

function exactly(b: Emit, operation: Operation, format: Format, dst: Operand, src: Operand, value: Value, lanes: number): void {
  const helper = format === F32 ? 'sseArithmeticF32' : 'sseArithmeticF64';
  dst.throughRecord((first) => b.call(helper, int(b, OPERATION[operation]), first, first, addressOf(b, src, value), int(b, lanes)));
}

// --- ADD SUB MUL DIV ---

const scalar = (operation: 'add' | 'sub' | 'mul' | 'div', format: Format): Body => (b, dst, src) => {
  const again = reader(b, src), y = again();
  b.whenFpDefault((rare) => {
    const whole = wholeOf(b, dst), x = b.lane(`${format.packed}.extract_lane`, 0, whole);
    const result = b.pin(b.lane(`${format.packed}.replace_lane`, 0, whole, b.plain(`${format.scalar}.${operation}`, x, floatOf(b, format, again()))));
    // Zeros are the helper's, too: it has a short way for them.
    rare(isSmall(b, format, headIn(b, format, whole)));
    rare(isSmall(b, format, headOf(b, format, src, y)));
    rare(isExtreme(b, format, headIn(b, format, result)));
    dst.write(result);
  }, () => exactly(b, operation, format, dst, src, y, 1));
};

/** Masks of the lanes where `result` of x and y is ordinary, or an exact zero. */
function goodLanes(b: Emit, format: Format, result: Value, x: Value, y: Value, operation: 'add' | 'sub' | 'mul' | 'div'): Value {
  const zero = areZero(b, format, result);
  const exact = operation === 'mul' ? both(b, zero, either(b, areZero(b, format, x), areZero(b, format, y))) : operation === 'div' ? both(b, zero, areZero(b, format, x)) : zero;
  return both(b, both(b, areComparable(b, format, x), areComparable(b, format, y)), either(b, areOrdinary(b, format, result), exact));
}

const packed = (operation: 'add' | 'sub' | 'mul' | 'div', format: Format): Body => (b, dst, src) => {
  const y = b.pin(src.read()), x = b.pin(dst.read());
  b.whenFpDefault((rare) => {
    const result = b.pin(b.plain(`${format.packed}.${operation}`, x, y));
    b.if(anyExtreme(b, format, result, x, y), () => rare(notAll(b, goodLanes(b, format, result, x, y, operation))), undefined, 'unlikely');
    dst.write(result);
  }, () => exactly(b, operation, format, dst, src, y, format.lanes));
};

// --- SQRT: the root of an ordinary number is one ---

const scalarRoot = (format: Format): Body => (b, dst, src) => {
  const again = reader(b, src), y = again();
  b.whenFpDefault((rare) => {
    b.if(isNotPositive(b, format, headOf(b, format, src, again())), () => {
      const bits = b.pin(again());
      rare(b.isZero(b.or(isPositive(b, format, bits), isZero(b, format, bits))));
    }, undefined, 'unlikely');
    writeElement(b, dst, b.plain(`${format.scalar}.sqrt`, floatOf(b, format, again())));
  }, () => exactly(b, 'sqrt', format, dst, src, y, 1));
};
const packedRoot = (format: Format): Body => (b, dst, src) => {
  const y = b.pin(src.read());
  b.whenFpDefault((rare) => {
    const normal = both(b, b.plain(`${format.packed}.ge`, y, splat(b, format, format.smallest)), b.plain(`${format.packed}.lt`, y, splat(b, format, format.infinity)));
    rare(notAll(b, either(b, normal, areZero(b, format, y))));
    dst.write(b.plain(`${format.packed}.sqrt`, y));
  }, () => exactly(b, 'sqrt', format, dst, src, y, format.lanes));
};

// --- MIN MAX: no flags without NaNs and denormals, whatever MXCSR says. The second operand where neither is smaller: two zeros ---

const scalarExtremum = (operation: 'min' | 'max', format: Format): Body => (b, dst, src) => {
  const y = b.pin(src.read()), x = b.pin(dst.read());
  b.attempt((rare) => {
    const first = floatOf(b, format, x), second = floatOf(b, format, y);
    const chosen = b.plain(`${format.scalar}.${operation === 'min' ? 'lt' : 'gt'}`, first, second), other = b.plain(`${format.scalar}.${operation === 'min' ? 'ge' : 'le'}`, first, second);
    rare(b.or(b.or(isDenormal(b, format, x), isDenormal(b, format, y)), b.isZero(b.or(chosen, other))));
    writeElement(b, dst, b.select(chosen, x, y));
  }, () => exactly(b, operation, format, dst, src, y, 1));
};
const packedExtremum = (operation: 'min' | 'max', format: Format): Body => (b, dst, src) => {
  const y = b.pin(src.read()), x = b.pin(dst.read());
  b.attempt((rare) => {
    rare(notAll(b, both(b, areComparable(b, format, x), areComparable(b, format, y))));
    dst.write(operation === 'min' ? b.plain(`${format.packed}.pmin`, y, x) : b.plain(`${format.packed}.pmax`, y, x));
  }, () => exactly(b, operation, format, dst, src, y, format.lanes));
};

// --- ADDSUB HADD HSUB ---

/** The even elements of x, then those of y; the odd ones are `sizeBytes` further. */
const evens = (format: Format): number[] => Array.from({ length: 16 }, (_, index) => Math.floor(index / format.sizeBytes) * 2 * format.sizeBytes + (index % format.sizeBytes));
const SIGN_BIT = 0x80;

const pairwise = (kind: 'addsub' | 'hadd' | 'hsub', format: Format): Body => (b, dst, src) => {
  const source = b.pin(src.read()), old = b.pin(dst.read());
  b.whenFpDefault((rare) => {
    let x = old, y = source;
    if (kind === 'addsub') {
      // x - y is x + -y, also for zeros; NaNs are for the helper.
      const signs = Array.from({ length: 16 }, (_, index) => (index % (2 * format.sizeBytes) === format.sizeBytes - 1 ? SIGN_BIT : 0));
      y = b.pin(b.plain('v128.xor', source, b.v128(signs)));
    } else {
      const even = evens(format), odd = even.map((lane) => lane + format.sizeBytes);
      x = b.pin(b.shuffle(old, source, even));
      y = b.pin(b.shuffle(old, source, odd));
    }
    const operation = kind === 'hsub' ? 'sub' : 'add', result = b.pin(b.plain(`${format.packed}.${operation}`, x, y));
    rare(notAll(b, goodLanes(b, format, result, x, y, operation)));
    dst.write(result);
  }, () => {
    const helper = format === F32 ? 'ssePairwiseF32' : 'ssePairwiseF64', operation = int(b, kind === 'addsub' ? 0 : kind === 'hadd' ? 1 : 2);
    dst.throughRecord((first) => b.call(helper, operation, first, first, addressOf(b, src, source)));
  });
};

// --- estimates: MXCSR plays no part and no flag is set ---

const ONE_F32 = 0x3f80_0000n, ONE_F64 = 0x3ff0_0000_0000_0000n;
const estimate = (squareRoot: boolean, lanes: 1 | 4): Body => (b, dst, src) => {
  const source = b.pin(src.read()), y = lanes === 1 ? b.pin(b.plain('i32x4.splat', source)) : source;
  b.attempt((rare) => {
    let result: Value;
    if (squareRoot) {
      rare(notAll(b, both(b, areOrdinary(b, F32, y), b.plain('f32x4.gt', y, b.v128(ZERO)))));
      const root = (half: Value): Value => b.plain('f32x4.demote_f64x2_zero', b.plain('f64x2.div', splat(b, F64, ONE_F64), b.plain('f64x2.sqrt', b.plain('f64x2.promote_low_f32x4', half))));
      const low = root(y), high = root(b.shuffle(y, y, [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15]));
      result = b.pin(b.shuffle(low, high, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]));
    } else {
      result = b.pin(b.plain('f32x4.div', splat(b, F32, ONE_F32), y));
      rare(notAll(b, both(b, areOrdinary(b, F32, y), areOrdinary(b, F32, result))));
    }
    dst.write(lanes === 1 ? b.lane('i32x4.extract_lane', 0, result) : result);
  }, () => dst.throughRecord((to) => b.call('sseReciprocal', int(b, squareRoot ? 1 : 0), to, addressOf(b, src, source), int(b, lanes))));
};

// --- dot products: exceptions of each step are seen before the next, so the helper does all of it ---

const dotProduct = (format: Format): Body => (b, dst, src, immediate) => {
  const y = b.pin(src.read()), helper = format === F32 ? 'sseDotProductF32' : 'sseDotProductF64';
  dst.throughRecord((first) => b.call(helper, b.resize(immediate!.read(), 4), first, first, addressOf(b, src, y)));
};

export const sseArith: readonly Line[] = [
  inst('sqrtps', [w('Vps'), 'Wps'], 'np 0f 51 /r', packedRoot(F32), SSE),
  inst('sqrtpd', [w('Vpd'), 'Wpd'], '66 0f 51 /r', packedRoot(F64), SSE2),
  inst('sqrtss', [w('Vss'), 'Wss'], 'f3 0f 51 /r', scalarRoot(F32), SSE),
  inst('sqrtsd', [w('Vsd'), 'Wsd'], 'f2 0f 51 /r', scalarRoot(F64), SSE2),
  inst('rsqrtps', [w('Vps'), 'Wps'], 'np 0f 52 /r', estimate(true, 4), SSE),
  inst('rsqrtss', [w('Vss'), 'Wss'], 'f3 0f 52 /r', estimate(true, 1), SSE),
  inst('rcpps', [w('Vps'), 'Wps'], 'np 0f 53 /r', estimate(false, 4), SSE),
  inst('rcpss', [w('Vss'), 'Wss'], 'f3 0f 53 /r', estimate(false, 1), SSE),
  inst('addps', [rw('Vps'), 'Wps'], 'np 0f 58 /r', packed('add', F32), SSE),
  inst('addpd', [rw('Vpd'), 'Wpd'], '66 0f 58 /r', packed('add', F64), SSE2),
  inst('addss', [rw('Vss'), 'Wss'], 'f3 0f 58 /r', scalar('add', F32), SSE),
  inst('addsd', [rw('Vsd'), 'Wsd'], 'f2 0f 58 /r', scalar('add', F64), SSE2),
  inst('mulps', [rw('Vps'), 'Wps'], 'np 0f 59 /r', packed('mul', F32), SSE),
  inst('mulpd', [rw('Vpd'), 'Wpd'], '66 0f 59 /r', packed('mul', F64), SSE2),
  inst('mulss', [rw('Vss'), 'Wss'], 'f3 0f 59 /r', scalar('mul', F32), SSE),
  inst('mulsd', [rw('Vsd'), 'Wsd'], 'f2 0f 59 /r', scalar('mul', F64), SSE2),
  inst('subps', [rw('Vps'), 'Wps'], 'np 0f 5c /r', packed('sub', F32), SSE),
  inst('subpd', [rw('Vpd'), 'Wpd'], '66 0f 5c /r', packed('sub', F64), SSE2),
  inst('subss', [rw('Vss'), 'Wss'], 'f3 0f 5c /r', scalar('sub', F32), SSE),
  inst('subsd', [rw('Vsd'), 'Wsd'], 'f2 0f 5c /r', scalar('sub', F64), SSE2),
  inst('minps', [rw('Vps'), 'Wps'], 'np 0f 5d /r', packedExtremum('min', F32), SSE),
  inst('minpd', [rw('Vpd'), 'Wpd'], '66 0f 5d /r', packedExtremum('min', F64), SSE2),
  inst('minss', [rw('Vss'), 'Wss'], 'f3 0f 5d /r', scalarExtremum('min', F32), SSE),
  inst('minsd', [rw('Vsd'), 'Wsd'], 'f2 0f 5d /r', scalarExtremum('min', F64), SSE2),
  inst('divps', [rw('Vps'), 'Wps'], 'np 0f 5e /r', packed('div', F32), SSE),
  inst('divpd', [rw('Vpd'), 'Wpd'], '66 0f 5e /r', packed('div', F64), SSE2),
  inst('divss', [rw('Vss'), 'Wss'], 'f3 0f 5e /r', scalar('div', F32), SSE),
  inst('divsd', [rw('Vsd'), 'Wsd'], 'f2 0f 5e /r', scalar('div', F64), SSE2),
  inst('maxps', [rw('Vps'), 'Wps'], 'np 0f 5f /r', packedExtremum('max', F32), SSE),
  inst('maxpd', [rw('Vpd'), 'Wpd'], '66 0f 5f /r', packedExtremum('max', F64), SSE2),
  inst('maxss', [rw('Vss'), 'Wss'], 'f3 0f 5f /r', scalarExtremum('max', F32), SSE),
  inst('maxsd', [rw('Vsd'), 'Wsd'], 'f2 0f 5f /r', scalarExtremum('max', F64), SSE2),
  inst('haddpd', [rw('Vpd'), 'Wpd'], '66 0f 7c /r', pairwise('hadd', F64), SSE3),
  inst('haddps', [rw('Vps'), 'Wps'], 'f2 0f 7c /r', pairwise('hadd', F32), SSE3),
  inst('hsubpd', [rw('Vpd'), 'Wpd'], '66 0f 7d /r', pairwise('hsub', F64), SSE3),
  inst('hsubps', [rw('Vps'), 'Wps'], 'f2 0f 7d /r', pairwise('hsub', F32), SSE3),
  inst('addsubpd', [rw('Vpd'), 'Wpd'], '66 0f d0 /r', pairwise('addsub', F64), SSE3),
  inst('addsubps', [rw('Vps'), 'Wps'], 'f2 0f d0 /r', pairwise('addsub', F32), SSE3),
  inst('dpps', [rw('Vps'), 'Wps', 'Ib'], '66 0f 3a 40 /r', dotProduct(F32), SSE41),
  inst('dppd', [rw('Vpd'), 'Wpd', 'Ib'], '66 0f 3a 41 /r', dotProduct(F64), SSE41),
];
