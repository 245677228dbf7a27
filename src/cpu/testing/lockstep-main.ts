/**
 * `node src/cpu/testing/lockstep-main.ts FIRST [COUNT [MODE [ENGINE]]]`: random programs from a seed on; what fails is reduced and disassembled.
 * MODE: long, compat, protected, 16-bit; ENGINE: its number in lockstep.ts. Runs on: the command line.
 */
import { Decoder, Formatter, FormatterSyntax } from 'iced-x86';
import { CODE, ENTRY } from './program-map.ts';
import { ENGINES, Lockstep, tryProgram } from './lockstep.ts';
import type { Program, ProgramMode } from './program-assembler.ts';

const BITS: Readonly<Record<ProgramMode, number>> = { long: 64, compat: 32, protected: 32, '16-bit': 16 };

function list({ mode, code, next }: Program): string {
  const formatter = new Formatter(FormatterSyntax.Intel),
    lines: string[] = [];
  for (const start of [...next.keys()].sort((a, b) => a - b)) {
    const decoder = new Decoder(BITS[mode], code.subarray(start - ENTRY), 0);
    decoder.ip = BigInt(CODE + start);
    const instruction = decoder.decode(),
      bytes = Buffer.from(code.subarray(start - ENTRY, start - ENTRY + instruction.length)).toString('hex');
    lines.push(`${(CODE + start).toString(16)}  ${bytes.padEnd(24)}${formatter.format(instruction)}`);
    instruction.free();
    decoder.free();
  }
  formatter.free();
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
