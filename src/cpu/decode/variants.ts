/**
 * Which handler an instruction gets: a line and its variant (operand size, register or memory, environment, prefix).
 * Implements: SDM vol. 2A 2.1 Instruction Format. Runs on: any thread; tables only.
 */
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

/** The handlers of two instructions at the end of a manifest: triples (first, second, both), then how many there are. */
export function pairsOf(manifest: Uint16Array): Pairs {
  const count = manifest.at(-1) ?? 0,
    pairs = new Map<number, number>();
  for (let at = manifest.length - 1 - count * 3; at < manifest.length - 1; at += 3)
    pairs.set(manifest[at]! * 0x10000 + manifest[at + 1]!, manifest[at + 2]!);
  return pairs;
}
