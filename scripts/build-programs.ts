/**
 * Bundles each program, and each thread's, into one file of plain JavaScript in dist/, and keeps beside it what V8 compiles of it: a start reads
 * six files in place of some four hundred.
 * Runs on: the command line, as the step "programs" of `npm run build`, which knows when it is due. The arguments are Node's flags for programs.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { floodKernel } from '../src/tshyve/testing/echo-kernel.ts';

const root = fileURLToPath(new URL('..', import.meta.url)),
  source = `${root}src/`,
  dist = `${root}dist/`;
const RECORD_LIMIT_MS = 20_000;
/** Of the guest that is run for a record: so many, that its loop is compiled. It ends with a status of its own. */
const GUEST_BYTES = 1_000_000,
  GUEST_STATUS = 1;

/** Entry below src/ -> what is started. CommonJS: Node makes all exports of a built-in module, and so loads half of itself, for an `import` of it. */
const PROGRAMS: Readonly<Record<string, string>> = {
  'tshyve/main.ts': 'tshyve.cjs',
  'bhyve/main.ts': 'bhyve.cjs',
  'bhyve/vcpu-worker.ts': 'vcpu.cjs',
  'bhyve/compiler-worker.ts': 'compiler.cjs',
};

const URL_OF_PROGRAM = /new URL\('([^']*\.ts)', import\.meta\.url\)/g;
const URL_OF_MODULE = /import\.meta\.url/g;
/** Where a module of the bundle would find itself as a source; what starts another program. */
const BANNER = `const { pathToFileURL } = require('node:url');
const moduleUrl = (path) => new URL('../src/' + path, pathToFileURL(__filename)).href;
const programUrl = (file) => new URL(file, pathToFileURL(__filename));`;

/**
 * What is started: it runs its bundle, with what V8 compiled of it in a run before, functions and all. (Node's own compile cache keeps what is
 * compiled before anything runs.) V8 compares version, flags and length, and the name stands for the content.
 */
const starter = (bundle: string): string => `'use strict';
const { readFileSync } = require('node:fs');
const { Script, constants } = require('node:vm');
const filename = __dirname + '/${bundle}';
if (process.sourceMapsEnabled) require(filename);
else {
  let cachedData;
  try {
    cachedData = readFileSync(filename.replace(/cjs$/, 'code'));
  } catch {
    // compiled as it is needed
  }
  const source = '(function (exports, require, module, __filename) {' + readFileSync(filename, 'latin1') + '\\n})';
  const script = new Script(source, { filename, cachedData, importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER });
  script.runInThisContext()(exports, require, module, __filename);
}
`;

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

/** Another process never reads half a file. */
function replace(path: string, content: Uint8Array | string): void {
  writeFileSync(`${path}.${process.pid}`, content);
  renameSync(`${path}.${process.pid}`, path);
}

async function bundle(): Promise<void> {
  const { outputFiles, metafile } = await build({
    entryPoints: Object.entries(PROGRAMS).map(([entry, file]) => ({ in: source + entry, out: file.replace(/\.cjs$/, '') })),
    entryNames: '[name]-[hash]',
    outdir: dist,
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
    metafile: true,
    write: false,
  });
  mkdirSync(dist, { recursive: true });
  for (const { path, contents } of outputFiles) replace(path, contents);
  const written = new Set(outputFiles.map(({ path }) => posix.basename(path)));
  for (const [path, { entryPoint }] of Object.entries(metafile.outputs)) {
    const started = entryPoint && PROGRAMS[posix.relative('src', entryPoint)];
    if (!started) continue;
    replace(dist + started, starter(posix.basename(path)));
    written.add(started);
  }
  for (const name of readdirSync(dist)) if (!written.has(name)) rmSync(dist + name, { recursive: true });
}

/** Runs a guest, for what V8 compiles of a program and of its threads meanwhile. Without it they do the same, later. */
function record(program: string, args: readonly string[]): void {
  const { status, stderr } = spawnSync(
    process.execPath,
    [...process.argv.slice(2), '--import', new URL('record-code.ts', import.meta.url).href, dist + program, ...args],
    // It leaves nothing in the user's cache.
    { timeout: RECORD_LIMIT_MS, encoding: 'latin1', env: { ...process.env, XDG_CACHE_HOME: folder } },
  );
  if (status !== GUEST_STATUS)
    process.stderr.write(`${program}: what it compiles could not be recorded: ${stderr || `status ${status}`}\n`);
}

await bundle();
const folder = mkdtempSync(join(tmpdir(), 'tshyve-build-')),
  kernel = join(folder, 'kernel');
try {
  writeFileSync(kernel, floodKernel(GUEST_BYTES));
  // With a trace, the compiler's thread is waited for.
  record('tshyve.cjs', ['run', '--kernel', kernel, '-l', 'pctestdev', `--trace-jit=${join(folder, 'trace')}`]);
  record('bhyve.cjs', ['-s', '31,lpc', '-l', 'com1,stdio', '-l', 'pc-testdev', '-o', `kernel=${kernel}`, 'vm']);
} finally {
  rmSync(folder, { recursive: true });
}
