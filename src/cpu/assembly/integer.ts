/**
 * Integer instructions that are long or rare: wide products and quotients, BCD, ENTER, BOUND, PUSHA, POPA, CRC32, random numbers.
 * Implements: SDM vol. 2 MUL, DIV, IDIV, DAA, DAS, AAA, AAS, AAM, AAD, ENTER, BOUND, PUSHA, POPA, CRC32, RDRAND "Operation".
 * Runs on: the vCPU's own thread.
 */
import { CRC32C_TABLE } from '../../base/memory-map.ts';
import { VCPU_GPR, VCPU_SCRATCH } from '../../generated/vcpu-layout.ts';
import { FLAG_AF, FLAG_CF, FLAG_PF, FLAG_SF, FLAG_ZF } from '../flag-kinds.ts';
import { SEG_SS, VECTOR_BR, VECTOR_DE } from './bits';
import { faulted } from './faults';
import { readFlags, writeFlags } from './flags';
import { hostRandom } from './imports';
import { loadWith, storeWith } from './memory';
import { raise } from './raise';
import { cplOf, segAccess, segBase, segLimit } from './segments';
import { divide128, multiplyHigh as wideHigh } from './softfloat';
import { addressOn, probePushes, setStackPointer, stackMask, stackPointer, whoAt } from './stack';

const RBP: usize = 5 * 8;

export function multiplyHigh(vcpu: usize, x: u64, y: u64): u64 { return wideHigh(x, y); }

export function multiplyHighSigned(vcpu: usize, x: i64, y: i64): i64 {
  return <i64>wideHigh(<u64>x, <u64>y) - (x < 0 ? y : 0) - (y < 0 ? x : 0);
}

function divideError(vcpu: usize): u64 {
  raise(vcpu, VECTOR_DE, 0, 0);
  return 0;
}

/** high:low / divisor of 64 bits each, high < divisor. The remainder goes to scratch[0]. */
function divideWide(vcpu: usize, high: u64, low: u64, divisor: u64): u64 {
  let quotient: u64;
  if (high == 0) {
    quotient = low / divisor;
  } else {
    const shift = clz<u64>(divisor);
    quotient = divide128(shift == 0 ? high : (high << shift) | (low >> (64 - shift)), low << shift, divisor << shift);
  }
  store<u64>(vcpu, low - quotient * divisor, VCPU_SCRATCH);
  return quotient;
}

/** DIV. @param high, low, divisor as wide as the operand; what is above is ignored */
export function divide(vcpu: usize, high: u64, low: u64, divisor: u64, sizeBytes: u32): u64 {
  const bits: u64 = sizeBytes * 8, mask = (~<u64>0) >> (64 - bits);
  high &= mask;
  low &= mask;
  divisor &= mask;
  if (high >= divisor) return divideError(vcpu);   // a divisor of 0 as well
  if (sizeBytes == 8) return divideWide(vcpu, high, low, divisor);
  const dividend = (high << bits) | low, quotient = dividend / divisor;
  store<u64>(vcpu, dividend - quotient * divisor, VCPU_SCRATCH);
  return quotient;
}

/** IDIV: truncates towards zero; the remainder has the sign of the dividend. */
export function divideSigned(vcpu: usize, high: u64, low: u64, divisor: u64, sizeBytes: u32): u64 {
  const up: u64 = 64 - sizeBytes * 8, mask = (~<u64>0) >> up;
  const y = <i64>(divisor << up) >> <i64>up, negative = <i64>(high << up) < 0, size = y < 0 ? 0 - <u64>y : <u64>y;
  if (sizeBytes != 8) {
    const dividend = ((<i64>(high << up) >> <i64>up) << <i64>(sizeBytes * 8)) | <i64>(low & mask);
    // -2^63 / -1 cannot arise from 32-bit halves that fit: it is caught by the range check on the magnitudes.
    const magnitude = negative ? 0 - <u64>dividend : <u64>dividend;
    if (size == 0) return divideError(vcpu);
    return signedResult(vcpu, magnitude / size, magnitude % size, negative, y < 0, sizeBytes);
  }
  let magnitudeLow = low, magnitudeHigh = high;
  if (negative) {
    magnitudeLow = 0 - low;
    magnitudeHigh = ~high + (low == 0 ? 1 : 0);
  }
  if (magnitudeHigh >= size) return divideError(vcpu);
  const quotient = divideWide(vcpu, magnitudeHigh, magnitudeLow, size);
  return signedResult(vcpu, quotient, load<u64>(vcpu, VCPU_SCRATCH), negative, y < 0, 8);
}

function signedResult(vcpu: usize, quotient: u64, remainder: u64, dividendNegative: bool, divisorNegative: bool, sizeBytes: u32): u64 {
  const minus = dividendNegative != divisorNegative, most = <u64>1 << <u64>(sizeBytes * 8 - 1);
  if (quotient > (minus ? most : most - 1)) return divideError(vcpu);
  store<u64>(vcpu, dividendNegative ? 0 - remainder : remainder, VCPU_SCRATCH);
  return minus ? 0 - quotient : quotient;
}

// --- BCD: they work on AX ---

function ax(vcpu: usize): u32 { return load<u16>(vcpu, VCPU_GPR); }
function setAx(vcpu: usize, value: u32): void { store<u16>(vcpu, <u16>value, VCPU_GPR); }

function resultFlags(al: u32): u32 { return ((al & 0xff) == 0 ? FLAG_ZF : 0) | (al & 0x80 ? FLAG_SF : 0) | (popcnt<u32>(al & 0xff) & 1 ? 0 : FLAG_PF); }

export function daa(vcpu: usize): void { decimalAdjust(vcpu, 1); }
export function das(vcpu: usize): void { decimalAdjust(vcpu, -1); }

function decimalAdjust(vcpu: usize, sign: i32): void {
  const old = ax(vcpu), al = old & 0xff, flags = readFlags(vcpu), oldCarry = (flags & FLAG_CF) != 0;
  let value = al, bits: u32 = 0;
  if ((al & 15) > 9 || (flags & FLAG_AF) != 0) {
    value += 6 * sign;
    // DAA ends with CF by the second step alone; DAS keeps the borrow of the first.
    if (sign < 0 && (oldCarry || al < 6)) bits |= FLAG_CF;
    bits |= FLAG_AF;
  }
  if (al > 0x99 || oldCarry) {
    value += 0x60 * sign;
    bits |= FLAG_CF;
  }
  setAx(vcpu, (old & 0xff00) | (value & 0xff));
  writeFlags(vcpu, bits | resultFlags(value));
}

export function aaa(vcpu: usize): void { asciiAdjust(vcpu, 0x106); }
export function aas(vcpu: usize): void { asciiAdjust(vcpu, -0x106); }

function asciiAdjust(vcpu: usize, by: i32): void {
  let value = ax(vcpu), bits: u32 = 0;
  if ((value & 15) > 9 || (readFlags(vcpu) & FLAG_AF) != 0) {
    value += by;
    bits = FLAG_AF | FLAG_CF;
  }
  value &= 0xff0f;
  setAx(vcpu, value);
  writeFlags(vcpu, bits | resultFlags(value));
}

export function aam(vcpu: usize, base: u32): void {
  base &= 0xff;
  if (base == 0) {
    raise(vcpu, VECTOR_DE, 0, 0);
    return;
  }
  const al = ax(vcpu) & 0xff;
  setAx(vcpu, ((al / base) << 8) | (al % base));
  writeFlags(vcpu, resultFlags(al % base));
}

export function aad(vcpu: usize, base: u32): void {
  const old = ax(vcpu), al = ((old & 0xff) + (old >> 8) * (base & 0xff)) & 0xff;
  setAx(vcpu, al);
  writeFlags(vcpu, resultFlags(al));
}

// --- stack frames ---

function onStack(vcpu: usize, offset: u64, sizeBytes: u32): u64 {
  return addressOn(vcpu, segBase(vcpu, SEG_SS), segLimit(vcpu, SEG_SS), segAccess(vcpu, SEG_SS), stackMask(vcpu), offset, sizeBytes, 0);
}

function probeHere(vcpu: usize, top: u64, count: u32, sizeBytes: u32): bool {
  return probePushes(vcpu, segBase(vcpu, SEG_SS), segLimit(vcpu, SEG_SS), segAccess(vcpu, SEG_SS), stackMask(vcpu), top, count, sizeBytes, 0, whoAt(vcpu, cplOf(vcpu)));
}

function read(vcpu: usize, offset: u64, sizeBytes: u32): u64 {
  const at = onStack(vcpu, offset, sizeBytes);
  return faulted(vcpu) ? 0 : loadWith(vcpu, at, sizeBytes, SEG_SS, whoAt(vcpu, cplOf(vcpu)));
}

function write(vcpu: usize, offset: u64, value: u64, sizeBytes: u32): void {
  const at = onStack(vcpu, offset, sizeBytes);
  if (!faulted(vcpu)) storeWith(vcpu, at, value, sizeBytes, SEG_SS, whoAt(vcpu, cplOf(vcpu)));
}

function setRegister(vcpu: usize, index: usize, value: u64, sizeBytes: u32): void {
  if (sizeBytes == 2) store<u16>(vcpu + index * 8, <u16>value, VCPU_GPR);
  else store<u64>(vcpu + index * 8, sizeBytes == 4 ? value & 0xffffffff : value, VCPU_GPR);
}

/**
 * ENTER. @param frameBytes 0..65535 @param level nesting, modulo 32
 * As on processors, what it has pushed stays in memory when a later access faults; the registers change last, so that it can start again.
 */
export function enter(vcpu: usize, sizeBytes: u32, frameBytes: u32, level: u32): void {
  level &= 31;
  const top = stackPointer(vcpu), bp = load<u64>(vcpu + RBP, VCPU_GPR), frame = top - sizeBytes;
  write(vcpu, frame, bp, sizeBytes);
  for (let i: u32 = 1; i < level && !faulted(vcpu); i++) {
    const outer = read(vcpu, bp - <u64>i * sizeBytes, sizeBytes);
    if (!faulted(vcpu)) write(vcpu, frame - <u64>i * sizeBytes, outer, sizeBytes);
  }
  if (level != 0 && !faulted(vcpu)) write(vcpu, frame - <u64>level * sizeBytes, frame, sizeBytes);
  if (faulted(vcpu)) return;
  // A write at the final stack pointer is tried (SDM 2A ENTER).
  const end = frame - <u64>level * sizeBytes - (frameBytes & 0xffff);
  if (!probeHere(vcpu, end + sizeBytes, 1, sizeBytes)) return;
  setRegister(vcpu, 5, frame, sizeBytes);
  setStackPointer(vcpu, end, stackMask(vcpu));
}

export function bound(vcpu: usize, index: i64, lower: i64, upper: i64): void {
  if (index < lower || index > upper) raise(vcpu, VECTOR_BR, 0, 0);
}

/** PUSHA, PUSHAD: what lies on the stack already stays there when a later push faults. */
export function pushAll(vcpu: usize, sizeBytes: u32): void {
  const top = stackPointer(vcpu);
  for (let i: u32 = 0; i < 8 && !faulted(vcpu); i++) write(vcpu, top - <u64>(i + 1) * sizeBytes, load<u64>(vcpu + i * 8, VCPU_GPR), sizeBytes);
  if (!faulted(vcpu)) setStackPointer(vcpu, top - 8 * sizeBytes, stackMask(vcpu));
}

/** POPA, POPAD: the stored stack pointer is skipped. Registers popped before a fault have changed, as on processors; rSP has not. */
export function popAll(vcpu: usize, sizeBytes: u32): void {
  const top = stackPointer(vcpu);
  for (let i: u32 = 0; i < 8; i++) {
    const value = read(vcpu, top + <u64>i * sizeBytes, sizeBytes);
    if (faulted(vcpu)) return;
    if (i != 3) setRegister(vcpu, 7 - i, value, sizeBytes);
  }
  setStackPointer(vcpu, top + 8 * sizeBytes, stackMask(vcpu));
}

// --- CRC32, random ---

const CRC32C_POLYNOMIAL: u32 = 0x82f63b78;

/** Every thread writes the same words, the last entry last, so it does not matter who comes first. */
function fillCrcTable(): void {
  for (let byte: u32 = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
    atomic.store<u32>(CRC32C_TABLE + byte * 4, crc);
  }
}

/** CRC32: accumulate `sizeBytes` of data, polynomial 11EDC6F41h reflected. */
export function crc32(vcpu: usize, crc: u32, data: u64, sizeBytes: u32): u32 {
  if (atomic.load<u32>(CRC32C_TABLE + 255 * 4) == 0) fillCrcTable();
  for (let i: u32 = 0; i < sizeBytes; i++) {
    crc = (crc >> 8) ^ load<u32>(CRC32C_TABLE + ((crc ^ <u32>data) & 0xff) * 4);
    data >>= 8;
  }
  return crc;
}

/** RDRAND, RDSEED: 64 bits of the host's entropy. */
export function random(vcpu: usize): u64 {
  hostRandom(vcpu);
  return load<u64>(vcpu, VCPU_SCRATCH);
}
