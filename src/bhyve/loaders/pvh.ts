/**
 * PVH: an ELF kernel with a Xen note that names its 32-bit entry point (Linux's vmlinux, FreeBSD's kernel).
 * Implements: Xen docs/misc/pvh.pandoc (x86/HVM direct boot ABI), xen/include/public/arch-x86/hvm/start_info.h version 1.
 * Runs on: main event loop, before the first instruction.
 */
import { HIGHMEM_BASE, MIB } from '../layout.ts';
import type { InitialState } from '../ports-of-machine.ts';
import { findNote, loadSegments, readElf, type Elf } from './elf.ts';
import {
  GDT_BYTES,
  GuestRam,
  ImageReader,
  clear,
  commandLineBytes,
  flatSegments,
  hex,
  modulesOf,
  type BootSource,
  type BootTarget,
  type ImageFile,
} from './image.ts';

const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const START_MAGIC = 0x336e_c578;
const START_INFO_BYTES = 56,
  MODULE_BYTES = 32,
  MEMMAP_BYTES = 24;
const MAX_COMMAND_LINE_BYTES = 65535;

/** @returns the image when it has the note, so that the caller may try another protocol otherwise. */
export function pvhImage(file: ImageFile): { readonly elf: Elf; readonly entry: number } | undefined {
  const elf = readElf(new ImageReader(file));
  const note = findNote(elf, 'Xen', XEN_ELFNOTE_PHYS32_ENTRY);
  if (note === undefined) return undefined;
  // 4 or 8 bytes, as the kernel's word size is.
  if (note.length !== 4 && note.length !== 8) throw elf.reader.bad('note XEN_ELFNOTE_PHYS32_ENTRY', `${note.length} bytes`, '4 or 8 bytes');
  const view = new DataView(note.buffer, note.byteOffset, note.length);
  const entry = note.length === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
  const holds = elf.segments.some(
    (segment) => entry >= BigInt(segment.physical) && entry < BigInt(segment.physical) + BigInt(segment.memoryBytes),
  );
  if (entry >= BigInt(HIGHMEM_BASE) || !holds)
    throw elf.reader.bad('note XEN_ELFNOTE_PHYS32_ENTRY', hex(entry), 'an address below 4 GiB inside a loaded segment');
  return { elf, entry: Number(entry) };
}

/** @throws VmError ENOEXEC for a malformed image, ENOMEM when something does not fit. */
export function loadPvh(image: { readonly elf: Elf; readonly entry: number }, source: BootSource, target: BootTarget): InitialState {
  const ram = new GuestRam(target.memory, target.e820);
  ram.reserve('first page', 0, 4096);
  loadSegments(image.elf, ram);

  const modules = modulesOf(source).map((module) => {
    const placed = ram.place(`${module.image.name}: module`, module.image.bytes.length, { start: MIB, end: HIGHMEM_BASE, top: true });
    placed.bytes.set(module.image.bytes);
    return {
      gpa: placed.gpa,
      sizeBytes: module.image.bytes.length,
      commandLine: commandLineBytes(module.commandLine, MAX_COMMAND_LINE_BYTES),
    };
  });
  const low = { start: 4096, end: HIGHMEM_BASE };
  const commandLine = commandLineBytes(source.commandLine, MAX_COMMAND_LINE_BYTES);
  const commandLineAt = ram.place('kernel command line', commandLine.length, low);
  commandLineAt.bytes.set(commandLine);
  const moduleLines = modules.map((module) => {
    const placed = ram.place('module command line', module.commandLine.length, { ...low, alignment: 16 });
    placed.bytes.set(module.commandLine);
    return placed.gpa;
  });
  const gdt = ram.place('GDT', GDT_BYTES, low);
  const tablesBytes = START_INFO_BYTES + modules.length * MODULE_BYTES + target.e820.length * MEMMAP_BYTES;
  const info = ram.place('PVH start info', tablesBytes, low);
  clear(info.bytes);

  const view = new DataView(info.bytes.buffer, info.bytes.byteOffset, info.bytes.length);
  const moduleListAt = START_INFO_BYTES,
    memmapAt = START_INFO_BYTES + modules.length * MODULE_BYTES;
  view.setUint32(0, START_MAGIC, true);
  view.setUint32(4, 1, true); // version 1: with a memory map
  view.setUint32(12, modules.length, true);
  view.setBigUint64(16, BigInt(modules.length === 0 ? 0 : info.gpa + moduleListAt), true);
  view.setBigUint64(24, BigInt(commandLineAt.gpa), true);
  view.setBigUint64(32, BigInt(target.rsdpGpa), true);
  view.setBigUint64(40, BigInt(info.gpa + memmapAt), true);
  view.setUint32(48, target.e820.length, true);
  modules.forEach((module, index) => {
    const at = moduleListAt + index * MODULE_BYTES;
    view.setBigUint64(at, BigInt(module.gpa), true);
    view.setBigUint64(at + 8, BigInt(module.sizeBytes), true);
    view.setBigUint64(at + 16, BigInt(moduleLines[index] ?? 0), true);
  });
  target.e820.forEach((entry, index) => {
    const at = memmapAt + index * MEMMAP_BYTES;
    view.setBigUint64(at, BigInt(entry.start), true);
    view.setBigUint64(at + 8, BigInt(entry.sizeBytes), true);
    view.setUint32(at + 16, entry.type, true);
  });

  const segments = flatSegments(32, gdt);
  return {
    registers: { ...segments.registers, rip: BigInt(image.entry), rbx: BigInt(info.gpa), cr0: 0x11n, cr4: 0n, efer: 0n },
    descriptors: segments.descriptors,
  };
}
