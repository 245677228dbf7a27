/**
 * Keeps what V8 has compiled of the bundles by the end of a run, for later starts to read: scripts/build-programs.ts.
 * Runs on: every thread of the run that is recorded, by `--import`, before the thread's program.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import vm from 'node:vm';
import { Worker, isMainThread } from 'node:worker_threads';

/** A vCPU's thread is ended from outside: after so long, in which it comes to sleep. */
const GRACE_MS = 500;

const fresh: { readonly file: string; readonly script: vm.Script }[] = [];

vm.Script = class extends vm.Script {
  constructor(source: string, options: vm.ScriptOptions & { filename: string }) {
    super(source, options);
    if (options.cachedData === undefined) fresh.push({ file: options.filename.replace(/\.cjs$/, '.code'), script: this });
  }
};

function record(): void {
  for (const { file, script } of fresh) writeFileSync(file, script.createCachedData());
}

process.on('exit', record);
if (isMainThread) {
  const { terminate } = Worker.prototype;
  Worker.prototype.terminate = async function () {
    await sleep(GRACE_MS);
    return terminate.call(this);
  };
} else {
  const { wait } = Atomics;
  Atomics.wait = (...args: unknown[]) => {
    record();
    return (wait as (...args: unknown[]) => 'ok' | 'not-equal' | 'timed-out')(...args);
  };
}
