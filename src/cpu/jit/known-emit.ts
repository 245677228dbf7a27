/**
 * The stage of tier 1: operands are known. A region is a function (vcpu, entry micro-op) -> LEAVE_* reason, as a handler is; general
 * registers, the flag record and the budget live in locals, and every way out joins one end that writes them back.
 *
 * Faults: whoever may raise branches to `caught`; the local `site` says where it was, and how many instructions had retired since the budget
 * was last charged. A store that changes the region's own code ends the region after that instruction.
 * Implements: docs/internals.md "Calls and faults"; Ramsey, Beyond Relooper (2022), for the structure. Runs on: the vCPU's thread.
 */
import { PAGE_BYTES, UOP_HANDLER, UOP_SHIFT } from '../../base/memory-map.ts';
import { ENV_LONG32, ENV_LONG64, PREFIX_LOCK } from '../decode/variants.ts';
import { ALIAS_GPR, ALIAS_STATE, ALIAS_VECTOR, Emit } from '../emit.ts';
import type { AccessSize, FlagKind, Operand, Shape, Size, Value } from '../emit.ts';
import type { HelperName } from '../helpers.ts';
import { ENVIRONMENTS } from '../interp/open-emit.ts';
import { LEAVE_REGION_FAULT } from '../interp/leave.ts';
import { shapesOf } from '../shapes.ts';
import { VCPU } from '../state.ts';
import { FunctionBuilder, Label } from '../wasm/function.ts';
import type { LoadKind, StoreKind } from '../wasm/opcodes.ts';
import { dominates, isBackEdge, targetOf } from './region.ts';
import type { Block, Instruction, Region } from './region.ts';

export interface RegionContext {
  readonly helperIndex: (name: HelperName) => number;
  /** Function that goes on at a rip: (vcpu, rip, instructions left). */
  readonly gotoIndex: (long: boolean) => number;
  /** The region's place in the table. */
  readonly slot: number;
  /** Code here checks whether the FPU may be used. */
  readonly fpuTrap: boolean;
}

/** Alias classes: one for each general register, one for the flag record, one for the budget. */
const ALIAS_REGISTER = 200,
  ALIAS_RECORD = 300,
  ALIAS_BUDGET = 301;
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
/** Where a fault of the present instruction is: offset in the page, and instructions not yet charged. */
const SITE_COUNT_SHIFT = 12;

interface KnownFlags {
  /** The op word. */
  readonly op: number;
  readonly kind: FlagKind;
  /** Operands are in the i32 locals, too. */
  readonly narrow: boolean;
}

export class KnownEmit extends Emit {
  readonly caught = new Label();
  readonly #context: RegionContext;
  readonly #region: Region;
  readonly #exit = new Label();
  readonly #labels = new Map<Block, Label>();
  readonly #registers = new Map<number, number>();
  readonly #written = new Set<number>();
  readonly #ripPage: number;
  readonly #tlb: number;
  readonly #budget: number;
  readonly #exitRip: number;
  readonly #site: number;
  readonly #changed: number;
  readonly #op: number;
  readonly #p: number;
  readonly #q: number;
  readonly #r: number;
  readonly #narrowP: number;
  readonly #narrowQ: number;
  /** Of the present instruction. */
  #at!: Instruction;
  #known: KnownFlags | undefined;
  #condition: Value | undefined;
  #left = false;
  #published = false;
  #storedSlowly = false;
  /** Instructions since the budget was charged, without the present one. */
  #uncharged = 0;
  readonly long: boolean;

  constructor(f: FunctionBuilder, region: Region, context: RegionContext) {
    super(f);
    this.#region = region;
    this.#context = context;
    const { environment } = region.entry.instructions[0]!;
    this.long = environment === ENV_LONG64 || environment === ENV_LONG32;
    [this.#tlb, this.#budget, this.#site, this.#changed] = [f.newLocal('i32'), f.newLocal('i32'), f.newLocal('i32'), f.newLocal('i32')];
    [this.#op, this.#narrowP, this.#narrowQ] = [f.newLocal('i32'), f.newLocal('i32'), f.newLocal('i32')];
    [this.#ripPage, this.#exitRip, this.#p, this.#q, this.#r] = [
      f.newLocal('i64'),
      f.newLocal('i64'),
      f.newLocal('i64'),
      f.newLocal('i64'),
      f.newLocal('i64'),
    ];
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
    return this.f.get(this.#tlb, 'i32');
  }

  // --- registers and operands ---

  #local(index: number): number {
    let local = this.#registers.get(index);
    if (local === undefined) {
      local = this.f.newLocal('i64');
      this.#registers.set(index, local);
    }
    return local;
  }
  #whole(index: number): Value {
    return this.f.get(this.#local(index), 'i64', ALIAS_REGISTER + index);
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
        this.#written.add(index);
        let whole = f.widen(value);
        if (size < 4) {
          const kept = f.op('and', this.#whole(index), f.i64(size === 2 ? ~0xffffn : high ? ~0xff00n : ~0xffn));
          const cut = f.op('and', whole, f.i64(size === 2 ? 0xffff : 0xff));
          whole = f.op('or', kept, high ? f.op('shl', cut, f.i64(8)) : cut);
        }
        f.set(this.#local(index), whole, ALIAS_REGISTER + index);
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
        return { ...this.plainOperand(0), read: () => this.#target() };
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
    if (at === VCPU.offset.ripPage) return f.get(this.#ripPage, 'i64');
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

  #ripAt(offset: number): Value {
    const sum = this.f.op('add', this.f.get(this.#ripPage, 'i64'), this.f.i64(offset));
    return this.long ? sum : this.f.op('and', sum, this.f.i64(0xffff_ffff));
  }
  rip(): Value {
    return this.#ripAt(this.#at.offset);
  }
  nextRip(): Value {
    return this.#ripAt(this.#at.offset + this.#at.lengthBytes);
  }
  #target(): Value {
    const f = this.f,
      sum = f.op('add', f.get(this.#ripPage, 'i64'), f.i64(targetOf(this.#at)));
    return this.long ? sum : f.op('and', sum, f.i64(this.#at.operandSize === 2 ? 0xffff : 0xffff_ffff));
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
    if (READS_FLAGS.has(name) || WRITES_FLAGS.has(name)) this.#storeRecord(f, ALIAS_STATE);
    call();
    if (!WRITES_FLAGS.has(name)) return;
    const { flagOp, flagP, flagQ, flagR } = VCPU.offset;
    this.#known = undefined;
    f.set(this.#op, f.load('i32', this.vcpu(), flagOp, ALIAS_STATE), ALIAS_RECORD);
    f.set(this.#p, f.load('i64', this.vcpu(), flagP, ALIAS_STATE), ALIAS_RECORD);
    f.set(this.#q, f.load('i64', this.vcpu(), flagQ, ALIAS_STATE), ALIAS_RECORD);
    f.set(this.#r, f.load('i64', this.vcpu(), flagR, ALIAS_STATE), ALIAS_RECORD);
  }
  #storeRecord(f: FunctionBuilder, alias = 0): void {
    const vcpu = f.get(0, 'i32');
    f.store('i32', vcpu, f.get(this.#op, 'i32', ALIAS_RECORD), VCPU.offset.flagOp, alias);
    f.store('i64', vcpu, f.get(this.#p, 'i64', ALIAS_RECORD), VCPU.offset.flagP, alias);
    f.store('i64', vcpu, f.get(this.#q, 'i64', ALIAS_RECORD), VCPU.offset.flagQ, alias);
    f.store('i64', vcpu, f.get(this.#r, 'i64', ALIAS_RECORD), VCPU.offset.flagR, alias);
  }
  /** Is the entry's micro-op still this region's? */
  protected override afterSlowStore(): void {
    const f = this.f;
    this.#storedSlowly = true;
    f.set(this.#changed, f.compare('ne', f.load('u16', f.get(1, 'i32'), UOP_HANDLER, ALIAS_STATE), f.i32(this.#context.slot)));
  }

  // --- flags ---

  setFlags(kind: FlagKind | Value, p: Value, q: Value, count = 0, r?: Value): void {
    const f = this.f;
    if (!this.flagsWanted) {
      this.#known = undefined;
      return;
    }
    if (typeof kind !== 'string' && kind.isConstant(this.flagOp('raw', 4))) kind = 'raw';
    const known = typeof kind === 'string' ? this.flagOp(kind, kind === 'raw' ? 4 : p.size) | (count << 16) : 0;
    const narrow = typeof kind === 'string' && p.type === 'i32' && q.type === 'i32';
    if (r) f.set(this.#r, r, ALIAS_RECORD);
    if (narrow) {
      const x = f.pin(this.signed(p)),
        y = f.pin(this.signed(q));
      f.set(this.#narrowP, x, ALIAS_RECORD);
      f.set(this.#narrowQ, y, ALIAS_RECORD);
      f.set(this.#p, f.widen(x, true), ALIAS_RECORD);
      f.set(this.#q, f.widen(y, true), ALIAS_RECORD);
    } else {
      const x = f.pin(this.signedWide(p)),
        y = f.pin(this.signedWide(q));
      f.set(this.#p, x, ALIAS_RECORD);
      f.set(this.#q, y, ALIAS_RECORD);
    }
    f.set(this.#op, typeof kind === 'string' ? f.i32(known) : kind, ALIAS_RECORD);
    this.#known = typeof kind === 'string' ? { op: known, kind, narrow } : undefined;
  }
  record(): readonly [Value, Value, Value, Value] {
    const f = this.f,
      get = (local: number): Value => f.pin(f.get(local, 'i64', ALIAS_RECORD));
    const op = this.#known ? f.i32(this.#known.op) : f.pin(f.get(this.#op, 'i32', ALIAS_RECORD));
    return [op, get(this.#p), get(this.#q), get(this.#r)];
  }
  overlayFlags(bits: number, result: Value): void {
    const f = this.f;
    if (!this.flagsWanted) {
      this.#known = undefined;
      return;
    }
    f.set(this.#r, result, ALIAS_RECORD);
    if (this.#known) {
      const op = (this.#known.op & ~0xf00) | bits;
      this.#known = { ...this.#known, op };
      f.set(this.#op, f.i32(op), ALIAS_RECORD);
    } else f.set(this.#op, f.op('or', f.op('and', f.get(this.#op, 'i32', ALIAS_RECORD), f.i32(~0xf00)), f.i32(bits)), ALIAS_RECORD);
  }
  condition(cc: number): Value {
    const f = this.f,
      known = this.#known,
      test = cc >> 1,
      ofResult = test === 2 || test === 4;
    const get = (local: number): Value => f.get(local, 'i64', ALIAS_RECORD);
    if (known && known.kind !== 'raw' && known.kind !== 'imul' && ((known.op & 0xf00) === 0 || ofResult)) {
      const [p, q, zero] = known.narrow
        ? [f.get(this.#narrowP, 'i32', ALIAS_RECORD), f.get(this.#narrowQ, 'i32', ALIAS_RECORD), f.i32(0)]
        : [get(this.#p), get(this.#q), f.i64(0)];
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
    if (known?.kind === 'raw' && (known.op & 0xf00) === 0) return f.pin(this.eflagsCondition(cc, f.wrap(get(this.#q))));
    if (known) {
      const [op, p, q, r] = this.record();
      return f.pin(this.eflagsCondition(cc, f.callNow(this.helperIndex('computeFlags'), 'i32', [op, p, q, r], 0)));
    }
    const op = f.pin(f.get(this.#op, 'i32', ALIAS_RECORD)),
      p = f.pin(get(this.#p)),
      q = f.pin(get(this.#q)),
      r = f.pin(get(this.#r));
    return this.conditionOf(cc, op, p, q, () => r);
  }
  /** Both arms are built; afterwards nothing is known of the flags that either may have set. */
  override if(condition: Value, yes: () => void, no?: () => void): void {
    const before = this.#known;
    let known = before;
    super.if(
      condition,
      () => {
        yes();
        if (this.#known !== before) known = undefined;
        this.#known = before;
      },
      no &&
        ((): void => {
          no();
          if (this.#known !== before) known = undefined;
        }),
    );
    this.#known = known;
  }
  override attempt(fast: (rare: (condition: Value) => void) => void, exact: () => void): void {
    const before = this.#known;
    let changed = false;
    super.attempt(
      (rare) => {
        fast(rare);
        changed = this.#known !== before;
        this.#known = before;
      },
      () => {
        exact();
        changed ||= this.#known !== before;
      },
    );
    this.#known = changed ? undefined : before;
  }

  // --- control flow ---

  #charge(extra: number): void {
    const count = this.#uncharged + extra;
    if (count === 0) return;
    const f = this.f;
    f.set(this.#budget, f.op('sub', f.get(this.#budget, 'i32', ALIAS_BUDGET), f.i32(count)), ALIAS_BUDGET);
  }
  #leave(rip: Value): void {
    this.f.set(this.#exitRip, rip);
    this.f.br(this.#exit);
  }
  /** Leave after the present instruction. */
  #leaveTo(rip: Value): void {
    this.#charge(1);
    this.#uncharged = 0;
    this.#leave(rip);
    this.#left = true;
  }
  jump(): void {
    /* the block's end goes there */
  }
  branch(condition: Value): void {
    this.#condition = condition;
  }
  callTo(_target: Operand, rip: Value): void {
    this.#leaveTo(rip);
  }
  returnTo(rip: Value): void {
    this.#leaveTo(rip);
  }
  jumpTo(rip: Value): void {
    this.#leaveTo(rip);
  }

  // --- the region ---

  /** Builds the whole function. @returns what stands before `f`'s code: the registers that it uses are known only now. */
  build(): FunctionBuilder {
    const f = this.f;
    f.open('block', this.#exit);
    f.open('block', this.caught);
    this.#tree(this.#region.entry);
    f.unreachable();
    f.close();
    this.#end(true);
    f.close();
    this.#end(false);
    const head = new FunctionBuilder(f.params),
      vcpu = head.get(0, 'i32');
    for (const [index, local] of this.#registers) head.set(local, head.load('i64', vcpu, VCPU.offset.gpr + index * 8));
    head.set(this.#op, head.load('i32', vcpu, VCPU.offset.flagOp));
    head.set(this.#p, head.load('i64', vcpu, VCPU.offset.flagP));
    head.set(this.#q, head.load('i64', vcpu, VCPU.offset.flagQ));
    head.set(this.#r, head.load('i64', vcpu, VCPU.offset.flagR));
    head.set(this.#ripPage, head.load('i64', vcpu, VCPU.offset.ripPage));
    head.set(this.#tlb, head.load('i32', vcpu, VCPU.offset.tlb));
    const entry = head.op('shr_u', head.get(1, 'i32'), head.i32(UOP_SHIFT));
    head.set(this.#budget, head.op('sub', head.load('i32', vcpu, VCPU.offset.budget), entry));
    head.flush();
    return head;
  }
  /** Write everything back; return with a fault, or go on at exitRip. */
  #end(fault: boolean): void {
    const f = this.f,
      vcpu = this.vcpu();
    for (const index of this.#written) f.store('i64', vcpu, f.get(this.#local(index), 'i64'), VCPU.offset.gpr + index * 8);
    this.#storeRecord(f);
    const budget = f.get(this.#budget, 'i32', ALIAS_BUDGET);
    if (fault) {
      const site = f.get(this.#site, 'i32'),
        offset = f.op('and', site, f.i32(PAGE_BYTES - 1)),
        sum = f.op('add', f.get(this.#ripPage, 'i64'), f.widen(offset));
      f.store('i64', vcpu, this.long ? sum : f.op('and', sum, f.i64(0xffff_ffff)), VCPU.offset.rip);
      f.store('i32', vcpu, f.op('sub', budget, f.op('shr_u', site, f.i32(SITE_COUNT_SHIFT))), VCPU.offset.budget);
      f.return(f.i32(LEAVE_REGION_FAULT));
    } else f.returnCall(this.#context.gotoIndex(this.long), [vcpu, f.get(this.#exitRip, 'i64'), budget]);
    f.flush();
  }
  #labelOf(block: Block): Label {
    let label = this.#labels.get(block);
    if (!label) {
      label = new Label();
      this.#labels.set(block, label);
    }
    return label;
  }
  /** A merge point's code follows a wasm block that encloses everything which branches to it. */
  #tree(block: Block): void {
    const f = this.f,
      merges = block.children.filter((child) => child.forwardIn > 1).sort((a, b) => b.order - a.order);
    // A loop and a merge have a label each: forward edges leave the merge's block, back-edges go to the loop.
    if (block.loopHeader) f.open('loop', this.#loopLabel(block));
    for (const merge of merges) f.open('block', this.#labelOf(merge));
    this.#block(block);
    for (let i = merges.length - 1; i >= 0; i--) {
      f.close();
      this.#tree(merges[i]!);
    }
    if (block.loopHeader) {
      f.close();
      f.unreachable();
      f.flush();
    }
  }
  readonly #loopLabels = new Map<Block, Label>();
  #loopLabel(block: Block): Label {
    let label = this.#loopLabels.get(block);
    if (!label) {
      label = new Label();
      this.#loopLabels.set(block, label);
    }
    return label;
  }
  #block(block: Block): void {
    const f = this.f;
    this.#known = undefined;
    this.#uncharged = 0;
    this.#condition = undefined;
    this.#left = false;
    for (const instruction of block.instructions) this.#instruction(instruction);
    if (this.#left) {
      f.flush();
      return;
    }
    const last = block.instructions.at(-1)!,
      [taken, next] = block.targets;
    this.#charge(0);
    this.#uncharged = 0;
    if (next === undefined) {
      this.#goto(block, taken!, last, last.relative);
      return;
    }
    f.flushValue(this.#condition!);
    f.open('if', new Label());
    const known = this.#known;
    this.#goto(block, taken!, last, true);
    f.else();
    this.#known = known;
    this.#goto(block, next, last, false);
    f.close();
    f.unreachable();
    f.flush();
  }
  #instruction(instruction: Instruction): void {
    const f = this.f,
      { line } = instruction;
    this.#at = instruction;
    this.#published = false;
    this.#storedSlowly = false;
    f.set(this.#site, f.i32(instruction.offset | (this.#uncharged << SITE_COUNT_SHIFT)));
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
    if (this.#left) return;
    this.#uncharged++;
    if (this.#storedSlowly) {
      const uncharged = this.#uncharged;
      f.if(f.get(this.#changed, 'i32'), () => {
        this.#charge(0);
        this.#leave(this.nextRip());
      });
      this.#uncharged = uncharged;
    }
    if (instruction.row.ends !== 'branch') f.flush();
  }
  #goto(from: Block, offset: number, last: Instruction, byJump: boolean): void {
    const f = this.f,
      to = this.#region.blocks.get(offset);
    this.#at = last;
    if (!to || (isBackEdge(from, to) && !dominates(to, from))) {
      this.#leave(byJump ? this.#target() : this.#ripAt(offset));
      f.flush();
      return;
    }
    if (isBackEdge(from, to)) {
      f.if(f.compare('le_s', f.get(this.#budget, 'i32', ALIAS_BUDGET), f.i32(0)), () => this.#leave(this.#ripAt(offset)));
      f.br(this.#loopLabel(to));
    } else if (to.forwardIn === 1) {
      this.#tree(to);
      return;
    } else f.br(this.#labelOf(to));
    f.flush();
  }
}
