/**
 * The x87 FPU: registers, status, and every instruction as a helper over the vCPU record. Images and MMX: x87-state.ts.
 * Implements: Intel SDM vol 1 8 Programming with the x87 FPU (8.1.8 pointers, 8.5 exceptions, 8.6 synchronization), vol 2 F*.
 * Runs on: the vCPU's own thread. FCS and FDS read 0, FDP and FOP change on unmasked exceptions only, as processors say by
 * CPUID.7.0:EBX[13] and [6] and by fopcode compatibility mode being off.
 *
 * Rules for the handlers that call in:
 * - `vcpu.rip` must name the instruction (`rip: true`); `fpuOpcode` is stored before the call (11 bits: low 3 of the first byte, then the second),
 *   `fpuOperand` too for forms with a memory operand. Both reach FOP and FDP with an unmasked exception.
 * - A waiting helper raises #MF when the status word's ES is set. `fpuWait` alone lets memory forms do so before they touch memory.
 * - Memory sources are passed as values: m32/m16 in an i32, m64 in an i64, m80 in scratch[0..1].
 * - A store is split: `fpuStore...Value` returns the bits (m80: scratch[0..1]) and leaves 1 in scratch[2] when memory is to be written; then the
 *   handler stores, and only after that calls `fpuStoreCommit(vcpu, pops)`. With scratch[2] = 0 (an unmasked exception) it skips both:
 *   memory and stack stay as they are, the status is already set.
 * - Register numbers are relative to TOP.
 */
import {
  VCPU_FAULT, VCPU_FCW, VCPU_FDP, VCPU_FIP, VCPU_FOP, VCPU_FPR, VCPU_FPU_OPCODE, VCPU_FPU_OPERAND, VCPU_FPU_PENDING, VCPU_FSW, VCPU_FTW, VCPU_RIP, VCPU_SCRATCH,
  VCPU_SOFTFLOAT,
} from '../../generated/vcpu-layout.ts';
import { raise } from './raise.ts';
import {
  BEFORE, DE, IE, INDEFINITE, KIND_FINITE, KIND_INFINITY, KIND_QNAN, KIND_SNAN, KIND_UNSUPPORTED, KIND_ZERO, N_DENORMAL, N_SIGN, OE, PE, ROUND_ZERO,
  TOP_BIT, UE, W_A, W_B, W_DAZ, W_FLAGS, W_FLUSH, W_R, W_ROUNDED_UP, W_ROUNDING, W_UNMASKED, ZE, copyNumber, exactAdd, exactDivide, exactMultiply,
  exactRemainder, exactSquareRoot, exponentOf, flag, flagsOf, integerMagnitude, invalidResult, kindOf, noteDenormal, packF32, packF64,
  packF80Exponent, packF80Significand, propagateNan, propagateNan1, relationOf, roundToF32, roundToF64, roundToF80, roundToIntegral, setNumber,
  signOf, significandOf, toInteger, unpackF32, unpackF64, unpackF80, unpackI64,
} from './softfloat.ts';
import {
  STORE_UNDER_WAY, headOfF32, headOfF64, headOfInteger, ordinaryArithmetic, ordinaryCopy, ordinaryExchange, ordinaryF32, ordinaryF64, ordinaryInteger, ordinaryPush, ordinaryRelation,
  ordinaryRelationTo, ordinaryStore, ordinaryWithNumber, significandOfF32, significandOfF64, significandOfInteger,
} from './x87-ordinary.ts';
import { arcTangent, cosine, exponentialMinus1, logarithm, logarithmPlus1, sine, tangent } from './x87-transcendental.ts';

export const FSW_SF: u32 = 0x40, FSW_ES: u32 = 0x80, FSW_C0: u32 = 0x100, FSW_C1: u32 = 0x200, FSW_C2: u32 = 0x400, FSW_C3: u32 = 0x4000;
export const FSW_BUSY: u32 = 0x8000, FSW_TOP: u32 = 0x3800, FSW_CODES: u32 = 0x4700;
const VECTOR_MF: u32 = 16;

// Operations of D8..DE, numbered as in the ModRM byte's reg field.
const ADD: u32 = 0, MULTIPLY: u32 = 1, SUBTRACT: u32 = 4, SUBTRACT_REVERSE: u32 = 5, DIVIDE: u32 = 6, DIVIDE_REVERSE: u32 = 7;

// --- registers and status ---

@inline function fswOf(vcpu: usize): u32 { return load<u32>(vcpu, VCPU_FSW); }
@inline function setFsw(vcpu: usize, value: u32): void { store<u32>(vcpu, value, VCPU_FSW); }
@inline function physical(vcpu: usize, i: u32): u32 { return ((fswOf(vcpu) >> 11) + i) & 7; }
@inline function registerOf(vcpu: usize, i: u32): usize { return vcpu + VCPU_FPR + (physical(vcpu, i) << 4); }
@inline function isEmpty(vcpu: usize, i: u32): bool { return !(load<u32>(vcpu, VCPU_FTW) >> physical(vcpu, i) & 1); }
@inline function work(vcpu: usize): usize { return vcpu + VCPU_SOFTFLOAT; }

function unpackRegister(vcpu: usize, i: u32, n: usize): void {
  const register = registerOf(vcpu, i);
  unpackF80(n, load<u16>(register, 8), load<u64>(register));
}

/** ST(i) := the 80 bits; its tag becomes valid. */
function writeRegister(vcpu: usize, i: u32, signExponent: u32, significand: u64): void {
  const register = registerOf(vcpu, i);
  store<u64>(register, significand);
  store<u16>(register, <u16>signExponent, 8);
  store<u32>(vcpu, load<u32>(vcpu, VCPU_FTW) | 1 << physical(vcpu, i), VCPU_FTW);
}

function writeResult(vcpu: usize, i: u32): void {
  const r = work(vcpu) + W_R;
  writeRegister(vcpu, i, packF80Exponent(r), packF80Significand(r));
}

/** ST(i) := A, where R is it: a value that was not computed, so that no underflow is to be seen. */
function writeDenormalized(vcpu: usize, i: u32): void {
  const w = work(vcpu);
  store<u32>(w, load<u32>(w, W_UNMASKED) & ~UE, W_UNMASKED);
  roundToF80(w, 64);
  writeResult(vcpu, i);
}

function pop(vcpu: usize, pops: u32): void {
  for (; pops > 0; pops--) {
    store<u32>(vcpu, load<u32>(vcpu, VCPU_FTW) & ~(1 << physical(vcpu, 0)), VCPU_FTW);
    const fsw = fswOf(vcpu);
    setFsw(vcpu, fsw & ~FSW_TOP | (fsw + 0x800) & FSW_TOP);
  }
}

function decrementTop(vcpu: usize): void {
  const fsw = fswOf(vcpu);
  setFsw(vcpu, fsw & ~FSW_TOP | (fsw - 0x800) & FSW_TOP);
}

/** Set ES and B when a flag's exception is unmasked, clear them when none is (SDM vol 1 8.1.3.3). */
export function fpuUpdateSummary(vcpu: usize): void {
  const fsw = fswOf(vcpu);
  const pending = fsw & ~load<u32>(vcpu, VCPU_FCW) & 0x3f;
  setFsw(vcpu, pending ? fsw | FSW_ES | FSW_BUSY : fsw & ~(FSW_ES | FSW_BUSY));
}

/** Add flags to the status word. @returns the unmasked ones among them. */
function signal(vcpu: usize, flags: u32): u32 {
  const unmasked = flags & ~load<u32>(vcpu, VCPU_FCW) & 0x3f;
  let fsw = fswOf(vcpu) | flags;
  if (unmasked) {
    fsw |= FSW_ES | FSW_BUSY;
    store<u32>(vcpu, load<u32>(vcpu, VCPU_FPU_OPCODE) & 0x7ff, VCPU_FOP);
    store<u64>(vcpu, load<u64>(vcpu, VCPU_FPU_OPERAND), VCPU_FDP);
  }
  setFsw(vcpu, fsw);
  return unmasked;
}

/** Set up the work area. @returns true when a pending exception raised #MF instead. */
function prepare(vcpu: usize): bool {
  if (fswOf(vcpu) & FSW_ES) {
    raise(vcpu, VECTOR_MF, 0, 0);
    return true;
  }
  const w = work(vcpu);
  const fcw = load<u32>(vcpu, VCPU_FCW);
  store<u32>(w, 0, W_FLAGS);
  store<u32>(w, fcw >> 10 & 3, W_ROUNDING);
  store<u32>(w, ~fcw & 0x3f, W_UNMASKED);
  store<u32>(w, 0, W_FLUSH);
  store<u32>(w, 0, W_DAZ);
  store<u32>(w, 0, W_ROUNDED_UP);
  return false;
}

/** Begin an instruction with registers alone: #MF, or FIP set and C1 clear. Its exceptions leave FDP as it is. */
function begin(vcpu: usize): bool {
  store<u64>(vcpu, load<u64>(vcpu, VCPU_FDP), VCPU_FPU_OPERAND);
  return beginWithOperand(vcpu);
}

/** Begin an instruction that computes nothing: no work area. */
function beginMove(vcpu: usize): bool {
  if (fswOf(vcpu) & FSW_ES) {
    raise(vcpu, VECTOR_MF, 0, 0);
    return true;
  }
  store<u64>(vcpu, load<u64>(vcpu, VCPU_FDP), VCPU_FPU_OPERAND);
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RIP), VCPU_FIP);
  setFsw(vcpu, fswOf(vcpu) & ~FSW_C1);
  return false;
}

/** The same for the instructions which leave C1 alone (FCOMI, FCMOV, FNOP). */
function beginKeepingC1(vcpu: usize): bool {
  const c1 = fswOf(vcpu) & FSW_C1;
  if (begin(vcpu)) return true;
  setFsw(vcpu, fswOf(vcpu) | c1);
  return false;
}

/** Begin an instruction with a memory source, whose address is in fpuOperand. */
function beginWithOperand(vcpu: usize): bool {
  if (prepare(vcpu)) return true;
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RIP), VCPU_FIP);
  setFsw(vcpu, fswOf(vcpu) & ~FSW_C1);
  return false;
}

@inline function unmaskedBefore(w: usize): bool { return (flagsOf(w) & load<u32>(w, W_UNMASKED) & BEFORE) != 0; }

/** Move the work area's flags and C1 into the status word. */
function settle(vcpu: usize): void {
  const w = work(vcpu);
  if (load<u32>(w, W_ROUNDED_UP)) setFsw(vcpu, fswOf(vcpu) | FSW_C1);
  signal(vcpu, flagsOf(w));
}

/** IE and SF, C1 = overflow (SDM vol 1 8.5.1.1). @returns whether it is masked. */
function stackFault(vcpu: usize, overflow: u32): bool {
  const fsw = fswOf(vcpu);
  setFsw(vcpu, overflow ? fsw | FSW_C1 : fsw & ~FSW_C1);
  return !signal(vcpu, IE | FSW_SF);
}

@inline function writeIndefinite(vcpu: usize, i: u32): void { writeRegister(vcpu, i, 0xffff, INDEFINITE); }

function precisionOf(vcpu: usize): i32 {
  const control = load<u32>(vcpu, VCPU_FCW) >> 8 & 3;
  return control == 0 ? 24 : control == 2 ? 53 : 64;
}

/** Round R for a register and write it, unless a pre-computation exception is unmasked; then pop. */
function finish(vcpu: usize, destination: u32, precision: i32, pops: u32): void {
  const w = work(vcpu);
  if (!unmaskedBefore(w)) {
    roundToF80(w, precision);
    writeResult(vcpu, destination);
    settle(vcpu);
    pop(vcpu, pops);
  } else {
    store<u32>(w, flagsOf(w) & BEFORE, W_FLAGS);
    settle(vcpu);
  }
}

/** FWAIT, and FNOP: raise #MF when an exception is pending. */
export function fpuWait(vcpu: usize): void {
  if (fswOf(vcpu) & FSW_ES) raise(vcpu, VECTOR_MF, 0, 0);
}

export function fpuNop(vcpu: usize): void {
  beginKeepingC1(vcpu);
}

// --- basic arithmetic (FADD FSUB FSUBR FMUL FDIV FDIVR and their P and I forms) ---

@inline function isReversed(operation: u32): bool { return operation == SUBTRACT_REVERSE || operation == DIVIDE_REVERSE; }

function compute(w: usize, operation: u32): void {
  if (propagateNan(w, true)) return;
  switch (operation) {
    case ADD: return exactAdd(w, 0);
    case MULTIPLY: return exactMultiply(w);
    case SUBTRACT: case SUBTRACT_REVERSE: return exactAdd(w, 1);
    default: return exactDivide(w);
  }
}

/**
 * ST(destination) := ST(destination) op ST(source), then pop.
 * @param operation 0 add, 1 mul, 4 sub, 5 subr (source - destination), 6 div, 7 divr.
 */
export function fpuArithmetic(vcpu: usize, operation: u32, destination: u32, source: u32, pops: u32): void {
  if (ordinaryArithmetic(vcpu, operation, destination, source, pops)) return;
  if (begin(vcpu)) return;
  if (isEmpty(vcpu, destination) || isEmpty(vcpu, source)) {
    if (stackFault(vcpu, 0)) {
      writeIndefinite(vcpu, destination);
      pop(vcpu, pops);
    }
    return;
  }
  const w = work(vcpu);
  const reversed = isReversed(operation);
  unpackRegister(vcpu, destination, w + (reversed ? W_B : W_A));
  unpackRegister(vcpu, source, w + (reversed ? W_A : W_B));
  compute(w, operation);
  finish(vcpu, destination, precisionOf(vcpu), pops);
}

/** Begin ST(0) := ST(0) op memory. @returns whether the instruction is over: #MF, or an empty ST(0). */
function beginMemoryForm(vcpu: usize): bool {
  if (beginWithOperand(vcpu)) return true;
  if (!isEmpty(vcpu, 0)) return false;
  if (stackFault(vcpu, 0)) writeIndefinite(vcpu, 0);
  return true;
}

@inline function memorySide(vcpu: usize, operation: u32): usize { return work(vcpu) + (isReversed(operation) ? W_A : W_B); }

function finishMemoryForm(vcpu: usize, operation: u32): void {
  const w = work(vcpu);
  unpackRegister(vcpu, 0, w + (isReversed(operation) ? W_B : W_A));
  compute(w, operation);
  finish(vcpu, 0, precisionOf(vcpu), 0);
}

/** ST(0) := ST(0) op m32fp; operations as in fpuArithmetic. */
export function fpuArithmeticF32(vcpu: usize, operation: u32, bits: u32): void {
  if (ordinaryWithNumber(vcpu, operation, headOfF32(bits), significandOfF32(bits))) return;
  if (beginMemoryForm(vcpu)) return;
  unpackF32(memorySide(vcpu, operation), bits, 0);
  finishMemoryForm(vcpu, operation);
}

/** ST(0) := ST(0) op m64fp. */
export function fpuArithmeticF64(vcpu: usize, operation: u32, bits: u64): void {
  if (ordinaryWithNumber(vcpu, operation, headOfF64(bits), significandOfF64(bits))) return;
  if (beginMemoryForm(vcpu)) return;
  unpackF64(memorySide(vcpu, operation), bits, 0);
  finishMemoryForm(vcpu, operation);
}

/** ST(0) := ST(0) op m16int (sign-extended) or m32int. */
export function fpuArithmeticI32(vcpu: usize, operation: u32, value: i32): void {
  if (ordinaryWithNumber(vcpu, operation, headOfInteger(value), significandOfInteger(value))) return;
  if (beginMemoryForm(vcpu)) return;
  unpackI64(memorySide(vcpu, operation), value);
  finishMemoryForm(vcpu, operation);
}

// --- compare ---

const UNORDERED: u32 = 3;
@inline function codesOfRelation(relation: u32): u32 { return relation == 0 ? 0 : relation == 1 ? FSW_C0 : relation == 2 ? FSW_C3 : FSW_C0 | FSW_C2 | FSW_C3; }
@inline function flagsOfRelation(relation: u32): u32 { return relation == 0 ? 0 : relation == 1 ? 1 : relation == 2 ? 0x40 : 0x45; }

/** Finish FCOM with a relation that needs no exact way. @returns false for the others */
function compareOrdinary(vcpu: usize, relation: u32, pops: u32): bool {
  if (relation == UNORDERED) return false;
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RIP), VCPU_FIP);
  setCodes(vcpu, codesOfRelation(relation));
  pop(vcpu, pops);
  return true;
}

/** Compare A with B. @returns the relation (softfloat); flags are in the work area. */
function compareNumbers(vcpu: usize, quiet: u32): u32 {
  const w = work(vcpu);
  const a = kindOf(w + W_A), b = kindOf(w + W_B);
  let relation: u32 = UNORDERED;
  if (a == KIND_UNSUPPORTED || b == KIND_UNSUPPORTED || a == KIND_SNAN || b == KIND_SNAN || (!quiet && (a == KIND_QNAN || b == KIND_QNAN))) {
    flag(w, IE);
  } else if (a != KIND_QNAN && b != KIND_QNAN) {
    if (load<u32>(w + W_A, N_DENORMAL) | load<u32>(w + W_B, N_DENORMAL)) flag(w, DE);
    relation = relationOf(w);
  }
  return relation;
}

function setCodes(vcpu: usize, codes: u32): void {
  setFsw(vcpu, fswOf(vcpu) & ~FSW_CODES | codes);
}

/** Processors set the condition codes even when an unmasked exception keeps the operands on the stack. */
function finishCompare(vcpu: usize, quiet: u32, pops: u32): void {
  const relation = compareNumbers(vcpu, quiet);
  setCodes(vcpu, codesOfRelation(relation));
  if (!signal(vcpu, flagsOf(work(vcpu)))) pop(vcpu, pops);
}

/** @returns whether the instruction is over because of an empty register. */
function compareUnderflow(vcpu: usize, empty: bool, pops: u32): bool {
  if (!empty) return false;
  setCodes(vcpu, FSW_C0 | FSW_C2 | FSW_C3);
  if (stackFault(vcpu, 0)) pop(vcpu, pops);
  return true;
}

/** FCOM(P)(PP) ST(source), and FUCOM with quiet = 1. */
export function fpuCompare(vcpu: usize, source: u32, quiet: u32, pops: u32): void {
  if (compareOrdinary(vcpu, ordinaryRelation(vcpu, source), pops)) return;
  if (begin(vcpu) || compareUnderflow(vcpu, isEmpty(vcpu, 0) || isEmpty(vcpu, source), pops)) return;
  const w = work(vcpu);
  unpackRegister(vcpu, 0, w + W_A);
  unpackRegister(vcpu, source, w + W_B);
  finishCompare(vcpu, quiet, pops);
}

/** FCOM(P) m32fp. */
export function fpuCompareF32(vcpu: usize, bits: u32, pops: u32): void {
  if (compareOrdinary(vcpu, ordinaryRelationTo(vcpu, headOfF32(bits), significandOfF32(bits)), pops)) return;
  if (beginWithOperand(vcpu) || compareUnderflow(vcpu, isEmpty(vcpu, 0), pops)) return;
  const w = work(vcpu);
  unpackRegister(vcpu, 0, w + W_A);
  unpackF32(w + W_B, bits, 0);
  finishCompare(vcpu, 0, pops);
}

/** FCOM(P) m64fp. */
export function fpuCompareF64(vcpu: usize, bits: u64, pops: u32): void {
  if (compareOrdinary(vcpu, ordinaryRelationTo(vcpu, headOfF64(bits), significandOfF64(bits)), pops)) return;
  if (beginWithOperand(vcpu) || compareUnderflow(vcpu, isEmpty(vcpu, 0), pops)) return;
  const w = work(vcpu);
  unpackRegister(vcpu, 0, w + W_A);
  unpackF64(w + W_B, bits, 0);
  finishCompare(vcpu, 0, pops);
}

/** FICOM(P) m16int (sign-extended) or m32int. */
export function fpuCompareI32(vcpu: usize, value: i32, pops: u32): void {
  if (compareOrdinary(vcpu, ordinaryRelationTo(vcpu, headOfInteger(value), significandOfInteger(value)), pops)) return;
  if (beginWithOperand(vcpu) || compareUnderflow(vcpu, isEmpty(vcpu, 0), pops)) return;
  const w = work(vcpu);
  unpackRegister(vcpu, 0, w + W_A);
  unpackI64(w + W_B, value);
  finishCompare(vcpu, 0, pops);
}

/** FTST: compare ST(0) with 0.0. */
export function fpuTest(vcpu: usize): void {
  store<u64>(vcpu, load<u64>(vcpu, VCPU_FDP), VCPU_FPU_OPERAND);
  fpuCompareI32(vcpu, 0, 0);
}

/** FCOMI(P), FUCOMI(P) with quiet = 1. @returns CF PF AF ZF SF OF as they shall be, unless #MF is raised */
export function fpuCompareFlags(vcpu: usize, source: u32, quiet: u32, pops: u32): u32 {
  const ordinary = ordinaryRelation(vcpu, source);
  if (ordinary != UNORDERED) {
    store<u64>(vcpu, load<u64>(vcpu, VCPU_RIP), VCPU_FIP);
    pop(vcpu, pops);
    return flagsOfRelation(ordinary);
  }
  if (beginKeepingC1(vcpu)) return 0;
  let relation: u32 = UNORDERED;
  let done = false;
  if (isEmpty(vcpu, 0) || isEmpty(vcpu, source)) {
    done = stackFault(vcpu, 0);
  } else {
    const w = work(vcpu);
    unpackRegister(vcpu, 0, w + W_A);
    unpackRegister(vcpu, source, w + W_B);
    relation = compareNumbers(vcpu, quiet);
    done = !signal(vcpu, flagsOf(w));
  }
  if (done) pop(vcpu, pops);
  return flagsOfRelation(relation);
}

/** FXAM: class of ST(0) in C3 C2 C0, sign in C1 (also of an empty register). */
export function fpuExamine(vcpu: usize): void {
  if (begin(vcpu)) return;
  const n = work(vcpu) + W_A;
  unpackRegister(vcpu, 0, n);
  let codes: u32 = 0;
  if (isEmpty(vcpu, 0)) {
    codes = FSW_C3 | FSW_C0;
  } else {
    switch (kindOf(n)) {
      case KIND_UNSUPPORTED: break;
      case KIND_QNAN: case KIND_SNAN: codes = FSW_C0; break;
      case KIND_INFINITY: codes = FSW_C2 | FSW_C0; break;
      case KIND_ZERO: codes = FSW_C3; break;
      default: codes = load<u32>(n, N_DENORMAL) ? FSW_C3 | FSW_C2 : FSW_C2;
    }
  }
  setCodes(vcpu, signOf(n) ? codes | FSW_C1 : codes);
}

// --- loads ---

/** Make room for a push. @returns false when the stack overflowed (handled; the instruction is over). */
function room(vcpu: usize): bool {
  if (isEmpty(vcpu, 7)) return true;
  if (stackFault(vcpu, 1)) {
    decrementTop(vcpu);
    writeIndefinite(vcpu, 0);
  }
  return false;
}

function pushRaw(vcpu: usize, signExponent: u32, significand: u64): void {
  decrementTop(vcpu);
  writeRegister(vcpu, 0, signExponent, significand);
}

/** Push A: a converted m32fp or m64fp. */
function pushConverted(vcpu: usize): void {
  const w = work(vcpu);
  if (!propagateNan1(w)) {
    noteDenormal(w);
    copyNumber(w + W_R, w + W_A);
  }
  // Processors push a denormal even when DE is unmasked.
  if (!(flagsOf(w) & load<u32>(w, W_UNMASKED) & IE)) {
    decrementTop(vcpu);
    writeResult(vcpu, 0);
  }
  settle(vcpu);
}

/** FLD m32fp. */
export function fpuLoadF32(vcpu: usize, bits: u32): void {
  if (ordinaryPush(vcpu, headOfF32(bits), significandOfF32(bits))) return;
  if (beginWithOperand(vcpu) || !room(vcpu)) return;
  unpackF32(work(vcpu) + W_A, bits, 0);
  pushConverted(vcpu);
}

/** FLD m64fp. */
export function fpuLoadF64(vcpu: usize, bits: u64): void {
  if (ordinaryPush(vcpu, headOfF64(bits), significandOfF64(bits))) return;
  if (beginWithOperand(vcpu) || !room(vcpu)) return;
  unpackF64(work(vcpu) + W_A, bits, 0);
  pushConverted(vcpu);
}

/** FLD m80fp from scratch[0..1]; any encoding, no exception but stack overflow. */
export function fpuLoadF80(vcpu: usize): void {
  if (beginWithOperand(vcpu) || !room(vcpu)) return;
  pushRaw(vcpu, load<u16>(vcpu, VCPU_SCRATCH + 8), load<u64>(vcpu, VCPU_SCRATCH));
}

/** FILD m16int and m32int (sign-extended) and m64int. */
export function fpuLoadI64(vcpu: usize, value: i64): void {
  if (ordinaryPush(vcpu, headOfInteger(value), significandOfInteger(value))) return;
  if (beginWithOperand(vcpu) || !room(vcpu)) return;
  unpackI64(work(vcpu) + W_A, value);
  pushConverted(vcpu);
}

/** FBLD: 18 packed decimal digits and a sign from scratch[0..1]. Digits above 9 count as they are. */
export function fpuLoadBcd(vcpu: usize): void {
  if (beginWithOperand(vcpu) || !room(vcpu)) return;
  let value: u64 = 0;
  for (let i: usize = 9; i-- > 0;) {
    const byte = <u64>load<u8>(vcpu + VCPU_SCRATCH + i);
    value = value * 100 + (byte >> 4) * 10 + (byte & 15);
  }
  const n = work(vcpu) + W_A;
  unpackI64(n, <i64>value);
  store<u32>(n, load<u8>(vcpu, VCPU_SCRATCH + 9) >> 7, N_SIGN);
  pushConverted(vcpu);
}

/** FLD ST(i). */
export function fpuLoadRegister(vcpu: usize, i: u32): void {
  if (ordinaryCopy(vcpu, i) || beginMove(vcpu)) return;
  // Underflow comes before overflow.
  if (isEmpty(vcpu, i)) {
    if (stackFault(vcpu, 0)) {
      decrementTop(vcpu);
      writeIndefinite(vcpu, 0);
    }
    return;
  }
  room(vcpu);
}

/**
 * FLD1 FLDL2T FLDL2E FLDPI FLDLG2 FLDLN2 FLDZ.
 * @param which 0..6 in that order, the order of their opcodes D9 E8..EE. The 66-bit constants are rounded as RC says, without PE.
 */
export function fpuLoadConstant(vcpu: usize, which: u32): void {
  if (beginMove(vcpu) || !room(vcpu)) return;
  const rounding = load<u32>(vcpu, VCPU_FCW) >> 10 & 3;
  const up = u64(rounding == 2);
  const down = u64(rounding == 1 || rounding == 3);
  switch (which) {
    case 0: return pushRaw(vcpu, 0x3fff, TOP_BIT);
    case 1: return pushRaw(vcpu, 0x4000, 0xd49a784bcd1b8afe + up);
    case 2: return pushRaw(vcpu, 0x3fff, 0xb8aa3b295c17f0bc - down);
    case 3: return pushRaw(vcpu, 0x4000, 0xc90fdaa22168c235 - down);
    case 4: return pushRaw(vcpu, 0x3ffd, 0x9a209a84fbcff799 - down);
    case 5: return pushRaw(vcpu, 0x3ffe, 0xb17217f7d1cf79ac - down);
    default: return pushRaw(vcpu, 0, 0);
  }
}

// --- stores ---

function refuseStore(vcpu: usize): void {
  store<u32>(vcpu, 0, VCPU_FPU_PENDING);
  store<u64>(vcpu, 0, VCPU_SCRATCH + 16);
}

/** Nothing will be stored: tell the handler and set the status now. */
function abandonStore(vcpu: usize, flags: u32): void {
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RIP), VCPU_FIP);
  setFsw(vcpu, fswOf(vcpu) & ~FSW_C1);
  signal(vcpu, flags);
  refuseStore(vcpu);
}

/** Begin a store of ST(0), which goes to A. @returns false when the instruction is over or stores the indefinite (then it is allowed already). */
function beginStore(vcpu: usize): bool {
  refuseStore(vcpu);
  if (prepare(vcpu)) return false;
  if (isEmpty(vcpu, 0)) {
    if (load<u32>(work(vcpu), W_UNMASKED) & IE) {
      abandonStore(vcpu, IE | FSW_SF);
    } else {
      flag(work(vcpu), IE | FSW_SF);
      allowStore(vcpu);
    }
    return false;
  }
  unpackRegister(vcpu, 0, work(vcpu) + W_A);
  return true;
}

function allowStore(vcpu: usize): void {
  const w = work(vcpu);
  store<u32>(vcpu, STORE_UNDER_WAY | flagsOf(w) | (load<u32>(w, W_ROUNDED_UP) ? FSW_C1 : 0), VCPU_FPU_PENDING);
  store<u64>(vcpu, 1, VCPU_SCRATCH + 16);
}

/** Unless an unmasked exception other than PE forbids the store. */
function endStore(vcpu: usize): void {
  const w = work(vcpu);
  const stopping = flagsOf(w) & load<u32>(w, W_UNMASKED) & (IE | OE | UE);
  if (stopping) abandonStore(vcpu, flagsOf(w) & ~PE);
  else allowStore(vcpu);
}

/** After the memory write: status, then pops. Does nothing when no store was allowed. */
export function fpuStoreCommit(vcpu: usize, pops: u32): void {
  const pending = load<u32>(vcpu, VCPU_FPU_PENDING);
  if (!(pending & STORE_UNDER_WAY)) return;
  store<u32>(vcpu, 0, VCPU_FPU_PENDING);
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RIP), VCPU_FIP);
  setFsw(vcpu, fswOf(vcpu) & ~FSW_C1 | pending & FSW_C1);
  signal(vcpu, pending & 0x7f);
  pop(vcpu, pops);
}

/** FST(P) m32fp: its bits. */
export function fpuStoreF32Value(vcpu: usize): u32 {
  const ordinary = ordinaryF32(vcpu);
  if (ordinary != u64.MAX_VALUE) return <u32>ordinary;
  if (!beginStore(vcpu)) return 0xffc00000;
  const w = work(vcpu);
  if (!propagateNan1(w)) {
    copyNumber(w + W_R, w + W_A);
    roundToF32(w);
  }
  endStore(vcpu);
  return packF32(w + W_R);
}

/** FST(P) m64fp: its bits. */
export function fpuStoreF64Value(vcpu: usize): u64 {
  const ordinary = ordinaryF64(vcpu);
  if (ordinary != u64.MAX_VALUE) return ordinary;
  if (!beginStore(vcpu)) return 0xfff8000000000000;
  const w = work(vcpu);
  if (!propagateNan1(w)) {
    copyNumber(w + W_R, w + W_A);
    roundToF64(w);
  }
  endStore(vcpu);
  return packF64(w + W_R);
}

/** FSTP m80fp: 10 bytes in scratch[0..1]; any encoding, no exception but stack underflow. */
export function fpuStoreF80Value(vcpu: usize): void {
  if (!beginStore(vcpu)) {
    store<u64>(vcpu, INDEFINITE, VCPU_SCRATCH);
    store<u64>(vcpu, 0xffff, VCPU_SCRATCH + 8);
    return;
  }
  const register = registerOf(vcpu, 0);
  store<u64>(vcpu, load<u64>(register), VCPU_SCRATCH);
  store<u64>(vcpu, load<u16>(register, 8), VCPU_SCRATCH + 8);
  endStore(vcpu);
}

/**
 * FIST(P), and FISTTP with truncate = 1.
 * @param widthBits 16, 32 or 64.
 */
export function fpuStoreIntegerValue(vcpu: usize, widthBits: u32, truncate: u32): i64 {
  if (ordinaryInteger(vcpu, widthBits, truncate)) return load<i64>(vcpu, VCPU_SCRATCH);
  if (!beginStore(vcpu)) return <i64>(0 - ((<u64>1) << (widthBits - 1)));
  const w = work(vcpu);
  const value = toInteger(w, <i32>widthBits, truncate ? ROUND_ZERO : load<u32>(w, W_ROUNDING));
  endStore(vcpu);
  return value;
}

/** FBSTP: 10 bytes in scratch[0..1]. */
export function fpuStoreBcdValue(vcpu: usize): void {
  const started = beginStore(vcpu);
  const w = work(vcpu);
  let valid = started && kindOf(w + W_A) <= KIND_FINITE;
  let magnitude: u64 = 0;
  if (valid) {
    magnitude = integerMagnitude(w, load<u32>(w, W_ROUNDING));
    valid = magnitude <= 999999999999999999;
  }
  if (started) {
    if (!valid) {
      store<u32>(w, flagsOf(w) & ~PE | IE, W_FLAGS);
      store<u32>(w, 0, W_ROUNDED_UP);
    }
    endStore(vcpu);
  }
  if (!valid) {
    store<u64>(vcpu, 0xc000000000000000, VCPU_SCRATCH);
    store<u64>(vcpu, 0xffff, VCPU_SCRATCH + 8);
    return;
  }
  for (let i: usize = 0; i < 9; i++) {
    const pair = magnitude % 100;
    magnitude /= 100;
    store<u8>(vcpu + VCPU_SCRATCH + i, <u8>(pair / 10 << 4 | pair % 10));
  }
  store<u8>(vcpu, <u8>(signOf(w + W_A) << 7), VCPU_SCRATCH + 9);
}

/** FST(P) ST(i). */
export function fpuStoreRegister(vcpu: usize, i: u32, pops: u32): void {
  if (ordinaryStore(vcpu, i, pops) || beginMove(vcpu) || !stackFault(vcpu, 0)) return;
  writeIndefinite(vcpu, i);
  pop(vcpu, pops);
}

// --- register moves ---

/** FXCH ST(i). */
export function fpuExchange(vcpu: usize, i: u32): void {
  if (ordinaryExchange(vcpu, i) || beginMove(vcpu)) return;
  const first = isEmpty(vcpu, 0), second = isEmpty(vcpu, i);
  if (!stackFault(vcpu, 0)) return;
  if (first) writeIndefinite(vcpu, 0);
  if (second) writeIndefinite(vcpu, i);
  const x = registerOf(vcpu, 0), y = registerOf(vcpu, i), significand = load<u64>(x), head = load<u16>(x, 8);
  writeRegister(vcpu, 0, load<u16>(y, 8), load<u64>(y));
  writeRegister(vcpu, i, head, significand);
}

/** FCMOVcc: ST(0) := ST(i) when `condition` is not 0. Empty registers count either way. */
export function fpuMoveIf(vcpu: usize, condition: u32, i: u32): void {
  if (beginKeepingC1(vcpu)) return;
  if (isEmpty(vcpu, 0) || isEmpty(vcpu, i)) {
    if (stackFault(vcpu, 0)) writeIndefinite(vcpu, 0);
    return;
  }
  if (!condition) return;
  const register = registerOf(vcpu, i);
  writeRegister(vcpu, 0, load<u16>(register, 8), load<u64>(register));
}

/** FINCSTP (+1), FDECSTP (-1): tags stay. */
export function fpuRotate(vcpu: usize, by: i32): void {
  if (beginMove(vcpu)) return;
  const fsw = fswOf(vcpu);
  setFsw(vcpu, fsw & ~FSW_TOP | (fsw + (<u32>by << 11)) & FSW_TOP);
}

/** FFREE ST(i), then `pops` (FFREEP, DF C0+i, pops 1). */
export function fpuFree(vcpu: usize, i: u32, pops: u32): void {
  if (beginMove(vcpu)) return;
  store<u32>(vcpu, load<u32>(vcpu, VCPU_FTW) & ~(1 << physical(vcpu, i)), VCPU_FTW);
  pop(vcpu, pops);
}

// --- one operand ---

/** @returns whether ST(0) is there; else its underflow has been dealt with. */
function beginUnary(vcpu: usize): bool {
  if (begin(vcpu)) return false;
  if (isEmpty(vcpu, 0)) {
    if (stackFault(vcpu, 0)) writeIndefinite(vcpu, 0);
    return false;
  }
  unpackRegister(vcpu, 0, work(vcpu) + W_A);
  return true;
}

/** FCHS (and = 0xffff, xor = 0x8000), FABS (and = 0x7fff, xor = 0): the sign alone, no exception but stack underflow. */
export function fpuSign(vcpu: usize, and: u32, xor: u32): void {
  if (beginMove(vcpu)) return;
  if (isEmpty(vcpu, 0)) {
    if (stackFault(vcpu, 0)) writeIndefinite(vcpu, 0);
    return;
  }
  const register = registerOf(vcpu, 0);
  store<u16>(register, <u16>(load<u16>(register, 8) & and ^ xor), 8);
}

/** FSQRT. */
export function fpuSquareRoot(vcpu: usize): void {
  if (!beginUnary(vcpu)) return;
  const w = work(vcpu);
  if (!propagateNan1(w)) exactSquareRoot(w);
  finish(vcpu, 0, precisionOf(vcpu), 0);
}

/** FRNDINT. */
export function fpuRoundToInteger(vcpu: usize): void {
  if (!beginUnary(vcpu)) return;
  const w = work(vcpu);
  if (!propagateNan1(w)) {
    noteDenormal(w);
    roundToIntegral(w, load<u32>(w, W_ROUNDING));
  }
  if (!unmaskedBefore(w)) writeResult(vcpu, 0);
  else {
    store<u32>(w, flagsOf(w) & BEFORE, W_FLAGS);
    store<u32>(w, 0, W_ROUNDED_UP);
  }
  settle(vcpu);
}

/** FXTRACT: ST(0) := its exponent; push its significand. */
export function fpuExtract(vcpu: usize): void {
  if (begin(vcpu)) return;
  const empty = isEmpty(vcpu, 0);
  if (empty || !isEmpty(vcpu, 7)) {
    if (stackFault(vcpu, u32(!empty))) {
      writeIndefinite(vcpu, 0);
      decrementTop(vcpu);
      writeIndefinite(vcpu, 0);
    }
    return;
  }
  const w = work(vcpu);
  unpackRegister(vcpu, 0, w + W_A);
  const a = w + W_A, r = w + W_R;
  let exponentSE: u32 = 0, exponentSignificand: u64 = 0;
  if (propagateNan1(w)) {
    exponentSE = packF80Exponent(r);
    exponentSignificand = packF80Significand(r);
  } else {
    noteDenormal(w);
    copyNumber(r, a);
    if (kindOf(a) == KIND_ZERO) {
      flag(w, ZE);
      exponentSE = 0xffff;
      exponentSignificand = TOP_BIT;
    } else if (kindOf(a) == KIND_INFINITY) {
      exponentSE = 0x7fff;
      exponentSignificand = TOP_BIT;
    } else {
      unpackI64(r, exponentOf(a));
      exponentSE = packF80Exponent(r);
      exponentSignificand = packF80Significand(r);
      setNumber(r, KIND_FINITE, signOf(a), 0, significandOf(a), 0);
    }
  }
  if (!unmaskedBefore(w)) {
    writeRegister(vcpu, 0, exponentSE, exponentSignificand);
    decrementTop(vcpu);
    writeResult(vcpu, 0);
  }
  settle(vcpu);
}

// --- two operands ST(0), ST(1) ---

/** A := ST(0), B := ST(1). @returns false when one was empty (dealt with as for a result in ST(destination)). */
function beginBinary(vcpu: usize, destination: u32, pops: u32): bool {
  if (begin(vcpu)) return false;
  if (isEmpty(vcpu, 0) || isEmpty(vcpu, 1)) {
    if (stackFault(vcpu, 0)) {
      writeIndefinite(vcpu, destination);
      pop(vcpu, pops);
    }
    return false;
  }
  const w = work(vcpu);
  unpackRegister(vcpu, 0, w + W_A);
  unpackRegister(vcpu, 1, w + W_B);
  return true;
}

/** FPREM (nearest = 0), FPREM1 (1): Q2 Q1 Q0 in C0 C3 C1; C2 when more is to be done. */
export function fpuRemainder(vcpu: usize, nearest: u32): void {
  const started = beginBinary(vcpu, 0, 0);
  if (!load<u32>(vcpu, VCPU_FAULT)) setFsw(vcpu, fswOf(vcpu) & ~FSW_C2);
  if (!started) return;
  const w = work(vcpu);
  let quotient: u32 = 0;
  const isNan = propagateNan(w, true);
  if (!isNan) quotient = exactRemainder(w, nearest);
  if (unmaskedBefore(w)) return settle(vcpu);
  if (kindOf(w + W_B) == KIND_INFINITY) {
    writeDenormalized(vcpu, 0);
  } else {
    roundToF80(w, 64);
    writeResult(vcpu, 0);
  }
  settle(vcpu);
  if (isNan || flagsOf(w) & IE) return;
  setCodes(vcpu, (quotient & 8 ? FSW_C2 : 0) | (quotient & 4 ? FSW_C0 : 0) | (quotient & 2 ? FSW_C3 : 0) | (quotient & 1 ? FSW_C1 : 0));
}

/** FSCALE: ST(0) := ST(0) * 2^trunc(ST(1)). */
export function fpuScale(vcpu: usize): void {
  if (!beginBinary(vcpu, 0, 0)) return;
  const w = work(vcpu);
  const a = w + W_A, b = w + W_B, r = w + W_R;
  if (!propagateNan(w, true)) {
    const kindA = kindOf(a), kindB = kindOf(b);
    if (kindB == KIND_INFINITY && ((kindA == KIND_ZERO && !signOf(b)) || (kindA == KIND_INFINITY && signOf(b)))) {
      invalidResult(w);
    } else {
      if (load<u32>(a, N_DENORMAL) | load<u32>(b, N_DENORMAL)) flag(w, DE);
      copyNumber(r, a);
      if (kindA == KIND_FINITE) {
        if (kindB == KIND_INFINITY) {
          setNumber(r, signOf(b) ? KIND_ZERO : KIND_INFINITY, signOf(a), 0, signOf(b) ? 0 : TOP_BIT, 0);
        } else if (kindB == KIND_FINITE && exponentOf(b) >= 0) {
          // Beyond 2^17 every result overflows or underflows.
          const by = exponentOf(b) > 17 ? 0x20000 : <i32>(significandOf(b) >> (63 - exponentOf(b)));
          setNumber(r, KIND_FINITE, signOf(a), exponentOf(a) + (signOf(b) ? -by : by), significandOf(a), 0);
        } else if (kindB == KIND_ZERO) {
          // Not scaled: a denormal does not underflow again.
          if (!unmaskedBefore(w)) writeDenormalized(vcpu, 0);
          return settle(vcpu);
        }
      }
    }
  }
  finish(vcpu, 0, 64, 0);
}

// --- transcendental (SDM vol 1 8.3.7-8.3.10): results are rounded to 64 bits, whatever the precision control says ---

/** F2XM1. */
export function fpuExponential(vcpu: usize): void {
  if (!beginUnary(vcpu)) return;
  const w = work(vcpu);
  if (!propagateNan1(w)) {
    noteDenormal(w);
    exponentialMinus1(w);
  }
  finish(vcpu, 0, 64, 0);
}

/** FYL2X: ST(1) := ST(1) * log2(ST(0)), pop. */
export function fpuLogarithm(vcpu: usize): void {
  if (!beginBinary(vcpu, 1, 1)) return;
  const w = work(vcpu);
  if (!propagateNan(w, true)) logarithm(w);
  finish(vcpu, 1, 64, 1);
}

/** FYL2XP1: ST(1) := ST(1) * log2(ST(0) + 1), pop. */
export function fpuLogarithmPlus1(vcpu: usize): void {
  if (!beginBinary(vcpu, 1, 1)) return;
  const w = work(vcpu);
  if (!propagateNan(w, true)) logarithmPlus1(w);
  finish(vcpu, 1, 64, 1);
}

/** FPATAN: ST(1) := arctan(ST(1) / ST(0)) in the quadrant of the point, pop. */
export function fpuArcTangent(vcpu: usize): void {
  if (!beginBinary(vcpu, 1, 1)) return;
  const w = work(vcpu);
  if (!propagateNan(w, true)) {
    if (load<u32>(w + W_A, N_DENORMAL) | load<u32>(w + W_B, N_DENORMAL)) flag(w, DE);
    arcTangent(w);
  }
  finish(vcpu, 1, 64, 1);
}

/** @returns whether |A| >= 2^63, finite: C2 is set and nothing else happens. */
function outOfRange(vcpu: usize): bool {
  const a = work(vcpu) + W_A;
  if (kindOf(a) != KIND_FINITE || exponentOf(a) < 63) {
    setFsw(vcpu, fswOf(vcpu) & ~FSW_C2);
    return false;
  }
  setFsw(vcpu, fswOf(vcpu) | FSW_C2);
  return true;
}

/** Special operands of the trigonometric functions. @returns whether R is the result already. */
function trigonometricSpecial(w: usize): bool {
  if (propagateNan1(w)) return true;
  if (kindOf(w + W_A) == KIND_INFINITY) {
    invalidResult(w);
    return true;
  }
  noteDenormal(w);
  return false;
}

/** @returns whether ST(0) is there and in range; C2 tells which. */
function beginTrigonometric(vcpu: usize): bool {
  const started = beginUnary(vcpu);
  if (started) return !outOfRange(vcpu);
  if (!load<u32>(vcpu, VCPU_FAULT)) setFsw(vcpu, fswOf(vcpu) & ~FSW_C2);
  return false;
}

/** FSIN. */
export function fpuSine(vcpu: usize): void {
  if (!beginTrigonometric(vcpu)) return;
  const w = work(vcpu);
  if (!trigonometricSpecial(w)) sine(w);
  finish(vcpu, 0, 64, 0);
}

/** FCOS. */
export function fpuCosine(vcpu: usize): void {
  if (!beginTrigonometric(vcpu)) return;
  const w = work(vcpu);
  if (!trigonometricSpecial(w)) cosine(w);
  finish(vcpu, 0, 64, 0);
}

/** What FSINCOS and FPTAN share: ST(0) := first result, push the second. `tangent` = 1: FPTAN pushes 1.0. */
export function fpuSineCosine(vcpu: usize, isTangent: u32): void {
  if (begin(vcpu)) return;
  const empty = isEmpty(vcpu, 0);
  if (empty || !isEmpty(vcpu, 7)) {
    setFsw(vcpu, fswOf(vcpu) & ~FSW_C2);
    if (stackFault(vcpu, u32(!empty))) {
      writeIndefinite(vcpu, 0);
      decrementTop(vcpu);
      writeIndefinite(vcpu, 0);
    }
    return;
  }
  const w = work(vcpu), r = w + W_R;
  unpackRegister(vcpu, 0, w + W_A);
  if (outOfRange(vcpu)) return;
  const special = trigonometricSpecial(w);
  if (unmaskedBefore(w)) return settle(vcpu);
  if (!special) {
    if (isTangent) tangent(w);
    else sine(w);
  }
  roundToF80(w, 64);
  const firstExponent = packF80Exponent(r), firstSignificand = packF80Significand(r);
  if (isTangent) {
    if (!special) setNumber(r, KIND_FINITE, 0, 0, TOP_BIT, 0);
  } else if (!special) {
    unpackRegister(vcpu, 0, w + W_A);
    cosine(w);
    roundToF80(w, 64);
  }
  writeRegister(vcpu, 0, firstExponent, firstSignificand);
  decrementTop(vcpu);
  writeResult(vcpu, 0);
  settle(vcpu);
}
