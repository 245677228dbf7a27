/**
 * Shifts and rotates: ROL ROR RCL RCR SHL SHR SAR SHLD SHRD. A masked count of 0 changes no flag.
 * Implements: SDM vol. 2B SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD. Runs on: see cpu/emit.ts.
 */
import type { Emit, Operand, Size, Value } from '../emit.ts';
import { inst, rw } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';

const CF = 1, OF = 0x800;

/** The count, masked to 5 or 6 bits, in the wasm type of the destination. */
function maskedCount(b: Emit, dst: Operand, count: Operand): Value {
  const wide: Size = dst.size === 8 ? 8 : 4;
  return b.pin(b.and(b.resize(count.read(), wide), b.constant(dst.size === 8 ? 63 : 31, wide)));
}

const shift = (kind: 'shl' | 'shr' | 'sar'): Body => (b, dst, count) => {
  const x = b.pin(dst.read()), n = maskedCount(b, dst, count), result = b.pin(b[kind](x, n));
  dst.write(result);
  b.setShiftFlags(kind, result, x, n);
};
const rotation = (left: boolean): Body => (b, dst, count) => {
  const x = dst.read(), n = maskedCount(b, dst, count), result = b.pin(b.rotate(left, x, n));
  dst.write(result);
  b.setRotateFlags(left, result, n);
};

/** RCL and RCR: a rotation of size + 1 bits, the last of them CF. All in i64, so that no shift count reaches its width. */
const throughCarry = (left: boolean): Body => (b, dst, count) => {
  const size = dst.size as Size, bits = size * 8, masked = maskedCount(b, dst, count), c = (n: number): Value => b.constant(n, 8);
  const reduced = size < 4 ? b.integer('rem_u', masked, b.constant(bits + 1, 4)) : masked;
  const x = b.pin(b.resize(dst.read(), 8)), n = b.pin(b.resize(reduced, 8)), carry = b.pin(b.resize(b.carry(), 8)), rest = b.pin(b.sub(c(bits), n));
  const joined = left
    ? b.or(b.or(b.shl(x, n), b.shl(carry, b.sub(n, c(1)))), b.shr(b.shr(x, rest), c(1)))
    : b.or(b.or(b.shr(x, n), b.shl(carry, rest)), b.shl(b.shl(x, rest), c(1)));
  const none = b.pin(b.isZero(n)), result = b.pin(b.resize(b.select(none, x, joined), size));
  dst.write(result);
  if (!b.flagsWanted) return;
  const out = b.and(left ? b.shr(x, rest) : b.shr(x, b.sub(n, c(1))), c(1));
  const newCarry = b.pin(b.resize(b.select(none, carry, out), 4)), top = (value: Value): Value => b.resize(b.shr(b.resize(value, 8), c(bits - 1)), 4);
  const overflow = left ? b.xor(b.and(top(result), b.constant(1, 4)), newCarry)
    : b.and(b.xor(top(result), b.resize(b.shr(b.resize(result, 8), c(bits - 2)), 4)), b.constant(1, 4));
  b.if(b.resize(masked, 4), () => {
    const kept = b.and(b.eflags(), b.constant(~(CF | OF), 4));
    b.setEflags(b.or(kept, b.or(newCarry, b.shl(overflow, b.constant(11, 4)))));
  });
};

/** SHLD and SHRD; a 16-bit one with a count above 16 is undefined: processors shift the destination in behind the source, and so do we. */
const doubleShift =
  (left: boolean): Body =>
  (b, dst, src, count) => {
    const wide: Size = dst.size === 8 ? 8 : 4,
      x = b.pin(dst.read()),
      y = b.pin(src.read()),
      n = maskedCount(b, dst, count);
    let joined: Value;
    if (dst.size === 2) {
      const whole = b.or(b.or(b.shl(b.resize(x, 8), b.constant(32, 8)), b.shl(b.resize(y, 8), b.constant(16, 8))), b.resize(x, 8));
      joined = b.resize(b.shr(whole, b.resize(left ? b.sub(b.constant(32, 4), n) : n, 8)), 2);
    } else {
      const rest = b.sub(b.constant(dst.size * 8, wide), n);
      joined = left ? b.or(b.shl(x, n), b.shr(y, rest)) : b.or(b.shr(x, n), b.shl(y, rest));
    }
    const result = b.pin(b.select(b.isZero(n), x, joined));
  dst.write(result);
  if (!b.flagsWanted) return;
  // OF (count 1) is the change of the sign, and CF the last bit shifted out of the destination: the record of SHL has both for the left one.
  if (left) b.setShiftFlags('shl', result, x, n);
  else shiftRightDoubleFlags(b, x, result, n, dst.size * 8);
};
function shiftRightDoubleFlags(b: Emit, x: Value, result: Value, n: Value, bits: number): void {
  const carry = b.and(b.resize(b.shr(x, b.sub(n, b.constant(1, n.size as Size))), 4), b.constant(1, 4));
  const overflow = b.and(b.resize(b.shr(b.xor(x, result), b.constant(bits - 1, n.size as Size)), 4), b.constant(1, 4));
  b.if(b.resize(n, 4), () => {
    b.setFlagsLater('logic', result, result, result);
    const kept = b.and(b.eflags(), b.constant(~(CF | OF), 4));
    b.setEflags(b.or(kept, b.or(carry, b.shl(overflow, b.constant(11, 4)))));
  });
}

const ROTATE: Attributes = { flags: 'oc', effect: 'update' };
const SHIFT: Attributes = { flags: 'oszapc', effect: 'update', undefined: 'a' };
const shl = shift('shl');
const GROUP2: readonly (readonly [string, Body, Attributes])[] = [
  ['rol', rotation(true), ROTATE],
  ['ror', rotation(false), ROTATE],
  ['rcl', throughCarry(true), { ...ROTATE, effect: 'through' }],
  ['rcr', throughCarry(false), { ...ROTATE, effect: 'through' }],
  ['shl', shl, SHIFT],
  ['shr', shift('shr'), SHIFT],
  ['shl', shl, SHIFT],
  ['sar', shift('sar'), SHIFT],
];
const shldBody = doubleShift(true), shrdBody = doubleShift(false);

export const shiftLines: readonly Line[] = [
  ...GROUP2.flatMap(([name, body, attributes], digit) => [
    inst(name, [rw('Eb'), 'Ib'], `c0 /${digit}`, body, attributes),
    inst(name, [rw('Ev'), 'Ib'], `c1 /${digit}`, body, attributes),
    inst(name, [rw('Eb'), '1'], `d0 /${digit}`, body, attributes),
    inst(name, [rw('Ev'), '1'], `d1 /${digit}`, body, attributes),
    inst(name, [rw('Eb'), 'CL'], `d2 /${digit}`, body, attributes),
    inst(name, [rw('Ev'), 'CL'], `d3 /${digit}`, body, attributes),
  ]),
  inst('shld', [rw('Ev'), 'Gv', 'Ib'], '0f a4 /r', shldBody, SHIFT),
  inst('shld', [rw('Ev'), 'Gv', 'CL'], '0f a5 /r', shldBody, SHIFT),
  inst('shrd', [rw('Ev'), 'Gv', 'Ib'], '0f ac /r', shrdBody, SHIFT),
  inst('shrd', [rw('Ev'), 'Gv', 'CL'], '0f ad /r', shrdBody, SHIFT),
];
