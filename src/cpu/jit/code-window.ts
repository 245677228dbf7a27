/**
 * Guest code around an entry and far from it, by offset from the entry's page: copies of pages of memory 1, taken when they are first asked
 * for. Which page of memory 1 is mapped where was true when the entry was reported, or is a guess; a region proves it before it goes there.
 * Runs on: where regions are compiled.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';
import { DECODE_TRUNCATED } from '../decode/codes.ts';
import type { Decoder } from '../decode/decoder.ts';
import { CODE_SIZE_MASK, MODE_64 } from '../state.ts';
import type { CompileEntry } from './compilation.ts';
import type { Hints } from './hints.ts';

/** Pages on each side of the entry's. */
export const WINDOW_REACH = 4;
export const WINDOW_PAGES = 2 * WINDOW_REACH + 1;
/** Pages that a window holds, and a region at most: it keeps a bit for each. */
export const MAX_PAGES = 32;
/** Bytes of the longest instruction. */
const MAX_LENGTH = 15;
const PAGE_WORDS = PAGE_BYTES / 4;

/** Page of an offset, the entry's being 0. */
export const pageOf = (offset: number): number => Math.floor(offset / PAGE_BYTES);

/** Pages of a window that knows the entry's only. */
export const onlyPage = (hvaPage: number): readonly number[] =>
  Array.from({ length: WINDOW_PAGES }, (_, i) => (i === WINDOW_REACH ? hvaPage : -1));

/** What a window asks about pages that it was not given. */
export type WindowHints = Pick<Hints, 'hvaOf' | 'isDecoded' | 'isChanging' | 'patchedOf' | 'targetsOf'>;

export class CodeWindow {
  readonly #memory1: Uint8Array;
  readonly #bytes = new Uint8Array(MAX_PAGES * PAGE_BYTES);
  readonly #words = new Int32Array(this.#bytes.buffer);
  /** An instruction over two pages. */
  readonly #border = new Uint8Array(MAX_LENGTH);
  #pages: readonly number[] = [];
  #decoded: CompileEntry['decoded'];
  #patched: CompileEntry['patched'];
  #hints: WindowHints | undefined;
  readonly #hot: ReadonlySet<number>;
  /** Where the copy of a page is, counted in pages; -1: there is none. */
  readonly #slots = new Map<number, number>();
  /** In memory 1, by slot. */
  readonly #hvas: number[] = [];
  /** Pages that have a copy. */
  #count = 0;
  #lastPage = 0;
  #lastSlot = -1;

  /** @param hot what has been reported as hot: places in memory 1 */
  constructor(memory1: Uint8Array, hot: ReadonlySet<number> = new Set()) {
    this.#memory1 = memory1;
    this.#hot = hot;
  }

  /**
   * @param pages in memory 1, in the order of their linear addresses, the entry's in the middle; -1 unknown
   * @param decoded of each the offsets that tier 0 has decoded
   * @param patched of each the bytes that change
   * @param hints of what is beyond, seen from the entry's page
   */
  open(pages: readonly number[], decoded?: CompileEntry['decoded'], patched?: CompileEntry['patched'], hints?: WindowHints): this {
    this.#pages = pages;
    this.#decoded = decoded;
    this.#patched = patched;
    this.#hints = hints;
    this.#slots.clear();
    this.#hvas.length = 0;
    this.#count = 0;
    this.#lastSlot = -1;
    return this;
  }

  /** The same for what is asked for. @param hints where they are to be had */
  openFor({ pages, decoded, patched, mode, rip, offset, vcpu, tlb, changing }: Omit<CompileEntry, 'slot'>, hints: Hints | undefined): this {
    const isLong = rip !== undefined && (mode & CODE_SIZE_MASK) === MODE_64;
    return this.open(
      pages,
      decoded,
      patched,
      isLong ? hints?.seenFrom(vcpu, tlb, Number(BigInt.asIntN(64, rip)) - offset, changing) : undefined,
    );
  }

  #slotOf(page: number): number {
    if (page === this.#lastPage && this.#lastSlot >= 0) return this.#lastSlot;
    let slot = this.#slots.get(page);
    if (slot === undefined) {
      slot = this.#copy(page);
      this.#slots.set(page, slot);
    }
    this.#lastPage = page;
    this.#lastSlot = slot;
    return slot;
  }
  #copy(page: number): number {
    const isNear = Math.abs(page) <= WINDOW_REACH,
      hva = (isNear ? this.#pages[page + WINDOW_REACH] : this.#hints?.hvaOf(page)) ?? -1,
      known = this.#hvas.indexOf(hva);
    if (hva < 0 || hva + PAGE_BYTES > this.#memory1.length || this.#count === MAX_PAGES) return -1;
    this.#count++;
    // Mapped twice: one copy, so that it is the same at both places.
    if (known >= 0) return known;
    const slot = this.#hvas.push(hva) - 1;
    this.#bytes.set(this.#memory1.subarray(hva, hva + PAGE_BYTES), slot * PAGE_BYTES);
    return slot;
  }

  /** Is its code here? @param page 0 is the entry's */
  has(page: number): boolean {
    return this.#slotOf(page) >= 0;
  }
  /** Where a page that is here lies in memory 1. */
  hvaOf(page: number): number {
    return this.#hvas[this.#slotOf(page)] ?? -1;
  }
  /** Has a byte of [start, end) been patched while code was compiled from it? */
  isPatched(start: number, end: number): boolean {
    const first = pageOf(start);
    let bits = this.patchedOf(first);
    if (bits === undefined && pageOf(end - 1) === first) return false;
    for (let offset = start; offset < end; offset++) {
      const at = offset & (PAGE_BYTES - 1);
      if (at === 0 && offset > start) bits = this.patchedOf(first + 1);
      if (bits !== undefined && ((bits[at >> 5]! >> (at & 31)) & 1) !== 0) return true;
    }
    return false;
  }
  /** Bytes of a page that have been patched while code was compiled from it, a bit each. */
  patchedOf(page: number): Int32Array | undefined {
    return Math.abs(page) <= WINDOW_REACH ? this.#patched?.[page + WINDOW_REACH] : this.#hints?.patchedOf(this.hvaOf(page));
  }
  wordsOf(page: number): Int32Array {
    const start = this.wordOf(page);
    return this.#words.subarray(start, start + PAGE_WORDS);
  }
  /** All words of the pages that are here. */
  get words(): Int32Array {
    return this.#words;
  }
  /** Where a page that is here begins among them. */
  wordOf(page: number): number {
    return this.#slotOf(page) * PAGE_WORDS;
  }
  /** May the instruction at this offset have been executed before? Of far pages it is known by lines of 64 bytes. */
  isWarm(offset: number): boolean {
    if (this.#decoded === undefined) return true;
    const page = pageOf(offset),
      at = offset - page * PAGE_BYTES;
    if (Math.abs(page) > WINDOW_REACH) return this.has(page) && this.#hints!.isDecoded(this.hvaOf(page) + at);
    const bits = this.#decoded[page + WINDOW_REACH];
    return bits !== undefined && ((bits[at >> 5]! >> (at & 31)) & 1) !== 0;
  }

  /** Is a copy of the function here worth having: has it been called often, and does its code stay as it is, as far as patches of it are not known? */
  isWorthCopying(offset: number): boolean {
    if (this.#decoded === undefined) return true;
    const page = pageOf(offset),
      hvaPage = this.hvaOf(page);
    return this.#hot.has(hvaPage + offset - page * PAGE_BYTES) && !this.isChanging(page);
  }
  /** Is it a page far away whose code changes in ways that are not known? */
  isChanging(page: number): boolean {
    return Math.abs(page) > WINDOW_REACH && this.#hints!.isChanging(this.hvaOf(page));
  }
  /** Offsets to which the indirect jump, or call, at this one is likely to go. */
  targetsOf(offset: number): readonly number[] {
    return this.#hints?.targetsOf(offset) ?? [];
  }

  /** @returns of the decoder; DECODE_TRUNCATED also where a page is not here */
  decode(decoder: Decoder, offset: number, mode: number): number {
    const page = pageOf(offset),
      slot = this.#slotOf(page);
    if (slot < 0) return DECODE_TRUNCATED;
    const start = slot * PAGE_BYTES + offset - page * PAGE_BYTES,
      end = (slot + 1) * PAGE_BYTES,
      status = decoder.decode(this.#bytes, start, end, mode);
    if (status !== DECODE_TRUNCATED || !this.has(page + 1)) return status;
    return decoder.decode(this.#copied(offset, MAX_LENGTH), 0, MAX_LENGTH, mode);
  }
  /** Where a byte of a page that is here lies in memory 1. */
  placeOf(offset: number): number {
    const page = pageOf(offset);
    return this.hvaOf(page) + offset - page * PAGE_BYTES;
  }
  /** Four bytes of a page that is here, and of none besides. */
  wordAt(offset: number): number {
    const page = pageOf(offset),
      bytes = this.#bytes,
      at = this.#slotOf(page) * PAGE_BYTES + offset - page * PAGE_BYTES;
    return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  }
  /** The bytes of an instruction; its pages are here. They are valid until the next call. @param length bytes, up to MAX_LENGTH */
  bytesAt(offset: number, length: number): Uint8Array {
    return this.#copied(offset, length).subarray(0, length);
  }
  #copied(offset: number, length: number): Uint8Array {
    for (let i = 0; i < length; i++) {
      const page = pageOf(offset + i);
      this.#border[i] = this.#bytes[this.#slotOf(page) * PAGE_BYTES + offset + i - page * PAGE_BYTES]!;
    }
    return this.#border;
  }
}
