/**
 * The program of the thread that compiles guest code for the vCPUs of one VM. It ends when the last of their links is closed.
 * Runs on: its own thread.
 */
import { openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { KeptRegions, RAM_INDEX_BITS, imageOf, loadCompiler, loadTrace, ramBytes, ramIndexOf, keptCodeIn } from '../vmmapi/index.ts';
import { CODE_STORE_BYTES, CodeStore } from './code-store.ts';
import { giveWay } from './threads/index.ts';
import { NO_MORE_LINKS, type CompilerAnswer, type CompilerLink, type CompilerMessage } from './compiler-link.ts';

/** What CompilerThread sends first; links follow. */
export interface CompilerInit {
  readonly memory0: WebAssembly.Memory;
  readonly memory1: WebAssembly.Memory;
  /** Open file for text about each region. */
  readonly traceFd: number | undefined;
  /** Folder where regions are kept from one run to the next. What is traced is made anew. */
  readonly codeStore?: string | undefined;
  /** Not 0 when what is still asked for is of no use to anybody. */
  readonly ending: Int32Array;
}

giveWay();
const loaded = loadCompiler();

/** @returns what takes a link's messages */
function begin({ memory0, memory1, traceFd, codeStore, ending }: CompilerInit): (link: CompilerLink) => void {
  const bits = RAM_INDEX_BITS[ramIndexOf(memory1.buffer.byteLength)],
    store = codeStore === undefined || traceFd !== undefined ? undefined : new CodeStore(codeStore, String(bits)),
    image = store?.read(),
    kept = store && new KeptRegions(image && keptCodeIn(new Int32Array(image)));
  if (store && kept)
    save = () => {
      if (kept.added > 0) store.write(new Uint8Array(imageOf(kept.all(CODE_STORE_BYTES)).buffer));
    };
  const ahead = piecesOf(new URL(`../generated/templates${bits}.bin`, import.meta.url)),
    tracing = traceFd === undefined ? undefined : traceTo(traceFd),
    ready = loaded.then(({ RegionCompiler }) => new RegionCompiler(ramBytes(memory1), undefined, { memory0: memory0.buffer, ahead, kept }));
  return ({ port, answers }) => {
    const answer = (message: CompilerAnswer): void => {
      port.postMessage(message);
      Atomics.add(answers, 0, 1);
    };
    // The vCPU can use it at once.
    if (image) answer(image);
    void Promise.all([ready, tracing]).then(([compiler, newTrace]) => {
      const trace = newTrace?.();
      port.on('message', (message: CompilerMessage) => {
        if ('what' in message) trace?.event(message);
        else if (ending[0] === 0) compiler.compile(message, answer, trace);
      });
    });
  };
}

/** Of a file that stays open. @returns reads [start, end) */
function piecesOf(path: URL): (start: number, end: number) => Uint8Array<ArrayBuffer> {
  const file = openSync(path, 'r');
  return (start, end) => {
    const bytes = new Uint8Array(end - start);
    readSync(file, bytes, 0, bytes.length, start);
    return bytes;
  };
}

async function traceTo(fd: number) {
  const [{ RegionTrace }, { traceWriter }] = await Promise.all([loadTrace(), import('./trace-writer.ts')]),
    write = traceWriter(fd, (reason) => {
      parentPort!.postMessage(reason);
    });
  return () => new RegionTrace(write);
}

/** What has been made is worth keeping. */
let save: (() => void) | undefined;
let serve: ((link: CompilerLink) => void) | undefined;
parentPort!.on('message', (message: CompilerInit | CompilerLink | typeof NO_MORE_LINKS) => {
  // What has been sent on a link that is closed now still arrives.
  if (message === NO_MORE_LINKS) {
    save?.();
    parentPort!.close();
  } else if ('memory0' in message) serve = begin(message);
  else serve!(message);
});
