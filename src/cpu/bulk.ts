/**
 * REP MOVS and REP STOS, many iterations at once: what both tiers emit around the helpers that do them.
 * Implements: SDM vol. 2B REP. Runs on: where handlers and templates are made.
 */
import { RCX, RDI, RSI } from './emit.ts';
import type { Emit, Operand, Value } from './emit.ts';
import type { HelperName } from './helpers.ts';
import type { Line } from './isa/inst.ts';

/** Helpers by what a line has for `bulk`. */
export type BulkHelpers = Readonly<Record<'movs' | 'stos', HelperName>>;

/** Iterations that have been done at once show in rSI, rDI and rCX, as after each of them. @param count of rCX @returns how many were done (i64); 0: none could be */
export function inBulk(b: Emit, line: Line, operands: readonly Operand[], count: Value, helpers: BulkHelpers): Value {
  const f = b.f,
    [destination, source] = operands as readonly [Operand, Operand],
    size = destination.size,
    log2Size = f.i32(31 - Math.clz32(size)),
    to = f.pin(destination.linear(size, 'write')),
    moves = line.attributes.bulk === 'movs';
  const done = moves
    ? b.call(helpers.movs, to, f.pin(source.linear(size, 'read')), count, log2Size)
    : b.call(helpers.stos, to, b.resize(source.read(), 8), count, log2Size);
  const bytes = f.pin(f.op('shl', done, f.widen(log2Size)));
  b.advance(RDI, bytes);
  if (moves) b.advance(RSI, bytes);
  b.register(RCX, 8).write(f.op('sub', count, done));
  return done;
}
