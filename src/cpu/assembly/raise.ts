/**
 * How a helper raises an exception: it leaves it in the record, and whoever called the helper looks there.
 * Implements: docs/internals.md "Calls and faults". Runs on: the vCPU's own thread.
 */
import { VCPU_FAULT, VCPU_FAULT_ERROR, VCPU_FAULT_HAS_ERROR } from '../../generated/vcpu-layout.ts';

/** Raise `vector`; the caller returns at once, having changed nothing. @param hasError 1 when an error code is pushed */
export function raise(vcpu: usize, vector: u32, hasError: u32, error: u32): void {
  store<u32>(vcpu, vector + 1, VCPU_FAULT);
  store<u32>(vcpu, hasError, VCPU_FAULT_HAS_ERROR);
  store<u32>(vcpu, error, VCPU_FAULT_ERROR);
}
