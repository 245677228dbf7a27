/**
 * Guests by name: what `tshyve run NAME`, `pull` and `list` know.
 * Runs on: main event loop.
 */
import { VmError } from '../../base/errors.ts';
import { cacheFolder } from '../../bhyve/index.ts';
import type { PullOptions } from './debian.ts';
import { GuestCache, type CachedGuest } from './guest-cache.ts';
import { DEBIAN_RECIPES, type DebianRecipe } from './recipes.ts';

export { createProgress, silentProgress, type Progress } from './progress.ts';
export type { PullOptions } from './debian.ts';

/** What a loader needs to boot a guest. */
export interface Guest {
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly commandLine: string;
  readonly description: string;
}

export interface GuestListing {
  readonly name: string;
  readonly description: string;
  /** What is in the cache, if it has been pulled. */
  readonly cached: CachedGuest | undefined;
}

export const DEFAULT_GUEST = DEBIAN_RECIPES[0]!.name;

/** Names which mean another. */
const ALIASES: Readonly<Record<string, string>> = {
  'debian:6.1': 'debian',
  'debian:12': 'debian',
  'debian:bookworm': 'debian',
  'debian:cloud': 'debian',
  'debian:trixie': 'debian:13',
};

/** @throws VmError ENOENT for an unknown name */
export function recipeOf(name: string): DebianRecipe {
  const recipe = DEBIAN_RECIPES.find((known) => known.name === (ALIASES[name] ?? name));
  if (!recipe) throw new VmError('ENOENT', `guest '${name}': expected one of ${DEBIAN_RECIPES.map((known) => known.name).join(', ')}`);
  return recipe;
}

/**
 * The guest's files, from the cache, without network; pulled first when they are not there.
 * @throws VmError ENOENT for an unknown name; EIO, EBADMSG and others when it cannot be pulled
 */
export async function ensureGuest(name: string, options: PullOptions): Promise<Guest> {
  const recipe = recipeOf(name);
  const cache = new GuestCache(cacheFolder(options.env));
  return (await cache.find(recipe.name)) ?? (await pull(recipe, cache, options, false));
}

/** Like ensureGuest, but asks the mirror for newer packages even when there is a cached guest. A failure leaves that one alone. */
export async function pullGuest(name: string, options: PullOptions): Promise<CachedGuest> {
  return pull(recipeOf(name), new GuestCache(cacheFolder(options.env)), options, true);
}

function pull(recipe: DebianRecipe, cache: GuestCache, options: PullOptions, isForced: boolean): Promise<CachedGuest> {
  const waiting = (owner: number): void => options.progress.line(`${recipe.name}: waiting for process ${owner}, which is pulling it`);
  return cache.locked(recipe.name, waiting, options.signal, async () => {
    const already = isForced ? undefined : await cache.find(recipe.name);
    if (already) return already;
    // Loaded only now: a guest that is in the cache starts without network code.
    const { pullDebian } = await import('./debian.ts');
    try {
      await cache.store(recipe.name, await pullDebian(recipe, cache, options));
    } finally {
      options.progress.close();
    }
    const guest = await cache.find(recipe.name);
    if (!guest) throw new VmError('EIO', `${cacheFolder(options.env)}: ${recipe.name} does not read back as it was written`);
    return guest;
  });
}

/** Every known guest, and what of it is in the cache. */
export function listGuests(env?: NodeJS.ProcessEnv): Promise<GuestListing[]> {
  const cache = new GuestCache(cacheFolder(env));
  return Promise.all(DEBIAN_RECIPES.map(async ({ name, description }) => ({ name, description, cached: await cache.find(name) })));
}
