/**
 * One PCI function: configuration space with its write masks, BARs, MSI, MSI-X and the INTx pin.
 * Implements: PCI Local Bus 3.0 6.1, 6.2 (header), 6.2.5 (base addresses), 6.8.1 (MSI), 6.8.2 (MSI-X), 2.2.6 (INTx).
 * Runs on: main event loop. Not modelled: power management, expansion ROMs, per-vector masking of MSI.
 */
import { assert } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { bool, bytes, schema, type StateOf } from '../../base/schema.ts';
import { onesOf } from '../inout.ts';
import {
  BAR_COUNT,
  BAR_IO,
  BAR_MEM64,
  BAR_PREFETCH,
  CAP_EXPRESS,
  CAP_MSI,
  CAP_MSIX,
  COMMAND_INTX_OFF,
  COMMAND_IO,
  COMMAND_MEMORY,
  COMMAND_WRITABLE,
  CONFIG_BYTES,
  FIRST_CAPABILITY,
  REG,
  STATUS_CAPABILITIES,
  STATUS_INTX,
} from './ids.ts';

export type BarKind = 'io' | 'mem32' | 'mem64';

/** What answers behind a BAR; offsets are relative to it. */
export interface BarHandler {
  read(offset: number, sizeBytes: number): number | undefined;
  write(offset: number, sizeBytes: number, value: number): void;
  /** The guest moved the BAR, or switched its decoding on (address) or off (undefined). */
  moved?(address: number | undefined): void;
}

export interface Bar {
  readonly index: number;
  readonly kind: BarKind;
  /** A power of two. */
  readonly sizeBytes: number;
  readonly handler: BarHandler;
}

export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly classCode: number;
  readonly subclass: number;
  readonly progIf?: number;
  readonly revision?: number;
  readonly subVendor?: number;
  readonly subDevice?: number;
}

/** What the bus does for a function. */
export interface PciUpstream {
  /** These bytes of the configuration space may read differently now. */
  configChanged(pci: PciFunction, offset: number, sizeBytes: number): void;
  /** The command register or a BAR changed: decode anew. */
  decodeChanged(pci: PciFunction): void;
  setIntx(pci: PciFunction, level: boolean): void;
  msi(address: number, data: number): void;
}

export const PCI_STATE = schema('pci-function', 1, {
  config: bytes({ sizeBytes: CONFIG_BYTES, doc: 'configuration space' }),
  msixTable: bytes({ maxBytes: 2048 * 16, doc: 'MSI-X table' }),
  msixPending: bytes({ maxBytes: 2048 / 8, doc: 'MSI-X pending bits' }),
  intxWanted: bool({ doc: 'the device asserts its INTx pin, delivered or held back' }),
});

const MSI_ENABLE = 1,
  MSI_64BIT = 0x80;
const MSIX_ENABLE = 0x8000,
  MSIX_MASK_ALL = 0x4000;
const MSIX_ENTRY_BYTES = 16;

export class PciFunction {
  readonly schema = PCI_STATE;
  readonly state: StateOf<typeof PCI_STATE> = PCI_STATE.fresh();
  readonly bus: number;
  readonly slot: number;
  readonly func: number;
  readonly name: string;
  /** Register of a device behind the header: called after a write, before anything else sees it. */
  onConfigWrite: ((offset: number, sizeBytes: number) => void) | undefined;
  readonly bars: (Bar | undefined)[] = new Array<Bar | undefined>(BAR_COUNT).fill(undefined);
  readonly #writable = new Uint8Array(CONFIG_BYTES);
  readonly #clearable = new Uint8Array(CONFIG_BYTES);
  readonly #log: Log;
  #upstream: PciUpstream | undefined;
  #resetConfig: Uint8Array | undefined;
  #nextCapability = FIRST_CAPABILITY;
  #lastCapability = 0;
  #msiAt = 0;
  #msixAt = 0;
  #intxLevel = false;

  constructor(
    place: { readonly bus: number; readonly slot: number; readonly func: number; readonly name: string },
    identity: PciIdentity,
    log: Log,
  ) {
    this.bus = place.bus;
    this.slot = place.slot;
    this.func = place.func;
    this.name = place.name;
    this.#log = log;
    this.#set(REG.VENDOR, 2, identity.vendor);
    this.#set(REG.DEVICE, 2, identity.device);
    this.#set(REG.REVISION, 1, identity.revision ?? 0);
    this.#set(REG.PROG_IF, 1, identity.progIf ?? 0);
    this.#set(REG.SUBCLASS, 1, identity.subclass);
    this.#set(REG.CLASS, 1, identity.classCode);
    this.#set(REG.SUBVENDOR, 2, identity.subVendor ?? 0);
    this.#set(REG.SUBDEVICE, 2, identity.subDevice ?? 0);
    this.makeWritable(REG.COMMAND, 2, COMMAND_WRITABLE);
    this.makeWritable(REG.CACHE_LINE, 1, 0xff);
    this.makeWritable(REG.LATENCY, 1, 0xff);
    this.makeWritable(REG.INTERRUPT_LINE, 1, 0xff);
    this.#clearable[REG.STATUS + 1] = 0xf9; // error bits, write 1 to clear
  }

  // --- built once, before the bus powers up ---

  makeWritable(offset: number, sizeBytes: number, mask: number): void {
    for (let index = 0; index < sizeBytes; index++) this.#writable[offset + index] = Math.floor(mask / 2 ** (8 * index)) % 256;
  }

  setConfig(offset: number, sizeBytes: number, value: number): void {
    this.#set(offset, sizeBytes, value);
  }

  /** @returns offset of the capability. */
  addCapability(id: number, body: readonly number[]): number {
    const at = this.#nextCapability;
    assert(at + 2 + body.length <= CONFIG_BYTES, `${this.name}: capability ${id} does not fit`);
    this.state.config.set([id, 0, ...body], at);
    if (this.#lastCapability === 0) {
      this.#set(REG.CAPABILITIES, 1, at);
      this.#set(REG.STATUS, 1, STATUS_CAPABILITIES);
    } else this.#set(this.#lastCapability + 1, 1, at);
    this.#lastCapability = at;
    this.#nextCapability = Math.ceil((at + 2 + body.length) / 4) * 4;
    return at;
  }

  /** PCI Express capability, version 2 (PCI Express Base 3.0 7.8). */
  addExpress(deviceType: number): number {
    const body = new Array<number>(58).fill(0);
    body[0] = 2 | (deviceType << 4);
    // Device and link capabilities stay 0; link status: 2.5 GT/s, one lane, as a link that is up.
    body[8] = 0x01;
    body[9] = 0x01;
    return this.addCapability(CAP_EXPRESS, body);
  }

  /** @param vectors a power of two up to 32. */
  addMsi(vectors: number): void {
    const log2 = Math.log2(vectors);
    assert(Number.isInteger(log2) && log2 <= 5, `${this.name}: ${vectors} MSI vectors`);
    this.#msiAt = this.addCapability(CAP_MSI, [(log2 << 1) | MSI_64BIT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    this.makeWritable(this.#msiAt + 2, 2, 0x70 | MSI_ENABLE);
    this.makeWritable(this.#msiAt + 4, 4, 0xffff_fffc);
    this.makeWritable(this.#msiAt + 8, 4, 0xffff_ffff);
    this.makeWritable(this.#msiAt + 12, 2, 0xffff);
  }

  /** The table and the pending bits get a BAR of their own. */
  addMsix(vectors: number, barIndex: number): void {
    assert(vectors >= 1 && vectors <= 2048, `${this.name}: ${vectors} MSI-X vectors`);
    const tableBytes = Math.ceil((vectors * MSIX_ENTRY_BYTES) / 4096) * 4096;
    const sizeBytes = 2 ** Math.ceil(Math.log2(tableBytes + 4096));
    const words = [vectors - 1, 0].flatMap((word) => [word & 0xff, word >> 8]).slice(0, 2);
    const dword = (value: number): number[] => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
    this.#msixAt = this.addCapability(CAP_MSIX, [...words, ...dword(barIndex), ...dword(tableBytes | barIndex)]);
    this.makeWritable(this.#msixAt + 2, 2, MSIX_ENABLE | MSIX_MASK_ALL);
    this.state.msixTable = freshMsixTable(vectors);
    this.state.msixPending = new Uint8Array(Math.ceil(vectors / 8));
    this.addBar(barIndex, 'mem32', sizeBytes, {
      read: (offset, accessBytes) => this.#readMsixTable(offset, accessBytes),
      write: (offset, accessBytes, value) => {
        this.#writeMsixTable(offset, accessBytes, value);
      },
    });
  }

  addBar(index: number, kind: BarKind, sizeBytes: number, handler: BarHandler): void {
    assert(
      index >= 0 && index < (kind === 'mem64' ? BAR_COUNT - 1 : BAR_COUNT) && this.bars[index] === undefined,
      `${this.name}: BAR ${index}`,
    );
    assert(
      sizeBytes >= (kind === 'io' ? 4 : 16) && Number.isInteger(Math.log2(sizeBytes)),
      `${this.name}: BAR ${index} of ${sizeBytes} bytes`,
    );
    this.bars[index] = { index, kind, sizeBytes, handler };
    this.#set(REG.BAR0 + index * 4, 1, kind === 'io' ? BAR_IO : kind === 'mem64' ? BAR_MEM64 | BAR_PREFETCH : 0);
  }

  /** @param pin 1 to 4: INTA to INTD. */
  setIntxPin(pin: number, line: number): void {
    this.#set(REG.INTERRUPT_PIN, 1, pin);
    this.#set(REG.INTERRUPT_LINE, 1, line);
  }

  /** The bus takes the function; what the configuration space holds now is what a reset restores. */
  powerUp(upstream: PciUpstream): void {
    this.#upstream = upstream;
    this.#resetConfig = this.state.config.slice();
    this.#changed();
  }

  // --- life cycle ---

  reset(): void {
    if (this.#resetConfig !== undefined) this.state.config.set(this.#resetConfig);
    this.state.msixTable = freshMsixTable(this.state.msixTable.length / MSIX_ENTRY_BYTES);
    this.state.msixPending.fill(0);
    this.state.intxWanted = false;
    this.restored();
  }

  restored(): void {
    this.#changed();
    this.#updateIntx();
    this.#upstream?.decodeChanged(this);
  }

  // --- configuration space ---

  /** 1, 2 or 4 bytes, aligned, inside the 256. */
  readConfig(offset: number, sizeBytes: number): number {
    return this.#get(offset, sizeBytes);
  }

  writeConfig(offset: number, sizeBytes: number, value: number): void {
    const barIndex = (offset - REG.BAR0) >> 2;
    if (offset >= REG.BAR0 && barIndex < BAR_COUNT) {
      // A part of a base address makes no address: bhyve drops it, and no guest writes one.
      if (sizeBytes === 4) this.#writeBar(barIndex, value);
      return;
    }
    const { config } = this.state;
    for (let index = 0; index < sizeBytes; index++) {
      const at = offset + index;
      const byte = Math.floor(value / 2 ** (8 * index)) % 256;
      const mask = this.#writable[at] ?? 0;
      config[at] = ((config[at] ?? 0) & ~mask & ~(byte & (this.#clearable[at] ?? 0))) | (byte & mask);
    }
    this.onConfigWrite?.(offset, sizeBytes);
    this.#changed();
    if (offset < REG.COMMAND + 2 && offset + sizeBytes > REG.COMMAND) this.#upstream?.decodeChanged(this);
    this.#updateIntx();
    this.#deliverUnmasked();
  }

  get command(): number {
    return this.#get(REG.COMMAND, 2);
  }

  /** Where a BAR is decoded now, or undefined while its kind is switched off. */
  decodedAt(bar: Bar): number | undefined {
    const enabled = (this.command & (bar.kind === 'io' ? COMMAND_IO : COMMAND_MEMORY)) !== 0;
    return enabled ? this.barAddress(bar) : undefined;
  }

  barAddress(bar: Bar): number {
    const low = this.#get(REG.BAR0 + bar.index * 4, 4);
    if (bar.kind === 'io') return low - (low % 4);
    const high = bar.kind === 'mem64' ? this.#get(REG.BAR0 + bar.index * 4 + 4, 4) : 0;
    return high * 2 ** 32 + (low - (low % 16));
  }

  setBarAddress(bar: Bar, address: number): void {
    const at = REG.BAR0 + bar.index * 4;
    const low = address % 2 ** 32;
    this.#set(at, 4, low + (this.#get(at, 1) & 0x0f));
    if (bar.kind === 'mem64') this.#set(at + 4, 4, Math.floor(address / 2 ** 32));
  }

  // --- interrupts ---

  setIntx(level: boolean): void {
    this.state.intxWanted = level;
    this.#updateIntx();
  }

  get msiEnabled(): boolean {
    return this.#msiAt !== 0 && !this.msixEnabled && (this.#get(this.#msiAt + 2, 2) & MSI_ENABLE) !== 0;
  }

  get msixEnabled(): boolean {
    return this.#msixAt !== 0 && (this.#get(this.#msixAt + 2, 2) & MSIX_ENABLE) !== 0;
  }

  /** Send vector `index`; the guest may have allowed fewer than there are, then they share. */
  msi(index: number): void {
    if (!this.msiEnabled) return;
    const allowed = 2 ** ((this.#get(this.#msiAt + 2, 2) >> 4) & 7);
    const data = this.#get(this.#msiAt + 12, 2);
    this.#upstream?.msi(this.#get(this.#msiAt + 4, 4), data - (data % allowed) + (index % allowed));
  }

  /** A masked entry keeps the interrupt in its pending bit. */
  msix(index: number): void {
    const at = index * MSIX_ENTRY_BYTES;
    if (!this.msixEnabled || at >= this.state.msixTable.length) return;
    const view = this.#msixView();
    if ((this.#get(this.#msixAt + 2, 2) & MSIX_MASK_ALL) !== 0 || (view.getUint32(at + 12, true) & 1) !== 0) {
      this.state.msixPending[index >> 3] = (this.state.msixPending[index >> 3] ?? 0) | (1 << (index & 7));
      return;
    }
    this.#upstream?.msi(view.getUint32(at, true), view.getUint32(at + 8, true));
  }

  #updateIntx(): void {
    const { state } = this;
    const status = this.#get(REG.STATUS, 1);
    this.#set(REG.STATUS, 1, state.intxWanted ? status | STATUS_INTX : status & ~STATUS_INTX);
    this.#changed(REG.STATUS, 1);
    const level = state.intxWanted && !this.msiEnabled && !this.msixEnabled && (this.command & COMMAND_INTX_OFF) === 0;
    if (level === this.#intxLevel) return;
    this.#intxLevel = level;
    this.#upstream?.setIntx(this, level);
  }

  #writeBar(index: number, value: number): void {
    const bar = this.bars[index];
    const below = index > 0 ? this.bars[index - 1] : undefined;
    const at = REG.BAR0 + index * 4;
    if (bar !== undefined) {
      const flagBits = bar.kind === 'io' ? 3 : 15;
      const flags = this.#get(at, 1) & flagBits;
      const address = bar.kind === 'io' ? value % 0x10000 : value; // I/O addresses have 16 bits
      const size = Math.min(bar.sizeBytes, 2 ** 32);
      this.#set(at, 4, address - (address % size) + flags);
    } else if (below?.kind === 'mem64') {
      const size = Math.max(1, below.sizeBytes / 2 ** 32);
      this.#set(at, 4, value - (value % size));
    } else return;
    this.#changed(at, 4);
    this.#upstream?.decodeChanged(this);
  }

  /** The rest of a device may show itself anywhere in the configuration space: after a write all of it is looked at. */
  #changed(offset = 0, sizeBytes = CONFIG_BYTES): void {
    this.#upstream?.configChanged(this, offset, sizeBytes);
  }

  #readMsixTable(offset: number, sizeBytes: number): number {
    const table = this.state.msixTable;
    if (offset < table.length) {
      if (sizeBytes === 4 && offset % 4 === 0) return this.#msixView().getUint32(offset, true);
      return sizeBytes === 1 ? (table[offset] ?? 0xff) : onesOf(sizeBytes);
    }
    const pendingAt = Math.ceil(table.length / 4096) * 4096;
    let value = 0;
    for (let index = sizeBytes - 1; index >= 0; index--) value = value * 256 + (this.state.msixPending[offset + index - pendingAt] ?? 0);
    return value;
  }

  #writeMsixTable(offset: number, sizeBytes: number, value: number): void {
    if (sizeBytes !== 4 || offset % 4 !== 0 || offset >= this.state.msixTable.length) {
      this.#log.debug(`MSI-X table write of ${sizeBytes} bytes at 0x${offset.toString(16)}: dropped`);
      return;
    }
    this.#msixView().setUint32(offset, value, true);
    this.#deliverUnmasked();
  }

  #deliverUnmasked(): void {
    const pending = this.state.msixPending;
    for (let at = 0; at < pending.length; at++) {
      const bits = pending[at] ?? 0;
      if (bits === 0) continue;
      pending[at] = 0;
      for (let bit = 0; bit < 8; bit++) if (((bits >> bit) & 1) !== 0) this.msix(at * 8 + bit); // still masked: pending again
    }
  }

  #msixView(): DataView {
    const { buffer, byteOffset, byteLength } = this.state.msixTable;
    return new DataView(buffer, byteOffset, byteLength);
  }

  #get(offset: number, sizeBytes: number): number {
    let value = 0;
    for (let index = sizeBytes - 1; index >= 0; index--) value = value * 256 + (this.state.config[offset + index] ?? 0xff);
    return value;
  }

  #set(offset: number, sizeBytes: number, value: number): void {
    for (let index = 0; index < sizeBytes; index++) this.state.config[offset + index] = Math.floor(value / 2 ** (8 * index)) % 256;
  }
}

/** After reset every entry is masked (6.8.2.9). */
function freshMsixTable(vectors: number): Uint8Array {
  const table = new Uint8Array(vectors * MSIX_ENTRY_BYTES);
  for (let at = 12; at < table.length; at += MSIX_ENTRY_BYTES) table[at] = 1;
  return table;
}
