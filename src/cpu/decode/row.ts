/**
 * A line of an instruction's declaration as the decoder reads it, all numbers; and how the build writes it down.
 * Implements: SDM vol. 2D Appendix A Opcode Map. Runs on: any thread.
 */
import { PREFIX_ANY } from '../isa/inst.ts';

/** How the decoder treats an operand. */
export const KIND = {
  RM: 0,
  REG: 1,
  LOW: 2,
  FIXED: 3,
  IMM: 4,
  REL: 5,
  MOFFS: 6,
  STRING_SOURCE: 7,
  STRING_DESTINATION: 8,
  NUMBER_REG: 9,
  NUMBER_RM: 10,
  FAR: 11,
  ONE: 12,
  ADDRESS: 13,
  OPCODE: 14,
} as const;
/** Register class of an operand. */
export const CLASS = { GPR: 0, VECTOR: 1, MMX: 2, NUMBER: 3, SEGMENT: 4 } as const;
/** Operand sizes that depend on the instruction: indexes into the decoder's present sizes. */
export const SIZE_V = 32,
  SIZE_Y = 33,
  SIZE_Z = 34;

export interface RowOperand {
  readonly kind: number;
  readonly registerClass: number;
  /** Bytes, or SIZE_*. */
  readonly size: number;
  readonly register: number;
  /** An immediate of one byte, sign-extended to the operand size. */
  readonly signedByte: boolean;
}

/** What is looked at of a line's declaration; the whole stands in `LINES[lineIndex]`. */
export interface RowLine {
  readonly name: string;
  readonly encodingText: string;
  readonly encoding: { readonly opcodes: number };
  readonly attributes: { readonly alwaysLocked: boolean };
}

export interface Row {
  readonly line: RowLine;
  readonly lineIndex: number;
  readonly prefix: number;
  readonly digit: number;
  readonly modrmFrom: number;
  readonly modrmEnd: number;
  readonly hasModrm: boolean;
  /** 0 either, 1 memory, 2 register. */
  readonly mod: number;
  /** ModRM.mod is ignored: always a register (MOV CRn, DRn). */
  readonly alwaysRegister: boolean;
  readonly rexW: number;
  readonly noRexB: boolean;
  /** 0 any, 1 only 64-bit mode, 2 not in it. */
  readonly mode: number;
  readonly d64: boolean;
  readonly f64: boolean;
  readonly lockable: boolean;
  readonly repeats: boolean;
  readonly ends: string;
  readonly fpuClass: number;
  readonly operands: readonly RowOperand[];
}

/** Rows as generated/decode-table.ts holds them: JSON of bare lists, operands once each. A thread reads them in a few milliseconds. */
export interface RowTable {
  readonly operands: readonly (readonly [kind: number, registerClass: number, size: number, register: number, signedByte: 0 | 1])[];
  readonly rows: readonly (readonly [
    name: string,
    encodingText: string,
    ends: string,
    map: number,
    opcode: number,
    opcodes: number,
    prefix: number,
    digit: number,
    modrmFrom: number,
    modrmEnd: number,
    mod: number,
    rexW: number,
    mode: number,
    fpuClass: number,
    /** ROW_* */
    bits: number,
    operands: readonly number[],
  ])[];
}
export const ROW_HAS_MODRM = 1,
  ROW_ALWAYS_REGISTER = 2,
  ROW_NO_REX_B = 4,
  ROW_D64 = 8,
  ROW_F64 = 16,
  ROW_LOCKABLE = 32,
  ROW_REPEATS = 64,
  ROW_ALWAYS_LOCKED = 128;

/** @returns rows by map * 256 + opcode. A row that asks for a mandatory prefix comes before one that takes any. */
export function opcodeMaps(table: RowTable): Row[][] {
  const operands = table.operands.map(([kind, registerClass, size, register, signedByte]): RowOperand => ({
    kind,
    registerClass,
    size,
    register,
    signedByte: signedByte === 1,
  }));
  const maps: Row[][] = Array.from({ length: 1024 }, () => []);
  table.rows.forEach((fields, lineIndex) => {
    const [name, encodingText, ends, map, opcode, opcodes, prefix, digit, modrmFrom, modrmEnd, mod, rexW, mode, fpuClass, bits, own] =
      fields;
    const has = (bit: number): boolean => (bits & bit) !== 0;
    const row: Row = {
      line: { name, encodingText, encoding: { opcodes }, attributes: { alwaysLocked: has(ROW_ALWAYS_LOCKED) } },
      lineIndex,
      prefix,
      digit,
      modrmFrom,
      modrmEnd,
      hasModrm: has(ROW_HAS_MODRM),
      mod,
      alwaysRegister: has(ROW_ALWAYS_REGISTER),
      rexW,
      noRexB: has(ROW_NO_REX_B),
      mode,
      d64: has(ROW_D64),
      f64: has(ROW_F64),
      lockable: has(ROW_LOCKABLE),
      repeats: has(ROW_REPEATS),
      ends,
      fpuClass,
      operands: own.map((index) => operands[index]!),
    };
    for (let i = 0; i < opcodes; i++) maps[map * 256 + opcode + i]!.push(row);
  });
  for (const rows of maps) rows.sort((a, b) => (a.prefix === PREFIX_ANY ? 1 : 0) - (b.prefix === PREFIX_ANY ? 1 : 0));
  return maps;
}
