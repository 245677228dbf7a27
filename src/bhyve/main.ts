/**
 * The `bhyve` program.
 * Implements: bhyve(8). Runs on: main event loop.
 */
import { readConfigFile } from './boot-files.ts';
import { keepCode } from './cache-folder.ts';
import { parseCommandLine } from './config/command-line.ts';
import { bhyveStatus, runInForeground } from './foreground.ts';
import { nodeProcess } from './node-process.ts';
import { startThreadsAhead } from './threads/index.ts';

const program = 'bhyve';

async function main(): Promise<void> {
  const commandLine = parseCommandLine(process.argv.slice(2), {
    program,
    readConfigFile,
    warn: (message) => process.stderr.write(`${program}: ${message}\n`),
  });
  if (commandLine.kind === 'exit') {
    process.stdout.write(commandLine.out);
    process.stderr.write(commandLine.error);
    process.exitCode = commandLine.status;
  } else {
    startThreadsAhead();
    keepCode(commandLine.tree, process.env);
    const { createEngine } = await import('./machine-engine.ts');
    const status = await runInForeground(
      {
        program,
        tree: commandLine.tree,
        process: nodeProcess(),
        createEngine,
        onReset: 'end',
        logLevel: process.env['TSHYVE_DEBUG'] ? 'debug' : 'warn',
      },
      bhyveStatus,
    );
    // Standard input may still be open, and a guest's threads are gone: nothing is left to wait for.
    process.exit(status);
  }
}

void main();
