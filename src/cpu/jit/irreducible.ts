/**
 * Flow that enters a loop at several places is made reducible: all ways to these places lead through one block that dispatches, by a number that says
 * which of them is meant. That block is the loop's only header. Where there is no such loop, nothing changes.
 * Implements: docs/jit.md "Forming"; Ramsey, Beyond Relooper (2022), 6 "Irreducible control flow". Runs on: where regions are compiled.
 */
import { newBlock } from './block.ts';
import type { Block } from './region.ts';

/** Blocks that dispatch in a region, at most; edges for which there are none leave it. */
export const MAX_DISPATCHES = 8;

/**
 * @param block into which an edge goes that is a back-edge, though the block does not dominate where it comes from
 * @param predecessors by a block's order
 * @returns a block before it and the loop's other entries, in which their edges have been put
 */
export function dispatchInto(block: Block, blocks: readonly Block[], predecessors: readonly (readonly Block[])[]): Block {
  const loop = loopAround(block, blocks.length, predecessors),
    entries = blocks.filter(({ order }) => loop[order] === 1 && predecessors[order]!.some((from) => loop[from.order] === 0)),
    dispatch = newBlock({
      context: block.context,
      start: block.start,
      instructions: [],
      ending: 'dispatches',
      targets: entries.map(({ start }) => start),
      edges: [...entries],
      mayLeave: false,
      pages: [],
    });
  for (const from of blocks)
    for (const [edge, to] of from.edges.entries()) {
      const value = to ? entries.indexOf(to) : -1;
      // A loop of its own within, whose header is this entry, stays as it is.
      if (value < 0 || dominates(to!, from)) continue;
      from.edges[edge] = dispatch;
      from.choices.push({ edge, dispatch, value });
    }
  return dispatch;
}

/** @returns by order: 1 for the blocks that lie on a way from this block back to it which does not lead through its dominator */
function loopAround(block: Block, count: number, predecessors: readonly (readonly Block[])[]): Uint8Array {
  const avoided = block.dominator!,
    ahead = reached(block, count, avoided, ({ edges }) => edges),
    behind = reached(block, count, avoided, ({ order }) => predecessors[order]!);
  return ahead.map((isAhead, order) => isAhead & behind[order]!);
}
function reached(from: Block, count: number, avoided: Block, next: (block: Block) => readonly (Block | undefined)[]): Uint8Array {
  const seen = new Uint8Array(count),
    list = [from];
  seen[from.order] = 1;
  for (const block of list)
    for (const to of next(block))
      if (to && to !== avoided && seen[to.order] === 0) {
        seen[to.order] = 1;
        list.push(to);
      }
  return seen;
}

export function dominates(above: Block, below: Block): boolean {
  for (let b: Block | undefined = below; b; b = b.dominator) if (b === above) return true;
  return false;
}
