/**
 * What an instruction's declaration is written against. Two stages are subclasses: OpenEmit (interp/) reads operands through the micro-op
 * record and makes interpreter handlers; KnownEmit (jit/) has them at hand. Everything here is common to both and cannot tell which it is.
 *
 * Values carry their width (`size`, bytes); 8- and 16-bit integers are kept zero-extended in an i32, addresses are i64.
 * Read, compute, then commit: whatever can fault comes before the first architectural write.
 * Implements: docs/internals.md "Calls and faults". Runs on: built ahead of time (interpreter) or on the vCPU's thread (JIT).
 */
import { HVA_RAM, TLB_ADDEND, TLB_READ, TLB_WRITE } from '../base/memory-map.ts';
import {
  FLAG_ADC,
  FLAG_ADD,
  FLAG_DEC,
  FLAG_IMUL,
  FLAG_INC,
  FLAG_MUL,
  FLAG_RAW,
  FLAG_ROTATED_LEFT,
  FLAG_ROTATED_RIGHT,
  FLAG_SAR,
  FLAG_SBB,
  FLAG_SHL,
  FLAG_SHR,
  FLAG_SUB,
} from './flag-kinds.ts';
import { RAM_MEMORY, RAM_START } from './guest-ram.ts';
import type { RamIndex } from './guest-ram.ts';
import { HELPERS } from './helpers.ts';
import type { HelperName } from './helpers.ts';
import { SEG, VCPU } from './state.ts';
import { CLOBBERS_ALL } from './wasm/function.ts';
import type { Failure, FunctionBuilder, Label, Node } from './wasm/function.ts';
import type { ComparisonOp, IntegerOp, LaneOp, LoadKind, PlainOp, StoreKind, Type } from './wasm/opcodes.ts';

export type Value = Node;
export type Size = 1 | 2 | 4 | 8;
/** Bytes of a memory or register access; 10 is an x87 register, reached by its address only. */
export type AccessSize = Size | 16;

export const FLAG_KINDS = {
  sub: FLAG_SUB,
  add: FLAG_ADD,
  adc: FLAG_ADC,
  sbb: FLAG_SBB,
  inc: FLAG_INC,
  dec: FLAG_DEC,
  shl: FLAG_SHL,
  shr: FLAG_SHR,
  sar: FLAG_SAR,
  mul: FLAG_MUL,
  raw: FLAG_RAW,
  imul: FLAG_IMUL,
} as const;
export type FlagKind = keyof typeof FLAG_KINDS;
export const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7;
export type SegmentName = 'ES' | 'CS' | 'SS' | 'DS' | 'FS' | 'GS';

/** Alias classes of state in memory 0. */
export const ALIAS_GPR = 1,
  ALIAS_FLAGS = 2,
  ALIAS_VECTOR = 3,
  ALIAS_STATE = 4;

/** Locals that hold where the accesses of a memory operand last went: the page's address, or NO_PAGE, and the addend of its TLB entry. */
export interface RememberedPage {
  readonly page: number;
  readonly addend: number;
}
/** What is known of an access. */
export interface Place {
  /** A misaligned one raises #GP. */
  readonly aligned?: boolean;
  readonly remembered?: RememberedPage | undefined;
  /** A load becomes a v128 with zero above what is loaded: of 4, 8 or 16 bytes. */
  readonly alone?: boolean;
}
const ANYWHERE: Place = {};
/** No address that has been cut to its page and its alignment equals it. */
export const NO_PAGE = 0x800;

export interface Operand {
  /** Bytes; 0 where only the address counts. */
  readonly size: number;
  readonly isMemory: boolean;
  /** An integer value for sizes 1 to 8, a v128 for 16. */
  read(): Value;
  write(value: Value): void;
  /** Effective address (i64), without the segment's base. */
  address(): Value;
  /** Linear address (i64) of [address, address + sizeBytes), checked against the segment where the mode does. */
  linear(sizeBytes: number, access: 'read' | 'write'): Value;
  /** Segment register number (i32) of a memory operand. */
  segment(): Value;
  /** Register number (i32): a segment, control or debug register, a place on the x87 stack. */
  number(): Value;
  /** Byte offset (i32) of a register in the vCPU record. */
  offset(): Value;
  /** A v128 with the operand in its low part, zero above. */
  readAlone(): Value;
  /** All of an XMM register, of which the operand may be the low part. */
  whole(): Value;
  /** Address in memory 0 (i32) where a helper finds the XMM register. */
  recorded(): Value;
  /** The same for a helper that writes the register there, within `use`. */
  throughRecord(use: (address: Value) => void): void;
  /** The memory operand `bytes` (an i64) further on. */
  displaced(bytes: Value): Operand;
}

/** The form of an operand, without its registers and numbers: what a handler is specialised on. */
export type Shape =
  | { readonly kind: 'gpr' | 'imm' | 'stringDestination'; readonly size: Size }
  | {
      readonly kind: 'mem';
      readonly size: number;
      readonly read: boolean;
      readonly write: boolean;
      readonly aligned: boolean;
      readonly locked: boolean;
    }
  | { readonly kind: 'vector' | 'mmx'; readonly size: number }
  | { readonly kind: 'rel' | 'number' | 'far' };

const log2 = (size: number): number => 31 - Math.clz32(size);
const GUEST_LOAD: Readonly<Record<Size, LoadKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64' };
const GUEST_STORE: Readonly<Record<Size, StoreKind>> = { 1: 'u8', 2: 'u16', 4: 'i32', 8: 'i64' };
const ALONE_LOAD = { 4: 'v32zero', 8: 'v64zero' } as const;
const ZEROS: readonly number[] = new Array<number>(16).fill(0);
/** SUB's conditions by cc >> 1: comparison, its inverse, signed. */
const SUB_COMPARE: Readonly<Record<number, readonly [ComparisonOp, ComparisonOp, boolean]>> = {
  1: ['lt_u', 'ge_u', false],
  2: ['eq', 'ne', false],
  3: ['le_u', 'gt_u', false],
  6: ['lt_s', 'ge_s', true],
  7: ['le_s', 'gt_s', true],
};
const CF = 1,
  PF = 4,
  ZF = 0x40,
  SF = 0x80,
  OF = 0x800;
const MXCSR_PE = 0x20,
  MXCSR_MASKS = 0x1f80,
  MXCSR_RC = 0x6000;
/** What `whenFpDefault` looks at in MXCSR, and how it must be. */
export const MXCSR_LOOKED_AT = MXCSR_RC | MXCSR_MASKS | MXCSR_PE,
  MXCSR_WANTED = MXCSR_MASKS | MXCSR_PE;
const GP = 13;

export abstract class Emit {
  readonly f: FunctionBuilder;
  /** What an access takes as its place in memory 1: see guest-ram.ts. */
  readonly ramIndex: RamIndex;
  readonly #ram: number;
  readonly #ramStart: number;
  #again: Label | undefined;
  /** Memory has been written: an indirect CALL finds only then that its target is not canonical. */
  #stored = false;

  constructor(f: FunctionBuilder, ramIndex: RamIndex) {
    this.f = f;
    this.ramIndex = ramIndex;
    this.#ram = RAM_MEMORY[ramIndex];
    this.#ramStart = RAM_START[ramIndex];
  }

  // --- what the stages decide ---

  /** Bytes of the operand size attribute: 2, 4 or 8. */
  abstract readonly operandSize: Size;
  /** Bytes of the address size attribute: 2, 4 or 8. */
  abstract readonly addressSize: Size;
  /** 64-bit mode, as opposed to legacy and compatibility modes. */
  abstract readonly long: boolean;
  /** Does anyone read the flags that this instruction sets? */
  abstract readonly flagsWanted: boolean;
  /** The vCPU record's address. */
  abstract vcpu(): Value;
  /** A register the instruction implies. */
  abstract register(index: number, size: Size): Operand;
  /** A whole XMM register the instruction implies. */
  abstract vector(index: number): Operand;
  abstract rip(): Value;
  abstract nextRip(): Value;
  /** Instructions left of this execution, this one among them: `retired` minus it counts those before this one. */
  abstract instructionsLeft(): Value;
  /** @param kind or the whole op word, where it is chosen at run time. */
  abstract setFlags(kind: FlagKind | Value, p: Value, q: Value, count?: number, r?: Value): void;
  abstract condition(cc: number): Value;
  /** The present record as [op, p, q, r], op an i32, the others i64. */
  abstract record(): readonly [Value, Value, Value, Value];
  /** Keep the record, but let CF and OF come from the result of a rotate (an i64, sign-extended). */
  abstract overlayFlags(bits: number, result: Value): void;
  abstract jump(target: Operand): void;
  abstract branch(condition: Value, target: Operand): void;
  /** The return address is already pushed. */
  abstract callTo(target: Operand, rip: Value): void;
  abstract returnTo(rip: Value): void;
  /** An indirect jump. */
  abstract jumpTo(rip: Value): void;
  abstract helperIndex(name: HelperName): number;
  abstract readonly caught: Label;
  /** Segment register number (i32) of the instruction's memory operand, as encoded or overridden. */
  abstract dataSegment(): Value;
  /** Its base (i64), in 64-bit mode: 0 except for FS and GS. */
  protected abstract dataSegmentBase(): Value;
  /** Base, scaled index and displacement of the memory operand, not yet cut to the address size. */
  protected abstract encodedAddress(): Value;
  /** The slow way of a store has returned: it may have changed code. */
  protected afterSlowStore(): void {}
  /** The slow way of any access has returned: it may have changed the TLB. */
  protected afterSlowAccess(): void {}
  /**
   * Where an access goes that the TLB does not serve, in place of the slow way, and who raises: the instruction is begun anew there, so nothing
   * may have been written.
   */
  protected missed(): Label | undefined {
    return undefined;
  }
  /** Where the stage remembers the page of the memory operand. */
  protected rememberedPage(_access: 'read' | 'write'): RememberedPage | undefined {
    return undefined;
  }
  /** Where the TLB has an address, pinned: with `tlbField` as offset, that is a place in memory 0. */
  protected abstract tlbEntry(va: Value): Value;
  /** @param field TLB_* */
  protected tlbField(field: number): number {
    return field;
  }
  /** What the run loop must see before a helper that asks for rip runs. */
  protected abstract publishRip(): void;
  /** Where the stage keeps registers in locals, it writes them back before and reads them again after a helper. */
  protected abstract aroundHelper(name: HelperName, call: () => void): void;

  // --- operands ---

  /** In a LOCKed instruction: where to start again when memory changed meanwhile. */
  lockedLoop(again: Label): void {
    this.#again = again;
  }

  /** ES:rDI; no segment override. */
  protected stringDestination(size: Size): Operand {
    const linear = (sizeBytes: number, access: 'read' | 'write'): Value => this.linearOf('ES', this.counter(RDI), sizeBytes, access),
      es = (): Value => this.f.i32(SEG.ES);
    return {
      ...this.plainOperand(size),
      isMemory: true,
      linear,
      segment: es,
      read: () => this.load(linear(size, 'read'), size, es()),
      write: (value) => this.store(linear(size, 'write'), value, es()),
    };
  }
  protected plainOperand(size: number): Operand {
    const never = (): never => {
      throw new Error('this operand has no such property');
    };
    return {
      size,
      isMemory: false,
      read: never,
      write: never,
      address: never,
      linear: never,
      segment: never,
      number: never,
      offset: never,
      readAlone: never,
      whole: never,
      recorded: never,
      throughRecord: never,
      displaced: never,
    };
  }
  protected memoryOperand(shape: Shape & { kind: 'mem' }, displacement?: Value): Operand {
    const f = this.f,
      size = shape.size as AccessSize;
    const effective = (): Value => {
      const encoded = this.encodedAddress(),
        sum = displacement ? f.op('add', encoded, displacement) : encoded;
      return this.addressSize === 8 ? sum : f.op('and', sum, f.i64(this.addressSize === 4 ? 0xffff_ffff : 0xffff));
    };
    const segment = (): Value => this.dataSegment();
    const linear = (sizeBytes: number, access: 'read' | 'write'): Value => {
      if (this.long) return f.op('add', effective(), this.dataSegmentBase());
      return this.call('legacyAddress', segment(), effective(), f.i32(sizeBytes), f.i32(access === 'write' ? 1 : 0));
    };
    const place = (access: 'read' | 'write'): Place => ({ aligned: shape.aligned, remembered: this.rememberedPage(access) });
    let host: Value | undefined, old: Value | undefined;
    return {
      ...this.plainOperand(size),
      size,
      isMemory: true,
      address: effective,
      linear,
      segment,
      readAlone: () => this.load(linear(size, 'read'), size, segment(), { ...place('read'), alone: true }),
      displaced: (bytes) => this.memoryOperand(shape, f.pin(bytes)),
      read: () => {
        if (!shape.write) return this.load(linear(size, 'read'), size, segment(), place('read'));
        host = this.probe(linear(size, 'write'), size, segment(), place('write'));
        old = this.loadHost(host, size);
        return old;
      },
      write: (value) => {
        if (!host) this.store(linear(size, 'write'), value, segment(), place('write'));
        else if (shape.locked && this.#again) this.storeLocked(host, old!, value, this.#again);
        else this.storeHost(host, value);
      },
    };
  }

  /** Linear address of an implied access that a segment prefix overrides (XLAT, MASKMOVDQU, MONITOR); default DS. */
  dataLinear(offset: Value, sizeBytes: number, access: 'read' | 'write'): Value {
    const f = this.f;
    if (this.long) return f.op('add', offset, this.dataSegmentBase());
    return this.call('legacyAddress', this.dataSegment(), offset, f.i32(sizeBytes), f.i32(access === 'write' ? 1 : 0));
  }

  // --- integers ---

  constant(value: number | bigint, size: Size): Value {
    if (size === 8) return this.f.i64(value);
    const node = this.f.i32(Number(value) & (size === 4 ? -1 : size === 2 ? 0xffff : 0xff));
    node.size = size;
    return node;
  }
  add(x: Value, y: Value): Value {
    return this.#sized(this.f.op('add', x, y), x.size);
  }
  sub(x: Value, y: Value): Value {
    return this.#sized(this.f.op('sub', x, y), x.size);
  }
  mul(x: Value, y: Value): Value {
    return this.#sized(this.f.op('mul', x, y), x.size);
  }
  and(x: Value, y: Value): Value {
    return this.#pure(this.f.op('and', x, y), x.size);
  }
  or(x: Value, y: Value): Value {
    return this.#pure(this.f.op('or', x, y), x.size);
  }
  xor(x: Value, y: Value): Value {
    return this.#pure(this.f.op('xor', x, y), x.size);
  }
  not(x: Value): Value {
    return this.#sized(this.f.op('xor', x, this.constant(-1, x.size as Size)), x.size);
  }
  negate(x: Value): Value {
    return this.sub(this.constant(0, x.size as Size), x);
  }
  /** Counts have the same wasm type as x and are below its width there. */
  shl(x: Value, n: Value): Value {
    return this.#sized(this.f.op('shl', x, n), x.size);
  }
  shr(x: Value, n: Value): Value {
    return this.#pure(this.f.op('shr_u', x, n), x.size);
  }
  sar(x: Value, n: Value): Value {
    return this.#sized(this.f.op('shr_s', this.signed(x), n), x.size);
  }
  rotate(left: boolean, x: Value, n: Value): Value {
    if (x.size >= 4) return this.#pure(this.f.op(left ? 'rotl' : 'rotr', x, n), x.size);
    const bits = x.size * 8,
      count = this.f.op('and', n, this.f.i32(bits - 1));
    const other = this.f.op('and', this.f.op('sub', this.f.i32(bits), count), this.f.i32(bits - 1));
    return this.#sized(this.f.op('or', this.f.op('shl', x, left ? count : other), this.f.op('shr_u', x, left ? other : count)), x.size);
  }
  /** wasm's own operation on the full i32 or i64; the result keeps x's size and is not masked. */
  integer(name: IntegerOp, x: Value, y?: Value): Value {
    return this.#pure(this.f.op(name, x, y), x.size);
  }
  /** Unsigned, or on values already sign-extended. */
  compare(name: ComparisonOp, x: Value, y?: Value): Value {
    return this.f.compare(name, x, y);
  }
  select(condition: Value, yes: Value, no: Value): Value {
    return this.#pure(this.f.select(condition, yes, no), yes.size);
  }
  /** Sign-extended within its wasm type. */
  signed(x: Value): Value {
    if (x.size >= 4) return x;
    return this.#pure(this.f.signExtend(x, x.size === 1 ? 8 : 16), x.size);
  }
  signedWide(x: Value): Value {
    return this.f.widen(this.signed(x), true);
  }
  resize(x: Value, size: Size, signed = false): Value {
    if (size === x.size) return x;
    if (size < x.size) return this.#sized(this.f.resized(this.f.wrap(x), size), size);
    const extended = signed ? this.signed(x) : x;
    return size === 8 ? this.#pure(this.f.widen(extended, signed), 8) : this.#sized(this.f.resized(extended, size), size);
  }
  signBit(x: Value): Value {
    return this.f.compare('lt_s', this.signed(x), this.constant(0, x.size as Size));
  }
  isZero(x: Value): Value {
    return this.f.compare('eqz', x);
  }
  /** Both arms are built; only one runs. */
  if(condition: Value, yes: () => void, no?: () => void, hint?: 'likely' | 'unlikely'): void {
    this.f.if(condition, yes, no, hint);
  }
  /** Evaluate now, whatever happens later. */
  pin(x: Value): Value {
    return this.f.pin(x);
  }
  /** A variable for loops and arms. */
  variable(type: Type, initial?: Value): { get(): Value; set(value: Value): void } {
    const local = this.f.newLocal(type);
    if (initial) this.f.set(local, initial);
    return { get: () => this.f.pin(this.f.get(local, type, 1000 + local)), set: (value) => this.f.set(local, value, 1000 + local) };
  }

  // --- floating point and SIMD, by their wasm names ---

  plain(name: PlainOp, ...args: Value[]): Value {
    return this.f.plain(name, ...args);
  }
  lane(name: LaneOp, lane: number, ...args: Value[]): Value {
    return this.f.lane(name, lane, ...args);
  }
  shuffle(x: Value, y: Value, lanes: readonly number[]): Value {
    return this.f.shuffle(x, y, lanes);
  }
  v128(bytes: readonly number[]): Value {
    return this.f.v128(bytes);
  }

  /** A v128 with an integer of up to 64 bits in its low part, zero above. */
  alone(value: Value): Value {
    const f = this.f;
    return f.lane('f64x2.replace_lane', 0, f.v128(ZEROS), f.plain('f64.reinterpret_i64', f.widen(value)));
  }

  /** `fast` gives up by `rare(condition)` before its first write; then `exact` runs. */
  attempt(fast: (rare: (condition: Value) => void) => void, exact: () => void): void {
    const f = this.f;
    f.block((done) => {
      f.block((giveUp) => {
        fast((condition) => f.brIf(condition, giveUp, 'unlikely'));
        f.br(done);
      });
      exact();
    });
  }
  /**
   * For wasm's own arithmetic, which rounds to nearest and shows no flags: `fast` runs while MXCSR rounds to nearest, masks every exception
   * and has PE already. DAZ and FTZ may be set: `fast` must give up (`rare`) where an operand or a result is a denormal, besides NaNs and
   * whatever else raises more than PE (SDM vol. 1 10.2.3, 11.5.2).
   */
  whenFpDefault(fast: (rare: (condition: Value) => void) => void, exact: () => void): void {
    this.attempt((rare) => {
      rare(this.fpIsSpecial());
      fast(rare);
    }, exact);
  }

  /** i32: other than 0 unless MXCSR is as whenFpDefault wants it. */
  protected fpIsSpecial(): Value {
    const f = this.f,
      bits = f.op('and', this.field('mxcsr', 'i32'), f.i32(MXCSR_LOOKED_AT));
    return f.op('xor', bits, f.i32(MXCSR_WANTED));
  }

  // --- the vCPU record ---

  field(name: keyof typeof VCPU.offset, kind: LoadKind, index = 0, alias = ALIAS_STATE): Value {
    return this.f.load(kind, this.vcpu(), VCPU.offset[name] + index * VCPU.fields[name].strideBytes, alias);
  }
  setField(name: keyof typeof VCPU.offset, kind: StoreKind, value: Value, index = 0, alias = ALIAS_STATE): void {
    this.f.store(kind, this.vcpu(), value, VCPU.offset[name] + index * VCPU.fields[name].strideBytes, alias);
  }
  /** Address in memory 0 (i32) of a field. */
  fieldAddress(name: keyof typeof VCPU.offset, index = 0): Value {
    return this.f.op('add', this.vcpu(), this.f.i32(VCPU.offset[name] + index * VCPU.fields[name].strideBytes));
  }
  loadAt(address: Value, kind: LoadKind, offset = 0): Value {
    return this.f.pin(this.f.load(kind, address, offset, ALIAS_STATE));
  }

  // --- helpers ---

  /** Call a helper of cpu/helpers.ts now; its first argument, the vCPU, is implied. A fault it raises ends the instruction. */
  call(name: HelperName, ...args: Value[]): Value {
    const helper = HELPERS[name];
    if (args.length !== helper.parameters.length) throw new Error(`${name} takes ${helper.parameters.length} arguments`);
    const failure = 'faults' in helper && helper.faults ? this.#failure() : undefined;
    if ('rip' in helper && helper.rip) this.publishRip();
    let result: Value | undefined;
    this.aroundHelper(name, () => {
      const all = [this.vcpu(), ...args];
      if ('result' in helper && helper.result)
        result = this.f.callNow(this.helperIndex(name), helper.result as Type, all, CLOBBERS_ALL, failure);
      else this.f.callVoid(this.helperIndex(name), all, CLOBBERS_ALL, failure);
    });
    return result ?? this.f.i32(0);
  }
  #failure(): Failure {
    return {
      label: this.caught,
      test: (out) => {
        out.u8(0x20);
        out.u32(0);
        out.u8(0x28);
        out.u8(2);
        out.u32(VCPU.offset.fault);
      },
    };
  }
  /** Raise an exception with error code 0, or without one. Nothing after it runs. */
  raise(vector: number, error: 'error' | 'no error' = 'no error'): void {
    const missed = this.missed();
    if (missed && !this.#stored) this.f.br(missed);
    else this.call('raiseFault', this.f.i32(vector), this.f.i32(error === 'error' ? 1 : 0), this.f.i32(0));
  }

  // --- guest memory: the inline TLB; a miss, a fault and everything else is the slow path ---

  /**
   * Read [linear, linear + size) now.
   * @param segment number (i32) that decides between #SS and #GP.
   */
  load(linear: Value, size: AccessSize, segment: Value, place: Place = ANYWHERE): Value {
    const f = this.f,
      { alone } = place,
      va = f.pin(linear),
      inVector = size === 16 || alone,
      kind = size === 16 ? 'v128' : alone ? ALONE_LOAD[size as 4 | 8] : GUEST_LOAD[size],
      local = f.newLocal(inVector ? 'v128' : size === 8 ? 'i64' : 'i32');
    this.#ifInTlb(
      va,
      size,
      TLB_READ,
      place,
      (host) => f.set(local, f.load(kind, host, this.#ramStart, 0, this.#ram)),
      () => {
        const failure = this.#failure(),
          args = [this.vcpu(), va, segment];
        if (size === 16) {
          f.callVoid(this.helperIndex('slowLoad128'), args, CLOBBERS_ALL, failure);
          f.set(local, f.load('v128', this.vcpu(), VCPU.offset.scratch));
        } else {
          const value = f.callNow(this.helperIndex(`slowLoad${size * 8}` as HelperName), size === 8 ? 'i64' : 'i32', args, 0, failure);
          f.set(local, alone ? this.alone(value) : value);
        }
        this.afterSlowAccess();
      },
    );
    return inVector ? f.get(local, 'v128') : this.#pure(f.get(local, size === 8 ? 'i64' : 'i32'), size);
  }

  /** Write value.size bytes at `linear`. */
  store(linear: Value, value: Value, segment: Value, place: Place = ANYWHERE): void {
    this.#stored = true;
    const f = this.f,
      va = f.pin(linear),
      data = f.pin(f.inVector(value)),
      size = value.size as AccessSize,
      isFloat = data.type === 'f64' || data.type === 'f32';
    this.#ifInTlb(
      va,
      size,
      TLB_WRITE,
      place,
      (host) =>
        f.store(
          size === 16 ? 'v128' : isFloat ? (data.type as 'f32' | 'f64') : GUEST_STORE[size],
          host,
          data,
          this.#ramStart,
          0,
          this.#ram,
        ),
      () => {
        const failure = this.#failure(),
          bits = isFloat ? f.plain(size === 8 ? 'i64.reinterpret_f64' : 'i32.reinterpret_f32', data) : data;
        if (size === 16) {
          f.store('v128', this.vcpu(), data, VCPU.offset.scratch);
          f.callVoid(this.helperIndex('slowStore128'), [this.vcpu(), va, segment], 0, failure);
        } else f.callVoid(this.helperIndex(`slowStore${size * 8}` as HelperName), [this.vcpu(), va, bits, segment], 0, failure);
        this.afterSlowStore();
        this.afterSlowAccess();
      },
    );
  }

  /** For read-modify-write: a place in memory 1 that holds [linear, linear + size), checked for writing. */
  probe(linear: Value, size: AccessSize, segment: Value, place: Place = ANYWHERE): Value {
    const f = this.f,
      va = f.pin(linear),
      host = f.newLocal(this.ramIndex);
    this.#ifInTlb(
      va,
      size,
      TLB_WRITE,
      place,
      (at) => f.set(host, at),
      () => {
        const hva = f.callNow(this.helperIndex('slowProbe'), 'i64', [this.vcpu(), va, f.i32(size), segment], 0, this.#failure());
        f.set(host, this.#indexOf(hva));
        this.afterSlowAccess();
      },
    );
    return f.get(host, this.ramIndex);
  }
  loadHost(host: Value, size: AccessSize): Value {
    return this.f.pin(this.#pure(this.f.load(size === 16 ? 'v128' : GUEST_LOAD[size], host, this.#ramStart, 0, this.#ram), size));
  }
  storeHost(host: Value, value: Value): void {
    this.#stored = true;
    const f = this.f,
      size = value.size as AccessSize;
    f.store(size === 16 ? 'v128' : GUEST_STORE[size], host, value, this.#ramStart, 0, this.#ram);
    // Only the slow way gives a bounce place.
    if (this.missed()) return;
    f.if(
      f.compare('lt_u', host, this.#index(HVA_RAM)),
      () => {
        f.callVoid(this.helperIndex('commitBounce'), [this.vcpu()], CLOBBERS_ALL, this.#failure());
        this.afterSlowStore();
        this.afterSlowAccess();
      },
      undefined,
      'unlikely',
    );
  }
  /**
   * Store if memory still holds `old`; else go back to `again`. A misaligned place gets a plain store: wasm atomics must be aligned, and
   * a split lock is exact as long as one vCPU runs.
   */
  storeLocked(host: Value, old: Value, value: Value, again: Label): void {
    const f = this.f,
      size = value.size as AccessSize;
    if (size === 16) {
      this.storeHost(host, value);
      return;
    }
    const exchange = (): void => {
        const seen = f.compareExchange(
          size === 1 ? 'u8' : size === 2 ? 'u16' : size === 4 ? 'i32' : 'i64',
          host,
          old,
          value,
          this.#ramStart,
          this.#ram,
        );
        f.brIf(f.compare('ne', seen, old), again);
      },
      inMemory = (): void => {
        if (size === 1) exchange();
        else
          f.if(
            f.wrap(f.op('and', host, this.#index(size - 1))),
            () => f.store(GUEST_STORE[size], host, value, this.#ramStart, 0, this.#ram),
            exchange,
          );
      };
    if (this.missed()) inMemory();
    else f.if(f.compare('lt_u', host, this.#index(HVA_RAM)), () => this.storeHost(host, value), inMemory);
  }

  /** Linear address of an implied access (stack, strings): `offset` is an i64 already within the address size. */
  linearOf(segment: SegmentName, offset: Value, sizeBytes: number, access: 'read' | 'write'): Value {
    const number = SEG[segment];
    if (!this.long)
      return this.call('legacyAddress', this.f.i32(number), offset, this.f.i32(sizeBytes), this.f.i32(access === 'write' ? 1 : 0));
    if (number < SEG.FS) return offset;
    return this.f.op('add', offset, this.field('segBase', 'i64', number));
  }

  // --- the stack ---

  /** rSP as an address (i64). */
  stackPointer(): Value {
    const rsp = this.register(RSP, 8).read();
    return this.long ? rsp : this.f.op('and', rsp, this.field('stackMask', 'i64'));
  }
  /** @param value an i64; outside 64-bit mode only the bits of the stack's width are replaced. */
  setStackPointer(value: Value): void {
    const f = this.f,
      rsp = this.register(RSP, 8);
    if (this.long) {
      rsp.write(value);
      return;
    }
    const mask = f.pin(this.field('stackMask', 'i64'));
    rsp.write(f.op('or', f.op('and', rsp.read(), f.op('xor', mask, f.i64(-1))), f.op('and', value, mask)));
  }
  /** Linear address `delta` bytes from the stack pointer. */
  stackAddress(delta: number, sizeBytes: number, access: 'read' | 'write'): Value {
    const f = this.f,
      at = f.op('add', this.stackPointer(), f.i64(delta));
    return this.linearOf('SS', this.long ? at : f.op('and', at, this.field('stackMask', 'i64')), sizeBytes, access);
  }
  push(value: Value): void {
    const size = value.size,
      ss = this.f.i32(SEG.SS),
      data = this.pin(value);
    this.store(this.stackAddress(-size, size, 'write'), data, ss); // on a fault rSP is still the old one
    this.setStackPointer(this.f.op('add', this.stackPointer(), this.f.i64(-size)));
  }
  /** The value at the top; the pointer is moved by `dropStack`, after whatever may still fault. */
  top(size: Size): Value {
    return this.load(this.stackAddress(0, size, 'read'), size, this.f.i32(SEG.SS));
  }
  dropStack(bytes: number): void {
    this.setStackPointer(this.f.op('add', this.stackPointer(), this.f.i64(bytes)));
  }

  // --- strings ---

  /** rSI, rDI or rCX at the address size, as an i64. */
  counter(index: number): Value {
    return this.resize(this.register(index, this.addressSize).read(), 8);
  }
  advance(index: number, step: Value): void {
    const register = this.register(index, this.addressSize);
    register.write(this.add(register.read(), this.resize(step, this.addressSize)));
  }
  /** Plus the size, or minus it when DF is set; i64. */
  stringStep(sizeBytes: number): Value {
    const df = this.f.op('and', this.field('rflags', 'i64'), this.f.i64(0x400));
    return this.f.select(this.f.compare('eqz', df), this.f.i64(sizeBytes), this.f.i64(-sizeBytes));
  }

  // --- flags ---

  setFlagsLater(kind: FlagKind | 'logic', x: Value, y: Value, result: Value): void {
    if (kind === 'sub') this.setFlags('sub', x, y);
    else if (kind === 'logic') this.setFlags('sub', result, this.constant(0, result.size as Size));
    else this.setFlags(kind, result, y);
  }
  /** CF is the last bit shifted out: the record keeps the old value and the count. A count of 0 keeps all flags. */
  setShiftFlags(kind: 'shl' | 'shr' | 'sar', result: Value, old: Value, count: Value): void {
    if (!this.flagsWanted) return;
    const f = this.f,
      base = f.i32(this.flagOp(kind, result.size)),
      n = f.wrap(count);
    if (n.isConstant()) {
      if (n.low !== 0) this.setFlags(kind, result, old, n.low);
      return;
    }
    const [op, p, q] = this.record(),
      zero = f.pin(f.compare('eqz', n));
    const r = f.select(zero, op, f.op('or', base, f.op('shl', n, f.i32(16))));
    this.setFlags(r, f.select(zero, p, f.widen(result)), f.select(zero, q, f.widen(old)));
  }
  setRotateFlags(left: boolean, result: Value, count: Value): void {
    if (!this.flagsWanted) return;
    const f = this.f,
      bits = (left ? FLAG_ROTATED_LEFT : FLAG_ROTATED_RIGHT) | (log2(result.size) << 10),
      n = f.wrap(count);
    if (n.isConstant()) {
      if (n.low !== 0) this.overlayFlags(bits, f.widen(result));
      return;
    }
    const [op, p, q, r] = this.record(),
      zero = f.pin(f.compare('eqz', n));
    this.setFlags(f.select(zero, op, f.op('or', f.op('and', op, f.i32(~0xf00)), f.i32(bits))), p, q, 0, f.select(zero, r, f.widen(result)));
  }
  flagOp(kind: FlagKind, size: number): number {
    return FLAG_KINDS[kind] * 4 + log2(size);
  }
  carry(): Value {
    return this.condition(2);
  }
  /** CF PF AF ZF SF OF at their places, an i32. */
  eflags(): Value {
    const [op, p, q, r] = this.record();
    return this.f.callNow(this.helperIndex('computeFlags'), 'i32', [op, p, q, r], 0);
  }
  /** Set CF PF AF ZF SF OF from an i32; other bits must be 0. */
  setEflags(bits: Value): void {
    this.setFlags(this.f.i32(this.flagOp('raw', 4)), this.f.i64(0), this.f.widen(bits));
  }

  /** A condition on the flags of cmp x, y, when it needs no flags at all. */
  protected subCondition(cc: number, x: Value, y: Value): Value | undefined {
    const row = SUB_COMPARE[cc >> 1];
    if (row) return this.f.compare(cc & 1 ? row[1] : row[0], row[2] ? this.signed(x) : x, row[2] ? this.signed(y) : y);
    if (cc >> 1 === 4 && y.isConstant(0)) return this.f.compare(cc & 1 ? 'ge_s' : 'lt_s', this.signed(x), y);
    return undefined;
  }
  protected eflagsCondition(cc: number, eflags: Value): Value {
    const f = this.f,
      bit = (mask: number): Value => f.compare('ne', f.op('and', eflags, f.i32(mask)), f.i32(0));
    const less = (): Value => f.op('and', f.op('xor', f.op('shr_u', eflags, f.i32(7)), f.op('shr_u', eflags, f.i32(11))), f.i32(1));
    const value = [
      () => bit(OF),
      () => bit(CF),
      () => bit(ZF),
      () => bit(CF | ZF),
      () => bit(SF),
      () => bit(PF),
      less,
      () => f.op('or', less(), bit(ZF)),
    ][cc >> 1]!();
    return cc & 1 ? f.compare('eqz', value) : value;
  }

  /** A condition on a record whose kind is known at run time only. The values are pinned. */
  protected conditionOf(cc: number, op: Value, p: Value, q: Value, r: () => Value): Value {
    const f = this.f;
    // Nodes are not shared between the arms of a choice: each asks anew.
    const general = (): Value => this.eflagsCondition(cc, f.call(this.helperIndex('computeFlags'), 'i32', [op, p, q, r()]));
    const kind = (): Value => f.op('and', op, f.i32(0xfc));
    // Zero and sign of every other kind but RAW are those of p; neither is changed by a rotate laid over the record.
    const test = cc >> 1,
      ofResult = test === 2 || test === 4;
    // A sign is where the size of the record puts it: 64 - 8 * size bits further up it is that of an i64.
    const upwards = (x: Value): Value => f.op('shl', x, f.widen(f.op('sub', f.i32(64), f.op('shl', f.i32(8), f.op('and', op, f.i32(3))))));
    const ofValue = (): Value =>
      test === 2 ? f.compare(cc & 1 ? 'ne' : 'eq', p, f.i64(0)) : f.compare(cc & 1 ? 'ge_s' : 'lt_s', upwards(p), f.i64(0));
    // (kind - 1) below RAW - 1, unsigned: neither SUB nor RAW.
    const rest = ofResult
      ? f.choose(f.compare('lt_u', f.op('sub', kind(), f.i32(4)), f.i32((FLAG_RAW << 2) - 4)), ofValue(), general())
      : general();
    // The carry of ADD is p < y, as that of SUB is x < y.
    const plain = test === 1 ? (FLAG_ADD + 1) << 2 : (FLAG_SUB + 1) << 2;
    const direct = test < 4 ? this.subCondition(cc, p, q) : this.subCondition(cc, upwards(p), upwards(q));
    return f.pin(direct ? f.choose(f.compare('lt_u', op, f.i32(plain)), direct, rest) : rest);
  }

  // --- inside ---

  #pure(node: Value, size: number): Value {
    return this.f.resized(node, size);
  }
  #index(value: number): Value {
    return this.ramIndex === 'i32' ? this.f.i32(value) : this.f.i64(value);
  }
  /** An i64 as a place in memory 1, in which it is: cutting it loses nothing. */
  #indexOf(hva: Value): Value {
    return this.ramIndex === 'i32' ? this.f.wrap(hva) : hva;
  }
  /** The parts of a sum are cut, and not the sum: engines leave that out before an addition. @param addend of the page's TLB entry */
  #place(va: Value, addend: Value): Value {
    return this.f.op('add', this.#indexOf(va), addend);
  }
  #addend(entry: Value): Value {
    return this.f.load(this.ramIndex, entry, this.tlbField(TLB_ADDEND));
  }
  #sized(node: Value, size: number): Value {
    return this.f.resized(size < 4 ? this.f.op('and', node, this.f.i32(size === 1 ? 0xff : 0xffff)) : node, size);
  }
  /**
   * `hit` gets the place in memory 1, if the TLB has it: once, or twice where the page is remembered. What is remembered serves aligned
   * accesses, which cross no page. Where an access must be aligned, a misaligned one misses, so that the rule costs nothing but there.
   */
  #ifInTlb(
    va: Value,
    size: AccessSize,
    tag: number,
    { remembered, aligned }: Place,
    hit: (host: Value) => void,
    whereNot: () => void,
  ): void {
    const f = this.f,
      alignedPage = (): Value => f.op('and', va, f.i64(-4096 | (size - 1))),
      lastPage = (): Value => f.op('and', f.op('add', va, f.i64(size - 1)), f.i64(-4096)),
      // The entry holds the page of the first and of the last byte. Non-canonical addresses never match.
      hits = (entry: Value): Value => f.compare('eq', f.load('i64', entry, this.tlbField(tag)), aligned ? alignedPage() : lastPage()),
      miss = (): void => {
        if (aligned) f.if(f.wrap(f.op('and', va, f.i64(size - 1))), () => this.raise(GP, 'error'));
        whereNot();
      };
    if (!remembered) {
      const entry = this.tlbEntry(va),
        missed = this.missed();
      if (missed) {
        f.brIf(f.compare('ne', f.load('i64', entry, this.tlbField(tag)), aligned ? alignedPage() : lastPage()), missed, 'unlikely');
        hit(this.#place(va, this.#addend(entry)));
      } else f.if(hits(entry), () => hit(this.#place(va, this.#addend(entry))), miss, 'likely');
      return;
    }
    const { page, addend } = remembered,
      host = (): Value => this.#place(va, f.get(addend, this.ramIndex));
    f.if(
      f.compare('eq', alignedPage(), f.get(page, 'i64')),
      () => hit(host()),
      () => {
        const entry = this.tlbEntry(va);
        f.if(
          hits(entry),
          () => {
            f.set(addend, this.#addend(entry));
            f.set(page, f.op('and', va, f.i64(-4096)));
            hit(host());
          },
          miss,
          'likely',
        );
      },
      'likely',
    );
  }
}
