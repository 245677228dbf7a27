/**
 * 8042 keyboard and mouse controller with a PS/2 keyboard and mouse behind it.
 * Implements: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller"; bhyve-map 2.3.
 * Runs on: main event loop. Not modelled: key and motion input (no console sends any yet), A20, the password commands.
 */
import type { Log } from '../../base/log.ts';
import { bool, bytes, schema, u16, u8, type StateOf } from '../../base/schema.ts';
import type { PortHandler } from '../inout.ts';
import type { IrqLine, StatefulDevice } from './device.ts';

const STATUS_OBF = 1,
  STATUS_SYSTEM = 4,
  STATUS_COMMAND = 8,
  STATUS_UNLOCKED = 0x10,
  STATUS_AUX = 0x20;
const MODE_KBD_IRQ = 1,
  MODE_AUX_IRQ = 2,
  MODE_SYSTEM = 4,
  MODE_KBD_OFF = 0x10,
  MODE_AUX_OFF = 0x20,
  MODE_TRANSLATE = 0x40;
const OUTPORT_NO_RESET = 1,
  OUTPORT_A20 = 2;
const FIFO_BYTES = 15;
const ACK = 0xfa,
  RESEND = 0xfe,
  SELF_TEST_PASSED = 0xaa;

export const ATKBDC_STATE = schema('atkbdc', 1, {
  ram: bytes({ sizeBytes: 32, doc: 'controller RAM; byte 0 is the mode' }),
  outport: u8({ reset: OUTPORT_NO_RESET | OUTPORT_A20, doc: 'output port' }),
  command: u8({ doc: 'controller command that waits for its data byte, 0 none' }),
  lastWasCommand: bool({ doc: 'the last write went to port 64h' }),
  controllerOut: bytes({ maxBytes: FIFO_BYTES, doc: 'answers of the controller itself' }),
  controllerOutAux: bool({ doc: 'the answer waits as if it came from the mouse' }),
  kbdOut: bytes({ maxBytes: FIFO_BYTES, doc: 'bytes from the keyboard' }),
  kbdCommand: u8({ doc: 'keyboard command that waits for its argument' }),
  kbdScanning: bool({ reset: true, doc: 'the keyboard reports keys' }),
  kbdScanSet: u8({ reset: 2, doc: 'scan code set' }),
  kbdTypematic: u8({ reset: 0x2b, doc: 'typematic rate and delay' }),
  kbdLeds: u8({ doc: 'lock lights', bits: ['SCROLL', 'NUM', 'CAPS'] }),
  auxOut: bytes({ maxBytes: FIFO_BYTES, doc: 'bytes from the mouse' }),
  auxCommand: u8({ doc: 'mouse command that waits for its argument' }),
  auxReporting: bool({ doc: 'the mouse streams' }),
  auxRemote: bool({ doc: 'remote mode' }),
  auxScaling: bool({ doc: 'scaling 2:1' }),
  auxResolution: u8({ reset: 2, doc: 'log2 of counts per mm' }),
  auxRate: u8({ reset: 100, doc: 'samples a second' }),
  auxWrap: bool({ doc: 'wrap mode: bytes are echoed' }),
  irqs: u16({ doc: 'lines raised for the byte at the head: 1 keyboard, 2 mouse' }),
});

type State = StateOf<typeof ATKBDC_STATE>;
type Queue = 'controllerOut' | 'kbdOut' | 'auxOut';

export class Atkbdc implements StatefulDevice {
  readonly schema = ATKBDC_STATE;
  readonly state: State = ATKBDC_STATE.fresh();
  /** Called with the new status, whose reads have no side effect. */
  onStatus: ((status: number) => void) | undefined;
  readonly #kbdIrq: IrqLine;
  readonly #auxIrq: IrqLine;
  readonly #reset: () => void;
  readonly #log: Log;

  constructor(kbdIrq: IrqLine, auxIrq: IrqLine, reset: () => void, log: Log) {
    this.#kbdIrq = kbdIrq;
    this.#auxIrq = auxIrq;
    this.#reset = reset;
    this.#log = log;
  }

  reset(): void {
    ATKBDC_STATE.reset(this.state);
    this.#changed();
  }

  restored(): void {
    this.onStatus?.(this.#status());
  }

  readonly data: PortHandler = {
    read: (_offset, sizeBytes) => (sizeBytes === 1 ? this.#readData() : undefined),
    write: (_offset, sizeBytes, value) => {
      if (sizeBytes !== 1) return false;
      this.state.lastWasCommand = false;
      this.#writeData(value);
      this.#changed();
      return true;
    },
  };

  readonly command: PortHandler = {
    read: (_offset, sizeBytes) => (sizeBytes === 1 ? this.#status() : undefined),
    write: (_offset, sizeBytes, value) => {
      if (sizeBytes !== 1) return false;
      this.state.lastWasCommand = true;
      this.#writeCommand(value);
      this.#changed();
      return true;
    },
  };

  /** Both ports behind one handler, for checks: offset 0 is data, 4 is command and status. */
  read(offset: number, sizeBytes: number): number | undefined {
    return offset === 0 ? this.data.read(0, sizeBytes) : offset === 4 ? this.command.read(0, sizeBytes) : undefined;
  }

  write(offset: number, sizeBytes: number, value: number): boolean {
    return offset === 0 ? this.data.write(0, sizeBytes, value) : offset === 4 && this.command.write(0, sizeBytes, value);
  }

  get #mode(): number {
    return this.state.ram[0] ?? 0;
  }

  set #mode(value: number) {
    this.state.ram[0] = value;
  }

  /** Whose byte the next read of 60h gets: the controller's own answers first, then keyboard, then mouse. */
  #source(): Queue | undefined {
    const { state } = this;
    if (state.controllerOut.length > 0) return 'controllerOut';
    if (state.kbdOut.length > 0 && (this.#mode & MODE_KBD_OFF) === 0) return 'kbdOut';
    if (state.auxOut.length > 0 && (this.#mode & MODE_AUX_OFF) === 0) return 'auxOut';
    return undefined;
  }

  #isAux(source: Queue | undefined): boolean {
    return source === 'auxOut' || (source === 'controllerOut' && this.state.controllerOutAux);
  }

  #status(): number {
    const source = this.#source();
    return (
      STATUS_UNLOCKED |
      (source !== undefined ? STATUS_OBF : 0) |
      (this.#isAux(source) ? STATUS_AUX : 0) |
      ((this.#mode & MODE_SYSTEM) !== 0 ? STATUS_SYSTEM : 0) |
      (this.state.lastWasCommand ? STATUS_COMMAND : 0)
    );
  }

  #readData(): number {
    const source = this.#source();
    if (source === undefined) return 0;
    const { state } = this;
    const value = state[source][0] ?? 0;
    state[source] = state[source].slice(1);
    state.irqs = 0;
    this.#changed();
    return source === 'kbdOut' && (this.#mode & MODE_TRANSLATE) !== 0 ? (TRANSLATION[value] ?? value) : value;
  }

  /** One pulse for each byte that comes to the head of the queue, as the controller does when it fills its output buffer. */
  #changed(): void {
    const { state } = this;
    const source = this.#source();
    const wanted =
      source === undefined
        ? 0
        : this.#isAux(source)
          ? (this.#mode & MODE_AUX_IRQ) !== 0
            ? 2
            : 0
          : (this.#mode & MODE_KBD_IRQ) !== 0
            ? 1
            : 0;
    // The status goes out first: a handler that runs at once must see OBF.
    this.onStatus?.(this.#status());
    if (wanted === state.irqs) return;
    state.irqs = wanted;
    if (wanted === 1) this.#kbdIrq.pulse();
    else if (wanted === 2) this.#auxIrq.pulse();
  }

  #push(queue: Queue, ...values: readonly number[]): void {
    const { state } = this;
    const room = FIFO_BYTES - state[queue].length;
    if (values.length > room) this.#log.debug(`${queue}: full: ${values.length - room} bytes dropped`);
    state[queue] = Uint8Array.from([...state[queue], ...values.slice(0, room)]);
  }

  #answer(value: number, aux = false): void {
    this.state.controllerOut = Uint8Array.of(value); // the output buffer is one byte: a newer answer replaces it
    this.state.controllerOutAux = aux;
    this.state.irqs = 0;
  }

  #writeCommand(value: number): void {
    const { state } = this;
    state.command = 0;
    if (value >= 0x20 && value <= 0x3f) this.#answer(state.ram[value & 0x1f] ?? 0);
    else if ((value >= 0x60 && value <= 0x7f) || (value >= 0xd1 && value <= 0xd4)) state.command = value;
    // F0h-FFh pulse the output port's low bits that are 0 in the command; bit 0 is the CPU's reset line.
    else if (value >= 0xf0) {
      if ((value & 1) === 0) this.#reset();
    } else
      switch (value) {
        case 0xa7:
          this.#mode |= MODE_AUX_OFF;
          break;
        case 0xa8:
          this.#mode &= ~MODE_AUX_OFF;
          break;
        case 0xa9:
          this.#answer(0);
          break;
        case 0xaa:
          this.#mode |= MODE_SYSTEM;
          this.#answer(0x55);
          break;
        case 0xab:
          this.#answer(0);
          break;
        case 0xad:
          this.#mode |= MODE_KBD_OFF;
          break;
        case 0xae:
          this.#mode &= ~MODE_KBD_OFF;
          break;
        case 0xc0:
          this.#answer(0);
          break;
        case 0xd0:
          this.#answer(state.outport);
          break;
        default:
          this.#log.debug(`controller command 0x${value.toString(16)}: not known: ignored`);
      }
  }

  #writeData(value: number): void {
    const { state } = this;
    const { command } = state;
    state.command = 0;
    if (command === 0) {
      this.#mode &= ~MODE_KBD_OFF; // data for the keyboard enables its clock
      this.#keyboard(value);
    } else if (command >= 0x60 && command <= 0x7f) state.ram[command & 0x1f] = value;
    else if (command === 0xd1) {
      state.outport = value | OUTPORT_A20;
      if ((value & OUTPORT_NO_RESET) === 0) this.#reset();
    } else if (command === 0xd2) this.#answer(value);
    else if (command === 0xd3) this.#answer(value, true);
    else {
      this.#mode &= ~MODE_AUX_OFF;
      this.#mouse(value);
    }
  }

  #keyboard(value: number): void {
    const { state } = this;
    const argumentOf = state.kbdCommand;
    state.kbdCommand = 0;
    // A command byte in place of an argument ends the older command.
    if (argumentOf !== 0 && value < 0xed) {
      if (argumentOf === 0xed) state.kbdLeds = value & 7;
      else if (argumentOf === 0xf3) state.kbdTypematic = value & 0x7f;
      else if (value === 0) return this.#push('kbdOut', ACK, state.kbdScanSet);
      else if (value <= 3) state.kbdScanSet = value;
      else return this.#push('kbdOut', RESEND);
      return this.#push('kbdOut', ACK);
    }
    switch (value) {
      case 0xed:
      case 0xf0:
      case 0xf3:
        state.kbdCommand = value;
        return this.#push('kbdOut', ACK);
      case 0xee:
        return this.#push('kbdOut', 0xee);
      case 0xf2:
        return this.#push('kbdOut', ACK, 0xab, 0x83);
      case 0xf4:
        state.kbdScanning = true;
        return this.#push('kbdOut', ACK);
      case 0xf5:
      case 0xf6:
      case 0xff:
        state.kbdOut = new Uint8Array();
        state.kbdScanSet = 2;
        state.kbdTypematic = 0x2b;
        state.kbdScanning = value !== 0xf5;
        if (value !== 0xff) return this.#push('kbdOut', ACK);
        state.kbdLeds = 0;
        return this.#push('kbdOut', ACK, SELF_TEST_PASSED);
      case 0xf7:
      case 0xf8:
      case 0xf9:
      case 0xfa:
        return this.#push('kbdOut', ACK); // key types of set 3
      default:
        return this.#push('kbdOut', RESEND);
    }
  }

  #mouse(value: number): void {
    const { state } = this;
    if (state.auxWrap && value !== 0xec && value !== 0xff) return this.#push('auxOut', value);
    const argumentOf = state.auxCommand;
    state.auxCommand = 0;
    if (argumentOf !== 0) {
      if (argumentOf === 0xe8) state.auxResolution = value & 3;
      else state.auxRate = value;
      return this.#push('auxOut', ACK);
    }
    switch (value) {
      case 0xe6:
        state.auxScaling = false;
        return this.#push('auxOut', ACK);
      case 0xe7:
        state.auxScaling = true;
        return this.#push('auxOut', ACK);
      case 0xe8:
      case 0xf3:
        state.auxCommand = value;
        return this.#push('auxOut', ACK);
      case 0xe9: {
        const status = (state.auxRemote ? 0x40 : 0) | (state.auxReporting ? 0x20 : 0) | (state.auxScaling ? 0x10 : 0);
        return this.#push('auxOut', ACK, status, state.auxResolution, state.auxRate);
      }
      case 0xea:
        state.auxRemote = false;
        return this.#push('auxOut', ACK);
      case 0xeb:
        return this.#push('auxOut', ACK, 0x08, 0, 0); // no button, no motion; bit 3 is always set
      case 0xec:
        state.auxWrap = false;
        return this.#push('auxOut', ACK);
      case 0xee:
        state.auxWrap = true;
        return this.#push('auxOut', ACK);
      case 0xf0:
        state.auxRemote = true;
        return this.#push('auxOut', ACK);
      case 0xf2:
        return this.#push('auxOut', ACK, 0);
      case 0xf4:
        state.auxReporting = true;
        return this.#push('auxOut', ACK);
      case 0xf5:
        state.auxReporting = false;
        return this.#push('auxOut', ACK);
      case 0xf6:
      case 0xff:
        state.auxOut = new Uint8Array();
        state.auxReporting = state.auxRemote = state.auxScaling = state.auxWrap = false;
        state.auxResolution = 2;
        state.auxRate = 100;
        return value === 0xff ? this.#push('auxOut', ACK, SELF_TEST_PASSED, 0) : this.#push('auxOut', ACK);
      default:
        return this.#push('auxOut', RESEND);
    }
  }
}

/** Scan code set 2 to set 1, as the controller's ROM has it (Technical Reference, "Scan code translation"); index is the set 2 code. */
const TRANSLATION = Uint8Array.of(
  0xff,
  0x43,
  0x41,
  0x3f,
  0x3d,
  0x3b,
  0x3c,
  0x58,
  0x64,
  0x44,
  0x42,
  0x40,
  0x3e,
  0x0f,
  0x29,
  0x59,
  0x65,
  0x38,
  0x2a,
  0x70,
  0x1d,
  0x10,
  0x02,
  0x5a,
  0x66,
  0x71,
  0x2c,
  0x1f,
  0x1e,
  0x11,
  0x03,
  0x5b,
  0x67,
  0x2e,
  0x2d,
  0x20,
  0x12,
  0x05,
  0x04,
  0x5c,
  0x68,
  0x39,
  0x2f,
  0x21,
  0x14,
  0x13,
  0x06,
  0x5d,
  0x69,
  0x31,
  0x30,
  0x23,
  0x22,
  0x15,
  0x07,
  0x5e,
  0x6a,
  0x72,
  0x32,
  0x24,
  0x16,
  0x08,
  0x09,
  0x5f,
  0x6b,
  0x33,
  0x25,
  0x17,
  0x18,
  0x0b,
  0x0a,
  0x60,
  0x6c,
  0x34,
  0x35,
  0x26,
  0x27,
  0x19,
  0x0c,
  0x61,
  0x6d,
  0x73,
  0x28,
  0x74,
  0x1a,
  0x0d,
  0x62,
  0x6e,
  0x3a,
  0x36,
  0x1c,
  0x1b,
  0x75,
  0x2b,
  0x63,
  0x76,
  0x55,
  0x56,
  0x77,
  0x78,
  0x79,
  0x7a,
  0x0e,
  0x7b,
  0x7c,
  0x4f,
  0x7d,
  0x4b,
  0x47,
  0x7e,
  0x7f,
  0x6f,
  0x52,
  0x53,
  0x50,
  0x4c,
  0x4d,
  0x48,
  0x01,
  0x45,
  0x57,
  0x4e,
  0x51,
  0x4a,
  0x37,
  0x49,
  0x46,
  0x54,
  0x80,
  0x81,
  0x82,
  0x41,
  0x54,
);
