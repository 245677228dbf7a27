/**
 * The decoded code of one vCPU, as JavaScript sees it: cpu.wasm decodes (assembly/code.ts), tier 1 is told here, and asks.
 * Implements: docs/cpu.md "Decoded once". Runs on: the vCPU's thread.
 */
import { PAGE_BYTES, VCPU_CODE_AWAITED, VCPU_CODE_STATISTICS, VCPU_TIER1_PAGES } from '../../base/memory-map.ts';
import { MODE_64, VCPU } from '../state.ts';
import { ByPage } from './by-page.ts';
import { writeDecodeTables } from './tables.ts';

/** What cpu.wasm exports for this. `hvaPage` is an address in memory 1, a multiple of 4096; lines are bits in two halves. */
export interface CodeExports {
  codeInitialize(vcpu: number, threshold: number): void;
  codeFlush(vcpu: number): void;
  codeForgetJumps(vcpu: number): void;
  codeMarkLines(vcpu: number, hvaPage: number, linesLow: number, linesHigh: number): void;
  codeLookupAt(vcpu: number, hva: number): number;
  codeUopAt(vcpu: number, hvaPage: number, key: number): number;
  codeDecodedBits(vcpu: number, hvaPage: number): number;
  codeWrittenAt(vcpu: number, hvaPage: number, linesLow: number, linesHigh: number): void;
  codeSeparate(uop: number): void;
}

export interface CodeStoreOptions {
  readonly memory0: SharedArrayBuffer;
  /** Address of the vCPU in memory 0. */
  readonly vcpu: number;
  readonly cpu: CodeExports;
  readonly manifest: Uint16Array;
  /** Translate a linear address for fetching: an hva, or undefined with a fault raised in the record. */
  readonly fetchTranslate: (linear: bigint) => number | undefined;
  /** Times that a place is jumped to before tier 1 is asked to compile it; 0: never. */
  readonly threshold: number;
}

/** Tier 1, as this store sees it. */
export interface RegionStore {
  /** An entry has become hot. @param linear its address */
  add(page: CodePage, key: number, linear: bigint): void;
  /** Compile what has been added, and use it from now on. */
  settle(): void;
  /** These lines of a page have changed. */
  changed(page: CodePage, linesLow: number, linesHigh: number): void;
  /** Code of a page has been decoded, from one offset up to another. */
  decoded(page: CodePage, from: number, end: number): void;
  /** Everything is forgotten. */
  flush(): void;
}

/** What of a page a region was made from. */
interface RegionPart {
  /** Tier 1 knows what it is. */
  readonly region: object;
  readonly linesLow: number;
  readonly linesHigh: number;
}

/** What tier 1 knows of a page of memory 1. */
export interface CodePage {
  readonly hvaPage: number;
  /** Regions made from this page. */
  regions: RegionPart[];
  /** Bytes that were patched while regions were made from them, a bit each. */
  patched: Int32Array | undefined;
  /** Entries that tier 1 knows of, by offset | mode << 12. */
  readonly hot: Map<number, object>;
  /** It changes too often: until so many guest instructions have been executed it is left to tier 0. The pause was so long; negative: there was none. */
  quietUntil: number;
  pause: number;
}

export interface CodeStatistics {
  readonly decodedInstructions: number;
  readonly runs: number;
  readonly invalidatedPages: number;
  readonly flushes: number;
  /** Times that the code cache did not know a place. */
  readonly lookups: number;
}

export class CodeStore {
  readonly #options: CodeStoreOptions;
  readonly #view: DataView;
  readonly #known: Uint8Array;
  readonly #statistics: Uint32Array;
  #pages = new ByPage<CodePage>();
  /** Tier 1, where there is one. */
  jit: RegionStore | undefined;

  constructor(options: CodeStoreOptions) {
    const { memory0, vcpu, cpu, threshold, manifest } = options;
    this.#options = options;
    this.#view = new DataView(memory0);
    this.#known = new Uint8Array(memory0, vcpu + VCPU_TIER1_PAGES);
    this.#statistics = new Uint32Array(memory0, vcpu + VCPU_CODE_STATISTICS, 5);
    writeDecodeTables(memory0, manifest);
    cpu.codeInitialize(vcpu, threshold);
  }

  get stats(): CodeStatistics {
    const [decodedInstructions = 0, runs = 0, invalidatedPages = 0, flushes = 0, lookups = 0] = this.#statistics;
    return { decodedInstructions, runs, invalidatedPages, flushes, lookups };
  }

  // --- for tier 1 ---

  /** What tier 1 knows of a page, from now on if it did not: it is told what is written there. */
  page(hvaPage: number): CodePage {
    let page = this.#pages.get(hvaPage);
    if (!page) {
      page = { hvaPage, regions: [], patched: undefined, hot: new Map(), quietUntil: 0, pause: -1 };
      this.#pages.set(hvaPage, page);
      this.#setKnown(hvaPage, true);
    }
    return page;
  }
  #setKnown(hvaPage: number, isKnown: boolean): void {
    const number = hvaPage / PAGE_BYTES,
      bit = 1 << (number & 7);
    if (isKnown) this.#known[number >> 3]! |= bit;
    else this.#known[number >> 3]! &= ~bit;
  }

  /** Micro-op of a key (offset | mode << 12), or 0. */
  uopAt(hvaPage: number, key: number): number {
    return this.#options.cpu.codeUopAt(this.#options.vcpu, hvaPage, key);
  }
  /** Offsets in a page whose instructions have been decoded, a bit each, as of now; undefined: none. @param hvaPage -1: an unknown page */
  decodedOf(hvaPage: number): Int32Array | undefined {
    const at = hvaPage < 0 ? 0 : this.#options.cpu.codeDecodedBits(this.#options.vcpu, hvaPage);
    return at === 0 ? undefined : new Int32Array(this.#options.memory0, at, PAGE_BYTES / 32).slice();
  }
  /** Bytes of a page that were patched while regions were made from them; undefined: none. @param hvaPage -1: an unknown page */
  patchedOf(hvaPage: number): Int32Array | undefined {
    return this.#pages.get(hvaPage)?.patched;
  }
  /** These lines of a page have been decoded. */
  markLines(hvaPage: number, linesLow: number, linesHigh: number): void {
    this.#options.cpu.codeMarkLines(this.#options.vcpu, hvaPage, linesLow, linesHigh);
  }
  /** The micro-op after this one is no longer what it was paired with. */
  separate(uop: number): void {
    this.#options.cpu.codeSeparate(uop);
  }
  /** Jumps found before may lead elsewhere now. */
  forgetJumps(): void {
    this.#options.cpu.codeForgetJumps(this.#options.vcpu);
  }
  /** Whether `decoded` is to be told. */
  awaitDecoding(awaits: boolean): void {
    this.#view.setUint32(this.#options.vcpu + VCPU_CODE_AWAITED, awaits ? 1 : 0, true);
  }

  /** Is the vCPU's rip in code that a region was made from? @param fetchPeek see RegionCacheOptions: nobody fetches here, so nothing may show it */
  isCompiled(fetchPeek: (linear: bigint) => number | undefined): boolean {
    const hva = fetchPeek(this.#linearOfRip());
    if (hva === undefined) return false;
    const offset = hva % PAGE_BYTES,
      line = offset >> 6;
    return this.#pages.get(hva - offset)?.regions.some(({ linesLow, linesHigh }) => hasLine(line, linesLow, linesHigh)) === true;
  }

  // --- told by cpu.wasm ---

  /** The vCPU's rip has become hot. */
  hot(): void {
    if (!this.jit) return;
    const hva = this.hvaOfRip();
    if (hva !== undefined) this.#add(hva); // else the jump that was going there will find out by itself
  }
  /** The vCPU's rip, fetched from here, is to be compiled before it is executed. */
  first(hva: number): void {
    this.#add(hva);
    this.jit?.settle();
  }
  #add(hva: number): void {
    const offset = hva % PAGE_BYTES;
    this.jit?.add(this.page(hva - offset), offset | (this.#mode() << 12), this.#linearOfRip());
  }
  /** Lines of a page that tier 1 knows have been written. @returns those of which it wants to be told on: regions outlive the change */
  told(hvaPage: number, linesLow: number, linesHigh: number): { readonly low: number; readonly high: number } {
    const page = this.page(hvaPage);
    this.jit?.changed(page, linesLow, linesHigh);
    let low = 0,
      high = 0;
    for (const part of page.regions) {
      low |= part.linesLow;
      high |= part.linesHigh;
    }
    return { low, high };
  }
  decoded(hvaPage: number, from: number, end: number): void {
    const page = this.#pages.get(hvaPage);
    if (page) this.jit?.decoded(page, from, end);
  }
  flushed(): void {
    for (const hvaPage of this.#pages.keys()) this.#setKnown(hvaPage, false);
    this.#pages = new ByPage();
    this.jit?.flush();
  }

  // --- for whoever drives the processor ---

  /** Micro-op of the vCPU's rip, decoding what is not known yet. @param hva where rip is fetched from @returns 0 with a fault raised */
  lookup(hva: number): number {
    return this.#options.cpu.codeLookupAt(this.#options.vcpu, hva);
  }
  /** Bytes of the given 64-byte lines of a page of memory 1 have changed: forget what was decoded there. @param linesLow lines 0-31 */
  written(hvaPage: number, linesLow: number, linesHigh: number): void {
    this.#options.cpu.codeWrittenAt(this.#options.vcpu, hvaPage, linesLow, linesHigh);
  }
  /** Forget what was decoded of one page of memory 1. */
  forgetPage(hvaPage: number): void {
    this.written(hvaPage, -1, -1);
  }
  /** Forget everything. Only while no handler runs. */
  flush(): void {
    this.#options.cpu.codeFlush(this.#options.vcpu);
  }
  /** Where rip is fetched from, without the fault of a fetch. */
  hvaOfRip(): number | undefined {
    const hva = this.#options.fetchTranslate(this.#linearOfRip());
    if (hva === undefined) this.#view.setUint32(this.#options.vcpu + VCPU.offset.fault, 0, true);
    return hva;
  }

  #mode(): number {
    return this.#view.getUint32(this.#options.vcpu + VCPU.offset.mode, true);
  }
  #linearOfRip(): bigint {
    const { vcpu } = this.#options,
      view = this.#view,
      rip = view.getBigUint64(vcpu + VCPU.offset.rip, true);
    return (this.#mode() & 3) === MODE_64 ? rip : BigInt.asUintN(32, rip + view.getBigUint64(vcpu + VCPU.offset.segBase + 8, true));
  }
}

const hasLine = (line: number, low: number, high: number): boolean => (((line < 32 ? low : high) >>> (line & 31)) & 1) !== 0;
