/**
 * fw_cfg: items that firmware and test guests read by number, files by name.
 * Implements: QEMU docs/specs/fw_cfg.rst (selector and data ports); bhyve-map 2.3. Runs on: main event loop.
 * Not modelled: the DMA interface (its bit in the id is clear), writes to items.
 */
import { VmError } from '../../base/errors.ts';
import { schema, u16, u32, type StateOf } from '../../base/schema.ts';
import type { PortHandler } from '../inout.ts';
import type { StatefulDevice } from './device.ts';

const KEY_SIGNATURE = 0,
  KEY_ID = 1,
  KEY_CPUS = 5,
  KEY_MAX_CPUS = 0x0f,
  KEY_DIRECTORY = 0x19,
  KEY_FIRST_FILE = 0x20;
const KEY_MASK = 0x3fff,
  ARCHITECTURE_LOCAL = 0x8000;
const NAME_BYTES = 56;
const MAX_FILES = 0x1000;

export const FWCFG_STATE = schema('qemu-fwcfg', 1, {
  selector: u16({ doc: 'selected item' }),
  position: u32({ doc: 'next byte of it' }),
});

const le = (value: number, sizeBytes: number): Uint8Array =>
  Uint8Array.from({ length: sizeBytes }, (_unused, index) => Math.floor(value / 2 ** (8 * index)));

export class QemuFwcfg implements StatefulDevice, PortHandler {
  readonly schema = FWCFG_STATE;
  readonly state: StateOf<typeof FWCFG_STATE> = FWCFG_STATE.fresh();
  readonly #items = new Map<number, Uint8Array>();
  readonly #files: { readonly name: string; readonly key: number; readonly bytes: Uint8Array }[] = [];

  constructor(cpus: number) {
    this.#items.set(KEY_SIGNATURE, new TextEncoder().encode('QEMU'));
    this.#items.set(KEY_ID, le(1, 4));
    this.#items.set(KEY_CPUS, le(cpus, 2));
    this.#items.set(KEY_MAX_CPUS, le(cpus, 2));
    this.#updateDirectory();
  }

  /** @throws VmError ENAMETOOLONG, EEXIST or ENOSPC: all from the configuration, never from the guest. */
  addFile(name: string, bytes: Uint8Array): void {
    if (new TextEncoder().encode(name).length >= NAME_BYTES)
      throw new VmError('ENAMETOOLONG', `fw_cfg file '${name}': expected a name of at most ${NAME_BYTES - 1} bytes`);
    if (this.#files.some((file) => file.name === name))
      throw new VmError('EEXIST', `fw_cfg file '${name}': there is one of that name already`);
    if (this.#files.length >= MAX_FILES) throw new VmError('ENOSPC', `fw_cfg file '${name}': expected at most ${MAX_FILES} files`);
    const key = KEY_FIRST_FILE + this.#files.length;
    this.#files.push({ name, key, bytes });
    this.#items.set(key, bytes);
    this.#updateDirectory();
  }

  reset(): void {
    FWCFG_STATE.reset(this.state);
  }

  /** A word at offset 0 selects, a byte at offset 1 reads on. */
  read(offset: number, sizeBytes: number): number | undefined {
    if (offset !== 1 || sizeBytes !== 1) return undefined;
    const { state } = this;
    const item = (state.selector & ARCHITECTURE_LOCAL) !== 0 ? undefined : this.#items.get(state.selector & KEY_MASK);
    if (item === undefined || state.position >= item.length) return 0;
    return item[state.position++];
  }

  write(offset: number, sizeBytes: number, value: number): boolean {
    if (offset === 0 && sizeBytes === 2) {
      this.state.selector = value;
      this.state.position = 0;
      return true;
    }
    return offset === 1 && sizeBytes === 1; // items are read-only: data writes are dropped
  }

  /** Count and sizes are big-endian, entries sorted by name. */
  #updateDirectory(): void {
    const files = this.#files.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    const directory = new Uint8Array(4 + files.length * (8 + NAME_BYTES));
    const view = new DataView(directory.buffer);
    view.setUint32(0, files.length);
    files.forEach((file, index) => {
      const at = 4 + index * (8 + NAME_BYTES);
      view.setUint32(at, file.bytes.length);
      view.setUint16(at + 4, file.key);
      directory.set(new TextEncoder().encode(file.name), at + 8);
    });
    this.#items.set(KEY_DIRECTORY, directory);
  }
}
