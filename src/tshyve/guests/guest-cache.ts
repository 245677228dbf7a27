/**
 * The guests that are ready to boot, on disk. A guest is there whole or not at all; whatever is interrupted leaves only litter.
 * Runs on: main event loop.
 *
 *   lists/          package indexes, verified again at each use
 *   guests/NAME/DIGEST/{vmlinuz,initrd}
 *   guests/NAME.json   which DIGEST counts; written last
 *   guests/NAME.seen   its files as they were found to be whole: who has not written to them since need not read them
 *   guests/NAME.lock   the process that is pulling NAME
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import type { Hash } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VmError } from '../../base/errors.ts';

/** What is on disk under one name. */
export interface CachedGuest {
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly commandLine: string;
  readonly description: string;
  /** Packages and versions it was made of. */
  readonly packages: Readonly<Record<string, string>>;
  readonly sizeBytes: number;
  readonly pulled: Date;
}

export interface GuestImage {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly commandLine: string;
  readonly description: string;
  readonly packages: Readonly<Record<string, string>>;
}

interface Manifest {
  readonly format: 1;
  readonly digest: string;
  readonly commandLine: string;
  readonly description: string;
  readonly packages: Record<string, string>;
  readonly files: Record<'vmlinuz' | 'initrd', { sha256: string; sizeBytes: number }>;
  readonly pulled: string;
}

/** Of a file that is hashed. */
const PIECE_BYTES = 1 << 20;
const LOCK_POLL_MS = 100;
/** A lock file without a readable owner is one being written; older than this it is litter. */
const LOCK_WRITING_MS = 5000;

/** A file written so short a time ago may be written again and look the same. */
const UNSETTLED_MS = 5000;

/** Loaded where something is hashed: a start whose files have been seen before does without. */
const newHash = (): Hash => process.getBuiltinModule('node:crypto').createHash('sha256');
const sha256 = (bytes: Uint8Array): string => newHash().update(bytes).digest('hex');

export class GuestCache {
  readonly #folder: string;

  readonly #unsettledMs: number;

  constructor(folder: string, unsettledMs = UNSETTLED_MS) {
    this.#folder = folder;
    this.#unsettledMs = unsettledMs;
  }

  /** A file's place among the package indexes. */
  async listPath(name: string): Promise<string> {
    await this.#makeFolder('lists');
    return join(this.#folder, 'lists', name.replace(/[^\w.-]+/g, '_'));
  }

  /** A folder for the downloads of one pull; disposing it removes them. */
  async workFolder(name: string): Promise<{ path: string } & AsyncDisposable> {
    await this.#removeLitter();
    const path = await this.#makeFolder('work', `${fileName(name)}.${process.pid}.${Date.now().toString(36)}`);
    return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
  }

  /** @returns the guest, or undefined when it has not been pulled or its files are not what was stored. */
  async find(name: string): Promise<CachedGuest | undefined> {
    const manifest = await this.#manifest(name);
    if (!manifest) return undefined;
    const pathOf = (file: string): string => join(this.#folder, 'guests', fileName(name), manifest.digest, file);
    const seenPath = join(this.#folder, 'guests', `${fileName(name)}.seen`),
      seen = await readFile(seenPath, 'utf8').catch(() => ''),
      found: string[] = [];
    let sizeBytes = 0;
    for (const [file, expected] of Object.entries(manifest.files)) {
      const look = await lookOf(pathOf(file), expected.sha256);
      // Whatever writes to a file, or puts another in its place, changes how it looks.
      if (look === undefined || (!seen.split('\n').includes(look.text) && !(await isFile(pathOf(file), expected)))) return undefined;
      if (Date.now() - look.changedMs > this.#unsettledMs) found.push(look.text);
      sizeBytes += expected.sizeBytes;
    }
    const text = found.join('\n');
    // In a cache that cannot be written, they are read each time.
    if (text !== seen) await writeAtomically(seenPath, text).catch(() => {});
    const { commandLine, description, packages, pulled } = manifest;
    return {
      kernelPath: pathOf('vmlinuz'),
      initrdPath: pathOf('initrd'),
      commandLine,
      description,
      packages,
      sizeBytes,
      pulled: new Date(pulled),
    };
  }

  /** Store a guest; from the moment it is named by the manifest, older files of that name are no longer used and go. */
  async store(name: string, image: GuestImage): Promise<void> {
    const { kernel, initrd, commandLine, description, packages } = image;
    const describe = (bytes: Uint8Array): { sha256: string; sizeBytes: number } => ({ sha256: sha256(bytes), sizeBytes: bytes.length });
    const files = { vmlinuz: describe(kernel), initrd: describe(initrd) };
    const digest = sha256(Buffer.from(JSON.stringify(files))).slice(0, 16);
    const folder = await this.#makeFolder('guests', fileName(name), digest);
    await writeAtomically(join(folder, 'vmlinuz'), kernel);
    await writeAtomically(join(folder, 'initrd'), initrd);
    const manifest: Manifest = {
      format: 1,
      digest,
      commandLine,
      description,
      packages: { ...packages },
      files,
      pulled: new Date().toISOString(),
    };
    await writeAtomically(this.#manifestPath(name), `${JSON.stringify(manifest, null, 2)}\n`);
    const versions = join(this.#folder, 'guests', fileName(name));
    for (const old of await readdir(versions)) if (old !== digest) await rm(join(versions, old), { recursive: true, force: true });
  }

  /** Run `body` while no other process pulls `name`. @param waiting is told, once, when there is another. */
  async locked<Result>(
    name: string,
    waiting: (owner: number) => void,
    signal: AbortSignal | undefined,
    body: () => Promise<Result>,
  ): Promise<Result> {
    const lock = join(await this.#makeFolder('guests'), `${fileName(name)}.lock`);
    for (let told = false; ;) {
      try {
        await writeFile(lock, String(process.pid), { flag: 'wx' });
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw unwritable(lock, error);
      }
      const owner = Number.parseInt(await readFile(lock, 'utf8').catch(() => ''), 10);
      const ageMs = Date.now() - ((await stat(lock).catch(() => undefined))?.mtimeMs ?? Date.now());
      if (Number.isNaN(owner) ? ageMs > LOCK_WRITING_MS : !isAlive(owner)) {
        await rm(lock, { force: true });
        continue;
      }
      if (!told && !Number.isNaN(owner)) {
        waiting(owner);
        told = true;
      }
      await sleep(LOCK_POLL_MS, undefined, signal ? { signal } : {});
    }
    try {
      return await body();
    } finally {
      await rm(lock, { force: true });
    }
  }

  #manifestPath(name: string): string {
    return join(this.#folder, 'guests', `${fileName(name)}.json`);
  }

  async #manifest(name: string): Promise<Manifest | undefined> {
    const text = await readFile(this.#manifestPath(name), 'utf8').catch(() => undefined);
    if (text === undefined) return undefined;
    try {
      const manifest = JSON.parse(text) as Manifest;
      return manifest.format === 1 && /^[0-9a-f]{16}$/.test(manifest.digest) && manifest.files.vmlinuz && manifest.files.initrd
        ? manifest
        : undefined;
    } catch {
      return undefined; // not ours, or of another version: pulled anew
    }
  }

  async #makeFolder(...parts: string[]): Promise<string> {
    const path = join(this.#folder, ...parts);
    await mkdir(path, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
      throw unwritable(path, error);
    });
    return path;
  }

  /** Work folders are named after the process that uses them; those of dead ones were left behind by a kill. */
  async #removeLitter(): Promise<void> {
    const folder = join(this.#folder, 'work');
    for (const name of await readdir(folder).catch(() => [] as string[])) {
      const pid = Number(name.split('.').at(-2));
      if (!(pid > 0) || !isAlive(pid)) await rm(join(folder, name), { recursive: true, force: true });
    }
  }
}

/** Which file `path` is, and when it was last changed (which no program can set), beside what was found or is expected in it. */
async function lookOf(path: string, digest: string): Promise<{ readonly text: string; readonly changedMs: number } | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return (
    found && {
      text: `${digest} ${found.dev} ${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`,
      changedMs: Number(found.ctimeMs),
    }
  );
}

/** Is the file at `path` whole and what was expected? Read in pieces: it should not stay in memory. */
export async function isFile(path: string, expected: { readonly sha256: string; readonly sizeBytes: number }): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found?.size !== expected.sizeBytes) return false;
  const hash = newHash(),
    piece = Buffer.alloc(PIECE_BYTES),
    file = openSync(path, 'r');
  try {
    // The program waits for it anyway, and a thread of Node's takes its time to begin.
    for (let bytesRead; (bytesRead = readSync(file, piece)) > 0;) hash.update(piece.subarray(0, bytesRead));
  } finally {
    closeSync(file);
  }
  return hash.digest('hex') === expected.sha256;
}

const fileName = (guest: string): string => guest.replace(/[^\w.-]+/g, '-');

function unwritable(path: string, cause: unknown): VmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new VmError('EACCES', `cache ${path}: ${reason}; XDG_CACHE_HOME names another place`, { cause });
}

async function writeAtomically(path: string, content: Uint8Array | string): Promise<void> {
  const part = `${path}.part.${process.pid}`;
  try {
    await writeFile(part, content, { flush: true });
    await rename(part, path);
  } catch (cause) {
    await rm(part, { force: true });
    if ((cause as NodeJS.ErrnoException).code === 'ENOSPC')
      throw new VmError('ENOSPC', `${path}: no space left for ${content.length} bytes`, { cause });
    throw unwritable(path, cause);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
