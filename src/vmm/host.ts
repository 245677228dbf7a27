/**
 * What the vmm needs from the program around it: threads, clock, compiled modules. Node hands in one, a browser another, tests a third.
 * Runs on: main event loop, and `ProcessorFactory` on the vCPUs' threads.
 */
import type { Log } from '../base/log.ts';
import type { CpuTier, RamIndex } from '../cpu/index.ts';
import type { InCoreDevices } from './in-core.ts';

/** The compiled modules of docs/internals.md, in the order of their instantiation; `ram` and `handlers` for one type of addresses in memory 1. */
export interface EngineModules {
  readonly ram: WebAssembly.Module;
  readonly vmm: WebAssembly.Module;
  readonly cpu: WebAssembly.Module;
  readonly handlers: WebAssembly.Module;
  /** Handler numbers by line and variant. */
  readonly manifest: Uint16Array;
}

/** What a vCPU's thread is given; can be cloned to it. */
export interface VcpuInit {
  readonly vcpu: number;
  readonly memory0: WebAssembly.Memory;
  readonly memory1: WebAssembly.Memory;
  readonly modules: EngineModules;
  /** How guest code is run; absent: compiled where it is hot, else interpreted. */
  readonly cpuTier?: CpuTier;
  /** Bound on the memory of compiled guest code, in bytes. */
  readonly codeCacheBytes?: number;
}

export interface VcpuThread {
  /** End the thread wherever it is. */
  terminate(): Promise<void>;
}

export interface VmmHost {
  readonly log: Log;
  /** Those for such a memory 1: the size of a VM's memory decides. */
  modulesFor(ramIndex: RamIndex): EngineModules;
  /** Monotonic, the same scale on every thread. */
  nowNs(): number;
  /** Let the event loop have a turn. */
  yield(): Promise<void>;
  /** Start a thread that calls `runVcpu(init, ...)`. @param failed is called when it dies of an error. */
  spawnVcpu(init: VcpuInit, failed: (error: Error) => void): VcpuThread;
  /** In-core devices as the main event loop reaches them; absent: an instance of vmm.wasm. */
  createDevices?(memory0: WebAssembly.Memory): InCoreDevices;
}

/** What a vCPU's thread has to do for the processor in it. */
export interface ProcessorHost {
  nowNs(): number;
  /** A synchronous exit: the payload lies in the record's exit* fields; returns when it has been answered there. */
  exit(reason: number): void;
  /** Pages of memory 1 that others wrote since the last call; undefined: any. */
  takeWrittenPages(): readonly number[] | undefined;
}

/** The processor as its thread's loop drives it. */
export interface VcpuProcessor {
  /** Execute about `budget` instructions. @returns RUN_* */
  run(budget: number): number;
  /** Run what is due on device timers, and tell the owner of writes that were posted a while ago. */
  poll(): void;
  /** Tell the owner of posted writes at once: nothing is executed from here on. */
  announcePosted(): void;
  /** Before a sleep, of which the owner of posted writes is told. When a timer of this vCPU or of a shared device is due, on the clock of nowNs(); Infinity: never. */
  nextDeadlineNs(): number;
  /** Recompute what is derived from registers: they were written from outside. */
  refreshState(): void;
  /** Leave the lazy flags as FLAG_RAW, so that others can read them. */
  settleFlags(): void;
}

/** Makes the processor on its own thread: `loadProcessor`, or a test's own. */
export type ProcessorFactory = (init: VcpuInit, host: ProcessorHost) => VcpuProcessor;
