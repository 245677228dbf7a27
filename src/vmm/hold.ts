/**
 * Holding vCPUs: while one is held, its thread executes nothing and its record may be read and written.
 * Implements: bhyve's VCPU_FROZEN (bhyve-map 3.1). Runs on: the VM's owner.
 */
import { VmError } from '../base/errors.ts';
import { REQUEST_KICK } from '../cpu/index.ts';
import { RUN_STATE, type SharedWords } from './host-state.ts';

/** A slice takes some 100 us; a thread that has not stopped after so many looks is lost. */
const LOOK_MS = 2,
  LOOKS = 5000;

export class Holder {
  readonly #words: SharedWords;
  /** What may keep a thread from stopping, and only the owner can do: taking posted writes out of a ring that is full. */
  relieve: () => void = () => {};

  constructor(words: SharedWords) {
    this.#words = words;
  }

  /** Run `action` while the vCPUs are held. May be nested. @throws VmError ETIMEDOUT when a thread does not stop. */
  withHeld<T>(vcpus: readonly number[], action: () => T): T {
    const { i32 } = this.#words;
    for (const vcpu of vcpus) {
      Atomics.add(i32, this.#words.vcpuIndex(vcpu, 'hold'), 1);
      // No wake-up: a sleeper may go on sleeping.
      if (this.#words.load(vcpu, 'state') === RUN_STATE.RUNNING) Atomics.or(i32, this.#words.requestsIndex(vcpu), REQUEST_KICK);
    }
    try {
      for (const vcpu of vcpus) this.#awaitStop(vcpu);
      return action();
    } finally {
      for (const vcpu of vcpus) {
        const hold = this.#words.vcpuIndex(vcpu, 'hold');
        if (Atomics.sub(i32, hold, 1) === 1) this.#words.waits.notify(i32, hold);
      }
    }
  }

  #awaitStop(vcpu: number): void {
    const { i32, waits } = this.#words;
    const state = this.#words.vcpuIndex(vcpu, 'state');
    for (let looks = 0; Atomics.load(i32, state) === RUN_STATE.RUNNING; looks++) {
      if (looks === LOOKS) throw new VmError('ETIMEDOUT', `vcpu ${vcpu}: its thread does not stop`);
      if (waits.wait(i32, state, RUN_STATE.RUNNING, LOOK_MS) === 'timed-out') this.relieve();
    }
  }
}
