/**
 * Threads that prepare what others may use later give way to the vCPUs where processors are scarce: docs/decisions.md.
 * Implements: setpriority(2), which on Linux is for one thread. Elsewhere, priorities stay as they are. Runs on: any thread.
 */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';

/** A tenth of a vCPU's share of a processor that they both want. */
const NICE = 10;
const THREADS = '/proc/self/task/';
/** What Node calls the threads on which V8 optimises and collects garbage. */
const V8_WORKER = 'node-V8Worker';

/** The calling thread. */
export function giveWay(): void {
  lower(() => [readlinkSync('/proc/thread-self').replace(/.*\//, '')]);
}

/** The threads on which V8 works for all isolates of this process. */
export function v8WorkersGiveWay(): void {
  lower(() => readdirSync(THREADS).filter((thread) => readFileSync(`${THREADS}${thread}/comm`, 'latin1').startsWith(V8_WORKER)));
}

function lower(threads: () => readonly string[]): void {
  if (process.platform !== 'linux') return;
  try {
    for (const thread of threads().map(Number)) setPriority(thread, Math.max(getPriority(thread), NICE));
  } catch {
    // no /proc, or a thread that has gone: it is a matter of speed only
  }
}
