/**
 * The stack: PUSH POP PUSHA POPA PUSHF POPF ENTER LEAVE.
 * Implements: SDM vol. 2B PUSH, POP, ...; vol. 1 6.2 Stacks. Runs on: see cpu/emit.ts.
 */
import { RBP, RSP } from '../emit.ts';
import type { Operand, Size } from '../emit.ts';
import { SEG } from '../state.ts';
import { inst, w } from './inst.ts';
import type { Body, Line } from './inst.ts';

const push: Body = (b, src) => b.push(b.resize(src.read(), b.operandSize, true));
const pop: Body = (b, dst) => {
  const value = b.top(dst.size as Size);
  b.dropStack(dst.size);
  dst.write(value);                        // POP rSP: what was popped wins
};
/** The address of the destination is computed with rSP already moved (SDM 2B POP), the store may still fault. */
const popMemory: Body = (b, dst) => {
  const size = dst.size as Size, value = b.top(size), rsp = b.register(RSP, 8), old = b.pin(rsp.read());
  b.dropStack(size);
  const moved = b.pin(rsp.read()), offset = b.pin(dst.address());
  rsp.write(old);
  b.store(b.dataLinear(offset, size, 'write'), value, b.dataSegment());
  rsp.write(moved);
};

/** A 32-bit push of a segment register writes its lower half alone, as processors do (SDM 2B PUSH). */
const pushSegment =
  (segment: keyof typeof SEG): Body =>
  (b) => {
    const selector = b.and(b.field('segSelector', 'i32', SEG[segment]), b.constant(0xffff, 4)),
      size = b.operandSize;
    if (size === 4) {
      b.store(b.stackAddress(-4, 2, 'write'), b.resize(selector, 2), b.constant(SEG.SS, 4));
      b.dropStack(-4);
    } else b.push(b.resize(selector, size));
  };
/** Whatever the operand size, only the selector is read. */
const popSegment =
  (segment: keyof typeof SEG): Body =>
  (b) => {
    const selector = b.pin(b.resize(b.top(2), 4));
    const size = b.operandSize,
      pointer = b.pin(b.stackPointer());
    b.call('moveToSegment', b.constant(SEG[segment], 4), selector); // POP SS may change the width of the stack; the pop used the old one
    b.setStackPointer(b.integer('add', pointer, b.constant(size, 8)));
  };
const SEGMENTS: readonly (readonly [keyof typeof SEG, string, string | undefined, boolean])[] = [
  ['ES', '06', '07', false], ['CS', '0e', undefined, false], ['SS', '16', '17', false], ['DS', '1e', '1f', false], ['FS', '0f a0', '0f a1', true], ['GS', '0f a8', '0f a9', true],
];

const leave: Body = (b) => {
  const size = b.operandSize, old = b.register(RBP, 8).read();
  const frame = b.pin(b.long ? old : b.integer('and', old, b.field('stackMask', 'i64')));
  const value = b.load(b.linearOf('SS', frame, size, 'read'), size, b.constant(SEG.SS, 4));
  b.setStackPointer(b.integer('add', frame, b.constant(size, 8)));
  b.register(RBP, size).write(value);
};

export const stack: readonly Line[] = [
  inst('push', ['Zv'], '50+r', push, { d64: true }),
  inst('pop', [w('Zv')], '58+r', pop, { d64: true }),
  inst('push', ['Iz'], '68', push, { d64: true }),
  inst('push', ['Ibs'], '6a', push, { d64: true }),
  inst('push', ['Ev'], 'ff /6', push, { d64: true }),
  inst('pop', [w('Rv')], '8f /0', pop, { d64: true }),
  inst('pop', [w('Mv')], '8f /0', popMemory, { d64: true }),
  ...SEGMENTS.flatMap(([segment, pushOpcode, popOpcode, long]) => [
    inst('push', [], pushOpcode, pushSegment(segment), { d64: true, mode: long ? 'any' : 'not64' }),
    ...(popOpcode ? [inst('pop', [], popOpcode, popSegment(segment), { d64: true, mode: long ? 'any' : 'not64', ends: 'system' })] : []),
  ]),
  inst('pusha', [], '60', (b) => b.call('pushAll', b.constant(b.operandSize, 4)), { mode: 'not64' }),
  inst('popa', [], '61', (b) => b.call('popAll', b.constant(b.operandSize, 4)), { mode: 'not64' }),
  inst('pushf', [], '9c', (b) => b.push(b.resize(b.call('pushFlags'), b.operandSize)), { d64: true, effect: 'read' }),
  inst('popf', [], '9d', (b) => {
    const value = b.resize(b.top(b.operandSize), 8);
    b.call('popFlags', value, b.constant(b.operandSize, 4));
    b.dropStack(b.operandSize);
  }, { d64: true, flags: 'oszapc', ends: 'system' }),
  inst('enter', ['Iw', 'Ib'], 'c8', (b, frame: Operand, level: Operand) => {
    b.call('enter', b.constant(b.operandSize, 4), b.resize(frame.read(), 4), b.and(b.resize(level.read(), 4), b.constant(31, 4)));
  }, { d64: true }),
  inst('leave', [], 'c9', leave, { d64: true }),
];
