/**
 * Why a handler returned to the run loop. Plain constants, because AssemblyScript reads this file too.
 */
/** A helper raised an exception; exitUop is the faulting instruction and `budget` is still biased by it. */
export const LEAVE_FAULT = 1;
/** Go on at rip, whose micro-op is not in the code cache. */
export const LEAVE_LOOKUP = 2;
/** No instructions left; go on at rip. */
export const LEAVE_BUDGET = 3;
/** A system instruction: look around, then go on at rip. */
export const LEAVE_SYSTEM = 4;
/** An instruction over two pages whose second page was not proved by the exec TLB; exitUop is its STRADDLE, `rip` its address. */
export const LEAVE_STRADDLE = 5;
/** A system instruction whose helper set rip: far transfers, interrupts, system calls. */
export const LEAVE_TRANSFER = 6;
/** A fault inside a region, which has written `rip` and the plain budget already. */
export const LEAVE_REGION_FAULT = 7;
/** Go on at rip, which has been jumped to often enough to be compiled. */
export const LEAVE_HOT = 8;
/** A guest RET to the address that the innermost nested call waits for (VCPU_RETURN_TOP): all state, and the plain budget, are in the record. */
export const LEAVE_RETURN = 9;
/** A region that was made for another access class: nothing has been done, and `rip` and the plain budget are in the record. */
export const LEAVE_OTHER_CLASS = 10;
/** Hot places are reported when their heat is used up, and again each time after so many jumps more: a power of two. */
export const HEAT_PERIOD = 4096;
