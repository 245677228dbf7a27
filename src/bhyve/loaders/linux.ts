/**
 * Linux bzImage, entered in 64-bit mode.
 * Implements: Linux Documentation/arch/x86/boot.rst 1.3-1.9 and 1.15 (64-bit boot protocol), zero-page.rst.
 * Runs on: main event loop, before the first instruction. Not modelled: the 16- and 32-bit entries, EFI hand-over.
 */
import { VmError } from '../../base/errors.ts';
import type { InitialState } from '../ports-of-machine.ts';
import { GIB, HIGHMEM_BASE, MIB } from '../layout.ts';
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

/** Offsets of setup header fields, the same in the file and in the zero page (boot.rst 1.3). */
const HEADER = {
  setup_sects: 0x1f1,
  syssize: 0x1f4,
  boot_flag: 0x1fe,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  type_of_loader: 0x210,
  loadflags: 0x211,
  ramdisk_image: 0x218,
  ramdisk_size: 0x21c,
  cmd_line_ptr: 0x228,
  initrd_addr_max: 0x22c,
  kernel_alignment: 0x230,
  relocatable_kernel: 0x234,
  xloadflags: 0x236,
  cmdline_size: 0x238,
  payload_offset: 0x248,
  payload_length: 0x24c,
  pref_address: 0x258,
  init_size: 0x260,
} as const;
/** Fields of the zero page outside the header (zero-page.rst). */
const ZERO_PAGE = {
  acpi_rsdp_addr: 0x070,
  ext_ramdisk_image: 0x0c0,
  ext_ramdisk_size: 0x0c4,
  ext_cmd_line_ptr: 0x0c8,
  e820_entries: 0x1e8,
  header: 0x1f1,
  header_end: 0x290,
  e820_table: 0x2d0,
} as const;

const HDRS = 0x5372_6448;
const SECTOR_BYTES = 512;
const MIN_VERSION = 0x20c;
const LOADED_HIGH = 1;
const XLF_KERNEL_64 = 1,
  XLF_ABOVE_4G = 2;
const E820_MAX = 128;
const LOADER_UNDEFINED = 0xff;
/** Below this lie the tables that real hardware's BIOS would own, and the boot structures. */
const KERNEL_MIN = MIB;
const ENTRY_OFFSET_64 = 0x200;

export function isBzImage({ bytes }: ImageFile): boolean {
  return bytes.length >= 0x206 && bytes[0x202] === 0x48 && bytes[0x203] === 0x64 && bytes[0x204] === 0x72 && bytes[0x205] === 0x53;
}

interface Header {
  readonly headerEnd: number;
  readonly setupBytes: number;
  readonly relocatable: boolean;
  readonly alignment: number;
  readonly preferred: number;
  readonly initSizeBytes: number;
  readonly commandLineMax: number;
  readonly initrdLast: number;
  readonly initrdAbove4G: boolean;
}

function readHeader(reader: ImageReader): Header {
  const magic = reader.u32(HEADER.magic, 'header magic');
  if (magic !== HDRS) throw reader.bad('header magic', hex(magic), `${hex(HDRS)} (HdrS)`);
  const bootFlag = reader.u16(HEADER.boot_flag, 'boot_flag');
  if (bootFlag !== 0xaa55) throw reader.bad('boot_flag', hex(bootFlag), '0xaa55');
  const version = reader.u16(HEADER.version, 'version');
  if (version < MIN_VERSION) throw reader.bad('boot protocol version', `${version >> 8}.${version & 0xff}`, '2.12 or later');
  const headerEnd = HEADER.magic + reader.u8(HEADER.jump + 1, 'jump');
  if (headerEnd < HEADER.init_size + 4 || headerEnd > ZERO_PAGE.header_end) {
    throw reader.bad('end of the setup header', hex(headerEnd), `${hex(HEADER.init_size + 4)} to ${hex(ZERO_PAGE.header_end)}`);
  }
  const loadflags = reader.u8(HEADER.loadflags, 'loadflags');
  if ((loadflags & LOADED_HIGH) === 0) throw reader.bad('loadflags', hex(loadflags), 'bit 0 (LOADED_HIGH): a bzImage, not a zImage');
  const xloadflags = reader.u16(HEADER.xloadflags, 'xloadflags');
  if ((xloadflags & XLF_KERNEL_64) === 0)
    throw reader.bad('xloadflags', hex(xloadflags), 'bit 0 (XLF_KERNEL_64): a kernel with a 64-bit entry');

  const setupSects = reader.u8(HEADER.setup_sects, 'setup_sects');
  const setupBytes = ((setupSects === 0 ? 4 : setupSects) + 1) * SECTOR_BYTES;
  const syssizeBytes = reader.u32(HEADER.syssize, 'syssize') * 16;
  const codeBytes = reader.sizeBytes - setupBytes;
  // syssize counts 16-byte paragraphs, rounded up; a signed image may carry more behind them.
  if (codeBytes <= ENTRY_OFFSET_64 || syssizeBytes - codeBytes >= 16) {
    throw reader.bad(
      'syssize',
      `${hex(syssizeBytes / 16)} (${syssizeBytes} bytes after ${setupBytes} bytes of setup)`,
      `at most the ${Math.max(codeBytes, 0)} bytes that the file of ${reader.sizeBytes} bytes holds there (truncated?)`,
    );
  }
  const payloadOffset = reader.u32(HEADER.payload_offset, 'payload_offset');
  const payloadLength = reader.u32(HEADER.payload_length, 'payload_length');
  if (payloadOffset > codeBytes || payloadLength > codeBytes - payloadOffset) {
    throw reader.bad(
      'payload_offset, payload_length',
      `${hex(payloadOffset)}, ${hex(payloadLength)}`,
      `inside the ${codeBytes} bytes behind the setup (truncated?)`,
    );
  }
  const alignment = reader.u32(HEADER.kernel_alignment, 'kernel_alignment');
  const relocatable = reader.u8(HEADER.relocatable_kernel, 'relocatable_kernel') !== 0;
  if (relocatable && (alignment < 4096 || alignment > GIB || !Number.isInteger(Math.log2(alignment))))
    throw reader.bad('kernel_alignment', hex(alignment), 'a power of two from 0x1000 to 0x40000000');
  const preferred = reader.u64(HEADER.pref_address, 'pref_address');
  const initSizeBytes = Math.max(reader.u32(HEADER.init_size, 'init_size'), codeBytes);
  const initrdLast = reader.u32(HEADER.initrd_addr_max, 'initrd_addr_max');
  return {
    headerEnd,
    setupBytes,
    relocatable,
    alignment,
    preferred,
    initSizeBytes,
    initrdLast,
    commandLineMax: reader.u32(HEADER.cmdline_size, 'cmdline_size'),
    initrdAbove4G: (xloadflags & XLF_ABOVE_4G) !== 0,
  };
}

/**
 * Load a bzImage, its command line and its initrd; write page tables, GDT and zero page.
 * @throws VmError ENOEXEC for a malformed image, ENOMEM when something does not fit, EINVAL for the command line.
 */
export function loadLinux(source: BootSource, target: BootTarget): InitialState {
  const reader = new ImageReader(source.kernel);
  const header = readHeader(reader);
  const ram = new GuestRam(target.memory, target.e820);
  // Linux's real-mode trampoline and other early users expect the first page to be a PC's: never place anything there.
  ram.reserve('first page', 0, 4096);

  const code = reader.file.bytes.subarray(header.setupBytes);
  const kernelGpa = kernelAddress(reader, ram, header);
  const kernel = ram.claim(`${source.kernel.name}: pref_address and init_size`, kernelGpa, header.initSizeBytes);
  kernel.set(code); // what follows, up to init_size, the kernel's own start-up code clears

  const low = { start: 0x1000, end: KERNEL_MIN };
  const commandLine = commandLineBytes(source.commandLine, header.commandLineMax);
  const commandLineAt = ram.place('kernel command line', commandLine.length, low);
  commandLineAt.bytes.set(commandLine);
  const gdt = ram.place('GDT', GDT_BYTES, low);
  const zeroPage = ram.place('zero page', 4096, low);
  const stack = ram.place('boot stack', 4096, low);
  const pageTables = identityPageTables(ram, low);
  const initrd = placeInitrd(source, ram, header);

  clear(zeroPage.bytes);
  zeroPage.bytes.set(reader.slice(ZERO_PAGE.header, header.headerEnd - ZERO_PAGE.header, 'setup header'), ZERO_PAGE.header);
  const view = new DataView(zeroPage.bytes.buffer, zeroPage.bytes.byteOffset, 4096);
  view.setUint8(HEADER.type_of_loader, LOADER_UNDEFINED);
  view.setUint32(HEADER.cmd_line_ptr, commandLineAt.gpa, true);
  view.setUint32(HEADER.ramdisk_image, initrd.gpa % 2 ** 32, true);
  view.setUint32(HEADER.ramdisk_size, initrd.sizeBytes % 2 ** 32, true);
  view.setUint32(ZERO_PAGE.ext_ramdisk_image, Math.floor(initrd.gpa / 2 ** 32), true);
  view.setUint32(ZERO_PAGE.ext_ramdisk_size, Math.floor(initrd.sizeBytes / 2 ** 32), true);
  view.setBigUint64(ZERO_PAGE.acpi_rsdp_addr, BigInt(target.rsdpGpa), true);
  const entries = target.e820.slice(0, E820_MAX);
  view.setUint8(ZERO_PAGE.e820_entries, entries.length);
  entries.forEach((entry, index) => {
    const at = ZERO_PAGE.e820_table + index * 20;
    view.setBigUint64(at, BigInt(entry.start), true);
    view.setBigUint64(at + 8, BigInt(entry.sizeBytes), true);
    view.setUint32(at + 16, entry.type, true);
  });

  const segments = flatSegments(64, gdt);
  return {
    registers: {
      ...segments.registers,
      rip: BigInt(kernelGpa + ENTRY_OFFSET_64),
      rsi: BigInt(zeroPage.gpa),
      rsp: BigInt(stack.gpa + 4096),
      cr0: 0x8000_0031n, // PG NE ET PE
      cr3: BigInt(pageTables),
      cr4: 0x20n, // PAE
      efer: 0x500n, // LMA LME
    },
    descriptors: segments.descriptors,
  };
}

/** Where the kernel goes: its preferred address if that is RAM, else, when it is relocatable, the lowest aligned address that fits. */
function kernelAddress(reader: ImageReader, ram: GuestRam, header: Header): number {
  const preferred = reader.file.name + ': pref_address';
  if (header.preferred >= KERNEL_MIN && header.preferred + header.initSizeBytes <= HIGHMEM_BASE) {
    if (!header.relocatable) return header.preferred;
    if (ram.isFree(header.preferred, header.initSizeBytes)) return header.preferred;
  } else if (!header.relocatable) {
    throw reader.bad(
      'pref_address',
      `${hex(header.preferred)} with init_size ${hex(header.initSizeBytes)}`,
      `inside [${hex(KERNEL_MIN)}, ${hex(HIGHMEM_BASE)})`,
    );
  }
  return ram.find(`${preferred} and init_size`, header.initSizeBytes, {
    start: KERNEL_MIN,
    end: HIGHMEM_BASE,
    alignment: header.alignment,
  });
}

/** Identity map of the first 4 GiB with 2 MiB pages: PML4, PDPT and four page directories (SDM vol. 3A 4.5). */
function identityPageTables(ram: GuestRam, window: { start: number; end: number }): number {
  const tables = ram.place('page tables', 6 * 4096, window);
  clear(tables.bytes);
  const view = new DataView(tables.bytes.buffer, tables.bytes.byteOffset, tables.bytes.length);
  const present = 3n,
    large = 0x80n;
  view.setBigUint64(0, BigInt(tables.gpa + 4096) | present, true);
  for (let gib = 0; gib < 4; gib++) {
    view.setBigUint64(4096 + gib * 8, BigInt(tables.gpa + (2 + gib) * 4096) | present, true);
    for (let entry = 0; entry < 512; entry++) {
      view.setBigUint64((2 + gib) * 4096 + entry * 8, BigInt((gib * 512 + entry) * 2 * MIB) | present | large, true);
    }
  }
  return tables.gpa;
}

/** As high as the kernel allows (initrd_addr_max), so that it lies far from where the kernel unpacks itself. */
function placeInitrd(source: BootSource, ram: GuestRam, header: Header): { gpa: number; sizeBytes: number } {
  const modules = modulesOf(source);
  if (modules.length > 1)
    throw new VmError('EINVAL', `${modules[1]!.image.name}: a Linux bzImage takes one initrd, not ${modules.length} modules`);
  const image = modules[0]?.image;
  if (image === undefined) return { gpa: 0, sizeBytes: 0 };
  const sizeBytes = image.bytes.length;
  if (sizeBytes === 0) throw new VmError('EINVAL', `${image.name}: initrd of 0 bytes: expected at least one byte`);
  const below = { start: KERNEL_MIN, end: Math.min(header.initrdLast + 1, HIGHMEM_BASE), top: true };
  const above = { start: HIGHMEM_BASE, end: Number.MAX_SAFE_INTEGER, top: true };
  const what = `${image.name}: initrd (initrd_addr_max ${hex(header.initrdLast)})`;
  const window = header.initrdAbove4G && !ram.hasRoom(sizeBytes, below) && ram.hasRoom(sizeBytes, above) ? above : below;
  const placed = ram.place(what, sizeBytes, window);
  placed.bytes.set(image.bytes);
  return { gpa: placed.gpa, sizeBytes };
}
