/**
 * Integer addition, subtraction, logic and comparison: ADD OR ADC SBB AND SUB XOR CMP TEST INC DEC NEG NOT.
 * Implements: SDM vol. 2A/2B ADD, ADC, ...; SDM vol. 1 3.4.3.1 Status Flags. Runs on: see cpu/emit.ts.
 */
import type { Size } from '../emit.ts';
import { inst, rw } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';

const sum: Body = (b, dst, src) => {
  const x = b.pin(dst.read()), y = b.pin(src.read()), result = b.pin(b.add(x, y));
  dst.write(result);                       // may fault, so before the flags
  b.setFlagsLater('add', x, y, result);
};
const difference: Body = (b, dst, src) => {
  const x = b.pin(dst.read()), y = b.pin(src.read());
  dst.write(b.sub(x, y));
  b.setFlagsLater('sub', x, y, x);
};
const comparison: Body = (b, dst, src) => {
  const x = b.pin(dst.read()), y = b.pin(src.read());
  b.setFlagsLater('sub', x, y, x);
};
/** ADC and SBB: with CF clear they leave the record of ADD and SUB. */
const withCarry = (subtract: boolean): Body => (b, dst, src) => {
  const x = b.pin(dst.read()), y = b.pin(src.read()), carry = b.pin(b.carry());
  const c = b.resize(carry, dst.size as Size), size = dst.size;
  const result = b.pin(subtract ? b.sub(b.sub(x, y), c) : b.add(b.add(x, y), c));
  dst.write(result);
  const op = (kind: 'add' | 'adc' | 'sub' | 'sbb') => b.constant(b.flagOp(kind, size), 4);
  if (subtract) b.setFlags(b.select(carry, op('sbb'), op('sub')), b.select(carry, result, x), y);
  else b.setFlags(b.select(carry, op('adc'), op('add')), result, y);
};
const logic = (op: 'and' | 'or' | 'xor'): Body => (b, dst, src) => {
  const result = b.pin(b[op](dst.read(), src.read()));
  dst.write(result);
  b.setFlagsLater('logic', result, result, result);
};
const or = logic('or'), and = logic('and'), xor = logic('xor'), adc = withCarry(false), sbb = withCarry(true);
const test: Body = (b, x, y) => {
  const result = b.pin(b.and(x.read(), y.read()));
  b.setFlagsLater('logic', result, result, result);
};
/** INC and DEC keep CF. */
const step = (kind: 'inc' | 'dec'): Body => (b, dst) => {
  const x = dst.read(), one = b.constant(1, dst.size as Size), result = b.pin(kind === 'inc' ? b.add(x, one) : b.sub(x, one));
  if (!b.flagsWanted) {
    dst.write(result);
    return;
  }
  const carry = b.pin(b.carry());
  dst.write(result);
  b.setFlagsLater(kind, result, b.resize(carry, dst.size as Size), result);
};
const increment = step('inc'), decrement = step('dec');
const complement: Body = (b, dst) => dst.write(b.not(dst.read()));
const negation: Body = (b, dst) => {
  const x = b.pin(dst.read()), zero = b.constant(0, dst.size as Size);
  dst.write(b.negate(x));
  b.setFlagsLater('sub', zero, x, x);
};

/** The eight operations of opcodes 00-3f and of group 1. */
const GROUP1: readonly (readonly [string, Body, Attributes])[] = [
  ['add', sum, { flags: 'oszapc' }],
  ['or', or, { flags: 'oszapc', undefined: 'a' }],
  ['adc', adc, { flags: 'oszapc', effect: 'through' }],
  ['sbb', sbb, { flags: 'oszapc', effect: 'through' }],
  ['and', and, { flags: 'oszapc', undefined: 'a' }],
  ['sub', difference, { flags: 'oszapc' }],
  ['xor', xor, { flags: 'oszapc', undefined: 'a' }],
  ['cmp', comparison, { flags: 'oszapc' }],
];

const group1 = GROUP1.flatMap(([name, body, flags], row): Line[] => {
  const writes = name !== 'cmp';
  const dst = (code: string): string => (writes ? rw(code) : code);
  const opcode = (column: number): string => (row * 8 + column).toString(16).padStart(2, '0');
  const lockable = writes ? { ...flags, lock: true } : flags;
  return [
    inst(name, [dst('Eb'), 'Gb'], `${opcode(0)} /r`, body, lockable),
    inst(name, [dst('Ev'), 'Gv'], `${opcode(1)} /r`, body, lockable),
    inst(name, [dst('Gb'), 'Eb'], `${opcode(2)} /r`, body, flags),
    inst(name, [dst('Gv'), 'Ev'], `${opcode(3)} /r`, body, flags),
    inst(name, [dst('AL'), 'Ib'], opcode(4), body, flags),
    inst(name, [dst('rAX'), 'Iz'], opcode(5), body, flags),
    inst(name, [dst('Eb'), 'Ib'], `80 /${row}`, body, lockable),
    inst(name, [dst('Ev'), 'Iz'], `81 /${row}`, body, lockable),
    inst(name, [dst('Eb'), 'Ib'], `82 /${row}`, body, { ...lockable, mode: 'not64' }),
    inst(name, [dst('Ev'), 'Ibs'], `83 /${row}`, body, lockable),
  ];
});

const TEST: Attributes = { flags: 'oszapc', undefined: 'a' };
const STEP: Attributes = { flags: 'oszap', effect: 'update', lock: true };

export const arith: readonly Line[] = [
  ...group1,
  inst('test', ['Eb', 'Gb'], '84 /r', test, TEST),
  inst('test', ['Ev', 'Gv'], '85 /r', test, TEST),
  inst('test', ['AL', 'Ib'], 'a8', test, TEST),
  inst('test', ['rAX', 'Iz'], 'a9', test, TEST),
  inst('test', ['Eb', 'Ib'], 'f6 /0', test, TEST),
  inst('test', ['Eb', 'Ib'], 'f6 /1', test, TEST),
  inst('test', ['Ev', 'Iz'], 'f7 /0', test, TEST),
  inst('test', ['Ev', 'Iz'], 'f7 /1', test, TEST),
  inst('inc', [rw('Eb')], 'fe /0', increment, STEP),
  inst('inc', [rw('Ev')], 'ff /0', increment, STEP),
  inst('inc', [rw('Zv')], '40+r', increment, { ...STEP, lock: false, mode: 'not64' }),
  inst('dec', [rw('Eb')], 'fe /1', decrement, STEP),
  inst('dec', [rw('Ev')], 'ff /1', decrement, STEP),
  inst('dec', [rw('Zv')], '48+r', decrement, { ...STEP, lock: false, mode: 'not64' }),
  inst('not', [rw('Eb')], 'f6 /2', complement, { lock: true }),
  inst('not', [rw('Ev')], 'f7 /2', complement, { lock: true }),
  inst('neg', [rw('Eb')], 'f6 /3', negation, { flags: 'oszapc', lock: true }),
  inst('neg', [rw('Ev')], 'f7 /3', negation, { flags: 'oszapc', lock: true }),
];
