/**
 * Files over HTTP, checked while they arrive.
 * Implements: RFC 9110 GET with redirects; proxies as apt and curl take them (http_proxy, https_proxy, no_proxy, Acquire::http::Proxy).
 * Runs on: main event loop. Not modelled: resumption: an interrupted file starts again.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { getCACertificates } from 'node:tls';
import { VmError } from '../../base/errors.ts';
import type { AptProxy } from './apt-config.ts';
import type { Progress } from './progress.ts';

export interface Expected {
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface DownloadRequest {
  readonly url: string;
  /** Shown to the user while it arrives. */
  readonly label: string;
  readonly maxBytes: number;
}

/** A server answered that it has no such file (404, 410): another mirror or another name may. */
export class NotFoundError extends VmError {
  constructor(message: string) {
    super('ENOENT', message);
  }
}

const MAX_REDIRECTS = 5;
const ATTEMPTS = 3;
/** Without a byte for this long a connection counts as dead. */
const STALL_MS = 20_000;

/** How many bytes the kernel's socket queue may fill before we look: keep the event loop free for progress and signals. */
const WRITE_BYTES = 1 << 20;

/** Downloads with one set of connections; disposing it ends what is still under way. */
export class Downloader implements Disposable {
  readonly #http: HttpAgent;
  readonly #proxyEnv: Record<string, string> = {};
  #https: HttpsAgent | undefined;
  readonly #progress: Progress;
  readonly #closed = new AbortController();
  readonly #signal: AbortSignal;

  constructor(options: { progress: Progress; proxy?: AptProxy; env?: NodeJS.ProcessEnv; signal?: AbortSignal | undefined }) {
    const { env = process.env, proxy = {} } = options;
    const direct = (value: string | undefined): string | undefined => (value === 'DIRECT' ? undefined : value);
    const proxyEnv = this.#proxyEnv;
    const httpProxy = direct(proxy.http) ?? env['http_proxy'];
    const httpsProxy = direct(proxy.https) ?? env['https_proxy'] ?? env['HTTPS_PROXY'];
    const noProxy = env['no_proxy'] ?? env['NO_PROXY'];
    if (httpProxy) proxyEnv['http_proxy'] = httpProxy;
    if (httpsProxy) proxyEnv['https_proxy'] = httpsProxy;
    if (noProxy) proxyEnv['no_proxy'] = noProxy;
    this.#http = new HttpAgent({ keepAlive: true, proxyEnv });
    this.#progress = options.progress;
    this.#signal = AbortSignal.any([this.#closed.signal, ...(options.signal ? [options.signal] : [])]);
  }

  [Symbol.dispose](): void {
    this.#closed.abort();
    this.#http.destroy();
    this.#https?.destroy();
  }

  /** Trusts what Node trusts and what this machine trusts: a mirror of a company may have the company's certificate. */
  #httpsAgent(): HttpsAgent {
    const ca = (): string[] => [...new Set([...getCACertificates('default'), ...getCACertificates('system')])];
    return (this.#https ??= new HttpsAgent({ keepAlive: true, proxyEnv: this.#proxyEnv, ca: ca() }));
  }

  /** @throws NotFoundError, or VmError EIO when the server cannot be reached, fails, or says too much */
  text(request: DownloadRequest): Promise<string> {
    return this.#retry(request, async (response, item) => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of this.#received(response, request, item)) chunks.push(chunk);
      return Buffer.concat(chunks).toString('utf8');
    });
  }

  /**
   * Bring a file to `path`, where it appears only when it is whole and is what was expected.
   * @throws NotFoundError; VmError EBADMSG when it is not what was expected; EIO as above
   */
  file(request: DownloadRequest, path: string, expected: Expected): Promise<void> {
    const part = `${path}.part.${process.pid}`;
    return this.#retry(request, async (response, item) => {
      const hash = createHash('sha256');
      let sizeBytes = 0;
      const received = this.#received(response, request, item);
      async function* checked(): AsyncGenerator<Uint8Array> {
        for await (const chunk of received) {
          hash.update(chunk);
          sizeBytes += chunk.length;
          yield chunk;
        }
      }
      try {
        await pipeline(checked, createWriteStream(part, { highWaterMark: WRITE_BYTES }));
        const sha256 = hash.digest('hex');
        if (sizeBytes !== expected.sizeBytes || sha256 !== expected.sha256) {
          throw new VmError(
            'EBADMSG',
            `${request.url}: not the file that the signed index names: ${sizeBytes} bytes, SHA-256 ${sha256}; expected ${expected.sizeBytes} bytes, ${expected.sha256}`,
          );
        }
        await rename(part, path);
      } catch (error) {
        await rm(part, { force: true });
        throw error;
      }
    });
  }

  async #retry<Result>(
    request: DownloadRequest,
    body: (response: IncomingMessage, item: ReturnType<Progress['begin']>) => Promise<Result>,
  ): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      let item: ReturnType<Progress['begin']> | undefined;
      try {
        const response = await this.#open(request.url, MAX_REDIRECTS);
        const sizeBytes = Number(response.headers['content-length']);
        item = this.#progress.begin(request.label, Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined);
        const result = await body(response, item);
        item.end();
        return result;
      } catch (cause) {
        item?.cancel();
        this.#signal.throwIfAborted();
        if (cause instanceof VmError) throw cause;
        if (attempt === ATTEMPTS || !isTransient(cause)) throw new VmError('EIO', `${request.url}: ${reasonOf(cause)}`, { cause });
      }
    }
  }

  async *#received(
    response: IncomingMessage,
    { url, maxBytes }: DownloadRequest,
    item: ReturnType<Progress['begin']>,
  ): AsyncGenerator<Uint8Array> {
    const length = response.headers['content-length'];
    let sizeBytes = 0;
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      sizeBytes += chunk.length;
      if (sizeBytes > maxBytes) throw new VmError('EFBIG', `${url}: more than ${maxBytes} bytes, which is no such file`);
      item.advance(chunk.length);
      yield chunk;
    }
    if (!response.complete || (length !== undefined && sizeBytes < Number(length))) {
      throw Object.assign(new Error(`the connection ended after ${sizeBytes} of ${length ?? 'unknown'} bytes`), { code: 'ECONNRESET' });
    }
  }

  #open(url: string, redirects: number): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const isHttps = url.startsWith('https:');
      const request = (isHttps ? httpsRequest : httpRequest)(url, {
        agent: isHttps ? this.#httpsAgent() : this.#http,
        headers: { 'user-agent': 'tshyve', accept: '*/*' },
        timeout: STALL_MS,
        signal: this.#signal,
      });
      request.on('timeout', () =>
        request.destroy(Object.assign(new Error(`no answer within ${STALL_MS / 1000} s`), { code: 'ETIMEDOUT' })),
      );
      request.on('error', reject);
      request.on('response', (response) => {
        const { statusCode = 0, statusMessage = '' } = response;
        if (statusCode === 200) return resolve(response);
        response.resume();
        const { location } = response.headers;
        if (statusCode >= 300 && statusCode < 400 && location !== undefined) {
          if (redirects === 0) return reject(new VmError('EIO', `${url}: more than ${MAX_REDIRECTS} redirections`));
          const target = new URL(location, url);
          if (!/^https?:$/.test(target.protocol))
            return reject(new VmError('EIO', `${url}: redirected to ${target.href}: expected http or https`));
          return resolve(this.#open(target.href, redirects - 1));
        }
        const message = `${url}: HTTP ${statusCode} ${statusMessage}`.trim();
        if (statusCode === 404 || statusCode === 410) return reject(new NotFoundError(message));
        if (statusCode >= 500 || statusCode === 429)
          return reject(Object.assign(new Error(`HTTP ${statusCode} ${statusMessage}`.trim()), { code: 'ECONNRESET' }));
        return reject(new VmError('EIO', message));
      });
      request.end();
    });
  }
}

const TRANSIENT = new Set(['ECONNRESET', 'ETIMEDOUT', 'EPIPE', 'EAI_AGAIN', 'ERR_STREAM_PREMATURE_CLOSE', 'UND_ERR_SOCKET']);

function isTransient(error: unknown): boolean {
  return error instanceof Error && TRANSIENT.has((error as NodeJS.ErrnoException).code ?? '');
}

/** Happy-eyeballs failures are AggregateErrors with an empty message. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return [...new Set(error.errors.map(reasonOf))].join('; ');
  return error instanceof Error ? error.message || ((error as NodeJS.ErrnoException).code ?? error.name) : String(error);
}
