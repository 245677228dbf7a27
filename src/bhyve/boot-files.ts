/**
 * Reading the files a configuration names: bounded, and with errors that name the flag and the file.
 * Runs on: main event loop.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { VmError } from '../base/errors.ts';
import type { ErrorCode } from '../base/errors.ts';
import { formatSize, quote } from './config/numbers.ts';
import type { DirectBoot, VmSettings } from './config/settings.ts';
import type { ConfigTree } from './config/tree.ts';
import type { BootFiles } from './engine.ts';
import type { BootModule, ImageFile } from './loaders/image.ts';

/** Errno codes which our errors share with the host's; others become EIO. */
const PASSED_CODES: ReadonlySet<string> = new Set<ErrorCode>(['ENOENT', 'EACCES', 'EPERM', 'ENAMETOOLONG', 'EIO', 'ENXIO', 'ENODEV']);
const MAX_CONFIG_BYTES = 1 << 20;
const CHUNK_BYTES = 1 << 20;
/** Multiboot takes a list; more than this is a mistake. */
const MAX_MODULES = 64;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is no directory',
  ELOOP: 'symbolic links in a circle',
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'too many open files',
};

/** @param done what could not be done with the file */
export function hostError(flag: string, path: string, cause: unknown, done: 'read' | 'written' = 'read'): VmError {
  const code = (cause as NodeJS.ErrnoException).code ?? '';
  return new VmError(
    PASSED_CODES.has(code) ? (code as ErrorCode) : 'EIO',
    `${flag} ${quote(path)}: cannot be ${done}: ${REASONS[code] ?? (code || String(cause))}`,
    { cause },
  );
}

/** Opened files stay open as long as what has opened them. */
export type OpenFiles = AsyncDisposableStack;

/**
 * A file to boot. Once it is in the guest its bytes are given back (a kernel and its initial RAM disk are tens of megabytes); the next
 * boot reads them again, from the same file even if another has taken its name.
 */
class FileImage implements ImageFile {
  readonly name: string;
  readonly #flag: string;
  readonly #handle: FileHandle;
  readonly #isAgainReadable: boolean;
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #sizeBytes: number;

  constructor(flag: string, path: string, handle: FileHandle, bytes: Uint8Array<ArrayBuffer>, isAgainReadable: boolean) {
    this.name = path;
    this.#flag = flag;
    this.#handle = handle;
    this.#bytes = bytes;
    this.#sizeBytes = bytes.length;
    this.#isAgainReadable = isAgainReadable;
  }

  /** @throws VmError when the file cannot be read again. */
  get bytes(): Uint8Array {
    this.#bytes ??= this.#readAgain();
    return this.#bytes;
  }

  release(): void {
    if (!this.#isAgainReadable || !this.#bytes) return;
    // At once; the collector would take its time.
    this.#bytes.buffer.transfer(0);
    this.#bytes = undefined;
  }

  #readAgain(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#sizeBytes);
    try {
      for (let used = 0; used < bytes.length;) {
        const read = readSync(this.#handle.fd, bytes, used, bytes.length - used, used);
        // It has become shorter: the loader says what is missing.
        if (read === 0) return bytes.subarray(0, used);
        used += read;
      }
    } catch (error) {
      throw hostError(this.#flag, this.name, error);
    }
    return bytes;
  }
}

/**
 * Read a whole file, or pipe, of at most `maxBytes`.
 * @param why of the limit, for the message: `guest memory`.
 * @throws VmError naming flag and path when it is missing, not to be read, no file, empty or larger than that.
 */
async function readImage(files: OpenFiles, flag: string, path: string, maxBytes: number, why: string): Promise<ImageFile> {
  if (path.includes('\0')) throw new VmError('EINVAL', `${flag} ${quote(path)}: expected the path of a file`);
  const tooLarge = (): VmError =>
    new VmError('EFBIG', `${flag} ${quote(path)}: more than ${formatSize(maxBytes)}; expected at most that (${why})`);
  try {
    const file = files.use(await open(path, 'r'));
    const status = await file.stat();
    if (!status.isFile() && !status.isFIFO()) {
      throw new VmError(
        'EINVAL',
        `${flag} ${quote(path)}: ${status.isDirectory() ? 'it is a directory' : 'it is a device'}; expected a file or a pipe`,
      );
    }
    if (status.size > maxBytes) throw tooLarge();
    let bytes = new Uint8Array(status.isFile() ? status.size + 1 : CHUNK_BYTES);
    let used = 0;
    for (;;) {
      if (used === bytes.length) {
        const larger = new Uint8Array(bytes.length * 2);
        larger.set(bytes);
        bytes = larger;
      }
      const { bytesRead } = await file.read(bytes, used, bytes.length - used, null);
      if (bytesRead === 0) break;
      used += bytesRead;
      if (used > maxBytes) throw tooLarge();
    }
    if (used === 0) throw new VmError('ENOEXEC', `${flag} ${quote(path)}: the file is empty`);
    return new FileImage(flag, path, file, bytes.subarray(0, used), status.isFile());
  } catch (error) {
    if (error instanceof VmError) throw error;
    throw hostError(flag, path, error);
  }
}

/**
 * Text of a `-k` file: a file or a pipe of at most 1 MiB.
 * @throws VmError with bhyve's text and the cause.
 */
export function readConfigFile(path: string): string {
  const fail = (code: ErrorCode, why: string, cause?: unknown): VmError =>
    new VmError(code, `Failed to open configuration file ${quote(path)}: ${why}`, { cause });
  if (path === '' || path.includes('\0')) throw fail('EINVAL', 'expected the path of a file');
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const status = fstatSync(fd);
    if (!status.isFile() && !status.isFIFO())
      throw fail('EINVAL', `${status.isDirectory() ? 'it is a directory' : 'it is a device'}; expected a file or a pipe`);
    const bytes = new Uint8Array(MAX_CONFIG_BYTES + 1);
    let used = 0;
    for (let read = -1; read !== 0 && used < bytes.length; used += read) read = readSync(fd, bytes, used, bytes.length - used, null);
    if (used > MAX_CONFIG_BYTES) throw fail('EFBIG', `more than ${formatSize(MAX_CONFIG_BYTES)}; expected at most that`);
    return new TextDecoder().decode(bytes.subarray(0, used));
  } catch (error) {
    if (error instanceof VmError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    throw fail(PASSED_CODES.has(code) ? (code as ErrorCode) : 'EIO', REASONS[code] ?? (code || String(error)), error);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Files that are in memory already, by the variable that would name them: `kernel`, `initrd`. */
export type GivenImages = ReadonlyMap<string, ImageFile>;

/**
 * Kernel, initial RAM disk and `module.N.path` / `module.N.cmdline`, N from 0 without gaps.
 * @throws VmError naming variable and file.
 */
export async function readBootFiles(
  files: OpenFiles,
  tree: ConfigTree,
  settings: VmSettings,
  boot: DirectBoot,
  given: GivenImages,
): Promise<BootFiles> {
  const image = async (variable: string, path: string): Promise<ImageFile> =>
    given.get(variable) ??
    // Whatever is larger than the guest's memory fits nowhere; what is a little smaller is for the loader to say.
    (await readImage(files, variable, path, settings.memoryBytes, `guest memory: ${formatSize(settings.memoryBytes)}`));
  const kernel = await image('kernel', boot.kernel);
  const initrd = boot.initrd === undefined ? undefined : await image('initrd', boot.initrd);
  const modules: BootModule[] = [];
  const numbers = tree.children('module');
  for (let number = 0; number < numbers.length; number++) {
    const path = tree.get(`module.${number}.path`);
    if (path === undefined || number >= MAX_MODULES) {
      throw new VmError(
        'EINVAL',
        `module.${number}.path: ${path === undefined ? 'not set' : 'too many'}; expected module.0.path, module.1.path, ... without gaps, at most ${MAX_MODULES}`,
      );
    }
    modules.push({ image: await image(`module.${number}`, path), commandLine: tree.get(`module.${number}.cmdline`) ?? path });
  }
  return { kernel, initrd, modules, commandLine: boot.cmdline };
}

/** Firmware: whole pages, at most what the top of the 32-bit space has room for. */
export async function readBootrom(files: OpenFiles, path: string): Promise<ImageFile> {
  const image = await readImage(files, '-l bootrom', path, 16 << 20, 'the space below 4 GiB');
  const sizeBytes = image.bytes.length;
  if (sizeBytes % 4096 !== 0) {
    throw new VmError('ENOEXEC', `-l bootrom ${quote(path)}: ${sizeBytes} bytes; expected a multiple of 4096, up to 16M`);
  }
  return image;
}
