/**
 * Raw mode of a terminal, given back on every way out of the process.
 * Implements: termios(3) raw mode as bhyve's stdio console uses it: Ctrl-C and Ctrl-Z are bytes for the guest.
 * Runs on: main event loop.
 */

/** What is needed of `process.stdin`. */
export interface RawInput {
  readonly isTTY?: boolean | undefined;
  setRawMode?(raw: boolean): unknown;
}

/** What is needed of `process`: its last event, and the one after a stop (fg). */
export interface ProcessEvents {
  on(event: 'exit' | 'SIGCONT', listener: () => void): unknown;
  off(event: 'exit' | 'SIGCONT', listener: () => void): unknown;
}

export class TerminalMode implements Disposable {
  readonly #input: RawInput;
  readonly #events: ProcessEvents;
  #raw = false;
  readonly #leave = (): void => this.leave();
  /** Whoever stopped us may have changed the mode. */
  readonly #again = (): void => {
    if (this.#raw) this.#input.setRawMode?.(true);
  };

  constructor(input: RawInput, events: ProcessEvents) {
    this.#input = input;
    this.#events = events;
  }

  /** @returns false when it is no terminal. */
  enter(): boolean {
    if (!this.#input.isTTY || !this.#input.setRawMode) return false;
    if (this.#raw) return true;
    this.#raw = true;
    this.#input.setRawMode(true);
    this.#events.on('exit', this.#leave);
    this.#events.on('SIGCONT', this.#again);
    return true;
  }

  /** May be called any number of times, also from an exit handler. */
  leave(): void {
    if (!this.#raw) return;
    this.#raw = false;
    this.#events.off('exit', this.#leave);
    this.#events.off('SIGCONT', this.#again);
    try {
      this.#input.setRawMode?.(false);
    } catch {
      // The terminal has hung up: there is nothing left to restore.
      return;
    }
  }

  [Symbol.dispose](): void {
    this.leave();
  }
}
