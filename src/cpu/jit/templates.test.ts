/** What makes an instruction another template, and what does not. */
import { deepEqual, equal, notEqual, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { RAM_INDEXES, RAM_INDEX_BITS } from '../guest-ram.ts';
import { MODE_64 } from '../state.ts';
import { FunctionBuilder, Label } from '../wasm/function.ts';
import { CodeWindow, onlyPage } from './code-window.ts';
import { KnownEmit, REGISTER_FLAGS, REGISTER_MXCSR, REGISTER_ROTATED, RegionLocals } from './known-emit.ts';
import { RegionFormer } from './region.ts';
import type { Instruction } from './region.ts';
import { TemplateImage } from './template-image.ts';
import { Templates, templates } from './templates.ts';

const page = Buffer.alloc(4096);

/** The first instruction of some code. */
function decoded(code: string): Instruction {
  page.fill(0x90);
  page.write(code, 'hex');
  return new RegionFormer().form(new CodeWindow(page).open(onlyPage(0)), 0, MODE_64, 1)!.entry.instructions[0]!;
}
const templateOf = (code: string, known?: number): unknown => templates.i32.find(decoded(code), false, known);

/** Code and register masks of instructions, one after the other. */
function emitted(...codes: string[]): { bytes: string; reads: number; writes: number; vectorReads: number; vectorWrites: number } {
  const f = new FunctionBuilder(['i32', 'i32']),
    caught = new Label(),
    locals = new RegionLocals(f);
  const emit = new KnownEmit(f, true, locals, caught, {
    helperIndex: () => 9,
    gotoIndex: () => 8,
    handlerType: 0,
    ramIndex: 'i32',
    vcpu: 0,
    tlb: 0,
    hvaOf: () => 0,
    slot: 7,
    fpuTrap: false,
  });
  f.open('block', caught);
  for (const code of codes) {
    const instruction = decoded(code);
    emit.instruction(instruction, emit.template(instruction), 0);
  }
  f.flush();
  const { reads, writes, vectorReads, vectorWrites } = emit;
  return { bytes: Buffer.from(f.out.bytes()).toString('hex'), reads, writes, vectorReads, vectorWrites };
}

test('registers, displacements and immediates are holes of one template', () => {
  equal(templateOf('01c8'), templateOf('4501d1')); // add eax, ecx; add r9d, r10d
  equal(templateOf('488b03'), templateOf('4a8b84eb00100000')); // mov rax, [rbx]; mov rax, [rbx + r13*8 + 1000h]
  equal(templateOf('0505000000'), templateOf('05ffffff7f')); // add eax, 5; add eax, 7fffffffh
  notEqual(templateOf('01c8'), templateOf('4801c8'));
  notEqual(templateOf('00c8'), templateOf('00cc')); // add al, cl; add ah, cl
});

test('a body that looks at an immediate has a template for each value', () => {
  equal(templateOf('c1e003'), templateOf('41c1e103')); // shl eax, 3; shl r9d, 3
  notEqual(templateOf('c1e003'), templateOf('c1e004'));
});

test('a body that looks at the flags before has a template for what is known of them', () => {
  notEqual(templateOf('7410', undefined), templateOf('7410', 4)); // je
  equal(templateOf('01c8', undefined), templateOf('01c8', 4));
});

test('the registers that an instruction reads and writes are told', () => {
  const bit = (...registers: number[]): number => registers.reduce((mask, register) => mask | (1 << register), 0);
  const { reads, writes } = emitted('468d04a9'); // lea r8d, [rcx + r13*4]
  equal(reads, bit(1, 13));
  equal(writes, bit(8));
  equal(emitted('b001').reads, bit(0)); // mov al, 1 keeps the rest of rax
  equal(emitted('4889c3').reads, bit(0));
  equal(emitted('50').writes, bit(4)); // push rax
  equal(emitted('f7e1').writes & 0xffff, bit(0, 2)); // mul ecx
  equal(emitted('7410').reads, REGISTER_FLAGS | REGISTER_ROTATED); // je
  equal(emitted('39c8').writes, REGISTER_FLAGS); // cmp eax, ecx
  ok(emitted('480fbcc1').reads & bit(0), 'bsf rax, rcx writes rax or not');
});

test('XMM registers are a bank of their own', () => {
  const told = (code: string): number[] => {
    const { vectorReads, vectorWrites } = emitted(code);
    return [vectorReads, vectorWrites];
  };
  deepEqual(told('66440fefc3'), [(1 << 8) | (1 << 3), 1 << 8]); // pxor xmm8, xmm3
  deepEqual(told('f20f1008'), [0, 1 << 1]); // movsd xmm1, [rax] clears the rest of xmm1
  deepEqual(told('f20f10ca'), [(1 << 1) | (1 << 2), 1 << 1]); // movsd xmm1, xmm2 keeps it
  deepEqual(told('660f3810d1'), [1 | (1 << 1) | (1 << 2), 1 << 2]); // pblendvb xmm2, xmm1, implied xmm0
  deepEqual(told('0f7f01'), [0, 0]); // movq [rcx], mm0
  deepEqual(told('f20f58c1'), [REGISTER_MXCSR | (1 << 0) | (1 << 1), 1 << 0]); // addsd asks for MXCSR
  equal(emitted('f30f7e4608').writes, 0); // movq xmm0, [rsi + 8]
});

for (const ramIndex of RAM_INDEXES)
  test(`templates that the build has recorded are those that are recorded here (${ramIndex})`, () => {
    const bytes = Uint8Array.from(readFileSync(new URL(`../../generated/templates${RAM_INDEX_BITS[ramIndex]}.bin`, import.meta.url))),
      ahead = new Templates(ramIndex),
      fresh = new Templates(ramIndex);
    ahead.load(new TemplateImage((start, end) => bytes.slice(start, end)));
    const codes = '4801d8 c1e003 488b03 ff4508 7410 0f95c0 6548ff05 f0480fb10b 660fefc0 d8c1 f20f58c1 41ffd4'.split(' ');
    for (const [code, known] of [...codes.map((each) => [each, undefined] as const), ['7410', 5] as const]) {
      const [one, other] = [ahead, fresh].map((all) => {
        const template = all.find(decoded(code), false, known);
        return { ...template, start: 0, end: 0, tokens: all.pool.slice(template.start, template.end) };
      });
      deepEqual(one, other, code);
    }
    ok(fresh.stats.recorded >= codes.length);
    equal(ahead.stats.recorded, 0);
  });

test('code is that of the operands: locals, numbers and absent parts of an address', () => {
  const plain = emitted('48c7c0ffffffff').bytes; // mov rax, -1
  ok(plain.includes('427f21'), plain); // i64.const -1, local.set
  const address = emitted('488d0411').bytes, // lea rax, [rcx + rdx]
    scaled = emitted('488d0451').bytes;
  ok(!address.includes('86'), 'no shift without a scale');
  ok(scaled.includes('420186'), 'i64.const 1, i64.shl');
});
