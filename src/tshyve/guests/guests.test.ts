import { deepEqual, equal, ok, rejects } from 'node:assert/strict';
import { mkdtemp, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync, gzipSync } from 'node:zlib';
import { silentLog } from '../../base/log.ts';
import { GuestCache } from './guest-cache.ts';
import { ensureGuest, listGuests, pullGuest, silentProgress, type PullOptions } from './index.ts';
import { startArchive, type TestArchive, type TestPackage } from './testing/archive.ts';

const KERNEL = 'kernel '.repeat(50_000);
const BUSYBOX: TestPackage = { name: 'busybox-static', version: '1:1.35.0-4', files: [{ path: './bin/busybox', content: 'busybox' }] };

function kernelPackages(version: string): TestPackage[] {
  const name = `linux-image-${version}-cloud-amd64`;
  return [
    { name: 'linux-image-cloud-amd64', version: `${version}-1`, depends: `${name} (= ${version}-1)`, files: [] },
    {
      name,
      version: `${version}-1`,
      depends: 'kmod, linux-base',
      files: [{ path: `./boot/vmlinuz-${version}`, content: `${version} ${KERNEL}` }],
    },
  ];
}

interface Fixture extends AsyncDisposable {
  readonly archive: TestArchive;
  readonly options: PullOptions & { env: NodeJS.ProcessEnv };
  readonly folder: string;
}

/** An archive with 6.1.1 in main and 6.1.2 in security, and an empty cache. */
async function fixture(): Promise<Fixture> {
  const folder = await mkdtemp(join(tmpdir(), 'tshyve-guests-'));
  const archive = await startArchive();
  await archive.publish('bookworm', [...kernelPackages('6.1.1'), BUSYBOX]);
  await archive.publish('bookworm-security', kernelPackages('6.1.2'));
  const env = { XDG_CACHE_HOME: folder };
  return {
    archive,
    folder,
    options: { mirror: archive.url, keys: archive.publicKey, env, log: silentLog, progress: silentProgress, aptFolder: '/nonexistent' },
    async [Symbol.asyncDispose]() {
      await archive[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Nothing may stay behind of a pull that failed. */
async function isClean(folder: string): Promise<void> {
  const left = await readdir(join(folder, 'tshyve'), { recursive: true });
  deepEqual(
    left.filter((name) => /part|lock|work\/|guests\//.test(name)),
    [],
  );
}

test('a guest is pulled once: the newest kernel of both archives, then from the cache without network', async () => {
  await using made = await fixture();
  const guest = await ensureGuest('debian', made.options);
  equal((await readFile(guest.kernelPath, 'utf8')).slice(0, 5), '6.1.2');
  ok((await readFile(guest.initrdPath)).includes('bin/busybox'));
  ok(guest.commandLine.includes('console=ttyS0'));

  const requests = made.archive.requests.length;
  deepEqual(await ensureGuest('debian:6.1', { ...made.options, mirror: 'http://127.0.0.1:1/debian' }), guest);
  equal(made.archive.requests.length, requests);
  deepEqual(
    (await listGuests(made.options.env)).filter(({ cached }) => cached).map(({ name }) => name),
    ['debian'],
  );
});

test('pull brings a newer kernel; when it fails, the guest that was there stays', async () => {
  await using made = await fixture();
  await ensureGuest('debian', made.options);
  await made.archive.publish('bookworm-security', kernelPackages('6.1.10'));
  made.archive.answers.set('.deb', (response) => void response.writeHead(403).end());
  await rejects(pullGuest('debian', made.options), { code: 'EIO', message: /6\.1\.10.*HTTP 403|busybox.*HTTP 403/ });
  equal((await readFile((await ensureGuest('debian', made.options)).kernelPath, 'utf8')).slice(0, 5), '6.1.2');
  made.archive.answers.clear();
  equal((await readFile((await pullGuest('debian', made.options)).kernelPath, 'utf8')).slice(0, 6), '6.1.10');
});

test('two pulls at once fetch each file once', async () => {
  await using made = await fixture();
  const [one, two] = await Promise.all([ensureGuest('debian', made.options), ensureGuest('debian', made.options)]);
  deepEqual(one, two);
  equal(made.archive.requests.filter((path) => path.endsWith('.deb')).length, 2);
});

test('whatever is tampered with is refused in one line, and the cache stays clean', async () => {
  const flip = (content: Buffer, at: number): Buffer => {
    const copy = Buffer.from(content);
    copy[at]! ^= 1;
    return copy;
  };
  const cases: readonly [name: string, tamper: (archive: TestArchive) => Promise<void> | void, message: RegExp][] = [
    [
      'a Release file that names another index',
      ({ files }) => {
        const path = '/debian/dists/bookworm/InRelease';
        files.set(
          path,
          Buffer.from(
            files
              .get(path)!
              .toString()
              .replace(/^ [0-9a-f]{8}/m, ' 00000000'),
          ),
        );
      },
      /bookworm\/InRelease: no valid signature of a Debian archive key/,
    ],
    [
      'a Release file signed by somebody else',
      async (archive) => {
        await using other = await startArchive();
        await other.publish('bookworm', kernelPackages('6.1.1'));
        archive.files.set('/debian/dists/bookworm/InRelease', other.files.get('/debian/dists/bookworm/InRelease')!);
      },
      /bookworm\/InRelease: no valid signature of a Debian archive key/,
    ],
    [
      'a Release file without a signature',
      ({ files }) => void files.set('/debian/dists/bookworm/InRelease', Buffer.from('Suite: bookworm\nSHA256:\n')),
      /bookworm\/InRelease: expected a signed Release file/,
    ],
    [
      'the good Release file of another suite',
      ({ files }) => void files.set('/debian/dists/bookworm/InRelease', files.get('/debian-security/dists/bookworm-security/InRelease')!),
      /the signed file is about bookworm-security; expected bookworm/,
    ],
    [
      'an index with another package hash',
      ({ files }) => {
        const path = '/debian/dists/bookworm/main/binary-amd64/Packages.gz';
        files.set(
          path,
          gzipSync(
            gunzipSync(files.get(path)!)
              .toString()
              .replace(/SHA256: ..../, 'SHA256: 0000'),
          ),
        );
      },
      /Packages\.gz: not the file that the signed index names/,
    ],
    [
      'a package with one bit flipped',
      ({ files }) => {
        for (const [path, content] of files) if (path.includes('6.1.2-cloud')) files.set(path, flip(content, content.length >> 1));
      },
      /linux-image-6\.1\.2-cloud-amd64_.*: not the file that the signed index names/,
    ],
    [
      'a package that ends early',
      ({ files }) => {
        for (const [path, content] of files) if (path.includes('6.1.2-cloud')) files.set(path, content.subarray(0, content.length - 100));
      },
      /linux-image-6\.1\.2-cloud-amd64_.*: not the file that the signed index names/,
    ],
    [
      'a connection that breaks inside a package',
      ({ answers }) =>
        void answers.set('.deb', (response, content) =>
          response.writeHead(200, { 'content-length': content.length }).write(content.subarray(0, 50), () => response.destroy()),
        ),
      /\.deb: (the connection ended|aborted|socket hang up)/,
    ],
    [
      'a package that is not there',
      ({ files }) => [...files.keys()].filter((path) => path.includes('busybox')).forEach((path) => files.delete(path)),
      /busybox.*HTTP 404/,
    ],
    ['an archive that is not there', ({ files }) => files.clear(), /bookworm\/InRelease: HTTP 404/],
    [
      'a server that fails',
      ({ answers }) => void answers.set('InRelease', (response) => void response.writeHead(503).end()),
      /InRelease: HTTP 503/,
    ],
  ];
  for (const [name, tamper, message] of cases) {
    await using made = await fixture();
    await tamper(made.archive);
    await rejects(ensureGuest('debian', made.options), (error: Error & { code?: string }) => {
      equal(error.name, 'VmError', `${name}: ${error.stack}`);
      ok(message.test(error.message) && !error.message.includes('\n'), `${name}: ${error.message}`);
      return true;
    });
    await isClean(made.folder);
  }
});

test('a pull that is interrupted leaves nothing, and the next one succeeds', async () => {
  await using made = await fixture();
  const controller = new AbortController();
  made.archive.answers.set('.deb', (response, content) => {
    response.writeHead(200, { 'content-length': content.length }).write(content.subarray(0, 100));
    controller.abort();
  });
  await rejects(ensureGuest('debian', { ...made.options, signal: controller.signal }), { name: 'AbortError' });
  await isClean(made.folder);
  made.archive.answers.clear();
  ok((await ensureGuest('debian', made.options)).kernelPath);
});

test('a connection that breaks once is tried again', async () => {
  await using made = await fixture();
  let broken = 0;
  made.archive.answers.set('.deb', (response, content) => {
    if (broken++ === 0) response.destroy();
    else response.writeHead(200, { 'content-length': content.length }).end(content);
  });
  ok((await ensureGuest('debian', made.options)).kernelPath);
});

test('a cached file that was cut short or changed is fetched again', async () => {
  await using made = await fixture();
  for (const damage of [
    (path: string) => truncate(path, 10),
    (path: string) => writeFile(path, 'x'.repeat(KERNEL.length + 6)),
    (path: string) => rm(path),
  ]) {
    await damage((await ensureGuest('debian', made.options)).kernelPath);
    equal((await readFile((await ensureGuest('debian', made.options)).kernelPath, 'utf8')).slice(0, 5), '6.1.2');
  }
});

test('a file is hashed once, and again when somebody has written to it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tshyve-seen-'));
  const hashes = mock.method(process, 'getBuiltinModule');
  try {
    const content = (digit: string): Buffer => Buffer.from(digit.repeat(1000));
    const cache = new GuestCache(folder, -1);
    await cache.store('some', { kernel: content('1'), initrd: content('2'), commandLine: '', description: '', packages: {} });
    const first = await cache.find('some'),
      once = hashes.mock.callCount();
    ok(first);
    deepEqual(await cache.find('some'), first);
    equal(hashes.mock.callCount(), once);
    equal(await readFile(first.kernelPath, 'latin1'), '1'.repeat(1000));
    await sleep(50); // the clock of a file system may tick so slowly
    await writeFile(first.kernelPath, content('3'));
    equal(await cache.find('some'), undefined);
    equal(hashes.mock.callCount(), once + 1);
    // Just written: it may be written again within the same tick.
    await writeFile(first.kernelPath, content('1'));
    const careful = new GuestCache(folder);
    ok(await careful.find('some'));
    ok(await careful.find('some'));
    ok(hashes.mock.callCount() >= once + 3);
  } finally {
    hashes.mock.restore();
    await rm(folder, { recursive: true });
  }
});

test('the lock and the litter of a process that was killed are in nobody’s way', async () => {
  await using made = await fixture();
  await ensureGuest('debian', made.options);
  const cache = join(made.folder, 'tshyve');
  // No process has the largest number that Linux allows.
  await writeFile(join(cache, 'guests/debian.lock'), '4194304');
  await writeFile(join(cache, 'work/debian.4194304.x'), 'half a package');
  await pullGuest('debian', made.options);
  deepEqual(await readdir(join(cache, 'work')), []);
});

test('redirections are followed to http and https only', async () => {
  await using made = await fixture();
  const path = '/debian-security/dists/bookworm-security/InRelease';
  made.archive.files.set('/elsewhere', made.archive.files.get(path)!);
  made.archive.answers.set(path, (response) => void response.writeHead(302, { location: '/elsewhere' }).end());
  ok((await ensureGuest('debian', made.options)).kernelPath);
  made.archive.answers.set(path, (response) => void response.writeHead(302, { location: 'file:///etc/passwd' }).end());
  await rejects(pullGuest('debian', made.options), { message: /redirected to file:\/\/\/etc\/passwd: expected http or https/ });
  made.archive.answers.set(path, (response) => void response.writeHead(302, { location: path }).end());
  await rejects(pullGuest('debian', made.options), { message: /more than 5 redirections/ });
});

test('a mirror that is named may lack the security archive; its kernel is then that of main', async () => {
  await using made = await fixture();
  for (const path of made.archive.files.keys()) if (path.startsWith('/debian-security/')) made.archive.files.delete(path);
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void warnings.push(message) };
  const { kernelPath } = await ensureGuest('debian', { ...made.options, log });
  equal((await readFile(kernelPath, 'utf8')).slice(0, 5), '6.1.1');
  ok(/no security archive beside the mirror named/.test(warnings.join()));
});

test('a stale mirror is used with a warning', async () => {
  await using made = await fixture();
  await made.archive.publish('bookworm-security', kernelPackages('6.1.2'), { 'Valid-Until': 'Sat, 01 Jan 2022 00:00:00 UTC' });
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void warnings.push(message) };
  await ensureGuest('debian', { ...made.options, log });
  ok(/was to be replaced by 2022-01-01/.test(warnings.join()));
});

test('wrong names and mirrors are refused before anything is fetched', async () => {
  await using made = await fixture();
  await rejects(ensureGuest('slackware', made.options), { code: 'ENOENT', message: /guest 'slackware': expected one of debian, / });
  await rejects(ensureGuest('debian', { ...made.options, mirror: 'ftp://x' }), {
    code: 'EINVAL',
    message: /--mirror=ftp:\/\/x: expected the URL of a Debian archive/,
  });
  const env = { ...made.options.env, TSHYVE_DEBIAN_MIRROR: 'nonsense' };
  await rejects(ensureGuest('debian', { ...made.options, mirror: undefined, env }), { message: /TSHYVE_DEBIAN_MIRROR=nonsense/ });
  await rejects(ensureGuest('debian', { ...made.options, env: { XDG_CACHE_HOME: '/dev/null' } }), {
    code: 'EACCES',
    message: /cache \/dev\/null\/tshyve/,
  });
  deepEqual(made.archive.requests, []);
});
