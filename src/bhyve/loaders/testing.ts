/**
 * Guest memory and small images of every format, for tests.
 * Runs on: tests only.
 */
import { e820OfRam } from '../e820.ts';
import type { GuestMemory } from '../ports-of-machine.ts';
import type { BootTarget } from './image.ts';

export interface TestGuest extends BootTarget {
  readonly ram: Uint8Array;
  readonly view: DataView;
  text(gpa: number): string;
}

export function testGuest(ramBytes: number, ram = new Uint8Array(ramBytes)): TestGuest {
  const memory: GuestMemory = {
    view: (gpa, sizeBytes) =>
      gpa >= 0 && sizeBytes >= 0 && gpa <= ramBytes && sizeBytes <= ramBytes - gpa ? ram.subarray(gpa, gpa + sizeBytes) : undefined,
  };
  return {
    memory,
    ram,
    e820: e820OfRam(ramBytes, 0),
    rsdpGpa: 0xf2400,
    view: new DataView(ram.buffer),
    text: (gpa) => new TextDecoder().decode(ram.subarray(gpa, ram.indexOf(0, gpa))),
  };
}

export interface BzImageOptions {
  readonly codeBytes?: number;
  readonly version?: number;
  readonly initrdLast?: number;
  readonly initSizeBytes?: number;
  readonly preferred?: bigint;
  readonly relocatable?: boolean;
  readonly commandLineMax?: number;
}

/** A bzImage of one setup sector pair and `codeBytes` bytes of code, filled with 90h. */
export function bzImage(options: BzImageOptions = {}): Uint8Array {
  const setupBytes = 3 * 512,
    codeBytes = options.codeBytes ?? 0x4000;
  const bytes = new Uint8Array(setupBytes + codeBytes).fill(0x90, setupBytes);
  const view = new DataView(bytes.buffer);
  view.setUint8(0x1f1, 2);
  view.setUint32(0x1f4, codeBytes / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true); // a short jump: the header ends at 202h + 6Ah
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, options.version ?? 0x20f, true);
  view.setUint8(0x211, 1);
  view.setUint32(0x22c, options.initrdLast ?? 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  view.setUint8(0x234, options.relocatable === false ? 0 : 1);
  view.setUint16(0x236, 1, true);
  view.setUint32(0x238, options.commandLineMax ?? 2047, true);
  view.setUint32(0x248, 0x400, true);
  view.setUint32(0x24c, codeBytes - 0x400, true);
  view.setBigUint64(0x258, options.preferred ?? 0x100_0000n, true);
  view.setUint32(0x260, options.initSizeBytes ?? 0x10_0000, true);
  return bytes;
}

export interface TestSegment {
  readonly physical: bigint;
  readonly virtual?: bigint;
  readonly data: Uint8Array;
  readonly memoryBytes?: bigint;
}

/** An ELF file of PT_LOAD segments and, with `pvhEntry`, a Xen note. */
export function elfImage(options: {
  readonly is64: boolean;
  readonly entry: bigint;
  readonly segments: readonly TestSegment[];
  readonly pvhEntry?: bigint;
  readonly prefix?: Uint8Array;
}): Uint8Array {
  const { is64, segments } = options;
  const headerBytes = is64 ? 64 : 52,
    entryBytes = is64 ? 56 : 32;
  const note = options.pvhEntry === undefined ? undefined : noteOf('Xen', 18, options.pvhEntry, is64 ? 8 : 4);
  const count = segments.length + (note === undefined ? 0 : 1);
  let at = headerBytes + count * entryBytes + (options.prefix?.length ?? 0);
  const total = at + segments.reduce((sum, segment) => sum + segment.data.length, 0) + (note?.length ?? 0);
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, is64 ? 2 : 1, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, is64 ? 62 : 3, true);
  if (is64) {
    view.setBigUint64(24, options.entry, true);
    view.setBigUint64(32, 64n, true);
  } else {
    view.setUint32(24, Number(options.entry), true);
    view.setUint32(28, 52, true);
  }
  view.setUint16(is64 ? 54 : 42, entryBytes, true);
  view.setUint16(is64 ? 56 : 44, count, true);
  if (options.prefix !== undefined) bytes.set(options.prefix, headerBytes + count * entryBytes);
  const put = (index: number, type: number, physical: bigint, virtual: bigint, data: Uint8Array, memoryBytes: bigint): void => {
    const header = headerBytes + index * entryBytes;
    bytes.set(data, at);
    view.setUint32(header, type, true);
    if (is64) {
      view.setUint32(header + 4, 5, true);
      view.setBigUint64(header + 8, BigInt(at), true);
      view.setBigUint64(header + 16, virtual, true);
      view.setBigUint64(header + 24, physical, true);
      view.setBigUint64(header + 32, BigInt(data.length), true);
      view.setBigUint64(header + 40, memoryBytes, true);
    } else {
      [at, Number(virtual), Number(physical), data.length, Number(memoryBytes), 5].forEach((value, word) => {
        view.setUint32(header + 4 + word * 4, value, true);
      });
    }
    at += data.length;
  };
  segments.forEach((segment, index) => {
    put(index, 1, segment.physical, segment.virtual ?? segment.physical, segment.data, segment.memoryBytes ?? BigInt(segment.data.length));
  });
  if (note !== undefined) put(segments.length, 4, 0n, 0n, note, BigInt(note.length));
  return bytes;
}

function noteOf(owner: string, type: number, value: bigint, valueBytes: number): Uint8Array {
  const bytes = new Uint8Array(12 + 4 + valueBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, owner.length + 1, true);
  view.setUint32(4, valueBytes, true);
  view.setUint32(8, type, true);
  bytes.set(new TextEncoder().encode(owner), 12);
  if (valueBytes === 8) view.setBigUint64(16, value, true);
  else view.setUint32(16, Number(value), true);
  return bytes;
}

/** A multiboot header; with `addresses` the flat kind. */
export function multibootHeaderBytes(flags: number, addresses: readonly number[] = []): Uint8Array {
  const bytes = new Uint8Array(12 + 20);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x1bad_b002, true);
  view.setUint32(4, flags, true);
  view.setUint32(8, -(0x1bad_b002 + flags) >>> 0, true);
  addresses.forEach((address, index) => {
    view.setUint32(12 + index * 4, address, true);
  });
  return bytes;
}
