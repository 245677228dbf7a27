/**
 * A Debian archive made in memory, signed with a throwaway key, behind a server on the loopback interface.
 * Runs on: tests.
 */
import { createHash } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { createCleartextMessage, generateKey, readPrivateKey, sign } from 'openpgp';

export interface FileEntry {
  readonly path: string;
  readonly content: Uint8Array | string;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** tar(5), ustar. */
export function tarOf(files: readonly FileEntry[]): Buffer {
  const parts = files.flatMap(({ path, content }) => {
    const data = Buffer.from(content as Uint8Array);
    const header = Buffer.alloc(512);
    header.write(path, 0);
    header.write('0000644\x000000000\x000000000\x00', 100);
    header.write(`${data.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('00000000000\0        0', 136);
    header.write('ustar\x0000', 257);
    header.write(
      `${header
        .reduce((sum, byte) => sum + byte, 0)
        .toString(8)
        .padStart(6, '0')}\0 `,
      148,
    );
    return [header, data, Buffer.alloc(-data.length & 511)];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

/** ar(5). */
export function arOf(members: readonly FileEntry[]): Buffer {
  const parts = members.flatMap(({ path, content }) => {
    const data = Buffer.from(content as Uint8Array);
    const header = `${path.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(data.length).padEnd(10)}\`\n`;
    return [Buffer.from(header), data, Buffer.alloc(data.length & 1, '\n')];
  });
  return Buffer.concat([Buffer.from('!<arch>\n'), ...parts]);
}

export function debOf(files: readonly FileEntry[]): Buffer {
  return arOf([
    { path: 'debian-binary', content: '2.0\n' },
    { path: 'control.tar.gz', content: gzipSync(tarOf([{ path: './control', content: 'Package: x\n' }])) },
    { path: 'data.tar.gz', content: gzipSync(tarOf(files)) },
  ]);
}

export interface TestPackage {
  readonly name: string;
  readonly version: string;
  readonly depends?: string;
  readonly files: readonly FileEntry[];
}

/** What a request gets in place of the file. */
export type Answer = (response: ServerResponse, content: Buffer) => void;

export interface TestArchive extends AsyncDisposable {
  /** Of the main archive; the security archive is beside it. */
  readonly url: string;
  readonly publicKey: string;
  /** Paths asked for, in order. */
  readonly requests: string[];
  /** Answers that differ, by the end of the path. */
  readonly answers: Map<string, Answer>;
  /** Sign the present files anew after a change of packages. */
  publish(suite: string, packages: readonly TestPackage[], fields?: Readonly<Record<string, string>>): Promise<void>;
  readonly files: Map<string, Buffer>;
}

export async function startArchive(): Promise<TestArchive> {
  const { privateKey, publicKey } = await generateKey({ type: 'curve25519', userIDs: [{ name: 'throwaway' }], format: 'armored' });
  const signingKeys = await readPrivateKey({ armoredKey: privateKey });
  const files = new Map<string, Buffer>();
  const answers = new Map<string, Answer>();
  const requests: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url ?? '');
    requests.push(path);
    const content = files.get(path);
    const answer = [...answers].find(([end]) => path.endsWith(end))?.[1];
    if (!content) return void response.writeHead(404).end();
    if (answer) return answer(response, content);
    response.writeHead(200, { 'content-length': content.length }).end(content);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/debian`;

  const publish: TestArchive['publish'] = async (suite, packages, fields = {}) => {
    const root = suite.endsWith('-security') ? '/debian-security' : '/debian';
    const stanzas = packages.map(({ name, version, depends, files: content }) => {
      const deb = debOf(content);
      const path = `pool/main/${name}_${version}_amd64.deb`;
      files.set(`${root}/${path}`, deb);
      const dependency = depends === undefined ? '' : `Depends: ${depends}\n`;
      return `Package: ${name}\nVersion: ${version}\n${dependency}Filename: ${path}\nSize: ${deb.length}\nSHA256: ${sha256(deb)}\n`;
    });
    const index = gzipSync(stanzas.join('\n'));
    files.set(`${root}/dists/${suite}/main/binary-amd64/Packages.gz`, index);
    const release = { Suite: suite, Codename: suite, Date: new Date().toUTCString(), ...fields };
    const head = Object.entries(release).map(([field, value]) => `${field}: ${value}\n`);
    const text = `${head.join('')}SHA256:\n ${sha256(index)} ${index.length} main/binary-amd64/Packages.gz\n`;
    const message = await createCleartextMessage({ text });
    files.set(`${root}/dists/${suite}/InRelease`, Buffer.from(await sign({ message, signingKeys })));
  };

  return {
    url,
    publicKey,
    requests,
    answers,
    files,
    publish,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
