/** Tests of the guest-physical map: against a page-by-page model, and at its edges. */
import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { GUEST_MAP, GUEST_MAP_COUNT, GUEST_MAP_RANGES, HVA_RAM } from '../base/memory-map.ts';
import { HIGHMEM_GPA, PROT_EXEC, PROT_READ, PROT_WRITE } from './layout.ts';
import {
  GPA_END,
  MAX_MAPPINGS,
  MAX_SEGMENTS,
  MemoryMap,
  PROT_ALL,
  SEGMENT,
  splitMemory,
  sysmemEndHva,
  type Mapping,
} from './memory-map.ts';

const PAGE = 4096,
  MIB = 2 ** 20,
  GIB = 2 ** 30;
const mapping = (gpa: number, sizeBytes: number, more: Partial<Mapping> = {}): Mapping => ({
  gpa,
  sizeBytes,
  segment: 1,
  offset: 0,
  protection: PROT_ALL,
  flags: 0,
  ...more,
});
const code = (expected: string) => ({ code: expected });

function mapWithSegment(sizeBytes = 64 * PAGE): MemoryMap {
  const map = new MemoryMap({ start: HVA_RAM, end: HVA_RAM + GIB });
  map.allocate(1, sizeBytes, 'test');
  return map;
}

test('random maps and unmaps agree with a set of pages', () => {
  const operation = fc.record({ isMap: fc.boolean(), page: fc.nat(40), pages: fc.integer({ min: 0, max: 12 }), offset: fc.nat(60) });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const map = mapWithSegment();
      const owner = new Map<number, Mapping>();
      const list: Mapping[] = [];
      for (const { isMap, page, pages, offset } of operations) {
        const wanted = mapping(page * PAGE, pages * PAGE, { offset: offset * PAGE });
        const covered = Array.from({ length: pages }, (_, index) => page + index);
        if (isMap) {
          const isLegal = pages > 0 && offset + pages <= 64 && !covered.some((at) => owner.has(at)) && list.length < MAX_MAPPINGS;
          if (!isLegal)
            throws(() => {
              map.map(wanted);
            });
          else {
            map.map(wanted);
            list.push(wanted);
            for (const at of covered) owner.set(at, wanted);
          }
        } else {
          const index = list.findIndex((present) => present.gpa === wanted.gpa && present.sizeBytes === wanted.sizeBytes);
          if (index < 0)
            throws(() => {
              map.unmap(wanted.gpa, wanted.sizeBytes);
            }, code('EINVAL'));
          else {
            map.unmap(wanted.gpa, wanted.sizeBytes);
            list.splice(index, 1);
            for (const at of covered) owner.delete(at);
          }
        }
        deepEqual(
          map.mappings(),
          list.toSorted((a, b) => a.gpa - b.gpa),
        );
        for (let at = 0; at < 56; at++) {
          deepEqual(map.find(at * PAGE, 1), owner.get(at));
          deepEqual(map.find(at * PAGE + PAGE - 1, 1), owner.get(at));
        }
      }
    }),
    { numRuns: 100 },
  );
});

test('a mapping that begins where another ends does not overlap it; one byte of overlap does', () => {
  const map = mapWithSegment();
  map.map(mapping(4 * PAGE, 4 * PAGE));
  map.map(mapping(8 * PAGE, PAGE));
  map.map(mapping(3 * PAGE, PAGE));
  for (const [gpa, sizeBytes] of [
    [7 * PAGE, PAGE],
    [2 * PAGE, 2 * PAGE],
    [0, 20 * PAGE],
    [4 * PAGE, PAGE],
  ] as const)
    throws(() => {
      map.map(mapping(gpa, sizeBytes));
    }, code('EFAULT'));
});

test('every wrong argument of a mapping has its error', () => {
  const map = mapWithSegment();
  for (const bad of [
    mapping(0, 0),
    mapping(1, PAGE),
    mapping(0, PAGE + 1),
    mapping(-PAGE, PAGE),
    mapping(0, 65 * PAGE),
    mapping(0, PAGE, { offset: 64 * PAGE }),
    mapping(0, PAGE, { offset: 1 }),
    mapping(0, 2 * PAGE, { offset: 63 * PAGE }),
    mapping(0, PAGE, { protection: 0 }),
    mapping(0, PAGE, { protection: 8 }),
    mapping(0, PAGE, { flags: 2 }),
    mapping(0, PAGE, { segment: 2 }),
    mapping(0, PAGE, { segment: -1 }),
    mapping(0, PAGE, { segment: MAX_SEGMENTS }),
    mapping(GPA_END, PAGE),
    mapping(GPA_END - PAGE, 2 * PAGE),
    mapping(Number.NaN, PAGE),
    mapping(2 ** 63, PAGE),
    mapping(0, Number.MAX_SAFE_INTEGER),
    mapping(0, PAGE, { offset: 2 ** 64 - PAGE }),
  ])
    throws(
      () => {
        map.map(bad);
      },
      code('EINVAL'),
      JSON.stringify(bad),
    );
  map.map(mapping(GPA_END - PAGE, PAGE));
});

test('the table is full after its last entry', () => {
  const map = mapWithSegment();
  for (let index = 0; index < MAX_MAPPINGS; index++) map.map(mapping(index * PAGE, PAGE));
  throws(() => {
    map.map(mapping(MAX_MAPPINGS * PAGE, PAGE));
  }, code('ENOSPC'));
});

test('segments: number, length, name and room are checked', () => {
  const map = new MemoryMap({ start: 0x10000, end: 0x20000 });
  throws(() => map.allocate(-1, PAGE, ''), code('EINVAL'));
  throws(() => map.allocate(MAX_SEGMENTS, PAGE, ''), code('EINVAL'));
  throws(() => map.allocate(1, 0, 'x'), code('EINVAL'));
  throws(() => map.allocate(1, PAGE + 1, 'x'), code('EINVAL'));
  throws(() => map.allocate(1, PAGE, 'sixteencharacter'), code('ENAMETOOLONG'));
  throws(() => map.allocate(1, 17 * PAGE, 'x'), code('ENOMEM'));
  equal(map.allocate(1, 8 * PAGE, 'fifteencharacte').hva, 0x10000);
  equal(map.allocate(2, 8 * PAGE, 'second').hva, 0x18000);
  throws(() => map.allocate(1, 8 * PAGE, 'fifteencharacte'), code('EEXIST'));
  throws(() => map.allocate(3, PAGE, 'third'), code('ENOMEM'));
  equal(map.segment(3), undefined);
});

test('protection changes for exactly one mapping', () => {
  const map = mapWithSegment();
  map.map(mapping(0, 2 * PAGE));
  map.protect(0, 2 * PAGE, PROT_READ | PROT_EXEC);
  equal(map.find(PAGE, 1)?.protection, PROT_READ | PROT_EXEC);
  throws(() => {
    map.protect(0, PAGE, PROT_WRITE);
  }, code('EINVAL'));
  throws(() => {
    map.protect(0, 2 * PAGE, 0);
  }, code('EINVAL'));
});

test('the published table has the ranges sorted and half open', () => {
  const map = mapWithSegment();
  map.allocate(SEGMENT.sysmem, 16 * PAGE, '');
  map.map(mapping(0xfffe0000, 2 * PAGE, { offset: PAGE, protection: PROT_READ }));
  map.map(mapping(0, 16 * PAGE, { segment: SEGMENT.sysmem }));
  const view = new DataView(new ArrayBuffer(GUEST_MAP + 0x1000));
  map.publish(view);
  equal(view.getUint32(GUEST_MAP_COUNT, true), 2);
  const rows = [0, 1].map((index) => [0, 8, 16].map((at) => view.getBigUint64(GUEST_MAP_RANGES + index * 32 + at, true)));
  deepEqual(rows, [
    [0n, BigInt(16 * PAGE), BigInt(HVA_RAM)],
    [0xfffe0000n, 0xfffe2000n, BigInt(HVA_RAM + PAGE)],
  ]);
  equal(view.getUint32(GUEST_MAP_RANGES + 32 + 24, true), PROT_READ);
});

test('memory is split at 3 GiB, and its end in memory 1 follows', () => {
  for (const [size, low, high, end] of [
    [256 * MIB, 256 * MIB, 0, 256 * MIB],
    [3 * GIB, 3 * GIB, 0, 3 * GIB],
    [3 * GIB + PAGE, 3 * GIB, PAGE, HIGHMEM_GPA + PAGE],
    [8 * GIB, 3 * GIB, 5 * GIB, 9 * GIB],
  ] as const) {
    deepEqual(splitMemory(size), { lowmemBytes: low, highmemBytes: high });
    equal(sysmemEndHva(size), HVA_RAM + end);
  }
});
