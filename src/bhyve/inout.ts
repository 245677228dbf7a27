/**
 * The port table: which device answers which I/O port on the main event loop.
 * Implements: bhyve-map 2.3, and `-e` (x86.strictio). Runs on: main event loop.
 * Not modelled: ports of in-core devices; those never come here.
 */
import { VmError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { PortModes, PortRead, PortWrite } from './ports-of-machine.ts';

/** Offsets are relative to the range; values are unsigned, at most 32 bits. `undefined`: not claimed, the bus answers. */
export interface PortHandler {
  read(offset: number, sizeBytes: number): number | undefined;
  /** @returns false when nothing claims this access. */
  write(offset: number, sizeBytes: number, value: number): boolean;
}

export interface PortRange {
  readonly name: string;
  readonly port: number;
  readonly sizeBytes: number;
  readonly handler: PortHandler;
}

/** Both ends are part of it. */
export type PortSpan = readonly [first: number, last: number];

const PORT_COUNT = 0x10000;

/** All ones of an access's width. */
export function onesOf(sizeBytes: number): number {
  return sizeBytes >= 4 ? 0xffff_ffff : 2 ** (8 * sizeBytes) - 1;
}

export class PortTable {
  /** Index + 1 into #ranges for every port; 0 is nobody. */
  readonly #owner = new Uint16Array(PORT_COUNT);
  readonly #ranges: (PortRange | undefined)[] = [];
  readonly #modes: PortModes;
  readonly #strict: boolean;
  readonly #log: Log;

  constructor(modes: PortModes, log: Log, strict: boolean) {
    this.#modes = modes;
    this.#log = log;
    this.#strict = strict;
  }

  /**
   * Before anybody registers: ports of in-core devices never leave the vCPU; all others read ones and drop writes there until somebody claims them.
   * @param inCore in ascending order.
   */
  claimNothing(inCore: readonly PortSpan[]): void {
    let next = 0;
    for (const [first, last] of [...inCore, [PORT_COUNT, PORT_COUNT] as const]) {
      if (first > next) this.#setNobody(next, first - next);
      next = last + 1;
    }
  }

  /** @throws VmError EEXIST naming both ranges, EINVAL when the range leaves the 64 KiB of ports. */
  register(range: PortRange): void {
    const { name, port, sizeBytes } = range;
    if (!Number.isInteger(port) || sizeBytes < 1 || port < 0 || sizeBytes > PORT_COUNT - port) {
      throw new VmError('EINVAL', `ports of ${name}: 0x${port.toString(16)} + ${sizeBytes}: expected a range inside 0x0..0xffff`);
    }
    for (let at = port; at < port + sizeBytes; at++) {
      const other = this.#rangeAt(at);
      if (other !== undefined)
        throw new VmError('EEXIST', `ports ${rangeText(range)} of ${name} overlap ${rangeText(other)} of ${other.name}`);
    }
    const free = this.#ranges.indexOf(undefined);
    const index = free >= 0 ? free : this.#ranges.length;
    this.#ranges[index] = range;
    this.#owner.fill(index + 1, port, port + sizeBytes);
    this.#modes.setModes(port, sizeBytes, 'exit', 'exit');
  }

  /** @throws VmError ENOENT when this very range is not registered. */
  unregister(range: PortRange): void {
    const index = this.#ranges.indexOf(range);
    if (index < 0) throw new VmError('ENOENT', `ports ${rangeText(range)} of ${range.name} are not registered`);
    this.#ranges[index] = undefined;
    this.#owner.fill(0, range.port, range.port + range.sizeBytes);
    this.#setNobody(range.port, range.sizeBytes);
  }

  /** For a device whose port can be answered without an exit. */
  setMode(port: number, read: PortRead, write: PortWrite): void {
    this.#modes.setModes(port, 1, read, write);
  }

  /** A PCI function answers on the data port. */
  setPciFunction(bus: number, slot: number, func: number): void {
    this.#modes.setPciFunction(bus, slot, func);
  }

  /** What a dword of its configuration space reads as. */
  setPciConfig(bus: number, slot: number, func: number, offset: number, value: number): void {
    this.#modes.setPciConfig(bus, slot, func, offset, value);
  }

  /** The register at CF8h, wherever it is kept. */
  get pciAddress(): number {
    return this.#modes.pciAddress;
  }
  set pciAddress(value: number) {
    this.#modes.pciAddress = value;
  }

  setShadow(port: number, value: number): void {
    this.#modes.setShadow(port, value);
  }

  /**
   * Hot. @returns the value, all ones when nobody answers.
   * @throws VmError EIO for an unclaimed port with `-e`: the run ends there.
   */
  read(port: number, sizeBytes: number): number {
    const range = this.#rangeAt(port);
    // An access that runs over the end of its range belongs to nobody: the bus would split it, and no guest relies on that.
    if (range !== undefined && sizeBytes <= range.port + range.sizeBytes - port) {
      const value = range.handler.read(port - range.port, sizeBytes);
      if (value !== undefined) return value;
    }
    this.#unclaimed('read', port, sizeBytes);
    return onesOf(sizeBytes);
  }

  /** Hot. @throws VmError EIO for an unclaimed port with `-e`. */
  write(port: number, sizeBytes: number, value: number): void {
    const range = this.#rangeAt(port);
    if (range !== undefined && sizeBytes <= range.port + range.sizeBytes - port && range.handler.write(port - range.port, sizeBytes, value))
      return;
    this.#unclaimed('write', port, sizeBytes);
  }

  ranges(): PortRange[] {
    return this.#ranges.filter((range) => range !== undefined).sort((a, b) => a.port - b.port);
  }

  #rangeAt(port: number): PortRange | undefined {
    const owner = this.#owner[port];
    return owner === undefined || owner === 0 ? undefined : this.#ranges[owner - 1];
  }

  #setNobody(port: number, ports: number): void {
    const mode = this.#strict ? 'exit' : 'open-bus';
    this.#modes.setModes(port, ports, mode, mode);
  }

  #unclaimed(direction: 'read' | 'write', port: number, sizeBytes: number): void {
    const message = `Unhandled ${direction === 'read' ? 'in' : 'out'}${sizeBytes === 1 ? 'b' : sizeBytes === 2 ? 'w' : 'l'} 0x${port.toString(16).padStart(4, '0')}`;
    if (this.#strict) throw new VmError('EIO', `${message} (x86.strictio=true)`);
    this.#log.debug(`${message}: ${direction === 'read' ? 'all ones' : 'dropped'}`);
  }
}

function rangeText(range: PortRange): string {
  return `0x${range.port.toString(16)}..0x${(range.port + range.sizeBytes - 1).toString(16)}`;
}
