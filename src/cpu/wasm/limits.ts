/**
 * What every emitted module declares of memory 0; the real one's maximum must not be larger.
 * Implements: WebAssembly core specification 4.5.4 (import matching). Runs on: any thread.
 */
/** Memory 0: 4 GiB. */
export const MEMORY0_MAX_PAGES = 65536;
