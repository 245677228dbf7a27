/**
 * The short spin lock around PIC, PIT, RTC, IOAPIC and HPET, and the cached deadline of those which have timers.
 * Runs on: any thread. Held for a few hundred instructions; never across host.exit. Not reentrant.
 */
import { VM_BASE, VM_DEVICES } from '../../base/memory-map.ts';
import { DEVICES_HPET, DEVICES_LOCK, DEVICES_PIT, DEVICES_RTC, HPET_DEADLINE_NS, PIT_DEADLINE_NS, RTC_DEADLINE_NS, VM_DEVICE_DEADLINE_NS } from '../../generated/vmm-layout.ts';

export function lockDevices(): void {
  while (atomic.cmpxchg<u32>(VM_DEVICES + DEVICES_LOCK, 0, 1) != 0) {
    while (atomic.load<u32>(VM_DEVICES + DEVICES_LOCK) != 0) { /* a load keeps the line shared while another thread holds the lock */ }
  }
}

/** Every holder may have moved a timer, so the deadline that poll() compares is made anew here. */
export function unlockDevices(): void {
  const deadline = min(min(load<u64>(VM_DEVICES + DEVICES_PIT, PIT_DEADLINE_NS), load<u64>(VM_DEVICES + DEVICES_HPET, HPET_DEADLINE_NS)), load<u64>(VM_DEVICES + DEVICES_RTC, RTC_DEADLINE_NS));
  atomic.store<u64>(VM_BASE, deadline, VM_DEVICE_DEADLINE_NS);
  atomic.store<u32>(VM_DEVICES + DEVICES_LOCK, 0);
}
