/**
 * 16550A UART: the register machine behind com1..com4.
 * Implements: TI PC16550D data sheet 8.1-8.7; bhyve(8) `-l com1,...`.
 * Runs on: main event loop. Not modelled: baud timing (a byte is sent at once, a character timeout follows at once), parity and
 * framing errors, the gating of the interrupt by OUT2.
 */
import type { Log } from '../../base/log.ts';
import { bool, bytes, schema, u16, u8, type StateOf } from '../../base/schema.ts';
import type { CharBackend } from '../chars/backend.ts';
import { registers, type IrqLine, type StatefulDevice } from './device.ts';

export const IER_ERBFI = 1,
  IER_ETBEI = 2,
  IER_ELSI = 4,
  IER_EDSSI = 8;
const IIR_NONE = 0x01,
  IIR_MODEM = 0x00,
  IIR_THRE = 0x02,
  IIR_DATA = 0x04,
  IIR_LINE = 0x06,
  IIR_TIMEOUT = 0x0c,
  IIR_FIFOS = 0xc0;
const FCR_ENABLE = 1,
  FCR_RESET_RX = 2;
const LCR_DLAB = 0x80;
const MCR_DTR = 1,
  MCR_RTS = 2,
  MCR_OUT1 = 4,
  MCR_OUT2 = 8,
  MCR_LOOP = 0x10;
const LSR_DR = 1,
  LSR_OE = 2,
  LSR_THRE = 0x20,
  LSR_TEMT = 0x40;
const MSR_DCTS = 1,
  MSR_DDSR = 2,
  MSR_TERI = 4,
  MSR_DDCD = 8,
  MSR_CTS = 0x10,
  MSR_DSR = 0x20,
  MSR_RI = 0x40,
  MSR_DCD = 0x80;

const FIFO_BYTES = 16;
/** So many reads of LSR with no byte sent between them: the guest waits for input. */
const POLLING_READS = 16;
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

export const UART_STATE = schema('uart16550', 1, {
  ier: u8({ doc: 'interrupt enable', bits: ['ERBFI', 'ETBEI', 'ELSI', 'EDSSI'] }),
  fcr: u8({ doc: 'FIFO control: enable and trigger level as last written', bits: { ENABLE: 0 } }),
  lcr: u8({ doc: 'line control', bits: { DLAB: 7 } }),
  mcr: u8({ doc: 'modem control', bits: ['DTR', 'RTS', 'OUT1', 'OUT2', 'LOOP'] }),
  msr: u8({
    reset: MSR_CTS | MSR_DSR | MSR_DCD,
    doc: 'modem status with its delta bits',
    bits: ['DCTS', 'DDSR', 'TERI', 'DDCD', 'CTS', 'DSR', 'RI', 'DCD'],
  }),
  scr: u8({ doc: 'scratch' }),
  divisor: u16({ reset: 1, doc: 'baud divisor of the 1.8432 MHz clock; 1 = 115200 Bd' }),
  rx: bytes({ maxBytes: FIFO_BYTES, doc: 'receive FIFO, or the one receiver buffer' }),
  overrun: bool({ doc: 'a byte came while the FIFO was full (loopback only); cleared by reading LSR' }),
  thrEmptyPending: bool({ doc: 'THRE interrupt not yet taken by a read of IIR' }),
  parked: bytes({ maxBytes: 2 * FIFO_BYTES, doc: 'input that the guest was not ready for, oldest first' }),
  polling: bool({ doc: 'the guest reads LSR again and again, waiting for a byte without interrupts' }),
});

const dlab = (uart: Uart16550): boolean => (uart.state.lcr & LCR_DLAB) !== 0;
const notDlab = (uart: Uart16550): boolean => (uart.state.lcr & LCR_DLAB) === 0;

const REGISTERS = registers<Uart16550>({
  RBR_THR: { offset: 0, when: notDlab, read: (uart) => uart.receive(), write: (uart, value) => uart.transmit(value) },
  DLL: {
    offset: 0,
    when: dlab,
    read: (uart) => uart.state.divisor & 0xff,
    write: (uart, value) => {
      uart.state.divisor = (uart.state.divisor & 0xff00) | value;
    },
  },
  IER: { offset: 1, when: notDlab, read: (uart) => uart.state.ier, write: (uart, value) => uart.writeIer(value) },
  DLM: {
    offset: 1,
    when: dlab,
    read: (uart) => uart.state.divisor >> 8,
    write: (uart, value) => {
      uart.state.divisor = (uart.state.divisor & 0xff) | (value << 8);
    },
  },
  IIR_FCR: { offset: 2, read: (uart) => uart.readIir(), write: (uart, value) => uart.writeFcr(value) },
  LCR: { offset: 3, field: 'lcr', after: (uart) => uart.changed() },
  MCR: { offset: 4, read: (uart) => uart.state.mcr, write: (uart, value) => uart.writeMcr(value) },
  LSR: { offset: 5, read: (uart) => uart.readLsr(), write() {} }, // factory test only
  MSR: { offset: 6, read: (uart) => uart.readMsr(), write() {} },
  SCR: { offset: 7, field: 'scr', after: (uart) => uart.changed() },
});

/** Registers whose present value can be read without a side effect, so that reads need not come here. */
export interface UartShadows {
  readonly ier: number | undefined;
  readonly lcr: number;
  readonly mcr: number;
  readonly scr: number;
  readonly iir: number | undefined;
  readonly lsr: number | undefined;
  readonly msr: number | undefined;
  /** A write to offset 0 transmits and changes nothing that the guest could read back at once. */
  readonly transmitOnly: boolean;
}

export class Uart16550 implements StatefulDevice {
  readonly schema = UART_STATE;
  readonly state: StateOf<typeof UART_STATE> = UART_STATE.fresh();
  /** Called after whatever may have changed `shadows()`. */
  onChange: (() => void) | undefined;
  readonly #irq: IrqLine;
  readonly #backend: CharBackend;
  readonly #log: Log;
  #asserted = false;
  #held = false;
  #paused = false;
  #lsrReads = 0;

  constructor(irq: IrqLine, backend: CharBackend, log: Log) {
    this.#irq = irq;
    this.#backend = backend;
    this.#log = log;
    backend.onByte = (value) => this.#arrive(value);
    backend.release(); // the device before us, in an earlier life of the VM, may have held it
  }

  reset(): void {
    UART_STATE.reset(this.state);
    this.changed();
  }

  pause(): void {
    this.#paused = true;
    this.#updateHold();
  }

  resume(): void {
    this.#paused = false;
    this.#updateHold();
  }

  restored(): void {
    this.changed();
  }

  read(offset: number, sizeBytes: number): number | undefined {
    return REGISTERS.read(this, offset, sizeBytes);
  }

  write(offset: number, sizeBytes: number, value: number): boolean {
    return REGISTERS.write(this, offset, sizeBytes, value, this.#log);
  }

  shadows(): UartShadows {
    const { overrun, msr, lcr, mcr } = this.state;
    const reason = this.#reason();
    return {
      ier: (lcr & LCR_DLAB) === 0 ? this.state.ier : undefined,
      lcr,
      mcr,
      scr: this.state.scr,
      // Reading IIR takes a pending THRE interrupt, LSR the error bits, MSR the deltas: then the read must come here.
      iir: reason === IIR_THRE ? undefined : reason | this.#fifoBits(),
      // With a byte parked, reads of LSR are what tells that the guest polls for it.
      lsr: overrun || this.state.parked.length > 0 ? undefined : this.#lsr(),
      msr: (msr & 0x0f) !== 0 ? undefined : msr,
      transmitOnly: (lcr & LCR_DLAB) === 0 && (mcr & MCR_LOOP) === 0,
    };
  }

  receive(): number {
    const { state } = this;
    const value = state.rx[0] ?? 0;
    if (state.rx.length > 0) {
      state.rx = state.rx.slice(1);
      this.#unpark();
      this.changed();
    }
    return value;
  }

  /** Hot: a byte of output, with nothing to tell anybody unless an interrupt becomes pending. */
  transmit(value: number): void {
    const { state } = this;
    this.#lsrReads = 0;
    const isLoop = (state.mcr & MCR_LOOP) !== 0;
    if (isLoop) this.#push(value);
    else this.#backend.write(value);
    if (state.thrEmptyPending && !isLoop) return;
    state.thrEmptyPending = true;
    this.changed();
  }

  writeIer(value: number): void {
    const { state } = this;
    // The transmitter is always empty, so enabling its interrupt raises it (data sheet 8.5).
    if ((value & IER_ETBEI) !== 0 && (state.ier & IER_ETBEI) === 0) state.thrEmptyPending = true;
    state.ier = value & 0x0f;
    this.#unpark();
    this.changed();
  }

  readIir(): number {
    const reason = this.#reason();
    const value = reason | this.#fifoBits();
    if (reason === IIR_THRE) {
      this.state.thrEmptyPending = false;
      this.changed();
    }
    return value;
  }

  writeFcr(value: number): void {
    const { state } = this;
    const toggled = ((value ^ state.fcr) & FCR_ENABLE) !== 0;
    if (toggled || (value & (FCR_ENABLE | FCR_RESET_RX)) === (FCR_ENABLE | FCR_RESET_RX)) {
      // Drivers empty the FIFO when they start; what came from outside is given again, as if it came only now.
      if ((state.mcr & MCR_LOOP) === 0) state.parked = Uint8Array.from([...state.rx, ...state.parked]);
      state.rx = new Uint8Array();
      state.polling = false;
    }
    // Without the enable bit the others are not programmed (8.4).
    state.fcr = (value & FCR_ENABLE) !== 0 ? value & 0xc9 : 0;
    this.#unpark();
    this.changed();
  }

  writeMcr(value: number): void {
    this.state.mcr = value & 0x1f;
    this.#updateMsr();
    this.#unpark();
    this.changed();
  }

  readLsr(): number {
    if (this.state.parked.length > 0 && ++this.#lsrReads >= POLLING_READS) {
      this.state.polling = true;
      this.#unpark();
      this.changed();
    }
    const value = this.#lsr();
    if (this.state.overrun) {
      this.state.overrun = false;
      this.changed();
    }
    return value;
  }

  readMsr(): number {
    const value = this.state.msr;
    if ((value & 0x0f) !== 0) {
      this.state.msr &= 0xf0;
      this.changed();
    }
    return value;
  }

  changed(): void {
    // The shadows first: a vCPU that takes the interrupt at once must find its reason in them, since no second edge would follow.
    this.onChange?.();
    const pending = this.#reason() !== IIR_NONE;
    if (pending !== this.#asserted) {
      this.#asserted = pending;
      if (pending) this.#irq.assert();
      else this.#irq.deassert();
    }
    this.#updateHold();
  }

  #capacity(): number {
    return (this.state.fcr & FCR_ENABLE) !== 0 ? FIFO_BYTES : 1;
  }

  /**
   * A byte from outside. Before the guest's driver listens (by interrupt, or by polling), it would only be thrown away: drivers
   * empty the FIFO when they start, and what was piped into the console would lose its first bytes.
   */
  #arrive(value: number): void {
    const { state } = this;
    if (this.#isListening() && state.parked.length === 0) {
      this.#push(value);
      return;
    }
    state.parked = Uint8Array.from([...state.parked, value]);
    this.#lsrReads = 0;
    this.changed();
  }

  #isListening(): boolean {
    return (this.state.ier & IER_ERBFI) !== 0 || this.state.polling;
  }

  #unpark(): void {
    const { state } = this;
    const count =
      this.#isListening() && (state.mcr & MCR_LOOP) === 0 ? Math.min(this.#capacity() - state.rx.length, state.parked.length) : 0;
    if (count <= 0) return;
    state.rx = Uint8Array.from([...state.rx, ...state.parked.subarray(0, count)]);
    state.parked = state.parked.slice(count);
  }

  #push(value: number): void {
    const { state } = this;
    if (state.rx.length >= this.#capacity()) {
      state.overrun = true;
      // Without FIFOs the newer byte takes the buffer's place; with them it is lost (8.4).
      if ((state.fcr & FCR_ENABLE) === 0) state.rx = Uint8Array.of(value);
    } else {
      const longer = new Uint8Array(state.rx.length + 1);
      longer.set(state.rx);
      longer[state.rx.length] = value;
      state.rx = longer;
    }
    this.changed();
  }

  /** Bytes from outside wait in the backend while one is parked, while there is no room, while the receiver is cut off by loopback, and while paused. */
  #updateHold(): void {
    const hold =
      this.#paused || this.state.parked.length > 0 || (this.state.mcr & MCR_LOOP) !== 0 || this.state.rx.length >= this.#capacity();
    if (hold === this.#held) return;
    this.#held = hold;
    if (hold) this.#backend.hold();
    else this.#backend.release();
  }

  #lsr(): number {
    return LSR_THRE | LSR_TEMT | (this.state.rx.length > 0 ? LSR_DR : 0) | (this.state.overrun ? LSR_OE : 0);
  }

  #fifoBits(): number {
    return (this.state.fcr & FCR_ENABLE) !== 0 ? IIR_FIFOS : 0;
  }

  /** The pending interrupt of the highest priority, as IIR names it (8.5, table 5). */
  #reason(): number {
    const { ier, overrun, rx, fcr, thrEmptyPending, msr } = this.state;
    if ((ier & IER_ELSI) !== 0 && overrun) return IIR_LINE;
    if ((ier & IER_ERBFI) !== 0 && rx.length > 0) {
      const trigger = (fcr & FCR_ENABLE) !== 0 ? (TRIGGER_LEVELS[fcr >> 6] ?? 1) : 1;
      return rx.length >= trigger ? IIR_DATA : IIR_TIMEOUT;
    }
    if ((ier & IER_ETBEI) !== 0 && thrEmptyPending) return IIR_THRE;
    if ((ier & IER_EDSSI) !== 0 && (msr & 0x0f) !== 0) return IIR_MODEM;
    return IIR_NONE;
  }

  /** In loopback the outputs are the inputs (8.6); else the line is always ready, so that no open of a tty waits for carrier. */
  #updateMsr(): void {
    const { mcr, msr } = this.state;
    const lines =
      (mcr & MCR_LOOP) === 0
        ? MSR_CTS | MSR_DSR | MSR_DCD
        : ((mcr & MCR_RTS) !== 0 ? MSR_CTS : 0) |
          ((mcr & MCR_DTR) !== 0 ? MSR_DSR : 0) |
          ((mcr & MCR_OUT1) !== 0 ? MSR_RI : 0) |
          ((mcr & MCR_OUT2) !== 0 ? MSR_DCD : 0);
    const changedLines = lines ^ msr;
    let deltas = msr & 0x0f;
    if ((changedLines & MSR_CTS) !== 0) deltas |= MSR_DCTS;
    if ((changedLines & MSR_DSR) !== 0) deltas |= MSR_DDSR;
    if ((changedLines & MSR_DCD) !== 0) deltas |= MSR_DDCD;
    if ((msr & MSR_RI) !== 0 && (lines & MSR_RI) === 0) deltas |= MSR_TERI; // trailing edge only
    this.state.msr = lines | deltas;
  }
}
