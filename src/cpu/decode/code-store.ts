/**
 * The decoded code of one vCPU: runs of micro-ops in memory 0, found by physical address (an offset in memory 1) and mode.
 *
 * A page of code is known by its place in memory 1, so a change of mappings throws nothing away. Lines of 64 bytes that have been decoded are
 * marked in CODE_LINES; whoever stores into one calls `written`, and what overlaps becomes STALE: running code meets it and looks again.
 * Implements: docs/internals.md; SDM vol. 3A 9.1.3 Handling Self- and Cross-Modifying Code. Runs on: the vCPU's thread.
 */
import {
  CODE_CACHE_ENTRY_BYTES,
  CODE_CACHE_SETS,
  CODE_CACHE_SET_SHIFT,
  CODE_LINES,
  FETCH_PROOF_STEP,
  PAGE_BYTES,
  UOP_ATTRIBUTES,
  UOP_BYTES,
  UOP_HANDLER,
  UOP_IMM,
  UOP_LENGTH,
  UOP_OFFSET,
  UOP_REG2,
  UOP_TARGET,
  VCPU_CODE_CACHE,
  VCPU_FETCH_PROOF,
  VCPU_UOPS,
  VCPU_UOPS_END,
} from '../../base/memory-map.ts';
import { MODE_FPU_TRAP, VCPU } from '../state.ts';
import { ByPage } from './by-page.ts';
import { DECODED, DECODE_TRUNCATED, DECODE_UNDEFINED, Decoder } from './decoder.ts';
import { LineTables, PageEntries } from './page-entries.ts';
import {
  ENV_LONG32,
  FIRST_PAIR,
  HANDLER_CONTINUE,
  HANDLER_FPU_CHECK,
  HANDLER_LINK,
  HANDLER_STALE,
  HANDLER_STRADDLE,
  HANDLER_TOO_LONG,
  HANDLER_UNDEFINED,
  PairTable,
  VARIANTS,
  pairsOf,
  variantOf,
} from './variants.ts';

/** Translate a linear address for fetching: an hva, or undefined with a fault raised in the record. */
export type FetchTranslate = (linear: bigint) => number | undefined;

export interface CodeStoreOptions {
  readonly memory0: SharedArrayBuffer;
  readonly memory1: Uint8Array;
  /** Address of the vCPU in memory 0. */
  readonly vcpu: number;
  readonly manifest: Uint16Array;
  readonly fetchTranslate: FetchTranslate;
  /** The first code of this page of memory 1 has been decoded: stores to it must take the slow path. */
  readonly protectPage: (hvaPage: number) => void;
  /** Times that a place is jumped to before tier 1 is asked to compile it; 0: never. */
  readonly threshold: number;
}

/** Tier 1, as this store sees it. */
export interface RegionStore {
  /** An entry has become hot. */
  /** @param linear its address */
  add(page: CodePage, key: number, linear: bigint): void;
  /** Compile what has been added, and use it from now on. */
  settle(): void;
  /** These lines of a page have changed. */
  changed(page: CodePage, linesLow: number, linesHigh: number): void;
  /** Entries of a page have been decoded. */
  decoded(page: CodePage): void;
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

export interface CodePage {
  readonly hvaPage: number;
  readonly entries: PageEntries;
  /** Offsets of instructions decoded in any mode, since the last flush: a bit each. What is not there has never been executed. */
  readonly decoded: Int32Array;
  /** Jumps that wait for their target in this page to be decoded, by offset | mode << 12. */
  readonly waiting: Map<number, number[]>;
  /** Offsets that something waits for, or has waited for, in any mode: a bit each. */
  readonly awaited: Int32Array;
  /** Micro-ops that were overwritten, by the same key, newest last: whoever still comes to one goes on where that key is decoded next. */
  readonly stale: Map<number, number[]>;
  /** Straddling micro-ops whose second half lies here: [page of the first half, key there]. */
  readonly tails: [CodePage, number][];
  /** Regions of tier 1 made from this page. */
  regions: RegionPart[];
  /** Bytes that were patched while regions were made from them, a bit each. */
  patched: Int32Array | undefined;
  /** Entries that tier 1 knows of, by the same key. */
  readonly hot: Map<number, object>;
  /** It changes too often: until so many guest instructions have been executed it is left to tier 0. The pause was so long; negative: there was none. */
  quietUntil: number;
  pause: number;
}

const CODE_CACHE_ENTRY_WORDS = CODE_CACHE_ENTRY_BYTES / 4;
const MAX_RUN = 256;
/** In the word of a micro-op that begins with UOP_OFFSET. */
const BITS_LENGTH = (UOP_LENGTH - UOP_OFFSET) * 8,
  BITS_ATTRIBUTES = (UOP_ATTRIBUTES - UOP_OFFSET) * 8;
const MAX_LENGTH = 15;
/** Older ones lead to one of these. */
const MAX_STALE = 16;
/** Micro-ops that a run may need at most, with its checks and its end. */
const RUN_RESERVE_BYTES = (MAX_RUN * 2 + 4) * UOP_BYTES;

export class CodeStore {
  readonly stats = { decodedInstructions: 0, runs: 0, invalidatedPages: 0, flushes: 0 };
  readonly #options: CodeStoreOptions;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #lines: Int32Array;
  readonly #cache: Int32Array;
  readonly #decoder = new Decoder();
  readonly #scratch = new Uint8Array(MAX_LENGTH);
  readonly #pairs: PairTable;
  #pages = new ByPage<CodePage>();
  #tables = new LineTables();
  /** Tier 1, where there is one. */
  jit: RegionStore | undefined;
  #next: number;
  readonly #end: number;
  /** The last micro-op written, where it stands for what follows a branch and nobody has come to yet; else 0. Its page, and the key there. */
  #openUop = 0;
  #openPage: CodePage | undefined;
  #openKey = 0;

  constructor(options: CodeStoreOptions) {
    this.#options = options;
    this.#view = new DataView(options.memory0);
    this.#pairs = new PairTable(pairsOf(options.manifest));
    this.#words = new Int32Array(options.memory0);
    this.#lines = new Int32Array(options.memory0, CODE_LINES);
    this.#cache = new Int32Array(options.memory0, options.vcpu + VCPU_CODE_CACHE, CODE_CACHE_SETS << (CODE_CACHE_SET_SHIFT - 2));
    this.#next = options.vcpu + VCPU_UOPS;
    this.#end = options.vcpu + VCPU_UOPS_END;
    this.#clearCache();
  }

  /**
   * Micro-op of the vCPU's rip, decoding what is not known yet; it is entered into the code cache.
   * @param hva where rip is fetched from
   * @returns 0 when fetching the rest of an instruction faults (the fault is in the record).
   */
  lookup(hva: number): number {
    const view = this.#view,
      mode = this.#mode();
    const offset = hva % PAGE_BYTES,
      hvaPage = hva - offset,
      key = offset | (mode << 12);
    const page = this.page(hvaPage);
    let uop = page.entries.get(key);
    if (uop !== 0 && view.getUint16(uop + UOP_HANDLER, true) === HANDLER_STRADDLE) {
      const second = this.#pageAfterRip(offset);
      if (second === undefined) return 0;
      if (BigInt(second) !== view.getBigUint64(uop + UOP_IMM, true)) {
        this.#kill(page, key, uop);
        uop = 0;
      }
    }
    if (uop === 0) {
      uop = this.#decodeRun(page, offset, mode);
      if (uop === 0) return 0;
    }
    const cache = this.#cache,
      slot = setOf(hva);
    for (let at = slot; at < slot + CODE_CACHE_ENTRY_WORDS; at++) cache[at + CODE_CACHE_ENTRY_WORDS] = cache[at]!;
    cache[slot] = hva | 0;
    cache[slot + 1] = Math.floor(hva / 0x1_0000_0000) | (mode << 16);
    cache[slot + 2] = uop;
    cache[slot + 3] = this.#options.threshold;
    if (this.jit && this.#options.threshold === 1) {
      this.jit.add(this.page(hvaPage), key, this.#linearOfRip());
      this.jit.settle();
    }
    return uop;
  }

  /** The vCPU's rip has become hot. */
  hot(): void {
    const { jit } = this;
    if (!jit) return;
    const hva = this.hvaOfRip();
    if (hva === undefined) return; // the jump that was going there will find out by itself
    const offset = hva % PAGE_BYTES,
      page = this.#pages.get(hva - offset);
    if (page) jit.add(page, offset | (this.#mode() << 12), this.#linearOfRip());
  }

  /** Is the vCPU's rip in code that a region was made from? @param fetchPeek see RegionCacheOptions: nobody fetches here, so nothing may show it */
  isCompiled(fetchPeek: (linear: bigint) => number | undefined): boolean {
    const hva = fetchPeek(this.#linearOfRip());
    if (hva === undefined) return false;
    const offset = hva % PAGE_BYTES,
      line = offset >> 6;
    return this.#pages.get(hva - offset)?.regions.some(({ linesLow, linesHigh }) => touches(line, line, linesLow, linesHigh)) === true;
  }

  /** These lines of a page have been decoded. */
  markLines(hvaPage: number, linesLow: number, linesHigh: number): void {
    const at = (hvaPage / PAGE_BYTES) * 2,
      lines = this.#lines;
    if (lines[at] === 0 && lines[at + 1] === 0) this.#options.protectPage(hvaPage);
    Atomics.or(lines, at, linesLow);
    Atomics.or(lines, at + 1, linesHigh);
  }

  #mode(): number {
    return this.#view.getUint32(this.#options.vcpu + VCPU.offset.mode, true);
  }

  #linearOfRip(): bigint {
    const { vcpu } = this.#options,
      view = this.#view,
      rip = view.getBigUint64(vcpu + VCPU.offset.rip, true);
    return (this.#mode() & 3) === 2 ? rip : BigInt.asUintN(32, rip + view.getBigUint64(vcpu + VCPU.offset.segBase + 8, true));
  }

  /** Where the page after that of rip is fetched from, or undefined with a fault raised. @param offset of rip in its page */
  #pageAfterRip(offset: number): number | undefined {
    return this.#options.fetchTranslate(this.#linearOfRip() - BigInt(offset) + BigInt(PAGE_BYTES));
  }

  /** As a fetch would find it, without its fault. */
  hvaOfRip(): number | undefined {
    const hva = this.#options.fetchTranslate(this.#linearOfRip());
    if (hva === undefined) this.#view.setUint32(this.#options.vcpu + VCPU.offset.fault, 0, true);
    return hva;
  }

  /** Bytes of the given 64-byte lines of a page of memory 1 have changed: forget what was decoded there. @param linesLow lines 0-31 */
  written(hvaPage: number, linesLow: number, linesHigh: number): void {
    const page = this.#pages.get(hvaPage);
    if (!page) return;
    this.stats.invalidatedPages++;
    this.jit?.changed(page, linesLow, linesHigh);
    page.entries.near(linesLow, linesHigh, (key, uop) => {
      const offset = key & 4095,
        last = Math.min(offset + Math.max(1, this.#lengthAt(uop)) - 1, PAGE_BYTES - 1);
      if (touches(offset >> 6, last >> 6, linesLow, linesHigh)) this.#kill(page, key, uop);
    });
    if (linesLow & 1) {
      for (const [first, key] of page.tails) {
        const uop = first.entries.get(key);
        if (uop !== 0) this.#kill(first, key, uop);
      }
      page.tails.length = 0;
    }
    // Regions that outlive it go on being told of changes.
    let keptLow = 0,
      keptHigh = 0;
    for (const part of page.regions) {
      keptLow |= part.linesLow;
      keptHigh |= part.linesHigh;
    }
    const at = (hvaPage / PAGE_BYTES) * 2;
    Atomics.and(this.#lines, at, ~linesLow | keptLow);
    Atomics.and(this.#lines, at + 1, ~linesHigh | keptHigh);
  }

  /** Forget what was decoded of one page of memory 1. */
  forgetPage(hvaPage: number): void {
    this.written(hvaPage, -1, -1);
  }

  /** Forget everything. Only while no handler runs. */
  flush(): void {
    this.stats.flushes++;
    for (const hvaPage of this.#pages.keys()) {
      const at = (hvaPage / PAGE_BYTES) * 2;
      Atomics.store(this.#lines, at, 0);
      Atomics.store(this.#lines, at + 1, 0);
    }
    this.#pages = new ByPage();
    this.#tables = new LineTables();
    this.#next = this.#options.vcpu + VCPU_UOPS;
    this.#openUop = 0;
    this.#clearCache();
    this.forgetJumps();
    this.jit?.flush();
  }

  /** Jumps found before may lead elsewhere now. */
  forgetJumps(): void {
    const proof = this.#options.vcpu + VCPU_FETCH_PROOF;
    this.#view.setBigUint64(proof, this.#view.getBigUint64(proof, true) + BigInt(FETCH_PROOF_STEP), true);
  }

  #clearCache(): void {
    this.#cache.fill(-1);
  }

  /** Offsets in a page whose instructions have been decoded, a bit each; undefined: none. @param hvaPage -1: an unknown page */
  decodedOf(hvaPage: number): Int32Array | undefined {
    return this.#pages.get(hvaPage)?.decoded;
  }

  /** Bytes of a page that were patched while regions were made from them; undefined: none. @param hvaPage -1: an unknown page */
  patchedOf(hvaPage: number): Int32Array | undefined {
    return this.#pages.get(hvaPage)?.patched;
  }

  page(hvaPage: number): CodePage {
    let page = this.#pages.get(hvaPage);
    if (!page) {
      page = {
        hvaPage,
        entries: new PageEntries(this.#tables),
        decoded: new Int32Array(PAGE_BYTES / 32),
        waiting: new Map(),
        awaited: new Int32Array(PAGE_BYTES / 32),
        stale: new Map(),
        tails: [],
        regions: [],
        patched: undefined,
        hot: new Map(),
        quietUntil: 0,
        pause: -1,
      };
      this.#pages.set(hvaPage, page);
    }
    return page;
  }

  /** Length of the instruction that an entry stands for; a check or a straddle comes before it. */
  #lengthAt(uop: number): number {
    return this.#view.getUint8(uop + UOP_LENGTH);
  }

  #kill(page: CodePage, key: number, uop: number): void {
    this.#view.setUint16(uop + UOP_HANDLER, HANDLER_STALE, true);
    this.separate(uop - UOP_BYTES);
    page.entries.delete(key);
    const before = page.stale.get(key);
    if (before === undefined) page.stale.set(key, [uop]);
    else {
      before.push(uop);
      if (before.length > MAX_STALE) before.shift();
    }
    const set = setOf(page.hvaPage + (key & 4095));
    for (const slot of [set, set + CODE_CACHE_ENTRY_WORDS]) if (this.#cache[slot + 2] === uop) this.#cache[slot + 1] = -1;
  }

  /** The micro-op after this one is no longer what it was paired with. */
  separate(uop: number): void {
    const view = this.#view;
    if (view.getUint16(uop + UOP_HANDLER, true) >= FIRST_PAIR)
      view.setUint16(uop + UOP_HANDLER, view.getUint16(uop + UOP_REG2, true), true);
  }

  #markLines(hvaPage: number, offset: number, end: number): void {
    const at = (hvaPage / PAGE_BYTES) * 2,
      lines = this.#lines;
    if (lines[at] === 0 && lines[at + 1] === 0) this.#options.protectPage(hvaPage);
    for (let line = offset >> 6; line <= (end - 1) >> 6; line++) {
      const word = at + (line >> 5),
        bit = 1 << (line & 31);
      if ((lines[word]! & bit) === 0) Atomics.or(lines, word, bit);
    }
  }

  /** Straight-line code, up to what may never be executed: what follows a branch is decoded when it is come to. */
  #decodeRun(page: CodePage, offset: number, mode: number): number {
    if (this.#next + RUN_RESERVE_BYTES > this.#end) {
      this.flush();
      return this.#decodeRun(this.page(page.hvaPage), offset, mode);
    }
    const resumes = this.#resumes(page, offset | (mode << 12));
    const decoder = this.#decoder,
      { memory1 } = this.#options,
      codeMode = mode & 3,
      first = this.#next;
    this.stats.runs++;
    let at = offset,
      branched = false;
    for (let count = 0; ; count++) {
      const key = at | (mode << 12),
        known = count > 0 && at < PAGE_BYTES && (page.decoded[at >> 5]! >> (at & 31)) & 1 ? page.entries.get(key) : 0;
      if (known !== 0) {
        this.#view.setInt32(this.#pseudo(HANDLER_LINK, at, 0) + UOP_TARGET, known, true);
        break;
      }
      if (at >= PAGE_BYTES || count === MAX_RUN) {
        this.#pseudo(HANDLER_CONTINUE, at, 0);
        break;
      }
      if (branched) {
        this.#openUop = this.#pseudo(HANDLER_CONTINUE, at, 0);
        this.#openPage = page;
        this.#openKey = key;
        break;
      }
      let status = decoder.decode(memory1, page.hvaPage + at, page.hvaPage + PAGE_BYTES, codeMode),
        second: number | undefined;
      if (status === DECODE_TRUNCATED) {
        if (count > 0) {
          this.#pseudo(HANDLER_CONTINUE, at, 0);
          break;
        }
        second = this.#pageAfterRip(at);
        if (second === undefined) {
          if (resumes) this.#next += UOP_BYTES;
          return 0;
        }
        const here = PAGE_BYTES - at,
          scratch = this.#scratch;
        for (let i = 0; i < MAX_LENGTH; i++) scratch[i] = memory1[i < here ? page.hvaPage + at + i : second + i - here]!;
        status = decoder.decode(scratch, 0, MAX_LENGTH, codeMode);
      }
      const length = decoder.lengthBytes,
        end = at + length;
      this.#markLines(page.hvaPage, at, Math.min(end, PAGE_BYTES));
      const entry = this.#next;
      this.#openUop = 0;
      page.entries.set(key, entry);
      page.decoded[at >> 5]! |= 1 << (at & 31);
      if (second !== undefined && end > PAGE_BYTES) {
        this.#view.setBigUint64(this.#pseudo(HANDLER_STRADDLE, at, length) + UOP_IMM, BigInt(second), true);
        this.#markLines(second, 0, end - PAGE_BYTES);
        this.page(second).tails.push([page, key]);
      }
      if (status === DECODED) {
        this.#encode(page, at, mode);
        if (count > 0) this.#pair(this.#next - UOP_BYTES);
      } else this.#pseudo(status === DECODE_UNDEFINED ? HANDLER_UNDEFINED : HANDLER_TOO_LONG, at, length);
      this.#resolve(page, key, entry);
      if (status !== DECODED) break;
      this.stats.decodedInstructions++;
      at = end;
      const { ends } = decoder.row;
      branched = ends === 'branch';
      if (ends !== 'no' && !branched && ends !== 'system') break;
      if (end > PAGE_BYTES) {
        this.#pseudo(HANDLER_CONTINUE, at, 0);
        break;
      }
    }
    this.jit?.decoded(page);
    return first;
  }

  /** A run begins. @returns true: it is what was left open, and takes its place; whatever else is open waits for its own turn */
  #resumes(page: CodePage, key: number): boolean {
    const uop = this.#openUop;
    if (uop === 0) return false;
    if (page === this.#openPage && key === this.#openKey) {
      this.#next = uop;
      return true;
    }
    this.#openUop = 0;
    this.#link(this.#openPage!, uop, this.#openKey); // set with openUop
    return false;
  }

  /** Let the micro-op before this one do both, where there is a handler for that. */
  #pair(second: number): void {
    const view = this.#view;
    const first = second - UOP_BYTES;
    const own = view.getUint16(first + UOP_HANDLER, true);
    const both = this.#pairs.find(own, view.getUint16(second + UOP_HANDLER, true));
    if (both === 0) return;
    view.setUint16(first + UOP_REG2, own, true);
    view.setUint16(first + UOP_HANDLER, both, true);
  }

  #pseudo(handler: number, offset: number, length: number): number {
    return this.#write(handler, 0, 0, 0, offset | (length << BITS_LENGTH), 0, 0, 0, 0);
  }

  /** A micro-op is eight words; base/memory-map.ts names their parts (UOP_*). */
  #write(
    handler: number,
    register0: number,
    registers: number,
    address: number,
    place: number,
    dispLow: number,
    dispHigh: number,
    immediateLow: number,
    immediateHigh: number,
  ): number {
    const uop = this.#next,
      words = this.#words,
      at = uop >> 2;
    this.#next += UOP_BYTES;
    words[at] = handler | (register0 << 16);
    words[at + 1] = registers;
    words[at + 2] = address;
    words[at + 3] = place;
    words[at + 4] = dispLow;
    words[at + 5] = dispHigh;
    words[at + 6] = immediateLow;
    words[at + 7] = immediateHigh;
    return uop;
  }

  /** Write the decoder's last instruction as a micro-op, after a check where the FPU may refuse it. */
  #encode(page: CodePage, offset: number, mode: number): void {
    const decoder = this.#decoder,
      view = this.#view,
      { row } = decoder;
    if ((mode & MODE_FPU_TRAP) !== 0 && row.fpuClass !== 0)
      view.setInt32(this.#pseudo(HANDLER_FPU_CHECK, offset, decoder.lengthBytes) + UOP_IMM, row.fpuClass, true);
    const variant = variantOf(decoder.operandSize >> 2, decoder.isMemory, decoder.environment, decoder.prefix),
      { registers, lengthBytes } = decoder,
      next = offset + lengthBytes;
    let { dispLow, dispHigh, immediateLow, immediateHigh } = decoder;
    if (decoder.ripRelative) {
      dispLow += next; // beyond 32 bits only upwards: the displacement is signed
      dispHigh = Math.floor(dispLow / 0x1_0000_0000);
    }
    const target = immediateLow + next;
    if (decoder.relative) {
      immediateLow = target;
      immediateHigh = Math.floor(target / 0x1_0000_0000);
      dispLow = 0; // UOP_TARGET
      dispHigh = this.#options.threshold; // UOP_HEAT
    }
    const uop = this.#write(
      this.#options.manifest[row.lineIndex * VARIANTS + variant] || HANDLER_UNDEFINED,
      registers[0]!,
      registers[1]! | (registers[2]! << 16),
      decoder.base | (decoder.index << 8) | (decoder.scale << 16) | (decoder.segmentSlot() << 24),
      offset |
        (lengthBytes << BITS_LENGTH) |
        ((decoder.environment <= ENV_LONG32 ? 2 : 1) << BITS_ATTRIBUTES) |
        (decoder.segment << (BITS_ATTRIBUTES + 2)),
      dispLow,
      dispHigh,
      immediateLow,
      immediateHigh,
    );
    if (decoder.relative && target >= 0 && target < PAGE_BYTES) this.#link(page, uop, target | (mode << 12));
  }

  #link(page: CodePage, uop: number, key: number): void {
    const target = page.entries.get(key);
    if (target !== 0) {
      this.#view.setInt32(uop + UOP_TARGET, target, true);
      return;
    }
    const offset = key & (PAGE_BYTES - 1),
      waiting = page.waiting.get(key);
    page.awaited[offset >> 5]! |= 1 << (offset & 31);
    if (waiting) waiting.push(uop);
    else page.waiting.set(key, [uop]);
  }

  #resolve(page: CodePage, key: number, uop: number): void {
    if (page.stale.size > 0) this.#redirect(page, key, uop);
    const offset = key & (PAGE_BYTES - 1);
    if (((page.awaited[offset >> 5]! >> (offset & 31)) & 1) === 0) return;
    const waiting = page.waiting.get(key);
    if (!waiting) return;
    // A jump that was overwritten meanwhile leads to what stands there now, and no further.
    for (const jump of waiting) {
      const handler = this.#view.getUint16(jump + UOP_HANDLER, true);
      if (handler === HANDLER_LINK) continue;
      if (handler === HANDLER_CONTINUE) this.#view.setUint16(jump + UOP_HANDLER, HANDLER_LINK, true);
      this.#view.setInt32(jump + UOP_TARGET, uop, true);
    }
    page.waiting.delete(key);
  }

  /** What was overwritten goes on here. */
  #redirect(page: CodePage, key: number, uop: number): void {
    for (const old of page.stale.get(key) ?? []) {
      this.#view.setUint16(old + UOP_HANDLER, HANDLER_LINK, true);
      this.#view.setInt32(old + UOP_TARGET, uop, true);
    }
  }
}

/** The first word of a set in the code cache. */
function setOf(hva: number): number {
  return (((hva | 0) ^ Math.floor(hva / PAGE_BYTES)) & (CODE_CACHE_SETS - 1)) << (CODE_CACHE_SET_SHIFT - 2);
}

function touches(first: number, last: number, low: number, high: number): boolean {
  for (let line = first; line <= last; line++) if (((line < 32 ? low >>> line : high >>> (line - 32)) & 1) !== 0) return true;
  return false;
}
