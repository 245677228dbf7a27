/** Tests of events in the intinfo format. */
import { equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { checkIntinfo, entryIntinfo, exceptionIntinfo, INTINFO_TYPE, INTINFO_VALID } from './events.ts';

const DE = 0,
  DB = 1,
  UD = 6,
  DF = 8,
  TS = 10,
  GP = 13,
  PF = 14;
const exception = (vector: number): bigint =>
  exceptionIntinfo(vector === DF || (vector >= TS && vector <= PF) ? { vector, error: vector } : { vector });
const DOUBLE_FAULT = exceptionIntinfo({ vector: DF, error: 0 });

test('two exceptions that meet follow Table 6-5', () => {
  for (const [first, second, result] of [
    [DB, UD, 'second'],
    [DB, GP, 'second'],
    [DB, PF, 'second'],
    [GP, DB, 'second'],
    [GP, GP, 'double'],
    [DE, TS, 'double'],
    [GP, PF, 'second'],
    [PF, UD, 'second'],
    [PF, GP, 'double'],
    [PF, PF, 'double'],
    [PF, DE, 'double'],
    [DF, GP, 'triple'],
    [DF, UD, 'triple'],
  ] as const) {
    const expected = result === 'double' ? DOUBLE_FAULT : result === 'triple' ? 'triple-fault' : exception(second);
    equal(entryIntinfo(exception(first), exception(second)), expected, `${first} then ${second}`);
  }
});

test('an interrupt or NMI in delivery gives way to an exception, and is kept without one', () => {
  for (const type of [INTINFO_TYPE.hwintr, INTINFO_TYPE.nmi, INTINFO_TYPE.swintr]) {
    const event = INTINFO_VALID | type | 2n;
    equal(entryIntinfo(event, exception(PF)), exception(PF));
    equal(entryIntinfo(event, 0n), event);
  }
  equal(entryIntinfo(0n, exception(GP)), exception(GP));
  equal(entryIntinfo(0n, 0n), 0n);
});

test('the format: vector, type, error valid, valid, error above', () => {
  equal(exceptionIntinfo({ vector: 14, error: 0x15 }), 0x15_8000_0b0en);
  equal(exceptionIntinfo({ vector: 6 }), 0x8000_0306n);
});

test('reserved bits, other types and NMIs of another vector are refused; without the valid bit it is nothing', () => {
  for (const bad of [0x8000_1000n, 0x8000_0100n, 0x8000_0700n, 0x8000_0203n, 0x8000_0320n])
    throws(() => checkIntinfo(bad), { code: 'EINVAL' });
  for (const good of [0x8000_0020n, 0x8000_0202n, 0x8000_031fn, 0x8000_04ffn]) equal(checkIntinfo(good), good);
  equal(checkIntinfo(0x7fff_ffffn), 0n);
});
