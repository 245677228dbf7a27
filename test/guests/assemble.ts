/**
 * `node test/guests/assemble.ts`: assembles all guests into images.json (gzip, base64), which is committed. Needs binutils.
 * Runs on: the command line.
 */
import { writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { GUESTS, assemble } from './guests.ts';

const images = Object.fromEntries(
  GUESTS.map((guest) => {
    const image = assemble(guest);
    if (image === null) throw new Error('assemble: needs as and ld for x86-64');
    return [guest.name, gzipSync(image, { level: 9 }).toString('base64')];
  }),
);
writeFileSync(new URL('images.json', import.meta.url), `${JSON.stringify(images, null, 2)}\n`);
