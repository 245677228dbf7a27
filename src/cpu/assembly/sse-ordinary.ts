/**
 * SSE arithmetic on ordinary numbers while MXCSR masks all exceptions and rounds to nearest: wasm's own, with a test of exactness for PE.
 * Programs that compute with small integers never set PE, and so never get to the handlers' own way. What is not ordinary is refused
 * before anything is written: operands neither zero nor normal, results near the ends of the range.
 * Implements: SDM vol 1 11.5.2.6 Inexact-Result (Precision) Exception; Knuth, The Art of Computer Programming 4.2.2 theorem B, for sums.
 * Runs on: the vCPU's own thread.
 */
import { VCPU_MXCSR, VCPU_SOFTFLOAT } from '../../generated/vcpu-layout.ts';
import { PE, W_TEMPORARY } from './softfloat.ts';

const MXCSR_ROUNDING_AND_MASKS: u32 = 0x7f80, MXCSR_MASKS: u32 = 0x1f80;
/** Operations as in sse.ts. */
const SQUARE_ROOT: u32 = 1, ADD: u32 = 8, MULTIPLY: u32 = 9, SUBTRACT: u32 = 12, MINIMUM: u32 = 13, DIVIDE: u32 = 14, MAXIMUM: u32 = 15;
/** What a lane may be found to be, by order. */
const EXACT: u32 = 0, INEXACT: u32 = PE, REFUSED: u32 = 64;
const F64_FRACTION: u64 = 52;

/** The smallest normal numbers, and bounds with room for a doubled value. */
const SMALLEST64: f64 = 2.2250738585072014e-308, LARGEST64: f64 = 4.49423283715579e307;
const SMALLEST32: f32 = 1.17549435082228751e-38, LARGEST32: f32 = 8.507059173023462e37;
@inline function isPlain64(x: f64): bool { return x == 0 || (abs(x) >= SMALLEST64 && abs(x) < LARGEST64); }
@inline function isPlain32(x: f32): bool { return x == 0 || (abs(x) >= SMALLEST32 && abs(x) < LARGEST32); }
/** Zero bits at the end of the significand. */
@inline function zeroBits(x: f64): u64 { return ctz(reinterpret<u64>(x) | <u64>1 << F64_FRACTION); }

/** Is x + y - s, for the rounded sum s, other than 0? */
@inline function sumIsInexact<T>(x: T, y: T, s: T): bool {
  const part = s - x;
  return (x - (s - part)) + (y - part) != 0;
}

/** Is x * y exact, or what it was divided from, given that rounding makes no difference? Not for an underflow. */
@inline function ofProduct(x: f64, y: f64, isEqual: bool): u32 {
  if (x == 0) return REFUSED;
  const zeros = zeroBits(x) + zeroBits(y);
  // An odd number of p bits by one of q bits has p + q - 1 or p + q bits.
  return zeros > F64_FRACTION ? (isEqual ? EXACT : INEXACT) : zeros < F64_FRACTION ? INEXACT : REFUSED;
}

function lane64(operation: u32, x: f64, y: f64, to: usize): u32 {
  if (!isPlain64(x) || !isPlain64(y)) return REFUSED;
  let result: f64, found = EXACT;
  if (operation == ADD || operation == SUBTRACT) {
    if (operation == SUBTRACT) y = -y;
    result = x + y;
    if (sumIsInexact<f64>(x, y, result)) found = INEXACT;
  } else if (operation == MULTIPLY) {
    result = x * y;
    if (x != 0 && y != 0) found = result == 0 ? REFUSED : ofProduct(x, y, true);
  } else if (operation == DIVIDE) {
    result = x / y;
    if (x != 0) found = ofProduct(result, y, result * y == x);
  } else {
    result = sqrt<f64>(y);
    if (y != 0) found = ofProduct(result, result, result * result == y);
  }
  // A result of 0 is exact, or has lost all there was.
  if (!isPlain64(result) || abs(result) == SMALLEST64 || (result == 0 && found != EXACT)) return REFUSED;
  store<f64>(to, result);
  return found;
}

function lane32(operation: u32, x: f32, y: f32, to: usize): u32 {
  if (!isPlain32(x) || !isPlain32(y)) return REFUSED;
  let result: f32, found = EXACT;
  if (operation == ADD || operation == SUBTRACT) {
    if (operation == SUBTRACT) y = -y;
    result = x + y;
    if (sumIsInexact<f32>(x, y, result)) found = INEXACT;
  } else if (operation == MULTIPLY) {
    result = x * y;
    if (<f64>x * <f64>y != <f64>result) found = INEXACT;
  } else if (operation == DIVIDE) {
    result = x / y;
    if (<f64>result * <f64>y != <f64>x) found = INEXACT;
  } else {
    result = sqrt<f32>(y);
    if (<f64>result * <f64>result != <f64>y) found = INEXACT;
  }
  if (!isPlain32(result) || abs(result) == SMALLEST32 || (result == 0 && found != EXACT)) return REFUSED;
  store<f32>(to, result);
  return found;
}

// --- all lanes of a sum or a product at once ---

@inline function arePlain<T>(x: v128, smallest: v128, largest: v128): v128 {
  const size = v128.abs<T>(x);
  return v128.or(v128.eq<T>(x, i64x2.splat(0)), v128.and(v128.ge<T>(size, smallest), v128.lt<T>(size, largest)));
}
/** A result of 0 must be exact, and the smallest normal number may have been rounded up to. */
@inline function areResults<T>(r: v128, isExactZero: v128, smallest: v128, largest: v128): v128 {
  const size = v128.abs<T>(r);
  return v128.or(isExactZero, v128.and(v128.gt<T>(size, smallest), v128.lt<T>(size, largest)));
}

@inline function sums<T>(x: v128, y: v128, dst: usize, smallest: v128, largest: v128): u32 {
  const result = v128.add<T>(x, y), part = v128.sub<T>(result, x);
  const good = v128.and(v128.and(arePlain<T>(x, smallest, largest), arePlain<T>(y, smallest, largest)),
    areResults<T>(result, v128.eq<T>(result, i64x2.splat(0)), smallest, largest));
  if (!v128.all_true<u8>(good)) return REFUSED;
  const lost = v128.add<T>(v128.sub<T>(x, v128.sub<T>(result, part)), v128.sub<T>(y, part));
  v128.store(dst, result);
  return v128.any_true(v128.ne<T>(lost, i64x2.splat(0))) ? INEXACT : EXACT;
}

/** The product where it is ordinary, NaNs elsewhere. */
@inline function products<T>(x: v128, y: v128, smallest: v128, largest: v128): v128 {
  const result = v128.mul<T>(x, y), zero = i64x2.splat(0);
  const isZero = v128.or(v128.eq<T>(x, zero), v128.eq<T>(y, zero));
  const good = v128.and(v128.and(arePlain<T>(x, smallest, largest), arePlain<T>(y, smallest, largest)), areResults<T>(result, isZero, smallest, largest));
  return v128.or(result, v128.not(good));
}

function sums64(x: v128, y: v128, dst: usize): u32 { return sums<f64>(x, y, dst, f64x2.splat(SMALLEST64), f64x2.splat(LARGEST64)); }
function sums32(x: v128, y: v128, dst: usize): u32 { return sums<f32>(x, y, dst, f32x4.splat(SMALLEST32), f32x4.splat(LARGEST32)); }

/** Are the low 27 bits of both significands 0 in each lane? Then products have 52 bits. */
function areShort(x: v128, y: v128): bool { return !v128.any_true(v128.and(v128.or(x, y), i64x2.splat(0x7ffffff))); }
@inline function lowInexact(x: f64, y: f64): u32 { return x == 0 || y == 0 ? EXACT : ofProduct(x, y, true); }

function products64(x: v128, y: v128, dst: usize): u32 {
  const result = products<f64>(x, y, f64x2.splat(SMALLEST64), f64x2.splat(LARGEST64));
  if (v128.any_true(v128.ne<f64>(result, result))) return REFUSED;
  const found = areShort(x, y) ? EXACT : lowInexact(f64x2.extract_lane(x, 0), f64x2.extract_lane(y, 0)) | lowInexact(f64x2.extract_lane(x, 1), f64x2.extract_lane(y, 1));
  if (!(found & REFUSED)) v128.store(dst, result);
  return found;
}

/** Doubles hold the products of two singles. */
@inline function isRounded(x: v128, y: v128, result: v128): bool {
  return v128.any_true(v128.ne<f64>(v128.mul<f64>(f64x2.promote_low_f32x4(x), f64x2.promote_low_f32x4(y)), f64x2.promote_low_f32x4(result)));
}
@inline function high(x: v128): v128 { return v128.shuffle<u64>(x, x, 1, 1); }

function products32(x: v128, y: v128, dst: usize): u32 {
  const result = products<f32>(x, y, f32x4.splat(SMALLEST32), f32x4.splat(LARGEST32));
  if (v128.any_true(v128.ne<f32>(result, result))) return REFUSED;
  v128.store(dst, result);
  return isRounded(x, y, result) || isRounded(high(x), high(y), high(result)) ? INEXACT : EXACT;
}

/** Quotients and roots, one by one. */
function eachLane(vcpu: usize, operation: u32, double: bool, dst: usize, first: usize, second: usize, lanes: u32): u32 {
  const results = vcpu + VCPU_SOFTFLOAT + W_TEMPORARY;
  let found = EXACT;
  v128.store(results, v128.load(dst));
  for (let i: usize = 0, size: usize = double ? 8 : 4, end = <usize>lanes * size; i < end; i += size) {
    found |= double ? lane64(operation, operation == SQUARE_ROOT ? 0 : load<f64>(first + i), load<f64>(second + i), results + i)
      : lane32(operation, operation == SQUARE_ROOT ? 0 : load<f32>(first + i), load<f32>(second + i), results + i);
  }
  if (!(found & REFUSED)) v128.store(dst, v128.load(results));
  return found;
}

/**
 * ADD SUB MUL DIV SQRT of `lanes` elements, as in sse.ts; those of 256 bits take the exact way.
 * @returns whether it was done
 */
export function ordinaryLanes(vcpu: usize, operation: u32, double: bool, dst: usize, first: usize, second: usize, lanes: u32): bool {
  const mxcsr = load<u32>(vcpu, VCPU_MXCSR);
  if ((mxcsr & MXCSR_ROUNDING_AND_MASKS) != MXCSR_MASKS || operation == MINIMUM || operation == MAXIMUM) return false;
  let found = REFUSED;
  if (lanes << (double ? 3 : 2) > 16) return false;
  if (lanes == 1 || operation == DIVIDE || operation == SQUARE_ROOT) {
    found = eachLane(vcpu, operation, double, dst, first, second, lanes);
  } else {
    const x = v128.load(first), y = v128.load(second);
    if (operation == MULTIPLY) found = double ? products64(x, y, dst) : products32(x, y, dst);
    else if (double) found = sums64(x, operation == ADD ? y : v128.neg<f64>(y), dst);
    else found = sums32(x, operation == ADD ? y : v128.neg<f32>(y), dst);
  }
  if (found & REFUSED) return false;
  store<u32>(vcpu, mxcsr | found, VCPU_MXCSR);
  return true;
}
