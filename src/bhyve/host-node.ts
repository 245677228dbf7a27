/**
 * The vmm's host on Node: worker threads, the monotonic clock, the compiled modules of src/generated.
 * Runs on: main event loop; `monotonicNs` on every thread.
 */
import { readFileSync } from 'node:fs';
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
import { takeThread } from './threads/index.ts';

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
  /** The vCPU threads' program, in place of vcpu-worker.ts. */
  readonly worker?: URL;
  /** Open file for text about compiled code. */
  readonly traceFd?: number | undefined;
}

export function createNodeHost({ log, modules = loadModules(), worker, traceFd }: NodeHostOptions): VmmHost {
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

function spawn(
  program: URL | undefined,
  init: NodeVcpuInit,
  failed: (error: Error) => void,
  compiler: CompilerThread | undefined,
): VcpuThread {
  const link = compiler?.connect();
  const thread = takeThread('vcpu', {
    program,
    name: `vcpu ${init.vcpu}`,
    init: (link ? { ...init, compiler: link } : init) satisfies NodeVcpuInit,
    transfer: link ? [link.port] : [],
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
