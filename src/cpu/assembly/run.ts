/**
 * The run loop: events, then micro-ops, until something outside is wanted.
 * Implements: SDM vol. 3A 6.9 Priority Among Simultaneous Exceptions and Interrupts (table 6-2), 18.3.1 Debug Exception, 6.8.3 Masking
 * Exceptions and Interrupts When Switching Stacks; docs/internals.md "Calls and faults".
 * Runs on: the vCPU's own thread.
 */
import {
  COUNTER_NMI, UOP_BYTES, UOP_HANDLER, UOP_IMM, UOP_LENGTH, UOP_OFFSET, UOP_REG2, UOP_SHIFT, VCPU_RETURNS, VCPU_RETURN_TOP, VCPU_STEP_UOPS,
} from '../../base/memory-map.ts';
import {
  CAPABILITY_EXIT_ON_EXCEPTION, CAPABILITY_STEP, LOOK_EVENT, REQUEST_CODE, REQUEST_DEBUG, REQUEST_INTERRUPT, REQUEST_KICK, REQUEST_NMI, REQUEST_SUSPEND, REQUEST_TLB, RUN_BUDGET,
  RUN_EXCEPTION, RUN_HALTED, RUN_STEPPED, RUN_SUSPENDED, RUN_TRIPLE_FAULT,
} from '../../base/vcpu-words.ts';
import { FIRST_PAIR, FIRST_REGION, HANDLER_FPU_CHECK, HANDLER_STOP, HANDLER_STRADDLE } from '../decode/pseudo.ts';
import { HEAT_PERIOD, LEAVE_FAULT, LEAVE_HOT, LEAVE_OTHER_CLASS, LEAVE_REGION_FAULT, LEAVE_STRADDLE, LEAVE_TRANSFER } from '../interp/leave.ts';
import {
  VCPU_BUDGET, VCPU_CAPABILITIES, VCPU_COUNTERS, VCPU_CR0, VCPU_CR4, VCPU_DR, VCPU_EXIT_UOP, VCPU_FAULT, VCPU_FAULT_ERROR, VCPU_FAULT_HAS_ERROR, VCPU_HALTED, VCPU_INJECTED,
  VCPU_LOOK, VCPU_MODE, VCPU_NMI_BLOCKED, VCPU_NMI_PENDING, VCPU_PENDING_DEBUG, VCPU_REQUESTS, VCPU_RETIRED, VCPU_RFLAGS, VCPU_RIP, VCPU_RIP_PAGE, VCPU_SEG_LIMIT,
  VCPU_SHADOW,
} from '../../generated/vcpu-layout.ts';
import { CR0_EM, CR0_TS, CR4_OSFXSR, VECTOR_DB, VECTOR_NM, VECTOR_UD } from './bits';
import { cachedAt, codeLookup, linearOfRip } from './code';
import { KIND_EXCEPTION, KIND_EXTERNAL, KIND_NMI, deliver } from './exceptions';
import { raiseGp } from './faults';
import { readFlags, writeFlags } from './flags';
import { busInterruptVector, ramEnter } from './imports';
import { fetchTranslate, instructionBreakpoint } from './memory';
import { raise } from './raise';
import { tlbFlushAll } from './tlb';

@external('host', 'hot') declare function hostHot(vcpu: usize): void;
@external('host', 'codeRequest') declare function hostCodeRequest(vcpu: usize): void;
@external('bus', 'interruptAck') declare function busInterruptAck(vcpu: usize): i32;

/** Requests that are done with once they have been looked at here; the truth of an NMI is nmiPending. */
const SEEN: u32 = REQUEST_TLB | REQUEST_CODE | REQUEST_INTERRUPT | REQUEST_NMI;
const TF: u64 = 0x100, IF: u64 = 0x200, RF: u64 = 0x10000;
const SHADOW_MOV_SS: u32 = 2;
const MODE_64: u32 = 2;
const DR7: usize = 56, DR7_ENABLES: u64 = 0xff, DR6_BS: u32 = 0x4000;
const FPU_CLASS_X87: u32 = 1, FPU_CLASS_SSE: u32 = 3, FPU_CLASS_FWAIT: u32 = 4, CR0_MP: u64 = 2;
/** No RET goes there: it is not canonical. */
const NO_RETURN: u64 = 0x8000000000000000;
const NEVER: u64 = 0xffffffffffffffff;

// --- helpers of handlers ---

/** Raise from an instruction's own body. */
export function raiseFault(vcpu: usize, vector: u32, hasError: u32, error: u32): void { raise(vcpu, vector, hasError, error); }

/** A near jump outside 64-bit mode (SDM vol. 2A JMP: #GP(0) when the target is beyond the code segment's limit). */
export function checkNear(vcpu: usize, rip: u64): void {
  if (rip > <u64>load<u32>(vcpu + 4, VCPU_SEG_LIMIT)) raiseGp(vcpu, 0);
}

/** SDM vol. 3A table 2-2, 12-1 and 13-1: #UD and #NM by CR0.EM, MP, TS and CR4.OSFXSR. */
export function checkFpu(vcpu: usize, fpuClass: u32): void {
  const cr0 = load<u64>(vcpu, VCPU_CR0);
  if (fpuClass == FPU_CLASS_FWAIT) {
    if ((cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)) raise(vcpu, VECTOR_NM, 0, 0);
    return;
  }
  if (fpuClass == FPU_CLASS_X87) {
    if ((cr0 & (CR0_EM | CR0_TS)) != 0) raise(vcpu, VECTOR_NM, 0, 0);
    return;
  }
  if ((cr0 & CR0_EM) != 0 || (fpuClass == FPU_CLASS_SSE && (load<u64>(vcpu, VCPU_CR4) & CR4_OSFXSR) == 0)) raise(vcpu, VECTOR_UD, 0, 0);
  else if ((cr0 & CR0_TS) != 0) raise(vcpu, VECTOR_NM, 0, 0);
}

/** Leave the lazy flags as plain bits. */
export function settleFlags(vcpu: usize): void { writeFlags(vcpu, readFlags(vcpu)); }

// --- finding code ---

/** Micro-op at rip, with ripPage set; 0 with a fault raised. */
function lookup(vcpu: usize): u32 {
  const rip = load<u64>(vcpu, VCPU_RIP), mode = load<u32>(vcpu, VCPU_MODE), linear = linearOfRip(vcpu);
  if ((mode & 3) != MODE_64 && rip > <u64>load<u32>(vcpu + 4, VCPU_SEG_LIMIT)) {
    raiseGp(vcpu, 0);
    return 0;
  }
  store<u64>(vcpu, rip - (linear & 0xfff), VCPU_RIP_PAGE);
  const hva = fetchTranslate(vcpu, linear);
  if (hva == NEVER) return 0;
  const entry = cachedAt(vcpu, hva, mode);
  if (entry == 0) return codeLookup(vcpu, hva);
  const heat = load<u32>(entry, 12) - 1;
  store<u32>(entry, heat, 12);
  if ((heat & (HEAT_PERIOD - 1)) == 0) hostHot(vcpu);
  return load<u32>(entry, 8);
}

/** Copy the micro-op at rip, and what it needs before it, in front of a stop. */
function stepBuffer(vcpu: usize, uop: u32): u32 {
  let to = vcpu + VCPU_STEP_UOPS, from = <usize>uop;
  for (;;) {
    const present = <i32>load<u16>(from, UOP_HANDLER), whole = present >= FIRST_REGION && present < FIRST_PAIR ? <usize>load<u32>(from, UOP_IMM) : from;
    const handler: u32 = load<u16>(whole, UOP_HANDLER);
    memory.copy(to, whole, UOP_BYTES);
    if (<i32>handler >= FIRST_PAIR) store<u16>(to, load<u16>(whole, UOP_REG2), UOP_HANDLER);
    to += UOP_BYTES;
    if (!isPrelude(handler)) break;
    from += UOP_BYTES;
  }
  memory.fill(to, 0, UOP_BYTES);
  store<u16>(to, <u16>HANDLER_STOP, UOP_HANDLER);
  store<u16>(to, <u16>(load<u16>(from, UOP_OFFSET) + load<u8>(from, UOP_LENGTH)), UOP_OFFSET);
  return <u32>(vcpu + VCPU_STEP_UOPS);
}

function isPrelude(handler: u32): bool { return handler == HANDLER_STRADDLE || handler == HANDLER_FPU_CHECK; }

// --- the loop ---

/**
 * Run handlers from `uop` with so many instructions allowed.
 * @returns LEAVE_*; rip is where to go on (after a fault: the instruction), `budget` what is left
 */
function execute(vcpu: usize, uop: u32, instructions: i32): u32 {
  store<i32>(vcpu, instructions + <i32>(uop >>> UOP_SHIFT), VCPU_BUDGET);
  // As if all of them were done: who knows how many are left knows the exact count at any time.
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RETIRED) + instructions, VCPU_RETIRED);
  store<u64>(vcpu, NO_RETURN, VCPU_RETURNS);
  store<u32>(vcpu, <u32>(vcpu + VCPU_RETURNS), VCPU_RETURN_TOP);
  let reason = ramEnter(load<u16>(<usize>uop, UOP_HANDLER), vcpu, uop);
  if (reason == LEAVE_FAULT) {
    const exitUop = load<u32>(vcpu, VCPU_EXIT_UOP);
    store<i32>(vcpu, load<i32>(vcpu, VCPU_BUDGET) - <i32>(exitUop >>> UOP_SHIFT), VCPU_BUDGET);
    const rip = load<u64>(vcpu, VCPU_RIP_PAGE) + load<u16>(<usize>exitUop, UOP_OFFSET);
    store<u64>(vcpu, (load<u32>(vcpu, VCPU_MODE) & 3) == MODE_64 ? rip : rip & 0xffffffff, VCPU_RIP);
  }
  if (reason == LEAVE_REGION_FAULT) reason = LEAVE_FAULT;
  else if (reason == LEAVE_HOT) hostHot(vcpu);
  store<u64>(vcpu, load<u64>(vcpu, VCPU_RETIRED) - <i64>load<i32>(vcpu, VCPU_BUDGET), VCPU_RETIRED);
  return reason;
}

/** Tier 0 does one instruction in place of what was begun. @param uop 0 with a fault raised @returns LEAVE_* */
function executeOne(vcpu: usize, uop: u32): u32 {
  if (uop != 0) return execute(vcpu, stepBuffer(vcpu, uop), 1);
  store<i32>(vcpu, 1, VCPU_BUDGET);
  return LEAVE_FAULT;
}

/** Deliver what a helper raised, at vcpu.rip. @returns true when the processor shuts down */
function deliverFault(vcpu: usize): bool {
  const vector = load<u32>(vcpu, VCPU_FAULT) - 1;
  return deliver(vcpu, vector, KIND_EXCEPTION, load<u32>(vcpu, VCPU_FAULT_HAS_ERROR), load<u32>(vcpu, VCPU_FAULT_ERROR)) != 0;
}

/** An event from outside, in bhyve's intinfo format. */
function deliverInjected(vcpu: usize): bool {
  const info = load<u64>(vcpu, VCPU_INJECTED);
  store<u64>(vcpu, 0, VCPU_INJECTED);
  const vector = <u32>info & 0xff, kind = <u32>(info >> 8) & 7;
  return deliver(vcpu, vector, kind, <u32>(info >> 11) & 1, <u32>(info >> 32)) != 0;
}

/**
 * Execute until `instructions` are used up (a few more where a block ends later), or something outside is wanted.
 * @returns RUN_* of base/vcpu-words.ts
 */
export function run(vcpu: usize, instructions: i32): u32 {
  let left = instructions;
  const capabilities = load<u32>(vcpu, VCPU_CAPABILITIES);
  for (;;) {
    const requests = atomic.load<u32>(vcpu, VCPU_REQUESTS);
    if (requests != 0) {
      if ((requests & SEEN) != 0) {
        atomic.and<u32>(vcpu, ~SEEN, VCPU_REQUESTS);
        if ((requests & REQUEST_TLB) != 0) tlbFlushAll(vcpu);
        if ((requests & REQUEST_CODE) != 0) hostCodeRequest(vcpu);
      }
      if ((requests & (REQUEST_SUSPEND | REQUEST_DEBUG)) != 0) return RUN_SUSPENDED;
    }
    const shadow = load<u32>(vcpu, VCPU_SHADOW);
    if (load<u64>(vcpu, VCPU_INJECTED) != 0) {
      if (deliverInjected(vcpu)) return RUN_TRIPLE_FAULT;
    }
    if (load<u32>(vcpu, VCPU_NMI_PENDING) != 0 && load<u32>(vcpu, VCPU_NMI_BLOCKED) == 0 && shadow == 0) {
      atomic.store<u32>(vcpu, 0, VCPU_NMI_PENDING);
      store<u64>(vcpu + COUNTER_NMI * 8, load<u64>(vcpu + COUNTER_NMI * 8, VCPU_COUNTERS) + 1, VCPU_COUNTERS);
      if (deliver(vcpu, 2, KIND_NMI, 0, 0) != 0) return RUN_TRIPLE_FAULT;
    }
    if ((load<u64>(vcpu, VCPU_RFLAGS) & IF) != 0 && shadow == 0 && busInterruptVector(vcpu) >= 0) {
      const vector = busInterruptAck(vcpu);
      if (vector >= 0 && deliver(vcpu, vector, KIND_EXTERNAL, 0, 0) != 0) return RUN_TRIPLE_FAULT;
    }
    if (load<u32>(vcpu, VCPU_HALTED) != 0) return RUN_HALTED;
    if (left <= 0 || (requests & REQUEST_KICK) != 0) return RUN_BUDGET;

    const rflags = load<u64>(vcpu, VCPU_RFLAGS), dr7 = load<u64>(vcpu + DR7, VCPU_DR) & DR7_ENABLES;
    const stepping = shadow != 0 || (rflags & (TF | RF)) != 0 || dr7 != 0 || (capabilities & CAPABILITY_STEP) != 0;
    if (dr7 != 0 && (rflags & RF) == 0) {
      const hit = instructionBreakpoint(vcpu, linearOfRip(vcpu));
      if (hit != 0) {
        store<u32>(vcpu, load<u32>(vcpu, VCPU_PENDING_DEBUG) | hit, VCPU_PENDING_DEBUG);
        if (deliver(vcpu, VECTOR_DB, KIND_EXCEPTION, 0, 0) != 0) return RUN_TRIPLE_FAULT;
        continue;
      }
    }
    let uop = lookup(vcpu), reason: u32;
    if (uop == 0) reason = LEAVE_FAULT;
    else {
      let start = stepping ? 1 : left;
      store<u32>(vcpu, stepping ? LOOK_EVENT : 0, VCPU_LOOK);
      if (stepping) {
        uop = stepBuffer(vcpu, uop);
        store<u32>(vcpu, 0, VCPU_SHADOW);
      }
      reason = execute(vcpu, uop, start);
      if (reason == LEAVE_OTHER_CLASS) {
        left -= start - load<i32>(vcpu, VCPU_BUDGET);
        start = 1;
        hostHot(vcpu);
        reason = executeOne(vcpu, lookup(vcpu));
      }
      if (reason == LEAVE_STRADDLE) {
        // The second page is not in the TLB in use, or not the one this was decoded from: prove it, and do this one instruction.
        left -= start - load<i32>(vcpu, VCPU_BUDGET);
        start = 1;
        const hva = fetchTranslate(vcpu, linearOfRip(vcpu));
        uop = hva == NEVER ? 0 : codeLookup(vcpu, hva);
        reason = executeOne(vcpu, uop != 0 && load<u16>(<usize>uop, UOP_HANDLER) == HANDLER_STRADDLE ? uop + UOP_BYTES : uop);
      }
      const executed = start - load<i32>(vcpu, VCPU_BUDGET);
      left -= executed;
    }
    if (reason == LEAVE_FAULT) {
      if (stepping) store<u32>(vcpu, 0, VCPU_PENDING_DEBUG);
      if ((capabilities & CAPABILITY_EXIT_ON_EXCEPTION) != 0) return RUN_EXCEPTION;
      if (deliverFault(vcpu)) return RUN_TRIPLE_FAULT;
      if ((capabilities & CAPABILITY_STEP) != 0) return RUN_STEPPED;
      continue;
    }
    if (!stepping) continue;

    // --- after one instruction (SDM table 6-2: traps on the previous instruction come first) ---
    store<u64>(vcpu, load<u64>(vcpu, VCPU_RFLAGS) & ~(load<u64>(vcpu, VCPU_RFLAGS) & rflags & RF), VCPU_RFLAGS);
    let trap = load<u32>(vcpu, VCPU_PENDING_DEBUG);
    // An event that was delivered by the instruction itself (INT n, SYSCALL) has cleared TF, and no trap follows.
    if ((rflags & TF) != 0 && !(reason == LEAVE_TRANSFER && (load<u64>(vcpu, VCPU_RFLAGS) & TF) == 0)) trap |= DR6_BS;
    if (trap != 0 && load<u32>(vcpu, VCPU_SHADOW) != SHADOW_MOV_SS) {
      store<u32>(vcpu, trap, VCPU_PENDING_DEBUG);
      if ((capabilities & CAPABILITY_EXIT_ON_EXCEPTION) != 0) {
        raise(vcpu, VECTOR_DB, 0, 0);
        return RUN_EXCEPTION;
      }
      if (deliver(vcpu, VECTOR_DB, KIND_EXCEPTION, 0, 0) != 0) return RUN_TRIPLE_FAULT;
    }
    if ((capabilities & CAPABILITY_STEP) != 0) return RUN_STEPPED;
  }
  return RUN_BUDGET;   // never reached: asc wants it
}
