/**
 * What every device is made of: a life cycle, and registers as a table that settles access widths, gaps and partial writes once.
 * Implements: style rule "a device". Runs on: main event loop.
 */
import type { Log } from '../../base/log.ts';
import type { Fields, Schema } from '../../base/schema.ts';

/** The VM promises the order: pause (all vCPUs stopped), resume; restored() after a restore, reset() at any time while running. */
export interface Device {
  reset(): void;
  pause?(): void;
  resume?(): void;
  /** Recompute what is derived from the state: levels, timers. */
  restored?(): void;
}

/** A device whose state is declared: save, restore and inspection come from the schema. */
export interface StatefulDevice extends Device {
  readonly schema: Schema<Fields>;
  readonly state: object;
}

/** One interrupt input of the machine, as a device sees it. */
export interface IrqLine {
  assert(): void;
  deassert(): void;
  /** For edge-triggered lines: assert and deassert. */
  pulse(): void;
}

export interface RegisterSpec<Owner> {
  readonly offset: number;
  /** 1, 2 or 4; 1 unless said. */
  readonly sizeBytes?: 1 | 2 | 4;
  /** This register is there only while the condition holds (DLAB). */
  readonly when?: (owner: Owner) => boolean;
  /** Name of a numeric field of `owner.state` that is the register. */
  readonly field?: string;
  /** Bits of `field` that a write changes; all unless said. */
  readonly writable?: number;
  /** Called after a write to `field`. */
  readonly after?: (owner: Owner) => void;
  readonly read?: (owner: Owner) => number;
  readonly write?: (owner: Owner, value: number) => void;
}

interface Register<Owner> extends RegisterSpec<Owner> {
  readonly name: string;
  readonly sizeBytes: 1 | 2 | 4;
}

export interface RegisterTable<Owner> {
  /** 1, 2 or 4 bytes. @returns undefined when no register claims any byte. */
  read(owner: Owner, offset: number, sizeBytes: number): number | undefined;
  /** @returns false when no register claims any byte. */
  write(owner: Owner, offset: number, sizeBytes: number, value: number, log?: Log): boolean;
}

/**
 * A register file. An access that covers several registers reaches each of them, lowest first; bytes nobody claims read ones. A write
 * of a part of a register is merged when the register is a plain field, else dropped and logged.
 */
export function registers<Owner extends { readonly state: object }>(
  specs: Readonly<Record<string, RegisterSpec<Owner>>>,
): RegisterTable<Owner> {
  const byOffset: Register<Owner>[][] = [];
  for (const [name, spec] of Object.entries(specs)) {
    const register = { ...spec, name, sizeBytes: spec.sizeBytes ?? 1 };
    for (let offset = spec.offset; offset < spec.offset + register.sizeBytes; offset++) (byOffset[offset] ??= []).push(register);
  }
  const at = (owner: Owner, offset: number): Register<Owner> | undefined => {
    const list = byOffset[offset];
    if (list === undefined) return undefined;
    for (const register of list) if (register.when === undefined || register.when(owner)) return register;
    return undefined;
  };
  const fieldOf = (owner: Owner, name: string): number => (owner.state as Record<string, number>)[name] ?? 0;
  const valueOf = (owner: Owner, register: Register<Owner>): number =>
    (register.read !== undefined
      ? register.read(owner)
      : register.field !== undefined
        ? fieldOf(owner, register.field)
        : 2 ** (8 * register.sizeBytes) - 1) >>> 0;
  const store = (owner: Owner, register: Register<Owner>, value: number): void => {
    if (register.write !== undefined) register.write(owner, value);
    else if (register.field !== undefined) {
      const mask = register.writable ?? 0xffff_ffff;
      (owner.state as Record<string, number>)[register.field] = ((fieldOf(owner, register.field) & ~mask) | (value & mask)) >>> 0;
      register.after?.(owner);
    }
  };

  return {
    read(owner, offset, sizeBytes) {
      const first = at(owner, offset);
      if (first !== undefined && first.offset === offset && first.sizeBytes === sizeBytes) return valueOf(owner, first);
      let value = 0;
      let claimed = false;
      for (let position = 0; position < sizeBytes;) {
        const register = at(owner, offset + position);
        let chunk = 0xff;
        let chunkBytes = 1;
        if (register !== undefined) {
          const skip = offset + position - register.offset;
          chunkBytes = Math.min(register.sizeBytes - skip, sizeBytes - position);
          chunk = Math.floor(valueOf(owner, register) / 2 ** (8 * skip)) % 2 ** (8 * chunkBytes);
          claimed = true;
        }
        value += chunk * 2 ** (8 * position);
        position += chunkBytes;
      }
      return claimed ? value : undefined;
    },

    write(owner, offset, sizeBytes, value, log) {
      let claimed = false;
      for (let position = 0; position < sizeBytes;) {
        const register = at(owner, offset + position);
        let chunkBytes = 1;
        if (register !== undefined) {
          const skip = offset + position - register.offset;
          chunkBytes = Math.min(register.sizeBytes - skip, sizeBytes - position);
          const chunk = Math.floor(value / 2 ** (8 * position)) % 2 ** (8 * chunkBytes);
          claimed = true;
          if (chunkBytes === register.sizeBytes) store(owner, register, chunk);
          else if (register.field !== undefined && register.write === undefined) {
            const old = fieldOf(owner, register.field);
            const present = Math.floor(old / 2 ** (8 * skip)) % 2 ** (8 * chunkBytes);
            store(owner, register, old + (chunk - present) * 2 ** (8 * skip));
          } else log?.debug(`write of ${chunkBytes} of ${register.sizeBytes} bytes of ${register.name}: dropped`);
        }
        position += chunkBytes;
      }
      return claimed;
    },
  };
}
