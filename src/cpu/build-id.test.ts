/** A module of another build is refused, by name. */
import { doesNotThrow, throws } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { checkBuild } from './build-id.ts';

const cpu = readFileSync(new URL('../generated/cpu.wasm', import.meta.url));

test('modules of one build go together, another one is refused by name', () => {
  doesNotThrow(() => checkBuild({ cpu: new WebAssembly.Module(cpu) }));
  const other = Buffer.from(cpu);
  other.write('0'.repeat(64), other.length - 64, 'latin1');
  throws(() => checkBuild({ cpu: new WebAssembly.Module(other) }), /^Error: module cpu is of build 00000000, the program of [0-9a-f]{8}: /);
  const unsealed = new WebAssembly.Module(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  throws(() => checkBuild({ ram: unsealed }), /^Error: module ram is of build none/);
});
