/**
 * Random programs for comparing the tiers: blocks joined by conditional and unconditional jumps, loops that end because they count rCX down,
 * calls, memory at page borders, read-only and missing pages, flags that live across branches, and stores into the program's own code.
 * Implements: SDM vol. 2A 2.1 Instruction Format (what it needs of it). Runs on: any thread; the same seed gives the same program.
 */
export const CODE_START = 0x10e00,
  CODE_END = 0x14000;
export const DATA_START = 0x20000,
  DATA_PAGES = 5;
export const STACK_TOP = 0x31000;

/** xorshift32. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = (Math.imul(seed, 2654435761) ^ 0x9e3779b9) | 1;
  }
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
  below(end: number): number {
    return this.next() % end;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

export interface Program {
  readonly code: Uint8Array;
  /** Addresses of the blocks: where to go on after a fault. */
  readonly blocks: readonly number[];
}

const RAX = 0,
  RCX = 1,
  RSI = 6,
  RDI = 7;
const DESTINATIONS = [RAX, 2, 3, 5, 8, 9, 10, 11, 12] as const;
const BASES = [RSI, RDI, 13, 14] as const;

interface Fixup {
  readonly at: number;
  readonly block: number;
}

class Assembler {
  readonly bytes: number[] = [];
  readonly random: Random;
  readonly blocks: number[] = [];
  readonly fixups: Fixup[] = [];
  /** Addresses of immediate bytes that other instructions may change. */
  readonly patchable: number[] = [];
  readonly patches: { readonly at: number; readonly size: number }[] = [];

  constructor(random: Random) {
    this.random = random;
  }
  emit(...bytes: number[]): void {
    for (const byte of bytes) this.bytes.push(byte & 0xff);
  }
  i32(value: number): void {
    this.emit(value, value >> 8, value >> 16, value >> 24);
  }
  destination(): number {
    return this.random.pick(DESTINATIONS);
  }
  source(): number {
    return this.random.below(4) === 0 ? this.random.below(16) : this.destination();
  }
  /** Prefixes, opcode and ModRM of an operation between a register and a register or memory. */
  modrm(size: number, opcode: readonly number[], reg: number, rm: number | 'memory', prefix: readonly number[] = []): void {
    const { random } = this;
    const base = rm === 'memory' ? random.pick(BASES) : rm,
      indexed = rm === 'memory' && random.below(6) === 0;
    this.emit(...prefix);
    if (size === 2) this.emit(0x66);
    this.emit(0x40 | (size === 8 ? 8 : 0) | (reg >= 8 ? 4 : 0) | (base >= 8 ? 1 : 0));
    this.emit(...opcode);
    if (rm !== 'memory') this.emit(0xc0 | ((reg & 7) << 3) | (rm & 7));
    else if (indexed) this.emit(0x44 | ((reg & 7) << 3), (random.below(2) << 6) | (RCX << 3) | (base & 7), random.below(64) - 32);
    else this.emit(0x40 | ((reg & 7) << 3) | (base & 7), random.below(64) - 32);
  }
  rm(): number | 'memory' {
    return this.random.below(3) === 0 ? 'memory' : this.destination();
  }
  size(): number {
    return this.random.pick([1, 2, 4, 4, 4, 8, 8]);
  }
  /** A jump or call with a 32-bit distance. */
  jump(opcode: readonly number[], block: number): void {
    this.emit(...opcode);
    this.fixups.push({ at: this.bytes.length, block });
    this.i32(0);
  }
}

type Maker = (a: Assembler) => void;
const wide = (size: number, byteOpcode: number): number => byteOpcode | (size === 1 ? 0 : 1);

/** Instructions of straight-line code. */
const MAKERS: readonly Maker[] = [
  (a) => {
    const size = a.size(),
      op = a.random.below(8);
    a.modrm(size, [wide(size, op * 8)], a.source(), op === 7 ? a.rm() : a.rm());
  },
  (a) => {
    const size = a.size(),
      op = a.random.below(8);
    a.modrm(size, [wide(size, op * 8) + 2], a.destination(), a.rm());
  },
  (a) => {
    const size = a.size(),
      op = a.random.below(8);
    a.modrm(size, [size === 1 ? 0x80 : 0x83], op, a.rm());
    a.emit(a.random.next());
  },
  (a) => {
    const register = a.destination();
    a.emit(register >= 8 ? 0x41 : 0x40, 0xb8 + (register & 7));
    a.patchable.push(a.bytes.length);
    a.i32(a.random.next());
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0x88)], a.source(), a.rm());
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0x8a)], a.destination(), 'memory');
  },
  (a) => a.modrm(a.random.pick([4, 8]), [0x0f, a.random.pick([0xb6, 0xb7, 0xbe, 0xbf])], a.destination(), a.rm()),
  (a) => a.modrm(a.random.pick([4, 8]), [0x8d], a.destination(), 'memory'),
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0xc0)], a.random.below(8), a.rm());
    a.emit(a.random.below(40));
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, a.random.pick([0xd0, 0xd2]))], a.random.below(8), a.rm());
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0xfe)], a.random.below(2), a.rm());
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0xf6)], a.random.pick([2, 3, 4, 5]), a.rm());
  },
  (a) => {
    if (a.random.below(4) !== 0) return;
    const size = a.size();
    a.modrm(size, [wide(size, 0xf6)], a.random.pick([6, 7]), a.rm());
  },
  (a) => a.modrm(a.random.pick([2, 4, 8]), [0x0f, 0xaf], a.destination(), a.rm()),
  (a) => a.modrm(1, [0x0f, 0x90 + a.random.below(16)], 0, a.rm()),
  (a) => a.modrm(a.random.pick([2, 4, 8]), [0x0f, 0x40 + a.random.below(16)], a.destination(), a.rm()),
  (a) => a.modrm(a.random.pick([2, 4, 8]), [0x0f, a.random.pick([0xa3, 0xab, 0xb3, 0xbb])], a.source(), a.destination()),
  (a) => {
    a.modrm(a.random.pick([2, 4, 8]), [0x0f, 0xba], 4 + a.random.below(4), a.rm());
    a.emit(a.random.next());
  },
  (a) => a.modrm(a.random.pick([2, 4, 8]), [0x0f, a.random.pick([0xbc, 0xbd])], a.destination(), a.rm()),
  (a) => a.modrm(a.random.pick([2, 4, 8]), [0x0f, a.random.pick([0xa5, 0xad])], a.source(), a.rm()),
  (a) => {
    const register = a.destination();
    a.emit(register >= 8 ? 0x41 : 0x40, (a.random.below(2) ? 0x50 : 0x58) + (register & 7));
  },
  (a) => a.emit(a.random.pick([0x9c, 0xf5, 0xf8, 0xf9, 0x98, 0x99, 0x9f, 0x9e])),
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0x86)], a.destination(), a.rm());
  },
  (a) => {
    const size = a.size(),
      locked = a.random.below(2) === 0;
    a.modrm(size, [0x0f, wide(size, a.random.pick([0xc0, 0xb0]))], a.destination(), locked ? 'memory' : a.rm(), locked ? [0xf0] : []);
  },
  (a) => {
    const size = a.random.pick([1, 2, 4]);
    a.modrm(size, [wide(size, a.random.pick([0x00, 0x28, 0x30, 0x08]))], a.destination(), 'memory', [0xf0]);
  },
  // MOVS STOS LODS SCAS CMPS, sometimes repeated (rCX counts loops: it may run out here)
  (a) => {
    if (a.random.below(12) === 0) a.emit(0xf3);
    a.emit(...a.random.pick([[0xa4], [0x48, 0xa5], [0xaa], [0xab], [0xac], [0xae], [0xa6], [0x48, 0xa7]]));
  },
  // MOVDQU, PADDD, PXOR, ADDSD, MOVSD, UCOMISD
  (a) =>
    a.modrm(
      4,
      a.random.pick([
        [0x0f, 0x10],
        [0x0f, 0x11],
        [0x0f, 0x58],
        [0x0f, 0x57],
        [0x0f, 0x2e],
      ]),
      a.random.below(8),
      a.random.below(2) ? 'memory' : a.random.below(8),
      a.random.pick([[], [0x66]]),
    ),
  (a) => a.modrm(4, [0x0f, a.random.pick([0x6f, 0xfe, 0xef, 0x7f])], a.random.below(8), a.random.below(8), [0x66]),
  (a) => a.modrm(8, [0x0f, a.random.pick([0x6e, 0x7e])], a.random.below(8), a.destination(), [0x66]),
  // A base register back near a border: mov r32, address
  (a) => {
    const base = a.random.pick(BASES);
    a.emit(base >= 8 ? 0x41 : 0x40, 0xb8 + (base & 7));
    a.i32(DATA_START + a.random.below(DATA_PAGES) * 4096 + a.random.below(96) - 48);
  },
  // A store into the program's own code: mov byte [rip + d], imm8
  (a) => {
    if (a.random.below(6) !== 0) return;
    a.emit(0xc6, 0x05);
    a.patches.push({ at: a.bytes.length, size: 5 });
    a.i32(0);
    a.emit(a.random.next());
  },
];

export function randomProgram(seed: number): Program {
  const random = new Random(seed),
    a = new Assembler(random),
    count = 3 + random.below(8),
    functions = random.below(3);
  for (let block = 0; block < count; block++) {
    a.blocks.push(a.bytes.length);
    for (let i = random.below(14); i >= 0; i--) random.pick(MAKERS)(a);
    const kind = random.below(8),
      forward = block + 1 + random.below(count - block);
    if (kind < 3) a.jump([0x0f, 0x80 + random.below(16)], forward);
    else if (kind < 6) {
      // jcc over { jrcxz over; loop back; over: }, with a short LOOP where it reaches, else its inverse by a jump
      const back = random.below(block + 1),
        over = a.bytes.length;
      a.emit(0x70 + random.below(16), 0, 0xe3, 0, 0xe2, 2, 0xeb, 5);
      a.jump([0xe9], back);
      a.bytes[over + 1] = a.bytes.length - over - 2;
      a.bytes[over + 3] = a.bytes.length - over - 4;
    } else if (kind === 6 && functions > 0) a.jump([0xe8], count + 1 + random.below(functions));
    else if (random.below(2)) a.jump([0xe9], forward);
    else {
      // lea rax, [rip + d]; jmp rax
      a.jump([0x48, 0x8d, 0x05], forward);
      a.emit(0xff, 0xe0);
    }
    if (random.below(4) === 0) for (let i = random.below(600); i > 0; i--) a.emit(0x90); // so that pages are crossed
  }
  a.blocks.push(a.bytes.length);
  a.emit(0xf4);
  for (let i = 0; i < functions; i++) {
    a.blocks.push(a.bytes.length);
    for (let n = random.below(8); n >= 0; n--) random.pick(MAKERS)(a);
    a.emit(0xc3);
  }
  for (const { at, block } of a.fixups) put32(a.bytes, at, a.blocks[block]! - at - 4);
  for (const { at, size } of a.patches) {
    const target = a.patchable.length > 0 ? random.pick(a.patchable) + random.below(4) : a.bytes.length + 64;
    put32(a.bytes, at, target - (at + size));
  }
  return { code: Uint8Array.from(a.bytes), blocks: a.blocks.slice(0, count + 1).map((offset) => CODE_START + offset) };
}

function put32(bytes: number[], at: number, value: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = (value >> (8 * i)) & 0xff;
}
