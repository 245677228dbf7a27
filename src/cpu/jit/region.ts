/**
 * Region formation: static control flow from one entry over the pages that the window knows, with copies of small functions where they are
 * called. Emits nothing.
 * Implements: docs/internals.md "Functions inside a region". Runs on: where regions are compiled.
 */
import { DECODED, Decoder } from '../decode/decoder.ts';
import type { Formattable } from '../decode/format.ts';
import { ENV_LONG32, ENV_LONG64, PREFIX_PLAIN } from '../decode/variants.ts';
import { LINES } from '../isa/index.ts';
import type { Line } from '../isa/inst.ts';
import { newBlock } from './block.ts';
import { pageOf } from './code-window.ts';
import type { CodeWindow } from './code-window.ts';
import { ordered } from './flow-graph.ts';
import { openFields } from './open-fields.ts';
import { movingFields } from './relocations.ts';
import type { OpenField } from './open-fields.ts';

/** A decoded instruction that outlives the decoder's next one. Offsets count from the start of the entry's page and may be negative. */
export interface Instruction extends Formattable {
  readonly line: Line;
  readonly offset: number;
  readonly segmentSlot: number;
  readonly registers: readonly number[];
  readonly relative: boolean;
  /** Displacement and immediate, at its end. */
  readonly fieldBytes: number;
  /** Must the flags that it leaves be kept? */
  flagsWanted: boolean;
  /** Read from memory each time: see open-fields.ts. A template that depends on the immediate's value closes it. */
  readonly openDisplacement: OpenField | undefined;
  openImmediate: OpenField | undefined;
  /** May be relocated: see relocations.ts. Code that depends on the immediate's value in another way fixes it. */
  readonly movingDisplacement: OpenField | undefined;
  movingImmediate: OpenField | undefined;
}

/** The entry's own code, or the copy of a function that one CALL has inside the region. */
export interface Context {
  readonly start: number;
  readonly caller?: Context;
  /** Offset behind that CALL. */
  readonly returnTo: number;
  /** Calls around it. */
  readonly depth: number;
  readonly found: Map<number, Instruction>;
  readonly leaders: Set<number>;
  /** By the offset of their CALL, which is one of them each time. */
  readonly callees: Map<number, readonly Context[]>;
  /** Where the indirect jump at an offset goes, as far as that is in the region. */
  readonly picks: Map<number, readonly number[]>;
  readonly blocks: Map<number, Block>;
}

/**
 * What stands at a block's end:
 * goes: nothing, or a jump to `targets[0]`. branches: to its target, or behind it. nests: a CALL that nests, and what comes behind it.
 * enters: a CALL of a function inside the region. returns: the RET of one, which may go elsewhere.
 * picks: an indirect jump that probably goes to one of the targets. guesses: an indirect CALL that probably goes to one of the functions inside the region,
 * its targets but the last, which is what comes behind it when it nests. dispatches: none, it has no instructions and goes to the target that was chosen
 * before (irreducible.ts). leaves: anything else.
 */
export type Ending = 'goes' | 'branches' | 'nests' | 'enters' | 'returns' | 'picks' | 'guesses' | 'dispatches' | 'leaves';

/** On the way to a block that dispatches: which of its targets is meant. */
export interface Choice {
  /** Of the block's edges, this one. */
  readonly edge: number;
  readonly dispatch: Block;
  readonly value: number;
}

export interface Block {
  readonly context: Context;
  readonly start: number;
  readonly instructions: Instruction[];
  readonly ending: Ending;
  /** Offsets where control may go, as the ending says. */
  readonly targets: readonly number[];
  /** The blocks there, in the same order; undefined where the region is left. */
  readonly edges: (Block | undefined)[];
  readonly choices: Choice[];
  /** Control may go elsewhere than to its targets. */
  readonly mayLeave: boolean;
  /** Pages that its instructions lie in, the entry's being 0; of them those that no block before it on every path has proved. */
  readonly pages: readonly number[];
  unproved: readonly number[];
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
  /** In reverse postorder. */
  readonly blocks: readonly Block[];
  /** The entry's comes first. */
  readonly pages: readonly number[];
  /** Guest instructions, each as often as it stands there. */
  readonly size: number;
}

/** Instructions whose helpers read or write registers in the record, or store to memory without the region seeing it. */
const LEFT_TO_TIER0 = new Set(
  `cpuid rdmsr rdpmc xgetbv enter pusha popa daa das aaa aas aam aad
   fxsave xsave xsaveopt fnstenv fldenv fnsave frstor sgdt sidt lldt ltr lgdt lidt monitor mwait ins outs`.split(/\s+/),
);
/** Instructions of a function that gets a place inside its caller's region, and of all those in one region; calls within calls. */
const MAX_CALLEE = 40,
  MAX_CALLEES = 120,
  MAX_DEPTH = 3;
/** Functions that one indirect call, or jump, may lead to inside the region. */
const MAX_FUNCTIONS = 8,
  MAX_JUMPED_TO = 2;
/** Targets of a jump this near belong to the same function: cases of a switch, instructions of an interpreter. */
const NEAR_BYTES = 4096;

const IS_LEFT = LINES.map(({ ends, name }) => ends === 'system' || ends === 'transfer' || LEFT_TO_TIER0.has(name));
/** May a region hold it, as opposed to leaving before it? */
export function compilable({ row, prefix, environment }: Pick<Instruction, 'row' | 'prefix' | 'environment'>): boolean {
  if (IS_LEFT[row.lineIndex]) return false;
  return !isRepeated({ row, prefix }) || (LINES[row.lineIndex]!.attributes.bulk !== undefined && environment === ENV_LONG64);
}

/** A string instruction with REP. One that is in a region does what it can at once, and leaves before itself when that is not all. */
export const isRepeated = ({ row, prefix }: Pick<Instruction, 'row' | 'prefix'>): boolean => row.repeats && prefix !== PREFIX_PLAIN;

/** What a region is being formed from. */
interface Source {
  readonly window: CodeWindow;
  /** MODE_16, MODE_32 or MODE_64. */
  readonly mode: number;
}

export class RegionFormer {
  readonly #decoder = new Decoder();

  /**
   * @param mode MODE_16, MODE_32 or MODE_64. @param cap instructions; what lies beyond becomes an exit.
   * @returns undefined where not even the first instruction can be compiled
   */
  form(window: CodeWindow, entryOffset: number, mode: number, cap: number): Region | undefined {
    const source = { window, mode },
      top = newContext(entryOffset);
    this.#explore(source, top, cap);
    const first = top.found.get(entryOffset);
    // Tier 0 has to find itself where a region leaves to it.
    if (!first || isRepeated(first)) return undefined;
    const contexts = this.#withCallees(source, top, Math.min(MAX_CALLEES, cap - top.found.size));
    for (const context of contexts)
      for (const start of context.leaders) if (context.found.has(start)) context.blocks.set(start, blockAt(context, start));
    for (const { blocks } of contexts) for (const block of blocks.values()) connect(block);
    const entry = top.blocks.get(entryOffset)!,
      blocks = ordered(entry);
    const pages = new Set([0]);
    let size = 0;
    for (const block of blocks) {
      for (const page of block.pages) pages.add(page);
      size += block.instructions.length;
    }
    return { entry, blocks, pages: [...pages], size };
  }

  /**
   * Find the code of one context, but no more than `cap` instructions.
   * @returns whether that is all of what is warm there, and control leaves it only by RET
   */
  #explore({ window, mode }: Source, { start, found, leaders, picks }: Context, cap: number): boolean {
    const queue = [start];
    let isWhole = true;
    leaders.add(start);
    for (let next = 0; next < queue.length; next++) {
      let page: number | undefined;
      for (let at = queue[next]!; !found.has(at) && window.isWarm(at);) {
        const instruction = found.size < cap ? this.#decode(window, at, mode) : undefined;
        if (!instruction) {
          isWhole = false;
          break;
        }
        found.set(at, instruction);
        // A block is where a page is proved.
        const last = lastPageOf(instruction);
        if (page !== undefined && page !== last) leaders.add(at);
        page = last;
        const { ends } = instruction.row,
          target = targetOf(instruction);
        at += instruction.lengthBytes;
        if (ends === 'branch' || ends === 'jump') {
          if (window.isWarm(target)) {
            leaders.add(target);
            queue.push(target);
          } else if (ends === 'jump') isWhole = false;
        }
        if (ends === 'branch' || comesBack(instruction)) leaders.add(at);
        else if (ends !== 'no') {
          if (jumpsIndirectly(instruction)) {
            const targets = likelyTargets(window, instruction);
            picks.set(instruction.offset, targets);
            if (targets.length === 0) isWhole = false;
            for (const each of targets) leaders.add(each);
            queue.push(...targets);
          }
          break;
        }
      }
    }
    return isWhole;
  }

  /** Give small functions that are called a place in the region, those of the outer calls first. @returns all contexts, `top` first */
  #withCallees(source: Source, top: Context, room: number): readonly Context[] {
    const contexts = [top],
      refused = new Set<number>();
    let left = room;
    for (const context of contexts) {
      if (context.depth === MAX_DEPTH) continue;
      for (const call of context.found.values()) {
        const returnTo = call.offset + call.lengthBytes;
        if (!comesBack(call) || left <= 0 || !context.found.has(returnTo)) continue;
        const callees: Context[] = [],
          targets = call.relative ? [targetOf(call)] : source.window.targetsOf(call.offset);
        for (const target of targets.slice(0, MAX_FUNCTIONS)) {
          if (refused.has(target) || !source.window.isWarm(target) || !source.window.isWorthCopying(target)) continue;
          const callee = newContext(target, context, returnTo);
          if (this.#explore(source, callee, Math.min(MAX_CALLEE, left)) && callee.found.has(target)) {
            left -= callee.found.size;
            callees.push(callee);
          } else refused.add(target);
        }
        if (callees.length === 0) continue;
        context.callees.set(call.offset, callees);
        contexts.push(...callees);
      }
    }
    return contexts;
  }

  #decode(window: CodeWindow, offset: number, mode: number): Instruction | undefined {
    const d = this.#decoder;
    if (window.decode(d, offset, mode) !== DECODED || !compilable(d)) return undefined;
    const { displacement, immediate } = openFields(window, offset, d),
      moving = displacement || immediate ? undefined : movingFields(offset, d);
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
      segmentSlot: d.segmentSlot,
      registers: [d.registers[0]!, d.registers[1]!, d.registers[2]!],
      immediateLow: d.immediateLow,
      immediateHigh: d.immediateHigh,
      relative: d.relative,
      fieldBytes: d.displacementBytes + d.immediateBytes,
      flagsWanted: true,
      openDisplacement: displacement,
      openImmediate: immediate,
      movingDisplacement: moving?.displacement,
      movingImmediate: moving?.immediate,
    };
  }
}

function newContext(start: number, caller?: Context, returnTo = 0): Context {
  return {
    start,
    ...(caller && { caller }),
    returnTo,
    depth: caller ? caller.depth + 1 : 0,
    found: new Map(),
    leaders: new Set(),
    callees: new Map(),
    picks: new Map(),
    blocks: new Map(),
  };
}

const lastPageOf = ({ offset, lengthBytes }: Instruction): number => pageOf(offset + lengthBytes - 1);

/** Where a direct jump goes. Outside 64-bit mode rip may wrap, but there only the entry's page is known. */
export function targetOf(instruction: Instruction): number {
  return instruction.immediateLow + instruction.offset + instruction.lengthBytes;
}

/** A call of 64-bit mode: control goes on behind it. */
export function comesBack({ row, environment }: Instruction): boolean {
  return row.ends === 'call' && environment <= ENV_LONG32;
}

const jumpsIndirectly = ({ row, line, environment }: Instruction): boolean =>
  row.ends === 'return' && line.name === 'jmp' && environment <= ENV_LONG32;

/** Where an indirect jump goes: any number of places in its own function, or few other functions. */
function likelyTargets(window: CodeWindow, { offset }: Instruction): readonly number[] {
  const targets = window.targetsOf(offset).filter((target) => window.isWarm(target)),
    near = targets.filter((target) => Math.abs(target - offset) < NEAR_BYTES);
  return targets.length - near.length > MAX_JUMPED_TO ? near : targets;
}

function endingOf(last: Instruction, { caller, callees, picks }: Context): Ending {
  const { ends } = last.row;
  if (ends === 'no' || ends === 'jump') return 'goes';
  if (ends === 'branch') return 'branches';
  if (comesBack(last)) return !callees.has(last.offset) ? 'nests' : last.relative ? 'enters' : 'guesses';
  if (picks.get(last.offset)?.length) return 'picks';
  return caller && last.line.name === 'ret' ? 'returns' : 'leaves';
}

function targetsOf(ending: Ending, last: Instruction, { returnTo, callees, picks }: Context): readonly number[] {
  const next = last.offset + last.lengthBytes;
  switch (ending) {
    case 'goes':
      return [last.row.ends === 'jump' ? targetOf(last) : next];
    case 'branches':
      return [targetOf(last), next];
    case 'nests':
      return [next];
    case 'enters':
    case 'guesses': {
      const starts = callees.get(last.offset)!.map(({ start }) => start);
      return ending === 'enters' ? starts : [...starts, next];
    }
    case 'returns':
      return [returnTo];
    case 'picks':
      return picks.get(last.offset)!;
    case 'dispatches':
    case 'leaves':
      return [];
  }
}

/** The endings with which control may go elsewhere than to the targets. */
const LEAVING: ReadonlySet<Ending> = new Set(['returns', 'picks', 'guesses', 'leaves'] as const);

function blockAt(context: Context, start: number): Block {
  const { found, leaders } = context,
    instructions: Instruction[] = [];
  let last = found.get(start)!;
  for (let instruction: Instruction | undefined = last; instruction;) {
    last = instruction;
    instructions.push(last);
    const next = last.offset + last.lengthBytes;
    if (last.row.ends !== 'no' || leaders.has(next)) break;
    instruction = found.get(next);
  }
  const ending = endingOf(last, context);
  return newBlock({
    context,
    start,
    instructions,
    ending,
    targets: targetsOf(ending, last, context),
    edges: [],
    mayLeave: LEAVING.has(ending),
    pages: pagesOf(instructions),
  });
}

function pagesOf(instructions: readonly Instruction[]): readonly number[] {
  const pages: number[] = [];
  for (const instruction of instructions) {
    const first = pageOf(instruction.offset),
      last = lastPageOf(instruction);
    if (!pages.includes(first)) pages.push(first);
    if (!pages.includes(last)) pages.push(last);
  }
  return pages;
}

/** What stands at its targets, each in the context where control arrives. */
function connect({ ending, context, instructions, targets, edges }: Block): void {
  const entered = ending === 'enters' || ending === 'guesses' ? context.callees.get(instructions.at(-1)!.offset)! : [],
    other = ending === 'returns' ? context.caller! : context; // only a callee's RET is one
  targets.forEach((target, which) => edges.push((entered[which] ?? other).blocks.get(target)));
}
