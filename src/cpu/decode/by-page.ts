/**
 * Something for each page of memory 1 that has it, found by two array accesses: a Map takes ten times as long, most of it waiting for memory.
 * Runs on: the vCPU's thread.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';

const CHUNK_PAGES = 512;

export class ByPage<T> {
  readonly #chunks: ((T | undefined)[] | undefined)[] = [];

  /** @param hvaPage address of the page in memory 1, a multiple of 4096 */
  get(hvaPage: number): T | undefined {
    const page = hvaPage / PAGE_BYTES;
    return this.#chunks[Math.floor(page / CHUNK_PAGES)]?.[page % CHUNK_PAGES];
  }
  set(hvaPage: number, value: T): void {
    const page = hvaPage / PAGE_BYTES,
      chunk = Math.floor(page / CHUNK_PAGES);
    while (this.#chunks.length <= chunk) this.#chunks.push(undefined);
    (this.#chunks[chunk] ??= new Array<T | undefined>(CHUNK_PAGES).fill(undefined))[page % CHUNK_PAGES] = value;
  }
  /** Addresses of the pages that have something, in ascending order. */
  *keys(): Generator<number> {
    for (const [chunk, values] of this.#chunks.entries())
      for (const [index, value] of values?.entries() ?? []) if (value !== undefined) yield (chunk * CHUNK_PAGES + index) * PAGE_BYTES;
  }
}
