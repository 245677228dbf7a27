/**
 * The E820 map: what the guest is told about its physical address space.
 * Implements: ACPI 6.4 15.1 INT 15H E820H; bhyve-map 2.1. Runs on: main event loop.
 */
import { BASE_MEMORY_END, HIGHMEM_BASE, MIB } from './layout.ts';

export const E820_RAM = 1,
  E820_RESERVED = 2,
  E820_ACPI = 3,
  E820_NVS = 4;

export interface E820Entry {
  readonly start: number;
  readonly sizeBytes: number;
  readonly type: number;
}

/** RAM as the guest may use it, sorted by address. Nothing is said of [640 KiB, 1 MiB): it holds the tables. */
export function e820OfRam(lowmemBytes: number, highmemBytes: number): E820Entry[] {
  const entries: E820Entry[] = [];
  const add = (start: number, end: number): void => {
    if (end > start) entries.push({ start, sizeBytes: end - start, type: E820_RAM });
  };
  add(0, Math.min(lowmemBytes, BASE_MEMORY_END));
  add(MIB, lowmemBytes);
  add(HIGHMEM_BASE, HIGHMEM_BASE + highmemBytes);
  return entries;
}

/** A new map in which [start, start + sizeBytes) has another type; RAM around it is split. */
export function withReservation(entries: readonly E820Entry[], reservation: E820Entry): E820Entry[] {
  const end = reservation.start + reservation.sizeBytes;
  const result: E820Entry[] = [reservation];
  for (const entry of entries) {
    const entryEnd = entry.start + entry.sizeBytes;
    if (entryEnd <= reservation.start || entry.start >= end) {
      result.push(entry);
      continue;
    }
    if (entry.start < reservation.start) result.push({ ...entry, sizeBytes: reservation.start - entry.start });
    if (entryEnd > end) result.push({ ...entry, start: end, sizeBytes: entryEnd - end });
  }
  return result.sort((a, b) => a.start - b.start);
}

/** 20-byte entries: u64 base, u64 length, u32 type. */
export function e820Bytes(entries: readonly E820Entry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * 20);
  const view = new DataView(bytes.buffer);
  entries.forEach((entry, index) => {
    view.setBigUint64(index * 20, BigInt(entry.start), true);
    view.setBigUint64(index * 20 + 8, BigInt(entry.sizeBytes), true);
    view.setUint32(index * 20 + 16, entry.type, true);
  });
  return bytes;
}
