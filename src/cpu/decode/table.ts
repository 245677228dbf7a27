/**
 * The lines of the declared instructions, as far as a thread that decodes needs them.
 * Runs on: any thread; built once per thread, from what `npm run build` has written.
 */
import { DECODE_TABLE } from '../../generated/decode-table.ts';
import { rowsOf } from './row.ts';
import type { Row, RowTable } from './row.ts';

export type { Row } from './row.ts';

/** By the number of the line. */
export const ROWS: readonly Row[] = rowsOf(JSON.parse(DECODE_TABLE) as RowTable);
