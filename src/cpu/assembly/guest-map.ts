/**
 * The guest-physical map: where a guest-physical address lies in memory 1, and what may be done there.
 * Implements: memory-map.ts GUEST_MAP. Runs on: the vCPU's own thread; the map changes only while all vCPUs are stopped.
 */
import { GUEST_MAP_COUNT, GUEST_MAP_MAXIMUM, GUEST_MAP_RANGE_BYTES, GUEST_MAP_RANGES } from '../../base/memory-map.ts';

/** @returns address of the range that holds [gpa, gpa + sizeBytes), or 0. */
export function findRange(gpa: u64, sizeBytes: u64): usize {
  const count = min(load<u32>(GUEST_MAP_COUNT), GUEST_MAP_MAXIMUM);
  let range: usize = GUEST_MAP_RANGES;
  for (let i: u32 = 0; i < count; i++) {
    const start = load<u64>(range), end = load<u64>(range, 8);
    if (gpa >= start && gpa < end) return end - gpa >= sizeBytes ? range : 0;
    range += GUEST_MAP_RANGE_BYTES;
  }
  return 0;
}

export function rangeProtection(range: usize): u32 { return load<u32>(range, 24); }

/** hva of a gpa inside the range. */
export function rangeHva(range: usize, gpa: u64): u64 { return gpa - load<u64>(range) + load<u64>(range, 16); }
