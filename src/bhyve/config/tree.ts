/**
 * bhyve's configuration tree: dotted variables with string values.
 * Implements: bhyve_config(5); bhyve(8) `-k`, `-o`, `config.dump`.
 * Runs on: main event loop. Unlike bhyve, a value that could not be written to a `-k` file (empty, or with a line break) is refused.
 */
import { VmError } from '../../base/errors.ts';
import { quote, strtolWhole } from './numbers.ts';

type Branch = Map<string, string | Branch>;

/** References nest no deeper (a variable may refer to itself). */
const MAX_EXPANSION_DEPTH = 15;
/** Nested references could multiply a value at each level. */
const MAX_VALUE_CHARS = 1 << 20;
const MAX_REFERENCES = 10_000;
const TRUE_WORDS = new Set(['true', 'on', 'yes', '1']);
const FALSE_WORDS = new Set(['false', 'off', 'no', '0']);

export class ConfigTree {
  readonly #root: Branch = new Map();
  readonly #warn: (message: string) => void;

  /** @param warn gets one line for each odd reference while a value is read. */
  constructor(warn: (message: string) => void = () => {}) {
    this.#warn = warn;
  }

  /**
   * Set a variable; a later value wins.
   * @throws VmError EINVAL when a part of the path is empty or is already a variable (or `path` a node), or the value cannot be kept.
   */
  set(path: string, value: string): void {
    const parts = path.split('.');
    if (parts.some((part) => part === '') || /[\0\n\r=]/.test(path) || path.startsWith('#')) {
      throw new VmError('EINVAL', `Invalid configuration node: ${quote(path)}; expected names with dots between them`);
    }
    if (value === '') throw new VmError('EINVAL', `${path}: the value is empty; expected ${path}=VALUE`);
    if (/[\0\n\r]/.test(value)) throw new VmError('EINVAL', `${path}=${quote(value)}: expected one line of text`);
    const leaf = parts.pop() ?? '';
    let branch = this.#root;
    const walked: string[] = [];
    for (const part of parts) {
      walked.push(part);
      const next = branch.get(part);
      if (typeof next === 'string') {
        throw new VmError('EINVAL', `Configuration node ${path} is a child of existing variable ${walked.join('.')}`);
      }
      if (next) branch = next;
      else {
        const created: Branch = new Map();
        branch.set(part, created);
        branch = created;
      }
    }
    if (branch.get(leaf) instanceof Map) throw new VmError('EINVAL', `Attempting to add value ${quote(value)} to existing node ${path}`);
    branch.set(leaf, value);
  }

  setBool(path: string, value: boolean): void {
    this.set(path, value ? 'true' : 'false');
  }

  /** The value with its references expanded; undefined when it is not set (or is a node). */
  get(path: string): string | undefined {
    const value = this.raw(path);
    return value === undefined || !value.includes('%') ? value : this.#expand(value, 0, { references: MAX_REFERENCES });
  }

  /** The value as it was set. */
  raw(path: string): string | undefined {
    const found = this.#find(path);
    return typeof found === 'string' ? found : undefined;
  }

  isNode(path: string): boolean {
    return this.#find(path) instanceof Map;
  }

  /** Names directly under a node, in the order they came. */
  children(path: string): readonly string[] {
    const found = path === '' ? this.#root : this.#find(path);
    return found instanceof Map ? [...found.keys()] : [];
  }

  /** @throws VmError EINVAL when it is none of true, on, yes, 1, false, off, no, 0 (any case). */
  bool(path: string, defaultValue: boolean): boolean {
    const value = this.get(path);
    if (value === undefined) return defaultValue;
    const word = value.toLowerCase();
    if (TRUE_WORDS.has(word)) return true;
    if (FALSE_WORDS.has(word)) return false;
    throw new VmError(
      'EINVAL',
      `Invalid value ${quote(value)} for boolean variable ${path}; expected true, on, yes, 1, false, off, no or 0`,
    );
  }

  /** @throws VmError EINVAL outside `min`..`max` or not a number by strtol's rules (decimal, 0x, 0 octal). */
  integer(path: string, defaultValue: number, min: number, max: number): number {
    const text = this.get(path);
    if (text === undefined) return defaultValue;
    const value = strtolWhole(text);
    if (value === undefined || value < BigInt(min) || value > BigInt(max)) {
      throw new VmError('EINVAL', `Invalid value for ${path}: ${quote(text)}; expected ${min} to ${max}`);
    }
    return Number(value);
  }

  /** Every variable with its raw value, depth first. */
  *entries(): Generator<readonly [path: string, value: string]> {
    yield* walk(this.#root, '');
  }

  /** `a.b.c=value` lines: a valid `-k` file. */
  dump(): string {
    let text = '';
    for (const [path, value] of this.entries()) text += `${path}=${value}\n`;
    return text;
  }

  /**
   * `-o name=value`.
   * @returns false when there is no `=` or nothing behind it: the caller's message differs between `-o` and `-k`.
   */
  setOption(option: string): boolean {
    const equals = option.indexOf('=');
    if (equals < 0 || equals === option.length - 1) return false;
    this.set(option.slice(0, equals), option.slice(equals + 1));
    return true;
  }

  /**
   * `-k file`: lines `name=value` without blanks around `=`; empty lines and lines beginning with `#` are skipped.
   * @throws VmError EINVAL naming file and line.
   */
  setFile(path: string, text: string): void {
    const lines = text.split('\n');
    for (const [index, line] of lines.entries()) {
      if (line === '' || line.startsWith('#')) continue;
      try {
        if (this.setOption(line)) continue;
      } catch (cause) {
        if (!(cause instanceof VmError)) throw cause;
        throw new VmError(cause.code, `${path} line ${index + 1}: ${cause.message}`, { cause });
      }
      throw new VmError('EINVAL', `${path} line ${index + 1}: invalid config option ${quote(line)}; expected NAME=VALUE`);
    }
  }

  #find(path: string): string | Branch | undefined {
    let found: string | Branch | undefined = this.#root;
    for (const part of path.split('.')) {
      if (!(found instanceof Map)) return undefined;
      found = found.get(part);
    }
    return found;
  }

  /** `%(var)` is the variable's value, `%%` a percent sign, and, in a value that has a percent sign at all, a backslash quotes the next character. */
  #expand(value: string, depth: number, left: { references: number }): string {
    let out = '';
    for (let at = 0; at < value.length; at++) {
      const char = value[at];
      if (out.length > MAX_VALUE_CHARS || left.references < 0) {
        throw new VmError(
          'EINVAL',
          `configuration value ${quote(value)} expands to more than ${MAX_VALUE_CHARS} characters or ${MAX_REFERENCES} references`,
        );
      }
      if (char === '\\') {
        if (++at < value.length) out += value[at];
        else this.#warn(`Trailing \\ in configuration value ${quote(value)}`);
        continue;
      }
      if (char !== '%') {
        out += char;
        continue;
      }
      if (value[at + 1] === '%') {
        out += '%';
        at++;
        continue;
      }
      const end = value[at + 1] === '(' ? value.indexOf(')', at + 2) : -1;
      if (end < 0) {
        this.#warn(`Invalid reference in configuration value ${quote(value)}`);
        out += '%';
        continue;
      }
      const path = value.slice(at + 2, end);
      at = end;
      if (path === '') {
        this.#warn(`Empty reference in configuration value ${quote(value)}`);
        continue;
      }
      if (depth >= MAX_EXPANSION_DEPTH) {
        this.#warn('Too many recursive references in configuration value');
        continue;
      }
      left.references--;
      const referenced = this.raw(path);
      if (referenced === undefined) {
        this.#warn(`Failed to fetch referenced configuration variable ${path}`);
        continue;
      }
      out += referenced.includes('%') ? this.#expand(referenced, depth + 1, left) : referenced;
    }
    return out;
  }
}

/** The text as a value which expands to itself. */
export function escapeValue(text: string): string {
  return text.includes('%') ? text.replaceAll('\\', '\\\\').replaceAll('%', '%%') : text;
}

function* walk(branch: Branch, prefix: string): Generator<readonly [string, string]> {
  for (const [name, value] of branch) {
    if (typeof value === 'string') yield [prefix + name, value];
    else yield* walk(value, `${prefix}${name}.`);
  }
}
