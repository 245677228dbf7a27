/**
 * Where this machine gets its Debian packages from: apt's sources and proxy.
 * Implements: sources.list(5), one-line and deb822 style; apt.conf(5), the proxy options.
 * Runs on: main event loop. Not modelled: cdrom:, file:, mirror: and other methods than http and https; Proxy-Auto-Detect.
 */
import { readFile, readdir } from 'node:fs/promises';

/** One archive as a source names it, with the suites taken from it. */
export interface AptSource {
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
}

export interface AptProxy {
  readonly http?: string;
  readonly https?: string;
}

/** The two Debian archives a guest is made of, in order of preference. */
export interface DebianMirrors {
  readonly main: readonly string[];
  readonly security: readonly string[];
  /** Said to the user: where this choice comes from. */
  readonly from: string;
}

export const DEFAULT_MIRRORS: DebianMirrors = {
  main: ['http://deb.debian.org/debian'],
  security: ['http://deb.debian.org/debian-security'],
  from: "Debian's own mirror network",
};

const CODENAMES = 'bullseye|bookworm|trixie|forky|duke|sid|stable|oldstable|oldoldstable|testing|unstable';
const MAIN_SUITE = new RegExp(`^(${CODENAMES})(-updates|-backports)?$`);
const SECURITY_SUITE = new RegExp(`^(${CODENAMES})(-security|/updates)$`);

/** sources.list(5), one-line-style format: `deb [ option=value ] uri suite component...`. */
export function parseOneLineSources(text: string): AptSource[] {
  return text.split('\n').flatMap((line): AptSource[] => {
    const match = /^\s*deb\s+(?:\[[^\]]*\]\s*)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)\s*(?:#.*)?$/.exec(line);
    if (!match) return [];
    return [{ uri: withoutSlash(match[1]!), suites: [match[2]!], components: match[3]!.trim().split(/\s+/).filter(Boolean) }];
  });
}

/** sources.list(5), deb822-style format: stanzas of `Field: value`, continued by indented lines. */
export function parseDeb822Sources(text: string): AptSource[] {
  return parseStanzas(text).flatMap((stanza): AptSource[] => {
    const words = (field: string): string[] => (stanza.get(field) ?? '').split(/\s+/).filter(Boolean);
    if (!words('types').includes('deb') || /^(no|false|0)$/i.test(stanza.get('enabled')?.trim() ?? '')) return [];
    return words('uris').map((uri) => ({ uri: withoutSlash(uri), suites: words('suites'), components: words('components') }));
  });
}

/** deb822(5): stanzas between empty lines, each a map of lower-case field names. Lines that start with # are comments. */
export function parseStanzas(text: string): Map<string, string>[] {
  const stanzas: Map<string, string>[] = [];
  let stanza = new Map<string, string>();
  let field = '';
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const match = /^([^\s:]+):\s*(.*)$/.exec(line);
    if (line.trim() === '') {
      if (stanza.size > 0) stanzas.push(stanza);
      stanza = new Map();
      field = '';
    } else if (match) {
      field = match[1]!.toLowerCase();
      stanza.set(field, match[2]!.trimEnd());
    } else if (field !== '') {
      stanza.set(field, `${stanza.get(field)}\n${line.trim()}`);
    }
  }
  if (stanza.size > 0) stanzas.push(stanza);
  return stanzas;
}

/** Which of the sources are Debian's archive and its security archive; `undefined` when none is. */
export function debianMirrorsOf(sources: readonly AptSource[]): DebianMirrors | undefined {
  const pick = (suite: RegExp): string[] => {
    const fits = sources.filter(
      ({ uri, suites, components }) => /^https?:\/\//.test(uri) && components.includes('main') && suites.some((name) => suite.test(name)),
    );
    return [...new Set(fits.map(({ uri }) => uri))];
  };
  const main = pick(MAIN_SUITE);
  if (main.length === 0) return undefined;
  const security = pick(SECURITY_SUITE);
  return { main, security: security.length > 0 ? security : main.map(securityBeside), from: "this machine's apt sources" };
}

/** The mirror that the user names. Its security archive lies beside it: `.../debian` and `.../debian-security`. */
export function mirrorsAt(url: string): DebianMirrors {
  const uri = withoutSlash(url);
  return { main: [uri], security: [securityBeside(uri)], from: 'the mirror named' };
}

const securityBeside = (uri: string): string => `${uri}-security`;
const withoutSlash = (uri: string): string => uri.replace(/\/+$/, '');

/**
 * apt.conf(5): the values of `Acquire::http::Proxy` and `Acquire::https::Proxy`, in either notation; the last one counts.
 * Comments are `//`, `#` and slash-star.
 */
export function parseAptProxy(text: string): AptProxy {
  const proxy: { http?: string; https?: string } = {};
  const scopes: string[] = [];
  let words: string[] = [];
  const end = (): void => {
    const path = [...scopes, words[0] ?? ''].filter(Boolean).join('::').toLowerCase();
    const value = words[1];
    if (path === 'acquire::http::proxy' && value !== undefined) proxy.http = value;
    if (path === 'acquire::https::proxy' && value !== undefined) proxy.https = value;
    words = [];
  };
  for (const [token] of text.matchAll(/\/\/[^\n]*|#[^\n]*|\/\*[\s\S]*?\*\/|"[^"]*"|[{};]|[^\s{};"]+/g)) {
    if (token.startsWith('//') || token.startsWith('#') || token.startsWith('/*')) continue;
    if (token === '{') {
      scopes.push(words[0] ?? '');
      words = [];
    } else if (token === '}') {
      scopes.pop();
      words = [];
    } else if (token === ';') {
      end();
    } else {
      words.push(token.replace(/^"|"$/g, ''));
    }
  }
  return proxy;
}

/** The files of an apt configuration folder, in apt's order; a machine without apt has none. */
async function readAll(folder: string, extension: RegExp): Promise<{ name: string; text: string }[]> {
  const names = (await readdir(folder).catch(() => [] as string[])).filter((name) => extension.test(name)).toSorted();
  const files = await Promise.all(names.map(async (name) => ({ name, text: await readFile(`${folder}/${name}`, 'utf8').catch(() => '') })));
  return files.filter(({ text }) => text !== '');
}

/** @param etc apt's configuration folder. */
export async function readAptMirrors(etc = '/etc/apt'): Promise<DebianMirrors> {
  const files = [
    { name: 'sources.list', text: await readFile(`${etc}/sources.list`, 'utf8').catch(() => '') },
    ...(await readAll(`${etc}/sources.list.d`, /\.(list|sources)$/)),
  ];
  const sources = files.flatMap(({ name, text }) => (name.endsWith('.sources') ? parseDeb822Sources(text) : parseOneLineSources(text)));
  return debianMirrorsOf(sources) ?? DEFAULT_MIRRORS;
}

/** @param etc apt's configuration folder. */
export async function readAptProxy(etc = '/etc/apt'): Promise<AptProxy> {
  const files = [...(await readAll(`${etc}/apt.conf.d`, /^[\w.-]*$/)), { text: await readFile(`${etc}/apt.conf`, 'utf8').catch(() => '') }];
  return files.map(({ text }) => parseAptProxy(text)).reduce<AptProxy>((all, one) => ({ ...all, ...one }), {});
}
