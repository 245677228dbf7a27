/**
 * What vmm.wasm exports, as TypeScript sees it, and its instantiation.
 * Implements: vmm/assembly/index.ts. Runs on: any thread.
 * `vcpu` is the address of a vCPU's record and such a call belongs to its thread; `index` counts vCPUs and may come from any thread.
 * Calls that return an `Errno` give 0 or EINVAL (vmm/exits.ts).
 */
type Errno = number;

export interface VmmExports {
  /** In zeroed memory. @param tscHz 1e6..1e10. @param options VM_OPTION_*. */
  vmmInit(vcpuCount: number, tscHz: number, options: number): Errno;
  vmmReset(): void;
  lapicReset(index: number): Errno;
  lapicInit(index: number): Errno;
  clockStop(): void;
  clockStart(): void;
  /** The VM's clock. */
  nowNs(): number;

  mmioRead(vcpu: number, gpa: bigint, sizeBytes: number): bigint;
  mmioWrite(vcpu: number, gpa: bigint, sizeBytes: number, value: bigint): void;
  portRead(vcpu: number, port: number, sizeBytes: number): number;
  portWrite(vcpu: number, port: number, sizeBytes: number, value: number): void;
  msrRead(vcpu: number, msr: number): number;
  msrWrite(vcpu: number, msr: number, value: bigint): number;
  interruptVector(vcpu: number): number;
  interruptAck(vcpu: number): number;
  readTpr(vcpu: number): number;
  writeTpr(vcpu: number, value: number): void;
  tsc(vcpu: number): bigint;
  tscAt(vcpu: number, retired: bigint): bigint;
  poll(vcpu: number): void;
  /** On the host's clock; Infinity: nothing is due, ever. */
  nextDeadlineNs(vcpu: number): number;
  announcePosted(): void;
  sleepNs(vcpu: number): number;

  isaAssert(atpicIrq: number, ioapicIrq: number): Errno;
  isaDeassert(atpicIrq: number, ioapicIrq: number): Errno;
  isaPulse(atpicIrq: number, ioapicIrq: number): Errno;
  isaSetTrigger(irq: number, level: number): Errno;
  ioapicAssert(pin: number): Errno;
  ioapicDeassert(pin: number): Errno;
  ioapicPulse(pin: number): Errno;
  ioapicPinCount(): number;
  lapicMsi(address: bigint, data: bigint): Errno;
  lapicIrq(index: number, vector: number): Errno;
  /** @param index -1: all. @param source 0 CMCI, 1 timer, 2 thermal, 3 performance counters, 4 LINT0, 5 LINT1, 6 error. */
  lapicLocalIrq(index: number, source: number): Errno;
  injectNmi(index: number): Errno;
  kick(index: number, requests: number): Errno;

  /** @returns the byte, or -EINVAL. */
  rtcRead(offset: number): number;
  rtcWrite(offset: number, value: number): Errno;
  rtcSetTime(seconds: number): Errno;
  rtcGetTime(): number;
  hpetCapabilities(): number;
}

export interface VmmImports {
  /** Monotonic, the same scale on every thread, below 2^53. */
  nowNs(): number;
  /** A synchronous exit; the main thread's instance never makes one. */
  exit(vcpu: number, reason: number): void;
}

export function instantiateVmm(module: WebAssembly.Module, memory0: WebAssembly.Memory, host: VmmImports): VmmExports {
  const { nowNs, exit } = host;
  const instance = new WebAssembly.Instance(module, {
    env: { memory: memory0 },
    host: {
      nowNs: () => nowNs(),
      exit: (vcpu: number, reason: number) => {
        exit(vcpu, reason);
      },
    },
  });
  return instance.exports as unknown as VmmExports;
}
