/**
 * `tshyve pull`: fetch guests into the cache.
 * Runs on: main event loop.
 */
import type { Log } from '../base/log.ts';
import { cacheFolder } from '../bhyve/index.ts';
import { parseCommandLine, type Command } from './command.ts';
import { createProgress, DEFAULT_GUEST, pullGuest, recipeOf, type Progress } from './guests/index.ts';
import { DEBIAN_RECIPES } from './guests/recipes.ts';

const HELP = `usage: tshyve pull [--mirror URL] [GUEST...]

Fetch guests, or newer packages of guests, into the cache, where 'tshyve run GUEST' finds them without network.
Without a name: ${DEFAULT_GUEST}.

guests:
${DEBIAN_RECIPES.map(({ name, description }) => `  ${name.padEnd(16)} ${description}\n`).join('')}
options:
  --mirror URL     Debian archive to take packages from, like http://deb.debian.org/debian;
                   its security archive is expected beside it (URL-security)
  --help           show this

environment:
  TSHYVE_DEBIAN_MIRROR              the same as --mirror
  XDG_CACHE_HOME                    the cache is $XDG_CACHE_HOME/tshyve, else ~/.cache/tshyve
  http_proxy, https_proxy, no_proxy as other programs use them; apt's own proxy settings count as well

Without --mirror, the first Debian archive in apt's sources of this machine is asked. Every file is verified: the release's
signature by Debian's archive keys, then the SHA-256 of the index and of each package.
`;

/** A log for a command: warnings and above, on the line above the progress bar. */
export function progressLog(progress: Progress): Log {
  const log: Log = {
    error: (message) => progress.line(message),
    warn: (message) => progress.line(message),
    info: (message) => progress.line(message),
    debug() {},
    named: () => log,
  };
  return log;
}

export const runPull: Command = async (args, io) => {
  const { values, positionals } = parseCommandLine('pull', args, { mirror: { type: 'string' }, help: { type: 'boolean', short: 'h' } });
  if (values.help) {
    io.stdout.write(HELP);
    return 0;
  }
  const names = positionals.length > 0 ? positionals : [DEFAULT_GUEST];
  for (const name of names) recipeOf(name); // all names are checked before the first is fetched
  for (const name of names) {
    const progress = createProgress(io.stderr);
    const guest = await pullGuest(name, { mirror: values.mirror, log: progressLog(progress), progress, env: io.env });
    io.stdout.write(`${name}: ${guest.description}, ${(guest.sizeBytes / 1e6).toFixed(1)} MB in ${cacheFolder(io.env)}\n`);
  }
  return 0;
};
