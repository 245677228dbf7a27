/**
 * Starts a program of this checkout, after bringing the dependencies (and with them the right Node) and the build up to date.
 * Implements: the `npm run` scripts and bin/*.mjs. Prints only on standard error.
 * Runs on: the command line, on any Node >= 20; therefore plain JavaScript, and no dependency.
 *
 *   node scripts/bootstrap.mjs PROGRAM [ARGUMENT...]
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { bringUpToDate } from './build.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const cache = `${root}.cache/`;
const binFolder = `${root}node_modules/.bin/`;
const stampFile = `${root}node_modules/.tshyve-lock-sha256`;

/** Oldest Node with shared memory64, multi-memory and type stripping: what the sources need. */
const OLDEST_NODE = 24;

/** What can be started. `build: false`: works on the sources alone. */
const PROGRAMS = {
  tshyve: { entry: 'dist/tshyve.cjs' },
  bhyve: { entry: 'dist/bhyve.cjs' },
  step: { entry: 'src/cpu/testing/step-main.ts' },
  vectors: { entry: 'src/cpu/testing/vectors-main.ts' },
  test: { entry: 'scripts/test.ts' },
  bench: { entry: 'bench/main.ts' },
  docs: { entry: 'scripts/instruction-list.ts', build: false },
  check: { entry: 'scripts/check.ts' },
  format: { entry: 'scripts/format.ts', build: false },
  build: {},
};

class BootstrapError extends Error {}

function say(text) {
  process.stderr.write(`tshyve: ${text}\n`);
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** Do node_modules hold exactly what the lock file names? Then somebody has already installed, by whatever command. */
function installedMatchesLock() {
  let locked, installed;
  try {
    locked = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8')).packages;
    installed = JSON.parse(readFileSync(`${root}node_modules/.package-lock.json`, 'utf8')).packages;
  } catch {
    return false; // no install, or half of one
  }
  return Object.entries(locked).every(
    ([path, entry]) => path === '' || installed[path]?.integrity === entry.integrity || (entry.optional && installed[path] === undefined),
  );
}

function install() {
  const digest = sha256(readFileSync(`${root}package-lock.json`));
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === digest) return;
  if (!installedMatchesLock()) {
    say('installing the dependencies (once, some 20 s)');
    // npm tells its scripts where it and its own Node are; node_modules/.bin/node, first in PATH, is about to be replaced.
    const { npm_execpath: npm, npm_node_execpath: npmNode } = process.env;
    const args = ['ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error'];
    const path = (process.env['PATH'] ?? '')
      .split(':')
      .filter((folder) => !folder.endsWith('node_modules/.bin'))
      .join(':');
    const { status, error } =
      npm && npmNode && npm.endsWith('.js')
        ? spawnSync(npmNode, [npm, ...args], { cwd: root, stdio: ['ignore', 2, 2], env: { ...process.env, PATH: path } })
        : spawnSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2], env: { ...process.env, PATH: path } });
    if (error) throw new BootstrapError(`npm ci: ${error.message}; install npm, or put it in PATH`);
    if (status !== 0) throw new BootstrapError(`npm ci failed with status ${status}: see its message above`);
  }
  for (const name of ['tshyve', 'bhyve']) {
    // So that `npx tshyve` in the checkout finds the command.
    rmSync(binFolder + name, { force: true });
    symlinkSync(`../../bin/${name}.mjs`, binFolder + name);
  }
  writeFileSync(stampFile, digest);
}

/** The Node that runs the program: the one of the lock file, or this one where no package fits the machine. */
function findNode() {
  if (existsSync(`${binFolder}node`)) return realpathSync(`${binFolder}node`);
  if (Number.parseInt(process.versions.node, 10) >= OLDEST_NODE) return process.execPath;
  throw new BootstrapError(
    `Node ${process.versions.node} on ${process.platform}-${process.arch}: the lock file brings a newer one for linux-x64 and linux-arm64 only; install Node ${OLDEST_NODE} or newer`,
  );
}

/** Two commands started at once must not install or build over each other. A dead owner's lock is taken over. */
async function withLock(body) {
  mkdirSync(cache, { recursive: true });
  const lock = `${cache}setup.lock`;
  for (let told = false; ;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const owner = Number.parseInt(existsSync(lock) ? readFileSync(lock, 'utf8') : '', 10);
    if (Number.isNaN(owner) ? existsSync(lock) && Date.now() - statSync(lock).mtimeMs > 5000 : !isAlive(owner)) {
      rmSync(lock, { force: true });
      continue;
    }
    if (!told) say(`waiting for process ${owner}, which is setting up this checkout`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  try {
    return await body();
  } finally {
    rmSync(lock, { force: true });
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** @param entry of the program: bundles bring along what was compiled of them. */
function environment(entry) {
  const path = process.env['PATH'] ?? '';
  const folder = binFolder.slice(0, -1);
  return {
    ...process.env,
    PATH: path.split(':')[0] === folder ? path : `${folder}:${path}`,
    ...(entry.endsWith('.ts') && { NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? `${cache}v8` }),
    // glibc gives each of our dozen threads a heap of its own otherwise, and each keeps what its largest moment took: 40 MiB in all.
    MALLOC_ARENA_MAX: process.env['MALLOC_ARENA_MAX'] ?? '1',
  };
}

/**
 * V8's baseline compiler for WebAssembly counts the targets of each call, to choose what to inline; handlers and regions tail-call through a
 * table and gain nothing from it. When its optimiser is asked is a compromise of a boot and what comes after it. A young generation of ours is
 * small: it is collected sooner by its own thread than with V8's workers, whose turn has to come first (docs/decisions.md for all).
 * V8 takes these flags at its start only.
 */
const NODE_FLAGS = [
  '--disable-warning=ExperimentalWarning',
  '--no-wasm-inlining',
  '--no-wasm-inlining-call-indirect',
  '--wasm-tiering-budget=30000000',
  '--no-parallel-scavenge',
];

/** Traces of a bundle name its sources where somebody wants to see them: reading the maps takes time. */
const debugFlags = () => (process.env['TSHYVE_DEBUG'] ? ['--enable-source-maps'] : []);

/** Run `node entry args` in place of this process, or, where Node cannot do that, as a child whose end is passed on. */
function become(node, entry, args) {
  const argv = [...NODE_FLAGS, ...debugFlags(), root + entry, ...args];
  if (typeof process.execve === 'function') process.execve(node, [node, ...argv], environment(entry));
  const child = spawn(node, argv, { stdio: 'inherit', env: environment(entry) });
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']) process.on(signal, () => child.kill(signal));
  // A terminal sends Ctrl-C to the child as well; only a signal meant for this process has to be handed on.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
  child.on('error', (error) => {
    say(`${node}: ${error.message}`);
    process.exit(4);
  });
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

/**
 * Set up what is missing, then turn into the program.
 * @param name a key of PROGRAMS
 */
export async function launch(name, args) {
  const program = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined;
  try {
    if (!program) throw new BootstrapError(`${name}: expected one of ${Object.keys(PROGRAMS).join(', ')}`);
    const fresh = existsSync(stampFile) && readFileSync(stampFile, 'utf8') === sha256(readFileSync(`${root}package-lock.json`));
    if (!fresh) await withLock(install);
    const node = findNode();
    if (program.build !== false) await bringUpToDate({ root, node, flags: NODE_FLAGS, say, withLock });
    if (program.entry === undefined) return;
    if (!existsSync(root + program.entry)) throw new BootstrapError(`${name}: ${program.entry} is not part of this checkout`);
    become(node, program.entry, args);
  } catch (error) {
    say(error instanceof BootstrapError || error?.name === 'BuildError' ? error.message : (error?.stack ?? String(error)));
    process.exitCode = 4;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await launch(process.argv[2] ?? 'build', process.argv.slice(3));
}
