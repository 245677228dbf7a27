/**
 * State declared once: from a schema come the TypeScript type, the reset values, save and restore by field name, and the printed form.
 * Implements: style rule "state, declared once". Runs on: any thread; holds no state.
 * Not modelled: state that lives in shared memory (base/layout.ts lays that out).
 */
import { VmError } from './errors.ts';

/** What a field becomes in a saved file: JSON only. */
export type SavedValue = number | string | boolean;

export interface Saved {
  readonly kind: string;
  readonly version: number;
  readonly fields: Readonly<Record<string, SavedValue>>;
}

/** Names of bits, from bit 0 upwards, or by number. */
export type BitNames = readonly string[] | Readonly<Record<string, number>>;

export interface StateField<Value> {
  readonly doc: string;
  fresh(): Value;
  save(value: Value): SavedValue;
  /** @returns undefined when the saved value is not one this field can hold. */
  restore(saved: unknown): Value | undefined;
  /** What a valid saved value looks like, for messages. */
  readonly accepts: string;
  print(value: Value): string;
}

interface FieldOptions<Value> {
  readonly doc: string;
  readonly reset?: Value;
  readonly bits?: BitNames;
}

function bitText(value: number, bits: BitNames | undefined): string {
  if (bits === undefined) return '';
  const named: [string, number][] = Array.isArray(bits)
    ? bits.map((name: string, bit): [string, number] => [name, bit])
    : Object.entries(bits as Readonly<Record<string, number>>);
  const set = named.filter(([name, bit]) => name !== '' && Math.floor(value / 2 ** bit) % 2 === 1).map(([name]) => name);
  return set.length === 0 ? '' : ` (${set.join(' ')})`;
}

function unsigned(sizeBits: number) {
  const limit = 2 ** sizeBits;
  return (options: FieldOptions<number>): StateField<number> => ({
    doc: options.doc,
    accepts: `an integer from 0 to ${limit - 1}`,
    fresh: () => options.reset ?? 0,
    save: (value) => value,
    restore: (saved) => (typeof saved === 'number' && Number.isInteger(saved) && saved >= 0 && saved < limit ? saved : undefined),
    print: (value) => `0x${value.toString(16)}${bitText(value, options.bits)}`,
  });
}

export const u8 = unsigned(8);
export const u16 = unsigned(16);
export const u32 = unsigned(32);

/** A 64-bit value: `bigint` in the state, hexadecimal text when saved. */
export function u64(options: FieldOptions<bigint>): StateField<bigint> {
  return {
    doc: options.doc,
    accepts: '0x and up to 16 hexadecimal digits',
    fresh: () => options.reset ?? 0n,
    save: (value) => `0x${value.toString(16)}`,
    restore: (saved) => (typeof saved === 'string' && /^0x[0-9a-f]{1,16}$/.test(saved) ? BigInt(saved) : undefined),
    print: (value) => `0x${value.toString(16)}`,
  };
}

export function bool(options: FieldOptions<boolean>): StateField<boolean> {
  return {
    doc: options.doc,
    accepts: 'true or false',
    fresh: () => options.reset ?? false,
    save: (value) => value,
    restore: (saved) => (typeof saved === 'boolean' ? saved : undefined),
    print: (value) => String(value),
  };
}

/**
 * Bytes: of a fixed size (`sizeBytes`, reset to zeroes), or a queue of at most `maxBytes` (reset to empty). Hexadecimal text when saved.
 */
export function bytes(
  options: { readonly doc: string } & ({ readonly sizeBytes: number } | { readonly maxBytes: number }),
): StateField<Uint8Array> {
  const fixed = 'sizeBytes' in options;
  const limit = fixed ? options.sizeBytes : options.maxBytes;
  return {
    doc: options.doc,
    accepts: `${fixed ? '' : 'at most '}${limit} bytes as hexadecimal text`,
    fresh: () => new Uint8Array(fixed ? limit : 0),
    save: (value) => hexOf(value),
    restore: (saved) => {
      if (typeof saved !== 'string' || saved.length % 2 !== 0 || !/^[0-9a-f]*$/.test(saved)) return undefined;
      const count = saved.length / 2;
      if (fixed ? count !== limit : count > limit) return undefined;
      return Uint8Array.from({ length: count }, (_unused, index) => Number.parseInt(saved.slice(index * 2, index * 2 + 2), 16));
    },
    print: (value) => (value.length <= 16 ? `[${hexOf(value)}]` : `[${hexOf(value.subarray(0, 16))}... ${value.length} bytes]`),
  };
}

function hexOf(value: Uint8Array): string {
  let text = '';
  for (const byte of value) text += byte.toString(16).padStart(2, '0');
  return text;
}

export type Fields = Readonly<Record<string, StateField<unknown>>>;
type ValueOf<F> = F extends StateField<infer Value> ? Value : never;
export type FieldsState<F extends Fields> = { -readonly [Name in keyof F]: ValueOf<F[Name]> };
/** The state type of a schema: `type UartState = StateOf<typeof UART_STATE>`. */
export type StateOf<S> = S extends Schema<infer F> ? FieldsState<F> : never;

export interface SchemaOptions {
  /** How fields saved by version N become those of version N + 1. */
  readonly from?: Readonly<Record<number, (old: Readonly<Record<string, SavedValue>>) => Record<string, SavedValue>>>;
}

export interface Schema<F extends Fields> {
  readonly kind: string;
  readonly version: number;
  readonly fields: F;
  fresh(): FieldsState<F>;
  /** Put the reset values into an existing object: those who hold it keep it. */
  reset(state: FieldsState<F>): void;
  save(state: FieldsState<F>): Saved;
  /**
   * @throws VmError EINVAL when kind, version, a field's name or a value does not fit; the state is then untouched.
   */
  restore(state: FieldsState<F>, saved: Saved): void;
  /** One line per field: `ier 0x3 (ERBFI ETBEI)`. */
  print(state: FieldsState<F>): string[];
}

export function schema<F extends Fields>(kind: string, version: number, fields: F, options: SchemaOptions = {}): Schema<F> {
  const names = Object.keys(fields);
  const fieldOf = (name: string): StateField<unknown> => fields[name]!; // names come from the same object
  const fresh = (): FieldsState<F> => Object.fromEntries(names.map((name) => [name, fieldOf(name).fresh()])) as FieldsState<F>;
  return {
    kind,
    version,
    fields,
    fresh,
    reset: (state) => {
      Object.assign(state, fresh());
    },
    save: (state) => ({ kind, version, fields: Object.fromEntries(names.map((name) => [name, fieldOf(name).save(state[name])])) }),
    restore: (state, saved) => {
      if (saved.kind !== kind) throw new VmError('EINVAL', `saved state '${saved.kind}': expected '${kind}'`);
      if (!Number.isInteger(saved.version) || saved.version < 1 || saved.version > version) {
        throw new VmError('EINVAL', `saved state '${kind}' version ${saved.version}: expected 1 to ${version}`);
      }
      let values = saved.fields;
      for (let from = saved.version; from < version; from++) {
        const upgrade = options.from?.[from];
        if (upgrade === undefined)
          throw new VmError('EINVAL', `saved state '${kind}' version ${saved.version}: no way from version ${from} to ${from + 1}`);
        values = upgrade(values);
      }
      const unknown = Object.keys(values).find((name) => !names.includes(name));
      if (unknown !== undefined) throw new VmError('EINVAL', `saved state '${kind}': field '${unknown}' is not one of ${names.join(', ')}`);
      const restored: Record<string, unknown> = {};
      for (const name of names) {
        const value = fieldOf(name).restore(values[name]);
        if (value === undefined)
          throw new VmError('EINVAL', `saved state '${kind}': ${name}=${JSON.stringify(values[name])}: expected ${fieldOf(name).accepts}`);
        restored[name] = value;
      }
      Object.assign(state, restored);
    },
    print: (state) => names.map((name) => `${name} ${fieldOf(name).print(state[name])}`),
  };
}
