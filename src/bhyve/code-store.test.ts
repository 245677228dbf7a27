import { deepEqual, equal } from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CodeStore } from './code-store.ts';

function inFolder(use: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'tshyve-code-'));
  try {
    use(join(folder, 'code'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
const CHECKSUM_BYTES = 4;
const read = (store: CodeStore): number[] | undefined => {
  const content = store.read();
  return content && [...new Uint8Array(content, 0, content.byteLength - CHECKSUM_BYTES)];
};

test('what was written is read again, by whoever has the same kind of guest memory', () => {
  inFolder((folder) => {
    const store = new CodeStore(folder, '32');
    equal(read(store), undefined);
    store.write(Uint8Array.of(1, 2, 3, 4));
    deepEqual(read(store), [1, 2, 3, 4]);
    store.write(Uint8Array.of(5, 6, 7, 8));
    deepEqual(read(new CodeStore(folder, '32')), [5, 6, 7, 8]);
    equal(read(new CodeStore(folder, '64')), undefined);
  });
});

test('a damaged or shortened file is as good as none', () => {
  inFolder((folder) => {
    const store = new CodeStore(folder, '32');
    store.write(Uint8Array.of(1, 2, 3, 4));
    const [name = ''] = readdirSync(folder),
      path = join(folder, name),
      whole = readFileSync(path);
    for (const length of [0, 3, 5, whole.length - 1]) {
      writeFileSync(path, whole.subarray(0, length));
      equal(read(store), undefined);
    }
    const damaged = Buffer.from(whole);
    damaged[damaged.length - 1]! ^= 1;
    writeFileSync(path, damaged);
    equal(read(store), undefined);
  });
});

test('a folder that cannot be written is no failure; litter of other builds goes after a week', () => {
  new CodeStore('/dev/null/code', '32').write(Uint8Array.of(1));
  inFolder((folder) => {
    const store = new CodeStore(folder, '32');
    store.write(Uint8Array.of(1));
    for (const name of ['old', 'new']) writeFileSync(join(folder, name), '');
    const longAgo = Date.now() / 1000 - 8 * 24 * 3600;
    utimesSync(join(folder, 'old'), longAgo, longAgo);
    store.write(Uint8Array.of(2));
    equal(readdirSync(folder).includes('old'), false);
    equal(readdirSync(folder).includes('new'), true);
    deepEqual(read(store), [2]);
  });
});
