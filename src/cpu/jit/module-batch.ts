/**
 * A module of regions that is being filled.
 * Implements: docs/internals.md "Wasm modules". Runs on: where regions are compiled or put in place.
 */
import { HANDLER_SLOTS } from '../decode/pseudo.ts';
import { importRam } from '../guest-ram.ts';
import type { RamIndex } from '../guest-ram.ts';
import { HELPERS } from '../helpers.ts';
import type { HelperName, HelperRow } from '../helpers.ts';
import { MEMORY0_MAX_PAGES } from '../wasm/limits.ts';
import { Bytes } from '../wasm/bytes.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import type { FunctionBody } from '../wasm/module.ts';
import type { Type } from '../wasm/opcodes.ts';
import type { Signature } from '../wasm/text.ts';
import type { CompiledModule, CompiledRegion } from './compilation.ts';
import { HELPER_NAMES } from './holes.ts';

/** What goes on at a rip: (vcpu, rip, instructions left). */
const GOTO: HelperRow = { parameters: ['i64', 'i32'], result: 'i32' };

const GOTO_NAMES = ['goto64', 'gotoLegacy'] as const;

/** Memory in which one module after the other is made. */
export class ModuleRoom {
  /** The module. */
  readonly out: Bytes;
  /** Code on its way there. */
  readonly #copies: Uint8Array<ArrayBuffer>;
  #used = 0;

  constructor(sizeBytes: number) {
    this.out = new Bytes(sizeBytes);
    this.#copies = new Uint8Array(sizeBytes);
  }
  clear(): void {
    this.#used = 0;
  }
  /** @returns a copy that is valid up to `clear` */
  copyOf(code: Uint8Array): Uint8Array<ArrayBuffer> {
    const start = this.#used,
      end = start + code.length;
    if (end > this.#copies.length) return code.slice();
    this.#copies.set(code, start);
    this.#used = end;
    return this.#copies.subarray(start, end);
  }
}

/** A module that is being filled. Whoever calls by number relies on the order: types and functions that every region may name come first. */
export class ModuleBatch {
  readonly refused: number[] = [];
  readonly covered: number[] = [];
  formMs = 0;
  emitMs = 0;
  sizeBytes = 0;
  readonly #room: ModuleRoom | undefined;
  readonly #regions: CompiledRegion[] = [];
  readonly #bodies: FunctionBody[] = [];
  readonly #module = new ModuleBuilder();
  /** Their functions, by number. */
  readonly #helpers: number[] = [];
  readonly #imports = new Map<string, number>();
  readonly handlerType = this.#module.type(['i32', 'i32'], ['i32']);

  /** @param room without it the module gets memory of its own */
  constructor(ramIndex: RamIndex, room?: ModuleRoom) {
    this.#room = room;
    room?.clear();
    this.#module.importMemory('env', 'memory', 'i32', 1, MEMORY0_MAX_PAGES);
    importRam(this.#module, ramIndex);
    this.#module.importTable('env', 'table', { type: this.handlerType, slots: HANDLER_SLOTS });
    for (const name of GOTO_NAMES) this.#import('tier0', name, ['i32', ...GOTO.parameters], ['i32']);
  }

  /** @param number of the helper, in HELPER_NAMES */
  readonly helperIndex = (number: number): number => (this.#helpers[number] ??= this.#importHelper(number));
  #importHelper(number: number): number {
    const name = HELPER_NAMES[number]!,
      helper: { readonly parameters: readonly Type[]; readonly result?: Type; readonly bare?: true } = HELPERS[name];
    return this.#import('cpu', name, helper.bare ? helper.parameters : ['i32', ...helper.parameters], helper.result ? [helper.result] : []);
  }
  /** The same in each module: it is part of kept code. */
  readonly gotoIndex = (long: boolean): number => GOTO_NAMES.indexOf(long ? 'goto64' : 'gotoLegacy');

  /** For a reader of the code. */
  readonly function = (index: number): Signature => {
    const [name] = [...this.#imports].find(([, each]) => each === index)!,
      { parameters, result, bare }: HelperRow = HELPERS[name as HelperName] ?? GOTO;
    return { name, parameters: parameters.length + (bare ? 0 : 1), results: result ? 1 : 0 };
  };
  readonly type = (): Signature => ({ name: 'handler', parameters: 2, results: 1 });

  /** Code that is to be changed before it is added. */
  copyOf(code: Uint8Array): Uint8Array<ArrayBuffer> {
    return this.#room ? this.#room.copyOf(code) : code.slice();
  }

  get isEmpty(): boolean {
    return this.#regions.length + this.refused.length + this.covered.length === 0;
  }

  /** @param body of it only the code is kept, and nothing that made it. */
  add(region: CompiledRegion, { params, locals, out }: FunctionBody): void {
    this.#regions.push(region);
    this.#bodies.push({ params, locals, out });
    this.sizeBytes += out.size;
  }

  encode(): Uint8Array<ArrayBuffer> {
    // Functions come after all imports, which are known only now.
    this.#bodies.forEach((body, index) => {
      this.#module.add(body, ['i32'], { tableSlot: this.#regions[index]!.slot });
    });
    return this.#module.encode(this.#room?.out);
  }

  /** @param nowMs a clock: the usual one has to be loaded first, on a thread that has not used it yet */
  finish(nowMs = () => performance.now()): CompiledModule {
    const startMs = nowMs(),
      bytes = this.#regions.length > 0 ? this.encode() : undefined,
      encodedMs = nowMs(),
      module = bytes && new WebAssembly.Module(bytes);
    return {
      ...(module && { module }),
      sizeBytes: bytes?.length ?? 0,
      regions: this.#regions,
      refused: this.refused,
      covered: this.covered,
      formNs: this.formMs * 1e6,
      emitNs: (this.emitMs + encodedMs - startMs) * 1e6,
      compileNs: (nowMs() - encodedMs) * 1e6,
    };
  }

  #import(from: string, name: string, parameters: readonly Type[], results: readonly Type[]): number {
    let index = this.#imports.get(name);
    if (index === undefined) {
      index = this.#module.importFunction(from, name, parameters, results);
      this.#imports.set(name, index);
    }
    return index;
  }
}
