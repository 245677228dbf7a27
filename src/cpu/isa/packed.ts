/**
 * What MMX and SSE lines share: one body for both, over v128 values. An MMX operand is a v128 whose two halves are equal.
 * Implements: SDM vol. 1 9.6 (state of the x87 FPU after MMX instructions), 10.2 SSE registers. Runs on: see cpu/emit.ts.
 */
import type { Emit, Operand, Value } from '../emit.ts';
import { VCPU } from '../state.ts';
import { inst, rw } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';

export const MMX: Attributes = { fpu: 'mmx', cpuid: 'mmx' };
export const SSE2: Attributes = { fpu: 'sse', cpuid: 'sse2' };
export const SSSE3: Attributes = { fpu: 'sse', cpuid: 'ssse3' };
export const SSE41: Attributes = { fpu: 'sse', cpuid: 'sse4.1' };
export const SSE42: Attributes = { fpu: 'sse', cpuid: 'sse4.2' };
const MMX_BYTES = 8;

export const ZEROS: readonly number[] = new Array<number>(16).fill(0);
export const IOTA: readonly number[] = ZEROS.map((_, index) => index);
/** Sixteen bytes from elements of `sizeBytes`. */
export const elements = (sizeBytes: number, values: readonly number[]): number[] =>
  values.flatMap((value) => Array.from({ length: sizeBytes }, (_, index) => Math.floor(value / 256 ** index) & 0xff));

export const int = (b: Emit, value: number): Value => b.constant(value, 4);
/** A register of 16 bytes as it is; anything smaller zero-extended to 64 bits, in both halves. */
export const vectorOf = (b: Emit, operand: Operand): Value => (operand.size === 16 ? operand.read() : b.plain('i64x2.splat', b.resize(operand.read(), 8)));
export const low64 = (b: Emit, vector: Value): Value => b.lane('i64x2.extract_lane', 0, vector);
/** A v128 with `value`, an i64, in its low half and zero above. */
export const fromLow64 = (b: Emit, value: Value): Value => b.lane('i64x2.replace_lane', 0, b.v128(ZEROS), value);

/** #MF comes before a fault of the memory operand. */
export function beforeMemory(b: Emit, operand: Operand): void {
  if (operand.isMemory) b.call('fpuWait');
}
/** The last thing an MMX instruction does: MMn := an i64. */
export function commitMmx(b: Emit, dst: Operand, value: Value): void {
  const result = b.pin(value);
  b.call('mmxEnter');
  b.call('mmxWrite', b.shr(b.integer('sub', dst.offset(), int(b, VCPU.offset.fpr)), int(b, 4)), result);
}

/** @param half an MMX operation: only the low eight bytes count. */
export type VectorOperation = (b: Emit, x: Value, y: Value, half: boolean) => Value;

/** dst := op(dst, src), in MMX or XMM registers. */
export const binary = (operation: VectorOperation): Body => (b, dst, src) => {
  if (dst.size !== MMX_BYTES) {
    const y = vectorOf(b, src);
    dst.write(operation(b, dst.read(), y, false));
    return;
  }
  beforeMemory(b, src);
  const y = vectorOf(b, src);
  commitMmx(b, dst, low64(b, operation(b, vectorOf(b, dst), y, true)));
};

/** dst := op(dst, src, imm8). */
export const withImmediate = (operation: (b: Emit, x: Value, y: Value, imm: Value, half: boolean) => Value): Body => {
  return (b, dst, src, imm) => binary((_, x, y, half) => operation(b, x, y, imm!.read(), half))(b, dst, src!);
};

/**
 * The MMX and the SSE line of one instruction.
 * @param mmxSince the feature that brought the MMX form, where it is not MMX.
 */
export function both(name: string, opcode: string, body: Body, sse: Attributes = SSE2, mmxSince = 'mmx', trailing: readonly string[] = []): Line[] {
  return [
    inst(name, [rw('Pq'), 'Qq', ...trailing], `np 0f ${opcode} /r`, body, { ...MMX, cpuid: mmxSince }),
    inst(name, [rw('Vx'), 'Wx', ...trailing], `66 0f ${opcode} /r`, body, sse),
  ];
}
