/**
 * A growing little-endian byte string, for tables.
 * Runs on: anywhere; holds only its own bytes.
 */
export class ByteWriter {
  readonly #bytes: number[] = [];

  get length(): number {
    return this.#bytes.length;
  }

  u8(...values: readonly number[]): this {
    for (const value of values) this.#bytes.push(value & 0xff);
    return this;
  }

  u16(value: number): this {
    return this.#le(value, 2);
  }

  u32(value: number): this {
    return this.#le(value, 4);
  }

  /** @param value below 2^53. */
  u64(value: number): this {
    return this.#le(value % 2 ** 32, 4).#le(Math.floor(value / 2 ** 32), 4);
  }

  /** Exactly `sizeBytes` bytes of ASCII: cut, or padded with `pad`. */
  text(value: string, sizeBytes: number, pad = 0): this {
    for (let index = 0; index < sizeBytes; index++) this.#bytes.push(index < value.length ? value.charCodeAt(index) & 0xff : pad);
    return this;
  }

  bytes(values: Iterable<number>): this {
    for (const value of values) this.#bytes.push(value & 0xff);
    return this;
  }

  zeroes(count: number): this {
    for (let index = 0; index < count; index++) this.#bytes.push(0);
    return this;
  }

  alignTo(alignment: number): this {
    return this.zeroes((alignment - (this.#bytes.length % alignment)) % alignment);
  }

  patch(offset: number, ...values: readonly number[]): this {
    values.forEach((value, index) => {
      this.#bytes[offset + index] = value & 0xff;
    });
    return this;
  }

  finish(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  #le(value: number, sizeBytes: number): this {
    for (let index = 0; index < sizeBytes; index++) this.#bytes.push(Math.floor(value / 2 ** (8 * index)) % 256);
    return this;
  }
}

/** The byte that makes a range sum up to 0 mod 256. */
export function checksum(bytes: Iterable<number>): number {
  let sum = 0;
  for (const byte of bytes) sum += byte;
  return -sum & 0xff;
}
