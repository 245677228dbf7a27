/**
 * Assembles a random program out of pieces that can be left out one by one, in 64-bit, 32-bit and 16-bit code.
 * Implements: SDM vol. 2A 2.1 Instruction Format (what it needs of it). Runs on: any thread.
 */
import { CODE, CODE_BYTES, DATA, ENTRY, PAGE, STACK } from './program-map.ts';
import type { Random } from './random.ts';

export const PROGRAM_MODES = ['long', 'compat', 'protected', '16-bit'] as const;
export type ProgramMode = (typeof PROGRAM_MODES)[number];

export const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7;

/** A place: a piece's start and so many bytes behind it. */
export interface Place {
  readonly piece: Piece;
  readonly offset: number;
}
interface Fixup {
  /** Where in the piece. */
  readonly at: number;
  /** `relative`: 32 or 16 bits from the end of the field; `address`: linear; `pointer`: as a code pointer of the mode. */
  readonly kind: 'relative' | 'address' | 'pointer';
  readonly target: Place;
}
/** Some instructions (or data) that stand and fall together. A piece left out keeps its place: jumps to it go to what follows. */
export interface Piece {
  readonly bytes: number[];
  readonly fixups: Fixup[];
  /** Where instructions begin. */
  readonly starts: number[];
}

export interface Program {
  readonly mode: ProgramMode;
  /** The bytes from CODE + ENTRY on. */
  readonly code: Uint8Array;
  /** Offsets from CODE: for each instruction, the start of the one after it. */
  readonly next: ReadonlyMap<number, number>;
}

/** What other instructions may overwrite: an immediate (any byte), or an opcode byte among these. */
export interface Patchable extends Place {
  readonly sizeBytes: number;
  readonly choices?: readonly number[];
}

export class ProgramAssembler {
  readonly mode: ProgramMode;
  readonly random: Random;
  readonly pieces: Piece[] = [];
  readonly patchables: Patchable[] = [];
  #present: Piece = { bytes: [], fixups: [], starts: [] };

  constructor(mode: ProgramMode, random: Random) {
    this.mode = mode;
    this.random = random;
  }

  get long(): boolean {
    return this.mode === 'long';
  }
  get narrow(): boolean {
    return this.mode === '16-bit';
  }
  /** Width of the stack and of pointers to code, in bytes. */
  get wordBytes(): number {
    return this.long ? 8 : this.narrow ? 2 : 4;
  }

  // --- pieces ---

  piece(): Piece {
    this.#present = { bytes: [], fixups: [], starts: [] };
    this.pieces.push(this.#present);
    return this.#present;
  }
  /** A label for later: its piece is placed by `place`. */
  static label(): Piece {
    return { bytes: [], fixups: [], starts: [] };
  }
  place(label: Piece): void {
    this.pieces.push(label);
    this.piece();
  }
  here(): Place {
    return { piece: this.#present, offset: this.#present.bytes.length };
  }

  // --- bytes ---

  data(...bytes: number[]): void {
    for (const byte of bytes) this.#present.bytes.push(byte & 0xff);
  }
  i32(value: number): void {
    this.data(value, value >> 8, value >> 16, value >> 24);
  }
  /** The first bytes of an instruction. */
  instruction(...bytes: number[]): void {
    this.#present.starts.push(this.#present.bytes.length);
    this.data(...bytes);
  }
  #fixup(kind: Fixup['kind'], target: Place, sizeBytes: number): void {
    this.#present.fixups.push({ at: this.#present.bytes.length, kind, target });
    for (let i = 0; i < sizeBytes; i++) this.data(0);
  }
  /** Jump or call with a wide distance. */
  jump(opcode: readonly number[], target: Piece, offset = 0): void {
    this.instruction(...opcode);
    this.#fixup('relative', { piece: target, offset }, this.narrow ? 2 : 4);
  }
  /** `mov reg, address of code` */
  codePointer(reg: number, target: Piece): void {
    this.instruction(...(this.narrow ? [0x66] : reg >= 8 ? [0x41] : []), 0xb8 + (reg & 7));
    this.#fixup('pointer', { piece: target, offset: 0 }, 4);
  }
  /** ModRM of an absolute linear address, behind an opcode whose prefixes include `addressPrefix`. */
  absolute(reg: number, address: number | Place): void {
    this.data(...(this.long ? [((reg & 7) << 3) | 4, 0x25] : [((reg & 7) << 3) | 5]));
    if (typeof address === 'number') this.i32(this.narrow ? address - DATA : address);
    else this.#fixup('address', address, 4);
  }
  /** 16-bit code needs it for a 32-bit address. */
  get addressPrefix(): readonly number[] {
    return this.narrow ? [0x67] : [];
  }
  /** Prefix of an operand size. */
  sizePrefix(size: number): readonly number[] {
    return (this.narrow ? size === 4 : size === 2) ? [0x66] : [];
  }
  /** `mov r32, imm32`, with the immediate patchable. */
  moveImmediate(reg: number, value: number): void {
    this.instruction(...this.sizePrefix(4), ...(this.long ? [reg >= 8 ? 0x41 : 0x40] : []), 0xb8 + (reg & 7));
    this.patchables.push({ ...this.here(), sizeBytes: 4 });
    this.i32(value);
  }

  // --- operands ---

  destination(): number {
    return this.random.pick(this.long ? [RAX, RDX, RBX, 8, 9, 10, 11, 12] : [RAX, RDX]);
  }
  /** A register that holds an address near a border of the data. */
  base(): number {
    return this.random.pick(this.long ? [RSI, RDI, 13, 14] : [RSI, RDI, RBX]);
  }
  source(): number {
    return this.random.once(4) ? this.random.below(this.long ? 16 : 8) : this.destination();
  }
  rm(): number | 'memory' {
    return this.random.once(3) ? 'memory' : this.destination();
  }
  size(): number {
    return this.random.pick(this.long ? [1, 2, 4, 4, 4, 8, 8] : [1, 2, 4, 4]);
  }
  wide(): number {
    return this.random.pick(this.long ? [2, 4, 8] : [2, 4]);
  }
  displacement(): number {
    return this.random.below(64) - 32;
  }

  /**
   * Prefixes, opcode and ModRM of an operation between a register and a register or memory.
   * @param size operand size in bytes; 0 where the opcode fixes it, 16 where REX.W must not appear either.
   */
  modrm(size: number, opcode: readonly number[], reg: number, rm: number | 'memory', prefix: readonly number[] = []): void {
    const { random } = this,
      memory = rm === 'memory',
      base = memory ? this.base() : rm,
      indexed = memory && random.once(6),
      // 16-bit addresses have base registers of their own: SI, DI and BX are among them.
      narrowAddress = memory && this.narrow && !indexed && random.below(4) !== 0;
    this.instruction(...(memory && this.narrow && !narrowAddress ? [0x67] : []), ...this.sizePrefix(size), ...prefix);
    const rex = (size === 8 ? 8 : 0) | (reg >= 8 ? 4 : 0) | (base >= 8 ? 1 : 0);
    if (this.long && (rex !== 0 || random.once(3) === false)) this.data(0x40 | rex);
    this.data(...opcode);
    const field = (reg & 7) << 3;
    if (!memory) this.data(0xc0 | field | (base & 7));
    else if (narrowAddress) this.data(0x40 | field | (base === RSI ? 4 : base === RDI ? 5 : 7), this.displacement());
    else if (indexed) this.data(0x44 | field, (random.below(2) << 6) | (RCX << 3) | (base & 7), this.displacement());
    else this.data(0x40 | field | (base & 7), ...((base & 7) === RSP ? [0x24] : []), this.displacement());
  }

  // --- the end ---

  /** @param kept pieces to keep; all by default. The others shrink to nothing. */
  assemble(kept?: ReadonlySet<Piece>): Program {
    const places = new Map<Piece, number>(),
      code: number[] = [],
      starts: number[] = [];
    for (const piece of this.pieces) {
      places.set(piece, code.length);
      if (kept && !kept.has(piece)) continue;
      if (ENTRY + code.length + piece.bytes.length > CODE_BYTES - 16) continue;
      for (const start of piece.starts) starts.push(ENTRY + code.length + start);
      code.push(...piece.bytes);
    }
    const linear = ({ piece, offset }: Place): number => CODE + ENTRY + places.get(piece)! + offset;
    for (const piece of this.pieces) {
      const start = places.get(piece)!;
      if ((kept && !kept.has(piece)) || code.length < start + piece.bytes.length) continue;
      for (const { at, kind, target } of piece.fixups) {
        const size = kind === 'relative' && this.narrow ? 2 : 4,
          to = linear(target);
        const value =
          kind === 'relative'
            ? to - (CODE + ENTRY + start + at + size)
            : kind === 'pointer'
              ? to - (this.narrow ? CODE : 0)
              : to - (this.narrow ? DATA : 0);
        for (let i = 0; i < size; i++) code[start + at + i] = (value >> (8 * i)) & 0xff;
      }
    }
    const next = new Map<number, number>();
    starts.forEach((start, index) => next.set(start, starts[index + 1] ?? start));
    return { mode: this.mode, code: Uint8Array.from(code), next };
  }
}

/** Near a border between pages, or somewhere; as an offset that the mode's data (or stack) segment makes linear. */
export function nearBorder(random: Random, start: number, pages: number, narrow: boolean): number {
  const linear = start + random.below(pages) * PAGE + (random.once(3) ? random.below(PAGE) : random.below(96) - 48);
  return narrow ? linear - (start === STACK ? STACK : DATA) : linear;
}
