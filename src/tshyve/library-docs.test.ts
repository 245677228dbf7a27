import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as library from './index.ts';

test('a program in the checkout finds the library by its name', async () => {
  const { VM, VmError } = await import('tshyve');
  assert.deepEqual([VM, VmError], [library.VM, library.VmError]);
});

const DOCS = new URL('../../docs/library.md', import.meta.url);

test('the example in docs/library.md runs as it stands', (t) => {
  const example = /<!-- example[^>]*-->\n```ts\n(.*?)```/s.exec(readFileSync(DOCS, 'utf8'))?.[1];
  assert.ok(example);
  const folder = mkdtempSync(join(tmpdir(), 'tshyve-docs-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'example.ts');
  // A program of a user has installed the package.
  writeFileSync(
    program,
    example
      .replace("'tshyve'", `'${new URL('index.ts', import.meta.url).href}'`)
      .replace("'./echo-kernel.ts'", `'${new URL('testing/echo-kernel.ts', import.meta.url).href}'`),
  );
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', program], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.deepEqual([status, stdout, stderr], [0, 'it said: hello \necho: debug-exit\n', '']);
});
