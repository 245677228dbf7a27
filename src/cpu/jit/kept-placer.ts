/**
 * Puts kept regions in their place: on the vCPU's thread, at once. Looking one up and writing its numbers anew takes a fraction of the time in
 * which tier 0 executes what another thread would need to answer.
 * Implements: docs/jit.md "Kept regions". Runs on: the vCPU's thread.
 */
import { ramBytes, ramIndexOf } from '../guest-ram.ts';
import { CodeWindow } from './code-window.ts';
import type { CompiledModule } from './compilation.ts';
import { CoveredPlaces } from './covered.ts';
import { Hints } from './hints.ts';
import { addKept } from './kept-regions.ts';
import type { Asked, KeptRegions } from './kept-regions.ts';
import { ModuleBatch } from './module-batch.ts';

export class KeptPlacer {
  readonly #window: CodeWindow;
  readonly #hints: Hints;
  readonly #covered = new CoveredPlaces();
  readonly #newBatch: () => ModuleBatch;
  #batch: ModuleBatch;

  constructor(memory0: ArrayBufferLike, memory1: WebAssembly.Memory) {
    const ram = ramBytes(memory1),
      ramIndex = ramIndexOf(ram.buffer.byteLength);
    this.#window = new CodeWindow(ram);
    this.#hints = new Hints(memory0);
    this.#newBatch = () => new ModuleBatch(ramIndex);
    this.#batch = this.#newBatch();
  }

  /** Does another region hold the entry? The next time it does not count. */
  putsOff({ hvaPage, offset, mode }: Asked): boolean {
    return this.#covered.take(hvaPage, offset, mode);
  }

  /** @param takeSlot is asked where there is one for the code that is there now. @returns the region's place in the table, or undefined */
  add(kept: KeptRegions, entry: Asked, takeSlot: () => number): number | undefined {
    const window = this.#window.openFor(entry, this.#hints),
      region = kept.find(entry, window);
    if (!region) return undefined;
    const slot = takeSlot();
    addKept(this.#batch, region, slot, window);
    this.#covered.add(region.blocks, window, entry.mode);
    return slot;
  }

  /** All that were added since the last time, if there are any. */
  finish(): CompiledModule | undefined {
    if (this.#batch.isEmpty) return undefined;
    const module = this.#batch.finish();
    this.#batch = this.#newBatch();
    return module;
  }
}
