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
import type { Asked, KeptRegion, KeptRegions } from './kept-regions.ts';
import { ModuleBatch, ModuleRoom } from './module-batch.ts';

/** What a turn of the vCPU's thread may take: V8's time goes by the byte, that of a look-up by the pages that are compared. A region that does not fit is the last one. */
const MAX_BYTES = 96 * 1024,
  MAX_LOOKUPS = 64;
/** Of most modules. */
const ROOM_BYTES = 192 * 1024;

export class KeptPlacer {
  readonly #window: CodeWindow;
  readonly #hints: Hints;
  readonly #covered = new CoveredPlaces();
  readonly #nowMs: () => number;
  readonly #newBatch: () => ModuleBatch;
  #batch: ModuleBatch;
  /** Since the last module. */
  #lookups = 0;

  constructor(memory0: ArrayBufferLike, memory1: WebAssembly.Memory, nowNs: () => number) {
    this.#nowMs = () => nowNs() / 1e6;
    const ram = ramBytes(memory1),
      ramIndex = ramIndexOf(ram.buffer.byteLength),
      room = new ModuleRoom(ROOM_BYTES);
    this.#window = new CodeWindow(ram);
    this.#hints = new Hints(memory0);
    this.#newBatch = () => new ModuleBatch(ramIndex, room);
    this.#batch = this.#newBatch();
  }

  /** Does another region hold the entry? The next time it does not count. */
  putsOff({ hvaPage, offset, mode }: Asked): boolean {
    return this.#covered.take(hvaPage, offset, mode);
  }

  /** Has a turn done enough? */
  get isFull(): boolean {
    return this.#lookups >= MAX_LOOKUPS || this.#batch.sizeBytes >= MAX_BYTES;
  }

  /** @param takeSlot is asked where there is one for the code that is there now. @returns it, or undefined */
  add(kept: KeptRegions, entry: Asked, takeSlot: () => number): KeptRegion | undefined {
    this.#lookups++;
    const window = this.#window.openFor(entry, this.#hints),
      region = kept.find(entry, window);
    if (!region) return undefined;
    addKept(this.#batch, region, takeSlot(), window);
    this.#covered.add(region.blocks, window, entry.mode);
    return region;
  }

  /** All that were added since the last time, if there are any. */
  finish(): CompiledModule | undefined {
    this.#lookups = 0;
    if (this.#batch.isEmpty) return undefined;
    const module = this.#batch.finish(this.#nowMs);
    this.#batch = this.#newBatch();
    return module;
  }
}
