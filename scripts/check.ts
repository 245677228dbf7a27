/**
 * `npm run check`: types, lint, import directions and format of the whole tree, at the same time; prints only what is wrong.
 * Runs on: the command line.
 */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = `${root}node_modules/.bin/`;

/** AssemblyScript is checked by its own compiler (`npm run build`), but the tests between it are TypeScript. */
const hasAssemblyTests = readdirSync(`${root}src`, { recursive: true, encoding: 'utf8' }).some((file) =>
  /\/assembly\/.*\.test\.ts$/.test(file),
);

const CHECKS: readonly (readonly [name: string, command: string, ...args: string[]])[] = [
  ['types', `${bin}tsc`, '-p', 'tsconfig.json', '--pretty', 'false'],
  ...(hasAssemblyTests
    ? [['types of assembly tests', `${bin}tsc`, '-p', 'tsconfig.assembly-tests.json', '--pretty', 'false'] as const]
    : []),
  ['lint', `${bin}oxlint`, '--type-aware', '--quiet', '.'],
  ['imports', process.execPath, 'scripts/check-imports.ts'],
  ['format', `${bin}oxfmt`, '--check', '.'],
];

const results = await Promise.all(
  CHECKS.map(
    ([name, command, ...args]) =>
      new Promise<boolean>((resolve) => {
        execFile(command, args, { cwd: root, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
          process.stderr.write(error ? `${name}: failed\n${stdout}${stderr}\n` : `${name}: ok\n`);
          resolve(error === null);
        });
      }),
  ),
);
process.exitCode = results.every(Boolean) ? 0 : 1;
