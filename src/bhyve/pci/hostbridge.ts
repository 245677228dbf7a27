/**
 * The host bridge, and under the name amd_hostbridge the same with AMD's identity.
 * Implements: bhyve(8) `hostbridge`; bhyve-map 1.6. Runs on: main event loop.
 */
import type { Log } from '../../base/log.ts';
import { PciFunction, type PciIdentity } from './function.ts';
import { CLASS_BRIDGE, DEVICE_BHYVE_HOSTBRIDGE, EXPRESS_ROOT_PORT, SUBCLASS_HOST, VENDOR_NETAPP } from './ids.ts';

export const HOSTBRIDGE_IDENTITY: PciIdentity = {
  vendor: VENDOR_NETAPP,
  device: DEVICE_BHYVE_HOSTBRIDGE,
  classCode: CLASS_BRIDGE,
  subclass: SUBCLASS_HOST,
};

export function createHostbridge(
  place: { readonly bus: number; readonly slot: number; readonly func: number },
  identity: PciIdentity,
  log: Log,
): PciFunction {
  const pci = new PciFunction({ ...place, name: 'hostbridge' }, identity, log);
  pci.addExpress(EXPRESS_ROOT_PORT);
  return pci;
}
