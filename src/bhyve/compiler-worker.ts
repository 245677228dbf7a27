/**
 * The program of the thread that compiles guest code for the vCPUs of one VM. It ends when the last of their links is closed.
 * Runs on: its own thread.
 */
import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { loadCompiler, type CompileEntry } from '../vmmapi/index.ts';
import type { CompilerLink } from './compiler-link.ts';

/** What CompilerThread hands over; links follow as messages. */
export interface CompilerInit {
  readonly memory1: WebAssembly.Memory;
}

const { memory1 } = workerData as CompilerInit;
const { RegionCompiler } = await loadCompiler();
const ahead = Uint8Array.from(readFileSync(new URL('../generated/templates.bin', import.meta.url)));
const compiler = new RegionCompiler(new Uint8Array(memory1.buffer), undefined, ahead);

function serve({ port, answers }: CompilerLink): void {
  port.on('message', (entries: readonly CompileEntry[]) => {
    compiler.compile(entries, (module) => {
      port.postMessage(module);
      Atomics.add(answers, 0, 1);
    });
  });
}

parentPort!.on('message', serve);
