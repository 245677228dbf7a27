/**
 * How a thread's program is started.
 * Runs on: main event loop.
 */

/**
 * The compile cache is on before the first of the program's own sources is loaded: else, where the environment does not ask for it, Node
 * loads its TypeScript compiler for that one. A bundle is JavaScript already.
 */
export const withCompileCache = (program: URL): URL =>
  program.pathname.endsWith('.ts')
    ? new URL(
        `data:text/javascript,${encodeURIComponent(`
          import { enableCompileCache } from 'node:module';
          enableCompileCache();
          await import(${JSON.stringify(program.href)});`)}`,
      )
    : program;
