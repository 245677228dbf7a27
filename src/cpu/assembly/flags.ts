/**
 * Lazy flags: from the record to CF PF AF ZF SF OF, and back.
 * Implements: SDM vol. 1 3.4.3.1 Status Flags; the record of cpu/flag-kinds.ts. Runs on: the vCPU's thread.
 */
import {
  AF, ARITHMETIC_FLAGS, CF, FLAG_KIND_ADC, FLAG_KIND_ADD, FLAG_KIND_DEC, FLAG_KIND_INC, FLAG_KIND_MUL, FLAG_KIND_RAW, FLAG_KIND_SAR, FLAG_KIND_SBB,
  FLAG_KIND_SHL, FLAG_KIND_SHR, FLAG_KIND_SUB, FLAG_ROTATED_LEFT, FLAG_ROTATED_RIGHT, OF, PF, SF, ZF,
} from '../flag-kinds.ts';
import { VCPU_FLAG_OP, VCPU_FLAG_P, VCPU_FLAG_Q, VCPU_FLAG_R } from '../../generated/vcpu-layout.ts';

/** CF PF AF ZF SF OF of a record, at their places in RFLAGS. */
export function computeFlags(op: u32, p: i64, q: i64, r: i64): u32 {
  const kind = (op >> 2) & 0x3f;
  let flags: u32;
  if (kind == FLAG_KIND_RAW) flags = <u32>q & ARITHMETIC_FLAGS;
  else {
    const bits: u32 = 8 << (op & 3);
    const up: i64 = 64 - bits;
    let result = p;
    let carry = false, overflow = false, adjust = false;
    if (kind == FLAG_KIND_SUB) {
      result = ((p - q) << up) >> up;
      const x: u64 = p, y: u64 = q;
      carry = x < y;
      overflow = ((p ^ q) & (p ^ result)) < 0;
      adjust = ((p ^ q ^ result) & 0x10) != 0;
    } else if (kind == FLAG_KIND_ADD || kind == FLAG_KIND_ADC) {
      const one: i64 = kind == FLAG_KIND_ADC ? 1 : 0;
      const x = ((p - q - one) << up) >> up;
      carry = one != 0 ? <u64>p <= <u64>q : <u64>p < <u64>q;
      overflow = ((p ^ x) & (p ^ q)) < 0;
      adjust = ((x ^ q ^ p) & 0x10) != 0;
    } else if (kind == FLAG_KIND_SBB) {
      const x = ((p + q + 1) << up) >> up;
      carry = <u64>x <= <u64>q;
      overflow = ((x ^ q) & (x ^ p)) < 0;
      adjust = ((x ^ q ^ p) & 0x10) != 0;
    } else if (kind == FLAG_KIND_INC) {
      carry = q != 0;
      overflow = p == <i64>0x8000_0000_0000_0000 >> up;
      adjust = (p & 15) == 0;
    } else if (kind == FLAG_KIND_DEC) {
      carry = q != 0;
      overflow = p == ~(<i64>0x8000_0000_0000_0000 >> up);
      adjust = (p & 15) == 15;
    } else if (kind == FLAG_KIND_MUL) {
      carry = q != 0;
      overflow = carry;
    } else {
      // Shifts; a count beyond the operand shifts zeros (SHL, SHR) or copies of the sign (SAR) through CF.
      const count: i64 = op >> 16;
      if (kind == FLAG_KIND_SHL) {
        carry = count <= bits && ((q >> (<i64>bits - count)) & 1) != 0;
        overflow = (p < 0) != carry;
      } else if (kind == FLAG_KIND_SHR) {
        const old: u64 = (<u64>q << up) >> up;
        carry = count <= bits && ((old >> (count - 1)) & 1) != 0;
        overflow = ((<u64>p >> (bits - 2)) & 1) != 0;   // the old top bit, where the count is 1
      } else {
        carry = ((q >> (count > 63 ? 63 : count - 1)) & 1) != 0;
      }
    }
    const parity = (popcnt<u32>(<u32>result & 0xff) & 1) == 0;
    flags = (carry ? CF : 0) | (parity ? PF : 0) | (adjust ? AF : 0) | (result == 0 ? ZF : 0) | (result < 0 ? SF : 0) | (overflow ? OF : 0);
  }
  if ((op & (FLAG_ROTATED_LEFT | FLAG_ROTATED_RIGHT)) != 0) {
    flags &= ~(CF | OF);
    const top = r < 0;
    if ((op & FLAG_ROTATED_LEFT) != 0) {
      const low = (r & 1) != 0;
      flags |= (low ? CF : 0) | (low != top ? OF : 0);
    } else {
      const second = ((r >> ((<i64>8 << ((op >> 10) & 3)) - 2)) & 1) != 0;
      flags |= (top ? CF : 0) | (top != second ? OF : 0);
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
  store<u32>(vcpu + VCPU_FLAG_OP, FLAG_KIND_RAW << 2);
  store<i64>(vcpu + VCPU_FLAG_P, 0);
  store<i64>(vcpu + VCPU_FLAG_Q, bits & ARITHMETIC_FLAGS);
}
