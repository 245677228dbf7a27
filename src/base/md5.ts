/**
 * MD5, for names: what node:crypto brings along takes longer to load than the rest of a start's configuration.
 * Implements: RFC 1321 3. Runs on: any thread. Not for secrets.
 */

const BLOCK_BYTES = 64;
/** Of the four rounds (3.4). */
const SHIFTS = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
] as const;
/** Which word of the block a step takes: step * factor + start. */
const WORDS = [
  [1, 0],
  [5, 1],
  [3, 5],
  [7, 0],
] as const;

type Mix = (b: number, c: number, d: number) => number;
const MIXES: readonly Mix[] = [
  (b, c, d) => (b & c) | (~b & d),
  (b, c, d) => (b & d) | (c & ~d),
  (b, c, d) => b ^ c ^ d,
  (b, c, d) => c ^ (b | ~d),
];

/** @returns 16 bytes */
export function md5(message: Uint8Array): Uint8Array {
  // A bit, zeroes, and the length in bits.
  const padded = new Uint8Array(Math.ceil((message.length + 9) / BLOCK_BYTES) * BLOCK_BYTES),
    view = new DataView(padded.buffer);
  padded.set(message);
  padded[message.length] = 0x80;
  view.setBigUint64(padded.length - 8, BigInt(message.length) * 8n, true);

  const digest = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
  for (let block = 0; block < padded.length; block += BLOCK_BYTES) {
    let [a, b, c, d] = digest as unknown as [number, number, number, number];
    for (let step = 0; step < 64; step++) {
      const round = step >> 4,
        [factor, start] = WORDS[round]!, // four rounds
        word = view.getInt32(block + ((step * factor + start) & 15) * 4, true),
        sum = (a + MIXES[round]!(b, c, d) + word + Math.floor(Math.abs(Math.sin(step + 1)) * 2 ** 32)) | 0,
        shift = SHIFTS[round]![step & 3]!; // four in each
      [a, b, c, d] = [d, (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0, b, c];
    }
    for (const [index, word] of [a, b, c, d].entries()) digest[index] = digest[index]! + word;
  }
  const bytes = new DataView(new ArrayBuffer(16));
  for (const [index, word] of digest.entries()) bytes.setInt32(index * 4, word, true);
  return new Uint8Array(bytes.buffer);
}
