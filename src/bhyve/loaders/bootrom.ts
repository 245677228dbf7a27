/**
 * A raw firmware image, mapped so that it ends at 4 GiB, where the reset vector is.
 * Implements: bhyve(8) `-l bootrom`; bhyve-map 2.1. Runs on: main event loop. Not modelled: the writable variable store.
 */
import { VmError } from '../../base/errors.ts';
import { BOOTROM_MAX_BYTES, HIGHMEM_BASE } from '../layout.ts';
import type { InitialState, MachineVm } from '../ports-of-machine.ts';
import type { ImageFile } from './image.ts';

const PAGE_BYTES = 4096;

/** @throws VmError EINVAL for a size that is no multiple of 4 KiB or above 16 MiB. @returns nothing to set: the vCPU's reset state. */
export function loadBootrom(rom: ImageFile, vm: Pick<MachineVm, 'mapDevmem'>): InitialState {
  const sizeBytes = rom.bytes.length;
  if (sizeBytes === 0 || sizeBytes % PAGE_BYTES !== 0 || sizeBytes > BOOTROM_MAX_BYTES) {
    throw new VmError(
      'EINVAL',
      `${rom.name}: boot ROM of ${sizeBytes} bytes: expected a multiple of ${PAGE_BYTES} up to ${BOOTROM_MAX_BYTES}`,
    );
  }
  vm.mapDevmem('bootrom', HIGHMEM_BASE - sizeBytes, sizeBytes, 'rx').set(rom.bytes);
  return { registers: {}, descriptors: {} };
}
