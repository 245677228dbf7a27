/**
 * The subcommands of `tshyve` by name.
 * Runs on: main event loop. Each is loaded when it is called: `--help` and `run` do not wait for the others.
 */
import { VmError } from '../base/errors.ts';
import { startThreadsAhead } from '../bhyve/threads/index.ts';
import type { Command, CommandIo } from './command.ts';

interface Subcommand {
  readonly doc: string;
  load(): Promise<Command>;
}

const SUBCOMMANDS: Readonly<Record<string, Subcommand>> = {
  run: {
    doc: 'run a guest in this terminal',
    load: async () => {
      startThreadsAhead();
      return (await import('./run.ts')).runRun();
    },
  },
  pull: { doc: 'fetch a guest, or newer packages of it, into the cache', load: async () => (await import('./pull.ts')).runPull },
  list: { doc: 'list the guests', load: async () => (await import('./list.ts')).runList },
  doctor: { doc: 'check what tshyve needs of this machine', load: async () => (await import('./doctor.ts')).runDoctor },
};

const EXIT_ERROR = 4;

export const TSHYVE_HELP = `usage: tshyve COMMAND [OPTION...]

bhyve in TypeScript: unmodified 64-bit operating systems, without root, VT-x or kernel module.

commands:
${Object.entries(SUBCOMMANDS)
  .map(([name, { doc }]) => `  ${name.padEnd(8)} ${doc}\n`)
  .join('')}
'tshyve COMMAND --help' says more. 'tshyve run' runs Debian to a shell. 'bhyve -h' is bhyve's own command line.
`;

/** @returns the exit status. Anything that is not accepted is one line on standard error and status 4. */
export async function runTshyve(args: readonly string[], io: CommandIo, describe: (error: unknown) => Promise<string>): Promise<number> {
  const [name, ...rest] = args;
  try {
    if (name === '--help' || name === '-h' || name === 'help') {
      io.stdout.write(TSHYVE_HELP);
      return 0;
    }
    if (name === undefined) {
      io.stderr.write(TSHYVE_HELP);
      return EXIT_ERROR;
    }
    const subcommand = Object.hasOwn(SUBCOMMANDS, name) ? SUBCOMMANDS[name] : undefined;
    if (!subcommand) throw new VmError('EUSAGE', `${name}: unknown command; expected ${Object.keys(SUBCOMMANDS).join(', ')}`);
    return await (
      await subcommand.load()
    )(rest, io);
  } catch (error) {
    const text = await describe(error);
    io.stderr.write(`${text.startsWith('tshyve') ? text : `tshyve: ${text}`}\n`);
    return EXIT_ERROR;
  }
}
