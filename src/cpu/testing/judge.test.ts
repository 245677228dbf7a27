import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { judge } from './judge.ts';
import { expectedOf, toVector } from './vectors.ts';
import type { ExpectedAnswer, StepInput } from './vectors.ts';

const input: StepInput = {
  id: 1,
  mode: 64,
  code: '90',
  regs: { rax: '0x1', rip: '0x20008000', rflags: '0x202' },
  mem: [{ addr: '0x10000000', data: '0011' }],
};
const answer: ExpectedAnswer = {
  id: 1,
  exception: null,
  regs: { rax: '0x2', rip: '0x20008001', rflags: '0x203' },
  mem: [{ addr: '0x10000000', data: '0012' }],
};
const fpu = (fsw: string, st0: string) => ({
  fcw: '0x37f',
  fsw,
  ftw: '0x1',
  st: [st0, ...Array.from({ length: 7 }, () => '0'.repeat(20))],
});

test('a vector keeps changes alone and gives the whole answer back', () => {
  const vector = toVector(input, answer);
  deepEqual(vector.expect, { exception: null, regs: { rax: '0x2', rip: '0x20008001', rflags: '0x203' }, mem: { 0: '0012' } });
  deepEqual(expectedOf(vector), answer);
});

test('a right answer has no differences, a wrong one names register, memory and exception', () => {
  deepEqual(judge(answer, answer), []);
  deepEqual(judge({ ...answer, exception: 13, regs: { ...answer.regs, rax: '0x3' }, mem: input.mem }, answer), [
    'exception: got 13, want null',
    'rax: got 0x3, want 0x2',
    'mem 0x10000000: got +1: 11, want +1: 12',
  ]);
});

test('flags outside the mask, IF and reserved bits are not compared', () => {
  deepEqual(judge({ ...answer, regs: { ...answer.regs, rflags: '0x1' } }, answer), []);
  deepEqual(judge({ ...answer, regs: { ...answer.regs, rflags: '0x202' } }, answer), ['rflags: got [], want [CF]']);
  deepEqual(judge({ ...answer, regs: { ...answer.regs, rflags: '0x202' } }, { ...answer, flagsMask: '0xcd4' }), []);
});

test('error code, CR2 and C1 count in the strict comparison alone; C1 also where it is asked for', () => {
  const fault: ExpectedAnswer = { ...answer, exception: 14, error: '0x6', cr2: '0x10', fpu: fpu('0x200', '0'.repeat(20)) };
  const other = { ...fault, error: '0x4', cr2: '0x11', fpu: fpu('0x0', '0'.repeat(20)) };
  deepEqual(judge(other, fault), []);
  equal(judge(other, fault, { strict: true }).length, 3);
  deepEqual(judge(other, fault, { c1: true }), ['fsw: got TOP=0[], want TOP=0[C1]']);
});

test('transcendental results may differ by 64 units in the last place, across a binade too', () => {
  const one = '0000000000000080ff3f',
    below = 'c0ffffffffffffff' + 'fe3f',
    far = 'bfffffffffffffff' + 'fe3f';
  const want: ExpectedAnswer = { ...answer, fpu: fpu('0x0', one), tol: 'x87' };
  deepEqual(judge({ ...want, fpu: fpu('0x0', below) }, want), []);
  equal(judge({ ...want, fpu: fpu('0x0', far) }, want).length, 1);
});

test('estimates have a relative tolerance, and an exact NaN or infinity', () => {
  const xmm = (lane: string) => [lane + '0000803f'.repeat(3)];
  const want: ExpectedAnswer = { ...answer, xmm: xmm('0000003f'), mxcsr: '0x1f80', tol: 'rel12' };
  deepEqual(judge({ ...want, xmm: xmm('00f0003f') }, want).length, 1);
  deepEqual(judge({ ...want, xmm: xmm('0010003f') }, want), []);
});
