/**
 * Makes modules of regions: forms and emits what is asked for, and lets V8 compile it. Memory 1 may change meanwhile: pages are copied first,
 * and the copy goes along with the region, so that whoever installs it can tell whether it still holds.
 * Implements: docs/internals.md "Wasm modules". Runs on: the helper thread that compiles; in tests, and where all is compiled, the vCPU's.
 */
import { ramBytes, ramIndexOf } from '../guest-ram.ts';
import type { RamIndex } from '../guest-ram.ts';
import { CODE_SIZE_MASK, MODE_FPU_TRAP } from '../state.ts';
import { assemble } from './assemble.ts';
import { CodeWindow } from './code-window.ts';
import type { CompileEntry, CompiledModule, Compiler } from './compilation.ts';
import { CoveredPlaces } from './covered.ts';
import { Hints } from './hints.ts';
import { addKept, keptRegion, linesIn, sourceOf } from './kept-regions.ts';
import type { KeptRegions } from './kept-regions.ts';
import { ModuleBatch } from './module-batch.ts';
import { RegionFormer } from './region.ts';
import { TemplateImage } from './template-image.ts';
import type { ImageReader } from './template-image.ts';
import { templates } from './templates.ts';
import type { RegionTrace } from './trace.ts';

export interface RegionLimits {
  /** Guest instructions in a region, at most and at least. */
  readonly cap: number;
  readonly minimum: number;
  /** Is an entry that another region holds put off until it is reported again? */
  readonly putsOff?: true;
}
export interface CompilerSources {
  /** Where the vCPUs' tables are: without it there are no hints. */
  readonly memory0?: ArrayBufferLike | undefined;
  /** src/generated/templates{32,64}.bin as memory 1 is: without it, all templates are recorded as they are needed. */
  readonly ahead?: ImageReader;
  /** What is made is added to those of earlier runs. */
  readonly kept?: KeptRegions | undefined;
}
const DEFAULT_LIMITS: RegionLimits = { cap: 500, minimum: 1, putsOff: true };
/** Entries that are remembered; then all are forgotten, and some functions are called that might have been copied. */
const MAX_HOT = 65_536;
/** A module is closed when it has grown beyond so many bytes: its installation is what the vCPU's thread has to wait for. */
const MODULE_BYTES = 64 * 1024;

export class RegionCompiler {
  readonly #limits: RegionLimits;
  readonly #ramIndex: RamIndex;
  readonly #former = new RegionFormer();
  readonly #window: CodeWindow;
  readonly #hints: Hints | undefined;
  readonly #kept: KeptRegions | undefined;
  readonly #covered = new CoveredPlaces();
  /** Entries that have been reported: places in memory 1. */
  readonly #hot = new Set<number>();

  constructor(memory1: Uint8Array, limits = DEFAULT_LIMITS, { memory0, ahead, kept }: CompilerSources = {}) {
    this.#ramIndex = ramIndexOf(memory1.buffer.byteLength);
    if (ahead) templates[this.#ramIndex].load(new TemplateImage(ahead));
    this.#window = new CodeWindow(memory1, this.#hot);
    this.#hints = memory0 && new Hints(memory0);
    this.#limits = limits;
    this.#kept = kept;
  }

  /** @param done is given one module after the other. */
  compile(entries: readonly CompileEntry[], done: (module: CompiledModule) => void, trace?: RegionTrace): void {
    const finish = (batch: ModuleBatch): void => {
      const module = batch.finish();
      trace?.module(module);
      done(module);
    };
    if (this.#hot.size > MAX_HOT) this.#hot.clear();
    for (const { hvaPage, offset, alsoHot = [] } of entries) {
      this.#hot.add(hvaPage + offset);
      for (const place of alsoHot) this.#hot.add(place);
    }
    let batch = new ModuleBatch(this.#ramIndex);
    // What comes first in memory is more likely to hold the others.
    for (const entry of entries.toSorted((a, b) => a.hvaPage - b.hvaPage || a.offset - b.offset)) {
      this.#add(batch, entry, trace);
      if (batch.sizeBytes < MODULE_BYTES) continue;
      finish(batch);
      batch = new ModuleBatch(this.#ramIndex);
    }
    if (!batch.isEmpty) finish(batch);
  }

  #add(batch: ModuleBatch, entry: CompileEntry, trace: RegionTrace | undefined): void {
    const { slot, vcpu, tlb, hvaPage, offset, mode } = entry,
      { cap, minimum, putsOff } = this.#limits;
    if (putsOff && this.#covered.take(hvaPage, offset, mode)) {
      batch.covered.push(slot);
      trace?.putOff(entry);
      return;
    }
    const startMs = performance.now(),
      window = this.#window.openFor(entry, this.#hints),
      kept = this.#kept?.find(entry, window);
    // It was asked for before the vCPU knew of it.
    if (kept) {
      this.#kept!.use(kept, entry);
      addKept(batch, kept, slot, window);
      this.#covered.add(kept.blocks, window, mode);
      return;
    }
    const region = this.#former.form(window, offset, mode & CODE_SIZE_MASK, cap),
      formedMs = performance.now();
    batch.formMs += formedMs - startMs;
    if (!region || region.size < minimum) {
      batch.refused.push(slot);
      trace?.refused({ entry, window, cap, region });
      return;
    }
    const { helperIndex, gotoIndex, handlerType } = batch,
      ramIndex = this.#ramIndex;
    const body = assemble(region, {
      helperIndex,
      gotoIndex,
      handlerType,
      ramIndex,
      slot,
      vcpu,
      tlb,
      fpuTrap: (mode & MODE_FPU_TRAP) !== 0,
      hvaOf: (page) => window.hvaOf(page),
    });
    const lines = linesIn(region, window, body.fixed);
    batch.add({ slot, size: region.size, source: sourceOf(lines, window) }, body);
    this.#kept?.add(keptRegion(entry, region, window, lines, body), entry);
    if (putsOff)
      this.#covered.add(
        region.blocks.map(({ start }) => start),
        window,
        mode,
      );
    const emitMs = performance.now() - formedMs;
    batch.emitMs += emitMs;
    trace?.region({ entry, window, cap, region, body, names: batch, formMs: formedMs - startMs, emitMs });
  }
}

/** Compiles on the thread that asks, at once: what happens then depends on no other thread's speed. */
export class LocalCompiler implements Compiler {
  readonly #compiler: RegionCompiler;
  readonly #finished: CompiledModule[] = [];
  readonly #trace: RegionTrace | undefined;
  readonly tell: Compiler['tell'];
  readonly kept: KeptRegions | undefined;

  constructor(
    memory0: ArrayBufferLike | undefined,
    memory1: WebAssembly.Memory,
    limits?: RegionLimits,
    trace?: RegionTrace,
    kept?: KeptRegions,
  ) {
    this.#compiler = new RegionCompiler(ramBytes(memory1), limits, { memory0, kept });
    this.kept = kept;
    this.#trace = trace;
    this.tell = trace && ((event) => trace.event(event));
  }
  submit(entries: readonly CompileEntry[]): void {
    this.#compiler.compile(entries, (module) => this.#finished.push(module), this.#trace);
  }
  get hasAnswer(): boolean {
    return this.#finished.length > 0;
  }
  take(): CompiledModule | undefined {
    return this.#finished.shift();
  }
}
