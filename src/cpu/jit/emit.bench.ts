/**
 * `node src/cpu/jit/emit.bench.ts FILE`: what forming and emitting the regions of a guest costs, per guest instruction, in a fresh process and warm.
 *
 * FILE is what a guest's run has left in the store of kept code (docs/jit.md "Kept regions"): each region is formed again from the code that it was made
 * from, with the same instructions known to tier 0 and the same functions hot, and emitted with the templates of the build. Indirect jumps have no known
 * targets. "Keep" is noting the code that a region was made from, and copying what goes to the store. With NODE_COMPILE_CACHE=FOLDER, and from the second
 * time on, it has V8's code as the product has it.
 * Runs on: the command line.
 */
import { openSync, readFileSync, readSync } from 'node:fs';
import { PAGE_BYTES, VCPUS, VCPU_TLB } from '../../base/memory-map.ts';
import { CODE_SIZE_MASK } from '../state.ts';
import { assemble } from './assemble.ts';
import { CodeWindow, MAX_PAGES, WINDOW_REACH, onlyPage, pageOf } from './code-window.ts';
import { LINE_WORDS, eachLine } from './compilation.ts';
import { keptCodeIn } from './kept-image.ts';
import { keptRegion, linesIn, sourceOf } from './kept-regions.ts';
import type { KeptRegion } from './kept-regions.ts';
import { ModuleBatch } from './module-batch.ts';
import { RegionFormer } from './region.ts';
import { TemplateImage } from './template-image.ts';
import type { ImageReader } from './template-image.ts';
import { templates } from './templates.ts';

const HASH_BYTES = 32;
const CAP = 500,
  BATCH = 8,
  COLD = 5000,
  ROUNDS = 5;
const PAGE_WORDS = PAGE_BYTES / 4;
const CONTEXT = { ramIndex: 'i32' as const, slot: 7, vcpu: VCPUS, tlb: VCPUS + VCPU_TLB, fpuTrap: false };

/** Guest code of a kept region, and which bytes of it are instructions. */
class Code {
  readonly entry;
  /** By distance from the entry's page: where the copy is in `memory`. */
  readonly #at = new Map<number, number>();
  readonly #decoded: Uint8Array;

  /** @param memory gets the code @param start where */
  constructor(kept: KeptRegion, memory: Uint8Array, start: number) {
    this.entry = {
      slot: CONTEXT.slot,
      vcpu: CONTEXT.vcpu,
      tlb: CONTEXT.tlb,
      hvaPage: start,
      offset: kept.offset,
      mode: kept.mode,
      pages: [],
    };
    this.#decoded = new Uint8Array(kept.lines.length * PAGE_BYTES);
    for (const { page, linesLow, linesHigh, bytes, free } of kept.lines) {
      const at = this.#at.size * PAGE_BYTES,
        words = new Int32Array(memory.buffer, start + at, PAGE_WORDS),
        decoded = new Int32Array(this.#decoded.buffer, at, PAGE_WORDS);
      let from = 0;
      this.#at.set(page, start + at);
      eachLine(linesLow, linesHigh, (line) => {
        words.set(bytes.subarray(from, from + LINE_WORDS), line * LINE_WORDS);
        for (let i = 0; i < LINE_WORDS; i++) decoded[line * LINE_WORDS + i] = ~free[from++]!;
      });
    }
  }
  hvaOf(page: number): number {
    return this.#at.get(page) ?? -1;
  }
  isDecoded(hva: number): boolean {
    return this.#decoded[hva - this.entry.hvaPage] !== 0;
  }
  isChanging(): boolean {
    return false;
  }
  patchedOf(): undefined {
    return undefined;
  }
  targetsOf(): readonly number[] {
    return [];
  }
  /** Of the pages near the entry. */
  pages(): number[] {
    return onlyPage(0).map((_, index) => this.hvaOf(index - WINDOW_REACH));
  }
  decodedBits(): (Int32Array | undefined)[] {
    return this.pages().map((hva) => {
      if (hva < 0) return undefined;
      const bits = new Int32Array(PAGE_BYTES / 32);
      for (let offset = 0; offset < PAGE_BYTES; offset++) if (this.isDecoded(hva + offset)) bits[offset >> 5]! |= 1 << (offset & 31);
      return bits;
    });
  }
}

/** CPU time of this thread: wall time says little on a machine with other work. A system call, so only about each batch; the clock divides it. */
const cpuUs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return user + system;
};
function readerOf(path: URL): ImageReader {
  const image = openSync(path, 'r');
  return (start, end) => {
    const bytes = new Uint8Array(end - start);
    readSync(image, bytes, 0, end - start, start);
    return bytes;
  };
}
const print = (line: string): void => void process.stdout.write(`${line}\n`);

const file = readFileSync(process.argv[2]!).subarray(HASH_BYTES),
  kept = keptCodeIn(new Int32Array(new Uint8Array(file).buffer)).regions.filter(({ lines }) => lines.length < MAX_PAGES),
  pages = kept.reduce((sum, { lines }) => sum + lines.length, 0),
  memory = new Uint8Array(pages * PAGE_BYTES),
  hot = new Set<number>();
let start = 0;
const all = kept.map((region) => {
  const code = new Code(region, memory, start);
  start += region.lines.length * PAGE_BYTES;
  for (const offset of region.blocks) hot.add(code.hvaOf(pageOf(offset)) + offset - pageOf(offset) * PAGE_BYTES);
  return { code, pages: code.pages(), decoded: code.decodedBits() };
});
const former = new RegionFormer(),
  window = new CodeWindow(memory, hot),
  { stats } = templates[CONTEXT.ramIndex];
templates[CONTEXT.ramIndex].load(new TemplateImage(readerOf(new URL('../../generated/templates32.bin', import.meta.url))));

/** Regions from number `first` on, until `limit` instructions. Times in us. */
function run(first: number, limit: number) {
  let instructions = 0,
    bytes = 0,
    next = first;
  const times = { form: 0, emit: 0, keep: 0 };
  while (next < all.length && instructions < limit) {
    const clock = { form: 0, emit: 0, keep: 0 },
      batch = new ModuleBatch(CONTEXT.ramIndex),
      context = {
        ...CONTEXT,
        helperIndex: batch.helperIndex,
        gotoIndex: batch.gotoIndex,
        handlerType: batch.handlerType,
        hvaOf: (page: number) => window.hvaOf(page),
      };
    let started = performance.now();
    const startedUs = cpuUs(),
      lap = (what: keyof typeof clock): void => {
        const now = performance.now();
        clock[what] += now - started;
        started = now;
      };
    for (const last = Math.min(all.length, next + BATCH); next < last; next++) {
      const { code, pages: near, decoded } = all[next]!,
        { entry } = code,
        region = former.form(window.open(near, decoded, undefined, code), entry.offset, entry.mode & CODE_SIZE_MASK, CAP);
      lap('form');
      if (!region) continue;
      instructions += region.size;
      const body = assemble(region, context);
      lap('emit');
      const lines = linesIn(region, window, body.fixed);
      batch.add({ slot: CONTEXT.slot, size: region.size, source: sourceOf(lines, window) }, body);
      keptRegion(entry, region, window, lines, body);
      lap('keep');
    }
    bytes += batch.encode().length;
    lap('emit');
    const share = (cpuUs() - startedUs) / (clock.form + clock.emit + clock.keep);
    for (const what of ['form', 'emit', 'keep'] as const) times[what] += clock[what] * share;
  }
  return { next, instructions, bytes, times };
}

function report(name: string, { next, instructions, bytes, times }: ReturnType<typeof run>): void {
  const per = (value: number): string => (value / instructions).toFixed(2).padStart(6);
  print(
    `${name.padEnd(5)} ${String(instructions).padStart(6)} instructions, to region ${String(next).padStart(4)}: form ${per(times.form)} us, emit ${per(times.emit)} us, ` +
      `keep ${per(times.keep)} us; ${per(bytes)} bytes; ${stats.recorded} templates recorded in ${stats.recordMs.toFixed(1)} ms`,
  );
}

print(`${kept.length} regions of ${kept.reduce((sum, { size }) => sum + size, 0)} instructions in ${pages} pages`);
const cold = run(0, COLD);
report('cold', cold);
report('rest', run(cold.next, Infinity));
for (let round = 0; round < ROUNDS; round++) report('warm', run(0, Infinity));
