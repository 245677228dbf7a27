/**
 * Writes src/generated/{ram,handlers}{32,64}.wasm, handlers.names and decode-table.ts from the declarations.
 * Runs on: the command line, as part of `npm run build`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
// The manifest and the decoder's table name lines by number: always written together.
import '../decode/build.ts';
import { RAM_INDEXES, RAM_INDEX_BITS } from '../guest-ram.ts';
import { buildHandlers } from './handlers.ts';
import { buildRam } from './ram.ts';

const folder = new URL('../../generated/', import.meta.url);
mkdirSync(folder, { recursive: true });
for (const ramIndex of RAM_INDEXES) {
  const bits = RAM_INDEX_BITS[ramIndex],
    { module, names } = buildHandlers(ramIndex);
  writeFileSync(new URL(`ram${bits}.wasm`, folder), buildRam(ramIndex));
  writeFileSync(new URL(`handlers${bits}.wasm`, folder), module);
  // The same for both.
  writeFileSync(new URL('handlers.names', folder), names.map((name) => name ?? '').join('\n'));
}
