/**
 * Whether the modules and this program were built together: each module carries the id of its build, over all of them and the layouts.
 * Implements: scripts/build.mjs, which writes the ids. Runs on: any thread.
 */
import { BUILD_ID } from '../generated/build-id.ts';

export { BUILD_ID };

const SECTION = 'build-id';

/** @throws Error naming the first module of another build: they are being rebuilt, or were while this program started. */
export function checkBuild(modules: Readonly<Record<string, WebAssembly.Module>>): void {
  for (const [name, module] of Object.entries(modules)) {
    const [section] = WebAssembly.Module.customSections(module, SECTION);
    const id = section ? String.fromCharCode(...new Uint8Array(section)) : 'none';
    if (id !== BUILD_ID)
      throw new Error(
        `module ${name} is of build ${id.slice(0, 8)}, the program of ${BUILD_ID.slice(0, 8)}: built while this was starting; start again`,
      );
  }
}

/** Handler numbers by line and variant, which the module of the handlers brings along. */
export function manifestOf(handlers: WebAssembly.Module): Uint16Array {
  return new Uint16Array(WebAssembly.Module.customSections(handlers, 'manifest')[0] ?? new ArrayBuffer(0));
}
