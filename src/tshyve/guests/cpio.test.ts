import { deepEqual, equal } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { cpioArchive, MODE_CHARACTER_DEVICE, MODE_DIRECTORY, MODE_PROGRAM, MODE_SYMLINK } from './cpio.ts';
import { appletsOf, buildInitramfs } from './initramfs.ts';

const ARCHIVE = cpioArchive([
  { path: 'dev', mode: MODE_DIRECTORY },
  { path: 'dev/console', mode: MODE_CHARACTER_DEVICE, device: [5, 1] },
  { path: 'init', mode: MODE_PROGRAM, content: '#!/bin/sh\n' },
  { path: 'sh', mode: MODE_SYMLINK, content: 'init' },
]);

test('each header and each content starts at a multiple of four; the end is padded to 512', () => {
  equal(ARCHIVE.length % 512, 0);
  const names: string[] = [];
  for (let at = 0; names.at(-1) !== 'TRAILER!!!';) {
    equal(ARCHIVE.toString('latin1', at, at + 6), '070701');
    const field = (index: number): number => Number.parseInt(ARCHIVE.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16);
    const [sizeBytes, nameBytes] = [field(6), field(11)];
    names.push(ARCHIVE.toString('latin1', at + 110, at + 110 + nameBytes - 1));
    at = (at + 110 + nameBytes + 3) & ~3;
    at = (at + sizeBytes + 3) & ~3;
  }
  deepEqual(names, ['dev', 'dev/console', 'init', 'sh', 'TRAILER!!!']);
});

test('cpio(1) reads it', { skip: spawnSync('cpio', ['--version']).error ? 'cpio is not installed' : false }, () => {
  const { stdout, status } = spawnSync('cpio', ['-itv', '--quiet'], { input: ARCHIVE, encoding: 'utf8' });
  equal(status, 0);
  deepEqual(
    stdout
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, 10), line.replace(/^.* 1970 /, '')]),
    [
      ['drwxr-xr-x', 'dev'],
      ['crw-------', 'dev/console'],
      ['-rwxr-xr-x', 'init'],
      ['lrwxrwxrwx', 'sh -> init'],
    ],
  );
});

test("busybox's commands are read from its own table; without one, sh alone is linked", () => {
  const names = ['[', '[[', 'acpid', 'busybox', 'mount', 'sh', 'zcat'];
  const busybox = Buffer.from(`\x7fELF...\0[\0[[\0no list\0\0...\0${names.join('\0')}\0\0rest`, 'latin1');
  deepEqual(appletsOf(busybox), ['[', '[[', 'acpid', 'mount', 'sh', 'zcat']);
  deepEqual(appletsOf(Buffer.from('nothing')), ['sh']);
});

test('equal parts give an equal initramfs', () => {
  const parts = { busybox: Buffer.from('busybox'), init: '#!/bin/sh\n', modules: [{ name: 'button.ko', content: Buffer.from('module') }] };
  equal(buildInitramfs(parts).equals(buildInitramfs(parts)), true);
  equal(buildInitramfs(parts).includes('lib/modules/0-button.ko'), true);
});
