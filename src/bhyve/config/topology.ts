/**
 * Number of vCPUs and how they are arranged.
 * Implements: bhyve(8) `-c [[cpus=]N][,sockets=S][,cores=C][,threads=T]`; libvmmapi vm_set_topology (16-bit counts).
 * Runs on: main event loop.
 */
import { VmError } from '../../base/errors.ts';
import { quote } from './numbers.ts';
import type { ConfigTree } from './tree.ts';

const KEYS = ['cpus', 'sockets', 'cores', 'threads'] as const;
const MAX_COUNT = 65535;

export interface Topology {
  readonly cpus: number;
  readonly sockets: number;
  readonly cores: number;
  readonly threads: number;
}

/**
 * Put a `-c` argument into the tree: any order, the last of a kind wins, "" is one vCPU.
 * @returns false on a key that is none of the four.
 */
export function parseTopology(tree: ConfigTree, text: string): boolean {
  if (text === '') {
    for (const key of KEYS) tree.set(key, '1');
    return true;
  }
  for (const word of text.split(',')) {
    const equals = word.indexOf('=');
    const key = equals < 0 ? 'cpus' : KEYS.find((name) => name === word.slice(0, equals));
    if (!key) return false;
    const value = equals < 0 ? word : word.slice(equals + 1);
    if (value === '') throw new VmError('EINVAL', `Invalid value for ${key}: ''; expected 1 to ${MAX_COUNT} (-c ${quote(text)})`);
    tree.set(key, value);
  }
  return true;
}

/**
 * The arrangement the tree describes: without `cpus` it is the product; with `cpus` alone there are as many sockets.
 * @throws VmError EINVAL with bhyve's texts.
 */
export function readTopology(tree: ConfigTree, maxCpus: number): Topology {
  const given = tree.get('cpus') !== undefined;
  const cpus = tree.integer('cpus', 1, 1, MAX_COUNT);
  const cores = tree.integer('cores', 1, 1, MAX_COUNT);
  const threads = tree.integer('threads', 1, 1, MAX_COUNT);
  const sockets = tree.integer('sockets', cpus, 1, MAX_COUNT);
  const product = sockets * cores * threads;
  if (product > MAX_COUNT) throw new VmError('EINVAL', `Computed number of vCPUs too high: ${product}; expected at most ${MAX_COUNT}`);
  if (given && product !== cpus) {
    throw new VmError('EINVAL', `Topology (${sockets} sockets, ${cores} cores, ${threads} threads) does not match ${cpus} vCPUs`);
  }
  if (product > maxCpus) throw new VmError('EINVAL', `${product} vCPUs requested but only ${maxCpus} available`);
  return { cpus: product, sockets, cores, threads };
}
