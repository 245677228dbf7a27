/**
 * Growable byte buffer with LEB128 integers.
 * Implements: WebAssembly core specification 5.2.2 Integers. Runs on: any thread.
 */
/** Below this, a loop is quicker than a view. */
const SHORT_COPY_BYTES = 128;

/** Entries of `marks` for each number. */
export const MARK_WORDS = 5;

/** How many bytes `u32` writes. */
export const u32Bytes = (value: number): number => Math.max(1, Math.ceil((32 - Math.clz32(value)) / 7));

export class Bytes {
  #data: Uint8Array<ArrayBuffer>;
  size = 0;
  /** Branches whose outcome is known in advance, in their order: twice the place of the opcode, plus 1 where it is mostly taken. */
  hints: number[] | undefined;
  /** Numbers that can be written anew, in their order: MARK_WORDS entries each, the place of the number first. */
  marks: number[] | undefined;

  /** @param room that it begins with */
  constructor(room: number | Uint8Array<ArrayBuffer> = 256) {
    this.#data = typeof room === 'number' ? new Uint8Array(room) : room;
  }

  /** Code that is there already. @param hints, marks as the fields */
  static of(data: Uint8Array<ArrayBuffer>, hints: number[], marks?: number[]): Bytes {
    const bytes = new Bytes(data);
    bytes.size = data.length;
    bytes.hints = hints;
    bytes.marks = marks;
    return bytes;
  }

  u8(value: number): void {
    if (this.size === this.#data.length) this.#grow(this.size + 1);
    this.#data[this.size++] = value;
  }

  u32(value: number): void {
    value >>>= 0;
    while (value >= 0x80) {
      this.u8((value & 0x7f) | 0x80);
      value >>>= 7;
    }
    this.u8(value);
  }

  localGet(local: number): void {
    this.u8(0x20);
    this.u32(local);
  }
  localSet(local: number): void {
    this.u8(0x21);
    this.u32(local);
  }

  /** A number that a template may leave open: a local, a function, an offset. */
  number(value: number): void {
    this.u32(value);
  }

  /** The operand of a constant that is left open; only a template holds one. */
  hole(_token: number): void {
    throw new Error('only a template has holes');
  }

  /** Branch to what lies outside of a template, `inside` labels further out than the template itself. */
  outside(_inside: number): void {
    throw new Error('only a template has an outside');
  }

  /** The number that is written next: what it is belongs to whoever writes it anew. */
  mark(what: number, a = 0, b = 0, c = 0): void {
    (this.marks ??= []).push(this.size, what, a, b, c);
  }

  /** The branch that is written next is mostly taken, or mostly not. */
  hint(taken: boolean): void {
    (this.hints ??= []).push(this.size * 2 + (taken ? 1 : 0));
  }

  /** @returns where to write up to `count` more bytes, from `size` on: the caller adds to `size` what it wrote. */
  reserve(count: number): Uint8Array<ArrayBuffer> {
    if (this.size + count > this.#data.length) this.#grow(this.size + count);
    return this.#data;
  }

  /** A 64-bit unsigned offset that fits a double. */
  u53(value: number): void {
    while (value >= 0x80) {
      this.u8((value % 0x80) | 0x80);
      value = Math.floor(value / 0x80);
    }
    this.u8(value);
  }

  s32(value: number): void {
    for (;;) {
      const low = value & 0x7f;
      value >>= 7;
      if ((value === 0 && !(low & 0x40)) || (value === -1 && low & 0x40)) {
        this.u8(low);
        return;
      }
      this.u8(low | 0x80);
    }
  }

  /** A signed 64-bit integer given as its two halves. */
  s64(low: number, high: number): void {
    if (high === low >> 31) {
      this.s32(low);
      return;
    }
    for (;;) {
      const bits = low & 0x7f;
      low = (low >>> 7) | (high << 25);
      high >>= 7;
      if ((low === 0 && high === 0 && !(bits & 0x40)) || (low === -1 && high === -1 && bits & 0x40)) {
        this.u8(bits);
        return;
      }
      this.u8(bits | 0x80);
    }
  }

  name(text: string): void {
    this.u32(text.length);
    for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i));
  }

  append(other: Bytes, start = 0, end = other.size): void {
    const size = this.size + end - start;
    if (size > this.#data.length) this.#grow(size);
    if (end - start < SHORT_COPY_BYTES) for (let from = start, to = this.size; from < end;) this.#data[to++] = other.#data[from++]!;
    else this.#data.set(other.#data.subarray(start, end), this.size);
    this.size = size;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#data.slice(0, this.size);
  }

  /** The same without a copy: valid until more is written. */
  view(): Uint8Array<ArrayBuffer> {
    return this.#data.subarray(0, this.size);
  }

  #grow(needed: number): void {
    const grown = new Uint8Array(Math.max(needed, this.#data.length * 2));
    grown.set(this.#data.subarray(0, this.size));
    this.#data = grown;
  }
}
