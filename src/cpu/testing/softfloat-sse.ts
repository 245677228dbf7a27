/**
 * The SSE floating-point instructions as calls of helpers, for the comparison with a real processor. XMM0 is the destination, XMM1 the source.
 * Implements: Intel SDM vol 2 (encodings). Runs on: tests.
 */
import { OPERAND } from './softfloat-oracle.ts';
import type { FloatCpu, Operation } from './softfloat-oracle.ts';

const all: Operation[] = [];
type Form = 'ps' | 'ss' | 'pd' | 'sd';
const PREFIX: Record<Form, readonly number[]> = { ps: [], ss: [0xf3], pd: [0x66], sd: [0xf2] };
const LANES: Record<Form, number> = { ps: 4, ss: 1, pd: 2, sd: 1 };
const isDouble = (form: Form): boolean => form.endsWith('d');
const elements = (form: Form): 'f32' | 'f64' => (isDouble(form) ? 'f64' : 'f32');
const width = (form: Form): 'F32' | 'F64' => (isDouble(form) ? 'F64' : 'F32');
const FORMS = ['ps', 'ss', 'pd', 'sd'] as const;
const osxmmexcpt = (cpu: FloatCpu): void => {
  cpu.view.setBigUint64(cpu.at('cr4'), 0x600n, true);
};

function add(
  name: string,
  code: readonly number[],
  sse: Operation['sse'] & string,
  run: (cpu: FloatCpu) => void,
  more: Partial<Operation> = {},
): void {
  all.push({
    name,
    code,
    sse,
    run: (cpu) => {
      osxmmexcpt(cpu);
      run(cpu);
    },
    ...more,
  });
}

for (const [name, n] of [
  ['sqrt', 1],
  ['add', 8],
  ['mul', 9],
  ['sub', 12],
  ['min', 13],
  ['div', 14],
  ['max', 15],
] as const) {
  for (const form of FORMS) {
    add(name + form, [...PREFIX[form], 0x0f, 0x50 + n, 0xc1], elements(form), (cpu) => {
      cpu.call(`sseArithmetic${width(form)}`, n, cpu.xmm(0), cpu.xmm(0), cpu.xmm(1), LANES[form]);
    });
  }
}

for (const [name, kind, opcode] of [
  ['addsub', 0, 0xd0],
  ['hadd', 1, 0x7c],
  ['hsub', 2, 0x7d],
] as const) {
  add(`${name}ps`, [0xf2, 0x0f, opcode, 0xc1], 'f32', (cpu) => cpu.call('ssePairwiseF32', kind, cpu.xmm(0), cpu.xmm(0), cpu.xmm(1)));
  add(`${name}pd`, [0x66, 0x0f, opcode, 0xc1], 'f64', (cpu) => cpu.call('ssePairwiseF64', kind, cpu.xmm(0), cpu.xmm(0), cpu.xmm(1)));
}

for (const form of FORMS) {
  for (let predicate = 0; predicate < 8; predicate++) {
    add(`cmp${form} ${predicate}`, [...PREFIX[form], 0x0f, 0xc2, 0xc1, predicate], elements(form), (cpu) => {
      cpu.call(`sseCompare${width(form)}`, predicate, cpu.xmm(0), cpu.xmm(0), cpu.xmm(1), LANES[form]);
    });
  }
}
for (const [name, opcode, quiet] of [
  ['ucomis', 0x2e, 1],
  ['comis', 0x2f, 0],
] as const) {
  add(`${name}s`, [0x0f, opcode, 0xc1], 'f32', (cpu) =>
    cpu.setFlags(cpu.call('sseCompareFlagsF32', quiet, cpu.view.getUint32(cpu.xmm(0), true), cpu.view.getUint32(cpu.xmm(1), true))),
  );
  add(`${name}d`, [0x66, 0x0f, opcode, 0xc1], 'f64', (cpu) =>
    cpu.setFlags(cpu.call('sseCompareFlagsF64', quiet, cpu.view.getBigUint64(cpu.xmm(0), true), cpu.view.getBigUint64(cpu.xmm(1), true))),
  );
}

const TYPES = { f32: 0, f64: 1, i32: 2, i64: 3 } as const;
type Type = keyof typeof TYPES;
/** @param clears whether the upper half of XMM0 becomes 0. */
function conversion(name: string, code: readonly number[], from: Type, to: Type, lanes: number, truncate: number, clears: boolean): void {
  add(name, [...code, 0xc1], from === 'i64' ? 'i32' : from, (cpu) => {
    cpu.call('sseConvert', TYPES[from] | (TYPES[to] << 2), truncate, cpu.xmm(0), cpu.xmm(1), lanes);
    if (clears && cpu.fault === 0) cpu.view.setBigUint64(cpu.xmm(0) + 8, 0n, true);
  });
}
conversion('cvtps2pd', [0x0f, 0x5a], 'f32', 'f64', 2, 0, false);
conversion('cvtpd2ps', [0x66, 0x0f, 0x5a], 'f64', 'f32', 2, 0, true);
conversion('cvtss2sd', [0xf3, 0x0f, 0x5a], 'f32', 'f64', 1, 0, false);
conversion('cvtsd2ss', [0xf2, 0x0f, 0x5a], 'f64', 'f32', 1, 0, false);
conversion('cvtdq2ps', [0x0f, 0x5b], 'i32', 'f32', 4, 0, false);
conversion('cvtps2dq', [0x66, 0x0f, 0x5b], 'f32', 'i32', 4, 0, false);
conversion('cvttps2dq', [0xf3, 0x0f, 0x5b], 'f32', 'i32', 4, 1, false);
conversion('cvtpd2dq', [0xf2, 0x0f, 0xe6], 'f64', 'i32', 2, 0, true);
conversion('cvttpd2dq', [0x66, 0x0f, 0xe6], 'f64', 'i32', 2, 1, true);
conversion('cvtdq2pd', [0xf3, 0x0f, 0xe6], 'i32', 'f64', 2, 0, false);

for (const [suffix, prefix, double] of [
  ['ss', 0xf3, 0],
  ['sd', 0xf2, 1],
] as const) {
  for (const wide of [0, 1]) {
    const rex = wide === 1 ? [0x48] : [];
    const type = wide === 1 ? TYPES.i64 : TYPES.i32;
    // From memory, since the operand is random there.
    add(
      `cvtsi2${suffix} ${wide}`,
      [prefix, ...rex, 0x0f, 0x2a, 0x06],
      double === 1 ? 'f64' : 'f32',
      (cpu) => {
        cpu.call('sseConvert', type | (double << 2), 0, cpu.xmm(0), OPERAND, 1);
      },
      { memory: wide === 1 ? 'i64' : 'i32' },
    );
    for (const [name, opcode, truncate] of [
      ['cvt', 0x2d, 0],
      ['cvtt', 0x2c, 1],
    ] as const) {
      // RAX is the result; the tests keep it in scratch[3].
      add(
        `${name}${suffix}2si ${wide}`,
        [prefix, ...rex, 0x0f, opcode, 0xc1],
        double === 1 ? 'f64' : 'f32',
        (cpu) => {
          const bits = double === 1 ? cpu.view.getBigUint64(cpu.xmm(1), true) : BigInt(cpu.view.getUint32(cpu.xmm(1), true));
          const value = cpu.call('sseToInteger', double, wide, truncate, bits);
          cpu.view.setBigUint64(cpu.at('scratch') + 24, BigInt.asUintN(64, BigInt(value)), true);
        },
        { rax: true },
      );
    }
  }
}

for (const control of [0, 1, 2, 3, 4, 8, 11, 12]) {
  for (const [form, opcode] of [
    ['ps', 8],
    ['pd', 9],
    ['ss', 10],
    ['sd', 11],
  ] as const) {
    add(`round${form} ${control}`, [0x66, 0x0f, 0x3a, opcode, 0xc1, control], elements(form), (cpu) => {
      cpu.call(`sseRound${width(form)}`, control, cpu.xmm(0), cpu.xmm(1), LANES[form]);
    });
  }
}

for (const immediate of [0xff, 0x71, 0x5a, 0xf3, 0x31]) {
  add(`dpps ${immediate}`, [0x66, 0x0f, 0x3a, 0x40, 0xc1, immediate], 'f32', (cpu) =>
    cpu.call('sseDotProductF32', immediate, cpu.xmm(0), cpu.xmm(0), cpu.xmm(1)),
  );
  add(`dppd ${immediate}`, [0x66, 0x0f, 0x3a, 0x41, 0xc1, immediate], 'f64', (cpu) =>
    cpu.call('sseDotProductF64', immediate, cpu.xmm(0), cpu.xmm(0), cpu.xmm(1)),
  );
}

const relative = 1.5 * 2 ** -11;
for (const [form, lanes] of [
  ['ps', 4],
  ['ss', 1],
] as const) {
  add(`rcp${form}`, [...PREFIX[form], 0x0f, 0x53, 0xc1], 'f32', (cpu) => cpu.call('sseReciprocal', 0, cpu.xmm(0), cpu.xmm(1), lanes), {
    relative,
  });
  add(`rsqrt${form}`, [...PREFIX[form], 0x0f, 0x52, 0xc1], 'f32', (cpu) => cpu.call('sseReciprocal', 1, cpu.xmm(0), cpu.xmm(1), lanes), {
    relative,
  });
}

export const SSE_OPERATIONS: readonly Operation[] = all;
