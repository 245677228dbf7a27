/**
 * What of the record has to be loaded where, and what written back: a region keeps registers and the flag record in locals, of which some
 * differ from the record (dirty) and some are needed later (live). There are two banks of them: see known-emit.ts for the bits.
 * Implements: backward liveness and forward reachability over the region's blocks. Runs on: where regions are compiled.
 */
import { isBackEdge } from './flow-graph.ts';
import type { Block, Region } from './region.ts';

/** What happens to the registers of a bank, bit by bit, at each emitted instruction. */
class Flow {
  /** What it may write or not, it also reads. */
  readonly reads: Int32Array;
  readonly writes: Int32Array;
  /** Locals that differ from the record before and after it (a call: what it finds to write back). */
  readonly dirtyBefore: Int32Array;
  readonly dirtyAfter: Int32Array;
  /** Locals that are needed after it. */
  readonly liveAfter: Int32Array;

  constructor(count: number) {
    const words = new Int32Array(count * 5),
      part = (nth: number): Int32Array => words.subarray(nth * count, (nth + 1) * count);
    [this.reads, this.writes, this.dirtyBefore, this.dirtyAfter, this.liveAfter] = [part(0), part(1), part(2), part(3), part(4)];
  }
}
/** General registers and the flag record; XMM registers. */
export type Bank = 'general' | 'vectors';

/** Facts about an emitted instruction. A fault may leave it, or the proof of a page before it. */
export const FAULTS = 1,
  /** It may change the region's own code, and leave after it. */
  CHANGES = 2,
  /** Control goes to another function after it, with everything written back, and comes back with nothing known. */
  CALLS = 4;

/** Number of an emitted instruction. */
export type Point = number;
/** Where nothing is dirty. */
export const NO_POINT = 0;

/** The emitted instructions of a region, by number from 1 on; those of a block follow each other. */
export class Points {
  readonly general: Flow;
  readonly vectors: Flow;
  readonly facts: Uint8Array;
  /** The first one of a block, and the end of them, by its place in reverse postorder. */
  readonly first: Int32Array;
  readonly end: Int32Array;
  #count = NO_POINT + 1;

  constructor({ size, blocks }: Region) {
    // A block without instructions has one as well, which does nothing.
    const count = NO_POINT + 1 + blocks.reduce((sum, { instructions }) => (instructions.length === 0 ? sum + 1 : sum), size);
    this.general = new Flow(count);
    this.vectors = new Flow(count);
    this.facts = new Uint8Array(count);
    this.first = new Int32Array(blocks.length);
    this.end = new Int32Array(blocks.length);
  }
  /** What follows belongs to this block. */
  open({ order }: Block): void {
    this.first[order] = this.end[order] = this.#count;
  }
  isFirst({ order }: Block): boolean {
    return this.first[order] === this.#count;
  }
  /** The number that the next one gets. */
  get next(): Point {
    return this.#count;
  }
  add({ order }: Block, facts: number): Point {
    const point = this.#count++;
    this.facts[point] = facts;
    this.end[order] = this.#count;
    return point;
  }
  changes(point: Point): boolean {
    return (this.facts[point]! & CHANGES) !== 0;
  }
  /** Registers that are written anywhere. */
  written(bank: Bank): number {
    return this[bank].writes.reduce((all, each) => all | each, 0);
  }
}

/** Fills the points' masks of a bank in. @returns what the entry has to load */
export function flowRegisters(region: Region, points: Points, bank: Bank): number {
  const { facts, first, end } = points,
    dirtyIn = new Int32Array(region.blocks.length),
    dirtyOut = new Int32Array(region.blocks.length),
    { reads, writes, dirtyBefore, dirtyAfter, liveAfter } = points[bank];
  for (let changed = true; changed;) {
    changed = false;
    for (const { order, edges } of region.blocks) {
      let dirty = dirtyIn[order]!;
      for (let point = first[order]!; point < end[order]!; point++) {
        dirtyBefore[point] = dirty;
        dirtyAfter[point] = dirty |= writes[point]!;
        if (facts[point]! & CALLS) dirty = 0;
      }
      dirtyOut[order] = dirty;
      for (const to of edges) {
        if (!to || (dirtyIn[to.order]! | dirty) === dirtyIn[to.order]) continue;
        dirtyIn[to.order]! |= dirty;
        changed = true;
      }
    }
  }
  const liveIn = new Int32Array(region.blocks.length);
  for (let changed = true; changed;) {
    changed = false;
    for (let at = region.blocks.length - 1; at >= 0; at--) {
      const block = region.blocks[at]!;
      let live = 0;
      // Whoever leaves writes what is dirty; a back-edge leaves when the budget is used up.
      let leaves = block.mayLeave;
      for (const to of block.edges) {
        if (to) live |= liveIn[to.order]!;
        leaves ||= !to || isBackEdge(block, to);
      }
      if (leaves) live |= dirtyOut[at]!;
      for (let point = end[at]! - 1; point >= first[at]!; point--) {
        const fact = facts[point]!;
        liveAfter[point] = live;
        if (fact & CALLS) live = dirtyAfter[point]!;
        else if (fact & CHANGES) live |= dirtyAfter[point]!;
        live = (live & ~writes[point]!) | reads[point]!;
        if (fact & FAULTS) live |= dirtyBefore[point]!;
      }
      if (live === liveIn[at]) continue;
      liveIn[at] = live;
      changed = true;
    }
  }
  return liveIn[0]!;
}
