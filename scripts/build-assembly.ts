/**
 * Compiles the AssemblyScript of cpu/ and vmm/ into src/generated/*.wasm, skipping what has not changed.
 * Runs on: the command line, as part of `npm run build`.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const FLAGS = [
  '--runtime', 'stub', '--importMemory', '--sharedMemory', '--initialMemory', '16', '--maximumMemory', '65536', '--importTable',
  '--enable', 'simd,threads,bulk-memory,sign-extension,mutable-globals,nontrapping-f2i', '--noAssert', '-O3',
];

const folders = ['src/base', 'src/generated', 'src/cpu/assembly', 'src/vmm/assembly'];
const hash = createHash('sha256').update(FLAGS.join());
for (const folder of folders) {
  for (const name of readdirSync(root + folder, { recursive: true }).map(String).filter((file) => file.endsWith('.ts')).toSorted()) {
    hash.update(name).update(readFileSync(`${root}${folder}/${name}`));
  }
}
const digest = hash.digest('hex');
const stamp = `${root}src/generated/assembly.sha256`;
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== digest) {
  for (const name of ['cpu', 'vmm']) {
    const entry = `src/${name}/assembly/index.ts`;
    const { status, stdout, stderr } = spawnSync(process.execPath, [`${root}node_modules/assemblyscript/bin/asc.js`, entry, '-o', `src/generated/${name}.wasm`, ...FLAGS], { cwd: root, encoding: 'utf8' });
    if (status !== 0) {
      process.stderr.write(`${stdout}${stderr}`);
      process.exit(1);
    }
  }
  writeFileSync(stamp, digest);
}
