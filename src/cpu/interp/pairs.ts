/**
 * Which instructions are run two by two: a handler that does a common instruction and the common one after it, with one dispatch between
 * them saved and the flags of the first known to the second. Names are those of handlers (mnemonic and operand shapes).
 *
 * The first of a pair writes no memory, so that it cannot change the second, and ends no block. Its micro-op keeps the number of its own
 * handler (UOP_REG2), for single steps and for the day the second is overwritten.
 * Implements: docs/decisions.md "Pairs". Runs on: built ahead of time.
 */
const OF_TWO_REGISTERS = [
  'mov r64,r64',
  'mov r32,r32',
  'add r64,r64',
  'add r32,r32',
  'sub r64,r64',
  'xor r32,r32',
  'and r64,r64',
  'and r32,r32',
  'or r64,r64',
  'movsxd r64,r32',
  'movzx r32,r8',
];
const OF_IMMEDIATE = [
  'add r64,i64',
  'add r32,i32',
  'sub r64,i64',
  'and r64,i64',
  'and r32,i32',
  'shl r64,i8',
  'shr r64,i8',
  'shr r32,i8',
  'dec r32',
  'mov r32,i32',
];
const COMPARISONS = [
  'cmp r64,r64',
  'cmp r32,r32',
  'cmp r8,r8',
  'cmp r64,i64',
  'cmp r32,i32',
  'cmp r8,i8',
  'test r64,r64',
  'test r32,r32',
  'test r8,r8',
  'test r8,i8',
  'cmp r64,m64 a64 long',
  'cmp m64,r64 a64 long',
  'cmp m64,i64 a64 long',
  'cmp m32,i32 a64 long',
  'cmp m8,i8 a64 long',
  'cmp m8,r8 a64 long',
  'test m8,i8 a64 long',
];
const OF_MEMORY = ['mov r64,m64 a64 long', 'mov r32,m32 a64 long', 'movzx r32,m8 a64 long', 'lea r64,m0 a64', 'add r64,m64 a64 long'];
const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'] as const;
const BRANCHES = CONDITIONS.map((condition) => `j${condition} rel long`);

const FIRST = [...OF_TWO_REGISTERS, ...OF_IMMEDIATE, ...OF_MEMORY, 'pop r64 long'];
const SECOND = [
  ...FIRST,
  ...COMPARISONS,
  'mov m64=,r64 a64 long',
  'mov m32=,r32 a64 long',
  'push r64 o64 long',
  'ret o64 long',
  'call rel o64 long',
  'jmp rel long',
];

/** Names of handlers which are made as pairs. */
export function* pairNames(): Generator<readonly [string, string]> {
  for (const first of FIRST) for (const second of SECOND) yield [first, second];
  for (const first of COMPARISONS) for (const second of BRANCHES) yield [first, second];
  for (const first of OF_IMMEDIATE)
    for (const second of ['je rel long', 'jne rel long', 'js rel long', 'jns rel long']) yield [first, second];
}
