/**
 * Signed 64-bit numbers in memory seen as 32-bit words, lower half first, as doubles: exact where their magnitude is below 2^53, as linear addresses are.
 * Runs on: any thread; holds no state.
 */
const HIGH = 0x1_0000_0000;

/** @param at index of the lower half */
export const wideAt = (words: Int32Array, at: number): number => words[at + 1]! * HIGH + (words[at]! >>> 0);
export const isWideAt = (words: Int32Array, at: number, value: number): boolean =>
  words[at] === (value | 0) && words[at + 1] === (Math.floor(value / HIGH) | 0);
