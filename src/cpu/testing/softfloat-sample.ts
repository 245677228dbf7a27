/**
 * The committed sample of floating-point answers of a real processor.
 * Implements: nothing of the machine. Runs on: tests; `node src/cpu/testing/softfloat-sample.ts` records it again (after a change of the cases).
 *
 * The inputs are made again from their seeds; the file holds, brotli-compressed, a head of 128 bytes that names the processor and one record for each
 * case: the answer, its state and memory XORed with the input's.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { RECORD_BYTES, askProcessor, makeCase } from './softfloat-oracle.ts';
import type { Operation } from './softfloat-oracle.ts';
import { SSE_OPERATIONS } from './softfloat-sse.ts';
import { X87_OPERATIONS } from './softfloat-x87.ts';

export const OPERATIONS: readonly Operation[] = [...X87_OPERATIONS, ...SSE_OPERATIONS];
const SAMPLE_FILE = fileURLToPath(new URL('softfloat-sample.br', import.meta.url));
const HEAD_BYTES = 128;
const CASES_EACH = 28;
const SAMPLE_SEED = 77_000_000;
/** State and memory, which are XORed, begin behind signal, rflags and rax. */
const STATE_AT = 16;

export interface SampleCase {
  readonly operation: Operation;
  readonly input: Uint8Array;
  readonly answer: Uint8Array;
}

/** Cases of an operation that nobody has seen before, or the same again with the same seed. */
export function casesOf(operation: Operation, seed: number, count: number): Uint8Array[] {
  const first = seed + OPERATIONS.indexOf(operation) * 10_000;
  return Array.from({ length: count }, (_, i) => makeCase(operation, first + i));
}

function sampleInputs(): { operation: Operation; input: Uint8Array }[] {
  return OPERATIONS.flatMap((operation) => casesOf(operation, SAMPLE_SEED, CASES_EACH).map((input) => ({ operation, input })));
}

export function readSample(): SampleCase[] {
  const data = Uint8Array.from(brotliDecompressSync(readFileSync(SAMPLE_FILE)));
  return sampleInputs().map(({ operation, input }, number) => {
    const answer = data.slice(HEAD_BYTES + number * RECORD_BYTES, HEAD_BYTES + (number + 1) * RECORD_BYTES);
    for (let i = STATE_AT; i < RECORD_BYTES; i++) answer[i]! ^= input[i]!;
    return { operation, input, answer };
  });
}

function record(): void {
  const cases = sampleInputs();
  const answers = askProcessor(cases.map(({ input }) => input));
  if (answers === undefined) throw new Error('recording needs gcc on an x86-64 Linux host');
  for (const [number, answer] of answers.entries()) {
    const { operation, input } = cases[number]!;
    for (let i = STATE_AT; i < RECORD_BYTES; i++) answer[i]! ^= input[i]!;
    const view = new DataView(answer.buffer);
    if (operation.rax !== true) view.setBigUint64(8, 0n);
    // Pointers: changed or not, since their values differ from run to run. Then what FXSAVE leaves alone or reserves.
    for (const at of [24, 32]) view.setBigUint64(at, view.getBigUint64(at) === 0n ? 0n : 1n);
    for (const at of operation.pointers ?? []) answer.fill(0, 528 + at, 528 + at + 4);
    answer.fill(0, 44, 48);
    answer.fill(0, STATE_AT + 416, STATE_AT + 512);
  }
  const head = Buffer.alloc(
    HEAD_BYTES,
    `${cpus()[0]?.model ?? 'unknown processor'}; native/float-oracle.c; ${answers.length} cases\n`,
  ).subarray(0, HEAD_BYTES);
  const data = Buffer.concat([head, ...answers]);
  const packed = brotliCompressSync(data, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: data.length },
  });
  writeFileSync(SAMPLE_FILE, packed);
  process.stdout.write(`${answers.length} answers, ${packed.length} bytes\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) record();
