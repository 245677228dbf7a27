/**
 * Lazy flags: from the record to CF PF AF ZF SF OF, and back.
 * Implements: SDM vol. 1 3.4.3.1 Status Flags; the record of cpu/flag-kinds.ts. Runs on: the vCPU's thread.
 */
import {
  FLAG_ADC, FLAG_ADD, FLAG_AF, FLAG_CF, FLAG_DEC, FLAG_IMUL, FLAG_INC, FLAG_MUL, FLAG_OF, FLAG_PF, FLAG_RAW, FLAG_ROTATED_LEFT, FLAG_ROTATED_RIGHT, FLAG_SBB, FLAG_SF,
  FLAG_SHL, FLAG_SHR, FLAG_STATUS, FLAG_SUB, FLAG_ZF,
} from '../flag-kinds.ts';
import { multiplyHighSigned } from './integer';
import { VCPU_FLAG_OP, VCPU_FLAG_P, VCPU_FLAG_Q, VCPU_FLAG_R, VCPU_RFLAGS } from '../../generated/vcpu-layout.ts';

/** CF PF AF ZF SF OF of a record, at their places in RFLAGS. */
export function computeFlags(op: u32, first: i64, second: i64, rotated: i64): u32 {
  const kind = (op >> 2) & 0x3f;
  let flags: u32;
  if (kind == FLAG_RAW) flags = <u32>second & FLAG_STATUS;
  else {
    const bits: u32 = 8 << (op & 3);
    const up: i64 = 64 - bits, p = (first << up) >> up, q = (second << up) >> up;
    let result = p;
    let carry = false, overflow = false, adjust = false;
    if (kind == FLAG_SUB) {
      result = ((p - q) << up) >> up;
      const x: u64 = p, y: u64 = q;
      carry = x < y;
      overflow = ((p ^ q) & (p ^ result)) < 0;
      adjust = ((p ^ q ^ result) & 0x10) != 0;
    } else if (kind == FLAG_ADD || kind == FLAG_ADC) {
      const one: i64 = kind == FLAG_ADC ? 1 : 0;
      const x = ((p - q - one) << up) >> up;
      carry = one != 0 ? <u64>p <= <u64>q : <u64>p < <u64>q;
      overflow = ((p ^ x) & (p ^ q)) < 0;
      adjust = ((x ^ q ^ p) & 0x10) != 0;
    } else if (kind == FLAG_SBB) {
      const x = ((p + q + 1) << up) >> up;
      carry = <u64>x <= <u64>q;
      overflow = ((x ^ q) & (x ^ p)) < 0;
      adjust = ((x ^ q ^ p) & 0x10) != 0;
    } else if (kind == FLAG_INC) {
      carry = q != 0;
      overflow = p == <i64>0x8000_0000_0000_0000 >> up;
      adjust = (p & 15) == 0;
    } else if (kind == FLAG_DEC) {
      carry = q != 0;
      overflow = p == ~(<i64>0x8000_0000_0000_0000 >> up);
      adjust = (p & 15) == 15;
    } else if (kind == FLAG_MUL) {
      carry = q != 0;
      overflow = carry;
    } else if (kind == FLAG_IMUL) {
      result = ((p * q) << up) >> up;
      carry = bits == 64 ? multiplyHighSigned(0, p, q) != result >> 63 : p * q != result;
      overflow = carry;
    } else {
      // Shifts; a count beyond the operand shifts zeros (SHL, SHR) or copies of the sign (SAR) through CF.
      const count: i64 = op >> 16;
      if (kind == FLAG_SHL) {
        carry = count <= <i64>bits && ((q >> (<i64>bits - count)) & 1) != 0;
        overflow = (p < 0) != carry;
      } else if (kind == FLAG_SHR) {
        const old: u64 = (<u64>q << up) >> up;
        carry = count <= <i64>bits && ((old >> (count - 1)) & 1) != 0;
        overflow = (((p ^ (p << 1)) >> (bits - 1)) & 1) != 0;   // SHRD by 1: the sign changed; SHR: the old top bit
      } else {
        carry = ((q >> (count > 63 ? 63 : count - 1)) & 1) != 0;
      }
    }
    const parity = (popcnt<u32>(<u32>result & 0xff) & 1) == 0;
    flags = (carry ? FLAG_CF : 0) | (parity ? FLAG_PF : 0) | (adjust ? FLAG_AF : 0) | (result == 0 ? FLAG_ZF : 0) | (result < 0 ? FLAG_SF : 0) | (overflow ? FLAG_OF : 0);
  }
  if ((op & (FLAG_ROTATED_LEFT | FLAG_ROTATED_RIGHT)) != 0) {
    flags &= ~(FLAG_CF | FLAG_OF);
    const bits: i64 = <i64>8 << ((op >> 10) & 3), top = ((rotated >> (bits - 1)) & 1) != 0;
    if ((op & FLAG_ROTATED_LEFT) != 0) {
      const low = (rotated & 1) != 0;
      flags |= (low ? FLAG_CF : 0) | (low != top ? FLAG_OF : 0);
    } else {
      const next = ((rotated >> (bits - 2)) & 1) != 0;
      flags |= (top ? FLAG_CF : 0) | (top != next ? FLAG_OF : 0);
    }
  }
  return flags;
}

/** CF PF AF ZF SF OF of this vCPU. */
export function readFlags(vcpu: usize): u32 {
  return computeFlags(load<u32>(vcpu + VCPU_FLAG_OP), load<i64>(vcpu + VCPU_FLAG_P), load<i64>(vcpu + VCPU_FLAG_Q), load<i64>(vcpu + VCPU_FLAG_R));
}

/** Set CF PF AF ZF SF OF from `bits`; other bits are ignored. */
export function writeFlags(vcpu: usize, bits: u32): void {
  store<u32>(vcpu + VCPU_FLAG_OP, FLAG_RAW << 2);
  store<i64>(vcpu + VCPU_FLAG_P, 0);
  store<i64>(vcpu + VCPU_FLAG_Q, bits & FLAG_STATUS);
}

/** Set ZF alone: LAR, LSL, VERR, VERW, ARPL. */
export function setZero(vcpu: usize, zero: bool): void {
  writeFlags(vcpu, (readFlags(vcpu) & ~FLAG_ZF) | (zero ? FLAG_ZF : 0));
}

/** The whole of RFLAGS. */
export function readRflags(vcpu: usize): u64 {
  return load<u64>(vcpu, VCPU_RFLAGS) | <u64>readFlags(vcpu) | 2;
}

/** Store the whole of RFLAGS; the caller has masked what may change, and calls updateAccessClass after it. */
export function storeRflags(vcpu: usize, value: u64): void {
  writeFlags(vcpu, <u32>value);
  store<u64>(vcpu, (value & ~<u64>FLAG_STATUS) | 2, VCPU_RFLAGS);
}
