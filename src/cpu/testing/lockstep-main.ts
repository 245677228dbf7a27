/**
 * `node src/cpu/testing/lockstep-main.ts FIRST [COUNT [MODE [ENGINE]]]`: random programs from a seed on; what fails is reduced and disassembled.
 * MODE: long, compat, protected, 16-bit; ENGINE: its number in lockstep.ts. Runs on: the command line.
 */
import { DECODED, Decoder } from '../decode/decoder.ts';
import { formatInstruction } from '../decode/format.ts';
import { MODE_16, MODE_32, MODE_64 } from '../state.ts';
import { CODE, ENTRY } from './program-map.ts';
import { ENGINES, Lockstep, tryProgram } from './lockstep.ts';
import type { Program, ProgramMode } from './program-assembler.ts';

const MODES: Readonly<Record<ProgramMode, number>> = { long: MODE_64, compat: MODE_32, protected: MODE_32, '16-bit': MODE_16 };

function list({ mode, code, next }: Program): string {
  const decoder = new Decoder(),
    lines: string[] = [];
  for (const start of [...next.keys()].sort((a, b) => a - b)) {
    const at = start - ENTRY,
      isKnown = decoder.decode(code, at, code.length, MODES[mode]) === DECODED,
      bytes = Buffer.from(code.subarray(at, at + decoder.lengthBytes)).toString('hex'),
      text = isKnown ? formatInstruction(decoder, BigInt(CODE + start)) : '(undefined)';
    lines.push(`${(CODE + start).toString(16)}  ${bytes.padEnd(24)}${text}`);
  }
  return lines.join('\n');
}

const [first = '1', count = '1', mode, engine] = process.argv.slice(2),
  lockstep = new Lockstep();
let failures = 0;
const started = performance.now();
for (let seed = Number(first); seed < Number(first) + Number(count) && failures < 10; seed++) {
  const failure = tryProgram(
    lockstep,
    seed,
    mode === undefined || mode === '-' ? undefined : (mode as ProgramMode),
    engine === undefined ? undefined : ENGINES[Number(engine)],
  );
  if (!failure) continue;
  failures++;
  process.stdout.write(`seed ${seed}: ${failure.text}\n${list(failure.program)}\n`);
}
process.stdout.write(
  `${count} programs, ${failures} failed, ${((performance.now() - started) / 1000).toFixed(1)} s, ${JSON.stringify(lockstep.ends)}\n`,
);
process.exitCode = failures > 0 ? 1 : 0;
