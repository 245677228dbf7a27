/**
 * Where pages of memory operands are remembered: in loops that call nothing. Elsewhere what is remembered is forgotten before it is of use.
 * Implements: docs/internals.md "Remembered pages". Runs on: where regions are compiled.
 */
import { isBackEdge } from './flow-graph.ts';
import type { Block, Region } from './region.ts';

/** @returns by a block's order: 1 where pages are remembered; undefined where they are nowhere */
export function rememberingBlocks({ blocks }: Region): Uint8Array | undefined {
  if (!blocks.some((block) => block.loopHeader)) return undefined;
  const predecessors: Block[][] = blocks.map(() => []),
    remembering = new Uint8Array(blocks.length);
  for (const block of blocks) for (const to of block.edges) if (to) predecessors[to.order]!.push(block);
  for (const header of blocks) {
    if (!header.loopHeader) continue;
    const loop = [header],
      seen = new Uint8Array(blocks.length);
    seen[header.order] = 1;
    const add = (block: Block): void => {
      if (seen[block.order] === 0) {
        seen[block.order] = 1;
        loop.push(block);
      }
    };
    for (const block of predecessors[header.order]!) if (isBackEdge(block, header)) add(block);
    for (let next = 1; next < loop.length; next++) for (const block of predecessors[loop[next]!.order]!) add(block);
    if (!loop.some(({ ending }) => ending === 'nests')) for (const { order } of loop) remembering[order] = 1;
  }
  return remembering;
}
