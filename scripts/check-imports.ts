/**
 * Refuses imports that point up the chain of folders, past a folder's door, or out to Node where a browser must be able to follow.
 * Implements: the layering of docs/architecture.md.
 * Runs on: the command line, as part of `npm run check` and before each commit.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, posix } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Top-level folder of src/ -> the top-level folders that it may import. Every folder may import itself and base. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  generated: [],
  cpu: ['generated'],
  vmm: ['cpu', 'generated'],
  vmmapi: ['vmm'],
  bhyve: ['vmmapi'],
  bhyvectl: ['vmmapi'],
  bhyveload: ['vmmapi'],
  web: ['vmmapi', 'bhyve'],
  vmrun: [],
  tshyve: ['bhyve', 'bhyveload', 'vmmapi'],
};

/** Folders without a door: any file of them may be imported from outside. */
const OPEN = new Set(['base', 'generated']);

/** Inside cpu: `interp jit decode` -> `isa` -> `wasm`. Files that lie in cpu/ itself are tables for all. */
const MAY_IMPORT_IN_CPU: Readonly<Record<string, readonly string[]>> = {
  wasm: [],
  isa: ['wasm'],
  decode: ['isa', 'wasm'],
  interp: ['isa', 'wasm', 'decode'],
  jit: ['isa', 'wasm', 'decode', 'interp'],
  // Files of plain constants, which AssemblyScript compiles as well.
  assembly: ['decode', 'interp', 'isa'],
};

/** Folders whose code runs in a browser too: no `node:` module. */
const NO_NODE = [/^base\//, /^cpu\//, /^vmm\//, /^vmmapi\//, /^bhyve\/(devices|pci|virtio|acpi)\//];

/** What runs on the developer's machine only: build steps, tests and what they share, measurements. */
const TOOLS = /\.(test|full|bench)\.ts$|\/testing(\.ts$|\/)|\/build\.ts$|-build\.ts$/;

/** @returns what is wrong with `file` (a path below src/) importing `specifier`, or undefined. */
export function breach(file: string, specifier: string): string | undefined {
  const isTool = TOOLS.test(file);
  if (specifier.startsWith('node:')) {
    return !isTool && NO_NODE.some((folder) => folder.test(file)) ? 'a browser runs this folder too; have it handed in' : undefined;
  }
  const target = specifier.startsWith('#')
    ? specifier.startsWith('#base/')
      ? specifier.slice(1)
      : `${specifier.slice(1)}/index.ts`
    : specifier.startsWith('.')
      ? posix.normalize(`${dirname(file)}/${specifier}`)
      : undefined;
  if (target === undefined) return undefined; // a package
  if (target.startsWith('../')) {
    return /^\.\.\/(guests|bench)\//.test(target) && !isTool ? 'nobody imports guests or bench' : undefined;
  }
  const from = file.split('/')[0]!;
  const to = target.split('/')[0]!;
  if (from === to) {
    const [, fromPart = ''] = from === 'cpu' && file.split('/').length > 2 ? file.split('/') : [];
    const [, toPart = ''] = to === 'cpu' && target.split('/').length > 2 ? target.split('/') : [];
    const allowed = MAY_IMPORT_IN_CPU[fromPart];
    if (isTool || allowed === undefined || toPart === '' || toPart === fromPart || allowed.includes(toPart)) return undefined;
    return `cpu/${fromPart} may import ${['cpu/*.ts', ...allowed.map((part) => `cpu/${part}`)].join(', ')}`;
  }
  if (to === 'base' || isTool) return undefined;
  const allowed = MAY_IMPORT[from];
  if (allowed === undefined) return `${from} is not in the layering of scripts/check-imports.ts`;
  if (!allowed.includes(to)) return `${from} may import ${['base', ...allowed].join(', ')}`;
  if (!OPEN.has(to) && !/^[^/]+(\/(devices|threads))?\/index\.ts$/.test(target)) return `import its door instead, ${to}/index.ts`;
  return undefined;
}

/** @returns the module specifiers of a source text, with the line each stands on. */
export function importsOf(text: string): { specifier: string; line: number }[] {
  const found: { specifier: string; line: number }[] = [];
  for (const match of text.matchAll(/^(?:import|export)\s(?:[^'"`;]*?\sfrom\s+)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm)) {
    found.push({ specifier: match[1] ?? match[2]!, line: text.slice(0, match.index + match[0].length).split('\n').length });
  }
  return found;
}

function main(): void {
  const source = fileURLToPath(new URL('../src/', import.meta.url));
  let breaches = 0;
  for (const file of readdirSync(source, { recursive: true, encoding: 'utf8' }).toSorted()) {
    if (!file.endsWith('.ts') || file.startsWith('generated/')) continue;
    for (const { specifier, line } of importsOf(readFileSync(source + file, 'utf8'))) {
      const wrong = breach(file, specifier);
      if (wrong === undefined) continue;
      breaches++;
      process.stderr.write(`src/${file}:${line}: ${specifier}: ${wrong}\n`);
    }
  }
  if (breaches > 0) process.exitCode = 1;
}

if (import.meta.main) main();
