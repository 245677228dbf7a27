/**
 * Page walks: no paging, 32-bit, PAE and 4-level paging, with accessed and dirty bits.
 * Implements: SDM vol. 3A 4.3 32-Bit Paging, 4.4 PAE Paging, 4.5 4-Level Paging, 4.6 Access Rights, 4.7 Page-Fault Exceptions, 4.8 Accessed and Dirty Flags.
 * Runs on: the vCPU's own thread. Not modelled: protection keys, CET, 5-level paging (CPUID offers none).
 */
import { CODE_PAGES_ENTRIES, PROTECTION_READ, PROTECTION_WRITE, VCPU_CODE_PAGES, VCPU_WALK_CACHE, WALK_CACHE_ENTRIES, WALK_CACHE_ENTRY_BYTES } from '../../base/memory-map.ts';
import { VCPU_CR0, VCPU_CR3, VCPU_CR4, VCPU_EFER, VCPU_PDPTE, VCPU_WALK_ERROR, VCPU_WALK_GENERATION } from '../../generated/vcpu-layout.ts';
import { CR0_PG, CR0_WP, CR4_PAE, CR4_PGE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_NXE, PHYSICAL_ADDRESS_BITS } from './bits';
import { findRange, rangeHva, rangeProtection } from './guest-map';
import { ramCas32, ramCas64, ramLoad32, ramLoad64 } from './imports';

/** What a walk is for. */
export const ACCESS_READ: u32 = 0, ACCESS_WRITE: u32 = 1, ACCESS_FETCH: u32 = 2;
/** Who asks. An explicit supervisor access with RFLAGS.AC set may touch user pages under SMAP. */
export const WHO_SUPERVISOR: u32 = 0, WHO_SUPERVISOR_AC: u32 = 1, WHO_USER: u32 = 2;
/** Result of a walk: the page's guest-physical address with these bits in its low part; or WALK_FAULT. */
export const PAGE_READ: u64 = 1, PAGE_WRITE: u64 = 2, PAGE_EXEC: u64 = 4, PAGE_DIRTY: u64 = 8, PAGE_GLOBAL: u64 = 16, PAGE_LARGE: u64 = 32, PAGE_HUGE: u64 = 64;
export const WALK_FAULT: u64 = 0xffffffffffffffff;

export const PF_PRESENT: u32 = 1, PF_WRITE: u32 = 2, PF_USER: u32 = 4, PF_RESERVED: u32 = 8, PF_FETCH: u32 = 16;

const P: u64 = 1, RW: u64 = 2, US: u64 = 4, A: u64 = 0x20, D: u64 = 0x40, PS: u64 = 0x80, G: u64 = 0x100, XD: u64 = 0x8000000000000000;
const ADDRESS: u64 = ((<u64>1 << PHYSICAL_ADDRESS_BITS) - 1) & ~<u64>0xfff;
const BEYOND: u64 = ((<u64>1 << 52) - 1) & ~((<u64>1 << PHYSICAL_ADDRESS_BITS) - 1);

/** A paging-structure entry; where nothing is mapped, the bus reads all ones. */
export function readEntry64(gpa: u64): u64 {
  const range = findRange(gpa, 8);
  return range != 0 && (rangeProtection(range) & PROTECTION_READ) != 0 ? ramLoad64(rangeHva(range, gpa)) : 0xffffffffffffffff;
}

function readEntry32(gpa: u64): u32 {
  const range = findRange(gpa, 4);
  return range != 0 && (rangeProtection(range) & PROTECTION_READ) != 0 ? ramLoad32(rangeHva(range, gpa)) : 0xffffffff;
}

/** Set `bits` in an entry that still is `old`. @returns false when another vCPU changed it: walk again. */
function mark64(gpa: u64, old: u64, bits: u64): bool {
  if ((old & bits) == bits) return true;
  const range = findRange(gpa, 8);
  if (range == 0 || (rangeProtection(range) & PROTECTION_WRITE) == 0) return true;
  return ramCas64(rangeHva(range, gpa), old, old | bits) == old;
}

function mark32(gpa: u64, old: u32, bits: u32): bool {
  if ((old & bits) == bits) return true;
  const range = findRange(gpa, 4);
  if (range == 0 || (rangeProtection(range) & PROTECTION_WRITE) == 0) return true;
  return ramCas32(rangeHva(range, gpa), old, old | bits) == old;
}

function fail(vcpu: usize, access: u32, who: u32, bits: u32): u64 {
  // SDM 4.7: the I/D flag is reported only where execution can be refused.
  const reportsFetch = (load<u64>(vcpu, VCPU_CR4) & CR4_SMEP) != 0 || ((load<u64>(vcpu, VCPU_EFER) & EFER_NXE) != 0 && (load<u64>(vcpu, VCPU_CR4) & CR4_PAE) != 0);
  store<u32>(vcpu, bits | (access == ACCESS_WRITE ? PF_WRITE : 0) | (who == WHO_USER ? PF_USER : 0) | (access == ACCESS_FETCH && reportsFetch ? PF_FETCH : 0), VCPU_WALK_ERROR);
  return WALK_FAULT;
}

/** SDM 4.6.1: rights of a page whose entries, ANDed, are `all` (RW, US) and where `noExecute` is the OR of the XD bits. */
function rightsOf(vcpu: usize, all: u64, noExecute: bool, who: u32): u64 {
  const cr4 = load<u64>(vcpu, VCPU_CR4), user = (all & US) != 0;
  if (who == WHO_USER) return user ? PAGE_READ | (all & RW ? PAGE_WRITE : 0) | (noExecute ? 0 : PAGE_EXEC) : 0;
  let rights: u64 = 0;
  if (!user || (cr4 & CR4_SMAP) == 0 || who == WHO_SUPERVISOR_AC) rights = PAGE_READ | ((all & RW) != 0 || (load<u64>(vcpu, VCPU_CR0) & CR0_WP) == 0 ? PAGE_WRITE : 0);
  if (!noExecute && (!user || (cr4 & CR4_SMEP) == 0)) rights |= PAGE_EXEC;
  return rights;
}

function allowed(rights: u64, access: u32): bool { return (rights & ((<u64>1) << access)) != 0; }

/**
 * Translate the page of a linear address.
 * @param linear canonical; 32 bits outside long mode.
 * @param marks false: leave accessed and dirty bits alone (the debugger's look).
 * @returns page | PAGE_* bits, or WALK_FAULT with the error code in walkError.
 */
export function walk(vcpu: usize, linear: u64, access: u32, who: u32, marks: bool): u64 {
  if ((load<u64>(vcpu, VCPU_CR0) & CR0_PG) == 0) return (linear & 0xfffff000) | PAGE_READ | PAGE_WRITE | PAGE_EXEC | PAGE_DIRTY;
  // Another vCPU may change an entry between our read and our mark; it then goes through again.
  const wide = (load<u64>(vcpu, VCPU_CR4) & CR4_PAE) != 0;
  let result: u64 = 0;
  while (result == 0) result = wide ? walkWide(vcpu, linear, access, who, marks) : walk32(vcpu, linear, access, who, marks);
  return result;
}

// --- cache of the levels above the page tables (SDM 4.10.3 Paging-Structure Caches) ---

/** Empty it: whatever invalidates translations invalidates this (SDM 4.10.4.1). */
export function walkCacheFlush(vcpu: usize): void {
  const generation = load<u32>(vcpu, VCPU_WALK_GENERATION) + 1;
  store<u32>(vcpu, generation, VCPU_WALK_GENERATION);
  // Tags of 2^32 flushes ago must not come back to life.
  if (generation == 0) {
    memory.fill(vcpu + VCPU_CODE_PAGES, 0, CODE_PAGES_ENTRIES * 32);
    walkCacheInitialize(vcpu);
  }
}

export function walkCacheInitialize(vcpu: usize): void {
  memory.fill(vcpu + VCPU_WALK_CACHE, 0, WALK_CACHE_ENTRIES * WALK_CACHE_ENTRY_BYTES);
  store<u32>(vcpu, 1, VCPU_WALK_GENERATION);
}

function cacheSlot(vcpu: usize, linear: u64): usize {
  return vcpu + VCPU_WALK_CACHE + (<usize>((linear >> 21) ^ (linear >> 30)) & (WALK_CACHE_ENTRIES - 1)) * WALK_CACHE_ENTRY_BYTES;
}

/** 27 bits say which 2 MiB of 48 they are; bit 31 tells a tag from an empty slot. */
function cacheTag(vcpu: usize, linear: u64): u64 { return ((linear >> 21) & 0x7ffffff) | 0x80000000 | (<u64>load<u32>(vcpu, VCPU_WALK_GENERATION) << 32); }

/** A walk that needs the page table alone. @returns 0: nothing cached, or it is not this simple (a fault comes from a whole walk only) */
function walkCached(vcpu: usize, linear: u64, access: u32, who: u32): u64 {
  const slot = cacheSlot(vcpu, linear);
  if (load<u64>(slot) != cacheTag(vcpu, linear)) return 0;
  const at = load<u64>(slot, 8) + ((linear >> 9) & 0xff8), leaf = ramLoad64(at), noExecuteOn = (load<u64>(vcpu, VCPU_EFER) & EFER_NXE) != 0;
  if ((leaf & P) == 0 || (leaf & (BEYOND | (noExecuteOn ? 0 : XD))) != 0) return 0;
  const rights = rightsOf(vcpu, leaf & load<u64>(slot, 16), noExecuteOn && ((leaf | load<u64>(slot, 24)) & XD) != 0, who);
  if (!allowed(rights, access)) return 0;
  const marks = A | (access == ACCESS_WRITE ? D : 0);
  if ((leaf & marks) != marks && ramCas64(at, leaf, leaf | marks) != leaf) return 0;
  return (leaf & ADDRESS) | rights | ((leaf | marks) & D ? PAGE_DIRTY : 0) | ((leaf & G) != 0 && (load<u64>(vcpu, VCPU_CR4) & CR4_PGE) != 0 ? PAGE_GLOBAL : 0);
}

/** PAE and 4-level paging. @returns 0: an entry changed meanwhile. */
function walkWide(vcpu: usize, linear: u64, access: u32, who: u32, marks: bool): u64 {
  const efer = load<u64>(vcpu, VCPU_EFER), noExecuteOn = (efer & EFER_NXE) != 0, long = (efer & EFER_LMA) != 0;
  const reserved: u64 = BEYOND | (noExecuteOn ? 0 : XD) | (long ? 0 : 0x7ff0000000000000);
  if (long && marks) {
    const found = walkCached(vcpu, linear, access, who);
    if (found != 0) return found;
  }
  let at4: u64 = 0, entry4: u64 = 0, at3: u64 = 0, entry3: u64 = 0, all: u64 = RW | US, any: u64 = 0, table: u64, page: u64, size: u64 = 0, leafAt: u64, leaf: u64, above: u64 = 0, anyAbove: u64 = 0;
  if (long) {
    at4 = (load<u64>(vcpu, VCPU_CR3) & ADDRESS) + ((linear >> 36) & 0xff8);
    entry4 = readEntry64(at4);
    if ((entry4 & P) == 0) return fail(vcpu, access, who, 0);
    if (entry4 & (reserved | PS)) return fail(vcpu, access, who, PF_PRESENT | PF_RESERVED);
    all &= entry4; any |= entry4;
    at3 = (entry4 & ADDRESS) + ((linear >> 27) & 0xff8);
    entry3 = readEntry64(at3);
    if ((entry3 & P) == 0) return fail(vcpu, access, who, 0);
    if (entry3 & (reserved | ((entry3 & PS) != 0 ? <u64>0x3fffe000 : 0))) return fail(vcpu, access, who, PF_PRESENT | PF_RESERVED);
    all &= entry3; any |= entry3;
    table = entry3 & ADDRESS;
  } else {
    // PDPTEs were checked when they were loaded (SDM 4.4.1); they carry no rights.
    const pdpte = load<u64>(vcpu + <usize>((linear >> 30) & 3) * 8, VCPU_PDPTE);
    if ((pdpte & P) == 0) return fail(vcpu, access, who, 0);
    table = pdpte & ADDRESS;
  }
  let at2: u64 = 0, entry2: u64 = 0;
  if (long && (entry3 & PS) != 0) {
    leafAt = at3; leaf = entry3; size = PAGE_LARGE | PAGE_HUGE;
    page = (entry3 & ADDRESS & ~<u64>0x3fffffff) | (linear & 0x3ffff000);
  } else {
    at2 = table + ((linear >> 18) & 0xff8);
    entry2 = readEntry64(at2);
    if ((entry2 & P) == 0) return fail(vcpu, access, who, 0);
    if (entry2 & (reserved | ((entry2 & PS) != 0 ? <u64>0x1fe000 : 0))) return fail(vcpu, access, who, PF_PRESENT | PF_RESERVED);
    all &= entry2; any |= entry2;
    if (entry2 & PS) {
      leafAt = at2; leaf = entry2; size = PAGE_LARGE;
      page = (entry2 & ADDRESS & ~<u64>0x1fffff) | (linear & 0x1ff000);
    } else {
      leafAt = (entry2 & ADDRESS) + ((linear >> 9) & 0xff8);
      leaf = readEntry64(leafAt);
      if ((leaf & P) == 0) return fail(vcpu, access, who, 0);
      if (leaf & reserved) return fail(vcpu, access, who, PF_PRESENT | PF_RESERVED);
      above = all; anyAbove = any;
      all &= leaf; any |= leaf;
      page = leaf & ADDRESS;
    }
  }
  const rights = rightsOf(vcpu, all, noExecuteOn && (any & XD) != 0, who);
  if (!allowed(rights, access)) return fail(vcpu, access, who, PF_PRESENT);
  let dirty = leaf & D;
  if (marks) {
    if (long && leafAt != at4 && !mark64(at4, entry4, A)) return 0;
    if (long && leafAt != at3 && !mark64(at3, entry3, A)) return 0;
    if (at2 != 0 && leafAt != at2 && !mark64(at2, entry2, A)) return 0;
    if (access == ACCESS_WRITE) dirty = D;
    if (!mark64(leafAt, leaf, A | dirty)) return 0;
    // The entries above are marked as accessed by now, as what is cached must be.
    if (long && size == 0) remember(vcpu, linear, leafAt & ~<u64>0xfff, above, anyAbove);
  }
  return page | rights | size | (dirty ? PAGE_DIRTY : 0) | ((leaf & G) != 0 && (load<u64>(vcpu, VCPU_CR4) & CR4_PGE) != 0 ? PAGE_GLOBAL : 0);
}

function remember(vcpu: usize, linear: u64, table: u64, above: u64, anyAbove: u64): void {
  const range = findRange(table, 4096);
  if (range == 0 || (rangeProtection(range) & (PROTECTION_READ | PROTECTION_WRITE)) != (PROTECTION_READ | PROTECTION_WRITE)) return;
  const slot = cacheSlot(vcpu, linear);
  store<u64>(slot, cacheTag(vcpu, linear));
  store<u64>(slot, rangeHva(range, table), 8);
  store<u64>(slot, above, 16);
  store<u64>(slot, anyAbove, 24);
}

/** 32-bit paging. @returns 0: an entry changed meanwhile. */
function walk32(vcpu: usize, linear: u64, access: u32, who: u32, marks: bool): u64 {
  const cr4 = load<u64>(vcpu, VCPU_CR4), at2 = (load<u64>(vcpu, VCPU_CR3) & 0xfffff000) + ((linear >> 20) & 0xffc);
  const entry2 = readEntry32(at2);
  if ((entry2 & 1) == 0) return fail(vcpu, access, who, 0);
  let all: u64 = (RW | US) & entry2, page: u64, size: u64 = 0, leafAt = at2, leaf = entry2;
  if ((entry2 & <u32>PS) != 0 && (cr4 & CR4_PSE) != 0) {
    if (entry2 & 0x200000) return fail(vcpu, access, who, PF_PRESENT | PF_RESERVED);
    size = PAGE_LARGE;
    page = (<u64>(entry2 & 0xffc00000)) | ((<u64>(entry2 & 0x1fe000)) << 19) | (linear & 0x3ff000);   // PSE-36
  } else {
    leafAt = <u64>(entry2 & 0xfffff000) + ((linear >> 10) & 0xffc);
    leaf = readEntry32(leafAt);
    if ((leaf & 1) == 0) return fail(vcpu, access, who, 0);
    all &= leaf;
    page = leaf & 0xfffff000;
  }
  const rights = rightsOf(vcpu, all, false, who);
  if (!allowed(rights, access)) return fail(vcpu, access, who, PF_PRESENT);
  let dirty = leaf & <u32>D;
  if (marks) {
    if (leafAt != at2 && !mark32(at2, entry2, <u32>A)) return 0;
    if (access == ACCESS_WRITE) dirty = <u32>D;
    if (!mark32(leafAt, leaf, <u32>A | dirty)) return 0;
  }
  return page | rights | size | (dirty ? PAGE_DIRTY : 0) | ((leaf & <u32>G) != 0 && (cr4 & CR4_PGE) != 0 ? PAGE_GLOBAL : 0);
}

/**
 * Load the four PAE page-directory-pointer-table entries from where `cr3` points.
 * @returns false when one has a reserved bit set: the caller raises #GP(0) (SDM 4.4.1); then nothing has changed.
 */
export function loadPdptes(vcpu: usize, cr3: u64): bool {
  const table = cr3 & 0xffffffe0;
  const first = readEntry64(table), second = readEntry64(table + 8), third = readEntry64(table + 16), fourth = readEntry64(table + 24);
  if (!pdpteIsGood(first) || !pdpteIsGood(second) || !pdpteIsGood(third) || !pdpteIsGood(fourth)) return false;
  store<u64>(vcpu, first, VCPU_PDPTE);
  store<u64>(vcpu + 8, second, VCPU_PDPTE);
  store<u64>(vcpu + 16, third, VCPU_PDPTE);
  store<u64>(vcpu + 24, fourth, VCPU_PDPTE);
  return true;
}

function pdpteIsGood(entry: u64): bool {
  return (entry & P) == 0 || (entry & (0x1e6 | ~(((<u64>1) << PHYSICAL_ADDRESS_BITS) - 1))) == 0;
}

/**
 * The debugger's translation: changes nothing and raises nothing.
 * @returns guest-physical address, or all ones.
 */
export function peekTranslate(vcpu: usize, linear: u64): u64 {
  const page = walk(vcpu, linear, ACCESS_READ, WHO_SUPERVISOR_AC, false);
  return page == WALK_FAULT ? page : (page & ~<u64>0xfff) | (linear & 0xfff);
}
