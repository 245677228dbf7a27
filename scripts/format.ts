/**
 * `npm run format [-- FILE...]`: oxfmt over the tree, or over the files named.
 * Runs on: the command line.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = process.argv.slice(2);
const { status } = spawnSync(`${root}node_modules/.bin/oxfmt`, files.length > 0 ? files : ['.'], { cwd: root, stdio: 'inherit' });
process.exitCode = status ?? 1;
