import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { FunctionBuilder, Label } from './function.ts';
import { ModuleBuilder } from './module.ts';
import { COMPARE_EXCHANGE, COMPARISON, INTEGER, LANE, LOAD, PLAIN, STORE } from './opcodes.ts';
import type { CompareExchangeKind, LaneOp, LoadKind, PlainOp, StoreKind, Type } from './opcodes.ts';
import { functionText } from './text.ts';

const NAMES = {
  function: () => ({ name: 'helper', parameters: 2, results: 1 }),
  type: () => ({ name: 'handler', parameters: 1, results: 1 }),
  memory: (index: number) => ['state', 'ram'][index]!,
  local: (index: number) => ['a', 'b'][index],
};

/** @param build leaves a value of the result's type on the stack */
function text(params: readonly Type[], results: readonly Type[], build: (f: FunctionBuilder) => void): string {
  const f = new FunctionBuilder(params);
  build(f);
  return functionText('f', { params, locals: f.locals, results, bytes: f.out.bytes() }, NAMES);
}
/** The one line in it. */
function line(params: readonly Type[], build: (f: FunctionBuilder) => void): string {
  const lines = text(params, [], build).split('\n');
  equal(lines.length, 3, lines.join('\n'));
  return lines[1]!.trim();
}
/** The engine knows it by the same number and with the same operands. */
function valid(params: readonly Type[], result: Type | undefined, build: (f: FunctionBuilder) => void): void {
  const module = new ModuleBuilder(),
    f = new FunctionBuilder(params);
  module.importMemory('env', 'state', 'i32', 1, 1);
  module.importMemory('env', 'ram', 'i64', 1, 1);
  build(f);
  module.add({ params, locals: f.locals, out: f.out }, result ? [result] : []);
  ok(WebAssembly.validate(module.encode()), `${params.join()} > ${result}`);
}

test('integer arithmetic and comparisons', () => {
  for (const [table, operands] of [
    [INTEGER, { clz: 1, ctz: 1, popcnt: 1, extend8_s: 1, extend16_s: 1 }],
    [COMPARISON, { eqz: 1 }],
  ] as const)
    for (const name of Object.keys(table) as (keyof typeof INTEGER)[])
      for (const type of ['i32', 'i64'] as const) {
        const unary = name in operands,
          build = (f: FunctionBuilder): void => {
            const x = f.get(0, type),
              y = unary ? undefined : f.get(1, type);
            f.flushValue(table === INTEGER ? f.op(name, x, y) : f.compare(name as never, x, y));
          };
        equal(line([type, type], build), unary ? `(${type}.${name} $a)` : `(${type}.${name} $a $b)`);
        valid([type, type], table === INTEGER ? type : 'i32', build);
      }
});

test('all that have no immediate, and lanes', () => {
  for (const [name, [, , operands]] of Object.entries(PLAIN))
    equal(
      line(['v128', 'v128', 'v128'], (f) =>
        f.flushValue(f.plain(name as PlainOp, ...[0, 1, 2].slice(0, operands).map((local) => f.get(local, 'v128')))),
      ),
      `(${name} ${['$a', '$b', '$2'].slice(0, operands).join(' ')})`,
    );
  for (const [name, [, , operands]] of Object.entries(LANE))
    equal(
      line(['v128', 'v128'], (f) =>
        f.flushValue(f.lane(name as LaneOp, 1, ...[0, 1].slice(0, operands).map((local) => f.get(local, 'v128')))),
      ),
      `(${name} 1 ${['$a', '$b'].slice(0, operands).join(' ')})`,
    );
  equal(
    line(['v128', 'v128'], (f) =>
      f.flushValue(
        f.shuffle(
          f.get(0, 'v128'),
          f.get(1, 'v128'),
          Array.from({ length: 16 }, (_, i) => i + 8),
        ),
      ),
    ),
    '(i8x16.shuffle 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 $a $b)',
  );
});

test('memory: kind, memory, offset and alignment', () => {
  const loads: Record<LoadKind, string> = {
    i32: 'i32.load',
    i64: 'i64.load',
    f32: 'f32.load',
    f64: 'f64.load',
    u8: 'i32.load8_u',
    s8: 'i32.load8_s',
    u16: 'i32.load16_u',
    s16: 'i32.load16_s',
    s8wide: 'i64.load8_s',
    s16wide: 'i64.load16_s',
    u32: 'i64.load32_u',
    s32: 'i64.load32_s',
    v128: 'v128.load',
    v32zero: 'v128.load32_zero',
    v64zero: 'v128.load64_zero',
    atomicI32: 'i32.atomic.load',
    atomicI64: 'i64.atomic.load',
  };
  for (const kind of Object.keys(LOAD) as LoadKind[]) {
    const build = (f: FunctionBuilder): void => f.flushValue(f.load(kind, f.get(0, 'i64'), 300, 0, 1));
    equal(line(['i64'], build), `(${loads[kind]} $ram offset=300 $a)`);
    valid(['i64'], LOAD[kind][2], build);
  }
  const stores: Record<StoreKind, [string, Type]> = {
    i32: ['i32.store', 'i32'],
    i64: ['i64.store', 'i64'],
    f32: ['f32.store', 'f32'],
    f64: ['f64.store', 'f64'],
    u8: ['i32.store8', 'i32'],
    u16: ['i32.store16', 'i32'],
    u32: ['i64.store32', 'i64'],
    v128: ['v128.store', 'v128'],
  };
  for (const kind of Object.keys(STORE) as StoreKind[]) {
    const [name, type] = stores[kind],
      build = (f: FunctionBuilder): void => {
        f.store(kind, f.get(0, 'i32'), f.get(1, type), 0);
        f.flush();
      };
    equal(line(['i32', type], build), `(${name} $a $b)`);
    valid(['i32', type], undefined, build);
  }
  const exchanges: Record<CompareExchangeKind, string> = {
    u8: 'i32.atomic.rmw8.cmpxchg_u',
    u16: 'i32.atomic.rmw16.cmpxchg_u',
    i32: 'i32.atomic.rmw.cmpxchg',
    i64: 'i64.atomic.rmw.cmpxchg',
  };
  for (const kind of Object.keys(COMPARE_EXCHANGE) as CompareExchangeKind[]) {
    const type = COMPARE_EXCHANGE[kind][2],
      build = (f: FunctionBuilder): void => {
        f.compareExchange(kind, f.get(0, 'i32'), f.get(1, type), f.get(1, type));
        f.flush();
      };
    equal(text(['i32', type], [], build).split('\n')[2]!.trim(), `(local.set $2 (${exchanges[kind]} $a $b $b))`);
    valid(['i32', type], undefined, build);
  }
  const fence = (f: FunctionBuilder): void => {
    f.fence();
    f.flush();
  };
  equal(line([], fence), '(atomic.fence)');
  valid([], undefined, fence);
  equal(
    line(['i64', 'i64', 'i64'], (f) => {
      f.copyMemory(1, 1, f.get(0, 'i64'), f.get(1, 'i64'), f.get(2, 'i64'));
      f.flush();
    }),
    '(memory.copy $ram $ram $a $b $2)',
  );
  equal(
    line(['i64', 'i32', 'i64'], (f) => {
      f.fillMemory(1, f.get(0, 'i64'), f.get(1, 'i32'), f.get(2, 'i64'));
      f.flush();
    }),
    '(memory.fill $ram $a $b $2)',
  );
});

test('constants, conversions, calls and the ways out', () => {
  const one = (type: Type, build: (f: FunctionBuilder) => void): string => line([type, type], build);
  equal(
    one('i32', (f) => f.flushValue(f.i32(-5))),
    '(i32.const -5)',
  );
  equal(
    one('i32', (f) => f.flushValue(f.i32(0x12345678 | 0))),
    '(i32.const 0x12345678)',
  );
  equal(
    one('i64', (f) => f.flushValue(f.i64(-0x1_2345_6789n))),
    '(i64.const 0xfffffffedcba9877)',
  );
  equal(
    one('i64', (f) => f.flushValue(f.v128([1, 2, 3, 4, ...Array<number>(12).fill(255)]))),
    '(v128.const i32x4 0x04030201 0xffffffff 0xffffffff 0xffffffff)',
  );
  equal(
    one('i64', (f) => f.flushValue(f.wrap(f.get(0, 'i64')))),
    '(i32.wrap_i64 $a)',
  );
  equal(
    one('i32', (f) => f.flushValue(f.widen(f.get(0, 'i32'), true))),
    '(i64.extend_i32_s $a)',
  );
  equal(
    one('i32', (f) => f.flushValue(f.widen(f.get(0, 'i32')))),
    '(i64.extend_i32_u $a)',
  );
  equal(
    one('i32', (f) => f.flushValue(f.select(f.get(0, 'i32'), f.get(1, 'i32'), f.i32(2)))),
    '(select $b (i32.const 2) $a)',
  );
  equal(
    one('v128', (f) => f.flushValue(f.select(f.get(0, 'i32'), f.get(1, 'v128'), f.get(1, 'v128')))),
    '(select (result v128) $b $b $a)',
  );
  equal(
    one('i32', (f) => f.flushValue(f.call(0, 'i32', [f.get(0, 'i32'), f.get(1, 'i32')]))),
    '(call $helper $a $b)',
  );
  const effect = (build: (f: FunctionBuilder) => void): string =>
    one('i32', (f) => {
      build(f);
      f.flush();
    });
  equal(
    effect((f) => f.returnCall(0, [f.get(0, 'i32'), f.get(1, 'i32')])),
    '(return_call $helper $a $b)',
  );
  equal(
    effect((f) => f.returnCallIndirect(0, f.get(0, 'i32'), [f.get(1, 'i32')])),
    '(return_call_indirect (type $handler) $b $a)',
  );
  equal(
    effect((f) => f.unreachable()),
    '(unreachable)',
  );
  equal(
    effect((f) => f.return()),
    '(return)',
  );
});

test('structure is shown by indentation, labels by number', () => {
  const f = new FunctionBuilder(['i32', 'i32']),
    out = new Label(),
    again = new Label();
  f.open('block', out);
  f.open('loop', again);
  f.if(
    f.get(0, 'i32'),
    () => f.set(1, f.choose(f.get(1, 'i32'), f.i32(1), f.i32(2))),
    () => f.br(out),
  );
  f.brIf(f.compare('eqz', f.callIndirect(0, f.get(1, 'i32'), [f.get(0, 'i32')], 'i32')), again);
  f.close();
  f.close();
  f.flushValue(f.get(1, 'i32'));
  equal(
    functionText('f', { params: f.params, locals: f.locals, results: ['i32'], bytes: f.out.bytes() }, NAMES),
    `(func $f (param $a i32) (param $b i32) (result i32)
  (local $2 i32)
  block $1
    loop $2
      if $3 $a
        (local.set $b (if (result i32) $b (then (i32.const 1)) (else (i32.const 2))))
      else
        (br $1)
      end
      (local.set $2 (call_indirect (type $handler) $a $b))
      (br_if $2 (i32.eqz $2))
    end
  end
  $b
)`,
  );
});

test('what is left on the stack is evaluated in its order, and long lines are broken', () => {
  // (get a) stays below while b is set, which the sum needs.
  const bytes = Uint8Array.from([0x20, 0, 0x41, 7, 0x21, 1, 0x20, 1, 0x6a]),
    code = { params: ['i32', 'i32'], locals: [], results: ['i32'], bytes } as const;
  equal(
    functionText('f', code, NAMES),
    '(func $f (param $a i32) (param $b i32) (result i32)\n  $a\n  (local.set $b (i32.const 7))\n  (i32.add $b)\n)',
  );
  const long = text(['i32'], ['i32'], (f) => {
    let sum = f.get(0, 'i32');
    for (let i = 0; i < 12; i++) sum = f.op('xor', f.op('mul', sum, f.i32(i + 3)), f.get(0, 'i32'));
    f.flushValue(sum);
  });
  ok(
    long.split('\n').every((each) => each.length <= 132),
    long,
  );
  equal(long.replaceAll(/\s+/g, '').split('(').length, long.replaceAll(/\s+/g, '').split(')').length);
});
