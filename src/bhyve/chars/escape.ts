/**
 * The escape key of the console: Ctrl-A and one more key.
 * Runs on: main event loop; bytes in, bytes and commands out. The same keys as QEMU's -nographic.
 */
export const ESCAPE_KEY = 0x01;

export type EscapeCommand = 'quit' | 'monitor' | 'help';

const KEYS: Readonly<Record<number, EscapeCommand>> = {
  0x78: 'quit',
  0x58: 'quit',
  0x63: 'monitor',
  0x43: 'monitor',
  0x68: 'help',
  0x3f: 'help',
};

export const ESCAPE_HELP =
  'Ctrl-A x  quit\r\nCtrl-A c  monitor prompt, and back\r\nCtrl-A h  this help\r\nCtrl-A Ctrl-A (or a)  send Ctrl-A\r\n';

export class EscapeDecoder {
  #armed = false;

  /** Split typed bytes: what is for the guest, and each command at its place. A key without meaning goes on together with its Ctrl-A. */
  *decode(bytes: Uint8Array): Generator<Uint8Array | EscapeCommand> {
    let plain: number[] = [];
    for (const value of bytes) {
      if (!this.#armed) {
        if (value === ESCAPE_KEY) this.#armed = true;
        else plain.push(value);
        continue;
      }
      this.#armed = false;
      const command = KEYS[value];
      if (command) {
        if (plain.length > 0) yield Uint8Array.from(plain);
        plain = [];
        yield command;
      } else if (value === ESCAPE_KEY || value === 0x61 || value === 0x41) plain.push(ESCAPE_KEY);
      else plain.push(ESCAPE_KEY, value);
    }
    if (plain.length > 0) yield Uint8Array.from(plain);
  }
}
