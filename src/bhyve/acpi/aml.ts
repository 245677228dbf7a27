/**
 * An encoder for the ACPI machine language: every function gives the bytes of one term.
 * Implements: ACPI 6.4 20.2 AML Grammar Definition, 6.4 Resource Data Types for ACPI. Runs on: anywhere; holds no state.
 * Names of the functions are those of ASL (19.6), with a lower-case first letter.
 */
import { assert } from '../../base/errors.ts';
import { ByteWriter } from './bytes.ts';

export type Aml = readonly number[];

const OP = {
  ZERO: 0x00,
  ONE: 0x01,
  NAME: 0x08,
  BYTE: 0x0a,
  WORD: 0x0b,
  DWORD: 0x0c,
  STRING: 0x0d,
  QWORD: 0x0e,
  SCOPE: 0x10,
  BUFFER: 0x11,
  PACKAGE: 0x12,
  METHOD: 0x14,
  DUAL_NAME: 0x2e,
  MULTI_NAME: 0x2f,
  EXT: 0x5b,
  LOCAL0: 0x60,
  ARG0: 0x68,
  STORE: 0x70,
  AND: 0x7b,
  SHIFT_LEFT: 0x79,
  DECREMENT: 0x76,
  FIND_SET_RIGHT_BIT: 0x82,
  NOTIFY: 0x86,
  CREATE_WORD_FIELD: 0x8b,
  LEQUAL: 0x93,
  LLESS: 0x95,
  IF: 0xa0,
  ELSE: 0xa1,
  RETURN: 0xa4,
} as const;
const EXT_OP_REGION = 0x80,
  EXT_FIELD = 0x81,
  EXT_DEVICE = 0x82;

// --- names and data ---

/** One to four characters, padded with underscores (20.2.2). */
function nameSegment(name: string): Aml {
  assert(/^[A-Z_][A-Z0-9_]{0,3}$/.test(name), `AML name '${name}'`);
  return [...name.padEnd(4, '_')].map((character) => character.charCodeAt(0));
}

/** `\_SB.PC00`, `^LNKA`, `PICM`. */
export function path(name: string): Aml {
  const [, prefix = '', rest = ''] = /^(\\|\^*)(.*)$/.exec(name) ?? [];
  const segments = rest === '' ? [] : rest.split('.');
  const head = [...prefix].map((character) => character.charCodeAt(0));
  const body = segments.flatMap((segment) => nameSegment(segment));
  if (segments.length === 0) return [...head, 0];
  if (segments.length === 1) return [...head, ...body];
  if (segments.length === 2) return [...head, OP.DUAL_NAME, ...body];
  return [...head, OP.MULTI_NAME, segments.length, ...body];
}

const le = (value: number, sizeBytes: number): Aml =>
  Array.from({ length: sizeBytes }, (_unused, index) => Math.floor(value / 2 ** (8 * index)) % 256);

/** The shortest encoding of an unsigned integer below 2^53. */
export function integer(value: number): Aml {
  if (value === 0) return [OP.ZERO];
  if (value === 1) return [OP.ONE];
  if (value < 2 ** 8) return [OP.BYTE, value];
  if (value < 2 ** 16) return [OP.WORD, ...le(value, 2)];
  if (value < 2 ** 32) return [OP.DWORD, ...le(value, 4)];
  return [OP.QWORD, ...le(value, 8)];
}

export function text(value: string): Aml {
  assert(/^[\x01-\x7f]*$/.test(value), `AML string '${value}'`);
  return [OP.STRING, ...[...value].map((character) => character.charCodeAt(0)), 0];
}

/** A compressed EISA identifier, `PNP0A03`: three letters of five bits, four hexadecimal digits, big-endian (19.3.4). */
export function eisaId(id: string): Aml {
  assert(/^[A-Z]{3}[0-9A-F]{4}$/.test(id), `EISA id '${id}'`);
  const letter = (index: number): number => id.charCodeAt(index) - 0x40;
  const manufacturer = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(id.slice(3), 16);
  return [OP.DWORD, manufacturer >> 8, manufacturer & 0xff, product >> 8, product & 0xff];
}

/** Length of a package, itself included (20.2.4): one byte up to 63, else a count of further bytes in bits 6-7. */
function withLength(body: Aml): Aml {
  if (body.length + 1 <= 0x3f) return [body.length + 1, ...body];
  for (let more = 1; more <= 3; more++) {
    const total = body.length + 1 + more;
    if (total < 2 ** (4 + 8 * more)) return [(more << 6) | (total % 16), ...le(Math.floor(total / 16), more), ...body];
  }
  throw new RangeError('AML package of more than 2^28 bytes');
}

export function buffer(bytes: Aml): Aml {
  return [OP.BUFFER, ...withLength([...integer(bytes.length), ...bytes])];
}

/** "package" is a reserved word. */
export function packageOf(...elements: readonly Aml[]): Aml {
  assert(elements.length < 256, 'AML package of more than 255 elements');
  return [OP.PACKAGE, ...withLength([elements.length, ...elements.flat()])];
}

// --- named objects ---

export function name(target: string, value: Aml): Aml {
  return [OP.NAME, ...path(target), ...value];
}

export function scope(target: string, ...terms: readonly Aml[]): Aml {
  return [OP.SCOPE, ...withLength([...path(target), ...terms.flat()])];
}

export function device(target: string, ...terms: readonly Aml[]): Aml {
  return [OP.EXT, EXT_DEVICE, ...withLength([...path(target), ...terms.flat()])];
}

export function method(target: string, argumentCount: number, ...terms: readonly Aml[]): Aml {
  return [OP.METHOD, ...withLength([...path(target), argumentCount, ...terms.flat()])];
}

export const REGION_PCI_CONFIG = 2;

export function operationRegion(target: string, space: number, offset: number, sizeBytes: number): Aml {
  return [OP.EXT, EXT_OP_REGION, ...path(target), space, ...integer(offset), ...integer(sizeBytes)];
}

/** Byte-wide fields of a region, any access, no lock, preserved; offsets in bytes, ascending. */
export function byteFields(region: string, fields: readonly { readonly name: string; readonly offset: number }[]): Aml {
  let at = 0;
  const list = fields.flatMap((field) => {
    const gapBits = (field.offset - at) * 8;
    at = field.offset + 1;
    return [...(gapBits > 0 ? [0, ...fieldLength(gapBits)] : []), ...nameSegment(field.name), ...fieldLength(8)];
  });
  return [OP.EXT, EXT_FIELD, ...withLength([...path(region), 0x00, ...list])];
}

/** A field's width is written like a package's length, without counting itself. */
function fieldLength(bits: number): Aml {
  if (bits <= 0x3f) return [bits];
  return [(1 << 6) | (bits % 16), ...le(Math.floor(bits / 16), 1)];
}

// --- statements and expressions ---

export const local = (index: number): Aml => [OP.LOCAL0 + index];
export const arg = (index: number): Aml => [OP.ARG0 + index];
export const call = (target: string, ...values: readonly Aml[]): Aml => [...path(target), ...values.flat()];
export const store = (value: Aml, target: Aml): Aml => [OP.STORE, ...value, ...target];
/** @param target empty: the result is only the expression's value. */
export const and = (left: Aml, right: Aml, target: Aml = [0]): Aml => [OP.AND, ...left, ...right, ...target];
export const shiftLeft = (value: Aml, count: Aml, target: Aml = [0]): Aml => [OP.SHIFT_LEFT, ...value, ...count, ...target];
export const findSetRightBit = (value: Aml, target: Aml): Aml => [OP.FIND_SET_RIGHT_BIT, ...value, ...target];
export const decrement = (target: Aml): Aml => [OP.DECREMENT, ...target];
export const lequal = (left: Aml, right: Aml): Aml => [OP.LEQUAL, ...left, ...right];
export const lless = (left: Aml, right: Aml): Aml => [OP.LLESS, ...left, ...right];
export const ifThen = (condition: Aml, ...terms: readonly Aml[]): Aml => [OP.IF, ...withLength([...condition, ...terms.flat()])];
export const otherwise = (...terms: readonly Aml[]): Aml => [OP.ELSE, ...withLength(terms.flat())];
export const returns = (value: Aml): Aml => [OP.RETURN, ...value];
export const notify = (target: string, value: number): Aml => [OP.NOTIFY, ...path(target), ...integer(value)];
export const createWordField = (source: Aml, byteIndex: number, target: string): Aml => [
  OP.CREATE_WORD_FIELD,
  ...source,
  ...integer(byteIndex),
  ...path(target),
];

// --- resource descriptors (6.4) ---

/** Fixed ports: 16-bit decode, first = last possible base. */
export function io(port: number, sizeBytes: number): Aml {
  return [0x47, 0x01, ...le(port, 2), ...le(port, 2), 1, sizeBytes];
}

/** Edge, active high, exclusive. */
export function irqNoFlags(...irqs: readonly number[]): Aml {
  return [
    0x22,
    ...le(
      irqs.reduce((mask, irq) => mask | (1 << irq), 0),
      2,
    ),
  ];
}

/** Level, active low, shared. */
export function irqLevelLowShared(...irqs: readonly number[]): Aml {
  return [
    0x23,
    ...le(
      irqs.reduce((mask, irq) => mask | (1 << irq), 0),
      2,
    ),
    0x18,
  ];
}

export function memory32Fixed(start: number, sizeBytes: number, writable: boolean): Aml {
  return [0x86, 9, 0, writable ? 1 : 0, ...le(start, 4), ...le(sizeBytes, 4)];
}

const SPACE_MEMORY = 0,
  SPACE_IO = 1,
  SPACE_BUS = 2;
/** Producer, positive decode, both ends fixed. */
const FIXED = 0x0c;

/** An address space descriptor: tag and width in bytes of its numbers, type, flags, range. */
function addressSpace(tag: number, width: number, space: number, typeFlags: number, start: number, sizeBytes: number): Aml {
  const body = [
    space,
    FIXED,
    typeFlags,
    ...le(0, width),
    ...le(start, width),
    ...le(start + sizeBytes - 1, width),
    ...le(0, width),
    ...le(sizeBytes, width),
  ];
  return [tag, ...le(body.length, 2), ...body];
}

export const wordBusNumber = (first: number, count: number): Aml => addressSpace(0x88, 2, SPACE_BUS, 0, first, count);
/** Entire range. */
export const wordIo = (start: number, sizeBytes: number): Aml => addressSpace(0x88, 2, SPACE_IO, 3, start, sizeBytes);
/** Non-cacheable, read-write. */
export const dwordMemory = (start: number, sizeBytes: number): Aml => addressSpace(0x87, 4, SPACE_MEMORY, 1, start, sizeBytes);
export const qwordMemory = (start: number, sizeBytes: number): Aml => addressSpace(0x8a, 8, SPACE_MEMORY, 1, start, sizeBytes);

/** A buffer of descriptors with an end tag whose checksum is not used. */
export function resourceTemplate(...descriptors: readonly Aml[]): Aml {
  return buffer([...descriptors.flat(), 0x79, 0]);
}

export function toBytes(...terms: readonly Aml[]): Uint8Array {
  return new ByteWriter().bytes(terms.flat()).finish();
}
