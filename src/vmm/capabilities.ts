/**
 * Capabilities of a vCPU by bhyve's names and numbers.
 * Implements: bhyve-map 3.6 (enum vm_cap_type). Runs on: the VM's owner.
 */
import { VmError } from '../base/errors.ts';
import { CAPABILITY_EXIT_ON_EXCEPTION, CAPABILITY_HLT_EXIT, CAPABILITY_STEP } from '../cpu/index.ts';

/** Index is the capability's number. */
export const CAPABILITY_NAMES = [
  'hlt_exit',
  'mtrap_exit',
  'pause_exit',
  'unrestricted_guest',
  'enable_invpcid',
  'bpt_exit',
  'rdpid',
  'rdtscp',
  'ipi_exit',
  'mask_hwintr',
  'rflags_tf',
] as const;
export type CapabilityName = (typeof CAPABILITY_NAMES)[number];

/**
 * `cpu`: a bit that the processor obeys. `always`: true of this processor, and cannot be taken away. `stored`: accepted and remembered
 * only, since this processor has nothing to gain from it (a PAUSE costs no host CPU that another vCPU waits for).
 */
export type Capability = { readonly kind: 'cpu'; readonly bit: number } | { readonly kind: 'always' } | { readonly kind: 'stored' };

const CAPABILITIES: Readonly<Partial<Record<CapabilityName, Capability>>> = {
  hlt_exit: { kind: 'cpu', bit: CAPABILITY_HLT_EXIT },
  mtrap_exit: { kind: 'cpu', bit: CAPABILITY_STEP },
  bpt_exit: { kind: 'cpu', bit: CAPABILITY_EXIT_ON_EXCEPTION },
  pause_exit: { kind: 'stored' },
  unrestricted_guest: { kind: 'always' },
  enable_invpcid: { kind: 'always' },
  rdtscp: { kind: 'always' },
  ipi_exit: { kind: 'always' },
};

/** @returns null for a number that names nothing. */
export function capabilityType2name(number: number): CapabilityName | null {
  return CAPABILITY_NAMES[number] ?? null;
}

/** @returns -1 for an unknown name. */
export function capabilityName2type(name: string): number {
  return (CAPABILITY_NAMES as readonly string[]).indexOf(name);
}

/** @throws VmError EINVAL for what is no capability, ENOENT for one that this engine lacks. */
export function capability(id: string | number): { readonly name: CapabilityName; readonly capability: Capability } {
  const name = typeof id === 'number' ? CAPABILITY_NAMES[id] : CAPABILITY_NAMES.find((known) => known === id);
  if (name === undefined)
    throw new VmError('EINVAL', `capability ${id}: expected 0 to ${CAPABILITY_NAMES.length - 1} or one of ${CAPABILITY_NAMES.join(' ')}`);
  const found = CAPABILITIES[name];
  if (found === undefined) throw new VmError('ENOENT', `capability ${name}: not available`);
  return { name, capability: found };
}
