/**
 * A backend as the machine's owner sees it: a CharBackend that can say that its reader is slow, and that must be closed.
 * Runs on: main event loop.
 */
import type { CharBackend } from './backend.ts';
import { InputQueue } from './input-queue.ts';
import { OutputQueue } from './output-queue.ts';
import type { Sink } from './output-queue.ts';

export interface OpenBackend extends CharBackend {
  /** The reader is slow: stop taking output from the guest until drained() resolves. */
  readonly congested: boolean;
  drained(): Promise<void>;
  /** Write out what waits, then let go of the file or socket. */
  close(): Promise<void>;
}

/** The two queues together; what opens files and sockets builds on it. */
export class QueuedBackend implements OpenBackend {
  readonly input: InputQueue;
  readonly output: OutputQueue;
  readonly #close: () => void | Promise<void>;

  constructor(ends: {
    readonly sink: Sink;
    readonly setFlowing?: (flowing: boolean) => void;
    readonly onGone?: (cause: unknown) => void;
    readonly close?: () => void | Promise<void>;
  }) {
    this.input = new InputQueue(ends.setFlowing);
    this.output = new OutputQueue(ends.sink, ends.onGone);
    this.#close = ends.close ?? (() => {});
  }

  get onByte(): ((value: number) => void) | undefined {
    return this.input.onByte;
  }

  set onByte(take: ((value: number) => void) | undefined) {
    this.input.onByte = take;
    this.input.deliver();
  }

  write(value: number): void {
    this.output.write(value);
  }

  hold(): void {
    this.input.hold();
  }

  release(): void {
    this.input.release();
  }

  get congested(): boolean {
    return this.output.congested;
  }

  drained(): Promise<void> {
    return this.output.drained();
  }

  async close(): Promise<void> {
    await this.output.flush();
    await this.#close();
  }
}

/** Nothing at the other end. */
export function openNone(): OpenBackend {
  return {
    onByte: undefined,
    write() {},
    hold() {},
    release() {},
    congested: false,
    drained: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
}
