/**
 * Where a software TLB holds a linear address, as emitted code finds it.
 * Implements: memory-map.ts "TLB entry". Runs on: where handlers, templates and regions are built.
 */
import { TLB_INDEX_MASK, TLB_INDEX_SHIFT } from '../base/memory-map.ts';
import type { FunctionBuilder, Node } from './wasm/function.ts';

/** @returns where a TLB has it, from the TLB's start (i32). */
export function tlbIndex(f: FunctionBuilder, linear: Node): Node {
  return f.op('and', f.op('shr_u', f.wrap(linear), f.i32(TLB_INDEX_SHIFT)), f.i32(TLB_INDEX_MASK));
}
/** @param tlb address of the TLB (i32). @returns address of the entry (i32), pinned. The index lies in the lower half, which is all that is looked at. */
export function tlbEntry(f: FunctionBuilder, tlb: Node, linear: Node): Node {
  return f.pin(f.op('add', tlb, tlbIndex(f, linear)));
}
