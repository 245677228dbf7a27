/**
 * The way between a vCPU's thread and the thread that compiles for it: messages, and a word that counts the answers, so that the vCPU need not
 * ask the port whether there is one.
 * Runs on: both threads.
 */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { KeptRegions, keptCodeIn, type CompileEntry, type CompiledModule, type Compiler, type RegionEvent } from '../vmmapi/index.ts';

/** One end; can be transferred with its port. */
export interface CompilerLink {
  readonly port: MessagePort;
  /** Answers sent so far. */
  readonly answers: Int32Array;
  /** Are regions traced, so that what becomes of them is told? */
  readonly traced: boolean;
}

/** From the VM's owner: the thread ends when all links are closed. */
export const NO_MORE_LINKS = 'no more links';
/** From the compiler: the image of regions of earlier runs comes first, if there are any. */
export type CompilerAnswer = CompiledModule | SharedArrayBuffer;
/** To the compiler. */
export type CompilerMessage = readonly CompileEntry[] | RegionEvent;

/** The vCPU's end. */
export class RemoteCompiler implements Compiler {
  readonly #link: CompilerLink;
  #taken = 0;
  readonly tell: Compiler['tell'];
  kept: KeptRegions | undefined;

  constructor(link: CompilerLink) {
    this.#link = link;
    if (link.traced) this.tell = (event) => this.#post(event);
  }
  submit(entries: readonly CompileEntry[]): void {
    this.#post(entries);
  }
  #post(message: CompilerMessage): void {
    this.#link.port.postMessage(message);
  }
  get hasAnswer(): boolean {
    return this.#link.answers[0] !== this.#taken;
  }
  take(): CompiledModule | undefined {
    const { port } = this.#link;
    if (!this.hasAnswer) return undefined;
    const message = receiveMessageOnPort(port);
    if (message === undefined) return undefined;
    this.#taken = (this.#taken + 1) | 0;
    const answer = message.message as CompilerAnswer;
    if (!(answer instanceof SharedArrayBuffer)) return answer;
    this.kept = new KeptRegions(keptCodeIn(new Int32Array(answer)));
    return undefined;
  }
}
