/** What `--trace-jit` writes of a few small regions. */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { HVA_RAM, VCPUS, VCPU_TLB } from '../../base/memory-map.ts';
import { RAM_START } from '../guest-ram.ts';
import { MODE_64, RUN_BUDGET, RUN_HALTED } from '../state.ts';
import { CODE32, SmallMachine } from '../testing/small-machine.ts';
import { WINDOW_PAGES, WINDOW_REACH } from './code-window.ts';
import type { CompileEntry } from './compilation.ts';
import { LocalCompiler, RegionCompiler } from './region-compiler.ts';
import type { RegionLimits } from './region-compiler.ts';
import { RegionTrace } from './trace.ts';

const PAGE = 0x2000,
  RIP = 0xffff_ffff_8100_0000n;

/** What is written about 64-bit code at the start of a page, its times apart; the pages around it are not mapped. */
function traced(
  code: string,
  limits: RegionLimits = { cap: 100, minimum: 1 },
  rip: bigint | null = RIP,
  more: Partial<CompileEntry> = {},
): string {
  const memory1 = Buffer.alloc(HVA_RAM + 0x4000, 0x90),
    texts: string[] = [],
    entry: CompileEntry = {
      slot: 7,
      vcpu: VCPUS,
      tlb: VCPUS + VCPU_TLB,
      hvaPage: HVA_RAM + PAGE,
      offset: 0,
      pages: Array.from({ length: WINDOW_PAGES }, (_, i) => (i === WINDOW_REACH ? HVA_RAM + PAGE : -1)),
      mode: MODE_64,
      reports: 2,
      ...(rip !== null && { rip }),
      ...more,
    };
  memory1.write(code.replaceAll(/\s/g, ''), HVA_RAM + PAGE, 'hex');
  new RegionCompiler(memory1, limits).compile([entry], () => {}, new RegionTrace((text) => texts.push(text)));
  return texts.join('').replaceAll(/\d+ us/g, 'T us');
}
const guestOf = (text: string): string => text.slice(0, text.indexOf('  (func'));

// l: add rax, [rbx]; add rbx, 8; dec rcx; jnz l; call f; jmp out of the page; f: cpuid
const CODE = '48 03 03  48 83 c3 08  48 ff c9  75 f4  e8 05 00 00 00  e9 00 20 00 00  0f a2';

test('a region: its code block by block, and where control goes', () => {
  const text = traced(CODE);
  equal(
    guestOf(text).replace(/\d+ bytes of code/, 'N bytes of code'),
    `region 1: rip 0xffffffff81000000, guest memory 0x2000+0x0, 64-bit code
  hot: reported 3 times before its turn came
  6 instructions in 3 blocks and 1 page, 1 loop; formed in T us, emitted in T us: N bytes of code
  block 0, loop
    ffffffff81000000  480303                  add rax, qword ptr [rbx]
    ffffffff81000003  4883c308                add rbx, 0x8
    ffffffff81000007  48ffc9                  dec rcx
    ffffffff8100000a  75f4                    jne 0xffffffff81000000
      -> taken: block 0, or out when the budget is used up
      -> else: block 1
  block 1
    ffffffff8100000c  e805000000              call 0xffffffff81000016
      -> nested call, then block 2
  block 2
    ffffffff81000011  e900200000              jmp 0xffffffff81002016
      -> out to 0xffffffff81002016: its page was not mapped
`,
  );
});

test('a loop with several entries: which of them is meant', () => {
  // test dil, 1; jnz b; a: inc rax; dec rdi; jz out; b: add rax, 2; dec rdi; jnz a; out: hlt
  const text = traced('40 f6 c7 01 75 08  48 ff c0 48 ff cf 74 09  48 83 c0 02 48 ff cf 75 ef  f4');
  deepEqual(
    guestOf(text)
      .split('\n')
      .filter((line) => /^ +(block|->)/.test(line))
      .map((line) => line.trim()),
    [
      'block 0',
      '-> taken: block 1 for block 3',
      '-> else: block 1 for block 2',
      'block 1, loop',
      '-> the one that was chosen: block 3; block 2',
      'block 2',
      '-> taken: out to 0xffffffff81000017: left to tier 0: hlt',
      '-> else: block 1 for block 3, or out when the budget is used up',
      'block 3',
      '-> taken: block 1 for block 2, or out when the budget is used up',
      '-> else: out to 0xffffffff81000017: left to tier 0: hlt',
    ],
  );
  match(text, /br_table .*\$choice1/);
});

test('MFENCE keeps the store before it from the load behind it', () => {
  // mov [rbx], eax; mfence; mov ecx, [rdx]; jmp out of the page
  const text = traced('89 03  0f ae f0  8b 0a  e9 00 20 00 00'),
    fence = text.indexOf('atomic.fence'),
    store = text.indexOf(`i32.store offset=${RAM_START.i32}`),
    load = text.indexOf(`i32.load offset=${RAM_START.i32}`);
  ok(store >= 0 && store < fence && fence < load, text);
});

test('its WebAssembly, with the names of registers, helpers and fields, the same each time', () => {
  const text = traced(CODE);
  for (const part of [
    '(func $region1 (param $vcpu i32) (param $entry i32) (result i32)',
    '(local $rax i64)',
    'loop $',
    '(i64.const -4089)) $rbxReadPage)',
    '(call $slowLoad64 $vcpu',
    '(;rbx;)',
    '(;VCPU_RETURN_TOP;)',
    '(return_call $goto64 $vcpu',
    '(call_indirect (type $handler)',
  ])
    ok(text.includes(part), part);
  match(text, /\n {2}\)\n\nmodule of region 1: \d+ bytes, compiled in T us\n$/);
  equal(traced(CODE), text);
});

test('why a region ends', () => {
  const ways = (code: string, limits?: RegionLimits): string[] =>
    [...guestOf(traced(code, limits)).matchAll(/-> (.*)/g)].map(([, way]) => way!);
  deepEqual(ways('31 c0  0f a2'), ['out to 0xffffffff81000002: left to tier 0: cpuid']);
  deepEqual(ways('31 c0  f3 ac'), ['out to 0xffffffff81000002: left to tier 0: rep lodsb byte ptr [rsi]']);
  deepEqual(ways('31 c0  f3 a4 c3'), ['out: return']);
  deepEqual(ways('31 c0  06'), ['out to 0xffffffff81000002: no instruction']);
  deepEqual(ways('31 c0 c3'), ['out: return']);
  deepEqual(ways('31 c0 ff e0'), ['out: indirect jump']);
  deepEqual(ways('31 c0 90 90', { cap: 2, minimum: 1 }), ['out to 0xffffffff81000003: the cap of 2 instructions is reached']);
  deepEqual(ways('e9 00 00 01 00'), ['out to 0xffffffff81010005: too far away']);
  const decoded = Array.from({ length: WINDOW_PAGES }, (_, i) =>
    i === WINDOW_REACH ? Int32Array.from({ length: 128 }, () => 0b101) : undefined,
  );
  deepEqual(
    [...traced('31 c0  74 02  90', undefined, RIP, { decoded }).matchAll(/-> (.*)/g)].map(([, way]) => way),
    ['taken: out to 0xffffffff81000006: it has not been executed yet', 'else: out to 0xffffffff81000004: it has not been executed yet'],
  );
  // jz into the middle of a loop, nine times: jz m; l: inc eax; m: dec ecx; jnz l
  ok(
    ways(`${'74 02  ff c0  ff c9  75 fa  '.repeat(9)} c3`).some((way) =>
      way.endsWith('into a loop, beside its header, like too many before'),
    ),
  );
});

test('an entry that is not worth a region, and code whose linear address is not known', () => {
  equal(traced('0f a2'), 'no region: rip 0xffffffff81000000, guest memory 0x2000+0x0, 64-bit code: left to tier 0: cpuid\n');
  ok(traced('f3 a4 c3').endsWith('left to tier 0: rep movsb byte ptr [rdi], byte ptr [rsi]\n'));
  equal(traced('90 c3', { cap: 9, minimum: 3 }, null), 'no region: guest memory 0x2000+0x0, 64-bit code: only 2 instructions\n');
  match(traced('90 c3', undefined, null), /^region 1: guest memory 0x2000\+0x0, 64-bit code\n(.*\n){3} {4}2000 {2}90 /);
});

test('what becomes of regions is told by number: installed, killed, evicted', () => {
  const CODE_AT = 0x1000,
    texts: string[] = [];
  // mov ecx, 100; l: xor eax, eax; dec ecx; jnz l; hlt
  const code = [0xb9, 100, 0, 0, 0, 0x31, 0xc0, 0x49, 0x75, 0xfb, 0xf4];
  let compiler: LocalCompiler | undefined;
  const machine = new SmallMachine({
    ramBytes: 0x40000,
    tier: 'jit',
    hot: 4,
    batch: 1,
    nowNs: () => 0,
    compiler: {
      submit: (entries) => local().submit(entries),
      get hasAnswer() {
        return compiler?.hasAnswer === true;
      },
      take: () => compiler?.take(),
      tell: (event) => local().tell!(event),
    },
  });
  function local(): LocalCompiler {
    return (compiler ??= new LocalCompiler(
      undefined,
      { buffer: machine.ram.buffer } as WebAssembly.Memory,
      undefined,
      new RegionTrace((text) => texts.push(text)),
    ));
  }
  machine.set('cr0', 0x31);
  machine.set('rflags', 2);
  machine.setFlatSegments(CODE32);
  machine.ram.set(code, CODE_AT);
  machine.refresh();
  const run = (): void => {
    machine.set('halted', 0);
    machine.set('rip', CODE_AT);
    let reason = RUN_BUDGET as number;
    while (reason === RUN_BUDGET) reason = machine.processor.run(50);
    equal(reason, RUN_HALTED);
  };
  run();
  run();
  machine.ram[CODE_AT]! ^= 0xff;
  machine.processor.jit!.changed(machine.processor.code.page(HVA_RAM + CODE_AT), 1, 0);
  machine.ram[CODE_AT]! ^= 0xff;
  run();
  const events = texts.filter((text) => !text.startsWith('module') && !text.includes('block')).map((text) => text.trim());
  deepEqual(events.slice(0, 2), ['region 1 installed', 'region 1 killed: written at 0x1000']);
  ok(texts.some((text) => text.startsWith('module of region 1: ')));
});
