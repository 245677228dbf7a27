import { equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { FunctionBuilder } from './function.ts';
import { ModuleBuilder } from './module.ts';

const SLOTS = 16;

/** A module with a table of functions (i32) -> i32, and one that puts a function into it. */
function shared(params: readonly ('i32' | 'i64')[]): { call: (slot: number, value: number) => number } {
  const owner = new ModuleBuilder(),
    type = owner.type(['i32'], ['i32']),
    call = new FunctionBuilder(['i32', 'i32']);
  owner.exportTable('table', { type, slots: SLOTS });
  call.flushValue(call.callIndirect(type, call.get(0, 'i32'), [call.get(1, 'i32')], 'i32'));
  owner.add(call, ['i32'], { exportAs: 'call' });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(owner.encode()));
  const user = new ModuleBuilder(),
    increment = new FunctionBuilder(params);
  user.importTable('env', 'table', { type: user.type(params, ['i32']), slots: SLOTS });
  increment.flushValue(increment.op('add', increment.get(0, 'i32'), increment.i32(1)));
  user.add(increment, ['i32'], { tableSlot: SLOTS - 1 });
  new WebAssembly.Instance(new WebAssembly.Module(user.encode()), { env: { table: exports['table']! } });
  return exports as { call: (slot: number, value: number) => number };
}

test('a function that one module puts into a table of its type is called by another', () => {
  const { call } = shared(['i32']);
  equal(call(SLOTS - 1, 41), 42);
});

test('a free slot and a slot beyond the table trap', () => {
  const { call } = shared(['i32']);
  throws(() => call(0, 1), WebAssembly.RuntimeError);
  throws(() => call(SLOTS, 1), WebAssembly.RuntimeError);
});

test('a table of another type is not linked', () => {
  throws(() => shared(['i32', 'i64']), WebAssembly.LinkError);
});
