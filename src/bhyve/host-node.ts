/**
 * The vmm's host on Node: worker threads, the monotonic clock, the compiled modules of src/generated.
 * Runs on: main event loop; `monotonicNs` on every thread.
 */
import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { VmError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import {
  checkBuild,
  compilesElsewhere,
  manifestOf,
  type EngineModules,
  type VcpuInit,
  type VcpuThread,
  type VmmHost,
} from '../vmmapi/index.ts';
import type { CompilerLink } from './compiler-link.ts';
import { CompilerThread } from './compiler-thread.ts';
import { withCompileCache } from './with-compile-cache.ts';

/** The same scale on every thread, which performance.now() is not; and cheaper. */
export const monotonicNs = (): number => Number(process.hrtime.bigint());

/** @throws VmError ENOENT when the modules have not been built; Error when they were not built together. */
export function loadModules(folder: URL = new URL('../generated/', import.meta.url)): EngineModules {
  const read = (name: string): Uint8Array<ArrayBuffer> => {
    try {
      return new Uint8Array(readFileSync(new URL(name, folder)));
    } catch (cause) {
      throw new VmError('ENOENT', `${name}: not there; run \`npm run build\``, { cause });
    }
  };
  const compile = (name: string): WebAssembly.Module => new WebAssembly.Module(read(name));
  const modules = { ram: compile('ram.wasm'), vmm: compile('vmm.wasm'), cpu: compile('cpu.wasm'), handlers: compile('handlers.wasm') };
  checkBuild(modules);
  return { ...modules, manifest: manifestOf(modules.handlers) };
}

/** What a vCPU's thread is given on Node. */
export interface NodeVcpuInit extends VcpuInit {
  /** The way to the thread that compiles. */
  readonly compiler?: CompilerLink;
  /** Open file for text about compiled code. */
  readonly traceFd?: number;
}

export interface NodeHostOptions {
  readonly log: Log;
  readonly modules?: EngineModules;
  /** The vCPU threads' program. */
  readonly worker?: URL;
  /** Open file for text about compiled code. */
  readonly traceFd?: number | undefined;
}

export function createNodeHost({
  log,
  modules = loadModules(),
  worker = new URL('./vcpu-worker.ts', import.meta.url),
  traceFd,
}: NodeHostOptions): VmmHost {
  /** By guest memory: the vCPUs of a VM share one. */
  const compilers = new WeakMap<WebAssembly.Memory, CompilerThread>();
  const compilerOf = ({ memory0, memory1 }: VcpuInit): CompilerThread => {
    let compiler = compilers.get(memory1);
    if (!compiler) {
      compiler = new CompilerThread({ memory0, memory1, traceFd }, log);
      compilers.set(memory1, compiler);
    }
    return compiler;
  };
  return {
    modules,
    log,
    nowNs: monotonicNs,
    yield: () =>
      new Promise((resolve) => {
        setImmediate(resolve);
      }),
    spawnVcpu: (init, failed) =>
      spawn(
        worker,
        traceFd === undefined ? init : { ...init, traceFd },
        failed,
        compilesElsewhere(init.cpuTier) ? compilerOf(init) : undefined,
      ),
  };
}

/** What a vCPU's thread allocates stays (decoded code) or is tiny: the 32 MB that a young generation grows to would lie idle. */
const YOUNG_GENERATION_MB = 3;

function spawn(program: URL, init: NodeVcpuInit, failed: (error: Error) => void, compiler: CompilerThread | undefined): VcpuThread {
  const link = compiler?.connect(),
    workerData: NodeVcpuInit = link ? { ...init, compiler: link } : init;
  // Console input and output belong to the main thread; a vCPU's thread has none.
  const thread = new Worker(withCompileCache(program), {
    workerData,
    transferList: link ? [link.port] : [],
    name: `vcpu ${init.vcpu}`,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
  thread.on('error', (error) => {
    failed(error instanceof Error ? error : new Error(String(error)));
  });
  thread.on('exit', () => {
    compiler?.disconnect();
  });
  return {
    async terminate() {
      await thread.terminate();
      await compiler?.traced();
    },
  };
}
