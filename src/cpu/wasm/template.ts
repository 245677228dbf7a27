/**
 * Records a template (wasm/holes.ts): a FunctionBuilder whose code comes out as tokens, and whose temporaries are numbered by type.
 * Runs on: where templates are recorded.
 */
import { Bytes } from './bytes.ts';
import { FunctionBuilder } from './function.ts';
import { FIRST_HOLE } from './holes.ts';
import type { Label } from './function.ts';
import type { Type } from './opcodes.ts';

/** Tokens of what a template leaves to whoever copies it. */
export interface TemplateTokens {
  /** The nth temporary of a type. */
  temporary(type: Type, nth: number): number;
  /** A branch `inside` labels further out than the template stands. */
  outside(inside: number): number;
  /** The next branch is mostly taken, or mostly not. */
  hint(taken: boolean): number;
}

class TokenBytes extends Bytes {
  readonly tokens: number[] = [];
  readonly #names: TemplateTokens;

  constructor(names: TemplateTokens) {
    super();
    this.#names = names;
  }
  override u8(value: number): void {
    this.tokens.push(value);
  }
  override number(value: number): void {
    if (value < FIRST_HOLE) this.u32(value);
    else this.tokens.push(value);
  }
  override hole(token: number): void {
    this.tokens.push(token);
  }
  override hint(taken: boolean): void {
    this.tokens.push(this.#names.hint(taken));
  }
  override outside(inside: number): void {
    this.tokens.push(this.#names.outside(inside));
  }
}

export class TemplateBuilder extends FunctionBuilder {
  readonly #names: TemplateTokens;
  readonly #tokens: TokenBytes;
  readonly #temporaries: Record<Type, number> = { i32: 0, i64: 0, f32: 0, f64: 0, v128: 0 };

  /** @param outside where a fault goes: a label around every copy. */
  constructor(names: TemplateTokens, outside: Label) {
    const out = new TokenBytes(names);
    super(['i32', 'i32'], out, outside);
    this.#tokens = out;
    this.#names = names;
  }

  override newLocal(type: Type): number {
    return this.#names.temporary(type, this.#temporaries[type]++);
  }
  get tokens(): readonly number[] {
    return this.#tokens.tokens;
  }
}
