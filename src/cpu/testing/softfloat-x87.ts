/**
 * The x87 instructions as calls of helpers, for the comparison with a real processor.
 * Implements: Intel SDM vol 2 appendix B.17 (encodings). Runs on: tests.
 */
import { OPERAND } from './softfloat-oracle.ts';
import type { FloatCpu, Operation } from './softfloat-oracle.ts';

const all: Operation[] = [];
const add = (name: string, code: number[], run: Operation['run'], more: Partial<Operation> = {}): void => {
  all.push({ name, code, run, ...more });
};

const ARITHMETIC = [
  ['fadd', 0],
  ['fmul', 1],
  ['fsub', 4],
  ['fsubr', 5],
  ['fdiv', 6],
  ['fdivr', 7],
] as const;
for (const [name, n] of ARITHMETIC) {
  // In DC and DE, the reg fields of SUB and SUBR, DIV and DIVR are exchanged.
  const exchanged = n >= 4 ? n ^ 1 : n;
  for (const i of [1, 3]) {
    add(`${name} st0, st${i}`, [0xd8, 0xc0 + n * 8 + i], (cpu) => cpu.call('fpuArithmetic', n, 0, i, 0));
    add(`${name} st${i}, st0`, [0xdc, 0xc0 + exchanged * 8 + i], (cpu) => cpu.call('fpuArithmetic', n, i, 0, 0));
    add(`${name}p st${i}, st0`, [0xde, 0xc0 + exchanged * 8 + i], (cpu) => cpu.call('fpuArithmetic', n, i, 0, 1));
  }
  add(`${name} m32`, [0xd8, n * 8 + 6], (cpu) => cpu.call('fpuArithmeticF32', n, cpu.u32()), { memory: 'f32' });
  add(`${name} m64`, [0xdc, n * 8 + 6], (cpu) => cpu.call('fpuArithmeticF64', n, cpu.u64()), { memory: 'f64' });
  add(`${name} i32`, [0xda, n * 8 + 6], (cpu) => cpu.call('fpuArithmeticI32', n, cpu.u32() | 0), { memory: 'i32' });
  add(`${name} i16`, [0xde, n * 8 + 6], (cpu) => cpu.call('fpuArithmeticI32', n, (cpu.u32() << 16) >> 16), { memory: 'i16' });
}

for (const [name, code, quiet, pops] of [
  ['fcom', [0xd8, 0xd1], 0, 0],
  ['fcomp', [0xd8, 0xd9], 0, 1],
  ['fucom', [0xdd, 0xe1], 1, 0],
  ['fucomp', [0xdd, 0xe9], 1, 1],
  ['fcompp', [0xde, 0xd9], 0, 2],
  ['fucompp', [0xda, 0xe9], 1, 2],
] as const) {
  add(name, [...code], (cpu) => cpu.call('fpuCompare', 1, quiet, pops));
}
for (const [pops, n] of [
  [0, 2],
  [1, 3],
] as const) {
  add(`fcom${pops} m32`, [0xd8, n * 8 + 6], (cpu) => cpu.call('fpuCompareF32', cpu.u32(), pops), { memory: 'f32' });
  add(`fcom${pops} m64`, [0xdc, n * 8 + 6], (cpu) => cpu.call('fpuCompareF64', cpu.u64(), pops), { memory: 'f64' });
  add(`ficom${pops} i32`, [0xda, n * 8 + 6], (cpu) => cpu.call('fpuCompareI32', cpu.u32() | 0, pops), { memory: 'i32' });
  add(`ficom${pops} i16`, [0xde, n * 8 + 6], (cpu) => cpu.call('fpuCompareI32', (cpu.u32() << 16) >> 16, pops), { memory: 'i16' });
}
for (const [name, code, quiet, pops] of [
  ['fcomi', [0xdb, 0xf1], 0, 0],
  ['fcomip', [0xdf, 0xf1], 0, 1],
  ['fucomi', [0xdb, 0xe9], 1, 0],
  ['fucomip', [0xdf, 0xe9], 1, 1],
] as const) {
  add(name, [...code], (cpu) => cpu.setFlags(cpu.call('fpuCompareFlags', 1, quiet, pops)));
}
add('ftst', [0xd9, 0xe4], (cpu) => cpu.call('fpuTest'));
add('fxam', [0xd9, 0xe5], (cpu) => cpu.call('fpuExamine'));

add('fld m32', [0xd9, 0x06], (cpu) => cpu.call('fpuLoadF32', cpu.u32()), { memory: 'f32' });
add('fld m64', [0xdd, 0x06], (cpu) => cpu.call('fpuLoadF64', cpu.u64()), { memory: 'f64' });
add(
  'fld m80',
  [0xdb, 0x2e],
  (cpu) => {
    cpu.bytes.copyWithin(cpu.at('scratch'), OPERAND, OPERAND + 10);
    cpu.call('fpuLoadF80');
  },
  { memory: 'f80' },
);
add(
  'fbld',
  [0xdf, 0x26],
  (cpu) => {
    cpu.bytes.copyWithin(cpu.at('scratch'), OPERAND, OPERAND + 10);
    cpu.call('fpuLoadBcd');
  },
  { memory: 'bcd' },
);
add('fild i16', [0xdf, 0x06], (cpu) => cpu.call('fpuLoadI64', BigInt((cpu.u32() << 16) >> 16)), { memory: 'i16' });
add('fild i32', [0xdb, 0x06], (cpu) => cpu.call('fpuLoadI64', BigInt(cpu.u32() | 0)), { memory: 'i32' });
add('fild i64', [0xdf, 0x2e], (cpu) => cpu.call('fpuLoadI64', cpu.u64()), { memory: 'i64' });
for (const i of [0, 2, 7]) add(`fld st${i}`, [0xd9, 0xc0 + i], (cpu) => cpu.call('fpuLoadRegister', i));
for (let i = 0; i < 7; i++) add(`fld constant ${i}`, [0xd9, 0xe8 + i], (cpu) => cpu.call('fpuLoadConstant', i));

const out = { memory: 'out' } as const;
add('fst m32', [0xd9, 0x16], (cpu) => cpu.store('fpuStoreF32Value', 4, 0), out);
add('fstp m32', [0xd9, 0x1e], (cpu) => cpu.store('fpuStoreF32Value', 4, 1), out);
add('fst m64', [0xdd, 0x16], (cpu) => cpu.store('fpuStoreF64Value', 8, 0), out);
add('fstp m64', [0xdd, 0x1e], (cpu) => cpu.store('fpuStoreF64Value', 8, 1), out);
add('fstp m80', [0xdb, 0x3e], (cpu) => cpu.store('fpuStoreF80Value', 10, 1), out);
add('fbstp', [0xdf, 0x36], (cpu) => cpu.store('fpuStoreBcdValue', 10, 1), out);
for (const [bits, escape, reg, popReg, truncateEscape] of [
  [16, 0xdf, 2, 3, 0xdf],
  [32, 0xdb, 2, 3, 0xdb],
  [64, 0xdf, -1, 7, 0xdd],
] as const) {
  if (reg >= 0) add(`fist i${bits}`, [escape, reg * 8 + 6], (cpu) => cpu.store('fpuStoreIntegerValue', bits / 8, 0, bits, 0), out);
  add(`fistp i${bits}`, [escape, popReg * 8 + 6], (cpu) => cpu.store('fpuStoreIntegerValue', bits / 8, 1, bits, 0), out);
  add(`fisttp i${bits}`, [truncateEscape, 0x0e], (cpu) => cpu.store('fpuStoreIntegerValue', bits / 8, 1, bits, 1), out);
}
for (const i of [0, 2, 7]) {
  add(`fst st${i}`, [0xdd, 0xd0 + i], (cpu) => cpu.call('fpuStoreRegister', i, 0));
  add(`fstp st${i}`, [0xdd, 0xd8 + i], (cpu) => cpu.call('fpuStoreRegister', i, 1));
  add(`fxch st${i}`, [0xd9, 0xc8 + i], (cpu) => cpu.call('fpuExchange', i));
  add(`ffree st${i}`, [0xdd, 0xc0 + i], (cpu) => cpu.call('fpuFree', i, 0));
  add(`ffreep st${i}`, [0xdf, 0xc0 + i], (cpu) => cpu.call('fpuFree', i, 1));
  // The status flags are all set before.
  add(`fcmovb st${i}`, [0xda, 0xc0 + i], (cpu) => cpu.call('fpuMoveIf', 1, i));
  add(`fcmovnb st${i}`, [0xdb, 0xc0 + i], (cpu) => cpu.call('fpuMoveIf', 0, i));
}
add('fincstp', [0xd9, 0xf7], (cpu) => cpu.call('fpuRotate', 1));
add('fdecstp', [0xd9, 0xf6], (cpu) => cpu.call('fpuRotate', -1));
add('fnop', [0xd9, 0xd0], (cpu) => cpu.call('fpuNop'));
add('fwait', [0x9b], (cpu) => cpu.call('fpuWait'));
add('fchs', [0xd9, 0xe0], (cpu) => cpu.call('fpuSign', 0xffff, 0x8000));
add('fabs', [0xd9, 0xe1], (cpu) => cpu.call('fpuSign', 0x7fff, 0));
add('fsqrt', [0xd9, 0xfa], (cpu) => cpu.call('fpuSquareRoot'));
add('frndint', [0xd9, 0xfc], (cpu) => cpu.call('fpuRoundToInteger'));
add('fxtract', [0xd9, 0xf4], (cpu) => cpu.call('fpuExtract'));
add('fscale', [0xd9, 0xfd], (cpu) => cpu.call('fpuScale'));
add('fprem', [0xd9, 0xf8], (cpu) => cpu.call('fpuRemainder', 0));
add('fprem1', [0xd9, 0xf5], (cpu) => cpu.call('fpuRemainder', 1));

// --- control and state ---
const image = (cpu: FloatCpu, sizeBytes: number): void => {
  cpu.bytes.copyWithin(OPERAND, cpu.at('image'), cpu.at('image') + sizeBytes);
};
const toImage = (cpu: FloatCpu): void => {
  cpu.bytes.copyWithin(cpu.at('image'), OPERAND, OPERAND + 128);
};
const protectedMode = (cpu: FloatCpu): void => {
  cpu.view.setBigUint64(cpu.at('cr0'), 1n, true);
};
const pending = (cpu: FloatCpu): boolean => {
  cpu.call('fpuWait');
  return cpu.fault !== 0;
};
add('fldcw', [0xd9, 0x2e], (cpu) => cpu.call('fpuLoadControl', cpu.u32() & 0xffff), { memory: 'words' });
add('fninit', [0xdb, 0xe3], (cpu) => cpu.call('fpuInitialize'));
add('fnclex', [0xdb, 0xe2], (cpu) => cpu.call('fpuClearExceptions'));
for (const [prefix, wide] of [
  [[], 1],
  [[0x66], 0],
] as const) {
  const pointers = wide === 1 ? [12, 20] : [6, 10];
  add(
    `fnstenv ${wide}`,
    [...prefix, 0xd9, 0x36],
    (cpu) => {
      protectedMode(cpu);
      image(cpu, Number(cpu.call('fpuBuildEnvironment', wide)));
      cpu.call('fpuMaskExceptions');
    },
    { memory: 'out', pointers },
  );
  add(
    `fnsave ${wide}`,
    [...prefix, 0xdd, 0x36],
    (cpu) => {
      protectedMode(cpu);
      image(cpu, Number(cpu.call('fpuBuildSave', wide)));
      cpu.call('fpuInitialize');
    },
    { memory: 'out', pointers },
  );
  add(
    `fldenv ${wide}`,
    [...prefix, 0xd9, 0x26],
    (cpu) => {
      protectedMode(cpu);
      if (pending(cpu)) return;
      toImage(cpu);
      cpu.call('fpuApplyEnvironment', wide);
    },
    { memory: 'words' },
  );
  add(
    `frstor ${wide}`,
    [...prefix, 0xdd, 0x26],
    (cpu) => {
      protectedMode(cpu);
      if (pending(cpu)) return;
      toImage(cpu);
      cpu.call('fpuApplySave', wide);
    },
    { memory: 'words' },
  );
}
add('emms', [0x0f, 0x77], (cpu) => cpu.call('mmxLeave'));
add(
  'movq mm3, m64',
  [0x0f, 0x6f, 0x1e],
  (cpu) => {
    const value = cpu.u64();
    cpu.call('mmxEnter');
    if (cpu.fault === 0) cpu.call('mmxWrite', 3, value);
  },
  { memory: 'words' },
);

const ulps = 4;
for (const range of ['angle', 'any'] as const) {
  const r = range;
  add(`fsin ${r}`, [0xd9, 0xfe], (cpu) => cpu.call('fpuSine'), { ulps, range });
  add(`fcos ${r}`, [0xd9, 0xff], (cpu) => cpu.call('fpuCosine'), { ulps, range });
  add(`fsincos ${r}`, [0xd9, 0xfb], (cpu) => cpu.call('fpuSineCosine', 0), { ulps, range });
  add(`fptan ${r}`, [0xd9, 0xf2], (cpu) => cpu.call('fpuSineCosine', 1), { ulps, range });
}
for (const range of ['unit', 'any'] as const) {
  const r = range;
  add(`fpatan ${r}`, [0xd9, 0xf3], (cpu) => cpu.call('fpuArcTangent'), { ulps, range });
  add(`fyl2x ${r}`, [0xd9, 0xf1], (cpu) => cpu.call('fpuLogarithm'), { ulps, range });
}
for (const range of ['unit', 'any'] as const) add(`f2xm1 ${range}`, [0xd9, 0xf0], (cpu) => cpu.call('fpuExponential'), { ulps, range });
for (const range of ['small', 'any'] as const)
  add(`fyl2xp1 ${range}`, [0xd9, 0xf9], (cpu) => cpu.call('fpuLogarithmPlus1'), { ulps, range });

export const X87_OPERATIONS: readonly Operation[] = all;
