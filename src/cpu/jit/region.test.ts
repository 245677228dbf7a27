import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import { MODE_64 } from '../state.ts';
import { CodeWindow, WINDOW_REACH, onlyPage } from './code-window.ts';
import { RegionFormer } from './region.ts';

const NOP = 0x90,
  RET = 0xc3,
  JZ = 0x74,
  PAGE_BYTES = 4096,
  CAP = 100;
/** 0: jz 10h; 2: nop; 3: ret; 10h: nop; 11h: ret */
const CODE = { 0: [JZ, 0x0e, NOP, RET], 0x10: [NOP, RET] };

function offsets(decoded?: readonly number[]): number[] {
  const page = new Uint8Array(PAGE_BYTES),
    bits = new Int32Array(PAGE_BYTES / 32);
  for (const [at, bytes] of Object.entries(CODE)) page.set(bytes, Number(at));
  for (const at of decoded ?? []) bits[at >> 5]! |= 1 << (at & 31);
  const window = new CodeWindow(page).open(onlyPage(0), decoded && onlyPage(0).map((hvaPage) => (hvaPage < 0 ? undefined : bits)));
  return new RegionFormer()
    .form(window, 0, MODE_64, CAP)!
    .blocks.map(({ start }) => start)
    .sort((a, b) => a - b);
}

test('a region holds what can be reached', () => {
  deepEqual(offsets(), [0, 2, 0x10]);
});

test('a region leaves out what has never been executed', () => {
  deepEqual(offsets([0, 2, 3]), [0, 2]);
  deepEqual(offsets([0, 0x10, 0x11]), [0, 0x10]);
});

test('flags are kept up to where a page is proved: the region may be left there', () => {
  const add = [0x01, 0xc8],
    xor = [0x31, 0xd2],
    code = new Uint8Array(2 * PAGE_BYTES),
    wanted = (target: number): boolean => {
      const distance = target - add.length - 5;
      code.fill(0);
      code.set([...add, 0xe9, ...new Uint8Array(Int32Array.of(distance).buffer)]);
      code.set([...xor, RET], target);
      const window = new CodeWindow(code).open(onlyPage(0).map((hva, index) => (index === WINDOW_REACH + 1 ? PAGE_BYTES : hva)));
      return new RegionFormer().form(window, 0, MODE_64, CAP)!.entry.instructions[0]!.flagsWanted;
    };
  deepEqual([wanted(0x100), wanted(PAGE_BYTES + 0x100)], [false, true]);
});

/** Blocks by their depth of calls, where the callee has so many instructions. */
function depths(callee: number, decoded?: readonly number[], hot: readonly number[] = []): number[] {
  const code = new Uint8Array(PAGE_BYTES),
    target = 0x100,
    bits = new Int32Array(PAGE_BYTES / 32);
  code.set([0xe8, ...new Uint8Array(Int32Array.of(target - 5).buffer), RET]);
  code.fill(NOP, target, target + callee - 1);
  code[target + callee - 1] = RET;
  for (const at of decoded ?? []) bits[at >> 5]! |= 1 << (at & 31);
  const window = new CodeWindow(code, new Set(hot)).open(
    onlyPage(0),
    decoded && onlyPage(0).map((hvaPage) => (hvaPage < 0 ? undefined : bits)),
  );
  return new RegionFormer().form(window, 0, MODE_64, CAP)!.blocks.map(({ context }) => context.depth);
}

test('a small function stands where it is called, a large one does not', () => {
  deepEqual(
    [depths(3), depths(60)],
    [
      [0, 1, 0],
      [0, 0],
    ],
  );
});

test('a function that is seldom called is left where it is', () => {
  const warm = [0, 5, 0x100, 0x101];
  deepEqual(depths(2, warm, [0x100]), [0, 1, 0]);
  deepEqual(depths(2, warm), [0, 0]);
});
