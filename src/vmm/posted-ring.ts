/**
 * Consumer of posted writes: takes what vCPUs put into the ring and hands it to the device models, in order.
 * Implements: POSTED in state.ts (the producers are vmm/assembly/posted.ts). Runs on: main event loop; sleeps in Atomics.waitAsync.
 * Order towards synchronous exits: whoever answers an exit calls drainAll() first, since the vCPU posted before it exited.
 */
import { POSTED_RING } from '../base/memory-map.ts';
import { POSTED_ENTRIES, POSTED_MEMORY, POSTED_SIZE_SHIFT, POSTED_VCPU_SHIFT } from './layout.ts';
import { POSTED, POSTED_ENTRY } from './state.ts';

/** Hot: nothing is allocated per write. Handlers must not throw; what a guest writes is never a reason to. */
export interface PostedSink {
  writePort(port: number, sizeBytes: number, value: number, vcpu: number): void;
  /** The value comes as two unsigned halves of 32 bits. */
  writeMemory(gpa: number, sizeBytes: number, low: number, high: number, vcpu: number): void;
}

/** Between two turns of the event loop at most this many: an unbounded drain would hold it for as long as a guest writes. */
const BATCH = 512;
const LAP_SHIFT = Math.log2(POSTED_ENTRIES);
const PHASE = 0x80000000;

export class PostedRing {
  readonly #words: Int32Array;
  readonly #sink: PostedSink;
  readonly #yield: () => Promise<void>;
  readonly #head = (POSTED_RING + POSTED.offset.head) >> 2;
  readonly #tail = (POSTED_RING + POSTED.offset.tail) >> 2;
  readonly #asleep = (POSTED_RING + POSTED.offset.asleep) >> 2;
  readonly #signal = (POSTED_RING + POSTED.offset.signal) >> 2;
  readonly #due = (POSTED_RING + POSTED.offset.due) >> 2;
  readonly #entries = (POSTED_RING + POSTED.offset.entries) >> 2;
  #closed = false;

  /** @param yieldTurn lets the event loop have a turn. */
  constructor(memory0: WebAssembly.Memory, sink: PostedSink, yieldTurn: () => Promise<void>) {
    this.#words = new Int32Array(memory0.buffer);
    this.#sink = sink;
    this.#yield = yieldTurn;
  }

  /**
   * Hand over at most `limit` writes.
   * @returns how many. A slot that is reserved and not yet filled ends the drain: its vCPU is about to fill it.
   */
  drain(limit: number = BATCH): number {
    const words = this.#words;
    let done = 0;
    while (done < limit) {
      // Read anew each time: a sink that had to stop a vCPU may have drained too (Vm.setRelief).
      const tail = Atomics.load(words, this.#tail);
      if (tail === Atomics.load(words, this.#head)) break;
      const entry = this.#entries + (tail & (POSTED_ENTRIES - 1)) * (POSTED_ENTRY.sizeBytes >> 2);
      const control = Atomics.load(words, entry + (POSTED_ENTRY.offset.control >> 2));
      const phase = ((tail >>> LAP_SHIFT) & 1) === 0 ? PHASE : 0;
      if ((control & PHASE) >>> 0 !== phase) break;
      const address = words[entry + (POSTED_ENTRY.offset.address >> 2)]! >>> 0;
      const low = words[entry + (POSTED_ENTRY.offset.value >> 2)]! >>> 0,
        high = words[entry + (POSTED_ENTRY.offset.value >> 2) + 1]! >>> 0;
      // The slot is free from here on, also when the sink should fail.
      Atomics.store(words, this.#tail, (tail + 1) | 0);
      done++;
      const sizeBytes = (control >>> POSTED_SIZE_SHIFT) & 15,
        vcpu = (control >>> POSTED_VCPU_SHIFT) & 63;
      if ((control & POSTED_MEMORY) !== 0) this.#sink.writeMemory((control & 0xfffff) * 2 ** 32 + address, sizeBytes, low, high, vcpu);
      else this.#sink.writePort(address, sizeBytes, low, vcpu);
    }
    if (done > 0) {
      Atomics.store(words, this.#due, 0); // that was for what is out now
      Atomics.notify(words, this.#tail);
    }
    return done;
  }

  /** Everything posted before this call and filled in: at most one ring. */
  drainAll(): void {
    let left = (Atomics.load(this.#words, this.#head) - Atomics.load(this.#words, this.#tail)) | 0;
    while (left > 0) {
      const done = this.drain(left);
      if (done === 0) return;
      left -= done;
    }
  }

  /** Serve the ring until close(). */
  async run(): Promise<void> {
    const words = this.#words;
    while (!this.#closed) {
      this.drain();
      if (!this.#empty()) {
        await this.#yield();
        continue;
      }
      const seen = Atomics.load(words, this.#signal);
      Atomics.store(words, this.#asleep, 1);
      // A vCPU that posted before it could see us asleep does not wake us.
      if (!this.#empty() || this.#closed) {
        Atomics.store(words, this.#asleep, 0);
        continue;
      }
      const wait = Atomics.waitAsync(words, this.#signal, seen);
      if (wait.async) await wait.value;
    }
  }

  close(): void {
    this.#closed = true;
    Atomics.add(this.#words, this.#signal, 1);
    Atomics.notify(this.#words, this.#signal);
  }

  #empty(): boolean {
    return Atomics.load(this.#words, this.#head) === Atomics.load(this.#words, this.#tail);
  }
}
