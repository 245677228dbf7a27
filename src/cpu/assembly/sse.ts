/**
 * SSE floating point for any MXCSR: every rounding, every flag, unmasked exceptions, DAZ and FTZ.
 * Implements: Intel SDM vol 1 10.2.3 MXCSR, 11.5 SSE, SSE2, SSE3 Exceptions (11.5.2 conditions, 11.5.4 flags of packed operands), 4.8.3.5
 * Operating on SNaNs and QNaNs (table 4-7); vol 2 per instruction.
 * Runs on: the vCPU's own thread. These are the slow paths; handlers use wasm's arithmetic where it gives the same result.
 *
 * Operands are addresses in memory 0: registers in the vCPU record, memory operands and results for general registers in its scratch. `dst`
 * may be `first` or `second`, and is written only when nothing is raised. #XM is vector 19 (#UD while CR4.OSXMMEXCPT is clear);
 * MXCSR has its flags then, as on a processor: those of all lanes, and no OE UE PE when a pre-computation exception is unmasked.
 */
import { VCPU_CR4, VCPU_MXCSR, VCPU_SOFTFLOAT } from '../../generated/vcpu-layout.ts';
import { raise } from './raise.ts';
import {
  BEFORE, DE, IE, KIND_FINITE, KIND_INFINITY, KIND_SNAN, KIND_ZERO, N_DENORMAL, PE, TOP_BIT, W_A, W_B, W_DAZ, W_FLAGS, W_FLUSH, W_R, W_ROUNDING,
  W_TEMPORARY, W_UNMASKED, copyNumber, exactAdd, exactDivide, exactMultiply, exactSquareRoot, flag, flagsOf, isNan, kindOf, noteDenormal, packF32, packF64,
  propagateNan, propagateNan1, relationOf, roundToF32, roundToF64, roundToIntegral, setNumber, toInteger, unpackF32, unpackF64, unpackI64,
} from './softfloat.ts';
import { ordinaryLanes } from './sse-ordinary.ts';

const VECTOR_XM: u32 = 19;
const VECTOR_UD: u32 = 6;
const CR4_OSXMMEXCPT: u64 = 0x400;

// Operations, numbered as the low half of their opcode byte (0F 51..5F).
const SQUARE_ROOT: u32 = 1, ADD: u32 = 8, MULTIPLY: u32 = 9, SUBTRACT: u32 = 12, MINIMUM: u32 = 13, DIVIDE: u32 = 14, MAXIMUM: u32 = 15;

// Element types of conversions.
const TYPE_F32: u32 = 0, TYPE_F64: u32 = 1, TYPE_I32: u32 = 2;

function begin(vcpu: usize): usize {
  const w = vcpu + VCPU_SOFTFLOAT;
  const mxcsr = load<u32>(vcpu, VCPU_MXCSR);
  store<u32>(w, 0, W_FLAGS);
  store<u32>(w, mxcsr >> 13 & 3, W_ROUNDING);
  store<u32>(w, ~(mxcsr >> 7) & 0x3f, W_UNMASKED);
  store<u32>(w, mxcsr >> 15 & 1, W_FLUSH);
  store<u32>(w, mxcsr >> 6 & 1, W_DAZ);
  return w;
}

/** Set MXCSR's flags; raise when one is unmasked. @returns true when the destination may be written. */
function end(vcpu: usize): bool {
  const w = vcpu + VCPU_SOFTFLOAT;
  const flags = flagsOf(w);
  store<u32>(vcpu, load<u32>(vcpu, VCPU_MXCSR) | flags, VCPU_MXCSR);
  if (!(flags & load<u32>(w, W_UNMASKED))) return true;
  raise(vcpu, load<u64>(vcpu, VCPU_CR4) & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD, 0, 0);
  return false;
}

@inline function unpack(n: usize, double: bool, bits: u64, daz: u32): void {
  if (double) unpackF64(n, bits, daz);
  else unpackF32(n, <u32>bits, daz);
}

@inline function loadLane(address: usize, double: bool, i: u32): u64 {
  return double ? load<u64>(address + (i << 3)) : load<u32>(address + (i << 2));
}

@inline function storeLane(address: usize, double: bool, i: u32, bits: u64): void {
  if (double) store<u64>(address + (i << 3), bits);
  else store<u32>(address + (i << 2), <u32>bits);
}

/** Round R to the format, where `round`; pack it. */
function result(w: usize, double: bool, round: bool): u64 {
  if (!round) return 0;
  if (double) {
    roundToF64(w);
    return packF64(w + W_R);
  }
  roundToF32(w);
  return packF32(w + W_R);
}

/** MIN and MAX: the second operand when either is a NaN or both are zeros. */
function extremum(w: usize, maximum: bool, double: bool, x: u64, y: u64): u64 {
  const isUnordered = isNan(w + W_A) || isNan(w + W_B);
  if (isUnordered) flag(w, IE);
  else if (load<u32>(w + W_A, N_DENORMAL) | load<u32>(w + W_B, N_DENORMAL)) flag(w, DE);
  const relation = relationOf(w);
  const isFirst = !isUnordered && relation == (maximum ? 0 : 1);
  const chosen = w + (isFirst ? W_A : W_B);
  // With DAZ, a denormal has become a zero.
  if (kindOf(chosen) == KIND_ZERO) return double ? packF64(chosen) : packF32(chosen);
  return isFirst ? x : y;
}

/** One lane; exceptions gather in the work area. Without `round` only those before the computation. */
function lane(w: usize, operation: u32, double: bool, x: u64, y: u64, round: bool): u64 {
  const daz = load<u32>(w, W_DAZ);
  if (operation == SQUARE_ROOT) {
    unpack(w + W_A, double, y, daz);
    if (!propagateNan1(w)) exactSquareRoot(w);
    return result(w, double, round);
  }
  unpack(w + W_A, double, x, daz);
  unpack(w + W_B, double, y, daz);
  if (operation == MINIMUM || operation == MAXIMUM) return extremum(w, operation == MAXIMUM, double, x, y);
  if (!propagateNan(w, false)) {
    switch (operation) {
      case ADD: exactAdd(w, 0); break;
      case SUBTRACT: exactAdd(w, 1); break;
      case MULTIPLY: exactMultiply(w); break;
      default: exactDivide(w);
    }
  }
  return result(w, double, round);
}

@inline function unmaskedBefore(w: usize): bool { return (flagsOf(w) & load<u32>(w, W_UNMASKED) & BEFORE) != 0; }

/** The lanes' results went to the work area: write them if nothing was raised. */
function commit(vcpu: usize, w: usize, dst: usize, sizeBytes: u32): void {
  if (end(vcpu)) copyResult(w, dst, sizeBytes);
}

function copyResult(w: usize, dst: usize, sizeBytes: u32): void {
  for (let i: u32 = 0; i < sizeBytes; i += 4) store<u32>(dst + i, load<u32>(w + W_TEMPORARY + i));
}

function arithmetic(vcpu: usize, operation: u32, double: bool, dst: usize, first: usize, second: usize, lanes: u32): void {
  if (ordinaryLanes(vcpu, operation, double, dst, first, second, lanes)) return;
  const w = begin(vcpu);
  if (load<u32>(w, W_UNMASKED) & BEFORE) {
    for (let i: u32 = 0; i < lanes; i++) lane(w, operation, double, loadLane(first, double, i), loadLane(second, double, i), false);
    if (unmaskedBefore(w)) {
      end(vcpu);
      return;
    }
  }
  for (let i: u32 = 0; i < lanes; i++) {
    storeLane(w + W_TEMPORARY, double, i, lane(w, operation, double, loadLane(first, double, i), loadLane(second, double, i), true));
  }
  commit(vcpu, w, dst, lanes << (double ? 3 : 2));
}

/**
 * dst[i] := first[i] op second[i] for `lanes` f32 elements (1: scalar; the rest of dst stays).
 * @param operation low half of the opcode: 1 SQRT (of second), 8 ADD, 9 MUL, 12 SUB, 13 MIN, 14 DIV, 15 MAX.
 */
export function sseArithmeticF32(vcpu: usize, operation: u32, dst: usize, first: usize, second: usize, lanes: u32): void {
  arithmetic(vcpu, operation, false, dst, first, second, lanes);
}

/** The same for f64 elements. */
export function sseArithmeticF64(vcpu: usize, operation: u32, dst: usize, first: usize, second: usize, lanes: u32): void {
  arithmetic(vcpu, operation, true, dst, first, second, lanes);
}

/**
 * Adds and subtracts whose operands are arranged: lane i of dst is x(i) + y(i), or x(i) - y(i).
 * kind 0 ADDSUB: subtract in even lanes, add in odd ones; 1 HADD, 2 HSUB: neighbours of first, then of second.
 */
function pairwise(vcpu: usize, kind: u32, double: bool, dst: usize, first: usize, second: usize, lanes: u32): void {
  const w = begin(vcpu);
  const half = lanes >> 1;
  for (let pass = load<u32>(w, W_UNMASKED) & BEFORE ? 0 : 1; pass < 2; pass++) {
    for (let i: u32 = 0; i < lanes; i++) {
      let bits: u64;
      if (kind == 0) {
        bits = lane(w, i & 1 ? ADD : SUBTRACT, double, loadLane(first, double, i), loadLane(second, double, i), pass == 1);
      } else {
        const from = i < half ? first : second;
        const at = (i < half ? i : i - half) << 1;
        bits = lane(w, kind == 1 ? ADD : SUBTRACT, double, loadLane(from, double, at), loadLane(from, double, at + 1), pass == 1);
      }
      if (pass == 1) storeLane(w + W_TEMPORARY, double, i, bits);
    }
    if (pass == 0 && unmaskedBefore(w)) {
      end(vcpu);
      return;
    }
  }
  commit(vcpu, w, dst, 16);
}

/** ADDSUBPS (kind 0), HADDPS (1), HSUBPS (2). */
export function ssePairwiseF32(vcpu: usize, kind: u32, dst: usize, first: usize, second: usize): void {
  pairwise(vcpu, kind, false, dst, first, second, 4);
}

/** ADDSUBPD (kind 0), HADDPD (1), HSUBPD (2). */
export function ssePairwiseF64(vcpu: usize, kind: u32, dst: usize, first: usize, second: usize): void {
  pairwise(vcpu, kind, true, dst, first, second, 2);
}

// --- compare ---

/** Truth of a predicate 0..15 (SDM vol 2A CMPPD table 3-1): bit r for relation r (0 greater, 1 less, 2 equal, 3 unordered), four bits each. */
const PREDICATES: u64 = 0xf153_0eac_79db_8624;
/** Bit p: predicate p signals IE for a QNaN too; predicates 16..31 are 0..15 with that exchanged. */
const SIGNALLING: u32 = 0x9999_6666;

/** Relation of A and B with the flags that it brings. */
function compare(w: usize, double: bool, x: u64, y: u64, quiet: bool): u32 {
  const daz = load<u32>(w, W_DAZ);
  const a = w + W_A, b = w + W_B;
  unpack(a, double, x, daz);
  unpack(b, double, y, daz);
  if (isNan(a) || isNan(b)) {
    if (!quiet || kindOf(a) == KIND_SNAN || kindOf(b) == KIND_SNAN) flag(w, IE);
    return 3;
  }
  if (load<u32>(a, N_DENORMAL) | load<u32>(b, N_DENORMAL)) flag(w, DE);
  return relationOf(w);
}

function compareLanes(vcpu: usize, predicate: u32, double: bool, dst: usize, first: usize, second: usize, lanes: u32): void {
  const w = begin(vcpu);
  const truth = <u32>(PREDICATES >> ((predicate & 15) << 2)) & 15;
  const quiet = !(SIGNALLING >> (predicate & 31) & 1);
  for (let i: u32 = 0; i < lanes; i++) {
    const relation = compare(w, double, loadLane(first, double, i), loadLane(second, double, i), quiet);
    storeLane(w + W_TEMPORARY, double, i, truth >> relation & 1 ? u64.MAX_VALUE : 0);
  }
  commit(vcpu, w, dst, lanes << (double ? 3 : 2));
}

/** CMPPS, CMPSS: all ones or zeros. @param predicate 0..7 (the whole immediate's low 3 bits); 0..31 for VEX forms. */
export function sseCompareF32(vcpu: usize, predicate: u32, dst: usize, first: usize, second: usize, lanes: u32): void {
  compareLanes(vcpu, predicate, false, dst, first, second, lanes);
}

/** CMPPD, CMPSD. */
export function sseCompareF64(vcpu: usize, predicate: u32, dst: usize, first: usize, second: usize, lanes: u32): void {
  compareLanes(vcpu, predicate, true, dst, first, second, lanes);
}

function compareFlags(vcpu: usize, quiet: u32, double: bool, x: u64, y: u64): u32 {
  const relation = compare(begin(vcpu), double, x, y, quiet != 0);
  end(vcpu);
  return relation == 0 ? 0 : relation == 1 ? 1 : relation == 2 ? 0x40 : 0x45;
}

/** COMISS, and UCOMISS with quiet = 1, on the operands' bits. @returns CF PF AF ZF SF OF as they shall be */
export function sseCompareFlagsF32(vcpu: usize, quiet: u32, first: u32, second: u32): u32 { return compareFlags(vcpu, quiet, false, first, second); }

/** COMISD, and UCOMISD with quiet = 1. */
export function sseCompareFlagsF64(vcpu: usize, quiet: u32, first: u64, second: u64): u32 { return compareFlags(vcpu, quiet, true, first, second); }

// --- conversions ---

/** One element; without `round` only the exceptions before the computation. */
function convertLane(w: usize, from: u32, to: u32, truncate: u32, bits: u64, round: bool): u64 {
  const a = w + W_A;
  if (from >= TYPE_I32) unpackI64(a, from == TYPE_I32 ? <i64><i32>bits : <i64>bits);
  else unpack(a, from == TYPE_F64, bits, load<u32>(w, W_DAZ));
  if (to >= TYPE_I32) {
    // No DE: SDM vol 2 CVTSD2SI lists invalid and precision alone.
    const earlier = flagsOf(w);
    const value = <u64>toInteger(w, to == TYPE_I32 ? 32 : 64, truncate ? 3 : load<u32>(w, W_ROUNDING));
    flag(w, earlier);
    return value;
  }
  if (!propagateNan1(w)) {
    noteDenormal(w);
    copyNumber(w + W_R, a);
  }
  return result(w, to == TYPE_F64, round);
}

/**
 * dst[i] := src[i] converted. For packed forms that fill only half of dst the caller clears the other half.
 * @param types source type | destination type << 2, of 0 f32, 1 f64, 2 i32, 3 i64.
 * @param truncate 1 for the CVTT forms, else MXCSR rounds. NaN or out of range to an integer: IE and the most negative number.
 */
export function sseConvert(vcpu: usize, types: u32, truncate: u32, dst: usize, src: usize, lanes: u32): void {
  const w = begin(vcpu);
  const from = types & 3, to = types >> 2 & 3;
  for (let pass = load<u32>(w, W_UNMASKED) & BEFORE ? 0 : 1; pass < 2; pass++) {
    for (let i: u32 = 0; i < lanes; i++) {
      const bits = convertLane(w, from, to, truncate, loadLane(src, (from & 1) != 0, i), pass == 1);
      if (pass == 1) storeLane(w + W_TEMPORARY, (to & 1) != 0, i, bits);
    }
    if (pass == 0) {
      // Of a conversion to an integer only IE comes before the computation.
      const before = flagsOf(w) & BEFORE;
      store<u32>(w, before, W_FLAGS);
      if (before & load<u32>(w, W_UNMASKED)) {
        end(vcpu);
        return;
      }
    }
  }
  commit(vcpu, w, dst, lanes << ((to & 1) ? 3 : 2));
}

/**
 * CVT(T)SS2SI, CVT(T)SD2SI: the integer for a general register.
 * @param double 1 when `bits` is an f64, 0 when its low half is an f32.
 * @param wide 1: 64-bit integer, 0: 32-bit (zero-extended).
 */
export function sseToInteger(vcpu: usize, double: u32, wide: u32, truncate: u32, bits: u64): u64 {
  const w = begin(vcpu);
  const value = convertLane(w, double, TYPE_I32 + wide, truncate, bits, true);
  end(vcpu);
  return wide ? value : value & 0xffffffff;
}

// --- rounding to integral values ---

function roundLanes(vcpu: usize, control: u32, double: bool, dst: usize, src: usize, lanes: u32): void {
  const w = begin(vcpu);
  const mode = control & 4 ? load<u32>(w, W_ROUNDING) : control & 3;
  for (let i: u32 = 0; i < lanes; i++) {
    unpack(w + W_A, double, loadLane(src, double, i), load<u32>(w, W_DAZ));
    if (!propagateNan1(w)) roundToIntegral(w, mode);
    storeLane(w + W_TEMPORARY, double, i, double ? packF64(w + W_R) : packF32(w + W_R));
  }
  // Bit 3: no precision exception.
  if (control & 8) store<u32>(w, flagsOf(w) & ~PE, W_FLAGS);
  if (unmaskedBefore(w)) store<u32>(w, flagsOf(w) & BEFORE, W_FLAGS);
  commit(vcpu, w, dst, lanes << (double ? 3 : 2));
}

/** ROUNDPS, ROUNDSS. @param control the immediate: bits 0-1 rounding, bit 2 MXCSR's instead, bit 3 no PE. */
export function sseRoundF32(vcpu: usize, control: u32, dst: usize, src: usize, lanes: u32): void { roundLanes(vcpu, control, false, dst, src, lanes); }

/** ROUNDPD, ROUNDSD. */
export function sseRoundF64(vcpu: usize, control: u32, dst: usize, src: usize, lanes: u32): void { roundLanes(vcpu, control, true, dst, src, lanes); }

// --- dot products ---

/** What follows a step: false when an exception so far is unmasked; the later steps are not looked at then. */
@inline function stepDone(w: usize): bool { return (flagsOf(w) & load<u32>(w, W_UNMASKED)) == 0; }

/** Temporary lanes 0.. := products of the lanes that the immediate's bits 4.. select, else +0. @returns false on an unmasked exception. */
function products(w: usize, immediate: u32, double: bool, first: usize, second: usize, lanes: u32): bool {
  for (let pass = load<u32>(w, W_UNMASKED) & BEFORE ? 0 : 1; pass < 2; pass++) {
    for (let i: u32 = 0; i < lanes; i++) {
      const bits = immediate >> (4 + i) & 1 ? lane(w, MULTIPLY, double, loadLane(first, double, i), loadLane(second, double, i), pass == 1) : 0;
      if (pass == 1) storeLane(w + W_TEMPORARY, double, i, bits);
    }
    if (!stepDone(w)) return false;
  }
  return true;
}

/** x + y without what comes after the computation, when that has an unmasked exception before it. */
function sum(w: usize, double: bool, x: u64, y: u64): u64 {
  lane(w, ADD, double, x, y, false);
  return stepDone(w) ? lane(w, ADD, double, x, y, true) : 0;
}

/**
 * DPPS. Products of the lanes that bits 4-7 of the immediate select, summed in pairs, each step rounded, to the lanes of bits 0-3.
 * SDM vol 2A DPPS: the exceptions of one step are seen before those of the next. Which of several NaNs comes out is as on processors.
 */
export function sseDotProductF32(vcpu: usize, immediate: u32, dst: usize, first: usize, second: usize): void {
  const w = begin(vcpu);
  const t = w + W_TEMPORARY;
  if (products(w, immediate, false, first, second, 4)) {
    // Every lane adds its neighbour, then its opposite: the values agree, but the first NaN of each order wins.
    const u = t + 16;
    for (let i: u32 = 0; i < 4 && stepDone(w); i++) {
      store<u32>(u + (i << 2), <u32>sum(w, false, load<u32>(t + ((i ^ 1) << 2)), load<u32>(t + (i << 2))));
    }
    if (stepDone(w)) {
      for (let i: u32 = 0; i < 4; i++) {
        const total = <u32>sum(w, false, load<u32>(u + (i << 2)), load<u32>(u + ((i ^ 2) << 2)));
        store<u32>(t + (i << 2), immediate >> i & 1 ? total : 0);
      }
    }
  }
  commit(vcpu, w, dst, 16);
}

/** DPPD: bits 4-5 select products, bits 0-1 destinations. */
export function sseDotProductF64(vcpu: usize, immediate: u32, dst: usize, first: usize, second: usize): void {
  const w = begin(vcpu);
  const t = w + W_TEMPORARY;
  if (products(w, immediate, true, first, second, 2)) {
    const x = load<u64>(t), y = load<u64>(t, 8);
    const lower = sum(w, true, x, y), upper = sum(w, true, y, x);
    store<u64>(t, immediate & 1 ? lower : 0);
    store<u64>(t, immediate & 2 ? upper : 0, 8);
  }
  commit(vcpu, w, dst, 16);
}

// --- reciprocal estimates: the exact value rounded, which is within the 1.5 * 2^-12 that is asked for ---

function estimate(w: usize, squareRoot: u32, bits: u32): u32 {
  const a = w + W_A, r = w + W_R;
  // Denormals count as zeros, whatever MXCSR says (SDM vol 2B RCPPS, RSQRTPS).
  unpackF32(a, bits, 1);
  if (propagateNan1(w)) return packF32(r);
  const sign = bits & 0x80000000;
  if (kindOf(a) == KIND_ZERO) return sign | 0x7f800000;
  if (squareRoot && sign) return 0xffc00000;
  if (kindOf(a) == KIND_INFINITY) return sign;
  if (squareRoot) {
    exactSquareRoot(w);
    copyNumber(a, r);
  }
  copyNumber(w + W_B, a);
  setNumber(a, KIND_FINITE, 0, 0, TOP_BIT, 0);
  exactDivide(w);
  return <u32>result(w, false, true);
}

/** RCPPS, RCPSS (squareRoot = 0), RSQRTPS, RSQRTSS (1). Raises nothing and sets no flag. */
export function sseReciprocal(vcpu: usize, squareRoot: u32, dst: usize, src: usize, lanes: u32): void {
  const w = vcpu + VCPU_SOFTFLOAT;
  store<u32>(w, 0, W_ROUNDING);
  store<u32>(w, 0, W_UNMASKED);
  store<u32>(w, 1, W_FLUSH);
  for (let i: u32 = 0; i < lanes; i++) store<u32>(w + W_TEMPORARY + (i << 2), estimate(w, squareRoot, load<u32>(src + (i << 2))));
  copyResult(w, dst, lanes << 2);
}
