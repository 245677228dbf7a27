/**
 * pc-testdev: the debugging device for authors of kernels and of test guests, off by default.
 * Implements: bhyve(8) `-l pc-testdev`; the ports of kvm-unit-tests' x86 test device. Runs on: main event loop.
 *
 *   F4h..F7h      write: the process ends with status (value << 1) | 1
 *   E0h..E3h      four latch bytes, accesses of 1, 2 and 4 bytes
 *   E4h           4-byte write: drop the cached translation of that guest-physical page
 *   E8h           a byte latch
 *   2000h..2017h  write: bit 0 is the level of that IOAPIC input
 *   FF000000h     64 KiB of scratch MMIO: a device, not RAM
 */
import type { Log } from '../../base/log.ts';
import { bytes, schema, u32, u8, type StateOf } from '../../base/schema.ts';
import { onesOf, type PortHandler, type PortTable } from '../inout.ts';
import { PORT, TESTDEV_SCRATCH } from '../layout.ts';
import type { MmioHandler, MmioMap } from '../mem.ts';
import type { IrqLines } from '../ports-of-machine.ts';
import type { StatefulDevice } from './device.ts';

const IRQ_LINES = 24;
/** Inputs which the PIC has, too. */
const ISA_LINES = 16;

export const TESTDEV_STATE = schema('pc-testdev', 1, {
  latch: bytes({ sizeBytes: 4, doc: 'E0h..E3h' }),
  byteLatch: u8({ doc: 'E8h' }),
  lines: u32({ doc: 'levels of the interrupt inputs, by bit' }),
  scratch: bytes({ sizeBytes: TESTDEV_SCRATCH.sizeBytes, doc: 'FF000000h' }),
});

export interface PcTestDevEnds {
  readonly lines: IrqLines;
  readonly exit: (status: number) => void;
  readonly flushTranslation: (gpa: number) => void;
  readonly log: Log;
}

export class PcTestDev implements StatefulDevice {
  readonly schema = TESTDEV_STATE;
  readonly state: StateOf<typeof TESTDEV_STATE> = TESTDEV_STATE.fresh();
  readonly #ends: PcTestDevEnds;
  #driven = 0;

  constructor(ends: PcTestDevEnds) {
    this.#ends = ends;
  }

  attach(ports: PortTable, memory: MmioMap): void {
    ports.register({ name: 'pc-testdev exit', port: PORT.TESTDEV_EXIT, sizeBytes: 4, handler: this.exitPort });
    ports.register({ name: 'pc-testdev latch', port: PORT.TESTDEV_LATCH, sizeBytes: 4, handler: this.latchPort });
    ports.register({ name: 'pc-testdev flush', port: PORT.TESTDEV_FLUSH, sizeBytes: 4, handler: this.flushPort });
    ports.register({ name: 'pc-testdev byte', port: PORT.TESTDEV_BYTE, sizeBytes: 1, handler: this.bytePort });
    ports.register({ name: 'pc-testdev irq', port: PORT.TESTDEV_IRQ, sizeBytes: IRQ_LINES, handler: this.irqPort });
    memory.register({
      name: 'pc-testdev iomem',
      gpa: TESTDEV_SCRATCH.start,
      sizeBytes: TESTDEV_SCRATCH.sizeBytes,
      immutable: true,
      handler: this.scratch,
    });
  }

  reset(): void {
    TESTDEV_STATE.reset(this.state);
    this.restored();
  }

  restored(): void {
    for (let line = 0; line < IRQ_LINES; line++) this.#drive(line, (this.state.lines >>> line) & 1);
  }

  readonly exitPort: PortHandler = {
    read: (_offset, sizeBytes) => onesOf(sizeBytes),
    write: (_offset, _sizeBytes, value) => {
      // A process's status is a byte; the value's low bits decide.
      this.#ends.exit(((value % 2 ** 31) * 2 + 1) % 256);
      return true;
    },
  };

  readonly latchPort: PortHandler = {
    read: (offset, sizeBytes) => loadLe(this.state.latch, offset, sizeBytes),
    write: (offset, sizeBytes, value) => {
      storeLe(this.state.latch, offset, sizeBytes, value);
      return true;
    },
  };

  readonly flushPort: PortHandler = {
    read: (_offset, sizeBytes) => onesOf(sizeBytes),
    write: (offset, sizeBytes, value) => {
      if (offset !== 0 || sizeBytes !== 4) return false;
      this.#ends.flushTranslation(value - (value % 4096));
      return true;
    },
  };

  readonly bytePort: PortHandler = {
    read: (_offset, sizeBytes) => (sizeBytes === 1 ? this.state.byteLatch : undefined),
    write: (_offset, sizeBytes, value) => {
      if (sizeBytes !== 1) return false;
      this.state.byteLatch = value;
      return true;
    },
  };

  readonly irqPort: PortHandler = {
    read: (_offset, sizeBytes) => onesOf(sizeBytes),
    write: (offset, sizeBytes, value) => {
      if (sizeBytes !== 1) return false;
      const { state } = this;
      const level = value & 1;
      state.lines = (level === 1 ? state.lines | (1 << offset) : state.lines & ~(1 << offset)) >>> 0;
      this.#drive(offset, level);
      return true;
    },
  };

  readonly scratch: MmioHandler = {
    read: (offset, sizeBytes) => loadLe(this.state.scratch, offset, sizeBytes),
    write: (offset, sizeBytes, value) => {
      storeLe(this.state.scratch, offset, sizeBytes, value);
    },
  };

  #drive(line: number, level: number): void {
    if (((this.#driven >>> line) & 1) === level) return;
    this.#driven ^= 1 << line;
    const { lines } = this.#ends;
    if (line < ISA_LINES) {
      if (level === 1) lines.isaAssert(line, line);
      else lines.isaDeassert(line, line);
    } else if (level === 1) lines.ioapicAssert(line);
    else lines.ioapicDeassert(line);
  }
}

function loadLe(from: Uint8Array, offset: number, sizeBytes: number): number {
  let value = 0;
  for (let index = sizeBytes - 1; index >= 0; index--) value = value * 256 + (from[offset + index] ?? 0xff);
  return value;
}

function storeLe(to: Uint8Array, offset: number, sizeBytes: number, value: number): void {
  for (let index = 0; index < sizeBytes; index++) to[offset + index] = Math.floor(value / 2 ** (8 * index));
}
