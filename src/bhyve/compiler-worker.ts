/**
 * The program of the thread that compiles guest code for the vCPUs of one VM. It ends when the last of their links is closed.
 * Runs on: its own thread.
 */
import { readFileSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { RAM_INDEX_BITS, loadCompiler, loadTrace, ramBytes, ramIndexOf, type CompiledModule } from '../vmmapi/index.ts';
import { giveWay } from './threads/index.ts';
import { NO_MORE_LINKS, type CompilerLink, type CompilerMessage } from './compiler-link.ts';

/** What CompilerThread sends first; links follow. */
export interface CompilerInit {
  readonly memory0: WebAssembly.Memory;
  readonly memory1: WebAssembly.Memory;
  /** Open file for text about each region. */
  readonly traceFd: number | undefined;
}

giveWay();
const loaded = loadCompiler();

/** @returns what takes a link's messages */
async function begin({ memory0, memory1, traceFd }: CompilerInit): Promise<(link: CompilerLink) => void> {
  const { RegionCompiler } = await loaded,
    bits = RAM_INDEX_BITS[ramIndexOf(memory1.buffer.byteLength)],
    // So large a file has a buffer of its own.
    ahead = readFileSync(new URL(`../generated/templates${bits}.bin`, import.meta.url));
  const compiler = new RegionCompiler(ramBytes(memory1), undefined, { memory0: memory0.buffer, ahead });
  const RegionTrace = traceFd === undefined ? undefined : (await loadTrace()).RegionTrace;
  const write =
    traceFd === undefined
      ? undefined
      : (await import('./trace-writer.ts')).traceWriter(traceFd, (reason) => {
          parentPort!.postMessage(reason);
        });
  return ({ port, answers }) => {
    const trace = RegionTrace && new RegionTrace(write!);
    port.on('message', (message: CompilerMessage) => {
      if ('what' in message) trace?.event(message);
      else {
        const done = (module: CompiledModule): void => {
          port.postMessage(module);
          Atomics.add(answers, 0, 1);
        };
        compiler.compile(message, done, trace);
      }
    });
  };
}

let serve: Promise<(link: CompilerLink) => void> | undefined;
parentPort!.on('message', (message: CompilerInit | CompilerLink | typeof NO_MORE_LINKS) => {
  // What has been sent on a link that is closed now still arrives.
  if (message === NO_MORE_LINKS) parentPort!.close();
  else if ('memory0' in message) serve = begin(message);
  else void serve!.then((take) => take(message));
});
