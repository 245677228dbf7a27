/**
 * The build: layouts, AssemblyScript, emitted modules. A step runs only when what it reads has changed.
 * Runs on: the command line, on any Node >= 20, called by bootstrap.mjs; the steps themselves run on the project's Node.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';

/**
 * The layouts come first, then the others at the same time. `reads`: files and folders, below which `.ts` files that are no tests count; `not`: folders to leave out.
 * `writes`: what must exist afterwards. A step whose script does not exist is left out.
 */
const STEPS = [
  {
    name: 'layouts',
    script: 'scripts/generate.ts',
    reads: ['scripts/generate.ts', 'src/base', 'src/cpu', 'src/vmm'],
    not: [
      'src/cpu/isa',
      'src/cpu/decode',
      'src/cpu/interp',
      'src/cpu/jit',
      'src/cpu/wasm',
      'src/cpu/assembly',
      'src/cpu/testing',
      'src/vmm/assembly',
    ],
    writes: ['src/generated/vcpu-layout.ts', 'src/generated/vmm-layout.ts'],
  },
  {
    name: 'assembly',
    script: 'scripts/build-assembly.ts',
    reads: ['scripts/build-assembly.ts', 'src/base', 'src/generated', 'src/cpu/assembly', 'src/vmm/assembly'],
    not: ['src/generated/decode-table.ts'],
    writes: ['src/generated/cpu.wasm', 'src/generated/vmm.wasm'],
  },
  {
    name: 'modules',
    script: 'src/cpu/interp/build.ts',
    reads: ['src/base', 'src/generated', 'src/cpu'],
    not: ['src/cpu/assembly', 'src/cpu/testing', 'src/cpu/jit', 'src/generated/decode-table.ts'],
    writes: [
      'src/generated/ram.wasm',
      'src/generated/handlers.wasm',
      'src/generated/handlers.manifest',
      'src/generated/handlers.names',
      'src/generated/decode-table.ts',
    ],
  },
  {
    name: 'templates',
    script: 'src/cpu/jit/build.ts',
    reads: ['src/base', 'src/generated', 'src/cpu'],
    not: ['src/cpu/assembly', 'src/cpu/testing', 'src/generated/decode-table.ts'],
    writes: ['src/generated/templates.bin'],
  },
];

class BuildError extends Error {
  name = 'BuildError';
}

/** @returns paths below root of the sources that a step reads, sorted. */
function sourcesOf(root, step) {
  const files = [];
  const visit = (path) => {
    if (step.not.includes(path)) return;
    const stat = statSync(root + path, { throwIfNoEntry: false });
    if (stat?.isDirectory()) for (const name of readdirSync(root + path)) visit(`${path}/${name}`);
    else if (stat && path.endsWith('.ts') && !path.endsWith('.test.ts') && !path.endsWith('.bench.ts')) {
      files.push({ path, sizeBytes: stat.size, mtimeMs: stat.mtimeMs });
    }
  };
  for (const path of step.reads) visit(path);
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Names, sizes and times: read on every start, so it opens no file. */
function glanceOf(files) {
  const hash = createHash('sha256');
  for (const { path, sizeBytes, mtimeMs } of files) hash.update(`${path}\0${sizeBytes}\0${mtimeMs}\0`);
  return hash.digest('hex');
}

function digestOf(root, files) {
  const hash = createHash('sha256');
  for (const { path } of files)
    hash
      .update(`${path}\0`)
      .update(readFileSync(root + path))
      .update('\0');
  return hash.digest('hex');
}

function readStamps(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return {}; // never built, or an unreadable stamp: build
  }
}

function run(root, node, step) {
  return new Promise((resolve, reject) => {
    const child = spawn(node, [root + step.script], { cwd: root, stdio: ['ignore', 2, 2] });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (code === 0) resolve();
      else
        reject(new BuildError(`build of ${step.name} (${step.script}) failed with ${signal ?? `status ${code}`}: see its message above`));
    });
  });
}

/**
 * @param options.withLock runs its argument while no other process builds
 * @throws BuildError when a step fails; its own message is then already on standard error
 */
export async function bringUpToDate({ root, node, say, withLock }) {
  const stampFile = `${root}.cache/build.json`;
  const isStale = (step, stamps) =>
    existsSync(root + step.script) &&
    (stamps[step.name]?.glance !== glanceOf(sourcesOf(root, step)) || !step.writes.every((file) => existsSync(root + file)));
  const atStart = readStamps(stampFile);
  if (!STEPS.some((step) => isStale(step, atStart))) return;

  await withLock(async () => {
    const stamps = readStamps(stampFile);
    const bring = async (step) => {
      if (!isStale(step, stamps)) return;
      const files = sourcesOf(root, step);
      const stamp = { glance: glanceOf(files), digest: digestOf(root, files) };
      if (stamps[step.name]?.digest !== stamp.digest || !step.writes.every((file) => existsSync(root + file))) {
        say(`building the ${step.name}`);
        await run(root, node, step);
      }
      stamps[step.name] = stamp;
      mkdirSync(`${root}.cache`, { recursive: true });
      writeFileSync(`${stampFile}.${process.pid}`, JSON.stringify(stamps));
      renameSync(`${stampFile}.${process.pid}`, stampFile);
    };
    const [layouts, ...others] = STEPS;
    await bring(layouts);
    const failed = (await Promise.allSettled(others.map(bring))).find(({ status }) => status === 'rejected');
    if (failed) throw failed.reason;
  });
}
