/**
 * Bytes on their way into a serial device: they wait here while the device holds, and the source is told to stop meanwhile.
 * Implements: the read half of CharBackend. Runs on: main event loop.
 */

/** More than this waiting: the source pauses. */
const STOP_BYTES = 4096;

export class InputQueue {
  onByte: ((value: number) => void) | undefined;
  readonly #setFlowing: (flowing: boolean) => void;
  #chunks: Uint8Array[] = [];
  #at = 0;
  #waitingBytes = 0;
  #held = false;
  #flowing = true;
  #delivering = false;

  /** @param setFlowing pauses and resumes the source; called on changes only. */
  constructor(setFlowing: (flowing: boolean) => void = () => {}) {
    this.#setFlowing = setFlowing;
  }

  /** False while the source is to pause. */
  get flowing(): boolean {
    return this.#flowing;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes);
    this.#waitingBytes += bytes.length;
    this.deliver();
  }

  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.deliver();
  }

  /** Also to be called after onByte was set. */
  deliver(): void {
    // A device may hold and release from inside onByte.
    if (this.#delivering) return;
    this.#delivering = true;
    while (!this.#held && this.onByte && this.#waitingBytes > 0) {
      const chunk = this.#chunks[0];
      const value = chunk?.[this.#at];
      if (!chunk || value === undefined) break;
      this.#waitingBytes--;
      if (++this.#at === chunk.length) {
        this.#chunks.shift();
        this.#at = 0;
      }
      this.onByte(value);
    }
    this.#delivering = false;
    const flowing = this.#waitingBytes < STOP_BYTES;
    if (flowing !== this.#flowing) {
      this.#flowing = flowing;
      this.#setFlowing(flowing);
    }
  }
}
