/**
 * The library: a VM as an object of a program.
 * Runs on: main event loop. Any number of VMs live side by side in a process; each has its own memory and threads.
 */
import { EventEmitter } from 'node:events';
import { ConfigTree, VmRun, addDefaultBridges, createEngine, escapeValue, hostLimits, setDefaults } from '../bhyve/index.ts';
import type { CpuTier, CreateEngine, ImageFile, Inspection, VmEnd } from '../bhyve/index.ts';
import { VmError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import type { Log } from '../base/log.ts';
import { ensureGuest, silentProgress } from './guests/index.ts';
import { SerialPort } from './serial.ts';

export interface VmConfig {
  /** For messages, and the guest's UUID. Default: `vm`. */
  readonly name?: string;
  /** A guest by name (`debian`): its kernel, initrd and command line, fetched when they are not in the cache. */
  readonly guest?: string;
  /** Path or content of a Linux bzImage, PVH ELF or multiboot kernel; in place of the guest's own, if there is one. */
  readonly kernel?: string | Uint8Array;
  /** Path or content of the initial RAM disk. */
  readonly initrd?: string | Uint8Array;
  /** The kernel's command line; with `guest`, added behind the guest's own. */
  readonly cmdline?: string;
  /** Path of a firmware ROM, in place of a kernel. */
  readonly bootrom?: string;
  /** Bytes, or text as `-m` takes it: `1G`. Default: 512M. */
  readonly memory?: number | string;
  /** Default: 1. */
  readonly cpus?: number;
  readonly cpuTier?: CpuTier;
  /** bhyve's pc-testdev: a guest that writes v to port F4h ends with exit reason `debug-exit`, status (v << 1) | 1. */
  readonly testDevice?: boolean;
  /** After a guest's reset: start it again (default), or end. */
  readonly onReset?: 'restart' | 'end';
  /** Further variables of the configuration tree (docs/bhyve.md). */
  readonly options?: Readonly<Record<string, string>>;
  /** Default: nothing is logged. */
  readonly log?: Log;
}

/** How a VM ended: by the guest, by `stop()`, or because the machine failed. */
export type VmExit = VmEnd | { readonly reason: 'stopped' } | { readonly reason: 'error'; readonly error: VmError };

export interface VmEvents {
  start: [];
  /** The guest reset itself and starts again; how often that has happened. */
  restart: [count: number];
  exit: [exit: VmExit];
}

export interface StopOptions {
  /** Press the power button and wait this long for the guest to power itself off, before the plug is pulled. Default: 0, the plug. */
  readonly timeoutMs?: number;
}

/** Parts a test puts in place of the real ones. */
export interface VmParts {
  readonly createEngine?: CreateEngine;
}

/**
 * A virtual machine.
 *
 * ```ts
 * await using vm = await VM.create({ guest: 'debian', memory: '1G' });
 * await vm.start();
 * await vm.serial.expect(/# $/);
 * await vm.serial.write('uname -m\n');
 * await vm.serial.expect('x86_64');
 * ```
 */
export class VM extends EventEmitter<VmEvents> implements AsyncDisposable {
  readonly name: string;
  /** The other end of com1. */
  readonly serial: SerialPort;
  readonly #run: VmRun;
  readonly #exit = Promise.withResolvers<VmExit>();
  #state: 'created' | 'running' | 'ended' = 'created';
  #stopAsked = false;
  #finished: Promise<void> | undefined;

  /**
   * Build a VM: everything is read and checked, nothing runs yet.
   * @throws VmError naming the field, its value and what is accepted.
   */
  static async create(config: VmConfig, parts: VmParts = {}): Promise<VM> {
    const log = config.log ?? silentLog;
    const serial = new SerialPort('com1');
    const { tree, images } = await configure(config, log);
    // Events of the run reach the VM, which does not exist before it.
    const made: { vm: VM | undefined } = { vm: undefined };
    const run = await VmRun.create({
      tree,
      limits: hostLimits(),
      log,
      onReset: config.onReset ?? 'restart',
      createEngine: parts.createEngine ?? createEngine,
      backends: new Map([['com1', serial]]),
      images,
      onRestart: (count) => made.vm?.emit('restart', count),
    });
    made.vm = new VM(run, serial);
    return made.vm;
  }

  private constructor(run: VmRun, serial: SerialPort) {
    super();
    this.#run = run;
    this.name = run.settings.name;
    this.serial = serial;
  }

  get state(): 'created' | 'running' | 'ended' {
    return this.#state;
  }

  /** Power on. Resolves when the guest runs; it is an error to start a VM twice. @throws VmError EBUSY */
  start(): Promise<void> {
    if (this.#state !== 'created') return Promise.reject(new VmError('EBUSY', `${this.name}: has been started; expected a new VM`));
    this.#state = 'running';
    this.#finished = this.#runToEnd();
    this.emit('start');
    return Promise.resolve();
  }

  /** Resolves when the VM has ended and its memory and threads are gone. Never rejects. */
  waitForExit(): Promise<VmExit> {
    return this.#exit.promise;
  }

  /** Press the power button. @returns false while the guest has not enabled ACPI: nobody would notice. */
  pressPowerButton(): boolean {
    return this.#state === 'running' && this.#run.pressPowerButton();
  }

  /** End the VM; with `timeoutMs`, politely at first. */
  async stop({ timeoutMs = 0 }: StopOptions = {}): Promise<VmExit> {
    if (this.#state === 'created') {
      this.#state = 'ended';
      await this.#close();
      this.#end({ reason: 'stopped' });
    } else if (this.#state === 'running') {
      if (timeoutMs > 0 && this.pressPowerButton()) {
        const timer: { id: NodeJS.Timeout | undefined } = { id: undefined };
        const late = new Promise<void>((resolve) => {
          timer.id = setTimeout(resolve, timeoutMs);
        });
        await Promise.race([this.#exit.promise, late]);
        clearTimeout(timer.id);
      }
      if (this.state === 'running') {
        this.#stopAsked = true;
        this.#run.stop();
      }
    }
    return this.#exit.promise;
  }

  /** Text about the vCPUs' registers, statistics or the state of the VM, as the monitor shows it. @throws VmError ESRCH when it does not run. */
  inspect(what: Inspection): Promise<string> {
    if (this.#state !== 'running') return Promise.reject(new VmError('ESRCH', `${this.name}: is ${this.#state}; expected a running VM`));
    return this.#run.engine.inspect(what);
  }

  /** Pull the plug and wait until everything is given back. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#finished;
  }

  async #runToEnd(): Promise<void> {
    let exit: VmExit;
    try {
      const end = await this.#run.run();
      exit = this.#stopAsked ? { reason: 'stopped' } : end;
    } catch (error) {
      exit = failed(error);
    }
    try {
      await this.#close();
    } catch (error) {
      exit = failed(error);
    }
    this.#state = 'ended';
    this.#end(exit);
  }

  async #close(): Promise<void> {
    await this.#run.close();
  }

  #end(exit: VmExit): void {
    this.serial.end(exit.reason === 'error' ? exit.error.message : exit.reason);
    this.#exit.resolve(exit);
    this.emit('exit', exit);
  }
}

function failed(error: unknown): VmExit {
  return { reason: 'error', error: error instanceof VmError ? error : new VmError('EDOOFUS', String(error), { cause: error }) };
}

async function configure(config: VmConfig, log: Log): Promise<{ tree: ConfigTree; images: Map<string, ImageFile> }> {
  const tree = new ConfigTree((message) => log.warn(message));
  setDefaults(tree);
  const images = new Map<string, ImageFile>();
  const guest = config.guest === undefined ? undefined : await ensureGuest(config.guest, { log, progress: silentProgress });
  const file = (variable: 'kernel' | 'initrd', given: string | Uint8Array | undefined, otherwise: string | undefined): void => {
    if (given instanceof Uint8Array) {
      const image = { name: `${variable} (${given.length} bytes in memory)`, bytes: given };
      images.set(variable, image);
      tree.set(variable, image.name);
      return;
    }
    const path = given ?? otherwise;
    if (path !== undefined) tree.set(variable, escapeValue(path));
  };
  const variables: Readonly<Record<string, string | undefined>> = {
    'x86.strictmsr': 'false',
    'rtc.use_localtime': 'false',
    'x86.vmexit_on_hlt': 'true',
    name: escapeValue(config.name ?? 'vm'),
    'memory.size': memoryText(config.memory ?? '512M'),
    cpus: `${config.cpus ?? 1}`,
    'cpu.tier': config.cpuTier,
    'lpc.pc-testdev': config.testDevice === undefined ? undefined : `${config.testDevice}`,
    'lpc.bootrom': config.bootrom && escapeValue(config.bootrom),
  };
  for (const [variable, value] of Object.entries(variables)) if (value !== undefined) tree.set(variable, value);
  file('kernel', config.kernel, guest?.kernelPath);
  file('initrd', config.initrd, guest?.initrdPath);
  const cmdline = [guest?.commandLine, config.cmdline].filter((part) => part !== undefined && part !== '').join(' ');
  if (cmdline !== '') tree.set('cmdline', escapeValue(cmdline));
  for (const [variable, value] of Object.entries(config.options ?? {})) tree.set(variable, value);
  addDefaultBridges(tree);
  return { tree, images };
}

/** A number is bytes; text is read as `-m` reads it. */
function memoryText(memory: number | string): string {
  if (typeof memory === 'string') return memory;
  const mib = 2 ** 20;
  // A bare number below 1 MiB would be taken for megabytes.
  if (!Number.isSafeInteger(memory) || memory < mib)
    throw new VmError('EINVAL', `memory: ${memory}: expected a number of bytes, 1048576 or more`);
  return `${memory}`;
}
