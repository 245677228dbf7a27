import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COUNTER_EXTINT, COUNTER_NMI, COUNTER_TIER1, COUNTER_TLB_MISS } from '../base/memory-map.ts';
import { COUNTER_NAMES } from './stats.ts';

test('the counters that wasm counts are at the places of their names', () => {
  assert.equal(COUNTER_NAMES[COUNTER_NMI], 'number of NMIs delivered to vcpu');
  assert.equal(COUNTER_NAMES[COUNTER_EXTINT], 'number of ExtINTs delivered to vcpu');
  assert.equal(COUNTER_NAMES[COUNTER_TLB_MISS], 'TLB misses');
  assert.equal(COUNTER_NAMES[COUNTER_TIER1], 'tier 1: guest instructions executed (estimated)');
});
