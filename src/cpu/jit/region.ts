/**
 * Region formation: static control flow from one entry over the pages around it, its blocks, dominators, loops, and where flags are live.
 * Emits nothing. An irreducible edge, like every edge to what the region does not hold, leaves it.
 * Implements: Cooper, Harvey, Kennedy, A Simple, Fast Dominance Algorithm (2001). Runs on: where regions are compiled.
 */
import { PAGE_BYTES } from '../../base/memory-map.ts';
import { DECODED, DECODE_TRUNCATED, Decoder } from '../decode/decoder.ts';
import type { Formattable } from '../decode/format.ts';
import type { Row } from '../decode/table.ts';
import { LINES } from '../isa/index.ts';
import type { Line } from '../isa/inst.ts';
import { pageOf } from './code-window.ts';
import type { CodeWindow } from './code-window.ts';
import { openFields } from './open-fields.ts';
import type { OpenField } from './open-fields.ts';
import { ENV_LONG32, PREFIX_PLAIN } from '../decode/variants.ts';

/** A decoded instruction that outlives the decoder's next one. Offsets count from the start of the entry's page and may be negative. */
export interface Instruction extends Formattable {
  readonly line: Line;
  readonly offset: number;
  readonly segmentSlot: number;
  readonly registers: readonly number[];
  readonly relative: boolean;
  /** Must the flags that it leaves be kept? */
  flagsWanted: boolean;
  /** Read from memory each time: see open-fields.ts. A template that depends on the immediate's value closes it. */
  readonly openDisplacement?: OpenField;
  openImmediate?: OpenField | undefined;
}

export interface Block {
  readonly start: number;
  readonly instructions: Instruction[];
  /** Offsets where control may go: a branch has two, [taken, next]; a call has one, [next]. None where the last instruction leaves by itself. */
  readonly targets: readonly number[];
  /** Pages that its instructions lie in, the entry's being 0. */
  readonly pages: readonly number[];
  /** In reverse postorder. */
  order: number;
  dominator: Block | undefined;
  readonly children: Block[];
  /** Forward edges that reach it. */
  forwardIn: number;
  loopHeader: boolean;
  flagsLiveIn: boolean;
}

export interface Region {
  readonly entry: Block;
  readonly blocks: ReadonlyMap<number, Block>;
  readonly ordered: readonly Block[];
  /** Guest instructions. */
  readonly size: number;
}

/** Instructions whose helpers read or write registers in the record, or store to memory without the region seeing it. */
const LEFT_TO_TIER0 = new Set(
  `cpuid rdmsr rdpmc xgetbv enter pusha popa daa das aaa aas aam aad
   fxsave xsave xsaveopt fnstenv fldenv fnsave frstor sgdt sidt lldt ltr lgdt lidt monitor mwait ins outs`.split(/\s+/),
);
/** Without a memory operand these cannot fault. */
const QUIET = new Set(
  `mov movzx movsx movsxd lea add sub and or xor cmp test adc sbb inc dec neg not shl shr sar rol ror rcl rcr shld shrd imul
   bswap xchg nop pause bt bts btr btc bsf bsr jmp cbw cwd jrcxz loop xadd cmpxchg`.split(/\s+/),
);
/** Bytes of the longest instruction. */
const MAX_LENGTH = 15;
const CONDITIONAL = /^(j|set|cmov)(n?[obespl]|ae|n?e|be|a|np|ge|le|g)$/;

/** MOV of a control, debug or segment register has the name of a quiet one. */
function isQuiet({ line: { name, operands } }: Instruction): boolean {
  return CONDITIONAL.test(name) || (QUIET.has(name) && !operands.some(({ kind }) => 'CDS'.includes(kind)));
}

function mayFault(instruction: Instruction): boolean {
  const { line, isMemory } = instruction;
  if (isMemory && line.name !== 'lea' && line.name !== 'nop') return true;
  return !isQuiet(instruction);
}

const SHIFTS = new Set(['shl', 'shr', 'sar', 'shld', 'shrd']);
/** A shift by a constant other than 0 writes all flags. */
function replacesFlags({ line, immediateLow, operandSize }: Instruction): boolean {
  const { effect, name, operands } = line;
  if (effect === 'write') return !SHIFTS.has(name);
  if (!SHIFTS.has(name)) return false;
  const kind = operands.at(-1)!.kind;
  return (kind === 'I' || kind === 'one') && (immediateLow & (operandSize === 8 && operands[0]!.size !== 1 ? 63 : 31)) !== 0;
}

/** After a store the region may have to end, because its code has changed. */
function mayStore(instruction: Instruction): boolean {
  const { operands } = instruction.line;
  if (!instruction.isMemory) return !isQuiet(instruction);
  return operands.some((operand) => operand.write && 'EMWQO'.includes(operand.kind));
}

function flagsLiveBefore(instruction: Instruction, liveAfter: boolean): boolean {
  if (mayFault(instruction)) return true; // a fault shows them to its handler
  const { effect } = instruction.line;
  if (effect === 'read' || effect === 'through') return true;
  return replacesFlags(instruction) ? false : liveAfter;
}

/** May a region hold it, as opposed to leaving before it? */
export function compilable(row: Row, prefix: number): boolean {
  const { ends } = row;
  if (ends === 'system' || ends === 'transfer' || LEFT_TO_TIER0.has(row.line.name)) return false;
  return !(row.repeats && prefix !== PREFIX_PLAIN);
}

export class RegionFormer {
  readonly #decoder = new Decoder();

  /**
   * @param mode MODE_16, MODE_32 or MODE_64. @param cap instructions; what lies beyond becomes an exit.
   * @returns undefined where not even the first instruction can be compiled
   */
  form(window: CodeWindow, entryOffset: number, mode: number, cap: number): Region | undefined {
    const found = new Map<number, Instruction>(),
      leaders = new Set([entryOffset]),
      queue = [entryOffset];
    for (let next = 0; next < queue.length; next++) {
      let page: number | undefined;
      for (let at = queue[next]!; !found.has(at) && found.size < cap && window.isWarm(at);) {
        const instruction = this.#decode(window, at, mode);
        if (!instruction) break;
        found.set(at, instruction);
        // A block is where a page is proved.
        const last = lastPageOf(instruction);
        if (page !== undefined && page !== last) leaders.add(at);
        page = last;
        const { ends } = instruction.row,
          target = targetOf(instruction);
        at += instruction.lengthBytes;
        if ((ends === 'branch' || ends === 'jump') && window.isWarm(target)) {
          leaders.add(target);
          queue.push(target);
        }
        if (ends === 'branch' || comesBack(instruction)) leaders.add(at);
        else if (ends !== 'no') break;
      }
    }
    if (!found.has(entryOffset)) return undefined;
    const blocks = new Map<number, Block>();
    for (const start of leaders) if (found.has(start)) blocks.set(start, blockAt(start, found, leaders));
    const entry = blocks.get(entryOffset)!,
      ordered = reversePostorder(entry, blocks);
    dominate(entry, ordered, blocks);
    liveFlags(ordered, blocks);
    return { entry, blocks, ordered, size: found.size };
  }

  #decode(window: CodeWindow, offset: number, mode: number): Instruction | undefined {
    const d = this.#decoder;
    if (decodeAt(d, window, offset, mode) !== DECODED || !compilable(d.row, d.prefix)) return undefined;
    const { displacement, immediate } = openFields(window, offset, d);
    return {
      row: d.row,
      line: LINES[d.row.lineIndex]!,
      offset,
      lengthBytes: d.lengthBytes,
      operandSize: d.operandSize,
      environment: d.environment,
      prefix: d.prefix,
      isMemory: d.isMemory,
      base: d.base,
      index: d.index,
      scale: d.scale,
      dispLow: d.dispLow,
      dispHigh: d.dispHigh,
      ripRelative: d.ripRelative,
      segment: d.segment,
      segmentSlot: d.segmentSlot(),
      registers: [d.registers[0]!, d.registers[1]!, d.registers[2]!],
      immediateLow: d.immediateLow,
      immediateHigh: d.immediateHigh,
      relative: d.relative,
      flagsWanted: true,
      ...(displacement && { openDisplacement: displacement }),
      ...(immediate && { openImmediate: immediate }),
    };
  }
}

/** @returns of the decoder; DECODE_TRUNCATED also where the page is not there */
export function decodeAt(decoder: Decoder, window: CodeWindow, offset: number, mode: number): number {
  const page = pageOf(offset);
  if (!window.has(page)) return DECODE_TRUNCATED;
  let pageEnd = (page + 1) * PAGE_BYTES;
  if (pageEnd - offset < MAX_LENGTH && window.has(page + 1)) pageEnd += PAGE_BYTES;
  return decoder.decode(window.bytes, window.base + offset, window.base + pageEnd, mode);
}

const lastPageOf = ({ offset, lengthBytes }: Instruction): number => pageOf(offset + lengthBytes - 1);

/** Where a direct jump goes. Outside 64-bit mode rip may wrap, but there only the entry's page is known. */
export function targetOf(instruction: Instruction): number {
  return instruction.immediateLow + instruction.offset + instruction.lengthBytes;
}

/** A call whose callee runs nested, so that the region goes on behind it. */
export function comesBack({ row, environment }: Instruction): boolean {
  return row.ends === 'call' && environment <= ENV_LONG32;
}

function blockAt(start: number, found: ReadonlyMap<number, Instruction>, leaders: ReadonlySet<number>): Block {
  const instructions: Instruction[] = [];
  let targets: readonly number[] = [];
  for (let instruction = found.get(start); instruction;) {
    instructions.push(instruction);
    const { ends } = instruction.row,
      next = instruction.offset + instruction.lengthBytes;
    if (ends === 'jump') targets = [targetOf(instruction)];
    else if (ends === 'branch') targets = [targetOf(instruction), next];
    else targets = ends === 'no' || comesBack(instruction) ? [next] : [];
    if (ends !== 'no' || leaders.has(next)) break;
    instruction = found.get(next);
  }
  return {
    start,
    pages: [...new Set(instructions.flatMap((instruction) => [pageOf(instruction.offset), lastPageOf(instruction)]))],
    instructions,
    targets,
    order: -1,
    dominator: undefined,
    children: [],
    forwardIn: 0,
    loopHeader: false,
    flagsLiveIn: false,
  };
}

function reversePostorder(entry: Block, blocks: ReadonlyMap<number, Block>): Block[] {
  const post: Block[] = [],
    seen = new Set<Block>([entry]),
    stack = [{ block: entry, next: 0 }];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const target = top.block.targets[top.next++];
    if (target === undefined) {
      post.push(top.block);
      stack.pop();
      continue;
    }
    const successor = blocks.get(target);
    if (successor && !seen.has(successor)) {
      seen.add(successor);
      stack.push({ block: successor, next: 0 });
    }
  }
  post.reverse().forEach((block, order) => {
    block.order = order;
  });
  return post;
}

export const isBackEdge = (from: Block, to: Block): boolean => to.order <= from.order;

/** Where an edge goes within the region; undefined where it leaves: to what the region does not hold, or into a loop beside its header. */
export function successor(region: Region, from: Block, offset: number): Block | undefined {
  const to = region.blocks.get(offset);
  return to && isBackEdge(from, to) && !dominates(to, from) ? undefined : to;
}

export function dominates(above: Block, below: Block): boolean {
  for (let b: Block | undefined = below; b; b = b.dominator) if (b === above) return true;
  return false;
}

function dominate(entry: Block, ordered: readonly Block[], blocks: ReadonlyMap<number, Block>): void {
  const predecessors: Block[][] = ordered.map(() => []);
  for (const block of ordered)
    for (const target of block.targets) {
      const to = blocks.get(target);
      if (to) predecessors[to.order]!.push(block);
    }
  for (let changed = true; changed;) {
    changed = false;
    for (const block of ordered) {
      if (block === entry) continue;
      let dominator: Block | undefined;
      for (const p of predecessors[block.order]!) {
        if (p !== entry && !p.dominator) continue;
        if (!dominator) {
          dominator = p;
          continue;
        }
        let a: Block = p,
          b: Block = dominator;
        while (a !== b) {
          while (a.order > b.order) a = a.dominator!;
          while (b.order > a.order) b = b.dominator!;
        }
        dominator = a;
      }
      if (dominator !== block.dominator) {
        block.dominator = dominator;
        changed = true;
      }
    }
  }
  for (const block of ordered) {
    block.dominator?.children.push(block);
    for (const p of predecessors[block.order]!) {
      if (!isBackEdge(p, block)) block.forwardIn++;
      else if (dominates(block, p)) block.loopHeader = true;
    }
  }
}

/** Pages of a block that no block before it on every path has proved. */
export function unproved(block: Block): readonly number[] {
  return block.pages.filter((page) => {
    if (page === 0) return false;
    for (let b = block.dominator; b; b = b.dominator) if (b.pages.includes(page)) return false;
    return true;
  });
}

function liveFlags(ordered: readonly Block[], blocks: ReadonlyMap<number, Block>): void {
  for (let changed = true; changed;) {
    changed = false;
    for (let at = ordered.length - 1; at >= 0; at--) {
      const block = ordered[at]!;
      // A back-edge may leave the region when the budget is used up, and shows the flags then.
      let live =
        block.targets.length === 0 ||
        block.targets.some((target) => {
          const to = blocks.get(target);
          return !to || isBackEdge(block, to) || to.flagsLiveIn;
        });
      for (let i = block.instructions.length - 1; i >= 0; i--) {
        const instruction = block.instructions[i]!;
        instruction.flagsWanted = live || mayStore(instruction);
        live = flagsLiveBefore(instruction, live);
      }
      // Where its pages are proved the region may be left.
      live ||= unproved(block).length > 0;
      if (live !== block.flagsLiveIn) {
        block.flagsLiveIn = live;
        changed = true;
      }
    }
  }
}
