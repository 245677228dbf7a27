/**
 * Makes modules of regions: forms and emits what is asked for, and lets V8 compile it. Memory 1 may change meanwhile: pages are copied first,
 * and the copy goes along with the region, so that whoever installs it can tell whether it still holds.
 * Implements: docs/internals.md "Wasm modules". Runs on: the helper thread that compiles; in tests, and where all is compiled, the vCPU's.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';
import { importRam, ramBytes, ramIndexOf } from '../guest-ram.ts';
import type { RamIndex } from '../guest-ram.ts';
import { HANDLER_SLOTS } from '../decode/pseudo.ts';
import { HELPERS } from '../helpers.ts';
import type { HelperName, HelperRow } from '../helpers.ts';
import { CODE_SIZE_MASK, MODE_64, MODE_FPU_TRAP } from '../state.ts';
import { MEMORY0_MAX_PAGES } from '../wasm/limits.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import type { FunctionBody } from '../wasm/module.ts';
import type { Type } from '../wasm/opcodes.ts';
import type { Signature } from '../wasm/text.ts';
import { assemble } from './assemble.ts';
import { CodeWindow, pageOf } from './code-window.ts';
import { Hints } from './hints.ts';
import { LINE_BYTES, linesOf } from './compilation.ts';
import type { CompileEntry, CompiledModule, CompiledRegion, Compiler, SourceLines } from './compilation.ts';
import { openBits } from './open-fields.ts';
import type { OpenField } from './open-fields.ts';
import { RegionFormer } from './region.ts';
import type { Region } from './region.ts';
import { TemplateImage } from './template-image.ts';
import { templates } from './templates.ts';
import type { RegionTrace } from './trace.ts';

export interface RegionLimits {
  /** Guest instructions in a region, at most and at least. */
  readonly cap: number;
  readonly minimum: number;
  /** Is an entry that another region holds put off until it is reported again? Tier 0 reports all of a function's jumps before its first region is there. */
  readonly putsOff?: true;
}
export interface CompilerSources {
  /** Where the vCPUs' tables are: without it there are no hints. */
  readonly memory0?: ArrayBufferLike | undefined;
  /** src/generated/templates{32,64}.bin as memory 1 is: without it, all templates are recorded as they are needed. */
  readonly ahead?: Uint8Array<ArrayBuffer>;
}
const DEFAULT_LIMITS: RegionLimits = { cap: 500, minimum: 1, putsOff: true };
/** Pages whose blocks are remembered; then all are forgotten, and some code is compiled twice. */
const MAX_COVERED_PAGES = 4096;
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
  /** Blocks of regions that are no entries themselves, by page of memory 1: offset | mode << 12. */
  readonly #covered = new Map<number, Set<number>>();
  /** Entries that have been reported: places in memory 1. */
  readonly #hot = new Set<number>();

  constructor(memory1: Uint8Array, limits = DEFAULT_LIMITS, { memory0, ahead }: CompilerSources = {}) {
    this.#ramIndex = ramIndexOf(memory1.buffer.byteLength);
    if (ahead) templates[this.#ramIndex].load(new TemplateImage(ahead));
    this.#window = new CodeWindow(memory1, this.#hot);
    this.#hints = memory0 && new Hints(memory0);
    this.#limits = limits;
  }

  /** @param done is given one module after the other. */
  compile(entries: readonly CompileEntry[], done: (module: CompiledModule) => void, trace?: RegionTrace): void {
    const finish = (batch: Batch): void => {
      const module = batch.finish();
      trace?.module(module);
      done(module);
    };
    if (this.#hot.size > MAX_HOT) this.#hot.clear();
    for (const { hvaPage, offset } of entries) this.#hot.add(hvaPage + offset);
    let batch = new Batch(this.#ramIndex);
    // What comes first in memory is more likely to hold the others.
    for (const entry of entries.toSorted((a, b) => a.hvaPage - b.hvaPage || a.offset - b.offset)) {
      this.#add(batch, entry, trace);
      if (batch.sizeBytes < MODULE_BYTES) continue;
      finish(batch);
      batch = new Batch(this.#ramIndex);
    }
    if (!batch.isEmpty) finish(batch);
  }

  #add(batch: Batch, entry: CompileEntry, trace: RegionTrace | undefined): void {
    const { slot, vcpu, tlb, hvaPage, offset, mode } = entry,
      { cap, minimum, putsOff } = this.#limits;
    if (putsOff && this.#covered.get(hvaPage)?.delete(offset | (mode << 12))) {
      batch.covered.push(slot);
      trace?.putOff(entry);
      return;
    }
    const startMs = performance.now();
    const window = this.#open(entry),
      region = this.#former.form(window, offset, mode & CODE_SIZE_MASK, cap),
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
    batch.add({ slot, size: region.size, source: sourceOf(region, window) }, body);
    if (putsOff) this.#cover(region, window, mode);
    const emitMs = performance.now() - formedMs;
    batch.emitMs += emitMs;
    trace?.region({ entry, window, cap, region, body, names: batch, formMs: formedMs - startMs, emitMs });
  }

  #open({ pages, decoded, patched, mode, rip, offset, vcpu, tlb, changing }: CompileEntry): CodeWindow {
    const hints =
      rip === undefined || (mode & CODE_SIZE_MASK) !== MODE_64
        ? undefined
        : this.#hints?.seenFrom(vcpu, tlb, Number(BigInt.asIntN(64, rip)) - offset, changing);
    return this.#window.open(pages, decoded, patched, hints);
  }

  #cover(region: Region, window: CodeWindow, mode: number): void {
    for (const block of region.blocks) {
      if (block === region.entry) continue;
      const page = pageOf(block.start),
        hvaPage = window.hvaOf(page);
      let covered = this.#covered.get(hvaPage);
      if (!covered) {
        covered = new Set();
        this.#covered.set(hvaPage, covered);
      }
      covered.add((block.start - page * PAGE_BYTES) | (mode << 12));
    }
    if (this.#covered.size > MAX_COVERED_PAGES) this.#covered.clear();
  }
}

/** A page that is mapped at two places is one source. */
function sourceOf(region: Region, window: CodeWindow): SourceLines[] {
  const pages = new Map<number, { page: number; low: number; high: number; open: OpenField[] }>(),
    sourceAt = (offset: number): { page: number; low: number; high: number; open: OpenField[] } => {
      const page = pageOf(offset),
        hvaPage = window.hvaOf(page),
        source = pages.get(hvaPage) ?? { page, low: 0, high: 0, open: [] };
      pages.set(hvaPage, source);
      return source;
    };
  for (const { instructions } of region.blocks)
    for (const { offset, lengthBytes, openDisplacement, openImmediate } of instructions) {
      if (openDisplacement) sourceAt(openDisplacement.offset).open.push(openDisplacement);
      if (openImmediate) sourceAt(openImmediate.offset).open.push(openImmediate);
      for (let at = Math.floor(offset / LINE_BYTES); at <= Math.floor((offset + lengthBytes - 1) / LINE_BYTES); at++)
        sourceAt(at * LINE_BYTES)[at & 32 ? 'high' : 'low'] |= 1 << (at & 31);
    }
  return [...pages].map(([hvaPage, { page, low, high, open }]) => {
    const mask = openBits(open);
    return {
      hvaPage,
      linesLow: low,
      linesHigh: high,
      bytes: linesOf(window.wordsOf(page), low, high),
      ...(mask && { open: linesOf(mask, low, high) }),
    };
  });
}

/** What goes on at a rip: (vcpu, rip, instructions left). */
const GOTO: HelperRow = { parameters: ['i64', 'i32'], result: 'i32' };

/** A module that is being filled. */
class Batch {
  readonly refused: number[] = [];
  readonly covered: number[] = [];
  formMs = 0;
  emitMs = 0;
  sizeBytes = 0;
  readonly #regions: CompiledRegion[] = [];
  readonly #bodies: FunctionBody[] = [];
  readonly #module = new ModuleBuilder();
  readonly #imports = new Map<string, number>();
  readonly handlerType = this.#module.type(['i32', 'i32'], ['i32']);

  constructor(ramIndex: RamIndex) {
    this.#module.importMemory('env', 'memory', 'i32', 1, MEMORY0_MAX_PAGES);
    importRam(this.#module, ramIndex);
    this.#module.importTable('env', 'table', { type: this.handlerType, slots: HANDLER_SLOTS });
  }

  readonly helperIndex = (name: HelperName): number => {
    const helper: { readonly parameters: readonly Type[]; readonly result?: Type; readonly bare?: true } = HELPERS[name];
    return this.#import('cpu', name, helper.bare ? helper.parameters : ['i32', ...helper.parameters], helper.result ? [helper.result] : []);
  };
  readonly gotoIndex = (long: boolean): number =>
    this.#import('tier0', long ? 'goto64' : 'gotoLegacy', ['i32', ...GOTO.parameters], ['i32']);

  /** For a reader of the code. */
  readonly function = (index: number): Signature => {
    const [name] = [...this.#imports].find(([, each]) => each === index)!,
      { parameters, result, bare }: HelperRow = HELPERS[name as HelperName] ?? GOTO;
    return { name, parameters: parameters.length + (bare ? 0 : 1), results: result ? 1 : 0 };
  };
  readonly type = (): Signature => ({ name: 'handler', parameters: 2, results: 1 });

  get isEmpty(): boolean {
    return this.#regions.length + this.refused.length + this.covered.length === 0;
  }

  add(region: CompiledRegion, body: FunctionBody): void {
    this.#regions.push(region);
    this.#bodies.push(body);
    this.sizeBytes += body.out.size;
  }

  finish(): CompiledModule {
    const startMs = performance.now();
    // Functions come after all imports, which are known only now.
    this.#bodies.forEach((body, index) => {
      this.#module.add(body, ['i32'], { tableSlot: this.#regions[index]!.slot });
    });
    const bytes = this.#regions.length > 0 ? this.#module.encode() : undefined,
      encodedMs = performance.now(),
      module = bytes && new WebAssembly.Module(bytes);
    return {
      ...(module && { module }),
      sizeBytes: bytes?.length ?? 0,
      regions: this.#regions,
      refused: this.refused,
      covered: this.covered,
      formNs: this.formMs * 1e6,
      emitNs: (this.emitMs + encodedMs - startMs) * 1e6,
      compileNs: (performance.now() - encodedMs) * 1e6,
    };
  }

  #import(from: string, name: string, parameters: readonly Type[], results: readonly Type[]): number {
    let index = this.#imports.get(name);
    if (index === undefined) {
      index = this.#module.importFunction(from, name, parameters, results);
      this.#imports.set(name, index);
    }
    return index;
  }
}

/** Compiles on the thread that asks, at once: what happens then depends on no other thread's speed. */
export class LocalCompiler implements Compiler {
  readonly #compiler: RegionCompiler;
  readonly #finished: CompiledModule[] = [];
  readonly #trace: RegionTrace | undefined;
  readonly tell: Compiler['tell'];

  constructor(memory0: ArrayBufferLike | undefined, memory1: WebAssembly.Memory, limits?: RegionLimits, trace?: RegionTrace) {
    this.#compiler = new RegionCompiler(ramBytes(memory1), limits, { memory0 });
    this.#trace = trace;
    this.tell = trace && ((event) => trace.event(event));
  }
  submit(entries: readonly CompileEntry[]): void {
    this.#compiler.compile(entries, (module) => this.#finished.push(module), this.#trace);
  }
  take(): CompiledModule | undefined {
    return this.#finished.shift();
  }
}
