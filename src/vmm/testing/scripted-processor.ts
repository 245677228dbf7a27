/**
 * A processor of ten instructions, one byte each, read from guest RAM at RIP: enough to drive the vCPU's loop without a CPU.
 * Runs on: tests, in a vCPU's thread.
 */
import { HVA_RAM } from '../../base/memory-map.ts';
import { ramBytes } from '../../cpu/index.ts';
import {
  REQUEST_CODE,
  REQUEST_DEBUG,
  REQUEST_INTERRUPT,
  REQUEST_KICK,
  REQUEST_NMI,
  REQUEST_SUSPEND,
  REQUEST_TLB,
  RUN_BUDGET,
  RUN_DEBUG,
  RUN_HALTED,
  RUN_SUSPENDED,
  RUN_TRIPLE_FAULT,
} from '../../cpu/index.ts';
import * as AT from '../../generated/vcpu-layout.ts';
import { EXIT_INOUT } from '../exits.ts';
import { vcpuBase } from '../host-state.ts';
import type { ProcessorHost, VcpuInit, VcpuProcessor } from '../host.ts';

export const OP = {
  /** Next instruction. */
  NOP: 0,
  /** OUT: port in RDX, value in RAX. */
  OUT: 1,
  /** IN: port in RDX, to RAX. */
  IN: 2,
  HLT: 3,
  /** Jump to itself. */
  SPIN: 4,
  TRIPLE: 5,
  /** IF := 0. */
  CLI: 6,
  /** IF := 1. */
  STI: 7,
  /** RBX := RBX + 1. */
  INC: 8,
  /** A bug of ours. */
  THROW: 9,
  /** To address 0. */
  LOOP: 10,
} as const;

const IF = 0x200;

export function createScripted(init: VcpuInit, host: ProcessorHost): VcpuProcessor {
  const base = vcpuBase(init.vcpu);
  const view = new DataView(init.memory0.buffer);
  const words = new Int32Array(init.memory0.buffer);
  const ram = ramBytes(init.memory1);
  const requests = (base + AT.VCPU_REQUESTS) >>> 2;
  const u32 = (offset: number): number => view.getUint32(base + offset, true);
  const set = (offset: number, value: number): void => {
    view.setUint32(base + offset, value, true);
  };
  const [rax, rdx, rbx] = [AT.VCPU_GPR, AT.VCPU_GPR + 16, AT.VCPU_GPR + 24];

  const portAccess = (isIn: boolean): void => {
    set(AT.VCPU_EXIT_PORT, u32(rdx));
    set(AT.VCPU_EXIT_WIDTH_BYTES, 1);
    set(AT.VCPU_EXIT_IN, isIn ? 1 : 0);
    set(AT.VCPU_EXIT_VALUE, isIn ? 0xff : u32(rax));
    host.exit(EXIT_INOUT);
    if (isIn) set(rax, u32(AT.VCPU_EXIT_VALUE));
  };

  return {
    run(budget) {
      for (let left = budget; left > 0; left--) {
        const bits = Atomics.and(words, requests, ~(REQUEST_TLB | REQUEST_CODE | REQUEST_INTERRUPT | REQUEST_NMI));
        if ((bits & REQUEST_SUSPEND) !== 0) return RUN_SUSPENDED;
        if ((bits & REQUEST_DEBUG) !== 0) return RUN_DEBUG;
        if ((bits & REQUEST_INTERRUPT) !== 0 && (u32(AT.VCPU_RFLAGS) & IF) !== 0) set(AT.VCPU_HALTED, 0);
        if ((bits & REQUEST_NMI) !== 0 && Atomics.exchange(words, (base + AT.VCPU_NMI_PENDING) >>> 2, 0) !== 0) {
          set(AT.VCPU_HALTED, 0);
          set(AT.VCPU_GPR + 8, u32(AT.VCPU_GPR + 8) + 1); // RCX counts NMIs
        }
        if (view.getUint32(base + AT.VCPU_INJECTED, true) >>> 31 !== 0) {
          set(AT.VCPU_GPR + 64, view.getUint32(base + AT.VCPU_INJECTED, true) & 0xff); // R8: the last vector
          set(AT.VCPU_INJECTED, 0);
          set(AT.VCPU_HALTED, 0);
        }
        if ((bits & REQUEST_KICK) !== 0) return RUN_BUDGET;
        if (u32(AT.VCPU_HALTED) !== 0) return RUN_HALTED;
        const rip = u32(AT.VCPU_RIP);
        set(AT.VCPU_RIP, rip + 1);
        set(AT.VCPU_RETIRED, u32(AT.VCPU_RETIRED) + 1);
        switch (ram[HVA_RAM + rip]) {
          case OP.OUT:
            portAccess(false);
            break;
          case OP.IN:
            portAccess(true);
            break;
          case OP.HLT:
            set(AT.VCPU_HALTED, 1);
            break;
          case OP.SPIN:
            set(AT.VCPU_RIP, rip);
            break;
          case OP.TRIPLE:
            return RUN_TRIPLE_FAULT;
          case OP.CLI:
            set(AT.VCPU_RFLAGS, u32(AT.VCPU_RFLAGS) & ~IF);
            break;
          case OP.STI:
            set(AT.VCPU_RFLAGS, u32(AT.VCPU_RFLAGS) | IF);
            break;
          case OP.INC:
            set(rbx, u32(rbx) + 1);
            break;
          case OP.THROW:
            throw new Error('scripted failure');
          case OP.LOOP:
            set(AT.VCPU_RIP, 0);
            break;
        }
      }
      return RUN_BUDGET;
    },
    poll() {},
    announcePosted() {},
    nextDeadlineNs: () => Infinity,
    refreshState() {},
    settleFlags() {},
  };
}
