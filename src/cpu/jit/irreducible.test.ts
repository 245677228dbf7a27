/** Loops that are entered beside their header, run in all tiers. */
import { deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { MODE_64 } from '../state.ts';
import { ADD_RAX_2, CODE, DEC_RDI, HLT, INC_RAX, eachRun } from '../testing/paged-machine.ts';
import { CodeWindow, onlyPage } from './code-window.ts';
import { isBackEdge } from './flow-graph.ts';
import { MAX_DISPATCHES, dominates } from './irreducible.ts';
import { RegionFormer } from './region.ts';
import type { Region } from './region.ts';

const JZ = 0x74,
  JNZ = 0x75,
  JMP = 0xeb;
const TEST_DIL_1 = [0x40, 0xf6, 0xc7, 1];

/** Pieces of code one after the other; a jump names the piece that it goes to. */
type Piece = readonly (number | { readonly jump: number; readonly to: string })[];
function assembled(pieces: Readonly<Record<string, Piece>>): number[] {
  const starts = new Map<string, number>();
  let size = 0;
  for (const [name, piece] of Object.entries(pieces)) {
    starts.set(name, size);
    for (const each of piece) size += typeof each === 'number' ? 1 : 2;
  }
  const code: number[] = [];
  for (const each of Object.values(pieces).flat())
    if (typeof each === 'number') code.push(each);
    else code.push(each.jump, starts.get(each.to)! - code.length - 2);
  return code;
}

/** A loop of two blocks that is entered at either: rdi odd, at b. */
const TWO_ENTRIES: Readonly<Record<string, Piece>> = {
  start: [...TEST_DIL_1, { jump: JNZ, to: 'b' }],
  a: [...INC_RAX, ...DEC_RDI, { jump: JZ, to: 'out' }],
  b: [...ADD_RAX_2, ...DEC_RDI, { jump: JNZ, to: 'a' }],
  out: [HLT],
};
/** Each of three blocks goes to each, within a loop that is counted by rsi; one has a loop of its own. */
const THREE_ENTRIES: Readonly<Record<string, Piece>> = {
  start: [0x31, 0xf6], // xor esi, esi
  outer: [0xff, 0xc6, 0x40, 0xf6, 0xc6, 1, { jump: JNZ, to: 'b' }, 0x40, 0xf6, 0xc6, 2, { jump: JNZ, to: 'c' }], // inc esi; test sil, 1; test sil, 2
  a: [...INC_RAX, ...DEC_RDI, { jump: JZ, to: 'end' }, ...TEST_DIL_1, { jump: JNZ, to: 'c' }],
  b: [
    ...ADD_RAX_2,
    ...DEC_RDI,
    { jump: JZ, to: 'end' },
    0x40,
    0xf6,
    0xc7,
    2,
    { jump: JNZ, to: 'b' },
    ...TEST_DIL_1,
    { jump: JNZ, to: 'a' },
  ], // test dil, 2
  c: [
    ...INC_RAX,
    ...INC_RAX,
    ...INC_RAX,
    ...DEC_RDI,
    { jump: JZ, to: 'end' },
    0x40,
    0xf6,
    0xc7,
    4,
    { jump: JNZ, to: 'b' },
    { jump: JMP, to: 'a' },
  ],
  end: [0x48, 0x83, 0xc7, 9, 0x83, 0xfe, 40, { jump: JNZ, to: 'outer' }], // add rdi, 9; cmp esi, 40
  out: [HLT],
};

/** What they do, by hand. */
function inTwo(count: number): { rax: bigint; retired: bigint } {
  let rax = 0,
    retired = 2,
    left = count;
  for (let atB = (count & 1) !== 0; ; atB = !atB) {
    rax += atB ? 2 : 1;
    retired += 3;
    if (--left === 0) return { rax: BigInt(rax), retired: BigInt(retired + 1) };
  }
}
function inThree(count: number): bigint {
  let rax = 0,
    left = count;
  for (let round = 1; ; round++) {
    let at = round & 1 ? 'b' : round & 2 ? 'c' : 'a';
    for (;;) {
      rax += { a: 1, b: 2, c: 3 }[at]!;
      if (--left === 0) break;
      if (at === 'a') at = left & 1 ? 'c' : 'b';
      else if (at === 'b') at = left & 2 ? 'b' : left & 1 ? 'a' : 'c';
      else at = left & 4 ? 'b' : 'a';
    }
    left += 9;
    if (round === 40) return BigInt(rax);
  }
}

test('a loop with two entries', () => {
  for (const count of [1, 2, 37, 200])
    eachRun({ [CODE]: assembled(TWO_ENTRIES) }, (machine, slice) => {
      const { rax, retired } = machine.run(slice, count);
      deepEqual({ rax, retired }, inTwo(count));
    });
});

test('a loop with three entries inside another one, and one inside it', () => {
  for (const count of [1, 6, 50])
    eachRun({ [CODE]: assembled(THREE_ENTRIES) }, (machine, slice) => deepEqual(machine.run(slice, count).rax, inThree(count)));
});

function formed(pieces: Readonly<Record<string, Piece>>): Region {
  const page = new Uint8Array(4096);
  page.set(assembled(pieces));
  return new RegionFormer().form(new CodeWindow(page).open(onlyPage(0)), 0, MODE_64, 100)!;
}

test('what is entered at several places gets one block that dispatches, and leaves the region nowhere else', () => {
  for (const pieces of [TWO_ENTRIES, THREE_ENTRIES]) {
    const { blocks } = formed(pieces),
      dispatches = blocks.filter(({ ending }) => ending === 'dispatches');
    deepEqual(dispatches.length, 1);
    ok(dispatches[0]!.loopHeader);
    for (const block of blocks)
      for (const to of block.edges) if (to && isBackEdge(block, to)) ok(dominates(to, block), `${block.start} to ${to.start}`);
    // Only HLT is left to tier 0.
    for (const { edges, targets, context } of blocks)
      for (const [which, target] of targets.entries()) ok(edges[which] ?? !context.blocks.has(target), `to ${target}`);
  }
});

test('a loop with one entry has none', () => {
  const { blocks } = formed({
    start: INC_RAX,
    a: [...ADD_RAX_2, { jump: JZ, to: 'b' }, ...DEC_RDI],
    b: [...INC_RAX, { jump: JNZ, to: 'a' }],
    out: [HLT],
  });
  ok(blocks.every(({ ending, choices }) => ending !== 'dispatches' && choices.length === 0));
});

test('more of them than a region dispatches to are left', () => {
  const pieces: Record<string, Piece> = {};
  for (let i = 0; i < 12; i++) {
    pieces[`s${i}`] = [0x48, 0x83, 0xc7, 5, ...TEST_DIL_1, { jump: JNZ, to: `b${i}` }];
    pieces[`a${i}`] = [...INC_RAX, ...DEC_RDI, { jump: JZ, to: `s${i + 1}` }];
    pieces[`b${i}`] = [...ADD_RAX_2, ...DEC_RDI, { jump: JNZ, to: `a${i}` }];
  }
  const all = { ...pieces, s12: [HLT] };
  deepEqual(formed(all).blocks.filter(({ ending }) => ending === 'dispatches').length, MAX_DISPATCHES);
  const code = assembled(all),
    // The first loop begins with 25, each other one with 5: odd, so at b.
    rax = 13n * 2n + 12n + 11n * 8n,
    retired = 12n * 3n + 25n * 3n + 11n * 5n * 3n + 1n;
  eachRun({ [CODE]: code }, (machine, slice) => deepEqual(machine.run(slice, 20), { rax, rsp: 0n, retired }));
});
