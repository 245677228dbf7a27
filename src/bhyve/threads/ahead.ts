/**
 * The threads beside the main one, and how they begin: a thread's program loads first, and what it is to work on comes as its first message.
 * So the first of each kind can be started before anybody knows what that will be, while the main thread is still loading itself.
 * Runs on: main event loop. Imports next to nothing: it is the first to be loaded.
 */
import { Worker, type ResourceLimits, type Transferable } from 'node:worker_threads';
import { withCompileCache } from './with-compile-cache.ts';

interface ThreadKind {
  readonly program: URL;
  readonly resourceLimits: ResourceLimits;
  /** Of the first one, as the host's tools show it. */
  readonly name: string;
}

const KINDS = {
  // What a vCPU's thread allocates stays (decoded code) or is tiny: the 32 MB that a young generation grows to would lie idle.
  vcpu: { program: new URL('../vcpu-worker.ts', import.meta.url), resourceLimits: { maxYoungGenerationSizeMb: 3 }, name: 'vcpu 0' },
  // What it allocates is nearly all short-lived: the larger, the fewer collections find something to copy.
  compiler: {
    program: new URL('../compiler-worker.ts', import.meta.url),
    resourceLimits: { maxYoungGenerationSizeMb: 16, maxOldGenerationSizeMb: 192 },
    name: 'compiler',
  },
} as const satisfies Readonly<Record<string, ThreadKind>>;

export type ThreadName = keyof typeof KINDS;

/** Started, and nobody's yet. */
const spares = new Map<ThreadName, Worker>();

/** Start a thread of each kind, for whoever asks first. A thread that fails while nobody has it is forgotten: its successor's error will show. */
export function startThreadsAhead(): void {
  for (const kind of Object.keys(KINDS) as ThreadName[]) {
    if (spares.has(kind)) continue;
    const thread = create(KINDS[kind]);
    spares.set(kind, thread);
    thread.unref();
    thread.once('error', () => spares.delete(kind));
  }
}

export interface ThreadRequest {
  /** What its program is given. */
  readonly init: unknown;
  readonly transfer?: readonly Transferable[];
  /** In place of the kind's own, which is the first one's. */
  readonly name?: string;
  /** In place of the kind's own, for tests. */
  readonly program?: URL | undefined;
}

/** A thread at work: the one that was started ahead, or a new one. */
export function takeThread(kind: ThreadName, { init, transfer = [], name, program }: ThreadRequest): Worker {
  const standard: ThreadKind = KINDS[kind],
    isStandard = program === undefined && (name ?? standard.name) === standard.name;
  let thread = isStandard ? spares.get(kind) : undefined;
  if (thread) {
    spares.delete(kind);
    thread.removeAllListeners('error');
    thread.ref();
  } else thread = create({ ...standard, ...(program && { program }), ...(name !== undefined && { name }) });
  thread.postMessage(init, transfer);
  return thread;
}

function create({ program, resourceLimits, name }: ThreadKind): Worker {
  // Console input and output belong to the main thread.
  return new Worker(withCompileCache(program), { name, resourceLimits });
}
