/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.
 * Implements: SDM vol. 2B 4.1 Imm8 Control Byte Operation for PCMPESTRI/M and PCMPISTRI/M.
 * Runs on: the vCPU's own thread. Operands: first in scratch[0..1], second in scratch[2..3]; a mask goes to scratch[0..1].
 */
import { VCPU_SCRATCH } from '../../generated/vcpu-layout.ts';
import { FLAG_CF, FLAG_OF, FLAG_SF, FLAG_ZF } from '../flag-kinds.ts';
import { writeFlags } from './flags';

const WORDS: u32 = 1, SIGNED: u32 = 2, AGGREGATION: u32 = 0xc, NEGATE: u32 = 0x10, NEGATE_VALID: u32 = 0x20, LAST: u32 = 0x40, EXPAND: u32 = 0x40;
const EQUAL_ANY: u32 = 0, RANGES: u32 = 4, EQUAL_EACH: u32 = 8;
const FIRST: usize = VCPU_SCRATCH, SECOND: usize = VCPU_SCRATCH + 16;

function element(operand: usize, imm: u32, index: u32): i32 {
  if (imm & WORDS) return imm & SIGNED ? <i32>load<i16>(operand + index * 2) : <i32>load<u16>(operand + index * 2);
  return imm & SIGNED ? <i32>load<i8>(operand + index) : <i32>load<u8>(operand + index);
}

/** Elements before the first zero. */
function implicitLength(operand: usize, imm: u32, count: u32): u32 {
  let length: u32 = 0;
  while (length < count && element(operand, imm, length) != 0) length++;
  return length;
}

/** |length|, at most what fits. */
function explicitLength(length: i64, count: u32): u32 {
  const magnitude = length < 0 ? 0 - <u64>length : <u64>length;
  return magnitude > <u64>count ? count : <u32>magnitude;
}

/** IntRes2, and the flags. */
function compare(vcpu: usize, imm: u32, length1: u32, length2: u32): u32 {
  const count: u32 = imm & WORDS ? 8 : 16, x = vcpu + FIRST, y = vcpu + SECOND, how = imm & AGGREGATION;
  let result: u32 = 0;
  for (let j: u32 = 0; j < count; j++) {
    let match = false;
    if (how == EQUAL_ANY) {
      // Invalid elements never match (SDM table 4-7).
      if (j < length2) for (let i: u32 = 0; i < length1; i++) match = match || element(x, imm, i) == element(y, imm, j);
    } else if (how == RANGES) {
      if (j < length2) {
        const value = element(y, imm, j);
        for (let i: u32 = 0; i + 1 < length1; i += 2) match = match || (value >= element(x, imm, i) && value <= element(x, imm, i + 1));
      }
    } else if (how == EQUAL_EACH) {
      match = j < length1 && j < length2 ? element(x, imm, j) == element(y, imm, j) : j >= length1 && j >= length2;
    } else {
      // Equal ordered: the rest of the first string from its end on matches anything.
      match = true;
      for (let i: u32 = 0; i < length1 && i + j < count; i++) match = match && i + j < length2 && element(x, imm, i) == element(y, imm, i + j);
    }
    if (match) result |= 1 << j;
  }
  const all: u32 = (1 << count) - 1;
  if (imm & NEGATE) result ^= imm & NEGATE_VALID ? ((1 << length2) - 1) & all : all;
  writeFlags(vcpu, (result != 0 ? FLAG_CF : 0) | (length2 < count ? FLAG_ZF : 0) | (length1 < count ? FLAG_SF : 0) | (result & 1 ? FLAG_OF : 0));
  return result;
}

function indexOf(result: u32, imm: u32): u32 {
  if (result == 0) return imm & WORDS ? 8 : 16;
  return imm & LAST ? 31 - clz<u32>(result) : ctz<u32>(result);
}

/** A bit per element, or all ones in each matching element. */
function giveMask(vcpu: usize, result: u32, imm: u32): void {
  const mask = vcpu + FIRST;
  store<u64>(mask, imm & EXPAND ? 0 : <u64>result);
  store<u64>(mask, 0, 8);
  if ((imm & EXPAND) == 0) return;
  for (let i: u32 = 0, count: u32 = imm & WORDS ? 8 : 16; i < count; i++) {
    if (((result >> i) & 1) == 0) continue;
    if (imm & WORDS) store<u16>(mask + i * 2, 0xffff);
    else store<u8>(mask + i, 0xff);
  }
}

function compareImplicit(vcpu: usize, imm: u32): u32 {
  const count: u32 = imm & WORDS ? 8 : 16;
  return compare(vcpu, imm, implicitLength(vcpu + FIRST, imm, count), implicitLength(vcpu + SECOND, imm, count));
}

function compareExplicit(vcpu: usize, imm: u32, length1: i64, length2: i64): u32 {
  const count: u32 = imm & WORDS ? 8 : 16;
  return compare(vcpu, imm, explicitLength(length1, count), explicitLength(length2, count));
}

export function pcmpistri(vcpu: usize, imm: u32): u32 { return indexOf(compareImplicit(vcpu, imm), imm); }
export function pcmpistrm(vcpu: usize, imm: u32): void { giveMask(vcpu, compareImplicit(vcpu, imm), imm); }
export function pcmpestri(vcpu: usize, imm: u32, length1: i64, length2: i64): u32 { return indexOf(compareExplicit(vcpu, imm, length1, length2), imm); }
export function pcmpestrm(vcpu: usize, imm: u32, length1: i64, length2: i64): void { giveMask(vcpu, compareExplicit(vcpu, imm, length1, length2), imm); }
