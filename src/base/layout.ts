/**
 * Records in shared memory, declared once: a table of fields becomes offsets for TypeScript and, through `scripts/generate.ts`,
 * constants for AssemblyScript.
 * Implements: style rule "state, declared once". Runs on: any thread; holds no state.
 */
const WIDTH_BYTES = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, f64: 8, v128: 16 } as const;
export type FieldType = keyof typeof WIDTH_BYTES;

export interface Field {
  readonly type: FieldType;
  /** Number of elements; 1 unless it is an array. */
  readonly count: number;
  /** Bytes from one element to the next; the width of `type` unless the elements are spaced out. */
  readonly strideBytes: number;
  /** Fixed offset, where something else (an instruction, a byte-sized slot number) depends on it. */
  readonly at: number | undefined;
  readonly doc: string;
}

export interface FieldOptions {
  readonly count?: number;
  readonly strideBytes?: number;
  readonly at?: number;
}

export function field(type: FieldType, doc: string, options: FieldOptions = {}): Field {
  return {
    type,
    count: options.count ?? 1,
    strideBytes: options.strideBytes ?? WIDTH_BYTES[type],
    at: options.at,
    doc,
  };
}

export interface Layout<Name extends string> {
  readonly name: string;
  readonly sizeBytes: number;
  /** Byte offset of every field from the start of the record. */
  readonly offset: Readonly<Record<Name, number>>;
  readonly fields: Readonly<Record<Name, Field>>;
}

/**
 * Lay the fields out in order, each at its natural alignment or at its fixed offset.
 * @throws Error when a fixed offset overlaps the field before it: a mistake of ours, found at start.
 */
export function layout<Name extends string>(name: string, fields: Readonly<Record<Name, Field>>): Layout<Name> {
  const offset = {} as Record<Name, number>;
  let end = 0;
  for (const key of Object.keys(fields) as Name[]) {
    const { type, count, strideBytes, at } = fields[key];
    const width = WIDTH_BYTES[type];
    const start = at ?? Math.ceil(end / width) * width;
    if (start < end || start % width !== 0) throw new Error(`${name}.${key}: offset ${start} overlaps or is misaligned (free from ${end})`);
    offset[key] = start;
    end = start + strideBytes * (count - 1) + width;
  }
  return { name, sizeBytes: Math.ceil(end / 16) * 16, offset, fields };
}
