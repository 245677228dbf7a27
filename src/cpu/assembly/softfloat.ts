/**
 * Exact IEEE 754 arithmetic for binary32, binary64 and the x87 80-bit format: one unpacked form, one rounding routine.
 * Implements: Intel SDM vol 1 4.8 Real Numbers and Floating-Point Formats, 4.9 Overview of Floating-Point Exceptions
 * (tininess is found after rounding, 4.9.1.5); IEEE 754-2019 4, 5, 7.
 * Runs on: the vCPU's own thread. State is the vCPU's work area alone (`softfloat` of cpu/state.ts), passed as `w`.
 *
 * An operation has two steps: `exact...` works on the numbers A and B and leaves in R a value with 128 significant bits, the last of
 * which is sticky, and the pre-computation exceptions (IE DE ZE) in W_FLAGS; `roundResult` then rounds R to a format and adds OE UE PE.
 * So a caller can look at unmasked exceptions between them, and a packed one at those of all its lanes.
 */

// A number: value = (-1)^sign * (significand:low / 2^127) * 2^exponent, significand with its top bit set (KIND_FINITE).
export const N_SIGNIFICAND: usize = 0;
export const N_LOW: usize = 8;
export const N_EXPONENT: usize = 16;
export const N_SIGN: usize = 20;
export const N_KIND: usize = 24;
export const N_DENORMAL: usize = 28;

export const KIND_ZERO: u32 = 0;
export const KIND_FINITE: u32 = 1;
export const KIND_INFINITY: u32 = 2;
export const KIND_QNAN: u32 = 3;
export const KIND_SNAN: u32 = 4;
/** Unnormals, pseudo-NaNs and pseudo-infinities of the 80-bit format (SDM vol 1 8.2.2). */
export const KIND_UNSUPPORTED: u32 = 5;

// The work area.
export const W_A: usize = 0;
export const W_B: usize = 32;
export const W_R: usize = 64;
/** Exceptions of the operation so far: IE DE ZE OE UE PE as in MXCSR and FSW. */
export const W_FLAGS: usize = 96;
/** Rounding control: 0 nearest even, 1 down, 2 up, 3 toward zero. */
export const W_ROUNDING: usize = 100;
/** Exceptions that are not masked. */
export const W_UNMASKED: usize = 104;
/** 1: flush tiny results to zero (MXCSR.FTZ; SDM vol 1 10.2.3.3). */
export const W_FLUSH: usize = 108;
/** 1: read denormals as zero (MXCSR.DAZ; SDM vol 1 10.2.3.4). */
export const W_DAZ: usize = 112;
/** 1 when the last rounding increased the magnitude (x87 C1). */
export const W_ROUNDED_UP: usize = 116;
export const W_HIGH: usize = 120;
export const W_MIDDLE: usize = 128;
/** Five numbers for the transcendental functions (x87-transcendental.ts). */
export const W_TEMPORARY: usize = 144;

export const IE: u32 = 1;
export const DE: u32 = 2;
export const ZE: u32 = 4;
export const OE: u32 = 8;
export const UE: u32 = 16;
export const PE: u32 = 32;
export const BEFORE: u32 = 7;

export const ROUND_NEAREST: u32 = 0;
export const ROUND_DOWN: u32 = 1;
export const ROUND_UP: u32 = 2;
export const ROUND_ZERO: u32 = 3;

export const TOP_BIT: u64 = 0x8000000000000000;
export const QUIET_BIT: u64 = 0x4000000000000000;
export const INDEFINITE: u64 = 0xc000000000000000;

/** What an unmasked overflow or underflow adds to the exponent of an x87 register result (SDM vol 1 8.5.4, 8.5.5). */
export const X87_WRAP: i32 = 24576;

@inline export function significandOf(n: usize): u64 { return load<u64>(n, N_SIGNIFICAND); }
@inline export function exponentOf(n: usize): i32 { return load<i32>(n, N_EXPONENT); }
@inline export function signOf(n: usize): u32 { return load<u32>(n, N_SIGN); }
@inline export function kindOf(n: usize): u32 { return load<u32>(n, N_KIND); }
@inline export function flag(w: usize, exceptions: u32): void { store<u32>(w, load<u32>(w, W_FLAGS) | exceptions, W_FLAGS); }
@inline export function flagsOf(w: usize): u32 { return load<u32>(w, W_FLAGS); }
@inline export function isNan(n: usize): bool { return kindOf(n) >= KIND_QNAN; }

@inline export function setNumber(n: usize, kind: u32, sign: u32, exponent: i32, significand: u64, low: u64): void {
  store<u64>(n, significand, N_SIGNIFICAND);
  store<u64>(n, low, N_LOW);
  store<i32>(n, exponent, N_EXPONENT);
  store<u32>(n, sign, N_SIGN);
  store<u32>(n, kind, N_KIND);
  store<u32>(n, 0, N_DENORMAL);
}

export function copyNumber(to: usize, from: usize): void {
  // memory.copy is a call out of wasm for so few bytes.
  v128.store(to, v128.load(from));
  v128.store(to, v128.load(from, 16), 16);
}

/** R := the QNaN floating-point indefinite, for a masked invalid operation. */
export function invalidResult(w: usize): void {
  flag(w, IE);
  setNumber(w + W_R, KIND_QNAN, 1, 0, INDEFINITE, 0);
}

// --- formats to numbers ---

function finite(n: usize, sign: u32, exponent: i32, significand: u64, denormal: u32): void {
  const shift = clz(significand);
  setNumber(n, KIND_FINITE, sign, exponent - <i32>shift, significand << shift, 0);
  store<u32>(n, denormal, N_DENORMAL);
}

/** @param signExponent bits 64..79 of the register. */
export function unpackF80(n: usize, signExponent: u32, significand: u64): void {
  const exponent = <i32>(signExponent & 0x7fff);
  const sign = signExponent >> 15 & 1;
  if (exponent == 0) {
    // A pseudo-denormal (top bit set) has the value of exponent 1 and counts as denormal.
    if (significand == 0) setNumber(n, KIND_ZERO, sign, 0, 0, 0);
    else finite(n, sign, 1 - 16383, significand, 1);
  } else if (!(significand >> 63)) {
    setNumber(n, KIND_UNSUPPORTED, sign, 0, significand, 0);
  } else if (exponent == 0x7fff) {
    const kind = significand == TOP_BIT ? KIND_INFINITY : significand & QUIET_BIT ? KIND_QNAN : KIND_SNAN;
    setNumber(n, kind, sign, 0, significand, 0);
  } else {
    setNumber(n, KIND_FINITE, sign, exponent - 16383, significand, 0);
  }
}

export function unpackF64(n: usize, bits: u64, daz: u32): void {
  const exponent = <i32>(bits >> 52) & 0x7ff;
  const sign = <u32>(bits >> 63);
  const significand = bits << 12 >> 1;
  if (exponent == 0) {
    if (significand == 0 || daz) setNumber(n, KIND_ZERO, sign, 0, 0, 0);
    else finite(n, sign, 1 - 1023, significand, 1);
  } else if (exponent == 0x7ff) {
    const kind = significand == 0 ? KIND_INFINITY : significand & QUIET_BIT ? KIND_QNAN : KIND_SNAN;
    setNumber(n, kind, sign, 0, significand | TOP_BIT, 0);
  } else {
    setNumber(n, KIND_FINITE, sign, exponent - 1023, significand | TOP_BIT, 0);
  }
}

export function unpackF32(n: usize, bits: u32, daz: u32): void {
  const exponent = <i32>(bits >> 23) & 0xff;
  const sign = bits >> 31;
  const significand = <u64>bits << 41 >> 1;
  if (exponent == 0) {
    if (significand == 0 || daz) setNumber(n, KIND_ZERO, sign, 0, 0, 0);
    else finite(n, sign, 1 - 127, significand, 1);
  } else if (exponent == 0xff) {
    const kind = significand == 0 ? KIND_INFINITY : significand & QUIET_BIT ? KIND_QNAN : KIND_SNAN;
    setNumber(n, kind, sign, 0, significand | TOP_BIT, 0);
  } else {
    setNumber(n, KIND_FINITE, sign, exponent - 127, significand | TOP_BIT, 0);
  }
}

/** A signed integer, exactly. */
export function unpackI64(n: usize, value: i64): void {
  if (value == 0) setNumber(n, KIND_ZERO, 0, 0, 0, 0);
  else if (value < 0) finite(n, 1, 63, 0 - <u64>value, 0);
  else finite(n, 0, 63, <u64>value, 0);
}

// --- numbers to formats (R has been rounded to the format) ---

/** Bits 64..79. A denormal has its top significand bit clear. */
export function packF80Exponent(n: usize): u32 {
  const kind = kindOf(n);
  let exponent: u32 = 0;
  if (kind == KIND_FINITE) exponent = significandOf(n) >> 63 ? <u32>(exponentOf(n) + 16383) : 0;
  else if (kind != KIND_ZERO) exponent = 0x7fff;
  return signOf(n) << 15 | exponent;
}

export function packF80Significand(n: usize): u64 {
  const kind = kindOf(n);
  if (kind == KIND_ZERO) return 0;
  if (kind == KIND_INFINITY) return TOP_BIT;
  return significandOf(n);
}

export function packF64(n: usize): u64 {
  const sign = <u64>signOf(n) << 63;
  const significand = significandOf(n);
  switch (kindOf(n)) {
    case KIND_ZERO: return sign;
    case KIND_FINITE: return sign | (significand >> 63 ? <u64>(exponentOf(n) + 1023) << 52 : 0) | significand << 1 >> 12;
    case KIND_INFINITY: return sign | 0x7ff0000000000000;
    default: return sign | 0x7ff8000000000000 | significand << 1 >> 12;
  }
}

export function packF32(n: usize): u32 {
  const sign = signOf(n) << 31;
  const significand = significandOf(n);
  switch (kindOf(n)) {
    case KIND_ZERO: return sign;
    case KIND_FINITE: return sign | (significand >> 63 ? (exponentOf(n) + 127) << 23 : 0) | <u32>(significand << 1 >> 41);
    case KIND_INFINITY: return sign | 0x7f800000;
    default: return sign | 0x7fc00000 | <u32>(significand << 1 >> 41);
  }
}

// --- 128-bit pieces ---

/** High half of a 64 x 64 bit product; the low half is `a * b`. */
export function multiplyHigh(a: u64, b: u64): u64 {
  const a0 = a & 0xffffffff, a1 = a >> 32, b0 = b & 0xffffffff, b1 = b >> 32;
  const middle = a1 * b0 + (a0 * b0 >> 32);
  const other = a0 * b1 + (middle & 0xffffffff);
  return a1 * b1 + (middle >> 32) + (other >> 32);
}

/** floor((high:low) / divisor) for a divisor with its top bit set and high < divisor (Knuth 4.3.1 D with 32-bit digits). */
export function divide128(high: u64, low: u64, divisor: u64): u64 {
  const d1 = divisor >> 32, d0 = divisor & 0xffffffff;
  let q1 = high / d1;
  let rest = high - q1 * d1;
  while (q1 >> 32 || q1 * d0 > (rest << 32 | low >> 32)) {
    q1--;
    rest += d1;
    if (rest >> 32) break;
  }
  const middle = (high << 32 | low >> 32) - q1 * divisor;
  let q0 = middle / d1;
  rest = middle - q0 * d1;
  while (q0 >> 32 || q0 * d0 > (rest << 32 | low & 0xffffffff)) {
    q0--;
    rest += d1;
    if (rest >> 32) break;
  }
  return (q1 << 32) + q0;
}

/** Shift significand:low right; the last bit is sticky. */
export function shiftRightSticky(n: usize, count: i32): void {
  const high = load<u64>(n, N_SIGNIFICAND), low = load<u64>(n, N_LOW);
  if (count <= 0) return;
  if (count < 64) {
    store<u64>(n, high >> count, N_SIGNIFICAND);
    store<u64>(n, low >> count | high << (64 - count) | u64(low << (64 - count) != 0), N_LOW);
  } else if (count == 64) {
    store<u64>(n, 0, N_SIGNIFICAND);
    store<u64>(n, high | u64(low != 0), N_LOW);
  } else if (count < 128) {
    store<u64>(n, 0, N_SIGNIFICAND);
    store<u64>(n, high >> (count - 64) | u64((high << (128 - count) | low) != 0), N_LOW);
  } else {
    store<u64>(n, 0, N_SIGNIFICAND);
    store<u64>(n, u64((high | low) != 0), N_LOW);
  }
}

/** n := a finite number from an unnormalized 128-bit significand, or a zero. */
export function normalize(n: usize, sign: u32, exponent: i32, high: u64, low: u64, zeroSign: u32): void {
  if (high == 0) {
    if (low == 0) {
      setNumber(n, KIND_ZERO, zeroSign, 0, 0, 0);
      return;
    }
    high = low;
    low = 0;
    exponent -= 64;
  }
  const shift = <i32>clz(high);
  if (shift) {
    high = high << shift | low >> (64 - shift);
    low <<= shift;
  }
  setNumber(n, KIND_FINITE, sign, exponent - shift, high, low);
}

// --- NaNs ---

/**
 * Invalid and NaN operands of a two-operand operation.
 * x87 (SDM vol 1 table 4-7): of two NaNs the one with the larger significand, but a QNaN before an SNaN; SSE: the first operand if it is a NaN, else the second.
 * @returns whether R is now the result.
 */
export function propagateNan(w: usize, x87: bool): bool {
  const a = w + W_A, b = w + W_B, r = w + W_R;
  const kindA = kindOf(a), kindB = kindOf(b);
  if (kindA < KIND_QNAN && kindB < KIND_QNAN) return false;
  if (kindA == KIND_UNSUPPORTED || kindB == KIND_UNSUPPORTED) {
    invalidResult(w);
    return true;
  }
  if (kindA == KIND_SNAN || kindB == KIND_SNAN) flag(w, IE);
  let chosen = a;
  if (kindA < KIND_QNAN) {
    chosen = b;
  } else if (x87 && kindB >= KIND_QNAN) {
    if (kindA != kindB) {
      chosen = kindA == KIND_QNAN ? a : b;
    } else {
      const x = significandOf(a), y = significandOf(b);
      // Equal significands: the positive one.
      if (x < y || (x == y && signOf(a) > signOf(b))) chosen = b;
    }
  }
  setNumber(r, KIND_QNAN, signOf(chosen), 0, significandOf(chosen) | QUIET_BIT, 0);
  return true;
}

/** The same for one operand, A. */
export function propagateNan1(w: usize): bool {
  const a = w + W_A;
  const kind = kindOf(a);
  if (kind < KIND_QNAN) return false;
  if (kind == KIND_UNSUPPORTED) {
    invalidResult(w);
  } else {
    if (kind == KIND_SNAN) flag(w, IE);
    setNumber(w + W_R, KIND_QNAN, signOf(a), 0, significandOf(a) | QUIET_BIT, 0);
  }
  return true;
}

@inline function noteDenormals(w: usize): void {
  if (load<u32>(w + W_A, N_DENORMAL) | load<u32>(w + W_B, N_DENORMAL)) flag(w, DE);
}

export function noteDenormal(w: usize): void {
  if (load<u32>(w + W_A, N_DENORMAL)) flag(w, DE);
}

// --- exact operations: A, B (no NaNs) -> R ---

/** R := A + B, or A - B. */
export function exactAdd(w: usize, subtract: u32): void {
  const a = w + W_A, b = w + W_B, r = w + W_R;
  const signA = signOf(a), signB = signOf(b) ^ subtract;
  const kindA = kindOf(a), kindB = kindOf(b);
  if (kindA == KIND_INFINITY) {
    if (kindB == KIND_INFINITY && signA != signB) return invalidResult(w);
    noteDenormals(w);
    return setNumber(r, KIND_INFINITY, signA, 0, TOP_BIT, 0);
  }
  noteDenormals(w);
  if (kindB == KIND_INFINITY) return setNumber(r, KIND_INFINITY, signB, 0, TOP_BIT, 0);
  const zeroSign = u32(load<u32>(w, W_ROUNDING) == ROUND_DOWN);
  if (kindA == KIND_ZERO) {
    if (kindB == KIND_ZERO) return setNumber(r, KIND_ZERO, signA == signB ? signA : zeroSign, 0, 0, 0);
    return setNumber(r, KIND_FINITE, signB, exponentOf(b), significandOf(b), load<u64>(b, N_LOW));
  }
  if (kindB == KIND_ZERO) return setNumber(r, KIND_FINITE, signA, exponentOf(a), significandOf(a), load<u64>(a, N_LOW));

  const swap = exponentOf(a) < exponentOf(b) || (exponentOf(a) == exponentOf(b)
    && (significandOf(a) < significandOf(b) || (significandOf(a) == significandOf(b) && load<u64>(a, N_LOW) < load<u64>(b, N_LOW))));
  const big = swap ? b : a, small = swap ? a : b;
  const sign = swap ? signB : signA;
  const exponent = exponentOf(big);
  copyNumber(r, small);
  shiftRightSticky(r, exponent - exponentOf(small));
  const high = significandOf(r), low = load<u64>(r, N_LOW);
  const bigLow = load<u64>(big, N_LOW);
  if (signA == signB) {
    let sumLow = bigLow + low;
    const carryLow = u64(sumLow < low);
    let sum = significandOf(big) + high;
    let carry = sum < high;
    sum += carryLow;
    carry = carry || (carryLow != 0 && sum == 0);
    if (carry) {
      sumLow = sumLow >> 1 | sum << 63 | sumLow & 1;
      setNumber(r, KIND_FINITE, sign, exponent + 1, sum >> 1 | TOP_BIT, sumLow);
    } else {
      setNumber(r, KIND_FINITE, sign, exponent, sum, sumLow);
    }
  } else {
    normalize(r, sign, exponent, significandOf(big) - high - u64(bigLow < low), bigLow - low, zeroSign);
  }
}

/** R := A * B for 64-bit significands. */
export function exactMultiply(w: usize): void {
  const a = w + W_A, b = w + W_B, r = w + W_R;
  const sign = signOf(a) ^ signOf(b);
  const kindA = kindOf(a), kindB = kindOf(b);
  if (kindA == KIND_INFINITY || kindB == KIND_INFINITY) {
    if (kindA == KIND_ZERO || kindB == KIND_ZERO) return invalidResult(w);
    noteDenormals(w);
    return setNumber(r, KIND_INFINITY, sign, 0, TOP_BIT, 0);
  }
  noteDenormals(w);
  if (kindA == KIND_ZERO || kindB == KIND_ZERO) return setNumber(r, KIND_ZERO, sign, 0, 0, 0);
  const x = significandOf(a), y = significandOf(b);
  normalize(r, sign, exponentOf(a) + exponentOf(b) + 1, multiplyHigh(x, y), x * y, 0);
}

/** R := A / B. */
export function exactDivide(w: usize): void {
  const a = w + W_A, b = w + W_B, r = w + W_R;
  const sign = signOf(a) ^ signOf(b);
  const kindA = kindOf(a), kindB = kindOf(b);
  if (kindA == KIND_INFINITY) {
    if (kindB == KIND_INFINITY) return invalidResult(w);
    noteDenormals(w);
    return setNumber(r, KIND_INFINITY, sign, 0, TOP_BIT, 0);
  }
  if (kindB == KIND_ZERO) {
    if (kindA == KIND_ZERO) return invalidResult(w);
    // No DE for a denormal dividend: processors report ZE alone.
    flag(w, ZE);
    return setNumber(r, KIND_INFINITY, sign, 0, TOP_BIT, 0);
  }
  noteDenormals(w);
  if (kindA == KIND_ZERO || kindB == KIND_INFINITY) return setNumber(r, KIND_ZERO, sign, 0, 0, 0);
  const x = significandOf(a), y = significandOf(b);
  // x / 2 < y, so both quotient digits fit.
  const high = divide128(x >> 1, x << 63, y);
  const rest = (x << 63) - high * y;
  let low = divide128(rest, 0, y);
  if (0 - low * y != 0) low |= 1;
  normalize(r, sign, exponentOf(a) - exponentOf(b), high, low, 0);
}

/** R := square root of A. */
export function exactSquareRoot(w: usize): void {
  const a = w + W_A, r = w + W_R;
  const kind = kindOf(a);
  if (kind == KIND_ZERO) return setNumber(r, KIND_ZERO, signOf(a), 0, 0, 0);
  if (signOf(a)) return invalidResult(w);
  noteDenormal(w);
  if (kind == KIND_INFINITY) return setNumber(r, KIND_INFINITY, 0, 0, TOP_BIT, 0);
  // Radicand high:low in [2^126, 2^128) with an even power of two left over; its root has 64 bits.
  const odd = exponentOf(a) & 1;
  const significand = significandOf(a);
  const high = odd ? significand : significand >> 1;
  const low = odd ? 0 : significand << 63;
  // 53 good bits from wasm's root, then one Newton step, then exact correction.
  const estimate = Math.sqrt(<f64>high) * 4294967296.0;
  let root: u64 = estimate >= 18446744073709551615.0 ? u64.MAX_VALUE : <u64>estimate;
  if (root <= high) root = u64.MAX_VALUE;
  const quotient = root <= high ? u64.MAX_VALUE : divide128(high, low, root);
  root = (root >> 1) + (quotient >> 1) + (root & quotient & 1);
  if (!(root >> 63)) root = TOP_BIT;
  let squareHigh = multiplyHigh(root, root), squareLow = root * root;
  while (squareHigh > high || (squareHigh == high && squareLow > low)) {
    root--;
    squareHigh = multiplyHigh(root, root);
    squareLow = root * root;
  }
  let restLow = low - squareLow;
  let restHigh = high - squareHigh - u64(low < squareLow);
  while (restHigh > 1 || (restHigh == 1 && restLow > root << 1)) {
    // rest -= 2 * root + 1
    const step = root << 1 | 1;
    restHigh = restHigh - (root >> 63) - u64(restLow < step);
    restLow -= step;
    root++;
  }
  // The fraction is more than a half when rest > root, and never a half.
  const fraction: u64 = (restHigh | restLow) == 0 ? 0 : restHigh || restLow > root ? TOP_BIT | 1 : 1;
  setNumber(r, KIND_FINITE, 0, exponentOf(a) >> 1, root, fraction);
}

/**
 * R := A - B * Q, exactly (SDM vol 2A FPREM, FPREM1).
 * @param nearest 0: Q truncated (FPREM); 1: Q rounded to nearest even (FPREM1).
 * @returns low 3 bits of Q, or bit 3 alone when the reduction is incomplete (C2).
 */
export function exactRemainder(w: usize, nearest: u32): u32 {
  const a = w + W_A, b = w + W_B, r = w + W_R;
  const kindA = kindOf(a), kindB = kindOf(b);
  if (kindA == KIND_INFINITY || kindB == KIND_ZERO) {
    invalidResult(w);
    return 0;
  }
  noteDenormals(w);
  const sign = signOf(a);
  if (kindA == KIND_ZERO) {
    setNumber(r, KIND_ZERO, sign, 0, 0, 0);
    return 0;
  }
  const difference = exponentOf(a) - exponentOf(b);
  if (kindB == KIND_INFINITY || difference < -1 || (difference < 0 && !nearest)) {
    copyNumber(r, a);
    return 0;
  }
  const x = significandOf(a), y = significandOf(b);
  if (difference >= 64) {
    // Intel reduces the exponent by 32 to 63 at a time.
    const step = difference & 31 | 32;
    const quotient = divide128(x >> (64 - step), x << step, y);
    normalize(r, sign, exponentOf(b) + difference - step, (x << step) - quotient * y, 0, sign);
    return 8;
  }
  let quotient: u64 = 0;
  let rest: u64 = x;
  if (difference == 0) {
    quotient = u64(x >= y);
    rest = x - (quotient ? y : 0);
  } else if (difference > 0) {
    quotient = divide128(x >> (64 - difference), x << difference, y);
    rest = (x << difference) - quotient * y;
  }
  if (difference < 0) {
    // A is in [B / 4, B): only the nearest quotient can be 1.
    if (x > y) {
      normalize(r, sign ^ 1, exponentOf(b), y - (x >> 1) - (x & 1), x << 63, sign);
      return 1;
    }
    copyNumber(r, a);
    return 0;
  }
  if (nearest) {
    const other = y - rest;
    if (rest > other || (rest == other && quotient & 1)) {
      normalize(r, sign ^ 1, exponentOf(b), other, 0, sign);
      return <u32>(quotient + 1) & 7;
    }
  }
  normalize(r, sign, exponentOf(b), rest, 0, sign);
  return <u32>quotient & 7;
}

/**
 * Compare A with B (no unsupported operands).
 * @returns 0 greater, 1 less, 2 equal, 3 unordered.
 */
export function relationOf(w: usize): u32 {
  const a = w + W_A, b = w + W_B;
  const kindA = kindOf(a), kindB = kindOf(b);
  if (kindA >= KIND_QNAN || kindB >= KIND_QNAN) return 3;
  if (kindA == KIND_ZERO && kindB == KIND_ZERO) return 2;
  const signA = signOf(a), signB = signOf(b);
  if (kindA == KIND_ZERO) return signB ? 0 : 1;
  if (kindB == KIND_ZERO || signA != signB) return signA;
  // Same sign: compare magnitudes.
  if (kindA == KIND_INFINITY || kindB == KIND_INFINITY) {
    if (kindA == kindB) return 2;
    return u32(kindA == KIND_INFINITY) ^ signA ^ 1;
  }
  const exponentA = exponentOf(a), exponentB = exponentOf(b);
  if (exponentA != exponentB) return u32(exponentA > exponentB) ^ signA ^ 1;
  const x = significandOf(a), y = significandOf(b);
  if (x == y) return 2;
  return u32(x > y) ^ signA ^ 1;
}

// --- rounding ---

/** Whether a fraction (of one unit in the last place, in units of 2^-64) rounds the magnitude up. */
@inline function roundsUp(mode: u32, sign: u32, fraction: u64, odd: u64): bool {
  if (mode == ROUND_NEAREST) return fraction > TOP_BIT || (fraction == TOP_BIT && odd != 0);
  if (mode == ROUND_DOWN) return fraction != 0 && sign != 0;
  if (mode == ROUND_UP) return fraction != 0 && sign == 0;
  return false;
}

/**
 * Round R to `precision` significant bits and the exponent range [minimum, maximum]; masked responses to overflow and underflow.
 * @param wrap what the exponent is changed by on an unmasked overflow or underflow (X87_WRAP for x87 registers; 0 where such a result is dropped).
 */
export function roundResult(w: usize, precision: i32, minimum: i32, maximum: i32, wrap: i32): void {
  const r = w + W_R;
  store<u32>(w, 0, W_ROUNDED_UP);
  if (kindOf(r) != KIND_FINITE) return;
  const mode = load<u32>(w, W_ROUNDING);
  const unmasked = load<u32>(w, W_UNMASKED);
  const sign = signOf(r);
  const shift: i32 = 64 - precision;
  const unit: u64 = (<u64>1) << shift;

  let exponent = exponentOf(r);
  let fraction = load<u64>(r, N_LOW);
  let kept = significandOf(r);
  if (shift) {
    fraction = kept << precision | u64(fraction != 0);
    kept = kept >> shift << shift;
  }
  let inexact = fraction != 0;
  let up = roundsUp(mode, sign, fraction, kept & unit);
  let rounded = kept + (up ? unit : 0);
  if (up && rounded == 0) {
    rounded = TOP_BIT;
    exponent++;
  }

  if (exponent < minimum) {
    if (unmasked & UE) {
      flag(w, UE);
      exponent += wrap;
      // Only FSCALE can be that small (SDM vol 2A FSCALE).
      if (wrap && exponent < minimum) {
        flag(w, PE);
        return setNumber(r, KIND_ZERO, sign, 0, 0, 0);
      }
    } else if (load<u32>(w, W_FLUSH)) {
      flag(w, UE | PE);
      return setNumber(r, KIND_ZERO, sign, 0, 0, 0);
    } else {
      const distance = minimum - exponentOf(r);
      exponent = minimum;
      shiftRightSticky(r, distance);
      fraction = load<u64>(r, N_LOW);
      kept = significandOf(r);
      if (shift) {
        fraction = kept << precision | u64(fraction != 0);
        kept = kept >> shift << shift;
      }
      inexact = fraction != 0;
      up = roundsUp(mode, sign, fraction, kept & unit);
      rounded = kept + (up ? unit : 0);
      if (inexact) flag(w, UE);
    }
  } else if (exponent > maximum) {
    flag(w, OE);
    const toInfinity = mode == ROUND_NEAREST || mode == (sign ? ROUND_DOWN : ROUND_UP);
    if (unmasked & OE) {
      exponent -= wrap;
      if (wrap && exponent > maximum) {
        flag(w, PE);
        store<u32>(w, 1, W_ROUNDED_UP);
        return setNumber(r, KIND_INFINITY, sign, 0, TOP_BIT, 0);
      }
    } else {
      flag(w, PE);
      store<u32>(w, u32(toInfinity), W_ROUNDED_UP);
      if (toInfinity) return setNumber(r, KIND_INFINITY, sign, 0, TOP_BIT, 0);
      return setNumber(r, KIND_FINITE, sign, maximum, 0 - unit, 0);
    }
  }
  if (inexact) flag(w, PE);
  store<u32>(w, u32(up), W_ROUNDED_UP);
  setNumber(r, rounded == 0 ? KIND_ZERO : KIND_FINITE, sign, exponent, rounded, 0);
}

export function roundToF32(w: usize): void { roundResult(w, 24, -126, 127, 0); }
export function roundToF64(w: usize): void { roundResult(w, 53, -1022, 1023, 0); }

/** @param precision 24, 53 or 64: precision control narrows the significand, not the exponent (SDM vol 1 8.1.5.2). */
export function roundToF80(w: usize, precision: i32): void { roundResult(w, precision, -16382, 16383, X87_WRAP); }

/**
 * The magnitude of A (finite or zero) rounded to an integer; PE and W_ROUNDED_UP tell of the rounding.
 * @returns the magnitude, or 2^64 - 1 with W_HIGH = 1 when it needs more than 64 bits.
 */
export function integerMagnitude(w: usize, mode: u32): u64 {
  const a = w + W_A;
  store<u64>(w, 0, W_HIGH);
  store<u32>(w, 0, W_ROUNDED_UP);
  if (kindOf(a) == KIND_ZERO) return 0;
  const exponent = exponentOf(a);
  if (exponent > 63) {
    store<u64>(w, 1, W_HIGH);
    return u64.MAX_VALUE;
  }
  const significand = significandOf(a);
  let kept: u64 = 0, fraction: u64 = 0;
  if (exponent == 63) kept = significand;
  else if (exponent >= 0) {
    kept = significand >> (63 - exponent);
    fraction = significand << (exponent + 1);
  } else if (exponent == -1) fraction = significand;
  else fraction = 1;
  if (fraction == 0) return kept;
  flag(w, PE);
  if (!roundsUp(mode, signOf(a), fraction, kept & 1)) return kept;
  store<u32>(w, 1, W_ROUNDED_UP);
  if (kept == u64.MAX_VALUE) store<u64>(w, 1, W_HIGH);
  return kept + 1;
}

/**
 * A as a signed integer of `width` bits (16, 32, 64); NaN or out of range: IE alone and the integer indefinite, the most negative number.
 */
export function toInteger(w: usize, width: i32, mode: u32): i64 {
  const a = w + W_A;
  const limit: u64 = (<u64>1) << (width - 1);
  if (kindOf(a) <= KIND_FINITE) {
    const magnitude = integerMagnitude(w, mode);
    const sign = signOf(a);
    if (!load<u64>(w, W_HIGH) && magnitude <= limit - 1 + sign) return sign ? <i64>(0 - magnitude) : <i64>magnitude;
  }
  store<u32>(w, flagsOf(w) & ~PE | IE, W_FLAGS);
  store<u32>(w, 0, W_ROUNDED_UP);
  return <i64>(0 - limit);
}

/** R := A rounded to an integral value in the same format (infinities and zeros unchanged). */
export function roundToIntegral(w: usize, mode: u32): void {
  const a = w + W_A, r = w + W_R;
  if (kindOf(a) != KIND_FINITE || exponentOf(a) >= 63) {
    store<u32>(w, 0, W_ROUNDED_UP);
    return copyNumber(r, a);
  }
  const magnitude = integerMagnitude(w, mode);
  normalize(r, signOf(a), 63, magnitude, 0, signOf(a));
}
