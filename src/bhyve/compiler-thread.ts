/**
 * The thread that compiles guest code for the vCPUs of one VM, as the VM's owner sees it. It works from the first vCPU on and ends with the last
 * one. Without it a guest is slower, not wrong.
 * Runs on: main event loop.
 */
import { MessageChannel, type Worker } from 'node:worker_threads';
import type { Log } from '../base/log.ts';
import { NO_MORE_LINKS, type CompilerLink } from './compiler-link.ts';
import type { CompilerInit } from './compiler-worker.ts';
import { takeThread, v8WorkersGiveWay } from './threads/index.ts';

/** To keep what it has made. */
const LONGEST_END_MS = 2000;

export class CompilerThread {
  readonly #init: CompilerInit;
  readonly #log: Log;
  #worker: Worker | undefined;
  #ended: Promise<unknown> | undefined;
  #vcpus = 0;

  constructor(init: Omit<CompilerInit, 'ending'>, log: Log) {
    this.#init = { ...init, ending: new Int32Array(new SharedArrayBuffer(4)) };
    this.#log = log;
  }

  /** @returns the end of a new vCPU, whose port is to be transferred to it */
  connect(): CompilerLink {
    const { port1, port2 } = new MessageChannel(),
      answers = new Int32Array(new SharedArrayBuffer(4)),
      traced = this.#init.traceFd !== undefined,
      link: CompilerLink = { port: port1, answers, traced };
    this.#vcpus++;
    this.#worker ??= this.#start();
    this.#worker.postMessage(link, [port1]);
    return { port: port2, answers, traced };
  }

  /** A vCPU's thread is gone. After the last one, what is to be said about regions is said, if they are traced, and else they are kept, if they are to be. */
  disconnect(): void {
    const worker = this.#worker,
      { traceFd, codeStore, ending } = this.#init;
    if (--this.#vcpus > 0 || !worker) return;
    this.#worker = undefined;
    if (traceFd === undefined) ending[0] = 1;
    if (traceFd === undefined && codeStore === undefined) void worker.terminate();
    else worker.postMessage(NO_MORE_LINKS);
    if (traceFd === undefined) setTimeout(() => void worker.terminate(), LONGEST_END_MS).unref();
  }
  /** Is resolved when the last trace has been written, or what was made has been kept. */
  async ended(): Promise<void> {
    const { traceFd, codeStore } = this.#init;
    if (!this.#worker && (traceFd ?? codeStore) !== undefined) await this.#ended;
  }

  #start(): Worker {
    v8WorkersGiveWay();
    const worker = takeThread('compiler', { init: this.#init });
    worker.on('error', (error: unknown) => {
      this.#log.warn(`guest code is no longer compiled: ${error instanceof Error ? error.message : String(error)}`);
    });
    worker.on('message', (reason: string) => {
      this.#log.warn(`compiled code is no longer traced: ${reason}`);
    });
    this.#ended = new Promise((resolve) => {
      worker.once('exit', resolve);
    });
    return worker;
  }
}
