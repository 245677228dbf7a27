/**
 * The thread that compiles guest code for the vCPUs of one VM, as the VM's owner sees it. It begins with the first vCPU, loads while the guest
 * starts, and ends with the last one. Without it a guest is slower, not wrong.
 * Runs on: main event loop.
 */
import { MessageChannel, Worker } from 'node:worker_threads';
import type { Log } from '../base/log.ts';
import type { CompilerLink } from './compiler-link.ts';
import type { CompilerInit } from './compiler-worker.ts';
import { withCompileCache } from './with-compile-cache.ts';

/** What it allocates is nearly all short-lived. */
const YOUNG_GENERATION_MB = 4,
  OLD_GENERATION_MB = 192;

export class CompilerThread {
  readonly #memory1: WebAssembly.Memory;
  readonly #log: Log;
  #worker: Worker | undefined;
  #vcpus = 0;

  constructor(memory1: WebAssembly.Memory, log: Log) {
    this.#memory1 = memory1;
    this.#log = log;
  }

  /** @returns the end of a new vCPU, whose port is to be transferred to it */
  connect(): CompilerLink {
    const { port1, port2 } = new MessageChannel(),
      answers = new Int32Array(new SharedArrayBuffer(4)),
      link: CompilerLink = { port: port1, answers };
    this.#vcpus++;
    this.#worker ??= this.#start();
    this.#worker.postMessage(link, [port1]);
    return { port: port2, answers };
  }

  /** A vCPU's thread is gone. */
  disconnect(): void {
    if (--this.#vcpus > 0) return;
    void this.#worker?.terminate();
    this.#worker = undefined;
  }

  #start(): Worker {
    const init: CompilerInit = { memory1: this.#memory1 };
    const worker = new Worker(withCompileCache(new URL('./compiler-worker.ts', import.meta.url)), {
      workerData: init,
      name: 'compiler',
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB, maxOldGenerationSizeMb: OLD_GENERATION_MB },
    });
    worker.on('error', (error: unknown) => {
      this.#log.warn(`guest code is no longer compiled: ${error instanceof Error ? error.message : String(error)}`);
    });
    return worker;
  }
}
