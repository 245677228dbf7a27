/**
 * libvmmapi for TypeScript: virtual machines by name, and typed handles on them and their vCPUs. The only door to vmm/.
 * Implements: bhyve-map 1.1 (names), 3.1, 3.7. Runs on: main event loop. Errors are VmErrors with errno names.
 */
import { VmError } from '../base/errors.ts';
import { Vm, type VmmHost, type VmOptions } from '../vmm/index.ts';

export * from '../vmm/index.ts';

/** What devfs leaves of a name: 229 bytes on FreeBSD 13 and later. */
export const MAX_NAME_BYTES = 229;

/** The VMs of one process: what /dev/vmm lists. */
export class Vmmapi {
  readonly #host: VmmHost;
  readonly #vms = new Map<string, Vm>();

  constructor(host: VmmHost) {
    this.#host = host;
  }

  /** @throws VmError EEXIST, EINVAL, ENAMETOOLONG, ENOMEM. */
  create(name: string, options: VmOptions = {}): Vm {
    checkName(name);
    if (this.#vms.has(name)) throw new VmError('EEXIST', `vm ${name}: exists already`);
    const vm = new Vm(name, this.#host, options);
    this.#vms.set(name, vm);
    return vm;
  }

  /** @throws VmError ENOENT. */
  open(name: string): Vm {
    const vm = this.#vms.get(name);
    if (vm === undefined) throw new VmError('ENOENT', `vm ${name}: there is none of that name`);
    return vm;
  }

  /** Open it, made new if it is not there, or put back to power-on if it is. @throws VmError ENOENT, EEXIST, EBUSY as the flags say. */
  openf(name: string, flags: { readonly create?: boolean; readonly reinit?: boolean }, options: VmOptions = {}): Vm {
    const present = this.#vms.get(name);
    if (present === undefined) {
      if (flags.create !== true) throw new VmError('ENOENT', `vm ${name}: there is none of that name`);
      return this.create(name, options);
    }
    if (flags.reinit === true) present.reinit();
    else if (flags.create === true) throw new VmError('EEXIST', `vm ${name}: exists already`);
    return present;
  }

  /** The name is free at once; the promise is settled when the VM's threads are gone. @throws VmError EINVAL when there is none. */
  async destroy(name: string): Promise<void> {
    const vm = this.#vms.get(name);
    if (vm === undefined) throw new VmError('EINVAL', `vm ${name}: there is none of that name`);
    this.#vms.delete(name);
    await vm.destroy();
  }

  names(): string[] {
    return [...this.#vms.keys()];
  }
}

function checkName(name: string): void {
  // eslint-disable-next-line no-control-regex -- control characters are what it looks for
  if (name === '' || name === '.' || name === '..' || /[/\u0000-\u001f\u007f]/.test(name)) {
    throw new VmError('EINVAL', `vm name '${name}': expected at least one character, no slash and no control character`);
  }
  if (new TextEncoder().encode(name).length > MAX_NAME_BYTES)
    throw new VmError('ENAMETOOLONG', `vm name '${name.slice(0, 20)}...': expected at most ${MAX_NAME_BYTES} bytes`);
}
