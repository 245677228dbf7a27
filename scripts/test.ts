/**
 * The test runner: `npm test [-- NAME...] [--full]`, on node:test, many files in one process, as many processes as there are cores.
 * Runs on: the command line (this file is both the parent and, with TSHYVE_TEST_SHARD set, the child).
 *
 * NAME is a path or part of one below src/, without or with `.test.ts`: `cpu/isa/add`. Without a name: every `*.test.ts`.
 * --full also runs `*.full.ts` and sets TSHYVE_TEST_FULL=1, at which tests that sample run their whole set.
 */
import { fork } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { relative } from 'node:path';
import { run } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const FOLDERS = ['src', 'scripts', 'test', 'bench'];
const TIMEOUT_MS = 300_000;
/** What open handles may still take after the last test of a process, before that counts as a leak. */
const LINGER_MS = 5000;

type Outcome = 'passed' | 'failed' | 'skipped' | 'todo';

interface Report {
  readonly file: string;
  readonly name: string;
  readonly outcome: Outcome;
  readonly durationMs: number;
  /** Failure or reason for skipping. */
  readonly text: string;
}

/** An error as a reader wants it: its message and the lines of its stack that are ours. */
function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error)) return String(cause);
  const stack = (cause.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line) && !line.includes('node:'));
  return [cause.message, ...stack.slice(0, 6)].join('\n').replaceAll(`file://${root}`, '');
}

async function runShard(files: readonly string[]): Promise<void> {
  const send = (report: Report): void => void process.send?.(report);
  for await (const event of run({ files: [...files], isolation: 'none', timeout: TIMEOUT_MS })) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { name, file, details, skip, todo } = event.data;
    // A suite is the sum of its tests, unless something outside them failed.
    const failedItself =
      event.type === 'test:fail' && (event.data.details.error as Error & { failureType?: string }).failureType !== 'subtestsFailed';
    if (details.type === 'suite' && !failedItself) continue;
    const outcome: Outcome =
      skip !== undefined && skip !== false
        ? 'skipped'
        : todo !== undefined && todo !== false
          ? 'todo'
          : event.type === 'test:pass'
            ? 'passed'
            : 'failed';
    const text = event.type === 'test:fail' ? describe(event.data.details.error) : typeof skip === 'string' ? skip : '';
    send({ file: relative(root, file ?? ''), name, outcome, durationMs: details.duration_ms, text });
  }
  const linger = setTimeout(() => {
    const open = process.getActiveResourcesInfo().filter((type) => type !== 'PipeWrap');
    const text = `still open ${LINGER_MS / 1000} s after the last test: ${open.join(', ')}; close what a test opens`;
    send({
      file: files.length === 1 ? relative(root, files[0]!) : 'tests',
      name: 'every handle is closed',
      outcome: 'failed',
      durationMs: 0,
      text,
    });
    process.disconnect?.();
    process.exit(1);
  }, LINGER_MS);
  linger.unref();
  process.channel?.unref();
}

/** Files by name, shortest last: spread over `count` shards so that all end at about the same time. */
function spread(files: readonly string[], count: number, times: Readonly<Record<string, number>>): string[][] {
  const shards = Array.from({ length: count }, () => ({ files: [] as string[], ms: 0 }));
  const costOf = (file: string): number => times[relative(root, file)] ?? 200;
  for (const file of files.toSorted((a, b) => costOf(b) - costOf(a))) {
    const least = shards.reduce((a, b) => (b.ms < a.ms ? b : a));
    least.files.push(file);
    least.ms += costOf(file);
  }
  return shards.map((shard) => shard.files).filter((list) => list.length > 0);
}

function findFiles(names: readonly string[], full: boolean): string[] {
  const all = FOLDERS.filter((folder) => existsSync(root + folder)).flatMap((folder) =>
    readdirSync(root + folder, { recursive: true, encoding: 'utf8' }).map((file) => `${folder}/${file}`),
  );
  const tests = all.filter(
    (file) => file.endsWith('.test.ts') || (full && file.endsWith('.full.ts')) || names.some((name) => name === file),
  );
  if (names.length === 0) return tests.map((file) => root + file);
  return names.flatMap((name) => {
    const wanted = name.replace(/^\.\//, '').replace(/\.(test|full)?\.?ts$/, '');
    const exact = tests.filter((file) => [wanted, `src/${wanted}`].includes(file.replace(/\.(test|full)\.ts$/, '')));
    const found = exact.length > 0 ? exact : tests.filter((file) => file.includes(wanted));
    if (found.length === 0) {
      process.stderr.write(`npm test: ${name}: no test file has this in its path (expected, for example, cpu/isa/add)\n`);
      process.exit(4);
    }
    return found.map((file) => root + file);
  });
}

async function main(args: readonly string[]): Promise<void> {
  const full = args.includes('--full');
  const verbose = args.includes('--verbose') || args.includes('-v');
  const files = [
    ...new Set(
      findFiles(
        args.filter((arg) => !arg.startsWith('-')),
        full,
      ),
    ),
  ];
  const timesFile = `${root}.cache/test-times.json`;
  const times: Record<string, number> = existsSync(timesFile)
    ? (JSON.parse(readFileSync(timesFile, 'utf8')) as Record<string, number>)
    : {};
  const spent: Record<string, number> = {};
  const count: Record<Outcome, number> = { passed: 0, failed: 0, skipped: 0, todo: 0 };
  const failures: Report[] = [];
  const startMs = performance.now();

  const take = (report: Report): void => {
    count[report.outcome]++;
    spent[report.file] = (spent[report.file] ?? 0) + report.durationMs;
    if (report.outcome === 'failed') {
      failures.push(report);
      process.stdout.write(`FAILED ${report.file}: ${report.name}\n${report.text.replace(/^/gm, '    ')}\n`);
    } else if (report.outcome === 'skipped') {
      process.stdout.write(`skipped ${report.file}: ${report.name}${report.text && ` (${report.text})`}\n`);
    } else if (verbose || files.length === 1) {
      process.stdout.write(`ok ${report.file}: ${report.name} (${report.durationMs.toFixed(0)} ms)\n`);
    }
  };

  const shards = spread(files, Math.max(1, Math.min(availableParallelism(), 8, files.length)), times);
  await Promise.all(
    shards.map(
      (shard) =>
        new Promise<void>((resolve) => {
          const child = fork(fileURLToPath(import.meta.url), [], {
            execArgv: ['--disable-warning=ExperimentalWarning'],
            env: { ...process.env, TSHYVE_TEST_SHARD: JSON.stringify(shard), ...(full ? { TSHYVE_TEST_FULL: '1' } : {}) },
          });
          let failed = false;
          child.on('message', (message) => {
            failed ||= (message as Report).outcome === 'failed';
            take(message as Report);
          });
          child.on('exit', (code, signal) => {
            if (!failed && (code !== 0 || signal)) {
              const text = `the process of ${shard.map((file) => relative(root, file)).join(' ')} ended with ${signal ?? `status ${code}`}`;
              take({ file: 'tests', name: 'the test process runs to its end', outcome: 'failed', durationMs: 0, text });
            }
            resolve();
          });
        }),
    ),
  );

  mkdirSync(`${root}.cache`, { recursive: true });
  writeFileSync(timesFile, JSON.stringify({ ...times, ...spent }));
  if (failures.length > 1) process.stdout.write(`\n${failures.map((report) => `FAILED ${report.file}: ${report.name}`).join('\n')}\n`);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  process.stdout.write(`\n${files.length} files, ${seconds} s, ${count.skipped} skipped\n${count.passed} passed, ${count.failed} failed\n`);
  process.exitCode = count.failed === 0 && count.passed > 0 ? 0 : 1;
}

const shard = process.env['TSHYVE_TEST_SHARD'];
if (shard === undefined) await main(process.argv.slice(2));
else await runShard(JSON.parse(shard) as string[]);
