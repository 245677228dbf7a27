import { deepEqual, equal, match } from 'node:assert/strict';
import { test } from 'node:test';
import { breach, importsOf } from './check-imports.ts';

test('imports point down the chain, through doors', () => {
  for (const [file, specifier] of [
    ['cpu/isa/add.ts', '../wasm/builder.ts'],
    ['cpu/isa/add.ts', '../helpers.ts'],
    ['cpu/interp/build.ts', 'node:fs'],
    ['cpu/isa/add.test.ts', '../testing/engines.ts'],
    ['vmm/vm.ts', '../cpu/index.ts'],
    ['vmm/assembly/lapic.ts', '../../generated/vmm-layout.ts'],
    ['bhyve/main.ts', '#vmmapi'],
    ['bhyve/devices/uart16550.ts', '#base/log.ts'],
    ['tshyve/guests/index.ts', 'openpgp'],
    ['tshyve/cli.ts', '../bhyve/threads/index.ts'],
  ] as const) {
    equal(breach(file, specifier), undefined, `${file} ${specifier}`);
  }
});

test('up the chain, past a door, or to Node from shared code is refused', () => {
  for (const [file, specifier, reason] of [
    ['base/log.ts', '../cpu/state.ts', /base may import base$/],
    ['cpu/state.ts', '../vmm/index.ts', /cpu may import/],
    ['cpu/wasm/module.ts', '../isa/add.ts', /cpu\/wasm may import/],
    ['cpu/isa/add.ts', '../decode/decoder.ts', /cpu\/isa may import/],
    ['bhyve/main.ts', '#vmm', /bhyve may import/],
    ['bhyve/main.ts', '../vmmapi/vm.ts', /import its door/],
    ['bhyve/devices/uart16550.ts', 'node:fs', /a browser runs this folder too/],
    ['cpu/state.ts', 'node:fs', /a browser/],
    ['tshyve/run.ts', '../../guests/x.ts', /nobody imports/],
    ['newfolder/x.ts', '../cpu/index.ts', /not in the layering/],
  ] as const) {
    match(breach(file, specifier) ?? 'allowed', reason, `${file} ${specifier}`);
  }
});

test('every form of import is seen, and its line', () => {
  const text = `import a from './a.ts';
import {
  b,
} from './b.ts';
import './c.ts';
export * from './d.ts';
const e = await import('./e.ts');
const text = "import nothing from here";
export type { F } from './f.ts';
`;
  deepEqual(importsOf(text), [
    { specifier: './a.ts', line: 1 },
    { specifier: './b.ts', line: 4 },
    { specifier: './c.ts', line: 5 },
    { specifier: './d.ts', line: 6 },
    { specifier: './e.ts', line: 7 },
    { specifier: './f.ts', line: 9 },
  ]);
});
