/**
 * Kept regions as one piece of memory, for a file and for all threads that use them: words, of which the arrays of each region are views.
 * It is read as it was written: whoever keeps it sees to that.
 * Implements: docs/jit.md "Kept regions". Runs on: any thread.
 */
import { LINE_WORDS } from './compilation.ts';
import type { KeptLines, KeptRegion } from './kept-regions.ts';

/** Lines of one page: distance, lines, whether some are open; then the words of each of its arrays. */
const LINES_HEAD = 4;
/** offset, mode, vcpu, tlb, size, last use; then lengths: pages, fields, blocks, hints, relocations, and in bytes locals and code. */
const HEAD = 13,
  LAST_USED = 5;

const wordsOf = (bytes: number): number => Math.ceil(bytes / 4);

/** What takes the words of an image one after the other. */
interface Words {
  word(value: number): void;
  words(values: Int32Array): void;
  bytes(values: Uint8Array): void;
}

function write(regions: readonly KeptRegion[], out: Words): void {
  out.word(regions.length);
  for (const { offset, mode, vcpu, tlb, size, lastUsed, lines, fields, blocks, hints, relocations, locals, code } of regions) {
    for (const value of [offset, mode, vcpu, tlb, size, lastUsed[0]!]) out.word(value);
    for (const list of [lines, fields, blocks, hints, relocations, locals, code]) out.word(list.length);
    for (const { page, linesLow, linesHigh, bytes, free, open } of lines) {
      for (const value of [page, linesLow, linesHigh, open ? 1 : 0]) out.word(value);
      for (const list of [bytes, free, open]) if (list) out.words(list);
    }
    for (const list of [fields, blocks, hints, relocations]) out.words(list);
    for (const list of [locals, code]) out.bytes(list);
  }
}

export function imageOf(regions: readonly KeptRegion[]): Int32Array<ArrayBuffer> {
  let size = 0;
  write(regions, {
    word: () => size++,
    words: ({ length }) => (size += length),
    bytes: ({ length }) => (size += wordsOf(length)),
  });
  const image = new Int32Array(size),
    all = new Uint8Array(image.buffer);
  let at = 0;
  write(regions, {
    word: (value) => (image[at++] = value),
    words: (values) => {
      image.set(values, at);
      at += values.length;
    },
    bytes: (values) => {
      all.set(values, at * 4);
      at += wordsOf(values.length);
    },
  });
  return image;
}

/** @param image as it was made; what is read of it are views */
export function regionsOf(image: Int32Array): KeptRegion[] {
  const all = new Uint8Array(image.buffer, image.byteOffset, image.byteLength);
  let at = 0;
  const words = (count: number): Int32Array => image.subarray(at, (at += count)),
    bytes = (count: number): Uint8Array => {
      const start = at * 4;
      at += wordsOf(count);
      return all.subarray(start, start + count);
    };
  const [count = 0] = words(1);
  return Array.from({ length: count }, (): KeptRegion => {
    const head = words(HEAD),
      [
        offset = 0,
        mode = 0,
        vcpu = 0,
        tlb = 0,
        size = 0,
        ,
        pages = 0,
        fields = 0,
        blocks = 0,
        hints = 0,
        relocations = 0,
        locals = 0,
        code = 0,
      ] = head;
    return {
      offset,
      mode,
      vcpu,
      tlb,
      size,
      lastUsed: head.subarray(LAST_USED, LAST_USED + 1),
      lines: Array.from({ length: pages }, (): KeptLines => {
        const [page = 0, linesLow = 0, linesHigh = 0, isOpen = 0] = words(LINES_HEAD),
          length = (bitsIn(linesLow) + bitsIn(linesHigh)) * LINE_WORDS;
        return {
          page,
          linesLow,
          linesHigh,
          bytes: words(length),
          free: words(length),
          open: isOpen ? words(length) : undefined,
        };
      }),
      fields: words(fields),
      blocks: words(blocks),
      hints: words(hints),
      relocations: words(relocations),
      locals: bytes(locals),
      code: bytes(code),
    };
  });
}

function bitsIn(word: number): number {
  let count = 0;
  for (let left = word; left !== 0; left &= left - 1) count++;
  return count;
}
