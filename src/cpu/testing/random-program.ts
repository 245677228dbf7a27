/**
 * Random programs for comparing the tiers: nested loops and such with several entries, forward and wild branches, calls and returns of every kind,
 * memory at page borders, pages that go missing, flags that live across branches, strings, SSE, x87 and LOCK, code that changes itself or is mapped anew.
 * The same seed gives the same program. Runs on: any thread.
 */
import { PROGRAM_MODES, ProgramAssembler, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, nearBorder } from './program-assembler.ts';
import type { Piece, ProgramMode } from './program-assembler.ts';
import {
  CODE,
  CODE_ALIAS,
  CODE_PAGES,
  DATA,
  DATA_PAGES,
  PAGE,
  PT_WINDOW,
  SLOTS,
  STACK,
  STACK_PAGES,
  VECTOR_RELOAD,
} from './program-map.ts';
import { Random } from './random.ts';

type A = ProgramAssembler;
type Maker = (a: A) => void;
const wide = (size: number, byteOpcode: number): number => byteOpcode | (size === 1 ? 0 : 1);
const JMP = [0xe9],
  CALL = [0xe8];

/** Group 1 operations differ in these opcode bytes only. */
const GROUP1_LOADS = [0x03, 0x0b, 0x13, 0x1b, 0x23, 0x2b, 0x33, 0x3b];

/** @param address linear @param opcode of an instruction with a memory operand of 1 or 4 bytes */
function onMemory(a: A, prefix: readonly number[], opcode: readonly number[], reg: number, address: Parameters<A['absolute']>[1]): void {
  a.instruction(...a.addressPrefix, ...prefix, ...opcode);
  a.absolute(reg, address);
}
const reload: Maker = (a) => a.instruction(0xcd, VECTOR_RELOAD);

const INTEGER: readonly Maker[] = [
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, a.random.below(8) * 8)], a.source(), a.rm());
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, a.random.below(8) * 8) + 2], a.destination(), a.rm());
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [size === 1 ? 0x80 : 0x83], a.random.below(8), a.rm());
    a.patchables.push({ ...a.here(), sizeBytes: 1 });
    a.data(a.random.next());
  },
  // add, or, ... eax, edx: the operation may be changed
  (a) => {
    a.instruction();
    a.patchables.push({ ...a.here(), sizeBytes: 1, choices: GROUP1_LOADS });
    a.data(a.random.pick(GROUP1_LOADS), 0xc2);
  },
  // add or sub, then adc or sbb: a chain
  (a) => {
    const size = a.size(),
      first = a.random.pick([0x00, 0x28]);
    a.modrm(size, [wide(size, first)], a.destination(), a.rm());
    for (let i = a.random.below(4); i > 0; i--) a.modrm(size, [wide(size, first ? 0x18 : 0x10)], a.destination(), a.rm());
  },
  (a) => a.moveImmediate(a.destination(), a.random.next()),
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0x88)], a.source(), a.rm());
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0x8a)], a.destination(), 'memory');
  },
  (a) => a.modrm(a.wide(), [0x0f, a.random.pick([0xb6, 0xb7, 0xbe, 0xbf])], a.destination(), a.rm()),
  (a) => a.modrm(a.wide(), [0x8d], a.destination(), 'memory'),
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0xc0)], a.random.below(8), a.rm());
    a.data(a.random.pick([0, 1, a.random.below(70)]));
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
    if (!a.random.once(3)) return;
    const size = a.size();
    a.modrm(size, [wide(size, 0xf6)], a.random.pick([6, 7]), a.rm());
  },
  (a) => a.modrm(a.wide(), [0x0f, 0xaf], a.destination(), a.rm()),
  (a) => a.modrm(1, [0x0f, 0x90 + a.random.below(16)], 0, a.rm()),
  (a) => a.modrm(a.wide(), [0x0f, 0x40 + a.random.below(16)], a.destination(), a.rm()),
  (a) => a.modrm(a.wide(), [0x0f, a.random.pick([0xa3, 0xab, 0xb3, 0xbb])], a.source(), a.rm()),
  (a) => {
    a.modrm(a.wide(), [0x0f, 0xba], 4 + a.random.below(4), a.rm());
    a.data(a.random.next());
  },
  (a) => a.modrm(a.wide(), [0x0f, a.random.pick([0xbc, 0xbd])], a.destination(), a.rm()),
  (a) => a.modrm(a.wide(), [0x0f, a.random.pick([0xa5, 0xad])], a.source(), a.rm()),
  (a) => {
    const register = a.destination();
    a.instruction(...(register >= 8 ? [0x41] : []), (a.random.once(2) ? 0x50 : 0x58) + (register & 7));
  },
  (a) => a.instruction(a.random.pick([0x9c, 0xf5, 0xf8, 0xf9, 0x98, 0x99, 0x9f, 0x9e])),
  // push imm8; popf
  (a) => {
    a.instruction(0x6a, a.random.next() & 0xd5);
    a.instruction(0x9d);
  },
  (a) => {
    const size = a.size();
    a.modrm(size, [wide(size, 0x86)], a.destination(), a.rm());
  },
  (a) => {
    const size = a.size(),
      locked = a.random.once(2);
    a.modrm(size, [0x0f, wide(size, a.random.pick([0xc0, 0xb0]))], a.destination(), locked ? 'memory' : a.rm(), locked ? [0xf0] : []);
  },
  (a) => {
    const size = a.random.pick([1, 2, 4]);
    a.modrm(size, [wide(size, a.random.pick([0x00, 0x28, 0x30, 0x08]))], a.destination(), 'memory', [0xf0]);
  },
  // cmpxchg8b, cmpxchg16b (misaligned: #GP)
  (a) => {
    if (a.random.once(3)) a.modrm(a.long && a.random.once(3) ? 8 : 4, [0x0f, 0xc7], 1, 'memory', a.random.once(2) ? [0xf0] : []);
  },
  (a) => {
    if (a.random.once(6)) a.instruction(...a.random.pick([[0x0f, 0x0b], [0xcc], [0x0f, 0xa2], [0x0f, 0x31], [0xc9], [0xc8, 16, 0, 0]]));
  },
  // bswap, movbe, popcnt, crc32
  (a) => a.modrm(a.long && a.random.once(2) ? 8 : 4, [0x0f, 0xb8], a.destination(), a.rm(), [0xf3]),
  (a) => a.modrm(4, [0x0f, 0x38, a.random.pick([0xf0, 0xf1])], a.destination(), 'memory'),
];

const STRING_OPCODES = [0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xa6, 0xa7] as const;
const STRINGS: readonly Maker[] = [
  // MOVS STOS LODS SCAS CMPS, with and without REP
  (a) => a.instruction(...(a.long && a.random.once(2) ? [0x48] : []), a.random.pick(STRING_OPCODES)),
  (a) => {
    // A REP that overwrites itself shows at which iteration it was interrupted: it stays with the data.
    for (const index of [RSI, RDI]) a.moveImmediate(index, nearBorder(a.random, DATA, DATA_PAGES, a.narrow));
    a.moveImmediate(RCX, a.random.pick([0, 1, a.random.below(24), a.random.below(200), a.random.once(4) ? 2100 : 3]));
    const backwards = a.random.once(6);
    if (backwards) a.instruction(0xfd);
    a.instruction(a.random.pick([0xf3, 0xf3, 0xf2]), ...(a.long && a.random.once(2) ? [0x48] : []), a.random.pick(STRING_OPCODES));
    if (backwards) a.instruction(0xfc);
  },
];

const xmm = (a: A): number => a.random.below(a.long && a.random.once(3) ? 16 : 8);
const VECTORS: readonly Maker[] = [
  (a) =>
    a.modrm(
      0,
      [0x0f, a.random.pick([0x10, 0x11, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x57, 0x54, 0x51])],
      xmm(a),
      a.random.once(2) ? 'memory' : xmm(a),
      a.random.pick([[], [0x66]]),
    ),
  (a) =>
    a.modrm(0, [0x0f, a.random.pick([0x10, 0x11, 0x58, 0x59, 0x5c, 0x51, 0x5a])], xmm(a), a.random.once(2) ? 'memory' : xmm(a), [
      a.random.pick([0xf2, 0xf3]),
    ]),
  (a) => a.modrm(0, [0x0f, a.random.pick([0x2e, 0x2f])], xmm(a), a.random.once(2) ? 'memory' : xmm(a), a.random.pick([[], [0x66]])),
  (a) =>
    a.modrm(
      0,
      [0x0f, a.random.pick([0x6f, 0xfe, 0xef, 0x7f, 0xd4, 0x74, 0xdb, 0x61, 0xf4])],
      xmm(a),
      a.random.once(3) ? 'memory' : xmm(a),
      [0x66],
    ),
  (a) => a.modrm(0, [0x0f, a.random.pick([0x6f, 0x7f])], xmm(a), 'memory', [0xf3]),
  (a) => {
    a.modrm(0, [0x0f, 0x70], xmm(a), xmm(a), [a.random.pick([0x66, 0xf2, 0xf3])]);
    a.data(a.random.next());
  },
  (a) => a.modrm(0, [0x0f, a.random.pick([0x6e, 0x7e])], xmm(a), a.destination(), [0x66]),
  (a) => a.modrm(0, [0x0f, a.random.pick([0x2a, 0x2c, 0x2d])], a.random.below(8), a.destination(), [a.random.pick([0xf2, 0xf3])]),
  (a) => a.modrm(0, [0x0f, 0xd7], a.destination(), xmm(a), [0x66]),
  (a) => a.modrm(0, [0x0f, 0x38, a.random.pick([0x00, 0x17, 0x1c])], xmm(a), xmm(a), [0x66]),
  // pblendvb, blendvpd: XMM0 is implied
  (a) => a.modrm(0, [0x0f, 0x38, a.random.pick([0x10, 0x15])], xmm(a), a.random.once(2) ? 'memory' : xmm(a), [0x66]),
  (a) => a.modrm(0, [0x0f, 0xae], 3, 'memory'), // stmxcsr
  // push; ldmxcsr [rsp]; pop: the usual state, inexact results pending or not, and others
  (a) => {
    a.instruction(0x68, a.random.pick([0x80, 0xa0, 0xbf]), a.random.pick([0x1f, 0x1f, 0x1f, 0x5f, 0x9f, 0x0f, 0x1a]), 0, 0);
    a.instruction(0x0f, 0xae, 0x14, 0x24);
    a.instruction(0x58 + a.random.below(4));
  },
];

const X87: readonly Maker[] = [
  (a) => a.instruction(0xd9, a.random.pick([0xe8, 0xee, 0xe0, 0xe1, 0xfa, 0xc8, 0xc9, 0xf7, 0xf6, 0xfc, 0xe5, 0xeb])),
  (a) => a.modrm(0, [a.random.pick([0xd9, 0xdd])], a.random.pick([0, 2, 3]), 'memory'),
  (a) => a.modrm(0, [a.random.pick([0xdb, 0xdf])], a.random.pick([0, 2, 3]), 'memory'),
  (a) => a.modrm(0, [a.random.pick([0xd8, 0xdc])], a.random.below(8), 'memory'),
  (a) => a.instruction(a.random.pick([0xd8, 0xdc, 0xde]), 0xc0 + a.random.below(2) * 8 + a.random.below(4)),
  (a) => a.instruction(0xdb, a.random.pick([0xf0, 0xe8, 0xc1, 0xe2, 0xe3])),
  (a) => a.instruction(0xdf, 0xe0),
  (a) => a.modrm(0, [0xd9], a.random.pick([6, 7]), 'memory'),
  // MMX
  (a) => a.modrm(0, [0x0f, a.random.pick([0x6f, 0xfc, 0xef, 0x7f])], a.random.below(8), a.random.once(2) ? 'memory' : a.random.below(8)),
  (a) => a.instruction(0x0f, 0x77),
];

/** Registers back to where they are of use. */
const POINTERS: readonly Maker[] = [
  (a) => a.moveImmediate(a.base(), nearBorder(a.random, DATA, DATA_PAGES, a.narrow)),
  (a) => a.moveImmediate(a.base(), nearBorder(a.random, DATA, DATA_PAGES, a.narrow)),
  (a) => a.moveImmediate(RSP, nearBorder(a.random, STACK, STACK_PAGES, a.narrow) + 0x80),
  (a) => a.moveImmediate(RCX, a.random.below(40)),
  // Into the program's own code, to read it, or to change what is decoded
  (a) => {
    if (a.random.once(4) && !a.narrow)
      a.moveImmediate(a.base(), (a.random.once(2) ? CODE : CODE_ALIAS) + a.random.below(CODE_PAGES * PAGE));
  },
];

/** An entry of the page table is changed; then the processor is told. */
function changeMapping(a: A, page: number, opcode: readonly number[], reg: number, at: number, operand: number): void {
  onMemory(a, [], opcode, reg, PT_WINDOW + page * 8 + at);
  a.data(operand);
  if (a.long && a.random.once(2)) {
    a.instruction(0x0f, 0x01);
    a.absolute(7, page * PAGE); // INVLPG; at CPL 3 it is left out
  }
  reload(a);
}
const MAPPINGS: readonly Maker[] = [
  // A page of data or stack goes missing, becomes read-only or the supervisor's
  (a) => changeMapping(a, DATA / PAGE + a.random.below(DATA_PAGES), [0x80], 4, 0, a.random.pick([0xfe, 0xfe, 0xfd, 0xfb])),
  (a) => changeMapping(a, STACK / PAGE + a.random.below(STACK_PAGES), [0x80], 4, 0, a.random.pick([0xfe, 0xfd])),
  // A page of code goes missing, or is replaced by its copy
  (a) => changeMapping(a, CODE / PAGE + a.random.below(CODE_PAGES), [0x80], 4, 0, 0xfe),
  (a) => changeMapping(a, (a.random.once(4) ? CODE_ALIAS : CODE) / PAGE + a.random.below(CODE_PAGES), [0x80], 6, 1, 0x80),
];

function patch(a: A, at: { readonly piece: Piece; readonly offset: number }, choices: readonly number[] | undefined): void {
  onMemory(a, [], [0xc6], 0, at);
  a.data(choices ? a.random.pick(choices) : a.random.next());
}
const PATCHES: readonly Maker[] = [
  // What has been written before: in a loop it will run again
  (a) => {
    if (a.patchables.length === 0) return;
    const { piece, offset, sizeBytes, choices } = a.random.pick(a.patchables),
      alias = a.random.once(3) ? CODE_ALIAS - CODE : 0;
    patch(a, { piece, offset: offset + a.random.below(sizeBytes) + alias }, choices);
  },
  // The very next instruction: mov eax, imm32
  (a) => {
    const start = a.here();
    patch(
      a,
      { piece: start.piece, offset: start.offset + (a.long ? 8 : 7) + a.addressPrefix.length + (a.long || a.narrow ? 2 : 1) },
      undefined,
    );
    a.moveImmediate(RAX, a.random.next());
  },
];

/** pushf; or byte [rsp + 1], 1; popf */
const TRAP: Maker = (a) => {
  if (a.narrow) return;
  a.instruction(0x9c);
  a.instruction(0x80, 0x4c, 0x24, 1, 1);
  a.instruction(0x9d);
};

/** Jumps to what follows. */
function returnFromInterrupt(a: A): void {
  const label = ProgramAssembler.label();
  a.instruction(0x8c, 0xd0); // mov eax, ss; push rax; push rsp; pushf; mov eax, cs; push rax
  a.instruction(0x50);
  a.instruction(0x54);
  a.instruction(0x9c);
  a.instruction(0x8c, 0xc8);
  a.instruction(0x50);
  a.codePointer(RAX, label);
  a.instruction(0x50);
  a.instruction(0x48, 0xcf);
  a.place(label);
}
/** What an operating system does; at CPL 3 most of it is left out by the handler. */
const SYSTEM: readonly Maker[] = [
  (a) => a.instruction(0x0f, 0x05),
  (a) => a.instruction(a.random.pick([0xfa, 0xfb])),
  // mov eax, ss; mov ss, eax: its shadow
  (a) => {
    a.instruction(0x8c, 0xd0);
    a.instruction(0x8e, 0xd0);
  },
  // CR0.TS changes, or CLTS
  (a) => {
    a.instruction(0x0f, 0x20, 0xc0);
    a.instruction(0x83, 0xf0, 8);
    a.instruction(0x0f, 0x22, 0xc0);
  },
  (a) => a.instruction(0x0f, 0x06),
  (a) => {
    if (a.long) returnFromInterrupt(a);
  },
  // FS: a base, and something there
  (a) => {
    if (!a.long) return;
    a.moveImmediate(RAX, a.random.below(PAGE));
    if (a.random.once(2)) a.instruction(0xf3, 0x0f, 0xae, 0xd0 + a.random.below(2) * 8);
    else {
      a.moveImmediate(RCX, 0xc0000100);
      a.instruction(0x31, 0xd2);
      a.instruction(0x0f, 0x30);
    }
    a.instruction(a.random.pick([0x64, 0x65]), a.random.pick([0x8b, 0x89, 0x03, 0x01]));
    a.absolute(RAX, DATA + a.random.below(DATA_PAGES - 1) * PAGE + 32);
  },
  (a) => {
    if (a.long) a.instruction(0x0f, 0x01, 0xf8);
  },
  reload,
];

/** What a program is mostly made of: lists of makers, each as often as it stands here. */
const FLAVOURS: readonly (readonly (readonly Maker[])[])[] = [
  [INTEGER],
  [INTEGER, INTEGER, INTEGER, STRINGS],
  [INTEGER, VECTORS],
  [INTEGER, X87],
  [INTEGER, INTEGER, MAPPINGS, STRINGS],
  [INTEGER, INTEGER, PATCHES],
  [INTEGER, INTEGER, SYSTEM, VECTORS],
  [INTEGER, INTEGER, INTEGER, VECTORS, X87, PATCHES, MAPPINGS, STRINGS, SYSTEM],
];

class Generator {
  readonly a: A;
  readonly random: Random;
  readonly #flavour: readonly (readonly Maker[])[];
  readonly #functions: readonly Piece[];
  /** Places inside functions and of the main program, for jumps that go astray. */
  readonly #places: Piece[] = [];
  #slots = 0;

  constructor(mode: ProgramMode, random: Random) {
    this.random = random;
    this.a = new ProgramAssembler(mode, random);
    this.#flavour = random.pick(FLAVOURS);
    this.#functions = Array.from({ length: 1 + random.below(4) }, () => ProgramAssembler.label());
  }

  program(): ProgramAssembler {
    const { a } = this;
    this.#sequence(3, 3 + this.random.below(6));
    a.piece();
    a.instruction(0xf4);
    a.instruction(0xeb, 0xfd); // at CPL 3 each HLT is an exception, of which only so many are allowed
    for (const label of this.#functions) this.#function(label);
    return a;
  }

  #straight(count: number): void {
    const { a, random } = this;
    for (let i = 0; i < count; i++) {
      a.piece();
      const makers = random.once(9) ? POINTERS : random.once(90) ? [TRAP] : random.pick(this.#flavour);
      random.pick(makers)(a);
    }
  }
  #condition(target: Piece): void {
    this.a.jump([0x0f, 0x80 + this.random.below(16)], target);
  }
  #sequence(depth: number, length: number): void {
    const { a, random } = this;
    for (let i = 0; i < length; i++) {
      this.#straight(random.below(9));
      const label = ProgramAssembler.label();
      a.place(label);
      this.#places.push(label);
      const kind = random.below(12);
      if (kind < 3 && depth > 0) this.#loop(depth);
      else if (kind < 5 && depth > 0) this.#branch(depth);
      else if (kind < 8) this.#call();
      else if (kind === 8) this.#filler();
      else if (kind === 9 && depth > 0) this.#switch(depth);
      else if (kind === 10 && depth > 0) this.#entangled(depth);
      else if (random.once(3)) this.#astray();
    }
  }
  /** if, or if and else */
  #branch(depth: number): void {
    const { a, random } = this,
      over = ProgramAssembler.label(),
      end = ProgramAssembler.label();
    a.piece();
    this.#condition(over);
    this.#sequence(depth - 1, 1 + random.below(2));
    if (random.once(2)) {
      a.piece();
      a.jump(JMP, end);
      a.place(over);
      this.#sequence(depth - 1, 1 + random.below(2));
    } else a.place(over);
    a.place(end);
  }
  #loop(depth: number): void {
    const { a, random } = this,
      head = ProgramAssembler.label(),
      end = ProgramAssembler.label(),
      kind = random.below(3),
      count = 1 + random.below(depth === 3 ? 12 : 4);
    const slot = SLOTS + (this.#slots++ % 16) * 4;
    a.piece();
    if (kind === 0) a.moveImmediate(RBP, count);
    else if (kind === 1) a.moveImmediate(RCX, count);
    onMemory(a, a.sizePrefix(4), [0xc7], 0, slot);
    a.i32(kind === 2 ? count : 64);
    a.place(head);
    this.#sequence(depth - 1, 1 + random.below(3));
    a.piece();
    // Whatever else counts, this one bounds it.
    onMemory(a, a.sizePrefix(4), [0xff], 1, slot);
    a.jump([0x0f, 0x88], end);
    if (kind === 0) {
      a.modrm(4, [0xff], 1, RBP);
      a.jump([0x0f, 0x85], head);
    } else if (kind === 1) {
      a.instruction(a.random.pick([0xe0, 0xe1, 0xe2]), 2); // LOOPcc over the jump that leaves
      a.instruction(0xeb, a.narrow ? 3 : 5);
      a.jump(JMP, head);
    } else a.jump([0x0f, 0x85], head);
    a.place(end);
  }
  /** A loop that is entered at several places, each of which goes on to others. */
  #entangled(depth: number): void {
    const { a, random } = this,
      places = Array.from({ length: 2 + random.below(3) }, () => ProgramAssembler.label()),
      end = ProgramAssembler.label(),
      slot = SLOTS + (this.#slots++ % 16) * 4;
    a.piece();
    onMemory(a, a.sizePrefix(4), [0xc7], 0, slot);
    a.i32(1 + random.below(depth === 3 ? 30 : 6));
    for (const place of places.slice(1)) {
      this.#straight(random.below(2));
      a.piece();
      this.#condition(place);
    }
    for (const place of places) {
      a.place(place);
      this.#places.push(place);
      if (random.once(3)) this.#sequence(depth - 1, 1);
      else this.#straight(random.below(4));
      a.piece();
      onMemory(a, a.sizePrefix(4), [0xff], 1, slot);
      a.jump([0x0f, 0x88], end);
      this.#straight(random.below(2));
      a.piece();
      this.#condition(random.pick(places));
    }
    a.jump(JMP, random.pick(places));
    a.place(end);
  }
  #call(): void {
    const { a, random } = this,
      target = random.pick(random.once(6) && this.#places.length > 0 ? this.#places : this.#functions);
    a.piece();
    switch (random.below(10)) {
      case 0:
        a.codePointer(RAX, target);
        a.instruction(0xff, 0xd0);
        break;
      case 4:
        // Far away, where the same code is mapped again; 16-bit code does not reach it.
        a.jump(CALL, target, a.narrow ? 0 : CODE_ALIAS - CODE);
        break;
      case 1: {
        // call [memory]
        const slot = SLOTS + 0x80 + random.below(8) * 8;
        a.codePointer(RAX, target);
        onMemory(a, a.long ? [0x48] : a.sizePrefix(a.wordBytes), [0x89], RAX, slot);
        onMemory(a, [], [0xff], 2, slot);
        break;
      }
      case 2: {
        // push; ret
        a.codePointer(RAX, target);
        a.instruction(0x50);
        a.instruction(0xc3);
        break;
      }
      case 3: {
        // The stack ends at a border, whose other side may be missing.
        const sp = STACK + (1 + random.below(STACK_PAGES - 1)) * PAGE + random.below(2) * a.wordBytes;
        a.moveImmediate(RSP, a.narrow ? sp - STACK : sp);
        a.jump(CALL, target);
        break;
      }
      default:
        a.jump(CALL, target);
    }
  }
  /** An indirect jump to one of several places, by what rCX is; each goes on to the end, or to the next. */
  #switch(depth: number): void {
    const { a, random } = this,
      end = ProgramAssembler.label(),
      places = Array.from({ length: 2 + random.below(6) }, () => ProgramAssembler.label());
    a.piece();
    a.codePointer(RAX, places[0]!);
    for (const place of places.slice(1)) {
      a.codePointer(RDX, place);
      a.instruction(0x83, 0xf9, random.below(12)); // cmp ecx, n
      a.instruction(0x0f, 0x40 + random.below(16), 0xc0 | RDX); // cmovcc eax, edx
    }
    a.instruction(0xff, 0xe0);
    for (const place of places) {
      a.place(place);
      this.#places.push(place);
      if (random.once(3)) this.#sequence(depth - 1, 1);
      else this.#straight(random.below(3));
      if (random.once(3)) continue;
      a.piece();
      a.jump(JMP, end);
    }
    a.place(end);
  }
  /** Data among the code, or a long way to the next page. */
  #filler(): void {
    const { a, random } = this,
      over = ProgramAssembler.label();
    a.piece();
    a.jump(JMP, over);
    const data = a.piece();
    for (let i = random.pick([8, 40, 300, 1200]); i > 0; i--) data.bytes.push(random.below(256));
    a.place(over);
  }
  /** A jump to anywhere: into a function, a loop, backwards. */
  #astray(): void {
    const { a, random } = this;
    a.piece();
    const target = random.pick(this.#places);
    if (random.once(3)) {
      a.codePointer(RBX, target);
      a.instruction(0xff, 0xe3);
    } else this.#condition(target);
  }
  #function(label: Piece): void {
    const { a, random } = this,
      kind = random.below(8),
      end = ProgramAssembler.label(),
      slot = SLOTS + 0x40 + (this.#slots++ % 16) * 4;
    a.place(label);
    if (kind < 2) {
      // It calls itself, to a depth.
      a.piece();
      onMemory(a, [], [0x80], 5, slot);
      a.data(1 + random.below(9)); // sub byte [slot], n: ends when it borrows
      a.jump([0x0f, 0x82], end);
      this.#straight(random.below(5));
      a.piece();
      a.jump(CALL, label);
      this.#straight(random.below(4));
      a.place(end);
    } else this.#sequence(1, random.below(3));
    this.#straight(random.below(5));
    a.piece();
    const word = a.wordBytes;
    if (kind === 2) a.jump(JMP, random.pick(this.#functions));
    else if (kind === 3) a.instruction(0xc2, random.below(4) * word, 0);
    else if (kind === 4 && this.#places.length > 0 && !a.narrow) {
      // It changes its return address: mov [rsp], rax
      a.codePointer(RAX, random.pick(this.#places));
      a.instruction(...(a.long ? [0x48] : []), 0x89, 0x04, 0x24);
      a.instruction(0xc3);
    } else a.instruction(0xc3);
  }
}

/** @param seed also says the mode, unless it is given. @returns its pieces; `assemble()` makes the program. */
export function randomProgram(seed: number, mode?: ProgramMode): ProgramAssembler {
  const random = new Random(seed),
    drawn = random.below(10);
  return new Generator(mode ?? PROGRAM_MODES[drawn < 7 ? 0 : drawn - 6]!, random).program();
}
