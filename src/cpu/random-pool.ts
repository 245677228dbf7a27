/**
 * Random bytes of the host, fetched a block at a time: asking for a guest's 8 each time costs more than the instruction that wants them.
 * Implements: the source behind RDRAND and RDSEED (SDM vol. 1 "Random Number Generator Instructions"). Runs on: the vCPU's thread.
 */

export const POOL_BYTES = 4096;
const TAKEN_BYTES = 8;

export class RandomPool {
  readonly #fill: (bytes: Uint8Array) => void;
  readonly #bytes = new Uint8Array(POOL_BYTES);
  #used = POOL_BYTES;

  /** @param fill fills all of what it is given, from a source that is fit for keys */
  constructor(fill: (bytes: Uint8Array) => void) {
    this.#fill = fill;
  }

  /** Move 8 bytes to `to` at `at`: nobody gets them again, and they are gone from here. */
  take(to: Uint8Array, at: number): void {
    if (this.#used === POOL_BYTES) {
      this.#fill(this.#bytes);
      this.#used = 0;
    }
    const bytes = this.#bytes,
      end = this.#used + TAKEN_BYTES;
    for (let from = this.#used; from < end; from++) {
      to[at++] = bytes[from]!; // inside the pool
      bytes[from] = 0;
    }
    this.#used = end;
  }
}
