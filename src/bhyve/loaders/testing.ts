/**
 * Guest memory for tests: one byte array, RAM from 0.
 * Runs on: tests only.
 */
import { e820OfRam } from '../e820.ts';
import type { GuestMemory } from '../ports-of-machine.ts';
import type { BootTarget } from './image.ts';

export interface TestGuest extends BootTarget {
  readonly ram: Uint8Array;
}

export function testGuest(ramBytes: number): TestGuest {
  const ram = new Uint8Array(ramBytes);
  const memory: GuestMemory = {
    view: (gpa, sizeBytes) => (gpa >= 0 && sizeBytes >= 0 && gpa <= ramBytes && sizeBytes <= ramBytes - gpa ? ram.subarray(gpa, gpa + sizeBytes) : undefined),
  };
  return { memory, ram, e820: e820OfRam(ramBytes, 0), rsdpGpa: 0xf2400 };
}
