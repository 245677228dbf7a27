/**
 * Guests made of Debian packages: a kernel and busybox, verified from the archive's signature down to each package's hash.
 * Implements: the Debian repository format; apt-secure(8).
 * Runs on: main event loop.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { Readable } from 'node:stream';
import { VmError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { DEFAULT_MIRRORS, mirrorsAt, readAptMirrors, readAptProxy, type DebianMirrors } from './apt-config.ts';
import { decompress, readDebFiles } from './deb.ts';
import { Downloader, NotFoundError } from './download.ts';
import { isFile, type GuestCache, type GuestImage } from './guest-cache.ts';
import { buildInitramfs, type KernelModule } from './initramfs.ts';
import { verifyRelease, type Release } from './openpgp-release.ts';
import { newest, readPackages, type Package } from './package-index.ts';
import type { Progress } from './progress.ts';
import { DEBIAN_RECIPES, type DebianRecipe } from './recipes.ts';

/**
 * A serial console; and no code against speculation attacks, which this CPU does not have: retpolines and page-table isolation only cost.
 */
export const DEBIAN_COMMAND_LINE = 'console=ttyS0 mitigations=off';

const MAX_INDEX_BYTES = 256 << 20;
const MAX_DEB_BYTES = 512 << 20;
const MAX_RELEASE_BYTES = 4 << 20;
const RECIPE_FOLDER = new URL('../../../guests/debian/', import.meta.url);

/** In a kernel package: the kernel, and what the ACPI power button needs where it is not built in. */
const KERNEL_FILES = {
  kernel: /^boot\/vmlinuz-/,
  button: /\/kernel\/drivers\/acpi\/button\.ko(\.\w+)?$/,
  evdev: /\/kernel\/drivers\/input\/evdev\.ko(\.\w+)?$/,
};

export interface PullOptions {
  /** URL of a Debian archive: `http://deb.debian.org/debian`. Default: the machine's own. */
  readonly mirror?: string | undefined;
  readonly log: Log;
  readonly progress: Progress;
  readonly signal?: AbortSignal | undefined;
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Armored public keys in place of Debian's; for tests. */
  readonly keys?: string | undefined;
  /** apt's configuration folder; for tests. */
  readonly aptFolder?: string | undefined;
}

/** One suite of one archive, verified. */
interface Suite {
  /** Root of the archive. */
  readonly uri: string;
  readonly name: string;
  readonly release: Release;
}

/** A package, and the archive it lies in. */
interface Offer extends Package {
  readonly uri: string;
}

/** The mirrors that `mirror`, the environment or apt's sources name. @throws VmError EINVAL for what is no http URL */
export async function chooseMirrors({
  mirror,
  env = process.env,
  aptFolder,
}: Pick<PullOptions, 'mirror' | 'env' | 'aptFolder'>): Promise<DebianMirrors> {
  const [named, flag] = mirror !== undefined ? [mirror, '--mirror'] : [env['TSHYVE_DEBIAN_MIRROR'], 'TSHYVE_DEBIAN_MIRROR'];
  if (named === undefined || named === '') return readAptMirrors(aptFolder);
  if (!URL.canParse(named) || !/^https?:$/.test(new URL(named).protocol)) {
    throw new VmError('EINVAL', `${flag}=${named}: expected the URL of a Debian archive, like ${DEFAULT_MIRRORS.main[0]}`);
  }
  return mirrorsAt(named);
}

const releaseUrl = (uri: string, suite: string): string => `${uri}/dists/${suite}/InRelease`;

/** For `tshyve doctor`: ask both archives for their signed Release files. @returns what was found, in a line @throws as pullDebian */
export async function checkMirror(options: PullOptions): Promise<string> {
  const mirrors = await chooseMirrors(options);
  const { env, signal, aptFolder, progress } = options;
  using downloader = new Downloader({ progress, proxy: await readAptProxy(aptFolder), signal, ...(env ? { env } : {}) });
  const suite = DEBIAN_RECIPES[0]!.suite;
  const wanted = [[mirrors.main[0]!, suite] as const, [mirrors.security[0]!, `${suite}-security`] as const];
  const keys = options.keys ?? (await readFile(new URL('archive-keys.asc', RECIPE_FOLDER), 'utf8'));
  for (const [uri, name] of wanted) {
    const url = releaseUrl(uri, name);
    await verifyRelease(await downloader.text({ url, label: name, maxBytes: MAX_RELEASE_BYTES }), keys, url);
  }
  return `${mirrors.main[0]} (${mirrors.from}): ${wanted.map(([, name]) => name).join(' and ')} answer, signatures good`;
}

/**
 * Fetch, verify and put together.
 * @throws VmError; nothing is stored by this function except verified package indexes
 */
export async function pullDebian(recipe: DebianRecipe, cache: GuestCache, options: PullOptions): Promise<GuestImage> {
  const { log, progress } = options;
  const mirrors = await chooseMirrors(options);
  const { env, signal, aptFolder } = options;
  using downloader = new Downloader({ progress, proxy: await readAptProxy(aptFolder), signal, ...(env ? { env } : {}) });
  const keys = options.keys ?? (await readFile(new URL('archive-keys.asc', RECIPE_FOLDER), 'utf8'));
  const archive = new Archive(downloader, cache, keys, log);

  const wanted = [recipe.kernel, 'busybox-static'];
  const suiteName = recipe.suite;
  const isMirrorNamed = (options.mirror ?? env?.['TSHYVE_DEBIAN_MIRROR'] ?? process.env['TSHYVE_DEBIAN_MIRROR'] ?? '') !== '';
  log.info(`packages come from ${mirrors.main[0]} (${mirrors.from})`);
  const found = await Promise.all([
    archive.offers(mirrors.main, suiteName, wanted),
    archive.offers(mirrors.security, `${suiteName}-security`, wanted).catch((error: unknown) => {
      // Only who names a mirror may have one without the security archive; otherwise a missing answer could hide a fix.
      if (!(isMirrorNamed && error instanceof NotFoundError)) throw error;
      log.warn(`${mirrors.security[0]}: no security archive beside the mirror named: its fixes are left out`);
      return [];
    }),
  ]);
  let offers = found.flat();
  if (recipe.backports && !newest(offers, recipe.kernel))
    offers = [...offers, ...(await archive.offers(mirrors.main, `${suiteName}-backports`, wanted))];
  const kernelPackage = kernelOf(recipe, offers, mirrors);
  const busyboxPackage = newest(offers, 'busybox-static') as Offer | undefined;
  if (!busyboxPackage) throw new VmError('ENOENT', `busybox-static: not in ${suiteName} of ${mirrors.main[0]}`);

  await using work = await cache.workFolder(recipe.name);
  const fetched = [archive.deb(kernelPackage, work.path), archive.deb(busyboxPackage, work.path)] as const;
  const [kernelDeb, busyboxDeb] = await Promise.all(fetched).catch(async (error: unknown) => {
    // The other one writes to the folder that is about to go.
    downloader[Symbol.dispose]();
    await Promise.allSettled(fetched);
    throw error;
  });
  progress.close();
  const [kernel, busybox] = await Promise.all([
    readDebFiles(kernelDeb, KERNEL_FILES),
    readDebFiles(busyboxDeb, { busybox: /^(usr\/)?bin\/busybox$/ }),
  ]);
  if (!kernel.kernel || !busybox.busybox) {
    throw new VmError(
      'EBADMSG',
      `${!kernel.kernel ? `${kernelPackage.name}: no boot/vmlinuz-*` : `${busyboxPackage.name}: no bin/busybox`} in the package`,
    );
  }
  const modules = await Promise.all(
    [kernel.button, kernel.evdev].filter((file) => file !== undefined).map(({ path, content }) => unpackModule(path, content)),
  );
  const init = await readFile(new URL('init', RECIPE_FOLDER), 'utf8');
  return {
    kernel: kernel.kernel.content,
    initrd: buildInitramfs({ busybox: busybox.busybox.content, init, modules }),
    commandLine: DEBIAN_COMMAND_LINE,
    description: `Debian ${recipe.suite}, ${kernelPackage.name.replace('linux-image-', 'Linux ')} (${kernelPackage.version})`,
    packages: { [kernelPackage.name]: kernelPackage.version, [busyboxPackage.name]: busyboxPackage.version },
  };
}

/** The kernel which the newest meta package depends on. */
function kernelOf(recipe: DebianRecipe, offers: readonly Offer[], mirrors: DebianMirrors): Offer {
  const meta = newest(offers, recipe.kernel);
  const name = meta?.depends.find((dependency) => /^linux-image-\d/.test(dependency));
  const kernel = name === undefined ? undefined : (newest(offers, name) as Offer | undefined);
  if (kernel) return kernel;
  const missing = name ?? recipe.kernel;
  throw new VmError(
    'ENOENT',
    `${recipe.name}: ${missing} is not in ${recipe.suite} or ${recipe.suite}-security of ${mirrors.main[0]} (${mirrors.from})`,
  );
}

async function unpackModule(path: string, content: Buffer): Promise<KernelModule> {
  const name = path.replace(/^.*\//, '').replace(/\.ko\.\w+$/, '.ko');
  if (path.endsWith('.zst')) return { name, content: zstdDecompressSync(content) };
  if (path.endsWith('.gz')) return { name, content: gunzipSync(content) };
  const chunks: Buffer[] = [];
  // Copied: the decompressor's chunks lie in its own memory.
  for await (const chunk of decompress(Readable.from([content]), path)) chunks.push(Buffer.from(chunk));
  return { name, content: Buffer.concat(chunks) };
}

/** The two archives over one downloader: what comes out of here has been verified. */
class Archive {
  readonly #downloader: Downloader;
  readonly #cache: GuestCache;
  readonly #keys: string;
  readonly #log: Log;

  constructor(downloader: Downloader, cache: GuestCache, keys: string, log: Log) {
    this.#downloader = downloader;
    this.#cache = cache;
    this.#keys = keys;
    this.#log = log;
  }

  /** What the first mirror that answers has in `suite`: the packages named, and every kernel, one of which a meta package will name. */
  async offers(uris: readonly string[], suiteName: string, names: readonly string[]): Promise<Offer[]> {
    const want = new RegExp(`^(${names.map((name) => name.replaceAll('.', '\\.')).join('|')}|linux-image-\\d.*-amd64)$`);
    const suite = await this.#firstAnswer(uris, suiteName);
    const index = await this.#index(suite);
    return (await readPackages(index, want)).map((found) => ({ ...found, uri: suite.uri }));
  }

  async #firstAnswer(uris: readonly string[], name: string): Promise<Suite> {
    const errors: unknown[] = [];
    for (const uri of uris) {
      try {
        const url = releaseUrl(uri, name);
        const text = await this.#downloader.text({ url, label: name, maxBytes: MAX_RELEASE_BYTES });
        const release = await verifyRelease(text, this.#keys, url);
        // A signed file of another suite is a valid signature on the wrong thing.
        if (![release.codename, release.suite].includes(name)) {
          throw new VmError('EBADMSG', `${url}: the signed file is about ${release.codename || release.suite}; expected ${name}`);
        }
        if (release.validUntil && release.validUntil < new Date()) {
          this.#log.warn(`${url}: was to be replaced by ${release.validUntil.toISOString().slice(0, 10)}: the mirror may be stale`);
        }
        return { uri, name, release };
      } catch (error) {
        errors.push(error);
      }
    }
    throw errors.find((error) => !(error instanceof NotFoundError)) ?? errors[0];
  }

  /** @returns path of the suite's list of packages, as the Release file names it. */
  async #index({ uri, name, release }: Suite): Promise<string> {
    // gzip is read by zlib at three times the speed of xz in wasm; the 30 % more bytes cost less.
    const path = ['gz', 'xz'].map((ending) => `main/binary-amd64/Packages.${ending}`).find((candidate) => release.files.has(candidate));
    if (path === undefined) throw new VmError('ENOENT', `${releaseUrl(uri, name)}: names no main/binary-amd64/Packages.gz or .xz`);
    const expected = release.files.get(path)!;
    const target = await this.#cache.listPath(`${name}_${path}`);
    if (await isFile(target, expected)) return target;
    const base = `${uri}/dists/${name}/`;
    const byHash = `${base}${path.replace(/[^/]+$/, '')}by-hash/SHA256/${expected.sha256}`;
    const request = { label: `${name} packages`, maxBytes: MAX_INDEX_BYTES };
    try {
      await this.#downloader.file({ ...request, url: release.byHash ? byHash : base + path }, target, expected);
    } catch (error) {
      if (!(release.byHash && error instanceof NotFoundError)) throw error;
      await this.#downloader.file({ ...request, url: base + path }, target, expected);
    }
    return target;
  }

  /** Bring a package into `folder`. */
  async deb(offer: Offer, folder: string): Promise<string> {
    const path = join(folder, `${offer.name}.deb`);
    const url = `${offer.uri}/${offer.path.split('/').map(encodeURIComponent).join('/')}`;
    await this.#downloader.file({ url, label: offer.name, maxBytes: MAX_DEB_BYTES }, path, offer);
    return path;
  }
}
