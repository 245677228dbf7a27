/**
 * Memory-mapped device ranges: a main map, a fallback map behind it, and a hint of the last hit for each vCPU.
 * Implements: bhyve-map 4 (mem.c), with EEXIST for every overlap. Runs on: main event loop.
 * A handler may change the map while it runs (a configuration write moves a BAR): lookups finish before the handler is called.
 */
import { VmError } from '../base/errors.ts';
import { onesOf } from './inout.ts';

/** Offsets are relative to the range; values are unsigned, at most 32 bits. */
export interface MmioHandler {
  read(offset: number, sizeBytes: number): number | undefined;
  write(offset: number, sizeBytes: number, value: number): void;
}

export interface MmioRange {
  readonly name: string;
  readonly gpa: number;
  readonly sizeBytes: number;
  /** Can neither be removed nor moved. */
  readonly immutable?: boolean;
  readonly handler: MmioHandler;
}

const GPA_END = 2 ** 52;

/** Ranges sorted by address, none overlapping another. */
class RangeMap {
  readonly ranges: MmioRange[] = [];

  /** @returns the range that holds `gpa`. */
  at(gpa: number): MmioRange | undefined {
    const range = this.ranges[this.#countUpTo(gpa) - 1];
    return range !== undefined && gpa - range.gpa < range.sizeBytes ? range : undefined;
  }

  insert(range: MmioRange): void {
    const index = this.#countUpTo(range.gpa);
    for (const other of [this.ranges[index - 1], this.ranges[index]]) {
      if (other !== undefined && range.gpa < other.gpa + other.sizeBytes && other.gpa < range.gpa + range.sizeBytes) {
        throw new VmError('EEXIST', `range ${rangeText(range)} of ${range.name} overlaps ${rangeText(other)} of ${other.name}`);
      }
    }
    this.ranges.splice(index, 0, range);
  }

  /** Number of ranges that start at or below `gpa`. */
  #countUpTo(gpa: number): number {
    let low = 0,
      high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.ranges[middle]!.gpa <= gpa) low = middle + 1; // middle < high <= length
      else high = middle;
    }
    return low;
  }
}

export class MmioMap {
  readonly #main = new RangeMap();
  readonly #fallback = new RangeMap();
  readonly #hints: (MmioRange | undefined)[] = [];

  /** @throws VmError EEXIST naming both ranges, EINVAL for an empty range or one beyond 52 bits. */
  register(range: MmioRange): void {
    checkRange(range);
    this.#main.insert(range);
  }

  /** A range that answers only where no main range does. */
  registerFallback(range: MmioRange): void {
    checkRange(range);
    this.#fallback.insert(range);
  }

  /** @throws VmError ENOENT when nothing holds the base, EINVAL when it is another range or immutable. */
  unregister(range: MmioRange): void {
    const present = this.#main.at(range.gpa);
    if (present === undefined) throw new VmError('ENOENT', `range ${rangeText(range)} of ${range.name} is not registered`);
    if (present !== range)
      throw new VmError('EINVAL', `range ${rangeText(range)} of ${range.name} is held by ${rangeText(present)} of ${present.name}`);
    if (present.immutable === true) throw new VmError('EINVAL', `range ${rangeText(range)} of ${range.name} is immutable`);
    this.#main.ranges.splice(this.#main.ranges.indexOf(range), 1);
    for (let vcpu = 0; vcpu < this.#hints.length; vcpu++) if (this.#hints[vcpu] === range) this.#hints[vcpu] = undefined;
  }

  /** Hot. @returns the range that answers for `gpa`: hint, main map, then fallback (which never becomes a hint). */
  find(vcpu: number, gpa: number): MmioRange | undefined {
    const hint = this.#hints[vcpu];
    if (hint !== undefined && gpa >= hint.gpa && gpa - hint.gpa < hint.sizeBytes) return hint;
    const range = this.#main.at(gpa);
    if (range !== undefined) {
      this.#hints[vcpu] = range;
      return range;
    }
    return this.#fallback.at(gpa);
  }

  /** Hot. 1, 2 or 4 bytes. @returns all ones where no range answers. */
  read(vcpu: number, gpa: number, sizeBytes: number): number {
    const range = this.find(vcpu, gpa);
    if (range === undefined || sizeBytes > range.gpa + range.sizeBytes - gpa) return onesOf(sizeBytes);
    const value = range.handler.read(gpa - range.gpa, sizeBytes);
    return value === undefined ? onesOf(sizeBytes) : sizeBytes >= 4 ? value >>> 0 : value % 2 ** (8 * sizeBytes);
  }

  /** Hot. 1, 2 or 4 bytes; dropped where no range answers. */
  write(vcpu: number, gpa: number, sizeBytes: number, value: number): void {
    const range = this.find(vcpu, gpa);
    if (range !== undefined && sizeBytes <= range.gpa + range.sizeBytes - gpa) range.handler.write(gpa - range.gpa, sizeBytes, value);
  }

  ranges(): readonly MmioRange[] {
    return [...this.#main.ranges];
  }
}

/** Reads all ones, drops writes: what lies behind no device. */
export const HOLE: MmioHandler = { read: (_offset, sizeBytes) => onesOf(sizeBytes), write() {} };

function checkRange({ name, gpa, sizeBytes }: MmioRange): void {
  if (!Number.isInteger(gpa) || !Number.isInteger(sizeBytes) || gpa < 0 || sizeBytes < 1 || sizeBytes > GPA_END - gpa) {
    throw new VmError('EINVAL', `range of ${name}: 0x${gpa.toString(16)} + ${sizeBytes}: expected at least one byte below 2^52`);
  }
}

function rangeText(range: MmioRange): string {
  return `[0x${range.gpa.toString(16)}, 0x${(range.gpa + range.sizeBytes).toString(16)})`;
}
