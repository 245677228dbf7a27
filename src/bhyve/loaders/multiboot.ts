/**
 * Multiboot 1 kernels: ELF32, or flat with the addresses in the header.
 * Implements: Multiboot Specification 0.6.96, sections 3.1 (OS image format), 3.2 (machine state), 3.3 (boot information).
 * Runs on: main event loop, before the first instruction. Not modelled: video modes (asking for one is not refused: there is only
 * the serial console), boot device, drives, APM, configuration table, symbols.
 */
import { BASE_MEMORY_END, HIGHMEM_BASE, KIB, MIB } from '../layout.ts';
import type { InitialState } from '../ports-of-machine.ts';
import { isElf, loadSegments, physicalEntry, readElf } from './elf.ts';
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

const HEADER_MAGIC = 0x1bad_b002,
  BOOT_MAGIC = 0x2bad_b002;
/** The header lies within the first 8192 bytes, aligned to 4. */
const SEARCH_BYTES = 8192;
const FLAG_PAGE_ALIGN = 1,
  FLAG_MEMORY = 2,
  FLAG_VIDEO = 4,
  FLAG_ADDRESSES = 0x1_0000;
/** Bits 0-15 demand: one that is not known here must be refused (3.1.2). */
const KNOWN_DEMANDS = FLAG_PAGE_ALIGN | FLAG_MEMORY | FLAG_VIDEO;

const INFO = {
  FLAGS: 0,
  MEM_LOWER: 4,
  MEM_UPPER: 8,
  CMDLINE: 16,
  MODS_COUNT: 20,
  MODS_ADDR: 24,
  MMAP_LENGTH: 44,
  MMAP_ADDR: 48,
  LOADER_NAME: 64,
} as const;
const INFO_BYTES = 120;
const HAS_MEMORY = 1,
  HAS_CMDLINE = 4,
  HAS_MODULES = 8,
  HAS_MMAP = 64,
  HAS_LOADER_NAME = 512;
const MODULE_BYTES = 16,
  MMAP_BYTES = 24;
const LOADER_NAME = 'tshyve';
const MAX_COMMAND_LINE_BYTES = 65535;

/** @returns offset of the header in the file. */
export function multibootHeader({ bytes }: ImageFile): number | undefined {
  const end = Math.min(bytes.length, SEARCH_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, end);
  for (let at = 0; at + 12 <= end; at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    if ((HEADER_MAGIC + view.getUint32(at + 4, true) + view.getUint32(at + 8, true)) % 2 ** 32 === 0) return at;
  }
  return undefined;
}

/** @throws VmError ENOEXEC for a malformed image, ENOMEM when something does not fit. */
export function loadMultiboot(headerAt: number, source: BootSource, target: BootTarget): InitialState {
  const reader = new ImageReader(source.kernel);
  const flags = reader.u32(headerAt + 4, 'multiboot flags');
  const unknown = flags & 0xffff & ~KNOWN_DEMANDS;
  if (unknown !== 0) throw reader.bad('multiboot flags', hex(flags), `no demands but bits 0, 1 and 2 (${hex(KNOWN_DEMANDS)})`);

  const ram = new GuestRam(target.memory, target.e820);
  ram.reserve('first page', 0, 4096);
  const entry = (flags & FLAG_ADDRESSES) !== 0 ? loadFlat(reader, headerAt, ram) : loadElf(reader, ram);

  // Everything we add goes where the image is not: modules and tables above 1 MiB, so that kernels may use the memory below.
  const modules = modulesOf(source).map((module) => {
    const placed = ram.place(`${module.image.name}: module`, module.image.bytes.length, { start: MIB, end: HIGHMEM_BASE });
    placed.bytes.set(module.image.bytes);
    return {
      start: placed.gpa,
      end: placed.gpa + module.image.bytes.length,
      commandLine: commandLineBytes(module.commandLine, MAX_COMMAND_LINE_BYTES),
    };
  });
  const commandLine = commandLineBytes(
    `${source.kernel.name}${source.commandLine === '' ? '' : ' '}${source.commandLine}`,
    MAX_COMMAND_LINE_BYTES,
  );
  const loaderName = commandLineBytes(LOADER_NAME, 64);
  const mmap = target.e820;
  const strings = [commandLine, loaderName, ...modules.map((module) => module.commandLine)];
  const stringsAt = INFO_BYTES + modules.length * MODULE_BYTES + mmap.length * MMAP_BYTES;
  const info = ram.place('multiboot information', stringsAt + strings.reduce((sum, bytes) => sum + bytes.length, 0), {
    start: MIB,
    end: HIGHMEM_BASE,
  });
  const gdt = ram.place('GDT', GDT_BYTES, { start: MIB, end: HIGHMEM_BASE });
  clear(info.bytes);
  const view = new DataView(info.bytes.buffer, info.bytes.byteOffset, info.bytes.length);
  const stringGpas: number[] = [];
  let at = stringsAt;
  for (const bytes of strings) {
    info.bytes.set(bytes, at);
    stringGpas.push(info.gpa + at);
    at += bytes.length;
  }
  const [commandLineGpa = 0, loaderNameGpa = 0, ...moduleLineGpas] = stringGpas;

  view.setUint32(INFO.FLAGS, HAS_MEMORY | HAS_CMDLINE | HAS_MODULES | HAS_MMAP | HAS_LOADER_NAME, true);
  view.setUint32(INFO.MEM_LOWER, ramFrom(target, 0, BASE_MEMORY_END) / KIB, true);
  view.setUint32(INFO.MEM_UPPER, ramFrom(target, MIB, HIGHMEM_BASE) / KIB, true);
  view.setUint32(INFO.CMDLINE, commandLineGpa, true);
  view.setUint32(INFO.MODS_COUNT, modules.length, true);
  view.setUint32(INFO.MODS_ADDR, info.gpa + INFO_BYTES, true);
  view.setUint32(INFO.MMAP_LENGTH, mmap.length * MMAP_BYTES, true);
  view.setUint32(INFO.MMAP_ADDR, info.gpa + INFO_BYTES + modules.length * MODULE_BYTES, true);
  view.setUint32(INFO.LOADER_NAME, loaderNameGpa, true);
  modules.forEach((module, index) => {
    const moduleAt = INFO_BYTES + index * MODULE_BYTES;
    view.setUint32(moduleAt, module.start, true);
    view.setUint32(moduleAt + 4, module.end, true);
    view.setUint32(moduleAt + 8, moduleLineGpas[index] ?? 0, true);
  });
  mmap.forEach((entryOfMap, index) => {
    const mapAt = INFO_BYTES + modules.length * MODULE_BYTES + index * MMAP_BYTES;
    view.setUint32(mapAt, MMAP_BYTES - 4, true); // the size field does not count itself
    view.setBigUint64(mapAt + 4, BigInt(entryOfMap.start), true);
    view.setBigUint64(mapAt + 12, BigInt(entryOfMap.sizeBytes), true);
    view.setUint32(mapAt + 20, entryOfMap.type, true);
  });

  const segments = flatSegments(32, gdt);
  return {
    registers: { ...segments.registers, rip: BigInt(entry), rax: BigInt(BOOT_MAGIC), rbx: BigInt(info.gpa), cr0: 0x11n, cr4: 0n, efer: 0n },
    descriptors: segments.descriptors,
  };
}

/** Bytes of the RAM range that holds `start`, counted from there and up to `end`. */
function ramFrom(target: BootTarget, start: number, end: number): number {
  const range = target.e820.find((entry) => entry.type === 1 && start >= entry.start && start < entry.start + entry.sizeBytes);
  return range === undefined ? 0 : Math.min(range.start + range.sizeBytes, end) - start;
}

/** An ELF kernel; also a 64-bit file is taken if everything lies below 4 GiB, since it is entered in 32-bit mode either way. */
function loadElf(reader: ImageReader, ram: GuestRam): number {
  if (!isElf(reader.file)) throw reader.bad('multiboot flags', 'bit 16 clear', 'an ELF file, or bit 16 with load addresses');
  const elf = readElf(reader);
  const high = elf.segments.find((segment) => segment.physical + segment.memoryBytes > HIGHMEM_BASE);
  if (high !== undefined)
    throw reader.bad(`program header ${high.index} p_paddr, p_memsz`, `${hex(high.physical)}, ${hex(high.memoryBytes)}`, 'below 4 GiB');
  loadSegments(elf, ram);
  const entry = physicalEntry(elf);
  if (!elf.segments.some((segment) => entry >= segment.physical && entry - segment.physical < segment.memoryBytes)) {
    throw reader.bad('e_entry', hex(elf.entry), 'an address inside a loaded segment');
  }
  return entry;
}

/** The header's own addresses (3.1.3). */
function loadFlat(reader: ImageReader, headerAt: number, ram: GuestRam): number {
  const headerAddr = reader.u32(headerAt + 12, 'header_addr');
  const loadAddr = reader.u32(headerAt + 16, 'load_addr');
  const loadEnd = reader.u32(headerAt + 20, 'load_end_addr');
  const bssEnd = reader.u32(headerAt + 24, 'bss_end_addr');
  const entry = reader.u32(headerAt + 28, 'entry_addr');
  // The header's place in the file and in memory tell where the load begins in the file.
  if (loadAddr > headerAddr || headerAddr - loadAddr > headerAt)
    throw reader.bad('load_addr', hex(loadAddr), `${hex(Math.max(0, headerAddr - headerAt))} to header_addr ${hex(headerAddr)}`);
  const fileAt = headerAt - (headerAddr - loadAddr);
  const fileBytes = loadEnd === 0 ? reader.sizeBytes - fileAt : loadEnd - loadAddr;
  if (fileBytes <= 0 || fileBytes > reader.sizeBytes - fileAt) {
    throw reader.bad(
      'load_end_addr',
      hex(loadEnd),
      `0, or above load_addr ${hex(loadAddr)} and at most ${hex(loadAddr + reader.sizeBytes - fileAt)}, where the file ends (truncated?)`,
    );
  }
  const end = bssEnd === 0 ? loadAddr + fileBytes : bssEnd;
  if (end < loadAddr + fileBytes)
    throw reader.bad('bss_end_addr', hex(bssEnd), `0 or at least ${hex(loadAddr + fileBytes)}, the end of the loaded part`);
  if (entry < loadAddr || entry >= end) throw reader.bad('entry_addr', hex(entry), `inside [${hex(loadAddr)}, ${hex(end)})`);
  const image = ram.claim(`${reader.file.name}: load_addr and bss_end_addr`, loadAddr, end - loadAddr);
  image.set(reader.slice(fileAt, fileBytes, 'load_end_addr'));
  clear(image.subarray(fileBytes));
  return entry;
}
