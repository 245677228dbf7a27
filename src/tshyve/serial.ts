/**
 * A serial port whose other end is a program: streams, `write` and `expect`.
 * Implements: OpenBackend, for the library. Runs on: main event loop.
 */
import { Readable, Writable } from 'node:stream';
import { VmError } from '../base/errors.ts';
import { InputQueue, quote } from '../bhyve/index.ts';
import type { OpenBackend } from '../bhyve/index.ts';

/** What `expect` keeps of the output that has not been matched yet. */
const KEPT_CHARS = 4 << 20;
const DEFAULT_TIMEOUT_MS = 30_000;
/** The end of the output shown when `expect` fails. */
const SHOWN_CHARS = 400;

export interface ExpectOptions {
  /** Milliseconds until it gives up; 30,000 unless said. */
  readonly timeoutMs?: number;
}

export interface Expected {
  /** What the pattern matched. */
  readonly text: string;
  /** The output between the last match and this one. */
  readonly before: string;
  /** Groups of a regular expression. */
  readonly groups: readonly (string | undefined)[];
}

interface Waiter {
  readonly pattern: string | RegExp;
  readonly resolve: (expected: Expected) => void;
  readonly reject: (error: VmError) => void;
  readonly timer: NodeJS.Timeout;
}

/** The other end of a guest's serial line. */
export class SerialPort implements OpenBackend {
  readonly name: string;
  readonly #input = new InputQueue();
  readonly #decoder = new TextDecoder();
  #pushedBytes = 0;
  #takenBytes = 0;
  #writers: { readonly atBytes: number; readonly resolve: () => void }[] = [];
  #arrived: number[] = [];
  #gathering = false;
  #text = '';
  #waiters: Waiter[] = [];
  #ended: string | undefined;
  #readable: Readable | undefined;
  #writable: Writable | undefined;
  #readerFull = false;
  #drainWaiters: (() => void)[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** What the guest writes, as a stream. Once it has been asked for, a reader that is slow slows the guest down; nothing is lost. */
  get readable(): Readable {
    this.#readable ??= new Readable({ read: () => this.#readerReady() });
    return this.#readable;
  }

  /** What the guest reads, as a stream: a write is done when the guest's FIFO has taken it. */
  get writable(): Writable {
    this.#writable ??= new Writable({
      decodeStrings: true,
      write: (chunk: Buffer, _encoding, done) => {
        this.write(chunk).then(() => done(), done);
      },
    });
    return this.#writable;
  }

  /** Send text or bytes to the guest. @returns a promise that resolves when the guest has taken all of it, or has ended. */
  write(data: string | Uint8Array): Promise<void>;
  /** One byte from the guest. For the machine. */
  write(value: number): void;
  write(data: string | Uint8Array | number): Promise<void> | void {
    if (typeof data === 'number') {
      this.#fromGuest(data);
      return undefined;
    }
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data.slice();
    if (this.#ended !== undefined || bytes.length === 0) return Promise.resolve();
    this.#pushedBytes += bytes.length;
    const atBytes = this.#pushedBytes;
    this.#input.push(bytes);
    if (this.#takenBytes >= atBytes) return Promise.resolve();
    return new Promise((resolve) => this.#writers.push({ atBytes, resolve }));
  }

  /**
   * Wait until the guest has written something, from the end of the last match on.
   * @throws VmError ETIMEDOUT, or EIO when the VM ends without it; both show the end of the output.
   */
  expect(pattern: string | RegExp, { timeoutMs = DEFAULT_TIMEOUT_MS }: ExpectOptions = {}): Promise<Expected> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        // What has come in this turn of the loop counts.
        this.#gather();
        if (!this.#waiters.includes(waiter)) return;
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        reject(this.#failure('ETIMEDOUT', pattern, `not seen within ${timeoutMs} ms`));
      }, timeoutMs);
      const waiter: Waiter = {
        pattern: typeof pattern === 'string' ? pattern : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')),
        resolve,
        reject,
        timer,
      };
      this.#waiters.push(waiter);
      this.#match();
    });
  }

  // What follows is for the machine.

  get onByte(): ((value: number) => void) | undefined {
    return this.#input.onByte;
  }

  set onByte(take: ((value: number) => void) | undefined) {
    this.#input.onByte =
      take &&
      ((value) => {
        this.#takenBytes++;
        take(value);
        if (this.#writers.length > 0) this.#settleWriters();
      });
    this.#input.deliver();
  }

  hold(): void {
    this.#input.hold();
  }

  release(): void {
    this.#input.release();
  }

  get congested(): boolean {
    return this.#readerFull;
  }

  drained(): Promise<void> {
    if (!this.#readerFull) return Promise.resolve();
    return new Promise((resolve) => this.#drainWaiters.push(resolve));
  }

  close(): Promise<void> {
    this.end('closed');
    return Promise.resolve();
  }

  /** Nothing more will come. @param why for the messages of expectations that are still waiting. */
  end(why: string): void {
    if (this.#ended !== undefined) return;
    this.#gather();
    this.#ended = why;
    this.#takenBytes = this.#pushedBytes;
    this.#settleWriters();
    this.#readable?.push(null);
    this.#readerReady();
    this.#match();
  }

  #fromGuest(value: number): void {
    if (this.#ended !== undefined) return;
    this.#arrived.push(value);
    if (this.#gathering) return;
    this.#gathering = true;
    setImmediate(() => this.#gather());
  }

  /** What a burst of exits wrote, at once. */
  #gather(): void {
    this.#gathering = false;
    if (this.#arrived.length === 0) return;
    const bytes = Buffer.from(this.#arrived);
    this.#arrived = [];
    if (this.#readable && !this.#readable.push(bytes)) this.#readerFull = true;
    this.#text += this.#decoder.decode(bytes, { stream: true });
    if (this.#text.length > KEPT_CHARS) this.#text = this.#text.slice(-KEPT_CHARS / 2);
    this.#match();
  }

  #readerReady(): void {
    this.#readerFull = false;
    for (const resolve of this.#drainWaiters.splice(0)) resolve();
  }

  #settleWriters(): void {
    const done = this.#writers.filter(({ atBytes }) => atBytes <= this.#takenBytes);
    this.#writers = this.#writers.filter(({ atBytes }) => atBytes > this.#takenBytes);
    for (const { resolve } of done) resolve();
  }

  /** Expectations are met in the order they were made. */
  #match(): void {
    for (let waiter = this.#waiters[0]; waiter; waiter = this.#waiters[0]) {
      const found = find(this.#text, waiter.pattern);
      if (!found) break;
      this.#waiters.shift();
      clearTimeout(waiter.timer);
      this.#text = this.#text.slice(found.before.length + found.text.length);
      waiter.resolve(found);
    }
    if (this.#ended === undefined) return;
    for (const waiter of this.#waiters.splice(0)) {
      clearTimeout(waiter.timer);
      waiter.reject(this.#failure('EIO', waiter.pattern, `the VM ended before (${this.#ended})`));
    }
  }

  #failure(code: 'ETIMEDOUT' | 'EIO', pattern: string | RegExp, why: string): VmError {
    const wanted = typeof pattern === 'string' ? quote(pattern) : String(pattern);
    return new VmError(
      code,
      `${this.name}: expected ${wanted}: ${why}; the output ends with ${JSON.stringify(this.#text.slice(-SHOWN_CHARS))}`,
    );
  }
}

function find(text: string, pattern: string | RegExp): Expected | undefined {
  if (typeof pattern === 'string') {
    const at = text.indexOf(pattern);
    return at < 0 ? undefined : { text: pattern, before: text.slice(0, at), groups: [] };
  }
  const match = pattern.exec(text);
  return match ? { text: match[0], before: text.slice(0, match.index), groups: match.slice(1) } : undefined;
}
