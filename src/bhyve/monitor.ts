/**
 * The monitor prompt of the console (Ctrl-A c): look at the VM, press its buttons, end it.
 * Runs on: main event loop.
 */
import type { Engine } from './engine.ts';
import { INSPECTIONS } from './engine.ts';

export interface MonitorTarget {
  readonly engine: Pick<Engine, 'inspect' | 'injectNmi' | 'suspend' | 'pressPowerButton'>;
  /** The configuration as `config.dump` prints it. */
  config(): string;
  quit(): void;
}

interface Command {
  readonly usage: string;
  readonly doc: string;
  /** @returns undefined to leave the prompt. */
  run(target: MonitorTarget, words: readonly string[]): Promise<string | undefined>;
}

const text = (answer: string | undefined): Promise<string | undefined> => Promise.resolve(answer);

const COMMANDS: Readonly<Record<string, Command>> = {
  help: { usage: 'help', doc: 'this list', run: () => text(helpText()) },
  info: {
    usage: `info ${INSPECTIONS.join('|')}|config`,
    doc: "show the vCPUs' registers, statistics, the state of the VM or its configuration",
    run: (target, [what = '']) => {
      const subjects = [...INSPECTIONS, 'config'] as const;
      const matches = what === '' ? [] : subjects.filter((known) => known.startsWith(what));
      const subject = matches.length === 1 ? matches[0] : subjects.find((known) => known === what);
      if (subject === undefined) return text(`info: expected ${subjects.join(', ')}`);
      return subject === 'config' ? text(target.config()) : target.engine.inspect(subject);
    },
  },
  powerdown: {
    usage: 'powerdown',
    doc: 'press the power button',
    run: (target) => text(target.engine.pressPowerButton() ? '' : 'the guest has not enabled ACPI: nobody noticed'),
  },
  reset: {
    usage: 'reset',
    doc: 'press the reset button',
    run: (target) => {
      target.engine.suspend('reset');
      return text(undefined);
    },
  },
  nmi: {
    usage: 'nmi',
    doc: 'send a non-maskable interrupt to vCPU 0',
    run: (target) => {
      target.engine.injectNmi();
      return text('');
    },
  },
  exit: { usage: 'exit', doc: 'back to the console (also Ctrl-A c, Ctrl-D)', run: () => text(undefined) },
  quit: {
    usage: 'quit',
    doc: 'end the VM at once (also Ctrl-A x)',
    run: (target) => {
      target.quit();
      return text(undefined);
    },
  },
};

function helpText(): string {
  return Object.values(COMMANDS)
    .map(({ usage, doc }) => `${usage.padEnd(36)} ${doc}\n`)
    .join('');
}

/** One line typed at the prompt. @returns what to print, undefined when the prompt is over; never throws. */
export async function monitorLine(target: MonitorTarget, line: string): Promise<string | undefined> {
  const [name = '', ...words] = line.trim().split(/\s+/);
  const matches = Object.keys(COMMANDS).filter((known) => known === name || (name !== '' && known.startsWith(name)));
  const command = COMMANDS[matches.find((known) => known === name) ?? (matches.length === 1 ? (matches[0] ?? '') : '')];
  if (!command) return `${name}: ${matches.length > 1 ? `one of ${matches.join(', ')}?` : 'unknown command; help lists them'}`;
  try {
    return await command.run(target, words);
  } catch (error) {
    return `${name}: ${error instanceof Error ? error.message : String(error)}`;
  }
}
