/**
 * What the templates of x86 instructions leave open: see wasm/holes.ts. Everything here is a token, or the source of a constant.
 * Implements: docs/internals.md "Templates". Runs on: any thread; holds no state.
 */
import { TLB_ENTRY_BYTES } from '../../base/memory-map.ts';
import { HELPERS } from '../helpers.ts';
import type { HelperName } from '../helpers.ts';
import { FIRST_HOLE, NUMBER_HOLES } from '../wasm/holes.ts';
import type { TemplateTokens } from '../wasm/template.ts';
import type { Type } from '../wasm/opcodes.ts';

/** Local of the register in the nth register field, a general one or an XMM one; byte offset in the record of the register there; of the segment's base. */
export const HOLE_FIELD = FIRST_HOLE,
  HOLE_FIELD_OFFSET = HOLE_FIELD + 3,
  HOLE_SEGMENT_BASE = HOLE_FIELD_OFFSET + 3,
  /** Not a number but code: base, scaled index and displacement of the memory operand, added. */
  HOLE_ADDRESS = HOLE_SEGMENT_BASE + 1,
  /** Code that forgets all remembered pages. */
  HOLE_FORGET = HOLE_ADDRESS + 1,
  /** Locals of the page that the memory operand last read, its addend, and the same for writing. */
  HOLE_PAGE = HOLE_FORGET + 1,
  PAGE_LOCALS = 4,
  /** Not a number: the next branch is mostly not taken, or mostly taken. */
  HOLE_UNLIKELY = HOLE_PAGE + PAGE_LOCALS,
  HOLE_LIKELY = HOLE_UNLIKELY + 1,
  /** Code that adds the distance of the present access class's TLB, where it may be another one than the region's. */
  HOLE_CLASS = HOLE_LIKELY + 1,
  /** Offsets in memory 0 of the first entry of the region's TLB, by field: see tlbHole. */
  HOLE_TLB = HOLE_CLASS + 1,
  /** Locals of the general registers that an instruction implies. */
  HOLE_REGISTER = HOLE_TLB + TLB_ENTRY_BYTES / 8,
  HOLE_CONTROL = HOLE_REGISTER + 16,
  /** Locals of the XMM registers; XMM0 is implied by some instructions. */
  HOLE_VECTOR = HOLE_CONTROL + 16;
/** Locals of a region, in the order of their holes. */
export const CONTROL = ['otherTlb', 'changed', 'ripPage', 'exitRip', 'op', 'p', 'q', 'r', 'budget', 'mxcsr'] as const;
export type Control = (typeof CONTROL)[number];
/** @param field TLB_* */
export const tlbHole = (field: number): number => HOLE_TLB + field / 8;
export const controlHole = (name: Control): number => HOLE_CONTROL + CONTROL.indexOf(name);

/** Registers of a template, bit by bit: 0 to 15 general ones, then those in its fields, in its address, the flag record in two parts, XMM0 and MXCSR. */
export const MASK_FIELD = 1 << 16,
  MASK_ADDRESS = 1 << 19,
  MASK_FLAGS = 1 << 20,
  /** The result of a rotate. */
  MASK_ROTATED = 1 << 21,
  MASK_XMM0 = 1 << 22,
  /** What is known of MXCSR. */
  MASK_MXCSR = 1 << 23;
/** By the hole that stands for them. */
export const MASKS = new Map<number, number>([
  ...Array.from({ length: 16 }, (_, index) => [HOLE_REGISTER + index, 1 << index] as const),
  ...Array.from({ length: 3 }, (_, index) => [HOLE_FIELD + index, MASK_FIELD << index] as const),
  [HOLE_ADDRESS, MASK_ADDRESS],
  ...(['op', 'p', 'q'] as const).map((name) => [controlHole(name), MASK_FLAGS] as const),
  [controlHole('r'), MASK_ROTATED],
  [HOLE_VECTOR, MASK_XMM0],
  [controlHole('mxcsr'), MASK_MXCSR],
]);

/** Branches to where a fault goes: plus the labels that the template has open itself. */
export const HOLE_CAUGHT = HOLE_VECTOR + 16,
  MAX_INSIDE = 16,
  HOLE_TEMPORARY = HOLE_CAUGHT + MAX_INSIDE,
  MAX_TEMPORARIES = 96,
  HOLE_HELPER = HOLE_TEMPORARY + 5 * MAX_TEMPORARIES;
export const TEMPORARY_TYPES: readonly Type[] = ['i32', 'i64', 'f32', 'f64', 'v128'];
export const HELPER_NAMES = Object.keys(HELPERS) as readonly HelperName[];
const HELPER_INDEX = new Map(HELPER_NAMES.map((name, index) => [name, HOLE_HELPER + index]));
export const helperHole = (name: HelperName): number => HELPER_INDEX.get(name)!;

export const TOKENS: TemplateTokens = {
  hint: (taken) => (taken ? HOLE_LIKELY : HOLE_UNLIKELY),
  temporary: (type, nth) => {
    if (nth >= MAX_TEMPORARIES) throw new Error('a template with too many temporaries');
    return HOLE_TEMPORARY + TEMPORARY_TYPES.indexOf(type) * MAX_TEMPORARIES + nth;
  },
  outside: (inside) => {
    if (inside >= MAX_INSIDE) throw new Error('a template with too many labels');
    return HOLE_CAUGHT + inside;
  },
};
if (HOLE_HELPER + HELPER_NAMES.length > FIRST_HOLE + NUMBER_HOLES) throw new Error('too many holes');

/** Sources of constants. */
export const SOURCE = {
  IMMEDIATE: 0,
  /** Of an instruction with two, the second. */
  SECOND_IMMEDIATE: 1,
  SEGMENT: 2,
  /** rip of the instruction, of the next one and of a direct jump's target, less that of the region's page. */
  RIP: 3,
  NEXT_RIP: 4,
  TARGET: 5,
  /** The region's place in the table. */
  SLOT: 6,
  /** What the nth register field holds: a register's offset in the record, or a number. */
  FIELD: 7,
  /** Instructions before this one for which the budget has not been charged yet. */
  UNCHARGED: 10,
  /** Address of the TLB that the region is for. */
  TLB: 11,
} as const;
export const SOURCES = SOURCE.TLB + 1;
