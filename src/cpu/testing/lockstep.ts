/**
 * Two machines run the same program: one instruction by instruction in tier 0, the other in slices in the tier under test. At the end of
 * each slice their states must be alike.
 * Implements: docs/jit.md "Trust". Runs on: any thread of Node.
 */
import type { RamIndex } from '../guest-ram.ts';
import { KeptRegions } from '../jit/kept-regions.ts';
import type { RegionLimits } from '../jit/region-compiler.ts';
import type { CpuTier } from '../processor.ts';
import { CAPABILITY_STEP, RUN_BUDGET, RUN_HALTED, RUN_STEPPED, RUN_TRIPLE_FAULT } from '../state.ts';
import { RCX, RSP } from './program-assembler.ts';
import type { Piece, Program, ProgramMode } from './program-assembler.ts';
import { CODE, CODE_PAGES, COPY_BIT, DATA, DATA_PAGES, ENTRY, PAGE } from './program-map.ts';
import { ProgramMachine } from './program-machine.ts';
import { randomProgram } from './random-program.ts';
import { Random } from './random.ts';

/** Where a program that does not end is left. */
const MAX_INSTRUCTIONS = 1500;
/** Iterations of REP, and exceptions, without an instruction's end between them. */
const MAX_UNRETIRED = 20_000;
/** A REP with a counter that something has overwritten. */
const ENDLESS = 'endless';
/** Budget of the run whose regions are kept. */
const KEEPING_SLICE = 100;
/** Where these are alike, the rest is compared. */
const MARKS = [
  ['rip', 0],
  ['gpr', RCX],
  ['gpr', RSP],
] as const;

/** What is compared with single steps in tier 0. */
export interface Engine {
  readonly tier: CpuTier;
  readonly ramIndex?: RamIndex;
  readonly limits?: RegionLimits;
  readonly hot?: number;
  readonly batch?: number;
  /** Each program runs twice, the second time with the regions of the first. */
  readonly keeps?: true;
}
export const ENGINES: readonly Engine[] = [
  { tier: 'always' },
  { tier: 'always', limits: { cap: 2, minimum: 1 } },
  { tier: 'always', limits: { cap: 7, minimum: 1 } },
  { tier: 'jit', hot: 2, batch: 4 },
  { tier: 'jit', hot: 6, batch: 16 },
  { tier: 'jit', hot: 3, batch: 8, limits: { cap: 12, minimum: 1 } },
  { tier: 'interpreter' },
  { tier: 'always', ramIndex: 'i64' },
  { tier: 'jit', hot: 4, batch: 8, ramIndex: 'i64' },
  { tier: 'jit', hot: 2, batch: 4, keeps: true },
  { tier: 'jit', hot: 3, batch: 8, ramIndex: 'i64', keeps: true },
];
/** Instructions in a slice: always the same number, or drawn from so many. */
const SLICES = [[1], [2, 3, 5], [1, 3, 17, 1000], [7, 40, 100], [1000]] as const;

/** Runs programs on one machine of each engine, so that few are made. */
export class Lockstep {
  readonly #right = new ProgramMachine({ tier: 'interpreter' });
  readonly #machines = new Map<Engine, ProgramMachine>();
  readonly #kept = new Map<Engine, KeptRegions>();
  /** How programs ended. */
  readonly ends = { halted: 0, tripleFault: 0, unfinished: 0 };

  machine(engine: Engine): ProgramMachine {
    let machine = this.#machines.get(engine);
    if (!machine) {
      const kept = engine.keeps && new KeptRegions();
      if (kept) this.#kept.set(engine, kept);
      machine = new ProgramMachine({ ...engine, kept });
      this.#machines.set(engine, machine);
    }
    return machine;
  }

  /** @returns what differs, '' when nothing does. */
  run(seed: number, engine: Engine, program: Program): string {
    const right = this.#right,
      machine = this.machine(engine),
      random = new Random(seed ^ 0x1234567);
    if (engine.keeps) {
      machine.load(program, seed);
      for (let left = MAX_INSTRUCTIONS; left > 0 && machine.processor.run(KEEPING_SLICE) === RUN_BUDGET;) left -= KEEPING_SLICE;
      this.#kept.get(engine)!.nextRun();
    }
    for (const each of [right, machine]) each.load(program, seed);
    if (random.once(24)) breakpoints(random, [right, machine]);
    right.set('capabilities', CAPABILITY_STEP);
    const slices = random.pick(SLICES),
      events = random.once(3) ? random.pick(EVENTS) : [];
    for (let slice = 0; ; slice++) {
      const budget = random.pick(slices),
        reason = machine.processor.run(budget),
        different = catchUp(machine, right, reason);
      if (different === ENDLESS) {
        this.ends.unfinished++;
        return '';
      }
      if (different) return `after slice ${slice} of ${budget}: ${different}`;
      if (reason === RUN_HALTED) this.ends.halted++;
      else if (reason === RUN_TRIPLE_FAULT) this.ends.tripleFault++;
      else if (reason !== RUN_BUDGET) return `run ended with ${reason}`;
      else if (machine.get('retired') < MAX_INSTRUCTIONS) {
        if (events.length > 0 && random.once(4)) random.pick(events)(random, [right, machine], program);
        continue;
      } else this.ends.unfinished++;
      return '';
    }
  }
}

/** Step the right one to where the other has come, and compare. */
export function catchUp(machine: ProgramMachine, right: ProgramMachine, reason: number): string {
  const target = machine.get('retired');
  let stepped = RUN_STEPPED as number;
  const stopped = (): boolean => stepped !== RUN_STEPPED && stepped !== RUN_BUDGET;
  for (let before = right.get('retired'), unretired = 0; before < target && !stopped();) {
    stepped = right.processor.run(1);
    const now = right.get('retired');
    unretired = now === before ? unretired + 1 : 0; // REP counts once, at its end
    before = now;
    if (unretired > MAX_UNRETIRED) return ENDLESS;
  }
  let different = machine.difference(right);
  // Without another instruction: an interrupt or an exception is delivered, REP goes on, the machine stops.
  if (different && right.interrupt) {
    right.processor.run(0);
    different &&= machine.difference(right);
  }
  const first = different;
  for (let i = 0; !stopped() && (different || reason !== RUN_BUDGET); i++) {
    if (i === MAX_UNRETIRED) return ENDLESS;
    stepped = right.processor.run(1);
    if (right.get('retired') > target) return first || `run ended with ${reason}, not ${stepped}`;
    if (MARKS.every(([name, index]) => right.get(name, index) === machine.get(name, index))) different = machine.difference(right);
  }
  return different ? first : reason !== RUN_BUDGET && stepped !== reason ? `run ended with ${reason}, not ${stepped}` : '';
}

/** DR0 on an instruction, DR1 on data that is written, DR7 to match. */
function breakpoints(random: Random, machines: readonly ProgramMachine[]): void {
  const code = CODE + ENTRY + random.below((CODE_PAGES * PAGE - ENTRY) / 4),
    data = (DATA + random.below(DATA_PAGES) * PAGE + random.below(64)) & ~7,
    enables = random.pick([0x2, 0x8, 0xa]);
  for (const machine of machines) {
    machine.set('dr', code, 0);
    machine.set('dr', data, 1);
    machine.set('dr', 0x400 | enables | 0x00900000, 7); // DR1: 8 bytes, written
    machine.processor.refreshState();
  }
}

/** How often each is drawn: a module for each region takes its time. */
const SHARES = [0, 1, 2, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8, 8, 9, 9, 9, 10] as const;
type Machines = readonly ProgramMachine[];
/** What comes from outside between slices: an interrupt, a device that writes into the code, another mapping of a page of code. */
const interrupt = (_random: Random, machines: Machines): void => {
  for (const machine of machines) machine.interrupt = true;
};
const dma = (random: Random, machines: Machines, { code }: Program): void => {
  const gpa = machines[0]!.codeGpa(ENTRY + random.below(code.length)) ^ (random.once(4) ? COPY_BIT : 0),
    value = random.once(3) ? machines[0]!.ram[gpa]! : random.next() & 0xff;
  for (const machine of machines) machine.dma(gpa, value);
};
const remap = (random: Random, machines: Machines): void => {
  const page = CODE / PAGE + random.below(CODE_PAGES);
  for (const machine of machines) machine.remap(page, BigInt(COPY_BIT));
};
const EVENTS: readonly (readonly (typeof dma)[])[] = [[interrupt], [dma], [remap], [interrupt, dma, remap]];

/** The engine that a seed is run with, unless it is given. */
export const engineOf = (seed: number): Engine => ENGINES[new Random(seed ^ 0x2468).pick(SHARES)]!;

export interface Failure {
  readonly seed: number;
  readonly text: string;
  /** The smallest program found that still fails. */
  readonly program: Program;
}

/** Run the program of a seed. Where it fails, pieces are left out for as long as it goes on failing. */
export function tryProgram(lockstep: Lockstep, seed: number, mode?: ProgramMode, engine = engineOf(seed)): Failure | undefined {
  const assembler = randomProgram(seed, mode);
  let program = assembler.assemble(),
    text = lockstep.run(seed, engine, program);
  if (text === '') return undefined;
  let kept: ReadonlySet<Piece> = new Set(assembler.pieces.filter((piece) => piece.bytes.length > 0));
  for (let chunk = Math.ceil(kept.size / 2); chunk >= 1; chunk = chunk === 1 ? 0 : Math.ceil(chunk / 2)) {
    for (let at = 0; at < kept.size;) {
      const list = [...kept],
        fewer = new Set([...list.slice(0, at), ...list.slice(at + chunk)]),
        smaller = assembler.assemble(fewer),
        still = lockstep.run(seed, engine, smaller);
      if (still === '') at += chunk;
      else [kept, program, text] = [fewer, smaller, still];
    }
  }
  return { seed, text: `${program.mode}, ${JSON.stringify(engine)}: ${text}`, program };
}
