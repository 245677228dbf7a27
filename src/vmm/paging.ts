/**
 * Translation of linear addresses for the owner: vm_gla2gpa and its variant without side effects.
 * Implements: SDM vol. 3A 4.3 32-Bit Paging, 4.4 PAE Paging, 4.5 4-Level Paging, 4.6 Access Rights, 4.7 Page-Fault Exceptions; bhyve-map 3.6.
 * Runs on: whoever holds the vCPU. The processor's own walk is cpu/assembly/paging.ts; this one serves debugger and instruction emulation.
 */
import { PAGE_BYTES } from '../base/memory-map.ts';

export type PagingMode = 'flat' | '32' | 'pae' | '64';

export interface Paging {
  readonly mode: PagingMode;
  readonly cr3: bigint;
  readonly cpl: number;
  readonly wp: boolean;
  readonly pse: boolean;
  readonly nxe: boolean;
  readonly smep: boolean;
  /** CR4.SMAP with RFLAGS.AC clear. */
  readonly smap: boolean;
}

export interface GuestAccess {
  readonly write?: boolean;
  readonly exec?: boolean;
}

/** One aligned table entry of guest RAM; undefined outside RAM. */
export interface EntryMemory {
  load(gpa: number, sizeBytes: 4 | 8): bigint | undefined;
  /** @returns false when the entry no longer was `expected`. */
  exchange(gpa: number, sizeBytes: 4 | 8, expected: bigint, value: bigint): boolean;
}

export type Translation =
  | { readonly gpa: number; readonly pageBytes: number }
  /** A page fault of this error code (`#PF`), or a non-canonical address (`#GP`). */
  | { readonly fault: 'pf' | 'gp'; readonly error: number };

const P = 1n,
  W = 2n,
  U = 4n,
  A = 0x20n,
  D = 0x40n,
  PS = 0x80n,
  NX = 1n << 63n;
const ADDRESS = 0x000f_ffff_ffff_f000n;
const PF_P = 1,
  PF_W = 2,
  PF_U = 4,
  PF_RSVD = 8,
  PF_I = 16;
/** MAXPHYADDR of CPUID 80000008h. */
const PHYSICAL_BITS = 46n;

interface Level {
  readonly shift: bigint;
  readonly indexBits: bigint;
  readonly largeAllowed: boolean;
}

const LEVELS: Readonly<Record<Exclude<PagingMode, 'flat'>, { readonly entryBytes: 4 | 8; readonly levels: readonly Level[] }>> = {
  '32': {
    entryBytes: 4,
    levels: [
      { shift: 22n, indexBits: 10n, largeAllowed: true },
      { shift: 12n, indexBits: 10n, largeAllowed: false },
    ],
  },
  pae: {
    entryBytes: 8,
    levels: [
      { shift: 30n, indexBits: 2n, largeAllowed: false },
      { shift: 21n, indexBits: 9n, largeAllowed: true },
      { shift: 12n, indexBits: 9n, largeAllowed: false },
    ],
  },
  '64': {
    entryBytes: 8,
    levels: [
      { shift: 39n, indexBits: 9n, largeAllowed: false },
      { shift: 30n, indexBits: 9n, largeAllowed: true },
      { shift: 21n, indexBits: 9n, largeAllowed: true },
      { shift: 12n, indexBits: 9n, largeAllowed: false },
    ],
  },
};

/**
 * @param effects false: nothing is changed and no access right is checked (the debugger's view); true: as an access of the guest,
 * accessed and dirty bits included.
 */
export function translate(paging: Paging, gla: bigint, access: GuestAccess, memory: EntryMemory, effects: boolean): Translation {
  for (let attempt = 0; attempt < 16; attempt++) {
    const result = walkOnce(paging, gla, access, memory, effects);
    if (result !== 'retry') return result;
  }
  return { fault: 'pf', error: 0 };
}

function walkOnce(paging: Paging, gla: bigint, access: GuestAccess, memory: EntryMemory, effects: boolean): Translation | 'retry' {
  const user = paging.cpl === 3;
  const error = (access.write === true ? PF_W : 0) | (user ? PF_U : 0) | (access.exec === true && (paging.nxe || paging.smep) ? PF_I : 0);
  const linear = BigInt.asUintN(paging.mode === '64' ? 64 : 32, gla);
  if (paging.mode === 'flat') return { gpa: Number(linear), pageBytes: PAGE_BYTES };
  if (paging.mode === '64' && BigInt.asUintN(64, BigInt.asIntN(48, linear)) !== linear) return { fault: 'gp', error: 0 };

  const { entryBytes, levels } = LEVELS[paging.mode];
  let table = paging.mode === 'pae' ? paging.cr3 & 0xffff_ffe0n : paging.cr3 & ADDRESS;
  let writable = true,
    userPage = true,
    executable = true;
  const visited: { gpa: number; entry: bigint }[] = [];
  for (const [depth, level] of levels.entries()) {
    const index = (linear >> level.shift) & ((1n << level.indexBits) - 1n);
    const entryGpa = Number(table + index * BigInt(entryBytes));
    const entry = memory.load(entryGpa, entryBytes);
    if (entry === undefined || (entry & P) === 0n) return { fault: 'pf', error };
    const isPdpte = paging.mode === 'pae' && depth === 0;
    const isLast = depth === levels.length - 1;
    const isLarge = !isLast && level.largeAllowed && (entry & PS) !== 0n && (entryBytes === 8 || paging.pse);
    if (isReserved(entry, level, paging, { entryBytes, isLarge, isLast, isPdpte })) return { fault: 'pf', error: error | PF_RSVD | PF_P };
    if (!isPdpte) {
      writable &&= (entry & W) !== 0n;
      userPage &&= (entry & U) !== 0n;
      if (entryBytes === 8 && paging.nxe) executable &&= (entry & NX) === 0n;
      visited.push({ gpa: entryGpa, entry });
    }
    if (!isLarge && !isLast) {
      table = entryBytes === 8 ? entry & ADDRESS : entry & 0xffff_f000n;
      continue;
    }
    const offsetMask = (1n << level.shift) - 1n;
    // 4 MiB pages: bits 13-20 of the entry are address bits 32-39 (PSE-36).
    const frame =
      entryBytes === 8
        ? entry & ADDRESS & ~offsetMask
        : isLarge
          ? (entry & 0xffc0_0000n) | (((entry >> 13n) & 0xffn) << 32n)
          : entry & 0xffff_f000n;
    if (effects) {
      const supervisorMayNot = !user && userPage && ((access.exec === true && paging.smep) || (access.exec !== true && paging.smap));
      const denied =
        (user && !userPage) ||
        supervisorMayNot ||
        (access.exec === true && !executable) ||
        (access.write === true && !writable && (user || paging.wp));
      if (denied) return { fault: 'pf', error: error | PF_P };
      for (const [position, { gpa, entry: old }] of visited.entries()) {
        const dirty = access.write === true && position === visited.length - 1 ? D : 0n;
        const wanted = old | A | dirty;
        if (wanted !== old && !memory.exchange(gpa, entryBytes, old, wanted)) return 'retry';
      }
    }
    return { gpa: Number(frame | (linear & offsetMask)), pageBytes: Number(offsetMask) + 1 };
  }
  return { fault: 'pf', error };
}

interface EntryKind {
  readonly entryBytes: 4 | 8;
  readonly isLarge: boolean;
  readonly isLast: boolean;
  readonly isPdpte: boolean;
}

/** SDM vol. 3A Tables 4-5, 4-8 to 4-11, 4-15 to 4-19: bits that must be 0. */
function isReserved(entry: bigint, level: Level, paging: Paging, { entryBytes, isLarge, isLast, isPdpte }: EntryKind): boolean {
  if (entryBytes === 4) return isLarge && (entry & (1n << 21n)) !== 0n;
  if ((entry & ADDRESS) >> PHYSICAL_BITS !== 0n) return true;
  if (isPdpte) return (entry & (0x1e6n | (0x7ffn << 52n) | NX)) !== 0n;
  if ((entry & NX) !== 0n && !paging.nxe) return true;
  if (paging.mode === 'pae' && (entry & (0x7ffn << 52n)) !== 0n) return true;
  if (isLarge) return (entry & ((1n << level.shift) - 1n) & ~0x1fffn) !== 0n;
  return !isLast && !level.largeAllowed && (entry & PS) !== 0n;
}
