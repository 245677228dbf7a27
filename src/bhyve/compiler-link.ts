/**
 * The way between a vCPU's thread and the thread that compiles for it: messages, and a word that counts the answers, so that the vCPU need not
 * ask the port whether there is one.
 * Runs on: both threads.
 */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import type { CompileEntry, CompiledModule, Compiler } from '../vmmapi/index.ts';

/** One end; can be transferred with its port. */
export interface CompilerLink {
  readonly port: MessagePort;
  /** Answers sent so far. */
  readonly answers: Int32Array;
}

/** The vCPU's end. */
export class RemoteCompiler implements Compiler {
  readonly #link: CompilerLink;
  #taken = 0;

  constructor(link: CompilerLink) {
    this.#link = link;
  }
  submit(entries: readonly CompileEntry[]): void {
    this.#link.port.postMessage(entries);
  }
  take(): CompiledModule | undefined {
    const { port, answers } = this.#link;
    if (answers[0] === this.#taken) return undefined;
    const message = receiveMessageOnPort(port);
    if (message === undefined) return undefined;
    this.#taken = (this.#taken + 1) | 0;
    return message.message as CompiledModule;
  }
}
