/**
 * The bhyve program with a machine that is made up: `node fake-bhyve.ts [bhyve's options]`, for tests with real pipes and terminals.
 * Runs on: main event loop.
 */
import { parseCommandLine } from '../config/command-line.ts';
import { readConfigFile } from '../boot-files.ts';
import { bhyveStatus, runInForeground } from '../foreground.ts';
import { nodeProcess } from '../node-process.ts';
import { createFakeEngine } from './fake-engine.ts';

const program = 'bhyve';
const commandLine = parseCommandLine(process.argv.slice(2), {
  program,
  readConfigFile,
  warn: (message) => process.stderr.write(`${message}\n`),
});
if (commandLine.kind === 'exit') {
  process.stdout.write(commandLine.out);
  process.stderr.write(commandLine.error);
  process.exitCode = commandLine.status;
} else {
  const onReset = commandLine.tree.bool('restart', false) ? 'restart' : 'end';
  process.exit(
    await runInForeground(
      { program, tree: commandLine.tree, process: nodeProcess(), createEngine: createFakeEngine, onReset, logLevel: 'warn' },
      bhyveStatus,
    ),
  );
}
