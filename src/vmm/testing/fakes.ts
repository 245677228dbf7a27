/**
 * A host without wasm modules for tests: threads run a scripted processor, devices only count.
 * Runs on: tests.
 */
import { Worker } from 'node:worker_threads';
import { silentLog } from '../../base/log.ts';
import type { EngineModules, VcpuThread, VmmHost } from '../host.ts';
import type { InCoreDevices } from '../in-core.ts';

const EMPTY = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const empty = new WebAssembly.Module(EMPTY);
export const noModules: EngineModules = { ram: empty, vmm: empty, cpu: empty, handlers: empty, manifest: new Uint16Array() };

export interface FakeDevices extends InCoreDevices {
  readonly calls: string[];
}

export function fakeDevices(): FakeDevices {
  const calls: string[] = [];
  const tpr: number[] = [];
  const note =
    (name: string) =>
    (...args: unknown[]): void => {
      calls.push([name, ...args].join(' '));
    };
  return {
    calls,
    init: note('init'),
    reset: note('reset'),
    initLapic: note('initLapic'),
    lapicIrq: note('lapicIrq'),
    lapicLocalIrq: note('lapicLocalIrq'),
    lapicMsi: note('lapicMsi'),
    ioapicAssert: note('ioapicAssert'),
    ioapicDeassert: note('ioapicDeassert'),
    ioapicPulse: note('ioapicPulse'),
    ioapicPincount: 32,
    isaAssert: note('isaAssert'),
    isaDeassert: note('isaDeassert'),
    isaPulse: note('isaPulse'),
    isaSetTrigger: note('isaSetTrigger'),
    rtcRead: () => 0,
    rtcWrite: note('rtcWrite'),
    rtcTime: () => 0,
    setRtcTime: note('setRtcTime'),
    hpetCapabilities: 0,
    readTpr: (vcpu) => tpr[vcpu] ?? 0,
    writeTpr: (vcpu, value) => {
      tpr[vcpu] = value;
    },
    stopClock: note('stopClock'),
    startClock: note('startClock'),
  };
}

export interface FakeHost extends VmmHost {
  /** Threads asked for. */
  readonly spawned: number[];
}

/** No threads at all: for what happens while nothing runs. */
export function threadlessHost(devices: InCoreDevices = fakeDevices()): FakeHost {
  const spawned: number[] = [];
  return {
    modulesFor: () => noModules,
    log: silentLog,
    nowNs: () => 0,
    yield: () => Promise.resolve(),
    createDevices: () => devices,
    spawned,
    spawnVcpu(init) {
      spawned.push(init.vcpu);
      return { terminate: () => Promise.resolve() };
    },
  };
}

/** Real threads, which run scripted-vcpu.ts. */
export function threadHost(devices: InCoreDevices = fakeDevices()): FakeHost {
  const spawned: number[] = [];
  return {
    modulesFor: () => noModules,
    log: silentLog,
    nowNs: () => Number(process.hrtime.bigint()),
    yield: () =>
      new Promise((resolve) => {
        setImmediate(resolve);
      }),
    createDevices: () => devices,
    spawned,
    spawnVcpu(init, failed): VcpuThread {
      spawned.push(init.vcpu);
      const thread = new Worker(new URL('./scripted-vcpu.ts', import.meta.url), { workerData: init });
      thread.on('error', (error) => {
        failed(error instanceof Error ? error : new Error(String(error)));
      });
      return {
        async terminate() {
          await thread.terminate();
        },
      };
    },
  };
}
