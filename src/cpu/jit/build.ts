/**
 * Writes src/generated/templates{32,64}.bin: the templates of 64-bit code's usual forms, so that the thread that compiles need not run declarations
 * while a guest waits. Any other form is recorded when it is met.
 * Runs on: the command line, as part of `npm run build`; after the decoder's table is written.
 */
import { writeFileSync } from 'node:fs';
import { ENV_LONG64, PREFIX_LOCK, PREFIX_PLAIN } from '../decode/variants.ts';
import { FLAG_KINDS } from '../emit.ts';
import type { FlagKind, Size } from '../emit.ts';
import { RAM_INDEXES, RAM_INDEX_BITS } from '../guest-ram.ts';
import { LINES } from '../isa/index.ts';
import type { Line } from '../isa/inst.ts';
import { MISS_CALLS, MISS_LEAVES, MISS_REMEMBERS, knownFlags } from './template-emit.ts';
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
const KNOWN_BEFORE_CARRY = [undefined, flags('sub', 4), flags('sub', 8), flags('add', 4), flags('add', 8)];
/** Shift counts. */
const VALUES = Array.from({ length: 63 }, (_, index) => index + 1);

const isMemoryKind = (kind: string): boolean => kind === 'M' || kind === 'O' || kind === 'X' || kind === 'Y';
const hasRegisterForm = (line: Line): boolean => !line.operands.some(({ kind }) => isMemoryKind(kind));
const hasMemoryForm = (line: Line): boolean =>
  line.operands.some(({ kind }) => isMemoryKind(kind) || kind === 'E' || kind === 'W' || kind === 'Q');
function sizesOf({ operands, attributes }: Line): readonly Size[] {
  if (attributes.f64 || attributes.d64) return [8];
  return operands.some(({ size }) => size === 'v') ? [4, 8, 2] : operands.some(({ size }) => typeof size === 'string') ? [4, 8] : [4];
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
        for (const prefix of isMemory && line.attributes.lock && !line.attributes.alwaysLocked
          ? [PREFIX_PLAIN, PREFIX_LOCK]
          : [PREFIX_PLAIN])
          for (const hasSegmentBase of isMemory && integer && prefix === PREFIX_PLAIN ? [false, true] : [false])
            for (const miss of missesOf(isMemory || IMPLIES_ACCESS[lineIndex]!, isMemory && prefix === PREFIX_PLAIN && !hasSegmentBase))
              prepare(templates, {
                lineIndex,
                operandSize,
                environment: ENV_LONG64,
                prefix,
                isMemory,
                hasSegmentBase,
                highBytes: 0,
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
