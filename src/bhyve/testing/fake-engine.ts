/**
 * A machine that is made up, for tests of the programs around it: its guest reads lines from com1 and obeys them.
 * Runs on: main event loop.
 *
 *   echo TEXT | flood BYTES | off | reboot | halt | triple | exit STATUS | fail TEXT | crash | acpi | slow | fast
 */
import { VmError } from '../../base/errors.ts';
import { openNone } from '../chars/char-port.ts';
import type { CreateEngine, Engine, EngineEnd, EngineRequest } from '../engine.ts';

/** As a UART's receive FIFO: it holds while it is full. */
const FIFO_BYTES = 16;

export class FakeEngine implements Engine {
  readonly request: EngineRequest;
  lives = 0;
  closed = false;
  #acpi = false;
  #end: ((end: EngineEnd) => void) | undefined;
  #fail: ((error: unknown) => void) | undefined;
  #line = '';
  #fifo: number[] = [];
  #working = false;
  /** The guest looks away: bytes stay outside. */
  #slow = false;

  constructor(request: EngineRequest) {
    this.request = request;
    this.#com.onByte = (value) => {
      this.#fifo.push(value);
      if (this.#fifo.length >= FIFO_BYTES) this.#com.hold();
      void this.#work();
    };
  }

  get #com() {
    return this.request.backends.get('com1') ?? none;
  }

  async run(): Promise<EngineEnd> {
    this.lives++;
    this.#acpi = false;
    const ended = new Promise<EngineEnd>((resolve, reject) => {
      this.#end = resolve;
      this.#fail = reject;
    });
    await this.#print(`ready ${this.lives}\r\n`);
    return ended;
  }

  suspend(reason: 'reset' | 'poweroff'): void {
    this.#end?.({ reason });
  }

  pressPowerButton(): boolean {
    if (!this.#acpi) return false;
    void this.#print('power button\r\n').then(() => this.suspend('poweroff'));
    return true;
  }

  injectNmi(): void {
    void this.#print('nmi\r\n');
  }

  inspect(what: string): Promise<string> {
    return Promise.resolve(`${what}: lives=${this.lives}\n`);
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  async #print(text: string): Promise<void> {
    for (const value of Buffer.from(text)) {
      if (this.#com.congested) await this.#com.drained();
      this.#com.write(value);
    }
  }

  async #work(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    while (this.#fifo.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#slow && this.#fifo.length < FIFO_BYTES) break;
      const value = this.#fifo.shift();
      if (this.#fifo.length === 0) this.#com.release();
      if (value === 0x0d || value === 0x0a) {
        const line = this.#line;
        this.#line = '';
        await this.#obey(line);
      } else this.#line += String.fromCharCode(value ?? 0);
    }
    this.#working = false;
  }

  async #obey(line: string): Promise<void> {
    const space = line.indexOf(' ');
    const verb = space < 0 ? line : line.slice(0, space);
    const rest = space < 0 ? '' : line.slice(space + 1);
    switch (verb) {
      case 'echo':
        await this.#print(`${JSON.stringify(rest)}\r\n`);
        return;
      case 'flood':
        await this.#print(`${'x'.repeat(Number(rest) - 1)}\n`);
        return;
      case 'off':
        this.suspend('poweroff');
        return;
      case 'reboot':
        this.suspend('reset');
        return;
      case 'halt':
        this.#end?.({ reason: 'halt' });
        return;
      case 'triple':
        this.#end?.({ reason: 'triplefault' });
        return;
      case 'exit':
        this.#end?.({ reason: 'debug-exit', status: Number(rest) });
        return;
      case 'fail':
        this.#fail?.(new VmError('EIO', rest));
        return;
      case 'crash':
        setImmediate(() => {
          throw new TypeError('crash was asked for');
        });
        return;
      case 'acpi':
        this.#acpi = true;
        await this.#print('acpi on\r\n');
        return;
      case 'slow':
        this.#slow = true;
        return;
      default:
        if (line !== '') await this.#print(`? ${JSON.stringify(line)}\r\n`);
    }
  }
}

const none = openNone();

export const createFakeEngine: CreateEngine = (request) => Promise.resolve(new FakeEngine(request));
