/**
 * `node src/cpu/testing/compare.ts FILE... [options]`: runs vectors through an engine and groups what is wrong, worst group first, with one
 * example of each: code, operands, first differences. See USAGE.
 * Implements: judge.ts over whole files.
 * Runs on: the command line.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Code, CodeExt, Decoder, DecoderOptions, Formatter, FormatterSyntax, Mnemonic } from 'iced-x86';
import { judge } from './judge.ts';
import { ENGINE_NAMES } from './step-engine.ts';
import type { EngineName } from './step-engine.ts';
import { expectedOf, readVectors } from './vectors.ts';
import { WatchedEngine } from './watched-engine.ts';
import type { StepAnswer, StepInput, Unsupported, Vector } from './vectors.ts';

const USAGE = `usage: node src/cpu/testing/compare.ts FILE... [options]     FILE: vectors as JSON lines, plain or .br or .gz
  --engine NAME    ${ENGINE_NAMES.join(' | ')}   (default interpreter); --jit is short for --engine jit
  --by WHAT        form (default: ADD r/m64, r64) | mnemonic | symptom (what differs)
  --only REGEX     only vectors whose form matches, e.g. --only '^SH[LR]D'
  --mode 32|64     only vectors of that mode
  --id N           one vector in full: input, answer, expectation (repeatable)
  --strict         error code, CR2 and C1 count too
  --groups N       print at most N groups (default 40; 0: all)
  --examples N     examples in each group (default 1)
  --save FILE      write the failing vectors as JSON lines
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    engine: { type: 'string', default: 'interpreter' },
    jit: { type: 'boolean', default: false },
    by: { type: 'string', default: 'form' },
    only: { type: 'string' },
    mode: { type: 'string' },
    id: { type: 'string', multiple: true },
    strict: { type: 'boolean', default: false },
    groups: { type: 'string', default: '40' },
    examples: { type: 'string', default: '1' },
    save: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help || positionals.length === 0) {
  process.stdout.write(USAGE);
  process.exit(values.help ? 0 : 2);
}

const formatter = new Formatter(FormatterSyntax.Intel);

interface Description {
  readonly text: string;
  readonly form: string;
  readonly mnemonic: string;
  readonly c1: boolean;
}

function describe({ code, mode, regs }: Vector): Description {
  const decoder = new Decoder(mode, Buffer.from(code, 'hex'), DecoderOptions.NoInvalidCheck);
  decoder.ip = BigInt(regs['rip'] ?? 0);
  const instruction = decoder.decode();
  const mnemonic = Mnemonic[instruction.mnemonic]!.toLowerCase();
  const info = CodeExt.opCode(instruction.code);
  const form = instruction.code === Code.INVALID ? '(invalid)' : info.instructionString;
  const text = formatter.format(instruction);
  info.free();
  instruction.free();
  decoder.free();
  return { text, form, mnemonic, c1: mnemonic === 'fprem' || mnemonic === 'fprem1' || mnemonic === 'fxam' };
}

interface Failure {
  readonly vector: Vector;
  readonly description: Description;
  readonly differences: string[];
}

const vectors = positionals.flatMap(readVectors);
const only = values.only === undefined ? null : new RegExp(values.only, 'i');
using engine = new WatchedEngine(values.jit ? 'jit' : (values.engine as EngineName));

const run = (vector: Vector): StepAnswer | Unsupported => engine.run({ ...vector, expect: undefined } as StepInput);

if (values.id !== undefined) {
  for (const vector of vectors.filter(({ id }) => values.id!.includes(String(id)))) showWhole(vector);
} else {
  compareAll();
}

function compareAll(): void {
  const failures: Failure[] = [];
  const totals = new Map<string, number>();
  let count = 0,
    unsupported = 0;
  const key = ({ form, mnemonic }: Description, differences: readonly string[]): string =>
    values.by === 'mnemonic'
      ? mnemonic
      : values.by === 'symptom'
        ? differences.map((line) => line.replace(/: .*| .*/, '').replace(/(xmm|st|r)\d+$/, '$1')).join(' ')
        : form;
  const started = performance.now();
  for (const vector of vectors) {
    if (values.mode !== undefined && String(vector.mode) !== values.mode) continue;
    const description = describe(vector);
    if (only !== null && !only.test(description.form)) continue;
    count++;
    const answer = run(vector);
    const differences = judge(answer, expectedOf(vector), { strict: values.strict, c1: description.c1 });
    if (values.by !== 'symptom') totals.set(key(description, []), (totals.get(key(description, [])) ?? 0) + 1);
    if (differences.length === 0) continue;
    if ('unsupported' in answer) unsupported++;
    failures.push({ vector, description, differences });
  }
  const seconds = (performance.now() - started) / 1000;
  const groups = Map.groupBy(failures, ({ description, differences }) => key(description, differences));
  const sorted = [...groups].toSorted((a, b) => b[1].length - a[1].length);
  const shown = Number(values.groups) === 0 ? sorted : sorted.slice(0, Number(values.groups));
  for (const [name, members] of shown) {
    const total = totals.get(name);
    process.stdout.write(
      `${String(members.length).padStart(5)}${total === undefined ? '' : ` of ${total}`}  ${name}   ids ${members
        .slice(0, 6)
        .map(({ vector }) => vector.id)
        .join(' ')}${members.length > 6 ? ' ..' : ''}\n`,
    );
    // Different symptoms first, so that two examples show two faults.
    const bySymptom = [...Map.groupBy(members, ({ differences }) => differences.map((line) => line.split(':')[0]).join()).values()];
    for (const [example] of bySymptom.slice(0, Number(values.examples))) if (example !== undefined) showExample(example);
  }
  if (shown.length < sorted.length) process.stdout.write(`... and ${sorted.length - shown.length} more groups (--groups 0)\n`);
  if (values.save !== undefined) writeFileSync(values.save, failures.map(({ vector }) => `${JSON.stringify(vector)}\n`).join(''));
  process.stdout.write(
    `${engine.name}: ${count} vectors, ${count - failures.length} right, ${failures.length} wrong (${unsupported} unsupported) in ${groups.size} groups; ${Math.round(count / seconds)} a second\n`,
  );
  process.exitCode = failures.length === 0 ? 0 : 1;
}

function showExample({ vector, description, differences }: Failure): void {
  process.stdout.write(
    `         #${vector.id} mode ${vector.mode}  ${vector.code}  ${description.text}   ${operands(vector, description.text)}\n`,
  );
  for (const line of differences.slice(0, 4)) process.stdout.write(`           ${line}\n`);
  if (differences.length > 4) process.stdout.write(`           ... ${differences.length - 4} more\n`);
}

/** The input values that the text of the instruction names, and the flags. */
function operands({ regs, xmm, fpu, mem, mxcsr, mode }: Vector, text: string): string {
  const named: string[] = [];
  const names: Record<string, RegExp> = {
    rax: /\b([re]?ax|a[lh])\b/,
    rcx: /\b([re]?cx|c[lh])\b/,
    rdx: /\b([re]?dx|d[lh])\b/,
    rbx: /\b([re]?bx|b[lh])\b/,
    rsp: /\b([re]?spl?)\b|push|pop|call|ret/,
    rbp: /\b[re]?bpl?\b|enter|leave/,
    rsi: /\b[re]?sil?\b/,
    rdi: /\b[re]?dil?\b/,
  };
  for (const [name, value] of Object.entries(regs)) {
    if (name === 'rip') continue;
    if (name === 'rflags' || names[name]?.test(text) || new RegExp(`\\b${name}[bwd]?\\b`).test(text))
      named.push(`${name}=${value.slice(2)}`);
  }
  for (const [index, value] of (xmm ?? []).entries()) if (new RegExp(`\\bxmm${index}\\b`).test(text)) named.push(`xmm${index}=${value}`);
  if (mxcsr !== undefined && /xmm/.test(text)) named.push(`mxcsr=${mxcsr.slice(2)}`);
  if (fpu !== undefined && /^(f|wait)|mm\d/.test(text))
    named.push(`fcw=${fpu.fcw.slice(2)} fsw=${fpu.fsw.slice(2)} ftw=${fpu.ftw.slice(2)} st0=${swap(fpu.st[0])} st1=${swap(fpu.st[1])}`);
  if (/\[/.test(text) || mem.length > 0)
    named.push(...mem.slice(0, 2).map(({ addr, data }) => `[${addr.slice(2)}]=${data.slice(0, 32)}${data.length > 32 ? '..' : ''}`));
  void mode;
  return named.join(' ');
}

function swap(hex: string | undefined): string {
  return (hex?.match(/../g) ?? []).toReversed().join('').replace(/^..../, '$&:');
}

function showWhole(vector: Vector): void {
  const description = describe(vector);
  const answer = run(vector);
  const expected = expectedOf(vector);
  const { expect, ...input } = vector;
  process.stdout.write(`#${vector.id} mode ${vector.mode}  ${vector.code}  ${description.text}  (${description.form})\n`);
  process.stdout.write(
    `input   ${JSON.stringify(input)}\nanswer  ${JSON.stringify(answer)}\nexpect  ${JSON.stringify(expected)}\nchanges ${JSON.stringify(expect)}\n`,
  );
  const differences = judge(answer, expected, { strict: values.strict, c1: description.c1 });
  process.stdout.write(differences.length === 0 ? 'right\n' : `wrong:\n${differences.map((line) => `  ${line}\n`).join('')}`);
}
