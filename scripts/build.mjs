/**
 * The build: layouts, AssemblyScript, emitted modules, bundled programs. A step runs only when what it reads has changed.
 * Runs on: the command line, on any Node >= 20, called by bootstrap.mjs; the steps themselves run on the project's Node.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs';

/**
 * `reads`: files and folders, below which `.ts` files that are no tests count; `not`: folders to leave out.
 * `writes`: what must exist afterwards. A step whose script does not exist is left out.
 */
const LAYOUTS = [
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
];
/** Sources that later steps write, or that change with each build. */
const GENERATED_LATER = ['decode-table.ts', 'decode-image.ts', 'decoder-wasm.ts', 'build-id.ts'].map((name) => `src/generated/${name}`);
const MACHINE = [
  {
    name: 'assembly',
    script: 'scripts/build-assembly.ts',
    reads: [
      'scripts/build-assembly.ts',
      'src/base',
      'src/generated',
      'src/cpu/assembly',
      'src/vmm/assembly',
      ...['decode/codes.ts', 'decode/pseudo.ts', 'interp/leave.ts', 'isa/prefixes.ts', 'flag-kinds.ts'].map((name) => `src/cpu/${name}`),
    ],
    not: GENERATED_LATER,
    writes: ['cpu.wasm', 'vmm.wasm', 'decoder-wasm.ts'].map((name) => `src/generated/${name}`),
  },
  {
    name: 'modules',
    script: 'src/cpu/interp/build.ts',
    reads: ['src/base', 'src/generated', 'src/cpu'],
    not: ['src/cpu/assembly', 'src/cpu/testing', 'src/cpu/jit', ...GENERATED_LATER],
    writes: ['ram32.wasm', 'ram64.wasm', 'handlers32.wasm', 'handlers64.wasm', 'handlers.names', 'decode-table.ts', 'decode-image.ts'].map(
      (name) => `src/generated/${name}`,
    ),
  },
  {
    name: 'templates',
    script: 'src/cpu/jit/build.ts',
    reads: ['src/base', 'src/generated', 'src/cpu'],
    not: ['src/cpu/assembly', 'src/cpu/testing', ...GENERATED_LATER],
    writes: ['src/generated/templates32.bin', 'src/generated/templates64.bin'],
  },
];
/** Files that are no sources. */
const OF_NODE = ['package-lock.json', 'scripts/bootstrap.mjs'];
const PROGRAMS = [
  {
    name: 'programs',
    script: 'scripts/build-programs.ts',
    // The last two decide which Node, and how it is started: V8 takes back what the same one has compiled.
    reads: ['scripts/build-programs.ts', 'scripts/record-code.ts', 'src', ...OF_NODE],
    withFlags: true,
    not: ['src/cpu/assembly', 'src/vmm/assembly', ...['cpu', 'vmm', 'bhyve', 'tshyve'].map((folder) => `src/${folder}/testing`)],
    writes: ['tshyve', 'bhyve', 'vcpu', 'compiler'].map((name) => `dist/${name}.cjs`),
  },
];

/** What must be of one build: the modules, which get its id, and what is read as source. */
const MODULES = ['ram32', 'ram64', 'vmm', 'cpu', 'handlers32', 'handlers64'].map((name) => `src/generated/${name}.wasm`);
const SOURCES = [
  'vcpu-layout.ts',
  'vmm-layout.ts',
  'decode-table.ts',
  'decode-image.ts',
  'decoder-wasm.ts',
  'templates32.bin',
  'templates64.bin',
].map((name) => `src/generated/${name}`);
const BUILD_ID = 'src/generated/build-id.ts';
/** A custom section at the module's end: id 0, size, name, 64 hexadecimal digits. */
const SECTION_NAME = 'build-id';
const ID_DIGITS = 64;
const SECTION_HEAD = Buffer.from([0, 1 + SECTION_NAME.length + ID_DIGITS, SECTION_NAME.length, ...Buffer.from(SECTION_NAME)]);

class BuildError extends Error {
  name = 'BuildError';
}

/** @returns the files below root that steps may read, sorted: a glance takes each file's size and time once for all steps. */
function filesOf(root) {
  const files = [];
  const add = (path) => {
    const { size, mtimeMs } = statSync(root + path);
    files.push({ path, sizeBytes: size, mtimeMs });
  };
  const visit = (folder) => {
    for (const entry of readdirSync(root + folder, { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) visit(path);
      else if (path.endsWith('.ts') && !path.endsWith('.test.ts') && !path.endsWith('.bench.ts')) add(path);
    }
  };
  for (const path of OF_NODE) add(path);
  visit('scripts');
  visit('src');
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** @returns those of `files` that a step reads. */
function sourcesOf(files, step) {
  const isOrIn = (path) => (place) => path === place || (path.startsWith(place) && path[place.length] === '/');
  return files.filter(({ path }) => step.reads.some(isOrIn(path)) && !step.not.some(isOrIn(path)));
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

/** Give all modules the id of this build, and the program the same: whoever meets modules, or kept code, of another build can tell. */
function seal(root) {
  // What the emitters make of all this is kept from run to run.
  const emitters = MACHINE.find(({ name }) => name === 'templates'),
    hash = createHash('sha256').update(digestOf(root, sourcesOf(filesOf(root), emitters)));
  const contents = new Map();
  for (const file of [...MODULES, ...SOURCES]) {
    if (!existsSync(root + file)) continue;
    let content = readFileSync(root + file);
    const section = content.length - SECTION_HEAD.length - ID_DIGITS;
    if (section > 0 && content.subarray(section, section + SECTION_HEAD.length).equals(SECTION_HEAD))
      content = content.subarray(0, section);
    contents.set(file, content);
    hash.update(`${file}\0`).update(content);
  }
  const id = hash.digest('hex');
  for (const file of MODULES)
    if (contents.has(file)) replace(root + file, Buffer.concat([contents.get(file), SECTION_HEAD, Buffer.from(id)]));
  replace(
    root + BUILD_ID,
    `// Generated by scripts/build.mjs. Do not edit.\n/** Which build this is: every module carries the same id. */\nexport const BUILD_ID: string = '${id}';\n`,
  );
}

/** Another process never reads half a file. */
function replace(file, content) {
  writeFileSync(`${file}.${process.pid}`, content);
  renameSync(`${file}.${process.pid}`, file);
}

function readStamps(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return {}; // never built, or an unreadable stamp: build
  }
}

function run(root, node, step, flags) {
  return new Promise((resolve, reject) => {
    const child = spawn(node, [root + step.script, ...(step.withFlags ? flags : [])], { cwd: root, stdio: ['ignore', 2, 2] });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      if (code === 0) resolve();
      else
        reject(new BuildError(`build of ${step.name} (${step.script}) failed with ${signal ?? `status ${code}`}: see its message above`));
    });
  });
}

/**
 * @param options.flags of Node for programs. @param options.withLock runs its argument while no other process builds
 * @throws BuildError when a step fails; its own message is then already on standard error
 */
export async function bringUpToDate({ root, node, flags, say, withLock }) {
  const stampFile = `${root}.cache/build.json`;
  const isStale = (step, files, stamps) =>
    existsSync(root + step.script) &&
    (stamps[step.name]?.glance !== glanceOf(sourcesOf(files, step)) || !step.writes.every((file) => existsSync(root + file)));
  const atStart = readStamps(stampFile),
    filesAtStart = filesOf(root);
  const isSealed = () => existsSync(root + BUILD_ID) || !MODULES.some((file) => existsSync(root + file));
  if (![...LAYOUTS, ...MACHINE, ...PROGRAMS].some((step) => isStale(step, filesAtStart, atStart)) && isSealed()) return;

  await withLock(async () => {
    const stamps = readStamps(stampFile);
    const bring = async (step, files) => {
      if (!isStale(step, files, stamps)) return;
      const sources = sourcesOf(files, step);
      const stamp = { glance: glanceOf(sources), digest: digestOf(root, sources) };
      if (stamps[step.name]?.digest !== stamp.digest || !step.writes.every((file) => existsSync(root + file))) {
        say(`building the ${step.name}`);
        await run(root, node, step, flags);
      }
      stamps[step.name] = stamp;
      mkdirSync(`${root}.cache`, { recursive: true });
      writeFileSync(`${stampFile}.${process.pid}`, JSON.stringify(stamps));
      renameSync(`${stampFile}.${process.pid}`, stampFile);
    };
    /** What comes later reads what these write. */
    const bringAll = async (steps) => {
      const files = filesOf(root);
      const failed = (await Promise.allSettled(steps.map((step) => bring(step, files)))).find(({ status }) => status === 'rejected');
      if (failed) throw failed.reason;
    };
    await bringAll(LAYOUTS);
    await bringAll(MACHINE);
    if (existsSync(`${root}src/generated`)) seal(root);
    await bringAll(PROGRAMS);
  });
}
