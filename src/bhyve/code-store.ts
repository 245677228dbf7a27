/**
 * Where compiled regions are kept from one run to the next: a file for each build and kind of guest memory. What is not exactly what was written
 * is as good as nothing, and nobody waits for anybody: of two that write at the same time, the last one's stays.
 * Implements: docs/jit.md "Kept regions". Runs on: the thread that compiles.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BUILD_ID } from '../vmmapi/index.ts';

/** Of memory and of the disk. */
export const CODE_STORE_BYTES = 24 * 2 ** 20;
const ID_DIGITS = 16;
const HASH_BYTES = 32;
/** Files of other builds, and what was left of a write, are removed when nobody has touched them for so long. */
const LITTER_MS = 7 * 24 * 3_600_000;

const hashOf = (content: Uint8Array): Buffer => createHash('sha256').update(content).digest();

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

  /** @returns shared memory; undefined where there is nothing, or nothing that can be read */
  read(): SharedArrayBuffer | undefined {
    try {
      const file = readFileSync(this.#path),
        content = file.subarray(HASH_BYTES);
      if (!hashOf(content).equals(file.subarray(0, HASH_BYTES))) return undefined;
      const shared = new SharedArrayBuffer(content.length);
      new Uint8Array(shared).set(content);
      return shared;
    } catch {
      return undefined; // the first run, or a folder that cannot be read: it is a matter of speed only
    }
  }

  write(content: Uint8Array): void {
    const unfinished = `${this.#path}.${process.pid}`;
    try {
      mkdirSync(this.#folder, { recursive: true });
      writeFileSync(unfinished, Buffer.concat([hashOf(content), content]), { mode: 0o600 });
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
