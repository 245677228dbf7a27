/** Kept regions: put elsewhere they are what the compiler would have made there, and they are found for the same code only. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES, VCPUS, VCPU_TLB } from '../../base/memory-map.ts';
import { MODE_64 } from '../state.ts';
import { CODE_BYTES, ENTRY } from '../testing/program-map.ts';
import { randomProgram } from '../testing/random-program.ts';
import { MARK_WORDS } from '../wasm/bytes.ts';
import { CodeWindow, WINDOW_REACH } from './code-window.ts';
import type { CompileEntry } from './compilation.ts';
import { imageOf, keptCodeIn } from './kept-image.ts';
import { KeptRegions, addKept } from './kept-regions.ts';
import type { KeptCode, KeptRegion } from './kept-regions.ts';
import { RegionCompiler } from './region-compiler.ts';
import { RELOCATION } from './relocations.ts';

const PLACES = 8;
const FIRST_SLOT = 300;

/** Guest memory with the same pages of code at several places. */
class Memory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #pages: number;

  constructor(code: Uint8Array, pages: number) {
    this.#pages = pages;
    this.bytes = new Uint8Array(PLACES * pages * PAGE_BYTES);
    for (let place = 0; place < PLACES; place++) this.bytes.set(code, this.#start(place));
  }
  #start(place: number): number {
    return place * this.#pages * PAGE_BYTES;
  }
  at(place: number, offset: number): number {
    return this.#start(place) + offset;
  }
  /** @param offset of the entry */
  entry(place: number, offset: number, more: Partial<CompileEntry> = {}): CompileEntry {
    const own = Math.floor(offset / PAGE_BYTES);
    return {
      slot: FIRST_SLOT + place,
      vcpu: VCPUS,
      tlb: VCPUS + VCPU_TLB,
      hvaPage: this.at(place, own * PAGE_BYTES),
      offset: offset % PAGE_BYTES,
      pages: Array.from({ length: 2 * WINDOW_REACH + 1 }, (_, i) => {
        const page = own + i - WINDOW_REACH;
        return page >= 0 && page < this.#pages ? this.at(place, page * PAGE_BYTES) : -1;
      }),
      mode: MODE_64,
      ...more,
    };
  }
  make(entry: CompileEntry): KeptRegions {
    const kept = new KeptRegions();
    new RegionCompiler(this.bytes, { cap: 300, minimum: 1 }, { kept }).compile([entry], () => {});
    return kept;
  }
  find(kept: KeptRegions, entry: CompileEntry): KeptRegion | undefined {
    return kept.find(entry, new CodeWindow(this.bytes).openFor(entry, undefined));
  }
  /** The code of a kept region, as it is where the entry is. */
  placed(kept: KeptRegion, entry: CompileEntry): string {
    let code = '';
    const helpers: number[] = [];
    addKept(
      {
        // As a module has them: behind the two functions that each begins with, in the order in which they are asked for.
        helperIndex: (helper) => (helpers.includes(helper) ? helpers.indexOf(helper) : helpers.push(helper) - 1) + 2,
        copyOf: (kept) => kept.slice(),
        add: (_region, { out }) => {
          code = Buffer.from(out.bytes()).toString('hex');
        },
      },
      kept,
      entry.slot,
      new CodeWindow(this.bytes).openFor(entry, undefined),
    );
    return code;
  }
}
const only = (kept: KeptRegions): KeptRegion => kept.all(Infinity).regions[0]!;
const low = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];

/** mov rax, [0xffffffff81234560]; cmp dword [rbx+0x12345678], 0x7edcba98; jne l; mov rcx, imm64; add rdx, 5; l: lea rsi, [rip+0x7e000000]; ret */
const CODE = Uint8Array.from([
  ...[0x48, 0x8b, 0x04, 0x25, ...low(0x81234560)],
  ...[0x81, 0xbb, ...low(0x12345678), ...low(0x7edcba98)],
  ...[0x75, 0x0e],
  ...[0x48, 0xb9, ...low(0x89abcdef), ...low(0xffff8881)],
  ...[0x48, 0x83, 0xc2, 5],
  ...[0x48, 0x8d, 0x35, ...low(0x7e000000)],
  0xc3,
]);
const DISPLACEMENT = 4,
  STORED = 14,
  WIDE = 22,
  SMALL = 33,
  FAR = 37;

test('a region that is put elsewhere, its addresses relocated, is what the compiler makes there', () => {
  const memory = new Memory(CODE, 1),
    kept = memory.make(memory.entry(0, 0)),
    view = Buffer.from(memory.bytes.buffer);
  for (const at of [DISPLACEMENT, STORED, WIDE, FAR]) {
    view.writeInt32LE((view.readInt32LE(memory.at(1, at)) + 0x0340_0000) | 0, memory.at(1, at));
    view.writeInt32LE((view.readInt32LE(memory.at(2, at)) - 0x5340_0000) | 0, memory.at(2, at));
  }
  for (const place of [1, 2, 3]) {
    const entry = memory.entry(place, 0),
      found = memory.find(kept, entry);
    ok(found, `place ${place}`);
    equal(memory.placed(found, entry), Buffer.from(only(memory.make(entry)).code).toString('hex'));
  }
});

test('it is not found where other code stands, or for another access class, mode or vCPU', () => {
  const memory = new Memory(CODE, 1),
    kept = memory.make(memory.entry(0, 0));
  memory.bytes[memory.at(1, SMALL)] = 6;
  equal(memory.find(kept, memory.entry(1, 0)), undefined);
  equal(memory.find(kept, memory.entry(2, 0, { tlb: VCPUS + VCPU_TLB + 0x8_0000 })), undefined);
  equal(memory.find(kept, memory.entry(2, 0, { mode: MODE_64 | 4 })), undefined);
  equal(memory.find(kept, memory.entry(2, 0, { vcpu: VCPUS + 0x100_0000 })), undefined);
  memory.bytes[memory.at(2, CODE.length)] = 0x90;
  ok(memory.find(kept, memory.entry(2, 0)), 'what stands behind it does not count');
});

test('where a field has been patched meanwhile, it is not found: the region there reads it', () => {
  const memory = new Memory(CODE, 1),
    patched = (at: number): CompileEntry => {
      const bits = new Int32Array(PAGE_BYTES / 32);
      bits[at >> 5]! |= 1 << (at & 31);
      return memory.entry(1, 0, {
        patched: Array.from({ length: 2 * WINDOW_REACH + 1 }, (_, i) => (i === WINDOW_REACH ? bits : undefined)),
      });
    },
    kept = memory.make(memory.entry(0, 0));
  equal(memory.find(kept, patched(STORED)), undefined);
  ok(memory.find(kept, patched(0)), 'an opcode is no field');
  const reading = memory.make(patched(STORED));
  ok(memory.find(reading, patched(STORED)));
  memory.bytes[memory.at(1, STORED)]! ^= 0xff;
  ok(memory.find(reading, patched(STORED)), 'its value does not count');
});

test('an image holds all of it, and the last use of a region is the same memory for all who read it', () => {
  const memory = new Memory(CODE, 1),
    made = memory.make(memory.entry(0, 0)),
    image = imageOf(made.all(Infinity)),
    shared = new Int32Array(new SharedArrayBuffer(image.byteLength));
  shared.set(image);
  const plain = ({ run, regions }: KeptCode): unknown => [
    run,
    regions.map(({ offset, mode, vcpu, tlb, size, usage, lines, fields, blocks, hints, relocations, code }) =>
      JSON.stringify([offset, mode, vcpu, tlb, size, usage, lines, fields, blocks, hints, relocations, code]),
    ),
  ];
  deepEqual(plain(keptCodeIn(shared)), plain(made.all(Infinity)));
  const [one, other] = [new KeptRegions(keptCodeIn(shared)), keptCodeIn(shared)];
  one.use(memory.find(one, memory.entry(3, 0))!, memory.entry(3, 0));
  equal(other.regions[0]!.usage[0], only(made).usage[0]! + 1);
});

test('what the run before used next is expected, moved as far as what is used now', () => {
  const memory = new Memory(CODE, 1),
    at = (place: number, offset: number, rip: bigint): CompileEntry => memory.entry(place, offset, { rip }),
    kept = new KeptRegions(),
    compiler = new RegionCompiler(memory.bytes, { cap: 300, minimum: 1 }, { kept });
  compiler.compile([at(0, 0, 0xffff_ffff_8100_0000n)], () => {});
  compiler.compile([at(1, 8, 0xffff_ffff_8100_3008n)], () => {});
  compiler.compile(
    [at(2, 8, 0x40_0008n)].map((entry) => ({ ...entry, mode: MODE_64 | 4 })),
    () => {},
  );
  const use = (rip: bigint): unknown => {
    const entry = at(3, 0, rip);
    return kept.use(memory.find(kept, entry)!, entry);
  };
  deepEqual(use(0xffff_ffff_8100_0000n), [], 'this run has made them');
  kept.nextRun();
  deepEqual(use(0xffff_ffff_a000_0000n), [{ pages: 3, offset: 8 }], 'the third one is of another mode');
  deepEqual(use(0xffff_ffff_a000_0000n), [], 'once in a run');
  const next = at(4, 8, 0xffff_ffff_a000_3008n);
  kept.useExpected(memory.find(kept, next)!, next);
  kept.nextRun();
  deepEqual(use(0xffff_ffff_8000_0000n), [{ pages: 3, offset: 8 }]);
  // It is not expected any more where it was not used in the run before.
  kept.nextRun();
  use(0xffff_ffff_8000_0000n);
  kept.nextRun();
  deepEqual(use(0xffff_ffff_8000_0000n), []);
});

test('what was not used for longest goes first', () => {
  const memory = new Memory(CODE, 1),
    first = memory.make(memory.entry(0, 0)),
    second = new KeptRegions(first.all(Infinity));
  const compiler = new RegionCompiler(memory.bytes, { cap: 300, minimum: 1 }, { kept: second });
  compiler.compile([memory.entry(0, 8)], () => {});
  const both = second.all(Infinity).regions;
  deepEqual(
    both.map(({ offset }) => offset),
    [8, 0],
  );
  const most = both.reduce((bytes, region) => bytes + region.code.length, 0);
  equal(second.all(0).regions.length, 0);
  ok(second.all(most + 4096).regions.length > 0);
});

test('random programs: code that is put elsewhere is what the compiler makes there', () => {
  const seen = { regions: 0, moved: 0, found: 0 };
  for (let seed = 1; seed <= 100; seed++) {
    const code = new Uint8Array(CODE_BYTES);
    code.set(
      randomProgram(seed, 'long')
        .assemble()
        .code.subarray(0, CODE_BYTES - ENTRY),
      ENTRY,
    );
    const memory = new Memory(code, CODE_BYTES / PAGE_BYTES),
      kept = memory.make(memory.entry(0, ENTRY)),
      [region] = kept.all(Infinity).regions,
      entry = memory.entry(1, ENTRY);
    if (!region) continue; // its first instruction is left to tier 0
    seen.regions++;
    for (let i = 0; i < region.relocations.length; i += MARK_WORDS)
      if (region.relocations[i + 1]! >= RELOCATION.FIELD32) {
        memory.bytes[memory.at(1, ENTRY - (ENTRY % PAGE_BYTES) + region.relocations[i + 2]! + 2)]! ^= 0x10;
        seen.moved++;
      }
    const found = memory.find(kept, entry);
    if (!found) continue; // its code depends on what one of the fields says
    seen.found++;
    equal(memory.placed(found, entry), Buffer.from(only(memory.make(entry)).code).toString('hex'), `seed ${seed}`);
  }
  ok(seen.found > 30 && seen.moved > 30, JSON.stringify(seen));
});
