/**
 * The tables in memory 0 by which cpu.wasm decodes: the decoder's image, the handlers by line and variant, which of them are run in pairs.
 * Implements: memory-map.ts DECODE_IMAGE and what follows. Runs on: the vCPU's thread, before it decodes; all vCPUs of a VM write the same.
 */
import {
  DECODE_IMAGE,
  DECODE_IMAGE_END,
  HANDLER_MANIFEST,
  HANDLER_MANIFEST_END,
  PAIR_FIRSTS,
  PAIR_HANDLERS,
  PAIR_SECONDS,
} from '../../base/memory-map.ts';
import { DECODE_IMAGE_BASE64 } from '../../generated/decode-image.ts';
import { pairsOf } from './variants.ts';

/** @param manifest handlers by line and variant, with the pairs behind them */
export function writeDecodeTables(memory0: ArrayBufferLike, manifest: Uint16Array): void {
  const bytes = new Uint8Array(memory0),
    image = Uint8Array.fromBase64(DECODE_IMAGE_BASE64);
  if (DECODE_IMAGE + image.length > DECODE_IMAGE_END || HANDLER_MANIFEST + manifest.byteLength > HANDLER_MANIFEST_END)
    throw new RangeError('the tables of the decoder have outgrown their place in memory 0');
  bytes.set(image, DECODE_IMAGE);
  new Uint16Array(memory0, HANDLER_MANIFEST).set(manifest);
  writePairs(memory0, manifest);
}

function writePairs(memory0: ArrayBufferLike, manifest: Uint16Array): void {
  const firsts = new Uint8Array(memory0, PAIR_FIRSTS, PAIR_SECONDS - PAIR_FIRSTS),
    seconds = new Uint8Array(memory0, PAIR_SECONDS, PAIR_HANDLERS - PAIR_SECONDS),
    handlers = new Uint16Array(memory0, PAIR_HANDLERS),
    numbers = [new Map<number, number>(), new Map<number, number>()] as const,
    numberOf = (known: Map<number, number>, handler: number): number => {
      if (!known.has(handler)) known.set(handler, known.size + 1);
      return known.get(handler)!;
    };
  for (const [first, second, both] of pairsOf(manifest)) {
    const firstNumber = numberOf(numbers[0], first),
      secondNumber = numberOf(numbers[1], second);
    if (firstNumber > 255 || secondNumber > 255) throw new RangeError('more handlers begin or end pairs than a byte counts');
    firsts[first] = firstNumber;
    seconds[second] = secondNumber;
    handlers[(firstNumber << 8) | secondNumber] = both;
  }
}
