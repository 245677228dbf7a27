/**
 * Short names for the exceptions that the system helpers raise most.
 * Implements: SDM vol. 3A 6.15 Exception and Interrupt Reference. Runs on: the vCPU's own thread.
 */
import { VCPU_FAULT, VCPU_FAULT_ADDRESS, VCPU_WALK_ERROR } from '../../generated/vcpu-layout.ts';
import { VECTOR_GP, VECTOR_NM, VECTOR_NP, VECTOR_PF, VECTOR_SS, VECTOR_TS, VECTOR_UD, SEG_SS } from './bits';
import { raise } from './raise';

export function faulted(vcpu: usize): bool { return load<u32>(vcpu, VCPU_FAULT) != 0; }

export function raiseUd(vcpu: usize): void { raise(vcpu, VECTOR_UD, 0, 0); }
export function raiseNm(vcpu: usize): void { raise(vcpu, VECTOR_NM, 0, 0); }
export function raiseGp(vcpu: usize, error: u32): void { raise(vcpu, VECTOR_GP, 1, error); }
export function raiseNp(vcpu: usize, error: u32): void { raise(vcpu, VECTOR_NP, 1, error); }
export function raiseSs(vcpu: usize, error: u32): void { raise(vcpu, VECTOR_SS, 1, error); }
export function raiseTs(vcpu: usize, error: u32): void { raise(vcpu, VECTOR_TS, 1, error); }

/** #PF with the error code of the walk that just failed. */
export function raisePf(vcpu: usize, linear: u64): void {
  store<u64>(vcpu, linear, VCPU_FAULT_ADDRESS);
  raise(vcpu, VECTOR_PF, 1, load<u32>(vcpu, VCPU_WALK_ERROR));
}

/** A non-canonical address or one beyond a limit: #SS(0) through SS, else #GP(0). */
export function raiseAddress(vcpu: usize, segment: u32): void { raise(vcpu, segment == SEG_SS ? VECTOR_SS : VECTOR_GP, 1, 0); }
