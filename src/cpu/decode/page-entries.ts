/**
 * Where the instructions of a page of memory 1 have their micro-ops, by offset in the page and by mode: a table for each mode in which the page
 * was executed, nearly always one.
 * Runs on: the vCPU's thread.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';

/** The longest instruction (SDM vol. 2 2.3.11). */
const MAX_LENGTH = 15;
const LINE_SHIFT = 6;
const LINES = PAGE_BYTES >> LINE_SHIFT;
const OFFSET_MASK = PAGE_BYTES - 1;

export class PageEntries {
  readonly #modes: number[] = [];
  readonly #tables: Int32Array[] = [];

  /** @param key offset | mode << 12 @returns the micro-op, or 0 */
  get(key: number): number {
    const index = this.#modes.indexOf(key >>> 12);
    return index < 0 ? 0 : this.#tables[index]![key & OFFSET_MASK]!;
  }
  set(key: number, uop: number): void {
    const mode = key >>> 12;
    let index = this.#modes.indexOf(mode);
    if (index < 0) {
      index = this.#modes.push(mode) - 1;
      this.#tables.push(new Int32Array(PAGE_BYTES));
    }
    this.#tables[index]![key & OFFSET_MASK] = uop;
  }
  delete(key: number): void {
    this.set(key, 0);
  }

  /**
   * Call `visit` for what may reach into the given 64-byte lines, a bit each: also for what begins less than an instruction before one.
   * It may delete what it is called for.
   * @param linesLow lines 0-31
   */
  near(linesLow: number, linesHigh: number, visit: (key: number, uop: number) => void): void {
    for (const [index, table] of this.#tables.entries()) {
      const mode = this.#modes[index]! << 12;
      let from = 0;
      for (let line = 0; line < LINES; line++) {
        if ((((line < 32 ? linesLow : linesHigh) >>> (line & 31)) & 1) === 0) continue;
        const end = (line + 1) << LINE_SHIFT;
        for (let offset = Math.max(from, (line << LINE_SHIFT) - MAX_LENGTH + 1); offset < end; offset++) {
          const uop = table[offset]!;
          if (uop !== 0) visit(offset | mode, uop);
        }
        from = end;
      }
    }
  }
}
