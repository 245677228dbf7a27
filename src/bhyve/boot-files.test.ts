import { deepEqual, equal, rejects, throws } from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readBootrom } from './boot-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'tshyve-boot-files-'));
after(() => rmSync(folder, { recursive: true }));

test('an image that was released is read again, from the file that was opened', async () => {
  const path = join(folder, 'rom');
  writeFileSync(path, new Uint8Array(8192).fill(1));
  await using files = new AsyncDisposableStack();
  const image = await readBootrom(files, path);
  const first = image.bytes;
  image.release?.();
  equal(first.length, 0); // given back at once
  writeFileSync(`${path}.new`, new Uint8Array(4096).fill(2));
  renameSync(`${path}.new`, path);
  deepEqual(image.bytes, new Uint8Array(8192).fill(1));
});

test('a file that has become shorter gives what is left; one that was closed cannot be read', async () => {
  const path = join(folder, 'cut');
  writeFileSync(path, new Uint8Array(8192).fill(3));
  const files = new AsyncDisposableStack();
  const image = await readBootrom(files, path);
  image.release?.();
  truncateSync(path, 100);
  equal(image.bytes.length, 100);
  image.release?.();
  await files.disposeAsync();
  throws(() => image.bytes, { code: 'EIO' });
});

test('a ROM is whole pages', async () => {
  const path = join(folder, 'odd');
  writeFileSync(path, new Uint8Array(4097));
  await using files = new AsyncDisposableStack();
  await rejects(readBootrom(files, path), { code: 'ENOEXEC' });
});
