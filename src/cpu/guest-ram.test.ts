/**
 * Memory 1 with 32-bit and with 64-bit addresses: a guest with all that the former can hold sees RAM up to its end and devices behind it, although
 * places further on, cut to 32 bits, would be RAM again.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { HVA_RAM, WASM_PAGE_BYTES } from '../base/memory-map.ts';
import { RAM_INDEXES, RAM_START, createRam, ramBytes, ramIndexOf } from './guest-ram.ts';
import { CODE, HLT, PagedMachine, TIERS } from './testing/paged-machine.ts';
import { MEMORY0_MAX_PAGES } from './wasm/limits.ts';

/** As much as fits into memory 0. */
const LIMIT_BYTES = MEMORY0_MAX_PAGES * WASM_PAGE_BYTES - RAM_START.i32,
  RAM_BYTES = LIMIT_BYTES - HVA_RAM;
/** Linear pages: the last of RAM; where RAM ends; and those whose places in memory 1, cut to 32 bits, are those of guest page 0. */
const LAST = 0x10_0000,
  BEHIND = 0x10_1000,
  ALIAS = 0x10_2000;
const CUT_OFF = 2 ** 32;
const DEVICE = 0x8877_6655_4433_2211n,
  PATTERN = 0xa5,
  REPEATED = 32;

/** At [rdi]; each leaves rax as it was before, or what it has read. */
const ACCESSES = {
  load: [0x48, 0x8b, 0x07], // mov rax, [rdi]
  store: [0x48, 0x89, 0x0f], // mov [rdi], rcx
  add: [0x48, 0x01, 0x0f], // add [rdi], rcx
  'locked add': [0xf0, 0x48, 0x01, 0x0f],
  vector: [0xf3, 0x0f, 0x6f, 0x07, 0xf3, 0x0f, 0x7f, 0x07], // movdqu xmm0, [rdi]; movdqu [rdi], xmm0
  fill: [0x48, 0x89, 0xfb, 0xb9, REPEATED, 0, 0, 0, 0xf3, 0xaa, 0x48, 0x89, 0xdf], // mov rbx, rdi; mov ecx, 32; rep stosb; mov rdi, rbx
} as const;

for (const ramIndex of RAM_INDEXES)
  for (const tier of TIERS)
    test(`RAM ends where it ends: ${ramIndex}, ${tier}`, () => {
      const devices: { read: number; written: number } = { read: 0, written: 0 };
      const bus = {
        mmioRead: (_vcpu: number, _gpa: bigint, sizeBytes: number) => {
          devices.read += sizeBytes;
          return BigInt.asUintN(sizeBytes * 8, DEVICE);
        },
        mmioWrite: (_vcpu: number, _gpa: bigint, sizeBytes: number) => {
          devices.written += sizeBytes;
        },
      };
      for (const [name, access] of Object.entries(ACCESSES)) {
        const machine = new PagedMachine(tier, { [CODE]: [...access, HLT] }, bus, { ramBytes: RAM_BYTES, ramIndex }),
          { ram } = machine;
        machine.map(LAST, RAM_BYTES - 4096);
        machine.map(BEHIND, RAM_BYTES);
        machine.map(ALIAS, CUT_OFF);
        const pageZero = ram.subarray(0, 4096);
        pageZero.fill(PATTERN);
        const run = (rdi: number): bigint => {
          devices.read = devices.written = 0;
          machine.set('gpr', 1, 1);
          return machine.run(1000, rdi).rax;
        };
        // Twice: what was learnt the first time is used the second.
        for (let i = 0; i < 2; i++) {
          ram.writeBigUInt64LE(0x1234_5678_9abc_def0n, RAM_BYTES - 8);
          const sizeBytes = name === 'fill' ? REPEATED : name === 'vector' ? 16 : 8,
            inside = run(BEHIND - sizeBytes);
          deepEqual(devices, { read: 0, written: 0 }, `${name}: inside`);
          if (name === 'load') equal(inside, 0x1234_5678_9abc_def0n);
          if (name === 'store') equal(ram.readBigUInt64LE(RAM_BYTES - 8), 1n);
          if (name.endsWith('add')) equal(ram.readBigUInt64LE(RAM_BYTES - 8), 0x1234_5678_9abc_def1n);

          const reads = name !== 'store' && name !== 'fill',
            writes = name !== 'load';
          for (const [place, outside] of [
            [BEHIND - 4, sizeBytes - 4],
            [BEHIND, sizeBytes],
            [ALIAS, sizeBytes],
          ] as const) {
            run(place);
            deepEqual(
              { read: devices.read >= outside, written: devices.written >= outside },
              { read: reads, written: writes },
              `${name} at ${place.toString(16)}: ${JSON.stringify(devices)}`,
            );
          }
          equal(
            pageZero.findIndex((byte) => byte !== PATTERN),
            -1,
            `${name}: guest page 0 is as it was`,
          );
        }
      }
    });

test('guest memory is in memory 0 where it has room, and known by its size', () => {
  const START_PAGES = RAM_START.i32 / WASM_PAGE_BYTES,
    MOST = MEMORY0_MAX_PAGES - START_PAGES;
  for (const [statePages, pages, ramIndex] of [
    [2048, 1, 'i32'],
    [START_PAGES, MOST, 'i32'],
    [2048, MOST + 1, 'i64'],
    [START_PAGES + 1, 1, 'i64'],
  ] as const) {
    const memory0 = new WebAssembly.Memory({ initial: statePages, maximum: MEMORY0_MAX_PAGES, shared: true }),
      memory1 = createRam(memory0, pages);
    equal(memory1 === memory0, ramIndex === 'i32');
    equal(ramIndexOf(memory1.buffer.byteLength), ramIndex);
    ok(ramBytes(memory1).length >= pages * WASM_PAGE_BYTES);
  }
});
