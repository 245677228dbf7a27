/**
 * One line per row of SDM vol. 2: what is declared of an instruction, and how a line is written.
 * Implements: SDM vol. 2A 3.1 (columns Opcode/Instruction), vol. 2D Appendix A.2 (operand codes). Runs on: any thread; tables only.
 *
 * Operands are the codes of Appendix A.2 (`Ev,Gv`); ours are `Zv`, the register in the opcode's low three bits, `Ibs`, a sign-extended
 * byte, `STi`, and `opcode`, the 11 bits that the x87's last-opcode register takes. `w` and `rw` mark what is written. The encoding is the
 * manual's: `66 0f fe /r`, `0f 01 d0`, `d8 c0+i`, `b8+r`, `np 0f 77`.
 */
import type { Emit, Operand } from '../emit.ts';
import { PREFIX_66, PREFIX_ANY, PREFIX_F2, PREFIX_F3, PREFIX_NONE, PREFIX_NOREP } from './prefixes.ts';

export type Body = (b: Emit, ...operands: Operand[]) => void;

/** What an instruction does to the status flags. `through`: reads and writes; `update`: may keep some. */
export type FlagEffect = 'none' | 'write' | 'read' | 'through' | 'update';

/**
 * How a line ends a block. `system`: the run loop may have to look around before the next instruction; `transfer`: the same, and a helper has set rip.
 */
export type Ends = 'no' | 'jump' | 'branch' | 'call' | 'return' | 'system' | 'transfer';

/** Which part of the FPU state a line needs; it is refused as SDM vol. 3A table 2-2 says. */
export type FpuUse = 'none' | 'x87' | 'mmx' | 'sse' | 'fwait';

export interface Attributes {
  /** Letters of the flags written, such as `oszapc`; only documentation and tests read them. */
  readonly flags?: string;
  readonly effect?: FlagEffect;
  /** Letters of the flags that the SDM leaves undefined. */
  readonly undefined?: string;
  readonly lock?: boolean;
  /** With a memory operand it is locked whether it says so or not (XCHG). */
  readonly alwaysLocked?: boolean;
  readonly rep?: 'count' | 'zero';
  /** 64-bit operand by default in 64-bit mode; 66h makes it 16. */
  readonly d64?: boolean;
  /** 64-bit operand always in 64-bit mode. */
  readonly f64?: boolean;
  readonly ends?: Ends;
  readonly mode?: 'any' | '64' | 'not64';
  readonly fpu?: FpuUse;
  /** A 16-byte memory operand may lie anywhere. */
  readonly unaligned?: boolean;
  /** A 16-byte memory operand must be aligned though the line is no SSE one. */
  readonly aligned?: boolean;
  readonly cpuid?: string;
  /** Done once before the first iteration, even when rCX is 0. */
  readonly before?: Body;
  /** Functions that run a whole page's worth of iterations, beside the plain body. */
  readonly bulk?: 'movs' | 'stos';
}

export type OperandKind =
  | 'E' | 'R' | 'M' | 'G' | 'Z' | 'I' | 'J' | 'A' | 'O' | 'X' | 'Y' | 'S' | 'C' | 'D' | 'V' | 'W' | 'U' | 'P' | 'Q' | 'N' | 'STi' | 'fixed' | 'one' | 'opcode';
/** Bytes; or by operand size: v 2/4/8, y 4/8 by REX.W, z 2/4/4; 0 where only the address counts. */
export type OperandSize = 0 | 1 | 2 | 4 | 8 | 10 | 16 | 'v' | 'y' | 'z';

export interface OperandCode {
  readonly text: string;
  readonly kind: OperandKind;
  readonly size: OperandSize;
  readonly read: boolean;
  readonly write: boolean;
  /** `fixed`: number of the general register. `I`: sign-extended byte. */
  readonly register: number;
  readonly signedByte: boolean;
}

export interface Encoding {
  /** 0 one-byte, 1 `0f`, 2 `0f 38`, 3 `0f 3a`. */
  readonly map: number;
  readonly opcode: number;
  /** How many consecutive opcodes the line covers: 8 for +r. */
  readonly opcodes: number;
  readonly prefix: number;
  /** ModRM.reg, or -1. */
  readonly digit: number;
  /** The whole ModRM byte lies in [modrmFrom, modrmEnd), where modrmFrom >= 0. */
  readonly modrmFrom: number;
  readonly modrmEnd: number;
  readonly hasModrm: boolean;
  /** ModRM.mod: 0 either, 1 memory, 2 register. */
  readonly mod: number;
  /** REX.W: -1 either. */
  readonly rexW: number;
  /** Only without REX.B (NOP among the XCHGs). */
  readonly noRexB: boolean;
}

export interface Line {
  readonly name: string;
  readonly operands: readonly OperandCode[];
  readonly encoding: Encoding;
  readonly encodingText: string;
  readonly body: Body;
  readonly effect: FlagEffect;
  readonly attributes: Attributes;
  readonly ends: Ends;
  readonly fpu: FpuUse;
}

export const w = (code: string): string => `w:${code}`;
export const rw = (code: string): string => `rw:${code}`;

const FIXED: Readonly<Record<string, readonly [number, OperandSize]>> = {
  AL: [0, 1], AX: [0, 2], EAX: [0, 4], rAX: [0, 'v'], CL: [1, 1], DX: [2, 2], rDX: [2, 'v'], rCX: [1, 'v'], rBP: [5, 'v'], AH: [-1, 1],
};
const SIZES: Readonly<Record<string, OperandSize>> = {
  '': 0, b: 1, bs: 1, w: 2, d: 4, q: 8, t: 10, v: 'v', y: 'y', z: 'z', x: 16, dq: 16, ps: 16, pd: 16, ss: 4, sd: 8, p: 0, s: 0,
};

function parseOperand(text: string): OperandCode {
  const write = /^r?w:/.test(text), read = !text.startsWith('w:');
  const code = text.replace(/^r?w:/, '');
  const common = { text: code, read, write, register: 0, signedByte: false };
  const fixed = FIXED[code];
  if (fixed) return { ...common, kind: 'fixed', register: fixed[0], size: fixed[1] };
  if (code === '1') return { ...common, kind: 'one', size: 1 };
  if (code === 'STi') return { ...common, kind: 'STi', size: 10 };
  if (code === 'opcode') return { ...common, kind: 'opcode', size: 4 };
  const match = /^([EGMRZIJAOXYSCDVWUPQN])([a-z]*)$/.exec(code);
  const size = match ? SIZES[match[2]!] : undefined;
  if (!match || size === undefined) throw new Error(`operand code ${text}`);
  if (code === 'Ibs') return { ...common, kind: 'I', size: 'v', signedByte: true };
  return { ...common, kind: match[1] as OperandKind, size };
}

function parseEncoding(text: string, operands: readonly OperandCode[]): Encoding {
  const words = text.toLowerCase().split(' ');
  let prefix = PREFIX_ANY, rexW = -1, map = 0, noRexB = false;
  for (;;) {
    const word = words[0];
    if (word === 'np') prefix = PREFIX_NONE;
    else if (word === 'nfx') prefix = PREFIX_NOREP;
    else if (word === '66' && words.length > 1) prefix = PREFIX_66;
    else if (word === 'f3' && words.length > 1) prefix = PREFIX_F3;
    else if (word === 'f2' && words.length > 1) prefix = PREFIX_F2;
    else if (word === 'rex.w') rexW = 1;
    else if (word === 'rex.w0') rexW = 0;
    else if (word === 'rex.b0') noRexB = true;
    else break;
    words.shift();
  }
  if (words[0] === '0f' && words.length > 1) {
    words.shift();
    map = 1;
    const escape = words[0] as string;
    if ((escape === '38' || escape === '3a') && words.length > 1 && /^[0-9a-f]{2}/.test(words[1]!)) {
      words.shift();
      map = escape === '38' ? 2 : 3;
    }
  }
  const first = words.shift()!;
  const opcode = parseInt(first, 16), opcodes = first.endsWith('+r') ? 8 : 1;
  let digit = -1, modrmFrom = -1, modrmEnd = -1;
  for (const word of words) {
    if (/^\/[0-7]$/.test(word)) digit = Number(word[1]);
    const fixed = /^([0-9a-f]{2})(\+i)?$/.exec(word);
    if (fixed) {
      modrmFrom = parseInt(fixed[1]!, 16);
      modrmEnd = modrmFrom + (fixed[2] ? 8 : 1);
    }
  }
  const kinds = operands.map((operand) => operand.kind);
  const has = (list: string): boolean => kinds.some((kind) => list.includes(kind) && kind.length === 1);
  const hasModrm = digit >= 0 || modrmFrom >= 0 || words.includes('/r') || has('EGMRSCDVWUPQN');
  const mod = has('M') ? 1 : has('RUNCD') ? 2 : 0;
  return { map, opcode, opcodes, prefix, digit, modrmFrom, modrmEnd, hasModrm, mod, rexW, noRexB };
}

export function inst(name: string, operandTexts: readonly string[], encodingText: string, body: Body, attributes: Attributes = {}): Line {
  const operands = operandTexts.map(parseOperand);
  return {
    name, operands, body, attributes, encodingText,
    encoding: parseEncoding(encodingText, operands),
    effect: attributes.effect ?? (attributes.flags ? 'write' : 'none'),
    ends: attributes.ends ?? 'no',
    fpu: attributes.fpu ?? 'none',
  };
}
