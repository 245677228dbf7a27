/**
 * The door of the loaders: which protocol an image speaks.
 * Runs on: main event loop, before the first instruction.
 */
import { VmError } from '../../base/errors.ts';
import type { InitialState } from '../ports-of-machine.ts';
import { isElf } from './elf.ts';
import type { BootSource, BootTarget } from './image.ts';
import { isBzImage, loadLinux } from './linux.ts';
import { loadMultiboot, multibootHeader } from './multiboot.ts';
import { loadPvh, pvhImage } from './pvh.ts';

export { loadBootrom } from './bootrom.ts';
export type { BootModule, BootSource, BootTarget, ImageFile } from './image.ts';

export type BootProtocol = 'linux' | 'multiboot' | 'pvh';

/**
 * Load a kernel by the protocol it offers: a Linux bzImage, a multiboot 1 header, or an ELF file with a PVH note.
 * @returns the registers of the boot processor.
 * @throws VmError ENOEXEC, ENOMEM or EINVAL naming file, field, value and what is accepted.
 */
export function loadKernel(source: BootSource, target: BootTarget): { readonly protocol: BootProtocol; readonly state: InitialState } {
  const { kernel } = source;
  if (isBzImage(kernel)) return { protocol: 'linux', state: loadLinux(source, target) };
  const header = multibootHeader(kernel);
  if (header !== undefined) return { protocol: 'multiboot', state: loadMultiboot(header, source, target) };
  if (isElf(kernel)) {
    const image = pvhImage(kernel);
    if (image !== undefined) return { protocol: 'pvh', state: loadPvh(image, source, target) };
    throw new VmError(
      'ENOEXEC',
      `${kernel.name}: an ELF file without entry for us: expected a Xen note of type 18 (PVH) or a multiboot header`,
    );
  }
  throw new VmError(
    'ENOEXEC',
    `${kernel.name}: unknown kernel format (${kernel.bytes.length} bytes): expected a Linux bzImage, an ELF file with a PVH note, or a multiboot 1 image`,
  );
}
