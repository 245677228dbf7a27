/**
 * The lazy flag record: what `flagOp` says about flagP, flagQ and flagR. Plain integer constants, because AssemblyScript reads this too.
 * Implements: SDM vol. 1 3.4.3.1 Status Flags. Runs on: any thread; holds no state.
 *
 * flagOp: bits 0-1 log2(size in bytes), 2-7 kind, 8-9 overlay of a later ROL or ROR (10-11 its log2(size)), 16-31 shift count.
 * All values are zero-extended to 64 bits. ZF, SF and PF come from P - Q for SUB, else from P. AND, OR, XOR, TEST are SUB(result, 0).
 *
 *   kind      P       Q
 *   SUB       x       y                    CMP, SUB, NEG (x = 0)
 *   ADD, ADC  result  y                    ADC: with carry in; without it, ADD
 *   SBB       result  y                    with borrow in; without it, SUB of x, y
 *   INC, DEC  result  CF before, 0 or 1
 *   SHL       result  value before         also SHLD
 *   SHR, SAR  result  value before         also SHRD
 *   MUL       low     1 when it overflowed (CF = OF)
 *   RAW       unused  CF PF AF ZF SF OF in their places
 *   IMUL      x       y                    the two factors: CF = OF = the product does not fit
 */
export const FLAG_SUB = 0,
  FLAG_ADD = 1,
  FLAG_ADC = 2,
  FLAG_SBB = 3,
  FLAG_INC = 4,
  FLAG_DEC = 5,
  FLAG_SHL = 6,
  FLAG_SHR = 7,
  FLAG_SAR = 8,
  FLAG_MUL = 9,
  FLAG_RAW = 10,
  FLAG_IMUL = 11;

/** A rotate changes CF and OF alone: it lays its result, flagR, over the record. */
export const FLAG_ROTATED_LEFT = 0x100,
  FLAG_ROTATED_RIGHT = 0x200;

export const FLAG_CF = 0x1,
  FLAG_PF = 0x4,
  FLAG_AF = 0x10,
  FLAG_ZF = 0x40,
  FLAG_SF = 0x80,
  FLAG_OF = 0x800;
export const FLAG_STATUS = 0x8d5;

export const RFLAGS_TF = 0x100,
  RFLAGS_IF = 0x200,
  RFLAGS_DF = 0x400,
  RFLAGS_IOPL = 0x3000,
  RFLAGS_NT = 0x4000,
  RFLAGS_RF = 0x10000,
  RFLAGS_VM = 0x20000,
  RFLAGS_AC = 0x40000,
  RFLAGS_VIF = 0x80000,
  RFLAGS_VIP = 0x100000,
  RFLAGS_ID = 0x200000;
