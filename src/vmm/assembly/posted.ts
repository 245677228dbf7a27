/**
 * The ring of posted writes: vCPUs put in, the main thread takes out (posted-ring.ts).
 * Implements: POSTED in state.ts. Runs on: vCPU threads. A slot is reserved by an atomic add on `head` and published by storing its control
 * word last; bit 31 of that word turns with each lap, so the consumer never reads a slot before its time.
 */
import { POSTED_RING, VM_BASE } from '../../base/memory-map.ts';
import {
  POSTED_ASLEEP, POSTED_DUE, POSTED_ENTRY_ADDRESS, POSTED_ENTRY_CONTROL, POSTED_ENTRY_SIZE_BYTES, POSTED_ENTRY_VALUE, POSTED_HEAD, POSTED_RANGE_END, POSTED_RANGE_GPA, POSTED_RANGE_MODE,
  POSTED_RANGE_SIZE_BYTES, POSTED_SIGNAL, POSTED_TAIL, POSTED_ENTRIES as POSTED_ENTRIES_AT, VM_POSTED_RANGE_COUNT, VM_POSTED_RANGE_VERSION, VM_POSTED_RANGES,
} from '../../generated/vmm-layout.ts';
import { MAX_POSTED_RANGES, PORT_MODE_EXIT, PORT_MODE_NOTIFIED, POSTED_ENTRIES, POSTED_MEMORY, POSTED_SIZE_SHIFT, POSTED_VCPU_SHIFT } from '../layout.ts';
import { hostNowNs } from './clock.ts';
import { indexOf } from './inbox.ts';

const LAP_SHIFT: u32 = 11;
/** What nobody waits for (a byte to a console) is announced so much later, in units of 2^16 ns: about 2 ms, for which nobody can tell the difference. */
const DELAY: u32 = 31;
/** From so many on, before a vCPU has to wait for room. */
const CROWD: u32 = POSTED_ENTRIES / 2;

/** Wake the consumer if it sleeps and there is something for it. */
export function wakeConsumer(): void {
  if (atomic.load<u32>(POSTED_RING, POSTED_ASLEEP) == 0) return;
  if (atomic.load<u32>(POSTED_RING, POSTED_HEAD) == atomic.load<u32>(POSTED_RING, POSTED_TAIL)) return;
  if (atomic.xchg<u32>(POSTED_RING, 0, POSTED_ASLEEP) == 0) return;
  atomic.store<u32>(POSTED_RING, 0, POSTED_DUE);
  atomic.add<u32>(POSTED_RING, 1, POSTED_SIGNAL);
  atomic.notify(POSTED_RING + POSTED_SIGNAL, -1);
}

/** Between slices: wake the consumer for what has been there for a while. Each wake-up costs both threads more than many writes. */
export function wakeConsumerInTime(): void {
  if (atomic.load<u32>(POSTED_RING, POSTED_ASLEEP) == 0) return;
  if (atomic.load<u32>(POSTED_RING, POSTED_HEAD) == atomic.load<u32>(POSTED_RING, POSTED_TAIL)) return;
  const now = <u32>(<u64>hostNowNs() >> 16), due = atomic.load<u32>(POSTED_RING, POSTED_DUE);
  if (due == 0) atomic.store<u32>(POSTED_RING, now + DELAY | 1, POSTED_DUE);
  else if (<i32>(now - due) >= 0) wakeConsumer();
}

/** Put a write into the ring; while it is full the vCPU waits for the consumer. */
function post(vcpu: usize, address: u64, kind: u32, sizeBytes: u32, value: u64, mode: u32): void {
  // A reserved slot belongs to this vCPU, so entries of one vCPU keep their order.
  const slot = atomic.add<u32>(POSTED_RING, 1, POSTED_HEAD);
  let waiting: u32 = 0;
  for (;;) {
    const tail = atomic.load<u32>(POSTED_RING, POSTED_TAIL);
    waiting = slot - tail;
    if (waiting < <u32>POSTED_ENTRIES) break;
    wakeConsumer();
    atomic.wait<u32>(POSTED_RING + POSTED_TAIL, tail, 100000000);
  }
  const entry: usize = <usize>POSTED_RING + <usize>POSTED_ENTRIES_AT + <usize>(slot & <u32>POSTED_ENTRIES - 1) * <usize>POSTED_ENTRY_SIZE_BYTES;
  const phase: u32 = (slot >> LAP_SHIFT & 1) == 0 ? 0x80000000 : 0;
  store<u32>(entry, <u32>address, POSTED_ENTRY_ADDRESS);
  store<u64>(entry, value, POSTED_ENTRY_VALUE);
  const control = phase | kind | indexOf(vcpu) << POSTED_VCPU_SHIFT | sizeBytes << POSTED_SIZE_SHIFT | <u32>(address >> 32) & 0xfffff;
  atomic.store<u32>(entry, control, POSTED_ENTRY_CONTROL);
  if (mode == PORT_MODE_NOTIFIED || waiting >= CROWD) wakeConsumer();
}

export function postPort(vcpu: usize, port: u32, sizeBytes: u32, value: u32, mode: u32): void {
  post(vcpu, port, 0, sizeBytes, value, mode);
}

export function postMemory(vcpu: usize, gpa: u64, sizeBytes: u32, value: u64, mode: u32): void {
  post(vcpu, gpa, POSTED_MEMORY, sizeBytes, value, mode);
}

/** How a write at [gpa, gpa + sizeBytes) is to be posted, or PORT_MODE_EXIT. An edit of the list in progress means an exit. */
export function postedMode(gpa: u64, sizeBytes: u32): u32 {
  const version = atomic.load<u32>(VM_BASE, VM_POSTED_RANGE_VERSION);
  if ((version & 1) != 0) return PORT_MODE_EXIT;
  const count = min(load<u32>(VM_BASE, VM_POSTED_RANGE_COUNT), <u32>MAX_POSTED_RANGES);
  let range: usize = VM_BASE + VM_POSTED_RANGES, mode: u32 = PORT_MODE_EXIT;
  for (let i: u32 = 0; i < count; i++, range += POSTED_RANGE_SIZE_BYTES) {
    const end = load<u64>(range, POSTED_RANGE_END);
    if (gpa >= load<u64>(range, POSTED_RANGE_GPA) && gpa < end && end - gpa >= sizeBytes) { mode = load<u32>(range, POSTED_RANGE_MODE); break; }
  }
  return atomic.load<u32>(VM_BASE, VM_POSTED_RANGE_VERSION) == version ? mode : PORT_MODE_EXIT;
}
