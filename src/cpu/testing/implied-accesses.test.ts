/**
 * What a processor touches, in which order and width, where the manual leaves it open: single cases seen on an Intel Xeon.
 * Implements: SDM vol. 2 PUSH, POP, CALL, LAR, SHLD, CMPS, FXSAVE; vol. 3A table 6-2. Runs on: Node; needs the built modules.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProcessorEngine } from './processor-engine.ts';
import type { StepAnswer } from './vectors.ts';

const engine = await ProcessorEngine.create(false);
const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'];
const AC = '0x40202';

function run(mode: 32 | 64, code: string, regs: Record<string, string>, mem: Record<string, string> = {}): StepAnswer {
  const all = Object.fromEntries(NAMES.map((name) => [name, '0x0']));
  const entries = Object.entries(mem).map(([addr, data]) => ({ addr, data }));
  const answer = engine.run({ id: 1, mode, code, regs: { ...all, rip: '0x20008000', rflags: '0x202', ...regs }, mem: entries });
  assert.ok(!('unsupported' in answer));
  return answer;
}

test('a 32-bit push of a segment register writes a word, a pop reads one', () => {
  const pushed = run(32, '06', { rsp: '0x10008004' }, { '0x10008000': 'ffffffff' });
  assert.deepEqual([pushed.regs['rsp'], pushed.mem[0]!.data], ['0x10008000', '2b00ffff']);
  const popped = run(32, '1f', { rsp: '0x1000fffe' }, { '0x1000fffe': '2b00' });
  assert.deepEqual([popped.exception, popped.regs['rsp']], [null, '0x10010002']);
});

test('alignment comes before translation, and after the first byte is canonical', () => {
  for (const [rsi, exception] of [
    ['0x30000001', 17],
    ['0x7ffffffffffe', 17],
    ['0x8000000000000001', 13],
    ['0x30000000', 14],
  ] as const)
    assert.equal(run(64, '8b06', { rsi, rflags: AC }).exception, exception, rsi);
  assert.equal(run(64, '0fae06', { rsi: '0x10008001', rflags: AC }).exception, 17);
  assert.equal(run(64, '0fae06', { rsi: '0x10008004', rflags: AC }).exception, 13);
});

test('a far call has pushed before it finds its target beyond the canonical addresses', () => {
  const answer = run(
    64,
    '48ff1e',
    { rsi: '0x10009000', rsp: '0x10008010' },
    { '0x10009000': '00900020004523013300', '0x10008000': '00'.repeat(16) },
  );
  assert.deepEqual([answer.exception, answer.regs['rsp'], answer.mem[1]!.data], [13, '0x10008010', '03800020000000003300000000000000']);
  const narrow = run(64, '48ff2e', { rsi: '0x10009000' }, { '0x10009000': '00900020004523012300' });
  assert.deepEqual([narrow.exception, narrow.regs['rip']], [null, '0x20009000']);
});

test('REP narrows its registers before the first iteration; CMPS reads ES:rDI first', () => {
  const nothing = run(64, '67f3a4', { rcx: '0x100000000', rsi: '0x1200000001', rdi: '0x1200000002' });
  assert.deepEqual([nothing.regs['rcx'], nothing.regs['rsi'], nothing.regs['rdi']], ['0x0', '0x1', '0x2']);
  assert.equal(run(64, 'a6', { rsi: '0x30000000', rdi: '0x40000000' }).cr2, '0x40000000');
});

test('REPNE SCAS that faults shows the flags from before', () => {
  const answer = run(64, 'f2ae', { rax: '0x1', rcx: '0x10', rdi: '0x1000fffc', rflags: '0xad7' });
  assert.deepEqual([answer.exception, answer.regs['rcx'], answer.regs['rdi'], answer.regs['rflags']], [14, '0xc', '0x10010000', '0xad7']);
});

test('LAR shows the limit bits; SHLD of words beyond 16 takes the destination in again', () => {
  assert.equal(run(64, '0f02c1', { rcx: '0x2b' }).regs['rax'], '0xcff300');
  assert.equal(run(64, '660fa4d014', { rax: '0x1234', rdx: '0xabcd' }).regs['rax'], '0xbcd1');
});

test('an undefined instruction is fetched whole', () => {
  assert.equal(run(64, '0f3bc0c0', { rip: '0x2000fffc' }).exception, 14);
  assert.equal(run(64, '0f3cc0c0', { rip: '0x2000fffc' }).exception, 6);
});
