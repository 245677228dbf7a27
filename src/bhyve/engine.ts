/**
 * The seam between programs and machine: what running a VM needs, so that programs can be tested with a machine that is made up.
 * Runs on: main event loop.
 */
import type { Log } from '../base/log.ts';
import type { OpenBackend } from './chars/char-port.ts';
import type { VmSettings } from './config/settings.ts';
import type { BootModule, ImageFile } from './loaders/image.ts';
import type { ConfigReader } from './ports-of-machine.ts';

/** Why a guest's life ended. `reset` is followed by another one where the program says so. */
export type EngineEnd =
  | { readonly reason: 'reset' | 'poweroff' | 'halt' | 'triplefault' }
  /** The guest wrote pc-testdev's debug-exit port: the process ends with this status. */
  | { readonly reason: 'debug-exit'; readonly status: number };

/** Files to boot, read and bounded, not yet understood. */
export interface BootFiles {
  readonly kernel: ImageFile;
  readonly initrd: ImageFile | undefined;
  readonly modules: readonly BootModule[];
  readonly commandLine: string;
}

export interface EngineRequest {
  readonly settings: VmSettings;
  /** The tree, for the device models' own variables. */
  readonly config: ConfigReader;
  readonly boot: BootFiles | undefined;
  readonly bootrom: ImageFile | undefined;
  /** `com1` to `com4`; no entry: nothing is connected. */
  readonly backends: ReadonlyMap<string, OpenBackend>;
  readonly log: Log;
}

export const INSPECTIONS = ['registers', 'stats', 'status'] as const;
export type Inspection = (typeof INSPECTIONS)[number];

export interface Engine {
  /**
   * One life of the guest: power on (the second time after a reinitialisation), load, run until it ends.
   * @throws VmError when a file cannot be loaded or the machine fails.
   */
  run(): Promise<EngineEnd>;
  /** End the present run with that reason, unless it is ending already. */
  suspend(reason: 'reset' | 'poweroff'): void;
  /** @returns false while the guest has not enabled ACPI: nobody would notice. */
  pressPowerButton(): boolean;
  injectNmi(): void;
  /** Text for a person. Stops the vCPUs for a moment where it must. */
  inspect(what: Inspection): Promise<string>;
  /** Give back memory and threads; any run has ended or is ended. */
  close(): Promise<void>;
}

export type CreateEngine = (request: EngineRequest) => Promise<Engine>;
