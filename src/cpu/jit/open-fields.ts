/**
 * Displacements and immediates that are patched while their code runs, as runtimes and kernels patch constants, caches and offsets: a region reads them
 * from the code's memory each time, so that the next patch of them does not end it.
 * Implements: docs/jit.md "Open fields". Runs on: noting on the vCPU's thread, the rest where regions are compiled.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';
import type { Decoder } from '../decode/decoder.ts';
import { RAM_MEMORY, RAM_START } from '../guest-ram.ts';
import type { RamIndex } from '../guest-ram.ts';
import type { Bytes } from '../wasm/bytes.ts';
import { CUT } from '../wasm/holes.ts';
import { pageOf } from './code-window.ts';
import type { CodeWindow } from './code-window.ts';
import { LINE_BYTES, eachLine } from './compilation.ts';
import { emitPlace } from './relocations.ts';
import type { SourceLines } from './compilation.ts';

/** A field of an instruction in the region's window, by offset from the entry's page. */
export interface OpenField {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Bytes of a page that have been patched, a bit each. */
export type PatchedBytes = Int32Array;
const PATCHED_WORDS = PAGE_BYTES / 32;
/** Where more of a page's compiled code differs than this, it is other code, and no patch. */
const MAX_PATCH_BYTES = 16;

/**
 * A region's code has changed: which of its bytes differ now?
 * @param bytes memory 1. @param before patched earlier.
 * @returns with them; undefined where it is other code now
 */
export function notePatches(
  bytes: Uint8Array,
  { hvaPage, linesLow, linesHigh, bytes: words }: SourceLines,
  before?: PatchedBytes,
): PatchedBytes | undefined {
  const was = new Uint8Array(words.buffer, words.byteOffset, words.byteLength),
    patched = before ?? new Int32Array(PATCHED_WORDS);
  let at = 0,
    count = 0;
  eachLine(linesLow, linesHigh, (line) => {
    for (let offset = line * LINE_BYTES; offset < (line + 1) * LINE_BYTES; offset++)
      if (bytes[hvaPage + offset] !== was[at++]) {
        patched[offset >> 5]! |= 1 << (offset & 31);
        count++;
      }
  });
  return count > MAX_PATCH_BYTES ? undefined : patched;
}

interface OpenFields {
  readonly displacement: OpenField | undefined;
  readonly immediate: OpenField | undefined;
}
const NO_FIELDS: OpenFields = { displacement: undefined, immediate: undefined };

/** The fields of the decoder's last instruction, if bytes of them, and no others of the instruction, have been patched. */
export function openFields(window: CodeWindow, offset: number, decoder: Decoder): OpenFields {
  const { lengthBytes, displacementBytes, immediateBytes } = decoder,
    end = offset + lengthBytes,
    fields = end - immediateBytes - displacementBytes;
  if (!window.isPatched(offset, end) || window.isPatched(offset, fields) || pageOf(fields) !== pageOf(end - 1)) return NO_FIELDS;
  const field = (start: number, sizeBytes: number): OpenField | undefined =>
    window.isPatched(start, start + sizeBytes) ? { offset: start, sizeBytes } : undefined;
  return { displacement: field(fields, displacementBytes), immediate: field(end - immediateBytes, immediateBytes) };
}

/** The bits of fields of one page, as a mask of all its words; undefined where there are none. */
export function bitsOf(fields: readonly OpenField[]): Int32Array | undefined {
  if (fields.length === 0) return undefined;
  const bytes = new Uint8Array(PAGE_BYTES);
  fillFields(bytes, fields, 0xff);
  return new Int32Array(bytes.buffer);
}
/** @param page its bytes, of which those of the fields become this one */
export function fillFields(page: Uint8Array, fields: readonly OpenField[], byte: number): void {
  for (const { offset, sizeBytes } of fields) {
    const start = offset - pageOf(offset) * PAGE_BYTES;
    page.fill(byte, start, start + sizeBytes);
  }
}

/** i64.load of so many bytes, sign-extended. */
const LOADS: Readonly<Record<number, number>> = { 1: 0x30, 2: 0x32, 4: 0x34, 8: 0x29 };
/** In a memory argument: a memory's number follows. */
const HAS_MEMORY = 0x40;

/** Its present value, sign-extended to an i64. @param hva where the field lies in memory 1 */
export function emitField(out: Bytes, { offset, sizeBytes }: OpenField, hva: number, ramIndex: RamIndex): void {
  emitPlace(out, ramIndex, offset, hva);
  out.u8(LOADS[sizeBytes]!);
  const memory = RAM_MEMORY[ramIndex];
  out.u8(memory === 0 ? 0 : HAS_MEMORY);
  if (memory !== 0) out.u32(memory);
  out.u32(RAM_START[ramIndex]);
}

const WRAP = 0xa7,
  I32_AND = 0x71,
  I64_AND = 0x83;
/** Code that makes the constant of a hole from the i64: opcodes, and what is ANDed. */
const CUTS: Readonly<Record<number, { readonly opcodes: readonly number[]; readonly mask?: number }>> = {
  [CUT.I32]: { opcodes: [WRAP] },
  [CUT.I32_U8]: { opcodes: [WRAP], mask: 0xff },
  [CUT.I32_U16]: { opcodes: [WRAP], mask: 0xffff },
  [CUT.I32_S8]: { opcodes: [WRAP, 0xc0] },
  [CUT.I32_S16]: { opcodes: [WRAP, 0xc1] },
  [CUT.I64]: { opcodes: [] },
  [CUT.I64_U32]: { opcodes: [WRAP, 0xad] },
  [CUT.I64_S32]: { opcodes: [0xc4] },
  [CUT.I64_U8]: { opcodes: [], mask: 0xff },
  [CUT.I64_U16]: { opcodes: [], mask: 0xffff },
  [CUT.I64_S8]: { opcodes: [0xc2] },
  [CUT.I64_S16]: { opcodes: [0xc3] },
};
export function emitCut(out: Bytes, cut: number): void {
  const { opcodes, mask } = CUTS[cut]!;
  for (const opcode of opcodes) out.u8(opcode);
  if (mask === undefined) return;
  const narrow = opcodes.length > 0;
  out.u8(narrow ? 0x41 : 0x42);
  out.s32(mask);
  out.u8(narrow ? I32_AND : I64_AND);
}
