/**
 * What vmm.wasm asks of JavaScript besides the clock.
 * Implements: docs/internals.md "host". Runs on: the vCPU's own thread.
 */
@external('host', 'exit') export declare function hostExit(vcpu: u32, reason: u32): void;
