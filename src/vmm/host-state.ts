/**
 * Words in memory 0 by which the vCPUs' threads and the thread that owns the VM speak to each other.
 * Implements: bhyve's vCPU states and CPU sets (bhyve-map 3.1, 3.3 HLT). Runs on: any thread; who writes a word is said beside it.
 *
 * A thread in RUN_STATE.RUNNING owns its vCPU's record. In every other state the record belongs to whoever holds the vCPU (`hold` above
 * 0): the holder adds to `hold`, then reads `state`; the thread stores RUNNING, then reads `hold`. One of the two sees the other.
 */
import { layout, field } from '../base/layout.ts';
import { VCPUS, VCPU_HOST, VCPU_STRIDE, VM_BASE, VM_HOST } from '../base/memory-map.ts';
import { REQUEST_CODE, REQUEST_KICK, REQUEST_SUSPEND } from '../cpu/index.ts';
import { VCPU_REQUESTS } from '../generated/vcpu-layout.ts';
import { VM_ACTIVE_VCPUS, VM_DEBUG_VCPUS, VM_HALTED_VCPUS, VM_SUSPENDED_VCPUS, VM_SUSPEND_HOW } from '../generated/vmm-layout.ts';
import { SUSPEND_DESTROY, SUSPEND_HALT, SUSPEND_POWEROFF, SUSPEND_RESET, SUSPEND_TRIPLEFAULT } from './exits.ts';
import { MAX_VCPUS } from './layout.ts';

export const VM_WORDS = layout('VM_WORDS', {
  doorbell: field('u32', 'counts calls for the owner, which sleeps on it; any thread adds'),
});

export const VCPU_WORDS = layout('VCPU_WORDS', {
  state: field('u32', 'RUN_STATE; its thread writes'),
  hold: field('u32', 'holders of this vCPU; the owner writes, the thread waits for 0'),
  control: field('u32', 'CONTROL; the owner writes'),
  exitState: field('u32', 'EXIT_STATE; the thread sets PENDING, the owner clears it'),
  refresh: field('u32', '1: registers were written from outside; the holder sets it, the thread recomputes what is derived'),
  mailLock: field('u32', 'guards the mailbox of written code'),
  mailCount: field('u32', 'pages in the mailbox; above MAIL_PAGES: any page may have been written'),
  mailPages: field('u32', 'page numbers in memory 1', { count: 64 }),
  pendingException: field('u64', 'exception to inject, as intinfo; the holder sets it, the thread takes it'),
});

export const MAIL_PAGES = 64;

/** SLEEPING: in HLT. PAUSED: between slices. EXITED: inside an instruction that waits for the owner's answer. ENDED: the thread is gone. */
export const RUN_STATE = { IDLE: 0, RUNNING: 1, SLEEPING: 2, PAUSED: 3, EXITED: 4, ENDED: 5 } as const;
export const CONTROL = { STOP: 0, RUN: 1, END: 2 } as const;
export const EXIT_STATE = { NONE: 0, PENDING: 1 } as const;

export const SUSPEND = {
  reset: SUSPEND_RESET,
  poweroff: SUSPEND_POWEROFF,
  halt: SUSPEND_HALT,
  triplefault: SUSPEND_TRIPLEFAULT,
  destroy: SUSPEND_DESTROY,
} as const;
export type SuspendHow = keyof typeof SUSPEND;

export function suspendName(how: number): SuspendHow | undefined {
  return (Object.keys(SUSPEND) as SuspendHow[]).find((name) => SUSPEND[name] === how);
}

/** Base of a vCPU's window in memory 0: what all code calls `vcpu`. */
export function vcpuBase(index: number): number {
  return VCPUS + index * VCPU_STRIDE;
}

/** Byte addresses. The sets hold a bit per vCPU; who enters and leaves: the owner (active, debug), each vCPU itself (suspended, halted). */
const SETS = {
  active: VM_BASE + VM_ACTIVE_VCPUS,
  suspended: VM_BASE + VM_SUSPENDED_VCPUS,
  debug: VM_BASE + VM_DEBUG_VCPUS,
  halted: VM_BASE + VM_HALTED_VCPUS,
} as const;
export type CpuSet = keyof typeof SETS;
const SUSPEND_HOW_INDEX = (VM_BASE + VM_SUSPEND_HOW) >>> 2;
const DOORBELL_INDEX = (VM_HOST + VM_WORDS.offset.doorbell) >>> 2;

type VcpuWord = 'state' | 'hold' | 'control' | 'exitState' | 'refresh';

/** Blocking and waking, handed in so that tests can pass a clock of their own. */
export interface Waits {
  /** As Atomics.wait. */
  wait(words: Int32Array, index: number, value: number, timeoutMs?: number): 'ok' | 'not-equal' | 'timed-out';
  notify(words: Int32Array, index: number): void;
}

export const ATOMICS: Waits = {
  wait: (words, index, value, timeoutMs) => Atomics.wait(words, index, value, timeoutMs),
  notify: (words, index) => {
    Atomics.notify(words, index);
  },
};

/** Views of memory 0 with the operations on its words. Every operation is sequentially consistent. */
export class SharedWords {
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;
  readonly view: DataView;
  readonly waits: Waits;

  constructor(memory: WebAssembly.Memory, waits: Waits = ATOMICS) {
    this.i32 = new Int32Array(memory.buffer);
    this.u64 = new BigUint64Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.waits = waits;
  }

  get doorbellIndex(): number {
    return DOORBELL_INDEX;
  }
  /** SUSPEND number, 0 while the VM lives. */
  get suspendHow(): number {
    return Atomics.load(this.i32, SUSPEND_HOW_INDEX);
  }
  clearSuspend(): void {
    Atomics.store(this.i32, SUSPEND_HOW_INDEX, 0);
  }

  set(name: CpuSet): bigint {
    return Atomics.load(this.u64, SETS[name] >>> 3);
  }
  /** @returns the set before. */
  include(name: CpuSet, vcpu: number): bigint {
    return Atomics.or(this.u64, SETS[name] >>> 3, 1n << BigInt(vcpu));
  }
  exclude(name: CpuSet, vcpu: number): bigint {
    return Atomics.and(this.u64, SETS[name] >>> 3, ~(1n << BigInt(vcpu)) & 0xffff_ffff_ffff_ffffn);
  }
  clear(name: CpuSet): void {
    Atomics.store(this.u64, SETS[name] >>> 3, 0n);
  }
  /** Needs no 64-bit value: once a slice. */
  has(name: CpuSet, vcpu: number): boolean {
    return ((Atomics.load(this.i32, (SETS[name] >>> 2) + (vcpu >>> 5)) >>> (vcpu & 31)) & 1) !== 0;
  }

  vcpuIndex(vcpu: number, word: VcpuWord): number {
    return (vcpuBase(vcpu) + VCPU_HOST + VCPU_WORDS.offset[word]) >>> 2;
  }
  load(vcpu: number, word: VcpuWord): number {
    return Atomics.load(this.i32, this.vcpuIndex(vcpu, word));
  }
  store(vcpu: number, word: VcpuWord, value: number): void {
    Atomics.store(this.i32, this.vcpuIndex(vcpu, word), value);
  }

  requestsIndex(vcpu: number): number {
    return (vcpuBase(vcpu) + VCPU_REQUESTS) >>> 2;
  }

  /** Call the owner. */
  ring(): void {
    Atomics.add(this.i32, DOORBELL_INDEX, 1);
    this.waits.notify(this.i32, DOORBELL_INDEX);
  }

  /** Get a vCPU's attention: ends its slice, or its sleep. */
  request(vcpu: number, bits: number): void {
    Atomics.or(this.i32, this.requestsIndex(vcpu), bits);
    this.waits.notify(this.i32, this.requestsIndex(vcpu));
  }

  /** @returns false when the VM was suspended already: the first caller wins. */
  suspend(how: SuspendHow): boolean {
    if (Atomics.compareExchange(this.i32, SUSPEND_HOW_INDEX, 0, SUSPEND[how]) !== 0) return false;
    const active = this.set('active');
    for (let vcpu = 0; vcpu < MAX_VCPUS; vcpu++)
      if (((active >> BigInt(vcpu)) & 1n) !== 0n) this.request(vcpu, REQUEST_SUSPEND | REQUEST_KICK);
    this.ring();
    return true;
  }

  /** Tell a vCPU that a page of memory 1 (or, with -1, any page) which may hold decoded code was written by someone else. */
  mailWrittenPage(vcpu: number, page: number): void {
    const lock = this.#lockMail(vcpu);
    const count = (vcpuBase(vcpu) + VCPU_HOST + VCPU_WORDS.offset.mailCount) >>> 2;
    const used = this.i32[count]!; // inside memory 0
    if (page < 0 || used >= MAIL_PAGES) this.i32[count] = MAIL_PAGES + 1;
    else {
      this.i32[((vcpuBase(vcpu) + VCPU_HOST + VCPU_WORDS.offset.mailPages) >>> 2) + used] = page;
      this.i32[count] = used + 1;
    }
    Atomics.store(this.i32, lock, 0);
    this.request(vcpu, REQUEST_CODE);
  }

  /**
   * Take the mailbox: on REQUEST_CODE.
   * @returns page numbers in memory 1 whose decoded code is stale, or undefined when all of it may be.
   */
  takeWrittenPages(vcpu: number): number[] | undefined {
    const lock = this.#lockMail(vcpu);
    const count = (vcpuBase(vcpu) + VCPU_HOST + VCPU_WORDS.offset.mailCount) >>> 2;
    const used = this.i32[count]!; // inside memory 0
    const first = (vcpuBase(vcpu) + VCPU_HOST + VCPU_WORDS.offset.mailPages) >>> 2;
    const pages = used > MAIL_PAGES ? undefined : [...this.i32.subarray(first, first + used)].map((page) => page >>> 0);
    this.i32[count] = 0;
    Atomics.store(this.i32, lock, 0);
    return pages;
  }

  /** A few stores long, so that spinning is right. */
  #lockMail(vcpu: number): number {
    const lock = (vcpuBase(vcpu) + VCPU_HOST + VCPU_WORDS.offset.mailLock) >>> 2;
    while (Atomics.compareExchange(this.i32, lock, 0, 1) !== 0);
    return lock;
  }
}
