/**
 * Events in the intinfo format, and what becomes of two that meet.
 * Implements: bhyve-map 3.5 (vm_entry_intinfo); SDM vol. 3A 6.15 Table 6-5 Conditions for Generating a Double Fault. Runs on: any thread.
 */
import { VmError } from '../base/errors.ts';

export const INTINFO_VALID = 1n << 31n,
  INTINFO_ERROR_VALID = 1n << 11n;
const TYPE_MASK = 0x700n,
  RESERVED = 0x7fff_f000n;
export const INTINFO_TYPE = { hwintr: 0n << 8n, nmi: 2n << 8n, exception: 3n << 8n, swintr: 4n << 8n } as const;

const DF = 8,
  NMI_VECTOR = 2n;
const CONTRIBUTORY: ReadonlySet<number> = new Set([0, 10, 11, 12, 13]); // #DE #TS #NP #SS #GP
const PAGE_FAULTS: ReadonlySet<number> = new Set([14, 20]); // #PF #VE

export interface ExceptionInfo {
  readonly vector: number;
  /** Absent: the exception pushes none. */
  readonly error?: number;
}

export function exceptionIntinfo({ vector, error }: ExceptionInfo): bigint {
  const info = BigInt(vector) | INTINFO_TYPE.exception | INTINFO_VALID;
  return error === undefined ? info : info | INTINFO_ERROR_VALID | (BigInt(error >>> 0) << 32n);
}

/** @throws VmError EINVAL for reserved bits, an unknown type, an NMI of another vector than 2 or an exception above 31. */
export function checkIntinfo(info: bigint): bigint {
  if ((info & INTINFO_VALID) === 0n) return 0n;
  const type = info & TYPE_MASK,
    vector = info & 0xffn;
  const isBad =
    (info & RESERVED) !== 0n ||
    !(Object.values(INTINFO_TYPE) as bigint[]).includes(type) ||
    (type === INTINFO_TYPE.nmi && vector !== NMI_VECTOR) ||
    (type === INTINFO_TYPE.exception && vector >= 32n);
  if (isBad)
    throw new VmError(
      'EINVAL',
      `intinfo 0x${info.toString(16)}: expected no reserved bits, type 0, 2, 3 or 4, vector 2 for an NMI and below 32 for an exception`,
    );
  return info;
}

function classOf(info: bigint): 'benign' | 'contributory' | 'pagefault' {
  if ((info & TYPE_MASK) !== INTINFO_TYPE.exception) return 'benign';
  const vector = Number(info & 0xffn);
  return PAGE_FAULTS.has(vector) ? 'pagefault' : CONTRIBUTORY.has(vector) ? 'contributory' : 'benign';
}

/**
 * What is injected at the next entry.
 * @param inDelivery the event that was being delivered when the vCPU left, or 0.
 * @param exception the exception that was injected since, or 0.
 * @returns the event (0: none), or 'triple-fault'.
 */
export function entryIntinfo(inDelivery: bigint, exception: bigint): bigint | 'triple-fault' {
  if ((inDelivery & INTINFO_VALID) === 0n) return exception;
  if ((exception & INTINFO_VALID) === 0n) return inDelivery;
  if ((inDelivery & (TYPE_MASK | 0xffn)) === (INTINFO_TYPE.exception | BigInt(DF))) return 'triple-fault';
  const first = classOf(inDelivery),
    second = classOf(exception);
  if ((first === 'contributory' && second === 'contributory') || (first === 'pagefault' && second !== 'benign'))
    return exceptionIntinfo({ vector: DF, error: 0 });
  return exception;
}
