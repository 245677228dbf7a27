/**
 * Where pages of memory operands are remembered: in loops that call nothing. Elsewhere what is remembered is forgotten before it is of use.
 * Implements: docs/internals.md "Remembered pages". Runs on: where regions are compiled.
 */
import { comesBack, isBackEdge, successor } from './region.ts';
import type { Block, Region } from './region.ts';

const calls = ({ instructions }: Block): boolean => instructions.some(comesBack);

export function rememberingBlocks(region: Region): ReadonlySet<Block> {
  const remembering = new Set<Block>();
  if (!region.ordered.some((block) => block.loopHeader)) return remembering;
  const predecessors = new Map<Block, Block[]>(region.ordered.map((block) => [block, []]));
  for (const block of region.ordered)
    for (const target of block.targets) {
      const to = successor(region, block, target);
      if (to) predecessors.get(to)!.push(block);
    }
  for (const header of region.ordered) {
    if (!header.loopHeader) continue;
    const loop = new Set([header]),
      open = predecessors.get(header)!.filter((block) => isBackEdge(block, header));
    for (let block = open.pop(); block; block = open.pop()) {
      if (loop.has(block)) continue;
      loop.add(block);
      open.push(...predecessors.get(block)!);
    }
    const members = [...loop];
    if (!members.some(calls)) for (const block of members) remembering.add(block);
  }
  return remembering;
}
