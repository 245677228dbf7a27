/**
 * What of the record has to be loaded where, and what written back: a region keeps registers and the flag record in locals, of which some
 * differ from the record (dirty) and some are needed later (live). There are two banks of them: see known-emit.ts for the bits.
 * Implements: backward liveness and forward reachability over the region's blocks. Runs on: where regions are compiled.
 */
import { isBackEdge } from './flow-graph.ts';
import type { Block, Region } from './region.ts';

/** What happens to the registers of a bank at an instruction, bit by bit. */
export interface Flow {
  /** What it may write or not, it also reads. */
  readonly reads: number;
  readonly writes: number;
  /** Locals that differ from the record before and after it (a call: what it finds to write back). */
  dirtyBefore: number;
  dirtyAfter: number;
  /** Locals that are needed after it. */
  liveAfter: number;
}
/** General registers and the flag record; XMM registers. */
export type Bank = 'general' | 'vectors';

/** An emitted instruction. */
export interface Point extends Readonly<Record<Bank, Flow>> {
  /** A fault may leave it, or the proof of a page before it. */
  readonly faults: boolean;
  /** It may change the region's own code, and leave after it. */
  readonly changes: boolean;
  /** Control goes to another function after it, with everything written back, and comes back with nothing known. */
  readonly calls: boolean;
}

/** Fills the points' masks of a bank in. @returns what the entry has to load */
export function flowRegisters(region: Region, points: ReadonlyMap<Block, readonly Point[]>, bank: Bank): number {
  const dirtyIn = new Int32Array(region.blocks.length),
    dirtyOut = new Int32Array(region.blocks.length);
  for (let changed = true; changed;) {
    changed = false;
    for (const block of region.blocks) {
      let dirty = dirtyIn[block.order]!;
      for (const point of points.get(block)!) {
        const flow = point[bank];
        flow.dirtyBefore = dirty;
        flow.dirtyAfter = dirty |= flow.writes;
        if (point.calls) dirty = 0;
      }
      dirtyOut[block.order] = dirty;
      for (const to of block.edges) {
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
      const list = points.get(block)!;
      for (let i = list.length - 1; i >= 0; i--) {
        const point = list[i]!,
          flow = point[bank];
        flow.liveAfter = live;
        if (point.calls) live = flow.dirtyAfter;
        else if (point.changes) live |= flow.dirtyAfter;
        live = (live & ~flow.writes) | flow.reads;
        if (point.faults) live |= flow.dirtyBefore;
      }
      if (live === liveIn[at]) continue;
      liveIn[at] = live;
      changed = true;
    }
  }
  return liveIn[0]!;
}
