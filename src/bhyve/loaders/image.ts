/**
 * What all loaders share: reading a file's fields with checks, and placing bytes in guest RAM so that nothing overlaps.
 * Runs on: main event loop, before the first instruction. Every file is hostile: offsets, sizes and counts are checked before use.
 */
import { VmError } from '../../base/errors.ts';
import { E820_RAM, type E820Entry } from '../e820.ts';
import type { Descriptor, GuestMemory, InitialState } from '../ports-of-machine.ts';

export interface ImageFile {
  /** As the user wrote it; messages name it. */
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Its bytes are not needed before they are asked for again. Absent: they stay. */
  release?(): void;
}

export interface BootModule {
  readonly image: ImageFile;
  readonly commandLine: string;
}

/** What the user asked to boot. */
export interface BootSource {
  readonly kernel: ImageFile;
  readonly initrd?: ImageFile;
  /** Further modules (multiboot, PVH); the initrd counts as the first. */
  readonly modules?: readonly BootModule[];
  readonly commandLine: string;
}

/** Where it is loaded. */
export interface BootTarget {
  readonly memory: GuestMemory;
  readonly e820: readonly E820Entry[];
  /** Address of the ACPI root pointer, 0 without ACPI. */
  readonly rsdpGpa: number;
}

export const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

/** Little-endian fields of a file. Every reader names its field, so that an error can. */
export class ImageReader {
  readonly file: ImageFile;
  readonly #view: DataView;

  constructor(file: ImageFile) {
    this.file = file;
    this.#view = new DataView(file.bytes.buffer, file.bytes.byteOffset, file.bytes.byteLength);
  }

  get sizeBytes(): number {
    return this.file.bytes.byteLength;
  }

  u8(offset: number, field: string): number {
    this.#check(offset, 1, field);
    return this.#view.getUint8(offset);
  }

  u16(offset: number, field: string): number {
    this.#check(offset, 2, field);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number, field: string): number {
    this.#check(offset, 4, field);
    return this.#view.getUint32(offset, true);
  }

  u64Exact(offset: number, field: string): bigint {
    this.#check(offset, 8, field);
    return this.#view.getBigUint64(offset, true);
  }

  /** @throws VmError ENOEXEC also for 2^53 and more: no address or size of a guest is that large. */
  u64(offset: number, field: string): number {
    this.#check(offset, 8, field);
    const value = this.#view.getBigUint64(offset, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.bad(field, hex(value), 'an address or size below 2^53');
    return Number(value);
  }

  /** @throws VmError ENOEXEC unless [offset, offset + sizeBytes) lies in the file. */
  slice(offset: number, sizeBytes: number, field: string): Uint8Array {
    this.#check(offset, sizeBytes, field);
    return this.file.bytes.subarray(offset, offset + sizeBytes);
  }

  bad(field: string, value: string | number, accepted: string): VmError {
    return new VmError('ENOEXEC', `${this.file.name}: ${field}=${value}: expected ${accepted}`);
  }

  #check(offset: number, sizeBytes: number, field: string): void {
    if (offset < 0 || sizeBytes < 0 || offset > this.sizeBytes || sizeBytes > this.sizeBytes - offset) {
      throw new VmError(
        'ENOEXEC',
        `${this.file.name}: ${field} at ${hex(offset)}, ${sizeBytes} bytes: expected inside the file of ${this.sizeBytes} bytes (truncated?)`,
      );
    }
  }
}

export interface Placed {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** Where something may lie, half open; `top`: as high as possible. Page aligned unless said. */
export interface Window {
  readonly start: number;
  readonly end: number;
  readonly alignment?: number;
  readonly top?: boolean;
}

interface Claim {
  readonly what: string;
  readonly start: number;
  readonly end: number;
}

const PAGE_BYTES = 4096;

/** Guest RAM while it is being filled: every byte belongs to at most one thing. */
export class GuestRam {
  readonly #memory: GuestMemory;
  readonly #ranges: readonly { readonly start: number; readonly end: number }[];
  readonly #claims: Claim[] = [];

  constructor(memory: GuestMemory, e820: readonly E820Entry[]) {
    this.#memory = memory;
    this.#ranges = e820
      .filter((entry) => entry.type === E820_RAM)
      .map((entry) => ({ start: entry.start, end: entry.start + entry.sizeBytes }));
  }

  /** Keep [start, start + sizeBytes) free of whatever is placed later. */
  reserve(what: string, start: number, sizeBytes: number): void {
    this.#claims.push({ what, start, end: start + sizeBytes });
  }

  /**
   * Take an address range that the image dictates.
   * @param what file and field, for messages.
   * @throws VmError ENOEXEC when it is not all RAM or overlaps an earlier claim.
   */
  claim(what: string, start: number, sizeBytes: number): Uint8Array {
    const end = start + sizeBytes;
    if (!this.#ranges.some((range) => start >= range.start && end <= range.end)) {
      throw new VmError('ENOEXEC', `${what}: [${hex(start)}, ${hex(end)}): expected inside guest RAM (${this.rangesText()})`);
    }
    const other = this.#claims.find((claim) => start < claim.end && claim.start < end);
    if (other !== undefined)
      throw new VmError(
        'ENOEXEC',
        `${what}: [${hex(start)}, ${hex(end)}): overlaps ${other.what} at [${hex(other.start)}, ${hex(other.end)})`,
      );
    this.#claims.push({ what, start, end });
    return this.#view(what, start, sizeBytes);
  }

  /**
   * Find room for something whose address is ours to choose.
   * @throws VmError ENOMEM when no room is left.
   */
  place(what: string, sizeBytes: number, window: Window): Placed {
    const gpa = this.find(what, sizeBytes, window);
    this.#claims.push({ what, start: gpa, end: gpa + Math.max(sizeBytes, 1) });
    return { gpa, bytes: this.#view(what, gpa, sizeBytes) };
  }

  /** Like place, but takes nothing yet. */
  find(what: string, sizeBytes: number, window: Window): number {
    const gpa = this.#search(sizeBytes, window);
    if (gpa !== undefined) return gpa;
    const largest = this.#free(window.start, window.end).reduce((most, range) => Math.max(most, range.end - range.start), 0);
    throw new VmError(
      'ENOMEM',
      `${what}: ${sizeBytes} bytes: expected at most ${largest} bytes, the largest free RAM range in [${hex(window.start)}, ${hex(window.end)})`,
    );
  }

  hasRoom(sizeBytes: number, window: Window): boolean {
    return this.#search(sizeBytes, window) !== undefined;
  }

  /** All RAM, and not taken. */
  isFree(start: number, sizeBytes: number): boolean {
    return this.#free(start, start + sizeBytes).some((range) => range.start === start && range.end === start + sizeBytes);
  }

  #search(sizeBytes: number, window: Window): number | undefined {
    const alignment = window.alignment ?? PAGE_BYTES;
    const size = Math.max(sizeBytes, 1);
    const free = this.#free(window.start, window.end);
    for (const range of window.top === true ? free.reverse() : free) {
      const gpa =
        window.top === true ? Math.floor((range.end - size) / alignment) * alignment : Math.ceil(range.start / alignment) * alignment;
      if (gpa >= range.start && gpa + size <= range.end) return gpa;
    }
    return undefined;
  }

  rangesText(): string {
    return this.#ranges.map((range) => `[${hex(range.start)}, ${hex(range.end)})`).join(' ');
  }

  #free(start: number, end: number): { start: number; end: number }[] {
    let free = this.#ranges
      .map((range) => ({ start: Math.max(range.start, start), end: Math.min(range.end, end) }))
      .filter((range) => range.end > range.start);
    for (const claim of this.#claims) {
      free = free
        .flatMap((range) => [
          { start: range.start, end: Math.min(range.end, claim.start) },
          { start: Math.max(range.start, claim.end), end: range.end },
        ])
        .filter((range) => range.end > range.start);
    }
    return free;
  }

  #view(what: string, gpa: number, sizeBytes: number): Uint8Array {
    const bytes = this.#memory.view(gpa, sizeBytes);
    if (bytes === undefined) throw new VmError('EFAULT', `${what}: [${hex(gpa)}, ${hex(gpa + sizeBytes)}): not guest RAM`);
    return bytes;
  }
}

/** Zero bytes without touching pages that are zero already: a large bss must not make them resident. */
export function clear(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
    const page = bytes.subarray(at, at + PAGE_BYTES);
    if (!isZero(page)) page.fill(0);
  }
}

function isZero(bytes: Uint8Array): boolean {
  if (bytes.byteOffset % 8 === 0 && bytes.length % 8 === 0) {
    for (const word of new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8)) if (!Object.is(word, 0)) return false;
    return true;
  }
  for (const byte of bytes) if (byte !== 0) return false;
  return true;
}

/** @throws VmError EINVAL for a NUL inside or more than `maxBytes` bytes, the closing NUL not counted. */
export function commandLineBytes(commandLine: string, maxBytes: number): Uint8Array {
  const encoded = new TextEncoder().encode(commandLine);
  if (encoded.includes(0)) throw new VmError('EINVAL', `kernel command line: expected no NUL character`);
  if (encoded.length > maxBytes) {
    throw new VmError(
      'EINVAL',
      `kernel command line of ${encoded.length} bytes ('${commandLine.slice(0, 40)}...'): expected at most ${maxBytes} bytes`,
    );
  }
  const bytes = new Uint8Array(encoded.length + 1);
  bytes.set(encoded);
  return bytes;
}

/** Modules as a list: the initrd first. */
export function modulesOf(source: BootSource): BootModule[] {
  const initrd = source.initrd === undefined ? [] : [{ image: source.initrd, commandLine: source.initrd.name }];
  return [...initrd, ...(source.modules ?? [])];
}

// Flat segments. Access words: P, S, type accessed; G and D or L (SDM vol. 3A 3.4.5).
const flat = (access: number): Descriptor => ({ base: 0n, limit: 0xffff_ffff, access });
const CODE32 = flat(0xc09b),
  CODE64 = flat(0xa09b),
  DATA = flat(0xc093);
const CODE_SELECTOR = 0x10n,
  DATA_SELECTOR = 0x18n;

/** A descriptor as it stands in a table. */
function descriptorWord({ base, limit, access }: Descriptor): bigint {
  const stored = (access & 0x8000) !== 0 ? BigInt(limit >>> 12) : BigInt(limit);
  return (
    (stored & 0xffffn) |
    ((base & 0xff_ffffn) << 16n) |
    (BigInt(access & 0xff) << 40n) |
    (((stored >> 16n) & 0xfn) << 48n) |
    (BigInt((access >> 12) & 0xf) << 52n) |
    (((base >> 24n) & 0xffn) << 56n)
  );
}

export const GDT_BYTES = 32;

/**
 * Flat code at selector 10h and data at 18h, as the Linux and multiboot protocols want them; a GDT which says the same is
 * written to `gdt`.
 */
export function flatSegments(codeBits: 32 | 64, gdt: Placed): InitialState {
  const code = codeBits === 64 ? CODE64 : CODE32;
  const view = new DataView(gdt.bytes.buffer, gdt.bytes.byteOffset, GDT_BYTES);
  [0n, 0n, descriptorWord(code), descriptorWord(DATA)].forEach((word, index) => {
    view.setBigUint64(index * 8, word, true);
  });
  const data = { ds: DATA, es: DATA, fs: DATA, gs: DATA, ss: DATA } as const;
  return {
    registers: {
      cs: CODE_SELECTOR,
      ds: DATA_SELECTOR,
      es: DATA_SELECTOR,
      fs: DATA_SELECTOR,
      gs: DATA_SELECTOR,
      ss: DATA_SELECTOR,
      tr: 0n,
      ldtr: 0n,
      rflags: 2n,
    },
    descriptors: {
      cs: code,
      ...data,
      // A busy 32/64-bit TSS of the least size, which is what VM entry demands of TR; LDTR is unusable.
      tr: { base: 0n, limit: 0x67, access: 0x8b },
      ldtr: { base: 0n, limit: 0xffff, access: 0x10082 },
      gdtr: { base: BigInt(gdt.gpa), limit: GDT_BYTES - 1, access: 0 },
      idtr: { base: 0n, limit: 0, access: 0 },
    },
  };
}
