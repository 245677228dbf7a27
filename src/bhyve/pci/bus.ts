/**
 * The PCI buses: both configuration mechanisms, decoding of BARs, their first addresses, INTx.
 * Implements: PCI Local Bus 3.0 3.2.2.3.2 (CF8h/CFCh), PCI Express Base 3.0 7.2.2 (ECAM); bhyve-map 1.6, 2.3, 2.4.
 * Runs on: main event loop. Not modelled: extended configuration space (an empty capability list), bridges between buses.
 */
import { VmError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { schema, u32, type StateOf } from '../../base/schema.ts';
import type { Device } from '../devices/device.ts';
import { onesOf, type PortHandler, type PortRange, type PortTable } from '../inout.ts';
import { ECAM, GIB, HIGHMEM_BASE, LAPIC_BASE, MIB, PCI_IO_WINDOW, PCI_WINDOW32, PCI_WINDOW64_BYTES, PORT } from '../layout.ts';
import { HOLE, type MmioHandler, type MmioMap, type MmioRange } from '../mem.ts';
import type { IrqLines } from '../ports-of-machine.ts';
import type { Bar, BarKind, PciFunction } from './function.ts';
import { COMMAND_IO, COMMAND_MASTER, COMMAND_MEMORY, CONFIG_BYTES, HEADER_MULTI_FUNCTION, REG } from './ids.ts';
import type { IntxRoute, PirqRouter } from './irq.ts';

const ADDRESS_ENABLE = 0x8000_0000;
const MSI_WINDOW_BYTES = MIB;
/** Larger 64-bit BARs go above 4 GiB. */
const MEM64_LOW_MAX_BYTES = 128 * MIB;

export interface PciPorts {
  /** A byte at CF9h is the reset control register and wins over the address register. */
  readResetControl(): number;
  writeResetControl(value: number): void;
}

/** Where a slot's pin goes, for the tables. */
export interface IntxEntry extends IntxRoute {
  readonly bus: number;
  readonly slot: number;
  /** 1 to 4. */
  readonly pin: number;
}

export const PCI_BUS_STATE = schema('pci-bus', 1, {
  address: u32({ doc: 'CF8h' }),
});

type Decoded = { readonly kind: 'io'; readonly range: PortRange } | { readonly kind: 'memory'; readonly range: MmioRange };

export class PciBus implements Device {
  readonly schema = PCI_BUS_STATE;
  readonly state: StateOf<typeof PCI_BUS_STATE>;
  readonly #functions = new Map<number, PciFunction>();
  readonly #decoded = new Map<Bar, Decoded>();
  /** BARs whose address is taken by something else; retried whenever a range is given up. */
  readonly #blocked = new Set<Bar>();
  readonly #owners = new Map<Bar, PciFunction>();
  readonly #intx: IntxEntry[] = [];
  readonly #routes = new Map<PciFunction, IntxRoute>();
  readonly #ports: PortTable;
  readonly #memory: MmioMap;
  readonly #lines: IrqLines;
  readonly #pirq: PirqRouter;
  readonly #log: Log;

  constructor(ends: {
    readonly ports: PortTable;
    readonly memory: MmioMap;
    readonly lines: IrqLines;
    readonly pirq: PirqRouter;
    readonly log: Log;
  }) {
    const { ports } = ends;
    this.#ports = ports;
    // Kept where the vCPUs' threads write it and look up what it selects.
    this.state = {
      get address() {
        return ports.pciAddress;
      },
      set address(value) {
        ports.pciAddress = value;
      },
    };
    this.#memory = ends.memory;
    this.#lines = ends.lines;
    this.#pirq = ends.pirq;
    this.#log = ends.log;
  }

  /** @throws VmError EEXIST when the place is taken. */
  add(pci: PciFunction): void {
    const key = keyOf(pci.bus, pci.slot, pci.func);
    const other = this.#functions.get(key);
    if (other !== undefined)
      throw new VmError('EEXIST', `-s ${pci.bus}:${pci.slot}:${pci.func},${pci.name}: the place is taken by ${other.name}`);
    this.#functions.set(key, pci);
    this.#ports.setPciFunction(pci.bus, pci.slot, pci.func);
    for (const bar of pci.bars) if (bar !== undefined) this.#owners.set(bar, pci);
  }

  functions(): PciFunction[] {
    return [...this.#functions.entries()].sort(([a], [b]) => a - b).map(([, pci]) => pci);
  }

  /** Routed pins, in slot order. */
  intx(): readonly IntxEntry[] {
    return this.#intx;
  }

  /** Give a function an INTx pin: the one of its slot that is used least. */
  routeIntx(pci: PciFunction, fixed: boolean): void {
    const uses = [1, 2, 3, 4].map(
      (pin) => this.#intx.filter((entry) => entry.bus === pci.bus && entry.slot === pci.slot && entry.pin === pin).length,
    );
    const pin = uses.indexOf(Math.min(...uses)) + 1;
    const existing = this.#intx.find((entry) => entry.bus === pci.bus && entry.slot === pci.slot && entry.pin === pin);
    const route = existing ?? this.#pirq.route(pci.slot, pin, fixed);
    if (existing === undefined) this.#intx.push({ bus: pci.bus, slot: pci.slot, pin, ioapicPin: route.ioapicPin, pirq: route.pirq });
    this.#routes.set(pci, route);
    pci.setIntxPin(pin, this.#pirq.irqOf(route.pirq));
  }

  /**
   * Second pass: place the BARs, largest first, mark multi-function slots, switch decoding on unless firmware will, register
   * ECAM and the hole.
   * @throws VmError ENOSPC when a window is full.
   */
  powerUp(options: { readonly enableBars: boolean; readonly lowmemBytes: number; readonly highmemBytes: number }): void {
    const window64 = window64Of(options.highmemBytes);
    const next: Record<BarKind, number> = { io: PCI_IO_WINDOW.start, mem32: PCI_WINDOW32.start, mem64: window64.start };
    const end = {
      io: PCI_IO_WINDOW.start + PCI_IO_WINDOW.sizeBytes,
      mem32: PCI_WINDOW32.start + PCI_WINDOW32.sizeBytes,
      mem64: window64.start + window64.sizeBytes,
    };
    const bars = this.functions().flatMap((pci) => pci.bars.filter((bar) => bar !== undefined).map((bar) => ({ pci, bar })));
    bars.sort((a, b) => b.bar.sizeBytes - a.bar.sizeBytes);
    for (const { pci, bar } of bars) {
      const window: BarKind = bar.kind === 'mem64' && bar.sizeBytes <= MEM64_LOW_MAX_BYTES ? 'mem32' : bar.kind;
      const address = Math.ceil(next[window] / bar.sizeBytes) * bar.sizeBytes;
      if (address + bar.sizeBytes > end[window])
        throw new VmError('ENOSPC', `${pci.name}: BAR ${bar.index} of ${bar.sizeBytes} bytes: no room left in the ${window} window`);
      next[window] = address + bar.sizeBytes;
      pci.setBarAddress(bar, address);
    }

    this.#memory.register({ name: 'PCI ECFG', gpa: ECAM.start, sizeBytes: ECAM.sizeBytes, immutable: true, handler: this.#ecam });
    this.#memory.registerFallback({
      name: 'PCI hole (32-bit)',
      gpa: options.lowmemBytes,
      sizeBytes: HIGHMEM_BASE - options.lowmemBytes,
      immutable: true,
      handler: HOLE,
    });
    this.#memory.registerFallback({
      name: 'PCI hole (64-bit)',
      gpa: window64.start,
      sizeBytes: window64.sizeBytes,
      immutable: true,
      handler: HOLE,
    });

    for (const pci of this.functions()) {
      if (pci.func === 0 && this.functions().some((other) => other.bus === pci.bus && other.slot === pci.slot && other.func !== 0)) {
        pci.setConfig(REG.HEADER_TYPE, 1, pci.readConfig(REG.HEADER_TYPE, 1) | HEADER_MULTI_FUNCTION);
      }
      if (options.enableBars) {
        const kinds = pci.bars.reduce((all, bar) => all | (bar === undefined ? 0 : bar.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY), 0);
        pci.setConfig(REG.COMMAND, 2, pci.command | kinds | COMMAND_MASTER);
      }
      pci.powerUp({
        configChanged: (changed, offset, sizeBytes) => {
          this.#publish(changed, offset, sizeBytes);
        },
        decodeChanged: (changed) => {
          this.#decode(changed);
        },
        setIntx: (changed, level) => {
          this.#setIntx(changed, level);
        },
        msi: (address, data) => {
          this.#msi(pci, address, data);
        },
      });
      this.#decode(pci);
    }
  }

  attach(reset: PciPorts): void {
    this.#ports.register({
      name: 'PCI address and reset control',
      port: PORT.PCI_ADDRESS,
      sizeBytes: 4,
      handler: this.#addressPort(reset),
    });
    // Half of every configuration access. The byte at CF9h is another port.
    this.#ports.setMode(PORT.PCI_ADDRESS, 'pci-address', 'pci-address');
    this.#ports.register({ name: 'PCI data', port: PORT.PCI_DATA, sizeBytes: 4, handler: this.#dataPort });
    for (let at = 0; at < 4; at++) this.#ports.setMode(PORT.PCI_DATA + at, 'pci-data', 'exit');
  }

  reset(): void {
    PCI_BUS_STATE.reset(this.state);
    for (const pci of this.functions()) pci.reset();
  }

  /** Aligned accesses of 1, 2, 4 bytes; anything else, and absent functions, read ones. */
  readConfig(bus: number, slot: number, func: number, offset: number, sizeBytes: number): number {
    const pci = this.#functions.get(keyOf(bus, slot, func));
    if (pci === undefined || offset % sizeBytes !== 0) return onesOf(sizeBytes);
    if (offset >= CONFIG_BYTES) {
      // An empty list of extended capabilities: one dword of zeroes.
      return offset < CONFIG_BYTES + 4 ? 0 : onesOf(sizeBytes);
    }
    return pci.readConfig(offset, sizeBytes);
  }

  writeConfig(bus: number, slot: number, func: number, offset: number, sizeBytes: number, value: number): void {
    const pci = this.#functions.get(keyOf(bus, slot, func));
    if (pci === undefined || offset % sizeBytes !== 0 || offset >= CONFIG_BYTES) return;
    pci.writeConfig(offset, sizeBytes, value);
  }

  #addressPort(reset: PciPorts): PortHandler {
    return {
      read: (offset, sizeBytes) => {
        if (offset === 0 && sizeBytes === 4) return this.state.address;
        if (offset === 1 && sizeBytes === 1) return reset.readResetControl();
        return onesOf(sizeBytes);
      },
      write: (offset, sizeBytes, value) => {
        if (offset === 0 && sizeBytes === 4) this.state.address = (value & 0x80ff_fffc) >>> 0;
        else if (offset === 1 && sizeBytes === 1) reset.writeResetControl(value);
        return true; // other widths go past the register to nothing
      },
    };
  }

  readonly #dataPort: PortHandler = {
    read: (offset, sizeBytes) => {
      const { address } = this.state;
      if (address < ADDRESS_ENABLE) return onesOf(sizeBytes);
      return this.readConfig((address >>> 16) & 0xff, (address >>> 11) & 0x1f, (address >>> 8) & 7, (address & 0xfc) + offset, sizeBytes);
    },
    write: (offset, sizeBytes, value) => {
      const { address } = this.state;
      if (address >= ADDRESS_ENABLE)
        this.writeConfig(
          (address >>> 16) & 0xff,
          (address >>> 11) & 0x1f,
          (address >>> 8) & 7,
          (address & 0xfc) + offset,
          sizeBytes,
          value,
        );
      return true;
    },
  };

  readonly #ecam: MmioHandler = {
    read: (offset, sizeBytes) => this.readConfig(offset >>> 20, (offset >>> 15) & 0x1f, (offset >>> 12) & 7, offset & 0xfff, sizeBytes),
    write: (offset, sizeBytes, value) => {
      this.writeConfig(offset >>> 20, (offset >>> 15) & 0x1f, (offset >>> 12) & 7, offset & 0xfff, sizeBytes, value);
    },
  };

  /** No register has a side effect when it is read, so that reads through CFCh need not come here. */
  #publish(pci: PciFunction, offset: number, sizeBytes: number): void {
    for (let at = offset - (offset % 4); at < offset + sizeBytes; at += 4)
      this.#ports.setPciConfig(pci.bus, pci.slot, pci.func, at, pci.readConfig(at, 4));
  }

  /** Bring the port table and the MMIO map in line with the command register and the BARs of one function. */
  #decode(pci: PciFunction): void {
    let freed = false;
    for (const bar of pci.bars) {
      if (bar === undefined) continue;
      const address = pci.decodedAt(bar);
      const decoded = this.#decoded.get(bar);
      if (decoded !== undefined) {
        const present = decoded.kind === 'io' ? decoded.range.port : decoded.range.gpa;
        if (present === address) continue;
        if (decoded.kind === 'io') this.#ports.unregister(decoded.range);
        else this.#memory.unregister(decoded.range);
        this.#decoded.delete(bar);
        freed = true;
        bar.handler.moved?.(undefined);
      }
      this.#blocked.delete(bar);
      if (address !== undefined) this.#tryDecode(pci, bar, address);
    }
    if (!freed) return;
    for (const bar of Array.from(this.#blocked)) {
      // a copy: a BAR may be blocked again
      const owner = this.#owners.get(bar);
      const address = owner?.decodedAt(bar);
      this.#blocked.delete(bar);
      if (owner !== undefined && address !== undefined) this.#tryDecode(owner, bar, address);
    }
  }

  /** A guest may put a BAR on top of anything: then it decodes nothing until the place is free. */
  #tryDecode(pci: PciFunction, bar: Bar, address: number): void {
    const name = `${pci.name} BAR ${bar.index}`;
    const { handler, sizeBytes } = bar;
    try {
      if (bar.kind === 'io') {
        const range: PortRange = {
          name,
          port: address,
          sizeBytes,
          handler: {
            read: (offset, width) => handler.read(offset, width),
            write: (offset, width, value) => {
              handler.write(offset, width, value);
              return true;
            },
          },
        };
        this.#ports.register(range);
        this.#decoded.set(bar, { kind: 'io', range });
      } else {
        const range: MmioRange = { name, gpa: address, sizeBytes, handler };
        this.#memory.register(range);
        this.#decoded.set(bar, { kind: 'memory', range });
      }
    } catch (error) {
      if (!(error instanceof VmError) || error.code === 'EDOOFUS') throw error;
      this.#blocked.add(bar);
      this.#log.debug(`${name} at 0x${address.toString(16)}: ${error.message}: not decoded`);
      return;
    }
    handler.moved?.(address);
  }

  /** The guest chose the address: elsewhere it would be a write to memory, which no guest means by it. */
  #msi(pci: PciFunction, address: number, data: number): void {
    if (address >= LAPIC_BASE && address < LAPIC_BASE + MSI_WINDOW_BYTES) this.#lines.lapicMsi(address, data);
    else this.#log.debug(`${pci.name}: MSI to 0x${address.toString(16)}: dropped: expected 0xfee00000 to 0xfeefffff`);
  }

  #setIntx(pci: PciFunction, level: boolean): void {
    const route = this.#routes.get(pci);
    if (route === undefined) return;
    if (level) this.#pirq.assert(route);
    else this.#pirq.deassert(route);
  }
}

/** 64-bit BARs start at the first multiple of 32 GiB behind RAM. */
export function window64Of(highmemBytes: number): { readonly start: number; readonly sizeBytes: number } {
  const alignment = 32 * GIB;
  return { start: Math.ceil((HIGHMEM_BASE + highmemBytes) / alignment) * alignment, sizeBytes: PCI_WINDOW64_BYTES };
}

function keyOf(bus: number, slot: number, func: number): number {
  return bus * 256 + slot * 8 + func;
}
