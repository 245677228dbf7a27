/**
 * Bundles each program, and each thread's, into one file of plain JavaScript in dist/: a start reads three files in place of some four hundred.
 * Runs on: the command line, as the step "programs" of `npm run build`, which knows when it is due.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = `${root}src/`;

/** Entry below src/ -> file in dist/. CommonJS: Node makes all exports of a built-in module, and so loads half of itself, for an `import` of it. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'tshyve/main.ts': 'tshyve.cjs',
  'bhyve/main.ts': 'bhyve.cjs',
  'bhyve/vcpu-worker.ts': 'vcpu.cjs',
  'bhyve/compiler-worker.ts': 'compiler.cjs',
};

const URL_OF_PROGRAM = /new URL\('([^']*\.ts)', import\.meta\.url\)/g;
const URL_OF_MODULE = /import\.meta\.url/g;
/** Where a module of the bundle would find itself as a source; where a program of the bundles is. */
const BANNER = `const { pathToFileURL } = require('node:url');
const moduleUrl = (path) => new URL('../src/' + path, pathToFileURL(__filename)).href;
const programUrl = (file) => new URL(file, pathToFileURL(__filename));`;

const urls: Plugin = {
  name: 'urls',
  setup({ onLoad }) {
    onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const module = path.slice(source.length),
        text = await readFile(path, 'utf8');
      const contents = text
        .replace(URL_OF_PROGRAM, (_, target: string) => {
          const file = PROGRAMS[posix.join(posix.dirname(module), target)];
          if (file === undefined) throw new Error(`${module}: ${target} is started, but not bundled: see PROGRAMS`);
          return `programUrl('${file}')`;
        })
        .replace(URL_OF_MODULE, `moduleUrl('${module}')`);
      return { contents, loader: 'ts' };
    });
  },
};

const { outputFiles } = await build({
  entryPoints: Object.entries(PROGRAMS).map(([entry, file]) => ({ in: source + entry, out: file.replace(/\.cjs$/, '') })),
  outdir: `${root}dist`,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: `node${process.versions.node}`,
  packages: 'external',
  banner: { js: BANNER },
  plugins: [urls],
  sourcemap: 'linked',
  sourcesContent: false,
  logLevel: 'warning',
  absWorkingDir: root,
  write: false,
});
mkdirSync(`${root}dist`, { recursive: true });
for (const { path, contents } of outputFiles) {
  // Another process never reads half a file.
  writeFileSync(`${path}.${process.pid}`, contents);
  renameSync(`${path}.${process.pid}`, path);
}
