/**
 * A prompt on a raw terminal: echo, erase, history.
 * Runs on: main event loop; bytes in, text out. Not modelled: editing in the middle of a line.
 */
export interface LineEditorOptions {
  readonly prompt: string;
  print(text: string): void;
  /** @returns text to print before the next prompt; undefined prints nothing and shows no prompt (the prompt is over). */
  onLine(line: string): Promise<string | undefined>;
  /** Ctrl-D on an empty line. */
  onEnd(): void;
}

const MAX_LINE_CHARS = 1000;
const MAX_HISTORY = 100;

export class LineEditor {
  readonly #options: LineEditorOptions;
  readonly #history: string[] = [];
  #place = 0;
  #line = '';
  /** A key that sends more than one byte has begun. */
  #sequence = '';
  #busy: Promise<void> = Promise.resolve();

  constructor(options: LineEditorOptions) {
    this.#options = options;
  }

  start(): void {
    this.#options.print(this.#options.prompt);
  }

  type(bytes: Uint8Array): void {
    for (const value of bytes) this.#key(value);
  }

  /** Resolves when the lines typed so far have been answered. */
  settled(): Promise<void> {
    return this.#busy;
  }

  #key(value: number): void {
    if (this.#sequence !== '' || value === 0x1b) {
      this.#continueSequence(value);
      return;
    }
    switch (value) {
      case 0x0d:
      case 0x0a:
        this.#enter();
        return;
      case 0x08:
      case 0x7f:
        this.#replace(this.#line.slice(0, -1));
        return;
      case 0x15:
        this.#replace('');
        return;
      case 0x17:
        this.#replace(this.#line.replace(/\S*\s*$/, ''));
        return;
      case 0x03:
        this.#options.print(`^C\r\n${this.#options.prompt}`);
        this.#line = '';
        return;
      case 0x04:
        if (this.#line === '') this.#options.onEnd();
        return;
      default:
        if (value < 0x20 || value > 0x7e || this.#line.length >= MAX_LINE_CHARS) return;
        this.#line += String.fromCharCode(value);
        this.#options.print(String.fromCharCode(value));
    }
  }

  #continueSequence(value: number): void {
    this.#sequence += String.fromCharCode(value);
    const length = this.#sequence.length;
    if (length === 1 || (length === 2 && (value === 0x5b || value === 0x4f))) return;
    if (length > 2 && (value < 0x40 || value > 0x7e) && length < 16) return;
    const key = this.#sequence.slice(2);
    this.#sequence = '';
    if (key === 'A') this.#recall(this.#place - 1);
    else if (key === 'B') this.#recall(this.#place + 1);
  }

  #recall(place: number): void {
    if (place < 0 || place > this.#history.length) return;
    this.#place = place;
    this.#replace(this.#history[place] ?? '');
  }

  #replace(line: string): void {
    let keep = 0;
    while (keep < line.length && keep < this.#line.length && line[keep] === this.#line[keep]) keep++;
    this.#options.print('\b \b'.repeat(this.#line.length - keep) + line.slice(keep));
    this.#line = line;
  }

  #enter(): void {
    const line = this.#line.trim();
    this.#line = '';
    this.#options.print('\r\n');
    if (line !== '' && this.#history.at(-1) !== line) {
      this.#history.push(line);
      if (this.#history.length > MAX_HISTORY) this.#history.shift();
    }
    this.#place = this.#history.length;
    this.#busy = this.#busy.then(async () => {
      if (line === '') {
        this.#options.print(this.#options.prompt);
        return;
      }
      const answer = await this.#options.onLine(line);
      if (answer === undefined) return;
      const text = answer.replace(/\r?\n/g, '\r\n');
      this.#options.print(`${text}${text === '' || text.endsWith('\n') ? '' : '\r\n'}${this.#options.prompt}`);
    });
  }
}
