/**
 * The stage of tier 1: operands are known. Emits one instruction of a region after the other; general registers and the flag record live in
 * locals. What surrounds the instructions (control flow, budget, the ways in and out) is jit/assemble.ts.
 *
 * Faults: whoever may raise branches to `caught`. An instruction that jumps leaves the new rip in `exitRip`, a branch its condition.
 * Implements: docs/internals.md "Calls and faults". Runs on: where regions are compiled.
 */
import { UOP_HANDLER } from '../../base/memory-map.ts';
import { PREFIX_LOCK } from '../decode/variants.ts';
import { ALIAS_GPR, ALIAS_STATE, ALIAS_VECTOR, Emit } from '../emit.ts';
import type { AccessSize, FlagKind, Operand, Shape, Size, Value } from '../emit.ts';
import type { HelperName } from '../helpers.ts';
import { ENVIRONMENTS } from '../interp/open-emit.ts';
import { shapesOf } from '../shapes.ts';
import { VCPU } from '../state.ts';
import type { FunctionBuilder, Label } from '../wasm/function.ts';
import type { LoadKind, StoreKind } from '../wasm/opcodes.ts';
import { targetOf } from './region.ts';
import type { Instruction } from './region.ts';

export interface RegionContext {
  readonly helperIndex: (name: HelperName) => number;
  /** Function that goes on at a rip: (vcpu, rip, instructions left). */
  readonly gotoIndex: (long: boolean) => number;
  /** The region's place in the table. */
  readonly slot: number;
  /** Code here checks whether the FPU may be used. */
  readonly fpuTrap: boolean;
}

/** Alias classes: one for each general register, one for the flag record. */
const ALIAS_REGISTER = 200,
  ALIAS_RECORD = 300;
const VECTOR_LOAD: Readonly<Record<AccessSize, LoadKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64', 16: 'v128' };
const VECTOR_STORE: Readonly<Record<AccessSize, StoreKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64', 16: 'v128' };
const GPR_SLOTS_END = 16 * 8;
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
  'fpuCompareFlags',
  'sseCompareFlagsF32',
  'sseCompareFlagsF64',
]);
/** What the compiler knows of the flag record at a place. */
export interface KnownFlags {
  /** The op word. */
  readonly op: number;
  readonly kind: FlagKind;
  /** Operands are in the i32 locals, too. */
  readonly narrow: boolean;
}

/** Locals of the function that a region becomes, beside the general registers. */
export class RegionLocals {
  /** TLB of the access class; instructions left; whether the region's own code has changed. */
  readonly tlb: number;
  readonly budget: number;
  readonly changed: number;
  /** Where the present instruction is, for a fault: jit/assemble.ts packs it. */
  readonly site: number;
  /** rip of byte 0 of the entry's page; where control goes when it leaves. */
  readonly ripPage: number;
  readonly exitRip: number;
  /** The flag record, and its operands as i32 where they are narrow. */
  readonly op: number;
  readonly p: number;
  readonly q: number;
  readonly r: number;
  readonly narrowP: number;
  readonly narrowQ: number;
  readonly registers = new Map<number, number>();
  readonly written = new Set<number>();
  readonly #f: FunctionBuilder;

  constructor(f: FunctionBuilder) {
    this.#f = f;
    [this.tlb, this.budget, this.changed, this.site] = [f.newLocal('i32'), f.newLocal('i32'), f.newLocal('i32'), f.newLocal('i32')];
    [this.op, this.narrowP, this.narrowQ] = [f.newLocal('i32'), f.newLocal('i32'), f.newLocal('i32')];
    [this.ripPage, this.exitRip] = [f.newLocal('i64'), f.newLocal('i64')];
    [this.p, this.q, this.r] = [f.newLocal('i64'), f.newLocal('i64'), f.newLocal('i64')];
  }
  register(index: number): number {
    let local = this.registers.get(index);
    if (local === undefined) {
      local = this.#f.newLocal('i64');
      this.registers.set(index, local);
    }
    return local;
  }
}

export class KnownEmit extends Emit {
  readonly caught: Label;
  readonly long: boolean;
  /** Before the next instruction; the assembler forgets or restores it at a block's start. */
  known: KnownFlags | undefined;
  readonly #context: RegionContext;
  readonly #locals: RegionLocals;
  /** Of the present instruction. */
  #at!: Instruction;
  #condition: Value | undefined;
  #published = false;
  #storedSlowly = false;

  constructor(f: FunctionBuilder, long: boolean, locals: RegionLocals, caught: Label, context: RegionContext) {
    super(f);
    this.long = long;
    this.caught = caught;
    this.#locals = locals;
    this.#context = context;
  }

  get operandSize(): Size {
    return this.#at.operandSize as Size;
  }
  get addressSize(): Size {
    return ENVIRONMENTS[this.#at.environment]!.addressSize;
  }
  get flagsWanted(): boolean {
    return this.#at.flagsWanted;
  }
  vcpu(): Value {
    return this.f.get(0, 'i32');
  }
  helperIndex(name: HelperName): number {
    return this.#context.helperIndex(name);
  }
  protected tlb(): Value {
    return this.f.get(this.#locals.tlb, 'i32');
  }

  // --- registers and operands ---

  #whole(index: number): Value {
    return this.f.get(this.#locals.register(index), 'i64', ALIAS_REGISTER + index);
  }
  /** @param at byte offset of the register in the record. */
  #gprAt(at: number, size: Size): Operand {
    const f = this.f,
      index = at >> 3,
      high = (at & 1) !== 0;
    return {
      ...this.plainOperand(size),
      offset: () => {
        throw new Error('a register of a region has no place in the record');
      },
      read: () => {
        const whole = this.#whole(index);
        if (size === 8) return whole;
        const low = f.wrap(whole);
        if (size === 4) return low;
        return f.resized(f.op('and', high ? f.op('shr_u', low, f.i32(8)) : low, f.i32(size === 1 ? 0xff : 0xffff)), size);
      },
      write: (value) => {
        this.#locals.written.add(index);
        let whole = f.widen(value);
        if (size < 4) {
          const kept = f.op('and', this.#whole(index), f.i64(size === 2 ? ~0xffffn : high ? ~0xff00n : ~0xffn));
          const cut = f.op('and', whole, f.i64(size === 2 ? 0xffff : 0xff));
          whole = f.op('or', kept, high ? f.op('shl', cut, f.i64(8)) : cut);
        }
        f.set(this.#locals.register(index), whole, ALIAS_REGISTER + index);
      },
    };
  }
  register(index: number, size: Size): Operand {
    return this.#gprAt(index * 8, size);
  }
  #vectorAt(at: number, size: AccessSize): Operand {
    const f = this.f;
    return {
      ...this.plainOperand(size),
      read: () => f.resized(f.load(VECTOR_LOAD[size], this.vcpu(), at, ALIAS_VECTOR), size),
      write: (value) => f.store(VECTOR_STORE[value.size as AccessSize], this.vcpu(), value, at, ALIAS_VECTOR),
      offset: () => f.i32(at),
    };
  }
  vector(index: number): Operand {
    return this.#vectorAt(VCPU.offset.vector + index * 32, 16);
  }
  /** @param nth how many operands with a register, or immediates, came before. */
  #operand(shape: Shape, nth: number): Operand {
    const f = this.f,
      at = this.#at,
      register = at.registers[nth]!;
    switch (shape.kind) {
      case 'gpr':
        return this.#gprAt(register, shape.size);
      case 'vector':
      case 'mmx':
        return this.#vectorAt(register, shape.size as AccessSize);
      case 'number':
        return { ...this.plainOperand(0), number: () => f.i32(register) };
      case 'imm': {
        const low = nth ? at.dispLow : at.immediateLow,
          high = nth ? at.dispHigh : at.immediateHigh;
        return {
          ...this.plainOperand(shape.size),
          read: () => (shape.size === 8 ? f.i64Halves(low, high) : this.constant(low, shape.size)),
        };
      }
      case 'rel':
        return { ...this.plainOperand(0), read: () => this.targetRip(this.#at) };
      case 'mem':
        return this.memoryOperand(shape);
      case 'stringDestination':
        return this.stringDestination(shape.size);
      case 'far':
        throw new Error('a far transfer is no part of a region');
    }
  }
  #slot(at: number): Value | undefined {
    const f = this.f;
    if (at < GPR_SLOTS_END) return this.#whole(at >> 3);
    if (at === VCPU.offset.zero) return undefined;
    if (at === VCPU.offset.ripPage) return f.get(this.#locals.ripPage, 'i64');
    return f.load('i64', this.vcpu(), at, ALIAS_GPR);
  }
  protected encodedAddress(): Value {
    const f = this.f,
      at = this.#at,
      base = this.#slot(at.base),
      index = this.#slot(at.index);
    let disp = f.i64Halves(at.dispLow, at.dispHigh);
    if (at.ripRelative) disp = f.i64(at.dispLow + at.offset + at.lengthBytes);
    const scaled = index && f.op('shl', index, f.i64(at.scale)),
      sum = base && scaled ? f.op('add', base, scaled) : (base ?? scaled);
    return sum ? f.op('add', sum, disp) : disp;
  }
  protected dataSegmentBase(): Value {
    return this.#slot(this.#at.segmentSlot) ?? this.f.i64(0);
  }
  dataSegment(): Value {
    return this.f.i32(this.#at.segment);
  }

  // --- instruction pointer ---

  /** @param offset bytes from the entry's page. */
  ripAt(offset: number): Value {
    const sum = this.f.op('add', this.f.get(this.#locals.ripPage, 'i64'), this.f.i64(offset));
    return this.long ? sum : this.f.op('and', sum, this.f.i64(0xffff_ffff));
  }
  rip(): Value {
    return this.ripAt(this.#at.offset);
  }
  nextRip(): Value {
    return this.ripAt(this.#at.offset + this.#at.lengthBytes);
  }
  /** Where a direct jump goes. */
  targetRip(jump: Instruction): Value {
    const f = this.f,
      sum = f.op('add', f.get(this.#locals.ripPage, 'i64'), f.i64(targetOf(jump)));
    return this.long ? sum : f.op('and', sum, f.i64(jump.operandSize === 2 ? 0xffff : 0xffff_ffff));
  }
  protected publishRip(): void {
    if (this.#published) return;
    this.#published = true;
    this.f.store('i64', this.vcpu(), this.rip(), VCPU.offset.rip, ALIAS_STATE);
    this.f.store('i64', this.vcpu(), this.nextRip(), VCPU.offset.nextRip, ALIAS_STATE);
  }

  // --- helpers ---

  protected aroundHelper(name: HelperName, call: () => void): void {
    const f = this.f;
    if (READS_FLAGS.has(name) || WRITES_FLAGS.has(name)) this.storeRecord(f, ALIAS_STATE);
    call();
    if (!WRITES_FLAGS.has(name)) return;
    const { flagOp, flagP, flagQ, flagR } = VCPU.offset;
    this.known = undefined;
    f.set(this.#locals.op, f.load('i32', this.vcpu(), flagOp, ALIAS_STATE), ALIAS_RECORD);
    f.set(this.#locals.p, f.load('i64', this.vcpu(), flagP, ALIAS_STATE), ALIAS_RECORD);
    f.set(this.#locals.q, f.load('i64', this.vcpu(), flagQ, ALIAS_STATE), ALIAS_RECORD);
    f.set(this.#locals.r, f.load('i64', this.vcpu(), flagR, ALIAS_STATE), ALIAS_RECORD);
  }
  /** Write the flag record back. */
  storeRecord(f: FunctionBuilder, alias = 0): void {
    const vcpu = f.get(0, 'i32');
    f.store('i32', vcpu, f.get(this.#locals.op, 'i32', ALIAS_RECORD), VCPU.offset.flagOp, alias);
    f.store('i64', vcpu, f.get(this.#locals.p, 'i64', ALIAS_RECORD), VCPU.offset.flagP, alias);
    f.store('i64', vcpu, f.get(this.#locals.q, 'i64', ALIAS_RECORD), VCPU.offset.flagQ, alias);
    f.store('i64', vcpu, f.get(this.#locals.r, 'i64', ALIAS_RECORD), VCPU.offset.flagR, alias);
  }
  /** Is the entry's micro-op still this region's? */
  protected override afterSlowStore(): void {
    const f = this.f;
    this.#storedSlowly = true;
    f.set(this.#locals.changed, f.compare('ne', f.load('u16', f.get(1, 'i32'), UOP_HANDLER, ALIAS_STATE), f.i32(this.#context.slot)));
  }

  // --- flags ---

  setFlags(kind: FlagKind | Value, p: Value, q: Value, count = 0, r?: Value): void {
    const f = this.f;
    if (!this.flagsWanted) {
      this.known = undefined;
      return;
    }
    if (typeof kind !== 'string' && kind.isConstant(this.flagOp('raw', 4))) kind = 'raw';
    const known = typeof kind === 'string' ? this.flagOp(kind, kind === 'raw' ? 4 : p.size) | (count << 16) : 0;
    const narrow = typeof kind === 'string' && p.type === 'i32' && q.type === 'i32';
    if (r) f.set(this.#locals.r, r, ALIAS_RECORD);
    if (narrow) {
      const x = f.pin(this.signed(p)),
        y = f.pin(this.signed(q));
      f.set(this.#locals.narrowP, x, ALIAS_RECORD);
      f.set(this.#locals.narrowQ, y, ALIAS_RECORD);
      f.set(this.#locals.p, f.widen(x, true), ALIAS_RECORD);
      f.set(this.#locals.q, f.widen(y, true), ALIAS_RECORD);
    } else {
      const x = f.pin(this.signedWide(p)),
        y = f.pin(this.signedWide(q));
      f.set(this.#locals.p, x, ALIAS_RECORD);
      f.set(this.#locals.q, y, ALIAS_RECORD);
    }
    f.set(this.#locals.op, typeof kind === 'string' ? f.i32(known) : kind, ALIAS_RECORD);
    this.known = typeof kind === 'string' ? { op: known, kind, narrow } : undefined;
  }
  record(): readonly [Value, Value, Value, Value] {
    const f = this.f,
      get = (local: number): Value => f.pin(f.get(local, 'i64', ALIAS_RECORD));
    const op = this.known ? f.i32(this.known.op) : f.pin(f.get(this.#locals.op, 'i32', ALIAS_RECORD));
    return [op, get(this.#locals.p), get(this.#locals.q), get(this.#locals.r)];
  }
  overlayFlags(bits: number, result: Value): void {
    const f = this.f;
    if (!this.flagsWanted) {
      this.known = undefined;
      return;
    }
    f.set(this.#locals.r, result, ALIAS_RECORD);
    if (this.known) {
      const op = (this.known.op & ~0xf00) | bits;
      this.known = { ...this.known, op };
      f.set(this.#locals.op, f.i32(op), ALIAS_RECORD);
    } else
      f.set(
        this.#locals.op,
        f.op('or', f.op('and', f.get(this.#locals.op, 'i32', ALIAS_RECORD), f.i32(~0xf00)), f.i32(bits)),
        ALIAS_RECORD,
      );
  }
  condition(cc: number): Value {
    const f = this.f,
      known = this.known,
      test = cc >> 1,
      ofResult = test === 2 || test === 4;
    const get = (local: number): Value => f.get(local, 'i64', ALIAS_RECORD);
    if (known && known.kind !== 'raw' && known.kind !== 'imul' && ((known.op & 0xf00) === 0 || ofResult)) {
      const [p, q, zero] = known.narrow
        ? [f.get(this.#locals.narrowP, 'i32', ALIAS_RECORD), f.get(this.#locals.narrowQ, 'i32', ALIAS_RECORD), f.i32(0)]
        : [get(this.#locals.p), get(this.#locals.q), f.i64(0)];
      if (known.kind === 'sub') {
        const direct = this.subCondition(cc, p, q);
        if (direct) return f.pin(direct);
        if (test === 4) {
          const difference = f.resized(f.op('sub', p, q), known.narrow ? 1 << (known.op & 3) : 8);
          return f.pin(f.compare(cc & 1 ? 'ge_s' : 'lt_s', this.signed(difference), zero));
        }
      } else if (ofResult) return f.pin(f.compare(test === 2 ? (cc & 1 ? 'ne' : 'eq') : cc & 1 ? 'ge_s' : 'lt_s', p, zero));
      else if (known.kind === 'add' && test === 1) return f.pin(f.compare(cc & 1 ? 'ge_u' : 'lt_u', p, q));
    }
    if (known?.kind === 'raw' && (known.op & 0xf00) === 0) return f.pin(this.eflagsCondition(cc, f.wrap(get(this.#locals.q))));
    if (known) {
      const [op, p, q, r] = this.record();
      return f.pin(this.eflagsCondition(cc, f.callNow(this.helperIndex('computeFlags'), 'i32', [op, p, q, r], 0)));
    }
    const op = f.pin(f.get(this.#locals.op, 'i32', ALIAS_RECORD)),
      p = f.pin(get(this.#locals.p)),
      q = f.pin(get(this.#locals.q)),
      r = f.pin(get(this.#locals.r));
    return this.conditionOf(cc, op, p, q, () => r);
  }
  /** Both arms are built; afterwards nothing is known of the flags that either may have set. */
  override if(condition: Value, yes: () => void, no?: () => void): void {
    const before = this.known;
    let known = before;
    super.if(
      condition,
      () => {
        yes();
        if (this.known !== before) known = undefined;
        this.known = before;
      },
      no &&
        ((): void => {
          no();
          if (this.known !== before) known = undefined;
        }),
    );
    this.known = known;
  }
  override attempt(fast: (rare: (condition: Value) => void) => void, exact: () => void): void {
    const before = this.known;
    let changed = false;
    super.attempt(
      (rare) => {
        fast(rare);
        changed = this.known !== before;
        this.known = before;
      },
      () => {
        exact();
        changed ||= this.known !== before;
      },
    );
    this.known = changed ? undefined : before;
  }

  // --- control flow ---

  jump(): void {
    /* the block's end goes there */
  }
  branch(condition: Value): void {
    this.#condition = condition;
  }
  callTo(_target: Operand, rip: Value): void {
    this.f.set(this.#locals.exitRip, rip);
  }
  returnTo(rip: Value): void {
    this.f.set(this.#locals.exitRip, rip);
  }
  jumpTo(rip: Value): void {
    this.f.set(this.#locals.exitRip, rip);
  }

  // --- one instruction ---

  /** A branch leaves its condition (an i32) on the wasm stack. @returns whether it may have changed the region's code: `changed` tells. */
  instruction(instruction: Instruction): boolean {
    const f = this.f,
      { line } = instruction;
    this.#at = instruction;
    this.#published = false;
    this.#storedSlowly = false;
    this.#condition = undefined;
    if (this.#context.fpuTrap && instruction.row.fpuClass !== 0) this.call('checkFpu', f.i32(instruction.row.fpuClass));
    const shapes = shapesOf(line, instruction.operandSize as Size, instruction.isMemory, instruction.prefix);
    let registers = 0,
      immediates = 0;
    const operands = shapes.map((shape) => {
      const usesField = shape.kind === 'gpr' || shape.kind === 'vector' || shape.kind === 'mmx' || shape.kind === 'number';
      return this.#operand(shape, usesField ? registers++ : shape.kind === 'imm' ? immediates++ : 0);
    });
    line.attributes.before?.(this, ...operands);
    if (instruction.prefix === PREFIX_LOCK || shapes.some((shape) => shape.kind === 'mem' && shape.locked))
      f.loop((again) => {
        this.lockedLoop(again);
        line.body(this, ...operands);
      });
    else line.body(this, ...operands);
    if (this.#condition) f.flushValue(this.#condition);
    else f.flush();
    return this.#storedSlowly;
  }
}
