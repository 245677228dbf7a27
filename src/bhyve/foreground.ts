/**
 * A VM in the foreground of this process: console on stdin and stdout, signals, and every way out with the terminal restored.
 * Implements: bhyve(8) SIGNAL HANDLING (SIGTERM is the power button once the guest has enabled ACPI) and EXIT STATUS.
 * Runs on: main event loop.
 */
import { hostname, totalmem } from 'node:os';
import { VmError } from '../base/errors.ts';
import { createLog } from '../base/log.ts';
import type { Log, LogLevel } from '../base/log.ts';
import type { OpenBackend } from './chars/char-port.ts';
import { StdioConsole } from './chars/stdio.ts';
import type { ConsoleInput } from './chars/stdio.ts';
import type { ProcessEvents } from './chars/terminal-mode.ts';
import type { MachineLimits } from './config/settings.ts';
import type { ConfigTree } from './config/tree.ts';
import type { CreateEngine } from './engine.ts';
import { monitorLine } from './monitor.ts';
import { EXIT_STATUS_ERROR, VmRun, exitStatus } from './run-vm.ts';
import type { VmEnd } from './run-vm.ts';

type Signal = 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGQUIT' | 'SIGWINCH';

/** What is used of the process; tests hand in another. */
export interface ForegroundProcess extends ProcessEvents {
  readonly stdin: ConsoleInput;
  readonly stdoutFd: number;
  writeError(text: string): void;
  onSignal(signal: Signal, listener: () => void): void;
  offSignal(signal: Signal, listener: () => void): void;
  onFatal(listener: (error: unknown) => void): void;
  offFatal(listener: (error: unknown) => void): void;
  /** End by the signal's default effect. */
  die(signal: Signal): void;
  exit(status: number): void;
  windowSize(): { readonly columns: number; readonly rows: number } | undefined;
}

export interface ForegroundOptions {
  readonly program: string;
  readonly tree: ConfigTree;
  readonly process: ForegroundProcess;
  readonly createEngine: CreateEngine;
  readonly onReset: 'restart' | 'end';
  /** Lowest level that is printed on standard error. */
  readonly logLevel: LogLevel;
  /** Print statistics on standard error at the end. */
  readonly stats?: boolean;
  readonly limits?: MachineLimits;
}

/** Guest RAM lies in one WebAssembly memory of at most 16 GiB, with the hole below 4 GiB, device memory and some room for growth in it. */
const MAX_GUEST_BYTES = 14 * 2 ** 30;
/** How long a process that is about to end waits for the reader of its output. */
const LAST_WORDS_MS = 200;
/** SMP is not in this version. */
const MAX_CPUS = 1;

export function hostLimits(): MachineLimits {
  const hostBytes = Math.floor(totalmem() / 2 ** 20) * 2 ** 20;
  const memory =
    hostBytes < MAX_GUEST_BYTES
      ? { maxBytes: hostBytes, because: 'the memory of this host' }
      : { maxBytes: MAX_GUEST_BYTES, because: 'the largest guest of this version' };
  return { memory, maxCpus: MAX_CPUS, hostName: hostname() };
}

/** How the run ended: by the guest, or because the user quit. */
export type ForegroundEnd = VmEnd | { readonly reason: 'quit' };

const LEVELS: readonly LogLevel[] = ['error', 'warn', 'info', 'debug'];

/**
 * Run the VM until it ends.
 * @param statusOf turns an end into the exit status; errors are 4 always.
 * @returns the exit status. One line on standard error says what went wrong, if anything did; the terminal is as it was.
 */
export async function runInForeground(options: ForegroundOptions, statusOf: (end: ForegroundEnd) => number): Promise<number> {
  const { process: host, program } = options;
  const state: { console: StdioConsole | undefined; run: VmRun | undefined; quit: boolean; failure: unknown } = {
    console: undefined,
    run: undefined,
    quit: false,
    failure: undefined,
  };
  const log = foregroundLog(options, () => state.console !== undefined && host.stdin.isTTY === true);
  const quit = (): void => {
    state.quit = true;
    state.run?.stop();
  };
  const openStdio = (port: string, escapes: boolean): OpenBackend => {
    state.console = new StdioConsole({
      input: host.stdin,
      outputFd: host.stdoutFd,
      processEvents: host,
      log: log.named(port),
      escapes,
      onQuit: quit,
      onMonitorLine: (line) =>
        state.run
          ? monitorLine({ engine: state.run.engine, config: () => options.tree.dump(), quit }, line)
          : Promise.resolve('the VM has not started'),
      onOutputGone: (cause) => {
        if ((cause as NodeJS.ErrnoException).code !== 'EPIPE') {
          state.failure ??= new VmError('EIO', `standard output: ${String(cause)}: the guest's output cannot be written`, { cause });
        }
        quit();
      },
    });
    return state.console;
  };

  const terminate = (): void => {
    if (!state.run?.pressPowerButton()) dieOf('SIGTERM');
  };
  // A write may be under way on another thread; what the guest said before the end comes out before it, if somebody reads.
  const lastWords = async (): Promise<void> => {
    if (!state.console) return;
    await Promise.race([
      state.console.output.flush(),
      new Promise((resolve) => {
        setTimeout(resolve, LAST_WORDS_MS);
      }),
    ]);
    state.console.closeNow();
  };
  const dieOf = (signal: Signal): void => {
    void lastWords().then(() => host.die(signal));
  };
  const fatal = (error: unknown): void => {
    void lastWords().then(() => {
      host.writeError(`${program}: ${describe(error)}\n`);
      host.exit(EXIT_STATUS_ERROR);
    });
  };
  const signals: readonly (readonly [Signal, () => void])[] = [
    ['SIGTERM', terminate],
    ['SIGINT', () => dieOf('SIGINT')],
    ['SIGHUP', () => dieOf('SIGHUP')],
    ['SIGQUIT', () => dieOf('SIGQUIT')],
    // A serial line has no window size: the change is noted, the guest's `stty` or `resize` does the rest.
    [
      'SIGWINCH',
      () => {
        const size = host.windowSize();
        if (size) log.debug(`terminal: now ${size.columns} columns, ${size.rows} rows`);
      },
    ],
  ];
  for (const [signal, listener] of signals) host.onSignal(signal, listener);
  host.onFatal(fatal);
  const startMs = performance.now();
  // The run alone decides when the process ends, even while nothing of it keeps the event loop alive.
  const keepAlive = setInterval(() => {}, 2 ** 30);
  try {
    const run = await VmRun.create({
      tree: options.tree,
      limits: options.limits ?? hostLimits(),
      log,
      onReset: options.onReset,
      createEngine: options.createEngine,
      openStdio: (port, settings) => openStdio(port, settings.consoleEscapes),
    });
    state.run = run;
    let end: ForegroundEnd;
    let stats = '';
    try {
      // Whoever quits before the start gets no start.
      end = state.quit ? { reason: 'quit' } : await run.run();
      if (options.stats) stats = `${await run.engine.inspect('stats')}wall time: ${((performance.now() - startMs) / 1000).toFixed(3)} s\n`;
    } finally {
      await run.close();
    }
    if (state.failure !== undefined) throw state.failure;
    if (stats !== '') host.writeError(stats);
    return statusOf(state.quit ? { reason: 'quit' } : end);
  } catch (error) {
    await lastWords();
    host.writeError(`${program}: ${describe(error)}\n`);
    return EXIT_STATUS_ERROR;
  } finally {
    clearInterval(keepAlive);
    state.console?.restoreTerminal();
    for (const [signal, listener] of signals) host.offSignal(signal, listener);
    host.offFatal(fatal);
  }
}

/** One line for a person; an error of our own making keeps its name, so that it can be reported. */
export function describe(error: unknown): string {
  if (error instanceof VmError) return oneLine(error.message);
  return (
    `internal error: ${oneLine(error instanceof Error ? `${error.name}: ${error.message}` : String(error))} (TSHYVE_DEBUG=1 shows where)` +
    (process.env['TSHYVE_DEBUG'] && error instanceof Error ? `\n${error.stack ?? ''}` : '')
  );
}

function oneLine(message: string): string {
  return message.replace(/\s*[\r\n]+\s*/g, ' ');
}

function foregroundLog({ program, process: host, logLevel }: ForegroundOptions, isRaw: () => boolean): Log {
  const shown = LEVELS.indexOf(logLevel);
  return createLog(
    (level, line) => {
      if (LEVELS.indexOf(level) <= shown) host.writeError(`${program}: ${line}${isRaw() ? '\r' : ''}\n`);
    },
    () => performance.now(),
  );
}

/** bhyve's status; quitting is a power-off. */
export function bhyveStatus(end: ForegroundEnd): number {
  return end.reason === 'quit' ? 1 : exitStatus(end);
}
