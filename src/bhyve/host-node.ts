/**
 * The vmm's host on Node: worker threads, the monotonic clock, the compiled modules of src/generated.
 * Runs on: main event loop; `monotonicNs` on every thread.
 */
import { readFileSync } from 'node:fs';
import { VmError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import {
  RAM_INDEX_BITS,
  checkBuild,
  compilesElsewhere,
  manifestOf,
  type EngineModules,
  type RamIndex,
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
export function loadModules(ramIndex: RamIndex, folder: URL = new URL('../generated/', import.meta.url)): EngineModules {
  const bits = RAM_INDEX_BITS[ramIndex];
  const read = (name: string): Uint8Array<ArrayBuffer> => {
    try {
      return new Uint8Array(readFileSync(new URL(name, folder)));
    } catch (cause) {
      throw new VmError('ENOENT', `${name}: not there; run \`npm run build\``, { cause });
    }
  };
  const compile = (name: string): WebAssembly.Module => new WebAssembly.Module(read(name));
  const modules = {
    ram: compile(`ram${bits}.wasm`),
    vmm: compile('vmm.wasm'),
    cpu: compile('cpu.wasm'),
    handlers: compile(`handlers${bits}.wasm`),
  };
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
  /** The vCPU threads' program, in place of vcpu-worker.ts. */
  readonly worker?: URL;
  /** Open file for text about compiled code. */
  readonly traceFd?: number | undefined;
  /** Folder where compiled code is kept from one run to the next. */
  readonly codeStore?: string | undefined;
}

export function createNodeHost({ log, worker, traceFd, codeStore }: NodeHostOptions): VmmHost {
  const modules = new Map<RamIndex, EngineModules>(),
    modulesFor = (ramIndex: RamIndex): EngineModules => {
      const present = modules.get(ramIndex) ?? loadModules(ramIndex);
      modules.set(ramIndex, present);
      return present;
    };
  /** By guest memory: the vCPUs of a VM share one. */
  const compilers = new WeakMap<WebAssembly.Memory, CompilerThread>();
  const compilerOf = ({ memory0, memory1 }: VcpuInit): CompilerThread => {
    let compiler = compilers.get(memory1);
    if (!compiler) {
      compiler = new CompilerThread({ memory0, memory1, traceFd, codeStore }, log);
      compilers.set(memory1, compiler);
    }
    return compiler;
  };
  return {
    log,
    modulesFor,
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
      await compiler?.ended();
    },
  };
}
