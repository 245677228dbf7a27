/**
 * Compiles the AssemblyScript of cpu/ and vmm/ into src/generated/{cpu,vmm}.wasm.
 * Runs on: the command line, as the step "assembly" of `npm run build`, which knows when it is due. Both are compiled at the same time.
 */
import { execFile } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));

/** A bare module: both memories and all else come from the host; docs/decisions.md says why. */
const FLAGS = [
  '--runtime stub --importMemory --sharedMemory --initialMemory 16 --maximumMemory 65536 --noAssert -O3',
  '--enable simd,threads,bulk-memory,sign-extension,mutable-globals,nontrapping-f2i',
]
  .join(' ')
  .split(' ');

async function compile(name: string): Promise<void> {
  const entry = `src/${name}/assembly/index.ts`;
  if (!existsSync(root + entry)) return;
  const output = `src/generated/${name}.wasm`;
  const part = `src/generated/${name}.part.wasm`;
  try {
    const args = [`${root}node_modules/assemblyscript/bin/asc.js`, entry, '-o', part, ...FLAGS];
    const { stderr } = await promisify(execFile)(process.execPath, args, { cwd: root, maxBuffer: 1 << 26 });
    process.stderr.write(stderr);
    renameSync(root + part, root + output);
  } catch (error) {
    rmSync(root + part, { force: true });
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string };
    process.stderr.write(`${entry}: ${stdout + stderr || message}\n`);
    process.exitCode = 1;
  }
}

await Promise.all(['cpu', 'vmm'].map(compile));
