/**
 * The decoder's tables as bytes, for cpu/assembly/decoder.ts: what codes.ts calls the image.
 * Implements: SDM vol. 2D Appendix A Opcode Map. Runs on: the command line, when the tables are built; tests.
 */
import {
  ENDS_BRANCH,
  ENDS_NO,
  ENDS_OTHERWISE,
  ENDS_SYSTEM,
  IMAGE_OPCODES,
  IMAGE_ROWS,
  KIND_FAR,
  KIND_IMM,
  MAX_OPERANDS,
  OPCODE_BITS,
  OPCODE_FIRST,
  OPCODE_MODRM,
  OPCODE_MORE,
  OPCODE_NARROW,
  OPCODE_ROWS,
  OPCODE_SHIFT,
  OPCODE_VEX,
  OPCODE_WIDE,
  OPERAND_SHIFT,
  OPERAND_SIGNED_BYTE,
  ROW_BITS,
  ROW_DIGIT,
  ROW_ENDS,
  ROW_FPU_CLASS,
  ROW_HAS_MODRM,
  ROW_LINE,
  ROW_MOD,
  ROW_MODE,
  ROW_MODRM_END,
  ROW_MODRM_FROM,
  ROW_OPERANDS,
  ROW_OPERAND_COUNT,
  ROW_PREFIX,
  ROW_REX_W,
  ROW_SHIFT,
} from './codes.ts';
import type { EncodedRow } from './row-table.ts';

/** Undefined opcodes behind 0f without operands; prefixes of later encodings, in 64-bit mode. */
const NO_MODRM = new Set([0x104, 0x10a, 0x10c, 0x10e, 0x10f, 0x124, 0x125, 0x126, 0x127, 0x136, 0x137]);
const VEX = new Set([0x62, 0xc4, 0xc5]);
/** Reserved maps of three bytes, and those of them whose instructions end with a byte. */
const isReservedMap = (opcode: number): boolean => opcode >= 0x139 && opcode <= 0x13f;
const endsWithByte = (opcode: number): boolean => opcode >= 0x300 || opcode === 0x13b || opcode === 0x13e || opcode === 0x13f;

const ENDS: Readonly<Record<string, number>> = { no: ENDS_NO, branch: ENDS_BRANCH, system: ENDS_SYSTEM };

/** @param opcodes rows by map * 256 + opcode */
export function decodeImage(opcodes: readonly (readonly EncodedRow[])[]): Uint8Array<ArrayBuffer> {
  const count = opcodes.reduce((sum, { length }) => sum + length, 0),
    image = new Uint8Array(IMAGE_ROWS + (count << ROW_SHIFT)),
    view = new DataView(image.buffer);
  let next = 0;
  opcodes.forEach((rows, opcode) => {
    const at = IMAGE_OPCODES + (opcode << OPCODE_SHIFT);
    view.setUint16(at + OPCODE_FIRST, next, true);
    image[at + OPCODE_ROWS] = rows.length;
    image[at + OPCODE_BITS] = undefinedBits(rows, opcode);
    image[at + OPCODE_NARROW] = undefinedImmediate(rows, opcode, false);
    image[at + OPCODE_WIDE] = undefinedImmediate(rows, opcode, true);
    for (const row of rows) writeRow(view, IMAGE_ROWS + (next++ << ROW_SHIFT), row);
  });
  return image;
}

/** What an instruction of this opcode that is not defined is taken for. */
function undefinedBits(rows: readonly EncodedRow[], opcode: number): number {
  const hasModrm = rows.length > 0 ? rows.some(({ bits }) => (bits & ROW_HAS_MODRM) !== 0) : opcode >= 0x100 && !NO_MODRM.has(opcode);
  return (
    (hasModrm ? OPCODE_MODRM : 0) | (rows.length === 0 && isReservedMap(opcode) ? OPCODE_MORE : 0) | (VEX.has(opcode) ? OPCODE_VEX : 0)
  );
}
function undefinedImmediate(rows: readonly EncodedRow[], opcode: number, wide: boolean): number {
  const neighbour = rows.find(({ operands }) => operands.some(({ kind }) => kind === KIND_IMM || kind === KIND_FAR));
  if (!neighbour) return endsWithByte(opcode) ? 1 : 0;
  return neighbour.operands.reduce((bytes, { kind, size, signedByte }) => {
    if (kind === KIND_FAR) return bytes + (wide ? 6 : 4);
    if (kind !== KIND_IMM) return bytes;
    return bytes + (signedByte || size === 1 ? 1 : size === 2 || !wide ? 2 : 4);
  }, 0);
}

function writeRow(view: DataView, at: number, row: EncodedRow): void {
  const { operands } = row;
  if (operands.length > MAX_OPERANDS) throw new RangeError(`${row.name} has ${operands.length} operands: at most ${MAX_OPERANDS} fit`);
  view.setUint16(at + ROW_LINE, row.lineIndex, true);
  view.setUint16(at + ROW_BITS, row.bits, true);
  view.setUint8(at + ROW_PREFIX, row.prefix);
  view.setInt8(at + ROW_DIGIT, row.digit);
  view.setInt16(at + ROW_MODRM_FROM, row.modrmFrom, true);
  view.setUint16(at + ROW_MODRM_END, Math.max(row.modrmEnd, 0), true);
  view.setUint8(at + ROW_MOD, row.mod);
  view.setInt8(at + ROW_REX_W, row.rexW);
  view.setUint8(at + ROW_MODE, row.mode);
  view.setUint8(at + ROW_FPU_CLASS, row.fpuClass);
  view.setUint8(at + ROW_ENDS, ENDS[row.ends] ?? ENDS_OTHERWISE);
  view.setUint8(at + ROW_OPERAND_COUNT, operands.length);
  operands.forEach(({ kind, registerClass, size, register, signedByte }, index) => {
    const operand = at + ROW_OPERANDS + (index << OPERAND_SHIFT);
    view.setUint8(operand, kind);
    view.setUint8(operand + 1, registerClass | (signedByte ? OPERAND_SIGNED_BYTE : 0));
    view.setUint8(operand + 2, size);
    view.setInt8(operand + 3, register);
  });
}
