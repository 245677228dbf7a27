/**
 * Which handler an instruction gets: a line and its variant (operand size, register or memory, environment, prefix).
 * Implements: SDM vol. 2A 2.1 Instruction Format. Runs on: any thread; tables only.
 */
import { FIRST_REGION } from './pseudo.ts';

export const PREFIX_PLAIN = 0,
  PREFIX_REP = 1,
  PREFIX_REPNE = 2,
  PREFIX_LOCK = 3;

/** Environments: 64-bit mode with 64- or 32-bit addresses, other modes with 32- or 16-bit ones. */
export const ENV_LONG64 = 0,
  ENV_LONG32 = 1,
  ENV_LEGACY32 = 2,
  ENV_LEGACY16 = 3;

export const VARIANTS = 3 * 2 * 4 * 4;

/** @param sizeIndex 0, 1, 2 for operand sizes of 2, 4, 8 bytes. */
export function variantOf(sizeIndex: number, isMemory: boolean, environment: number, prefix: number): number {
  return ((sizeIndex * 2 + (isMemory ? 1 : 0)) * 4 + environment) * 4 + prefix;
}

export * from './pseudo.ts';

/** What HANDLER_FPU_CHECK finds in its immediate; cpu/assembly/run.ts reads the same numbers. */
export const FPU_CLASS = { none: 0, x87: 1, mmx: 2, sse: 3, fwait: 4 } as const;

/** Where both halves of a pair are found: first handler * 65536 + second handler. */
export type Pairs = ReadonlyMap<number, number>;

/** The same for whoever asks at each instruction: 0 where there is no pair. */
export class PairTable {
  /** By handler, which first and which second of a pair it is; 0: none. */
  readonly #firsts = new Uint8Array(FIRST_REGION);
  readonly #seconds = new Uint8Array(FIRST_REGION);
  readonly #both = new Uint16Array(0x10000);

  constructor(pairs: Pairs) {
    const numberOf = (numbers: Uint8Array, handler: number, next: number): number => (numbers[handler] ||= next);
    let firsts = 0,
      seconds = 0;
    for (const [key, both] of pairs) {
      const first = numberOf(this.#firsts, key >>> 16, firsts + 1),
        second = numberOf(this.#seconds, key & 0xffff, seconds + 1);
      firsts = Math.max(firsts, first);
      seconds = Math.max(seconds, second);
      this.#both[(first << 8) | second] = both;
    }
    if (firsts > 255 || seconds > 255) throw new RangeError('more handlers begin or end pairs than a byte counts');
  }

  find(first: number, second: number): number {
    return this.#both[(this.#firsts[first]! << 8) | this.#seconds[second]!]!;
  }
}

/** The handlers of two instructions at the end of a manifest: triples (first, second, both), then how many there are. */
export function pairsOf(manifest: Uint16Array): Pairs {
  const count = manifest.at(-1) ?? 0,
    pairs = new Map<number, number>();
  for (let at = manifest.length - 1 - count * 3; at < manifest.length - 1; at += 3)
    pairs.set(manifest[at]! * 0x10000 + manifest[at + 1]!, manifest[at + 2]!);
  return pairs;
}
