/**
 * IOAPIC with 32 pins.
 * Implements: Intel 82093AA 3.1 and 3.2; bhyve's assertion count per pin. Runs on: any thread, under the device lock.
 * Not modelled: pin polarity (stored, ignored: devices raise lines by meaning), INIT and SMI messages.
 */
import { VM_BASE, VM_DEVICES } from '../../base/memory-map.ts';
import { DEVICES_IOAPIC, IOAPIC_COUNTS, IOAPIC_ID, IOAPIC_INDEX, IOAPIC_REDIRECTION, VM_OPTIONS } from '../../generated/vmm-layout.ts';
import { EINVAL } from '../exits.ts';
import { IOAPIC_PINS, VM_OPTION_EXTENDED_DESTINATION } from '../layout.ts';
import { lockDevices, unlockDevices } from './lock.ts';
import { deliver, DELIVERY_EXTINT, DELIVERY_LOWEST } from './routing.ts';

const IOAPIC: usize = VM_DEVICES + DEVICES_IOAPIC;
const VERSION: u32 = (IOAPIC_PINS - 1) << 16 | 0x11;
const ENTRY_LEVEL: u64 = 0x8000, ENTRY_REMOTE_IRR: u64 = 0x4000, ENTRY_MASKED: u64 = 0x10000;
/** Delivery status and remote IRR are read-only. */
const ENTRY_READ_ONLY: u32 = 0x5000, ENTRY_WRITABLE_LOW: u32 = 0x1afff;
/** bhyve's reset value: masked, destination 1 in bits 48-63 kept as it is read there. */
const ENTRY_RESET: u64 = 0x0001000000010000;

export function ioapicReset(): void {
  store<u32>(IOAPIC, 0, IOAPIC_INDEX);
  store<u32>(IOAPIC, 0, IOAPIC_ID);
  for (let pin: usize = 0; pin < <usize>IOAPIC_PINS; pin++) {
    store<u64>(IOAPIC + (pin << 3), ENTRY_RESET, IOAPIC_REDIRECTION);
    store<i32>(IOAPIC + (pin << 2), 0, IOAPIC_COUNTS);
  }
}

function destinationOf(entry: u64): u32 {
  let destination = <u32>(entry >> 56);
  if ((load<u32>(VM_BASE, VM_OPTIONS) & VM_OPTION_EXTENDED_DESTINATION) != 0) destination |= (<u32>(entry >> 49) & 0x7f) << 8;
  return destination;
}

/** Send the pin's message, unless it is masked or, being level-triggered, has not seen its EOI. */
function send(pin: u32): void {
  const at = IOAPIC + (pin << 3), entry = load<u64>(at, IOAPIC_REDIRECTION);
  if ((entry & ENTRY_MASKED) != 0) return;
  const mode = <u32>(entry >> 8) & 7, level = (entry & ENTRY_LEVEL) != 0 && mode <= DELIVERY_LOWEST;
  if (level && (entry & ENTRY_REMOTE_IRR) != 0) return;
  const taken = deliver(destinationOf(entry), mode != DELIVERY_EXTINT && (entry & 0x800) != 0, mode, <u32>entry & 0xff, level);
  // Remote IRR is set when a local APIC accepts the interrupt (82093AA 3.2.4).
  if (level && taken) store<u64>(at, entry | ENTRY_REMOTE_IRR, IOAPIC_REDIRECTION);
}

function resend(pin: u32): void {
  const entry = load<u64>(IOAPIC + (pin << 3), IOAPIC_REDIRECTION);
  if ((entry & (ENTRY_LEVEL | ENTRY_MASKED)) == ENTRY_LEVEL && load<i32>(IOAPIC + (pin << 2), IOAPIC_COUNTS) > 0) send(pin);
}

/** Lock held. One more (+1) or one less (-1) device holds the pin. */
export function ioapicChange(pin: u32, change: i32): void {
  const at = IOAPIC + (pin << 2), count = load<i32>(at, IOAPIC_COUNTS);
  if (change < 0 && count == 0 || change > 0 && count == i32.MAX_VALUE) return;
  store<i32>(at, count + change, IOAPIC_COUNTS);
  if (change > 0 && count == 0) send(pin);
}

/** Lock held. */
export function ioapicPulseLocked(pin: u32): void {
  ioapicChange(pin, 1);
  ioapicChange(pin, -1);
}

/** Lock held: is the pin held by anyone? */
export function ioapicPinHeld(pin: u32): bool { return load<i32>(IOAPIC + (pin << 2), IOAPIC_COUNTS) > 0; }

/** EOI of a level-triggered vector by some LAPIC: entries with that vector may send again. */
export function ioapicEoi(vector: u32): void {
  lockDevices();
  for (let pin: u32 = 0; pin < <u32>IOAPIC_PINS; pin++) {
    const at = IOAPIC + (pin << 3), entry = load<u64>(at, IOAPIC_REDIRECTION);
    if ((<u32>entry & 0xff) != vector || (entry & ENTRY_REMOTE_IRR) == 0) continue;
    store<u64>(at, entry & ~ENTRY_REMOTE_IRR, IOAPIC_REDIRECTION);
    resend(pin);
  }
  unlockDevices();
}

function readRegister(): u32 {
  const index = load<u32>(IOAPIC, IOAPIC_INDEX);
  switch (index) {
    case 0: return load<u32>(IOAPIC, IOAPIC_ID);
    case 1: return VERSION;
    // The arbitration id follows the APIC id.
    case 2: return load<u32>(IOAPIC, IOAPIC_ID);
  }
  if (index < 0x10 || index >= 0x10 + <u32>IOAPIC_PINS * 2) return 0;
  const entry = load<u64>(IOAPIC + ((index - 0x10) >> 1 << 3), IOAPIC_REDIRECTION);
  return (index & 1) != 0 ? <u32>(entry >> 32) : <u32>entry;
}

function writeRegister(value: u32): void {
  const index = load<u32>(IOAPIC, IOAPIC_INDEX);
  if (index == 0) { store<u32>(IOAPIC, value & 0x0f000000, IOAPIC_ID); return; }
  if (index < 0x10 || index >= 0x10 + <u32>IOAPIC_PINS * 2) return;
  const pin = (index - 0x10) >> 1, at = IOAPIC + (pin << 3);
  let entry = load<u64>(at, IOAPIC_REDIRECTION);
  if ((index & 1) != 0) {
    const extended = (load<u32>(VM_BASE, VM_OPTIONS) & VM_OPTION_EXTENDED_DESTINATION) != 0;
    entry = entry & 0xffffffff | <u64>(value & (extended ? 0xfffe0000 : 0xff000000)) << 32;
  } else {
    entry = entry & (<u64>0xffffffff00000000 | ENTRY_READ_ONLY) | value & ENTRY_WRITABLE_LOW & ~ENTRY_READ_ONLY;
    // An edge-triggered entry has no remote IRR; guests clear a stuck one by switching to edge and back.
    if ((entry & ENTRY_LEVEL) == 0) entry &= ~ENTRY_REMOTE_IRR;
  }
  store<u64>(at, entry, IOAPIC_REDIRECTION);
  resend(pin);
}

/** Two 32-bit registers: index at 0, window at 10h. Anything else reads 0 and is dropped. */
export function ioapicMmioRead(offset: u32, sizeBytes: u32): u64 {
  if (sizeBytes != 4) return 0;
  lockDevices();
  const value: u32 = offset == 0 ? load<u32>(IOAPIC, IOAPIC_INDEX) : offset == 0x10 ? readRegister() : 0;
  unlockDevices();
  return value;
}

export function ioapicMmioWrite(offset: u32, sizeBytes: u32, value: u64): void {
  if (sizeBytes != 4) return;
  lockDevices();
  if (offset == 0) store<u32>(IOAPIC, <u32>value & 0xff, IOAPIC_INDEX);
  else if (offset == 0x10) writeRegister(<u32>value);
  unlockDevices();
}

export function ioapicLine(pin: i32, change: i32): i32 {
  if (<u32>pin >= <u32>IOAPIC_PINS) return EINVAL;
  lockDevices();
  if (change == 0) ioapicPulseLocked(pin);
  else ioapicChange(pin, change);
  unlockDevices();
  return 0;
}
