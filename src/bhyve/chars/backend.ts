/**
 * The interface between a serial device and what is at the other end of its line.
 * Runs on: main event loop. Backends (stdio, tty, TCP, memory) live beside this file; devices import only this one.
 */

/** A byte stream with flow control in both directions. */
export interface CharBackend {
  /** Set by the device: takes one byte from the outside. Called only between hold() and release() of the other kind: never while held. */
  onByte: ((value: number) => void) | undefined;
  /** Queue one byte for the outside; never blocks and never drops while the other end is there. */
  write(value: number): void;
  /** Deliver no more bytes to onByte until release(): the device's FIFO is full, or the VM is paused. Bytes wait in the backend. */
  hold(): void;
  release(): void;
}

/** A line with nothing at its other end: writes vanish, nothing arrives. */
export function noBackend(): CharBackend {
  return { onByte: undefined, write() {}, hold() {}, release() {} };
}

/** Both ends in memory, for tests and for programs: `output` collects what the device wrote, `feed` sends it bytes. */
export class MemoryBackend implements CharBackend {
  onByte: ((value: number) => void) | undefined;
  readonly output: number[] = [];
  #waiting: number[] = [];
  #held = false;

  write(value: number): void {
    this.output.push(value);
  }

  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    this.#deliver();
  }

  feed(input: string | Uint8Array): void {
    this.#waiting.push(...(typeof input === 'string' ? new TextEncoder().encode(input) : input));
    this.#deliver();
  }

  /** Bytes the device has not taken yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  text(): string {
    return new TextDecoder().decode(Uint8Array.from(this.output));
  }

  #deliver(): void {
    while (!this.#held && this.onByte !== undefined && this.#waiting.length > 0) this.onByte(this.#waiting.shift()!);
  }
}
