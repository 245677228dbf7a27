/**
 * The flow graph of a region: order, dominators, loops, where pages are proved and flags are live. A loop that is entered beside its header gets a block
 * that dispatches (irreducible.ts). Where there are too many such loops, the edge is taken out: it leaves the region, like each edge to what the region
 * does not hold.
 * Implements: Cooper, Harvey, Kennedy, A Simple, Fast Dominance Algorithm (2001). Runs on: where regions are compiled.
 */
import { flagsLiveBefore, mayStore } from './flag-use.ts';
import { MAX_DISPATCHES, dispatchInto, dominates } from './irreducible.ts';
import type { Block } from './region.ts';

/** Finishes the blocks that can be reached. @returns them in reverse postorder */
export function ordered(entry: Block): Block[] {
  const blocks = reduced(entry);
  finish(blocks);
  for (const block of blocks) block.unproved = unprovedOf(block);
  liveFlags(blocks);
  return blocks;
}

/** @returns the blocks in reverse postorder, with their dominators */
function reduced(entry: Block): Block[] {
  for (let left = MAX_DISPATCHES; ; left--) {
    const blocks = reversePostorder(entry),
      predecessors = dominate(entry, blocks),
      into = left > 0 ? enteredBeside(blocks) : undefined;
    if (!into) return blocks;
    dispatchInto(into, blocks, predecessors);
  }
}
/** The first block that a back-edge goes to without being its loop's header. */
function enteredBeside(blocks: readonly Block[]): Block | undefined {
  for (const block of blocks) for (const to of block.edges) if (to && isBackEdge(block, to) && !dominates(to, block)) return to;
  return undefined;
}

function reversePostorder(entry: Block): Block[] {
  const post: Block[] = [],
    seen = new Set<Block>([entry]),
    stack = [{ block: entry, next: 0 }];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    if (top.next === top.block.edges.length) {
      post.push(top.block);
      stack.pop();
      continue;
    }
    const successor = top.block.edges[top.next++];
    if (successor && !seen.has(successor)) {
      seen.add(successor);
      stack.push({ block: successor, next: 0 });
    }
  }
  post.reverse().forEach((block, order) => {
    block.order = order;
  });
  return post;
}

export const isBackEdge = (from: Block, to: Block): boolean => to.order <= from.order;

/** @returns the predecessors of each block, by its order */
function dominate(entry: Block, blocks: readonly Block[]): Block[][] {
  const predecessors: Block[][] = blocks.map(() => []);
  for (const block of blocks) block.dominator = undefined;
  for (const block of blocks) for (const to of block.edges) if (to) predecessors[to.order]!.push(block);
  for (let changed = true; changed;) {
    changed = false;
    for (const block of blocks) {
      if (block === entry) continue;
      let dominator: Block | undefined;
      for (const p of predecessors[block.order]!) {
        if (p !== entry && !p.dominator) continue;
        if (!dominator) {
          dominator = p;
          continue;
        }
        let a: Block = p,
          b: Block = dominator;
        while (a !== b) {
          while (a.order > b.order) a = a.dominator!;
          while (b.order > a.order) b = b.dominator!;
        }
        dominator = a;
      }
      if (dominator !== block.dominator) {
        block.dominator = dominator;
        changed = true;
      }
    }
  }
  return predecessors;
}

/** What follows from order and dominators. */
function finish(blocks: readonly Block[]): void {
  for (const block of blocks) {
    block.dominator?.children.push(block);
    block.edges.forEach((to, index) => {
      if (!to) return;
      if (!isBackEdge(block, to)) to.forwardIn++;
      else if (dominates(to, block)) to.loopHeader = true;
      else block.edges[index] = undefined;
    });
  }
}

/** Pages of a block that no block before it on every path has proved. */
function unprovedOf(block: Block): readonly number[] {
  return block.pages.filter((page) => {
    if (page === 0) return false;
    for (let b = block.dominator; b; b = b.dominator) if (b.pages.includes(page)) return false;
    return true;
  });
}

function liveFlags(blocks: readonly Block[]): void {
  for (let changed = true; changed;) {
    changed = false;
    for (let at = blocks.length - 1; at >= 0; at--) {
      const block = blocks[at]!;
      // A back-edge may leave the region when the budget is used up, and shows the flags then.
      let live = block.mayLeave || block.edges.some((to) => !to || isBackEdge(block, to) || to.flagsLiveIn);
      for (let i = block.instructions.length - 1; i >= 0; i--) {
        const instruction = block.instructions[i]!;
        instruction.flagsWanted = live || mayStore(instruction);
        live = flagsLiveBefore(instruction, live);
      }
      // Where its pages are proved the region may be left.
      live ||= block.unproved.length > 0;
      if (live !== block.flagsLiveIn) {
        block.flagsLiveIn = live;
        changed = true;
      }
    }
  }
}
