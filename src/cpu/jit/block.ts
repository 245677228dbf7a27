/**
 * A block of a region before it has a place in the flow graph.
 * Runs on: where regions are compiled.
 */
import type { Block } from './region.ts';

/** What is known of a block when it is made; the rest comes from flow-graph.ts. */
type Content = Pick<Block, 'context' | 'start' | 'instructions' | 'ending' | 'targets' | 'edges' | 'mayLeave' | 'pages'>;

export const newBlock = ({ context, start, instructions, ending, targets, edges, mayLeave, pages }: Content): Block => ({
  context,
  start,
  instructions,
  ending,
  targets,
  edges,
  choices: [],
  mayLeave,
  pages,
  unproved: [],
  order: -1,
  dominator: undefined,
  children: [],
  forwardIn: 0,
  loopHeader: false,
  flagsLiveIn: false,
});
