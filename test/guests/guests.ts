/**
 * The small guests: their images, how they end, and where QEMU is known to be wrong.
 * Implements: issue "small guests for each architectural rule". Runs on: any thread of Node; assembling needs binutils.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

export interface Guest {
  readonly name: string;
  readonly source: string;
  /** For exits.S. */
  readonly way?: number;
  /** How its machine ends: the exit reason, for the debug exit with its status (v << 1) | 1. */
  readonly end: string;
}

/** Guests that report cases: the debug exit is written 0 when all are well. */
const REPORTING = ['exceptions', 'paging', 'rings', 'legacy', 'devices', 'system'] as const;

/** Ways of exits.S: number, and how the machine ends. */
const EXITS = [
  ['exit-acpi-s5', 0, 'poweroff'],
  ['exit-cf9', 1, 'reset'],
  ['exit-8042', 2, 'reset'],
  ['exit-port-92h', 3, 'reset'],
  ['exit-triple-fault', 4, 'triplefault'],
  ['exit-halt', 5, 'halt'],
  ['exit-debug-32-bit', 6, 'debug-exit 43'],
] as const;

export const GUESTS: readonly Guest[] = [
  ...REPORTING.map((name) => ({ name, source: `${name}.S`, end: 'debug-exit 1' })),
  ...EXITS.map(([name, way, end]) => ({ name, source: 'exits.S', way, end })),
];

/** Cases that QEMU 7.2's TCG fails, each with what it does instead. */
export const QEMU_DEVIATIONS: Readonly<Record<string, string>> = {
  'ud-lock-mov-memory': 'LOCK is ignored on MOV',
  'ss-non-canonical-through-rbp': 'every non-canonical access is #GP',
  'gp-idt-gate-of-no-type': 'error code holds vector * 16 in long mode',
  'np-idt-gate-not-present': 'error code holds vector * 16 in long mode',
  'gp-vector-beyond-idt-limit': 'error code holds vector * 16 in long mode',
  'np-after-ud-is-no-double-fault-and-has-ext': 'error code holds vector * 16 in long mode, EXT is never set',
  'gp-int-gate-dpl': 'error code holds vector * 16 in long mode',
  'gp-int3-gate-dpl-0': 'error code holds vector * 16 in long mode',
  'xm-divide-by-zero': 'unmasked SIMD exceptions are not raised',
  'ud-simd-exception-without-osxmmexcpt': 'unmasked SIMD exceptions are not raised',
  'ac-misaligned-at-cpl-3': 'no alignment checks',
  'rf-set-in-fault-image': 'RF is not set in the image of a fault',
  'db-general-detect': 'DR7.GD is ignored',
  'dr6-bd': 'DR7.GD is ignored',
  'db-icebp': 'INT1 is undefined',
  'pf-nx-bit-reserved-without-nxe': 'a reserved bit gives RSVD without P',
  'pf-reserved-physical-bit': 'a reserved bit gives RSVD without P',
  'pf-reserved-bits-of-a-2m-page': 'a reserved bit gives RSVD without P',
  'pf-reserved-bits-of-a-1g-page': 'a reserved bit gives RSVD without P',
  'pf-ps-in-pml4e': 'a reserved bit gives RSVD without P',
  'pf-paging32-reserved-bit-of-4m-page': 'a reserved bit gives RSVD without P',
  'pf-smap-implicit-access-despite-ac': 'descriptor reads obey AC',
  'gp-load-ss-null-rpl-3-at-cpl-0': 'RPL of a null SS is not compared',
  'gp-fs-base-msr-non-canonical': 'MSR values are not checked',
  'gp-efer-reserved-bits': 'MSR values are not checked',
  'gp-lstar-non-canonical': 'MSR values are not checked',
  'gp-pat-reserved-type': 'MSR values are not checked',
  'gp-wrfsbase-non-canonical': 'the base is not checked',
  'gp-rdmsr-unknown': 'unknown MSRs read 0',
  'gp-wrmsr-unknown': 'unknown MSRs are ignored',
  'gp-fxrstor-reserved-mxcsr': 'MXCSR is cut to its bits',
  'gp-ldmxcsr-reserved': 'MXCSR is cut to its bits',
  'syscall-masks-flags': 'SYSCALL clears the status flags',
  'gp-sysret-at-cpl-0': 'the fault comes at CPL 3, as on AMD',
  'gp-compat-limit': 'segment limits are not checked',
  'gp-compat-write-to-read-only': 'segment rights are not checked',
  'gp-compat-null-ds': 'null segments are not checked',
  'gp-limit-dword-across': 'segment limits are not checked',
  'gp-expand-down-below': 'segment limits are not checked',
  'gp-write-read-only-segment': 'segment rights are not checked',
  'gp-null-segment-access': 'null segments are not checked',
  'ss-beyond-limit-through-ebp': 'segment limits are not checked',
  'real-gp-at-offset-ffff': 'segment limits are not checked',
  'pae-pdpte-cached': 'PDPTEs are read at each walk',
  'gp-pae-pdpte-reserved-bit': 'PDPTEs are read at each walk',
  'gp-cr8-reserved-bits': 'CR8 is cut to its bits',
  'ioapic-edge-once': 'an edge pin that is high already interrupts again',
};

const folder = fileURLToPath(new URL('.', import.meta.url));

/** Flat multiboot image from source; null without binutils. */
export function assemble(guest: Guest): Buffer | null {
  if (process.arch !== 'x64' || spawnSync('as', ['--version']).error || spawnSync('ld', ['--version']).error) return null;
  const work = mkdtempSync(join(tmpdir(), 'tshyve-guest-'));
  try {
    const object = join(work, 'guest.o'),
      image = join(work, 'guest.bin');
    for (const [program, args] of [
      ['as', ['--64', ...(guest.way === undefined ? [] : ['--defsym', `WAY=${guest.way}`]), '-o', object, guest.source]],
      ['ld', ['-m', 'elf_x86_64', '-T', 'guest.ld', '--oformat', 'binary', '-o', image, object]],
    ] as const) {
      const { status, stderr } = spawnSync(program, args, { cwd: folder, encoding: 'utf8' });
      if (status !== 0) throw new Error(`${program} ${guest.source}: ${stderr}`);
    }
    return readFileSync(image);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The committed image, so that the tests need no binutils. */
export function readImage(name: string): Buffer {
  const images = JSON.parse(readFileSync(join(folder, 'images.json'), 'utf8')) as Record<string, string>;
  const image = images[name];
  if (image === undefined) throw new Error(`images.json has no ${name}: node test/guests/assemble.ts`);
  return gunzipSync(Buffer.from(image, 'base64'));
}

export interface Report {
  /** Lines that begin with `ok`, by case name; those with ` # ` were left out by the guest itself. */
  readonly passed: readonly string[];
  readonly skipped: readonly string[];
  readonly failed: readonly { readonly name: string; readonly line: string }[];
  /** The guest came to its end and counted as many cases as there are lines. */
  readonly complete: boolean;
}

export function parseReport(output: string): Report {
  const passed: string[] = [],
    skipped: string[] = [],
    failed: { name: string; line: string }[] = [];
  let complete = false;
  for (const line of output.split(/\r?\n/)) {
    const [, not, name] = /^(not )?ok (\S+)/.exec(line) ?? [];
    if (name !== undefined) {
      if (not) failed.push({ name, line });
      else (line.includes(' # ') ? skipped : passed).push(name);
    }
    const done = /^done (0x[0-9a-f]+)/.exec(line);
    if (done) complete = Number(done[1]) === passed.length + skipped.length + failed.length;
  }
  return { passed, skipped, failed, complete };
}
