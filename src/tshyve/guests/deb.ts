/**
 * Files out of a Debian package.
 * Implements: deb(5) (an ar archive with a compressed tar inside), ar(5), tar(5) (ustar with GNU long names and pax paths).
 * Runs on: main event loop. Not modelled: sparse files, links: only regular files are wanted here.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { VmError } from '../../base/errors.ts';

export interface ArMember {
  readonly name: string;
  readonly start: number;
  readonly sizeBytes: number;
}

const AR_MAGIC = '!<arch>\n';
const AR_HEADER_BYTES = 60;
const TAR_BLOCK_BYTES = 512;
/** No file that we take out of a package comes near this; a damaged header must not make us allocate. */
const MAX_FILE_BYTES = 256 << 20;
const MAX_MEMBERS = 64;

/**
 * The members of an ar archive.
 * @throws VmError EBADMSG when a header is damaged or a member ends behind the file's end
 */
export async function readArMembers(path: string): Promise<ArMember[]> {
  await using file = await open(path);
  const { size } = await file.stat();
  const read = async (position: number, sizeBytes: number): Promise<string> => {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(sizeBytes), 0, sizeBytes, position);
    return buffer.toString('latin1', 0, bytesRead);
  };
  if ((await read(0, AR_MAGIC.length)) !== AR_MAGIC) throw new VmError('EBADMSG', `${path}: expected a Debian package (an ar archive)`);
  const members: ArMember[] = [];
  for (let position = AR_MAGIC.length; position < size && members.length < MAX_MEMBERS;) {
    const header = await read(position, AR_HEADER_BYTES);
    const sizeBytes = Number(header.slice(48, 58));
    const start = position + AR_HEADER_BYTES;
    if (header.length < AR_HEADER_BYTES || header.slice(58) !== '`\n' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
      throw new VmError('EBADMSG', `${path}: damaged ar header at byte ${position}`);
    }
    if (start + sizeBytes > size)
      throw new VmError('EBADMSG', `${path}: truncated: ${header.slice(0, 16).trim()} ends at byte ${start + sizeBytes} of ${size}`);
    members.push({ name: header.slice(0, 16).trim().replace(/\/$/, ''), start, sizeBytes });
    position = start + sizeBytes + (sizeBytes & 1);
  }
  return members;
}

/** @param name tells the compression by its ending: .xz, .zst, .gz, or none. */
export function decompress(stream: Readable, name: string): AsyncIterable<Uint8Array> {
  if (name.endsWith('.gz')) return stream.pipe(createGunzip());
  if (name.endsWith('.zst')) return stream.pipe(createZstdDecompress());
  if (!name.endsWith('.xz')) return stream;
  return decompressXz(stream);
}

/** With its input at an end, the decoder may answer nothing once or twice; on a truncated file it would for ever. */
const MAX_EMPTY_CHUNKS = 16;

async function* decompressXz(stream: Readable): AsyncGenerator<Uint8Array> {
  const { XzReadableStream } = (await import('xz-decompress')).default;
  let emptyChunks = 0;
  for await (const chunk of new XzReadableStream(Readable.toWeb(stream) as ReadableStream<Uint8Array>)) {
    emptyChunks = chunk.length === 0 && stream.readableEnded ? emptyChunks + 1 : 0;
    if (emptyChunks > MAX_EMPTY_CHUNKS) throw new VmError('EBADMSG', 'xz: the compressed data is truncated');
    if (chunk.length > 0) yield chunk;
  }
}

export interface TarFile {
  /** Without `./` in front. */
  readonly path: string;
  readonly content: Buffer;
}

/**
 * The regular files of a tar stream for which `want` says yes, in the archive's order. Ends early when the consumer does.
 * @throws VmError EBADMSG when a header is damaged or the stream ends inside a file
 */
export async function* readTar(stream: AsyncIterable<Uint8Array>, want: (path: string) => boolean): AsyncGenerator<TarFile> {
  await using source = new ByteSource(stream);
  let longName: string | undefined;
  for (;;) {
    const header = await source.take(TAR_BLOCK_BYTES);
    if (header === undefined) throw new VmError('EBADMSG', 'tar: the archive is truncated');
    if (header.every((byte) => byte === 0)) return;
    const sizeBytes = checkedSize(header);
    const padding = -sizeBytes & (TAR_BLOCK_BYTES - 1);
    const type = String.fromCharCode(header[156]!);
    const path = (longName ?? nameOf(header)).replace(/^\.?\/+/, '');
    const isName = type === 'L' || type === 'x';
    if (isName || ((type === '0' || type === '\0') && want(path))) {
      const content = await source.take(sizeBytes);
      if (content === undefined) throw new VmError('EBADMSG', `tar: the archive is truncated inside ${path}`);
      if (type === 'L') longName = content.toString('utf8').replace(/\0.*$/s, '');
      else if (type === 'x') longName = /(?:^|\n)\d+ path=([^\n]*)\n/.exec(content.toString('utf8'))?.[1] ?? longName;
      else yield { path, content };
      await source.skip(padding);
    } else {
      await source.skip(sizeBytes + padding);
    }
    if (!isName) longName = undefined;
  }
}

function textOf(header: Buffer, start: number, end: number): string {
  return header.toString('utf8', start, end).replace(/\0.*$/s, '');
}

function nameOf(header: Buffer): string {
  const prefix = header.toString('latin1', 257, 262) === 'ustar' && header[263] === 0x30 ? textOf(header, 345, 500) : '';
  return prefix === '' ? textOf(header, 0, 100) : `${prefix}/${textOf(header, 0, 100)}`;
}

function checkedSize(header: Buffer): number {
  let sum = 0;
  for (let i = 0; i < TAR_BLOCK_BYTES; i++) sum += i >= 148 && i < 156 ? 0x20 : header[i]!;
  const sizeBytes = Number.parseInt(textOf(header, 124, 136), 8);
  if (Number.parseInt(textOf(header, 148, 156), 8) !== sum || !(sizeBytes >= 0 && sizeBytes <= MAX_FILE_BYTES)) {
    throw new VmError('EBADMSG', 'tar: damaged header');
  }
  return sizeBytes;
}

/** Exact byte counts out of a stream of chunks of any size. */
class ByteSource implements AsyncDisposable {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #chunk: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Uint8Array>) {
    this.#iterator = stream[Symbol.asyncIterator]();
  }

  /** Tell the stream that no more is wanted: the xz decoder, of which there is one, serves the next then. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#iterator.return?.();
  }

  async #next(): Promise<boolean> {
    const { done, value } = await this.#iterator.next();
    if (done === true) return false;
    // A wasm decompressor may use its buffer again; a view is enough because it is read before the next call.
    this.#chunk = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return true;
  }

  /** @returns a copy of the next bytes, or undefined when the stream ends before. */
  async take(sizeBytes: number): Promise<Buffer | undefined> {
    const result = Buffer.alloc(sizeBytes);
    for (let filled = 0; filled < sizeBytes;) {
      if (this.#chunk.length === 0 && !(await this.#next())) return undefined;
      const count = this.#chunk.copy(result, filled, 0, Math.min(this.#chunk.length, sizeBytes - filled));
      this.#chunk = this.#chunk.subarray(count);
      filled += count;
    }
    return result;
  }

  async skip(sizeBytes: number): Promise<void> {
    for (let left = sizeBytes; left > 0;) {
      if (this.#chunk.length === 0 && !(await this.#next())) return;
      const count = Math.min(this.#chunk.length, left);
      this.#chunk = this.#chunk.subarray(count);
      left -= count;
    }
  }
}

/**
 * Files out of a package on disk.
 * @param want keys of the answer -> pattern that the path must match; the first match counts, and reading ends when all are found
 * @returns the files found; what is missing is left out
 */
export async function readDebFiles<Key extends string>(
  path: string,
  want: Readonly<Record<Key, RegExp>>,
): Promise<Partial<Record<Key, TarFile>>> {
  const data = (await readArMembers(path)).find(({ name }) => name.startsWith('data.tar'));
  if (!data) throw new VmError('EBADMSG', `${path}: expected a Debian package: there is no data.tar in it`);
  const file = createReadStream(path, { start: data.start, end: data.start + data.sizeBytes - 1, highWaterMark: 1 << 20 });
  const found: Partial<Record<Key, TarFile>> = {};
  const open = new Set(Object.keys(want) as Key[]);
  const keyOf = (name: string): Key | undefined => [...open].find((key) => want[key].test(name));
  try {
    for await (const entry of readTar(decompress(file, data.name), (name) => keyOf(name) !== undefined)) {
      const key = keyOf(entry.path)!;
      found[key] = entry;
      open.delete(key);
      if (open.size === 0) break;
    }
  } catch (error) {
    if (error instanceof VmError) throw new VmError(error.code, `${path}: ${error.message}`, { cause: error });
    throw new VmError('EBADMSG', `${path}: damaged package: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    file.destroy();
  }
  return found;
}
