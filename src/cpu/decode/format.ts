/**
 * A decoded instruction as text in Intel's syntax, from its declaration: the line's name, its operand codes, and what the decoder found.
 * Implements: SDM vol. 2A 3.1.1.3 Instruction Column (names and operands). Runs on: any thread; cold, and loads all declarations.
 */
import type { Size } from '../emit.ts';
import { LINES } from '../isa/index.ts';
import type { Line, OperandCode } from '../isa/inst.ts';
import { shapesOf } from '../shapes.ts';
import { GPR_NAMES, SEG, VCPU } from '../state.ts';
import type { Row } from './table.ts';
import { ENV_LEGACY16, ENV_LONG32, ENV_LONG64, PREFIX_LOCK, PREFIX_PLAIN, PREFIX_REPNE } from './variants.ts';

/** What the decoder knows of an instruction, and what a region keeps of it. */
export interface Formattable {
  readonly row: Row;
  readonly lengthBytes: number;
  readonly operandSize: number;
  readonly environment: number;
  readonly prefix: number;
  readonly isMemory: boolean;
  readonly base: number;
  readonly index: number;
  readonly scale: number;
  readonly dispLow: number;
  readonly dispHigh: number;
  readonly ripRelative: boolean;
  readonly segment: number;
  readonly registers: ArrayLike<number>;
  readonly immediateLow: number;
  readonly immediateHigh: number;
}

const { gpr: GPR, vector: VECTOR, fpr: FPR, zero: ZERO } = VCPU.offset;
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const POINTED: Readonly<Record<number, string>> = { 1: 'byte', 2: 'word', 4: 'dword', 8: 'qword', 10: 'tbyte', 16: 'xmmword' };
const SUFFIX: Readonly<Record<number, string>> = { 1: 'b', 2: 'w', 4: 'd', 8: 'q' };
const STRINGS = new Set(['movs', 'cmps', 'stos', 'lods', 'scas', 'ins', 'outs']);
/** Names that say the operand's size, by 2, 4 and 8 bytes. */
const BY_SIZE: Readonly<Record<string, readonly [string, string, string]>> = {
  cbw: ['cbw', 'cwde', 'cdqe'],
  cwd: ['cwd', 'cdq', 'cqo'],
  pushf: ['pushf', 'pushfd', 'pushfq'],
  popf: ['popf', 'popfd', 'popfq'],
  pusha: ['pusha', 'pushad', ''],
  popa: ['popa', 'popad', ''],
  iret: ['iret', 'iretd', 'iretq'],
  sysret: ['sysret', 'sysret', 'sysretq'],
  sysexit: ['sysexit', 'sysexit', 'sysexitq'],
};
/** The segment register that an opcode names, and those of IN and OUT. */
const IMPLIED: Readonly<Record<string, string>> = {
  '06': 'es',
  '0e': 'cs',
  '16': 'ss',
  '1e': 'ds',
  '07': 'es',
  '17': 'ss',
  '1f': 'ds',
  '0f a0': 'fs',
  '0f a1': 'fs',
  '0f a8': 'gs',
  '0f a9': 'gs',
};
const PORTS = new Set(['in', 'out']);
/** Their operands go without saying. */
const SILENT = new Set(['cwd', 'sahf', 'lahf', 'salc']);

/** @param rip its own address, for the targets of direct jumps */
export function formatInstruction(at: Formattable, rip: bigint): string {
  const line = LINES[at.row.lineIndex]!,
    operands = operandsOf(at, line, rip);
  return `${prefixOf(at, line)}${nameOf(at, line)}${operands.length > 0 ? ` ${operands.join(', ')}` : ''}`;
}

function prefixOf({ prefix }: Formattable, line: Line): string {
  switch (prefix) {
    case PREFIX_PLAIN:
      return '';
    case PREFIX_LOCK:
      return 'lock ';
    case PREFIX_REPNE:
      return 'repne ';
    default:
      return line.attributes.rep === 'zero' ? 'repe ' : 'rep ';
  }
}

function nameOf(at: Formattable, line: Line): string {
  const { name } = line,
    { operandSize, environment } = at;
  if (STRINGS.has(name)) return name + SUFFIX[stringBytes(at, line)]!;
  if (name === 'jrcxz') return environment === ENV_LEGACY16 ? 'jcxz' : environment === ENV_LONG64 ? 'jrcxz' : 'jecxz';
  return BY_SIZE[name]?.[operandSize >> 2] ?? name;
}
function stringBytes(at: Formattable, line: Line): number {
  const place = shapes(at, line).find(({ kind }) => kind === 'mem' || kind === 'stringDestination')!;
  return 'size' in place ? place.size : 0;
}

const shapes = ({ operandSize, isMemory, prefix }: Formattable, line: Line): ReturnType<typeof shapesOf> =>
  shapesOf(line, operandSize as Size, isMemory, prefix);

function operandsOf(at: Formattable, line: Line, rip: bigint): string[] {
  const { name, encodingText } = line,
    texts: string[] = [];
  if (SILENT.has(name)) return texts;
  // A control or debug register is moved whole.
  const whole = line.operands.some(({ kind }) => kind === 'C' || kind === 'D') ? (at.environment <= ENV_LONG32 ? 8 : 4) : 0;
  let registers = 0,
    immediates = 0;
  for (const [index, shape] of shapes(at, line).entries()) {
    const code = line.operands[index]!;
    switch (shape.kind) {
      case 'gpr':
        texts.push(registerName(at.registers[registers++]!, whole || shape.size));
        break;
      case 'vector':
        texts.push(`xmm${(at.registers[registers++]! - VECTOR) / 32}`);
        break;
      case 'mmx':
        texts.push(`mm${(at.registers[registers++]! - FPR) / 16}`);
        break;
      case 'number':
        texts.push(numberedName(code, at.registers[registers++]!));
        break;
      case 'mem':
        texts.push(memory(at, code, shape.size, name === 'lea'));
        break;
      case 'stringDestination':
        texts.push(`${POINTED[shape.size]!} ptr [${addressName(7, at.environment)}]`);
        break;
      case 'imm':
        if (code.kind !== 'opcode') texts.push(immediate(at, immediates++ > 0, shape.size));
        break;
      case 'rel':
        texts.push(hex(targetOf(at, rip)));
        break;
      case 'far':
        texts.push(`${hex(BigInt(at.dispLow & 0xffff))}:${hex(BigInt.asUintN(32, BigInt(at.immediateLow)))}`);
    }
  }
  // Of a string instruction the accumulator goes without saying.
  if (STRINGS.has(name))
    return name === 'ins' ? [...texts, 'dx'] : name === 'outs' ? ['dx', ...texts] : texts.filter((text) => text.includes('['));
  if (PORTS.has(name)) {
    const accumulator = registerName(GPR, parseInt(encodingText, 16) & 1 ? Math.min(at.operandSize, 4) : 1);
    return name === 'in' ? [accumulator, ...texts] : [...texts, accumulator];
  }
  const implied = name === 'push' || name === 'pop' ? IMPLIED[encodingText] : undefined;
  if (implied !== undefined) return [implied];
  return line.fpu === 'x87' && texts.length === 1 && texts[0]!.startsWith('st(') ? withTop(line, texts[0]!) : texts;
}

/** Of two x87 registers, one is the top; which comes first says where the result goes. */
function withTop({ name, encoding }: Line, other: string): string[] {
  if (/^fcmov|^fu?com/.test(name) || encoding.opcode === 0xd8) return ['st(0)', other];
  return encoding.opcode === 0xdc || encoding.opcode === 0xde ? [other, 'st(0)'] : [other];
}

function registerName(offset: number, size: number): string {
  const number = (offset - GPR) >> 3,
    name: string = GPR_NAMES[number]!;
  if (offset & 7) return `${name[1]!}h`;
  if (size === 8) return name;
  if (number >= 8) return `${name}${size === 4 ? 'd' : size === 2 ? 'w' : 'b'}`;
  const short = name.slice(1);
  if (size === 1) return number < 4 ? `${name[1]!}l` : `${short}l`;
  return size === 4 ? `e${short}` : short;
}
const addressName = (number: number, environment: number): string =>
  registerName(GPR + number * 8, environment === ENV_LONG64 ? 8 : environment === ENV_LEGACY16 ? 2 : 4);

function numberedName({ kind }: OperandCode, number: number): string {
  switch (kind) {
    case 'S':
      return SEGMENTS[number] ?? `seg${number}`;
    case 'C':
      return `cr${number}`;
    case 'D':
      return `dr${number}`;
    default:
      return `st(${number})`;
  }
}

function memory(at: Formattable, { text }: OperandCode, size: number, isAddress: boolean): string {
  const { environment, base, index, scale, ripRelative, segment } = at,
    long = environment <= ENV_LONG32,
    isStack = base === GPR + 4 * 8 || base === GPR + 5 * 8,
    addressBits = environment === ENV_LONG64 ? 64 : environment === ENV_LEGACY16 ? 16 : 32,
    terms: string[] = [];
  if (ripRelative) terms.push(environment === ENV_LONG64 ? 'rip' : 'eip');
  else if (base !== ZERO) terms.push(addressName((base - GPR) >> 3, environment));
  if (index !== ZERO) terms.push(`${addressName((index - GPR) >> 3, environment)}${scale > 0 ? `*${1 << scale}` : ''}`);
  const displacement = join(at.dispLow, at.dispHigh);
  let inside = terms.join('+');
  if (terms.length === 0) inside = hex(BigInt.asUintN(addressBits, displacement));
  else if (displacement !== 0n) inside += displacement < 0n ? `-${hex(-displacement)}` : `+${hex(displacement)}`;
  const shown = !isAddress && (long ? segment >= SEG.FS : segment !== (isStack ? SEG.SS : SEG.DS)),
    pointed = text === 'Mp' ? 'far' : POINTED[size];
  return `${pointed === undefined ? '' : `${pointed} ptr `}${shown ? `${SEGMENTS[segment]!}:` : ''}[${inside}]`;
}

function immediate(at: Formattable, isSecond: boolean, size: number): string {
  const value = isSecond ? join(at.dispLow, at.dispHigh) : join(at.immediateLow, at.immediateHigh);
  return hex(BigInt.asUintN(size * 8, value));
}

function targetOf({ lengthBytes, immediateLow, immediateHigh, operandSize, environment }: Formattable, rip: bigint): bigint {
  const target = rip + BigInt(lengthBytes) + join(immediateLow, immediateHigh);
  return BigInt.asUintN(environment <= ENV_LONG32 ? 64 : operandSize * 8, target);
}

const join = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low >>> 0);
const hex = (value: bigint): string => `0x${value.toString(16)}`;
