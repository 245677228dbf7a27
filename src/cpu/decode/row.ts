/**
 * What a thread that decodes knows of an instruction's declaration; the whole of it stands in `LINES[lineIndex]`. What is needed to recognise one is
 * in the image (image.ts).
 * Runs on: any thread.
 */
import type { Ends } from '../isa/inst.ts';

export interface Row {
  readonly lineIndex: number;
  readonly name: string;
  readonly encodingText: string;
  readonly ends: Ends;
  /** FPU_CLASS. */
  readonly fpuClass: number;
  /** REP and REPNE have a meaning. */
  readonly repeats: boolean;
}

/** As generated/decode-table.ts holds them, in JSON, by line. A thread reads them in a few milliseconds. */
export type RowTable = readonly (readonly [name: string, encodingText: string, ends: Ends, fpuClass: number, repeats: 0 | 1])[];

export const rowsOf = (table: RowTable): Row[] =>
  table.map(([name, encodingText, ends, fpuClass, repeats], lineIndex) => ({
    lineIndex,
    name,
    encodingText,
    ends,
    fpuClass,
    repeats: repeats === 1,
  }));
