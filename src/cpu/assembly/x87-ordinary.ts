/**
 * x87 operations on ordinary numbers in straight code: normal 80-bit operands and a normal result, exceptions masked. Everything else is
 * refused before anything is written, and goes the exact way of softfloat.ts. Both ways give the same bits: a test compares them.
 * Implements: Intel SDM vol 1 4.8.4 Rounding, 8.1.3 x87 FPU Status Register (C1, PE), 8.3.5 Basic Arithmetic Instructions.
 * Runs on: the vCPU's own thread. Uses no work area.
 */
import {
  VCPU_FCW, VCPU_FIP, VCPU_FPR, VCPU_FPU_PENDING, VCPU_FSW, VCPU_FTW, VCPU_RIP, VCPU_SCRATCH,
} from '../../generated/vcpu-layout.ts';
import { PE, TOP_BIT, divide128, multiplyHigh } from './softfloat.ts';

const FSW_ES: u32 = 0x80, FSW_C1: u32 = 0x200, FSW_TOP: u32 = 0x3800;
/** Exception masks, precision and rounding control: all masked, 64 bits, nearest. */
const CONTROL_BITS: u32 = 0xf3f, CONTROL_ORDINARY: u32 = 0x33f, CONTROL_MASKS: u32 = 0x3f;
const EXPONENT: u32 = 0x7fff, SIGN: u32 = 0x8000, BIAS: i32 = 16383, LARGEST: i32 = 0x7ffe;
const BIAS_F64: i32 = 1023, BIAS_F32: i32 = 127;
export const STORE_UNDER_WAY: u32 = 0x80000000;

@inline function registerAt(vcpu: usize, fsw: u32, i: u32): usize { return vcpu + VCPU_FPR + (((fsw >> 11) + i & 7) << 4); }
@inline function isUsed(vcpu: usize, fsw: u32, i: u32): bool { return (load<u32>(vcpu, VCPU_FTW) >> ((fsw >> 11) + i & 7) & 1) != 0; }
@inline function isNormal(signExponent: u32, significand: u64): bool {
  return (signExponent & EXPONENT) - 1 < <u32>LARGEST && <i64>significand < 0;
}
@inline function isTrueZero(signExponent: u32, significand: u64): bool { return (signExponent & EXPONENT) == 0 && significand == 0; }
/** 0 where no exception is pending and both registers are in use. */
@inline function hinders(vcpu: usize, fsw: u32, i: u32, k: u32): u32 {
  const used = load<u32>(vcpu, VCPU_FTW), top = fsw >> 11, bothUsed = used >> (top + i & 7) & used >> (top + k & 7) & 1;
  return (fsw & FSW_ES) | (bothUsed ^ 1);
}
/** The same, and control is ordinary: one branch. */
@inline function isReady(vcpu: usize, fsw: u32, i: u32, k: u32): bool {
  return (hinders(vcpu, fsw, i, k) | (load<u32>(vcpu, VCPU_FCW) & CONTROL_BITS ^ CONTROL_ORDINARY)) == 0;
}

/** The instruction is done: FIP, C1 and flags, and a pop if there is one. */
@inline function retire(vcpu: usize, fsw: u32, flags: u32, pops: u32): void {
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RIP), VCPU_FIP);
  fsw = fsw & ~FSW_C1 | flags;
  if (pops) {
    store<u32>(vcpu, load<u32>(vcpu, VCPU_FTW) & ~(1 << (fsw >> 11 & 7)), VCPU_FTW);
    fsw = fsw & ~FSW_TOP | (fsw + 0x800) & FSW_TOP;
  }
  store<u32>(vcpu, fsw, VCPU_FSW);
}

/**
 * The register at `to` := x op y, rounded to nearest; then `pops` (0 or 1).
 * @param operation as in the opcodes: 0 add, 1 mul, 4 and 5 sub, 6 and 7 div; the caller has put reversed operands in order.
 * @param headX, headY bits 64..79 of the operands; x, y their significands
 * @returns false when operands or result are not ordinary
 */
@inline function arithmetic(vcpu: usize, fsw: u32, operation: u32, headX: u32, x: u64, headY: u32, y: u64, to: usize, pops: u32): bool {
  // One branch for all four.
  if (u32((headX & EXPONENT) - 1 < <u32>LARGEST) & u32((headY & EXPONENT) - 1 < <u32>LARGEST) & <u32>((x & y) >> 63) ^ 1) return false;
  let sign = headX & SIGN, exponent = <i32>(headX & EXPONENT), high: u64, low: u64;
  if (operation == 1) {
    sign ^= headY & SIGN;
    exponent += <i32>(headY & EXPONENT) - BIAS + 1;
    high = multiplyHigh(x, y);
    low = x * y;
    // What the operands decide at random is no branch, here and below.
    const shift = ~high >> 63;
    high = high << shift | low >> 63 & shift;
    low <<= shift;
    exponent -= <i32>shift;
  } else if (operation < 6) {
    const signY = (operation ? headY ^ SIGN : headY) & SIGN;
    let distance = exponent - <i32>(headY & EXPONENT), big = x, small = y;
    const differ = sign != signY;
    if (distance < 0 || (distance == 0 && x < y)) {
      big = y;
      small = x;
      sign = signY;
      exponent -= distance;
      distance = 0 - distance;
    }
    // The smaller one shifted to its place, with a sticky bit below.
    if (distance == 0) {
      high = small;
      low = 0;
    } else if (distance < 64) {
      high = small >> distance;
      low = small << (64 - distance);
    } else {
      high = 0;
      low = distance == 64 ? small : distance < 128 ? small >> (distance - 64) | u64(small << (128 - distance) != 0) : 1;
    }
    if (!differ) {
      high += big;
      const carry = u64(high < big);
      low = low >> carry | high << 63 & 0 - carry | low & carry;
      high = high >> carry | carry << 63;
      exponent += <i32>carry;
    } else {
      high = big - high - u64(low != 0);
      low = 0 - low;
      if (<i64>high >= 0) {
        if (high == 0) return false;      // a zero, or cancellation down to the last bits
        const shift = clz(high);
        high = high << shift | low >> (64 - shift);
        low <<= shift;
        exponent -= <i32>shift;
      }
    }
  } else {
    sign ^= headY & SIGN;
    exponent += BIAS - <i32>(headY & EXPONENT);
    let above = x, below: u64 = 0;
    if (x >= y) {
      above = x >> 1;
      below = x << 63;
    } else {
      exponent--;
    }
    high = divide128(above, below, y);
    // A quotient is never half way between two numbers: what counts is whether the rest is none, less or more than a half.
    const rest = below - high * y;
    low = rest == 0 ? 0 : rest > y >> 1 ? TOP_BIT | 1 : 1;
  }
  if (exponent < 1) return false;
  // More than a half, or a half and the last bit set.
  const up = u32(low > TOP_BIT - (high & 1)), flags: u32 = u32(low != 0) * PE | up * FSW_C1;
  high += up;
  if (high == 0) {
    high = TOP_BIT;
    exponent++;
  }
  if (exponent > LARGEST) return false;
  store<u64>(to, high);
  store<u16>(to, <u16>(sign | <u32>exponent), 8);
  retire(vcpu, fsw, flags, pops);
  return true;
}

@inline function isReversed(operation: u32): bool { return operation >= 4 && (operation & 1) != 0; }

/** ST(destination) := ST(destination) op ST(source); operations as in fpuArithmetic. @returns false when it is not ordinary. */
@inline export function ordinaryArithmetic(vcpu: usize, operation: u32, destination: u32, source: u32, pops: u32): bool {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if (!isReady(vcpu, fsw, destination, source)) return false;
  const to = registerAt(vcpu, fsw, destination), from = registerAt(vcpu, fsw, source);
  const x = isReversed(operation) ? from : to, y = isReversed(operation) ? to : from;
  return arithmetic(vcpu, fsw, operation, load<u16>(x, 8), load<u64>(x), load<u16>(y, 8), load<u64>(y), to, pops);
}

/** ST(0) := ST(0) op a number in pieces. */
export function ordinaryWithNumber(vcpu: usize, operation: u32, head: u32, significand: u64): bool {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if (!isReady(vcpu, fsw, 0, 0)) return false;
  const to = registerAt(vcpu, fsw, 0), top = <u32>load<u16>(to, 8), value = load<u64>(to), reversed = isReversed(operation);
  return arithmetic(vcpu, fsw, operation, reversed ? head : top, reversed ? significand : value, reversed ? top : head, reversed ? value : significand, to, 0);
}

// --- numbers of other formats in pieces; what is neither normal nor zero becomes exponent 0 with a significand, which is refused ---

@inline export function headOfF64(bits: u64): u32 {
  const exponent = <u32>(bits >> 52) & 0x7ff, sign = <u32>(bits >> 48) & SIGN;
  return exponent - 1 < 0x7fe ? sign | exponent + <u32>(BIAS - BIAS_F64) : sign;
}
@inline export function significandOfF64(bits: u64): u64 { return bits << 1 == 0 ? 0 : bits << 11 | TOP_BIT; }
@inline export function headOfF32(bits: u32): u32 {
  const exponent = bits >> 23 & 0xff, sign = bits >> 16 & SIGN;
  return exponent - 1 < 0xfe ? sign | exponent + <u32>(BIAS - BIAS_F32) : sign;
}
@inline export function significandOfF32(bits: u32): u64 { return bits << 1 == 0 ? 0 : <u64>bits << 40 | TOP_BIT; }
@inline export function headOfInteger(value: i64): u32 {
  const magnitude = value < 0 ? 0 - <u64>value : <u64>value;
  return value == 0 ? 0 : (value < 0 ? SIGN : 0) | <u32>(BIAS + 63 - <i32>clz(magnitude));
}
@inline export function significandOfInteger(value: i64): u64 {
  const magnitude = value < 0 ? 0 - <u64>value : <u64>value;
  return value == 0 ? 0 : magnitude << clz(magnitude);
}

@inline function isNormalOrZero(head: u32, significand: u64): bool { return isNormal(head, significand) || isTrueZero(head, significand); }

/** To the register above the top, which is empty. */
@inline function push(vcpu: usize, fsw: u32, head: u32, significand: u64): void {
  const to = registerAt(vcpu, fsw, 7);
  store<u64>(to, significand);
  store<u16>(to, <u16>head, 8);
  store<u32>(vcpu, load<u32>(vcpu, VCPU_FTW) | 1 << ((fsw >> 11) + 7 & 7), VCPU_FTW);
  retire(vcpu, fsw & ~FSW_TOP | (fsw - 0x800) & FSW_TOP, 0, 0);
}
/** Push a number of another format. */
export function ordinaryPush(vcpu: usize, head: u32, significand: u64): bool {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if ((fsw & FSW_ES) || !isNormalOrZero(head, significand) || isUsed(vcpu, fsw, 7)) return false;
  push(vcpu, fsw, head, significand);
  return true;
}

// --- register moves: any number. They are refused where a register is empty that should not be, or the reverse ---

/** FXCH ST(i). */
@inline export function ordinaryExchange(vcpu: usize, i: u32): bool {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if (hinders(vcpu, fsw, 0, i)) return false;
  const x = registerAt(vcpu, fsw, 0), y = registerAt(vcpu, fsw, i), significand = load<u64>(x), head = load<u16>(x, 8);
  store<u64>(x, load<u64>(y));
  store<u16>(x, load<u16>(y, 8), 8);
  store<u64>(y, significand);
  store<u16>(y, head, 8);
  retire(vcpu, fsw, 0, 0);
  return true;
}
/** FLD ST(i). */
@inline export function ordinaryCopy(vcpu: usize, i: u32): bool {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if (hinders(vcpu, fsw, i, i) || isUsed(vcpu, fsw, 7)) return false;
  const from = registerAt(vcpu, fsw, i);
  push(vcpu, fsw, load<u16>(from, 8), load<u64>(from));
  return true;
}
/** FST ST(i), FSTP ST(i). */
@inline export function ordinaryStore(vcpu: usize, i: u32, pops: u32): bool {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if (hinders(vcpu, fsw, 0, 0)) return false;
  const from = registerAt(vcpu, fsw, 0), to = registerAt(vcpu, fsw, i);
  store<u64>(to, load<u64>(from));
  store<u16>(to, load<u16>(from, 8), 8);
  store<u32>(vcpu, load<u32>(vcpu, VCPU_FTW) | 1 << ((fsw >> 11) + i & 7), VCPU_FTW);
  retire(vcpu, fsw, 0, pops);
  return true;
}

// --- comparisons ---

/** 0 x > y, 1 x < y, 2 equal; 3 where one is neither normal nor zero. */
function relation(headX: u32, x: u64, headY: u32, y: u64): u32 {
  if (!isNormalOrZero(headX, x) || !isNormalOrZero(headY, y)) return 3;
  if ((x | y) == 0) return 2;
  if ((headX ^ headY) & SIGN) return headX & SIGN ? 1 : 0;
  if (headX == headY && x == y) return 2;
  const smaller = headX == headY ? x < y : headX < headY;
  return u32(smaller != ((headX & SIGN) != 0));
}

/** ST(0) beside ST(source). @returns 3 when it is not ordinary, else the relation */
export function ordinaryRelation(vcpu: usize, source: u32): u32 {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if ((fsw & FSW_ES) || !isUsed(vcpu, fsw, 0) || !isUsed(vcpu, fsw, source)) return 3;
  const x = registerAt(vcpu, fsw, 0), y = registerAt(vcpu, fsw, source);
  return relation(load<u16>(x, 8), load<u64>(x), load<u16>(y, 8), load<u64>(y));
}

/** ST(0) beside a number in pieces. */
export function ordinaryRelationTo(vcpu: usize, head: u32, significand: u64): u32 {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  if ((fsw & FSW_ES) || !isUsed(vcpu, fsw, 0)) return 3;
  const x = registerAt(vcpu, fsw, 0);
  return relation(load<u16>(x, 8), load<u64>(x), head, significand);
}

// --- stores: they leave what fpuStoreCommit has to do in fpuPending, and allow the store in scratch[2] ---

@inline function allow(vcpu: usize, flags: u32): void {
  store<u32>(vcpu, STORE_UNDER_WAY | flags, VCPU_FPU_PENDING);
  store<u64>(vcpu, 1, VCPU_SCRATCH + 16);
}

/** ST(0) where it may be stored, as an address; 0 where it is not ordinary. */
@inline function storable(vcpu: usize, controlBits: u32, control: u32): usize {
  const fsw = load<u32>(vcpu, VCPU_FSW);
  return (fsw & FSW_ES) || (load<u32>(vcpu, VCPU_FCW) & controlBits) != control || !isUsed(vcpu, fsw, 0) ? 0 : registerAt(vcpu, fsw, 0);
}

/**
 * ST(0) as m64fp or m32fp: `fraction` bits after the point.
 * @returns its bits; all ones, a NaN and so no answer, when it is not ordinary
 */
@inline function storeFloat(vcpu: usize, fraction: u64, bias: i32, largest: i32): u64 {
  const at = storable(vcpu, CONTROL_BITS & ~0x300, CONTROL_ORDINARY & ~0x300);
  if (!at) return u64.MAX_VALUE;
  const head = <u32>load<u16>(at, 8), significand = load<u64>(at), sign = <u64>(head >> 15);
  const width = fraction + 1 + u64(bias == BIAS_F64 ? 10 : 7);
  if (isTrueZero(head, significand)) {
    allow(vcpu, 0);
    return sign << width;
  }
  let exponent = <i32>(head & EXPONENT) - BIAS + bias, flags: u32 = 0;
  if (!isNormal(head, significand) || exponent < 1) return u64.MAX_VALUE;
  let kept = significand >> (63 - fraction);
  const rest = significand << (fraction + 1);
  if (rest) {
    flags = PE;
    if (rest > TOP_BIT - (kept & 1)) {
      flags |= FSW_C1;
      if (++kept >> (fraction + 1)) {
        kept >>= 1;
        exponent++;
      }
    }
  }
  if (exponent > largest) return u64.MAX_VALUE;
  allow(vcpu, flags);
  return sign << width | <u64>exponent << fraction | kept & ((<u64>1 << fraction) - 1);
}
export function ordinaryF64(vcpu: usize): u64 { return storeFloat(vcpu, 52, BIAS_F64, 0x7fe); }
export function ordinaryF32(vcpu: usize): u64 { return storeFloat(vcpu, 23, BIAS_F32, 0xfe); }

/** ST(0) as a signed integer. @returns false when it is not ordinary; else the value is in scratch[0] */
export function ordinaryInteger(vcpu: usize, widthBits: u32, truncate: u32): bool {
  const at = storable(vcpu, CONTROL_MASKS, CONTROL_MASKS);
  if (!at) return false;
  const head = <u32>load<u16>(at, 8), significand = load<u64>(at), exponent = <i32>(head & EXPONENT) - BIAS;
  if (!isNormal(head, significand) || exponent < 0 || exponent > <i32>widthBits - 2) return false;
  let magnitude = significand >> (63 - exponent), flags: u32 = 0;
  const rest = significand << (exponent + 1), rounding = truncate ? 3 : load<u32>(vcpu, VCPU_FCW) >> 10 & 3, negative = (head & SIGN) != 0;
  if (rest) {
    flags = PE;
    const up = rounding == 0 ? rest > TOP_BIT - (magnitude & 1) : rounding == 1 ? negative : rounding == 2 ? !negative : false;
    if (up) {
      flags |= FSW_C1;
      magnitude++;
    }
  }
  if (magnitude >> (widthBits - 1)) return false;
  store<u64>(vcpu, negative ? 0 - magnitude : magnitude, VCPU_SCRATCH);
  allow(vcpu, flags);
  return true;
}
