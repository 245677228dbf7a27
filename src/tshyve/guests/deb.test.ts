import { deepEqual, equal, rejects } from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { decompress, readArMembers, readDebFiles, readTar } from './deb.ts';
import { arOf, debOf, tarOf } from './testing/archive.ts';

const XZ_HELLO = '/Td6WFoAAATm1rRGAgAhARwAAAAQz1jMAQANaGVsbG8gZnJvbSB4egoAAABb+Ybd5id65gABJg4IG+AEH7bzfQEAAAAABFla';

async function withFile(content: Uint8Array, body: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tshyve-deb-'));
  try {
    await writeFile(join(folder, 'x.deb'), content);
    await body(join(folder, 'x.deb'));
  } finally {
    await rm(folder, { recursive: true });
  }
}

const textOf = async (stream: AsyncIterable<Uint8Array>): Promise<string> =>
  Buffer.concat(await Array.fromAsync(stream, (chunk) => Buffer.from(chunk))).toString();

test('ar members have their names, places and sizes; odd sizes are padded', async () => {
  await withFile(
    arOf([
      { path: 'a', content: 'x' },
      { path: 'b', content: 'yz' },
    ]),
    async (path) => {
      deepEqual(await readArMembers(path), [
        { name: 'a', start: 68, sizeBytes: 1 },
        { name: 'b', start: 130, sizeBytes: 2 },
      ]);
    },
  );
});

test('what is no package, or ends too early, is refused', async () => {
  const deb = debOf([{ path: './boot/vmlinuz-1', content: 'kernel'.repeat(1000) }]);
  for (const [bytes, message] of [
    [Buffer.from('not a package'), /expected a Debian package/],
    [Buffer.alloc(0), /expected a Debian package/],
    [deb.subarray(0, deb.length - 9), /truncated: data\.tar\.gz ends at byte/],
    [deb.subarray(0, 100), /damaged ar header/],
    [arOf([{ path: 'debian-binary', content: '2.0\n' }]), /no data\.tar/],
    [arOf([{ path: 'data.tar.gz', content: 'nonsense' }]), /damaged package/],
    [arOf([{ path: 'data.tar', content: 'x'.repeat(1024) }]), /tar: damaged header/],
    [
      arOf([{ path: 'data.tar', content: tarOf([{ path: 'boot/vmlinuz-1', content: 'x'.repeat(600) }]).subarray(0, 700) }]),
      /truncated inside boot/,
    ],
    [arOf([{ path: 'data.tar.xz', content: Buffer.from(XZ_HELLO, 'base64').subarray(0, 40) }]), /truncated|xz|damaged/],
  ] as const) {
    await withFile(bytes, (path) => rejects(readDebFiles(path, { kernel: /vmlinuz/ }), { name: 'VmError', code: 'EBADMSG', message }));
  }
});

test('files are found by pattern, without ./ in front; what is missing is left out', async () => {
  await withFile(
    debOf([
      { path: './boot/System.map', content: '?' },
      { path: './boot/vmlinuz-6.1', content: 'kernel' },
    ]),
    async (path) => {
      const found = await readDebFiles(path, { kernel: /^boot\/vmlinuz-/, module: /\.ko$/ });
      deepEqual([found.kernel?.path, found.kernel?.content.toString(), found.module], ['boot/vmlinuz-6.1', 'kernel', undefined]);
    },
  );
});

test('each compression of deb(5) is read', async () => {
  const tar = tarOf([{ path: 'a', content: 'text' }]);
  for (const [name, bytes] of [
    ['data.tar', tar],
    ['data.tar.gz', gzipSync(tar)],
    ['data.tar.zst', zstdCompressSync(tar)],
  ] as const) {
    equal(await textOf(decompress(Readable.from([bytes]), name)), tar.toString(), name);
  }
  equal(await textOf(decompress(Readable.from([Buffer.from(XZ_HELLO, 'base64')]), 'x.xz')), 'hello from xz\n');
});

test('the xz decoder serves the next reader when one stops early or fails', async () => {
  const bytes = Buffer.from(XZ_HELLO, 'base64');
  for await (const _ of decompress(Readable.from([bytes]), 'x.xz')) break;
  await rejects(textOf(decompress(Readable.from([bytes.subarray(0, bytes.length - 20)]), 'x.xz')));
  equal(await textOf(decompress(Readable.from([bytes]), 'x.xz')), 'hello from xz\n');
});

test('tar: GNU long names, pax paths and chunks of any size', async () => {
  const long = `lib/${'n'.repeat(150)}.ko`;
  const entry = (type: string, content: string): Buffer => {
    const bytes = tarOf([{ path: '././@LongLink', content }]).subarray(0, -1024);
    bytes.write(type, 156);
    bytes.write('        ', 148);
    bytes.write(
      `${bytes
        .subarray(0, 512)
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    );
    return bytes;
  };
  const record = ` path=${long}\n`;
  for (const name of [entry('L', `${long}\0`), entry('x', `${record.length + 3}${record}`)]) {
    const tar = Buffer.concat([
      name,
      tarOf([
        { path: 'short', content: 'one' },
        { path: 'two', content: 'two' },
      ]),
    ]);
    async function* bytewise(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < tar.length; i += 7) yield tar.subarray(i, i + 7);
    }
    const files = await Array.fromAsync(readTar(bytewise(), () => true));
    deepEqual(
      files.map(({ path, content }) => [path, content.toString()]),
      [
        [long, 'one'],
        ['two', 'two'],
      ],
    );
  }
});
