/**
 * Templates recorded ahead of time, as the build writes them (src/generated/templates{32,64}.bin): 32-bit words, then the tokens.
 *
 * words: tokens, buckets (a power of two), then per bucket the key of a form and where its record is (0: an empty bucket), then records:
 * what the form asks for and how many templates it has, then eight words for each.
 * Implements: docs/internals.md "Templates". Runs on: any thread; holds no state.
 */
import type { Template } from './templates.ts';

/** The templates of one form, by what they were made for. */
export interface FormImage {
  readonly key: number;
  readonly asksKnown: boolean;
  readonly asksValue: boolean;
  readonly templates: readonly { readonly known: number; readonly value: number; readonly template: Template }[];
}

const HEAD_WORDS = 2,
  TEMPLATE_WORDS = 8;
const ASKS_KNOWN = 1,
  ASKS_VALUE = 2,
  COUNT_SHIFT = 2;
const FAULTS = 1,
  STORED_SLOWLY = 2,
  SAME = 4,
  UNKNOWN = 8;

export function writeImage(forms: readonly FormImage[], tokens: Uint16Array): Uint8Array {
  let buckets = 1;
  while (buckets < forms.length * 2) buckets *= 2;
  const words: number[] = [tokens.length, buckets, ...new Array<number>(buckets * 2).fill(0)];
  for (const { key, asksKnown, asksValue, templates } of forms) {
    let bucket = bucketOf(key, buckets);
    while (words[HEAD_WORDS + bucket * 2 + 1] !== 0) bucket = (bucket + 1) & (buckets - 1);
    words[HEAD_WORDS + bucket * 2] = key;
    words[HEAD_WORDS + bucket * 2 + 1] = words.length;
    words.push((asksKnown ? ASKS_KNOWN : 0) | (asksValue ? ASKS_VALUE : 0) | (templates.length << COUNT_SHIFT));
    for (const { known, value, template } of templates) {
      const { start, end, faults, storedSlowly, knownAfter, reads, writes } = template;
      const bits =
        (faults ? FAULTS : 0) |
        (storedSlowly ? STORED_SLOWLY : 0) |
        (knownAfter === 'same' ? SAME : knownAfter === undefined ? UNKNOWN : 0);
      words.push(known, value, start, end, bits, typeof knownAfter === 'number' ? knownAfter : 0, reads, writes);
    }
  }
  const image = new Uint8Array(words.length * 4 + tokens.length * 2);
  image.set(new Uint8Array(Int32Array.from(words).buffer));
  image.set(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength), words.length * 4);
  return image;
}

/** Multiplicative hashing: the keys' bits are fields of unequal use. */
const bucketOf = (key: number, buckets: number): number => (Math.imul(key, 0x9e3779b1) >>> 8) & (buckets - 1);

export class TemplateImage {
  readonly tokens: Uint16Array;
  readonly #words: Int32Array;
  readonly #buckets: number;

  /** @param bytes aligned to four bytes */
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    const count = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true),
      wordBytes = bytes.length - count * 2;
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset, wordBytes / 4);
    this.tokens = new Uint16Array(bytes.buffer, bytes.byteOffset + wordBytes, count);
    this.#buckets = this.#words[1]!;
  }

  find(key: number): FormImage | undefined {
    const words = this.#words,
      buckets = this.#buckets;
    for (let bucket = bucketOf(key, buckets); ; bucket = (bucket + 1) & (buckets - 1)) {
      const at = words[HEAD_WORDS + bucket * 2 + 1]!;
      if (at === 0) return undefined;
      if (words[HEAD_WORDS + bucket * 2] === key) return this.#form(key, at);
    }
  }

  #form(key: number, at: number): FormImage {
    const words = this.#words,
      head = words[at]!,
      templates: { known: number; value: number; template: Template }[] = [];
    for (let n = 0, word = at + 1; n < head >> COUNT_SHIFT; n++, word += TEMPLATE_WORDS) {
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
    return { key, asksKnown: (head & ASKS_KNOWN) !== 0, asksValue: (head & ASKS_VALUE) !== 0, templates };
  }
}
