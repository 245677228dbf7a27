/**
 * The stage of tier 1: an instruction's body is run once for each form of its operands, and what it emits is recorded as a template whose
 * registers, numbers and labels are holes (jit/holes.ts). General registers and the flag record live in locals.
 *
 * Who asks for the value of an immediate, or for what is known of the flags, gets a template for each value: `askedValue`, `askedKnown`.
 * Faults: whoever may raise branches to `caught`. An instruction that jumps leaves the new rip in `exitRip`, a branch its condition.
 * Implements: docs/internals.md "Calls and faults". Runs on: where templates are recorded.
 */
import { UOP_HANDLER } from '../../base/memory-map.ts';
import { PREFIX_LOCK, PREFIX_PLAIN } from '../decode/variants.ts';
import { inBulk } from '../bulk.ts';
import { ALIAS_GPR, ALIAS_STATE, ALIAS_VECTOR, Emit, FLAG_KINDS, RCX } from '../emit.ts';
import type { AccessSize, FlagKind, Operand, RememberedPage, Shape, Size, Value } from '../emit.ts';
import type { RamIndex } from '../guest-ram.ts';
import { HELPERS } from '../helpers.ts';
import type { HelperName } from '../helpers.ts';
import { ENVIRONMENTS } from '../interp/open-emit.ts';
import { LINES } from '../isa/index.ts';
import type { Line } from '../isa/inst.ts';
import { shapesOf } from '../shapes.ts';
import { VCPU } from '../state.ts';
import { tlbIndex } from '../tlb-entry.ts';
import type { Label } from '../wasm/function.ts';
import { CUT, constantHole } from '../wasm/holes.ts';
import type { LoadKind, StoreKind } from '../wasm/opcodes.ts';
import type { TemplateBuilder } from '../wasm/template.ts';
import {
  CONTROL,
  HOLE_ADDRESS,
  HOLE_CLASS,
  HOLE_FORGET,
  HOLE_PAGE,
  HOLE_FIELD,
  HOLE_FIELD_OFFSET,
  HOLE_REGISTER,
  HOLE_SEGMENT_BASE,
  HOLE_VECTOR,
  MASKS,
  MASK_FLAGS,
  MASK_MXCSR,
  MASK_ROTATED,
  SOURCE,
  controlHole,
  tlbHole,
  helperHole,
} from './holes.ts';
import type { Control } from './holes.ts';

/** Alias class of the flag record. Registers in different fields may be the same one: they share ALIAS_GPR. */
const ALIAS_RECORD = 300;
/** And of what is known of MXCSR. */
const ALIAS_MXCSR = 301;
const VECTOR_LOAD: Readonly<Record<AccessSize, LoadKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64', 16: 'v128' };
/** The low element of a vector as an integer; what it becomes by a value of a type. */
const LOW_ELEMENT = { 1: 'i8x16.extract_lane_u', 2: 'i16x8.extract_lane_u', 4: 'i32x4.extract_lane', 8: 'i64x2.extract_lane' } as const;
const REPLACE_ELEMENT = {
  i32: 'i32x4.replace_lane',
  i64: 'i64x2.replace_lane',
  f32: 'f32x4.replace_lane',
  f64: 'f64x2.replace_lane',
} as const;
const VECTOR_STORE: Readonly<Record<AccessSize, StoreKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64', 16: 'v128' };
/** Helpers that change the access class, and with it the TLB. */
export const CHANGES_CLASS = new Set<HelperName>(['stac', 'clac']);
/** Helpers that read the flag record, and that write it. */
const READS_FLAGS = new Set<HelperName>(['readFlags', 'pushFlags', 'lar', 'lsl', 'verr', 'verw', 'arpl']);
const WRITES_FLAGS = new Set<HelperName>([
  'writeFlags',
  'lar',
  'lsl',
  'verr',
  'verw',
  'arpl',
  'pcmpistri',
  'pcmpistrm',
  'pcmpestri',
  'pcmpestrm',
]);

/**
 * What is known of the flag record at a place: size and kind of its op word. A shift's count is not part of it, so that there are few; the
 * word itself is in its local.
 */
export type KnownFlags = number;
const KINDS = Object.fromEntries(Object.entries(FLAG_KINDS).map(([name, kind]) => [kind, name])) as Readonly<Record<number, FlagKind>>;
export const knownFlags = (op: number): KnownFlags => op & 0xff;
const kindOf = (known: KnownFlags): FlagKind => KINDS[known >>> 2]!;
const sizeOf = (known: KnownFlags): number => 1 << (known & 3);
/** Helpers that work on the record alone: the TLB is the same after them. */
const COMPUTES =
  /^(multiplyHigh|divide|readFlags$|writeFlags$|crc32$|sse|mmx|fpu(Arithmetic|Compare|Exchange|Sign|Load(F|I|Register|Constant)|Store(F|Integer|Register)))/;
const SETS_MXCSR = /^sse/;
/** While nobody has asked. */
const UNASKED = -1;

/** Operands that take the next of an instruction's register fields. */
export const USES_FIELD: ReadonlySet<Shape['kind']> = new Set(['gpr', 'vector', 'mmx', 'number'] as const);
const PAGES = { movs: 'stringMovePages', stos: 'stringFillPages' } as const;
/** Tokens of the control locals. */
const CONTROLS = Object.fromEntries(CONTROL.map((name) => [name, controlHole(name)])) as Readonly<Record<Control, number>>;

/**
 * What an instruction does where the TLB does not serve its access: it calls the slow way; the same, but first it compares with the page that is
 * remembered; or the region is left, and tier 0 does the instruction.
 */
export const MISS_CALLS = 0,
  MISS_REMEMBERS = 1,
  MISS_LEAVES = 2;
export type Miss = typeof MISS_CALLS | typeof MISS_REMEMBERS | typeof MISS_LEAVES;

/** The form of an instruction: everything that its template may depend on, but for immediates and what is known of the flags. */
export interface Form {
  readonly lineIndex: number;
  readonly operandSize: Size;
  readonly environment: number;
  readonly prefix: number;
  readonly isMemory: boolean;
  /** The memory operand's segment has a base (FS, GS). */
  readonly hasSegmentBase: boolean;
  /** Bit n: the nth register field is AH, CH, DH or BH. */
  readonly highBytes: number;
  readonly flagsWanted: boolean;
  readonly miss: Miss;
  /** FPU_CLASS to check for before; 0 none. */
  readonly fpuCheck: number;
}
/** What a template may depend on beside its form; undefined: left open. */
export interface Particulars {
  readonly known: KnownFlags | undefined | 'open';
  readonly immediate: { readonly low: number; readonly high: number } | undefined;
}

export class TemplateEmit extends Emit {
  readonly caught: Label;
  readonly long: boolean;
  readonly operandSize: Size;
  readonly addressSize: Size;
  readonly flagsWanted: boolean;
  askedKnown = false;
  storedSlowly = false;
  /** Registers that are written or not, or in part: in the bits of a template's `writes`. */
  conditional = 0;
  /** How many choices and loops stand around what is being recorded. */
  #depth = 0;
  readonly #form: Form;
  readonly #particulars: Particulars;
  #known: KnownFlags | undefined;
  #condition: Value | undefined;
  #published = false;

  constructor(f: TemplateBuilder, ramIndex: RamIndex, caught: Label, form: Form, particulars: Particulars) {
    super(f, ramIndex);
    this.caught = caught;
    this.#form = form;
    this.#particulars = particulars;
    this.#known = particulars.known === 'open' ? UNASKED : particulars.known;
    ({ long: this.long, addressSize: this.addressSize } = ENVIRONMENTS[form.environment]!);
    this.operandSize = form.operandSize;
    this.flagsWanted = form.flagsWanted;
  }

  vcpu(): Value {
    return this.f.get(0, 'i32');
  }
  helperIndex(name: HelperName): number {
    return helperHole(name);
  }
  protected tlbEntry(va: Value): Value {
    return this.f.pin(this.f.part(HOLE_CLASS, 'i32', 0, [tlbIndex(this.f, va)]));
  }
  protected override tlbField(field: number): number {
    return -tlbHole(field);
  }

  // --- registers and operands ---

  /** @param local token of the local. @param high bits 8 to 15. */
  #general(local: number, size: Size, high = false): Operand {
    const f = this.f,
      whole = (): Value => f.get(local, 'i64', ALIAS_GPR),
      read = (): Value => {
        if (size === 8) return whole();
        const low = f.wrap(whole());
        if (size === 4) return low;
        return f.resized(f.op('and', high ? f.op('shr_u', low, f.i32(8)) : low, f.i32(size === 1 ? 0xff : 0xffff)), size);
      };
    return {
      ...this.plainOperand(size),
      offset: () => {
        throw new Error('a register of a region has no place in the record');
      },
      read,
      readAlone: () => this.alone(read()),
      write: (value) => {
        let all = f.widen(value);
        if (size < 4) {
          const kept = f.op('and', whole(), f.i64(size === 2 ? ~0xffffn : high ? ~0xff00n : ~0xffn));
          const cut = f.op('and', all, f.i64(size === 2 ? 0xffff : 0xff));
          all = f.op('or', kept, high ? f.op('shl', cut, f.i64(8)) : cut);
        }
        if (this.#depth > 0) this.conditional |= MASKS.get(local)!;
        f.set(local, all, ALIAS_GPR);
      },
    };
  }
  register(index: number, size: Size): Operand {
    return this.#general(HOLE_REGISTER + index, size);
  }
  /** @param at a hole's token, negated: the register's offset in the record. */
  #mmxAt(at: number, size: AccessSize, offset: Value): Operand {
    const f = this.f,
      read = (): Value => f.resized(f.load(VECTOR_LOAD[size], this.vcpu(), at, ALIAS_VECTOR), size);
    return {
      ...this.plainOperand(size),
      read,
      readAlone: () => this.alone(read()),
      write: (value) => f.store(VECTOR_STORE[value.size as AccessSize], this.vcpu(), value, at, ALIAS_VECTOR),
      offset: () => offset,
    };
  }
  /** @param local token of the local. @param at as above */
  #vector(local: number, at: number, size: AccessSize, offset: Value): Operand {
    const f = this.f,
      whole = (): Value => f.get(local, 'v128', ALIAS_VECTOR),
      set = (value: Value): void => {
        if (this.#depth > 0) this.conditional |= MASKS.get(local)!;
        f.set(local, value, ALIAS_VECTOR);
      },
      read = (): Value => (size === 16 ? whole() : f.resized(f.lane(LOW_ELEMENT[size], 0, whole()), size)),
      recorded = (): Value => {
        f.store('v128', this.vcpu(), whole(), at, ALIAS_STATE);
        return f.op('add', this.vcpu(), offset);
      };
    return {
      ...this.plainOperand(size),
      read,
      readAlone: () => (size === 16 ? whole() : this.alone(read())),
      whole,
      write: (value) => set(value.type === 'v128' ? value : f.lane(REPLACE_ELEMENT[value.type], 0, whole(), value)),
      recorded,
      throughRecord: (use) => {
        use(recorded());
        set(f.load('v128', this.vcpu(), at, ALIAS_STATE));
      },
    };
  }
  /** @param index only XMM0 is implied by instructions. */
  vector(index: number): Operand {
    const at = VCPU.offset.vector + index * 32;
    return this.#vector(HOLE_VECTOR + index, at, 16, this.f.i32(at));
  }
  /** @param nth how many operands with a register, or immediates, came before. */
  #operand(shape: Shape, nth: number): Operand {
    switch (shape.kind) {
      case 'gpr':
        return this.#general(HOLE_FIELD + nth, shape.size, ((this.#form.highBytes >> nth) & 1) !== 0);
      case 'vector':
        return this.#vector(HOLE_FIELD + nth, -(HOLE_FIELD_OFFSET + nth), shape.size as AccessSize, this.#field(nth));
      case 'mmx':
        return this.#mmxAt(-(HOLE_FIELD_OFFSET + nth), shape.size as AccessSize, this.#field(nth));
      case 'number':
        return { ...this.plainOperand(0), number: () => this.#field(nth) };
      case 'imm':
        return { ...this.plainOperand(shape.size), read: () => this.#immediate(shape.size, nth) };
      case 'rel':
        return { ...this.plainOperand(0), read: () => this.#target() };
      case 'mem':
        return this.memoryOperand(shape);
      case 'stringDestination':
        return this.stringDestination(shape.size);
      case 'far':
        throw new Error('a far transfer is no part of a region');
    }
  }
  #field(nth: number): Value {
    return this.f.openConstant('i32', constantHole(SOURCE.FIELD + nth, CUT.I32));
  }
  #immediate(size: Size, nth: number): Value {
    const f = this.f,
      known = nth === 0 ? this.#particulars.immediate : undefined;
    if (known) return size === 8 ? f.i64Halves(known.low, known.high) : this.constant(known.low, size);
    const cut = size === 8 ? CUT.I64 : size === 4 ? CUT.I32 : size === 2 ? CUT.I32_U16 : CUT.I32_U8;
    return f.resized(
      f.openConstant(size === 8 ? 'i64' : 'i32', constantHole(nth ? SOURCE.SECOND_IMMEDIATE : SOURCE.IMMEDIATE, cut), nth === 0),
      size,
    );
  }
  protected encodedAddress(): Value {
    return this.f.part(HOLE_ADDRESS, 'i64', ALIAS_GPR);
  }
  protected dataSegmentBase(): Value {
    const f = this.f;
    return this.#form.hasSegmentBase ? f.load('i64', this.vcpu(), -HOLE_SEGMENT_BASE, ALIAS_GPR) : f.i64(0);
  }
  dataSegment(): Value {
    return this.f.openConstant('i32', constantHole(SOURCE.SEGMENT, CUT.I32));
  }

  // --- instruction pointer ---

  /** @param source distance from the entry's page. */
  #ripAt(source: number, mask = 0xffff_ffff): Value {
    const f = this.f,
      sum = f.op('add', f.get(CONTROLS.ripPage, 'i64'), f.openConstant('i64', constantHole(source, CUT.I64)));
    return this.long ? sum : f.op('and', sum, f.i64(mask));
  }
  rip(): Value {
    return this.#ripAt(SOURCE.RIP);
  }
  nextRip(): Value {
    return this.#ripAt(SOURCE.NEXT_RIP);
  }
  /** Where a direct jump goes. */
  #target(): Value {
    return this.#ripAt(SOURCE.TARGET, this.operandSize === 2 ? 0xffff : 0xffff_ffff);
  }
  instructionsLeft(): Value {
    const f = this.f;
    return f.pin(f.op('sub', f.get(CONTROLS.budget, 'i32'), f.openConstant('i32', constantHole(SOURCE.UNCHARGED, CUT.I32))));
  }
  protected publishRip(): void {
    if (this.#published) return;
    this.#published = true;
    this.f.store('i64', this.vcpu(), this.rip(), VCPU.offset.rip, ALIAS_STATE);
    this.f.store('i64', this.vcpu(), this.nextRip(), VCPU.offset.nextRip, ALIAS_STATE);
  }

  // --- helpers ---

  protected aroundHelper(name: HelperName, call: () => void): void {
    const f = this.f,
      { flagOp, flagP, flagQ, flagR } = VCPU.offset;
    if (READS_FLAGS.has(name) || WRITES_FLAGS.has(name)) {
      f.store('i32', this.vcpu(), f.get(CONTROLS.op, 'i32', ALIAS_RECORD), flagOp, ALIAS_STATE);
      f.store('i64', this.vcpu(), f.get(CONTROLS.p, 'i64', ALIAS_RECORD), flagP, ALIAS_STATE);
      f.store('i64', this.vcpu(), f.get(CONTROLS.q, 'i64', ALIAS_RECORD), flagQ, ALIAS_STATE);
      f.store('i64', this.vcpu(), f.get(CONTROLS.r, 'i64', ALIAS_RECORD), flagR, ALIAS_STATE);
    }
    call();
    if (!('bare' in HELPERS[name] || COMPUTES.test(name))) this.afterSlowAccess();
    if (SETS_MXCSR.test(name)) this.#learnMxcsr();
    if (CHANGES_CLASS.has(name)) {
      const present = f.load('i32', this.vcpu(), VCPU.offset.tlb, ALIAS_STATE);
      f.set(CONTROLS.otherTlb, f.op('sub', present, f.openConstant('i32', constantHole(SOURCE.TLB, CUT.I32))));
    }
    if (!WRITES_FLAGS.has(name)) return;
    this.#known = undefined;
    f.set(CONTROLS.op, f.load('i32', this.vcpu(), flagOp, ALIAS_STATE), ALIAS_RECORD);
    f.set(CONTROLS.p, f.load('i64', this.vcpu(), flagP, ALIAS_STATE), ALIAS_RECORD);
    f.set(CONTROLS.q, f.load('i64', this.vcpu(), flagQ, ALIAS_STATE), ALIAS_RECORD);
    f.set(CONTROLS.r, f.load('i64', this.vcpu(), flagR, ALIAS_STATE), ALIAS_RECORD);
  }
  #learnMxcsr(): void {
    this.f.set(CONTROLS.mxcsr, super.fpIsSpecial(), ALIAS_MXCSR);
    this.conditional |= MASK_MXCSR;
  }
  protected override fpIsSpecial(): Value {
    return this.f.get(CONTROLS.mxcsr, 'i32', ALIAS_MXCSR);
  }
  override setField(...[name, ...rest]: Parameters<Emit['setField']>): void {
    super.setField(name, ...rest);
    if (name === 'mxcsr') this.#learnMxcsr();
  }
  protected override afterSlowAccess(): void {
    this.f.insert(HOLE_FORGET);
  }
  protected override missed(): Label | undefined {
    return this.#form.miss === MISS_LEAVES ? this.caught : undefined;
  }
  protected override rememberedPage(access: 'read' | 'write'): RememberedPage | undefined {
    const page = access === 'read' ? HOLE_PAGE : HOLE_PAGE + 2;
    return this.#form.miss === MISS_REMEMBERS ? { page, addend: page + 1 } : undefined;
  }
  /** Is the entry's micro-op still this region's? */
  protected override afterSlowStore(): void {
    const f = this.f,
      slot = f.openConstant('i32', constantHole(SOURCE.SLOT, CUT.I32));
    this.storedSlowly = true;
    f.set(CONTROLS.changed, f.compare('ne', f.load('u16', f.get(1, 'i32'), UOP_HANDLER, ALIAS_STATE), slot));
  }

  // --- flags ---

  setFlags(kind: FlagKind | Value, p: Value, q: Value, count = 0, r?: Value): void {
    const f = this.f;
    if (!this.flagsWanted) {
      this.#known = undefined;
      return;
    }
    if (this.#depth > 0) this.conditional |= MASK_FLAGS | MASK_ROTATED;
    if (typeof kind !== 'string' && kind.isConstant(this.flagOp('raw', 4))) kind = 'raw';
    const known = typeof kind === 'string' ? this.flagOp(kind, kind === 'raw' ? 4 : p.size) | (count << 16) : 0;
    const x = f.pin(f.widen(p)),
      y = f.pin(f.widen(q));
    if (r) f.set(CONTROLS.r, r, ALIAS_RECORD);
    f.set(CONTROLS.p, x, ALIAS_RECORD);
    f.set(CONTROLS.q, y, ALIAS_RECORD);
    f.set(CONTROLS.op, typeof kind === 'string' ? f.i32(known) : kind, ALIAS_RECORD);
    this.#known = typeof kind === 'string' ? knownFlags(known) : undefined;
  }
  /** What is known of the flags before: a template that looks is one for each such state. */
  #ask(): KnownFlags | undefined {
    if (this.#known !== UNASKED) return this.#known;
    this.askedKnown = true;
    return undefined;
  }
  record(): readonly [Value, Value, Value, Value] {
    const f = this.f,
      get = (local: number): Value => f.pin(f.get(local, 'i64', ALIAS_RECORD));
    const op = f.pin(f.get(CONTROLS.op, 'i32', ALIAS_RECORD));
    return [op, get(CONTROLS.p), get(CONTROLS.q), get(CONTROLS.r)];
  }
  overlayFlags(bits: number, result: Value): void {
    const f = this.f;
    if (!this.flagsWanted) {
      this.#known = undefined;
      return;
    }
    this.conditional |= this.#depth > 0 ? MASK_FLAGS | MASK_ROTATED : MASK_FLAGS;
    this.#known = undefined;
    f.set(CONTROLS.r, result, ALIAS_RECORD);
    const kept = f.op('and', f.get(CONTROLS.op, 'i32', ALIAS_RECORD), f.i32(~0xf00));
    f.set(CONTROLS.op, f.op('or', kept, f.i32(bits)), ALIAS_RECORD);
  }
  condition(cc: number): Value {
    const f = this.f,
      known = this.#ask(),
      test = cc >> 1,
      ofResult = test === 2 || test === 4;
    const get = (local: number): Value => f.get(local, 'i64', ALIAS_RECORD);
    const kind = known === undefined ? undefined : kindOf(known),
      size = known === undefined ? 8 : sizeOf(known);
    if (kind !== undefined && kind !== 'raw' && kind !== 'imul') {
      const value = (local: number): Value => f.resized(size === 8 ? get(local) : f.wrap(get(local)), size);
      const p = value(CONTROLS.p),
        q = value(CONTROLS.q),
        zero = this.constant(0, size as Size);
      if (kind === 'sub') {
        const direct = this.subCondition(cc, p, q);
        if (direct) return f.pin(direct);
        if (test === 4) {
          const difference = f.resized(f.op('sub', p, q), size);
          return f.pin(f.compare(cc & 1 ? 'ge_s' : 'lt_s', this.signed(difference), zero));
        }
      } else if (ofResult)
        return f.pin(test === 2 ? f.compare(cc & 1 ? 'ne' : 'eq', p, zero) : f.compare(cc & 1 ? 'ge_s' : 'lt_s', this.signed(p), zero));
      else if (kind === 'add' && test === 1) return f.pin(f.compare(cc & 1 ? 'ge_u' : 'lt_u', p, q));
    }
    if (kind === 'raw') return f.pin(this.eflagsCondition(cc, f.wrap(get(CONTROLS.q))));
    if (known !== undefined) return f.pin(this.eflagsCondition(cc, this.eflags()));
    const word = f.pin(f.get(CONTROLS.op, 'i32', ALIAS_RECORD)),
      p = f.pin(get(CONTROLS.p)),
      q = f.pin(get(CONTROLS.q)),
      r = f.pin(get(CONTROLS.r));
    return this.conditionOf(cc, word, p, q, () => r);
  }
  #inside(build: () => void): void {
    this.#depth++;
    build();
    this.#depth--;
  }
  /** Both arms are built; afterwards nothing is known of the flags that either may have set. */
  override if(condition: Value, yes: () => void, no?: () => void, hint?: 'likely' | 'unlikely'): void {
    const before = this.#known;
    let known = before;
    super.if(
      condition,
      () => {
        this.#inside(yes);
        if (this.#known !== before) known = undefined;
        this.#known = before;
      },
      no &&
        ((): void => {
          this.#inside(no);
          if (this.#known !== before) known = undefined;
        }),
      hint,
    );
    this.#known = known;
  }
  override attempt(fast: (rare: (condition: Value) => void) => void, exact: () => void): void {
    const before = this.#known;
    let changed = false;
    super.attempt(
      (rare) => {
        this.#inside(() => fast(rare));
        changed = this.#known !== before;
        this.#known = before;
      },
      () => {
        this.#inside(exact);
        changed ||= this.#known !== before;
      },
    );
    this.#known = changed ? undefined : before;
  }

  // --- control flow ---

  jump(): void {
    /* the block's end goes there */
  }
  branch(condition: Value): void {
    this.#condition = condition;
  }
  callTo(_target: Operand, rip: Value): void {
    this.f.set(CONTROLS.exitRip, rip);
  }
  returnTo(rip: Value): void {
    this.f.set(CONTROLS.exitRip, rip);
  }
  jumpTo(rip: Value): void {
    this.f.set(CONTROLS.exitRip, rip);
  }

  // --- one instruction ---

  /** Run the body. A branch leaves its condition (an i32) on the wasm stack. */
  run(): void {
    const f = this.f,
      { lineIndex, operandSize, isMemory, prefix, fpuCheck } = this.#form,
      line = LINES[lineIndex]!;
    if (fpuCheck !== 0) this.call('checkFpu', f.i32(fpuCheck));
    const shapes = shapesOf(line, operandSize, isMemory, prefix);
    let registers = 0,
      immediates = 0;
    const operands = shapes.map((shape) => {
      return this.#operand(shape, USES_FIELD.has(shape.kind) ? registers++ : shape.kind === 'imm' ? immediates++ : 0);
    });
    line.attributes.before?.(this, ...operands);
    if (line.attributes.bulk && prefix !== PREFIX_PLAIN) this.#repeat(line, operands);
    else if (prefix === PREFIX_LOCK || shapes.some((shape) => shape.kind === 'mem' && shape.locked))
      f.loop((again) => {
        this.lockedLoop(again);
        this.#inside(() => line.body(this, ...operands));
      });
    else line.body(this, ...operands);
    if (this.#condition) f.flushValue(this.#condition);
    else f.flush();
  }
  /** REP MOVS or STOS as far as it can be done at once; `changed`: that was not all, so the region is left to tier 0 before this instruction. */
  #repeat(line: Line, operands: readonly Operand[]): void {
    const f = this.f,
      count = f.pin(this.counter(RCX));
    this.if(f.compare('ne', count, f.i64(0)), () => void inBulk(this, line, operands, count, PAGES));
    f.set(CONTROLS.changed, f.compare('ne', this.counter(RCX), f.i64(0)));
  }
  /** What is known of the flags after it; 'same' as before. */
  get knownAfter(): KnownFlags | undefined | 'same' {
    return this.#known === UNASKED ? 'same' : this.#known;
  }
}
