/**
 * What the whole-machine tests share: Debian's kernels as guests, a shell on their serial console, the two programs.
 * Runs on: the test runner. The limits are far above what a slow, busy machine needs: a test here shows what happens, not how fast.
 */
import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLog, VM, VmError } from '../src/tshyve/index.ts';
import type { Log, VmConfig, VmExit } from '../src/tshyve/index.ts';
import { ensureGuest, silentProgress } from '../src/tshyve/guests/index.ts';
import type { Guest } from '../src/tshyve/guests/index.ts';

export const BOOT_TIMEOUT_MS = 240_000;
const COMMAND_TIMEOUT_MS = 120_000;
/** What the guest's init says behind its last message, and what its shell says before each command. */
const PROMPT = '/ # ';
/** Anything wrong in a guest's log that is not about hardware which is not there. */
const COMPLAINT =
  /\b(bug|warning|oops|panic|call trace|error|failed|fail|mismatch|unstable|lockup|stall|spurious|nobody cared|mtrrs? (are )?disabled|firmware bug)\b/i;
/** Said by every Linux, or about what is not there. */
const HARMLESS = [/report a bug/, /Correctable Errors collector/, /This is not a bug/, /tsc: Fast TSC calibration failed/];

/** The guest's files, pulled if need be; or the test is skipped, because this machine has no way to a mirror. */
export async function guestOrSkip(t: TestContext, name: string): Promise<Guest | undefined> {
  try {
    return await ensureGuest(name, { log: createLog(() => {}, Date.now), progress: silentProgress });
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    t.skip(`${name} cannot be pulled: ${error.message}`);
    return undefined;
  }
}

/** A running Linux. */
export class LinuxGuest implements AsyncDisposable {
  readonly vm: VM;
  /** Warnings and errors of the machine. */
  readonly logged: readonly string[];
  #commands = 0;

  /** Power on, and wait for the shell's prompt. */
  static async boot(config: VmConfig): Promise<LinuxGuest> {
    const logged: string[] = [];
    const log: Log = createLog(
      (level, line) => {
        if (level === 'warn' || level === 'error') logged.push(line);
      },
      () => performance.now(),
    );
    const guest = new LinuxGuest(await VM.create({ memory: '512M', onReset: 'end', log, ...config }), logged);
    await guest.vm.start();
    try {
      await guest.prompt();
    } catch (error) {
      const registers = await guest.vm.inspect('registers').catch(() => '');
      await guest.vm.stop();
      throw new Error(`${(error as Error).message}\n${logged.join('\n')}\n${registers}`, { cause: error });
    }
    return guest;
  }

  private constructor(vm: VM, logged: readonly string[]) {
    this.vm = vm;
    this.logged = logged;
  }

  /** Wait for a shell that has just been started. */
  async prompt(): Promise<void> {
    await this.vm.serial.expect(PROMPT, { timeoutMs: BOOT_TIMEOUT_MS });
  }

  /** Run a command. @returns what it wrote, without the last line's end. @throws Error when its status is not 0 */
  async run(command: string): Promise<string> {
    const number = ++this.#commands;
    const mark = `=${number}=`;
    // The marks are not in the echo of what is typed.
    await this.vm.serial.write(`echo "="${number}"="; (${command}); echo "="$?"=end"${number}\n`);
    await this.vm.serial.expect(`${mark}\r\n`, { timeoutMs: COMMAND_TIMEOUT_MS });
    const { before, groups } = await this.vm.serial.expect(new RegExp(`=(\\d+)=end${number}\r\n`), { timeoutMs: COMMAND_TIMEOUT_MS });
    const output = before.replaceAll('\r\n', '\n').replace(/\n$/, '');
    if (groups[0] !== '0') throw new Error(`${command}: status ${groups[0]}: ${output}`);
    return output;
  }

  /** Run a command that ends the machine. */
  async end(command: string): Promise<VmExit> {
    await this.vm.serial.write(`${command}\n`);
    return this.exit();
  }

  async exit(): Promise<VmExit> {
    const timer = setTimeout(() => void this.vm.stop(), COMMAND_TIMEOUT_MS);
    const exit = await this.vm.waitForExit();
    clearTimeout(timer);
    return exit;
  }

  /** Lines of the kernel's log which tell of something wrong. */
  async complaints(): Promise<string[]> {
    const lines = (await this.run('dmesg')).split('\n');
    return lines.filter((line) => COMPLAINT.test(line) && !HARMLESS.some((pattern) => pattern.test(line)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.vm[Symbol.asyncDispose]();
  }
}

export interface ProgramEnd {
  readonly status: number | null;
  readonly output: string;
  readonly error: string;
}

/** `bhyve` or `tshyve` with its console in our hands. */
export class Program {
  readonly child: ChildProcessWithoutNullStreams;
  #output = '';
  #error = '';
  #seen = 0;
  #wake: () => void = () => {};
  readonly #ended: Promise<ProgramEnd>;

  constructor(name: 'bhyve' | 'tshyve', args: readonly string[]) {
    const main = fileURLToPath(new URL(`../src/${name}/main.ts`, import.meta.url));
    this.child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...args]);
    this.child.stdout.setEncoding('latin1').on('data', (text: string) => {
      this.#output += text;
      this.#wake();
    });
    this.child.stderr.setEncoding('latin1').on('data', (text: string) => {
      this.#error += text;
    });
    // Who writes to a program that has ended learns it from its status.
    this.child.stdin.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      this.child.on('close', (status) => {
        resolve({ status, output: this.#output, error: this.#error });
        this.#wake();
      });
    });
  }

  /** Wait until it has written `text` behind what was seen before. */
  async expect(text: string): Promise<void> {
    const deadline = { over: false };
    const timer = setTimeout(() => {
      deadline.over = true;
      this.#wake();
    }, BOOT_TIMEOUT_MS);
    try {
      for (;;) {
        const at = this.#output.indexOf(text, this.#seen);
        if (at >= 0) {
          this.#seen = at + text.length;
          return;
        }
        if (deadline.over || this.child.exitCode !== null) {
          throw new Error(`expected '${text}'; status ${this.child.exitCode}: ${this.#output.slice(-400)}${this.#error}`);
        }
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }

  prompt(): Promise<void> {
    return this.expect(PROMPT);
  }

  /** Its status and all it wrote; it is killed when it takes far too long. */
  async end(): Promise<ProgramEnd> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), BOOT_TIMEOUT_MS);
    const end = await this.#ended;
    clearTimeout(timer);
    return end;
  }
}
