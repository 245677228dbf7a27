/**
 * What all x87 lines share: last opcode and data pointer, and values of ten bytes in memory.
 * Implements: SDM vol. 1 8.1.8 Instruction and Operand (Data) Pointers, 8.1.9 Last Instruction Opcode, 8.6 synchronization.
 * Runs on: see cpu/emit.ts; the rules for callers of the helpers are in cpu/assembly/x87.ts.
 */
import type { Emit, Operand, Value } from '../emit.ts';
import { inst } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';

const F80_BYTES = 10;

export const number = (b: Emit, value: number): Value => b.constant(value, 4);

/** A line that records its opcode and operand: all but the control instructions. Its body sees neither. */
export function x87(name: string, operands: readonly string[], encoding: string, body: Body, attributes: Attributes = {}): Line {
  return inst(name, [...operands, 'opcode'], encoding, recorded(body), { cpuid: 'fpu', ...attributes, fpu: 'x87' });
}

const FSW_ES = 0x80;
/** FWAIT: #MF for an exception that is pending. */
export const wait = (b: Emit): void => b.if(b.and(b.field('fsw', 'i32'), number(b, FSW_ES)), () => b.call('fpuWait'));

/** One wrapper for each body: handlers are shared by its identity. */
const wrappers = new Map<Body, Body>();

function recorded(body: Body): Body {
  const known = wrappers.get(body);
  if (known) return known;
  const wrapper: Body = (b, ...operands) => {
    const opcode = operands.pop() as Operand, memory = operands.find((operand) => operand.isMemory);
    b.setField('fpuOpcode', 'i32', opcode.read());
    if (memory) {
      b.setField('fpuOperand', 'i64', memory.address());
      wait(b);                               // an exception that is pending comes before those of the memory operand
    }
    body(b, ...operands);
  };
  wrappers.set(body, wrapper);
  return wrapper;
}

/** Linear address of the last two bytes of an m80. */
function tail(b: Emit, at: Value): Value {
  const sum = b.integer('add', at, b.constant(8, 8));
  return b.long ? sum : b.and(sum, b.constant(0xffff_ffff, 8));
}

/** m80 to scratch[0..1]. */
export function loadTen(b: Emit, src: Operand): void {
  const at = b.pin(src.linear(F80_BYTES, 'read')), segment = src.segment();
  const low = b.load(at, 8, segment), high = b.load(tail(b, at), 2, segment);
  b.setField('scratch', 'i64', low, 0);
  b.setField('scratch', 'i64', b.resize(high, 8), 1);
}

/** scratch[0..1] to m80. Processors store it in two pieces: when the second faults, the first is in memory. */
export function storeTen(b: Emit, dst: Operand): void {
  const at = b.pin(dst.linear(F80_BYTES, 'write')), segment = dst.segment();
  const low = b.pin(b.field('scratch', 'i64', 0)), high = b.pin(b.resize(b.field('scratch', 'i32', 1), 2)), rest = b.pin(tail(b, at));
  b.store(at, low, segment);
  b.store(rest, high, segment);
}
