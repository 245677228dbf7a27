/**
 * The machines that are compared, and how a user starts them.
 * Runs on: main event loop.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { HVA_RAM } from '../src/base/memory-map.ts';
import { RAM_START } from '../src/cpu/guest-ram.ts';
import type { CommandLine } from './host-process.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

export interface GuestFiles {
  readonly kernel: string;
  readonly initrd?: string;
  readonly commandLine?: string;
}

export interface Contender {
  readonly name: 'tshyve' | 'QEMU TCG';
  /** Of QEMU; tshyve's is the commit. */
  readonly version?: string;
  /** How it is started, for the report. */
  readonly described: string;
  /** Where guest RAM lies in the mapping that holds it. */
  readonly ramOffsetBytes: number;
  command(guest: GuestFiles): CommandLine;
}

/** Both get the same. Guests of RAM below 3 GiB have it in one piece. */
export const RAM_BYTES = 512 * 2 ** 20;
const RAM_MIB = `${RAM_BYTES / 2 ** 20}`;

const optional = (flag: string, value: string | undefined): string[] => (value === undefined ? [] : [flag, value]);

/** @param tier as of `tshyve run --cpu-tier`; undefined: its default. @param codeStore where compiled code is kept from boot to boot */
export function tshyve(tier: string | undefined, codeStore: string): Contender {
  return {
    name: 'tshyve',
    ramOffsetBytes: RAM_START.i32 + HVA_RAM,
    described: `tshyve run --memory ${RAM_MIB}M${tier === undefined ? '' : ` --cpu-tier ${tier}`}`,
    command: ({ kernel, initrd, commandLine }) => ({
      program: process.execPath,
      args: [
        ...[...process.execArgv, `${ROOT}dist/tshyve.cjs`, 'run', '--stats', '--no-reboot'],
        ...['--memory', `${RAM_MIB}M`, '--kernel', kernel, '--code-store', codeStore],
        ...optional('--initrd', initrd),
        ...optional('--append', commandLine),
        ...optional('--cpu-tier', tier),
      ],
      // As bin/tshyve.mjs starts it; MALLOC_ARENA_MAX is this program's own.
      env: { ...process.env, NODE_COMPILE_CACHE: undefined },
    }),
  };
}

/**
 * QEMU with its own defaults (machine pc, CPU qemu64), except for the network card: tshyve's machine has none either, and the card's
 * boot ROM costs time.
 * @returns undefined where it is not installed
 */
export function qemu(program: string): Contender | undefined {
  const { status, stdout } = spawnSync(program, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  if (status !== 0) return undefined;
  const flags = ['-accel', 'tcg', '-m', RAM_MIB, '-nic', 'none', '-nographic', '-no-reboot'];
  return {
    name: 'QEMU TCG',
    version: /^QEMU emulator version (.*)$/m.exec(stdout)?.[1] ?? stdout.trim(),
    ramOffsetBytes: 0,
    described: `${program.replace(/.*\//, '')} ${flags.join(' ')}`,
    command: ({ kernel, initrd, commandLine }) => ({
      program,
      args: [...flags, '-kernel', kernel, ...optional('-initrd', initrd), ...optional('-append', commandLine)],
    }),
  };
}
