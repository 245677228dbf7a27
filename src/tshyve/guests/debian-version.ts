/**
 * Order of Debian package versions.
 * Implements: Debian Policy 5.6.12 (deb-version(7)): epoch, upstream version, revision; `~` sorts before the end.
 * Runs on: any thread.
 */

/** @returns negative, 0 or positive as `a` is older than, the same as, or newer than `b`. */
export function compareDebianVersions(a: string, b: string): number {
  const [epochA, upstreamA, revisionA] = split(a);
  const [epochB, upstreamB, revisionB] = split(b);
  return epochA - epochB || comparePart(upstreamA, upstreamB) || comparePart(revisionA, revisionB);
}

function split(version: string): [epoch: number, upstream: string, revision: string] {
  const colon = version.indexOf(':');
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  return [colon < 0 ? 0 : Number(version.slice(0, colon)), dash < 0 ? rest : rest.slice(0, dash), dash < 0 ? '' : rest.slice(dash + 1)];
}

/** Runs of other characters and runs of digits, in turn; letters before the rest, `~` before everything and before the end. */
function comparePart(a: string, b: string): number {
  const runsA = runsOf(a);
  const runsB = runsOf(b);
  for (let i = 0; i < Math.max(runsA.length, runsB.length); i++) {
    const x = runsA[i] ?? '';
    const y = runsB[i] ?? '';
    const order = i % 2 === 1 ? compareNumbers(x, y) : compareText(x, y);
    if (order !== 0) return order;
  }
  return 0;
}

/** Other characters first, possibly none. */
function runsOf(text: string): string[] {
  const runs: string[] = text.match(/\d+|\D+/g) ?? [];
  return /^\d/.test(text) ? ['', ...runs] : runs;
}

function compareNumbers(x: string, y: string): number {
  const a = x.replace(/^0+/, '');
  const b = y.replace(/^0+/, '');
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

function compareText(x: string, y: string): number {
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const order = weight(x[i]) - weight(y[i]);
    if (order !== 0) return order;
  }
  return 0;
}

function weight(character: string | undefined): number {
  if (character === '~') return -1;
  if (character === undefined) return 0;
  return /[A-Za-z]/.test(character) ? character.charCodeAt(0) : character.charCodeAt(0) + 256;
}
