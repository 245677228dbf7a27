/**
 * The opcode maps of the declared instructions.
 * Implements: SDM vol. 2D Appendix A Opcode Map. Runs on: any thread; built once per thread, from what `npm run build` has written.
 */
import { DECODE_TABLE } from '../../generated/decode-table.ts';
import { opcodeMaps } from './row.ts';
import type { Row, RowTable } from './row.ts';

export { CLASS, KIND, SIZE_V, SIZE_Y, SIZE_Z } from './row.ts';
export type { Row, RowOperand } from './row.ts';

/** Rows by map * 256 + opcode. */
export const OPCODES: readonly (readonly Row[])[] = opcodeMaps(JSON.parse(DECODE_TABLE) as RowTable);
