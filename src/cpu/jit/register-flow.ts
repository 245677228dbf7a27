/**
 * What of the record has to be loaded where, and what written back: a region keeps general registers and the flag record in locals, of which
 * some differ from the record (dirty) and some are needed later (live). Masks have a bit per register: see known-emit.ts.
 * Implements: backward liveness and forward reachability over the region's blocks. Runs on: where regions are compiled.
 */
import { isBackEdge, successor } from './region.ts';
import type { Block, Region } from './region.ts';

/** An emitted instruction. */
export interface Point {
  /** Registers; what it may write or not, it also reads. */
  readonly reads: number;
  readonly writes: number;
  /** A fault may leave it, or the proof of a page before it. */
  readonly faults: boolean;
  /** It may change the region's own code, and leave after it. */
  readonly changes: boolean;
  /** Control goes to another function after it, with everything written back, and comes back with nothing known. */
  readonly calls: boolean;
  /** Locals that differ from the record before and after it (a call: what it finds to write back). */
  dirtyBefore: number;
  dirtyAfter: number;
  /** Locals that are needed after it. */
  liveAfter: number;
}

/** Fills the points' masks in. @returns what the entry has to load */
export function flowRegisters(region: Region, points: ReadonlyMap<Block, readonly Point[]>): number {
  const dirtyIn = new Int32Array(region.ordered.length),
    dirtyOut = new Int32Array(region.ordered.length);
  for (let changed = true; changed;) {
    changed = false;
    for (const block of region.ordered) {
      let dirty = dirtyIn[block.order]!;
      for (const point of points.get(block)!) {
        point.dirtyBefore = dirty;
        point.dirtyAfter = dirty |= point.writes;
        if (point.calls) dirty = 0;
      }
      dirtyOut[block.order] = dirty;
      for (const target of block.targets) {
        const to = successor(region, block, target);
        if (!to || (dirtyIn[to.order]! | dirty) === dirtyIn[to.order]) continue;
        dirtyIn[to.order]! |= dirty;
        changed = true;
      }
    }
  }
  const liveIn = new Int32Array(region.ordered.length);
  for (let changed = true; changed;) {
    changed = false;
    for (let at = region.ordered.length - 1; at >= 0; at--) {
      const block = region.ordered[at]!;
      let live = 0;
      // Whoever leaves writes what is dirty; a back-edge leaves when the budget is used up.
      let leaves = block.targets.length === 0;
      for (const target of block.targets) {
        const to = successor(region, block, target);
        if (to) live |= liveIn[to.order]!;
        leaves ||= !to || isBackEdge(block, to);
      }
      if (leaves) live |= dirtyOut[at]!;
      const list = points.get(block)!;
      for (let i = list.length - 1; i >= 0; i--) {
        const point = list[i]!;
        point.liveAfter = live;
        if (point.calls) live = point.dirtyAfter;
        else if (point.changes) live |= point.dirtyAfter;
        live = (live & ~point.writes) | point.reads;
        if (point.faults) live |= point.dirtyBefore;
      }
      if (live === liveIn[at]) continue;
      liveIn[at] = live;
      changed = true;
    }
  }
  return liveIn[0]!;
}
