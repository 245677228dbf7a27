/**
 * The paths through the processor that a system uses all the time, measured by a kernel of our own.
 * Implements: bench/kernel/paths.S. Runs on: main event loop.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Contender } from './contenders.ts';
import { MeasureError, type Processes } from './host-process.ts';

const SOURCE = fileURLToPath(new URL('kernel/paths.S', import.meta.url)),
  RUNTIME_FOLDER = fileURLToPath(new URL('../test/guests', import.meta.url));
const ASSEMBLE_LIMIT_MS = 10_000,
  LIMIT_MS = 60_000;
const REPORT = /period 0x(\w+)\r?\n((?:path [^\n]*\n)*)paths done/;
const PATH = /^path (.*) 0x(\w+) 0x(\w+)\r?$/gm;

/** Path -> nanoseconds, one round of the loop included. */
export type PathTimes = ReadonlyMap<string, number>;

/** @param path of the kernel to be made. @throws MeasureError without an assembler for x86-64 */
export function buildPathsKernel(path: string): void {
  for (const [program, args] of [
    ['as', ['--64', '-I', RUNTIME_FOLDER, '-o', `${path}.o`, SOURCE]],
    ['ld', ['-m', 'elf_x86_64', '-T', `${RUNTIME_FOLDER}/guest.ld`, '--oformat', 'binary', '-o', path, `${path}.o`]],
  ] as const) {
    const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8', timeout: ASSEMBLE_LIMIT_MS });
    if (status !== 0) throw new MeasureError(`bench/kernel: cannot be assembled (it takes binutils): ${error?.message ?? stderr.trim()}`);
  }
}

/** @param text of the console; a tick of its clock is as many femtoseconds as it says. @returns undefined where it is not complete */
export function pathTimesOf(text: string): PathTimes | undefined {
  const [, period = '', lines = ''] = REPORT.exec(text) ?? [];
  if (period === '') return undefined;
  const tickNs = Number.parseInt(period, 16) / 1e6;
  return new Map(
    [...lines.matchAll(PATH)].map(([, name, ticks, rounds]) => [
      name!,
      (Number.parseInt(ticks!, 16) * tickNs) / Number.parseInt(rounds!, 16),
    ]),
  );
}

export async function measurePaths(processes: Processes, contender: Contender, kernel: string): Promise<PathTimes> {
  await using process = processes.start(contender.command({ kernel }));
  const { match } = await process.expect(REPORT, LIMIT_MS);
  return pathTimesOf(match[0])!; // it matches
}
