/**
 * Numbers as the C library reads them, for configuration values.
 * Implements: ISO C 7.24.1.7 strtol, strtoul; FreeBSD expand_number(3) for sizes; libvmmapi's reading of `-m`.
 * Runs on: main event loop.
 */
import { VmError } from '../../base/errors.ts';

const LONG_MAX = (1n << 63n) - 1n;
const LONG_MIN = -(1n << 63n);

/**
 * strtol of the whole text: blanks in front, a sign, then decimal, `0x` hexadecimal or `0` octal when `base` is 0.
 * @returns undefined when there are no digits, something follows them, or it does not fit in 64 bits.
 */
export function strtolWhole(text: string, base: 0 | 10 | 16 = 0): bigint | undefined {
  const match = /^[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|[0-9a-fA-F]+)$/.exec(text);
  const digits = match?.[2];
  if (digits === undefined) return undefined;
  const hexadecimal = /^0[xX]/.test(digits);
  if (hexadecimal && base === 10) return undefined;
  let value: bigint;
  if (hexadecimal || base === 16) value = BigInt(hexadecimal ? digits : `0x${digits}`);
  else if (base === 0 && digits.startsWith('0') && digits !== '0') {
    if (!/^[0-7]+$/.test(digits)) return undefined;
    value = BigInt(`0o${digits}`);
  } else {
    if (!/^[0-9]+$/.test(digits)) return undefined;
    value = BigInt(digits);
  }
  if (match?.[1] === '-') value = -value;
  return value > LONG_MAX || value < LONG_MIN ? undefined : value;
}

const MIB = 1 << 20;
const SUFFIX_BYTES: Readonly<Record<string, bigint>> = { '': 1n, K: 1n << 10n, M: 1n << 20n, G: 1n << 30n, T: 1n << 40n };
const PAGE_BYTES = 4096;

/** What a machine can give a guest. */
export interface MemoryLimit {
  readonly maxBytes: number;
  /** Why, for the message: `host memory`, `the largest guest of this version`. */
  readonly because: string;
}

/**
 * Size of guest memory in bytes. A bare number below 1 MiB counts as MiB (bhyve's old `-m 512`), from there on as bytes.
 * @param flag how the user said it (`-m`, `--memory`, `memory.size`), for the message.
 * @throws VmError EINVAL naming flag, value and what is accepted.
 */
export function parseMemorySize(flag: string, text: string, limit: MemoryLimit): number {
  const fail = (): never => {
    throw new VmError(
      'EINVAL',
      `${flag} ${quote(text)}: invalid memsize; expected a whole number of MiB, or bytes with K, M, G or T, ` +
        `a multiple of 4096 from 1M to ${formatSize(limit.maxBytes)} (${limit.because})`,
    );
  };
  const match = /^(0[xX][0-9a-fA-F]+|[0-9]+)([KkMmGgTt]?)$/.exec(text);
  const digits = match?.[1];
  const suffix = match?.[2]?.toUpperCase() ?? '';
  if (digits === undefined) return fail();
  const number = strtolWhole(digits);
  if (number === undefined) return fail();
  let sizeBytes = number * (SUFFIX_BYTES[suffix] ?? 1n);
  if (suffix === '' && sizeBytes < MIB) sizeBytes *= BigInt(MIB);
  if (sizeBytes < MIB || sizeBytes > BigInt(limit.maxBytes) || sizeBytes % BigInt(PAGE_BYTES) !== 0n) return fail();
  return Number(sizeBytes);
}

/** `8G`, `1536M`, `64K`, `4097`: the shortest exact form. */
export function formatSize(sizeBytes: number): string {
  for (const [suffix, unit] of [
    ['T', 2 ** 40],
    ['G', 2 ** 30],
    ['M', 2 ** 20],
    ['K', 2 ** 10],
  ] as const) {
    if (sizeBytes >= unit && sizeBytes % unit === 0) return `${sizeBytes / unit}${suffix}`;
  }
  return `${sizeBytes}`;
}

/** A value in a message: quoted, without control characters, cut when it is enormous. */
export function quote(text: string): string {
  const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text;
  return `'${shown.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')}'`;
}
