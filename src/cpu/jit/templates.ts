/**
 * The templates of instructions: found by the form of their operands, recorded when first asked for.
 *
 * A key is one number: the line, its variant, and the few properties of the operands that change what is emitted. Most forms have one
 * template; a form whose body looks at an immediate's value or at what is known of the flags has one for each of them.
 * Implements: docs/internals.md "Templates". Runs on: any thread; templates belong to no machine and are never dropped.
 */
import { ENV_LONG32 } from '../decode/variants.ts';
import type { Size } from '../emit.ts';
import type { RamIndex } from '../guest-ram.ts';
import { LINES } from '../isa/index.ts';
import { SEG } from '../state.ts';
import { Label, recording } from '../wasm/function.ts';
import { FIRST_HOLE, NUMBER_HOLES } from '../wasm/holes.ts';
import { TemplateBuilder } from '../wasm/template.ts';
import { HOLE_ADDRESS, HOLE_CAUGHT, MASKS, MAX_INSIDE, TOKENS } from './holes.ts';
import { MISS_CALLS, TemplateEmit } from './template-emit.ts';
import { writeImage } from './template-image.ts';
import type { FormImage, TemplateImage } from './template-image.ts';
import type { Form, KnownFlags, Miss, Particulars } from './template-emit.ts';
import type { Instruction } from './region.ts';

export interface Template {
  /** Its tokens in the pool. */
  readonly start: number;
  readonly end: number;
  /** A fault may leave it. */
  readonly faults: boolean;
  readonly storedSlowly: boolean;
  readonly knownAfter: KnownFlags | undefined | 'same';
  /**
   * Registers read and written: bit n of the low half is general register n, bits 16 to 18 the register fields, bit 19 the address, bits 20
   * and 21 the flag record without its result of a rotate, and that, bit 22 XMM0, bit 23 MXCSR. What may be written or not is also read.
   */
  readonly reads: number;
  readonly writes: number;
}
const LOCAL_GET = 0x20;
const HIGH_REGISTERS_END = 16 * 8;
const NOTHING_KNOWN = -1;

/** May one of its registers be AH, CH, DH or BH? */
const HAS_BYTES = LINES.map(({ operands }) => operands.some(({ kind, size }) => size === 1 && kind !== 'I' && kind !== 'one'));

/** Lines that reach memory without a memory operand: stack and strings. */
export const IMPLIES_ACCESS = LINES.map(({ name }) => /^(push|pop|call|ret|leave|movs|stos|lods|scas|cmps|xlat)/.test(name));

type Immediate = Pick<Instruction, 'immediateLow' | 'immediateHigh'>;
interface Entry {
  readonly form: Form;
  asksKnown: boolean;
  asksValue: boolean;
  /** Where it asks for nothing. */
  template: Template | undefined;
  /** By what it asks for. */
  readonly byKnown: Map<number, Map<number, Template>>;
}

/** Does the line set flags, so that it matters whether someone wants them? */
export const SETS_FLAGS = LINES.map(({ effect }) => effect !== 'none' && effect !== 'read');

function put(entry: Entry, known: number, value: number, template: Template): void {
  if (!entry.asksKnown && !entry.asksValue) {
    entry.template = template;
    return;
  }
  let byValue = entry.byKnown.get(known);
  if (!byValue) {
    byValue = new Map();
    entry.byKnown.set(known, byValue);
  }
  byValue.set(value, template);
}

// --- a form as one number ---

const KEY_SIZE = 12,
  KEY_ENVIRONMENT = 14,
  KEY_PREFIX = 16,
  KEY_HIGH_BYTES = 18,
  KEY_MEMORY = 1 << 21,
  KEY_FLAGS_WANTED = 1 << 22,
  KEY_SEGMENT_BASE = 1 << 23,
  KEY_FPU_CHECK = 24,
  KEY_MISS = 27;
const SIZES: readonly Size[] = [2, 4, 8];

function keyOf(at: Instruction, fpuTrap: boolean, miss: Miss): number {
  const { row, registers } = at,
    { lineIndex } = row;
  let key = lineIndex | ((at.operandSize >> 2) << KEY_SIZE) | (at.environment << KEY_ENVIRONMENT) | (at.prefix << KEY_PREFIX);
  if (HAS_BYTES[lineIndex])
    for (let i = 0; i < 3; i++) if (registers[i]! < HIGH_REGISTERS_END && (registers[i]! & 7) === 1) key |= 1 << (KEY_HIGH_BYTES + i);
  if (at.isMemory) key |= KEY_MEMORY;
  if (at.flagsWanted || !SETS_FLAGS[lineIndex]) key |= KEY_FLAGS_WANTED;
  if (at.segment >= SEG.FS && at.environment <= ENV_LONG32) key |= KEY_SEGMENT_BASE;
  if (fpuTrap) key |= row.fpuClass << KEY_FPU_CHECK;
  if (at.isMemory || IMPLIES_ACCESS[lineIndex]) key |= miss << KEY_MISS;
  return key;
}
function keyOfForm(form: Form): number {
  return (
    form.lineIndex |
    ((form.operandSize >> 2) << KEY_SIZE) |
    (form.environment << KEY_ENVIRONMENT) |
    (form.prefix << KEY_PREFIX) |
    (form.highBytes << KEY_HIGH_BYTES) |
    (form.isMemory ? KEY_MEMORY : 0) |
    (form.flagsWanted ? KEY_FLAGS_WANTED : 0) |
    (form.hasSegmentBase ? KEY_SEGMENT_BASE : 0) |
    (form.fpuCheck << KEY_FPU_CHECK) |
    (form.miss << KEY_MISS)
  );
}
function formOf(key: number): Form {
  return {
    lineIndex: key & 0xfff,
    operandSize: SIZES[(key >> KEY_SIZE) & 3]!,
    environment: (key >> KEY_ENVIRONMENT) & 3,
    prefix: (key >> KEY_PREFIX) & 3,
    highBytes: (key >> KEY_HIGH_BYTES) & 7,
    isMemory: (key & KEY_MEMORY) !== 0,
    flagsWanted: (key & KEY_FLAGS_WANTED) !== 0,
    hasSegmentBase: (key & KEY_SEGMENT_BASE) !== 0,
    fpuCheck: (key >> KEY_FPU_CHECK) & 7,
    miss: ((key >> KEY_MISS) & 3) as Miss,
  };
}

export class Templates {
  pool = new Uint16Array(1 << 14);
  readonly #ramIndex: RamIndex;
  #used = 0;
  #image: TemplateImage | undefined;
  readonly #entries = new Map<number, Entry>();
  readonly stats = { recorded: 0, recordMs: 0 };

  constructor(ramIndex: RamIndex) {
    this.#ramIndex = ramIndex;
  }

  find(at: Instruction, fpuTrap: boolean, known: KnownFlags | undefined, miss: Miss = MISS_CALLS): Template {
    const key = keyOf(at, fpuTrap, miss),
      entry = this.#entries.get(key) ?? this.#open(key);
    return entry.template ?? this.#particular(entry, at, known);
  }

  /** Do the templates of its form depend on the immediate's value? One of them must have been found. */
  asksValue(at: Instruction, fpuTrap: boolean, miss: Miss): boolean {
    return this.#entries.get(keyOf(at, fpuTrap, miss))!.asksValue;
  }

  /** Use what was recorded ahead of time, for forms that have not been met. */
  load(image: TemplateImage): void {
    this.#image = image;
  }

  /** All that there are, to be kept. */
  image(): Uint8Array {
    return writeImage([...this.#entries].map(([key, entry]) => this.#formImage(key, entry)).filter(({ templates: all }) => all.length > 0));
  }
  #formImage(key: number, { asksKnown, asksValue, template, byKnown }: Entry): FormImage {
    const all = template
      ? [{ known: NOTHING_KNOWN, value: 0, template }]
      : [...byKnown].flatMap(([known, byValue]) => [...byValue].map(([value, each]) => ({ known, value, template: each })));
    const tokens: number[] = [],
      moved = all.map((each) => ({ ...each, template: { ...each.template, start: 0, end: 0 } }));
    for (const [index, { template: each }] of all.entries()) {
      moved[index]!.template.start = tokens.length;
      tokens.push(...this.pool.subarray(each.start, each.end));
      moved[index]!.template.end = tokens.length;
    }
    return { key, asksKnown, asksValue, templates: moved, tokens: Uint16Array.from(tokens) };
  }

  /** A form that is met for the first time. */
  #open(key: number): Entry {
    const entry: Entry = { form: formOf(key), asksKnown: false, asksValue: false, template: undefined, byKnown: new Map() },
      ahead = this.#image?.find(key);
    if (ahead) {
      const base = this.#used;
      ({ asksKnown: entry.asksKnown, asksValue: entry.asksValue } = ahead);
      this.#take(ahead.tokens);
      for (const { known, value, template } of ahead.templates)
        put(entry, known, value, { ...template, start: template.start + base, end: template.end + base });
    }
    this.#entries.set(key, entry);
    return entry;
  }
  /** Record a form before an instruction asks for it. */
  prepare(form: Form, known: KnownFlags | undefined, immediate: number): void {
    const key = keyOfForm(form),
      entry = this.#entries.get(key) ?? this.#open(key);
    if (!entry.template) this.#particular(entry, { immediateLow: immediate, immediateHigh: immediate >> 31 }, known);
  }
  /** What its templates depend on beside the form; one of them must have been recorded. */
  asks(form: Form): { readonly known: boolean; readonly value: boolean } {
    const { asksKnown, asksValue } = this.#entries.get(keyOfForm(form))!;
    return { known: asksKnown, value: asksValue };
  }

  #particular(entry: Entry, at: Immediate, known: KnownFlags | undefined): Template {
    for (;;) {
      const byValue = entry.byKnown.get(entry.asksKnown ? (known ?? NOTHING_KNOWN) : NOTHING_KNOWN),
        template = byValue?.get(entry.asksValue ? at.immediateLow : 0);
      if (template) return template;
      this.#record(entry, at, known);
      if (entry.template) return entry.template;
    }
  }

  /** Add a template, or find out what the form asks for. */
  #record(entry: Entry, at: Immediate, known: KnownFlags | undefined): void {
    const started = performance.now();
    const particulars: Particulars = {
      known: entry.asksKnown ? known : 'open',
      immediate: entry.asksValue ? { low: at.immediateLow, high: at.immediateHigh } : undefined,
    };
    const caught = new Label(),
      builder = new TemplateBuilder(TOKENS, caught),
      emit = new TemplateEmit(builder, this.#ramIndex, caught, entry.form, particulars);
    recording.asked = false;
    emit.run();
    this.stats.recorded++;
    this.stats.recordMs += performance.now() - started;
    // Who asks for anything but an immediate gets no answer, and emits what serves any value.
    if (recording.asked && !entry.asksValue) {
      entry.asksValue = true;
      return;
    }
    if (emit.askedKnown) {
      entry.asksKnown = true;
      return;
    }
    const template = this.#add(builder.tokens, emit);
    put(entry, entry.asksKnown ? (known ?? NOTHING_KNOWN) : NOTHING_KNOWN, entry.asksValue ? at.immediateLow : 0, template);
  }

  /** Put tokens into the pool, behind the others. */
  #take(tokens: ArrayLike<number>): void {
    const end = this.#used + tokens.length;
    if (end > this.pool.length) {
      const grown = new Uint16Array(Math.max(this.pool.length * 2, end));
      grown.set(this.pool.subarray(0, this.#used));
      this.pool = grown;
    }
    this.pool.set(tokens, this.#used);
    this.#used = end;
  }

  #add(tokens: readonly number[], { storedSlowly, knownAfter, conditional }: TemplateEmit): Template {
    const start = this.#used,
      end = start + tokens.length;
    this.#take(tokens);
    let faults = false,
      reads = 0,
      writes = 0;
    for (const [index, token] of tokens.entries()) {
      if (token < FIRST_HOLE || token >= FIRST_HOLE + NUMBER_HOLES) continue;
      if (token >= HOLE_CAUGHT && token < HOLE_CAUGHT + MAX_INSIDE) faults = true;
      const bit = MASKS.get(token) ?? 0;
      if (token === HOLE_ADDRESS || tokens[index - 1] === LOCAL_GET) reads |= bit;
      else writes |= bit;
    }
    reads |= writes & conditional;
    return { start, end, faults, storedSlowly, knownAfter, reads, writes };
  }
}

/** Those of this thread, by the type of addresses in memory 1. */
export const templates: Readonly<Record<RamIndex, Templates>> = { i32: new Templates('i32'), i64: new Templates('i64') };
