/**
 * What makes the run loop look before the next instruction. Instructions that end a block go on by themselves while `look` and `requests` are 0.
 * Implements: SDM vol. 3A 6.8 Enabling and Disabling Interrupts, 18.3.1 Debug Exception. Runs on: the vCPU's own thread.
 */
import { LOOK_EVENT, LOOK_RESUME, LOOK_SHADOW } from '../../base/vcpu-words.ts';
import { VCPU_DR, VCPU_LOOK, VCPU_NMI_BLOCKED, VCPU_NMI_PENDING, VCPU_RFLAGS, VCPU_SHADOW } from '../../generated/vcpu-layout.ts';
import { busInterruptVector } from './imports';

const TF: u64 = 0x100, IF: u64 = 0x200, RF: u64 = 0x10000;
const DR7: usize = 56, DR7_ENABLES: u64 = 0xff;

function look(vcpu: usize, bit: u32): void { store<u32>(vcpu, load<u32>(vcpu, VCPU_LOOK) | bit, VCPU_LOOK); }

/** Something may have to be done between this instruction and the next. */
export function lookForEvents(vcpu: usize): void { look(vcpu, LOOK_EVENT); }

/** Is a breakpoint of DR7 enabled? */
export function hasBreakpoints(vcpu: usize): bool { return (load<u64>(vcpu + DR7, VCPU_DR) & DR7_ENABLES) != 0; }

function eventWaits(vcpu: usize): bool {
  if (load<u32>(vcpu, VCPU_NMI_PENDING) != 0 && load<u32>(vcpu, VCPU_NMI_BLOCKED) == 0) return true;
  return (load<u64>(vcpu, VCPU_RFLAGS) & IF) != 0 && busInterruptVector(vcpu) >= 0;
}

/** After RFLAGS were loaded, or NMIs let in: may an event be delivered now, or a trap follow the next instruction? */
export function lookAfterFlags(vcpu: usize): void {
  const resumes = load<u64>(vcpu, VCPU_RFLAGS) & (TF | RF);
  // RF holds off instruction breakpoints only: where there are none, a return from a fault need not single-step to take it back.
  if (resumes != 0) look(vcpu, resumes == RF && !hasBreakpoints(vcpu) ? LOOK_RESUME : LOOK_EVENT);
  if (eventWaits(vcpu)) look(vcpu, LOOK_EVENT);
}

/** After an instruction that casts an interrupt shadow. @param kind 1 STI, 2 MOV SS */
export function lookInShadow(vcpu: usize, kind: u32): void {
  store<u32>(vcpu, kind, VCPU_SHADOW);
  look(vcpu, eventWaits(vcpu) ? LOOK_EVENT : LOOK_SHADOW);
}
