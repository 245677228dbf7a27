/**
 * Typed expression builder for one WebAssembly function; knows no x86.
 *
 * A body is pure expression nodes plus an ordered list of effects (set, store, call, if, loop). Nothing is encoded until `flush()`, which
 * counts how often each node is really used: a node used once stays on the wasm stack, one used more often gets a temporary, one not
 * used at all costs nothing. A node that reads mutable state names it (`reads`, an alias class); an effect that changes that state
 * (`clobbers`) first saves the readers that are still to be used.
 * Implements: WebAssembly core specification 5.4 Instructions. Runs on: any thread.
 */
import { Bytes, MARK_WORDS } from './bytes.ts';
import { ATOMIC_FENCE, COMPARE_EXCHANGE, COMPARISON, INTEGER, LANE, LOAD, PLAIN, SIMD, STORE, TYPE_CODE } from './opcodes.ts';
import { maskedHole, signExtendedHole, widenedHole, wrappedHole } from './holes.ts';
import type { CompareExchangeKind, ComparisonOp, IntegerOp, LaneOp, LoadKind, PlainOp, StoreKind, Type } from './opcodes.ts';

type NodeKind = 'op' | 'const' | 'get' | 'load' | 'call' | 'choose' | 'part';

/** Clobbers every alias class. */
export const CLOBBERS_ALL = -1;

const NATURAL_SIZE: Readonly<Record<Type, number>> = { i32: 4, i64: 8, f32: 4, f64: 8, v128: 16 };

/** While a template is recorded: somebody has asked for the value of a constant that is left open. */
export const recording = { asked: false };

/** A pure expression. `size` is the width in bytes of the integer it stands for (narrow ones are zero-extended in an i32). */
export class Node {
  readonly kind: NodeKind;
  readonly type: Type;
  readonly args: readonly Node[];
  size: number;
  /** Opcode, local index, function index; of a part, its token. */
  code = 0;
  /** Of a constant that is left open, its token; else 0. */
  hole = 0;
  /** Nothing but constants, one of them left open. */
  symbolic = false;
  /** Constant: its halves. Load: `low` is log2 of the alignment. */
  low = 0;
  high = 0;
  offset = 0;
  memory = 0;
  /** Bytes after the opcode: a lane, a shuffle, a v128 constant. */
  immediate: readonly number[] | undefined;
  /** Of a part that encodes itself. */
  encode: ((out: Bytes) => void) | undefined;
  failure: Failure | undefined;
  reads = 0;
  serial = 0;
  uses = 0;
  visited = false;
  temp = -1;

  constructor(kind: NodeKind, type: Type, args: readonly Node[]) {
    this.kind = kind;
    this.type = type;
    this.args = args;
    this.size = NATURAL_SIZE[type];
  }

  /** Does it have this value, or, without one, any that is known? */
  isConstant(value?: number): boolean {
    if (this.symbolic) recording.asked = true;
    return isNumber(this, value);
  }
}

function isNumber(node: Node, value?: number): boolean {
  return (
    node.kind === 'const' &&
    node.type !== 'v128' &&
    node.hole === 0 &&
    (value === undefined || (node.low === value && (node.type === 'i32' || node.high === value >> 31)))
  );
}

/** A place to branch to. */
export class Label {
  /** How many labels are open around it; -1 while it is not open. */
  at = -1;
}

/** After a call: encode a test that leaves an i32; when it is not zero, go to the label. */
export interface Failure {
  readonly test: (out: Bytes) => void;
  readonly label: Label;
}

interface Effect {
  readonly inputs: readonly Node[];
  readonly clobbers: number;
  readonly serial: number;
  readonly nested: readonly (readonly Effect[])[];
  /** Nodes with a smaller serial were computed outside of `nested`. */
  readonly nestedFrom: number;
  /** A loop: whatever comes from outside is evaluated before it. */
  readonly loops: boolean;
  readonly encode: (out: Bytes, nested: (index: number) => void) => void;
}

/** Writes code that is known only at the end. Of many places, it is one function that is given what differs. */
export type Fill = (out: Bytes, a: number, b: number) => void;

const NO_EFFECTS: readonly (readonly Effect[])[] = [];
const EMPTY_BLOCK = 0x40;

export class FunctionBuilder {
  readonly out: Bytes;
  readonly params: readonly Type[];
  readonly locals: Type[] = [];
  #effects: Effect[] = [];
  /** What is filled in later: where, by whom, and what it is given, two numbers each. */
  readonly #laterAt: number[] = [];
  readonly #laterBy: Fill[] = [];
  readonly #laterGiven: number[] = [];
  #serial = 0;
  #readers: Node[] = [];
  /** A label that is not open here: it lies outside of the template that is recorded. */
  readonly #outside: Label | undefined;
  #depth = 0;
  readonly #open: Label[] = [];
  readonly #free: Record<Type, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  readonly #taken: number[] = [];
  readonly #takenTypes: Type[] = [];

  constructor(params: readonly Type[], out = new Bytes(), outside?: Label) {
    this.params = params;
    this.out = out;
    this.#outside = outside;
  }

  newLocal(type: Type): number {
    this.locals.push(type);
    return this.params.length + this.locals.length - 1;
  }

  // --- expressions ---

  i32(value: number): Node {
    const node = this.#node('const', 'i32', []);
    node.low = value | 0;
    return node;
  }

  i64(value: bigint | number): Node {
    const node = this.#node('const', 'i64', []);
    if (typeof value === 'number') {
      node.low = value | 0;
      node.high = Math.floor(value / 0x1_0000_0000) | 0;
    } else {
      node.low = Number(BigInt.asIntN(32, value));
      node.high = Number(BigInt.asIntN(32, value >> 32n));
    }
    return node;
  }

  i64Halves(low: number, high: number): Node {
    const node = this.#node('const', 'i64', []);
    node.low = low | 0;
    node.high = high | 0;
    return node;
  }

  /** A constant that a template leaves open. @param symbolic may it be asked for? */
  openConstant(type: 'i32' | 'i64', hole: number, symbolic = false): Node {
    const node = this.#node('const', type, []);
    node.hole = hole;
    node.symbolic = symbolic;
    return node;
  }

  /** An expression that is put together when the template is copied. @param reads its alias class @param args what it finds on the wasm stack */
  part(token: number, type: Type, reads: number, args: readonly Node[] = []): Node {
    const node = this.#node('part', type, args);
    node.code = token;
    return this.#reading(node, reads);
  }

  /** A constant that encodes itself, its opcode first. */
  encoded(type: 'i32' | 'i64', encode: (out: Bytes) => void): Node {
    const node = this.#node('part', type, []);
    node.encode = encode;
    return node;
  }

  /** @param bytes 16 bytes, lowest first. */
  v128(bytes: readonly number[]): Node {
    const node = this.#node('const', 'v128', []);
    node.immediate = bytes;
    return node;
  }

  op(name: IntegerOp, x: Node, y?: Node): Node {
    if (y && isNumber(y)) {
      if (keepsByZero(name) && isNumber(y, 0)) return x;
      if (name === 'and' && isNumber(y, -1)) return x;
      if (x.hole && name === 'and' && x.type === 'i32') {
        const hole = maskedHole(x.hole, y.low);
        if (hole >= 0) return this.openConstant('i32', hole, x.symbolic);
      }
    }
    if (y && isNumber(x)) {
      if (isNumber(x, 0) && (name === 'add' || name === 'or' || name === 'xor')) return y;
      if (isNumber(y)) {
        const folded = x.type === 'i32' ? fold32(name, x.low, y.low) : undefined;
        if (folded !== undefined) return this.i32(folded);
        if (x.type === 'i64' && (name === 'add' || name === 'and' || name === 'sub'))
          return this.i64(fold64(name, constantOf(x), constantOf(y)));
      }
    }
    const node = this.#node('op', x.type, y ? [x, y] : [x]);
    node.code = INTEGER[name][x.type === 'i32' ? 0 : 1];
    node.symbolic = isSymbolic(x, y);
    return node;
  }

  compare(name: ComparisonOp, x: Node, y?: Node): Node {
    if (name === 'eqz' && isNumber(x)) return this.i32(x.low === 0 && (x.type === 'i32' || x.high === 0) ? 1 : 0);
    const node = this.#node('op', 'i32', y ? [x, y] : [x]);
    node.code = COMPARISON[name][x.type === 'i32' ? 0 : 1];
    node.symbolic = isSymbolic(x, y);
    return node;
  }

  /** Floating-point, conversion and SIMD instructions by their wasm names. */
  plain(name: PlainOp, ...args: Node[]): Node {
    const [code, result] = PLAIN[name],
      [first] = args;
    // What is loaded as an integer, and for this alone, is loaded as a float: it need not cross over.
    if (first?.kind === 'load' && (name === 'f64.reinterpret_i64' || (name === 'f32.reinterpret_i32' && first.code === LOAD.i32[0])))
      return this.#sameLoad(name === 'f64.reinterpret_i64' ? 'f64' : 'f32', first);
    // So is what is taken out of a vector.
    if (first?.kind === 'op' && name === 'f64.reinterpret_i64' && first.code === LANE['i64x2.extract_lane'][0])
      return this.lane('f64x2.extract_lane', first.immediate![0]!, first.args[0]!);
    if (first?.kind === 'op' && name === 'f32.reinterpret_i32' && first.code === LANE['i32x4.extract_lane'][0])
      return this.lane('f32x4.extract_lane', first.immediate![0]!, first.args[0]!);
    const node = this.#node('op', result, args);
    node.code = code;
    return node;
  }

  /** The low element that has been taken out of a vector as an integer, for a store: it need not leave its register. */
  inVector(value: Node): Node {
    if (value.kind !== 'op' || value.immediate?.[0] !== 0 || value.size !== NATURAL_SIZE[value.type]) return value;
    if (value.code === LANE['i64x2.extract_lane'][0]) return this.lane('f64x2.extract_lane', 0, value.args[0]!);
    return value.code === LANE['i32x4.extract_lane'][0] ? this.lane('f32x4.extract_lane', 0, value.args[0]!) : value;
  }
  #sameLoad(kind: LoadKind, load: Node): Node {
    return this.load(kind, load.args[0]!, load.offset, load.reads, load.memory);
  }

  lane(name: LaneOp, lane: number, ...args: Node[]): Node {
    const [code, result] = LANE[name];
    const node = this.#node('op', result, args);
    node.code = code;
    node.immediate = [lane];
    return node;
  }

  /** @param lanes 16 numbers: 0-15 bytes of x, 16-31 bytes of y. */
  shuffle(x: Node, y: Node, lanes: readonly number[]): Node {
    const node = this.#node('op', 'v128', [x, y]);
    node.code = SIMD + 13;
    node.immediate = lanes;
    return node;
  }

  wrap(x: Node): Node {
    if (x.type === 'i32') return x;
    if (isNumber(x)) return this.i32(x.low);
    if (x.hole) return this.openConstant('i32', wrappedHole(x.hole), x.symbolic);
    if (x.kind === 'op' && (x.code === 0xad || x.code === 0xac)) return x.args[0]!;
    const node = this.#node('op', 'i32', [x]);
    node.code = 0xa7;
    node.symbolic = x.symbolic;
    return node;
  }

  widen(x: Node, signed = false): Node {
    if (x.type === 'i64') return x;
    if (isNumber(x)) return this.i64Halves(x.low, signed ? x.low >> 31 : 0);
    if (x.hole) {
      const hole = widenedHole(x.hole, signed);
      if (hole >= 0) return this.openConstant('i64', hole, x.symbolic);
    }
    const node = this.#node('op', 'i64', [x]);
    node.code = signed ? 0xac : 0xad;
    node.symbolic = x.symbolic;
    return node;
  }

  /** The low 8 or 16 bits of an i32, sign-extended. */
  signExtend(x: Node, bits: 8 | 16): Node {
    if (isNumber(x)) return this.i32((x.low << (32 - bits)) >> (32 - bits));
    if (x.hole) {
      const hole = signExtendedHole(x.hole, bits);
      if (hole >= 0) return this.openConstant('i32', hole, x.symbolic);
    }
    return this.op(bits === 8 ? 'extend8_s' : 'extend16_s', x);
  }

  select(condition: Node, yes: Node, no: Node): Node {
    if (isNumber(condition)) return condition.low ? yes : no;
    const node = this.#node('op', yes.type, [yes, no, condition]);
    node.code = yes.type === 'v128' ? 0x1c : 0x1b;
    if (yes.type === 'v128') node.immediate = [1, TYPE_CODE.v128];
    return node;
  }

  /** x under a width of its own: `size` belongs to a node, so a shared one is not relabelled. */
  resized(x: Node, size: number): Node {
    if (x.size === size) return x;
    const copy = this.#node(x.kind, x.type, x.args);
    copy.code = x.code;
    copy.hole = x.hole;
    copy.symbolic = x.symbolic;
    copy.low = x.low;
    copy.high = x.high;
    copy.offset = x.offset;
    copy.memory = x.memory;
    copy.immediate = x.immediate;
    copy.size = size;
    if (x.reads) {
      copy.reads = x.reads;
      copy.serial = x.serial;
      this.#readers.push(copy);
    }
    return copy;
  }

  /** `if` with a value: only the chosen arm is evaluated. Arms may use only constants, locals and pinned values. */
  choose(condition: Node, yes: Node, no: Node): Node {
    return this.#node('choose', yes.type, [condition, yes, no]);
  }

  /** A call that is evaluated where it is used: pin it, or use it in an arm of `choose`. */
  call(index: number, type: Type, args: readonly Node[], failure?: Failure): Node {
    const node = this.#node('call', type, args);
    node.code = index;
    node.failure = failure;
    return node;
  }

  /** @param reads alias class of the local, where effects change it. */
  get(local: number, type: Type, reads = 0): Node {
    const node = this.#node('get', type, []);
    node.code = local;
    return this.#reading(node, reads);
  }

  /** @param reads 0: nothing this function does changes what is loaded. */
  load(kind: LoadKind, address: Node, offset: number, reads = 0, memory = 0): Node {
    const [code, align, result] = LOAD[kind];
    const node = this.#node('load', result, [address]);
    node.code = code;
    node.low = align;
    node.offset = offset;
    node.memory = memory;
    return this.#reading(node, reads);
  }

  // --- effects ---

  set(local: number, value: Node, clobbers = 0): void {
    this.#effect([value], clobbers, (out) => {
      out.u8(0x21);
      out.number(local);
    });
  }

  /** Evaluate now, whatever happens later. */
  pin(value: Node): Node {
    if (value.kind === 'const' || value.symbolic || (value.kind === 'get' && !value.reads)) return value;
    const local = this.#takeTemp(value.type);
    this.set(local, value);
    const node = this.get(local, value.type);
    node.size = value.size;
    return node;
  }

  store(kind: StoreKind, address: Node, value: Node, offset: number, clobbers = 0, memory = 0): void {
    if (value.kind === 'op') {
      if (kind === 'i64' && value.code === PLAIN['i64.reinterpret_f64'][0])
        return this.store('f64', address, value.args[0]!, offset, clobbers, memory);
      if (kind === 'i32' && value.code === PLAIN['i32.reinterpret_f32'][0])
        return this.store('f32', address, value.args[0]!, offset, clobbers, memory);
    }
    this.#effect([address, value], clobbers, (out) => {
      const [code, align] = STORE[kind];
      opcode(out, code);
      memarg(out, align, offset, memory);
    });
  }

  /** The old value, evaluated now. */
  compareExchange(kind: CompareExchangeKind, address: Node, expected: Node, replacement: Node, offset = 0, memory = 0): Node {
    const [code, align, type] = COMPARE_EXCHANGE[kind];
    const local = this.#takeTemp(type);
    this.#effect([address, expected, replacement], 0, (out) => {
      opcode(out, code);
      memarg(out, align, offset, memory);
      out.u8(0x21);
      out.number(local);
    });
    return this.get(local, type);
  }

  callVoid(index: number, args: readonly Node[], clobbers = CLOBBERS_ALL, failure?: Failure): void {
    this.#effect(args, clobbers, (out) => {
      out.u8(0x10);
      out.number(index);
      if (failure) this.#encodeFailure(out, failure);
    });
  }

  /** A call evaluated now, in its place among the effects. */
  callNow(index: number, type: Type, args: readonly Node[], clobbers = CLOBBERS_ALL, failure?: Failure): Node {
    const local = this.#takeTemp(type);
    this.#effect(args, clobbers, (out) => {
      out.u8(0x10);
      out.number(index);
      out.u8(0x21);
      out.number(local);
      if (failure) this.#encodeFailure(out, failure);
    });
    return this.get(local, type);
  }

  /** memory.copy; the size is an i32 where either memory is 32-bit. */
  copyMemory(toMemory: number, fromMemory: number, to: Node, from: Node, sizeBytes: Node): void {
    this.#effect([to, from, sizeBytes], 0, (out) => {
      opcode(out, 0xfc000a);
      out.u8(toMemory);
      out.u8(fromMemory);
    });
  }

  fillMemory(memory: number, to: Node, byte: Node, sizeBytes: Node): void {
    this.#effect([to, byte, sizeBytes], 0, (out) => {
      opcode(out, 0xfc000b);
      out.u8(memory);
    });
  }

  /** @param hint is `yes` what mostly runs, or the rare case? */
  if(condition: Node, yes: () => void, no?: () => void, hint?: 'likely' | 'unlikely'): void {
    const from = ++this.#serial;
    const nested = no ? [this.#list(yes), this.#list(no)] : [this.#list(yes)];
    this.#effect(
      [condition],
      0,
      (out, encodeNested) => {
        if (hint) out.hint(hint === 'likely');
        out.u8(0x04);
        out.u8(EMPTY_BLOCK);
        this.#depth++;
        encodeNested(0);
        if (no) {
          out.u8(0x05);
          encodeNested(1);
        }
        this.#depth--;
        out.u8(0x0b);
      },
      nested,
      from,
    );
  }

  /** `body` gets the label that continues the loop; without a branch to it, it runs once. */
  loop(body: (again: Label) => void): void {
    const label = new Label(),
      from = ++this.#serial;
    this.#effect([], 0, (out, nested) => this.#encodeBlock(out, 0x03, label, nested), [this.#list(() => body(label))], from, true);
  }

  /** `body` gets the label that leaves the block. */
  block(body: (leave: Label) => void): void {
    const label = new Label(),
      from = ++this.#serial;
    this.#effect([], 0, (out, nested) => this.#encodeBlock(out, 0x02, label, nested), [this.#list(() => body(label))], from);
  }

  br(label: Label): void {
    this.#effect([], 0, (out) => {
      out.u8(0x0c);
      this.#encodeDepth(out, label);
    });
  }

  brIf(condition: Node, label: Label, hint?: 'unlikely'): void {
    this.#effect([condition], 0, (out) => {
      if (hint) out.hint(false);
      out.u8(0x0d);
      this.#encodeDepth(out, label);
    });
  }

  /** Branch to the label that `index` (i32) names, to `others` beyond the last. */
  brTable(index: Node, labels: readonly Label[], others: Label): void {
    this.#effect([index], 0, (out) => {
      out.u8(0x0e);
      out.u32(labels.length);
      for (const label of labels) this.#encodeDepth(out, label);
      this.#encodeDepth(out, others);
    });
  }

  return(value?: Node): void {
    this.#effect(value ? [value] : [], 0, (out) => out.u8(0x0f));
  }

  returnCall(index: number, args: readonly Node[]): void {
    this.#effect(args, 0, (out) => {
      out.u8(0x12);
      out.number(index);
    });
  }

  returnCallIndirect(type: number, slot: Node, args: readonly Node[]): void {
    this.#effect([...args, slot], 0, (out) => {
      out.u8(0x13);
      out.u32(type);
      out.u32(0);
    });
  }

  callIndirect(type: number, slot: Node, args: readonly Node[], result: Type, clobbers = CLOBBERS_ALL): Node {
    const local = this.#takeTemp(result);
    this.#effect([...args, slot], clobbers, (out) => {
      out.u8(0x11);
      out.u32(type);
      out.u32(0);
      out.u8(0x21);
      out.number(local);
    });
    return this.get(local, result);
  }

  /** Code that is put in when the template is copied. */
  insert(token: number): void {
    this.#effect([], 0, (out) => out.number(token));
  }

  /** For code that the caller writes itself, after all that is pending. */
  here(): Bytes {
    this.flush();
    return this.out;
  }
  /** The same as `later`, where nothing is pending: at the present end of the code. */
  laterHere(fill: Fill, a = 0, b = 0): void {
    this.#laterAt.push(this.out.size);
    this.#laterBy.push(fill);
    this.#laterGiven.push(a, b);
  }
  /** Code that is known only at the end: `filled` has it written where this stands. */
  later(fill: Fill, a = 0, b = 0): void {
    this.#effect([], 0, () => this.laterHere(fill, a, b));
  }
  /** The code, with what was left for later. @param whole is empty, and put to use for it @returns a copy */
  filled(whole: Bytes): Bytes {
    const { hints = [], marks = [] } = this.out,
      moved: number[] = [];
    let from = 0,
      next = 0,
      nextMark = 0;
    const take = (to: number): void => {
      const distance = whole.size - from;
      while (next < hints.length && hints[next]! < to * 2) moved.push(hints[next++]! + distance * 2);
      for (; nextMark < marks.length && marks[nextMark]! < to; nextMark += MARK_WORDS) marks[nextMark]! += distance;
      whole.append(this.out, from, to);
      from = to;
    };
    for (let i = 0; i < this.#laterAt.length; i++) {
      take(this.#laterAt[i]!);
      this.#laterBy[i]!(whole, this.#laterGiven[i * 2]!, this.#laterGiven[i * 2 + 1]!);
    }
    take(this.out.size);
    return Bytes.of(whole.bytes(), moved, marks);
  }

  /** No access before it is seen after one behind it, by whatever thread. */
  fence(): void {
    this.#effect([], CLOBBERS_ALL, (out) => {
      opcode(out, ATOMIC_FENCE);
      out.u8(0);
    });
  }

  unreachable(): void {
    this.#effect([], 0, (out) => out.u8(0x00));
  }

  // --- structure that the caller encodes itself, around whole instructions ---

  open(kind: 'block' | 'loop' | 'if', label: Label): void {
    this.flush();
    this.out.u8({ block: 0x02, loop: 0x03, if: 0x04 }[kind]);
    this.out.u8(EMPTY_BLOCK);
    label.at = this.#depth++;
    this.#open.push(label);
  }

  else(): void {
    this.flush();
    this.out.u8(0x05);
  }

  close(): void {
    this.flush();
    this.out.u8(0x0b);
    this.#depth--;
    this.#open.pop()!.at = -1;
  }

  /** Encode all pending effects. Nodes do not outlive it, except `get` of a local that the caller owns. */
  flush(): void {
    if (this.#effects.length === 0) {
      if (this.#readers.length > 0) this.#readers = [];
      return;
    }
    this.#count(this.#effects);
    for (const effect of this.#effects) this.#encode(effect);
    this.#effects = [];
    this.#readers = [];
    for (let i = 0; i < this.#taken.length; i++) this.#free[this.#takenTypes[i]!].push(this.#taken[i]!);
    this.#taken.length = 0;
    this.#takenTypes.length = 0;
  }

  /** Leave a value on the wasm stack, for an `open('if')` or a final result. */
  flushValue(value: Node): void {
    this.#effect([value], 0, () => {});
    this.flush();
  }

  // --- inside ---

  #node(kind: NodeKind, type: Type, args: readonly Node[]): Node {
    const node = new Node(kind, type, args);
    node.serial = ++this.#serial;
    return node;
  }

  #reading(node: Node, reads: number): Node {
    if (reads) {
      node.reads = reads;
      this.#readers.push(node);
    }
    return node;
  }

  #effect(inputs: readonly Node[], clobbers: number, encode: Effect['encode'], nested = NO_EFFECTS, nestedFrom = 0, loops = false): void {
    this.#effects.push({ inputs, clobbers, nested, nestedFrom, loops, serial: ++this.#serial, encode });
  }

  #list(build: () => void): readonly Effect[] {
    const outer = this.#effects;
    this.#effects = [];
    build();
    const list = this.#effects;
    this.#effects = outer;
    return list;
  }

  #takeTemp(type: Type): number {
    const local = this.#free[type].pop() ?? this.newLocal(type);
    this.#taken.push(local);
    this.#takenTypes.push(type);
    return local;
  }

  /** Labels between here and an open one: what a branch to it says. */
  depthOf(label: Label): number {
    if (label.at < 0) throw new Error('branch to a label that is not open');
    return this.#depth - 1 - label.at;
  }
  #encodeDepth(out: Bytes, label: Label): void {
    if (label === this.#outside) out.outside(this.#depth);
    else out.u32(this.depthOf(label));
  }

  #encodeBlock(out: Bytes, code: number, label: Label, nested: (index: number) => void): void {
    out.u8(code);
    out.u8(EMPTY_BLOCK);
    label.at = this.#depth++;
    nested(0);
    this.#depth--;
    label.at = -1;
    out.u8(0x0b);
  }

  #encodeFailure(out: Bytes, failure: Failure): void {
    failure.test(out);
    out.hint(false);
    out.u8(0x0d);
    this.#encodeDepth(out, failure.label);
  }

  #count(effects: readonly Effect[]): void {
    for (const effect of effects) {
      for (const input of effect.inputs) this.#use(input);
      for (const list of effect.nested) this.#count(list);
    }
  }

  #use(node: Node): void {
    node.uses++;
    if (node.visited) return;
    node.visited = true;
    for (const arg of node.args) this.#use(arg);
  }

  #encode(effect: Effect): void {
    for (const list of effect.nested) {
      this.#hoist(list, effect.nestedFrom, effect.loops);
      this.#saveReaders(list, effect.serial, effect.nestedFrom);
    }
    for (const input of effect.inputs) this.#value(input);
    if (effect.clobbers) this.#saveReaders([effect], effect.serial, effect.serial);
    effect.encode(this.out, (index) => {
      for (const inner of effect.nested[index]!) this.#encode(inner);
    });
  }

  /** What a nested list uses and was computed outside is evaluated before the condition. */
  #hoist(effects: readonly Effect[], from: number, all: boolean): void {
    for (const effect of effects) {
      for (const input of effect.inputs) this.#hoistNode(input, from, all);
      for (const list of effect.nested) this.#hoist(list, from, all);
    }
  }

  #hoistNode(node: Node, from: number, all: boolean): void {
    if (node.kind === 'const' || node.temp >= 0 || (node.kind === 'get' && !node.reads)) return;
    if (node.serial < from && (all || node.uses > 1)) {
      this.#save(node);
      return;
    }
    for (const arg of node.args) this.#hoistNode(arg, from, all);
  }

  #saveReaders(effects: readonly Effect[], before: number, from: number): void {
    for (const { clobbers, nested } of effects) {
      if (clobbers) {
        for (const node of this.#readers) {
          if (
            (node.reads === clobbers || clobbers === CLOBBERS_ALL) &&
            node.uses > 0 &&
            node.temp < 0 &&
            node.serial < Math.min(before, from)
          )
            this.#save(node);
        }
      }
      for (const list of nested) this.#saveReaders(list, before, from);
    }
  }

  #save(node: Node): void {
    const { uses } = node;
    node.uses = 1;
    this.#value(node);
    node.uses = uses;
    node.temp = this.#takeTemp(node.type);
    this.out.u8(0x21);
    this.out.number(node.temp);
  }

  #value(node: Node): void {
    const out = this.out;
    if (node.temp >= 0) {
      node.uses--;
      out.u8(0x20);
      out.number(node.temp);
      return;
    }
    const shared = --node.uses > 0 && node.kind !== 'const' && !(node.kind === 'get' && !node.reads);
    switch (node.kind) {
      case 'const':
        this.#constant(node);
        break;
      case 'get':
        out.u8(0x20);
        out.number(node.code);
        break;
      case 'choose':
        this.#value(node.args[0]!);
        out.u8(0x04);
        out.u8(TYPE_CODE[node.type]);
        this.#depth++;
        this.#value(node.args[1]!);
        out.u8(0x05);
        this.#value(node.args[2]!);
        this.#depth--;
        out.u8(0x0b);
        break;
      case 'part':
        for (const arg of node.args) this.#value(arg);
        if (node.encode) node.encode(out);
        else out.number(node.code);
        break;
      case 'load':
        this.#value(node.args[0]!);
        opcode(out, node.code);
        memarg(out, node.low, node.offset, node.memory);
        break;
      case 'call':
        for (const arg of node.args) this.#value(arg);
        out.u8(0x10);
        out.number(node.code);
        if (node.failure) {
          const result = this.newLocal(node.type);
          out.u8(0x21);
          out.number(result);
          this.#encodeFailure(out, node.failure);
          out.u8(0x20);
          out.number(result);
        }
        break;
      case 'op':
        for (const arg of node.args) this.#value(arg);
        opcode(out, node.code);
        if (node.immediate) for (const byte of node.immediate) out.u8(byte);
    }
    if (shared) {
      node.temp = this.#takeTemp(node.type);
      out.u8(0x22);
      out.number(node.temp);
    }
  }

  #constant(node: Node): void {
    const out = this.out;
    if (node.type === 'i32') {
      out.u8(0x41);
      if (node.hole) out.hole(node.hole);
      else out.s32(node.low);
    } else if (node.type === 'i64') {
      out.u8(0x42);
      if (node.hole) out.hole(node.hole);
      else out.s64(node.low, node.high);
    } else {
      opcode(out, SIMD + 12);
      for (const byte of node.immediate!) out.u8(byte);
    }
  }
}

/** The value of an i64 (or i32) constant; cold paths only. */
export function constantOf(node: Node): bigint {
  return node.type === 'i32' ? BigInt(node.low) : (BigInt(node.high) << 32n) | BigInt(node.low >>> 0);
}

function opcode(out: Bytes, code: number): void {
  if (code > 0xff) {
    out.u8(code >>> 16);
    out.u32(code & 0xffff);
  } else out.u8(code);
}

function memarg(out: Bytes, align: number, offset: number, memory: number): void {
  if (memory) {
    out.u8(align | 0x40);
    out.u32(memory);
  } else out.u8(align);
  // A template's open offset is given as its token, negated.
  if (offset < 0) out.number(-offset);
  else out.u53(offset);
}

const keepsByZero = (name: IntegerOp): boolean =>
  name === 'add' || name === 'sub' || name === 'or' || name === 'xor' || name === 'shl' || name === 'shr_u' || name === 'shr_s';

function isSymbolic(x: Node, y: Node | undefined): boolean {
  if (!y) return x.symbolic;
  return (x.symbolic && (y.symbolic || y.kind === 'const')) || (y.symbolic && x.kind === 'const');
}

function fold32(name: IntegerOp, x: number, y: number): number | undefined {
  switch (name) {
    case 'add':
      return (x + y) | 0;
    case 'sub':
      return (x - y) | 0;
    case 'and':
      return x & y;
    case 'or':
      return x | y;
    case 'xor':
      return x ^ y;
    case 'shl':
      return x << y;
    case 'shr_u':
      return (x >>> y) | 0;
    case 'shr_s':
      return x >> y;
    default:
      return undefined;
  }
}

function fold64(name: 'add' | 'and' | 'sub', x: bigint, y: bigint): bigint {
  return name === 'add' ? x + y : name === 'sub' ? x - y : x & y;
}
