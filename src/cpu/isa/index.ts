/**
 * All instructions, in the order of their line numbers. To add a family: one file and one line here.
 * Implements: SDM vol. 2. Runs on: any thread; tables only.
 */
import { arith } from './arith.ts';
import { atomic } from './atomic.ts';
import { bits } from './bits.ts';
import { decimal } from './decimal.ts';
import { flags } from './flags.ts';
import { flow } from './flow.ts';
import type { Line } from './inst.ts';
import { io } from './io.ts';
import { mov } from './mov.ts';
import { multiply } from './multiply.ts';
import { packedArith } from './packed-arith.ts';
import { packedMove } from './packed-move.ts';
import { packedShift } from './packed-shift.ts';
import { packedShuffle } from './packed-shuffle.ts';
import { packedString } from './packed-string.ts';
import { shiftLines } from './shift.ts';
import { sseArith } from './sse-arith.ts';
import { sseCompare } from './sse-compare.ts';
import { sseConvert } from './sse-convert.ts';
import { sseLogic } from './sse-logic.ts';
import { sseMove } from './sse-move.ts';
import { sseShuffle } from './sse-shuffle.ts';
import { stack } from './stack.ts';
import { string } from './string.ts';
import { system } from './system.ts';
import { x87Arith } from './x87-arith.ts';
import { x87Control } from './x87-control.ts';
import { x87Move } from './x87-move.ts';

export const LINES: readonly Line[] = [
  ...mov, ...arith, ...shiftLines, ...multiply, ...bits, ...stack, ...flow, ...string, ...flags, ...atomic, ...decimal, ...io, ...system,
  ...x87Arith, ...x87Move, ...x87Control, ...packedArith, ...packedShift, ...packedShuffle, ...packedMove, ...packedString,
  ...sseMove, ...sseLogic, ...sseArith, ...sseCompare, ...sseConvert, ...sseShuffle,
];
