/**
 * Handlers that stand for no instruction of the guest; the others follow. Plain constants, because AssemblyScript reads this file too.
 */
/** Ends a single step. */
export const HANDLER_STOP = 1;
/** Goes on at code decoded before. */
export const HANDLER_LINK = 2;
/** Goes on at code that is looked up: in the next page, or behind a branch. It becomes a LINK when that is decoded. */
export const HANDLER_CONTINUE = 3;
/** What stood here was overwritten. */
export const HANDLER_STALE = 4;
/** The next micro-op lies over two pages: prove the second. */
export const HANDLER_STRADDLE = 5;
/** The next micro-op needs the FPU: may it be used? */
export const HANDLER_FPU_CHECK = 6;
/** #UD. */
export const HANDLER_UNDEFINED = 7;
/** #GP(0): more than 15 bytes. */
export const HANDLER_TOO_LONG = 8;
export const FIRST_HANDLER = 16;
/** From here to FIRST_PAIR handlers are regions of tier 1; the entry's own micro-op is kept where its immediate says. */
export const FIRST_REGION = 0x4000;
/** Handlers from here on do two instructions; the first one's own is in UOP_REG2 of its micro-op. */
export const FIRST_PAIR = 0x8000;
/** One more than the last handler: UOP_HANDLER has 16 bits. */
export const HANDLER_SLOTS = 0x10000;
