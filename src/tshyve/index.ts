/**
 * The library `tshyve`: unmodified 64-bit operating systems in a Node program.
 * Runs on: main event loop.
 */
export { VM } from './vm.ts';
export type { StopOptions, VmConfig, VmEvents, VmExit } from './vm.ts';
export { SerialPort } from './serial.ts';
export type { ExpectOptions, Expected } from './serial.ts';
export { VmError } from '../base/errors.ts';
export type { ErrorCode } from '../base/errors.ts';
export { createLog, silentLog } from '../base/log.ts';
export type { Log, LogLevel } from '../base/log.ts';
export type { CpuTier, Inspection } from '../bhyve/index.ts';
