/**
 * The regions of one vCPU: entries that have become hot are given to the compiler, and take the place of their micro-op when they come back.
 * What was compiled together lives in one module, which V8 frees only as a whole: beyond the bound on bytes the oldest modules go, and what is
 * still hot comes back by its heat.
 *
 * The entry's micro-op keeps its length and offset; its handler is the region's slot of the table, and its immediate names a copy of what
 * stood there, which single steps use and which returns when the region dies.
 * Implements: docs/internals.md "Wasm modules". Runs on: the vCPU's thread.
 */
import { COUNTER_TIER1, PAGE_BYTES, UOP_BYTES, UOP_HANDLER, UOP_IMM, VCPU_REGION_UOPS } from '../../base/memory-map.ts';
import type { CodePage, CodeStore, RegionStore } from '../decode/code-store.ts';
import { FIRST_HANDLER, FIRST_PAIR, FIRST_REGION, HANDLER_FPU_CHECK } from '../decode/pseudo.ts';
import { ramBytes } from '../guest-ram.ts';
import { CODE_SIZE_MASK, MODE_64, VCPU } from '../state.ts';
import { WINDOW_REACH, onlyPage } from './code-window.ts';
import { TIER1_COUNTERS, noStatistics } from './statistics.ts';
import { sameSource } from './compilation.ts';
import type { CompileEntry, CompiledModule, CompiledRegion, Compiler, SourceLines } from './compilation.ts';
import { KeptPlacer } from './kept-placer.ts';
import type { Asked, Expected, KeptRegions } from './kept-regions.ts';
import { notePatches } from './open-fields.ts';

export interface RegionCacheOptions {
  readonly memory0: SharedArrayBuffer;
  readonly memory1: WebAssembly.Memory;
  readonly vcpu: number;
  readonly table: WebAssembly.Table;
  /** Memories and table for `env`, exports of cpu.wasm, exports of the handlers' module. */
  readonly imports: WebAssembly.Imports;
  readonly code: CodeStore;
  readonly compiler: Compiler;
  /** Where code at a linear address would be fetched from: an hva, or undefined. Changes nothing. */
  readonly fetchPeek: (linear: bigint) => number | undefined;
  readonly nowNs: () => number;
  /** Memory of the host that modules may take, in bytes. */
  readonly limitBytes: number;
  /** Compile only what tier 0 has decoded, as opposed to all that can be reached. */
  readonly onlyDecoded: boolean;
  /** Entries that are given to the compiler together; fewer when the first has waited long enough. */
  readonly batch: number;
}

/** Memory of the host per byte of a module: docs/decisions.md. */
export const HOST_BYTES_PER_BYTE = 8;
/** And per module, before its first byte. */
export const HOST_BYTES_PER_MODULE = 32 * 1024;
/** How long a hot entry waits for others. */
const WAIT_NS = 2e6;
/** So many entries that may have a region of an earlier run are looked up together, fewer when the first has waited long enough. */
const KNOWN_BATCH = 16,
  KNOWN_WAIT_NS = 1e6;
/** So long may a turn look up: what follows takes V8 a fraction of it. */
const MAX_LOOKUP_NS = 8e6;
/** Entries that the compiler has at a time: what waits beyond them goes by heat. */
const MAX_COMPILING = 96;
/** A region that was come to so often with another access class than its own goes. */
const MAX_OTHER_TLBS = 64;
/** A page whose code keeps changing is left alone for so many guest instructions, then for twice as many, and so on. */
const BACK_OFF = 1e6,
  MAX_BACK_OFF = 2e9;
/** It has been quiet for this many times its last pause: it begins anew. */
const FORGIVEN = 8;
/** Pages whose changes end regions of other pages, of which the compiler is told. */
const MAX_CHANGING = 64;
/** After so many such changes, nothing of the page is copied into regions of pages far away, whatever its patches are. */
const MAX_FAR_PATCHES = 4;
const OFFSET_MASK = 4095;
/** Each so many slices it is asked whether the slice ended in compiled code: that says what share of the instructions tier 1 executes. */
const SAMPLED_SLICES = 256;

const WAITING = 0,
  COMPILING = 1,
  INSTALLED = 2,
  REFUSED = 3,
  /** Forgotten, while the compiler has it. */
  ORPHANED = 4,
  /** It may have a region of an earlier run. */
  KNOWN = 5,
  /** It may, but another region holds it. */
  PUT_OFF = 6;

/** An entry that has been hot: at most one per key of a page, in its `hot`. */
interface HotEntry {
  readonly page: CodePage;
  readonly key: number;
  /** Pages around it: see code-window.ts. */
  readonly pages: readonly number[];
  /** It has not become hot: in an earlier run it did, soon after what has become hot now. */
  readonly isExpected: boolean;
  state: number;
  /** How often it has been reported while it waited. */
  reports: number;
  readonly rip: bigint;
  /** The one that was in use when it became hot. */
  readonly tlb: number;
  /** How often it was come to with another one. */
  otherTlbs: number;
  slot: number;
  /** While it is installed: its micro-op, its module, and what it was made from. */
  uop: number;
  module: Module | undefined;
  source: readonly SourceLines[];
}

/** What lives and dies together. */
interface Module {
  readonly hostBytes: number;
  readonly entries: Set<HotEntry>;
}

export class RegionCache implements RegionStore {
  readonly stats = noStatistics();
  readonly #options: RegionCacheOptions;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #guest: Uint8Array;
  /** By page: installed, while their micro-op may have been overwritten and not been decoded anew. */
  readonly #parked = new Map<CodePage, Set<HotEntry>>();
  #waiting: HotEntry[] = [];
  #waitingSinceNs = 0;
  #placer: KeptPlacer | undefined;
  #known: HotEntry[] = [];
  #knownSinceNs = 0;
  /** Places in memory 1 of entries that got a region of an earlier run, of which the compiler has not been told. */
  #placed: number[] = [];
  /** By slot. */
  readonly #compiling = new Map<number, HotEntry>();
  /** Oldest first. */
  readonly #modules = new Set<Module>();
  /** Pages of memory 1 whose changes ended regions of other pages, the last one last: how often. */
  readonly #changing = new Map<number, number>();
  #slices = 0;
  /** Guest instructions then. */
  #sampledAt = 0;
  #nextSlot = FIRST_REGION;
  readonly #freeSlots: number[] = [];

  constructor(options: RegionCacheOptions) {
    this.#options = options;
    this.#view = new DataView(options.memory0);
    this.#bytes = new Uint8Array(options.memory0);
    this.#guest = ramBytes(options.memory1);
    this.#words = new Int32Array(this.#guest.buffer, this.#guest.byteOffset);
  }

  /** An entry is hot. It is told again from time to time for as long as it runs in tier 0. */
  add(page: CodePage, key: number, linear: bigint): void {
    const known = page.hot.get(key);
    const tlb = this.#view.getUint32(this.#options.vcpu + VCPU.offset.tlb, true);
    if (known !== undefined) {
      this.#again(known as HotEntry, tlb);
      return;
    }
    if (page.quietUntil > this.#retired() || !this.#replaceable(this.#options.code.uopAt(page.hvaPage, key))) return;
    const entry = this.#entry(page, key, linear, tlb, false);
    page.hot.set(key, entry);
    if (this.#options.compiler.kept?.has(key & OFFSET_MASK)) this.#lookUp(entry);
    else this.#wait(entry);
  }
  #entry(page: CodePage, key: number, linear: bigint, tlb: number, isExpected: boolean): HotEntry {
    return {
      page,
      key,
      pages: this.#around(page, key, linear),
      isExpected,
      state: WAITING,
      rip: linear,
      tlb,
      otherTlbs: 0,
      reports: 0,
      slot: 0,
      uop: 0,
      module: undefined,
      source: [],
    };
  }
  #lookUp(entry: HotEntry): void {
    entry.state = KNOWN;
    if (this.#known.push(entry) === 1) this.#knownSinceNs = this.#options.nowNs();
  }
  #wait(entry: HotEntry): void {
    entry.state = WAITING;
    if (this.#waiting.push(entry) === 1) this.#waitingSinceNs = this.#options.nowNs();
  }

  /** A region that other access classes come to more and more makes room for one of theirs. */
  #again(entry: HotEntry, tlb: number): void {
    entry.reports++;
    if (entry.state === PUT_OFF) this.#lookUp(entry);
    if (entry.state === INSTALLED && entry.tlb !== tlb && ++entry.otherTlbs === MAX_OTHER_TLBS) this.#remove(entry);
  }

  #around(page: CodePage, key: number, linear: bigint): readonly number[] {
    if (((key >>> 12) & CODE_SIZE_MASK) !== MODE_64) return onlyPage(page.hvaPage);
    return onlyPage(page.hvaPage).map((hvaPage, index) => {
      if (hvaPage >= 0) return hvaPage;
      const hva = this.#options.fetchPeek(BigInt.asUintN(64, linear + BigInt((index - WINDOW_REACH) * PAGE_BYTES)));
      return hva === undefined ? -1 : hva - (hva % PAGE_BYTES);
    });
  }

  #sample(): void {
    const now = this.#retired();
    if (this.#options.code.isCompiled(this.#options.fetchPeek)) this.stats.executed += now - this.#sampledAt;
    this.#sampledAt = now;
    this.#slices = 0;
    this.#publish();
  }

  /** Between slices: install at most one module that has come back, put in place what is kept, and give the compiler what waits. */
  turn(): void {
    if (++this.#slices === SAMPLED_SLICES) this.#sample();
    const { compiler } = this.#options,
      known = this.#known.length,
      waiting = this.#compiling.size >= MAX_COMPILING ? 0 : this.#waiting.length,
      answered = compiler.hasAnswer;
    if (!answered && known + waiting === 0) return;
    const startNs = this.#options.nowNs(),
      isDue = known >= KNOWN_BATCH || (known > 0 && startNs - this.#knownSinceNs >= KNOWN_WAIT_NS),
      isFull = waiting >= this.#options.batch || (waiting > 0 && startNs - this.#waitingSinceNs >= WAIT_NS);
    if (!answered && !isDue && !isFull) return;
    const compiled = compiler.take();
    if (compiled) this.#install(compiled);
    if (isDue) this.#placeKept();
    if (isFull) this.#submit();
    this.stats.longestTurnNs = Math.max(this.stats.longestTurnNs, this.#options.nowNs() - startNs);
  }

  /** Compile what waits and install it, with a compiler that does so at once. */
  settle(): void {
    this.#submit();
    for (let compiled = this.#options.compiler.take(); compiled; compiled = this.#options.compiler.take()) this.#install(compiled);
  }

  #submit(): void {
    const hottest = this.#waiting.sort((a, b) => b.reports - a.reports).splice(0, this.#options.batch);
    this.#waitingSinceNs = this.#options.nowNs();
    const { code, onlyDecoded, compiler } = this.#options,
      changing = this.#changingBytes(),
      alsoHot = this.#placed.splice(0);
    compiler.submit(
      hottest.map((entry, index): CompileEntry => ({
        ...this.#asked(entry, changing),
        slot: this.#reserve(entry),
        ...(onlyDecoded && { decoded: entry.pages.map((hvaPage) => code.decodedOf(hvaPage)) }),
        ...(index === 0 && { alsoHot }),
      })),
    );
  }

  /** Regions of an earlier run for those that have one, at once. */
  #placeKept(): void {
    const { compiler, memory0, memory1, nowNs } = this.#options,
      { kept } = compiler,
      changing = this.#changingBytes(),
      startNs = nowNs(),
      placer = (this.#placer ??= new KeptPlacer(memory0, memory1, nowNs));
    let taken = 0;
    // What is expected comes in behind.
    for (; taken < this.#known.length && !placer.isFull && nowNs() - startNs < MAX_LOOKUP_NS; taken++)
      this.#placeOne(kept, placer, this.#known[taken]!, changing);
    this.#known.splice(0, taken);
    const compiled = placer.finish();
    if (compiled) this.#install(compiled);
  }
  #placeOne(kept: KeptRegions | undefined, placer: KeptPlacer, entry: HotEntry, changing: NonNullable<Asked['changing']>): void {
    const { page, key, isExpected } = entry,
      asked = this.#asked(entry, changing);
    if (!isExpected && placer.putsOff(asked)) {
      entry.state = PUT_OFF;
      this.stats.covered++;
      return;
    }
    const region = kept && placer.add(kept, asked, () => this.#reserve(entry));
    if (!region) {
      if (isExpected) page.hot.delete(key);
      else this.#wait(entry);
      return;
    }
    this.#placed.push(page.hvaPage + (key & OFFSET_MASK));
    this.stats.kept++;
    if (isExpected) {
      this.stats.expected++;
      kept.useExpected(region, asked);
    } else for (const expected of kept.use(region, asked)) this.#expect(entry, expected);
  }
  /** Its region is put in place before it has become hot. */
  #expect({ rip, key, tlb }: HotEntry, { pages, offset }: Expected): void {
    const bits = ((key >>> 12) & CODE_SIZE_MASK) === MODE_64 ? 64 : 32,
      linear = BigInt.asUintN(bits, rip - BigInt(key & OFFSET_MASK) + BigInt(pages * PAGE_BYTES + offset)),
      hva = this.#options.fetchPeek(linear);
    if (hva === undefined) return;
    const page = this.#options.code.page(hva - offset),
      itsKey = (key & ~OFFSET_MASK) | offset,
      uop = this.#options.code.uopAt(page.hvaPage, itsKey);
    if (page.hot.has(itsKey) || page.quietUntil > this.#retired() || (uop !== 0 && !this.#replaceable(uop))) return;
    const entry = this.#entry(page, itsKey, linear, tlb, true);
    page.hot.set(itsKey, entry);
    this.#lookUp(entry);
  }

  /** The compiler, or whoever is it, has the entry. @returns the place in the table that its region will have */
  #reserve(entry: HotEntry): number {
    const slot = this.#takeSlot();
    entry.slot = slot;
    entry.state = COMPILING;
    this.#compiling.set(slot, entry);
    return slot;
  }
  #asked({ page, key, pages, rip, tlb, reports }: HotEntry, changing: NonNullable<Asked['changing']>): Asked {
    return {
      vcpu: this.#options.vcpu,
      tlb,
      hvaPage: page.hvaPage,
      offset: key & OFFSET_MASK,
      pages,
      patched: this.#patchedOf(pages),
      mode: key >>> 12,
      rip,
      changing,
      reports,
    };
  }
  #patchedOf(pages: readonly number[]): Asked['patched'] {
    const { code } = this.#options;
    for (const hvaPage of pages) if (hvaPage >= 0 && code.patchedOf(hvaPage)) return pages.map((each) => code.patchedOf(each));
    return undefined;
  }
  #changingBytes(): Map<number, Int32Array | undefined> {
    const { code } = this.#options;
    return new Map([...this.#changing].map(([hvaPage, times]) => [hvaPage, times > MAX_FAR_PATCHES ? undefined : code.patchedOf(hvaPage)]));
  }

  #takeSlot(): number {
    if (this.#freeSlots.length === 0 && this.#nextSlot === FIRST_PAIR) this.#evictOldest();
    return this.#freeSlots.pop() ?? this.#nextSlot++;
  }

  #install(compiled: CompiledModule): void {
    const { stats } = this,
      { nowNs, limitBytes, imports } = this.#options,
      startNs = nowNs();
    if (compiled.module) new WebAssembly.Instance(compiled.module, imports);
    const module: Module = { hostBytes: HOST_BYTES_PER_MODULE + compiled.sizeBytes * HOST_BYTES_PER_BYTE, entries: new Set() };
    for (const region of compiled.regions) {
      const entry = this.#compiled(region.slot);
      const { slot } = entry,
        isPlaced = entry.state === COMPILING && this.#place(entry, region, module);
      this.#options.compiler.tell?.({ what: isPlaced ? 'installed' : 'dropped', slot });
      if (isPlaced) stats.instructions += region.size;
      else this.#vacate(entry);
    }
    for (const slot of compiled.refused) {
      const entry = this.#compiled(slot);
      this.#freeSlots.push(slot);
      if (entry.state === COMPILING) entry.state = REFUSED;
      stats.refused++;
    }
    for (const slot of compiled.covered) {
      this.#vacate(this.#compiled(slot));
      stats.covered++;
    }
    if (module.entries.size > 0) {
      this.#modules.add(module);
      stats.hostBytes += module.hostBytes;
      while (stats.hostBytes > limitBytes && this.#modules.size > 1) this.#evictOldest();
    }
    stats.modules++;
    stats.bytes += compiled.sizeBytes;
    stats.formNs += compiled.formNs;
    stats.emitNs += compiled.emitNs;
    stats.compileNs += compiled.compileNs;
    stats.installNs += nowNs() - startNs;
  }

  #compiled(slot: number): HotEntry {
    const entry = this.#compiling.get(slot)!; // every slot comes back once
    this.#compiling.delete(slot);
    return entry;
  }

  /** @returns whether it is in use now: not when its code has changed meanwhile */
  #place(entry: HotEntry, { source }: CompiledRegion, module: Module): boolean {
    const { page, key } = entry,
      { code } = this.#options;
    // The marks come first: whoever changes the code from now on tells us, and whoever did before is seen.
    for (const { hvaPage, linesLow, linesHigh } of source) code.markLines(hvaPage, linesLow, linesHigh);
    const uop = code.uopAt(page.hvaPage, key);
    const changed = this.#changesOf(source),
      isDecoded = uop !== 0;
    if ((isDecoded && !this.#replaceable(uop)) || changed.length > 0) {
      this.stats.dropped++;
      const far = changed.filter((hvaPage) => !entry.pages.includes(hvaPage));
      for (const hvaPage of far) this.#noteChanging(hvaPage);
      // Without those it can be made: its own page need not wait.
      if (far.length === 0 || far.length < changed.length) this.#backOff(page);
      return false;
    }
    // Code that was patched before it was compiled, and not executed since, has no micro-op yet.
    if (isDecoded) this.#attach(entry, uop);
    else this.#park(entry);
    entry.state = INSTALLED;
    entry.module = module;
    entry.source = source;
    for (const { hvaPage, linesLow, linesHigh } of source) code.page(hvaPage).regions.push({ region: entry, linesLow, linesHigh });
    module.entries.add(entry);
    this.stats.regions++;
    return true;
  }

  /** The micro-op leads to the region from now on. */
  #attach(entry: HotEntry, uop: number): void {
    const { code } = this.#options,
      copy = this.#copyOf(entry.slot);
    // Neither it nor the one before it reads the other's fields any more.
    code.separate(uop);
    code.separate(uop - UOP_BYTES);
    this.#bytes.copyWithin(copy, uop, uop + UOP_BYTES);
    this.#view.setUint16(uop + UOP_HANDLER, entry.slot, true);
    this.#view.setUint32(uop + UOP_IMM, copy, true);
    entry.uop = uop;
  }

  /** Pages of memory 1 that differ from what a region was made from; how is noted, for the next region there. */
  #changesOf(source: readonly SourceLines[]): readonly number[] {
    const changed = source.filter((lines) => !sameSource(this.#words, lines));
    return changed.map((lines) => {
      const page = this.#options.code.page(lines.hvaPage);
      page.patched = notePatches(this.#guest, lines, page.patched);
      return lines.hvaPage;
    });
  }

  /** Nothing uses its place in the table, and it may become hot again. */
  #vacate(entry: HotEntry): void {
    this.#options.table.set(entry.slot, null);
    this.#freeSlots.push(entry.slot);
    if (entry.state !== ORPHANED) entry.page.hot.delete(entry.key);
  }

  /** The entry is a plain micro-op again. A region that runs right now finds out after its store. */
  #remove(entry: HotEntry): void {
    const { code } = this.#options;
    this.#unpark(entry);
    if (entry.uop !== 0 && code.uopAt(entry.page.hvaPage, entry.key) === entry.uop)
      this.#bytes.copyWithin(entry.uop, this.#copyOf(entry.slot), this.#copyOf(entry.slot) + UOP_BYTES);
    code.forgetJumps();
    for (const { hvaPage } of entry.source) {
      const page = code.page(hvaPage);
      page.regions = page.regions.filter(({ region }) => region !== entry);
    }
    this.#vacate(entry);
    const module = entry.module!; // it is installed
    module.entries.delete(entry);
    if (module.entries.size > 0) return;
    this.#modules.delete(module);
    this.stats.hostBytes -= module.hostBytes;
  }

  /** Lines of a page have changed: what was made from them goes, unless it reads what has changed. */
  changed(page: CodePage, linesLow: number, linesHigh: number): void {
    let dead = 0,
      deadElsewhere = 0;
    for (const part of page.regions) {
      if ((part.linesLow & linesLow) === 0 && (part.linesHigh & linesHigh) === 0) continue;
      const region = part.region as HotEntry;
      if (this.#changesOf(region.source).length === 0) {
        if (region.page === page) this.#park(region);
        continue;
      }
      this.#options.compiler.tell?.({ what: 'changed', slot: region.slot, hvaPage: page.hvaPage, linesLow, linesHigh });
      this.#remove(region);
      dead++;
      if (region.page !== page) deadElsewhere++;
    }
    if (deadElsewhere > 0) this.#noteChanging(page.hvaPage);
    for (const [key, entry] of page.hot) if ([REFUSED, PUT_OFF].includes((entry as HotEntry).state)) page.hot.delete(key);
    if (dead === 0) return;
    this.stats.changed += dead;
    this.#backOff(page);
  }

  #park(entry: HotEntry): void {
    const parked = this.#parked.get(entry.page);
    if (parked) parked.add(entry);
    else this.#parked.set(entry.page, new Set([entry]));
    this.#options.code.awaitDecoding(true);
  }

  #unpark(entry: HotEntry): void {
    const parked = this.#parked.get(entry.page);
    parked?.delete(entry);
    if (parked?.size !== 0) return;
    this.#parked.delete(entry.page);
    this.#options.code.awaitDecoding(this.#parked.size > 0);
  }

  /** What was decoded anew leads to the regions that wait for it. */
  decoded(page: CodePage, from: number, end: number): void {
    for (const entry of this.#parked.get(page) ?? []) {
      const offset = entry.key & OFFSET_MASK;
      if (offset < from || offset >= end) continue;
      const uop = this.#options.code.uopAt(page.hvaPage, entry.key);
      if (uop === 0) continue;
      this.#unpark(entry);
      if (uop !== entry.uop && this.#replaceable(uop)) this.#attach(entry, uop);
    }
  }

  /** All decoded code goes. */
  flush(): void {
    for (const module of this.#modules)
      for (const { slot } of module.entries) {
        this.#options.table.set(slot, null);
        this.#freeSlots.push(slot);
      }
    for (const entry of this.#compiling.values()) entry.state = ORPHANED;
    if (this.#modules.size > 0) this.#options.compiler.tell?.({ what: 'flushed' });
    this.#modules.clear();
    this.#parked.clear();
    this.#options.code.awaitDecoding(false);
    this.#waiting.length = 0;
    this.#known.length = 0;
    this.stats.hostBytes = 0;
  }

  #evictOldest(): void {
    const [oldest] = this.#modules;
    if (!oldest) throw new Error('more regions are being compiled than the table has room for');
    this.stats.evicted += oldest.entries.size;
    for (const entry of oldest.entries) {
      this.#options.compiler.tell?.({ what: 'evicted', slot: entry.slot });
      this.#remove(entry);
    }
  }

  /** The first change after a quiet time costs nothing: pages are used anew. */
  #backOff(page: CodePage): void {
    const now = this.#retired(),
      quiet = now - page.quietUntil;
    if (quiet < 0) return;
    const forgiven = page.pause < 0 || quiet > FORGIVEN * Math.max(page.pause, BACK_OFF);
    page.pause = forgiven ? 0 : Math.min(Math.max(page.pause * 2, BACK_OFF), MAX_BACK_OFF);
    page.quietUntil = now + page.pause;
  }

  #noteChanging(hvaPage: number): void {
    const changing = this.#changing,
      times = changing.get(hvaPage) ?? 0;
    changing.delete(hvaPage);
    changing.set(hvaPage, times + 1);
    for (const oldest of changing.keys()) {
      if (changing.size <= MAX_CHANGING) break;
      changing.delete(oldest);
    }
  }

  /** The statistics go where others read them. */
  #publish(): void {
    TIER1_COUNTERS.forEach(([name], index) => {
      const at = this.#options.vcpu + VCPU.offset.counters + (COUNTER_TIER1 + index) * 8;
      this.#view.setBigUint64(at, BigInt(Math.round(this.stats[name])), true);
    });
  }

  /** Guest instructions so far: time that is the same in every run. */
  #retired(): number {
    const at = this.#options.vcpu + VCPU.offset.retired;
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 0x1_0000_0000;
  }

  #copyOf(slot: number): number {
    return this.#options.vcpu + VCPU_REGION_UOPS + (slot - FIRST_REGION) * UOP_BYTES;
  }

  #replaceable(uop: number): boolean {
    if (uop === 0) return false;
    const handler = this.#view.getUint16(uop + UOP_HANDLER, true);
    return (handler >= FIRST_HANDLER && handler < FIRST_REGION) || handler >= FIRST_PAIR || handler === HANDLER_FPU_CHECK;
  }
}
