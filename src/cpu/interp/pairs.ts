/**
 * Which instructions are run two by two: a handler that does a common instruction and the common one after it, with one dispatch between
 * them saved and the flags of the first known to the second. Names are those of handlers (mnemonic and operand shapes). Each handler that
 * a guest uses has to be compiled and kept in the caches, so only those are here that compilers write everywhere.
 *
 * The first of a pair writes no memory, so that it cannot change the second, and ends no block. Its micro-op keeps the number of its own
 * handler (UOP_REG2), for single steps and for the day the second is overwritten.
 * Implements: docs/decisions.md "Pairs". Runs on: built ahead of time.
 */
const TESTS = ['test r64,r64', 'test r32,r32', 'test r8,r8', 'test r8,i8', 'test m8,i8 a64 long'];
const COMPARISONS = [
  'cmp r64,r64',
  'cmp r32,r32',
  'cmp r64,i64',
  'cmp r32,i32',
  'cmp r8,i8',
  'cmp m64,i64 a64 long',
  'cmp m32,i32 a64 long',
  'cmp m8,i8 a64 long',
];
const EQUAL = ['je rel long', 'jne rel long'],
  ORDER = ['b', 'ae', 'be', 'a', 'l', 'ge', 'le', 'g'].map((condition) => `j${condition} rel long`),
  SIGN = ['js rel long', 'jns rel long', 'jle rel long', 'jg rel long'];
const LOAD = 'mov r64,m64 a64 long',
  STORE = 'mov m64=,r64 a64 long',
  PUSH = 'push r64 o64 long',
  POP = 'pop r64 long',
  CALL = 'call rel o64 long';

/** Arithmetic follows itself. */
const NARROW = ['mov r32,r32', 'add r32,r32', 'xor r32,r32', 'and r32,r32', 'and r32,i32', 'add r32,i32', 'shr r32,i8', 'movzx r32,r8'],
  WIDE = ['mov r64,r64', 'add r64,r64', 'sub r64,r64', 'and r64,r64', 'or r64,r64', 'add r64,i64', 'shl r64,i8', 'shr r64,i8'];

/** By the first of a pair, what may follow it. */
const FOLLOWERS: readonly (readonly [first: string, seconds: readonly string[]])[] = [
  [POP, [POP, 'ret o64 long', 'jmp rel long']],
  ['mov r64,r64', ['mov r32,r32', 'mov r32,i32', LOAD, STORE, PUSH, POP, CALL, 'test r64,r64']],
  ['mov r32,r32', ['mov r64,r64', PUSH, POP, CALL, 'test r32,r32']],
  ['mov r32,i32', ['mov r64,r64', 'mov r32,i32', CALL]],
  ['xor r32,r32', ['mov r64,r64', 'mov r32,i32', POP]],
  ['lea r64,m0 a64', ['mov r64,r64', 'lea r64,m0 a64', STORE, CALL]],
  ['add r64,i64', [POP]],
  ['sub r64,i64', [LOAD]],
  [LOAD, [LOAD, STORE, 'mov r64,r64', 'mov r32,m32 a64 long', 'mov r32,i32', 'lea r64,m0 a64', CALL, 'test r64,r64', 'cmp r64,r64']],
  ['mov r32,m32 a64 long', [LOAD, 'mov r32,m32 a64 long', 'test r32,r32', ...NARROW]],
  ['movzx r32,m8 a64 long', NARROW],
  ...NARROW.map((first) => [first, NARROW] as const),
  ...WIDE.map((first) => [first, WIDE] as const),
  ...TESTS.map((first) => [first, [...EQUAL, ...SIGN]] as const),
  ...COMPARISONS.map((first) => [first, [...EQUAL, ...ORDER]] as const),
  ...['add r64,i64', 'sub r64,i64', 'dec r32', 'and r32,i32', 'and r64,i64'].map((first) => [first, EQUAL] as const),
];

/** Names of handlers which are made as pairs. */
export function* pairNames(): Generator<readonly [string, string]> {
  for (const [first, seconds] of FOLLOWERS) for (const second of seconds) yield [first, second];
}
