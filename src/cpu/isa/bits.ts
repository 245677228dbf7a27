/**
 * Bit tests and scans: BT BTS BTR BTC BSF BSR.
 * Implements: SDM vol. 2A BT, BTC, BTR, BTS, BSF, BSR; vol. 2A 3.1.1.9 (bit strings: a register offset reaches memory beyond the operand).
 * Runs on: see cpu/emit.ts.
 */
import type { Emit, Operand, Size, Value } from '../emit.ts';
import { inst, rw, w } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';

const CF = 1, ZF = 0x40;

function testBit(b: Emit, dst: Operand, bitOffset: Value, change: ((x: Value, bit: Value) => Value) | undefined): void {
  const size = dst.size as Size, wide: Size = size === 8 ? 8 : 4;
  const n = b.pin(b.and(b.resize(bitOffset, wide), b.constant(size * 8 - 1, wide))), x = b.pin(dst.read());
  if (change) dst.write(b.resize(change(b.resize(x, wide), b.shl(b.constant(1, wide), n)), size));
  if (!b.flagsWanted) return;
  const carry = b.pin(b.and(b.resize(b.shr(b.resize(x, wide), n), 4), b.constant(1, 4)));
  b.setEflags(b.or(b.and(b.eflags(), b.constant(~CF, 4)), carry));   // OF SF AF PF are undefined: kept, like ZF
}
const byImmediate = (change?: (b: Emit, x: Value, bit: Value) => Value): Body => (b, dst, offset) => {
  testBit(b, dst, offset.read(), change && ((x, bit) => change(b, x, bit)));
};
/** The offset is signed and selects an operand anywhere in memory. */
const byRegister = (change?: (b: Emit, x: Value, bit: Value) => Value): Body => (b, dst, offset) => {
  const size = dst.size as Size, n = b.pin(offset.read());
  if (!dst.isMemory) {
    testBit(b, dst, n, change && ((x, bit) => change(b, x, bit)));
    return;
  }
  const elements = b.sar(b.resize(n, 8, true), b.constant({ 1: 3, 2: 4, 4: 5, 8: 6 }[size], 8));
  const place = dst.displaced(b.shl(elements, b.constant({ 1: 0, 2: 1, 4: 2, 8: 3 }[size], 8)));
  testBit(b, place, n, change && ((x, bit) => change(b, x, bit)));
};

const set = (b: Emit, x: Value, bit: Value): Value => b.or(x, bit);
const reset = (b: Emit, x: Value, bit: Value): Value => b.and(x, b.not(bit));
const flip = (b: Emit, x: Value, bit: Value): Value => b.xor(x, bit);
const FAMILY = [['bt', undefined, 'a3', 4], ['bts', set, 'ab', 5], ['btr', reset, 'b3', 6], ['btc', flip, 'bb', 7]] as const;

/** On a source of 0 the destination is undefined by Intel; processors leave it alone, and so do we. */
const scan = (op: 'ctz' | 'clz'): Body => (b, dst, src) => {
  const size = dst.size as Size, x = b.pin(src.read()), wide: Size = size === 8 ? 8 : 4;
  const position = op === 'ctz' ? b.integer('ctz', x) : b.sub(b.constant(wide * 8 - 1, wide), b.integer('clz', b.resize(x, wide)));
  const zero = b.pin(b.isZero(x));
  b.if(b.isZero(zero), () => dst.write(b.resize(position, size)));
  if (!b.flagsWanted) return;
  b.setEflags(b.or(b.and(b.eflags(), b.constant(~ZF, 4)), b.shl(zero, b.constant(6, 4))));
};

const TEST: Attributes = { flags: 'c', effect: 'update', undefined: 'osap' };
const SCAN: Attributes = { flags: 'z', effect: 'update', undefined: 'osapc' };

export const bits: readonly Line[] = [
  ...FAMILY.flatMap(([name, change, opcode, digit]) => {
    const dst = change ? rw('Ev') : 'Ev', attributes = change ? { ...TEST, lock: true } : TEST;
    return [
      inst(name, [dst, 'Gv'], `0f ${opcode} /r`, byRegister(change), attributes),
      inst(name, [dst, 'Ib'], `0f ba /${digit}`, byImmediate(change), attributes),
    ];
  }),
  inst('bsf', [w('Gv'), 'Ev'], '0f bc /r', scan('ctz'), SCAN),
  inst('bsr', [w('Gv'), 'Ev'], '0f bd /r', scan('clz'), SCAN),
];
