/**
 * ELF images: reading the headers, and loading the segments at their physical addresses.
 * Implements: System V ABI 4.1 chapters 4 and 5 (ELF header, program header, note section); ELF-64 Object File Format 1.5.
 * Runs on: main event loop, before the first instruction. Not modelled: relocation, dynamic linking.
 */
import { clear, hex, type GuestRam, type ImageFile, type ImageReader } from './image.ts';

const ELF_MAGIC = 0x464c_457f;
const CLASS_32 = 1,
  CLASS_64 = 2,
  LITTLE_ENDIAN = 1;
const MACHINE_386 = 3,
  MACHINE_X86_64 = 62;
const TYPE_EXEC = 2,
  TYPE_DYN = 3;
const PT_LOAD = 1,
  PT_NOTE = 4;
const PF_X = 1;
/** A kernel has about ten; a table of thousands is hostile. */
const MAX_PROGRAM_HEADERS = 128;
const MAX_NOTES = 1024;

export interface ElfSegment {
  readonly index: number;
  readonly offset: number;
  readonly virtual: number;
  readonly physical: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
  readonly executable: boolean;
}

export interface Elf {
  readonly reader: ImageReader;
  readonly is64: boolean;
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  readonly notes: readonly { readonly offset: number; readonly sizeBytes: number }[];
}

export function isElf({ bytes }: ImageFile): boolean {
  return bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** @throws VmError ENOEXEC naming the field. */
export function readElf(reader: ImageReader): Elf {
  const magic = reader.u32(0, 'ELF magic');
  if (magic !== ELF_MAGIC) throw reader.bad('ELF magic', hex(magic), hex(ELF_MAGIC));
  const elfClass = reader.u8(4, 'EI_CLASS');
  if (elfClass !== CLASS_32 && elfClass !== CLASS_64) throw reader.bad('EI_CLASS', elfClass, '1 (32-bit) or 2 (64-bit)');
  const is64 = elfClass === CLASS_64;
  const encoding = reader.u8(5, 'EI_DATA');
  if (encoding !== LITTLE_ENDIAN) throw reader.bad('EI_DATA', encoding, '1 (little-endian)');
  const type = reader.u16(16, 'e_type');
  if (type !== TYPE_EXEC && type !== TYPE_DYN) throw reader.bad('e_type', type, '2 (executable) or 3 (position independent)');
  const machine = reader.u16(18, 'e_machine');
  if (machine !== MACHINE_386 && machine !== MACHINE_X86_64) throw reader.bad('e_machine', machine, '3 (i386) or 62 (x86-64)');

  const entry = is64 ? reader.u64Exact(24, 'e_entry') : BigInt(reader.u32(24, 'e_entry'));
  const tableAt = is64 ? reader.u64(32, 'e_phoff') : reader.u32(28, 'e_phoff');
  const entryBytes = reader.u16(is64 ? 54 : 42, 'e_phentsize');
  const count = reader.u16(is64 ? 56 : 44, 'e_phnum');
  const leastBytes = is64 ? 56 : 32;
  if (count < 1 || count > MAX_PROGRAM_HEADERS) throw reader.bad('e_phnum', count, `1 to ${MAX_PROGRAM_HEADERS}`);
  if (entryBytes < leastBytes) throw reader.bad('e_phentsize', entryBytes, `${leastBytes} or more`);
  reader.slice(tableAt, entryBytes * count, 'program headers (e_phoff)');

  const segments: ElfSegment[] = [];
  const notes: { offset: number; sizeBytes: number }[] = [];
  for (let index = 0; index < count; index++) {
    const at = tableAt + index * entryBytes;
    const field = (name: string): string => `program header ${index} ${name}`;
    const kind = reader.u32(at, field('p_type'));
    if (kind !== PT_LOAD && kind !== PT_NOTE) continue;
    const offset = is64 ? reader.u64(at + 8, field('p_offset')) : reader.u32(at + 4, field('p_offset'));
    const fileBytes = is64 ? reader.u64(at + 32, field('p_filesz')) : reader.u32(at + 16, field('p_filesz'));
    reader.slice(offset, fileBytes, field('p_offset, p_filesz'));
    if (kind === PT_NOTE) {
      notes.push({ offset, sizeBytes: fileBytes });
      continue;
    }
    const memoryBytes = is64 ? reader.u64(at + 40, field('p_memsz')) : reader.u32(at + 20, field('p_memsz'));
    if (memoryBytes < fileBytes) throw reader.bad(field('p_memsz'), hex(memoryBytes), `at least p_filesz, ${hex(fileBytes)}`);
    if (memoryBytes === 0) continue;
    const physical = is64 ? reader.u64(at + 24, field('p_paddr')) : reader.u32(at + 12, field('p_paddr'));
    // Kernels live in the upper half: only the low bits matter, for the translation of the entry point.
    const virtual = is64 ? Number(reader.u64Exact(at + 16, field('p_vaddr')) & 0x1f_ffff_ffff_ffffn) : reader.u32(at + 8, field('p_vaddr'));
    const flags = reader.u32(is64 ? at + 4 : at + 24, field('p_flags'));
    segments.push({ index, offset, virtual, physical, fileBytes, memoryBytes, executable: (flags & PF_X) !== 0 });
  }
  if (segments.length === 0) throw reader.bad('program headers', `${count} without PT_LOAD`, 'at least one segment to load');
  return { reader, is64, entry, segments, notes };
}

/** Copy every segment to its physical address and clear what follows it. @throws VmError ENOEXEC for overlaps and what is not RAM. */
export function loadSegments(elf: Elf, ram: GuestRam): void {
  for (const segment of elf.segments) {
    const target = ram.claim(
      `${elf.reader.file.name}: program header ${segment.index} p_paddr, p_memsz`,
      segment.physical,
      segment.memoryBytes,
    );
    target.set(elf.reader.slice(segment.offset, segment.fileBytes, 'segment'));
    clear(target.subarray(segment.fileBytes));
  }
}

/** Physical address of the entry: e_entry is virtual where an executable segment holds it. */
export function physicalEntry(elf: Elf): number {
  const entry = Number(elf.entry & 0x1f_ffff_ffff_ffffn);
  const segment = elf.segments.find(
    (candidate) => candidate.executable && entry >= candidate.virtual && entry - candidate.virtual < candidate.memoryBytes,
  );
  if (segment !== undefined) return segment.physical + (entry - segment.virtual);
  return entry;
}

/** Description of the first note of that owner and type. Notes are read once; their number is bounded. */
export function findNote(elf: Elf, owner: string, type: number): Uint8Array | undefined {
  const { reader } = elf;
  let count = 0;
  for (const { offset, sizeBytes } of elf.notes) {
    const end = offset + sizeBytes;
    for (let at = offset; end - at >= 12;) {
      if (++count > MAX_NOTES) throw reader.bad('notes', `more than ${MAX_NOTES}`, `at most ${MAX_NOTES}`);
      const nameBytes = reader.u32(at, 'note n_namesz');
      const descriptionBytes = reader.u32(at + 4, 'note n_descsz');
      const noteType = reader.u32(at + 8, 'note n_type');
      const nameAt = at + 12;
      const descriptionAt = nameAt + Math.ceil(nameBytes / 4) * 4;
      const next = descriptionAt + Math.ceil(descriptionBytes / 4) * 4;
      if (next > end + 3)
        throw reader.bad(
          'note n_namesz, n_descsz',
          `${hex(nameBytes)}, ${hex(descriptionBytes)}`,
          `inside the note segment of ${sizeBytes} bytes`,
        );
      if (noteType === type && nameBytes === owner.length + 1 && nameBytes <= 64) {
        const found = reader.slice(nameAt, owner.length, 'note name');
        if (String.fromCharCode(...found) === owner) return reader.slice(descriptionAt, descriptionBytes, 'note description');
      }
      at = next;
    }
  }
  return undefined;
}
