/**
 * Packed string comparison: PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM.
 * Implements: SDM vol. 2B 4.1 and rows of those names. Runs on: see cpu/emit.ts; the work is in cpu/assembly/strings-sse.ts.
 */
import { RAX, RCX, RDX } from '../emit.ts';
import type { Emit, Operand, Value } from '../emit.ts';
import { inst } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';
import { SSE42 } from './packed.ts';

const FIRST = 0, SECOND = 2;
/** The operands to scratch. @returns the control byte. */
function operandsOf(b: Emit, x: Operand, y: Operand, imm: Operand): Value {
  const second = y.read();
  b.setField('scratch', 'v128', x.read(), FIRST);
  b.setField('scratch', 'v128', second, SECOND);
  return b.resize(imm.read(), 4);
}
/** EAX and EDX, or with REX.W RAX and RDX. */
const lengthIn = (b: Emit, register: number): Value => b.signedWide(b.register(register, b.operandSize === 8 ? 8 : 4).read());
const giveIndex = (b: Emit, index: Value): void => b.register(RCX, 4).write(index);
const giveMask = (b: Emit): void => b.vector(0).write(b.field('scratch', 'v128', FIRST));

const implicitIndex: Body = (b, x, y, imm) => giveIndex(b, b.call('pcmpistri', operandsOf(b, x, y!, imm!)));
const implicitMask: Body = (b, x, y, imm) => {
  b.call('pcmpistrm', operandsOf(b, x, y!, imm!));
  giveMask(b);
};
const explicitIndex: Body = (b, x, y, imm) => giveIndex(b, b.call('pcmpestri', operandsOf(b, x, y!, imm!), lengthIn(b, RAX), lengthIn(b, RDX)));
const explicitMask: Body = (b, x, y, imm) => {
  b.call('pcmpestrm', operandsOf(b, x, y!, imm!), lengthIn(b, RAX), lengthIn(b, RDX));
  giveMask(b);
};
const STRING: Attributes = { ...SSE42, flags: 'oszapc', unaligned: true };

export const packedString: readonly Line[] = [
  inst('pcmpestrm', ['Vx', 'Wx', 'Ib'], '66 0f 3a 60 /r', explicitMask, STRING),
  inst('pcmpestri', ['Vx', 'Wx', 'Ib'], '66 0f 3a 61 /r', explicitIndex, STRING),
  inst('pcmpistrm', ['Vx', 'Wx', 'Ib'], '66 0f 3a 62 /r', implicitMask, STRING),
  inst('pcmpistri', ['Vx', 'Wx', 'Ib'], '66 0f 3a 63 /r', implicitIndex, STRING),
];
