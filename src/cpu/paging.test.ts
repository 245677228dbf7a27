import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { HVA_RAM, TLB_ADDEND, TLB_ENTRIES, TLB_ENTRY_BYTES, TLB_READ, VCPU_FETCH_PROOF } from '../base/memory-map.ts';
import { CpuWasm } from './testing/cpu-wasm.ts';

/** A small generator of our own, so that a failing case can be run again by its seed. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state % below;
  };
}

const RAM_BYTES = 0x40_0000;
const CR0_PG = 0x8000_0000n,
  CR0_WP = 0x10000n,
  CR0_PE = 1n;
const CR4 = { PSE: 0x10n, PAE: 0x20n, PGE: 0x80n, SMEP: 0x10_0000n, SMAP: 0x20_0000n } as const;
const EFER = { LMA: 0x500n, NXE: 0x800n } as const;
const P = 1n,
  RW = 2n,
  US = 4n,
  A = 0x20n,
  D = 0x40n,
  PS = 0x80n,
  XD = 1n << 63n;

interface Machine {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
  read(gpa: bigint, sizeBytes: 4 | 8): bigint;
}
interface Outcome {
  readonly error?: number;
  readonly page?: bigint;
  readonly marks: readonly (readonly [bigint, bigint])[];
}

/** The walk as SDM vol. 3A 4.3-4.7 tells it, one level after the other. `user` is CPL 3; `ac` RFLAGS.AC. */
function model(machine: Machine, linear: bigint, access: 0 | 1 | 2, user: boolean, ac: boolean): Outcome {
  const { cr0, cr4, efer } = machine;
  const pae = (cr4 & CR4.PAE) !== 0n,
    long = (efer & EFER.LMA) !== 0n,
    nxe = pae && (efer & EFER.NXE) !== 0n;
  const smep = (cr4 & CR4.SMEP) !== 0n,
    smap = (cr4 & CR4.SMAP) !== 0n;
  const fault = (present: boolean, reserved: boolean): Outcome => ({
    error: (present ? 1 : 0) | (access === 1 ? 2 : 0) | (user ? 4 : 0) | (reserved ? 8 : 0) | (access === 2 && (nxe || smep) ? 16 : 0),
    marks: [],
  });
  const levels: { shift: bigint; index: bigint; width: 4 | 8; large: boolean }[] = long
    ? [39n, 30n, 21n, 12n].map((shift) => ({ shift, index: 511n, width: 8 as const, large: shift === 30n || shift === 21n }))
    : pae
      ? [21n, 12n].map((shift) => ({ shift, index: 511n, width: 8 as const, large: shift === 21n }))
      : [22n, 12n].map((shift) => ({ shift, index: 1023n, width: 4 as const, large: shift === 22n && (cr4 & CR4.PSE) !== 0n }));
  let table = long ? machine.cr3 & 0x3fff_ffff_f000n : machine.cr3 & 0xffff_f000n;
  if (pae && !long) {
    const pdpte = machine.read((machine.cr3 & 0xffff_ffe0n) + ((linear >> 30n) & 3n) * 8n, 8);
    if ((pdpte & P) === 0n) return fault(false, false);
    table = pdpte & 0x3fff_ffff_f000n;
  }
  const path: { at: bigint; entry: bigint }[] = [];
  let writable = true,
    everyUser = true,
    noExecute = false;
  for (const { shift, index, width, large } of levels) {
    const at = table + ((linear >> shift) & index) * BigInt(width);
    const entry = machine.read(at, width);
    if ((entry & P) === 0n) return fault(false, false);
    path.push({ at, entry });
    const isLarge = large && (entry & PS) !== 0n;
    let reserved = 0n;
    if (width === 8) {
      reserved |= ((1n << 52n) - 1n) & ~((1n << 46n) - 1n);
      if (!nxe) reserved |= XD;
      if (!long) reserved |= 0x7ff0_0000_0000_0000n;
      if (long && shift === 39n) reserved |= PS;
      if (isLarge) reserved |= ((1n << shift) - 1n) & ~0x1fffn;
    } else if (isLarge) reserved = 1n << 21n;
    if ((entry & reserved) !== 0n) return fault(true, true);
    writable &&= (entry & RW) !== 0n;
    everyUser &&= (entry & US) !== 0n;
    noExecute ||= nxe && (entry & XD) !== 0n;
    table = width === 8 ? entry & 0x3fff_ffff_f000n : entry & 0xffff_f000n;
    if (isLarge || shift === 12n) {
      const allowed = user
        ? everyUser && (access !== 1 || writable) && (access !== 2 || !noExecute)
        : access === 2
          ? !noExecute && !(smep && everyUser)
          : !(smap && everyUser && !ac) && (access !== 1 || writable || (cr0 & CR0_WP) === 0n);
      if (!allowed) return fault(true, false);
      const base = width === 4 && isLarge ? (entry & 0xffc0_0000n) | ((entry & 0x1f_e000n) << 19n) : table;
      const page = (base & ~((1n << shift) - 1n)) | (linear & ((1n << shift) - 1n) & ~0xfffn);
      return {
        page,
        marks: path.map(({ at: place, entry: old }, i) => [place, old | A | (i === path.length - 1 && access === 1 ? D : 0n)]),
      };
    }
  }
  throw new Error('a walk ends at its last level');
}

/** An entry with plausible and implausible bits; it points at one of the tables or pages at 0x1000..0x3ff000. */
function entry(next: (below: number) => number, width: 4 | 8): bigint {
  let value = BigInt(1 + next(0x3ff)) << 12n;
  if (next(12) !== 0) value |= P;
  if (next(4) !== 0) value |= RW;
  if (next(3) !== 0) value |= US;
  if (next(2) === 0) value |= A;
  if (next(2) === 0) value |= D;
  if (next(4) === 0) value = (value & ~0x1ff_000n) | PS | (next(8) === 0 ? 0x2000n : 0n);
  if (next(2) === 0) value |= 0x100n;
  if (width === 8) {
    if (next(5) === 0) value |= XD;
    if (next(20) === 0) value |= 1n << BigInt(46 + next(17));
    if (next(20) === 0) value |= 1n << 40n; // beyond the map: a table in nothing reads as all ones
  }
  return value;
}

const MODES = ['none', '32-bit', 'PAE', '4-level'] as const;

for (const mode of MODES) {
  test(`walks agree with a plain model: ${mode} paging`, () => {
    const seed = 0x5eed + MODES.indexOf(mode);
    const next = random(seed);
    const cpu = new CpuWasm(RAM_BYTES);
    const wide = mode === 'PAE' || mode === '4-level';
    let walked = 0,
      refused = 0;
    for (let round = 0; round < 10; round++) {
      for (let at = 0x1000; at < 0x20_000; at += 8) {
        if (wide) cpu.write64(at, entry(next, 8));
        else {
          cpu.write32(at, Number(entry(next, 4)));
          cpu.write32(at + 4, Number(entry(next, 4)));
        }
      }
      // Most entries lead to another of the tables, so that walks get deep.
      for (let at = 0x1000; at < 0x20_000; at += wide ? 8 : 4) {
        if (next(4) === 0) continue;
        const target = BigInt(1 + next(0x1f)) << 12n;
        if (wide) cpu.write64(at, (cpu.read64(at) & ~0x3ff_f000n & ~PS) | target | P);
        else cpu.write32(at, Number(((BigInt(cpu.read32(at)) & 0xfffn & ~PS) | target | P) & 0xffff_ffffn));
      }
      for (let i = 0; i < 4; i++) if (mode === 'PAE') cpu.write64(0x1000 + i * 8, (BigInt(2 + next(16)) << 12n) | (next(8) === 0 ? 0n : P));
      cpu.set('cr0', CR0_PE | (mode === 'none' ? 0n : CR0_PG) | (next(2) === 0 ? CR0_WP : 0n));
      cpu.set('cr3', 0x1000n);
      cpu.set(
        'cr4',
        (wide ? CR4.PAE : 0n) |
          (next(2) === 0 ? CR4.PSE : 0n) |
          (next(2) === 0 ? CR4.SMEP : 0n) |
          (next(2) === 0 ? CR4.SMAP : 0n) |
          (next(2) === 0 ? CR4.PGE : 0n),
      );
      cpu.set('efer', (mode === '4-level' ? EFER.LMA : 0n) | (next(2) === 0 ? EFER.NXE : 0n));
      cpu.setSegment(1, 8, 0n, 0xffff_ffff, mode === '4-level' ? 0xa09b : 0xc09b);
      if (mode === 'PAE') equal(cpu.call('loadPdptes', 0x1000n), 1n);
      cpu.call('refreshState');
      const seen: bigint[] = [];
      for (let trial = 0; trial < 150; trial++) {
        const ac = next(2) === 0,
          cpl = next(2) * 3,
          access = next(3) as 0 | 1 | 2;
        // Mostly neighbours of earlier addresses, so that the cache of the upper levels is used; a plain one else.
        let linear = BigInt(next(0x1_0000_0000)) & ~0xfffn;
        if (mode === '4-level') linear = BigInt.asUintN(64, BigInt.asIntN(48, linear | (BigInt(next(0x10000)) << 32n)));
        if (seen.length > 3 && next(4) !== 0) linear = (seen[next(seen.length)] ?? 0n) ^ (BigInt(next(512)) << 12n);
        else seen.push(linear);
        cpu.set('cpl', cpl);
        cpu.set('rflags', ac ? 0x40002n : 2n);
        cpu.call('updateAccessClass');
        const machine: Machine = {
          cr0: cpu.get('cr0'),
          cr3: 0x1000n,
          cr4: cpu.get('cr4'),
          efer: cpu.get('efer'),
          read: (gpa, sizeBytes) =>
            gpa >= BigInt(RAM_BYTES) ? (1n << BigInt(sizeBytes * 8)) - 1n : sizeBytes === 8 ? cpu.read64(gpa) : BigInt(cpu.read32(gpa)),
        };
        const expected: Outcome =
          mode === 'none' ? { page: linear & 0xffff_f000n, marks: [] } : model(machine, linear, access, cpl === 3, ac);
        if (next(8) === 0) cpu.call('tlbFlushAll');
        const what = `seed ${seed} round ${round} trial ${trial} linear ${linear.toString(16)} access ${access} cpl ${cpl} ac ${ac}`;
        cpu.accesses.length = 0;
        let answer: bigint | undefined;
        if (access === 2) {
          const hva = cpu.call('fetchTranslate', linear);
          answer = cpu.get('fault') === 7n ? expected.page : hva - BigInt(HVA_RAM); // #UD: a device, where the model knows no more
        } else if (access === 1) {
          const hva = cpu.call('slowProbe', linear, 4, 3);
          answer = hva < BigInt(HVA_RAM) ? cpu.get('translatedGpa') & ~0xfffn : hva - BigInt(HVA_RAM);
        } else {
          cpu.call('slowLoad32', linear, 3);
          const at = Number(cpu.get('tlb')) + Number((linear >> 12n) & BigInt(TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES;
          answer =
            cpu.record.getBigUint64(at + TLB_READ, true) === linear
              ? BigInt.asUintN(64, linear + cpu.record.getBigUint64(at + TLB_ADDEND, true)) - BigInt(HVA_RAM)
              : cpu.get('translatedGpa') & ~0xfffn;
        }
        const fault = cpu.fault();
        if (expected.error === undefined) {
          walked++;
          equal(fault === '#6' ? '' : fault, '', what);
          equal(answer, expected.page, what);
          for (const [at, value] of expected.marks) {
            if (at < BigInt(RAM_BYTES)) equal(wide ? cpu.read64(at) : BigInt(cpu.read32(at)), value, `${what} mark ${at.toString(16)}`);
          }
        } else {
          refused++;
          equal(fault, `#14(${expected.error.toString(16)})`, what);
          equal(cpu.get('faultAddress'), linear, what);
        }
        cpu.set('bounceKind', 0);
      }
    }
    // Both outcomes must have been seen often, or the comparison says little.
    ok(walked > 100, `${walked} walks succeeded`);
    ok(mode === 'none' || refused > 100, `${refused} walks failed`);
  });
}

/** 4-level tables: 0x1000 -> 0x2000 -> 0x3000 -> 0x4000, identity for the first 2 MiB. */
function longMode(): CpuWasm {
  const cpu = new CpuWasm(RAM_BYTES);
  cpu.write64(0x1000, 0x2007n);
  cpu.write64(0x2000, 0x3007n);
  cpu.write64(0x3000, 0x4007n);
  for (let page = 0; page < 512; page++) cpu.write64(0x4000 + page * 8, BigInt(page * 4096) | 7n);
  cpu.set('cr0', CR0_PE | CR0_PG | CR0_WP);
  cpu.set('cr3', 0x1000n);
  cpu.set('cr4', CR4.PAE | CR4.PGE);
  cpu.set('efer', EFER.LMA | EFER.NXE);
  cpu.setSegment(1, 8, 0n, 0xffff_ffff, 0xa09b);
  cpu.call('refreshState');
  return cpu;
}

test('a non-canonical address is #SS(0) through SS and #GP(0) elsewhere', () => {
  const cpu = longMode();
  cpu.call('slowLoad8', 0x8000_0000_0000n, 2);
  equal(cpu.fault(), '#12(0)');
  cpu.call('slowLoad8', 0x8000_0000_0000n, 3);
  equal(cpu.fault(), '#13(0)');
  cpu.call('slowLoad64', 0x7fff_ffff_fffcn, 3); // its last bytes
  equal(cpu.fault(), '#13(0)');
  cpu.call('fetchTranslate', 0x8000_0000_0000n);
  equal(cpu.fault(), '#13(0)');
});

test('PAE refuses reserved bits in a PDPTE and loads none of the four', () => {
  const cpu = new CpuWasm(RAM_BYTES);
  for (let i = 0; i < 4; i++) cpu.write64(0x1000 + i * 8, BigInt((i + 2) * 0x1000) | 1n);
  cpu.write64(0x1010, 0x4003n); // bit 1
  cpu.set('cr0', CR0_PE | CR0_PG);
  cpu.set('cr4', CR4.PAE);
  cpu.call('writeControl', 3, 0x1000n);
  equal(cpu.fault(), '#13(0)');
  equal(cpu.get('pdpte', 0), 0n);
  cpu.write64(0x1010, 0x4001n);
  cpu.call('writeControl', 3, 0x1000n);
  equal(cpu.fault(), '');
  deepEqual(
    [0, 1, 2, 3].map((i) => cpu.get('pdpte', i)),
    [0x2001n, 0x3001n, 0x4001n, 0x5001n],
  );
});

test('translations stay until they are flushed: CR3 keeps global ones, INVLPG drops one, CR4.PGE drops all', () => {
  const cpu = longMode();
  cpu.write64(0x4000 + 0x10 * 8, 0x10107n); // global
  cpu.write32(0x10000, 0x1111);
  cpu.write32(0x11000, 0x2222);
  cpu.write32(0x20000, 0x3333);
  const look = (): bigint[] => [cpu.call('slowLoad32', 0x10000n, 3), cpu.call('slowLoad32', 0x11000n, 3)];
  deepEqual(look(), [0x1111n, 0x2222n]);
  cpu.write64(0x4000 + 0x10 * 8, 0x20107n);
  cpu.write64(0x4000 + 0x11 * 8, 0x20007n);
  deepEqual(look(), [0x1111n, 0x2222n]);
  cpu.call('writeControl', 3, 0x1000n);
  deepEqual(look(), [0x1111n, 0x3333n]);
  cpu.call('invlpg', 0x10000n);
  deepEqual(look(), [0x3333n, 0x3333n]);
  cpu.write64(0x4000 + 0x10 * 8, 0x11107n);
  cpu.call('writeControl', 4, CR4.PAE);
  deepEqual(look(), [0x2222n, 0x3333n]);
});

test('what was proved about code stays valid while no flush touches code of that access class', () => {
  const cpu = longMode();
  const kept = (change: () => void): boolean => {
    const proof = (): bigint => cpu.record.getBigUint64(cpu.vcpu + VCPU_FETCH_PROOF, true);
    const before = proof();
    change();
    return proof() === before;
  };
  cpu.write64(0x4000 + 0x10 * 8, 0x10107n); // global
  cpu.call('fetchTranslate', 0x10000n);
  cpu.call('slowLoad32', 0x30000n, 3);
  equal(
    kept(() => cpu.call('fetchTranslate', 0x11000n)),
    true,
    'a fill',
  );
  equal(
    kept(() => cpu.call('invlpg', 0x31000n)),
    true,
    'INVLPG of data that was never seen',
  );
  equal(
    kept(() => cpu.call('invlpg', 0x11000n)),
    false,
    'INVLPG of code',
  );
  equal(
    kept(() => cpu.call('writeControl', 3, 0x1000n)),
    false,
    'CR3 with code that is not global',
  );
  equal(
    kept(() => cpu.call('writeControl', 3, 0x1000n)),
    true,
    'CR3 with global code alone',
  );
  cpu.call('fetchTranslate', 0x10000n);
  cpu.write64(0x3000 + 8 * 8, 0x4007n); // 16 MiB higher: the same slot of the TLB
  cpu.call('fetchTranslate', 0x101_0000n);
  equal(
    kept(() => cpu.call('invlpg', 0x10000n)),
    false,
    'INVLPG of code that has left the TLB',
  );
  cpu.call('fetchTranslate', 0x12000n);
  equal(
    kept(() => {
      cpu.set('cpl', 3);
      cpu.call('updateAccessClass');
      cpu.call('tlbFlushPage', 0x13000n);
      cpu.set('cpl', 0);
      cpu.call('updateAccessClass');
    }),
    true,
    'there and back',
  );
  equal(
    kept(() => {
      cpu.set('cpl', 3);
      cpu.call('updateAccessClass');
      cpu.call('tlbFlushPage', 0x12000n);
      cpu.set('cpl', 0);
      cpu.call('updateAccessClass');
    }),
    false,
    'there and back, and a flush between',
  );
});

test('a changed upper level counts after INVLPG of any address', () => {
  const cpu = longMode();
  cpu.write32(0x10000, 0x1111);
  cpu.write32(0x11000, 0x2222);
  equal(cpu.call('slowLoad32', 0x10000n, 3), 0x1111n);
  for (let page = 0; page < 512; page++) cpu.write64(0x6000 + page * 8, 0x11007n);
  cpu.write64(0x3000, 0x6007n);
  cpu.call('invlpg', 0x10000n);
  equal(cpu.call('slowLoad32', 0x10000n, 3), 0x2222n);
  cpu.write64(0x3000, 0x6005n); // no longer writable: what is cached may say otherwise until a flush, never after one
  cpu.call('writeControl', 3, 0x1000n);
  cpu.call('slowStore32', 0x12000n, 1, 3);
  equal(cpu.fault(), '#14(3)');
  cpu.write64(0x3000, 0x6007n); // rights may be given without a flush
  cpu.call('slowStore32', 0x12000n, 1, 3);
  equal(cpu.fault(), '');
});

test('INVLPG inside a large page drops all of it', () => {
  const cpu = longMode();
  cpu.write64(0x3000, 0x87n); // 2 MiB at 0
  cpu.write32(0x5000, 0x1111);
  cpu.write32(0x20_5000, 0x2222);
  equal(cpu.call('slowLoad32', 0x5000n, 3), 0x1111n);
  equal(cpu.call('slowLoad32', 0x6000n, 3), 0n);
  cpu.write64(0x3000, 0x20_0087n);
  cpu.call('invlpg', 0x1f_f000n);
  equal(cpu.call('slowLoad32', 0x5000n, 3), 0x2222n);
});

test('INVLPG of a program page keeps the rest, however many large pages a kernel has', () => {
  const cpu = longMode();
  cpu.write64(0x1000 + 511 * 8, 0x2007n);
  for (let entry = 0; entry < 512; entry++) cpu.write64(0x7000 + entry * 8, 0x87n);
  for (let table = 1; table <= 4; table++) cpu.write64(0x2000 + table * 8, 0x7007n);
  for (let region = 0; region < 2048; region++) cpu.call('slowLoad32', 0xffff_ff80_4000_0000n + BigInt(region) * 0x20_0000n, 3);
  equal(cpu.fault(), '');
  cpu.write32(0x11000, 0x1111);
  equal(cpu.call('slowLoad32', 0x11000n, 3), 0x1111n);
  cpu.write64(0x4000 + 0x11 * 8, 0x20007n);
  cpu.call('invlpg', 0x10000n);
  equal(cpu.call('slowLoad32', 0x11000n, 3), 0x1111n);
});

test('more fills than the log holds are flushed as well', () => {
  const cpu = longMode();
  for (let table = 1; table < 8; table++) {
    cpu.write64(0x3000 + table * 8, BigInt(0x4000) | 7n); // the same 512 pages again and again
  }
  for (let page = 0; page < 8 * 512; page++) cpu.call('slowLoad32', BigInt(page * 4096), 3);
  for (let i = 0; i < 512; i++) cpu.write64(0x4000 + i * 8, 0n);
  cpu.call('writeControl', 3, 0x1000n);
  for (let page = 0; page < 8 * 512; page += 37) {
    cpu.call('slowLoad32', BigInt(page * 4096), 3);
    equal(cpu.fault(), '#14(0)');
  }
});

test('a store beside code follows the page tables as well', () => {
  const cpu = longMode();
  cpu.setCodeLines(HVA_RAM + 0x10000, 1n);
  for (const value of [1, 2]) cpu.call('slowStore32', 0x10100n, value, 3);
  equal(cpu.read32(0x10100), 2);
  equal(cpu.codeWritten.length, 0);
  cpu.write64(0x4000 + 0x10 * 8, 0x12007n);
  cpu.call('invlpg', 0x10000n);
  cpu.call('slowStore32', 0x10100n, 3, 3);
  deepEqual([cpu.read32(0x10100), cpu.read32(0x12100)], [2, 3]);
  cpu.write64(0x4000 + 0x10 * 8, 0x10005n);
  cpu.call('invlpg', 0x10000n);
  cpu.call('slowStore32', 0x10100n, 4, 3);
  equal(cpu.fault(), '#14(3)');
});

test('a record cleared by power-on leaves no translation behind', () => {
  const cpu = longMode();
  equal(cpu.call('slowLoad32', 0x10000n, 3), 0n);
  for (const name of ['tlbLogCount', 'tlbGlobalLogCount'] as const) for (let i = 0; i < 4; i++) cpu.set(name, 0, i);
  cpu.set('walkGeneration', 0);
  cpu.write64(0x4000 + 0x10 * 8, 0n);
  cpu.call('refreshState');
  cpu.call('slowLoad32', 0x10000n, 3);
  equal(cpu.fault(), '#14(0)');
});

test('INVPCID checks its descriptor', () => {
  const cpu = longMode();
  const at = 0x9000n;
  const run = (type: bigint, low: bigint, high: bigint): string => {
    cpu.write64(at, low);
    cpu.write64(at + 8n, high);
    cpu.call('invpcid', type, at, 3);
    return cpu.fault();
  };
  deepEqual(
    [
      run(0n, 0n, 0x1000n),
      run(0n, 0n, 1n << 50n),
      run(0n, 1n, 0x1000n),
      run(1n, 0n, 0n),
      run(2n, 0x1000n, 0n),
      run(2n, 0n, 0n),
      run(3n, 1n, 1n << 50n),
      run(4n, 0n, 0n),
    ],
    ['', '#13(0)', '#13(0)', '', '#13(0)', '', '', '#13(0)'],
  );
});
