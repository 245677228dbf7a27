/**
 * An initramfs image.
 * Implements: cpio(5) "newc" as in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
 * Runs on: any thread. Not modelled: hard links, reading.
 */

export interface CpioEntry {
  /** Without a leading slash. */
  readonly path: string;
  /** Type and permission bits as in stat(2): see the MODE_ constants. */
  readonly mode: number;
  readonly content?: Uint8Array | string;
  /** Of a device node. */
  readonly device?: readonly [major: number, minor: number];
}

export const MODE_DIRECTORY = 0o040755;
export const MODE_FILE = 0o100644;
export const MODE_PROGRAM = 0o100755;
export const MODE_SYMLINK = 0o120777;
export const MODE_CHARACTER_DEVICE = 0o020600;

/** The archive, with its trailer, padded to 512 bytes. Everything belongs to root and is dated 1970: equal input, equal bytes. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  const add = (bytes: Buffer, alignment: number): void => {
    const padding = -(sizeBytes + bytes.length) & (alignment - 1);
    parts.push(bytes, Buffer.alloc(padding));
    sizeBytes += bytes.length + padding;
  };
  const hex = (value: number): string => value.toString(16).toUpperCase().padStart(8, '0');
  const trailer: CpioEntry = { path: 'TRAILER!!!', mode: 0 };
  for (const [index, { path, mode, content = '', device = [0, 0] }] of [...entries, trailer].entries()) {
    const data = Buffer.from(content as Uint8Array);
    const name = Buffer.from(`${path}\0`);
    const isTrailer = index === entries.length;
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    const fields = [
      isTrailer ? 0 : index + 1,
      mode,
      0,
      0,
      (mode & 0o170000) === 0o040000 ? 2 : 1,
      0,
      data.length,
      0,
      0,
      device[0],
      device[1],
      name.length,
      0,
    ];
    add(Buffer.concat([Buffer.from(`070701${fields.map(hex).join('')}`), name]), 4);
    add(data, isTrailer ? 512 : 4);
  }
  return Buffer.concat(parts);
}
