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
const SQUARE_ROOT: u32 = 1, ADD: u32 = 8, MULTIPLY: u32 = 9, SUBTRACT: u32 = 12, DIVIDE: u32 = 14;
/** What a lane may be found to be, by order. */
const EXACT: u32 = 0, INEXACT: u32 = PE, REFUSED: u32 = 64;
const F64_FRACTION: u64 = 52;

/** Zero, or normal with room for the doubled value. */
@inline function isPlain64(x: f64): bool { return x == 0 || (abs(x) >= 2.2250738585072014e-308 && abs(x) < 4.49423283715579e307); }
@inline function isPlain32(x: f32): bool { return x == 0 || (abs(x) >= 1.17549435082228751e-38 && abs(x) < 8.507059173023462e37); }
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
  if (!isPlain64(result) || abs(result) == 2.2250738585072014e-308 || (result == 0 && found != EXACT)) return REFUSED;
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
  if (!isPlain32(result) || abs(result) == <f32>1.17549435082228751e-38 || (result == 0 && found != EXACT)) return REFUSED;
  store<f32>(to, result);
  return found;
}

/**
 * ADD SUB MUL DIV SQRT of `lanes` elements, as in sse.ts.
 * @returns whether it was done
 */
export function ordinaryLanes(vcpu: usize, operation: u32, double: bool, dst: usize, first: usize, second: usize, lanes: u32): bool {
  const mxcsr = load<u32>(vcpu, VCPU_MXCSR);
  if ((mxcsr & MXCSR_ROUNDING_AND_MASKS) != MXCSR_MASKS) return false;
  if (operation != ADD && operation != SUBTRACT && operation != MULTIPLY && operation != DIVIDE && operation != SQUARE_ROOT) return false;
  const results = vcpu + VCPU_SOFTFLOAT + W_TEMPORARY;
  let found = EXACT;
  for (let i: usize = 0, size: usize = double ? 8 : 4, end = <usize>lanes * size; i < end; i += size) {
    found |= double ? lane64(operation, operation == SQUARE_ROOT ? 0 : load<f64>(first + i), load<f64>(second + i), results + i)
      : lane32(operation, operation == SQUARE_ROOT ? 0 : load<f32>(first + i), load<f32>(second + i), results + i);
    if (found & REFUSED) return false;
  }
  for (let i: u32 = 0, end = lanes << (double ? 3 : 2); i < end; i += 4) store<u32>(dst + i, load<u32>(results + i));
  store<u32>(vcpu, mxcsr | found, VCPU_MXCSR);
  return true;
}
