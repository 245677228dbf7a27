/**
 * Places that regions hold without being their entries. One that becomes hot all the same is put off until it is reported again: tier 0 reports
 * all of a function's jumps before its first region is there.
 * Runs on: where regions are compiled or put in place.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';
import { pageOf } from './code-window.ts';
import type { CodeWindow } from './code-window.ts';

/** Pages that are remembered; then all are forgotten, and some code is compiled twice. */
const MAX_PAGES = 4096;

export class CoveredPlaces {
  /** By page of memory 1: offset | mode << 12. */
  readonly #places = new Map<number, Set<number>>();

  /** @param blocks offsets of a region's blocks, its entry's first */
  add(blocks: ArrayLike<number>, window: CodeWindow, mode: number): void {
    for (let i = 1; i < blocks.length; i++) {
      const page = pageOf(blocks[i]!),
        hvaPage = window.hvaOf(page);
      let places = this.#places.get(hvaPage);
      if (!places) {
        places = new Set();
        this.#places.set(hvaPage, places);
      }
      places.add((blocks[i]! - page * PAGE_BYTES) | (mode << 12));
    }
    if (this.#places.size > MAX_PAGES) this.#places.clear();
  }

  /** Is it one of them? The next time it is not. */
  take(hvaPage: number, offset: number, mode: number): boolean {
    return this.#places.get(hvaPage)?.delete(offset | (mode << 12)) === true;
  }
}
