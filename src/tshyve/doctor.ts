/**
 * `tshyve doctor`: what of this machine tshyve can use, and what to do about the rest.
 * Runs on: main event loop.
 */
import { constants } from 'node:fs';
import { access, mkdir, readFile, statfs } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { VmError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { cacheFolder } from '../bhyve/index.ts';
import { parseCommandLine, table, type Command, type CommandIo } from './command.ts';
import { listGuests, silentProgress } from './guests/index.ts';

const HELP = `usage: tshyve doctor [--mirror URL] [--offline]

Check what tshyve needs of this machine, and say what to do where something is missing. The exit status is 0 when a guest
can be run, else 4.

options:
  --mirror URL  try this Debian archive in place of the machine's own
  --offline     leave the mirror alone
  --help        show this
`;

/** `bad`: no guest runs. `poor`: something is slower, smaller or missing. */
type Verdict = 'ok' | 'poor' | 'bad';

interface Finding {
  readonly about: string;
  readonly verdict: Verdict;
  readonly text: string;
  /** What to do about it. */
  readonly remedy?: string;
}

const GIB = 2 ** 30;
const WASM_PAGE_BYTES = 65536;
/** An own guest and its host: below this `tshyve run` cannot get its default of memory. */
const LEAST_MEMORY_BYTES = GIB;
const LEAST_CACHE_BYTES = 100e6;

/** `(module (memory 1) (memory 1))` */
const MULTI_MEMORY = [0x05, 0x05, 0x02, 0x00, 0x01, 0x00, 0x01];
/** `(module (func return_call 0))` */
const TAIL_CALL = [0x01, 0x04, 0x01, 0x60, 0x00, 0x00, 0x03, 0x02, 0x01, 0x00, 0x0a, 0x06, 0x01, 0x04, 0x00, 0x12, 0x00, 0x0b];

const compiles = (sections: readonly number[]): boolean =>
  WebAssembly.validate(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections]));
const gibibytes = (sizeBytes: number): string => `${(sizeBytes / GIB).toFixed(1)} GiB`;
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function node(): Promise<Finding> {
  const text = `${process.versions.node} on ${process.platform}-${process.arch}, ${availableParallelism()} cores`;
  if (Number.parseInt(process.versions.node, 10) >= 24) return { about: 'Node', verdict: 'ok', text };
  return {
    about: 'Node',
    verdict: 'bad',
    text,
    remedy: 'start it by `npx tshyve` in the checkout, which brings its own Node, or install Node 24 or newer',
  };
}

async function webAssembly(): Promise<Finding> {
  const missing = [...(compiles(MULTI_MEMORY) ? [] : ['multiple memories']), ...(compiles(TAIL_CALL) ? [] : ['tail calls'])];
  if (missing.length === 0) return { about: 'WebAssembly', verdict: 'ok', text: 'multiple memories and tail calls' };
  return {
    about: 'WebAssembly',
    verdict: 'bad',
    text: `no ${missing.join(', no ')}`,
    remedy: 'use Node 24 or newer, without --no-wasm flags in NODE_OPTIONS',
  };
}

/** The largest guest RAM for which this process can reserve addresses. */
async function guestMemory(): Promise<Finding> {
  for (const sizeBytes of [16 * GIB, 8 * GIB, 4 * GIB, 1 * GIB]) {
    try {
      const pages = BigInt(sizeBytes / WASM_PAGE_BYTES);
      void new WebAssembly.Memory({ address: 'i64', initial: 1n, maximum: pages, shared: true } as unknown as WebAssembly.MemoryDescriptor);
      const text = `shared 64-bit memory up to ${gibibytes(sizeBytes)}`;
      if (sizeBytes >= 8 * GIB) return { about: 'guest RAM', verdict: 'ok', text };
      return { about: 'guest RAM', verdict: 'poor', text, remedy: 'raise `ulimit -v` and see vm.overcommit_memory for larger guests' };
    } catch (error) {
      if (!(error instanceof RangeError)) {
        return { about: 'guest RAM', verdict: 'bad', text: `no shared 64-bit memory: ${messageOf(error)}`, remedy: 'use Node 24 or newer' };
      }
    }
  }
  return {
    about: 'guest RAM',
    verdict: 'bad',
    text: 'not even 1 GiB of addresses can be reserved',
    remedy: 'raise `ulimit -v`; see vm.overcommit_memory',
  };
}

async function memory(): Promise<Finding> {
  const meminfo = await readFile('/proc/meminfo', 'utf8').catch(() => '');
  const available = Math.min(
    Number(/^MemAvailable:\s+(\d+) kB/m.exec(meminfo)?.[1] ?? NaN) * 1024 || process.availableMemory(),
    process.availableMemory(),
  );
  const text = `${gibibytes(available)} available of ${gibibytes(totalmem())}; a guest takes what it touches`;
  if (available >= LEAST_MEMORY_BYTES) return { about: 'memory', verdict: 'ok', text };
  return { about: 'memory', verdict: 'poor', text, remedy: 'close something, or give guests less: tshyve run --memory 256M' };
}

async function cache(env: NodeJS.ProcessEnv): Promise<Finding> {
  const folder = cacheFolder(env);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await access(folder, constants.W_OK);
    const { bavail, bsize } = await statfs(folder);
    const text = `${folder}, ${gibibytes(bavail * bsize)} free`;
    if (bavail * bsize >= LEAST_CACHE_BYTES) return { about: 'cache', verdict: 'ok', text };
    return {
      about: 'cache',
      verdict: 'poor',
      text,
      remedy: 'a guest takes some 60 MB while it is pulled: make room, or set XDG_CACHE_HOME',
    };
  } catch (error) {
    return { about: 'cache', verdict: 'poor', text: messageOf(error), remedy: 'set XDG_CACHE_HOME to a folder that can be written' };
  }
}

async function guests(env: NodeJS.ProcessEnv): Promise<Finding> {
  const here = (await listGuests(env)).filter(({ cached }) => cached !== undefined).map(({ name }) => name);
  if (here.length > 0) return { about: 'guests', verdict: 'ok', text: `${here.join(', ')}: boot without network` };
  return { about: 'guests', verdict: 'ok', text: 'none pulled yet; `tshyve run` does it' };
}

async function mirror(named: string | undefined, env: NodeJS.ProcessEnv): Promise<Finding> {
  try {
    const { checkMirror } = await import('./guests/debian.ts');
    const text = await checkMirror({ mirror: named, env, log: silentLog, progress: silentProgress, signal: AbortSignal.timeout(15_000) });
    return { about: 'mirror', verdict: 'ok', text };
  } catch (error) {
    const reason = error instanceof Error && error.name === 'TimeoutError' ? 'no answer within 15 s' : messageOf(error);
    return {
      about: 'mirror',
      verdict: 'poor',
      text: reason,
      remedy: 'name another: --mirror URL or TSHYVE_DEBIAN_MIRROR; guests already pulled need none',
    };
  }
}

async function terminal(io: CommandIo): Promise<Finding> {
  const { columns, isTTY } = io.stdout;
  if (process.stdin.isTTY && isTTY)
    return { about: 'terminal', verdict: 'ok', text: `${io.env['TERM'] ?? 'TERM not set'}, ${columns} columns; Ctrl-A x ends a guest` };
  return { about: 'terminal', verdict: 'ok', text: 'none: the serial console reads and writes pipes' };
}

async function kvm(): Promise<Finding> {
  const state = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => 'there and usable',
    (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? 'not there' : `there, but not for this user (${error.code})`),
  );
  return { about: '/dev/kvm', verdict: 'ok', text: `${state}; not needed: this version runs guests on its own CPU` };
}

export const runDoctor: Command = async (args, io) => {
  const options = { mirror: { type: 'string' }, offline: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const;
  const { values, positionals } = parseCommandLine('doctor', args, options);
  if (values.help) {
    io.stdout.write(HELP);
    return 0;
  }
  if (positionals.length > 0) throw new VmError('EUSAGE', `tshyve doctor ${positionals[0]}: expected no operand`);
  const findings = await Promise.all([
    node(),
    webAssembly(),
    guestMemory(),
    memory(),
    cache(io.env),
    guests(io.env),
    ...(values.offline ? [] : [mirror(values.mirror, io.env)]),
    terminal(io),
    kvm(),
  ]);
  const WORDS: Readonly<Record<Verdict, string>> = { ok: 'ok', poor: 'note', bad: 'FAIL' };
  io.stdout.write(
    table(
      findings.flatMap(({ about, verdict, text, remedy }) => [
        [WORDS[verdict], about, text],
        ...(remedy === undefined ? [] : [['', '', `-> ${remedy}`]]),
      ]),
    ),
  );
  const isBad = findings.some(({ verdict }) => verdict === 'bad');
  io.stdout.write(isBad ? 'No guest can be run here: see FAIL above.\n' : 'Guests can be run here.\n');
  return isBad ? 4 : 0;
};
