/**
 * The bhyve program on a vCPU thread that dies.
 * Runs on: main event loop of a test's child process.
 */
import { readConfigFile } from '../boot-files.ts';
import { parseCommandLine } from '../config/command-line.ts';
import { bhyveStatus, runInForeground } from '../foreground.ts';
import { createNodeHost } from '../host-node.ts';
import { createEngineOn } from '../machine-engine.ts';
import { nodeProcess } from '../node-process.ts';

const program = 'bhyve';
const commandLine = parseCommandLine(process.argv.slice(2), { program, readConfigFile, warn() {} });
if (commandLine.kind === 'exit') throw new Error(commandLine.error);
const createEngine = createEngineOn((log) => createNodeHost({ log, worker: new URL('crashing-worker.ts', import.meta.url) }));
process.exit(
  await runInForeground(
    { program, tree: commandLine.tree, process: nodeProcess(), createEngine, onReset: 'end', logLevel: 'warn' },
    bhyveStatus,
  ),
);
