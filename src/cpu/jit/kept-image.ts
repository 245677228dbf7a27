/**
 * Kept regions as one piece of memory, for a file and for all threads that use them: words, of which the arrays of each region are views.
 * It is read as it was written: whoever keeps it sees to that. Only what is asked for is read: a run uses less than half of its regions.
 * Implements: docs/jit.md "Kept regions". Runs on: any thread.
 */
import { LINE_WORDS, bitsIn } from './compilation.ts';
import type { KeptCode, KeptLines, KeptRegion, Usage } from './kept-regions.ts';

/** Lines of one page: distance, lines, whether some are open; then the words of each of its arrays. */
const LINES_HEAD = 4;
/** Words of a region in all; offset, mode, vcpu, tlb, size; its usage; then lengths: pages, fields, blocks, hints, relocations, and in bytes the code. */
const HEAD = 15,
  USAGE = 6,
  USAGE_WORDS = 3,
  LENGTHS = USAGE + USAGE_WORDS;
/** Of all: how many regions, and the number of the run. */
const IMAGE_HEAD = 2;

const wordsOf = (bytes: number): number => Math.ceil(bytes / 4);

/** What takes the words of an image one after the other. */
interface Words {
  word(value: number): void;
  words(values: Int32Array): void;
  bytes(values: Uint8Array): void;
}

function write(region: KeptRegion, sizeWords: number, out: Words): void {
  const { offset, mode, vcpu, tlb, size, usage, lines, fields, blocks, hints, relocations, code } = region;
  for (const value of [sizeWords, offset, mode, vcpu, tlb, size]) out.word(value);
  out.words(usage);
  for (const list of [lines, fields, blocks, hints, relocations, code]) out.word(list.length);
  for (const { page, linesLow, linesHigh, bytes, free, open } of lines) {
    for (const value of [page, linesLow, linesHigh, open ? 1 : 0]) out.word(value);
    for (const list of [bytes, free, open]) if (list) out.words(list);
  }
  for (const list of [fields, blocks, hints, relocations]) out.words(list);
  out.bytes(code);
}

function sizeOf(region: KeptRegion): number {
  let size = 0;
  write(region, 0, {
    word: () => size++,
    words: ({ length }) => (size += length),
    bytes: ({ length }) => (size += wordsOf(length)),
  });
  return size;
}

export function imageOf({ run, regions }: KeptCode): Int32Array<ArrayBuffer> {
  const sizes = regions.map(sizeOf),
    image = new Int32Array(sizes.reduce((sum, size) => sum + size, IMAGE_HEAD)),
    all = new Uint8Array(image.buffer);
  let at = 0;
  const out: Words = {
    word: (value) => (image[at++] = value),
    words: (values) => {
      image.set(values, at);
      at += values.length;
    },
    bytes: (values) => {
      all.set(values, at * 4);
      at += wordsOf(values.length);
    },
  };
  for (const value of [regions.length, run]) out.word(value);
  for (const [index, region] of regions.entries()) write(region, sizes[index]!, out);
  return image;
}

/** @param image as it was made; what is read of it are views */
export function keptCodeIn(image: Int32Array): KeptCode {
  const [count = 0, run = 0] = image,
    regions: KeptRegion[] = [];
  for (let at = IMAGE_HEAD; regions.length < count; at += image[at]!) regions.push(new StoredRegion(image, at));
  return { run, regions };
}

type Arrays = Pick<KeptRegion, 'lines' | 'fields' | 'blocks' | 'hints' | 'relocations' | 'code'>;

class StoredRegion implements KeptRegion {
  readonly #image: Int32Array;
  readonly #at: number;
  readonly offset: number;
  readonly mode: number;
  readonly vcpu: number;
  readonly tlb: number;
  readonly size: number;
  readonly usage: Usage;
  #arrays: Arrays | undefined;

  constructor(image: Int32Array, at: number) {
    this.#image = image;
    this.#at = at;
    this.offset = image[at + 1]!;
    this.mode = image[at + 2]!;
    this.vcpu = image[at + 3]!;
    this.tlb = image[at + 4]!;
    this.size = image[at + 5]!;
    this.usage = image.subarray(at + USAGE, at + USAGE + USAGE_WORDS);
  }
  #read(): Arrays {
    return (this.#arrays ??= arraysOf(this.#image, this.#at));
  }
  get lines(): readonly KeptLines[] {
    return this.#read().lines;
  }
  get fields(): Int32Array {
    return this.#read().fields;
  }
  get blocks(): Int32Array {
    return this.#read().blocks;
  }
  get hints(): Int32Array {
    return this.#read().hints;
  }
  get relocations(): Int32Array {
    return this.#read().relocations;
  }
  get code(): Uint8Array {
    return this.#read().code;
  }
}

function arraysOf(image: Int32Array, start: number): Arrays {
  let at = start + HEAD;
  const words = (count: number): Int32Array => image.subarray(at, (at += count)),
    [pages = 0, fields = 0, blocks = 0, hints = 0, relocations = 0, code = 0] = image.subarray(start + LENGTHS, at);
  return {
    lines: Array.from({ length: pages }, (): KeptLines => {
      const [page = 0, linesLow = 0, linesHigh = 0, isOpen = 0] = words(LINES_HEAD),
        length = (bitsIn(linesLow) + bitsIn(linesHigh)) * LINE_WORDS;
      return { page, linesLow, linesHigh, bytes: words(length), free: words(length), open: isOpen ? words(length) : undefined };
    }),
    fields: words(fields),
    blocks: words(blocks),
    hints: words(hints),
    relocations: words(relocations),
    code: new Uint8Array(image.buffer, image.byteOffset + at * 4, code),
  };
}
