/**
 * The decoder's rows from the declarations.
 * Implements: SDM vol. 2D Appendix A.2 (operand codes). Runs on: the command line, when the table is built; tests.
 */
import type { Line, OperandCode } from '../isa/inst.ts';
import {
  CLASS,
  KIND,
  ROW_ALWAYS_LOCKED,
  ROW_ALWAYS_REGISTER,
  ROW_D64,
  ROW_F64,
  ROW_HAS_MODRM,
  ROW_LOCKABLE,
  ROW_NO_REX_B,
  ROW_REPEATS,
  SIZE_V,
  SIZE_Y,
  SIZE_Z,
} from './row.ts';
import type { RowTable } from './row.ts';
import { FPU_CLASS } from './variants.ts';

type Operand = RowTable['operands'][number];

function operandOf(code: OperandCode): Operand {
  const kinds: Record<string, readonly [number, number]> = {
    E: [KIND.RM, CLASS.GPR],
    R: [KIND.RM, CLASS.GPR],
    M: [KIND.RM, CLASS.GPR],
    W: [KIND.RM, CLASS.VECTOR],
    U: [KIND.RM, CLASS.VECTOR],
    Q: [KIND.RM, CLASS.MMX],
    N: [KIND.RM, CLASS.MMX],
    G: [KIND.REG, CLASS.GPR],
    V: [KIND.REG, CLASS.VECTOR],
    P: [KIND.REG, CLASS.MMX],
    Z: [KIND.LOW, CLASS.GPR],
    fixed: [KIND.FIXED, CLASS.GPR],
    I: [KIND.IMM, 0],
    J: [KIND.REL, 0],
    A: [KIND.FAR, 0],
    O: [KIND.MOFFS, 0],
    X: [KIND.STRING_SOURCE, 0],
    Y: [KIND.STRING_DESTINATION, 0],
    S: [KIND.NUMBER_REG, CLASS.SEGMENT],
    C: [KIND.NUMBER_REG, CLASS.NUMBER],
    D: [KIND.NUMBER_REG, CLASS.NUMBER],
    STi: [KIND.NUMBER_RM, CLASS.NUMBER],
    one: [KIND.ONE, 0],
    opcode: [KIND.OPCODE, 0],
  };
  const [kind, registerClass] = kinds[code.kind]!;
  const size = code.size === 'v' ? SIZE_V : code.size === 'y' ? SIZE_Y : code.size === 'z' ? SIZE_Z : code.size;
  return [kind, registerClass, size, code.register, code.signedByte ? 1 : 0];
}

/** @returns what `opcodeMaps` takes; the row of a line has its index. */
export function rowTable(lines: readonly Line[]): RowTable {
  const operands = new Map<string, { readonly index: number; readonly operand: Operand }>();
  const indexOf = (code: OperandCode): number => {
    const operand = operandOf(code),
      key = operand.join();
    const known = operands.get(key);
    if (known) return known.index;
    operands.set(key, { index: operands.size, operand });
    return operands.size - 1;
  };
  const rows = lines.map((line): RowTable['rows'][number] => {
    const { encoding, attributes } = line;
    const alwaysRegister = line.operands.some((code) => code.kind === 'C' || code.kind === 'D');
    const bits =
      (encoding.hasModrm ? ROW_HAS_MODRM : 0) |
      (alwaysRegister ? ROW_ALWAYS_REGISTER : 0) |
      (encoding.noRexB ? ROW_NO_REX_B : 0) |
      (attributes.d64 === true ? ROW_D64 : 0) |
      (attributes.f64 === true ? ROW_F64 : 0) |
      (attributes.lock === true ? ROW_LOCKABLE : 0) |
      (attributes.rep !== undefined ? ROW_REPEATS : 0) |
      (attributes.alwaysLocked === true ? ROW_ALWAYS_LOCKED : 0);
    return [
      line.name,
      line.encodingText,
      line.ends,
      encoding.map,
      encoding.opcode,
      encoding.opcodes,
      encoding.prefix,
      encoding.digit,
      encoding.modrmFrom,
      encoding.modrmEnd,
      alwaysRegister ? 0 : encoding.mod,
      encoding.rexW,
      attributes.mode === '64' ? 1 : attributes.mode === 'not64' ? 2 : 0,
      FPU_CLASS[line.fpu],
      bits,
      line.operands.map(indexOf),
    ];
  });
  return { operands: [...operands.values()].map(({ operand }) => operand), rows };
}
