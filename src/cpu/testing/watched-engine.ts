/**
 * An engine in a thread of its own with a watch on it: an instruction that never ends becomes an answer `unsupported`, and the next one
 * gets a fresh engine.
 * Runs on: any thread of Node that may block; it starts one worker.
 */
import { MessageChannel, Worker, isMainThread, receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { openEngine } from './step-engine.ts';
import type { EngineName, StepEngine } from './step-engine.ts';
import type { StepAnswer, StepInput, Unsupported } from './vectors.ts';

/** An engine reads and compiles all handlers first: on a busy machine that takes its time. */
const START_MS = 180_000,
  RUN_MS = 2_000;
/** Slots of the shared words: answers given so far, and whether a request waits. */
const ANSWERED = 0,
  ASKED = 1;

interface Setup {
  readonly watched: EngineName;
  readonly words: Int32Array;
  readonly port: MessagePort;
}
interface Thread {
  readonly worker: Worker;
  readonly words: Int32Array;
  readonly port: MessagePort;
}

export class WatchedEngine implements StepEngine {
  readonly name: string;
  readonly #engine: EngineName;
  #thread: Thread | null = null;

  constructor(engine: EngineName) {
    this.name = engine;
    this.#engine = engine;
  }

  #start(): Thread {
    const words = new Int32Array(new SharedArrayBuffer(8));
    const { port1, port2 } = new MessageChannel();
    const setup: Setup = { watched: this.#engine, words, port: port2 };
    const worker = new Worker(new URL(import.meta.url), { workerData: setup, transferList: [port2] });
    worker.unref();
    worker.on('error', () => {});
    const thread = { worker, words, port: port1 };
    if (Atomics.wait(words, ANSWERED, 0, START_MS) === 'timed-out') {
      void worker.terminate();
      throw new Error(`engine ${this.#engine} has not started after ${START_MS} ms`);
    }
    const failure = receiveMessageOnPort(port1)?.message as Error | undefined;
    if (failure instanceof Error) throw failure;
    return thread;
  }

  run(input: StepInput): StepAnswer | Unsupported {
    const { words, port, worker } = (this.#thread ??= this.#start());
    const before = Atomics.load(words, ANSWERED);
    port.postMessage(input);
    Atomics.add(words, ASKED, 1);
    Atomics.notify(words, ASKED);
    if (Atomics.wait(words, ANSWERED, before, RUN_MS) === 'timed-out') {
      void worker.terminate();
      this.#thread = null;
      return { id: input.id, unsupported: `never ends (${RUN_MS} ms)` };
    }
    return receiveMessageOnPort(port)!.message as StepAnswer | Unsupported; // posted before ANSWERED changed
  }

  [Symbol.dispose](): void {
    void this.#thread?.worker.terminate();
    this.#thread = null;
  }
}

async function serve({ watched, words, port }: Setup): Promise<void> {
  const answered = (): void => {
    Atomics.add(words, ANSWERED, 1);
    Atomics.notify(words, ANSWERED);
  };
  let engine: StepEngine;
  try {
    engine = await openEngine(watched);
  } catch (error) {
    port.postMessage(error);
    return answered();
  }
  answered();
  for (let asked = 0; ; asked++) {
    Atomics.wait(words, ASKED, asked);
    const input = receiveMessageOnPort(port)!.message as StepInput;
    try {
      port.postMessage(engine.run(input));
    } catch (error) {
      port.postMessage({
        id: input.id,
        unsupported: `threw ${error instanceof Error ? (error.stack ?? error.message).split('\n').slice(0, 2).join(' ') : String(error)}`,
      });
    }
    answered();
  }
}

const setup = workerData as Setup | null;
if (!isMainThread && setup?.watched !== undefined) await serve(setup);
