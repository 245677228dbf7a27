/** Tests of the owner's address translation. */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { translate, type EntryMemory, type GuestAccess, type Paging } from './paging.ts';

const P = 1n,
  W = 2n,
  U = 4n,
  A = 0x20n,
  D = 0x40n,
  PS = 0x80n,
  NX = 1n << 63n;
const LONG: Paging = { mode: '64', cr3: 0x1000n, cpl: 0, wp: true, pse: true, nxe: true, smep: false, smap: false };

/** Table entries by address; RAM ends at 1 MiB. */
function tables(entries: Readonly<Record<number, bigint>>): EntryMemory & { readonly entries: Map<number, bigint> } {
  const map = new Map(Object.entries(entries).map(([at, value]) => [Number(at), value]));
  return {
    entries: map,
    load: (gpa) => (gpa < 0x10_0000 ? (map.get(gpa) ?? 0n) : undefined),
    exchange(gpa, _sizeBytes, expected, value) {
      if ((map.get(gpa) ?? 0n) !== expected) return false;
      map.set(gpa, value);
      return true;
    },
  };
}

// 0000_7fc0_4030_2000h in the order PML4 0ffh, PDPT 101h, PD 001h, PT 102h.
const GLA = (0xffn << 39n) | (0x101n << 30n) | (1n << 21n) | (0x102n << 12n) | 0x345n;
const four = (leaf: bigint, rights = W | U): EntryMemory & { readonly entries: Map<number, bigint> } =>
  tables({
    [0x1000 + 0xff * 8]: 0x2000n | P | rights,
    [0x2000 + 0x101 * 8]: 0x3000n | P | rights,
    [0x3000 + 8]: 0x4000n | P | rights,
    [0x4000 + 0x102 * 8]: leaf,
  });
const gpaOf = (paging: Paging, memory: EntryMemory, access: GuestAccess = {}, effects = true): unknown => {
  const result = translate(paging, GLA, access, memory, effects);
  return 'gpa' in result ? result.gpa : `${result.fault} ${result.error}`;
};

test('four levels, 4 KiB, 2 MiB and 1 GiB pages', () => {
  equal(gpaOf(LONG, four(0x77000n | P | W)), 0x77345);
  const large = tables({
    [0x1000 + 0xff * 8]: 0x2000n | P | W,
    [0x2000 + 0x101 * 8]: 0x3000n | P | W,
    [0x3000 + 8]: 0x20_0000n | P | W | PS,
  });
  equal(gpaOf(LONG, large), 0x20_0000 + 0x10_2345);
  const huge = tables({ [0x1000 + 0xff * 8]: 0x2000n | P | W, [0x2000 + 0x101 * 8]: 0x4000_0000n | P | W | PS });
  equal(gpaOf(LONG, huge), 0x4000_0000 + 0x30_2345);
});

test('rights give the error code of the page fault', () => {
  const user: Paging = { ...LONG, cpl: 3 };
  for (const [paging, leaf, access, expected] of [
    [LONG, 0n, {}, 'pf 0'],
    [LONG, 0n, { write: true }, 'pf 2'],
    [user, 0n, { exec: true }, 'pf 20'],
    [LONG, P, { write: true }, 'pf 3'],
    [{ ...LONG, wp: false }, P, { write: true }, 0x345],
    [{ ...user, wp: false }, P | U, { write: true }, 'pf 7'],
    [user, P | W, {}, 'pf 5'],
    [LONG, P | NX, { exec: true }, 'pf 17'],
    [{ ...LONG, nxe: false }, P | NX, {}, 'pf 9'],
    [{ ...LONG, smep: true }, P | U, { exec: true }, 'pf 17'],
    [{ ...LONG, smap: true }, P | U, {}, 'pf 1'],
    [LONG, P | (1n << 46n), {}, 'pf 9'],
  ] as const)
    equal(gpaOf(paging, four(leaf), access), expected, `${leaf.toString(16)} ${JSON.stringify(access)}`);
});

test('accessed and dirty bits are set by an access of the guest, and only when it succeeds', () => {
  const memory = four(0x77000n | P | W);
  gpaOf(LONG, memory);
  deepEqual(
    [...memory.entries.values()].map((entry) => entry & (A | D)),
    [A, A, A, A],
  );
  gpaOf(LONG, memory, { write: true });
  deepEqual(
    [...memory.entries.values()].map((entry) => entry & (A | D)),
    [A, A, A, A | D],
  );
  const refused = four(0x77000n | P);
  gpaOf(LONG, refused, { write: true });
  deepEqual(
    [...refused.entries.values()].map((entry) => entry & A),
    [0n, 0n, 0n, 0n],
  );
});

test('the variant without effects changes nothing and ignores rights', () => {
  const memory = four(0x77000n | P | NX, P);
  const before = new Map(memory.entries);
  equal(gpaOf({ ...LONG, cpl: 3, smep: true, smap: true }, memory, { write: true, exec: true }, false), 0x77345);
  deepEqual(memory.entries, before);
});

test('an entry that changes under the walk is read again', () => {
  const memory = four(0x77000n | P | W);
  let interfered = false;
  const racing: EntryMemory = {
    load: memory.load,
    exchange(gpa, sizeBytes, expected, value) {
      if (!interfered) {
        interfered = true;
        memory.entries.set(0x4000 + 0x102 * 8, 0x99000n | P | W);
        return false;
      }
      return memory.exchange(gpa, sizeBytes, expected, value);
    },
  };
  equal(gpaOf(LONG, racing), 0x99345);
});

test('a non-canonical address is a #GP; tables outside RAM are not present', () => {
  deepEqual(translate(LONG, 0x8000_0000_0000n, {}, four(0n), true), { fault: 'gp', error: 0 });
  equal(gpaOf({ ...LONG, cr3: 0x20_0000n }, four(P)), 'pf 0');
});

test('32-bit paging with 4 MiB pages and PSE-36; PAE; and none', () => {
  const paging: Paging = { ...LONG, mode: '32', nxe: false };
  const memory = tables({ [0x1000 + 4]: 0x2000n | P | W, [0x2000 + 8]: 0x55000n | P | W, [0x1000 + 8]: 0x80_0000n | P | PS | (3n << 13n) });
  deepEqual(translate(paging, 0x402abcn, {}, memory, false), { gpa: 0x55abc, pageBytes: 4096 });
  deepEqual(translate(paging, 0x812345n, {}, memory, false), { gpa: 3 * 2 ** 32 + 0x812345, pageBytes: 0x40_0000 });
  deepEqual(translate({ ...paging, pse: false }, 0x812345n, {}, memory, false), { fault: 'pf', error: 0 });
  const pae = tables({ 0x1008: 0x2000n | P, 0x2008: 0x20_0000n | P | W | PS });
  deepEqual(translate({ ...LONG, mode: 'pae' }, 0x4020_1234n, {}, pae, true), { gpa: 0x20_1234, pageBytes: 0x20_0000 });
  deepEqual(translate({ ...LONG, mode: 'flat' }, 0x1_2345_6789n, {}, pae, true), { gpa: 0x2345_6789, pageBytes: 4096 });
});
