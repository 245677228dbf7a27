/**
 * `tshyve run`: a guest in the foreground of this terminal.
 * Runs on: main event loop.
 */
import { openSync, closeSync, readSync } from 'node:fs';
import {
  addDefaultBridges,
  CPU_TIERS,
  TRACE_STDERR,
  ConfigTree,
  createEngine,
  escapeValue,
  exitStatus,
  getoptLong,
  isBzImage,
  keepCode,
  nodeProcess,
  parseLpcDevice,
  parsePciSlot,
  parseTopology,
  quote,
  runInForeground,
  setDefaults,
} from '../bhyve/index.ts';
import type { CreateEngine, ForegroundEnd, ForegroundProcess, LongOption } from '../bhyve/index.ts';
import { VmError } from '../base/errors.ts';
import type { Command, CommandIo } from './command.ts';
import { DEFAULT_GUEST, createProgress, ensureGuest, recipeOf } from './guests/index.ts';
import type { Guest } from './guests/index.ts';
import { progressLog } from './pull.ts';

const DEFAULT_MEMORY = '512M';

const HELP = `usage: tshyve run [OPTION...] [GUEST]

Run a guest in the foreground, its serial port on this terminal (or on the pipe or file that stdin and stdout are).
Without GUEST and without --kernel: ${DEFAULT_GUEST}. 'tshyve list' shows the guests; one that is not in the cache is fetched first.

what to run:
  --kernel FILE      Linux bzImage, ELF with a PVH note, or multiboot kernel; with GUEST, in place of the guest's own
  --initrd FILE      initial RAM disk (multiboot: the first module)
  --append TEXT      kernel command line; with GUEST, added behind the guest's own
  --mirror URL       Debian archive to fetch a guest from

the machine:
  -m, --memory SIZE  MiB, or bytes with K, M, G or T (default ${DEFAULT_MEMORY})
  -c, --cpus N       vCPUs, or bhyve's topology (default 1)
  -s DEV             PCI device, as bhyve: [BUS:]SLOT[:FUNCTION],MODEL[,CONF]
  -l DEV             LPC device, as bhyve: com1..com4,BACKEND; bootrom,FILE; pc-testdev
                     BACKEND: stdio, none, a tty path or tcp=HOST:PORT; com1 is on stdio unless said otherwise
  -o KEY=VALUE       configuration variable, as bhyve (docs/bhyve.md)
  --cpu-tier TIER    ${CPU_TIERS.join(' or ')}
  --code-cache SIZE  memory for compiled guest code, as --memory (default 256M)
  --code-store DIR   keep compiled guest code there for the next run (default: code in the cache; none: not at all)

the run:
  --no-reboot        end when the guest resets, in place of starting it again
  --stats            print statistics at the end, on standard error
  --trace-jit[=FILE] write what is compiled, and what becomes of it, to FILE or standard error (docs/jit.md)
  -v, --verbose      print what the machine has to say, on standard error
  -h, --help         show this

keys on a terminal: Ctrl-A x quits, Ctrl-A c opens the monitor (and closes it), Ctrl-A h lists them, Ctrl-A Ctrl-A sends Ctrl-A.
SIGTERM presses the guest's power button; a guest that has not enabled ACPI ends at once.
exit status: 0 powered off (or reset with --no-reboot, or Ctrl-A x), 2 halted for ever, 3 triple fault, 4 error.
`;

const LONG_OPTIONS: readonly LongOption[] = [
  { name: 'kernel', argument: 'required' },
  { name: 'initrd', argument: 'required' },
  { name: 'append', argument: 'required' },
  { name: 'mirror', argument: 'required' },
  { name: 'memory', argument: 'required', short: 'm' },
  { name: 'cpus', argument: 'required', short: 'c' },
  { name: 'cpu-tier', argument: 'required' },
  { name: 'code-cache', argument: 'required' },
  { name: 'code-store', argument: 'required' },
  { name: 'trace-jit', argument: 'optional' },
  { name: 'no-reboot', argument: 'none' },
  { name: 'stats', argument: 'none' },
  { name: 'verbose', argument: 'none', short: 'v' },
  { name: 'help', argument: 'none', short: 'h' },
];

/** What the command line asks for, before any guest is fetched. */
export interface RunRequest {
  readonly guest: string | undefined;
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  readonly mirror: string | undefined;
  /** The machine; kernel, initrd and command line are not in it yet. */
  readonly tree: ConfigTree;
  readonly noReboot: boolean;
  readonly stats: boolean;
  readonly verbose: boolean;
}

/** @returns undefined when help was asked for. @throws VmError for anything that is not accepted. */
export function parseRun(args: readonly string[], warn: (message: string) => void): RunRequest | undefined {
  const tree = new ConfigTree(warn);
  setDefaults(tree);
  for (const [variable, value] of [
    ['memory.size', DEFAULT_MEMORY],
    ['lpc.com1.path', 'stdio'],
    // What a Linux guest is used to: unknown MSRs do not kill it, the RTC is in UTC, an idle vCPU sleeps.
    ['x86.strictmsr', 'false'],
    ['rtc.use_localtime', 'false'],
    ['x86.vmexit_on_hlt', 'true'],
    ['console.escape', 'true'],
  ] as const)
    tree.set(variable, value);
  const seen = new Map<string, string>();
  const { options, operands } = readOptions(args);
  for (const { name, argument: given } of options) {
    const argument = given ?? '';
    switch (name) {
      case 'h':
        return undefined;
      case 'm':
        setOr(tree, 'memory.size', argument, '--memory', 'a size');
        break;
      case 'c':
        if (!parseTopology(tree, argument))
          throw new VmError('EINVAL', `--cpus ${quote(argument)}: expected N or [cpus=]N[,sockets=N][,cores=N][,threads=N]`);
        break;
      case 's':
        parsePciSlot(tree, argument);
        break;
      case 'l':
        if (!parseLpcDevice(tree, argument))
          throw new VmError('EINVAL', `-l ${quote(argument)}: expected com1 to com4, bootrom or pc-testdev`);
        break;
      case 'o':
        if (!tree.setOption(argument))
          throw new VmError('EINVAL', `-o ${quote(argument)}: invalid configuration option; expected KEY=VALUE`);
        break;
      case 'cpu-tier':
        setOr(tree, 'cpu.tier', argument, '--cpu-tier', CPU_TIERS.join(' or '));
        break;
      case 'code-cache':
        setOr(tree, 'cpu.codecache', argument, '--code-cache', 'a size');
        break;
      case 'code-store':
        setOr(tree, 'cpu.codestore', escapeValue(argument), '--code-store', 'the path of a folder, or none');
        break;
      case 'trace-jit':
        setOr(tree, 'cpu.tracejit', escapeValue(given ?? TRACE_STDERR), '--trace-jit', 'the path of a file');
        break;
      default:
        seen.set(name, argument);
    }
  }
  addDefaultBridges(tree);
  if (operands.length > 1) throw new VmError('EUSAGE', `tshyve run ${operands.map(quote).join(' ')}: expected one guest`);
  for (const name of ['kernel', 'initrd'] as const) {
    if (seen.get(name) === '') throw new VmError('EINVAL', `--${name} '': expected the path of a file`);
  }
  const guest =
    operands[0] ??
    (seen.has('kernel') || tree.get('kernel') !== undefined || tree.get('lpc.bootrom') !== undefined ? undefined : DEFAULT_GUEST);
  if (guest !== undefined) recipeOf(guest);
  const firmware = tree.get('lpc.bootrom');
  if (firmware !== undefined && (guest !== undefined || seen.has('kernel'))) {
    throw new VmError('EINVAL', `-l bootrom,${firmware}: a boot ROM boots by itself; expected no GUEST and no --kernel`);
  }
  if (tree.get('name') === undefined) tree.set('name', guest?.replace(/[^\w.-]/g, '-') ?? 'vm');
  return {
    guest,
    kernel: seen.get('kernel'),
    initrd: seen.get('initrd'),
    append: seen.get('append'),
    mirror: seen.get('mirror'),
    tree,
    noReboot: seen.has('no-reboot'),
    stats: seen.has('stats'),
    verbose: seen.has('v'),
  };
}

function readOptions(args: readonly string[]) {
  try {
    return getoptLong('tshyve run', args, 'hvm:c:s:l:o:', LONG_OPTIONS, { permute: true });
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    throw new VmError('EUSAGE', `${error.message}; 'tshyve run --help' lists what is accepted`, { cause: error });
  }
}

function setOr(tree: ConfigTree, variable: string, value: string, flag: string, accepted: string): void {
  if (value === '') throw new VmError('EINVAL', `${flag} '': expected ${accepted}`);
  tree.set(variable, value);
}

/** Kernel, initrd and command line into the tree: the guest's, with what the user said in place of or behind it. */
export function setBoot(request: RunRequest, guest: Guest | undefined): void {
  const { tree, append } = request;
  const put = (variable: string, value: string | undefined): void => {
    if (value !== undefined && value !== '') tree.set(variable, escapeValue(value));
  };
  if (tree.get('kernel') === undefined) put('kernel', request.kernel ?? guest?.kernelPath);
  else if (request.kernel !== undefined) put('kernel', request.kernel);
  const kernel = tree.get('kernel');
  if (request.initrd !== undefined || tree.get('initrd') === undefined) put('initrd', request.initrd ?? guest?.initrdPath);
  const own = guest?.commandLine ?? tree.get('cmdline');
  if (append !== undefined) put('cmdline', own === undefined ? append : `${own} ${append}`);
  else if (own !== undefined) put('cmdline', own);
  // A Linux kernel that is told nothing says nothing: its default console is a screen that is not there.
  else if (kernel !== undefined && looksLikeLinux(kernel)) put('cmdline', 'console=ttyS0');
}

function looksLikeLinux(path: string): boolean {
  const head = new Uint8Array(1024);
  try {
    const fd = openSync(path, 'r');
    try {
      return isBzImage({ name: path, bytes: head.subarray(0, readSync(fd, head, 0, head.length, 0)) });
    } finally {
      closeSync(fd);
    }
  } catch {
    // A pipe, or no file: whoever reads it in earnest says what is wrong.
    return false;
  }
}

/** 0 when it ended as wanted, else bhyve's. */
export function runStatus(end: ForegroundEnd): number {
  return end.reason === 'poweroff' || end.reason === 'reset' || end.reason === 'quit' ? 0 : exitStatus(end);
}

export interface RunParts {
  readonly createEngine: CreateEngine;
  readonly process: ForegroundProcess;
}

async function fetchGuest(request: RunRequest, io: CommandIo): Promise<Guest | undefined> {
  if (request.guest === undefined) return undefined;
  const progress = createProgress(io.stderr);
  try {
    return await ensureGuest(request.guest, { mirror: request.mirror, log: progressLog(progress), progress, env: io.env });
  } finally {
    progress.close();
  }
}

export const runRun =
  (parts: Partial<RunParts> = {}): Command =>
  async (args, io) => {
    const request = parseRun(args, (message) => io.stderr.write(`tshyve: ${message}\n`));
    if (!request) {
      io.stdout.write(HELP);
      return 0;
    }
    setBoot(request, await fetchGuest(request, io));
    if (request.tree.bool('config.dump', false)) {
      io.stdout.write(request.tree.dump());
      return 1;
    }
    keepCode(request.tree, io.env);
    return runInForeground(
      {
        program: 'tshyve',
        tree: request.tree,
        process: parts.process ?? nodeProcess((text) => io.stderr.write(text)),
        createEngine: parts.createEngine ?? createEngine,
        onReset: request.noReboot ? 'end' : 'restart',
        logLevel: request.verbose ? 'debug' : 'warn',
        stats: request.stats,
      },
      runStatus,
    );
  };
