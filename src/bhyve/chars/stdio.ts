/**
 * The serial console on the process's own standard input and output.
 * Implements: bhyve(8) `-l com1,stdio`: a terminal goes into raw mode, pipes and files work, end of input does not end the VM.
 * Runs on: main event loop. While the monitor has the screen the guest's output waits (and the guest with it, when it writes much).
 */
import type { Log } from '../../base/log.ts';
import { QueuedBackend } from './char-port.ts';
import { ESCAPE_HELP, EscapeDecoder } from './escape.ts';
import { descriptorSink, writeNow } from './host-files.ts';
import { LineEditor } from './line-editor.ts';
import { OutputQueue } from './output-queue.ts';
import type { Sink } from './output-queue.ts';
import { TerminalMode } from './terminal-mode.ts';
import type { ProcessEvents, RawInput } from './terminal-mode.ts';

export interface ConsoleInput extends RawInput {
  on(event: 'data', listener: (bytes: Buffer) => void): unknown;
  on(event: 'error' | 'end' | 'close', listener: (cause?: unknown) => void): unknown;
  pause(): unknown;
  resume(): unknown;
}

export interface ConsoleOptions {
  readonly input: ConsoleInput;
  readonly outputFd: number;
  readonly processEvents: ProcessEvents;
  readonly log: Log;
  /** Ctrl-A keys; only on a terminal, since a pipe may carry any byte. */
  readonly escapes: boolean;
  /** Where bytes go in place of `outputFd`: for tests. */
  readonly sink?: Sink;
  onQuit(): void;
  /** One line typed at the monitor prompt. @returns text to print; undefined to leave the prompt. */
  onMonitorLine(line: string): Promise<string | undefined>;
  /** Nobody reads standard output any more. */
  onOutputGone(cause: unknown): void;
}

export class StdioConsole extends QueuedBackend {
  readonly #options: ConsoleOptions;
  readonly #terminal: TerminalMode;
  readonly #escapes = new EscapeDecoder();
  readonly #screen: OutputQueue;
  #monitor: LineEditor | undefined;

  constructor(options: ConsoleOptions) {
    const sink = options.sink ?? descriptorSink(options.outputFd);
    super({
      sink,
      setFlowing: (flowing) => {
        if (!this.#monitor) this.#flow(flowing);
      },
      onGone: (cause) => options.onOutputGone(cause),
    });
    this.#options = options;
    this.#terminal = new TerminalMode(options.input, options.processEvents);
    this.#screen = new OutputQueue(sink);
    const onTerminal = this.#terminal.enter();
    const decode = onTerminal && options.escapes;
    options.input.on('data', (bytes) => {
      if (decode) this.#typed(bytes);
      else this.input.push(bytes);
    });
    options.input.on('error', (cause) => options.log.warn(`standard input: ${String(cause)}: nothing more arrives`));
    options.input.resume();
  }

  /** Put the terminal back; also done when the process exits. */
  restoreTerminal(): void {
    this.#terminal.leave();
  }

  override async close(): Promise<void> {
    this.#closeMonitor();
    await super.close();
    await this.#screen.flush();
    this.restoreTerminal();
    this.#options.input.pause();
  }

  /** For an end that cannot wait: what has not been written goes out now, as far as the reader takes it. */
  closeNow(): void {
    for (const bytes of this.output.takeRest()) writeNow(this.#options.outputFd, bytes);
    this.restoreTerminal();
  }

  #flow(flowing: boolean): void {
    if (flowing) this.#options.input.resume();
    else this.#options.input.pause();
  }

  #typed(bytes: Uint8Array): void {
    for (const piece of this.#escapes.decode(bytes)) {
      if (piece === 'quit') this.#options.onQuit();
      else if (piece === 'help') this.#print(`\r\n${ESCAPE_HELP}`);
      else if (piece === 'monitor') this.#toggleMonitor();
      else if (this.#monitor) this.#monitor.type(piece);
      else this.input.push(piece);
    }
  }

  #toggleMonitor(): void {
    if (this.#monitor) {
      this.#closeMonitor();
      return;
    }
    // Keys must arrive at the prompt even while the guest takes none.
    this.#flow(true);
    this.output.hold();
    this.#monitor = new LineEditor({
      prompt: '(tshyve) ',
      print: (text) => this.#print(text),
      onLine: async (line) => {
        const answer = await this.#options.onMonitorLine(line);
        if (answer === undefined) this.#closeMonitor();
        else return answer;
        return undefined;
      },
      onEnd: () => this.#closeMonitor(),
    });
    this.#print('\r\n');
    this.#monitor.start();
  }

  #closeMonitor(): void {
    if (!this.#monitor) return;
    this.#monitor = undefined;
    this.#print('\r\n');
    // Two queues lead to one terminal: what the monitor said last goes out before the guest speaks again.
    void this.#screen.flush().then(() => {
      if (!this.#monitor) this.output.release();
    });
    this.#flow(this.input.flowing);
  }

  #print(text: string): void {
    this.#screen.writeBytes(new TextEncoder().encode(text));
  }
}
