/**
 * The code of a WebAssembly function as text: expressions folded, one effect a line, indented by the structure. It is for reading: a local
 * that is read stands there by its bare name, and an `if` has its condition behind it.
 * Implements: WebAssembly core specification 5.4 Instructions, 6.5.10 Folded Instructions. Runs on: any thread; cold.
 */
import { ATOMIC_FENCE, COMPARE_EXCHANGE, COMPARISON, INTEGER, LANE, LOAD, PLAIN, SIMD, STORE, TYPE_CODE } from './opcodes.ts';
import type { CompareExchangeKind, LoadKind, StoreKind, Type } from './opcodes.ts';

export interface Signature {
  readonly name: string;
  readonly parameters: number;
  readonly results: number;
}

/** What the bytes name by number. */
export interface TextNames {
  readonly function: (index: number) => Signature;
  readonly type: (index: number) => Signature;
  readonly memory: (index: number) => string;
  /** undefined: the local is shown by its number. */
  readonly local: (index: number) => string | undefined;
  /** What lies so many bytes behind what local 0 points to. */
  readonly field?: (offset: number) => string | undefined;
}

export interface FunctionCode {
  readonly params: readonly Type[];
  readonly locals: readonly Type[];
  readonly results: readonly Type[];
  /** Without the `end` of the function. */
  readonly bytes: Uint8Array;
}

/** What follows the opcode. */
type Immediate = 'none' | 'memory' | 'lane' | 'lanes' | 'types' | 'memories' | 'oneMemory' | 'reserved';
interface Operation {
  readonly name: string;
  readonly operands: number;
  readonly results: 0 | 1;
  readonly immediate: Immediate;
  /** log2 of the natural alignment. */
  readonly align: number;
}

const LOAD_NAMES: Readonly<Record<LoadKind, string>> = {
  i32: 'i32.load',
  i64: 'i64.load',
  f32: 'f32.load',
  f64: 'f64.load',
  u8: 'i32.load8_u',
  s8: 'i32.load8_s',
  u16: 'i32.load16_u',
  s16: 'i32.load16_s',
  s8wide: 'i64.load8_s',
  s16wide: 'i64.load16_s',
  u32: 'i64.load32_u',
  s32: 'i64.load32_s',
  v128: 'v128.load',
  v32zero: 'v128.load32_zero',
  v64zero: 'v128.load64_zero',
  atomicI32: 'i32.atomic.load',
  atomicI64: 'i64.atomic.load',
};
const STORE_NAMES: Readonly<Record<StoreKind, string>> = {
  i32: 'i32.store',
  i64: 'i64.store',
  f32: 'f32.store',
  f64: 'f64.store',
  u8: 'i32.store8',
  u16: 'i32.store16',
  u32: 'i64.store32',
  v128: 'v128.store',
};
const COMPARE_EXCHANGE_NAMES: Readonly<Record<CompareExchangeKind, string>> = {
  u8: 'i32.atomic.rmw8.cmpxchg_u',
  u16: 'i32.atomic.rmw16.cmpxchg_u',
  i32: 'i32.atomic.rmw.cmpxchg',
  i64: 'i64.atomic.rmw.cmpxchg',
};
const ONE_OPERAND = new Set(['clz', 'ctz', 'popcnt', 'extend8_s', 'extend16_s', 'eqz']);

const OPERATIONS = new Map<number, Operation>();
function declare(code: number, name: string, operands: number, results: 0 | 1, immediate: Immediate = 'none', align = 0): void {
  OPERATIONS.set(code, { name, operands, results, immediate, align });
}
for (const table of [INTEGER, COMPARISON])
  for (const [name, [code32, code64]] of Object.entries(table)) {
    const operands = ONE_OPERAND.has(name) ? 1 : 2;
    declare(code32, `i32.${name}`, operands, 1);
    declare(code64, `i64.${name}`, operands, 1);
  }
for (const [name, [code, , operands]] of Object.entries(PLAIN)) declare(code, name, operands, 1);
for (const [name, [code, , operands]] of Object.entries(LANE)) declare(code, name, operands, 1, 'lane');
for (const [kind, [code, align]] of Object.entries(LOAD)) declare(code, LOAD_NAMES[kind as LoadKind], 1, 1, 'memory', align);
for (const [kind, [code, align]] of Object.entries(STORE)) declare(code, STORE_NAMES[kind as StoreKind], 2, 0, 'memory', align);
for (const [kind, [code, align]] of Object.entries(COMPARE_EXCHANGE))
  declare(code, COMPARE_EXCHANGE_NAMES[kind as CompareExchangeKind], 3, 1, 'memory', align);
declare(ATOMIC_FENCE, 'atomic.fence', 0, 0, 'reserved');
declare(0x00, 'unreachable', 0, 0);
declare(0x1b, 'select', 3, 1);
declare(0x1c, 'select', 3, 1, 'types');
declare(0xa7, 'i32.wrap_i64', 1, 1);
declare(0xac, 'i64.extend_i32_s', 1, 1);
declare(0xad, 'i64.extend_i32_u', 1, 1);
declare(SIMD + 13, 'i8x16.shuffle', 2, 1, 'lanes');
declare(0xfc000a, 'memory.copy', 3, 0, 'memories');
declare(0xfc000b, 'memory.fill', 3, 0, 'oneMemory');

const TYPE_NAMES = new Map<number, string>(Object.entries(TYPE_CODE).map(([name, code]) => [code, name]));
const EMPTY_BLOCK = 0x40;
const MAX_COLUMNS = 130;
const INDENT = '  ';

/** An expression, or an effect with its operands. Without a head: a value that an earlier line has left on the stack. */
interface Tree {
  readonly head: string;
  readonly operands: readonly Tree[];
  readonly columns: number;
}
const LEFT: Tree = { head: '', operands: [], columns: 0 };
function tree(head: string, operands: readonly Tree[] = []): Tree {
  const shown = operands.filter((operand) => operand !== LEFT);
  return { head, operands: shown, columns: shown.reduce((sum, { columns }) => sum + columns + 1, head.length + 2) };
}

/** A local's value. */
const bare = (head: string): Tree => ({ head, operands: [], columns: head.length });

interface Line {
  readonly depth: number;
  /** Before the expression, on its line. */
  readonly head: string;
  readonly text?: Tree | undefined;
}

/** An open block, loop or if, or the function. */
interface Frame {
  readonly kind: 'function' | 'block' | 'loop' | 'if';
  readonly label: string;
  readonly result: string;
  readonly condition: Tree | undefined;
  lines: Line[];
  stack: Tree[];
  /** What stands before its `else`. */
  yes: { readonly lines: Line[]; readonly stack: Tree[] } | undefined;
}

/** @returns lines of text, from `(func $name` on */
export function functionText(name: string, code: FunctionCode, names: TextNames): string {
  return new Disassembler(code, names).run(name);
}

class Disassembler {
  readonly #code: FunctionCode;
  readonly #names: TextNames;
  readonly #frames: Frame[] = [];
  #at = 0;
  #labels = 0;

  constructor(code: FunctionCode, names: TextNames) {
    this.#code = code;
    this.#names = names;
  }

  run(name: string): string {
    const { params, locals, results, bytes } = this.#code;
    this.#open('function', '', undefined);
    while (this.#at < bytes.length) this.#instruction();
    const frame = this.#frames.pop()!;
    this.#spill(frame);
    const parameters = params.map((type, index) => ` (param ${this.#local(index)} ${type})`).join(''),
      head = `(func $${name}${parameters}${results.map((type) => ` (result ${type})`).join('')}`;
    return [head, ...this.#declarations(locals), ...frame.lines.flatMap((line) => printed(line, 1)), ')'].join('\n');
  }

  /** The locals, as many on a line as fit. */
  #declarations(locals: readonly Type[]): string[] {
    const lines: string[] = [];
    for (const [index, type] of locals.entries()) {
      const text = `(local ${this.#local(index + this.#code.params.length)} ${type})`,
        last = lines.at(-1);
      if (last !== undefined && last.length + text.length < MAX_COLUMNS) lines[lines.length - 1] = `${last} ${text}`;
      else lines.push(INDENT + text);
    }
    return lines;
  }

  #instruction(): void {
    const code = this.#opcode();
    switch (code) {
      case 0x02:
      case 0x03:
        return this.#open(code === 0x02 ? 'block' : 'loop', this.#blockType(), undefined);
      case 0x04: {
        const [condition] = this.#pop(1);
        return this.#open('if', this.#blockType(), condition);
      }
      case 0x05: {
        const frame = this.#frame;
        frame.yes = { lines: frame.lines, stack: frame.stack };
        frame.lines = [];
        frame.stack = [];
        return;
      }
      case 0x0b:
        return this.#close();
      case 0x0c:
        return this.#effect(tree(`br ${this.#label()}`));
      case 0x0d: {
        const label = this.#label();
        return this.#effect(tree(`br_if ${label}`, this.#pop(1)));
      }
      case 0x0e: {
        const count = this.#unsigned(),
          labels = Array.from({ length: count + 1 }, () => this.#label()).join(' ');
        return this.#effect(tree(`br_table ${labels}`, this.#pop(1)));
      }
      case 0x0f:
        return this.#effect(tree('return', this.#pop(this.#code.results.length)));
      case 0x10: {
        const to = this.#names.function(this.#unsigned());
        return this.#result(tree(`call $${to.name}`, this.#pop(to.parameters)), to.results);
      }
      case 0x11: {
        const to = this.#names.type(this.#unsigned());
        this.#unsigned(); // the only table
        return this.#result(tree(`call_indirect (type $${to.name})`, this.#pop(to.parameters + 1)), to.results);
      }
      case 0x12: {
        const to = this.#names.function(this.#unsigned());
        return this.#effect(tree(`return_call $${to.name}`, this.#pop(to.parameters)));
      }
      case 0x13: {
        const to = this.#names.type(this.#unsigned());
        this.#unsigned();
        return this.#effect(tree(`return_call_indirect (type $${to.name})`, this.#pop(to.parameters + 1)));
      }
      case 0x20:
        return this.#push(bare(this.#local(this.#unsigned())));
      case 0x21: {
        const local = this.#local(this.#unsigned());
        return this.#effect(tree(`local.set ${local}`, this.#pop(1)));
      }
      case 0x22: {
        const local = this.#local(this.#unsigned());
        return this.#push(tree(`local.tee ${local}`, this.#pop(1)));
      }
      case 0x41:
        return this.#push(tree(`i32.const ${number(this.#signed(), 32)}`));
      case 0x42:
        return this.#push(tree(`i64.const ${number(this.#signed(), 64)}`));
      case SIMD + 12:
        return this.#push(tree(`v128.const i32x4 ${this.#words(4)}`));
    }
    const operation = OPERATIONS.get(code);
    if (!operation) throw new Error(`opcode ${code.toString(16)} at byte ${this.#at}: the text of it is not known`);
    const immediate = this.#immediate(operation),
      operands = this.#pop(operation.operands),
      field = operation.immediate === 'memory' ? this.#fieldOf(immediate, operands[0]) : '';
    this.#result(tree(operation.name + immediate + field, operands), operation.results);
  }

  #immediate({ immediate, align }: Operation): string {
    switch (immediate) {
      case 'none':
        return '';
      case 'reserved':
        this.#byte();
        return '';
      case 'lane':
        return ` ${this.#byte()}`;
      case 'lanes':
        return ` ${Array.from({ length: 16 }, () => this.#byte()).join(' ')}`;
      case 'types':
        return Array.from({ length: this.#unsigned() }, () => ` (result ${TYPE_NAMES.get(this.#byte())!})`).join('');
      case 'memories': {
        const to = this.#unsigned();
        return ` ${this.#memory(to)} ${this.#memory(this.#unsigned())}`;
      }
      case 'oneMemory':
        return ` ${this.#memory(this.#unsigned())}`;
      case 'memory': {
        const flags = this.#unsigned(),
          memory = flags & 0x40 ? ` ${this.#memory(this.#unsigned())}` : '',
          offset = this.#unsigned(),
          alignment = flags & 0x3f;
        return `${memory}${offset === 0 ? '' : ` offset=${offset}`}${alignment === align ? '' : ` align=${2 ** alignment}`}`;
      }
    }
  }
  /** A comment, where the address is local 0 and what lies behind it has a name. */
  #fieldOf(immediate: string, address: Tree | undefined): string {
    if (address?.head !== this.#local(0)) return '';
    const name = this.#names.field?.(Number(/offset=(\d+)/.exec(immediate)?.[1] ?? 0));
    return name === undefined ? '' : ` (;${name};)`;
  }

  // --- structure ---

  get #frame(): Frame {
    return this.#frames.at(-1)!;
  }
  #open(kind: Frame['kind'], result: string, condition: Tree | undefined): void {
    const label = kind === 'function' ? '' : `$${++this.#labels}`;
    this.#frames.push({ kind, label, result, condition, lines: [], stack: [], yes: undefined });
  }
  #close(): void {
    const frame = this.#frames.pop()!,
      outer = this.#frame,
      { kind, label, result, condition, yes } = frame,
      type = result === '' ? '' : ` (result ${result})`;
    if (kind === 'if' && result !== '' && yes && yes.lines.length + frame.lines.length === 0)
      return this.#push(tree(`if${type}`, [condition!, tree('then', yes.stack), tree('else', frame.stack)]));
    this.#spill(outer);
    outer.lines.push({ depth: 0, head: `${kind} ${label}${type}`, text: condition });
    const inner = (lines: readonly Line[], stack: readonly Tree[]): void => {
      for (const line of lines) outer.lines.push({ ...line, depth: line.depth + 1 });
      for (const text of stack) if (text !== LEFT) outer.lines.push({ depth: 1, head: '', text });
    };
    if (yes) {
      inner(yes.lines, yes.stack);
      outer.lines.push({ depth: 0, head: 'else' });
    }
    inner(frame.lines, frame.stack);
    outer.lines.push({ depth: 0, head: 'end' });
    if (result !== '') outer.stack.push(LEFT);
  }
  #push(expression: Tree): void {
    this.#frame.stack.push(expression);
  }
  #pop(count: number): Tree[] {
    const { stack } = this.#frame,
      operands = stack.splice(Math.max(stack.length - count, 0));
    // Behind what never goes on, there are as many as one likes.
    while (operands.length < count) operands.unshift(LEFT);
    return operands;
  }
  #result(expression: Tree, results: number): void {
    if (results > 0) this.#push(expression);
    else this.#effect(expression);
  }
  /** What is still on the stack has been evaluated before. */
  #effect(text: Tree): void {
    this.#spill(this.#frame);
    this.#frame.lines.push({ depth: 0, head: '', text });
  }
  #spill(frame: Frame): void {
    for (const text of frame.stack) if (text !== LEFT) frame.lines.push({ depth: 0, head: '', text });
    frame.stack = frame.stack.map(() => LEFT);
  }

  // --- names and numbers ---

  #label(): string {
    const frame = this.#frames.at(-1 - this.#unsigned());
    return frame?.label ?? 'out of the function';
  }
  #local(index: number): string {
    return `$${this.#names.local(index) ?? index}`;
  }
  #memory(index: number): string {
    return `$${this.#names.memory(index)}`;
  }
  #blockType(): string {
    const byte = this.#byte();
    return byte === EMPTY_BLOCK ? '' : TYPE_NAMES.get(byte)!;
  }
  #byte(): number {
    return this.#code.bytes[this.#at++]!;
  }
  #opcode(): number {
    const byte = this.#byte();
    return byte < 0xfc ? byte : (byte << 16) | this.#unsigned();
  }
  #unsigned(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  }
  #signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ;) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      shift += 7n;
      if (byte < 0x80) return BigInt.asIntN(Number(shift), value);
    }
  }
  #words(count: number): string {
    return Array.from({ length: count }, () => {
      const word = this.#byte() | (this.#byte() << 8) | (this.#byte() << 16) | (this.#byte() << 24);
      return `0x${(word >>> 0).toString(16).padStart(8, '0')}`;
    }).join(' ');
  }
}

/** Small ones as one counts, the others as addresses and masks. */
function number(value: bigint, bits: number): string {
  return value > -0x1000n && value < 0x1000n ? String(value) : `0x${BigInt.asUintN(bits, value).toString(16)}`;
}

function flat({ head, operands }: Tree): string {
  return head.startsWith('$') ? head : `(${head}${operands.map((operand) => ` ${flat(operand)}`).join('')})`;
}
/** What does not fit on its line has its operands on lines of their own. */
function broken(text: Tree, depth: number): string[] {
  const indent = INDENT.repeat(depth);
  if (depth * INDENT.length + text.columns <= MAX_COLUMNS || text.operands.length === 0) return [indent + flat(text)];
  const lines = text.operands.flatMap((operand) => broken(operand, depth + 1));
  return [`${indent}(${text.head}`, ...lines.slice(0, -1), `${lines.at(-1)!})`];
}
function printed({ depth, head, text }: Line, base: number): string[] {
  const indent = INDENT.repeat(depth + base);
  if (!text || text === LEFT) return [indent + head];
  const [first, ...others] = broken(text, depth + base);
  return [head === '' ? first! : `${indent}${head} ${first!.trimStart()}`, ...others];
}
