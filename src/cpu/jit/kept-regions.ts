/**
 * Regions that are kept from one run to the next: their WebAssembly, with what has to be written anew when they are put elsewhere
 * (relocations.ts), and the guest code that they were made from. An entry whose code is the same again, but for addresses that were relocated,
 * need not be formed and emitted.
 *
 * All is plain data, so that whoever keeps it can clone or serialise it.
 * Implements: docs/jit.md "Kept regions". Runs on: where regions are compiled.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';
import { Bytes, MARK_WORDS } from '../wasm/bytes.ts';
import { localsOf } from '../wasm/module.ts';
import type { RegionBody } from './assemble.ts';
import { pageOf } from './code-window.ts';
import type { CodeWindow } from './code-window.ts';
import { LINE_BYTES, LINE_WORDS, eachLine, linesOf, sameLines } from './compilation.ts';
import type { CompileEntry, SourceLines } from './compilation.ts';
import { bitsOf, fillFields } from './open-fields.ts';
import type { OpenField } from './open-fields.ts';
import type { ModuleBatch } from './module-batch.ts';
import type { Region } from './region.ts';
import { relocate } from './relocations.ts';
import type { Relocations } from './relocations.ts';

/** Lines of a page that a region was made from. */
export interface KeptLines {
  /** Distance from the entry's page. */
  readonly page: number;
  readonly linesLow: number;
  readonly linesHigh: number;
  /** The marked lines, one after the other; which of their bits may differ, and which of them the region reads when it runs. */
  readonly bytes: Int32Array;
  readonly free: Int32Array;
  readonly open?: Int32Array | undefined;
}

export interface KeptRegion {
  readonly offset: number;
  readonly mode: number;
  readonly vcpu: number;
  readonly tlb: number;
  /** Guest instructions. */
  readonly size: number;
  readonly lines: readonly KeptLines[];
  /** Of its instructions with fields that it does not read when it runs: offset of the instruction, of its fields, of the next instruction. */
  readonly fields: Int32Array;
  /** Offsets of its blocks. */
  readonly blocks: Int32Array;
  /** From the declaration of its locals on. */
  readonly code: Uint8Array;
  readonly hints: Int32Array;
  readonly relocations: Relocations;
  /** It is the same memory for all who share the code. */
  readonly usage: Usage;
}

/** Three words: number of the run that has used it last; the how manieth it was there; the number of its entry's linear page then, as far as the word holds it. */
export type Usage = Int32Array;
const USED_RUN = 0,
  USED_TURN = 1,
  USED_PAGE = 2;

/** What is kept of a run. */
export interface KeptCode {
  /** Its number. */
  readonly run: number;
  /** What was used last comes first, and what one run has used in the order in which it did. */
  readonly regions: readonly KeptRegion[];
}

/** An entry, before it has a place in the table. */
export type Asked = Omit<CompileEntry, 'slot'>;

/** A place whose region is expected to become hot. */
export interface Expected {
  /** Distance from the linear page of an entry that has become hot. */
  readonly pages: number;
  /** In its page. */
  readonly offset: number;
}

const FIELD_WORDS = 3;
/** How many of those that a run has used one after the other are expected after one of them. */
const LOOK_AHEAD = 32;
/** One of so many is not expected, another one in each run: what is used because it was expected need not be worth it for ever. */
const LEFT_ALONE = 16;
/** Regions of one entry: code that differs from run to run is not kept for ever. */
const MAX_VARIANTS = 8;
/** Besides its arrays. */
const REGION_BYTES = 512;

export class KeptRegions {
  readonly #byEntry = new Map<number, KeptRegion[]>();
  /** Offsets of all entries, a bit each. */
  readonly #offsets = new Int32Array(PAGE_BYTES / 32);
  /** What the run before has used comes first, in its order. */
  #order: readonly KeptRegion[] = [];
  readonly #places = new Map<KeptRegion, number>();
  #run = 0;
  /** Regions that this run has used. */
  #turns = 0;
  /** Regions that have been added. */
  added = 0;

  constructor({ run, regions }: KeptCode = { run: 0, regions: [] }) {
    for (const region of regions) this.#listOf(region).push(region);
    this.#begin(run + 1, regions);
  }

  /** As if all had been kept, and read again. */
  nextRun(): void {
    const { run, regions } = this.all(Infinity);
    this.#begin(run + 1, regions);
  }
  #begin(run: number, order: readonly KeptRegion[]): void {
    this.#run = run;
    this.#turns = 0;
    this.#order = order;
    this.#places.clear();
    for (const [place, region] of order.entries()) {
      // Another thread may have begun to use some.
      if (region.usage[USED_RUN]! < run - 1) break;
      this.#places.set(region, place);
    }
  }

  /** Is there one whose entry has this offset in its page? */
  has(offset: number): boolean {
    return ((this.#offsets[offset >> 5]! >> (offset & 31)) & 1) !== 0;
  }

  #listOf({ offset, mode }: Pick<KeptRegion, 'offset' | 'mode'>): KeptRegion[] {
    const key = offset + mode * PAGE_BYTES;
    let list = this.#byEntry.get(key);
    if (!list) {
      list = [];
      this.#byEntry.set(key, list);
      this.#offsets[offset >> 5]! |= 1 << (offset & 31);
    }
    return list;
  }

  /** @param window of the entry. @returns undefined where there is none for the code that is there now */
  find(entry: Asked, window: CodeWindow): KeptRegion | undefined {
    for (const kept of this.#byEntry.get(entry.offset + entry.mode * PAGE_BYTES) ?? [])
      if (
        kept.vcpu === entry.vcpu &&
        kept.tlb === entry.tlb &&
        kept.lines.every((lines) => isThere(window, lines)) &&
        isAsOpen(window, kept)
      )
        return kept;
    return undefined;
  }

  /**
   * It is used at this entry, which has become hot.
   * @returns where its entry would be had it moved as this one has: what the run before has used soon after it, as far as this run has not
   */
  use(kept: KeptRegion, entry: Asked): readonly Expected[] {
    const { usage } = kept,
      page = linearPageOf(entry),
      pageBefore = usage[USED_PAGE]!,
      isFirst = this.#note(kept, page),
      place = this.#places.get(kept);
    if (!isFirst || place === undefined) return [];
    const expected: Expected[] = [];
    for (let at = place + 1; at <= place + LOOK_AHEAD && at < this.#places.size; at++) {
      const next = this.#order[at]!,
        { offset, mode, vcpu, tlb, usage: itsUsage } = next;
      if (
        itsUsage[USED_RUN] !== this.#run &&
        mode === kept.mode &&
        vcpu === kept.vcpu &&
        tlb === kept.tlb &&
        (at + this.#run) % LEFT_ALONE !== 0
      )
        expected.push({ pages: (itsUsage[USED_PAGE]! - pageBefore) | 0, offset });
    }
    return expected;
  }
  /** It is used at this entry, where it was expected. */
  useExpected(kept: KeptRegion, entry: Asked): void {
    this.#note(kept, linearPageOf(entry));
  }
  /** @returns whether this is the first time in this run */
  #note({ usage }: KeptRegion, page: number): boolean {
    if (usage[USED_RUN] === this.#run) return false;
    usage[USED_RUN] = this.#run;
    usage[USED_TURN] = this.#turns++;
    usage[USED_PAGE] = page;
    return true;
  }

  add(kept: Omit<KeptRegion, 'usage'>, entry: Asked): void {
    const list = this.#listOf(kept),
      same = list.findIndex((each) => isSame(each, kept));
    if (same >= 0) list.splice(same, 1);
    else if (list.length === MAX_VARIANTS)
      list.splice(list.indexOf(list.reduce((oldest, each) => (each.usage[USED_RUN]! < oldest.usage[USED_RUN]! ? each : oldest))), 1);
    list.push({ ...kept, usage: Int32Array.of(this.#run, this.#turns++, linearPageOf(entry)) });
    this.added++;
  }

  /** Those to be kept. @param limitBytes of them, about */
  all(limitBytes: number): KeptCode {
    let left = limitBytes;
    const regions = [...this.#byEntry.values()]
      .flat()
      .sort(({ usage: a }, { usage: b }) => b[USED_RUN]! - a[USED_RUN]! || a[USED_TURN]! - b[USED_TURN]!)
      .filter((region) => (left -= bytesOf(region)) >= 0);
    return { run: this.#run, regions };
  }
}

const linearPageOf = ({ rip = 0n }: Asked): number => Number(BigInt.asIntN(32, rip >> 12n));

const bytesOf = ({ lines, fields, blocks, code, hints, relocations }: KeptRegion): number =>
  lines.reduce(
    (sum, { bytes, free, open }) => sum + bytes.byteLength + free.byteLength + (open?.byteLength ?? 0),
    REGION_BYTES + fields.byteLength + blocks.byteLength + code.byteLength + hints.byteLength + relocations.byteLength,
  );

/** Was it made of the same code? */
const isSame = (a: Omit<KeptRegion, 'usage'>, b: Omit<KeptRegion, 'usage'>): boolean =>
  a.vcpu === b.vcpu &&
  a.tlb === b.tlb &&
  a.lines.length === b.lines.length &&
  a.lines.every(({ page, linesLow, linesHigh, bytes, free }, index) => {
    const other = b.lines[index]!;
    return (
      page === other.page &&
      linesLow === other.linesLow &&
      linesHigh === other.linesHigh &&
      bytes.every((word, at) => free[at] === other.free[at] && ((word ^ other.bytes[at]!) & ~free[at]!) === 0)
    );
  });

/** Does the page hold the same code? */
const isThere = (window: CodeWindow, lines: KeptLines): boolean =>
  window.has(lines.page) && !window.isChanging(lines.page) && sameLines(window.words, window.wordOf(lines.page), lines, lines.free);

/** Would it be made of the same code now? Not where a field has been patched since, which the region would read when it runs. */
function isAsOpen(window: CodeWindow, { lines, fields }: KeptRegion): boolean {
  if (!lines.some(({ page }) => window.patchedOf(page))) return true;
  for (let i = 0; i < fields.length; i += FIELD_WORDS) if (isFieldPatched(window, fields[i]!, fields[i + 1]!, fields[i + 2]!)) return false;
  return true;
}
const isFieldPatched = (window: CodeWindow, instruction: number, field: number, end: number): boolean =>
  window.isPatched(field, end) && !window.isPatched(instruction, field);

// --- a region that has just been made ---

/** What a region has of one page. */
class PageOfRegion {
  low = 0;
  high = 0;
  /** Its bits that are code. */
  readonly bits = new Uint8Array(PAGE_BYTES);
  readonly open: OpenField[] = [];
  readonly moving: OpenField[] = [];
  /** Fields that might move, if the code did not depend on their values. */
  readonly fixed: OpenField[] = [];
}

/** What the region was made from. @param fixed fields that might move, if the code did not depend on their values */
export function linesIn(region: Region, window: CodeWindow, fixed: readonly OpenField[]): KeptLines[] {
  const pages = new Map<number, PageOfRegion>(),
    pageAt = (offset: number): PageOfRegion => {
      const page = pageOf(offset),
        found = pages.get(page) ?? new PageOfRegion();
      pages.set(page, found);
      return found;
    };
  for (const field of fixed) pageAt(field.offset).fixed.push(field);
  for (const { instructions } of region.blocks)
    for (const { offset, lengthBytes, openDisplacement, openImmediate, movingDisplacement, movingImmediate } of instructions) {
      if (openDisplacement) pageAt(openDisplacement.offset).open.push(openDisplacement);
      if (openImmediate) pageAt(openImmediate.offset).open.push(openImmediate);
      if (movingDisplacement) pageAt(movingDisplacement.offset).moving.push(movingDisplacement);
      if (movingImmediate) pageAt(movingImmediate.offset).moving.push(movingImmediate);
      const end = offset + lengthBytes;
      for (let start = offset; start < end;) {
        const page = pageAt(start),
          stop = Math.min(end, (Math.floor(start / LINE_BYTES) + 1) * LINE_BYTES),
          line = Math.floor(start / LINE_BYTES);
        if (line & 32) page.high |= 1 << (line & 31);
        else page.low |= 1 << (line & 31);
        page.bits.fill(0xff, start & (PAGE_BYTES - 1), ((stop - 1) & (PAGE_BYTES - 1)) + 1);
        start = stop;
      }
    }
  return [...pages].map(([page, { low, high, bits, open, moving, fixed: fixedFields }]): KeptLines => {
    fillFields(bits, open, 0);
    fillFields(bits, moving, 0);
    fillFields(bits, fixedFields, 0xff);
    const openBits = bitsOf(open);
    return {
      page,
      linesLow: low,
      linesHigh: high,
      bytes: linesOf(window.wordsOf(page), low, high),
      free: linesOf(new Int32Array(bits.buffer), low, high).map((fixedBits) => ~fixedBits),
      open: openBits && linesOf(openBits, low, high),
    };
  });
}

/** @returns without its usage */
export function keptRegion(
  { offset, mode, vcpu, tlb }: CompileEntry,
  region: Region,
  window: CodeWindow,
  lines: readonly KeptLines[],
  { locals, out }: RegionBody,
): Omit<KeptRegion, 'usage'> {
  const head = localsOf(locals),
    whole = new Bytes(head.size + out.size);
  whole.append(head);
  whole.append(out);
  return {
    offset,
    mode,
    vcpu,
    tlb,
    size: region.size,
    lines,
    fields: Int32Array.from(closedFields(region, window)),
    blocks: Int32Array.from(region.blocks, ({ start }) => start),
    code: whole.bytes(),
    hints: Int32Array.from(out.hints ?? [], (hint) => hint + head.size * 2),
    relocations: Int32Array.from(out.marks ?? [], (word, index) => (index % MARK_WORDS === 0 ? word + head.size : word)),
  };
}

/** @returns what has been patched already, and is not read all the same, will not be read later: it is not among them */
function closedFields(region: Region, window: CodeWindow): number[] {
  const fields: number[] = [];
  for (const { instructions } of region.blocks)
    for (const { offset, lengthBytes, fieldBytes, openDisplacement, openImmediate } of instructions) {
      const end = offset + lengthBytes,
        field = end - fieldBytes;
      if (fieldBytes > 0 && !openDisplacement && !openImmediate && !isFieldPatched(window, offset, field, end))
        fields.push(offset, field, end);
    }
  return fields;
}

// --- put in its place ---

/** Where its pages are now, and what stands there. A page that is mapped at two places is one source. */
export function sourceOf(lines: readonly KeptLines[], window: CodeWindow): SourceLines[] {
  const sources: SourceLines[] = [];
  for (const part of lines) {
    const hvaPage = window.hvaOf(part.page),
      words = window.wordsOf(part.page),
      known = sources.findIndex((source) => source.hvaPage === hvaPage);
    if (known >= 0) sources[known] = bothOf(sources[known]!, part, words);
    else {
      const { linesLow, linesHigh, open } = part;
      sources.push({ hvaPage, linesLow, linesHigh, bytes: linesOf(words, linesLow, linesHigh), open });
    }
  }
  return sources;
}

/** @param words of their page */
function bothOf(one: SourceLines, other: KeptLines, words: Int32Array): SourceLines {
  const { hvaPage } = one,
    linesLow = one.linesLow | other.linesLow,
    linesHigh = one.linesHigh | other.linesHigh,
    open = one.open || other.open ? new Int32Array(PAGE_BYTES / 4) : undefined;
  for (const part of [one, other]) if (open && part.open) spread(open, part.open, part.linesLow, part.linesHigh);
  return { hvaPage, linesLow, linesHigh, bytes: linesOf(words, linesLow, linesHigh), open: open && linesOf(open, linesLow, linesHigh) };
}

/** Put lines where they lie in their page. */
function spread(page: Int32Array, words: Int32Array, linesLow: number, linesHigh: number): void {
  let at = 0;
  eachLine(linesLow, linesHigh, (line) => {
    for (let i = 0; i < LINE_WORDS; i++) page[line * LINE_WORDS + i]! |= words[at++]!;
  });
}

/** Its code, for where the entry is now, becomes part of a module. @param window of the entry */
export function addKept(
  batch: Pick<ModuleBatch, 'add' | 'copyOf' | 'helperIndex'>,
  kept: KeptRegion,
  slot: number,
  window: CodeWindow,
): void {
  const code = batch.copyOf(kept.code);
  relocate(code, kept.relocations, slot, batch, window);
  batch.add(
    { slot, size: kept.size, source: sourceOf(kept.lines, window) },
    { params: ['i32', 'i32'], locals: undefined, out: Bytes.of(code, Array.from(kept.hints)) },
  );
}
