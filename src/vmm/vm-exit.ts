/**
 * One VM exit as its handler sees it, and the names of the exits.
 * Implements: bhyve-map 3.3 (struct vm_exit). Runs on: the VM's owner.
 */
import {
  VCPU_EXIT_CODE,
  VCPU_EXIT_GPA,
  VCPU_EXIT_IN,
  VCPU_EXIT_PORT,
  VCPU_EXIT_REASON,
  VCPU_EXIT_VALUE,
  VCPU_EXIT_WIDTH_BYTES,
} from '../generated/vcpu-layout.ts';
import {
  EXIT_BPT,
  EXIT_DB,
  EXIT_DEBUG,
  EXIT_HLT,
  EXIT_INOUT,
  EXIT_INOUT_STR,
  EXIT_INST_EMUL,
  EXIT_IPI,
  EXIT_MONITOR,
  EXIT_MTRAP,
  EXIT_MWAIT,
  EXIT_PAUSE,
  EXIT_RDMSR,
  EXIT_TASK_SWITCH,
  EXIT_VMINSN,
  EXIT_WRMSR,
} from './exits.ts';
import type { Vcpu } from './vcpu.ts';

/** What a handler can be set for; `mmio` is INST_EMUL. */
export const EXIT = {
  inout: EXIT_INOUT,
  rdmsr: EXIT_RDMSR,
  wrmsr: EXIT_WRMSR,
  hlt: EXIT_HLT,
  mtrap: EXIT_MTRAP,
  pause: EXIT_PAUSE,
  mmio: EXIT_INST_EMUL,
  inoutStr: EXIT_INOUT_STR,
  taskSwitch: EXIT_TASK_SWITCH,
  monitor: EXIT_MONITOR,
  mwait: EXIT_MWAIT,
  debug: EXIT_DEBUG,
  vminsn: EXIT_VMINSN,
  bpt: EXIT_BPT,
  ipi: EXIT_IPI,
  db: EXIT_DB,
} as const;
export type ExitName = keyof typeof EXIT;

export function exitName(reason: number): ExitName | undefined {
  return (Object.keys(EXIT) as ExitName[]).find((name) => EXIT[name] === reason);
}

/** Answer of an rdmsr or wrmsr exit in exitIn, which has no other meaning there: the instruction raises #GP(0). */
const ANSWER_DONE = 0,
  ANSWER_GP = 1;

/**
 * The exit of one vCPU, read from and answered in its record; one object for the life of the vCPU, so that exits allocate nothing.
 * Valid until its handler has returned (or its promise is settled).
 */
export class VmExit {
  readonly vcpu: Vcpu;
  readonly #view: DataView;
  readonly #base: number;

  constructor(vcpu: Vcpu, view: DataView, base: number) {
    this.vcpu = vcpu;
    this.#view = view;
    this.#base = base;
  }

  get reason(): number {
    return this.#u32(VCPU_EXIT_REASON);
  }
  /** inout, mmio: 1, 2, 4 or 8. */
  get sizeBytes(): number {
    return this.#u32(VCPU_EXIT_WIDTH_BYTES);
  }
  /** inout, mmio: the guest reads, and `value` set by the handler is what it gets. */
  get isRead(): boolean {
    return this.#u32(VCPU_EXIT_IN) !== 0;
  }
  get port(): number {
    return this.#u32(VCPU_EXIT_PORT);
  }
  /** rdmsr, wrmsr: MSR number. ipi: mode << 8 | vector. bpt, db: vector. */
  get code(): number {
    return this.#u32(VCPU_EXIT_CODE);
  }
  /** mmio: guest-physical address. */
  get gpa(): number {
    return this.#u32(VCPU_EXIT_GPA) + this.#u32(VCPU_EXIT_GPA + 4) * 2 ** 32;
  }

  /** Value written, or the answer: its low 32 bits. Setting it clears the upper half. */
  get value(): number {
    return this.#u32(VCPU_EXIT_VALUE);
  }
  set value(value: number) {
    this.#view.setUint32(this.#base + VCPU_EXIT_VALUE, value, true);
    this.#view.setUint32(this.#base + VCPU_EXIT_VALUE + 4, 0, true);
  }

  /** Upper half of an 8-byte access. */
  get valueHigh(): number {
    return this.#u32(VCPU_EXIT_VALUE + 4);
  }
  set valueHigh(value: number) {
    this.#view.setUint32(this.#base + VCPU_EXIT_VALUE + 4, value, true);
  }

  /** All 64 bits: rdmsr and wrmsr; ipi: the destination set. */
  get value64(): bigint {
    return this.#view.getBigUint64(this.#base + VCPU_EXIT_VALUE, true);
  }
  set value64(value: bigint) {
    this.#view.setBigUint64(this.#base + VCPU_EXIT_VALUE, value, true);
  }

  /** rdmsr, wrmsr: done, or #GP(0) in the guest. */
  answerMsr(known: boolean): void {
    this.#view.setUint32(this.#base + VCPU_EXIT_IN, known ? ANSWER_DONE : ANSWER_GP, true);
  }

  #u32(offset: number): number {
    return this.#view.getUint32(this.#base + offset, true);
  }
}

/** A handler may be asynchronous: the vCPU stays inside its instruction until the promise is settled. */
export type ExitHandler = (exit: VmExit) => void | Promise<void>;
