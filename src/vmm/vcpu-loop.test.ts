/** Tests of the vCPU thread's loop with a clock, waits and a processor that are made up: nothing sleeps. */
import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { VCPUS, VCPU_HOST, VCPU_STRIDE, WASM_PAGE_BYTES } from '../base/memory-map.ts';
import {
  REQUEST_INTERRUPT,
  REQUEST_KICK,
  REQUEST_NMI,
  RUN_BUDGET,
  RUN_EXCEPTION,
  RUN_HALTED,
  RUN_STEPPED,
  RUN_SUSPENDED,
  RUN_TRIPLE_FAULT,
} from '../cpu/index.ts';
import {
  VCPU_EXIT_REASON,
  VCPU_EXIT_VALUE,
  VCPU_FAULT,
  VCPU_FAULT_ERROR,
  VCPU_FAULT_HAS_ERROR,
  VCPU_INJECTED,
  VCPU_INTINFO,
  VCPU_NMI_BLOCKED,
  VCPU_NMI_PENDING,
  VCPU_RFLAGS,
} from '../generated/vcpu-layout.ts';
import { exceptionIntinfo } from './events.ts';
import { EXIT_BPT, EXIT_INOUT, EXIT_MTRAP } from './exits.ts';
import { CONTROL, EXIT_STATE, RUN_STATE, SharedWords, SUSPEND, VCPU_WORDS, vcpuBase, type Waits } from './host-state.ts';
import type { ProcessorHost, VcpuProcessor } from './host.ts';
import { noModules } from './testing/fakes.ts';
import { runVcpu, VcpuLoop } from './vcpu-loop.ts';

const IF = 0x200;

interface Sleep {
  readonly what: string;
  readonly timeoutMs: number | undefined;
  /** Of the thread, as others see it. */
  readonly state: number;
}

/** A loop whose waits call `onWait` instead of sleeping; a timeout passes on the clock. */
function harness(vcpus = 1) {
  const pages = (VCPUS + vcpus * VCPU_STRIDE) / WASM_PAGE_BYTES;
  const memory0 = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const memory1 = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const sleeps: Sleep[] = [];
  const runs: number[] = [];
  const polls: number[] = [];
  const state = {
    nowNs: 1_000_000,
    refreshes: 0,
    announced: 0,
    sleepNs: Infinity,
    onWait: (): void => {},
    onRun: (): number => RUN_BUDGET,
  };
  const names = new Map<number, string>();
  const waits: Waits = {
    wait(words, index, value, timeoutMs) {
      if (Atomics.load(words, index) !== value) return 'not-equal';
      sleeps.push({ what: names.get(index) ?? `word ${index}`, timeoutMs, state: shared.load(0, 'state') });
      if (sleeps.length > 100) throw new Error('a loop that sleeps for ever');
      state.onWait();
      if (Atomics.load(words, index) !== value) return 'ok';
      if (timeoutMs === undefined) throw new Error(`nobody would wake ${names.get(index) ?? index}`);
      state.nowNs += timeoutMs * 1e6;
      return 'timed-out';
    },
    notify() {},
  };
  const shared = new SharedWords(memory0, waits);
  names.set(shared.requestsIndex(0), 'requests');
  names.set(shared.vcpuIndex(0, 'hold'), 'hold');
  names.set(shared.vcpuIndex(0, 'exitState'), 'exitState');
  let host: ProcessorHost | undefined;
  const processor: VcpuProcessor = {
    run(budget) {
      runs.push(budget);
      if (runs.length > 1000) throw new Error('a loop that runs for ever');
      return state.onRun();
    },
    poll: () => {
      polls.push(state.nowNs);
    },
    announcePosted: () => {
      state.announced++;
    },
    nextDeadlineNs: () => state.nowNs + state.sleepNs,
    refreshState: () => {
      state.refreshes++;
    },
    settleFlags() {},
  };
  // Spinning takes time too.
  const nowNs = (): number => (state.nowNs += 1000);
  const loop = new VcpuLoop({ vcpu: 0, memory0, memory1, modules: noModules }, { nowNs, waits }, (_init, given) => {
    host = given;
    return processor;
  });
  shared.include('active', 0);
  shared.store(0, 'control', CONTROL.RUN);
  const view = new DataView(memory0.buffer);
  return { loop, shared, sleeps, runs, polls, state, view, memory0, memory1, exit: (reason: number) => host!.exit(reason) }; // the factory has run
}

test('a stopped vCPU sleeps on its request word and nowhere else', () => {
  const { loop, shared, sleeps, runs, state } = harness();
  shared.store(0, 'control', CONTROL.STOP);
  state.onWait = () => {
    equal(state.announced, 1, 'posted writes are known before');
    shared.request(0, REQUEST_KICK);
  };
  loop.turn();
  deepEqual(sleeps, [{ what: 'requests', timeoutMs: undefined, state: RUN_STATE.IDLE }]);
  equal(runs.length, 0);
});

test('a change of words between look and sleep is not lost', () => {
  const { loop, shared, sleeps } = harness();
  shared.store(0, 'control', CONTROL.STOP);
  // The owner starts it when the loop has read the old words and is about to wait.
  const leave = shared.waits.wait;
  let starts = 0;
  shared.waits.wait = (words, index, value, timeoutMs) => {
    if (starts++ === 0) {
      shared.store(0, 'control', CONTROL.RUN);
      shared.request(0, REQUEST_KICK);
    }
    return leave(words, index, value, timeoutMs);
  };
  loop.turn();
  equal(starts, 1);
  equal(sleeps.length, 0);
});

test('HLT without a timer sleeps until a request, once', () => {
  const { loop, shared, sleeps, runs, polls, state, view } = harness();
  view.setUint32(vcpuBase(0) + VCPU_RFLAGS, IF, true);
  state.onRun = () => RUN_HALTED;
  state.onWait = () => {
    shared.request(0, REQUEST_INTERRUPT);
  };
  loop.turn();
  equal(sleeps.length, 1);
  equal(sleeps[0]!.state, RUN_STATE.SLEEPING);
  equal(sleeps[0]!.what, 'requests');
  equal(runs.length, 1);
  equal(polls.length, 2); // before the sleep, so that posted writes are seen, and after it
});

test('HLT with a timer in 10 ms sleeps once, 60 us short, and spins the rest', () => {
  const { loop, sleeps, state, view } = harness();
  view.setUint32(vcpuBase(0) + VCPU_RFLAGS, IF, true);
  state.onRun = () => RUN_HALTED;
  state.sleepNs = 10e6;
  const startNs = state.nowNs;
  loop.turn();
  equal(sleeps.length, 1);
  ok(sleeps[0]!.timeoutMs! > 9.9 && sleeps[0]!.timeoutMs! <= 9.94, `${sleeps[0]!.timeoutMs}`);
  const tookNs = state.nowNs - startNs;
  ok(tookNs >= 10e6 && tookNs < 10.02e6, `${tookNs}`);
});

test('a timer less than 60 us away is spun for, and a request ends the spin', () => {
  const { loop, shared, sleeps, state, view } = harness();
  view.setUint32(vcpuBase(0) + VCPU_RFLAGS, IF, true);
  state.sleepNs = 50_000;
  state.onRun = () => RUN_HALTED;
  loop.turn();
  equal(sleeps.length, 0);
  state.onRun = () => {
    shared.request(0, REQUEST_KICK);
    return RUN_HALTED;
  };
  const startNs = state.nowNs;
  loop.turn(); // a request that came while run() looked: no sleep at all
  ok(state.nowNs - startNs < 5000);
});

test('an NMI that is blocked does not keep a halted vCPU awake', () => {
  const { loop, shared, sleeps, state, view } = harness();
  view.setUint32(vcpuBase(0) + VCPU_RFLAGS, IF, true);
  view.setUint32(vcpuBase(0) + VCPU_NMI_BLOCKED, 1, true);
  view.setUint32(vcpuBase(0) + VCPU_NMI_PENDING, 1, true);
  shared.request(0, REQUEST_NMI);
  state.onRun = () => RUN_HALTED;
  state.onWait = () => {
    shared.request(0, REQUEST_INTERRUPT);
  };
  loop.turn();
  equal(sleeps.length, 1);
  view.setUint32(vcpuBase(0) + VCPU_NMI_BLOCKED, 0, true);
  loop.turn();
  equal(sleeps.length, 1); // it can be delivered: no sleep
  view.setUint32(vcpuBase(0) + VCPU_NMI_PENDING, 0, true);
  shared.request(0, REQUEST_NMI);
  loop.turn();
  equal(sleeps.length, 2); // the bit alone means nothing
});

test('with bpt_exit, #BP is an exit and other exceptions are delivered', () => {
  const { loop, shared, state, view } = harness();
  const raise = (vector: number, error?: number): void => {
    state.onRun = () => {
      view.setUint32(vcpuBase(0) + VCPU_FAULT, vector + 1, true);
      view.setUint32(vcpuBase(0) + VCPU_FAULT_HAS_ERROR, error === undefined ? 0 : 1, true);
      view.setUint32(vcpuBase(0) + VCPU_FAULT_ERROR, error ?? 0, true);
      return RUN_EXCEPTION;
    };
    loop.turn();
  };
  raise(13, 8);
  equal(view.getBigUint64(vcpuBase(0) + VCPU_INJECTED, true), exceptionIntinfo({ vector: 13, error: 8 }));
  state.onWait = () => {
    shared.store(0, 'exitState', EXIT_STATE.NONE);
  };
  raise(3);
  equal(view.getUint32(vcpuBase(0) + VCPU_EXIT_REASON, true), EXIT_BPT);
});

test('when all active vCPUs are halted with interrupts off, the VM is suspended with HALT', () => {
  const { loop, shared, sleeps, state } = harness(2);
  shared.include('active', 1);
  state.onRun = () => RUN_HALTED;
  state.onWait = () => {
    shared.request(0, REQUEST_KICK);
  };
  loop.turn();
  equal(sleeps.length, 1); // the other one is not halted: sleep
  equal(shared.suspendHow, 0);
  equal(shared.set('halted'), 0n); // left on waking
  shared.include('halted', 1);
  loop.turn();
  equal(shared.suspendHow, SUSPEND.halt);
});

test('a suspended VM: the vCPU enters the suspended set once, rings, and sleeps', () => {
  const { loop, shared, sleeps, runs, state } = harness();
  state.onWait = () => {
    shared.request(0, REQUEST_KICK);
  };
  equal(shared.suspend('reset'), true);
  equal(shared.suspend('poweroff'), false);
  const rung = Atomics.load(shared.i32, shared.doorbellIndex);
  loop.turn();
  loop.turn();
  equal(shared.set('suspended'), 1n);
  equal(Atomics.load(shared.i32, shared.doorbellIndex), rung + 1);
  equal(runs.length, 0);
  equal(sleeps.length, 2);
});

test('a triple fault suspends the VM', () => {
  const { loop, shared, state } = harness();
  state.onRun = () => RUN_TRIPLE_FAULT;
  loop.turn();
  equal(shared.suspendHow, SUSPEND.triplefault);
});

test('slices follow one another until something asks for attention', () => {
  const { loop, shared, runs, state } = harness();
  state.onRun = () => {
    if (runs.length === 5) shared.request(0, REQUEST_KICK);
    return RUN_BUDGET;
  };
  loop.turn();
  equal(runs.length, 5);
  state.onRun = () => {
    shared.suspend('poweroff');
    return RUN_SUSPENDED;
  };
  loop.turn();
  equal(runs.length, 6);
});

test('a quick guest gets longer slices, up to a bound, and a slow one short ones at once', () => {
  const { loop, shared, runs, state } = harness();
  state.onRun = () => {
    if (runs.length >= 7) state.nowNs += 1e6;
    if (runs.length === 8) shared.request(0, REQUEST_KICK);
    return RUN_BUDGET;
  };
  loop.turn();
  deepEqual(runs, [10_000, 20_000, 40_000, 80_000, 160_000, 160_000, 160_000, 10_000]);
});

test('a synchronous exit waits for its answer in EXITED, and the answer is taken from the record', () => {
  const { loop, shared, sleeps, state, view, exit } = harness();
  let answer = 0;
  state.onRun = () => {
    exit(EXIT_INOUT);
    answer = view.getUint32(vcpuBase(0) + VCPU_EXIT_VALUE, true);
    shared.request(0, REQUEST_KICK);
    return RUN_BUDGET;
  };
  state.onWait = () => {
    equal(view.getUint32(vcpuBase(0) + VCPU_EXIT_REASON, true), EXIT_INOUT);
    view.setUint32(vcpuBase(0) + VCPU_EXIT_VALUE, 0x5a, true);
    shared.store(0, 'exitState', EXIT_STATE.NONE);
  };
  loop.turn();
  deepEqual(
    sleeps.map(({ what, state: seen }) => [what, seen]),
    [['exitState', RUN_STATE.EXITED]],
  );
  equal(answer, 0x5a);
});

test('a single step is reported as an exit', () => {
  const { loop, shared, state, view } = harness();
  state.onRun = () => RUN_STEPPED;
  state.onWait = () => {
    shared.store(0, 'exitState', EXIT_STATE.NONE);
  };
  loop.turn();
  equal(view.getUint32(vcpuBase(0) + VCPU_EXIT_REASON, true), EXIT_MTRAP);
});

test('a held vCPU executes nothing until it is released', () => {
  const { loop, shared, sleeps, runs, state } = harness();
  shared.store(0, 'hold', 1);
  state.onWait = () => {
    shared.store(0, 'hold', 0);
  };
  loop.turn();
  deepEqual(
    sleeps.map(({ what, state: seen }) => [what, seen]),
    [['hold', RUN_STATE.PAUSED]],
  );
  equal(runs.length, 0);
});

test('registers written from outside are refreshed before the next instruction, once', () => {
  const { loop, shared, state } = harness();
  shared.store(0, 'refresh', 1);
  state.onRun = () => {
    equal(state.refreshes, 1);
    shared.request(0, REQUEST_KICK);
    return RUN_BUDGET;
  };
  loop.turn();
  loop.turn();
  equal(state.refreshes, 1);
});

test('an event in delivery and an injected exception become one event, or the end', () => {
  const { loop, shared, state, view } = harness();
  const pendingAt = vcpuBase(0) + VCPU_HOST + VCPU_WORDS.offset.pendingException,
    infoAt = vcpuBase(0) + VCPU_INTINFO;
  state.onRun = () => {
    shared.request(0, REQUEST_KICK);
    return RUN_BUDGET;
  };
  view.setBigUint64(pendingAt, exceptionIntinfo({ vector: 13, error: 8 }), true);
  view.setBigUint64(infoAt, exceptionIntinfo({ vector: 14, error: 2 }), true);
  loop.turn();
  equal(view.getBigUint64(vcpuBase(0) + VCPU_INJECTED, true), exceptionIntinfo({ vector: 8, error: 0 }));
  deepEqual([view.getBigUint64(pendingAt, true), view.getBigUint64(infoAt, true)], [0n, 0n]);
  view.setBigUint64(pendingAt, exceptionIntinfo({ vector: 13, error: 8 }), true);
  view.setBigUint64(infoAt, exceptionIntinfo({ vector: 8, error: 0 }), true);
  loop.turn();
  equal(shared.suspendHow, SUSPEND.triplefault);
});

test('told to end, the loop ends; a processor that throws ends it visibly', () => {
  const { loop, shared, memory0, memory1 } = harness();
  shared.store(0, 'control', CONTROL.END);
  equal(loop.turn(), false);
  equal(shared.load(0, 'state'), RUN_STATE.ENDED);
  shared.store(0, 'control', CONTROL.RUN);
  const broken: VcpuProcessor = {
    run: () => {
      throw new Error('broken');
    },
    poll() {},
    announcePosted() {},
    nextDeadlineNs: () => 0,
    refreshState() {},
    settleFlags() {},
  };
  throws(() => {
    runVcpu({ vcpu: 0, memory0, memory1, modules: noModules }, { nowNs: () => 0 }, () => broken);
  }, /broken/);
  equal(shared.load(0, 'state'), RUN_STATE.ENDED);
});
