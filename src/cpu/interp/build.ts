/**
 * Writes src/generated/{ram,handlers}.wasm, handlers.names and decode-table.ts from the declarations.
 * Runs on: the command line, as part of `npm run build`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
// The manifest and the decoder's table name lines by number: always written together.
import '../decode/build.ts';
import { buildHandlers } from './handlers.ts';
import { buildRam } from './ram.ts';

const folder = new URL('../../generated/', import.meta.url);
mkdirSync(folder, { recursive: true });
const handlers = buildHandlers();
writeFileSync(new URL('ram.wasm', folder), buildRam());
writeFileSync(new URL('handlers.wasm', folder), handlers.module);
writeFileSync(new URL('handlers.names', folder), handlers.names.map((name) => name ?? '').join('\n'));
