/**
 * The templates of instructions: found by the form of their operands, recorded when first asked for.
 *
 * A key is one number: the line, its variant, and the few properties of the operands that change what is emitted. Most forms have one
 * template; a form whose body looks at an immediate's value or at what is known of the flags has one for each of them.
 * Implements: docs/internals.md "Templates". Runs on: any thread; templates belong to no machine and are never dropped.
 */
import { ENV_LONG32 } from '../decode/variants.ts';
import type { Size } from '../emit.ts';
import { LINES } from '../isa/index.ts';
import { SEG } from '../state.ts';
import { Label, recording } from '../wasm/function.ts';
import { FIRST_HOLE, NUMBER_HOLES } from '../wasm/holes.ts';
import { TemplateBuilder } from '../wasm/template.ts';
import { HOLE_ADDRESS, HOLE_CAUGHT, MASKS, MAX_INSIDE, TOKENS } from './holes.ts';
import { TemplateEmit } from './template-emit.ts';
import type { Form, KnownFlags, Particulars } from './template-emit.ts';
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
   * and 21 the flag record without its result of a rotate, and that. What may be written or not is also read.
   */
  readonly reads: number;
  readonly writes: number;
}
const LOCAL_GET = 0x20;
const HIGH_REGISTERS_END = 16 * 8;
const NOTHING_KNOWN = -1;

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
const SETS_FLAGS = LINES.map(({ effect }) => effect !== 'none' && effect !== 'read');

class Templates {
  pool = new Uint16Array(1 << 16);
  #used = 0;
  readonly #entries = new Map<number, Entry>();
  readonly stats = { recorded: 0, recordMs: 0 };

  find(at: Instruction, fpuTrap: boolean, known: KnownFlags | undefined): Template {
    const { row, registers } = at,
      flagsWanted = at.flagsWanted || !SETS_FLAGS[row.lineIndex],
      checks = fpuTrap && row.fpuClass !== 0,
      hasSegmentBase = at.segment >= SEG.FS && at.environment <= ENV_LONG32;
    let highBytes = 0;
    for (let i = 0; i < 3; i++) if (registers[i]! < HIGH_REGISTERS_END && (registers[i]! & 7) === 1) highBytes |= 1 << i;
    const key =
      row.lineIndex |
      ((at.operandSize >> 2) << 12) |
      (at.environment << 14) |
      (at.prefix << 16) |
      (highBytes << 18) |
      (at.isMemory ? 1 << 21 : 0) |
      (flagsWanted ? 1 << 22 : 0) |
      (hasSegmentBase ? 1 << 23 : 0) |
      (checks ? 1 << 24 : 0);
    let entry = this.#entries.get(key);
    if (!entry) {
      const { lineIndex } = row,
        { environment, prefix, isMemory } = at,
        operandSize = at.operandSize as Size,
        fpuCheck = checks ? row.fpuClass : 0;
      const form: Form = { lineIndex, operandSize, environment, prefix, isMemory, hasSegmentBase, highBytes, flagsWanted, fpuCheck };
      entry = { form, asksKnown: false, asksValue: false, template: undefined, byKnown: new Map() };
      this.#entries.set(key, entry);
    }
    return entry.template ?? this.#particular(entry, at, known);
  }

  #particular(entry: Entry, at: Instruction, known: KnownFlags | undefined): Template {
    for (;;) {
      const byValue = entry.byKnown.get(entry.asksKnown ? (known ?? NOTHING_KNOWN) : NOTHING_KNOWN),
        template = byValue?.get(entry.asksValue ? at.immediateLow : 0);
      if (template) return template;
      this.#record(entry, at, known);
      if (entry.template) return entry.template;
    }
  }

  /** Add a template, or find out what the form asks for. */
  #record(entry: Entry, at: Instruction, known: KnownFlags | undefined): void {
    const started = performance.now();
    const particulars: Particulars = {
      known: entry.asksKnown ? known : 'open',
      immediate: entry.asksValue ? { low: at.immediateLow, high: at.immediateHigh } : undefined,
    };
    const caught = new Label(),
      builder = new TemplateBuilder(TOKENS, caught),
      emit = new TemplateEmit(builder, caught, entry.form, particulars);
    recording.asked = false;
    emit.run();
    this.stats.recorded++;
    this.stats.recordMs += performance.now() - started;
    // Who asks for anything else gets no answer, and emits what serves any value.
    if ((recording.asked && !entry.asksValue) || emit.askedKnown) {
      entry.asksValue ||= recording.asked;
      entry.asksKnown ||= emit.askedKnown;
      return;
    }
    const template = this.#add(builder.tokens, emit);
    if (!entry.asksKnown && !entry.asksValue) {
      entry.template = template;
      return;
    }
    const known_ = entry.asksKnown ? (known ?? NOTHING_KNOWN) : NOTHING_KNOWN;
    let byValue = entry.byKnown.get(known_);
    if (!byValue) {
      byValue = new Map();
      entry.byKnown.set(known_, byValue);
    }
    byValue.set(entry.asksValue ? at.immediateLow : 0, template);
  }

  #add(tokens: readonly number[], { storedSlowly, knownAfter, conditional }: TemplateEmit): Template {
    const start = this.#used,
      end = start + tokens.length;
    if (end > this.pool.length) {
      const grown = new Uint16Array(Math.max(this.pool.length * 2, end));
      grown.set(this.pool.subarray(0, start));
      this.pool = grown;
    }
    let faults = false,
      reads = 0,
      writes = 0;
    for (const [index, token] of tokens.entries()) {
      this.pool[start + index] = token;
      if (token < FIRST_HOLE || token >= FIRST_HOLE + NUMBER_HOLES) continue;
      if (token >= HOLE_CAUGHT && token < HOLE_CAUGHT + MAX_INSIDE) faults = true;
      const bit = MASKS.get(token) ?? 0;
      if (token === HOLE_ADDRESS || tokens[index - 1] === LOCAL_GET) reads |= bit;
      else writes |= bit;
    }
    reads |= writes & conditional;
    this.#used = end;
    return { start, end, faults, storedSlowly, knownAfter, reads, writes };
  }
}

/** Those of this thread. */
export const templates = new Templates();
