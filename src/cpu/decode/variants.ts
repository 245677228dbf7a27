/**
 * Which handler an instruction gets: a line and its variant (operand size, register or memory, environment, prefix).
 * Implements: SDM vol. 2A 2.1 Instruction Format. Runs on: any thread; tables only.
 */
/** @param sizeIndex 0, 1, 2 for operand sizes of 2, 4, 8 bytes. */
export function variantOf(sizeIndex: number, isMemory: boolean, environment: number, prefix: number): number {
  return ((sizeIndex * 2 + (isMemory ? 1 : 0)) * 4 + environment) * 4 + prefix;
}

export * from './codes.ts';
export * from './pseudo.ts';

/** What HANDLER_FPU_CHECK finds in its immediate; cpu/assembly/run.ts reads the same numbers. */
export const FPU_CLASS = { none: 0, x87: 1, mmx: 2, sse: 3, fwait: 4 } as const;

/** The handlers of two instructions at the end of a manifest: triples (first, second, both), then how many there are. */
export function* pairsOf(manifest: Uint16Array): Generator<readonly [first: number, second: number, both: number]> {
  const count = manifest.at(-1) ?? 0;
  for (let at = manifest.length - 1 - count * 3; at < manifest.length - 1; at += 3)
    yield [manifest[at]!, manifest[at + 1]!, manifest[at + 2]!];
}
