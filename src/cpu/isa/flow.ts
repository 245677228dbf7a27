/**
 * Control flow within a code segment: JMP CALL RET Jcc LOOP JrCXZ, and SETcc CMOVcc which ask the same conditions.
 * Implements: SDM vol. 2A CALL, Jcc, JMP, CMOVcc; 2B LOOP, RET, SETcc. Runs on: see cpu/emit.ts.
 */
import { RCX } from '../emit.ts';
import type { Emit, Operand, Value } from '../emit.ts';
import { SEG } from '../state.ts';
import { inst, rw, w } from './inst.ts';
import type { Body, Line } from './inst.ts';

const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'] as const;
const GP = 13;

/** A near target from a register or memory: canonical in 64-bit mode, within the code segment elsewhere. */
function nearTarget(b: Emit, value: Value): Value {
  const rip = b.pin(b.resize(value, 8));
  if (b.long) {
    const sixteen = b.constant(16, 8);
    b.if(b.compare('ne', b.sar(b.shl(rip, sixteen), sixteen), rip), () => b.raise(GP, 'error'));
  } else b.call('checkNear', rip);
  return rip;
}

const callRelative: Body = (b, target) => {
  const to = b.pin(target.read());
  if (!b.long) b.call('checkNear', to);
  b.push(b.resize(b.nextRip(), b.operandSize));
  b.callTo(target, to);
};
/** Processors write the return address before they find that the target is not canonical; rSP moves only after that. */
const callIndirect: Body = (b, target) => {
  const value = b.pin(target.read()), size = b.operandSize;
  b.store(b.stackAddress(-size, size, 'write'), b.resize(b.nextRip(), size), b.constant(SEG.SS, 4));
  const to = nearTarget(b, value);
  b.dropStack(-size);
  b.callTo(target, to);
};
const ret: Body = (b, release?: Operand) => {
  const size = b.operandSize, to = nearTarget(b, b.top(size));
  b.setStackPointer(b.integer('add', b.stackPointer(), release ? b.integer('add', b.resize(b.resize(release.read(), 4), 8), b.constant(size, 8)) : b.constant(size, 8)));
  b.returnTo(to);
};
/** LOOP, LOOPE, LOOPNE: the count is decremented without touching a flag. */
const loop = (cc: number | undefined): Body => (b, target) => {
  const counter = b.register(RCX, b.addressSize), count = b.pin(b.sub(counter.read(), b.constant(1, b.addressSize)));
  counter.write(count);
  const more = b.compare('ne', count, b.constant(0, b.addressSize));
  b.branch(cc === undefined ? more : b.and(more, b.condition(cc)), target);
};

export const flow: readonly Line[] = [
  ...CONDITIONS.flatMap((name, cc) => {
    const jump: Body = (b, target) => b.branch(b.condition(cc), target);
    const at = (base: number): string => (base + cc).toString(16);
    return [
      inst(`j${name}`, ['Jb'], at(0x70), jump, { effect: 'read', ends: 'branch', f64: true }),
      inst(`j${name}`, ['Jz'], `0f ${at(0x80)}`, jump, { effect: 'read', ends: 'branch', f64: true }),
      inst(`set${name}`, [w('Eb')], `0f ${at(0x90)} /r`, (b, dst) => dst.write(b.resize(b.condition(cc), 1)), { effect: 'read' }),
      inst(`cmov${name}`, [rw('Gv'), 'Ev'], `0f ${at(0x40)} /r`, (b, dst, src) => {
        const value = b.pin(src.read());   // read whether or not it is moved
        dst.write(b.select(b.condition(cc), value, dst.read()));
      }, { effect: 'read' }),
    ];
  }),
  inst('jmp', ['Jb'], 'eb', (b, target) => b.jump(target), { ends: 'jump', f64: true }),
  inst('jmp', ['Jz'], 'e9', (b, target) => b.jump(target), { ends: 'jump', f64: true }),
  inst('jmp', ['Ev'], 'ff /4', (b, target) => b.jumpTo(nearTarget(b, target.read())), { ends: 'return', f64: true }),
  inst('call', ['Jz'], 'e8', callRelative, { ends: 'call', f64: true }),
  inst('call', ['Ev'], 'ff /2', callIndirect, { ends: 'call', f64: true }),
  inst('ret', [], 'c3', ret, { ends: 'return', f64: true }),
  inst('ret', ['Iw'], 'c2', ret, { ends: 'return', f64: true }),
  inst('loopne', ['Jb'], 'e0', loop(5), { effect: 'read', ends: 'branch', f64: true }),
  inst('loope', ['Jb'], 'e1', loop(4), { effect: 'read', ends: 'branch', f64: true }),
  inst('loop', ['Jb'], 'e2', loop(undefined), { ends: 'branch', f64: true }),
  inst('jrcxz', ['Jb'], 'e3', (b, target) => b.branch(b.isZero(b.counter(RCX)), target), { ends: 'branch', f64: true }),
];
