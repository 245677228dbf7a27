/**
 * One WebAssembly module: imports first, then functions in the order they were added.
 * Implements: WebAssembly core specification 5.5 Modules. Runs on: any thread.
 */
import { Bytes, u32Bytes } from './bytes.ts';
import { TYPE_CODE } from './opcodes.ts';
import type { Type } from './opcodes.ts';

/** Code and locals of a function: a FunctionBuilder, or pieces of several. */
export interface FunctionBody {
  readonly params: readonly Type[];
  /** undefined: the code begins with their declaration. */
  readonly locals: readonly Type[] | undefined;
  readonly out: Bytes;
}

interface FunctionType {
  readonly params: readonly Type[];
  readonly results: readonly Type[];
}

const NO_HEAD = new Bytes(0);
const EXTERNAL_FUNCTION = 0,
  EXTERNAL_TABLE = 1,
  EXTERNAL_MEMORY = 2;
const LIMITS_MAX = 1,
  LIMITS_SHARED = 2,
  LIMITS_64 = 4;
/** About what a function takes beside its code. */
const HEAD_BYTES = 32;
const NULLABLE_REFERENCE = 0x63;
/** An element segment that names its table, the type of its references and an expression for each. */
const ACTIVE_EXPRESSIONS = 6;

export interface TableType {
  /** Of its functions. */
  readonly type: number;
  readonly slots: number;
}

/** As many slots from the first to the last day: a compiler knows the bound. */
function tableType(out: Bytes, { type, slots }: TableType): void {
  out.u8(NULLABLE_REFERENCE);
  out.s32(type);
  out.u8(LIMITS_MAX);
  out.u32(slots);
  out.u32(slots);
}

export class ModuleBuilder {
  readonly #types: FunctionType[] = [];
  readonly #typeOf = new Map<string, number>();
  readonly #imports = new Bytes();
  #importCount = 0;
  #functionCount = 0;
  readonly #declared: number[] = [];
  readonly #bodies: FunctionBody[] = [];
  readonly #exports: { readonly name: string; readonly kind: number; readonly index: number }[] = [];
  #table: TableType | undefined;
  #ownsTable = false;
  readonly #customs: { readonly name: string; readonly content: Uint8Array }[] = [];
  readonly #elements: { readonly slot: number; readonly index: number }[] = [];

  type(params: readonly Type[], results: readonly Type[]): number {
    const key = `${params.join()}>${results.join()}`;
    let index = this.#typeOf.get(key);
    if (index === undefined) {
      index = this.#types.push({ params, results }) - 1;
      this.#typeOf.set(key, index);
    }
    return index;
  }

  /** @param addressType i64 for a memory64. Pages are 64 KiB; the real memory must be within [pages, maxPages]. */
  importMemory(module: string, name: string, addressType: 'i32' | 'i64', pages: number, maxPages: number): void {
    this.#import(module, name, EXTERNAL_MEMORY);
    this.#imports.u8(LIMITS_MAX | LIMITS_SHARED | (addressType === 'i64' ? LIMITS_64 : 0));
    this.#imports.u32(pages);
    this.#imports.u32(maxPages);
  }

  /** A table of that many functions of one type, or null: calls by it need not compare the type. Functions are added to its slots. */
  importTable(module: string, name: string, table: TableType): void {
    this.#import(module, name, EXTERNAL_TABLE);
    tableType(this.#imports, table);
    this.#table = table;
  }
  /** The same, as the module's own. @param table has no type of another module */
  exportTable(name: string, table: TableType): void {
    this.#table = table;
    this.#exports.push({ name, kind: EXTERNAL_TABLE, index: 0 });
    this.#ownsTable = true;
  }

  /** @returns the function's index, for calls. All imports come before the first `add` or `declare`. */
  importFunction(module: string, name: string, params: readonly Type[], results: readonly Type[]): number {
    this.#import(module, name, EXTERNAL_FUNCTION);
    this.#imports.u32(this.type(params, results));
    return this.#functionCount++;
  }

  add(body: FunctionBody, results: readonly Type[], options: { readonly exportAs?: string; readonly tableSlot?: number } = {}): number {
    const index = this.#functionCount++;
    this.#declared.push(this.type(body.params, results));
    this.#bodies.push(body);
    if (options.exportAs !== undefined) this.#exports.push({ name: options.exportAs, kind: EXTERNAL_FUNCTION, index });
    if (options.tableSlot !== undefined) this.#elements.push({ slot: options.tableSlot, index });
    return index;
  }

  /** Bytes that the module brings along under a name. */
  addCustom(name: string, content: Uint8Array): void {
    this.#customs.push({ name, content });
  }

  /** @param out where it is written, from its beginning. @returns a view of it */
  encode(out = new Bytes(this.#bodies.reduce((sum, { out: { size } }) => sum + size + HEAD_BYTES, HEAD_BYTES))): Uint8Array<ArrayBuffer> {
    out.size = 0;
    for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) out.u8(byte);
    const body = new Bytes();
    const section = (id: number, count: number, fill: (body: Bytes) => void): void => {
      if (count === 0) return;
      body.size = 0;
      body.u32(count);
      fill(body);
      out.u8(id);
      out.u32(body.size);
      out.append(body);
    };
    section(1, this.#types.length, (body) => {
      for (const { params, results } of this.#types) {
        body.u8(0x60);
        for (const list of [params, results]) {
          body.u32(list.length);
          for (const type of list) body.u8(TYPE_CODE[type]);
        }
      }
    });
    section(2, this.#importCount, (body) => body.append(this.#imports));
    section(3, this.#declared.length, (body) => {
      for (const type of this.#declared) body.u32(type);
    });
    section(4, this.#ownsTable ? 1 : 0, (body) => tableType(body, this.#table!));
    section(7, this.#exports.length, (body) => {
      for (const { name, kind, index } of this.#exports) {
        body.name(name);
        body.u8(kind);
        body.u32(index);
      }
    });
    section(9, this.#elements.length, (body) => {
      for (const { slot, index } of this.#elements) {
        body.u8(ACTIVE_EXPRESSIONS);
        body.u32(0);
        body.u8(0x41);
        body.s32(slot);
        body.u8(0x0b);
        body.u8(NULLABLE_REFERENCE);
        body.s32(this.#table!.type);
        body.u32(1);
        body.u8(0xd2);
        body.u32(index);
        body.u8(0x0b);
      }
    });
    const heads = this.#bodies.map(({ locals }) => (locals ? localsOf(locals) : NO_HEAD));
    this.#branchHints(out, heads);
    this.#code(out, heads);
    for (const { name, content } of this.#customs)
      custom(out, name, (body) => {
        for (const byte of content) body.u8(byte);
      });
    return out.view();
  }

  /** Straight to its place: it is nearly all of a module. */
  #code(out: Bytes, heads: readonly Bytes[]): void {
    if (this.#bodies.length === 0) return;
    const sizes = this.#bodies.map(({ out: code }, index) => heads[index]!.size + code.size + 1);
    out.u8(10);
    out.u32(sizes.reduce((sum, size) => sum + u32Bytes(size) + size, u32Bytes(sizes.length)));
    out.u32(sizes.length);
    for (const [index, { out: code }] of this.#bodies.entries()) {
      out.u32(sizes[index]!);
      out.append(heads[index]!);
      out.append(code);
      out.u8(0x0b);
    }
  }

  /** Which branches are rare: engines lay them out apart, and keep registers free of what only they need. They do no more than that. */
  #branchHints(out: Bytes, heads: readonly Bytes[]): void {
    const first = this.#functionCount - this.#bodies.length,
      hinted = this.#bodies.flatMap(({ out: { hints } }, index) => (hints && hints.length > 0 ? [{ index, hints }] : []));
    if (hinted.length === 0) return;
    custom(out, 'metadata.code.branch_hint', (body) => {
      body.u32(hinted.length);
      for (const { index, hints } of hinted) {
        body.u32(first + index);
        body.u32(hints.length);
        for (const hint of hints) {
          body.u32((hint >> 1) + heads[index]!.size);
          body.u8(1);
          body.u8(hint & 1);
        }
      }
    });
  }

  #import(module: string, name: string, kind: number): void {
    this.#importCount++;
    this.#imports.name(module);
    this.#imports.name(name);
    this.#imports.u8(kind);
  }
}

/** A function's declaration of its locals. */
export function localsOf(locals: readonly Type[]): Bytes {
  const head = new Bytes(),
    runs: { readonly type: Type; count: number }[] = [];
  for (const type of locals) {
    const last = runs.at(-1);
    if (last?.type === type) last.count++;
    else runs.push({ type, count: 1 });
  }
  head.u32(runs.length);
  for (const run of runs) {
    head.u32(run.count);
    head.u8(TYPE_CODE[run.type]);
  }
  return head;
}

function custom(out: Bytes, name: string, fill: (body: Bytes) => void): void {
  const body = new Bytes();
  body.name(name);
  fill(body);
  out.u8(0);
  out.u32(body.size);
  out.append(body);
}
