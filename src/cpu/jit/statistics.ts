/**
 * What tier 1 counts, and its names among the statistics of a vCPU.
 * Runs on: the vCPU's thread counts; names on any thread.
 */

export interface Tier1Statistics {
  executed: number;
  regions: number;
  modules: number;
  instructions: number;
  bytes: number;
  hostBytes: number;
  formNs: number;
  emitNs: number;
  compileNs: number;
  installNs: number;
  longestTurnNs: number;
  changed: number;
  dropped: number;
  evicted: number;
  refused: number;
  covered: number;
  kept: number;
  expected: number;
}

/** In the order of the record's `counters`, from COUNTER_TIER1 on. */
export const TIER1_COUNTERS = [
  ['executed', 'tier 1: guest instructions executed (estimated)'],
  ['regions', 'tier 1: regions installed'],
  ['modules', 'tier 1: modules installed'],
  ['instructions', 'tier 1: guest instructions in installed regions'],
  ['bytes', 'tier 1: bytes of WebAssembly'],
  ['hostBytes', 'tier 1: bytes of the host in use (estimated)'],
  ['formNs', 'tier 1: ns to find regions'],
  ['emitNs', 'tier 1: ns to emit them'],
  ['compileNs', 'tier 1: ns to compile modules'],
  ['installNs', 'tier 1: ns to install them'],
  ['longestTurnNs', 'tier 1: ns of the longest turn'],
  ['changed', 'tier 1: regions whose code was changed'],
  ['dropped', 'tier 1: regions whose code changed while they were compiled'],
  ['evicted', 'tier 1: regions evicted'],
  ['refused', 'tier 1: entries without a region worth having'],
  ['covered', 'tier 1: entries put off, since another region holds them'],
  ['kept', 'tier 1: regions of earlier runs'],
  ['expected', 'tier 1: regions of earlier runs that were expected'],
] as const satisfies readonly (readonly [keyof Tier1Statistics, string])[];

export const noStatistics = (): Tier1Statistics => ({
  executed: 0,
  regions: 0,
  modules: 0,
  instructions: 0,
  bytes: 0,
  hostBytes: 0,
  formNs: 0,
  emitNs: 0,
  compileNs: 0,
  installNs: 0,
  longestTurnNs: 0,
  changed: 0,
  dropped: 0,
  evicted: 0,
  refused: 0,
  covered: 0,
  kept: 0,
  expected: 0,
});
