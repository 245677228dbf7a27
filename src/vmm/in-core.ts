/**
 * The in-core devices as the main event loop reaches them: interrupt lines and messages, RTC, HPET, LAPIC state.
 * Implements: bhyve-map 3.5, 3.6 (vm_lapic_*, vm_ioapic_*, vm_isa_*, vm_rtc_*). Runs on: the VM's owner, over the devices' shared lock.
 */

export interface InCoreDevices {
  /** Power-on state of every device and LAPIC; the RTC's date and NVRAM stay. */
  reset(): void;
  resetLapic(vcpu: number): void;
  /** @throws VmError EINVAL for a vector outside 16..255. */
  lapicIrq(vcpu: number, vector: number): void;
  /** @param vcpu -1: all. @throws VmError EINVAL for an unknown pin. */
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
  /** @throws VmError EINVAL for IRQ 0, 1, 2, 8, 13 as level. */
  isaSetTrigger(atpicIrq: number, trigger: 'edge' | 'level'): void;
  /** @throws VmError EINVAL for an offset that holds the date. */
  rtcRead(offset: number): number;
  rtcWrite(offset: number, value: number): void;
  /** Seconds since 1970. */
  rtcTime(): number;
  setRtcTime(seconds: number): void;
  readonly hpetCapabilities: number;
  readTpr(vcpu: number): number;
  writeTpr(vcpu: number, value: number): void;
  x2apicEnabled(vcpu: number): boolean;
  setX2apic(vcpu: number, enabled: boolean): void;
  /** The VM's clock stands still while every vCPU is stopped. */
  startClock(): void;
  stopClock(): void;
}
