/**
 * What the subcommands of `tshyve` have in common: their streams, and the parsing of their options.
 * Runs on: main event loop.
 */
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { VmError } from '../base/errors.ts';

/** Where a subcommand writes, and what it knows of its surroundings. */
export interface CommandIo {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly env: NodeJS.ProcessEnv;
}

export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** A subcommand. @returns the exit status @throws VmError, which the caller shows as one line and turns into status 4 */
export type Command = (args: readonly string[], io: CommandIo) => Promise<number>;

/**
 * Long options in any place, between operands.
 * @throws VmError EUSAGE for an option that `options` does not name, or one without its value
 */
export function parseCommandLine<const Options extends ParseArgsOptionsConfig>(command: string, args: readonly string[], options: Options) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n')[0]!.replace(/\. To specify .*$/, '') : String(cause);
    throw new VmError('EUSAGE', `tshyve ${command}: ${reason}; 'tshyve ${command} --help' lists what is accepted`, { cause });
  }
}

/** Rows with their columns aligned; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return rows
    .map((row) => `${row.map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column]!))).join('  ')}\n`)
    .join('');
}
