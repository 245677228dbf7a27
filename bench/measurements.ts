/**
 * The measurements themselves. Each starts its own processes and ends them, and each wait has a limit.
 * Runs on: main event loop.
 */
import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender, GuestFiles } from './contenders.ts';
import { RAM_BYTES } from './contenders.ts';
import { MeasureError, type RamPlace, type MeasuredProcess, type MemoryUse, type Processes } from './host-process.ts';
import { RESULT_LINE, resultOf, type GuestProgram, type Workload, type WorkloadResult } from './guest-program.ts';

/** What busybox's shell says when it waits for a command, at the beginning of a line. */
const PROMPT = /(?:^|\n)\/ # /;
/** A kernel that has said this says nothing more. */
const PANIC = /Kernel panic - [^\r\n]*/;
const BOOT_LIMIT_MS = 300_000;
const START_LIMIT_MS = 60_000;
const NATIVE_LIMIT_MS = 300_000;
/** After the prompt the kernel still works a little: it frees its own initial memory, devices settle. */
const SETTLE_MS = 3000;
const IDLE_MS = 10_000;

export interface IdleRun {
  readonly memory: MemoryUse;
  /** Of one core; 0.02 is 2 %. */
  readonly cpuShare: number;
}

export interface BootRun {
  /** Process start to the shell's prompt. */
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  /** From the start to the power-off which follows the prompt at once. QEMU does not tell. */
  readonly instructions: number | undefined;
  readonly idle: IdleRun | undefined;
}

const either = (...patterns: readonly RegExp[]): RegExp => new RegExp(patterns.map(({ source }) => source).join('|'));

interface Booted {
  readonly process: MeasuredProcess;
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
}

async function bootToShell(processes: Processes, contender: Contender, guest: GuestFiles): Promise<Booted> {
  const process = processes.start(contender.command(guest));
  try {
    const { atMs, match } = await process.expect(either(PROMPT, PANIC), BOOT_LIMIT_MS);
    if (!PROMPT.test(match[0])) throw new MeasureError(match[0]);
    return { process, wallSeconds: (atMs - process.startMs) / 1000, cpuSeconds: process.cpuSeconds() };
  } catch (error) {
    await process[Symbol.asyncDispose]();
    throw error;
  }
}

/** @returns what tshyve's --stats counted, if it did */
async function powerOff(process: MeasuredProcess): Promise<number | undefined> {
  process.write('poweroff -f\n');
  await process.end();
  const counts = [...process.errors.matchAll(/guest instructions executed +(\d+)/g)].map(([, count]) => Number(count));
  return counts.length === 0 ? undefined : counts.reduce((sum, count) => sum + count, 0);
}

export async function measureBoot(processes: Processes, contender: Contender, guest: GuestFiles, alsoIdle: boolean): Promise<BootRun> {
  const { process, wallSeconds, cpuSeconds } = await bootToShell(processes, contender, guest);
  await using _ = process;
  const idle = alsoIdle ? await measureIdle(process, contender) : undefined;
  return { wallSeconds, cpuSeconds, instructions: await powerOff(process), idle };
}

const ramOf = ({ ramOffsetBytes }: Contender): RamPlace => ({ offsetBytes: ramOffsetBytes, sizeBytes: RAM_BYTES });

async function measureIdle(process: MeasuredProcess, contender: Contender): Promise<IdleRun> {
  await sleep(SETTLE_MS);
  const memory = process.memory(ramOf(contender));
  const startMs = performance.now();
  const before = process.cpuSeconds();
  await sleep(IDLE_MS);
  return { memory, cpuShare: (process.cpuSeconds() - before) / ((performance.now() - startMs) / 1000) };
}

/** @param kernel says `greeting` with its first instructions. @returns seconds from the start of the process until that is read */
export async function measureStart(processes: Processes, contender: Contender, kernel: string, greeting: RegExp): Promise<number> {
  await using process = processes.start(contender.command({ kernel }));
  const { atMs } = await process.expect(greeting, START_LIMIT_MS);
  return (atMs - process.startMs) / 1000;
}

export interface WorkloadsRun {
  readonly results: readonly WorkloadResult[];
  /** Workload -> why it has no result. */
  readonly failed: ReadonlyMap<string, string>;
  /** Of the process when all had run. */
  readonly memory: MemoryUse | undefined;
  /** Seconds by the guest's clock for each second of the host's. NaN with fewer than two results. */
  readonly clockRate: number;
}

export interface WorkloadOptions {
  readonly scale: number;
  readonly limitMs: number;
  readonly onResult: (result: WorkloadResult) => void;
}

/**
 * Run workloads in a guest. One that crashes costs its own result only; one that hangs or takes the guest with it, a new boot.
 * @throws MeasureError when the guest does not come up for the first time
 */
export async function measureWorkloads(
  processes: Processes,
  contender: Contender,
  guest: GuestFiles,
  workloads: readonly Workload[],
  { scale, limitMs, onResult }: WorkloadOptions,
): Promise<WorkloadsRun> {
  const left = workloads.map(({ name }) => name);
  const results: WorkloadResult[] = [];
  const failed = new Map<string, string>();
  const clocks = { guestSeconds: 0, hostSeconds: 0 };
  let memory: MemoryUse | undefined;
  let process = (await bootToShell(processes, contender, guest)).process;
  for (;;) {
    await using _ = process;
    try {
      while (left.length > 0) {
        process.write(`bench -s ${scale} ${left.join(' ')}\n`);
        let lastMs: number | undefined;
        for (;;) {
          const { atMs, match } = await process.expect(either(RESULT_LINE, PROMPT, PANIC), limitMs);
          if (PANIC.test(match[0])) throw new MeasureError(match[0]);
          if (match[1] === undefined) break;
          const result = resultOf(match);
          results.push(result);
          onResult(result);
          left.splice(left.indexOf(result.name), 1);
          if (lastMs !== undefined) {
            clocks.guestSeconds += result.seconds;
            clocks.hostSeconds += (atMs - lastMs) / 1000;
          }
          lastMs = atMs;
        }
        // Back at the prompt: the one that was running has ended the program.
        const crashed = left.shift();
        if (crashed !== undefined) failed.set(crashed, 'ended the program');
      }
      memory = process.memory(ramOf(contender));
      await powerOff(process);
      break;
    } catch (error) {
      if (!(error instanceof MeasureError)) throw error;
      const hung = left.shift();
      if (hung === undefined) break;
      failed.set(hung, error.message);
    }
    if (left.length === 0) break;
    await process[Symbol.asyncDispose]();
    try {
      process = (await bootToShell(processes, contender, guest)).process;
    } catch (error) {
      if (!(error instanceof MeasureError)) throw error;
      for (const name of left) failed.set(name, `no guest to run it in: ${error.message}`);
      break;
    }
  }
  return { results, failed, memory, clockRate: clocks.guestSeconds / clocks.hostSeconds };
}

/** The same program on the host itself. */
export function measureNative(program: GuestProgram, workloads: readonly Workload[], scale: number): WorkloadResult[] {
  const { stdout, error } = spawnSync(program.path, ['-s', `${scale}`, ...workloads.map(({ name }) => name)], {
    encoding: 'latin1',
    timeout: NATIVE_LIMIT_MS,
  });
  if (error) throw new MeasureError(`${program.path}: ${error.message}`, { cause: error });
  return [...stdout.matchAll(new RegExp(RESULT_LINE, 'gm'))].map(resultOf);
}
