/**
 * The interpreter's stage: operands are open, read through the micro-op record. A handler is (vcpu, micro-op) -> LEAVE_* reason and ends by
 * tail-calling the next one.
 *
 * The budget is exact and nearly free: the word in memory is biased by the position of the entry's micro-op, so straight-line code counts
 * itself; a taken jump rebases it.
 * Implements: docs/internals.md "Calls and faults". Runs on: built ahead of time.
 */
import {
  CODE_CACHE_ENTRY_BYTES,
  CODE_CACHE_SETS,
  CODE_CACHE_SET_SHIFT,
  JUMPS_ENTRIES,
  JUMPS_SHIFT,
  TLB_ADDEND,
  TLB_EXEC,
  UOP_ATTRIBUTES,
  UOP_BASE,
  UOP_BYTES,
  UOP_DISP,
  UOP_HANDLER,
  UOP_HEAT,
  UOP_IMM,
  UOP_INDEX,
  UOP_LENGTH,
  UOP_OFFSET,
  UOP_REG0,
  UOP_REG1,
  UOP_REG2,
  UOP_SCALE,
  UOP_SEGMENT,
  UOP_SHIFT,
  UOP_TARGET,
  VCPU_CODE_CACHE,
  VCPU_FETCH_PROOF,
  VCPU_JUMPS,
  VCPU_RETURN_TOP,
} from '../../base/memory-map.ts';
import { LOOK_RESUME, LOOK_SHADOW } from '../../base/vcpu-words.ts';
import { FIRST_HANDLER, FIRST_PAIR, FIRST_REGION, HANDLER_LINK } from '../decode/pseudo.ts';
import { ALIAS_FLAGS, ALIAS_GPR, ALIAS_STATE, ALIAS_VECTOR, Emit } from '../emit.ts';
import type { AccessSize, FlagKind, Operand, Shape, Size, Value } from '../emit.ts';
import type { RamIndex } from '../guest-ram.ts';
import type { HelperName } from '../helpers.ts';
import { CODE_SIZE_MASK, MODE_64, VCPU } from '../state.ts';
import { tlbEntry } from '../tlb-entry.ts';
import type { FunctionBuilder, Label } from '../wasm/function.ts';
import type { LoadKind, StoreKind } from '../wasm/opcodes.ts';

import { rememberTarget } from './seen-targets.ts';
import { HEAT_PERIOD, LEAVE_BUDGET, LEAVE_FAULT, LEAVE_HOT, LEAVE_LOOKUP, LEAVE_RETURN, LEAVE_SYSTEM, LEAVE_TRANSFER } from './leave.ts';

/** Address size and mode that a handler is made for. */
export interface Environment {
  readonly long: boolean;
  readonly addressSize: Size;
}
/** In the order of the variant index: see decode/variants. */
export const ENVIRONMENTS: readonly Environment[] = [
  { long: true, addressSize: 8 },
  { long: true, addressSize: 4 },
  { long: false, addressSize: 4 },
  { long: false, addressSize: 2 },
];

/** Flags of the instruction before: those of `p - q`, or of the sum `p`, one of whose parts was `q`. Values stay valid within the handler. */
export interface KnownFlags {
  readonly kind: 'sub' | 'add';
  readonly p: Value;
  readonly q: Value;
}

export interface HandlerContext {
  readonly ramIndex: RamIndex;
  readonly handlerType: number;
  readonly goto64: number;
  readonly gotoLegacy: number;
  readonly afterSystem64: number;
  readonly afterSystemLegacy: number;
  readonly afterTransfer: number;
  readonly helperIndex: (name: HelperName) => number;
}

const GPR_LOAD: Readonly<Record<Size, LoadKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64' };
const GPR_STORE: Readonly<Record<Size, StoreKind>> = { 1: 'u8', 2: 'u16', 4: 'i64', 8: 'i64' }; // a 32-bit write clears the high half
const VECTOR_LOAD: Readonly<Record<AccessSize, LoadKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64', 16: 'v128' };
const VECTOR_STORE: Readonly<Record<AccessSize, StoreKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64', 16: 'v128' };
const RFLAGS_RF = 0x10000;
/** Of `mode`. */
const REG_FIELDS = [UOP_REG0, UOP_REG1, UOP_REG2] as const;

export class OpenEmit extends Emit {
  readonly operandSize: Size;
  /** False where the second of a pair sets them anew and cannot fault before. */
  flagsWanted = true;
  /** Where a fault goes: the end of the handler, or a place before it that takes something back. */
  caught: Label;
  /** What the handler turned out to depend on: part of its key. */
  readonly used = { operandSize: false, addressSize: false, long: false };
  ended = false;
  readonly #environment: Environment;
  readonly #context: HandlerContext;
  readonly #operandSize: Size;
  readonly #before: number;
  #known: KnownFlags | undefined;
  #published = false;

  /** @param before bytes of micro-ops that the same handler has done already; @param known what they left in the flag record */
  constructor(
    f: FunctionBuilder,
    caught: Label,
    operandSize: Size,
    environment: Environment,
    context: HandlerContext,
    before = 0,
    known?: KnownFlags,
  ) {
    super(f, context.ramIndex);
    this.#before = before;
    this.#known = known;
    this.caught = caught;
    this.#operandSize = operandSize;
    this.#environment = environment;
    this.#context = context;
    this.operandSize = operandSize;
    Object.defineProperty(this, 'operandSize', {
      get: () => {
        this.used.operandSize = true;
        return this.#operandSize;
      },
    });
  }

  get addressSize(): Size {
    this.used.addressSize = true;
    return this.#environment.addressSize;
  }
  get long(): boolean {
    this.used.long = true;
    return this.#environment.long;
  }

  vcpu(): Value {
    return this.f.get(0, 'i32');
  }
  uop(): Value {
    return this.f.op('add', this.f.get(1, 'i32'), this.f.i32(this.#before));
  }
  /** What is done behind the slow way of a store, which may have changed code. */
  whenStoredSlowly = (): void => {};
  protected override afterSlowStore(): void {
    this.whenStoredSlowly();
  }
  uopField(kind: LoadKind, offset: number): Value {
    return this.f.load(kind, this.f.get(1, 'i32'), this.#before + offset);
  }
  /** What this instruction left in the flag record, where that is one comparison: for the second of a pair. */
  get known(): KnownFlags | undefined {
    return this.#known;
  }
  helperIndex(name: HelperName): number {
    return this.#context.helperIndex(name);
  }
  protected tlbEntry(va: Value): Value {
    return tlbEntry(this.f, this.f.load('i32', this.vcpu(), VCPU.offset.tlb), va);
  }
  protected aroundHelper(_name: HelperName, call: () => void): void {
    call();
  }

  // --- operands ---

  #gprAt(address: Value, size: Size): Operand {
    const read = (): Value => this.f.resized(this.f.load(GPR_LOAD[size], address, 0, ALIAS_GPR), size);
    return {
      ...this.plainOperand(size),
      read,
      readAlone: () => this.alone(read()),
      write: (value) => this.f.store(GPR_STORE[size], address, size === 4 ? this.f.widen(value) : value, 0, ALIAS_GPR),
    };
  }
  register(index: number, size: Size): Operand {
    const at = VCPU.offset.gpr + index * 8,
      f = this.f;
    return {
      ...this.plainOperand(size),
      read: () => f.resized(f.load(GPR_LOAD[size], this.vcpu(), at, ALIAS_GPR), size),
      write: (value) => f.store(GPR_STORE[size], this.vcpu(), size === 4 ? f.widen(value) : value, at, ALIAS_GPR),
    };
  }
  vector(index: number): Operand {
    return this.#vectorAt(this.f.i32(VCPU.offset.vector + index * 32), 16);
  }
  #vectorAt(offset: Value, size: AccessSize): Operand {
    const f = this.f,
      address = f.op('add', this.vcpu(), offset),
      read = (): Value => f.resized(f.load(VECTOR_LOAD[size], address, 0, ALIAS_VECTOR), size);
    return {
      ...this.plainOperand(size),
      read,
      write: (value) => f.store(VECTOR_STORE[value.size as AccessSize], address, value, 0, ALIAS_VECTOR),
      offset: () => offset,
      readAlone: () => (size === 16 ? read() : this.alone(read())),
      whole: () => f.load('v128', address, 0, ALIAS_VECTOR),
      recorded: () => address,
      throughRecord: (use) => use(address),
    };
  }
  /** @param nth how many operands with a register field, or immediates, came before. */
  operand(shape: Shape, nth: number): Operand {
    const f = this.f;
    switch (shape.kind) {
      case 'gpr': {
        const offset = this.uopField('u16', REG_FIELDS[nth]!);
        return { ...this.#gprAt(f.op('add', this.vcpu(), offset), shape.size), offset: () => offset };
      }
      case 'vector':
      case 'mmx':
        return this.#vectorAt(this.uopField('u16', REG_FIELDS[nth]!), shape.size as AccessSize);
      case 'number': {
        const number = this.uopField('u16', REG_FIELDS[nth]!);
        return { ...this.plainOperand(0), number: () => number };
      }
      case 'imm': {
        const at = nth ? UOP_DISP : UOP_IMM; // ENTER has two; no line has two and a memory operand
        const read = (): Value => (shape.size === 8 ? this.uopField('i64', at) : f.resized(this.uopField('i32', at), shape.size));
        return { ...this.plainOperand(shape.size), read };
      }
      case 'rel':
        return { ...this.plainOperand(0), read: () => this.#relativeTarget() };
      case 'far':
        return {
          ...this.plainOperand(0),
          read: () => this.uopField('i64', UOP_IMM),
          number: () => f.wrap(this.uopField('i64', UOP_DISP)),
        };
      case 'mem':
        return this.memoryOperand(shape);
      case 'stringDestination':
        return this.stringDestination(shape.size);
    }
  }
  #slot(at: number): Value {
    return this.f.load('i64', this.f.op('add', this.vcpu(), this.uopField('u8', at)), 0, ALIAS_GPR);
  }
  protected encodedAddress(): Value {
    const f = this.f,
      scaled = f.op('shl', this.#slot(UOP_INDEX), f.widen(this.uopField('u8', UOP_SCALE)));
    return f.op('add', f.op('add', this.#slot(UOP_BASE), scaled), this.uopField('i64', UOP_DISP));
  }
  protected dataSegmentBase(): Value {
    return this.#slot(UOP_SEGMENT);
  }
  dataSegment(): Value {
    return this.f.op('shr_u', this.uopField('u8', UOP_ATTRIBUTES), this.f.i32(2));
  }

  // --- instruction pointer ---

  #ripPlus(offset: Value): Value {
    const sum = this.f.op('add', this.f.load('i64', this.vcpu(), VCPU.offset.ripPage), this.f.widen(offset));
    return this.long ? sum : this.f.op('and', sum, this.f.i64(0xffff_ffff));
  }
  rip(): Value {
    return this.#ripPlus(this.uopField('u16', UOP_OFFSET));
  }
  nextRip(): Value {
    return this.#ripPlus(this.f.op('add', this.uopField('u16', UOP_OFFSET), this.uopField('u8', UOP_LENGTH)));
  }
  #relativeTarget(): Value {
    const sum = this.f.op('add', this.f.load('i64', this.vcpu(), VCPU.offset.ripPage), this.uopField('i64', UOP_IMM));
    return this.long ? sum : this.f.op('and', sum, this.f.i64(this.operandSize === 2 ? 0xffff : 0xffff_ffff));
  }
  protected publishRip(): void {
    if (this.#published) return;
    this.#published = true;
    this.f.store('i64', this.vcpu(), this.rip(), VCPU.offset.rip, ALIAS_STATE);
    this.f.store('i64', this.vcpu(), this.nextRip(), VCPU.offset.nextRip, ALIAS_STATE);
  }

  // --- flags ---

  setFlags(kind: FlagKind | Value, p: Value, q: Value, count = 0, r?: Value): void {
    const f = this.f,
      vcpu = this.vcpu();
    const op = typeof kind === 'string' ? f.i32(this.flagOp(kind, p.size) | (count << 16)) : kind,
      wideP = f.widen(p),
      wideQ = f.widen(q);
    if (!this.flagsWanted) return;
    this.#known = typeof kind === 'string' && !r && (kind === 'sub' || kind === 'add') ? { kind, p, q } : undefined;
    f.store('i32', vcpu, op, VCPU.offset.flagOp, ALIAS_FLAGS);
    f.store('i64', vcpu, wideP, VCPU.offset.flagP, ALIAS_FLAGS);
    f.store('i64', vcpu, wideQ, VCPU.offset.flagQ, ALIAS_FLAGS);
    if (r) f.store('i64', vcpu, r, VCPU.offset.flagR, ALIAS_FLAGS);
  }
  #flag(kind: LoadKind, offset: number): Value {
    return this.f.load(kind, this.vcpu(), offset, ALIAS_FLAGS);
  }
  record(): readonly [Value, Value, Value, Value] {
    const { flagOp, flagP, flagQ, flagR } = VCPU.offset;
    return [
      this.f.pin(this.#flag('i32', flagOp)),
      this.f.pin(this.#flag('i64', flagP)),
      this.f.pin(this.#flag('i64', flagQ)),
      this.f.pin(this.#flag('i64', flagR)),
    ];
  }
  overlayFlags(bits: number, result: Value): void {
    const f = this.f,
      op = f.op('or', f.op('and', this.#flag('i32', VCPU.offset.flagOp), f.i32(~0xf00)), f.i32(bits));
    this.#known = undefined;
    f.store('i32', this.vcpu(), op, VCPU.offset.flagOp, ALIAS_FLAGS);
    f.store('i64', this.vcpu(), result, VCPU.offset.flagR, ALIAS_FLAGS);
  }
  condition(cc: number): Value {
    const known = this.#knownCondition(cc);
    if (known) return known;
    const f = this.f,
      op = f.pin(this.#flag('i32', VCPU.offset.flagOp)),
      p = f.pin(this.#flag('i64', VCPU.offset.flagP)),
      q = f.pin(this.#flag('i64', VCPU.offset.flagQ));
    return this.conditionOf(cc, op, p, q, () => this.#flag('i64', VCPU.offset.flagR));
  }

  #knownCondition(cc: number): Value | undefined {
    const known = this.#known,
      test = cc >> 1;
    if (!known) return undefined;
    if (known.kind === 'sub') return this.subCondition(cc, known.p, known.q);
    if (test === 1) return this.f.compare(cc & 1 ? 'ge_u' : 'lt_u', known.p, known.q);
    const zero = this.constant(0, known.p.size as Size);
    return test === 2 || test === 4
      ? this.f.compare(test === 2 ? (cc & 1 ? 'ne' : 'eq') : cc & 1 ? 'ge_s' : 'lt_s', this.signed(known.p), zero)
      : undefined;
  }

  // --- control flow ---

  /** Instructions left after this one. */
  remaining(executed: number): Value {
    const f = this.f;
    return f.pin(
      f.op(
        'sub',
        f.op('sub', f.load('i32', this.vcpu(), VCPU.offset.budget), f.op('shr_u', this.uop(), f.i32(UOP_SHIFT))),
        f.i32(executed),
      ),
    );
  }
  instructionsLeft(): Value {
    return this.remaining(0);
  }
  setBudget(remaining: Value, entry: Value): void {
    this.f.store('i32', this.vcpu(), this.f.op('add', remaining, this.f.op('shr_u', entry, this.f.i32(UOP_SHIFT))), VCPU.offset.budget);
  }
  dispatch(uop: Value): void {
    const target = this.f.pin(uop);
    this.f.returnCallIndirect(this.#context.handlerType, this.f.load('u16', target, UOP_HANDLER), [this.vcpu(), target]);
  }
  next(): void {
    this.dispatch(this.f.op('add', this.uop(), this.f.i32(UOP_BYTES)));
  }
  leave(reason: number, rip: Value, remaining: Value): void {
    const f = this.f,
      vcpu = this.vcpu();
    f.store('i64', vcpu, rip, VCPU.offset.rip);
    f.store('i32', vcpu, remaining, VCPU.offset.budget);
    f.store('i32', vcpu, this.uop(), VCPU.offset.exitUop);
    f.return(f.i32(reason));
  }
  goto(rip: Value, remaining: Value): void {
    this.f.returnCall(this.long ? this.#context.goto64 : this.#context.gotoLegacy, [this.vcpu(), rip, remaining]);
  }
  #linked(target: Operand): void {
    const f = this.f,
      uop = f.pin(this.uopField('i32', UOP_TARGET)),
      remaining = this.remaining(1);
    f.if(uop, () => {
      f.if(f.compare('le_s', remaining, f.i32(0)), () => this.leave(LEAVE_BUDGET, target.read(), remaining));
      const heat = f.pin(f.op('sub', this.uopField('i32', UOP_HEAT), f.i32(1)));
      f.store('i32', this.uop(), heat, UOP_HEAT);
      f.if(isHot(f, heat), () => this.leave(LEAVE_HOT, target.read(), remaining));
      this.setBudget(remaining, uop);
      this.dispatch(uop);
    });
    this.goto(target.read(), remaining);
  }
  jump(target: Operand): void {
    this.#linked(target);
    this.ended = true;
  }
  branch(condition: Value, target: Operand): void {
    this.f.if(condition, () => this.#linked(target));
  }
  callTo(target: Operand, rip: Value): void {
    if (target.size === 0 && !target.isMemory) this.#linked(target);
    else this.#gotoSeen(rip);
    this.ended = true;
  }
  returnTo(rip: Value): void {
    const remaining = this.remaining(1);
    if (this.long) returnIfAwaited(this.f, rip, remaining);
    this.goto(rip, remaining);
    this.ended = true;
  }
  jumpTo(rip: Value): void {
    this.#gotoSeen(rip);
    this.ended = true;
  }
  #gotoSeen(rip: Value): void {
    if (this.long) rememberTarget(this.f, this.rip(), rip);
    this.goto(rip, this.remaining(1));
  }
  /** After the body of a `system` or `transfer` line. */
  leaveSystem(ripIsSet: boolean): void {
    const { afterTransfer, afterSystem64, afterSystemLegacy } = this.#context,
      remaining = this.remaining(1);
    if (ripIsSet) this.f.returnCall(afterTransfer, [this.vcpu(), this.uop(), remaining]);
    else this.f.returnCall(this.long ? afterSystem64 : afterSystemLegacy, [this.vcpu(), this.uop(), this.nextRip(), remaining]);
    this.ended = true;
  }
  /** A repeated instruction gives way: it starts again at its own address. */
  leaveInside(): void {
    this.leave(LEAVE_BUDGET, this.rip(), this.remaining(0));
  }
}

function isHot(f: FunctionBuilder, heat: Value): Value {
  return f.compare('eqz', f.op('and', heat, f.i32(HEAT_PERIOD - 1)));
}

/** The end of every handler: whoever raised a fault comes here. */
export function leaveByFault(f: FunctionBuilder, before = 0): void {
  f.store('i32', f.get(0, 'i32'), f.op('add', f.get(1, 'i32'), f.i32(before)), VCPU.offset.exitUop);
  f.return(f.i32(LEAVE_FAULT));
}

/** A nested call waits for this very address: give the word back to it. Everything but the budget is in the record. */
export function returnIfAwaited(f: FunctionBuilder, rip: Value, remaining: Value): void {
  const vcpu = f.get(0, 'i32');
  f.if(f.compare('eq', f.load('i64', f.load('i32', vcpu, VCPU_RETURN_TOP), 0), rip), () => {
    f.store('i32', vcpu, remaining, VCPU.offset.budget);
    f.return(f.i32(LEAVE_RETURN));
  });
}

/** Fields of an entry in VCPU_JUMPS. */
const JUMP_RIP = 0,
  JUMP_PROOF = 8,
  JUMP_UOP = 16,
  JUMP_HANDLER = 20;
function jumpEntry(f: FunctionBuilder, rip: Value): Value {
  const low = f.pin(f.wrap(rip)),
    hash = f.op('and', f.op('xor', low, f.op('shr_u', low, f.i32(8))), f.i32(JUMPS_ENTRIES - 1));
  return f.pin(f.op('add', f.get(0, 'i32'), f.op('shl', hash, f.i32(JUMPS_SHIFT))));
}
/** Run at `rip` in 64-bit mode, if a region was found there before and nothing has changed since: `go` gets its handler and micro-op. */
export function ifJumpKnown(
  f: FunctionBuilder,
  rip: Value,
  remaining: Value,
  go: (handler: Value, uop: Value) => void,
  no?: () => void,
): void {
  const vcpu = f.get(0, 'i32'),
    entry = jumpEntry(f, rip);
  const known = f.op(
    'or',
    f.op('xor', f.load('i64', entry, VCPU_JUMPS + JUMP_RIP), rip),
    f.op('xor', f.load('i64', entry, VCPU_JUMPS + JUMP_PROOF), f.load('i64', vcpu, VCPU_FETCH_PROOF)),
  );
  f.if(
    f.compare('eqz', known),
    () => {
      const uop = f.pin(f.load('i32', entry, VCPU_JUMPS + JUMP_UOP));
      f.store('i64', vcpu, f.op('and', rip, f.i64(-4096)), VCPU.offset.ripPage);
      f.store('i32', vcpu, f.op('add', remaining, f.op('shr_u', uop, f.i32(UOP_SHIFT))), VCPU.offset.budget);
      go(f.load('i32', entry, VCPU_JUMPS + JUMP_HANDLER), uop);
    },
    no,
    'likely',
  );
}
/** A micro-op that is not a region's yet is not remembered: its heat would not be counted. */
function rememberJump(f: FunctionBuilder, rip: Value, uop: Value, handler: Value): void {
  f.if(f.compare('lt_u', f.op('sub', handler, f.i32(FIRST_REGION)), f.i32(FIRST_PAIR - FIRST_REGION)), () => {
    const entry = jumpEntry(f, rip);
    f.store('i64', entry, rip, VCPU_JUMPS + JUMP_RIP);
    f.store('i64', entry, f.load('i64', f.get(0, 'i32'), VCPU_FETCH_PROOF), VCPU_JUMPS + JUMP_PROOF);
    f.store('i32', entry, uop, VCPU_JUMPS + JUMP_UOP);
    f.store('i32', entry, handler, VCPU_JUMPS + JUMP_HANDLER);
  });
}

/**
 * (vcpu, rip, instructions left) -> LEAVE_* reason: go on at `rip` by the exec TLB and the code cache, which is keyed by physical address and
 * mode: whatever changes a mapping changes the TLB, so nothing here needs flushing.
 */
export function emitGoto(f: FunctionBuilder, long: boolean, handlerType: number): void {
  const vcpu = f.get(0, 'i32'),
    rip = f.get(1, 'i64'),
    remaining = f.get(2, 'i32');
  const leave = (reason: number): void => {
    f.store('i64', vcpu, rip, VCPU.offset.rip);
    f.store('i32', vcpu, remaining, VCPU.offset.budget);
    f.return(f.i32(reason));
  };
  f.if(f.compare('le_s', remaining, f.i32(0)), () => leave(LEAVE_BUDGET));
  const segBase = f.load('i64', vcpu, VCPU.offset.segBase + 8);
  const linear = long ? rip : f.pin(f.op('and', f.op('add', rip, segBase), f.i64(0xffff_ffff)));
  const entry = tlbEntry(f, f.load('i32', vcpu, VCPU.offset.tlb), linear);
  f.if(f.compare('ne', f.load('i64', entry, TLB_EXEC), f.op('and', linear, f.i64(-4096))), () => leave(LEAVE_LOOKUP));
  if (!long) f.if(f.compare('gt_u', rip, f.load('u32', vcpu, VCPU.offset.segLimit + 4)), () => leave(LEAVE_LOOKUP));
  const hva = f.pin(f.op('add', linear, f.load('i64', entry, TLB_ADDEND)));
  const key = f.pin(f.op('or', hva, f.op('shl', f.widen(f.load('i32', vcpu, VCPU.offset.mode)), f.i64(48))));
  const hash = f.op('xor', f.wrap(hva), f.wrap(f.op('shr_u', hva, f.i64(12))));
  const set = f.pin(f.op('add', vcpu, f.op('shl', f.op('and', hash, f.i32(CODE_CACHE_SETS - 1)), f.i32(CODE_CACHE_SET_SHIFT)))),
    held = f.newLocal('i32');
  f.set(held, set);
  f.if(f.compare('ne', f.load('i64', set, VCPU_CODE_CACHE), key), () => {
    f.if(f.compare('ne', f.load('i64', set, VCPU_CODE_CACHE + CODE_CACHE_ENTRY_BYTES), key), () => leave(LEAVE_LOOKUP));
    f.set(held, f.op('add', set, f.i32(CODE_CACHE_ENTRY_BYTES)));
  });
  const slot = f.pin(f.get(held, 'i32'));
  f.store('i64', vcpu, f.op('sub', rip, f.op('and', linear, f.i64(4095))), VCPU.offset.ripPage);
  const heat = f.pin(f.op('sub', f.load('i32', slot, VCPU_CODE_CACHE + 12), f.i32(1)));
  f.store('i32', slot, heat, VCPU_CODE_CACHE + 12);
  f.if(isHot(f, heat), () => leave(LEAVE_HOT));
  const uop = f.pin(f.load('i32', slot, VCPU_CODE_CACHE + 8));
  f.store('i32', vcpu, f.op('add', remaining, f.op('shr_u', uop, f.i32(UOP_SHIFT))), VCPU.offset.budget);
  const handler = f.pin(f.load('u16', uop, UOP_HANDLER));
  if (long) rememberJump(f, rip, uop, handler);
  f.returnCallIndirect(handlerType, handler, [vcpu, uop]);
}

/** Return to the run loop, which goes on at `rip`. */
function leaveTo(f: FunctionBuilder, reason: number, uop: Value, rip: Value, remaining: Value): void {
  const vcpu = f.get(0, 'i32');
  f.store('i64', vcpu, rip, VCPU.offset.rip);
  f.store('i32', vcpu, remaining, VCPU.offset.budget);
  f.store('i32', vcpu, uop, VCPU.offset.exitUop);
  f.return(f.i32(reason));
}

/** Why the run loop has to look, as bits of `requests` and `look`; nearly always 0. */
const attentionOf = (f: FunctionBuilder): Value =>
  f.pin(f.op('or', f.load('i32', f.get(0, 'i32'), VCPU.offset.requests), f.load('i32', f.get(0, 'i32'), VCPU.offset.look)));

/**
 * (vcpu, micro-op, rip of the next instruction, instructions left) -> LEAVE_* reason: go on after an instruction that may have changed anything but
 * the code size. The shadow of STI and MOV SS is over once the next instruction has begun, so it is run from here where it is a plain one.
 */
export function emitAfterSystem(f: FunctionBuilder, go: number, handlerType: number): void {
  const vcpu = f.get(0, 'i32'),
    uop = f.get(1, 'i32'),
    rip = f.get(2, 'i64'),
    remaining = f.get(3, 'i32'),
    attention = attentionOf(f);
  f.if(attention, () => {
    f.if(f.op('and', f.compare('eq', attention, f.i32(LOOK_SHADOW)), f.compare('gt_s', remaining, f.i32(0))), () => {
      const next = f.op('add', uop, f.i32(UOP_BYTES)),
        linked = f.compare('eq', f.load('u16', next, UOP_HANDLER), f.i32(HANDLER_LINK)),
        target = f.pin(f.select(linked, f.load('i32', next, UOP_TARGET), next)),
        handler = f.pin(f.load('u16', target, UOP_HANDLER));
      const plain = f.compare('lt_u', f.op('sub', handler, f.i32(FIRST_HANDLER)), f.i32(FIRST_REGION - FIRST_HANDLER)),
        pair = f.compare('ge_u', handler, f.i32(FIRST_PAIR));
      f.if(f.op('or', plain, pair), () => {
        f.store('i32', vcpu, f.i32(0), VCPU.offset.shadow);
        f.store('i32', vcpu, f.i32(0), VCPU.offset.look);
        f.store('i32', vcpu, f.op('add', remaining, f.op('shr_u', target, f.i32(UOP_SHIFT))), VCPU.offset.budget);
        f.returnCallIndirect(handlerType, handler, [vcpu, target]);
      });
    });
    leaveTo(f, LEAVE_SYSTEM, uop, rip, remaining);
  });
  f.returnCall(go, [vcpu, rip, remaining]);
}

/** (vcpu, micro-op, instructions left) -> LEAVE_* reason: go on after an instruction whose helper has set rip, and perhaps the code size. */
export function emitAfterTransfer(f: FunctionBuilder, goto64: number, gotoLegacy: number): void {
  const vcpu = f.get(0, 'i32'),
    remaining = f.get(2, 'i32'),
    rip = f.pin(f.load('i64', vcpu, VCPU.offset.rip));
  const attention = attentionOf(f);
  f.if(attention, () => {
    const resumes = f.op('and', f.compare('eq', attention, f.i32(LOOK_RESUME)), f.compare('gt_s', remaining, f.i32(0)));
    f.if(f.compare('eqz', resumes), () => leaveTo(f, LEAVE_TRANSFER, f.get(1, 'i32'), rip, remaining));
    f.store('i64', vcpu, f.op('and', f.load('i64', vcpu, VCPU.offset.rflags), f.i64(~RFLAGS_RF)), VCPU.offset.rflags);
    f.store('i32', vcpu, f.i32(0), VCPU.offset.look);
  });
  const codeSize = f.op('and', f.load('i32', vcpu, VCPU.offset.mode), f.i32(CODE_SIZE_MASK));
  f.if(f.compare('eq', codeSize, f.i32(MODE_64)), () => f.returnCall(goto64, [vcpu, rip, remaining]));
  f.returnCall(gotoLegacy, [vcpu, rip, remaining]);
}
