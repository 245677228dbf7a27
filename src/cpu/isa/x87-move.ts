/**
 * x87 loads, stores, constants, and what moves or frees registers of the stack.
 * Implements: SDM vol. 2A FLD FST FILD FIST FISTTP FBLD FBSTP FXCH FCMOVcc FFREE, vol. 2D Appendix A.5. Runs on: see cpu/emit.ts.
 */
import type { Emit, Operand, Size, Value } from '../emit.ts';
import { w } from './inst.ts';
import type { Body, Line } from './inst.ts';
import { loadTen, number, storeTen, x87 } from './x87-line.ts';

const loadInteger: Body = (b, src) => b.call('fpuLoadI64', b.resize(src.read(), 8, true));

const loads: readonly Line[] = [
  x87('fld', ['Md'], 'd9 /0', (b, src) => b.call('fpuLoadF32', src.read())),
  x87('fld', ['Mq'], 'dd /0', (b, src) => b.call('fpuLoadF64', src.read())),
  x87('fld', ['Mt'], 'db /5', (b, src) => {
    loadTen(b, src);
    b.call('fpuLoadF80');
  }),
  x87('fld', ['STi'], 'd9 c0+i', (b, src) => b.call('fpuLoadRegister', src.number())),
  x87('fild', ['Mw'], 'df /0', loadInteger),
  x87('fild', ['Md'], 'db /0', loadInteger),
  x87('fild', ['Mq'], 'df /5', loadInteger),
  x87('fbld', ['Mt'], 'df /4', (b, src) => {
    loadTen(b, src);
    b.call('fpuLoadBcd');
  }),
  ...['fld1', 'fldl2t', 'fldl2e', 'fldpi', 'fldlg2', 'fldln2', 'fldz'].map((name, which) =>
    x87(name, [], `d9 ${(0xe8 + which).toString(16)}`, (b) => b.call('fpuLoadConstant', number(b, which)))),
];

/** scratch[2] tells whether an unmasked exception forbids the store. */
function storeAllowed(b: Emit, pops: number, write: () => void): void {
  b.if(b.field('scratch', 'i32', 2), () => {
    write();
    b.call('fpuStoreCommit', number(b, pops));
  });
}
const storeValue = (pops: number, value: (b: Emit, dst: Operand) => Value): Body => (b, dst) => {
  const bits = b.pin(b.resize(value(b, dst), dst.size as Size));
  storeAllowed(b, pops, () => dst.write(bits));
};
const storeF32 = (pops: number): Body => storeValue(pops, (b) => b.call('fpuStoreF32Value'));
const storeF64 = (pops: number): Body => storeValue(pops, (b) => b.call('fpuStoreF64Value'));
const storeInteger = (pops: number, truncate: boolean): Body =>
  storeValue(pops, (b, dst) => b.call('fpuStoreIntegerValue', number(b, dst.size * 8), number(b, truncate ? 1 : 0)));
const storeTenBytes = (name: 'fpuStoreF80Value' | 'fpuStoreBcdValue'): Body => (b, dst) => {
  b.call(name);
  storeAllowed(b, 1, () => storeTen(b, dst));
};
const integer = storeInteger(0, false), integerPop = storeInteger(1, false), truncated = storeInteger(1, true);
const storeRegister = (pops: number): Body => (b, dst) => b.call('fpuStoreRegister', dst.number(), number(b, pops));
const registerPop = storeRegister(1);
/** D9 D8+i: an empty ST(0) is popped without a stack underflow. */
const storeQuietly: Body = (b, dst) => {
  b.call('fpuNop');
  const top = b.and(b.shr(b.field('fsw', 'i32'), number(b, 11)), number(b, 7)), used = b.and(b.shr(b.field('ftw', 'i32'), top), number(b, 1));
  b.if(used, () => registerPop(b, dst), () => b.call('fpuFree', number(b, 0), number(b, 1)));
};

const stores: readonly Line[] = [
  x87('fst', [w('Md')], 'd9 /2', storeF32(0)),
  x87('fstp', [w('Md')], 'd9 /3', storeF32(1)),
  x87('fst', [w('Mq')], 'dd /2', storeF64(0)),
  x87('fstp', [w('Mq')], 'dd /3', storeF64(1)),
  x87('fstp', [w('Mt')], 'db /7', storeTenBytes('fpuStoreF80Value')),
  x87('fist', [w('Mw')], 'df /2', integer),
  x87('fist', [w('Md')], 'db /2', integer),
  x87('fistp', [w('Mw')], 'df /3', integerPop),
  x87('fistp', [w('Md')], 'db /3', integerPop),
  x87('fistp', [w('Mq')], 'df /7', integerPop),
  x87('fisttp', [w('Mw')], 'df /1', truncated, { cpuid: 'sse3' }),
  x87('fisttp', [w('Md')], 'db /1', truncated, { cpuid: 'sse3' }),
  x87('fisttp', [w('Mq')], 'dd /1', truncated, { cpuid: 'sse3' }),
  x87('fbstp', [w('Mt')], 'df /6', storeTenBytes('fpuStoreBcdValue')),
  x87('fst', ['STi'], 'dd d0+i', storeRegister(0)),
  x87('fstp', ['STi'], 'dd d8+i', registerPop),
  // Aliases of the first FPU, which processors still execute.
  x87('fstp', ['STi'], 'd9 d8+i', storeQuietly),
  x87('fstp', ['STi'], 'df d0+i', registerPop),
  x87('fstp', ['STi'], 'df d8+i', registerPop),
];

const exchange: Body = (b, other) => b.call('fpuExchange', other.number());
const free = (pops: number): Body => (b, register) => b.call('fpuFree', register.number(), number(b, pops));
const moveIf = (cc: number): Body => (b, src) => b.call('fpuMoveIf', b.pin(b.condition(cc)), src.number());
const CC_BELOW = 2, CC_EQUAL = 4, CC_BELOW_EQUAL = 6, CC_PARITY = 10;
const CONDITIONAL: readonly (readonly [string, string, number])[] = [
  ['b', 'c0', CC_BELOW], ['e', 'c8', CC_EQUAL], ['be', 'd0', CC_BELOW_EQUAL], ['u', 'd8', CC_PARITY],
];

const moves: readonly Line[] = [
  x87('fxch', ['STi'], 'd9 c8+i', exchange),
  x87('fxch', ['STi'], 'dd c8+i', exchange),
  x87('fxch', ['STi'], 'df c8+i', exchange),
  ...CONDITIONAL.flatMap(([name, modrm, cc]) => [
    x87(`fcmov${name}`, ['STi'], `da ${modrm}+i`, moveIf(cc), { effect: 'read', cpuid: 'cmov' }),
    x87(`fcmovn${name}`, ['STi'], `db ${modrm}+i`, moveIf(cc + 1), { effect: 'read', cpuid: 'cmov' }),
  ]),
  x87('ffree', ['STi'], 'dd c0+i', free(0)),
  x87('ffreep', ['STi'], 'df c0+i', free(1)),
  x87('fdecstp', [], 'd9 f6', (b) => b.call('fpuRotate', number(b, -1))),
  x87('fincstp', [], 'd9 f7', (b) => b.call('fpuRotate', number(b, 1))),
];

export const x87Move: readonly Line[] = [...loads, ...stores, ...moves];
