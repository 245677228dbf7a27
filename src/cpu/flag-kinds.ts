/**
 * Lazy flags: the meaning of the record {flagOp, flagP, flagQ, flagR}. Plain constants, because AssemblyScript reads this file too.
 *
 * flagOp: bits 0-1 log2 of the operand size, 2-7 kind, 8 rotated left, 9 rotated right, 10-11 log2 of the rotate's size, 16- shift count.
 * p, q, r are sign-extended to 64 bits. SUB: p - q, and the logic operations are SUB(result, 0). ADD, ADC, SBB: p result, q second operand.
 * INC, DEC: p result, q the old CF. Shifts: p result, q old value, CF from q and the count. MUL: p low half, q 1 on overflow. RAW: q the flag bits.
 * A rotate changes CF and OF alone: its result r is laid over the record.
 */
export const FLAG_KIND_SUB = 0;
export const FLAG_KIND_ADD = 1;
export const FLAG_KIND_ADC = 2;
export const FLAG_KIND_SBB = 3;
export const FLAG_KIND_INC = 4;
export const FLAG_KIND_DEC = 5;
export const FLAG_KIND_SHL = 6;
export const FLAG_KIND_SHR = 7;
export const FLAG_KIND_SAR = 8;
export const FLAG_KIND_MUL = 9;
export const FLAG_KIND_RAW = 10;
export const FLAG_ROTATED_LEFT = 0x100;
export const FLAG_ROTATED_RIGHT = 0x200;

export const CF = 1;
export const PF = 4;
export const AF = 0x10;
export const ZF = 0x40;
export const SF = 0x80;
export const OF = 0x800;
export const ARITHMETIC_FLAGS = 0x8d5;
