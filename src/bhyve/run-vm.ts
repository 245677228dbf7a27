/**
 * A VM from its configuration to its end: settings, files, serial backends, machine; and again after each reset where that is wanted.
 * Implements: bhyverun's start-up order and exit statuses (bhyve(8) EXIT STATUS). Runs on: main event loop.
 */
import { VmError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { readBootFiles, readBootrom } from './boot-files.ts';
import type { GivenImages, OpenFiles } from './boot-files.ts';
import type { OpenBackend } from './chars/char-port.ts';
import { openBackends } from './chars/open-backend.ts';
import { readSettings } from './config/settings.ts';
import type { MachineLimits, VmSettings } from './config/settings.ts';
import type { ConfigTree } from './config/tree.ts';
import type { CreateEngine, Engine, EngineEnd } from './engine.ts';

export interface RunVmOptions {
  readonly tree: ConfigTree;
  readonly limits: MachineLimits;
  readonly log: Log;
  /** After a guest's reset: `restart` it here, or `end` the run as bhyve does. */
  readonly onReset: 'restart' | 'end';
  readonly createEngine: CreateEngine;
  /** The console of the process; asked for at most once. Default: stdio is refused. */
  readonly openStdio?: (port: string, settings: VmSettings) => OpenBackend;
  /** Ends that are open already, by port; they win over the tree's. */
  readonly backends?: ReadonlyMap<string, OpenBackend>;
  /** Files that are in memory already. */
  readonly images?: GivenImages;
  readonly onRestart?: (count: number) => void;
}

/** How a VM ended. */
export type VmEnd = EngineEnd;

export const EXIT_STATUS = { reset: 0, poweroff: 1, halt: 2, triplefault: 3 } as const;
export const EXIT_STATUS_ERROR = 4;

/** bhyve's exit status of an end; of a debug exit, what exit(3) leaves of it. */
export function exitStatus(end: VmEnd): number {
  return end.reason === 'debug-exit' ? end.status & 0xff : EXIT_STATUS[end.reason];
}

export class VmRun implements AsyncDisposable {
  readonly settings: VmSettings;
  readonly #options: RunVmOptions;
  readonly #engine: Engine;
  readonly #opened: ReadonlyMap<string, OpenBackend>;
  readonly #files: OpenFiles;
  #restarts = 0;
  #stopping = false;
  #closed: Promise<void> | undefined;

  /** @throws VmError for the first thing that is wrong; whatever was opened is closed again. */
  static async create(options: RunVmOptions): Promise<VmRun> {
    const { tree, log } = options;
    const settings = readSettings(tree, options.limits);
    if (!settings.boot && settings.bootrom === undefined) {
      throw new VmError(
        'ENOEXEC',
        `${settings.name}: no bootrom was configured: the virtual machine cannot be booted; expected -l bootrom,FILE or -o kernel=FILE`,
      );
    }
    if (settings.bootvars !== undefined)
      throw new VmError('ENOTSUP', `lpc.bootvars=${settings.bootvars}: a variable store: not in this version`);
    // Open as long as the VM: it reads them again when it restarts.
    await using filesSoFar = new AsyncDisposableStack();
    const boot = settings.boot ? await readBootFiles(filesSoFar, tree, settings, settings.boot, options.images ?? new Map()) : undefined;
    const bootrom = settings.bootrom === undefined ? undefined : await readBootrom(filesSoFar, settings.bootrom);
    const given = options.backends ?? new Map<string, OpenBackend>();
    const opened = await openBackends(
      settings.serial.filter(({ port }) => !given.has(port)),
      (port) => {
        if (options.openStdio) return options.openStdio(port, settings);
        throw new VmError('EINVAL', `-l ${port},stdio: this VM has no console; expected none, a tty path or tcp=HOST:PORT`);
      },
    );
    try {
      const engine = await options.createEngine({ settings, config: tree, boot, bootrom, backends: new Map([...opened, ...given]), log });
      return new VmRun(options, settings, engine, opened, filesSoFar.move());
    } catch (error) {
      await Promise.all([...opened.values()].map((backend) => backend.close()));
      throw error;
    }
  }

  private constructor(
    options: RunVmOptions,
    settings: VmSettings,
    engine: Engine,
    opened: ReadonlyMap<string, OpenBackend>,
    files: OpenFiles,
  ) {
    this.#options = options;
    this.settings = settings;
    this.#engine = engine;
    this.#opened = opened;
    this.#files = files;
  }

  get engine(): Engine {
    return this.#engine;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** Run to the end that counts. @throws VmError when the machine fails. */
  async run(): Promise<VmEnd> {
    for (;;) {
      const end = await this.#engine.run();
      if (end.reason !== 'reset' || this.#options.onReset === 'end' || this.#stopping) return end;
      this.#restarts++;
      this.#options.log.info(`${this.settings.name}: reset, starting again`);
      this.#options.onRestart?.(this.#restarts);
    }
  }

  /** Pull the plug: run() resolves with `poweroff`. */
  stop(): void {
    this.#stopping = true;
    this.#engine.suspend('poweroff');
  }

  pressPowerButton(): boolean {
    return this.#engine.pressPowerButton();
  }

  /** Write out what the guest said, then let go of everything. */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      try {
        await this.#engine.close();
      } finally {
        await Promise.all([...this.#opened.values()].map((backend) => backend.close()));
        await this.#files.disposeAsync();
      }
    })();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
