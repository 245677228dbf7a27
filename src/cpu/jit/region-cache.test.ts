/** When regions are compiled, installed, dropped and evicted: with a compiler that finishes when the test says so. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { HVA_RAM, UOP_HANDLER, VCPUS } from '../../base/memory-map.ts';
import { FIRST_PAIR, FIRST_REGION } from '../decode/pseudo.ts';
import { ramBytes } from '../guest-ram.ts';
import { RUN_BUDGET, RUN_HALTED } from '../state.ts';
import { CODE32, SmallMachine } from '../testing/small-machine.ts';
import type { SmallMachineOptions } from '../testing/small-machine.ts';
import type { CompileEntry, CompiledModule, Compiler } from './compilation.ts';
import { imageOf, keptCodeIn } from './kept-image.ts';
import { KeptRegions } from './kept-regions.ts';
import { RegionCompiler } from './region-compiler.ts';

const CODE = 0x1000;
const CR0_PE = 0x31;
const MS = 1e6;

/** Compiles what was submitted when it is told to. */
class HeldCompiler implements Compiler {
  readonly submitted: CompileEntry[] = [];
  readonly kept: KeptRegions | undefined;
  readonly #finished: CompiledModule[] = [];

  constructor({ kept }: { readonly kept?: KeptRegions } = {}) {
    this.kept = kept;
  }

  submit(entries: readonly CompileEntry[]): void {
    this.submitted.push(...entries);
  }
  get hasAnswer(): boolean {
    return this.#finished.length > 0;
  }
  take(): CompiledModule | undefined {
    return this.#finished.shift();
  }
  finish(memory1: Uint8Array): void {
    new RegionCompiler(memory1).compile(this.submitted.splice(0), (module) => this.#finished.push(module));
  }
}

/** In protected mode at CODE, with tier 1; each look at the clock is a millisecond later. */
class Machine extends SmallMachine {
  readonly memory1: Uint8Array;

  constructor(code: readonly number[], options: Partial<SmallMachineOptions> = {}) {
    let nowNs = 0;
    super({ ramBytes: 0x40000, tier: 'jit', nowNs: () => (nowNs += MS), ...options });
    this.memory1 = ramBytes({ buffer: this.ram.buffer as ArrayBuffer });
    this.set('cr0', CR0_PE);
    this.set('rflags', 2);
    this.setFlatSegments(CODE32);
    this.ram.set(code, CODE);
    this.set('rip', CODE);
    this.refresh();
  }
  get regions() {
    return this.processor.jit!.stats;
  }
  /** To the next HLT, in small slices. */
  run(): void {
    this.set('halted', 0);
    let reason = RUN_BUDGET as number;
    while (reason === RUN_BUDGET) reason = this.processor.run(1000);
    equal(reason, RUN_HALTED);
  }
  again(): void {
    this.set('rip', CODE);
    this.run();
  }
}

const low = (value: number): readonly number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];
/** mov ecx, count; xor eax, eax; l: add eax, 3; (jc far, 64 bytes on); dec ecx; jnz l; hlt. At `far`: add eax, 1; hlt. */
const loop = (count: number): readonly number[] => [
  ...[0xb9, ...low(count), 0x31, 0xc0, 0x83, 0xc0, 3, 0x72, 0x40, 0x49, 0x75, 0xf8, 0xf4],
  ...Array<number>(0x40 - 4).fill(0x90),
  ...[0x83, 0xc0, 1, 0xf4],
];

test('a loop goes on in tier 0 until its region comes back, and has the same result', () => {
  const compiler = new HeldCompiler(),
    machine = new Machine(loop(20_000), { compiler });
  machine.run();
  equal(machine.get('gpr'), 60_000n);
  deepEqual([compiler.submitted.length, machine.regions.regions], [1, 0]);
  compiler.finish(machine.memory1);
  machine.again();
  machine.again();
  equal(machine.get('gpr'), 60_000n);
  equal(machine.get('retired'), BigInt(3 * (3 + 4 * 20_000)));
  equal(machine.regions.regions, 1);
});

test('what has changed since it was read for compilation is dropped, also where tier 0 has never been', () => {
  const compiler = new HeldCompiler(),
    machine = new Machine(loop(20_000), { compiler });
  // What lies behind a HLT is decoded with it, up to `far`.
  machine.set('rip', CODE + 15);
  machine.run();
  machine.again();
  const far = CODE + loop(0).length - 4;
  compiler.finish(machine.memory1);
  machine.ram[far + 2] = 9;
  machine.again();
  deepEqual([machine.regions.regions, machine.regions.dropped], [0, 1]);
  // It is still hot: what is there now is compiled.
  compiler.finish(machine.memory1);
  machine.again();
  compiler.finish(machine.memory1);
  machine.again();
  equal(machine.regions.regions, 1);
});

test('code that was overwritten before it was compiled gets its region where it is executed next', () => {
  const compiler = new HeldCompiler(),
    machine = new Machine(loop(20_000), { compiler });
  machine.run();
  machine.ram[CODE + 9] = 5; // add eax, 5
  machine.processor.code.written(HVA_RAM + CODE, 1, 0);
  compiler.finish(machine.memory1);
  machine.processor.jit!.turn();
  deepEqual([machine.regions.regions, machine.regions.dropped], [1, 0]);
  for (let i = 0; i < 3; i++) {
    machine.again();
    equal(machine.get('gpr'), 100_000n);
  }
  const entry = machine.processor.code.uopAt(HVA_RAM + CODE, 7 | (Number(machine.get('mode')) << 12)),
    handler = machine.record.getUint16(entry + UOP_HANDLER - VCPUS, true);
  ok(handler >= FIRST_REGION && handler < FIRST_PAIR, `handler ${handler}`);
});

test('a flush forgets what is being compiled', () => {
  const compiler = new HeldCompiler(),
    machine = new Machine(loop(5000), { compiler });
  machine.run();
  compiler.finish(machine.memory1);
  machine.processor.code.flush();
  machine.again();
  equal(machine.regions.regions, 0);
  compiler.finish(machine.memory1);
  machine.again();
  equal(machine.regions.regions, 1);
});

/** Pages with a loop each: a region each. */
function loopsInPages(machine: Machine, pages: number): void {
  for (let page = 0; page < pages; page++) machine.ram.set(loop(5000), CODE + page * 0x1000);
}

test('beyond its bound the cache lets the oldest go, and what is still hot comes back', () => {
  const machine = new Machine([], { codeCacheBytes: 1 }),
    pages = 8;
  loopsInPages(machine, pages);
  for (let round = 1; round <= 2; round++)
    for (let page = 0; page < pages; page++) {
      machine.set('rip', CODE + page * 0x1000);
      machine.run();
      equal(machine.get('gpr'), 15_000n);
    }
  const { regions, evicted } = machine.regions;
  ok(regions > pages, `${regions} regions`);
  equal(regions - evicted, 1);
});

test('within its bound it keeps all', () => {
  const machine = new Machine([]);
  loopsInPages(machine, 8);
  for (let page = 0; page < 8; page++) {
    machine.set('rip', CODE + page * 0x1000);
    machine.run();
  }
  deepEqual([machine.regions.regions, machine.regions.evicted], [8, 0]);
});

test('a page that keeps changing is compiled more and more seldom, and again when it has been quiet', () => {
  const machine = new Machine(loop(5000)),
    operation = CODE + 8;
  const change = (round: number): void => {
    machine.ram[operation] = round & 1 ? 0xc0 : 0xc8; // add or or eax, 3
    machine.processor.code.written(HVA_RAM + CODE, 1, 0);
    machine.again();
    equal(machine.get('gpr'), round & 1 ? 15_000n : 3n);
  };
  for (let round = 1; round <= 400; round++) change(round);
  const { regions } = machine.regions;
  ok(regions >= 2 && regions < 20, `${regions} regions for 400 versions`);
  for (let round = 0; machine.regions.regions === regions; round++) {
    ok(round < 2000, 'never compiled again');
    machine.again();
  }
});

test('a change beside a region leaves it', () => {
  const machine = new Machine(loop(20_000));
  machine.run();
  machine.processor.code.written(HVA_RAM + CODE, 0, 1);
  deepEqual([machine.regions.regions, machine.regions.changed], [1, 0]);
  machine.processor.code.written(HVA_RAM + CODE, 1, 0);
  equal(machine.regions.changed, 0, 'written as it was');
  machine.ram[CODE + 8] = 0xc8;
  machine.processor.code.written(HVA_RAM + CODE, 1, 0);
  equal(machine.regions.changed, 1);
});

test('code that was overwritten is found again without a look-up each time', () => {
  // l: call f; dec ecx; jnz l; hlt; f (in the next line): add eax, 3; ret
  const machine = new Machine(
    [
      ...[0xb9, ...low(5000), 0x31, 0xc0, 0xe8, ...low(0x40), 0x49, 0x75, 0xf8, 0xf4],
      ...Array<number>(0x40 - 4).fill(0x90),
      0x83,
      0xc0,
      3,
      0xc3,
    ],
    { tier: 'interpreter' },
  );
  machine.set('gpr', 0x8000, 4);
  const { code } = machine.processor;
  machine.run();
  const first = code.stats.lookups;
  machine.ram[CODE + 12 + 0x40 + 2] = 5;
  code.written(HVA_RAM + CODE, 2, 0);
  machine.again();
  equal(machine.get('gpr'), 25_000n);
  const again = code.stats.lookups - first;
  ok(again <= first, `${again} look-ups`);
});

test('a region of an earlier run is there without the compiler, wherever its code lies now', () => {
  const kept = new KeptRegions(),
    first = new Machine(loop(20_000), { kept });
  first.run();
  deepEqual([first.regions.regions, first.regions.kept, kept.added], [1, 0, 1]);

  const compiler = new HeldCompiler({ kept: again(kept) }),
    machine = new Machine([], { compiler }),
    elsewhere = CODE + 0x3000;
  machine.ram.set(loop(20_000), elsewhere);
  machine.set('rip', elsewhere);
  machine.refresh();
  machine.run();
  equal(machine.get('gpr'), 60_000n);
  deepEqual([machine.regions.regions, machine.regions.kept, compiler.submitted.length], [1, 1, 0]);
  // Another loop's code is not what was kept: the compiler is asked.
  machine.ram[elsewhere + 9] = 5;
  machine.processor.code.written(HVA_RAM + elsewhere, 1, 0);
  machine.set('rip', elsewhere);
  machine.run();
  equal(machine.get('gpr'), 100_000n);
  deepEqual([machine.regions.kept, compiler.submitted.length], [1, 1]);
});

/** Loops, each in a page of its own from CODE on and elsewhere in it, of `size` instructions; each leads to the next page, the last one halts. */
function loops(count: number, size: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => {
    const body = Array.from({ length: size }, () => [0x83, 0xc0, 3]).flat(),
      code = [...Array<number>(index * 16).fill(0x90), 0xb9, ...low(400), ...body, 0x49, 0x0f, 0x85, ...low(-(body.length + 7))];
    if (index === count - 1) code.push(0xf4);
    else code.push(0xe9, ...low(0x1000 - (code.length + 5)));
    return [...code, ...Array<number>(0x1000 - code.length).fill(0x90)];
  }).flat();
}
const again = (kept: KeptRegions): KeptRegions => new KeptRegions(keptCodeIn(imageOf(kept.all(Infinity))));

test('what an earlier run used next is there before it has become hot', () => {
  const kept = new KeptRegions();
  new Machine(loops(3, 10), { kept, hot: 100 }).run();
  const machine = new Machine(loops(3, 10), { compiler: new HeldCompiler({ kept: again(kept) }), hot: 100 });
  machine.run();
  equal(machine.get('gpr'), 3n * 400n * 30n);
  deepEqual([machine.regions.regions, machine.regions.kept, machine.regions.expected], [3, 3, 2]);
  equal(machine.regions.modules, 1);
});

test('what is expected and not there is forgotten: the compiler is not asked for it until it is hot', () => {
  const kept = new KeptRegions();
  new Machine(loops(3, 10), { kept, hot: 100 }).run();
  const compiler = new HeldCompiler({ kept: again(kept) }),
    code = [...loops(3, 10)];
  code[0x1000 + 16 + 7] = 5;
  const machine = new Machine(code, { compiler, hot: 100 });
  machine.run();
  equal(machine.get('gpr'), 400n * (30n + 32n + 30n));
  deepEqual([machine.regions.kept, machine.regions.expected], [2, 1]);
  deepEqual(
    compiler.submitted.map(({ hvaPage }) => hvaPage),
    [HVA_RAM + CODE + 0x1000],
  );
});

test('a turn puts in place no more than so many bytes: the rest comes in the next ones', () => {
  const kept = new KeptRegions(),
    code = loops(16, 450);
  new Machine(code, { kept, hot: 100 }).run();
  const machine = new Machine(code, { compiler: new HeldCompiler({ kept: again(kept) }), hot: 100 }),
    turns: number[] = [];
  for (let before = 0, reason = RUN_BUDGET as number; reason === RUN_BUDGET;) {
    reason = machine.processor.run(1000);
    const { bytes } = machine.regions;
    if (bytes > before) turns.push(bytes - before);
    before = bytes;
  }
  equal(machine.get('gpr'), 16n * 400n * 450n * 3n);
  equal(machine.regions.kept, machine.regions.regions);
  const largest = Math.max(...kept.all(Infinity).regions.map((region) => region.code.length));
  ok(turns.length >= 2 && Math.max(...turns) < 96 * 1024 + largest + 4096, turns.join());
});
