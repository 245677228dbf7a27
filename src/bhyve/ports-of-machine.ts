/**
 * What the machine needs from the outside: guest memory, interrupt lines, life cycle, port modes, clock, configuration.
 * Runs on: main event loop. vmmapi's handles satisfy these interfaces, and so do the fakes of tests.
 */
import type { Log } from '../base/log.ts';
import type { CharBackend } from './chars/backend.ts';

export interface GuestMemory {
  /** @returns the bytes [gpa, gpa + sizeBytes), shared with running vCPUs, or undefined unless all lie in one range of RAM. */
  view(gpa: number, sizeBytes: number): Uint8Array | undefined;
}

/** Lines of the interrupt controllers. `ioapicIrq` -1: not connected to the IOAPIC. */
export interface IrqLines {
  isaAssert(atpicIrq: number, ioapicIrq: number): void;
  isaDeassert(atpicIrq: number, ioapicIrq: number): void;
  isaPulse(atpicIrq: number, ioapicIrq: number): void;
  isaSetTrigger(atpicIrq: number, trigger: 'edge' | 'level'): void;
  ioapicAssert(pin: number): void;
  ioapicDeassert(pin: number): void;
  ioapicPulse(pin: number): void;
  lapicMsi(address: number, data: number): void;
}

export type SuspendReason = 'reset' | 'poweroff' | 'halt' | 'triplefault';

/** How the vCPU's thread treats a port (vmm/layout.ts PORT_MODE_*). `exit`: a synchronous exit to the machine; `open-bus`: ones, dropped. */
export type PortRead = 'exit' | 'shadow' | 'open-bus' | 'pci-address' | 'pci-data';
/** `posted` writes arrive later and in order, before any exit; `notified` ones wake the main event loop at once. `pci-address`: `pciAddress`. `unless-same`: `exit`, but not for the byte that is shadowed. */
export type PortWrite = 'exit' | 'posted' | 'notified' | 'open-bus' | 'pci-address' | 'unless-same';

export interface PortModes {
  /** Of so many ports from `port` on, at least one. Ports of in-core devices are never named. */
  setModes(port: number, ports: number, read: PortRead, write: PortWrite): void;
  setShadow(port: number, value: number): void;
  /** This PCI function answers `pci-data` reads, as setPciConfig says; those of all others give ones. */
  setPciFunction(bus: number, slot: number, func: number): void;
  /** What the 4 bytes at `offset`, a multiple of 4 below 256, of its configuration space read as. */
  setPciConfig(bus: number, slot: number, func: number, offset: number, value: number): void;
  /** The register behind `pci-address` ports, which selects what `pci-data` reads give. */
  pciAddress: number;
}

export const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
export type SegmentName = (typeof SEGMENT_NAMES)[number];

/** bhyve's segment access word: type 0-4 with S, DPL 5-6, P 7, L 13, D 14, G 15, unusable 16. */
export interface Descriptor {
  readonly base: bigint;
  readonly limit: number;
  readonly access: number;
}

/** Registers of a vCPU as a loader leaves them; what is not named keeps its reset value. */
export interface InitialState {
  readonly registers: Readonly<Record<string, bigint>>;
  readonly descriptors: Readonly<Partial<Record<SegmentName | 'gdtr' | 'idtr', Descriptor>>>;
}

/** The virtual machine under the devices. */
export interface MachineVm {
  readonly name: string;
  readonly lowmemBytes: number;
  readonly highmemBytes: number;
  readonly memory: GuestMemory;
  readonly irq: IrqLines;
  readonly ports: PortModes;
  /** The first caller wins; later ones are ignored. */
  suspend(reason: SuspendReason): void;
  /** Drop every cached translation (TLB, decoded code) of the page of guest-physical memory which holds `gpa`. */
  flushTranslation(gpa: number): void;
  /** A byte of the CMOS (0x0e to 0x7f), as vm_rtc_write. */
  rtcWrite(offset: number, value: number): void;
  /** Seconds since 1970 that the RTC shall show as UTC, as vm_rtc_settime. */
  rtcSetTime(seconds: number): void;
  /** Low half of the HPET's capabilities register. */
  readonly hpetCapabilities: number;
  /**
   * Make a named segment of device memory and map it.
   * @returns its bytes, which the host may write; `protection` is the guest's view.
   */
  mapDevmem(name: string, gpa: number, sizeBytes: number, protection: 'rx' | 'rw'): Uint8Array;
}

/** The host's time of day. */
export interface WallClock {
  /** Milliseconds since 1970, UTC. */
  nowMs(): number;
  /** What is to be added for local time. */
  localOffsetMs(): number;
}

/** Variables of the configuration tree (bhyve_config(5)). */
export interface ConfigReader {
  get(name: string): string | undefined;
  /** Names of the variables and nodes directly under `node`, in the order they were set. */
  children(node: string): readonly string[];
}

/** What the user configured, read and checked (config/settings.ts has more). */
export interface MachineSettings {
  readonly name: string;
  readonly topology: { readonly cpus: number; readonly sockets: number; readonly cores: number; readonly threads: number };
  readonly uuid: string;
  /** `-e`: an access to a port without handler ends the run. */
  readonly strictIo: boolean;
  readonly rtcLocalTime: boolean;
  readonly pci: readonly { readonly bus: number; readonly slot: number; readonly func: number; readonly device: string }[];
  readonly pcTestDev: boolean;
}

export interface MachineEnv {
  readonly log: Log;
  readonly clock: WallClock;
  /** What is at the other end of com1..com4; absent ports have nothing there. */
  readonly serial: ReadonlyMap<string, CharBackend>;
  /** The guest wrote the debug-exit port: the process ends with this status. */
  debugExit(status: number): void;
}
