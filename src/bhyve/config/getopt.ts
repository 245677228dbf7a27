/**
 * getopt(3) and getopt_long(3): the argument grammar of the bhyve family.
 * Implements: POSIX.1-2017 XBD 12.2 Utility Syntax Guidelines; FreeBSD getopt(3), getopt_long(3), with their error texts.
 * Runs on: main event loop. Not modelled: optional arguments of letters (`::`), `opterr = 0`, the `-W foo` extension.
 */
import { VmError } from '../../base/errors.ts';

/** One option in the order given; `name` is the letter, or a long option's full name. */
export interface Option {
  readonly name: string;
  readonly argument: string | undefined;
}

export interface ParsedArguments {
  readonly options: readonly Option[];
  readonly operands: readonly string[];
}

export interface LongOption {
  readonly name: string;
  /** An optional one is attached with `=`. */
  readonly argument: 'none' | 'optional' | 'required';
  /** Reported in place of the long name, so that `--help` may equal `-h`. */
  readonly short?: string;
}

/**
 * Parse like getopt(3): flags may be grouped (`-HPA`), an argument may be attached (`-c2`) or follow (`-c 2`, even when it begins with `-`),
 * and the first operand or `--` ends the options.
 * @param program its base name, the head of every message.
 * @param letters option letters, each with `:` behind it when it takes an argument.
 * @throws VmError EUSAGE with getopt's own text: `bhyve: illegal option -- z`.
 */
export function getopt(program: string, args: readonly string[], letters: string): ParsedArguments {
  return parse(program, args, letters, [], 'illegal option -- ');
}

/**
 * Parse like getopt_long(3): besides letters, `--name`, `--name=value`, `--name value`, and any unambiguous beginning of a name.
 * Options end at the first operand, as in getopt(3) (POSIXLY_CORRECT), unless `permute` is set.
 * @throws VmError EUSAGE with getopt_long's own text: "unrecognized option `--foo'".
 */
export function getoptLong(
  program: string,
  args: readonly string[],
  letters: string,
  longs: readonly LongOption[],
  behaviour: { readonly permute?: boolean } = {},
): ParsedArguments {
  if (!behaviour.permute) return parse(program, args, letters, longs, 'invalid option -- ');
  const options: Option[] = [];
  const operands: string[] = [];
  let rest = args;
  for (;;) {
    const parsed = parse(program, rest, letters, longs, 'invalid option -- ');
    options.push(...parsed.options);
    const afterDashes = rest.length > parsed.operands.length && rest[rest.length - parsed.operands.length - 1] === '--';
    const [first, ...others] = parsed.operands;
    if (first === undefined || afterDashes) return { options, operands: [...operands, ...parsed.operands] };
    operands.push(first);
    rest = others;
  }
}

function parse(program: string, args: readonly string[], letters: string, longs: readonly LongOption[], illegal: string): ParsedArguments {
  const options: Option[] = [];
  let index = 0;
  for (; index < args.length; index++) {
    const word = args[index] ?? '';
    if (word === '--') {
      index++;
      break;
    }
    if (!word.startsWith('-') || word === '-') break;
    if (longs.length > 0 && word.startsWith('--')) {
      const { option, used } = parseLong(program, word, args[index + 1], longs);
      options.push(option);
      if (used) index++;
      continue;
    }
    for (let at = 1; at < word.length; at++) {
      const letter = String.fromCodePoint(word.codePointAt(at) ?? 0);
      const place = letter === ':' ? -1 : letters.indexOf(letter);
      if (place < 0) throw new VmError('EUSAGE', `${program}: ${illegal}${letter}`);
      if (letters[place + 1] !== ':') {
        options.push({ name: letter, argument: undefined });
        continue;
      }
      const attached = word.slice(at + letter.length);
      const argument = attached !== '' ? attached : args[++index];
      if (argument === undefined) throw new VmError('EUSAGE', `${program}: option requires an argument -- ${letter}`);
      options.push({ name: letter, argument });
      break;
    }
  }
  return { options, operands: args.slice(index) };
}

function parseLong(
  program: string,
  word: string,
  next: string | undefined,
  longs: readonly LongOption[],
): { option: Option; used: boolean } {
  const equals = word.indexOf('=');
  const given = equals < 0 ? word.slice(2) : word.slice(2, equals);
  const value = equals < 0 ? undefined : word.slice(equals + 1);
  const exact = longs.find((long) => long.name === given);
  const candidates = exact ? [exact] : longs.filter((long) => long.name.startsWith(given));
  const long = candidates[0];
  if (!long) throw new VmError('EUSAGE', `${program}: unrecognized option \`--${given}'`);
  if (candidates.length > 1) throw new VmError('EUSAGE', `${program}: option \`--${given}' is ambiguous`);
  const name = long.short ?? long.name;
  if (long.argument === 'none') {
    if (value !== undefined) throw new VmError('EUSAGE', `${program}: option \`--${long.name}' doesn't allow an argument`);
    return { option: { name, argument: undefined }, used: false };
  }
  if (long.argument === 'optional') return { option: { name, argument: value }, used: false };
  if (value === undefined && next === undefined) throw new VmError('EUSAGE', `${program}: option \`--${long.name}' requires an argument`);
  return { option: { name, argument: value ?? next }, used: value === undefined };
}
