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
const built = RAM_INDEXES.map((ramIndex) => {
  const bits = RAM_INDEX_BITS[ramIndex],
    handlers = buildHandlers(ramIndex);
  writeFileSync(new URL(`ram${bits}.wasm`, folder), buildRam(ramIndex));
  writeFileSync(new URL(`handlers${bits}.wasm`, folder), handlers.module);
  return handlers;
});
// The same for both.
writeFileSync(new URL('handlers.names', folder), built[0]!.names.map((name) => name ?? '').join('\n'));
