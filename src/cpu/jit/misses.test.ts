/** Accesses that the TLB does not serve, at a region's first instruction and behind it. Each program runs in both tiers. */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { RUN_HALTED, RUN_TRIPLE_FAULT } from '../state.ts';
import { CODE, HLT, PagedMachine, RAM_BYTES, RET, TIERS, distance } from '../testing/paged-machine.ts';

const RCX = 1,
  RSP = 4;
/** Of a device, behind RAM. */
const DEVICE = RAM_BYTES;

const LOAD = [0x48, 0x03, 0x06], // add rax, [rsi]
  STORE = [0x48, 0x89, 0x46, 0x08], // mov [rsi + 8], rax
  BOTH = [0x48, 0x83, 0x46, 0x10, 5], // add qword [rsi + 16], 5
  LOCKED = [0xf0, 0x48, 0xff, 0x46, 0x18], // lock inc qword [rsi + 24]
  PUSH_POP = [0xff, 0x36, 0x59]; // push qword [rsi]; pop rcx

for (const tier of TIERS)
  // In slices of one instruction each of them begins a region.
  for (const slice of [1, 2, 1000])
    test(`${tier}, slices of ${slice}: a device sees each access once`, () => {
      let seen: string[] = [];
      const machine = new PagedMachine(
        tier,
        { [CODE]: [0xbe, ...distance(0, DEVICE), ...LOAD, ...STORE, ...LOAD, ...BOTH, ...LOCKED, ...PUSH_POP, HLT] },
        {
          mmioRead: (_vcpu, gpa) => {
            seen.push(`read ${gpa - BigInt(DEVICE)}`);
            return 3n;
          },
          mmioWrite: (_vcpu, gpa, _sizeBytes, value) => {
            seen.push(`write ${gpa - BigInt(DEVICE)}: ${value}`);
          },
        },
      );
      machine.map(DEVICE, DEVICE);
      for (let run = 0; run < 3; run++) {
        seen = [];
        equal(machine.runOn(slice, 0), RUN_HALTED);
        deepEqual(seen, ['read 0', 'write 8: 3', 'read 0', 'read 16', 'write 16: 8', 'read 24', 'write 24: 4', 'read 0']);
        equal(machine.get('gpr', RCX), 3n);
      }
    });

for (const tier of TIERS)
  for (const slice of [1, 1000])
    test(`${tier}, slices of ${slice}: a RET to a non-canonical address has popped nothing when it faults`, () => {
      const PUSH_BIT_63 = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x50]; // mov rax, 1 << 63; push rax
      const machine = new PagedMachine(tier, { [CODE]: [...PUSH_BIT_63, RET] });
      for (let run = 0; run < 3; run++) {
        equal(machine.runOn(slice, 0), RUN_TRIPLE_FAULT);
        equal(machine.get('rip'), BigInt(CODE + PUSH_BIT_63.length));
        equal(machine.get('gpr', RSP) & 0xfffn, 0xff8n);
      }
    });
