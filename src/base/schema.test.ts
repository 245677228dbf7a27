import { deepEqual, equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { bool, bytes, schema, u16, u64, u8 } from './schema.ts';

const STATE = schema(
  'thing',
  2,
  {
    ier: u8({ doc: 'interrupt enable', bits: ['ERBFI', 'ETBEI'] }),
    divisor: u16({ doc: 'baud divisor', reset: 12 }),
    base: u64({ doc: 'an address', reset: 5n }),
    fifo: bytes({ doc: 'a queue', maxBytes: 3 }),
    config: bytes({ doc: 'registers', sizeBytes: 2 }),
    pending: bool({ doc: 'added in version 2' }),
  },
  { from: { 1: (old) => ({ ...old, pending: true }) } },
);

test('fresh state holds the reset values and reset puts them back into the same object', () => {
  const state = STATE.fresh();
  deepEqual(state, { ier: 0, divisor: 12, base: 5n, fifo: new Uint8Array(), config: new Uint8Array(2), pending: false });
  state.ier = 3;
  state.config[1] = 7;
  STATE.reset(state);
  deepEqual(state, STATE.fresh());
});

test('what is saved is JSON and restores to the same state', () => {
  const state = STATE.fresh();
  Object.assign(state, { ier: 3, base: 0xfedcba9876543210n, fifo: Uint8Array.of(1, 0xff), pending: true });
  const copy = STATE.fresh();
  STATE.restore(copy, JSON.parse(JSON.stringify(STATE.save(state))));
  deepEqual(copy, state);
  deepEqual(STATE.print(state), [
    'ier 0x3 (ERBFI ETBEI)',
    'divisor 0xc',
    'base 0xfedcba9876543210',
    'fifo [01ff]',
    'config [0000]',
    'pending true',
  ]);
});

test('an older version is upgraded field by field', () => {
  const { pending: _gone, ...fields } = STATE.save(STATE.fresh()).fields;
  const state = STATE.fresh();
  STATE.restore(state, { kind: 'thing', version: 1, fields });
  equal(state.pending, true);
});

test('a foreign or damaged save is refused and changes nothing', () => {
  const good = STATE.save(STATE.fresh());
  for (const [saved, message] of [
    [{ ...good, kind: 'other' }, /'other': expected 'thing'/],
    [{ ...good, version: 3 }, /version 3: expected 1 to 2/],
    [{ ...good, fields: { ...good.fields, extra: 1 } }, /field 'extra'/],
    [{ ...good, fields: { ...good.fields, ier: 256 } }, /ier=256: expected an integer from 0 to 255/],
    [{ ...good, fields: { ...good.fields, fifo: '01020304' } }, /at most 3 bytes/],
    [{ ...good, fields: { ...good.fields, base: '0x11112222333344445' } }, /base=/],
    [{ ...good, fields: { ier: 1 } }, /divisor=undefined/],
  ] as const) {
    const state = STATE.fresh();
    throws(() => STATE.restore(state, saved), message);
    deepEqual(state, STATE.fresh());
  }
});
