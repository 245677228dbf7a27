/**
 * The report: Markdown tables and the picture.
 * Runs on: any thread.
 */
import { barChart, type Bar, type Section } from './chart.ts';
import type { Contender } from './contenders.ts';
import type { Workload, WorkloadResult } from './guest-program.ts';
import type { BootRun, WorkloadsRun } from './measurements.ts';
import type { PathTimes } from './paths.ts';
import { geometricMean, median, spread } from './statistics.ts';

type Name = Contender['name'];
/** Runs of each contender, in order. */
export type RunsOf<T> = Partial<Record<Name, T[]>>;

export interface Results {
  /** Of tshyve, before those of `boot`: the first one with nothing kept. */
  readonly firstBoots: readonly BootRun[];
  readonly boot: RunsOf<BootRun>;
  readonly start: RunsOf<number>;
  readonly paths: RunsOf<PathTimes>;
  readonly workloads: RunsOf<WorkloadsRun>;
  readonly native: readonly (readonly WorkloadResult[])[];
  /** What could not be measured, and why. */
  readonly failures: readonly string[];
}

export interface Setting {
  /** What was asked for. */
  readonly parts: ReadonlySet<string>;
  readonly contenders: readonly Contender[];
  readonly workloads: readonly Workload[];
  readonly scale: number;
  /** Label and value, for the head of the report. */
  readonly facts: readonly (readonly [string, string])[];
}

const OURS = 'tshyve';
const THEIRS = 'QEMU TCG';
const MIB = 2 ** 20;
/** By how much the guest's clock may differ from the host's before its seconds are doubted. */
const CLOCK_TOLERANCE = 0.03;
const NOTHING = '-';

/** @param textColumns columns that stand at the left; figures stand at the right */
const table = (head: readonly string[], rows: readonly (readonly string[])[], textColumns = 1): string =>
  [head, head.map((_, column) => (column < textColumns ? '---' : '---:')), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

const show = (value: number, digits: number): string => (Number.isFinite(value) ? value.toFixed(digits) : NOTHING);
/** The median, and how far the runs were apart. */
const showRuns = (values: readonly number[], digits: number): string =>
  values.length < 2 ? show(median(values), digits) : `${show(median(values), digits)} (±${show(spread(values) * 100, 0)} %)`;

export interface ComparedWorkload extends Workload {
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  readonly native: readonly number[];
  /** TCG's time / ours; NaN where one is missing. */
  readonly ratio: number;
  readonly nativeRatio: number;
  readonly checksums: ReadonlySet<string>;
}

export function compareWorkloads(results: Results, workloads: readonly Workload[]): ComparedWorkload[] {
  const ofGuests = (name: Name): WorkloadResult[] => (results.workloads[name] ?? []).flatMap((run) => run.results);
  const all = { ours: ofGuests(OURS), theirs: ofGuests(THEIRS), native: results.native.flat() };
  return workloads.map((workload) => {
    const secondsIn = (list: readonly WorkloadResult[]): number[] =>
      list.filter(({ name }) => name === workload.name).map(({ seconds }) => seconds);
    const [ours, theirs, native] = [secondsIn(all.ours), secondsIn(all.theirs), secondsIn(all.native)];
    const checksums = new Set(
      Object.values(all)
        .flat()
        .filter(({ name }) => name === workload.name)
        .map(({ checksum }) => checksum),
    );
    return {
      ...workload,
      ours,
      theirs,
      native,
      ratio: median(theirs) / median(ours),
      nativeRatio: median(native) / median(ours),
      checksums,
    };
  });
}

const meanOf = (values: readonly number[]): number => geometricMean(values.filter((value) => Number.isFinite(value) && value > 0));

export function checksumFailures(compared: readonly ComparedWorkload[]): string[] {
  return compared
    .filter(({ checksums }) => checksums.size > 1)
    .map(({ name, checksums }) => `${name}: the checksums differ: ${[...checksums].join(', ')}`);
}

export function markdownReport(results: Results, setting: Setting, picture: string | undefined): string {
  const sections = [
    '# Benchmarks',
    "`npm run bench` measures and writes this page. tshyve and QEMU's own recompiler (TCG) run the same guest side by side, with one vCPU\nand the same memory, in alternating order. Figures are medians; ± is half the distance between the slowest and the fastest run.\nTCG / tshyve compares times: more is better for tshyve.",
    table(['', ''], setting.facts, 2),
    ...(picture === undefined ? [] : [`![TCG's time divided by tshyve's](${picture})`]),
    ...(setting.parts.has('boot') ? bootSection(results) : []),
    ...smallSection(results, setting),
    ...(setting.parts.has('paths') ? pathsSection(results) : []),
    ...(setting.parts.has('guest') ? workloadSection(results, setting) : []),
    ...(results.failures.length === 0 ? [] : ['## Not measured', results.failures.map((failure) => `- ${oneLine(failure)}`).join('\n')]),
  ];
  return `${sections.join('\n\n')}\n`;
}

/** A pipe or a line end would break a table or a list. */
const oneLine = (text: string): string => text.replace(/[\r\n]+/g, ' ').replaceAll('|', '\\|');

function bootSection({ boot, firstBoots }: Results): string[] {
  const pick = (name: Name, value: (run: BootRun) => number): number[] => (boot[name] ?? []).map(value);
  const row = (label: string, value: (run: BootRun) => number): string[] => [
    label,
    showRuns(pick(OURS, value), 2),
    showRuns(pick(THEIRS, value), 2),
    show(median(pick(THEIRS, value)) / median(pick(OURS, value)), 2),
  ];
  const counted = (boot[OURS] ?? []).filter(({ instructions }) => instructions !== undefined);
  return [
    '## Boot',
    "Debian's cloud kernel and a busybox initramfs, from the start of the process to the shell's prompt.",
    table(
      ['', OURS, THEIRS, 'TCG / tshyve'],
      [
        row('wall time, s', ({ wallSeconds }) => wallSeconds),
        row('CPU time (user + system, all threads), s', ({ cpuSeconds }) => cpuSeconds),
        ...(counted.length === 0
          ? []
          : [
              [
                'guest instructions, millions',
                showRuns(
                  counted.map(({ instructions }) => instructions! / 1e6),
                  0,
                ),
                NOTHING,
                NOTHING,
              ],
              [
                'guest instructions a second of wall time, millions',
                showRuns(
                  counted.map(({ instructions, wallSeconds }) => instructions! / 1e6 / wallSeconds),
                  0,
                ),
                NOTHING,
                NOTHING,
              ],
            ]),
      ],
    ),
    ...(firstBoots.length === 0
      ? []
      : [
          `tshyve keeps compiled code from boot to boot. Before these boots it had none: the first one took ${show(firstBoots[0]!.wallSeconds, 2)} s (${show(firstBoots[0]!.cpuSeconds, 2)} s of CPU time); ${firstBoots.length} were not counted.`,
        ]),
    ...(counted.length === 0 ? [] : ['The instructions are those up to the power-off that is typed at the prompt.']),
  ];
}

function smallSection({ boot, start, workloads }: Results, { parts }: Setting): string[] {
  const names = [OURS, THEIRS] as const;
  const rows: string[][] = [];
  const row = (label: string, values: (name: Name) => number[], digits: number, goal: string): void => {
    rows.push([label, ...names.map((name) => showRuns(values(name), digits)), goal]);
  };
  if (parts.has('start')) row('process start to the first instruction of a kernel, s', (name) => start[name] ?? [], 3, 'at most 0.4');
  if (parts.has('idle')) {
    const idle = (name: Name) => (boot[name] ?? []).flatMap((run) => (run.idle ? [run.idle] : []));
    row('idle shell: guest RAM touched, MiB', (name) => idle(name).map(({ memory }) => memory.touchedRamBytes / MIB), 0, '');
    row(
      'idle shell: resident memory above that, MiB',
      (name) => idle(name).map(({ memory }) => (memory.residentBytes - memory.touchedRamBytes) / MIB),
      0,
      'at most 150',
    );
    row('idle shell: host CPU, % of one core', (name) => idle(name).map(({ cpuShare }) => cpuShare * 100), 2, 'at most 2');
  }
  if (parts.has('guest')) {
    row(
      'after all workloads: resident memory above guest RAM touched, MiB',
      (name) => (workloads[name] ?? []).flatMap(({ memory }) => (memory ? [(memory.residentBytes - memory.touchedRamBytes) / MIB] : [])),
      0,
      'at most 300',
    );
  }
  if (rows.length === 0) return [];
  return [
    '## Start, memory, idling',
    table(['', OURS, THEIRS, 'goal of tshyve'], rows),
    ...(start[THEIRS] !== undefined ? ["QEMU's start includes its firmware, which tshyve does without."] : []),
  ];
}

function pathsSection({ paths }: Results): string[] {
  const runs = Object.values(paths).flat(),
    names = [...new Set(runs.flatMap((times) => [...times.keys()]))];
  if (names.length === 0) return [];
  const of = (contender: Name, name: string): number[] => (paths[contender] ?? []).flatMap((times) => times.get(name) ?? []);
  return [
    '## System paths',
    'Nanoseconds each, a round of the loop around it included: the last of four times half a million, when everything has been compiled. `bench/kernel/paths.S` has them.',
    table(
      ['', OURS, THEIRS, 'TCG / tshyve'],
      names.map((name) => {
        const ours = of(OURS, name),
          theirs = of(THEIRS, name);
        return [name, showRuns(ours, 0), showRuns(theirs, 0), show(median(theirs) / median(ours), 2)];
      }),
    ),
  ];
}

function workloadSection(results: Results, { workloads, scale, contenders }: Setting): string[] {
  const compared = compareWorkloads(results, workloads);
  const groups = [...new Set(workloads.map(({ group }) => group))];
  const rowOf = ({ name, group, native, ours, theirs, ratio, nativeRatio, checksums }: ComparedWorkload): string[] => [
    `\`${name}\``,
    group,
    showRuns(native, 3),
    showRuns(ours, 3),
    showRuns(theirs, 3),
    show(ratio, 2),
    show(nativeRatio, 3),
    checksums.size === 1 ? 'agree' : checksums.size === 0 ? NOTHING : '**differ**',
  ];
  const means = groups.map((group) => {
    const members = compared.filter((row) => row.group === group);
    const counted = members.filter(({ ratio }) => Number.isFinite(ratio)).length;
    return [
      group,
      show(meanOf(members.map(({ ratio }) => ratio)), 2),
      show(Math.min(...members.map(({ ratio }) => ratio).filter(Number.isFinite)), 2),
      show(meanOf(members.map(({ nativeRatio }) => nativeRatio)), 3),
      `${counted} of ${members.length}`,
    ];
  });
  const doubts = contenders.flatMap(({ name }) =>
    (results.workloads[name] ?? []).flatMap(({ clockRate }) =>
      Math.abs(clockRate - 1) > CLOCK_TOLERANCE
        ? [`${name}: the guest's clock went ${clockRate.toFixed(3)} times as fast as the host's; its seconds are off by that much.`]
        : [],
    ),
  );
  return [
    '## Guest workloads',
    `\`bench/guest\`, in the guest above; amount of work (\`--scale\`): ${scale}. Seconds by the guest's own clock, which is compared with the host's.`,
    table(['group (geometric means)', 'TCG / tshyve', 'lowest', 'native / tshyve', 'workloads'], means),
    table(
      ['workload', 'group', 'native, s', `${OURS}, s`, `${THEIRS}, s`, 'TCG / tshyve', 'native / tshyve', 'checksums'],
      compared.map(rowOf),
      2,
    ),
    ...new Set(doubts),
  ];
}

/** @returns undefined when there is nothing to draw */
export function chart(results: Results, setting: Setting): string | undefined {
  const sections: Section[] = [];
  const boots = setting.contenders.flatMap(({ name }): Bar[] => {
    const seconds = median((setting.parts.has('boot') ? (results.boot[name] ?? []) : []).map(({ wallSeconds }) => wallSeconds));
    return Number.isFinite(seconds)
      ? [{ label: name, value: seconds, text: `${seconds.toFixed(2)} s`, series: name === OURS ? 'ours' : 'theirs' }]
      : [];
  });
  if (boots.length > 0)
    sections.push({ title: "Debian's kernel, process start to the shell: less is better", bars: boots, scale: 'seconds' });
  const compared = compareWorkloads(results, setting.workloads).filter(({ ratio }) => Number.isFinite(ratio));
  for (const group of new Set(compared.map((row) => row.group))) {
    const members = compared.filter((row) => row.group === group);
    const bar = (label: string, ratio: number, series: Bar['series']): Bar => ({ label, value: ratio, text: ratio.toFixed(2), series });
    sections.push({
      title: `${group} workloads, TCG's time / tshyve's: more is better`,
      bars: [
        ...members.map(({ name, ratio }) => bar(name, ratio, 'ours')),
        bar('geometric mean', meanOf(members.map(({ ratio }) => ratio)), 'summary'),
      ],
      scale: 'ratio',
    });
  }
  return sections.length === 0 ? undefined : barChart('tshyve and QEMU TCG side by side', sections);
}
