/**
 * Packed shifts, by a register, memory or an immediate; counts beyond the width give zero, or copies of the sign.
 * Implements: SDM vol. 2B PSLLW/PSLLD/PSLLQ, PSLLDQ, PSRAW/PSRAD, PSRLW/PSRLD/PSRLQ, PSRLDQ, PALIGNR. Runs on: see cpu/emit.ts.
 */
import type { Emit, Value } from '../emit.ts';
import type { PlainOp } from '../wasm/opcodes.ts';
import { inst, rw } from './inst.ts';
import type { Body, Line } from './inst.ts';
import { IOTA, MMX, SSE2, SSSE3, ZEROS, binary, both, commitMmx, int, low64, vectorOf, withImmediate } from './packed.ts';

interface Shift {
  readonly name: string;
  readonly bits: number;
  readonly operation: PlainOp;
  readonly arithmetic: boolean;
  /** Second opcode byte of the form with a register count; of the form with an immediate, with ModRM.reg. */
  readonly opcode: string;
  readonly immediate: string;
}

const SHIFTS: readonly Shift[] = [
  { name: 'psrlw', bits: 16, operation: 'i16x8.shr_u', arithmetic: false, opcode: 'd1', immediate: '71 /2' },
  { name: 'psrld', bits: 32, operation: 'i32x4.shr_u', arithmetic: false, opcode: 'd2', immediate: '72 /2' },
  { name: 'psrlq', bits: 64, operation: 'i64x2.shr_u', arithmetic: false, opcode: 'd3', immediate: '73 /2' },
  { name: 'psraw', bits: 16, operation: 'i16x8.shr_s', arithmetic: true, opcode: 'e1', immediate: '71 /4' },
  { name: 'psrad', bits: 32, operation: 'i32x4.shr_s', arithmetic: true, opcode: 'e2', immediate: '72 /4' },
  { name: 'psllw', bits: 16, operation: 'i16x8.shl', arithmetic: false, opcode: 'f1', immediate: '71 /6' },
  { name: 'pslld', bits: 32, operation: 'i32x4.shl', arithmetic: false, opcode: 'f2', immediate: '72 /6' },
  { name: 'psllq', bits: 64, operation: 'i64x2.shl', arithmetic: false, opcode: 'f3', immediate: '73 /6' },
];

/** @param count an i32 or i64, unsigned. */
function shifted(b: Emit, { bits, operation, arithmetic }: Shift, x: Value, count: Value): Value {
  const beyond = b.compare('gt_u', count, b.constant(bits - 1, count.size === 8 ? 8 : 4)), n = b.resize(count, 4);
  if (arithmetic) return b.plain(operation, x, b.select(beyond, int(b, bits - 1), n));
  return b.select(beyond, b.v128(ZEROS), b.plain(operation, x, n));
}

const byImmediate = (shift: Shift): Body => (b, dst, imm) => {
  const count = b.resize(imm!.read(), 4);
  if (dst.size === 16) dst.write(shifted(b, shift, dst.read(), count));
  else commitMmx(b, dst, low64(b, shifted(b, shift, vectorOf(b, dst), count)));
};

const bits = SHIFTS.flatMap((shift): Line[] => [
  ...both(shift.name, shift.opcode, binary((b, x, y) => shifted(b, shift, x, b.pin(low64(b, y))))),
  ...((body): Line[] => [
    inst(shift.name, [rw('Nq'), 'Ib'], `np 0f ${shift.immediate}`, body, MMX),
    inst(shift.name, [rw('Ux'), 'Ib'], `66 0f ${shift.immediate}`, body, SSE2),
  ])(byImmediate(shift)),
]);

/** Bytes of `x` at their own place plus `by`, an i32 between -16 and 32; 0 where that lies outside. */
const moved = (b: Emit, x: Value, by: Value): Value => b.plain('i8x16.swizzle', x, b.plain('i8x16.add', b.v128(IOTA), b.plain('i8x16.splat', by)));
const atMost = (b: Emit, value: Value, limit: number): Value => b.select(b.compare('gt_u', value, int(b, limit)), int(b, limit), value);
const wholeRegister = (left: boolean): Body => (b, dst, imm) => {
  const count = b.pin(atMost(b, b.pin(b.resize(imm!.read(), 4)), 16));
  dst.write(moved(b, dst.read(), left ? b.integer('sub', int(b, 0), count) : count));
};

/** PALIGNR: x above y, moved down by bytes. */
const align = withImmediate((b, x, y, imm, half) => {
  const count = b.pin(atMost(b, b.pin(b.resize(imm, 4)), half ? 16 : 32));
  if (half) return moved(b, b.lane('i64x2.replace_lane', 1, y, low64(b, x)), count);
  return b.plain('v128.or', moved(b, y, count), moved(b, x, b.integer('sub', count, int(b, 16))));
});

export const packedShift: readonly Line[] = [
  ...bits,
  inst('psrldq', [rw('Ux'), 'Ib'], '66 0f 73 /3', wholeRegister(false), SSE2),
  inst('pslldq', [rw('Ux'), 'Ib'], '66 0f 73 /7', wholeRegister(true), SSE2),
  ...both('palignr', '3a 0f', align, SSSE3, 'ssse3', ['Ib']),
];
