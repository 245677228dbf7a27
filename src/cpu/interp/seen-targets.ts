/**
 * What tier 0 has seen of indirect jumps and calls in 64-bit mode: where each went, for a few different targets of each. A target is written over when
 * another falls on its place; nobody relies on them.
 * Implements: base/memory-map.ts VCPU_TARGETS. Runs on: written in handlers, read where regions are compiled.
 */
import { TARGETS_ENTRIES, TARGETS_SHIFT, VCPU_TARGETS } from '../../base/memory-map.ts';
import { isWideAt, wideAt } from '../../base/wide-words.ts';
import type { FunctionBuilder, Node } from '../wasm/function.ts';

/** Fibonacci hashing: Knuth, The Art of Computer Programming 6.4. */
const MULTIPLIER = 0x9e3779b1 | 0;
/** Entries that one jump may use. */
const TARGET_BITS = 10,
  TARGETS_PER_JUMP = 1 << TARGET_BITS;
const JUMP_BITS = Math.log2(TARGETS_ENTRIES);
const TARGET = 8;

/** @param jump rip of the instruction */
export function rememberTarget(f: FunctionBuilder, jump: Node, target: Node): void {
  const hash = (value: Node, bits: number): Node => f.op('shr_u', f.op('mul', f.wrap(value), f.i32(MULTIPLIER)), f.i32(32 - bits)),
    index = f.op('and', f.op('add', hash(jump, JUMP_BITS), hash(target, TARGET_BITS)), f.i32(TARGETS_ENTRIES - 1)),
    entry = f.pin(f.op('add', f.get(0, 'i32'), f.op('shl', index, f.i32(TARGETS_SHIFT))));
  f.store('i64', entry, jump, VCPU_TARGETS);
  f.store('i64', entry, target, VCPU_TARGETS + TARGET);
}

/**
 * @param words memory 0 @param vcpu address of its record @param jump rip, sign-extended, so that it is exact
 * @returns where it went, in the same way
 */
export function seenTargets(words: Int32Array, vcpu: number, jump: number): number[] {
  const targets: number[] = [],
    first = Math.imul(jump, MULTIPLIER) >>> (32 - JUMP_BITS);
  for (let i = 0; i < TARGETS_PER_JUMP; i++) {
    const at = (vcpu + VCPU_TARGETS + (((first + i) & (TARGETS_ENTRIES - 1)) << TARGETS_SHIFT)) >> 2;
    if (isWideAt(words, at, jump)) targets.push(wideAt(words, at + (TARGET >> 2)));
  }
  return targets;
}
