/**
 * Numbers in a region's code that depend on where it is put: on its place in the table and its module, on where its pages lie in guest memory, and
 * on addresses among the guest's immediates and displacements, which a kernel that is loaded elsewhere each time has relocated. They are written
 * as long as their type can be, and their places are noted, so that kept code can be put elsewhere: see kept-regions.ts.
 * Implements: WebAssembly core specification 5.2.2 Integers (of which longer encodings are allowed). Runs on: where regions are compiled.
 */
import type { Decoder } from '../decode/decoder.ts';
import { ENV_LONG64 } from '../decode/variants.ts';
import { MARK_WORDS } from '../wasm/bytes.ts';
import type { Bytes } from '../wasm/bytes.ts';
import { pageOf } from './code-window.ts';
import type { CodeWindow } from './code-window.ts';
import type { ModuleBatch } from './module-batch.ts';
import type { OpenField } from './open-fields.ts';

/** What a number is; `a`, `b` and `c` are the operands of its relocation. */
export const RELOCATION = {
  /** A function of the module, in a call: helper number a. */
  HELPER: 0,
  /** i32: the region's place in the table. */
  SLOT: 1,
  /** i32 or i64: where in memory 1 the byte at offset a lies, counted from the entry's page. */
  PLACE32: 2,
  PLACE64: 3,
  /** i32: the field of b bytes at offset a of the guest's code. */
  FIELD32: 4,
  /** i64: the same sign-extended, plus c; zero-extended. */
  FIELD64: 5,
  FIELD64_ZERO: 6,
} as const;

/** One after the other: where it is in the code, which of RELOCATION, a, b, c. */
export type Relocations = Int32Array;

/** Calls name functions with two bytes: more than a module ever has. */
const CALL_BYTES = 2,
  I32_BYTES = 5,
  I64_BYTES = 10;

/** A number closer to 0 than this is no address that anybody relocates. */
const LEAST_ADDRESS_BITS = 24;

/** May it be an address? @param low, high a field's value, sign-extended */
function mayMove(low: number, high: number): boolean {
  const top = low >> LEAST_ADDRESS_BITS;
  return (top !== 0 && top !== -1) || high !== low >> 31;
}
/** The fields of the decoder's last instruction that may hold addresses: in 64-bit mode, four bytes and more that lie in one page. */
export function movingFields(
  offset: number,
  d: Decoder,
): { readonly displacement: OpenField | undefined; readonly immediate: OpenField | undefined } | undefined {
  const { displacementBytes, immediateBytes, environment, relative } = d;
  if (environment !== ENV_LONG64 || (displacementBytes !== 4 && (immediateBytes < 4 || relative))) return undefined;
  const end = offset + d.lengthBytes,
    immediateAt = end - immediateBytes,
    displacementAt = immediateAt - displacementBytes;
  if (pageOf(displacementAt) !== pageOf(end - 1)) return undefined;
  const displacement = displacementBytes === 4 && d.isMemory && mayMove(d.dispLow, d.dispHigh),
    immediate = immediateBytes >= 4 && !relative && mayMove(d.immediateLow, d.immediateHigh);
  if (!displacement && !immediate) return undefined;
  return {
    displacement: displacement ? { offset: displacementAt, sizeBytes: 4 } : undefined,
    immediate: immediate ? { offset: immediateAt, sizeBytes: immediateBytes } : undefined,
  };
}

/** Operand of a call. @param index below 16,384 */
export function emitCallee(out: Bytes, helper: number, index: number): void {
  out.mark(RELOCATION.HELPER, helper);
  out.u8((index & 0x7f) | 0x80);
  out.u8(index >> 7);
}
/** Operand of i32.const. */
export function emitSlot(out: Bytes, slot: number): void {
  out.mark(RELOCATION.SLOT);
  emitWide(out, slot, 0, I32_BYTES);
}
/** Instruction and operand. @param place in memory 1 */
export function emitPlace(out: Bytes, type: 'i32' | 'i64', offset: number, place: number): void {
  const isNarrow = type === 'i32';
  out.u8(isNarrow ? 0x41 : 0x42);
  out.mark(isNarrow ? RELOCATION.PLACE32 : RELOCATION.PLACE64, offset);
  if (isNarrow) emitWide(out, place | 0, (place | 0) >> 31, I32_BYTES);
  else emitWide(out, place | 0, Math.floor(place / 0x1_0000_0000), I64_BYTES);
}
/**
 * Operand of a constant.
 * @param field where the number comes from @param kind one of FIELD32, FIELD64, FIELD64_ZERO
 * @param high counts for FIELD64 only @param added what is in it besides: of FIELD64, and a field of four bytes
 */
export function emitMoving(out: Bytes, field: OpenField, kind: number, low: number, high: number, added = 0): void {
  out.mark(kind, field.offset, field.sizeBytes, added);
  if (kind === RELOCATION.FIELD32) emitWide(out, low, low >> 31, I32_BYTES);
  else emitWide(out, low, kind === RELOCATION.FIELD64 ? high : 0, I64_BYTES);
}
function emitWide(out: Bytes, low: number, high: number, lengthBytes: number): void {
  const at = out.size;
  write(out.reserve(lengthBytes), at, low, high, lengthBytes);
  out.size = at + lengthBytes;
}

/** A signed number, as long as it may be. */
function write(code: Uint8Array, at: number, low: number, high: number, lengthBytes: number): void {
  for (let i = 0; i < lengthBytes - 1; i++) {
    code[at + i] = (low & 0x7f) | 0x80;
    low = (low >>> 7) | (high << 25);
    high >>= 7;
  }
  code[at + lengthBytes - 1] = low & 0x7f;
}

/** Write all numbers anew. @param code is changed @param window of the entry where it is put. Hot */
export function relocate(
  code: Uint8Array,
  relocations: Relocations,
  slot: number,
  { helperIndex }: Pick<ModuleBatch, 'helperIndex'>,
  window: CodeWindow,
): void {
  for (let i = 0; i < relocations.length; i += MARK_WORDS) {
    const at = relocations[i]!,
      a = relocations[i + 2]!,
      isWide = relocations[i + 3] === 8,
      c = relocations[i + 4]!;
    switch (relocations[i + 1]) {
      case RELOCATION.HELPER: {
        const index = helperIndex(a);
        code[at] = (index & 0x7f) | 0x80;
        code[at + CALL_BYTES - 1] = index >> 7;
        break;
      }
      case RELOCATION.SLOT:
        write(code, at, slot, 0, I32_BYTES);
        break;
      case RELOCATION.PLACE32: {
        const place = window.placeOf(a) | 0;
        write(code, at, place, place >> 31, I32_BYTES);
        break;
      }
      case RELOCATION.PLACE64:
        writeNumber(code, at, window.placeOf(a));
        break;
      case RELOCATION.FIELD32: {
        const low = window.wordAt(a);
        write(code, at, low, low >> 31, I32_BYTES);
        break;
      }
      case RELOCATION.FIELD64: {
        const low = window.wordAt(a);
        if (c === 0) write(code, at, low, isWide ? window.wordAt(a + 4) : low >> 31, I64_BYTES);
        // Only of 32 bits is there one with something to add.
        else writeNumber(code, at, low + c);
        break;
      }
      case RELOCATION.FIELD64_ZERO:
        write(code, at, window.wordAt(a), 0, I64_BYTES);
    }
  }
}

/** An i64 that is an exact double. */
function writeNumber(code: Uint8Array, at: number, value: number): void {
  write(code, at, value | 0, Math.floor(value / 0x1_0000_0000) | 0, I64_BYTES);
}
