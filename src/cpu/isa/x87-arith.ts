/**
 * x87 arithmetic, comparison, remainder and transcendental functions.
 * Implements: SDM vol. 2A FADD .. FYL2XP1, vol. 2D Appendix A.5 tables. Runs on: see cpu/emit.ts.
 */
import type { Emit, Operand, Value } from '../emit.ts';
import type { HelperName } from '../helpers.ts';
import type { Body, Line } from './inst.ts';
import { number, x87 } from './x87-line.ts';

/** Signed m16 and m32 integers arrive as an i32. */
const integerOf = (b: Emit, src: Operand): Value => b.resize(src.read(), 4, true);

/** The reg field of D8, DA, DC and DE: arithmetic, or comparison at 2 and 3. */
const OPERATIONS = ['add', 'mul', 'com', 'comp', 'sub', 'subr', 'div', 'divr'] as const;
const COMPARE = 2, COMPARE_POP = 3, SUBTRACT = 4;

const arithmeticF32 = (operation: number): Body => (b, src) => b.call('fpuArithmeticF32', number(b, operation), src.read());
const arithmeticF64 = (operation: number): Body => (b, src) => b.call('fpuArithmeticF64', number(b, operation), src.read());
const arithmeticInteger = (operation: number): Body => (b, src) => b.call('fpuArithmeticI32', number(b, operation), integerOf(b, src));
const compareF32 = (pops: number): Body => (b, src) => b.call('fpuCompareF32', src.read(), number(b, pops));
const compareF64 = (pops: number): Body => (b, src) => b.call('fpuCompareF64', src.read(), number(b, pops));
const compareInteger = (pops: number): Body => (b, src) => b.call('fpuCompareI32', integerOf(b, src), number(b, pops));

const memory = OPERATIONS.flatMap((operation, reg): Line[] => {
  const compares = reg === COMPARE || reg === COMPARE_POP, pops = reg - COMPARE, integer = compares ? compareInteger(pops) : arithmeticInteger(reg);
  return [
    x87(`f${operation}`, ['Md'], `d8 /${reg}`, compares ? compareF32(pops) : arithmeticF32(reg)),
    x87(`fi${operation}`, ['Md'], `da /${reg}`, integer),
    x87(`f${operation}`, ['Mq'], `dc /${reg}`, compares ? compareF64(pops) : arithmeticF64(reg)),
    x87(`fi${operation}`, ['Mw'], `de /${reg}`, integer),
  ];
});

const toTop = (operation: number): Body => (b, src) => b.call('fpuArithmetic', number(b, operation), number(b, 0), src.number(), number(b, 0));
const toRegister = (operation: number, pops: number): Body => (b, dst) => b.call('fpuArithmetic', number(b, operation), dst.number(), number(b, 0), number(b, pops));
const compare = (quiet: boolean, pops: number): Body => (b, src) => b.call('fpuCompare', src.number(), number(b, quiet ? 1 : 0), number(b, pops));
/** FCOMPP and FUCOMPP compare with ST(1). */
const compareBoth = (quiet: boolean): Body => (b) => b.call('fpuCompare', number(b, 1), number(b, quiet ? 1 : 0), number(b, 2));
const compareFlags = (quiet: boolean, pops: number): Body => (b, src) => b.setEflags(b.call('fpuCompareFlags', src.number(), number(b, quiet ? 1 : 0), number(b, pops)));
const ordered = compare(false, 0), orderedPop = compare(false, 1);

const hex = (modrm: number): string => modrm.toString(16);
const registers = OPERATIONS.flatMap((operation, reg): Line[] => {
  if (reg === COMPARE || reg === COMPARE_POP) return [];
  // DC and DE exchange the two directions of subtraction and of division.
  const modrm = `${hex(0xc0 + reg * 8)}+i`, other = reg >= SUBTRACT ? reg ^ 1 : reg;
  return [
    x87(`f${operation}`, ['STi'], `d8 ${modrm}`, toTop(reg)),
    x87(`f${OPERATIONS[other]!}`, ['STi'], `dc ${modrm}`, toRegister(other, 0)),
    x87(`f${OPERATIONS[other]!}p`, ['STi'], `de ${modrm}`, toRegister(other, 1)),
  ];
});

const FLAGS = { flags: 'oszapc' } as const;
const comparisons: readonly Line[] = [
  x87('fcom', ['STi'], 'd8 d0+i', ordered),
  x87('fcomp', ['STi'], 'd8 d8+i', orderedPop),
  // Aliases of the first FPU, which processors still execute.
  x87('fcom', ['STi'], 'dc d0+i', ordered),
  x87('fcomp', ['STi'], 'dc d8+i', orderedPop),
  x87('fcomp', ['STi'], 'de d0+i', orderedPop),
  x87('fcompp', [], 'de d9', compareBoth(false)),
  x87('fucom', ['STi'], 'dd e0+i', compare(true, 0)),
  x87('fucomp', ['STi'], 'dd e8+i', compare(true, 1)),
  x87('fucompp', [], 'da e9', compareBoth(true)),
  x87('fcomi', ['STi'], 'db f0+i', compareFlags(false, 0), FLAGS),
  x87('fcomip', ['STi'], 'df f0+i', compareFlags(false, 1), FLAGS),
  x87('fucomi', ['STi'], 'db e8+i', compareFlags(true, 0), FLAGS),
  x87('fucomip', ['STi'], 'df e8+i', compareFlags(true, 1), FLAGS),
];

const simple = (name: HelperName): Body => (b) => b.call(name);
const unary: readonly Line[] = [
  x87('fchs', [], 'd9 e0', (b) => b.call('fpuSign', number(b, 0xffff), number(b, 0x8000))),
  x87('fabs', [], 'd9 e1', (b) => b.call('fpuSign', number(b, 0x7fff), number(b, 0))),
  x87('ftst', [], 'd9 e4', simple('fpuTest')),
  x87('fxam', [], 'd9 e5', simple('fpuExamine')),
  x87('f2xm1', [], 'd9 f0', simple('fpuExponential')),
  x87('fyl2x', [], 'd9 f1', simple('fpuLogarithm')),
  x87('fptan', [], 'd9 f2', (b) => b.call('fpuSineCosine', number(b, 1))),
  x87('fpatan', [], 'd9 f3', simple('fpuArcTangent')),
  x87('fxtract', [], 'd9 f4', simple('fpuExtract')),
  x87('fprem1', [], 'd9 f5', (b) => b.call('fpuRemainder', number(b, 1))),
  x87('fprem', [], 'd9 f8', (b) => b.call('fpuRemainder', number(b, 0))),
  x87('fyl2xp1', [], 'd9 f9', simple('fpuLogarithmPlus1')),
  x87('fsqrt', [], 'd9 fa', simple('fpuSquareRoot')),
  x87('fsincos', [], 'd9 fb', (b) => b.call('fpuSineCosine', number(b, 0))),
  x87('frndint', [], 'd9 fc', simple('fpuRoundToInteger')),
  x87('fscale', [], 'd9 fd', simple('fpuScale')),
  x87('fsin', [], 'd9 fe', simple('fpuSine')),
  x87('fcos', [], 'd9 ff', simple('fpuCosine')),
];

export const x87Arith: readonly Line[] = [...memory, ...registers, ...comparisons, ...unary];
