/**
 * The initramfs of the Debian guests: busybox, its commands, and an init that ends in a shell on the console.
 * Implements: guests/README.md.
 * Runs on: main event loop.
 */
import { cpioArchive, MODE_CHARACTER_DEVICE, MODE_DIRECTORY, MODE_FILE, MODE_PROGRAM, MODE_SYMLINK, type CpioEntry } from './cpio.ts';

export interface KernelModule {
  /** As in the file system: `evdev.ko`. */
  readonly name: string;
  readonly content: Uint8Array;
}

export interface InitramfsParts {
  readonly busybox: Buffer;
  /** The script that the kernel starts. */
  readonly init: string;
  /** Loaded in this order. */
  readonly modules: readonly KernelModule[];
}

/** What acpid runs when the power button is pressed; the path is busybox acpid's own name for that event. */
const POWER_BUTTON = 'etc/acpi/PWRF/00000080';

/** @returns the image, not compressed: the kernel copies 2 MB faster than it inflates 1 MB. */
export function buildInitramfs({ busybox, init, modules }: InitramfsParts): Buffer {
  const folder = (path: string): CpioEntry => ({ path, mode: MODE_DIRECTORY });
  return cpioArchive([
    // acpid wants to write a log and its process id below var.
    ...[
      'bin',
      'dev',
      'etc',
      'etc/acpi',
      'etc/acpi/PWRF',
      'lib',
      'lib/modules',
      'mnt',
      'proc',
      'root',
      'sys',
      'tmp',
      'var',
      'var/log',
      'var/run',
    ].map(folder),
    // The kernel opens it for init before anything is mounted.
    { path: 'dev/console', mode: MODE_CHARACTER_DEVICE, device: [5, 1] },
    { path: 'dev/null', mode: MODE_CHARACTER_DEVICE, device: [1, 3] },
    { path: 'init', mode: MODE_PROGRAM, content: init },
    { path: 'etc/passwd', mode: MODE_FILE, content: 'root:x:0:0:root:/root:/bin/sh\n' },
    { path: 'etc/group', mode: MODE_FILE, content: 'root:x:0:\n' },
    { path: POWER_BUTTON, mode: MODE_PROGRAM, content: '#!/bin/sh\nexec poweroff\n' },
    ...modules.map(({ name, content }, index) => ({ path: `lib/modules/${index}-${name}`, mode: MODE_FILE, content })),
    { path: 'bin/busybox', mode: MODE_PROGRAM, content: busybox },
    ...appletsOf(busybox).map((name) => ({ path: `bin/${name}`, mode: MODE_SYMLINK, content: 'busybox' })),
  ]);
}

/**
 * The commands inside a busybox, from its own table of names: NUL-terminated, in order, an empty one last.
 * Links made here need not be made by the guest on every boot. @returns at least `sh`: init makes the others where the table is not found.
 */
export function appletsOf(busybox: Buffer): string[] {
  for (let start = busybox.indexOf('\0[\0[[\0'); start >= 0; start = busybox.indexOf('\0[\0[[\0', start + 1)) {
    const end = busybox.indexOf('\0\0', start + 1);
    const names = busybox.toString('latin1', start + 1, end < 0 ? start + 1 : end).split('\0');
    if (names.includes('sh') && names.includes('mount') && names.every((name) => /^[\w.+[-]{1,32}$/.test(name)))
      return names.filter((name) => name !== 'busybox');
  }
  return ['sh'];
}
