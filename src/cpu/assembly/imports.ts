/**
 * What this module imports: accessors of memory 1, the bus of the in-core devices, and the host.
 * Implements: docs/internals.md "Wasm modules". Runs on: the vCPU's own thread.
 */
@external('ram', 'ld8') export declare function ramLoad8(hva: u64): u32;
@external('ram', 'ld16') export declare function ramLoad16(hva: u64): u32;
@external('ram', 'ld32') export declare function ramLoad32(hva: u64): u32;
@external('ram', 'ld64') export declare function ramLoad64(hva: u64): u64;
@external('ram', 'st8') export declare function ramStore8(hva: u64, value: u32): void;
@external('ram', 'st16') export declare function ramStore16(hva: u64, value: u32): void;
@external('ram', 'st32') export declare function ramStore32(hva: u64, value: u32): void;
@external('ram', 'st64') export declare function ramStore64(hva: u64, value: u64): void;
@external('ram', 'cas32') export declare function ramCas32(hva: u64, expected: u32, value: u32): u32;
@external('ram', 'cas64') export declare function ramCas64(hva: u64, expected: u64, value: u64): u64;
@external('ram', 'copy') export declare function ramCopy(destination: u64, source: u64, sizeBytes: u64): void;
/** Between memory 0 and memory 1. */
@external('ram', 'copyIn') export declare function ramCopyIn(destination: usize, source: u64, sizeBytes: u32): void;
@external('ram', 'copyOut') export declare function ramCopyOut(destination: u64, source: usize, sizeBytes: u32): void;
/** Run handlers from a micro-op on. @returns LEAVE_* */
@external('ram', 'enter') export declare function ramEnter(handler: u32, vcpu: usize, uop: u32): u32;
@external('ram', 'fill') export declare function ramFill(destination: u64, byte: u32, sizeBytes: u64): void;

@external('bus', 'mmioRead') export declare function busMmioRead(vcpu: usize, gpa: u64, sizeBytes: u32): u64;
@external('bus', 'mmioWrite') export declare function busMmioWrite(vcpu: usize, gpa: u64, sizeBytes: u32, value: u64): void;
@external('bus', 'portRead') export declare function busPortRead(vcpu: usize, port: u32, sizeBytes: u32): u32;
@external('bus', 'portWrite') export declare function busPortWrite(vcpu: usize, port: u32, sizeBytes: u32, value: u32): void;
@external('bus', 'msrRead') export declare function busMsrRead(vcpu: usize, msr: u32): u32;
@external('bus', 'msrWrite') export declare function busMsrWrite(vcpu: usize, msr: u32, value: u64): u32;
@external('bus', 'readTpr') export declare function busReadTpr(vcpu: usize): u32;
@external('bus', 'writeTpr') export declare function busWriteTpr(vcpu: usize, value: u32): void;
@external('bus', 'interruptVector') export declare function busInterruptVector(vcpu: usize): i32;
@external('bus', 'tsc') export declare function busTsc(vcpu: usize): u64;
@external('bus', 'tscAt') export declare function busTscAt(vcpu: usize, retired: u64): u64;

/** 8 random bytes of the host to scratch[0]: RDRAND and RDSEED. */
@external('host', 'random') export declare function hostRandom(vcpu: usize): void;
