/**
 * The x87 transcendental functions on 128-bit significands: each result is right to well under one unit of the 80-bit format before
 * its rounding.
 * Implements: Intel SDM vol 1 8.3.7 to 8.3.10, vol 2A F2XM1 FYL2X FYL2XP1 FPATAN FPTAN FSIN FCOS (tables of special operands).
 * Runs on: the vCPU's own thread. Trigonometric arguments are reduced by the processor's 66-bit pi (vol 1 8.3.8), as guests see it.
 *
 * Method: reduce the argument, then a Taylor series in fixed point whose value lies near 1 ("x * series(x * x)"), so that small
 * arguments keep their relative accuracy.
 */
import {
  KIND_FINITE, KIND_INFINITY, KIND_ZERO, N_EXPONENT, N_LOW, N_SIGN, TOP_BIT, W_A, W_B, W_HIGH, W_MIDDLE, W_R, W_TEMPORARY, ZE, copyNumber, exactAdd,
  exactMultiply, exponentOf, flag, invalidResult, kindOf, multiplyHigh, normalize, setNumber, signOf, significandOf, unpackI64, N_DENORMAL, DE, PE, UE,
} from './softfloat.ts';

@inline function lowOf(n: usize): u64 { return load<u64>(n, N_LOW); }

/** Truncated 2^-128 * (a * b); low half in W_MIDDLE of `w`, high half in W_HIGH. Off by at most a few units. */
function multiplyTop(w: usize, aHigh: u64, aLow: u64, bHigh: u64, bLow: u64): void {
  const cross1 = multiplyHigh(aHigh, bLow), cross2 = multiplyHigh(aLow, bHigh);
  let high = multiplyHigh(aHigh, bHigh), low = aHigh * bHigh;
  low += cross1;
  high += u64(low < cross1);
  low += cross2;
  high += u64(low < cross2);
  store<u64>(w, high, W_HIGH);
  store<u64>(w, low, W_MIDDLE);
}

/** W_HIGH:W_MIDDLE := high:low / divisor, for a divisor below 2^32. */
function divideSmall(w: usize, high: u64, low: u64, divisor: u64): void {
  let rest = high % divisor;
  const q1 = (rest << 32 | low >> 32) / divisor;
  rest = (rest << 32 | low >> 32) % divisor;
  const q0 = (rest << 32 | low & 0xffffffff) / divisor;
  store<u64>(w, high / divisor, W_HIGH);
  store<u64>(w, (q1 << 32) + q0, W_MIDDLE);
}

/** to := x * y, truncated to 128 bits (finite numbers). */
function wideMultiply(w: usize, to: usize, x: usize, y: usize): void {
  const exponent = exponentOf(x) + exponentOf(y) + 1, sign = signOf(x) ^ signOf(y);
  multiplyTop(w, significandOf(x), lowOf(x), significandOf(y), lowOf(y));
  normalize(to, sign, exponent, load<u64>(w, W_HIGH), load<u64>(w, W_MIDDLE), sign);
}

/** to := x / y to 128 bits (finite numbers), bit by bit. */
function wideDivide(to: usize, x: usize, y: usize): void {
  const exponent = exponentOf(x) - exponentOf(y), sign = signOf(x) ^ signOf(y);
  let restHigh = significandOf(x), restLow = lowOf(x);
  const high = significandOf(y), low = lowOf(y);
  let quotientHigh: u64 = 0, quotientLow: u64 = 0, carry: u64 = 0;
  for (let i = 0; i < 128; i++) {
    quotientHigh = quotientHigh << 1 | quotientLow >> 63;
    quotientLow <<= 1;
    if (carry || restHigh > high || (restHigh == high && restLow >= low)) {
      restHigh = restHigh - high - u64(restLow < low);
      restLow -= low;
      quotientLow |= 1;
    }
    carry = restHigh >> 63;
    restHigh = restHigh << 1 | restLow >> 63;
    restLow <<= 1;
  }
  normalize(to, sign, exponent, quotientHigh, quotientLow, sign);
}

/** to := x + y (negate = 1: x - y), through A and B, which it overwrites, as it does R. */
function wideAdd(w: usize, to: usize, x: usize, y: usize, negate: u32): void {
  copyNumber(w + W_R, y);
  copyNumber(w + W_A, x);
  copyNumber(w + W_B, w + W_R);
  store<u32>(w + W_A, 0, N_DENORMAL);
  store<u32>(w + W_B, 0, N_DENORMAL);
  exactAdd(w, negate);
  if (to != w + W_R) copyNumber(to, w + W_R);
}

@inline function setOne(n: usize): void { setNumber(n, KIND_FINITE, 0, 0, TOP_BIT, 0); }
@inline function setPi(n: usize, exponent: i32): void { setNumber(n, KIND_FINITE, 0, exponent, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1); }

/** W_HIGH:W_MIDDLE := |n| as a fraction of 2^128, for |n| < 1. */
function toFraction(w: usize, n: usize): void {
  const count = -1 - exponentOf(n);
  const high = significandOf(n), low = lowOf(n);
  if (kindOf(n) != KIND_FINITE || count >= 128) {
    store<u64>(w, 0, W_HIGH);
    store<u64>(w, 0, W_MIDDLE);
  } else if (count >= 64) {
    store<u64>(w, 0, W_HIGH);
    store<u64>(w, high >> (count - 64), W_MIDDLE);
  } else {
    store<u64>(w, high >> count, W_HIGH);
    store<u64>(w, count ? low >> count | high << (64 - count) : low, W_MIDDLE);
  }
}

// Kinds of series. All are Horner schemes over t in units of 2^-127, with t = 1 at the start.
const SINE: u32 = 0;         // 1 - z/(2*3) (1 - z/(4*5) (...))
const COSINE: u32 = 1;       // 1 - z/(1*2) (1 - z/(3*4) (...))
const GROW: u32 = 2;         // 1 + z/2 (1 + z/3 (...)):  (e^z - 1) / z
const DECAY: u32 = 3;        // the same for -z
const ARC_TANGENT: u32 = 4;  // 1 - z/3 + z^2/5 ...
const AREA_TANGENT: u32 = 5; // 1 + z/3 + z^2/5 ...

/** n := the series at |z|, as a number. z and n may be the same. */
function series(w: usize, n: usize, z: usize, kind: u32, terms: i32): void {
  toFraction(w, z);
  const zHigh = load<u64>(w, W_HIGH), zLow = load<u64>(w, W_MIDDLE);
  let high = TOP_BIT, low: u64 = 0;
  if (kind >= ARC_TANGENT) {
    divideSmall(w, TOP_BIT, 0, 2 * terms + 1);
    high = load<u64>(w, W_HIGH);
    low = load<u64>(w, W_MIDDLE);
  }
  for (let k: u64 = terms; k > 0; k--) {
    multiplyTop(w, zHigh, zLow, high, low);
    high = load<u64>(w, W_HIGH);
    low = load<u64>(w, W_MIDDLE);
    let constant = TOP_BIT, constantLow: u64 = 0;
    if (kind >= ARC_TANGENT) {
      divideSmall(w, TOP_BIT, 0, 2 * k - 1);
      constant = load<u64>(w, W_HIGH);
      constantLow = load<u64>(w, W_MIDDLE);
    } else {
      divideSmall(w, high, low, kind == SINE ? 2 * k * (2 * k + 1) : kind == COSINE ? (2 * k - 1) * 2 * k : k + 1);
      high = load<u64>(w, W_HIGH);
      low = load<u64>(w, W_MIDDLE);
    }
    if (kind == GROW || kind == AREA_TANGENT) {
      low += constantLow;
      high += constant + u64(low < constantLow);
    } else {
      high = constant - high - u64(constantLow < low);
      low = constantLow - low;
    }
  }
  // The falling series are below 1 even where 128 bits do not show it: directed rounding must see that.
  if (high == TOP_BIT && low == 0 && kind != GROW && kind != AREA_TANGENT) {
    high = TOP_BIT - 1;
    low = u64.MAX_VALUE;
  }
  normalize(n, 0, 0, high, low, 0);
}

/** The result is irrational: let the rounding see that it is inexact. */
function markInexact(n: usize): void {
  if (kindOf(n) == KIND_FINITE) store<u64>(n, lowOf(n) | 1, N_LOW);
}

/** R := 2^A - 1 for |A| <= 1; outside (undefined in the SDM) A itself with PE, as processors do. */
export function exponentialMinus1(w: usize): void {
  const a = w + W_A, r = w + W_R, y = w + W_TEMPORARY;
  const sign = signOf(a), exponent = exponentOf(a);
  if (kindOf(a) == KIND_INFINITY) return sign ? setNumber(r, KIND_FINITE, 1, 0, TOP_BIT, 0) : copyNumber(r, a);
  if (kindOf(a) == KIND_ZERO) return copyNumber(r, a);
  if (exponent >= 0) {
    flag(w, PE);
    // 2^1 - 1 = 1, 2^-1 - 1 = -1/2.
    if (exponent == 0 && significandOf(a) == TOP_BIT) return setNumber(r, KIND_FINITE, sign, sign ? -1 : 0, TOP_BIT, 0);
    return copyNumber(r, a);
  }
  setNumber(y, KIND_FINITE, 0, -1, 0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af);   // ln 2
  wideMultiply(w, y, a, y);
  series(w, r, y, sign ? DECAY : GROW, 28);
  wideMultiply(w, r, r, y);
  markInexact(r);
}

/** n := 2 * log2(e) * s * (1 + s^2/3 + ...) = log2((1 + s) / (1 - s)), |s| < 0.18. `s` and `n` differ. */
function areaTangent(w: usize, n: usize, s: usize): void {
  const scale = w + W_TEMPORARY + 128;
  wideMultiply(w, n, s, s);
  series(w, n, n, AREA_TANGENT, 24);
  wideMultiply(w, n, n, s);
  setNumber(scale, KIND_FINITE, 0, 1, 0xb8aa3b295c17f0bb, 0xbe87fed0691d3e89);   // 2 / ln 2
  wideMultiply(w, n, n, scale);
}

const F80_MIN_EXPONENT: i32 = -16382;

/** R := y * log2(x) for a positive finite x and a finite y, both not in A, B or R. */
function scaledLogarithm(w: usize, x: usize, y: usize): void {
  const t = w + W_TEMPORARY, s = t + 32, one = t + 64;
  let exponent = exponentOf(x);
  if (significandOf(x) == TOP_BIT && lowOf(x) == 0) {
    // A power of two: the logarithm is an integer. Processors report PE even where the product is exact.
    if (exponent == 0) return setNumber(w + W_R, KIND_ZERO, signOf(y), 0, 0, 0);
    flag(w, PE);
    unpackI64(w + W_A, exponent);
    copyNumber(w + W_B, y);
    store<u32>(w + W_B, 0, N_DENORMAL);
    exactMultiply(w);
    if (kindOf(w + W_R) == KIND_FINITE && exponentOf(w + W_R) < F80_MIN_EXPONENT) flag(w, UE);   // tiny, and inexact by that PE
    return;
  }
  // x = m * 2^exponent with m in (sqrt(1/2), sqrt(2)): s = (m - 1) / (m + 1).
  const above = significandOf(x) > 0xb504f333f9de6484;
  exponent += i32(above);
  store<i32>(x, above ? -1 : 0, N_EXPONENT);
  setOne(one);
  wideAdd(w, s, x, one, 1);
  wideAdd(w, t, x, one, 0);
  wideDivide(s, s, t);
  areaTangent(w, t, s);
  if (exponent != 0) {
    unpackI64(s, exponent);
    wideAdd(w, t, s, t, 0);
  }
  wideMultiply(w, w + W_R, t, y);
  markInexact(w + W_R);
}

/** R := B * log2(A): FYL2X. */
export function logarithm(w: usize): void {
  const x = w + W_A, y = w + W_B, r = w + W_R;
  const kindX = kindOf(x), kindY = kindOf(y), signY = signOf(y);
  if (kindX != KIND_ZERO && signOf(x)) return invalidResult(w);
  if (kindX == KIND_ZERO) {
    if (kindY == KIND_ZERO) return invalidResult(w);
    if (kindY == KIND_FINITE) flag(w, ZE);
    return setNumber(r, KIND_INFINITY, signY ^ 1, 0, TOP_BIT, 0);
  }
  const isOne = kindX == KIND_FINITE && exponentOf(x) == 0 && significandOf(x) == TOP_BIT;
  if (kindX == KIND_INFINITY ? kindY == KIND_ZERO : isOne && kindY == KIND_INFINITY) return invalidResult(w);
  if (load<u32>(x, N_DENORMAL) | load<u32>(y, N_DENORMAL)) flag(w, DE);
  if (kindX == KIND_INFINITY) return setNumber(r, KIND_INFINITY, signY, 0, TOP_BIT, 0);
  const below = u32(exponentOf(x) < 0);
  if (kindY == KIND_INFINITY) return setNumber(r, KIND_INFINITY, signY ^ below, 0, TOP_BIT, 0);
  if (kindY == KIND_ZERO) return setNumber(r, KIND_ZERO, signY ^ below, 0, 0, 0);
  copyArguments(w);
  scaledLogarithm(w, w + W_TEMPORARY + 96, w + W_TEMPORARY + 160);
}

/** Keep A and B where the wide additions do not reach them. */
function copyArguments(w: usize): void {
  copyNumber(w + W_TEMPORARY + 96, w + W_A);
  copyNumber(w + W_TEMPORARY + 160, w + W_B);
}

/** R := B * log2(A + 1): FYL2XP1. Outside the SDM's range: the function's value, and at or below -1 A itself with PE, as processors do. */
export function logarithmPlus1(w: usize): void {
  const x = w + W_A, y = w + W_B, r = w + W_R;
  const kindX = kindOf(x), kindY = kindOf(y), signX = signOf(x), signY = signOf(y);
  if (signX && kindX == KIND_INFINITY) return invalidResult(w);
  if ((kindX == KIND_ZERO && kindY == KIND_INFINITY) || (kindX == KIND_INFINITY && kindY == KIND_ZERO)) return invalidResult(w);
  if (load<u32>(x, N_DENORMAL) | load<u32>(y, N_DENORMAL)) flag(w, DE);
  if (kindX == KIND_INFINITY || kindY == KIND_INFINITY) return setNumber(r, KIND_INFINITY, signX ^ signY, 0, TOP_BIT, 0);
  if (kindX == KIND_ZERO || kindY == KIND_ZERO) return setNumber(r, KIND_ZERO, signX ^ signY, 0, 0, 0);
  if (signX && kindX == KIND_FINITE && exponentOf(x) >= 0) {
    flag(w, PE);
    return copyNumber(r, x);
  }
  copyArguments(w);
  const keptX = w + W_TEMPORARY + 96, keptY = w + W_TEMPORARY + 160;
  const t = w + W_TEMPORARY, s = t + 32;
  if (exponentOf(keptX) >= -2) {
    setOne(t);
    wideAdd(w, keptX, keptX, t, 0);
    return scaledLogarithm(w, keptX, keptY);
  }
  // s = x / (2 + x) keeps the accuracy of a small x.
  setNumber(t, KIND_FINITE, 0, 1, TOP_BIT, 0);
  wideAdd(w, t, t, keptX, 0);
  wideDivide(s, keptX, t);
  areaTangent(w, t, s);
  wideMultiply(w, r, t, keptY);
  markInexact(r);
}

/** arctan(i / 8), i = 1..8, as numbers. */
function setArcTangentOfEighths(n: usize, i: i32): void {
  switch (i) {
    case 1: return setNumber(n, KIND_FINITE, 0, -4, 0xfeadd4d5617b6e32, 0xc897989f3e888ef8);
    case 2: return setNumber(n, KIND_FINITE, 0, -3, 0xfadbafc96406eb15, 0x6dc79ef5f7a217e6);
    case 3: return setNumber(n, KIND_FINITE, 0, -2, 0xb7b0ca0f26f78473, 0x8aa32122dcfe4483);
    case 4: return setNumber(n, KIND_FINITE, 0, -2, 0xed63382b0dda7b45, 0x6fe445ecbc3a8d03);
    case 5: return setNumber(n, KIND_FINITE, 0, -1, 0x8f005d5ef7f59f9b, 0x5c835e1665c43748);
    case 6: return setNumber(n, KIND_FINITE, 0, -1, 0xa4bc7d1934f70924, 0x19a87f2a457dac9f);
    case 7: return setNumber(n, KIND_FINITE, 0, -1, 0xb8053e2bc2319e73, 0xcb2da55210a4443d);
    default: return setPi(n, -1);
  }
}

/** n := arctan(n) for 0 < n <= 1. */
function arcTangentOfFraction(w: usize, n: usize): void {
  const t = n + 32, u = n + 64;
  toFraction(w, n);
  const eighths = exponentOf(n) >= 0 ? 8 : <i32>((load<u64>(w, W_HIGH) >> 60) + 1 >> 1);
  if (eighths) {
    // arctan n = arctan c + arctan((n - c) / (1 + n c)), c = eighths / 8.
    unpackI64(t, eighths);
    store<i32>(t, exponentOf(t) - 3, N_EXPONENT);
    wideMultiply(w, u, n, t);
    wideAdd(w, n, n, t, 1);
    setOne(t);
    wideAdd(w, u, u, t, 0);
    if (kindOf(n) == KIND_FINITE) wideDivide(n, n, u);
  }
  if (kindOf(n) == KIND_FINITE) {
    wideMultiply(w, t, n, n);
    series(w, t, t, ARC_TANGENT, 16);
    wideMultiply(w, n, n, t);
  }
  if (eighths) {
    setArcTangentOfEighths(t, eighths);
    wideAdd(w, n, t, n, 0);
  }
}

/** R := the angle of the point (x = A, y = B): FPATAN. */
export function arcTangent(w: usize): void {
  const x = w + W_A, y = w + W_B, r = w + W_R, t = w + W_TEMPORARY;
  const kindX = kindOf(x), kindY = kindOf(y), signX = signOf(x), signY = signOf(y);
  if (kindY == KIND_INFINITY && kindX == KIND_INFINITY) {
    // +-pi/4, or +-3 pi/4.
    if (signX) setNumber(r, KIND_FINITE, signY, 1, 0x96cbe3f9990e91a7, 0x9394c9e8a0a5159d);
    else setPi(r, -1);
  } else if (kindY == KIND_INFINITY || (kindX == KIND_ZERO && kindY != KIND_ZERO)) {
    setPi(r, 0);
  } else if (kindY == KIND_ZERO || kindX == KIND_INFINITY) {
    if (signX) setPi(r, 1);
    else return setNumber(r, KIND_ZERO, signY, 0, 0, 0);
  } else {
    store<u32>(x, 0, N_SIGN);
    store<u32>(y, 0, N_SIGN);
    const swap = exponentOf(y) > exponentOf(x) || (exponentOf(y) == exponentOf(x) && significandOf(y) > significandOf(x));
    wideDivide(t, swap ? x : y, swap ? y : x);
    arcTangentOfFraction(w, t);
    if (swap) {
      setPi(t + 32, 0);
      wideAdd(w, t, t + 32, t, signX ^ 1);
    } else if (signX) {
      setPi(t + 32, 1);
      wideAdd(w, t, t + 32, t, 1);
    }
    copyNumber(r, t);
  }
  store<u32>(r, signY, N_SIGN);
  markInexact(r);
}

/**
 * n := |A| reduced to [-pi/4, pi/4] by multiples of half the 66-bit pi, exactly. |A| < 2^63, finite.
 * @returns the low 2 bits of the number of quarter turns.
 */
function reduce(w: usize, n: usize): u32 {
  const a = w + W_A;
  const exponent = exponentOf(a);
  if (exponent < -1) {
    copyNumber(n, a);
    store<u32>(n, 0, N_SIGN);
    return 0;
  }
  // Units of 2^-65: pi / 2 is 0x3_243f6a88_85a308d3, 66 bits.
  const turnHigh: u64 = 3, turnLow: u64 = 0x243f6a8885a308d3;
  let high: u64 = 0, low = significandOf(a), quarters: u32 = 0;
  for (let i = exponent + 2; i > 0; i--) {
    high = high << 1 | low >> 63;
    low <<= 1;
    quarters <<= 1;
    if (high > turnHigh || (high == turnHigh && low >= turnLow)) {
      high = high - turnHigh - u64(low < turnLow);
      low -= turnLow;
      quarters |= 1;
    }
  }
  let sign: u32 = 0;
  const otherHigh = turnHigh - high - u64(turnLow < low), otherLow = turnLow - low;
  if (high > otherHigh || (high == otherHigh && low > otherLow)) {
    high = otherHigh;
    low = otherLow;
    sign = 1;
    quarters++;
  }
  normalize(n, sign, 62, high, low, 0);
  return quarters & 3;
}

/** n := sin(m), n and m differ. */
function sineSeries(w: usize, n: usize, m: usize): void {
  wideMultiply(w, n, m, m);
  series(w, n, n, SINE, 16);
  wideMultiply(w, n, n, m);
}

function cosineSeries(w: usize, n: usize, m: usize): void {
  wideMultiply(w, n, m, m);
  series(w, n, n, COSINE, 17);
}

/** n := sin(|A|) or, with a quarter turn added, cos(A). */
function circular(w: usize, n: usize, quarters: u32, reduced: usize): void {
  if (quarters & 1) cosineSeries(w, n, reduced);
  else sineSeries(w, n, reduced);
  store<u32>(n, signOf(n) ^ (quarters >> 1 & 1), N_SIGN);
}

/** R := sin A. */
export function sine(w: usize): void {
  const a = w + W_A, r = w + W_R, reduced = w + W_TEMPORARY;
  if (kindOf(a) == KIND_ZERO) return copyNumber(r, a);
  const quarters = reduce(w, reduced);
  circular(w, r, quarters, reduced);
  store<u32>(r, signOf(r) ^ signOf(a), N_SIGN);
  markInexact(r);
}

/** R := cos A. */
export function cosine(w: usize): void {
  const a = w + W_A, r = w + W_R, reduced = w + W_TEMPORARY;
  if (kindOf(a) == KIND_ZERO) return setOne(r);
  const quarters = reduce(w, reduced);
  circular(w, r, quarters + 1, reduced);
  markInexact(r);
}

/** R := tan A. */
export function tangent(w: usize): void {
  const a = w + W_A, r = w + W_R, reduced = w + W_TEMPORARY, other = reduced + 32;
  if (kindOf(a) == KIND_ZERO) return copyNumber(r, a);
  const quarters = reduce(w, reduced);
  circular(w, other, quarters, reduced);
  circular(w, r, quarters + 1, reduced);
  wideDivide(r, other, r);
  store<u32>(r, signOf(r) ^ signOf(a), N_SIGN);
  markInexact(r);
}
