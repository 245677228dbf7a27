/**
 * Guesses about the code around an entry, from the tables of its vCPU as they are when it is asked: pages far away, by the TLB of the access class in
 * which the entry was reported; where its indirect jumps have gone. The vCPU goes on meanwhile, and nothing depends on a guess: a region proves each page
 * before it goes there, compares each target, and its lines of code are compared when it is installed.
 * Implements: base/memory-map.ts "A TLB entry", CODE_LINES. Runs on: where regions are compiled.
 */
import { CODE_LINES, PAGE_BYTES, TLB_ADDEND, TLB_ENTRIES, TLB_ENTRY_BYTES, TLB_EXEC } from '../../base/memory-map.ts';
import { isWideAt, wideAt } from '../../base/wide-words.ts';
import { seenTargets } from '../interp/seen-targets.ts';
import type { CompileEntry } from './compilation.ts';

export class Hints {
  /** Memory 0. */
  readonly #words: Int32Array;
  #vcpu = 0;
  #tlb = 0;
  #linear = 0;
  #changing: CompileEntry['changing'];

  constructor(memory0: ArrayBufferLike) {
    this.#words = new Int32Array(memory0);
  }

  /** @param vcpu, tlb in memory 0 @param linear of the page that distances count from; sign-extended, so that it is exact @param changing see CompileEntry */
  seenFrom(vcpu: number, tlb: number, linear: number, changing?: CompileEntry['changing']): this {
    this.#changing = changing;
    this.#vcpu = vcpu;
    this.#tlb = tlb;
    this.#linear = linear;
    return this;
  }

  /** Where an indirect jump, or call, at this offset has gone: offsets, too. */
  targetsOf(offset: number): readonly number[] {
    return seenTargets(this.#words, this.#vcpu, this.#linear + offset).map((target) => target - this.#linear);
  }

  /** Where code is fetched from in memory 1; -1 where the TLB does not say. @param page distance */
  hvaOf(page: number): number {
    const words = this.#words,
      linear = this.#linear + page * PAGE_BYTES,
      entry = (this.#tlb + ((linear >>> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES) >> 2;
    if (!isWideAt(words, entry + (TLB_EXEC >> 2), linear)) return -1;
    const hva = linear + wideAt(words, entry + (TLB_ADDEND >> 2));
    return hva >= 0 && hva % PAGE_BYTES === 0 ? hva : -1;
  }

  /** Is code of this page of memory 1 not to be copied to regions far away, since it changes? */
  isChanging(hvaPage: number): boolean {
    return this.#changing?.has(hvaPage) === true && this.patchedOf(hvaPage) === undefined;
  }
  /** Bytes of a page of memory 1 that were patched while regions of other pages were made from them; undefined: none are known. */
  patchedOf(hvaPage: number): Int32Array | undefined {
    return this.#changing?.get(hvaPage);
  }
  /** Has anything been decoded in the 64-byte line of this place in memory 1? */
  isDecoded(hva: number): boolean {
    const line = (hva >> 6) & 63;
    return ((this.#words[(CODE_LINES >> 2) + Math.floor(hva / PAGE_BYTES) * 2 + (line >> 5)]! >> (line & 31)) & 1) !== 0;
  }
}
