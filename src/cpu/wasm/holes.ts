/**
 * Holes of a template: numbers that are left open when a piece of code is recorded and filled in when it is copied.
 *
 * A template is a list of tokens. Below FIRST_HOLE they are bytes of code. The next NUMBER_HOLES stand for an unsigned number (a local, a
 * function, an offset, a branch depth), and those from CONSTANT_HOLE on for the operand of a constant: a source and how it is cut and
 * widened. Nothing in structured WebAssembly depends on byte positions, so each number is as long as it needs to be.
 * Implements: WebAssembly core specification 5.2.2 Integers. Runs on: any thread; holds no state.
 */
export const FIRST_HOLE = 256,
  NUMBER_HOLES = 1024,
  CONSTANT_HOLE = FIRST_HOLE + NUMBER_HOLES;

/** How the two halves of a source become a constant: kept (of 32 or 64 bits), or cut to 8 or 16 bits and zero- or sign-extended. */
export const CUT = {
  I32: 0,
  I32_U8: 1,
  I32_U16: 2,
  I32_S8: 3,
  I32_S16: 4,
  I64: 5,
  I64_U32: 6,
  I64_S32: 7,
  I64_U8: 8,
  I64_U16: 9,
  I64_S8: 10,
  I64_S16: 11,
} as const;
const CUTS = 16;

export const constantHole = (source: number, cut: number): number => CONSTANT_HOLE + source * CUTS + cut;
export const sourceOf = (hole: number): number => (hole - CONSTANT_HOLE) >> 4;
export const cutOf = (hole: number): number => (hole - CONSTANT_HOLE) & (CUTS - 1);
const withCut = (hole: number, cut: number): number => ((hole - CONSTANT_HOLE) & -CUTS) + CONSTANT_HOLE + cut;

const WRAPPED = [-1, -1, -1, -1, -1, CUT.I32, CUT.I32, CUT.I32, CUT.I32_U8, CUT.I32_U16, CUT.I32_S8, CUT.I32_S16];
const ZERO_EXTENDED = [CUT.I64_U32, CUT.I64_U8, CUT.I64_U16];
const SIGN_EXTENDED = [CUT.I64_S32, CUT.I64_U8, CUT.I64_U16, CUT.I64_S8, CUT.I64_S16];

/** The same constant after an operation, or -1 where that is no hole. */
export const wrappedHole = (hole: number): number => withCut(hole, WRAPPED[cutOf(hole)]!);
export function widenedHole(hole: number, signed: boolean): number {
  const cut = (signed ? SIGN_EXTENDED : ZERO_EXTENDED)[cutOf(hole)];
  return cut === undefined ? -1 : withCut(hole, cut);
}
/** An i32 masked to its low 8 or 16 bits. */
export function maskedHole(hole: number, mask: number): number {
  const cut = cutOf(hole);
  if (mask === 0xff && (cut === CUT.I32 || cut === CUT.I32_U8 || cut === CUT.I32_U16)) return withCut(hole, CUT.I32_U8);
  if (mask === 0xffff && (cut === CUT.I32 || cut === CUT.I32_U16)) return withCut(hole, CUT.I32_U16);
  return mask === 0xffff && cut === CUT.I32_U8 ? hole : -1;
}
/** An i32 whose low 8 or 16 bits are sign-extended. */
export function signExtendedHole(hole: number, bits: number): number {
  const cut = cutOf(hole);
  if (bits === 8 && (cut === CUT.I32 || cut === CUT.I32_U8)) return withCut(hole, CUT.I32_S8);
  return bits === 16 && (cut === CUT.I32 || cut === CUT.I32_U16) ? withCut(hole, CUT.I32_S16) : -1;
}
