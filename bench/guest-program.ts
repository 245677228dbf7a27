/**
 * The guest workloads as a program: compiled where gcc is, run on the host for the native figures, packed into an initramfs.
 * Implements: bench/guest. The kernel unpacks archives that stand one behind the other (buffer-format.rst), so the guest's own stays as it is.
 * Runs on: main event loop.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cpioArchive, MODE_PROGRAM } from '../src/tshyve/guests/cpio.ts';
import { MeasureError } from './host-process.ts';

const SOURCE_FOLDER = fileURLToPath(new URL('guest', import.meta.url));
const COMPILE_LIMIT_MS = 120_000;

export interface Workload {
  readonly name: string;
  readonly group: string;
}

export interface GuestProgram {
  readonly path: string;
  /** In the order in which it runs them. */
  readonly workloads: readonly Workload[];
}

export interface WorkloadResult {
  readonly name: string;
  readonly seconds: number;
  readonly checksum: string;
}

/** A result as the program prints it; the line may stand anywhere in a console's output. */
export const RESULT_LINE = /(?:^|\n)(\w+) (\d+\.\d+) ([\da-f]{16})\r?\n/;

export function resultOf(match: RegExpExecArray): WorkloadResult {
  return { name: match[1]!, seconds: Number(match[2]), checksum: match[3]! };
}

/** @param folder for what is built. @throws MeasureError where it cannot be compiled */
export function buildGuestProgram(folder: string): GuestProgram {
  const make = spawnSync('make', ['-s', '-C', SOURCE_FOLDER, `BUILD=${folder}`], { encoding: 'utf8', timeout: COMPILE_LIMIT_MS });
  if (make.status !== 0) {
    const why = make.error?.message ?? (make.stderr.trim() || `make ended with status ${make.status}`);
    throw new MeasureError(`bench/guest: cannot be compiled (it takes make, gcc and libc6-dev): ${why}`);
  }
  const path = `${folder}/bench`;
  const list = spawnSync(path, ['-l'], { encoding: 'utf8', timeout: COMPILE_LIMIT_MS });
  const workloads = list.stdout.split('\n').flatMap((line) => {
    const [name, group] = line.split(' ');
    return name && group ? [{ name, group }] : [];
  });
  if (list.status !== 0 || workloads.length === 0) throw new MeasureError(`${path} -l: lists no workloads`);
  return { path, workloads };
}

/** The guest's initrd with the program behind it, as /bin/bench. */
export function writeInitrd(guestInitrd: string, program: GuestProgram, path: string): void {
  const archive = cpioArchive([{ path: 'bin/bench', mode: MODE_PROGRAM, content: readFileSync(program.path) }]);
  const own = readFileSync(guestInitrd);
  // An archive begins at a multiple of 4 bytes.
  writeFileSync(path, Buffer.concat([own, Buffer.alloc(-own.length & 3), archive]));
}
