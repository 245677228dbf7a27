/**
 * The forms that the operands of a line take, by operand size and prefix: common to both tiers.
 * Implements: SDM vol. 2D Appendix A.2 (operand codes). Runs on: any thread.
 */
import { PREFIX_LOCK } from './decode/variants.ts';
import type { Shape, Size } from './emit.ts';
import type { Line, OperandCode } from './isa/inst.ts';

export function operandBytes(code: OperandCode, operandSize: Size): number {
  switch (code.size) {
    case 'v':
      return operandSize;
    case 'y':
      return operandSize === 8 ? 8 : 4;
    case 'z':
      return code.kind === 'I' ? operandSize : (Math.min(operandSize, 4) as Size); // an immediate comes sign-extended
    default:
      return code.size;
  }
}

/** The forms of a line's operands. */
export function shapesOf(line: Line, operandSize: Size, isMemory: boolean, prefix: number): Shape[] {
  const locked = prefix === PREFIX_LOCK || (line.attributes.alwaysLocked === true && isMemory);
  return line.operands.map((code): Shape => {
    const size = operandBytes(code, operandSize);
    const memory = (): Shape => ({
      kind: 'mem',
      size,
      read: code.read,
      write: code.write && size > 0,
      locked: locked && code.write,
      aligned: size === 16 && (line.attributes.aligned === true || (line.fpu === 'sse' && !line.attributes.unaligned)),
    });
    switch (code.kind) {
      case 'E':
        return isMemory ? memory() : { kind: 'gpr', size: size as Size };
      case 'M':
      case 'O':
      case 'X':
        return memory();
      case 'W':
        return isMemory ? memory() : { kind: 'vector', size };
      case 'Q':
        return isMemory ? memory() : { kind: 'mmx', size };
      case 'G':
      case 'Z':
      case 'R':
      case 'fixed':
        return { kind: 'gpr', size: size as Size };
      case 'V':
      case 'U':
        return { kind: 'vector', size };
      case 'P':
      case 'N':
        return { kind: 'mmx', size };
      case 'I':
      case 'one':
      case 'opcode':
        return { kind: 'imm', size: size as Size };
      case 'J':
        return { kind: 'rel' };
      case 'A':
        return { kind: 'far' };
      case 'S':
      case 'C':
      case 'D':
      case 'STi':
        return { kind: 'number' };
      case 'Y':
        return { kind: 'stringDestination', size: size as Size };
    }
  });
}
