/**
 * Numbers of VM exits, of suspend reasons and of the errnos that vmm.wasm returns. Plain constants, for AssemblyScript too.
 * Implements: bhyve's enum vm_exitcode and enum vm_suspend_how; errno(2). Runs on: any thread.
 */
export const EXIT_INOUT = 0,
  EXIT_BOGUS = 2,
  EXIT_RDMSR = 3,
  EXIT_WRMSR = 4,
  EXIT_HLT = 5,
  EXIT_MTRAP = 6,
  EXIT_PAUSE = 7,
  EXIT_PAGING = 8;
export const EXIT_INST_EMUL = 9,
  EXIT_RENDEZVOUS = 12,
  EXIT_IOAPIC_EOI = 13,
  EXIT_SUSPENDED = 14,
  EXIT_INOUT_STR = 15,
  EXIT_TASK_SWITCH = 16;
export const EXIT_MONITOR = 17,
  EXIT_MWAIT = 18,
  EXIT_REQIDLE = 20,
  EXIT_DEBUG = 21,
  EXIT_VMINSN = 22,
  EXIT_BPT = 23,
  EXIT_IPI = 24,
  EXIT_DB = 25;

export const SUSPEND_NONE = 0,
  SUSPEND_RESET = 1,
  SUSPEND_POWEROFF = 2,
  SUSPEND_HALT = 3,
  SUSPEND_TRIPLEFAULT = 4,
  SUSPEND_DESTROY = 5;

export const EINVAL = 22;
