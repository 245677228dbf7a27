/**
 * The in-core devices as the main event loop reaches them: interrupt lines and messages, RTC, HPET, LAPIC state.
 * Implements: bhyve-map 3.5, 3.6 (vm_lapic_*, vm_ioapic_*, vm_isa_*, vm_rtc_*). Runs on: the VM's owner, through an instance of vmm.wasm
 * of its own over the same memory 0; what vCPUs share changes under the devices' lock.
 */
import { VmError } from '../base/errors.ts';
import { vcpuBase } from './host-state.ts';
import { instantiateVmm } from './vmm-exports.ts';

export interface InCoreSettings {
  readonly vcpus: number;
  readonly tscHz: number;
  /** VM_OPTION_* bits. */
  readonly options: number;
}

export interface InCoreDevices {
  /** Once, in zeroed memory: all devices at power-on, the clock standing at 0. @throws VmError EINVAL. */
  init(settings: InCoreSettings): void;
  /** Power-on state of every device and LAPIC; the RTC's date and NVRAM and the port modes stay. */
  reset(): void;
  /** What INIT does to a LAPIC. */
  initLapic(vcpu: number): void;
  /** @throws VmError EINVAL for a vector outside 16..255. */
  lapicIrq(vcpu: number, vector: number): void;
  /** @param vcpu -1: all. @param pin 0 CMCI, 1 timer, 2 thermal, 3 counters, 4 LINT0, 5 LINT1, 6 error. @throws VmError EINVAL. */
  lapicLocalIrq(vcpu: number, pin: number): void;
  /** @throws VmError EINVAL for an address outside FEE00000h..FEEFFFFFh. */
  lapicMsi(address: number, data: number): void;
  /** @throws VmError EINVAL for a pin that is not there. */
  ioapicAssert(pin: number): void;
  ioapicDeassert(pin: number): void;
  ioapicPulse(pin: number): void;
  readonly ioapicPincount: number;
  /** @param ioapicIrq -1: not connected. @throws VmError EINVAL. */
  isaAssert(atpicIrq: number, ioapicIrq: number): void;
  isaDeassert(atpicIrq: number, ioapicIrq: number): void;
  isaPulse(atpicIrq: number, ioapicIrq: number): void;
  /** @throws VmError EINVAL for IRQ 0, 1, 2, 8, 13. */
  isaSetTrigger(atpicIrq: number, trigger: 'edge' | 'level'): void;
  /** @throws VmError EINVAL for an offset that holds the date. */
  rtcRead(offset: number): number;
  rtcWrite(offset: number, value: number): void;
  /** Seconds since 1970. */
  rtcTime(): number;
  setRtcTime(seconds: number): void;
  readonly hpetCapabilities: number;
  /** 0..15. */
  readTpr(vcpu: number): number;
  writeTpr(vcpu: number, value: number): void;
  /** Guest time stands still between these; every vCPU is stopped. */
  stopClock(): void;
  startClock(): void;
}

export function createInCoreDevices(module: WebAssembly.Module, memory0: WebAssembly.Memory, nowNs: () => number): InCoreDevices {
  const exit = (): void => {
    throw new VmError('EDOOFUS', 'an exit of a device on the main thread');
  };
  const wasm = instantiateVmm(module, memory0, { nowNs, exit });
  const check = (what: string, error: number): void => {
    if (error !== 0) throw new VmError('EINVAL', `${what}: refused by the device`);
  };
  return {
    init({ vcpus, tscHz, options }) {
      check(`${vcpus} vCPUs, TSC of ${tscHz} Hz`, wasm.vmmInit(vcpus, tscHz, options));
      wasm.clockStop();
    },
    reset: () => {
      wasm.vmmReset();
    },
    initLapic: (vcpu) => {
      check(`vcpu ${vcpu}`, wasm.lapicInit(vcpu));
    },
    lapicIrq: (vcpu, vector) => {
      check(`vcpu ${vcpu}: interrupt vector ${vector}: expected 16 to 255`, wasm.lapicIrq(vcpu, vector));
    },
    lapicLocalIrq: (vcpu, pin) => {
      check(`vcpu ${vcpu}: LVT pin ${pin}: expected 0 to 6`, wasm.lapicLocalIrq(vcpu, pin));
    },
    lapicMsi: (address, data) => {
      check(`MSI address 0x${address.toString(16)}: expected 0xfee00000 to 0xfeefffff`, wasm.lapicMsi(BigInt(address), BigInt(data)));
    },
    ioapicAssert: (pin) => {
      check(`IOAPIC pin ${pin}`, wasm.ioapicAssert(pin));
    },
    ioapicDeassert: (pin) => {
      check(`IOAPIC pin ${pin}`, wasm.ioapicDeassert(pin));
    },
    ioapicPulse: (pin) => {
      check(`IOAPIC pin ${pin}`, wasm.ioapicPulse(pin));
    },
    get ioapicPincount() {
      return wasm.ioapicPinCount();
    },
    isaAssert: (atpicIrq, ioapicIrq) => {
      check(`IRQ ${atpicIrq}, IOAPIC pin ${ioapicIrq}`, wasm.isaAssert(atpicIrq, ioapicIrq));
    },
    isaDeassert: (atpicIrq, ioapicIrq) => {
      check(`IRQ ${atpicIrq}, IOAPIC pin ${ioapicIrq}`, wasm.isaDeassert(atpicIrq, ioapicIrq));
    },
    isaPulse: (atpicIrq, ioapicIrq) => {
      check(`IRQ ${atpicIrq}, IOAPIC pin ${ioapicIrq}`, wasm.isaPulse(atpicIrq, ioapicIrq));
    },
    isaSetTrigger: (atpicIrq, trigger) => {
      check(`trigger of IRQ ${atpicIrq}: ${trigger}`, wasm.isaSetTrigger(atpicIrq, trigger === 'level' ? 1 : 0));
    },
    rtcRead(offset) {
      const value = wasm.rtcRead(offset);
      check(`RTC offset ${offset}`, value < 0 ? -value : 0);
      return value;
    },
    rtcWrite: (offset, value) => {
      check(`RTC offset ${offset}`, wasm.rtcWrite(offset, value));
    },
    rtcTime: () => wasm.rtcGetTime(),
    setRtcTime: (seconds) => {
      check(`RTC time ${seconds}`, wasm.rtcSetTime(seconds));
    },
    get hpetCapabilities() {
      return wasm.hpetCapabilities() >>> 0;
    },
    readTpr: (vcpu) => wasm.readTpr(vcpuBase(vcpu)),
    writeTpr: (vcpu, value) => {
      wasm.writeTpr(vcpuBase(vcpu), value);
    },
    stopClock: () => {
      wasm.clockStop();
    },
    startClock: () => {
      wasm.clockStart();
    },
  };
}
