/**
 * A table for numbers that are known: each has a place of its own, found by a multiplication and a shift.
 * Implements: multiplicative hashing, Knuth, The Art of Computer Programming 6.4. Runs on: any thread; holds no state.
 */

/** The place of a number is (number * multiplier, 32 bits of it) >>> shift. */
export interface PerfectHash {
  readonly multiplier: number;
  readonly shift: number;
  /** By place: which of the numbers is there, -1 for none. */
  readonly places: readonly number[];
}

/** Places are at most so many times as many as numbers, rounded up to a power of two. */
const MAX_SPARSENESS_BITS = 2;
const TRIES = 64;
/** Any odd numbers will do: each is made of the one before. */
const FIRST_MULTIPLIER = 0x9e3779b1,
  NEXT_MULTIPLIER = 0x2c1b3c6d;

/** @param numbers two or more, of which the lower 32 bits count. @returns undefined where none was found, as for equal numbers */
export function perfectHash(numbers: readonly number[]): PerfectHash | undefined {
  const least = Math.ceil(Math.log2(numbers.length));
  for (let bits = least; bits <= least + MAX_SPARSENESS_BITS; bits++) {
    let multiplier = FIRST_MULTIPLIER | 0;
    for (let i = 0; i < TRIES; i++, multiplier = Math.imul(multiplier, NEXT_MULTIPLIER) | 1) {
      const places = new Array<number>(1 << bits).fill(-1),
        shift = 32 - bits;
      const isPerfect = numbers.every((number, which) => {
        const place = Math.imul(number, multiplier) >>> shift;
        if (places[place] !== -1) return false;
        places[place] = which;
        return true;
      });
      if (isPerfect) return { multiplier, shift, places };
    }
  }
  return undefined;
}
