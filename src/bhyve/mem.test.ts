import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MmioMap, type MmioRange } from './mem.ts';

const range = (name: string, gpa: number, sizeBytes: number, value = 0, rest: Partial<MmioRange> = {}): MmioRange => ({
  name,
  gpa,
  sizeBytes,
  handler: { read: () => value, write() {} },
  ...rest,
});

test('first and last byte hit, the byte behind does not', () => {
  const map = new MmioMap();
  map.register(range('a', 0x1000, 0x1000, 1));
  map.register(range('b', 0x2000, 0x1000, 2)); // adjacent is no overlap
  deepEqual(
    [0xfff, 0x1000, 0x1fff, 0x2000, 0x2fff, 0x3000].map((gpa) => map.read(0, gpa, 1)),
    [0xff, 1, 1, 2, 2, 0xff],
  );
  equal(map.read(0, 0x2fff, 2), 0xffff); // runs over the end
});

test('every overlap is EEXIST and names both ranges', () => {
  const map = new MmioMap();
  map.register(range('first', 0x1000, 0x1000));
  for (const [gpa, sizeBytes] of [
    [0x1000, 0x1000],
    [0x1800, 1],
    [0xfff, 2],
    [0x1fff, 1],
    [0, 0x10000],
  ] as const) {
    throws(
      () => {
        map.register(range('second', gpa, sizeBytes));
      },
      { code: 'EEXIST', message: /of second overlaps \[0x1000, 0x2000\) of first/ },
    );
  }
  throws(
    () => {
      map.register(range('empty', 0, 0));
    },
    { code: 'EINVAL' },
  );
  throws(
    () => {
      map.register(range('high', 2 ** 52 - 1, 2));
    },
    { code: 'EINVAL' },
  );
});

test('the fallback answers where nobody does, and is never remembered', () => {
  const map = new MmioMap();
  map.registerFallback(range('hole', 0, 0x10000, 9));
  equal(map.read(0, 0x1000, 1), 9);
  map.register(range('device', 0x1000, 0x1000, 1));
  equal(map.read(0, 0x1000, 1), 1);
});

test('unregister clears hints; immutable ranges stay', () => {
  const map = new MmioMap();
  const device = range('device', 0x1000, 0x1000, 1);
  const ecam = range('ecam', 0x4000, 0x1000, 2, { immutable: true });
  map.register(device);
  map.register(ecam);
  equal(map.read(3, 0x1000, 1), 1);
  map.unregister(device);
  equal(map.read(3, 0x1000, 1), 0xff);
  throws(
    () => {
      map.unregister(device);
    },
    { code: 'ENOENT' },
  );
  throws(
    () => {
      map.unregister(ecam);
    },
    { code: 'EINVAL', message: /immutable/ },
  );
  throws(
    () => {
      map.unregister(range('other', 0x4800, 1));
    },
    { code: 'EINVAL', message: /held by .* of ecam/ },
  );
});

test('a handler may move ranges while it runs', () => {
  const map = new MmioMap();
  const moved = range('moved', 0x1000, 0x1000, 1);
  map.register(moved);
  map.register({
    name: 'mover',
    gpa: 0x8000,
    sizeBytes: 4,
    handler: {
      read: () => 0,
      write: () => {
        map.unregister(moved);
        map.register(range('moved', 0x2000, 0x1000, 1));
      },
    },
  });
  map.read(0, 0x1000, 1);
  map.write(0, 0x8000, 4, 0);
  deepEqual([map.read(0, 0x1000, 1), map.read(0, 0x2000, 1)], [0xff, 1]);
});

test('lookup agrees with a list searched from end to end', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 1, max: 40 })), { maxLength: 40 }), (requests) => {
      const map = new MmioMap();
      const kept: MmioRange[] = [];
      for (const [gpa, sizeBytes] of requests) {
        const candidate = range(`${gpa}`, gpa, sizeBytes);
        const free = kept.every((other) => gpa + sizeBytes <= other.gpa || other.gpa + other.sizeBytes <= gpa);
        if (free) {
          map.register(candidate);
          kept.push(candidate);
        } else
          throws(
            () => {
              map.register(candidate);
            },
            { code: 'EEXIST' },
          );
      }
      for (let gpa = 0; gpa < 345; gpa++)
        equal(
          map.find(gpa % 2, gpa),
          kept.find((other) => gpa >= other.gpa && gpa < other.gpa + other.sizeBytes),
        );
    }),
    { numRuns: 100 },
  );
});
