import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import { HELPERS } from './helpers.ts';
import type { HelperRow } from './helpers.ts';
import { cpuBytes } from './testing/cpu-wasm.ts';

const TYPES: Record<number, string> = { 0x7f: 'i32', 0x7e: 'i64', 0x7d: 'f32', 0x7c: 'f64', 0x7b: 'v128' };

/** Signatures of the exported functions, straight from the module's type, import, function and export sections. */
function signatures(bytes: Uint8Array): Map<string, string> {
  let at = 8;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  const name = (): string => {
    const length = number();
    at += length;
    return new TextDecoder().decode(bytes.slice(at - length, at));
  };
  const list = (): string => Array.from({ length: number() }, () => TYPES[bytes[at++] ?? 0]).join(' ');
  const types: string[] = [];
  const functions: number[] = [];
  const found = new Map<string, string>();
  while (at < bytes.length) {
    const id = bytes[at++];
    const size = number(),
      end = at + size;
    if (id === 1) {
      for (let count = number(); count > 0; count--) {
        at++;
        types.push(`${list()} -> ${list()}`);
      }
    } else if (id === 2) {
      for (let count = number(); count > 0; count--) {
        name();
        name();
        const kind = bytes[at++];
        if (kind === 0) functions.push(number());
        else {
          if (kind === 1) at++;
          if (kind !== 3) {
            const flags = number();
            number();
            if (flags & 1) number();
          } else at += 2;
        }
      }
    } else if (id === 3) {
      for (let count = number(); count > 0; count--) functions.push(number());
    } else if (id === 7) {
      for (let count = number(); count > 0; count--) {
        const key = name(),
          kind = bytes[at++],
          index = number();
        if (kind === 0) found.set(key, types[functions[index] ?? -1] ?? '?');
      }
    }
    at = end;
  }
  return found;
}

test('every helper is exported by cpu.wasm with the types its row says', () => {
  const built = signatures(cpuBytes());
  const rows: [string, HelperRow][] = Object.entries(HELPERS);
  const wrong = rows.flatMap(([name, { parameters, result, bare }]) => {
    const declared = `${[...(bare === true ? [] : ['i32']), ...parameters].join(' ')} -> ${result ?? ''}`;
    return built.get(name) === declared ? [] : [`${name}: declared ${declared}, built ${built.get(name)}`];
  });
  deepEqual(wrong, []);
});
