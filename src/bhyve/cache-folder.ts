/**
 * Where a user's caches are.
 * Implements: XDG Base Directory Specification ($XDG_CACHE_HOME). Runs on: main event loop.
 */
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { escapeValue, type ConfigTree } from './config/tree.ts';

/** $XDG_CACHE_HOME/tshyve; a value that is not absolute is to be ignored, says the specification. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const base = env['XDG_CACHE_HOME'];
  return join(base !== undefined && isAbsolute(base) ? base : join(env['HOME'] || homedir(), '.cache'), 'tshyve');
}

/** Compiled code is kept there, unless the configuration says where else, or nowhere. */
export function keepCode(tree: ConfigTree, env: NodeJS.ProcessEnv): void {
  if (tree.get('cpu.codestore') === undefined) tree.set('cpu.codestore', escapeValue(join(cacheFolder(env), 'code')));
}
