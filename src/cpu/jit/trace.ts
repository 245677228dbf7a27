/**
 * What becomes of each region, as text (`--trace-jit`): the guest's code block by block, where control goes from there and why it leaves, the
 * WebAssembly, sizes and times; later whether it was installed, and what ended it.
 * Implements: docs/jit.md "Looking at it". Runs on: where regions are compiled; without the option none of this is loaded.
 */
import * as MAP from '../../base/memory-map.ts';
import { DECODED, DECODE_TRUNCATED, Decoder } from '../decode/decoder.ts';
import { formatInstruction } from '../decode/format.ts';
import { CODE_SIZE_MASK, GPR_NAMES, MODE_16, MODE_32, MODE_FPU_TRAP, VCPU } from '../state.ts';
import { functionText } from '../wasm/text.ts';
import type { TextNames } from '../wasm/text.ts';
import type { RegionBody } from './assemble.ts';
import { WINDOW_REACH, pageOf } from './code-window.ts';
import type { CodeWindow } from './code-window.ts';
import { LINE_BYTES } from './compilation.ts';
import type { CompileEntry, CompiledModule, RegionEvent } from './compilation.ts';
import { isBackEdge } from './flow-graph.ts';
import { compilable, isRepeated } from './region.ts';
import type { Block, Region } from './region.ts';

/** An entry that has just been looked at. */
export interface TracedEntry {
  readonly entry: CompileEntry;
  readonly window: CodeWindow;
  /** Most instructions of a region. */
  readonly cap: number;
  /** undefined: not even its first instruction can be compiled. */
  readonly region: Region | undefined;
}
/** A region that has just been emitted. */
export interface TracedRegion extends TracedEntry {
  readonly region: Region;
  readonly body: RegionBody;
  readonly names: Pick<TextNames, 'function' | 'type'>;
  readonly formMs: number;
  readonly emitMs: number;
}

const BYTES_COLUMNS = 24;
const CODE_SIZES: Readonly<Record<number, string>> = { [MODE_16]: '16-bit', [MODE_32]: '32-bit' };
const MEMORIES = ['state', 'ram'];
/** Names of the record's fields by their offset. */
const FIELDS = new Map<number, string>();
for (const [name, { count, strideBytes }] of Object.entries(VCPU.fields))
  for (let i = 0; i < count; i++)
    FIELDS.set(
      VCPU.offset[name as keyof typeof VCPU.offset] + i * strideBytes,
      name === 'gpr' ? GPR_NAMES[i]! : count > 1 ? `${name}${i}` : name,
    );
/** What lies behind the record. */
for (const [name, offset] of Object.entries(MAP))
  if (name.startsWith('VCPU_') && !name.endsWith('_BYTES') && typeof offset === 'number') FIELDS.set(offset, name);
const { HVA_RAM } = MAP;

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;
const hexOf = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
const microseconds = (ms: number): string => `${Math.round(ms * 1000)} us`;
const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

export class RegionTrace {
  readonly #out: (text: string) => void;
  readonly #decoder = new Decoder();
  /** Number of the region that has, or will have, a slot. */
  readonly #numbers = new Map<number, number>();
  #count = 0;

  /** @param out is given whole lines */
  constructor(out: (text: string) => void) {
    this.#out = out;
  }

  region(traced: TracedRegion): void {
    const { entry, region, body } = traced,
      number = ++this.#count,
      loops = region.blocks.filter((block) => block.loopHeader).length,
      fpu = entry.mode & MODE_FPU_TRAP ? ', the FPU may be refused' : '';
    this.#numbers.set(entry.slot, number);
    const lines = [
      `region ${number}: ${placeOf(entry)}${fpu}`,
      `  ${whyFormed(entry)}`,
      `  ${counted(region.size, 'instruction')} in ${counted(region.blocks.length, 'block')} and ${counted(region.pages.length, 'page')}, ${counted(loops, 'loop')}; ` +
        `formed in ${microseconds(traced.formMs)}, emitted in ${microseconds(traced.emitMs)}: ${body.out.size} bytes of code`,
      ...region.blocks.flatMap((block) => this.#block(traced, block)),
      textOf(number, traced),
    ];
    this.#out(`${lines.join('\n')}\n\n`);
  }

  refused(traced: TracedEntry): void {
    const { entry, region } = traced,
      why = region ? `only ${counted(region.size, 'instruction')}` : this.#whyNot(traced, entry.offset);
    this.#out(`no region: ${placeOf(entry)}: ${why}\n`);
  }

  putOff(entry: CompileEntry): void {
    this.#out(`no region yet: ${placeOf(entry)}: another one holds it\n`);
  }

  module({ regions, sizeBytes, compileNs }: CompiledModule): void {
    if (regions.length === 0) return;
    const numbers = regions.map(({ slot }) => this.#numbers.get(slot));
    this.#out(`module of region ${numbers.join(', ')}: ${sizeBytes} bytes, compiled in ${microseconds(compileNs / 1e6)}\n`);
  }

  event({ what, slot, hvaPage, linesLow, linesHigh }: RegionEvent): void {
    const region = slot === undefined ? 'all regions' : `region ${this.#numbers.get(slot)}`;
    switch (what) {
      case 'installed':
        return this.#out(`${region} installed\n`);
      case 'dropped':
        return this.#out(`${region} dropped: its code has changed while it was compiled\n`);
      case 'changed':
        return this.#out(`${region} killed: written at ${writtenAt(hvaPage ?? 0, linesLow ?? 0, linesHigh ?? 0)}\n`);
      case 'evicted':
        return this.#out(`${region} evicted: the code cache is full\n`);
      case 'flushed':
        return this.#out(`${region} dropped: everything decoded was\n`);
    }
  }

  #block(traced: TracedRegion, block: Block): string[] {
    const { entry } = traced;
    return [
      `  block ${block.order}${block.loopHeader ? ', loop' : ''}${insideOf(traced, block)}`,
      ...block.instructions.map((instruction) => {
        const at = addressOf(entry, instruction.offset),
          bytes = hexOf(traced.window.bytesAt(instruction.offset, instruction.lengthBytes));
        return `    ${at.toString(16)}  ${bytes.padEnd(BYTES_COLUMNS)}${formatInstruction(instruction, at)}`;
      }),
      ...this.#ways(traced, block).map((way) => `      -> ${way}`),
    ];
  }

  /** Where control goes at a block's end. */
  #ways(traced: TracedRegion, block: Block): string[] {
    const ways = block.edges.map((_, which) => this.#way(traced, block, which));
    switch (block.ending) {
      case 'leaves':
        return [`out: ${{ jmp: 'indirect jump', ret: 'return' }[lineOf(block)] ?? lineOf(block)}`];
      case 'branches':
        return [`taken: ${ways[0]}`, `else: ${ways[1]}`];
      case 'nests':
        return [`nested call, then ${ways[0]}`];
      case 'enters':
        return [`call inside the region: ${ways[0]}`];
      case 'returns':
        return [`to its CALL: ${ways[0]}`, 'else: out: return'];
      case 'picks':
        return [...block.targets.map((target, which) => this.#if(traced, target, ways[which]!)), 'else: out: indirect jump'];
      case 'guesses':
        return [
          ...block.targets.slice(0, -1).map((target, which) => `call inside the region ${this.#if(traced, target, ways[which]!)}`),
          `else: nested call, then ${ways.at(-1)}`,
        ];
      case 'dispatches':
        return [`the one that was chosen: ${ways.join('; ')}`];
      case 'goes':
        return ways;
    }
  }
  #if({ entry }: TracedRegion, target: number, way: string): string {
    return `if it goes to ${hex(addressOf(entry, target))}: ${way}`;
  }
  #way(traced: TracedRegion, from: Block, which: number): string {
    const to = from.edges[which],
      offset = from.targets[which]!;
    if (to) {
      const through = from.choices.filter(({ edge }) => edge === which).map(({ dispatch, value }) => dispatch.edges[value]?.order);
      return `block ${to.order}${through.length > 0 ? ` for block ${through[0]}` : ''}${isBackEdge(from, to) ? ', or out when the budget is used up' : ''}`;
    }
    const why = from.context.blocks.has(offset) ? 'into a loop, beside its header, like too many before' : this.#whyNot(traced, offset);
    return `out to ${hex(addressOf(traced.entry, offset))}: ${why}`;
  }

  /** Why does the region hold nothing there? */
  #whyNot({ entry, window, cap }: TracedEntry, offset: number): string {
    if (!window.has(pageOf(offset))) return Math.abs(pageOf(offset)) > WINDOW_REACH ? 'too far away' : 'its page was not mapped';
    if (!window.isWarm(offset)) return 'it has not been executed yet';
    const decoder = this.#decoder,
      result = window.decode(decoder, offset, entry.mode & CODE_SIZE_MASK);
    if (result === DECODE_TRUNCATED) return 'it goes on in a page that was not mapped';
    if (result !== DECODED) return 'no instruction';
    if (!compilable(decoder) || (offset === entry.offset && isRepeated(decoder)))
      return `left to tier 0: ${formatInstruction(decoder, addressOf(entry, offset))}`;
    return `the cap of ${cap} instructions is reached`;
  }
}

const lineOf = ({ instructions }: Block): string => instructions.at(-1)!.line.name;
/** Which calls led to this copy of its code? */
function insideOf({ entry }: TracedRegion, { context }: Block): string {
  let text = '';
  for (let inner = context; inner.caller; inner = inner.caller) text += `, inside the call before ${hex(addressOf(entry, inner.returnTo))}`;
  return text;
}
/** Linear where it is known, else in guest memory. */
function addressOf({ rip, hvaPage, offset }: CompileEntry, at: number): bigint {
  return BigInt.asUintN(64, (rip === undefined ? BigInt(hvaPage - HVA_RAM + offset) : rip) + BigInt(at - offset));
}
function placeOf(entry: CompileEntry): string {
  const { rip, hvaPage, offset, mode } = entry,
    linear = rip === undefined ? '' : `rip ${hex(rip)}, `;
  return `${linear}guest memory ${hex(hvaPage - HVA_RAM)}+${hex(offset)}, ${CODE_SIZES[mode & CODE_SIZE_MASK] ?? '64-bit'} code`;
}
function whyFormed({ reports = 0 }: CompileEntry): string {
  return `hot: reported ${counted(1 + reports, 'time')} before its turn came`;
}
function writtenAt(hvaPage: number, linesLow: number, linesHigh: number): string {
  const lines: string[] = [];
  for (let line = 0; line < 64; line++)
    if (((line < 32 ? linesLow : linesHigh) >>> (line & 31)) & 1) lines.push(hex(hvaPage - HVA_RAM + line * LINE_BYTES));
  return lines.length === 64 ? `the whole page ${lines[0]!}` : lines.join(', ');
}
function textOf(number: number, { body, names }: TracedRegion): string {
  const locals = body.localNames();
  return functionText(
    `region${number}`,
    { params: body.params, locals: body.locals, results: ['i32'], bytes: body.out.bytes() },
    {
      ...names,
      memory: (index) => MEMORIES[index] ?? String(index),
      local: (index) => locals.get(index),
      field: (offset) => FIELDS.get(offset),
    },
  )
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n');
}
