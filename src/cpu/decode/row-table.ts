/**
 * The decoder's tables from the declarations: how each line is recognised, and what of it a thread knows by name.
 * Implements: SDM vol. 2D Appendix A Opcode Map, A.2 (operand codes). Runs on: the command line, when the tables are built; tests.
 */
import type { Line, OperandCode } from '../isa/inst.ts';
import { PREFIX_ANY } from '../isa/prefixes.ts';
import {
  CLASS_GPR,
  CLASS_MMX,
  CLASS_NUMBER,
  CLASS_SEGMENT,
  CLASS_VECTOR,
  KIND_FAR,
  KIND_FIXED,
  KIND_IMM,
  KIND_LOW,
  KIND_MOFFS,
  KIND_NUMBER_REG,
  KIND_NUMBER_RM,
  KIND_ONE,
  KIND_OPCODE,
  KIND_REG,
  KIND_REL,
  KIND_RM,
  KIND_STRING_DESTINATION,
  KIND_STRING_SOURCE,
  ROW_ALWAYS_LOCKED,
  ROW_ALWAYS_REGISTER,
  ROW_D64,
  ROW_F64,
  ROW_FULL_IMMEDIATE,
  ROW_HAS_MODRM,
  ROW_LOCKABLE,
  ROW_NO_REX_B,
  ROW_REPEATS,
  SIZE_V,
  SIZE_Y,
  SIZE_Z,
} from './codes.ts';
import type { RowTable } from './row.ts';
import { FPU_CLASS } from './variants.ts';

export interface EncodedOperand {
  /** KIND_*. */
  readonly kind: number;
  /** CLASS_*. */
  readonly registerClass: number;
  /** Bytes, or SIZE_*. */
  readonly size: number;
  /** Number of the general register of KIND_FIXED; -1: AH. */
  readonly register: number;
  /** An immediate of one byte, sign-extended to the operand size. */
  readonly signedByte: boolean;
}

/** How a line is recognised; -1 stands for any. */
export interface EncodedRow {
  readonly lineIndex: number;
  readonly name: string;
  readonly ends: string;
  /** FPU_CLASS. */
  readonly fpuClass: number;
  /** ROW_*. */
  readonly bits: number;
  readonly prefix: number;
  readonly digit: number;
  readonly modrmFrom: number;
  readonly modrmEnd: number;
  /** 0 either, 1 memory, 2 register. */
  readonly mod: number;
  readonly rexW: number;
  /** 0 any, 1 only 64-bit mode, 2 not in it. */
  readonly mode: number;
  readonly operands: readonly EncodedOperand[];
}

function operandOf(code: OperandCode): EncodedOperand {
  const kinds: Record<string, readonly [number, number]> = {
    E: [KIND_RM, CLASS_GPR],
    R: [KIND_RM, CLASS_GPR],
    M: [KIND_RM, CLASS_GPR],
    W: [KIND_RM, CLASS_VECTOR],
    U: [KIND_RM, CLASS_VECTOR],
    Q: [KIND_RM, CLASS_MMX],
    N: [KIND_RM, CLASS_MMX],
    G: [KIND_REG, CLASS_GPR],
    V: [KIND_REG, CLASS_VECTOR],
    P: [KIND_REG, CLASS_MMX],
    Z: [KIND_LOW, CLASS_GPR],
    fixed: [KIND_FIXED, CLASS_GPR],
    I: [KIND_IMM, 0],
    J: [KIND_REL, 0],
    A: [KIND_FAR, 0],
    O: [KIND_MOFFS, 0],
    X: [KIND_STRING_SOURCE, 0],
    Y: [KIND_STRING_DESTINATION, 0],
    S: [KIND_NUMBER_REG, CLASS_SEGMENT],
    C: [KIND_NUMBER_REG, CLASS_NUMBER],
    D: [KIND_NUMBER_REG, CLASS_NUMBER],
    STi: [KIND_NUMBER_RM, CLASS_NUMBER],
    one: [KIND_ONE, 0],
    opcode: [KIND_OPCODE, 0],
  };
  const [kind, registerClass] = kinds[code.kind]!;
  const size = code.size === 'v' ? SIZE_V : code.size === 'y' ? SIZE_Y : code.size === 'z' ? SIZE_Z : code.size;
  return { kind, registerClass, size, register: code.register, signedByte: code.signedByte };
}

function encodedRow(line: Line, lineIndex: number): EncodedRow {
  const { encoding, attributes, name } = line;
  const alwaysRegister = line.operands.some((code) => code.kind === 'C' || code.kind === 'D');
  const bits =
    (encoding.hasModrm ? ROW_HAS_MODRM : 0) |
    (alwaysRegister ? ROW_ALWAYS_REGISTER : 0) |
    (encoding.noRexB ? ROW_NO_REX_B : 0) |
    (attributes.d64 === true ? ROW_D64 : 0) |
    (attributes.f64 === true ? ROW_F64 : 0) |
    (attributes.lock === true ? ROW_LOCKABLE : 0) |
    (attributes.rep !== undefined ? ROW_REPEATS : 0) |
    (attributes.alwaysLocked === true ? ROW_ALWAYS_LOCKED : 0) |
    (encoding.opcodes === 8 && name === 'mov' ? ROW_FULL_IMMEDIATE : 0);
  return {
    lineIndex,
    name,
    ends: line.ends,
    fpuClass: FPU_CLASS[line.fpu],
    bits,
    prefix: encoding.prefix,
    digit: encoding.digit,
    modrmFrom: encoding.modrmFrom,
    modrmEnd: encoding.modrmEnd,
    mod: alwaysRegister ? 0 : encoding.mod,
    rexW: encoding.rexW,
    mode: attributes.mode === '64' ? 1 : attributes.mode === 'not64' ? 2 : 0,
    operands: line.operands.map(operandOf),
  };
}

/** @returns rows by map * 256 + opcode. A row that asks for a mandatory prefix comes before one that takes any. */
export function opcodeRows(lines: readonly Line[]): readonly (readonly EncodedRow[])[] {
  const maps: EncodedRow[][] = Array.from({ length: 1024 }, () => []);
  for (const [lineIndex, line] of lines.entries()) {
    const row = encodedRow(line, lineIndex),
      { map, opcode, opcodes } = line.encoding;
    for (let i = 0; i < opcodes; i++) maps[map * 256 + opcode + i]!.push(row);
  }
  for (const rows of maps) rows.sort((a, b) => (a.prefix === PREFIX_ANY ? 1 : 0) - (b.prefix === PREFIX_ANY ? 1 : 0));
  return maps;
}

/** @returns what `rowsOf` takes */
export const rowTable = (lines: readonly Line[]): RowTable =>
  lines.map(({ name, encodingText, ends, fpu, attributes }) => [
    name,
    encodingText,
    ends,
    FPU_CLASS[fpu],
    attributes.rep !== undefined ? 1 : 0,
  ]);
