/**
 * Where the instructions of a page of memory 1 have their micro-ops, by offset in the page and by mode. Most of a page is never executed: there is
 * a table for each 64-byte line that was, and for each mode it was executed in.
 * Runs on: the vCPU's thread.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';

/** The longest instruction (SDM vol. 2 2.3.11). */
const MAX_LENGTH = 15;
const LINE_SHIFT = 6,
  LINE_BYTES = 1 << LINE_SHIFT,
  LINE_MASK = LINE_BYTES - 1;
const LINES = PAGE_BYTES >> LINE_SHIFT;
const OFFSET_MASK = PAGE_BYTES - 1;
const CHUNK_SHIFT = 16,
  CHUNK_WORDS = 1 << CHUNK_SHIFT,
  CHUNK_MASK = CHUNK_WORDS - 1;

/** The tables of all pages of one vCPU: a word for each offset in a line. */
export class LineTables {
  readonly #chunks: Int32Array[] = [];
  /** Words in use; the first table is nobody's, so that 0 is no table. */
  #end = LINE_BYTES;

  /** @returns a new table, all 0 */
  take(): number {
    const table = this.#end;
    this.#end += LINE_BYTES;
    return table;
  }
  read(table: number, at: number): number {
    return this.#chunks[table >>> CHUNK_SHIFT]?.[(table & CHUNK_MASK) + at] ?? 0;
  }
  write(table: number, at: number, word: number): void {
    const chunk = table >>> CHUNK_SHIFT;
    while (this.#chunks.length <= chunk) this.#chunks.push(new Int32Array(CHUNK_WORDS));
    this.#chunks[chunk]![(table & CHUNK_MASK) + at] = word;
  }
}

export class PageEntries {
  readonly #tables: LineTables;
  readonly #modes: number[] = [];
  /** By mode, the tables of the lines. */
  readonly #lines: Int32Array[] = [];
  /** The mode asked for last, and its tables. */
  #mode = -1;
  #linesOfMode: Int32Array | undefined;

  constructor(tables: LineTables) {
    this.#tables = tables;
  }

  /** @param key offset | mode << 12 @returns the micro-op, or 0 */
  get(key: number): number {
    const lines = this.#linesOf(key >>> 12);
    if (lines === undefined) return 0;
    const table = lines[(key & OFFSET_MASK) >> LINE_SHIFT]!;
    return table === 0 ? 0 : this.#tables.read(table, key & LINE_MASK);
  }
  set(key: number, uop: number): void {
    const mode = key >>> 12,
      line = (key & OFFSET_MASK) >> LINE_SHIFT;
    let lines = this.#linesOf(mode);
    if (lines === undefined) {
      lines = new Int32Array(LINES);
      this.#modes.push(mode);
      this.#lines.push(lines);
      this.#mode = mode;
      this.#linesOfMode = lines;
    }
    if (lines[line] === 0) lines[line] = this.#tables.take();
    this.#tables.write(lines[line]!, key & LINE_MASK, uop);
  }
  #linesOf(mode: number): Int32Array | undefined {
    if (mode !== this.#mode) {
      const index = this.#modes.indexOf(mode);
      this.#mode = mode;
      this.#linesOfMode = index < 0 ? undefined : this.#lines[index];
    }
    return this.#linesOfMode;
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
    for (const [index, lines] of this.#lines.entries()) {
      const mode = this.#modes[index]! << 12;
      for (let line = 0; line < LINES; line++) {
        if (lines[line] === 0) continue;
        const from = has(line, linesLow, linesHigh) ? 0 : has(line + 1, linesLow, linesHigh) ? LINE_BYTES - MAX_LENGTH + 1 : LINE_BYTES;
        for (let at = from; at < LINE_BYTES; at++) {
          const uop = this.#tables.read(lines[line]!, at);
          if (uop !== 0) visit((line << LINE_SHIFT) | at | mode, uop);
        }
      }
    }
  }
}

const has = (line: number, low: number, high: number): boolean => line < LINES && (((line < 32 ? low : high) >>> (line & 31)) & 1) !== 0;
