/**
 * The door of bhyve/: configuration, and a VM from its configuration to its end.
 * Runs on: main event loop.
 */
export { cacheFolder, keepCode } from './cache-folder.ts';
export { ConfigTree, escapeValue } from './config/tree.ts';
export { getoptLong } from './config/getopt.ts';
export type { LongOption } from './config/getopt.ts';
export { addDefaultBridges, parseLpcDevice, parsePciSlot } from './config/devices.ts';
export { parseTopology } from './config/topology.ts';
export { setDefaults } from './config/command-line.ts';
export { formatSize, parseMemorySize, quote } from './config/numbers.ts';
export { CPU_TIERS, TRACE_STDERR } from './config/settings.ts';
export type { CpuTier, MachineLimits, VmSettings } from './config/settings.ts';
export { describe, hostLimits, runInForeground } from './foreground.ts';
export type { ForegroundEnd, ForegroundProcess } from './foreground.ts';
export { nodeProcess } from './node-process.ts';
export { EXIT_STATUS_ERROR, VmRun, exitStatus } from './run-vm.ts';
export type { VmEnd } from './run-vm.ts';
export type { CreateEngine, Engine, EngineEnd, EngineRequest, Inspection } from './engine.ts';
export type { ImageFile } from './loaders/image.ts';
export { isBzImage } from './loaders/linux.ts';
export { InputQueue } from './chars/input-queue.ts';
export type { OpenBackend } from './chars/char-port.ts';

/** The machine that is real; loaded when it is first needed, so that `--help` is quick. */
export const createEngine: import('./engine.ts').CreateEngine = async (request) =>
  (await import('./machine-engine.ts')).createEngine(request);
