import { equal, match } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'node:test';

const bootstrap = fileURLToPath(new URL('bootstrap.mjs', import.meta.url));

test('an unknown program is one line that names those there are', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bootstrap, 'nonsense'], { encoding: 'utf8' });
  equal(status, 4);
  equal(stdout, '');
  match(stderr, /^tshyve: nonsense: expected one of tshyve, bhyve, [\w, ]+\n$/);
});

test('it is plain JavaScript that an old Node reads', () => {
  for (const file of ['bootstrap.mjs', 'build.mjs']) {
    equal(spawnSync(process.execPath, ['--check', fileURLToPath(new URL(file, import.meta.url))]).status, 0, file);
  }
});
