/**
 * fwctl: bhyve's own mailbox for its firmware, with one variable, hw.ncpu.
 * Implements: bhyve-map 2.3 (fwctl); tests follow FreeBSD-SA-18:14 and SA-23:07. Runs on: main event loop.
 * Not modelled: the operation "set" (no variable can be set).
 *
 *   IDENT (word 0 written: byte reads give BHYV) --dword--> REQUEST header (size type id), data --last dword--> RESPONSE --> REQUEST
 */
import type { Log } from '../../base/log.ts';
import { bytes, schema, u8, type StateOf } from '../../base/schema.ts';
import type { PortHandler } from '../inout.ts';
import type { StatefulDevice } from './device.ts';

const PHASE_IDENT = 1,
  PHASE_REQUEST = 2,
  PHASE_RESPONSE = 3;
const OP_NULL = 1,
  OP_ECHO = 2,
  OP_GET = 3,
  OP_GET_LENGTH = 4;
const HEADER_BYTES = 12;
const MAX_STRING_BYTES = 80;
const MAX_REQUEST_BYTES = HEADER_BYTES + MAX_STRING_BYTES;
const REPLY_HEADER_BYTES = 16;
const ENOENT = 2,
  EINVAL_CODE = 22,
  E2BIG = 7;
const SIGNATURE = [0x42, 0x48, 0x59, 0x56] as const;

export const FWCTL_STATE = schema('fwctl', 1, {
  phase: u8({ doc: '0 waits for IDENT, 1 gives it, 2 takes a request, 3 gives the response' }),
  position: u8({ doc: 'next byte of IDENT or of the response' }),
  request: bytes({ maxBytes: MAX_REQUEST_BYTES + 3, doc: 'what has come of the request' }),
  response: bytes({ maxBytes: REPLY_HEADER_BYTES + MAX_REQUEST_BYTES + 3, doc: 'what is being read' }),
});

export class Fwctl implements StatefulDevice, PortHandler {
  readonly schema = FWCTL_STATE;
  readonly state: StateOf<typeof FWCTL_STATE> = FWCTL_STATE.fresh();
  readonly #variables: ReadonlyMap<string, Uint8Array>;
  readonly #log: Log;

  constructor(cpus: number, log: Log) {
    this.#variables = new Map([['hw.ncpu', words(cpus)]]);
    this.#log = log;
  }

  reset(): void {
    FWCTL_STATE.reset(this.state);
  }

  /** Offset 0 is the dword data port (and the word that resets), offset 1 the byte port of IDENT. */
  read(offset: number, sizeBytes: number): number | undefined {
    const { state } = this;
    if (offset === 1 && sizeBytes === 1 && state.phase === PHASE_IDENT) {
      const value = SIGNATURE[state.position] ?? 0;
      if (++state.position === SIGNATURE.length) state.phase = PHASE_REQUEST;
      return value;
    }
    if (offset !== 0 || sizeBytes !== 4) return undefined;
    if (state.phase !== PHASE_RESPONSE) return 0xffff_ffff;
    const view = new DataView(state.response.buffer, state.response.byteOffset, state.response.byteLength);
    const value = view.getUint32(state.position, true);
    state.position += 4;
    if (state.position >= state.response.length) {
      state.phase = PHASE_REQUEST;
      state.position = 0;
      state.response = new Uint8Array();
    }
    return value;
  }

  write(offset: number, sizeBytes: number, value: number): boolean {
    if (offset !== 0) return false;
    const { state } = this;
    if (sizeBytes === 2 && value === 0) {
      FWCTL_STATE.reset(state);
      state.phase = PHASE_IDENT;
      return true;
    }
    if (sizeBytes !== 4) return false;
    if (state.phase !== PHASE_REQUEST) {
      this.#log.debug(`request word 0x${value.toString(16)} out of turn: dropped`);
      return true;
    }
    const longer = new Uint8Array(state.request.length + 4);
    longer.set(state.request);
    longer.set(words(value), state.request.length);
    state.request = longer;
    const sizeField = readWord(longer, 0);
    if (sizeField < HEADER_BYTES || sizeField > MAX_REQUEST_BYTES) {
      this.#respond(0, 0, sizeField < HEADER_BYTES ? EINVAL_CODE : E2BIG, new Uint8Array());
    } else if (longer.length >= sizeField) this.#handle(longer.subarray(0, sizeField));
    return true;
  }

  #handle(request: Uint8Array): void {
    const operation = readWord(request, 4),
      id = readWord(request, 8);
    const data = request.slice(HEADER_BYTES);
    switch (operation) {
      case OP_NULL:
        return this.#respond(operation, id, 0, new Uint8Array());
      case OP_ECHO:
        return this.#respond(operation, id, 0, data);
      case OP_GET:
      case OP_GET_LENGTH: {
        const end = data.indexOf(0);
        const name = new TextDecoder().decode(end < 0 ? data : data.subarray(0, end));
        const variable = this.#variables.get(name);
        if (variable === undefined) return this.#respond(operation, id, ENOENT, new Uint8Array());
        return this.#respond(operation, id, 0, operation === OP_GET ? variable : words(variable.length));
      }
      default:
        return this.#respond(operation, id, ENOENT, new Uint8Array());
    }
  }

  #respond(operation: number, id: number, error: number, data: Uint8Array): void {
    const { state } = this;
    const response = new Uint8Array(REPLY_HEADER_BYTES + Math.ceil(data.length / 4) * 4);
    [REPLY_HEADER_BYTES + data.length, operation, id, error].forEach((word, index) => {
      response.set(words(word), index * 4);
    });
    response.set(data, REPLY_HEADER_BYTES);
    state.response = response;
    state.request = new Uint8Array();
    state.phase = PHASE_RESPONSE;
    state.position = 0;
  }
}

function words(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
}

function readWord(from: Uint8Array, at: number): number {
  return new DataView(from.buffer, from.byteOffset, from.byteLength).getUint32(at, true);
}
