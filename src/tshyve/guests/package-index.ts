/**
 * Debian's package indexes.
 * Implements: the Debian repository format, Packages files; deb-control fields of binary packages.
 * Runs on: main event loop.
 */
import { createReadStream } from 'node:fs';
import { VmError } from '../../base/errors.ts';
import { parseStanzas } from './apt-config.ts';
import { decompress } from './deb.ts';
import { compareDebianVersions } from './debian-version.ts';

export interface Package {
  readonly name: string;
  readonly version: string;
  /** Names of the packages it depends on, in order, the first of each group of alternatives. */
  readonly depends: readonly string[];
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Below the archive's root. */
  readonly path: string;
}

/** Read the packages whose name `want` matches from a Packages file, whose compression its own name tells. */
export async function readPackages(file: string, want: RegExp): Promise<Package[]> {
  const packages: Package[] = [];
  const take = (text: string): void => {
    for (const stanza of text.split('\n\n')) {
      const name = /^Package: (.*)$/m.exec(stanza)?.[1];
      if (name !== undefined && want.test(name)) packages.push(packageOf(parseStanzas(stanza)[0]!, file));
    }
  };
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of decompress(createReadStream(file, { highWaterMark: 1 << 18 }), file)) {
    const block = Buffer.concat([rest, chunk]);
    const end = block.lastIndexOf('\n\n');
    if (end >= 0) take(block.toString('utf8', 0, end));
    rest = end >= 0 ? block.subarray(end + 2) : block;
  }
  take(rest.toString('utf8'));
  return packages;
}

function packageOf(stanza: ReadonlyMap<string, string>, file: string): Package {
  const field = (name: string): string => stanza.get(name)?.trim() ?? '';
  const found: Package = {
    name: field('package'),
    version: field('version'),
    depends: field('depends')
      .split(',')
      .map((group) => group.trim().split(/[\s|(:]/)[0]!)
      .filter(Boolean),
    sha256: field('sha256'),
    sizeBytes: Number(field('size')),
    path: field('filename'),
  };
  if (
    !/^[0-9a-f]{64}$/.test(found.sha256) ||
    !Number.isSafeInteger(found.sizeBytes) ||
    found.path === '' ||
    found.path.split('/').includes('..')
  ) {
    throw new VmError('EBADMSG', `${file}: ${found.name}: expected Version, SHA256, Size and Filename`);
  }
  return found;
}

/** @returns the newest of the packages with that name, or whose name matches. */
export function newest(packages: readonly Package[], name: string | RegExp): Package | undefined {
  return packages
    .filter((found) => (typeof name === 'string' ? found.name === name : name.test(found.name)))
    .reduce<Package | undefined>(
      (best, found) => (!best || compareDebianVersions(found.version, best.version) > 0 ? found : best),
      undefined,
    );
}
