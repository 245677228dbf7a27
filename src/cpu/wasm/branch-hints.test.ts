import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { Bytes } from './bytes.ts';
import { FunctionBuilder } from './function.ts';
import { ModuleBuilder } from './module.ts';

const IF = 0x04,
  NOP = 0x01;

test('a hint names the opcode of its branch, behind the locals and what was filled in later', () => {
  const f = new FunctionBuilder(['i32']),
    local = f.newLocal('i64');
  f.later((out) => {
    for (let i = 0; i < 5; i++) out.u8(NOP);
  });
  f.if(f.get(0, 'i32'), () => f.set(local, f.i64(1)), undefined, 'unlikely');
  f.if(
    f.get(0, 'i32'),
    () => f.set(local, f.i64(2)),
    () => f.set(local, f.i64(3)),
    'likely',
  );
  f.return(f.get(0, 'i32'));
  f.flush();
  const out = f.filled(new Bytes()),
    module = new ModuleBuilder();
  module.importFunction('env', 'other', [], []);
  module.add({ params: f.params, locals: f.locals, out }, ['i32']);
  const bytes = module.encode(),
    [section] = WebAssembly.Module.customSections(new WebAssembly.Module(bytes), 'metadata.code.branch_hint'),
    hints = [...new Uint8Array(section!)];
  // One function, the second of the index space; two hints of an offset, a size of 1 and a value.
  deepEqual([...hints.slice(0, 3), hints.length], [1, 1, 2, 9]);
  deepEqual([hints[4], hints[5], hints[7], hints[8]], [1, 0, 1, 1]);
  const localsBytes = 3,
    body = out.bytes();
  for (const at of [hints[3]!, hints[6]!]) equal(body[at - localsBytes], IF);
});
