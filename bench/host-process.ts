/**
 * A program that is measured: its output, and what it costs the host.
 * Implements: proc(5) /proc/PID/stat, /proc/PID/smaps and /proc/PID/pagemap.
 * Runs on: main event loop.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';

const PAGE_BYTES = 4096;
/** Of each page, and of its last byte the bit that says it has memory (proc(5), /proc/PID/pagemap). */
const PAGEMAP_ENTRY_BYTES = 8,
  PAGEMAP_PRESENT = 0x80;
/** USER_HZ: what utime and stime of /proc/PID/stat count in, on every Linux architecture that Node knows. */
const TICKS_A_SECOND = 100;
/** How long a program may take to end after it was asked. */
const END_LIMIT_MS = 10_000;
const MAX_SHOWN_CHARACTERS = 300;

/** Why a measurement could not be made. */
export class MeasureError extends Error {
  override name = 'MeasureError';
}

export interface CommandLine {
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

export interface MemoryUse {
  readonly residentBytes: number;
  /** Resident part of guest RAM. */
  readonly touchedRamBytes: number;
}

/** Where a program has guest RAM: in a writable mapping that is not executable, so far behind its start, and so large. */
export interface RamPlace {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Programs that run now, so that none outlives the measurement. */
export class Processes {
  readonly #running = new Set<MeasuredProcess>();

  start(command: CommandLine): MeasuredProcess {
    const started = new MeasuredProcess(command, () => this.#running.delete(started));
    this.#running.add(started);
    return started;
  }

  killAll(): void {
    for (const process of this.#running) process.kill();
  }
}

interface Waiting {
  readonly pattern: RegExp;
  readonly resolve: (seen: Seen) => void;
}

export interface Seen {
  /** performance.now() when the output that completes the match arrived. */
  readonly atMs: number;
  readonly match: RegExpExecArray;
}

export class MeasuredProcess implements AsyncDisposable {
  readonly startMs: number;
  readonly #name: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<void>;
  #output = '';
  #errors = '';
  /** Where the search for the next pattern begins. */
  #from = 0;
  #end: string | undefined;
  #waiting: Waiting | undefined;

  constructor({ program, args, env }: CommandLine, onEnd: () => void) {
    this.#name = program.replace(/.*\//, '');
    this.startMs = performance.now();
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: env ?? process.env });
    this.#child.stdout.setEncoding('latin1').on('data', (text: string) => {
      this.#output += text;
      this.#look();
    });
    this.#child.stderr.setEncoding('latin1').on('data', (text: string) => {
      this.#errors += text;
    });
    // A program that has gone does not read; its end is reported below.
    this.#child.stdin.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#end ??= how;
        onEnd();
        resolve();
      };
      this.#child.on('error', (error) => end(error.message));
      this.#child.on('close', (code, signal) => end(signal === null ? `status ${code}` : signal));
    });
  }

  /** Everything on standard error so far. */
  get errors(): string {
    return this.#errors;
  }

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  write(text: string): void {
    this.#child.stdin.write(text);
  }

  /**
   * Wait for `pattern` in the output behind the last match.
   * @throws MeasureError when the program ends first, or after `limitMs`.
   */
  async expect(pattern: RegExp, limitMs: number): Promise<Seen> {
    const timer: { id: NodeJS.Timeout | undefined } = { id: undefined };
    const seen = new Promise<Seen>((resolve) => {
      this.#waiting = { pattern, resolve };
      this.#look();
    });
    const late = new Promise<undefined>((resolve) => {
      timer.id = setTimeout(() => resolve(undefined), limitMs);
    });
    const first = await Promise.race([seen, late, this.#ended.then(() => undefined)]);
    clearTimeout(timer.id);
    this.#waiting = undefined;
    if (first) return first;
    const why = this.hasEnded ? `ended with ${this.#end}` : `said nothing of the kind in ${limitMs / 1000} s`;
    const said = `${this.#output}${this.#errors}`.trimEnd().slice(-MAX_SHOWN_CHARACTERS);
    throw new MeasureError(`${this.#name}: waited for ${String(pattern)}, but it ${why}; its last words: ${JSON.stringify(said)}`);
  }

  #look(): void {
    if (!this.#waiting) return;
    const match = this.#waiting.pattern.exec(this.#output.slice(this.#from));
    if (!match) return;
    this.#from += match.index + match[0].length;
    this.#waiting.resolve({ atMs: performance.now(), match });
    this.#waiting = undefined;
  }

  /** User and system time of all its threads so far. @throws MeasureError when it has ended */
  cpuSeconds(): number {
    // The second field is the program's name in parentheses and may hold anything; utime and stime are fields 14 and 15.
    const fields = this.#proc('stat')
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
  }

  memory(ram: RamPlace): MemoryUse {
    return memoryUse(this.#proc('smaps'), ram, (start, sizeBytes) => this.#presentBytes(start, sizeBytes));
  }
  /** What of an address range has memory. */
  #presentBytes(start: number, sizeBytes: number): number {
    const entries = Buffer.alloc((sizeBytes / PAGE_BYTES) * PAGEMAP_ENTRY_BYTES),
      file = openSync(`/proc/${this.#child.pid}/pagemap`, 'r');
    try {
      const readBytes = readSync(file, entries, 0, entries.length, (start / PAGE_BYTES) * PAGEMAP_ENTRY_BYTES);
      let pages = 0;
      for (let at = PAGEMAP_ENTRY_BYTES - 1; at < readBytes; at += PAGEMAP_ENTRY_BYTES) if (entries[at]! & PAGEMAP_PRESENT) pages++;
      return pages * PAGE_BYTES;
    } finally {
      closeSync(file);
    }
  }

  #proc(file: string): string {
    try {
      return readFileSync(`/proc/${this.#child.pid}/${file}`, 'latin1');
    } catch (error) {
      throw new MeasureError(`${this.#name}: /proc/PID/${file}: ${String(error)}`, { cause: error });
    }
  }

  /** Wait until it has ended by itself; after the limit it is killed. @returns whether it ended by itself */
  async end(): Promise<boolean> {
    const timer: { id: NodeJS.Timeout | undefined } = { id: undefined };
    const late = new Promise<void>((resolve) => {
      timer.id = setTimeout(resolve, END_LIMIT_MS);
    });
    await Promise.race([this.#ended, late]);
    clearTimeout(timer.id);
    const itself = this.hasEnded;
    await this[Symbol.asyncDispose]();
    return itself;
  }

  kill(): void {
    if (!this.hasEnded) this.#child.kill('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#ended;
  }
}

/** @param smaps text of /proc/PID/smaps @param presentBytes what of a range of addresses (start, size) has memory */
export function memoryUse(smaps: string, ram: RamPlace, presentBytes: (start: number, sizeBytes: number) => number): MemoryUse {
  let residentBytes = 0;
  let touchedRamBytes = 0;
  for (const line of smaps.split('\n')) {
    const mapping = /^([\da-f]+)-([\da-f]+) (....) /.exec(line);
    if (mapping) {
      const start = Number.parseInt(mapping[1]!, 16),
        end = Number.parseInt(mapping[2]!, 16);
      if (mapping[3]!.startsWith('rw-') && end - start >= ram.offsetBytes + ram.sizeBytes)
        touchedRamBytes += presentBytes(start + ram.offsetBytes, ram.sizeBytes);
      continue;
    }
    const resident = /^Rss: +(\d+) kB/.exec(line);
    if (!resident) continue;
    residentBytes += Number(resident[1]) * 1024;
  }
  return { residentBytes, touchedRamBytes };
}
