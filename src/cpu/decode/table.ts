/**
 * The opcode maps, compiled from the declarations: for each opcode the rows that may match, in order, as numbers.
 * Implements: SDM vol. 2D Appendix A Opcode Map. Runs on: any thread; built once per process.
 */
import { LINES } from '../isa/index.ts';
import { PREFIX_ANY } from '../isa/inst.ts';
import type { Line, OperandCode } from '../isa/inst.ts';
import { FPU_CLASS } from './variants.ts';

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

export interface Row {
  readonly line: Line;
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

function operandOf(code: OperandCode): RowOperand {
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
  return { kind, registerClass, size, register: code.register, signedByte: code.signedByte };
}

function rowOf(line: Line, lineIndex: number): Row {
  const { encoding, attributes } = line;
  const { prefix, digit, modrmFrom, modrmEnd, hasModrm, mod, rexW, noRexB } = encoding;
  const alwaysRegister = line.operands.some((code) => code.kind === 'C' || code.kind === 'D');
  return {
    line,
    lineIndex,
    prefix,
    digit,
    modrmFrom,
    modrmEnd,
    hasModrm,
    mod: alwaysRegister ? 0 : mod,
    alwaysRegister,
    rexW,
    noRexB,
    mode: attributes.mode === '64' ? 1 : attributes.mode === 'not64' ? 2 : 0,
    d64: attributes.d64 === true,
    f64: attributes.f64 === true,
    lockable: attributes.lock === true,
    repeats: attributes.rep !== undefined,
    ends: line.ends,
    fpuClass: FPU_CLASS[line.fpu],
    operands: line.operands.map(operandOf),
  };
}

/** Rows by map * 256 + opcode. A row that asks for a mandatory prefix comes before one that takes any. */
export const OPCODES: readonly (readonly Row[])[] = (() => {
  const rows: Row[][] = Array.from({ length: 1024 }, () => []);
  LINES.forEach((line, index) => {
    const row = rowOf(line, index),
      { map, opcode, opcodes } = line.encoding;
    for (let i = 0; i < opcodes; i++) rows[map * 256 + opcode + i]!.push(row);
  });
  for (const list of rows) list.sort((a, b) => (a.prefix === PREFIX_ANY ? 1 : 0) - (b.prefix === PREFIX_ANY ? 1 : 0));
  return rows;
})();
