/**
 * Tier 1 of one vCPU: entries that have become hot wait here, are compiled together into a module, and take the place of their micro-op.
 *
 * The entry's micro-op keeps its length and offset; its handler is the region's slot of the table, and its immediate names a copy of what
 * stood there, which single steps use and which returns when the region dies.
 * Implements: docs/internals.md "Wasm modules". Runs on: the vCPU's thread.
 */
import { UOP_BYTES, UOP_HANDLER, UOP_IMM } from '../../base/memory-map.ts';
import type { CodePage, CodeStore, InstalledRegion, RegionCompiler } from '../decode/code-store.ts';
import { FIRST_HANDLER, FIRST_PAIR, FIRST_REGION, HANDLER_FPU_CHECK } from '../decode/pseudo.ts';
import { HELPERS } from '../helpers.ts';
import type { HelperName } from '../helpers.ts';
import { MODE_FPU_TRAP } from '../state.ts';
import type { FunctionBuilder } from '../wasm/function.ts';
import { MEMORY0_MAX_PAGES, MEMORY1_MAX_PAGES } from '../wasm/limits.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import type { Type } from '../wasm/opcodes.ts';
import { assemble } from './assemble.ts';
import { RegionFormer } from './region.ts';
import type { Region } from './region.ts';

export interface JitOptions {
  readonly memory0: SharedArrayBuffer;
  readonly memory1: Uint8Array;
  readonly table: WebAssembly.Table;
  /** Memories and table for `env`, exports of cpu.wasm, exports of handlers.wasm. */
  readonly imports: WebAssembly.Imports;
  readonly code: CodeStore;
  /** Guest instructions in a region at most. */
  readonly cap: number;
  /** Instructions that make a region worth having. */
  readonly minimum: number;
  /** Entries compiled together. */
  readonly batch: number;
}

/** Regions of a page that may die before it is left to tier 0. */
const MAX_DEATHS = 24;
const OFFSET_MASK = 4095;

export class Jit implements RegionCompiler {
  readonly stats = { regions: 0, modules: 0, instructions: 0, bytes: 0, compileMs: 0, instantiateMs: 0, deaths: 0, refused: 0 };
  readonly #options: JitOptions;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #former = new RegionFormer();
  readonly #waiting: { readonly page: CodePage; readonly key: number }[] = [];
  #nextSlot = FIRST_REGION;
  readonly #freeSlots: number[] = [];

  constructor(options: JitOptions) {
    this.#options = options;
    this.#view = new DataView(options.memory0);
    this.#bytes = new Uint8Array(options.memory0);
  }

  /** An entry has become hot. */
  add(page: CodePage, key: number): void {
    this.#waiting.push({ page, key });
    if (this.#waiting.length >= this.#options.batch) this.compile();
  }
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Compile what waits. @returns how many regions were installed */
  compile(): number {
    const { code } = this.#options,
      started = performance.now();
    const module = new ModuleBuilder();
    module.importMemory('env', 'memory', 'i32', 1, MEMORY0_MAX_PAGES);
    module.importMemory('env', 'ram', 'i64', 1, MEMORY1_MAX_PAGES);
    module.importTable('env', 'table');
    const helpers = new Map<string, number>();
    const helperIndex = (name: HelperName): number => {
      let index = helpers.get(name);
      if (index === undefined) {
        const helper: { readonly parameters: readonly Type[]; readonly result?: Type; readonly bare?: true } = HELPERS[name];
        index = module.importFunction(
          'cpu',
          name,
          helper.bare ? helper.parameters : ['i32', ...helper.parameters],
          helper.result ? [helper.result] : [],
        );
        helpers.set(name, index);
      }
      return index;
    };
    const gotos = new Map<boolean, number>();
    const gotoIndex = (long: boolean): number => {
      let index = gotos.get(long);
      if (index === undefined) {
        index = module.importFunction('tier0', long ? 'goto64' : 'gotoLegacy', ['i32', 'i64', 'i32'], ['i32']);
        gotos.set(long, index);
      }
      return index;
    };

    const bodies: {
      readonly installed: InstalledRegion;
      readonly f: FunctionBuilder;
      readonly region: Region;
    }[] = [];
    for (const { page, key } of this.#waiting) {
      const uop = page.entries.get(key);
      if (uop === undefined || (page.regionDeaths >= MAX_DEATHS && this.#options.minimum > 1) || !this.#replaceable(uop)) continue;
      if (bodies.some((body) => body.installed.uop === uop)) continue;
      const mode = key >>> 12,
        region = this.#former.form(this.#options.memory1, page.hvaPage, key & OFFSET_MASK, mode & 3, this.#options.cap);
      if (!region || region.size < this.#options.minimum) {
        this.stats.refused++;
        continue;
      }
      const slot = this.#freeSlots.pop() ?? (this.#nextSlot < FIRST_PAIR ? this.#nextSlot++ : 0),
        copy = code.reserve(UOP_BYTES);
      if (slot === 0 || copy === 0) break;
      let linesLow = 0,
        linesHigh = 0;
      for (const block of region.blocks.values())
        for (const { offset, lengthBytes } of block.instructions)
          for (let line = offset >> 6; line <= (offset + lengthBytes - 1) >> 6; line++)
            if (line < 32) linesLow |= 1 << line;
            else linesHigh |= 1 << (line - 32);
      const f = assemble(region, { helperIndex, gotoIndex, slot, fpuTrap: (mode & MODE_FPU_TRAP) !== 0 });
      bodies.push({ installed: { page, key, uop, slot, linesLow, linesHigh, copy }, f, region });
    }
    this.#waiting.length = 0;
    if (bodies.length === 0) return 0;
    for (const { f, installed } of bodies) module.add(f, ['i32'], { tableSlot: installed.slot });
    const bytes = module.encode(),
      emitted = performance.now();
    new WebAssembly.Instance(new WebAssembly.Module(bytes), this.#options.imports);
    for (const { installed, region } of bodies) {
      this.#install(installed);
      this.stats.instructions += region.size;
    }
    this.stats.regions += bodies.length;
    this.stats.modules++;
    this.stats.bytes += bytes.length;
    this.stats.compileMs += emitted - started;
    this.stats.instantiateMs += performance.now() - emitted;
    return bodies.length;
  }

  #replaceable(uop: number): boolean {
    const handler = this.#view.getUint16(uop + UOP_HANDLER, true);
    return (handler >= FIRST_HANDLER && handler < FIRST_REGION) || handler >= FIRST_PAIR || handler === HANDLER_FPU_CHECK;
  }

  #install(region: InstalledRegion): void {
    const { uop, copy, page } = region,
      { code } = this.#options;
    // Neither it nor the one before it reads the other's fields any more.
    code.separate(uop);
    code.separate(uop - UOP_BYTES);
    this.#bytes.copyWithin(copy, uop, uop + UOP_BYTES);
    // The page's mark says that these bytes are decoded, so that whoever changes them tells us.
    code.markLines(page.hvaPage, region.linesLow, region.linesHigh);
    this.#view.setUint16(uop + UOP_HANDLER, region.slot, true);
    this.#view.setUint32(uop + UOP_IMM, copy, true);
    page.regions.push(region);
  }

  /** Its entry is a plain micro-op again. A region that runs right now finds out after its store. */
  remove(region: InstalledRegion): void {
    this.#bytes.copyWithin(region.uop, region.copy, region.copy + UOP_BYTES);
    this.#options.table.set(region.slot, null);
    this.#freeSlots.push(region.slot);
    // It was hot, and its jumps have stopped counting: it is compiled again, with what is there then.
    if (region.page.regionDeaths++ < MAX_DEATHS) this.#waiting.push({ page: region.page, key: region.key });
    this.stats.deaths++;
  }

  /** All decoded code goes. */
  flush(): void {
    for (let slot = FIRST_REGION; slot < this.#nextSlot; slot++) this.#options.table.set(slot, null);
    this.#nextSlot = FIRST_REGION;
    this.#freeSlots.length = 0;
    this.#waiting.length = 0;
  }
}
