/**
 * `npm run --silent step [-- --jit]`: the one-instruction runner. JSON lines in, JSON lines out.
 * Implements: the one-instruction runner's format. It never stops early: a line that it can't handle is answered with `unsupported`.
 * Runs on: the command line, until standard input ends.
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { openEngine } from './step-engine.ts';
import type { StepInput } from './vectors.ts';

using engine = await openEngine(process.argv.includes('--jit') ? 'jit' : 'interpreter');

function answer(line: string): unknown {
  let id: unknown = null;
  try {
    const input = JSON.parse(line) as StepInput;
    id = input.id ?? null;
    return engine.run(input);
  } catch (error) {
    return { id, unsupported: error instanceof Error ? error.message : String(error) };
  }
}

/** Straight to the descriptor, so that each line is out before the next one is read; a full pipe that does not block is waited for. */
function writeLine(text: string): void {
  const bytes = Buffer.from(`${text}\n`);
  const waiter = new Int32Array(new SharedArrayBuffer(4));
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(waiter, 0, 0, 1);
    }
  }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
  if (line.trim() !== '') writeLine(JSON.stringify(answer(line)));
}
