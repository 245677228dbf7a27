/**
 * Names of the statistics, in the order of the vCPU record's `counters`.
 * Implements: bhyve-map 3.6; those of tier 1 are ours. Runs on: any thread. A vCPU's counters are written by its own thread.
 */
import { TIER1_COUNTERS } from '../cpu/index.ts';

export const COUNTER_NAMES = [
  'total number of vm exits',
  'vm exits due to external interrupt',
  'number of times hlt was intercepted',
  'number of times %cr access was intercepted',
  'number of times rdmsr was intercepted',
  'number of times wrmsr was intercepted',
  'number of monitor trap exits',
  'number of times pause was intercepted',
  'number of times in/out was intercepted',
  'number of times cpuid was intercepted',
  'vm exits for instruction emulation',
  'number of vm exits for unknown reason',
  'number of times idle requested at exit',
  'number of vm exits handled in userspace',
  'number of vm exits due to exceptions',
  'vcpu total runtime',
  'number of ticks vcpu was idle',
  'number of NMIs delivered to vcpu',
  'number of ExtINTs delivered to vcpu',
  'TLB misses',
  ...TIER1_COUNTERS.map(([, name]) => name),
] as const;
export type CounterName = (typeof COUNTER_NAMES)[number];

export function counterIndex(name: CounterName): number {
  return COUNTER_NAMES.indexOf(name);
}

export interface Stat {
  readonly name: string;
  readonly value: bigint;
}
