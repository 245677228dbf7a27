/**
 * What a vCPU's thread does: slices of execution, sleep in HLT, synchronous exits, and parking.
 * Implements: bhyve's vm_run and vm_handle_hlt (bhyve-map 3.1, 3.3), event folding of 3.5. Runs on: the vCPU's own thread.
 * The thread sleeps in one place only, the vCPU's `requests` word, so that any request wakes it; nothing is polled.
 */
import { VCPU_HOST } from '../base/memory-map.ts';
import {
  RFLAGS_IF,
  RUN_BUDGET,
  RUN_EXCEPTION,
  RUN_HALTED,
  RUN_STEPPED,
  RUN_TRIPLE_FAULT,
  REQUEST_DEBUG,
  REQUEST_INTERRUPT,
  REQUEST_KICK,
  REQUEST_NMI,
  REQUEST_SUSPEND,
} from '../cpu/index.ts';
import {
  VCPU_BUDGET,
  VCPU_COUNTERS,
  VCPU_EXIT_CODE,
  VCPU_EXIT_REASON,
  VCPU_FAULT,
  VCPU_FAULT_ERROR,
  VCPU_FAULT_HAS_ERROR,
  VCPU_INJECTED,
  VCPU_INTINFO,
  VCPU_NMI_BLOCKED,
  VCPU_NMI_PENDING,
  VCPU_RETIRED,
  VCPU_RFLAGS,
} from '../generated/vcpu-layout.ts';
import { entryIntinfo, exceptionIntinfo } from './events.ts';
import { EXIT_BPT, EXIT_DB, EXIT_INOUT, EXIT_INST_EMUL, EXIT_MTRAP, EXIT_RDMSR, EXIT_WRMSR } from './exits.ts';
import { ATOMICS, CONTROL, EXIT_STATE, RUN_STATE, SharedWords, VCPU_WORDS, vcpuBase, type Waits } from './host-state.ts';
import type { ProcessorFactory, VcpuInit, VcpuProcessor } from './host.ts';
import { counterIndex } from './stats.ts';

/** Guest instructions per slice, at least and at most. */
const MIN_BUDGET = 10_000,
  MAX_BUDGET = 160_000;
/** How long a slice should take: a kick is seen after that, a timer is late by as much. What lies between the slices costs about 1 us. */
const SLICE_NS = 50_000;
/** The kernel wakes a sleeper this late: wake early, and spin the rest. */
const WAKE_LATENCY_NS = 60_000;
/** Bits that say "look at the words"; the rest is for the processor. */
const ATTENTION = REQUEST_KICK | REQUEST_SUSPEND | REQUEST_DEBUG;
const VECTOR_BP = 3;
/** A sleeper looks again after so long, whatever it was told. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1;

const TOTAL = counterIndex('total number of vm exits'),
  IN_USERSPACE = counterIndex('number of vm exits handled in userspace'),
  UNKNOWN = counterIndex('number of vm exits for unknown reason'),
  HLT = counterIndex('number of times hlt was intercepted'),
  IDLE = counterIndex('number of ticks vcpu was idle');
/** Index is the exit's number. */
const EXIT_COUNTERS: readonly (number | undefined)[] = (() => {
  const counters: number[] = [];
  for (const [reason, name] of [
    [EXIT_INOUT, 'number of times in/out was intercepted'],
    [EXIT_INST_EMUL, 'vm exits for instruction emulation'],
    [EXIT_RDMSR, 'number of times rdmsr was intercepted'],
    [EXIT_WRMSR, 'number of times wrmsr was intercepted'],
    [EXIT_MTRAP, 'number of monitor trap exits'],
    [EXIT_BPT, 'number of vm exits due to exceptions'],
    [EXIT_DB, 'number of vm exits due to exceptions'],
  ] as const)
    counters[reason] = counterIndex(name);
  return counters;
})();

export interface LoopClock {
  nowNs(): number;
  readonly waits?: Waits;
}

/** The thread's body: returns when the vCPU is told to end. A processor that throws ends the thread too, visibly. */
export function runVcpu(init: VcpuInit, clock: LoopClock, createProcessor: ProcessorFactory): void {
  const loop = new VcpuLoop(init, clock, createProcessor);
  try {
    while (loop.turn());
  } catch (error) {
    loop.ended();
    throw error;
  }
}

export class VcpuLoop {
  readonly #vcpu: number;
  readonly #base: number;
  readonly #words: SharedWords;
  readonly #clock: LoopClock;
  readonly #processor: VcpuProcessor;
  readonly #requests: number;
  readonly #state: number;
  readonly #hold: number;
  /** Inside processor.run: an exit is in the middle of a slice then. */
  #executing = false;
  /** Guest instructions of the next slice. */
  #budget = MIN_BUDGET;

  constructor(init: VcpuInit, clock: LoopClock, createProcessor: ProcessorFactory) {
    this.#vcpu = init.vcpu;
    this.#base = vcpuBase(init.vcpu);
    this.#words = new SharedWords(init.memory0, clock.waits ?? ATOMICS);
    this.#clock = clock;
    this.#requests = this.#words.requestsIndex(init.vcpu);
    this.#state = this.#words.vcpuIndex(init.vcpu, 'state');
    this.#hold = this.#words.vcpuIndex(init.vcpu, 'hold');
    this.#processor = createProcessor(init, {
      nowNs: () => clock.nowNs(),
      exit: (reason) => {
        this.exit(reason);
      },
      takeWrittenPages: () => this.#words.takeWrittenPages(init.vcpu),
    });
  }

  /** One turn: execute until something asks for attention, or sleep until it does. @returns false at the end. */
  turn(): boolean {
    const { i32 } = this.#words;
    // Cleared before the words are read: whoever changes a word afterwards sets the bit again, and the wait below does not begin.
    const seen = Atomics.and(i32, this.#requests, ~ATTENTION) & ~ATTENTION;
    if (this.#words.load(this.#vcpu, 'control') === CONTROL.END) {
      this.ended();
      return false;
    }
    if (this.#words.suspendHow !== 0) this.#joinSuspended();
    if (!this.#mayRun()) {
      this.#processor.announcePosted();
      this.#leave(RUN_STATE.IDLE);
      this.#wait(seen);
      return true;
    }
    if (!this.#enter()) return true;
    if (!this.#foldEvents()) return true;
    this.#run();
    return true;
  }

  /** A synchronous exit: called by the processor in the middle of an instruction. */
  exit(reason: number): void {
    const words = this.#words;
    words.view.setUint32(this.#base + VCPU_EXIT_REASON, reason, true);
    this.#count(TOTAL);
    this.#count(EXIT_COUNTERS[reason] ?? UNKNOWN);
    this.#count(IN_USERSPACE);
    this.#processor.settleFlags();
    const exitState = words.vcpuIndex(this.#vcpu, 'exitState');
    Atomics.store(words.i32, exitState, EXIT_STATE.PENDING);
    this.#leave(RUN_STATE.EXITED);
    words.ring();
    while (Atomics.load(words.i32, exitState) === EXIT_STATE.PENDING) words.waits.wait(words.i32, exitState, EXIT_STATE.PENDING);
    this.#claim();
    this.#refresh();
    if (this.#executing && words.suspendHow !== 0) this.#cutSlice();
  }

  /** Let the processor come back behind the basic block it is in. What the slice is shortened by was not executed. */
  #cutSlice(): void {
    const { view } = this.#words;
    const left = view.getInt32(this.#base + VCPU_BUDGET, true);
    if (left <= 0) return;
    view.setInt32(this.#base + VCPU_BUDGET, 0, true);
    const retiredAt = this.#base + VCPU_RETIRED;
    view.setBigUint64(retiredAt, BigInt.asUintN(64, view.getBigUint64(retiredAt, true) - BigInt(left)), true);
  }

  /** The thread is about to be gone. */
  ended(): void {
    this.#leave(RUN_STATE.ENDED);
    this.#words.ring();
  }

  #run(): void {
    const processor = this.#processor;
    let reason: number,
      startNs = this.#clock.nowNs();
    this.#executing = true;
    do {
      reason = processor.run(this.#budget);
      const endNs = this.#clock.nowNs();
      if (reason === RUN_BUDGET) this.#adapt(endNs - startNs);
      startNs = endNs;
    } while (
      reason === RUN_BUDGET &&
      this.#mayRun() &&
      Atomics.load(this.#words.i32, this.#hold) === 0 &&
      (Atomics.load(this.#words.i32, this.#requests) & ATTENTION) === 0
    );
    this.#executing = false;
    processor.settleFlags();
    if (reason === RUN_HALTED) this.#halted();
    else if (reason === RUN_TRIPLE_FAULT) this.#words.suspend('triplefault');
    else if (reason === RUN_STEPPED) this.exit(EXIT_MTRAP);
    else if (reason === RUN_EXCEPTION) this.#exception();
    // RUN_SUSPENDED and RUN_DEBUG say what the next turn reads in the words.
    this.#leave(RUN_STATE.PAUSED);
  }

  /** Slices become longer step by step where the guest is quick, and short at once where it no longer is. */
  #adapt(tookNs: number): void {
    if (tookNs > 2 * SLICE_NS) this.#budget = MIN_BUDGET;
    else if (tookNs < SLICE_NS / 2 && this.#budget < MAX_BUDGET) this.#budget *= 2;
  }

  /** In HLT with nothing to deliver: sleep until a request or the next timer. */
  #halted(): void {
    const { i32, view } = this.#words;
    // A request that came after run() had looked is looked at by another run(). NMIs are counted by nmiPending, set before its bit.
    const looked = REQUEST_INTERRUPT | REQUEST_NMI;
    const before = Atomics.and(i32, this.#requests, ~looked);
    const nmiWaits =
      Atomics.load(i32, (this.#base + VCPU_NMI_PENDING) >>> 2) !== 0 && view.getUint32(this.#base + VCPU_NMI_BLOCKED, true) === 0;
    if ((before & ~REQUEST_NMI) !== 0 || nmiWaits) return;
    const interruptsOff = (view.getUint32(this.#base + VCPU_RFLAGS, true) & RFLAGS_IF) === 0;
    if (interruptsOff) {
      const halted = this.#words.include('halted', this.#vcpu) | (1n << BigInt(this.#vcpu));
      if (halted === this.#words.set('active') && this.#words.suspend('halt')) return;
    }
    this.#processor.poll();
    const startNs = this.#clock.nowNs();
    this.#count(HLT);
    this.#leave(RUN_STATE.SLEEPING);
    this.#sleep();
    this.#claim();
    if (interruptsOff) this.#words.exclude('halted', this.#vcpu);
    this.#count(IDLE, Math.max(0, Math.round(this.#clock.nowNs() - startNs)));
    this.#processor.poll();
  }

  #sleep(): void {
    const { i32, waits } = this.#words;
    const deadlineNs = this.#processor.nextDeadlineNs();
    while (Atomics.load(i32, this.#requests) === 0) {
      const remainingNs = deadlineNs - this.#clock.nowNs();
      if (remainingNs <= 0) return;
      if (remainingNs > WAKE_LATENCY_NS)
        waits.wait(i32, this.#requests, 0, Math.min((remainingNs - WAKE_LATENCY_NS) / 1e6, LONGEST_SLEEP_MS));
    }
  }

  /** With bpt_exit every exception comes here: #BP is the owner's, the others go on to the guest. */
  #exception(): void {
    const { view } = this.#words;
    const vector = view.getUint32(this.#base + VCPU_FAULT, true) - 1;
    const error = view.getUint32(this.#base + VCPU_FAULT_ERROR, true);
    view.setUint32(this.#base + VCPU_FAULT, 0, true);
    if (vector === VECTOR_BP) {
      view.setUint32(this.#base + VCPU_EXIT_CODE, vector, true);
      this.exit(EXIT_BPT);
    } else {
      const hasError = view.getUint32(this.#base + VCPU_FAULT_HAS_ERROR, true) !== 0;
      view.setBigUint64(this.#base + VCPU_INJECTED, exceptionIntinfo(hasError ? { vector, error } : { vector }), true);
    }
  }

  /** What was in delivery and what was injected from outside become one event. @returns false when that shuts the VM down. */
  #foldEvents(): boolean {
    const { view } = this.#words;
    const pendingAt = this.#base + VCPU_HOST + VCPU_WORDS.offset.pendingException,
      infoAt = this.#base + VCPU_INTINFO;
    // Bit 31 of the low word says valid; both are rare, so nothing is made a bigint before it is needed.
    if ((view.getUint32(pendingAt, true) | view.getUint32(infoAt, true)) >>> 31 === 0) return true;
    const event = entryIntinfo(view.getBigUint64(infoAt, true), view.getBigUint64(pendingAt, true));
    view.setBigUint64(pendingAt, 0n, true);
    view.setBigUint64(infoAt, 0n, true);
    if (event === 'triple-fault') {
      this.#words.suspend('triplefault');
      this.#leave(RUN_STATE.PAUSED);
      return false;
    }
    view.setBigUint64(this.#base + VCPU_INJECTED, event, true);
    return true;
  }

  #mayRun(): boolean {
    const words = this.#words;
    return words.load(this.#vcpu, 'control') === CONTROL.RUN && words.suspendHow === 0 && !words.has('debug', this.#vcpu);
  }

  /** Take the record, unless someone holds it or the words have changed. */
  #enter(): boolean {
    const { i32, waits } = this.#words;
    Atomics.store(i32, this.#state, RUN_STATE.RUNNING);
    const held = Atomics.load(i32, this.#hold);
    if (held === 0 && this.#mayRun()) {
      this.#refresh();
      return true;
    }
    this.#leave(RUN_STATE.PAUSED);
    if (held !== 0) waits.wait(i32, this.#hold, held);
    return false;
  }

  /** Take the record back in the middle of an instruction: wait for its holder only. */
  #claim(): void {
    const { i32, waits } = this.#words;
    for (;;) {
      const before = Atomics.exchange(i32, this.#state, RUN_STATE.RUNNING);
      const held = Atomics.load(i32, this.#hold);
      if (held === 0) return;
      this.#leave(before);
      waits.wait(i32, this.#hold, held);
    }
  }

  /** Give the record up. */
  #leave(state: number): void {
    const { i32, waits } = this.#words;
    Atomics.store(i32, this.#state, state);
    if (Atomics.load(i32, this.#hold) !== 0) waits.notify(i32, this.#state);
  }

  #refresh(): void {
    if (Atomics.exchange(this.#words.i32, this.#words.vcpuIndex(this.#vcpu, 'refresh'), 0) !== 0) this.#processor.refreshState();
  }

  #wait(seen: number): void {
    this.#words.waits.wait(this.#words.i32, this.#requests, seen);
  }

  #joinSuspended(): void {
    const bit = 1n << BigInt(this.#vcpu);
    if ((this.#words.set('active') & bit) !== 0n && (this.#words.include('suspended', this.#vcpu) & bit) === 0n) this.#words.ring();
  }

  /** Hot. Plain stores: only this thread writes its counters. */
  #count(counter: number, by = 1): void {
    const at = this.#base + VCPU_COUNTERS + counter * 8,
      { view } = this.#words;
    const low = view.getUint32(at, true) + by;
    view.setUint32(at, low, true);
    if (low >= 2 ** 32) view.setUint32(at + 4, view.getUint32(at + 4, true) + Math.floor(low / 2 ** 32), true);
  }
}
