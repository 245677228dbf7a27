/**
 * What an instruction may do to the flags and to memory, as far as the flow of flags through a region needs it.
 * Runs on: where regions are compiled.
 */
import { LINES } from '../isa/index.ts';
import type { Line } from '../isa/inst.ts';
import type { Instruction } from './region.ts';

/** Without a memory operand these cannot fault. */
const QUIET = new Set(
  `mov movzx movsx movsxd lea add sub and or xor cmp test adc sbb inc dec neg not shl shr sar rol ror rcl rcr shld shrd imul
   bswap xchg nop pause bt bts btr btc bsf bsr jmp cbw cwd jrcxz loop xadd cmpxchg`.split(/\s+/),
);
const CONDITIONAL = /^(j|set|cmov)(n?[obespl]|ae|n?e|be|a|np|ge|le|g)$/;

/** What a line may do, by its index: bits. */
const QUIET_LINE = 1,
  /** Its memory operand is not accessed. */
  NO_ACCESS = 2,
  /** Its memory operand is written. */
  STORES = 4,
  /** Flags that it reads, or leaves as they are, show what was before. */
  SHOWS_FLAGS = 8,
  WRITES_FLAGS = 16,
  SHIFTS = 32,
  BY_CONSTANT = 64;
const SHIFT_NAMES = new Set(['shl', 'shr', 'sar', 'shld', 'shrd']);

function usesOf({ name, operands, effect }: Line): number {
  // MOV of a control, debug or segment register has the name of a quiet one.
  const isQuiet = CONDITIONAL.test(name) || (QUIET.has(name) && !operands.some(({ kind }) => 'CDS'.includes(kind))),
    count = operands.at(-1)?.kind;
  return (
    (isQuiet ? QUIET_LINE : 0) |
    (name === 'lea' || name === 'nop' ? NO_ACCESS : 0) |
    (operands.some((operand) => operand.write && 'EMWQO'.includes(operand.kind)) ? STORES : 0) |
    (effect === 'read' || effect === 'through' ? SHOWS_FLAGS : 0) |
    (effect === 'write' ? WRITES_FLAGS : 0) |
    (SHIFT_NAMES.has(name) ? SHIFTS : 0) |
    (count === 'I' || count === 'one' ? BY_CONSTANT : 0)
  );
}
const USES = Uint8Array.from(LINES, usesOf);

/** A shift by a constant other than 0 writes all flags. */
function replacesFlags(uses: number, { line, immediateLow, operandSize }: Instruction): boolean {
  if ((uses & SHIFTS) === 0) return (uses & WRITES_FLAGS) !== 0;
  if ((uses & WRITES_FLAGS) !== 0 || (uses & BY_CONSTANT) === 0) return false;
  return (immediateLow & (operandSize === 8 && line.operands[0]!.size !== 1 ? 63 : 31)) !== 0;
}

/** After a store the region may have to end, because its code has changed. */
export function mayStore({ row, isMemory }: Instruction): boolean {
  const uses = USES[row.lineIndex]!;
  return isMemory ? (uses & STORES) !== 0 : (uses & QUIET_LINE) === 0;
}

export function flagsLiveBefore(instruction: Instruction, liveAfter: boolean): boolean {
  const uses = USES[instruction.row.lineIndex]!,
    mayFault = (instruction.isMemory && (uses & NO_ACCESS) === 0) || (uses & QUIET_LINE) === 0;
  // A fault shows them to its handler.
  return mayFault || (uses & SHOWS_FLAGS) !== 0 || (!replacesFlags(uses, instruction) && liveAfter);
}
