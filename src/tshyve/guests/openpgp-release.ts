/**
 * A suite's Release file, believed only when one of Debian's archive keys has signed it.
 * Implements: the Debian repository format, InRelease (OpenPGP cleartext signature, RFC 9580 7) and Release files.
 * Runs on: main event loop. Not modelled: detached signatures (Release.gpg), which every current mirror has beside InRelease.
 */
import { VmError } from '../../base/errors.ts';
import { parseStanzas } from './apt-config.ts';

export interface IndexFile {
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface Release {
  readonly suite: string;
  readonly codename: string;
  readonly date: Date;
  /** After this the mirror is stale; archives of released suites have none. */
  readonly validUntil: Date | undefined;
  readonly byHash: boolean;
  /** Path below dists/SUITE/ -> what it must be. */
  readonly files: ReadonlyMap<string, IndexFile>;
}

/**
 * Check the signature of an InRelease file and read what it vouches for.
 * @param armoredKeys public keys, any number of armored blocks
 * @param where shown in errors
 * @throws VmError EBADMSG when it is no signed Release file, or no key of ours has signed it
 */
export async function verifyRelease(inRelease: string, armoredKeys: string, where: string, now = new Date()): Promise<Release> {
  const { readCleartextMessage, readKeys, verify } = await import('openpgp');
  const blocks = armoredKeys.match(/-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]*?-----END PGP PUBLIC KEY BLOCK-----/g) ?? [];
  const keys = (await Promise.all(blocks.map((armoredKeys) => readKeys({ armoredKeys })))).flat();
  const message = await readCleartextMessage({ cleartextMessage: inRelease }).catch((cause: unknown) => {
    throw new VmError('EBADMSG', `${where}: expected a signed Release file: ${firstLine(cause)}`, { cause });
  });
  const release = parseRelease(message.getText(), where);
  // A machine whose clock is behind would find every signature to lie in the future.
  const date = new Date(Math.max(now.getTime(), release.date.getTime()));
  const { signatures } = await verify({ message, verificationKeys: keys, date });
  const results = await Promise.allSettled(signatures.map(({ verified }) => verified));
  if (!results.some((result) => result.status === 'fulfilled')) {
    const ids = signatures.map(({ keyID }) => keyID.toHex().toUpperCase()).join(', ');
    const reasons = new Set(results.map((result) => (result.status === 'rejected' ? firstLine(result.reason) : '')));
    throw new VmError(
      'EBADMSG',
      `${where}: no valid signature of a Debian archive key (signed by ${ids || 'nobody'}: ${[...reasons].join('; ')})`,
    );
  }
  return release;
}

const firstLine = (error: unknown): string => (error instanceof Error ? error.message : String(error)).split('\n')[0]!;

function parseRelease(text: string, where: string): Release {
  const stanza = parseStanzas(text)[0] ?? new Map<string, string>();
  const files = new Map<string, IndexFile>();
  for (const line of (stanza.get('sha256') ?? '').split('\n')) {
    const match = /^([0-9a-f]{64})\s+(\d+)\s+(\S+)$/.exec(line.trim());
    if (match) files.set(match[3]!, { sha256: match[1]!, sizeBytes: Number(match[2]) });
  }
  const date = new Date(stanza.get('date') ?? '');
  const suite = stanza.get('suite') ?? '';
  if (files.size === 0 || Number.isNaN(date.getTime())) {
    throw new VmError('EBADMSG', `${where}: expected a Release file with Date and SHA256 fields`);
  }
  const until = new Date(stanza.get('valid-until') ?? '');
  return {
    suite,
    codename: stanza.get('codename') ?? '',
    date,
    validUntil: Number.isNaN(until.getTime()) ? undefined : until,
    byHash: stanza.get('acquire-by-hash')?.trim() === 'yes',
    files,
  };
}
