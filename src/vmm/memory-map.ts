/**
 * Memory segments and where they are mapped in guest-physical space.
 * Implements: bhyve-map 3.2 (vm_alloc_memseg, vm_mmap_memseg, vm_munmap_memseg), 2.1. Runs on: the VM's owner; holds no guest memory.
 * Ranges are half open; a length is compared with what is left, never an end with an end that might wrap.
 */
import { GUEST_MAP_COUNT, GUEST_MAP_MAXIMUM, GUEST_MAP_RANGE_BYTES, GUEST_MAP_RANGES, HVA_RAM, PAGE_BYTES } from '../base/memory-map.ts';
import { VmError } from '../base/errors.ts';
import { HIGHMEM_GPA, LOWMEM_LIMIT_GPA, PROT_EXEC, PROT_READ, PROT_WRITE } from './layout.ts';

/** Segment numbers with a fixed meaning. Any other below MAX_SEGMENTS is free for devices. */
export const SEGMENT = { sysmem: 0, bootrom: 1, framebuffer: 2, pcirom: 3 } as const;
export const MAX_SEGMENTS = 16;
/** Two per segment, as in bhyve. */
export const MAX_MAPPINGS = 2 * MAX_SEGMENTS;
/** Length of a segment's name: what is left of a device node's name. */
export const MAX_SEGMENT_NAME = 15;
export const PROT_ALL = PROT_READ | PROT_WRITE | PROT_EXEC;
export const MAP_WIRED = 1;
/** Guest-physical addresses are numbers: 52 bits, the architecture's limit. */
export const GPA_END = 2 ** 52;

export interface Segment {
  readonly id: number;
  readonly sizeBytes: number;
  /** Empty: system memory. */
  readonly name: string;
  /** Offset in memory 1. */
  readonly hva: number;
}

export interface Mapping {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly segment: number;
  /** Offset in the segment. */
  readonly offset: number;
  readonly protection: number;
  readonly flags: number;
}

const hex = (value: number): string => `0x${value.toString(16)}`;
const isPages = (value: number): boolean => Number.isSafeInteger(value) && value >= 0 && value % PAGE_BYTES === 0;

/** lowmem below 3 GiB, highmem from 4 GiB. */
export function splitMemory(sizeBytes: number): { lowmemBytes: number; highmemBytes: number } {
  const lowmemBytes = Math.min(sizeBytes, LOWMEM_LIMIT_GPA);
  return { lowmemBytes, highmemBytes: sizeBytes - lowmemBytes };
}

/** Offset in memory 1 behind system memory. */
export function sysmemEndHva(sizeBytes: number): number {
  const { lowmemBytes, highmemBytes } = splitMemory(sizeBytes);
  return HVA_RAM + (highmemBytes > 0 ? HIGHMEM_GPA + highmemBytes : lowmemBytes);
}

export class MemoryMap {
  readonly #segments = new Map<number, Segment>();
  /** Sorted by gpa, none overlapping another. */
  #mappings: Mapping[] = [];
  readonly #arenaEnd: number;
  #arenaNext: number;

  /** @param arena where segments other than system memory may lie in memory 1, half open. */
  constructor(arena: { readonly start: number; readonly end: number }) {
    this.#arenaNext = arena.start;
    this.#arenaEnd = arena.end;
  }

  /**
   * @throws VmError EINVAL (number or length), EEXIST (the segment is there), ENAMETOOLONG, ENOMEM (no room left in memory 1).
   */
  allocate(id: number, sizeBytes: number, name: string): Segment {
    this.#checkId(id);
    if (!isPages(sizeBytes) || sizeBytes === 0)
      throw new VmError('EINVAL', `memory segment ${id}: length ${sizeBytes}: expected a multiple of ${PAGE_BYTES}, not 0`);
    if (name.length > MAX_SEGMENT_NAME)
      throw new VmError('ENAMETOOLONG', `memory segment '${name}': expected at most ${MAX_SEGMENT_NAME} characters`);
    if (this.#segments.has(id)) throw new VmError('EEXIST', `memory segment ${id}: there already`);
    let hva = HVA_RAM;
    if (id !== SEGMENT.sysmem) {
      hva = this.#arenaNext;
      if (sizeBytes > this.#arenaEnd - hva)
        throw new VmError(
          'ENOMEM',
          `memory segment '${name}': ${sizeBytes} bytes: expected at most the ${this.#arenaEnd - hva} bytes left for devices`,
        );
      this.#arenaNext += sizeBytes;
    }
    const segment = { id, sizeBytes, name, hva };
    this.#segments.set(id, segment);
    return segment;
  }

  /** @throws VmError EINVAL for a number out of range. @returns undefined for an unused one. */
  segment(id: number): Segment | undefined {
    this.#checkId(id);
    return this.#segments.get(id);
  }

  segments(): readonly Segment[] {
    return [...this.#segments.values()].toSorted((a, b) => a.id - b.id);
  }

  /** @throws VmError EINVAL, ENOSPC (table full), EFAULT (overlaps a mapping). */
  map(mapping: Mapping): void {
    const { gpa, sizeBytes, segment: id, offset, protection, flags } = mapping;
    const where = `mapping ${hex(gpa)} + ${hex(sizeBytes)}`;
    if (protection === 0 || (protection & ~PROT_ALL) !== 0)
      throw new VmError('EINVAL', `${where}: protection ${protection}: expected 1 to ${PROT_ALL}`);
    if ((flags & ~MAP_WIRED) !== 0) throw new VmError('EINVAL', `${where}: flags ${flags}: expected 0 or ${MAP_WIRED} (wired)`);
    const segment = this.segment(id);
    if (segment === undefined) throw new VmError('EINVAL', `${where}: memory segment ${id}: expected one that was allocated`);
    if (!isPages(gpa) || !isPages(offset) || !isPages(sizeBytes) || sizeBytes === 0)
      throw new VmError('EINVAL', `${where} at offset ${hex(offset)}: expected multiples of ${PAGE_BYTES}, length not 0`);
    if (gpa > GPA_END || sizeBytes > GPA_END - gpa) throw new VmError('EINVAL', `${where}: expected an end of at most 2^52`);
    if (offset > segment.sizeBytes || sizeBytes > segment.sizeBytes - offset) {
      throw new VmError('EINVAL', `${where} at offset ${hex(offset)}: expected inside segment ${id} of ${hex(segment.sizeBytes)} bytes`);
    }
    if (this.#mappings.length >= Math.min(MAX_MAPPINGS, GUEST_MAP_MAXIMUM))
      throw new VmError('ENOSPC', `${where}: expected at most ${MAX_MAPPINGS} mappings`);
    const index = this.#mappings.findIndex((other) => other.gpa >= gpa);
    const at = index < 0 ? this.#mappings.length : index;
    const before = this.#mappings[at - 1],
      after = this.#mappings[at];
    const other =
      before !== undefined && gpa - before.gpa < before.sizeBytes
        ? before
        : after !== undefined && after.gpa - gpa < sizeBytes
          ? after
          : undefined;
    if (other !== undefined)
      throw new VmError('EFAULT', `${where}: overlaps the mapping ${hex(other.gpa)} + ${hex(other.sizeBytes)} of segment ${other.segment}`);
    this.#mappings.splice(at, 0, { gpa, sizeBytes, segment: id, offset, protection, flags });
  }

  /** Exactly one whole mapping. @throws VmError EINVAL when there is none. */
  unmap(gpa: number, sizeBytes: number): void {
    this.#mappings.splice(this.#exact(gpa, sizeBytes), 1);
  }

  /** Change the protection of exactly one whole mapping. @throws VmError EINVAL. */
  protect(gpa: number, sizeBytes: number, protection: number): void {
    if (protection === 0 || (protection & ~PROT_ALL) !== 0)
      throw new VmError('EINVAL', `mapping ${hex(gpa)}: protection ${protection}: expected 1 to ${PROT_ALL}`);
    const index = this.#exact(gpa, sizeBytes);
    this.#mappings[index] = { ...this.#mappings[index]!, protection }; // #exact found it
  }

  /** @returns the lowest mapping that starts at or above `gpa`. */
  next(gpa: number): Mapping | undefined {
    return this.#mappings.find((mapping) => mapping.gpa >= gpa);
  }

  /** @returns the mapping that holds all of [gpa, gpa + sizeBytes). */
  find(gpa: number, sizeBytes: number): Mapping | undefined {
    return this.#mappings.find(
      (mapping) => gpa >= mapping.gpa && gpa - mapping.gpa < mapping.sizeBytes && sizeBytes <= mapping.sizeBytes - (gpa - mapping.gpa),
    );
  }

  mappings(): readonly Mapping[] {
    return this.#mappings;
  }

  hvaOf(mapping: Mapping): number {
    return this.#segments.get(mapping.segment)!.hva + mapping.offset; // a mapped segment is never freed
  }

  /** Drop every mapping but those of system memory; segments stay. */
  unmapDevices(): void {
    this.#mappings = this.#mappings.filter((mapping) => mapping.segment === SEGMENT.sysmem);
  }

  /** Write the table which the vCPUs read. Every vCPU is held. */
  publish(memory0: DataView): void {
    let at = GUEST_MAP_RANGES;
    for (const mapping of this.#mappings) {
      memory0.setBigUint64(at, BigInt(mapping.gpa), true);
      memory0.setBigUint64(at + 8, BigInt(mapping.gpa + mapping.sizeBytes), true);
      memory0.setBigUint64(at + 16, BigInt(this.hvaOf(mapping)), true);
      memory0.setUint32(at + 24, mapping.protection, true);
      memory0.setUint32(at + 28, mapping.segment, true);
      at += GUEST_MAP_RANGE_BYTES;
    }
    memory0.setUint32(GUEST_MAP_COUNT, this.#mappings.length, true);
    memory0.setUint32(GUEST_MAP_COUNT + 4, memory0.getUint32(GUEST_MAP_COUNT + 4, true) + 1, true);
  }

  #exact(gpa: number, sizeBytes: number): number {
    const index = this.#mappings.findIndex((mapping) => mapping.gpa === gpa && mapping.sizeBytes === sizeBytes);
    if (index < 0)
      throw new VmError('EINVAL', `mapping ${hex(gpa)} + ${hex(sizeBytes)}: expected the address and length of a present mapping`);
    return index;
  }

  #checkId(id: number): void {
    if (!Number.isInteger(id) || id < 0 || id >= MAX_SEGMENTS)
      throw new VmError('EINVAL', `memory segment ${id}: expected 0 to ${MAX_SEGMENTS - 1}`);
  }
}
