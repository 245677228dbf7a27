/**
 * Emits the instructions of a region by copying their templates: registers, numbers, helpers and labels are written into the holes. General
 * and XMM registers and the flag record live in locals. What surrounds the instructions (control flow, budget, the ways in and out) is jit/assemble.ts.
 *
 * Faults: whoever may raise branches to `caught`. An instruction that jumps leaves the new rip in `exitRip`, a branch its condition.
 * Implements: docs/internals.md "Templates". Runs on: where regions are compiled; per instruction it allocates nothing.
 */
import { PAGE_BYTES, TLB_ENTRY_BYTES, VCPU_TLB } from '../../base/memory-map.ts';
import { ENV_LONG64 } from '../decode/variants.ts';
import { MXCSR_LOOKED_AT, MXCSR_WANTED, NO_PAGE } from '../emit.ts';
import type { RamIndex } from '../guest-ram.ts';
import { GPR_NAMES, VCPU } from '../state.ts';
import type { FpuUse } from '../isa/inst.ts';
import type { Bytes } from '../wasm/bytes.ts';
import type { Fill, FunctionBuilder, Label } from '../wasm/function.ts';
import type { Value } from '../emit.ts';
import { CONSTANT_HOLE, CUT, FIRST_HOLE, cutOf, sourceOf } from '../wasm/holes.ts';
import {
  CONTROL,
  HELPER_NAMES,
  HOLE_ADDRESS,
  HOLE_CLASS,
  HOLE_CAUGHT,
  HOLE_FIELD,
  HOLE_FORGET,
  HOLE_LIKELY,
  HOLE_PAGE,
  PAGE_LOCALS,
  HOLE_FIELD_OFFSET,
  HOLE_HELPER,
  HOLE_REGISTER,
  HOLE_SEGMENT_BASE,
  HOLE_TEMPORARY,
  HOLE_VECTOR,
  MASK_ADDRESS,
  MASK_FIELD,
  MASK_FLAGS,
  MASK_MXCSR,
  MASK_ROTATED,
  MASK_XMM0,
  MAX_INSIDE,
  MAX_TEMPORARIES,
  SOURCE,
  SOURCES,
  TEMPORARY_TYPES,
  controlHole,
  tlbHole,
  HOLE_UNLIKELY,
} from './holes.ts';
import { pageOf } from './code-window.ts';
import { emitCut, emitField } from './open-fields.ts';
import type { OpenField } from './open-fields.ts';
import { targetOf } from './region.ts';
import { RELOCATION, emitCallee, emitMoving, emitSlot } from './relocations.ts';
import type { Instruction } from './region.ts';
import { MISS_CALLS, MISS_LEAVES, MISS_REMEMBERS } from './template-emit.ts';
import type { KnownFlags, Miss } from './template-emit.ts';
import { templates } from './templates.ts';
import type { Template, Templates } from './templates.ts';

export type { KnownFlags, Template };

export interface RegionContext {
  /** Function of a helper, by its number in HELPER_NAMES. */
  readonly helperIndex: (helper: number) => number;
  /** Function that goes on at a rip: (vcpu, rip, instructions left). */
  readonly gotoIndex: (long: boolean) => number;
  /** Type of handlers and regions. */
  readonly handlerType: number;
  /** Type of addresses in memory 1. */
  readonly ramIndex: RamIndex;
  /** Where a page lies in memory 1, the entry's being 0. */
  readonly hvaOf: (page: number) => number;
  /** The region's place in the table. */
  readonly slot: number;
  /** Addresses of the vCPU's record, and of the TLB of the access class that the region is for. */
  readonly vcpu: number;
  readonly tlb: number;
  /** Code here checks whether the FPU may be used. */
  readonly fpuTrap: boolean;
}

/** How an immediate that may be relocated becomes a constant; by other cuts it does not. */
const MOVING: Readonly<Record<number, number>> = {
  [CUT.I32]: RELOCATION.FIELD32,
  [CUT.I64]: RELOCATION.FIELD64,
  [CUT.I64_S32]: RELOCATION.FIELD64,
  [CUT.I64_U32]: RELOCATION.FIELD64_ZERO,
};
const GPR_END = 16 * 8;
const VECTORS = 16,
  VECTOR_SHIFT = 5,
  VECTOR_END = VCPU.offset.vector + (VECTORS << VECTOR_SHIFT);
/** A LEB128 number is this long at most. */
const MAX_NUMBER_BYTES = 10;
const OPEN = 0xffff_ffff;
const IF = 0x04,
  END = 0x0b,
  BR = 0x0c,
  BR_IF = 0x0d,
  EMPTY_BLOCK = 0x40;
/** A place for each base register, and one for all other operands; a loop's registers are dear, so only so many are used. */
const PAGE_PLACES = 17,
  MAX_PAGE_PLACES = 4;
const USES_FPU: ReadonlySet<FpuUse> = new Set(['x87', 'mmx'] as const);
/** In the order of HOLE_PAGE. */
const PAGE_NAMES = ['ReadPage', 'ReadAddend', 'WritePage', 'WriteAddend'] as const;
const pagePlace = ({ base }: Instruction): number => (base < GPR_END ? base >> 3 : PAGE_PLACES - 1);

/**
 * The bank of general registers, bit by bit: 0 to 15 those, then the flag record without its result of a rotate, and that. The bank of
 * vectors: 0 to 15 the XMM registers, then what is known of MXCSR: the record is always right, so that is never dirty.
 */
export const REGISTER_FLAGS = 1 << 16,
  REGISTER_ROTATED = 1 << 17,
  REGISTER_MXCSR = 1 << 16;

/** Locals of the function that a region becomes, beside the registers. */
export class RegionLocals {
  /** Distance of the present access class's TLB from the first one, where the class may change; instructions left; whether the region's own code has changed. */
  readonly otherTlb: number;
  readonly budget: number;
  readonly changed: number;
  /** Where the present instruction is, for a fault: jit/assemble.ts packs it (i64). */
  readonly site: number;
  /** At that place, the XMM registers that differ from the record. */
  readonly siteVectors: number;
  /** Other than 0 unless MXCSR is as SSE's quick ways want it: Emit.whenFpDefault. */
  readonly mxcsr: number;
  /** Where this region's nested call stands in VCPU_RETURNS. */
  readonly returnTop: number;
  /** rip of byte 0 of the entry's page; where control goes when it leaves. */
  readonly ripPage: number;
  readonly exitRip: number;
  /** The flag record. */
  readonly op: number;
  readonly p: number;
  readonly q: number;
  readonly r: number;
  /** Of general and of XMM registers; -1 where there is none. */
  readonly registers = new Int32Array(16).fill(-1);
  readonly vectors = new Int32Array(VECTORS).fill(-1);
  readonly #f: FunctionBuilder;

  constructor(f: FunctionBuilder) {
    this.#f = f;
    this.otherTlb = f.newLocal('i32');
    this.budget = f.newLocal('i32');
    this.changed = f.newLocal('i32');
    this.returnTop = f.newLocal('i32');
    this.op = f.newLocal('i32');
    this.siteVectors = f.newLocal('i32');
    this.mxcsr = f.newLocal('i32');
    this.ripPage = f.newLocal('i64');
    this.exitRip = f.newLocal('i64');
    this.site = f.newLocal('i64');
    this.p = f.newLocal('i64');
    this.q = f.newLocal('i64');
    this.r = f.newLocal('i64');
  }
  register(index: number): number {
    if (this.registers[index]! < 0) this.registers[index] = this.#f.newLocal('i64');
    return this.registers[index]!;
  }
  vector(index: number): number {
    if (this.vectors[index]! < 0) this.vectors[index] = this.#f.newLocal('v128');
    return this.vectors[index]!;
  }
  /** For a reader of the code: its parameters, the fields above, the registers. */
  names(): Map<number, string> {
    const names = new Map([
      [0, 'vcpu'],
      [1, 'entry'],
    ]);
    for (const [name, local] of Object.entries(this) as [string, unknown][]) if (typeof local === 'number') names.set(local, name);
    for (const [index, local] of this.registers.entries()) if (local >= 0) names.set(local, GPR_NAMES[index]!);
    for (const [index, local] of this.vectors.entries()) if (local >= 0) names.set(local, `xmm${index}`);
    return names;
  }
}

/** Of one region after the other. */
const NUMBERS = new Uint32Array(HOLE_HELPER - FIRST_HOLE + HELPER_NAMES.length),
  LOW = new Int32Array(SOURCES),
  HIGH = new Int32Array(SOURCES);

export class KnownEmit {
  readonly long: boolean;
  /** Before the next instruction; the assembler forgets or restores it at a block's start. */
  known: KnownFlags | undefined;
  /** Registers of both banks that the last instruction has read and written, bit by bit; what it may write or not, it also reads. */
  reads = 0;
  writes = 0;
  vectorReads = 0;
  vectorWrites = 0;
  readonly #f: FunctionBuilder;
  readonly #out: Bytes;
  readonly #caught: Label;
  readonly #context: RegionContext;
  readonly #locals: RegionLocals;
  readonly #templates: Templates;
  /** Number of each hole less FIRST_HOLE; OPEN where it is not known yet. */
  readonly #numbers = NUMBERS.fill(OPEN);
  /** The two halves of each source of constants. */
  readonly #low = LOW.fill(0);
  readonly #high = HIGH.fill(0);
  #at!: Instruction;
  #caughtDepth = 0;
  /** Offset of the region's first instruction. */
  start = 0;
  /** Writes the code that sets the local `site`, and what it is given for the next instruction: see jit/assemble.ts. */
  fillSite: Fill = () => {};
  siteLow = 0;
  sitePoint = 0;
  /** What is the start of the TLB that offsets count from: the region's own, or the first, where the access class may change. */
  tlbStart = 0;
  changesClass = false;
  /** Whether the instructions that come remember pages, and whether any of this region do. */
  remembers = false;
  remembersAny = false;
  /** Fields on whose values the code depends after all. */
  readonly fixed: OpenField[] = [];
  #pagePlaces = 0;
  #pagePlaceCount = 0;
  /** Locals by place: see HOLE_PAGE. */
  readonly #pageNumbers = new Uint32Array(PAGE_PLACES * PAGE_LOCALS).fill(OPEN);
  readonly #pageLocals: number[] = [];

  constructor(f: FunctionBuilder, long: boolean, locals: RegionLocals, caught: Label, context: RegionContext) {
    this.#f = f;
    this.#out = f.out;
    this.long = long;
    this.#caught = caught;
    this.#locals = locals;
    this.#context = context;
    this.#templates = templates[context.ramIndex];
    for (const name of CONTROL) this.#numbers[controlHole(name) - FIRST_HOLE] = locals[name];
    this.#low[SOURCE.SLOT] = context.slot;
  }

  // --- for the structure around the instructions ---

  /** @param offset bytes from the entry's page. */
  ripAt(offset: number): Value {
    const sum = this.#f.op('add', this.#f.get(this.#locals.ripPage, 'i64'), this.#f.i64(offset));
    return this.long ? sum : this.#f.op('and', sum, this.#f.i64(0xffff_ffff));
  }
  /** Where a direct jump goes. */
  targetRip(jump: Instruction): Value {
    const f = this.#f,
      sum = f.op('add', f.get(this.#locals.ripPage, 'i64'), f.i64(targetOf(jump)));
    return this.long ? sum : f.op('and', sum, f.i64(jump.operandSize === 2 ? 0xffff : 0xffff_ffff));
  }
  // --- one instruction ---

  /** What the instruction becomes after those emitted so far. */
  template(instruction: Instruction): Template {
    const miss = this.#missOf(instruction),
      template = this.#templates.find(instruction, this.#context.fpuTrap, this.known, miss);
    if ((instruction.openImmediate ?? instruction.movingImmediate) && this.#templates.asksValue(instruction, this.#context.fpuTrap, miss)) {
      instruction.openImmediate = undefined;
      this.#fix(instruction);
    }
    return template;
  }
  /**
   * In a loop that calls nothing, misses may be many. Where the region begins, tier 0 would come back to it without having done anything. And
   * what uses the x87 or MMX state changes it before it reaches memory, as far as that may be done twice: here an interrupt would see it.
   */
  #missOf(instruction: Instruction): Miss {
    if (this.remembers) return this.#hasPagePlace(instruction) ? MISS_REMEMBERS : MISS_CALLS;
    return instruction.offset === this.start || USES_FPU.has(instruction.line.fpu) ? MISS_CALLS : MISS_LEAVES;
  }
  /** Whether its memory operand gets locals that remember its page: those of its base register. */
  #hasPagePlace(at: Instruction): boolean {
    if (!at.isMemory || at.environment !== ENV_LONG64) return false;
    // A pointer that is replaced by what it points to (a list) is in another page each time.
    if (at.registers[0] === at.base) return false;
    const bit = 1 << pagePlace(at);
    if ((this.#pagePlaces & bit) === 0 && ++this.#pagePlaceCount > MAX_PAGE_PLACES) return false;
    this.#pagePlaces |= bit;
    return true;
  }
  /** Code that forgets all remembered pages; for `later`, since it must know all of them. */
  readonly forgetPages = (out: Bytes): void => {
    for (const local of this.#pageLocals) {
      out.u8(0x42);
      out.s32(NO_PAGE);
      out.localSet(local);
    }
  };
  /** @param changesClass may the region go on in another access class than it is for? */
  begin(start: number, changesClass: boolean): void {
    const { vcpu, tlb } = this.#context;
    this.start = start;
    this.changesClass = changesClass;
    // A distance from there is no negative number, which an address cannot have for its index.
    this.tlbStart = changesClass ? vcpu + VCPU_TLB : tlb;
    for (let field = 0; field < TLB_ENTRY_BYTES; field += 8) this.#numbers[tlbHole(field) - FIRST_HOLE] = this.tlbStart + field;
    this.#low[SOURCE.TLB] = this.tlbStart;
    if (changesClass) this.#f.set(this.#locals.otherTlb, this.#f.i32(tlb - this.tlbStart));
  }
  /** Code that makes a place in the first TLB one in that of the present access class. */
  inPresentTlb(out: Bytes): void {
    out.localGet(this.#locals.otherTlb);
    out.u8(0x6a);
  }
  /** The local `mxcsr` from the record, as Emit.fpIsSpecial has it; for `later`. */
  learnMxcsr(out: Bytes): void {
    out.localGet(0);
    out.u8(0x28);
    out.u8(2);
    out.u32(VCPU.offset.mxcsr);
    out.u8(0x41);
    out.s32(MXCSR_LOOKED_AT);
    out.u8(0x71);
    out.u8(0x41);
    out.s32(MXCSR_WANTED);
    out.u8(0x73);
    out.localSet(this.#locals.mxcsr);
  }
  /**
   * A branch leaves its condition (an i32) on the wasm stack.
   * @param uncharged instructions before it for which the budget has not been charged yet
   */
  instruction(instruction: Instruction, template: Template, uncharged: number): void {
    this.#f.flush();
    this.#low[SOURCE.UNCHARGED] = uncharged;
    this.#fill(instruction);
    this.#caughtDepth = this.#f.depthOf(this.#caught);
    if (template.storedSlowly) this.#unchanged();
    this.#copy(template);
    if (template.knownAfter !== 'same') this.known = template.knownAfter;
    this.reads = this.#registersOf(template.reads);
    this.writes = this.#registersOf(template.writes);
    this.vectorReads = this.#vectorsOf(template.reads);
    this.vectorWrites = this.#vectorsOf(template.writes) & ~REGISTER_MXCSR;
  }

  /** On the quick way of a store the question whether code has changed has a constant answer, and nothing keeps it alive from before. */
  #unchanged(): void {
    const out = this.#out;
    out.u8(0x41);
    out.u8(0);
    out.localSet(this.#locals.changed);
  }

  /** The numbers that differ from instruction to instruction. */
  #fill(at: Instruction): void {
    const numbers = this.#numbers,
      low = this.#low,
      high = this.#high;
    this.#at = at;
    for (let i = 0; i < 3; i++) {
      const register = at.registers[i]!;
      numbers[HOLE_FIELD + i - FIRST_HOLE] =
        register < GPR_END
          ? numbers[HOLE_REGISTER + (register >> 3) - FIRST_HOLE]!
          : isVector(register)
            ? numbers[HOLE_VECTOR + vectorIndex(register) - FIRST_HOLE]!
            : OPEN;
      numbers[HOLE_FIELD_OFFSET + i - FIRST_HOLE] = register;
      low[SOURCE.FIELD + i] = register;
    }
    numbers[HOLE_SEGMENT_BASE - FIRST_HOLE] = at.segmentSlot;
    if (this.remembers && at.isMemory)
      for (let i = 0; i < PAGE_LOCALS; i++) numbers[HOLE_PAGE + i - FIRST_HOLE] = this.#pageNumbers[pagePlace(at) * PAGE_LOCALS + i]!;
    low[SOURCE.IMMEDIATE] = at.immediateLow;
    high[SOURCE.IMMEDIATE] = at.immediateHigh;
    low[SOURCE.SECOND_IMMEDIATE] = at.dispLow;
    high[SOURCE.SECOND_IMMEDIATE] = at.dispHigh;
    low[SOURCE.SEGMENT] = at.segment;
    setDistance(low, high, SOURCE.RIP, at.offset);
    setDistance(low, high, SOURCE.NEXT_RIP, at.offset + at.lengthBytes);
    if (at.relative) setDistance(low, high, SOURCE.TARGET, targetOf(at));
  }

  #copy({ start, end }: Template): void {
    const { pool } = this.#templates,
      numbers = this.#numbers,
      out = this.#out;
    let data = out.reserve((end - start) * MAX_NUMBER_BYTES),
      size = out.size;
    for (let i = start; i < end; i++) {
      const token = pool[i]!;
      if (token < FIRST_HOLE) {
        data[size++] = token;
        continue;
      }
      if (token < CONSTANT_HOLE) {
        let value = numbers[token - FIRST_HOLE]!;
        if (value === OPEN) {
          if (token === HOLE_ADDRESS) {
            out.size = size;
            this.#address();
            data = out.reserve((end - i) * MAX_NUMBER_BYTES);
            size = out.size;
            continue;
          }
          if (token === HOLE_UNLIKELY || token === HOLE_LIKELY) {
            out.size = size;
            out.hint(token === HOLE_LIKELY);
            continue;
          }
          if (token === HOLE_CLASS) {
            out.size = size;
            if (this.changesClass) this.inPresentTlb(out);
            data = out.reserve((end - i) * MAX_NUMBER_BYTES);
            size = out.size;
            continue;
          }
          if (token === HOLE_FORGET) {
            out.size = size;
            if (this.remembersAny) this.#f.laterHere(this.forgetPages);
            continue;
          }
          if (token >= HOLE_HELPER) {
            out.size = size;
            this.#callee(token - HOLE_HELPER);
            size = out.size;
            continue;
          }
          if (token >= HOLE_CAUGHT && token < HOLE_CAUGHT + MAX_INSIDE) {
            out.size = size - 1;
            this.#leave(this.#caughtDepth + token - HOLE_CAUGHT, data[size - 1] === BR_IF);
            data = out.reserve((end - i) * MAX_NUMBER_BYTES);
            size = out.size;
            continue;
          }
          value = this.#resolve(token);
        }
        while (value >= 0x80) {
          data[size++] = (value & 0x7f) | 0x80;
          value >>>= 7;
        }
        data[size++] = value;
        continue;
      }
      out.size = size;
      this.#constant(token);
      if (this.#at.openImmediate) data = out.reserve((end - i) * MAX_NUMBER_BYTES);
      size = out.size;
    }
    out.size = size;
  }

  /** In place of a branch to `caught`: only who goes there says where it comes from. */
  #leave(depth: number, isConditional: boolean): void {
    const out = this.#out;
    if (isConditional) {
      out.u8(IF);
      out.u8(EMPTY_BLOCK);
    }
    this.#f.laterHere(this.fillSite, this.siteLow, this.sitePoint);
    out.u8(BR);
    out.u32(isConditional ? depth + 1 : depth);
    if (isConditional) out.u8(END);
  }

  /** A number that is asked for the first time in this region. */
  #resolve(token: number): number {
    const numbers = this.#numbers;
    let value: number;
    if (token >= HOLE_TEMPORARY) value = this.#f.newLocal(TEMPORARY_TYPES[Math.floor((token - HOLE_TEMPORARY) / MAX_TEMPORARIES)]!);
    else if (token >= HOLE_VECTOR) return this.#vector(token - HOLE_VECTOR);
    else if (token >= HOLE_REGISTER) return this.#register(token - HOLE_REGISTER);
    else if (token >= HOLE_PAGE) return this.#pageLocal(token - HOLE_PAGE);
    else return this.#field(this.#at.registers[token - HOLE_FIELD]!);
    numbers[token - FIRST_HOLE] = value;
    return value;
  }
  #callee(helper: number): void {
    emitCallee(this.#out, helper, this.#context.helperIndex(helper));
  }
  #pageLocal(which: number): number {
    const local = this.#f.newLocal((which & 1) === 0 ? 'i64' : this.#context.ramIndex);
    if ((which & 1) === 0) this.#pageLocals.push(local);
    this.#pageNumbers[pagePlace(this.#at) * PAGE_LOCALS + which] = local;
    return (this.#numbers[HOLE_PAGE + which - FIRST_HOLE] = local);
  }
  /** Of locals, for a reader of the code. */
  localNames(): Map<number, string> {
    const names = this.#locals.names();
    this.#pageNumbers.forEach((local, at) => {
      if (local !== OPEN) names.set(local, (GPR_NAMES[Math.floor(at / PAGE_LOCALS)] ?? 'other') + PAGE_NAMES[at % PAGE_LOCALS]!);
    });
    return names;
  }
  /** @param register its offset in the record */
  #field(register: number): number {
    return register < GPR_END ? this.#register(register >> 3) : this.#vector(vectorIndex(register));
  }
  #vector(index: number): number {
    return (this.#numbers[HOLE_VECTOR + index - FIRST_HOLE] = this.#locals.vector(index));
  }
  #register(index: number): number {
    return (this.#numbers[HOLE_REGISTER + index - FIRST_HOLE] = this.#locals.register(index));
  }

  #constant(token: number): void {
    const out = this.#out,
      source = sourceOf(token),
      low = this.#low[source]!,
      open = source === SOURCE.IMMEDIATE ? this.#at.openImmediate : undefined;
    if (open) {
      // In place of the constant, whose opcode has been copied.
      out.size--;
      this.#openField(open);
      emitCut(out, cutOf(token));
      return;
    }
    if (source === SOURCE.SLOT) return emitSlot(out, low);
    const moving = source === SOURCE.IMMEDIATE ? this.#at.movingImmediate : undefined;
    if (moving && this.#moving(moving, cutOf(token))) return;
    switch (cutOf(token)) {
      case CUT.I32:
      case CUT.I64_S32:
        return out.s32(low);
      case CUT.I32_U8:
      case CUT.I64_U8:
        return out.s32(low & 0xff);
      case CUT.I32_U16:
      case CUT.I64_U16:
        return out.s32(low & 0xffff);
      case CUT.I32_S8:
      case CUT.I64_S8:
        return out.s32((low << 24) >> 24);
      case CUT.I32_S16:
      case CUT.I64_S16:
        return out.s32((low << 16) >> 16);
      case CUT.I64:
        return out.s64(low, this.#high[source]!);
      default:
        return out.s64(low, 0);
    }
  }

  /** The immediate, in such a way that it can be relocated. @returns false: it is written as any other, and the code holds for this value only */
  #moving(field: OpenField, cut: number): boolean {
    const { immediateLow: low, immediateHigh: high } = this.#at,
      kind = MOVING[cut];
    if (kind === undefined || (kind === RELOCATION.FIELD64 && field.sizeBytes === 4 && high !== low >> 31)) {
      this.#fix(this.#at);
      return false;
    }
    emitMoving(this.#out, field, kind, low, high);
    return true;
  }

  #fix(instruction: Instruction): void {
    if (!instruction.movingImmediate) return;
    this.fixed.push(instruction.movingImmediate);
    instruction.movingImmediate = undefined;
  }

  /** Base, scaled index and displacement of the memory operand, added: what is absent costs nothing. */
  #address(): void {
    const out = this.#out,
      at = this.#at;
    let terms = 0;
    if (at.base !== VCPU.offset.zero) {
      out.localGet(at.base === VCPU.offset.ripPage ? this.#locals.ripPage : this.#register(at.base >> 3));
      terms++;
    }
    if (at.index !== VCPU.offset.zero) {
      out.localGet(this.#register(at.index >> 3));
      if (at.scale !== 0) {
        out.u8(0x42);
        out.s32(at.scale);
        out.u8(0x86);
      }
      if (terms++ > 0) out.u8(0x7c);
    }
    let low = at.openDisplacement ? 0 : at.dispLow,
      high = at.openDisplacement ? 0 : at.dispHigh;
    if (at.openDisplacement) {
      this.#openField(at.openDisplacement);
      if (terms++ > 0) out.u8(0x7c);
    }
    if (at.ripRelative) {
      low += at.offset + at.lengthBytes;
      high = Math.floor(low / 0x1_0000_0000);
      low |= 0;
    }
    if (terms > 0 && low === 0 && high === 0) return;
    out.u8(0x42);
    const { movingDisplacement: moving } = at;
    if (moving) emitMoving(out, moving, RELOCATION.FIELD64, low, high, at.ripRelative ? at.offset + at.lengthBytes : 0);
    else out.s64(low, high);
    if (terms > 0) out.u8(0x7c);
  }

  #openField(field: OpenField): void {
    const { offset } = field,
      page = pageOf(offset);
    emitField(this.#out, field, this.#context.hvaOf(page) + offset - page * PAGE_BYTES, this.#context.ramIndex);
  }

  #registersOf(mask: number): number {
    const at = this.#at;
    let registers = mask & 0xffff;
    if (mask & MASK_FLAGS) registers |= REGISTER_FLAGS;
    if (mask & MASK_ROTATED) registers |= REGISTER_ROTATED;
    for (let i = 0; i < 3; i++) if (mask & (MASK_FIELD << i) && at.registers[i]! < GPR_END) registers |= 1 << (at.registers[i]! >> 3);
    if (mask & MASK_ADDRESS) {
      if (at.base < GPR_END) registers |= 1 << (at.base >> 3);
      if (at.index < GPR_END) registers |= 1 << (at.index >> 3);
    }
    return registers;
  }
  #vectorsOf(mask: number): number {
    let vectors = (mask & MASK_XMM0 ? 1 : 0) | (mask & MASK_MXCSR ? REGISTER_MXCSR : 0);
    for (let i = 0; i < 3; i++) {
      const register = this.#at.registers[i]!;
      if (mask & (MASK_FIELD << i) && isVector(register)) vectors |= 1 << vectorIndex(register);
    }
    return vectors;
  }
}

const isVector = (register: number): boolean => register >= VCPU.offset.vector && register < VECTOR_END;
const vectorIndex = (register: number): number => (register - VCPU.offset.vector) >> VECTOR_SHIFT;

function setDistance(low: Int32Array, high: Int32Array, source: number, distance: number): void {
  low[source] = distance;
  high[source] = Math.floor(distance / 0x1_0000_0000);
}
