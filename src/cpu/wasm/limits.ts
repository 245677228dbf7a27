/**
 * What every emitted module declares of the memories it imports; a real memory's maximum must not be larger.
 * Implements: WebAssembly core specification 4.5.4 (import matching). Runs on: any thread.
 */
/** Memory 0: 4 GiB. */
export const MEMORY0_MAX_PAGES = 65536;
/** Memory 1: 16 GiB, the largest memory64 that V8 makes. */
export const MEMORY1_MAX_PAGES = 262144;
