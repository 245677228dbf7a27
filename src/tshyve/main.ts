/**
 * The `tshyve` program.
 * Runs on: main event loop.
 */
import { runTshyve } from './cli.ts';

const io = { stdout: process.stdout, stderr: process.stderr, env: process.env };
void runTshyve(process.argv.slice(2), io, async (error) => (await import('../bhyve/index.ts')).describe(error)).then((status) => {
  // Standard input may still be open after a run; output that is still on its way to a pipe is waited for.
  process.exitCode = status;
  process.stdout.write('', () => process.stderr.write('', () => process.exit(status)));
});
