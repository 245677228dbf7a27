/**
 * Bytes on their way out of a serial device: gathered, written in order, counted while they wait.
 * Implements: the write half of CharBackend. Runs on: main event loop; the writing itself is the sink's.
 */

/** Writes all of `bytes` in order, or rejects when the other end is gone. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

const CHUNK_BYTES = 16_384;
/** From here on the source should stop until the queue is below half of it: a slow reader must not grow the process. */
export const CONGESTED_BYTES = 65_536;

export class OutputQueue {
  readonly #sink: Sink;
  readonly #onGone: (cause: unknown) => void;
  #filling = new Uint8Array(CHUNK_BYTES);
  #filled = 0;
  #full: Uint8Array[] = [];
  #backlogBytes = 0;
  #pump: Promise<void> | undefined;
  #held = false;
  #gone = false;
  #drainWaiters: (() => void)[] = [];
  #wakeHeld: (() => void) | undefined;

  /** @param onGone called once when a write fails; everything later is dropped, since nobody is there. */
  constructor(sink: Sink, onGone: (cause: unknown) => void = () => {}) {
    this.#sink = sink;
    this.#onGone = onGone;
  }

  /** Hot: one call per byte a guest writes. */
  write(value: number): void {
    if (this.#gone) return;
    this.#filling[this.#filled++] = value;
    this.#backlogBytes++;
    if (this.#filled === CHUNK_BYTES) this.#rotate();
    this.#pump ??= this.#run();
  }

  writeBytes(bytes: Uint8Array): void {
    for (const value of bytes) this.write(value);
  }

  get backlogBytes(): number {
    return this.#backlogBytes;
  }

  get congested(): boolean {
    return this.#backlogBytes >= CONGESTED_BYTES;
  }

  /** Resolves as soon as less than half of CONGESTED_BYTES waits. */
  drained(): Promise<void> {
    if (this.#backlogBytes < CONGESTED_BYTES / 2) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  /** Keep everything until release() (the monitor has the screen). */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.#wakeHeld?.();
    this.#wakeHeld = undefined;
  }

  /** Resolves when all that was written before is out (or its reader is gone). */
  async flush(): Promise<void> {
    this.release();
    while (this.#pump) await this.#pump;
  }

  /** What is still waiting, taken out: for a last synchronous write. */
  takeRest(): Uint8Array[] {
    const rest = [...this.#full, this.#filling.subarray(0, this.#filled)];
    this.#full = [];
    this.#filling = new Uint8Array(CHUNK_BYTES);
    this.#filled = 0;
    return rest;
  }

  #rotate(): void {
    this.#full.push(this.#filling.subarray(0, this.#filled));
    this.#filling = new Uint8Array(CHUNK_BYTES);
    this.#filled = 0;
  }

  async #run(): Promise<void> {
    // One turn of the loop gathers what a burst of exits wrote into one write.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#backlogBytes > 0 && !this.#gone) {
      if (this.#held)
        await new Promise<void>((resolve) => {
          this.#wakeHeld = resolve;
        });
      if (this.#filled > 0) this.#rotate();
      const chunk = this.#full.shift();
      if (!chunk) break;
      try {
        await this.#sink(chunk);
        this.#backlogBytes -= chunk.length;
      } catch (cause) {
        this.#gone = true;
        this.#full = [];
        this.#filled = 0;
        this.#backlogBytes = 0;
        this.#onGone(cause);
      }
      if (this.#backlogBytes < CONGESTED_BYTES / 2) {
        for (const resolve of this.#drainWaiters.splice(0)) resolve();
      }
    }
    this.#pump = undefined;
  }
}
