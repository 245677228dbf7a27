/**
 * Small ports of the chip set: POST code 84h, fast A20 and reset 92h, reset control CF9h.
 * Implements: Intel 82371SB (PIIX3) 2.2.4 RC, ICH9 13.7.2 PORT92; bhyve-map 2.3. Runs on: main event loop.
 * Not modelled: the A20 gate (line 20 is always on); CF9 does not tell hard from soft reset.
 */
import { schema, u8, type StateOf } from '../../base/schema.ts';
import type { PortHandler } from '../inout.ts';
import type { StatefulDevice } from './device.ts';

const FAST_INIT = 1,
  A20_ON = 2;
const RC_SYSTEM = 2,
  RC_CPU = 4,
  RC_FULL = 8;

export const RESET_STATE = schema('reset-ports', 1, {
  resetControl: u8({ doc: 'CF9h', bits: { SYS_RST: 1, RST_CPU: 2, FULL_RST: 3 } }),
  port92: u8({ reset: A20_ON, doc: '92h', bits: ['INIT_NOW', 'A20'] }),
});

export class ResetPorts implements StatefulDevice {
  readonly schema = RESET_STATE;
  readonly state: StateOf<typeof RESET_STATE> = RESET_STATE.fresh();
  readonly #reset: () => void;

  constructor(reset: () => void) {
    this.#reset = reset;
  }

  reset(): void {
    RESET_STATE.reset(this.state);
  }

  /** A byte at CF9h. The PCI address register's owner passes it on, since the ports overlap. */
  readResetControl(): number {
    return this.state.resetControl;
  }

  writeResetControl(value: number): void {
    this.state.resetControl = value & (RC_SYSTEM | RC_FULL);
    if ((value & RC_CPU) !== 0) this.#reset();
  }

  readonly port92: PortHandler = {
    read: (_offset, sizeBytes) => (sizeBytes === 1 ? this.state.port92 : undefined),
    write: (_offset, sizeBytes, value) => {
      if (sizeBytes !== 1) return false;
      const before = this.state.port92;
      // Only the change from 0 to 1 resets; the bit stays as written.
      this.state.port92 = (value & FAST_INIT) | A20_ON;
      if ((value & FAST_INIT) !== 0 && (before & FAST_INIT) === 0) this.#reset();
      return true;
    },
  };

  /** Nobody looks at POST codes; reads give ones. */
  readonly post: PortHandler = {
    read: (_offset, sizeBytes) => (sizeBytes === 1 ? 0xff : undefined),
    write: (_offset, sizeBytes) => sizeBytes === 1,
  };
}
