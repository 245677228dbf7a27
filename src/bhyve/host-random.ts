/**
 * Random bytes of the host, fit for keys.
 * Implements: random(4) of Linux, macOS and the BSDs. Runs on: any thread.
 */
import { closeSync, openSync, readSync } from 'node:fs';

const DEVICE = '/dev/urandom';
/** getRandomValues refuses more. */
const LARGEST_REQUEST_BYTES = 65_536;

/** Fill all of `bytes`. The device is there when Web Crypto, whose first use takes 5 ms, would still be loading. */
export function hostRandom(bytes: Uint8Array, device: string = DEVICE): void {
  if (readDevice(bytes, device)) return;
  for (let at = 0; at < bytes.length; at += LARGEST_REQUEST_BYTES)
    crypto.getRandomValues(bytes.subarray(at, at + LARGEST_REQUEST_BYTES) as Uint8Array<ArrayBuffer>);
}

/** @returns false where the host has no such device, or it ends early. */
function readDevice(bytes: Uint8Array, device: string): boolean {
  let fd: number | undefined;
  try {
    fd = openSync(device, 'r');
    for (let used = 0; used < bytes.length;) {
      const read = readSync(fd, bytes, used, bytes.length - used, null);
      if (read === 0) return false;
      used += read;
    }
    return true;
  } catch {
    return false;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
