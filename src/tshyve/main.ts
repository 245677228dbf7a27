/**
 * The `tshyve` program.
 * Runs on: main event loop.
 */
import { describe } from '../bhyve/index.ts';
import { runTshyve } from './cli.ts';

const status = await runTshyve(process.argv.slice(2), { stdout: process.stdout, stderr: process.stderr, env: process.env }, describe);
// Standard input may still be open after a run; output that is still on its way to a pipe is waited for.
process.exitCode = status;
process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
