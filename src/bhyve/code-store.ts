/**
 * Where compiled regions are kept from one run to the next: a file for each build and kind of guest memory. What is not exactly what was written
 * is as good as nothing, and nobody waits for anybody: of two that write at the same time, the last one's stays.
 * Implements: docs/jit.md "Kept regions". Runs on: the thread that compiles.
 */
import { closeSync, fstatSync, mkdirSync, openSync, readSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { BUILD_ID } from '../vmmapi/index.ts';

/** Of memory and of the disk. */
export const CODE_STORE_BYTES = 24 * 2 ** 20;
const ID_DIGITS = 16;
/** At the file's end, of what is before: it tells what was cut off or damaged, not what somebody meant to change. */
const CHECKSUM_BYTES = 4;
/** Files of other builds, and what was left of a write, are removed when nobody has touched them for so long. */
const LITTER_MS = 7 * 24 * 3_600_000;

function checksumOf(content: Uint8Array): Buffer {
  const bytes = Buffer.alloc(CHECKSUM_BYTES);
  bytes.writeUInt32LE(crc32(content));
  return bytes;
}

/** A whole file, read to where it stays: its pages are what reading costs. */
function readShared(path: string): Buffer<SharedArrayBuffer> {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.from(new SharedArrayBuffer(fstatSync(file).size));
    let size = 0;
    for (let count = -1; count !== 0 && size < bytes.length; size += count) count = readSync(file, bytes, size, bytes.length - size, null);
    return bytes.subarray(0, size);
  } finally {
    closeSync(file);
  }
}

function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // it cannot be there
  }
}

export class CodeStore {
  readonly #folder: string;
  readonly #path: string;

  /** @param memory which kind of guest memory the code is for */
  constructor(folder: string, memory: string) {
    this.#folder = folder;
    this.#path = join(folder, `${BUILD_ID.slice(0, ID_DIGITS)}-${memory}`);
  }

  /** @returns shared memory: the content, and four bytes; undefined where there is nothing, or nothing that can be read */
  read(): SharedArrayBuffer | undefined {
    try {
      const file = readShared(this.#path),
        end = file.length - CHECKSUM_BYTES;
      return end >= 0 && checksumOf(file.subarray(0, end)).equals(file.subarray(end)) ? file.buffer : undefined;
    } catch {
      return undefined; // the first run, or a folder that cannot be read: it is a matter of speed only
    }
  }

  write(content: Uint8Array): void {
    const unfinished = `${this.#path}.${process.pid}`;
    try {
      mkdirSync(this.#folder, { recursive: true });
      writeFileSync(unfinished, Buffer.concat([content, checksumOf(content)]), { mode: 0o600 });
      renameSync(unfinished, this.#path);
      this.#removeLitter();
    } catch {
      remove(unfinished); // a full disk, or a folder that cannot be written
    }
  }

  #removeLitter(): void {
    for (const name of readdirSync(this.#folder)) {
      const path = join(this.#folder, name);
      if (path !== this.#path && Date.now() - statSync(path).mtimeMs > LITTER_MS) remove(path);
    }
  }
}
