/**
 * Templates recorded ahead of time, as the build writes them (src/generated/templates{32,64}.bin). Only an index is read at the start, and of the rest
 * what is asked for: a guest needs one form in ten.
 *
 * Words: forms; their keys, sorted; where in the file the record of each starts, and the last one ends, in bytes. A record: what the form asks for and how
 * many templates it has, eight words for each, then their tokens.
 * Implements: docs/internals.md "Templates". Runs on: any thread.
 */
import type { Template } from './templates.ts';

/** The templates of one form, by what they were made for. */
export interface FormImage {
  readonly key: number;
  readonly asksKnown: boolean;
  readonly asksValue: boolean;
  /** `start` and `end` count in `tokens`. */
  readonly templates: readonly { readonly known: number; readonly value: number; readonly template: Template }[];
  readonly tokens: Uint16Array;
}
/** @returns bytes [start, end) of the file, where words are aligned */
export type ImageReader = (start: number, end: number) => Uint8Array<ArrayBuffer>;

const TEMPLATE_WORDS = 8;
const ASKS_KNOWN = 1,
  ASKS_VALUE = 2,
  COUNT_SHIFT = 2;
const FAULTS = 1,
  STORED_SLOWLY = 2,
  SAME = 4,
  UNKNOWN = 8;

function recordOf({ asksKnown, asksValue, templates, tokens }: FormImage): Uint8Array {
  const words = [(asksKnown ? ASKS_KNOWN : 0) | (asksValue ? ASKS_VALUE : 0) | (templates.length << COUNT_SHIFT)];
  for (const { known, value, template } of templates) {
    const { start, end, faults, storedSlowly, knownAfter, reads, writes } = template;
    const bits =
      (faults ? FAULTS : 0) | (storedSlowly ? STORED_SLOWLY : 0) | (knownAfter === 'same' ? SAME : knownAfter === undefined ? UNKNOWN : 0);
    words.push(known, value, start, end, bits, typeof knownAfter === 'number' ? knownAfter : 0, reads, writes);
  }
  const record = new Uint8Array(Math.ceil((words.length * 4 + tokens.length * 2) / 4) * 4);
  record.set(new Uint8Array(Int32Array.from(words).buffer));
  record.set(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength), words.length * 4);
  return record;
}

export function writeImage(forms: readonly FormImage[]): Uint8Array {
  const sorted = forms.toSorted((a, b) => a.key - b.key),
    records = sorted.map(recordOf),
    places = [(1 + sorted.length * 2 + 1) * 4];
  for (const record of records) places.push(places.at(-1)! + record.length);
  const image = new Uint8Array(places.at(-1)!);
  image.set(new Uint8Array(Int32Array.of(sorted.length, ...sorted.map(({ key }) => key), ...places).buffer));
  for (const [index, record] of records.entries()) image.set(record, places[index]);
  return image;
}

const wordsIn = ({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>): Int32Array =>
  new Int32Array(buffer, byteOffset, Math.floor(byteLength / 4));

export class TemplateImage {
  readonly #read: ImageReader;
  readonly #keys: Int32Array;
  readonly #places: Int32Array;

  constructor(read: ImageReader) {
    const count = wordsIn(read(0, 4))[0]!,
      index = wordsIn(read(4, (1 + count * 2 + 1) * 4));
    this.#read = read;
    this.#keys = index.subarray(0, count);
    this.#places = index.subarray(count);
  }

  find(key: number): FormImage | undefined {
    const keys = this.#keys;
    let low = 0,
      high = keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return keys[low] === key ? this.#form(key, this.#read(this.#places[low]!, this.#places[low + 1]!)) : undefined;
  }

  #form(key: number, record: Uint8Array<ArrayBuffer>): FormImage {
    const words = wordsIn(record),
      head = words[0]!,
      tokensAt = (1 + (head >> COUNT_SHIFT) * TEMPLATE_WORDS) * 4,
      templates: { known: number; value: number; template: Template }[] = [];
    for (let word = 1; word * 4 < tokensAt; word += TEMPLATE_WORDS) {
      const bits = words[word + 4]!;
      templates.push({
        known: words[word]!,
        value: words[word + 1]!,
        template: {
          start: words[word + 2]!,
          end: words[word + 3]!,
          faults: (bits & FAULTS) !== 0,
          storedSlowly: (bits & STORED_SLOWLY) !== 0,
          knownAfter: bits & SAME ? 'same' : bits & UNKNOWN ? undefined : words[word + 5]!,
          reads: words[word + 6]!,
          writes: words[word + 7]!,
        },
      });
    }
    const tokens = new Uint16Array(record.buffer, record.byteOffset + tokensAt, (record.length - tokensAt) / 2);
    return { key, asksKnown: (head & ASKS_KNOWN) !== 0, asksValue: (head & ASKS_VALUE) !== 0, templates, tokens };
  }
}
