/**
 * The exception handlers under which random programs run: a page that is missing or forbidden is given (or, every fourth time, the
 * instruction left out), any other faulting instruction is left out, a single step or breakpoint goes on, and after enough of them the
 * program ends with HLT.
 * Implements: SDM vol. 3A 6.12 Exception and Interrupt Handling, 6.14 in 64-bit Mode. Runs on: any thread.
 */
import {
  CODE,
  CODE_ALIAS,
  CODE_BYTES,
  COUNTS,
  FXSAVE_IMAGE,
  HANDLERS,
  NEXT_TABLE,
  PT,
  LINEAR_END,
  VECTOR_EXTERNAL,
  VECTOR_RELOAD,
} from './program-map.ts';

/** What follows the handlers of vectors: entries for instructions that have no vector. */
export const SYSCALL_ENTRY = 0x100;
/** Exceptions after which a program ends. */
const MAX_EXCEPTIONS = 40;
const WITH_ERROR_CODE = [8, 10, 11, 12, 13, 14, 17];
const VECTORS = [...Array.from({ length: 20 }, (_, vector) => vector), VECTOR_EXTERNAL, VECTOR_RELOAD];
const DB = 1,
  DF = 8,
  PF = 14;

const bytes32 = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff];

/**
 * Machine code without RIP-relative addresses, so that the same bytes serve both modes but for the width of the stack.
 * @returns the code, and the entry of each vector, from HANDLERS on
 */
export function handlerCode(long: boolean): { readonly code: Uint8Array; readonly entries: ReadonlyMap<number, number> } {
  const code: number[] = [],
    labels = new Map<string, number>(),
    fixups: { at: number; label: string }[] = [],
    entries = new Map<number, number>(),
    slot = long ? 8 : 4;
  const emit = (...bytes: number[]): void => void code.push(...bytes);
  const absolute = (opcode: readonly number[], reg: number, address: number): void =>
    emit(...opcode, (reg << 3) | 4, 0x25, ...bytes32(address));
  const label = (name: string): void => void labels.set(name, code.length);
  const jump = (opcode: readonly number[], target: string): void => {
    emit(...opcode);
    fixups.push({ at: code.length, label: target });
    emit(0, 0, 0, 0);
  };
  const JMP = [0xe9],
    JZ = [0x0f, 0x84],
    JAE = [0x0f, 0x83],
    JA = [0x0f, 0x87];
  const pushBoth = (): void => emit(0x50, 0x51); // rax, rcx
  const popBoth = (): void => emit(0x59, 0x58);
  const dropError = (): void => emit(...(long ? [0x48] : []), 0x83, 0xc4, slot);
  /** Faults have set RF. Whether an INT right after the IRET shows it in its turn is left open where no breakpoint is enabled. */
  const clearRf = (): void => emit(0x80, 0x64, 0x24, 5 * slot + 2, 0xfe);
  const iret = (): void => emit(...(long ? [0x48] : []), 0xcf);
  /** [rsp + n slots] */
  const frame = (opcode: number, reg: number, slots: number): void =>
    emit(...(long ? [0x48] : []), opcode, 0x44 | (reg << 3), 0x24, slots * slot);
  const count = (): void => {
    absolute([0x0f, 0xae], 0, FXSAVE_IMAGE); // fxsave: what a handler finds in the vector registers
    absolute([0xff], 0, COUNTS); // inc dword [COUNTS]
    absolute([0x8b], 0, COUNTS); // mov eax, [COUNTS]
    emit(0x3d, ...bytes32(MAX_EXCEPTIONS));
    jump(JA, 'stop');
  };

  label('pageFault');
  pushBoth();
  count();
  emit(0x24, 3, 0x3c, 3); // and al, 3; cmp al, 3
  jump(JZ, 'skip');
  emit(0x0f, 0x20, 0xd0); // mov rax, cr2
  emit(...(long ? [0x48] : []), 0x3d, ...bytes32(LINEAR_END));
  jump(JAE, 'skip');
  emit(0xc1, 0xe8, 12); // shr eax, 12
  emit(0x80, 0x0c, 0xc5, ...bytes32(PT), 7); // or byte [rax * 8 + PT], 7
  emit(0x0f, 0x20, 0xd0, 0x0f, 0x01, 0x38); // mov rax, cr2; invlpg [rax]
  clearRf();
  popBoth();
  dropError();
  iret();

  label('fault');
  pushBoth();
  count();
  label('skip');
  frame(0x8b, 0, 3); // mov rax, [rip of the frame]
  emit(0x89, 0xc1, 0x81, 0xe1, ...bytes32(~(CODE_BYTES - 1))); // mov ecx, eax; and ecx, ~...
  for (const start of [CODE, CODE_ALIAS]) {
    emit(0x81, 0xf9, ...bytes32(start));
    jump(JZ, 'known');
  }
  emit(0x85, 0xc9); // 16-bit code counts from the segment's base
  jump(JZ, 'known');
  label('stop');
  emit(0xf4);
  jump(JMP, 'stop');
  label('known');
  emit(0x25, ...bytes32(CODE_BYTES - 1)); // and eax, ...
  emit(0x0f, 0xb7, 0x04, 0x45, ...bytes32(NEXT_TABLE)); // movzx eax, word [rax * 2 + NEXT_TABLE]
  emit(0x85, 0xc0);
  jump(JZ, 'stop');
  emit(0x09, 0xc8); // or eax, ecx
  frame(0x89, 0, 3);
  clearRf();
  popBoth();
  dropError();
  iret();

  label('debug');
  pushBoth();
  count();
  emit(0x31, 0xc0, 0x0f, 0x23, 0xf0); // xor eax, eax; mov dr6, rax
  emit(0x0f, 0x21, 0xf9, 0x80, 0xe1, 0xff); // mov rcx, dr7; and cl, ffh
  frame(0x8b, 0, 5);
  emit(0x74, 5, 0x0d, ...bytes32(0x10000)); // jz over; or eax, RF
  absolute([0x8b], 1, COUNTS);
  emit(0xf6, 0xc1, 3); // test cl, 3
  emit(0x75, 5, 0x25, ...bytes32(~0x100)); // jnz over; and eax, ~TF
  frame(0x89, 0, 5);
  popBoth();
  dropError();
  iret();

  for (const vector of VECTORS) {
    entries.set(vector, HANDLERS + code.length);
    if (vector === VECTOR_EXTERNAL) {
      absolute([0xff], 0, COUNTS + 4);
      iret();
    } else if (vector === VECTOR_RELOAD) {
      emit(0x50, 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8, 0x58); // push rax; mov rax, cr3; mov cr3, rax; pop rax
      iret();
    } else {
      if (!WITH_ERROR_CODE.includes(vector)) emit(0x6a, 0);
      jump(JMP, vector === PF ? 'pageFault' : vector === DB ? 'debug' : vector === DF ? 'stop' : 'fault');
    }
  }
  entries.set(SYSCALL_ENTRY, HANDLERS + code.length);
  absolute([0xff], 0, COUNTS + 8);
  emit(0x0f, 0x01, 0xf8, 0x0f, 0x01, 0xf8, 0x48, 0x0f, 0x07); // swapgs; swapgs; sysretq
  for (const { at, label: name } of fixups) bytes32(labels.get(name)! - at - 4).forEach((byte, i) => (code[at + i] = byte));
  return { code: Uint8Array.from(code), entries };
}
