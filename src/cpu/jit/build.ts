/**
 * Writes src/generated/templates{32,64}.bin: the templates of 64-bit code's usual forms, so that the thread that compiles need not run declarations
 * while a guest waits. Any other form is recorded when it is met.
 * Runs on: the command line, as part of `npm run build`; after the decoder's table is written.
 */
import { writeFileSync } from 'node:fs';
import { ENV_LONG64, PREFIX_LOCK, PREFIX_PLAIN, PREFIX_REP } from '../decode/variants.ts';
import { FLAG_KINDS } from '../emit.ts';
import type { FlagKind, Size } from '../emit.ts';
import { RAM_INDEXES, RAM_INDEX_BITS } from '../guest-ram.ts';
import { LINES } from '../isa/index.ts';
import type { Line } from '../isa/inst.ts';
import { shapesOf } from '../shapes.ts';
import { MISS_CALLS, MISS_LEAVES, MISS_REMEMBERS, USES_FIELD, knownFlags } from './template-emit.ts';
import type { Form, KnownFlags, Miss } from './template-emit.ts';
import { IMPLIES_ACCESS, SETS_FLAGS, Templates } from './templates.ts';

const flags = (kind: FlagKind, size: 1 | 2 | 4 | 8): KnownFlags => knownFlags((FLAG_KINDS[kind] << 2) | Math.log2(size));
const ofAllSizes = (kind: FlagKind): readonly KnownFlags[] => ([1, 2, 4, 8] as const).map((size) => flags(kind, size));
/** What is usually known of the flags: nothing, those of a comparison or a test, of a sum, of what else is common. */
const KNOWN = [
  undefined,
  ...ofAllSizes('sub'),
  ...ofAllSizes('add'),
  ...ofAllSizes('inc'),
  ...ofAllSizes('dec'),
  ...(['shl', 'shr', 'sar'] as const).flatMap((kind) => [flags(kind, 4), flags(kind, 8)]),
  knownFlags((FLAG_KINDS.raw << 2) | 2),
];
/** ADC and the like come after their own kind. */
const KNOWN_BEFORE_CARRY = [undefined, ...ofAllSizes('sub'), ...ofAllSizes('add')];
/** Shift counts. */
const VALUES = Array.from({ length: 63 }, (_, index) => index + 1);

/** The destination of a string instruction is none: no ModRM, no segment. */
const isMemoryKind = (kind: string): boolean => kind === 'M' || kind === 'O' || kind === 'X';
const hasRegisterForm = (line: Line): boolean => !line.operands.some(({ kind }) => isMemoryKind(kind));
const hasMemoryForm = (line: Line): boolean =>
  line.operands.some(({ kind }) => isMemoryKind(kind) || kind === 'E' || kind === 'W' || kind === 'Q');
function sizesOf({ operands, attributes, fpu }: Line): readonly Size[] {
  if (attributes.f64 || attributes.d64) return [8];
  // Of CBW and the like the size shows nowhere; of integers, 16 bytes are asked for by REX.W.
  if (fpu === 'none' && operands.length === 0) return [4, 8, 2];
  if (fpu === 'none' && operands.some(({ size }) => size === 16)) return [8];
  return operands.some(({ size }) => size === 'v') ? [4, 8, 2] : operands.some(({ size }) => typeof size === 'string') ? [4, 8] : [4];
}

function prefixesOf({ attributes: { lock, alwaysLocked, bulk } }: Line, isMemory: boolean): readonly number[] {
  if (bulk) return [PREFIX_PLAIN, PREFIX_REP];
  return isMemory && lock && !alwaysLocked ? [PREFIX_PLAIN, PREFIX_LOCK] : [PREFIX_PLAIN];
}
/** Which of its register fields may be AH, CH, DH or BH. */
function highBytesOf(line: Line, operandSize: Size, isMemory: boolean): readonly number[] {
  const bytes = shapesOf(line, operandSize, isMemory, PREFIX_PLAIN)
    .filter(({ kind }) => USES_FIELD.has(kind))
    .map((shape) => shape.kind === 'gpr' && shape.size === 1);
  return [0, 1, 2, 3].filter((bits) => bits >> bytes.length === 0 && bytes.every((isByte, nth) => isByte || ((bits >> nth) & 1) === 0));
}

function missesOf(accesses: boolean, mayRemember: boolean): readonly Miss[] {
  if (!accesses) return [MISS_CALLS];
  return mayRemember ? [MISS_LEAVES, MISS_REMEMBERS, MISS_CALLS] : [MISS_LEAVES, MISS_CALLS];
}

function prepare(templates: Templates, form: Form): void {
  try {
    templates.prepare(form, undefined, 1);
  } catch {
    return; // no such form: a body says so by itself
  }
  const asks = templates.asks(form),
    { fpu, effect, attributes } = LINES[form.lineIndex]!;
  if (form.operandSize === 2 || fpu !== 'none' || attributes.rep || attributes.cpuid) return;
  if (asks.value && !form.isMemory)
    for (const value of VALUES.slice(0, form.operandSize * 8 - 1)) templates.prepare(form, undefined, value);
  else if (asks.known && !asks.value)
    for (const known of effect === 'through' ? KNOWN_BEFORE_CARRY : KNOWN) templates.prepare(form, known, 0);
}

function prepareLine(templates: Templates, line: Line, lineIndex: number): void {
  if (line.ends === 'system' || line.ends === 'transfer' || line.attributes.mode === 'not64') return;
  const memory = hasMemoryForm(line),
    integer = line.fpu === 'none';
  for (const isMemory of [...(hasRegisterForm(line) ? [false] : []), ...(memory ? [true] : [])])
    for (const operandSize of sizesOf(line))
      for (const flagsWanted of SETS_FLAGS[lineIndex] ? [true, false] : [true])
        for (const prefix of prefixesOf(line, isMemory))
          for (const hasSegmentBase of isMemory && integer && prefix === PREFIX_PLAIN ? [false, true] : [false])
            for (const highBytes of prefix === PREFIX_PLAIN && !hasSegmentBase ? highBytesOf(line, operandSize, isMemory) : [0])
              for (const miss of missesOf(isMemory || IMPLIES_ACCESS[lineIndex]!, isMemory && prefix === PREFIX_PLAIN))
                prepare(templates, {
                  lineIndex,
                  operandSize,
                  environment: ENV_LONG64,
                  prefix,
                  isMemory,
                  hasSegmentBase,
                  highBytes,
                  flagsWanted,
                  miss,
                  fpuCheck: 0,
                });
}

for (const ramIndex of RAM_INDEXES) {
  const templates = new Templates(ramIndex);
  LINES.forEach((line, lineIndex) => prepareLine(templates, line, lineIndex));
  writeFileSync(new URL(`../../generated/templates${RAM_INDEX_BITS[ramIndex]}.bin`, import.meta.url), templates.image());
}
