/**
 * What an instruction may do to the flags and to memory, as far as the flow of flags through a region needs it.
 * Runs on: where regions are compiled.
 */
import type { Instruction } from './region.ts';

/** Without a memory operand these cannot fault. */
const QUIET = new Set(
  `mov movzx movsx movsxd lea add sub and or xor cmp test adc sbb inc dec neg not shl shr sar rol ror rcl rcr shld shrd imul
   bswap xchg nop pause bt bts btr btc bsf bsr jmp cbw cwd jrcxz loop xadd cmpxchg`.split(/\s+/),
);
const CONDITIONAL = /^(j|set|cmov)(n?[obespl]|ae|n?e|be|a|np|ge|le|g)$/;

/** MOV of a control, debug or segment register has the name of a quiet one. */
function isQuiet({ line: { name, operands } }: Instruction): boolean {
  return CONDITIONAL.test(name) || (QUIET.has(name) && !operands.some(({ kind }) => 'CDS'.includes(kind)));
}

function mayFault(instruction: Instruction): boolean {
  const { line, isMemory } = instruction;
  if (isMemory && line.name !== 'lea' && line.name !== 'nop') return true;
  return !isQuiet(instruction);
}

const SHIFTS = new Set(['shl', 'shr', 'sar', 'shld', 'shrd']);
/** A shift by a constant other than 0 writes all flags. */
function replacesFlags({ line, immediateLow, operandSize }: Instruction): boolean {
  const { effect, name, operands } = line;
  if (effect === 'write') return !SHIFTS.has(name);
  if (!SHIFTS.has(name)) return false;
  const kind = operands.at(-1)!.kind;
  return (kind === 'I' || kind === 'one') && (immediateLow & (operandSize === 8 && operands[0]!.size !== 1 ? 63 : 31)) !== 0;
}

/** After a store the region may have to end, because its code has changed. */
export function mayStore(instruction: Instruction): boolean {
  const { operands } = instruction.line;
  if (!instruction.isMemory) return !isQuiet(instruction);
  return operands.some((operand) => operand.write && 'EMWQO'.includes(operand.kind));
}

export function flagsLiveBefore(instruction: Instruction, liveAfter: boolean): boolean {
  if (mayFault(instruction)) return true; // a fault shows them to its handler
  const { effect } = instruction.line;
  if (effect === 'read' || effect === 'through') return true;
  return replacesFlags(instruction) ? false : liveAfter;
}
