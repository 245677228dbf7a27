/**
 * `npm run bench`: tshyve beside QEMU TCG.
 * Implements: docs/benchmarks.md. Runs on: main event loop.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createLog } from '../src/base/log.ts';
import { createProgress, ensureGuest } from '../src/tshyve/guests/index.ts';
import { echoKernel } from '../src/tshyve/testing/echo-kernel.ts';
import { qemu, tshyve, type Contender, type GuestFiles } from './contenders.ts';
import { buildGuestProgram, writeInitrd, type GuestProgram, type Workload } from './guest-program.ts';
import { MeasureError, Processes } from './host-process.ts';
import { measureBoot, measureNative, measureStart, measureWorkloads, type BootRun } from './measurements.ts';
import { buildPathsKernel, measurePaths, type PathTimes } from './paths.ts';
import { chart, checksumFailures, compareWorkloads, markdownReport, type Results, type RunsOf, type Setting } from './report.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const REPORT = `${ROOT}docs/benchmarks.md`;
const PICTURE = 'benchmarks.svg';
/** After so many there is little left to be added to what is kept. */
const FIRST_BOOTS = 4;
const PARTS = ['boot', 'start', 'idle', 'paths', 'guest'] as const;
/** Work of the workloads: an interpreter needs minutes for all of it. */
const DEFAULT_SCALE = 0.1;
const DEFAULT_WORKLOAD_LIMIT_SECONDS = 300;
const GREETING = 'the first instructions';
/** Another program at work makes all figures doubtful. */
const BUSY_LOAD = 0.5;

const HELP = `usage: npm run bench [-- OPTION...] [PART...]

Measures tshyve beside qemu-system-x86_64 -accel tcg, writes docs/benchmarks.md and docs/${PICTURE}, and prints the page.

parts (default: all):
  boot               process start to the shell of Debian's kernel
  start              process start to the first instructions of a kernel
  idle               memory and host CPU of a guest that waits at its prompt
  paths              system calls, interrupts, page faults and the like, one by one; takes binutils
  guest              programs in the guest; takes make, gcc and libc6-dev

options:
  --runs N           runs of each measurement (default 3)
  --scale FACTOR     amount of work of the guest programs (default ${DEFAULT_SCALE})
  --workloads A,B    only these guest programs; 'bench/guest/workloads.h' has the list
  --limit SECONDS    for one guest program (default ${DEFAULT_WORKLOAD_LIMIT_SECONDS})
  --cpu-tier TIER    of tshyve: default, interpreter, jit or always
  --only NAME        tshyve or qemu alone
  --qemu PROGRAM     (default qemu-system-x86_64)
  --guest NAME       a guest of 'tshyve list' with a kernel and an initramfs (default debian)
  --no-write         print the page, write no file
  -h, --help         show this
`;

class UsageError extends Error {}

interface Options {
  readonly parts: ReadonlySet<string>;
  readonly runs: number;
  readonly scale: number;
  readonly limitMs: number;
  readonly workloads: ReadonlySet<string> | undefined;
  readonly tier: string | undefined;
  readonly only: string | undefined;
  readonly qemu: string;
  readonly guest: string;
  readonly write: boolean;
}

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`);

function readOptions(args: readonly string[]): Options | undefined {
  const text = { type: 'string' } as const;
  const { values, positionals } = (() => {
    try {
      return parseArgs({
        args: [...args],
        allowPositionals: true,
        options: {
          runs: text,
          scale: text,
          limit: text,
          workloads: text,
          'cpu-tier': text,
          only: text,
          qemu: text,
          guest: text,
          'no-write': { type: 'boolean' },
          help: { type: 'boolean', short: 'h' },
        },
      });
    } catch (error) {
      // Node explains at length; its first sentence says what is wrong.
      throw new UsageError(String(error instanceof Error ? error.message : error).replace(/\. .*/s, ''));
    }
  })();
  if (values.help) return undefined;
  const number = (
    name: string,
    given: string | undefined,
    otherwise: number,
    accepted: (value: number) => boolean,
    what: string,
  ): number => {
    const value = given === undefined ? otherwise : Number(given);
    if (given?.trim() === '' || !Number.isFinite(value) || !accepted(value)) throw new UsageError(`--${name} '${given}': expected ${what}`);
    return value;
  };
  for (const part of positionals) {
    if (!PARTS.some((known) => known === part)) throw new UsageError(`'${part}': expected one of ${PARTS.join(', ')}`);
  }
  if (values.only !== undefined && !['tshyve', 'qemu'].includes(values.only))
    throw new UsageError(`--only '${values.only}': expected tshyve or qemu`);
  return {
    parts: new Set(positionals.length === 0 ? PARTS : positionals),
    runs: number('runs', values.runs, 3, (value) => Number.isInteger(value) && value >= 1 && value <= 100, 'a number from 1 to 100'),
    scale: number('scale', values.scale, DEFAULT_SCALE, (value) => value > 0 && value <= 100, 'a factor above 0, at most 100'),
    limitMs:
      number('limit', values.limit, DEFAULT_WORKLOAD_LIMIT_SECONDS, (value) => value > 0 && value <= 86_400, 'seconds, at most a day') *
      1000,
    workloads: values.workloads === undefined ? undefined : new Set(values.workloads.split(',')),
    tier: values['cpu-tier'],
    only: values.only,
    qemu: values.qemu ?? 'qemu-system-x86_64',
    guest: values.guest ?? 'debian',
    write: values['no-write'] !== true,
  };
}

function output(program: string, ...args: string[]): string {
  const { status, stdout } = spawnSync(program, args, { cwd: ROOT, encoding: 'utf8', timeout: 10_000 });
  return status === 0 ? stdout.trim() : '';
}

function commit(): string {
  const short = output('git', 'rev-parse', '--short=12', 'HEAD');
  if (short === '') return 'unknown';
  return output('git', 'status', '--porcelain', '--untracked-files=no', '--', 'src', 'bench', 'bin', 'package-lock.json') === ''
    ? short
    : `${short}, with changes`;
}

function systemName(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? process.platform;
  } catch {
    return process.platform; // not every system has the file
  }
}

interface Bench {
  readonly options: Options;
  readonly contenders: readonly Contender[];
  readonly processes: Processes;
  readonly folder: string;
  readonly failures: string[];
}

/** One round after the other, each with every contender, the order changing from round to round. */
async function alternate<T>(
  bench: Bench,
  what: string,
  rounds: number,
  once: (contender: Contender, round: number) => Promise<T>,
): Promise<RunsOf<T>> {
  const runs: RunsOf<T> = {};
  const given: Set<string> = new Set();
  for (let round = 0; round < rounds; round++) {
    for (const contender of round % 2 === 0 ? bench.contenders : bench.contenders.toReversed()) {
      if (given.has(contender.name)) continue;
      try {
        const result = await once(contender, round);
        (runs[contender.name] ??= []).push(result);
      } catch (error) {
        if (!(error instanceof MeasureError)) throw error;
        // What failed once takes its whole limit each time.
        given.add(contender.name);
        bench.failures.push(`${what}, ${contender.name}: ${error.message}`);
        say(bench.failures.at(-1)!);
      }
    }
  }
  return runs;
}

async function measureBoots(bench: Bench, guest: GuestFiles): Promise<Results['boot']> {
  const { options, processes } = bench;
  if (!options.parts.has('boot') && !options.parts.has('idle')) return {};
  return alternate(bench, 'boot', options.runs, async (contender, round) => {
    const run = await measureBoot(processes, contender, guest, options.parts.has('idle'));
    const idle = run.idle ? `; idle: ${(run.idle.cpuShare * 100).toFixed(2)} % CPU` : '';
    say(
      `boot ${round + 1}/${options.runs}, ${contender.name}: ${run.wallSeconds.toFixed(2)} s wall, ${run.cpuSeconds.toFixed(2)} s CPU${idle}`,
    );
    return run;
  });
}

/**
 * tshyve keeps compiled code from boot to boot: what is measured is what a user has after a few. The first one, with nothing kept, is told apart.
 * @returns those that come before what is measured
 */
async function measureFirstBoots(bench: Bench, guest: GuestFiles): Promise<Results['firstBoots']> {
  const { options, processes, contenders } = bench,
    ours = contenders.find(({ name }) => name === 'tshyve');
  if (!ours || !options.parts.has('boot')) return [];
  const runs: BootRun[] = [];
  while (runs.length < FIRST_BOOTS) {
    try {
      runs.push(await measureBoot(processes, ours, guest, false));
    } catch (error) {
      if (!(error instanceof MeasureError)) throw error;
      return runs; // the boots that count fail as well, and say why
    }
    const { wallSeconds, cpuSeconds } = runs.at(-1)!;
    say(`first boots ${runs.length}/${FIRST_BOOTS}, tshyve: ${wallSeconds.toFixed(2)} s wall, ${cpuSeconds.toFixed(2)} s CPU`);
  }
  return runs;
}

async function measureStarts(bench: Bench): Promise<Results['start']> {
  const { options, processes, folder } = bench;
  if (!options.parts.has('start')) return {};
  const kernel = join(folder, 'first-instructions');
  writeFileSync(kernel, echoKernel(`${GREETING}\n`));
  const rounds = options.runs + 1;
  const runs = await alternate(bench, 'start', rounds, async (contender, round) => {
    const seconds = await measureStart(processes, contender, kernel, new RegExp(GREETING));
    say(`start ${round === 0 ? 'to warm up' : `${round}/${options.runs}`}, ${contender.name}: ${seconds.toFixed(3)} s`);
    return seconds;
  });
  for (const list of Object.values(runs)) list.shift();
  return runs;
}

async function measureAllPaths(bench: Bench): Promise<RunsOf<PathTimes>> {
  const { options, processes, folder, failures } = bench;
  if (!options.parts.has('paths')) return {};
  const kernel = join(folder, 'paths');
  try {
    buildPathsKernel(kernel);
  } catch (error) {
    if (!(error instanceof MeasureError)) throw error;
    failures.push(error.message);
    say(error.message);
    return {};
  }
  return alternate(bench, 'paths', options.runs, async (contender, round) => {
    const times = await measurePaths(processes, contender, kernel);
    say(`paths ${round + 1}/${options.runs}, ${contender.name}: ${times.size} measured`);
    return times;
  });
}

interface Compiled {
  readonly program: GuestProgram;
  /** Those that were asked for. */
  readonly workloads: readonly Workload[];
}

function compile({ folder, failures, options }: Bench): Compiled | undefined {
  if (!options.parts.has('guest')) return undefined;
  try {
    const program = buildGuestProgram(join(folder, 'guest'));
    const unknown = [...(options.workloads ?? [])].filter((name) => !program.workloads.some((known) => known.name === name));
    if (unknown.length > 0) {
      const known = program.workloads.map(({ name }) => name).join(', ');
      throw new UsageError(`--workloads: '${unknown.join(',')}': expected some of ${known}`);
    }
    return { program, workloads: program.workloads.filter(({ name }) => options.workloads?.has(name) ?? true) };
  } catch (error) {
    if (!(error instanceof MeasureError)) throw error;
    failures.push(error.message);
    say(error.message);
    return undefined;
  }
}

async function measureGuests(
  bench: Bench,
  guest: GuestFiles & { readonly initrd: string },
  compiled: Compiled | undefined,
): Promise<Pick<Results, 'workloads' | 'native'>> {
  const { options, processes, folder, failures } = bench;
  if (!compiled) return { workloads: {}, native: [] };
  const { program, workloads: list } = compiled;
  const initrd = join(folder, 'initrd');
  writeInitrd(guest.initrd, program, initrd);
  const native: Results['native'][number][] = [];
  for (let round = 0; round < options.runs; round++) native.push(measureNative(program, list, options.scale));
  say(`workloads, native: ${options.runs} runs of ${list.length} done`);
  // What failed once would take its whole limit each time.
  const failed = new Map<Contender['name'], Set<string>>(bench.contenders.map(({ name }) => [name, new Set()]));
  const workloads = await alternate(bench, 'workloads', options.runs, async (contender, round) => {
    const dropped = failed.get(contender.name)!;
    const wanted = list.filter(({ name }) => !dropped.has(name));
    const run = await measureWorkloads(processes, contender, { ...guest, initrd }, wanted, {
      scale: options.scale,
      limitMs: options.limitMs,
      onResult: ({ name, seconds }) => say(`workloads ${round + 1}/${options.runs}, ${contender.name}: ${name} ${seconds.toFixed(3)} s`),
    });
    for (const [name, why] of run.failed) {
      dropped.add(name);
      failures.push(`workload ${name}, run ${round + 1}, ${contender.name}: ${why}`);
      say(failures.at(-1)!);
    }
    return run;
  });
  return { workloads, native };
}

function factsOf(bench: Bench, guestDescription: string, loadBefore: number): Setting['facts'] {
  const { contenders, options } = bench;
  const processor = cpus();
  const ours = contenders.find(({ name }) => name === 'tshyve');
  const theirs = contenders.find(({ name }) => name === 'QEMU TCG');
  return [
    ['date', new Date().toISOString().slice(0, 10)],
    ['commit', commit()],
    [
      'machine',
      `${processor[0]?.model.trim() ?? 'unknown CPU'}, ${processor.length} CPUs, ${(totalmem() / 2 ** 30).toFixed(0)} GiB; ${systemName()}, Linux ${release()}`,
    ],
    [
      'load before',
      `${loadBefore.toFixed(2)}${loadBefore > BUSY_LOAD ? ': **other programs were at work, so the figures are not reliable**' : ''}`,
    ],
    ['Node', process.version],
    ['tshyve', ours ? `\`${ours.described}\`` : 'not measured'],
    [
      'QEMU',
      theirs
        ? `${theirs.version}, \`${theirs.described}\``
        : options.only === 'tshyve'
          ? 'not measured'
          : `not measured: ${options.qemu} is not installed`,
    ],
    ['guest', guestDescription],
    ['runs', `${options.runs}`],
  ];
}

async function measure(bench: Bench): Promise<boolean> {
  const { options, contenders, failures } = bench;
  const loadBefore = loadavg()[0]!;
  if (loadBefore > BUSY_LOAD) say(`the machine is busy (load ${loadBefore.toFixed(2)}): the figures will not be reliable`);
  const progress = createProgress(process.stderr);
  const log = createLog(
    (_, line) => say(line),
    () => performance.now(),
  );
  const cached = await ensureGuest(options.guest, { log, progress }).finally(() => progress.close());
  const guest = { kernel: cached.kernelPath, initrd: cached.initrdPath, commandLine: cached.commandLine };

  const compiled = compile(bench);
  const list = compiled?.workloads ?? [];
  const start = await measureStarts(bench);
  const firstBoots = await measureFirstBoots(bench, guest);
  const boot = await measureBoots(bench, guest);
  const paths = await measureAllPaths(bench);
  const { workloads, native } = await measureGuests(bench, guest, compiled);
  const measured: Results = { firstBoots, boot, start, paths, workloads, native, failures };
  failures.push(...checksumFailures(compareWorkloads(measured, list)));

  const facts = factsOf(bench, `${cached.description}; \`${cached.commandLine}\``, loadBefore);
  const setting: Setting = { parts: options.parts, contenders, workloads: list, scale: options.scale, facts };
  const picture = chart(measured, setting);
  const report = markdownReport(measured, setting, picture === undefined ? undefined : PICTURE);
  process.stdout.write(report);
  if (options.write) {
    writeFileSync(REPORT, report);
    if (picture === undefined) rmSync(`${ROOT}docs/${PICTURE}`, { force: true });
    else writeFileSync(`${ROOT}docs/${PICTURE}`, picture);
    say(`written: docs/benchmarks.md${picture === undefined ? '' : `, docs/${PICTURE}`}`);
  }
  return failures.length === 0;
}

async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (!options) {
    process.stdout.write(HELP);
    return 0;
  }
  const theirs = options.only === 'tshyve' ? undefined : qemu(options.qemu);
  if (!theirs && options.only !== 'tshyve') {
    const message = `${options.qemu} is not installed (Debian: apt-get install qemu-system-x86)`;
    if (options.only === 'qemu') throw new UsageError(message);
    say(`${message}: tshyve alone is measured`);
  }
  const processes = new Processes();
  const folder = mkdtempSync(join(tmpdir(), 'tshyve-bench-'));
  const ours = options.only === 'qemu' ? undefined : tshyve(options.tier, join(folder, 'code'));
  const cleanUp = (): void => {
    processes.killAll();
    rmSync(folder, { recursive: true, force: true });
  };
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.once(signal, () => {
      cleanUp();
      process.exit(status);
    });
  }
  try {
    const contenders = [ours, theirs].filter((contender) => contender !== undefined);
    return (await measure({ options, contenders, processes, folder, failures: [] })) ? 0 : 1;
  } finally {
    cleanUp();
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  say(error instanceof UsageError || error instanceof Error ? error.message : String(error));
  process.exitCode = 4;
}
