/**
 * The software TLBs: fill, log, flush, and which of them the present access class uses.
 * Implements: memory-map.ts "TLB entry"; SDM vol. 3A 4.10 Caching Translation Information.
 * Runs on: the vCPU's own thread. PCIDs are not told apart: every load of CR3 drops the non-global entries, which the SDM allows.
 */
import {
  CODE_LINES, CODE_LINES_BYTES, CODE_PAGES_ENTRIES, COUNTER_TLB_MISS, FETCH_CLASS_BYTES, FETCH_PROOF_MODE_SHIFT, FETCH_PROOF_STEP, PAGE_BYTES, PROTECTION_EXEC, PROTECTION_READ, PROTECTION_WRITE, TLB_ADDEND, TLB_BYTES, TLB_CLASSES, TLB_ENTRIES, TLB_ENTRY_BYTES,
  TLB_EXEC, TLB_LOG_ENTRIES, TLB_READ, TLB_WRITE, VCPU_CODE_PAGES, VCPU_FETCH_CLASSES, VCPU_FETCH_PROOF, VCPU_TLB, VCPU_TLB_LOGS,
} from '../../base/memory-map.ts';
import {
  VCPU_COUNTERS, VCPU_CPL, VCPU_CR0, VCPU_CR4, VCPU_DR, VCPU_EFER, VCPU_MODE, VCPU_RFLAGS, VCPU_SEG_ACCESS, VCPU_STACK_MASK, VCPU_TLB as VCPU_TLB_FIELD, VCPU_TLB_GLOBAL_LOG_COUNT,
  VCPU_TLB_LARGE, VCPU_TLB_LOG_COUNT, VCPU_TRANSLATED_GPA, VCPU_WALK_GENERATION,
} from '../../generated/vcpu-layout.ts';
import { ACCESS_DB, ACCESS_L, CR0_AM, CR0_EM, CR0_TS, CR4_OSFXSR, CR4_SMAP, EFER_LMA, SEG_CS, SEG_SS } from './bits';
import { raisePf, raiseUd } from './faults';
import { findRange, rangeHva, rangeProtection } from './guest-map';
import { ACCESS_FETCH, ACCESS_WRITE, PAGE_DIRTY, PAGE_EXEC, PAGE_GLOBAL, PAGE_HUGE, PAGE_LARGE, PAGE_READ, PAGE_WRITE, WALK_FAULT, WHO_SUPERVISOR, WHO_SUPERVISOR_AC, WHO_USER, walk, walkCacheFlush, walkCacheInitialize } from './paging';

/** Entries in a log of filled slots; a count above it says that the log overflowed. */
const LOG_ENTRIES: u32 = TLB_LOG_ENTRIES;
const LARGE_BYTES: usize = 36 * 8;
const FILLED_CLASSES: u32 = 3, CLASS_SLOW: u32 = 3;
const NEVER: u64 = 0xffffffffffffffff;
const RFLAGS_AC: u64 = 0x40000;

/** Results of `translatePage` besides an hva: a fault was raised; no RAM there (or ROM to be written): see translatedGpa. */
export const TRANSLATE_FAULT: u64 = 0xffffffffffffffff, TRANSLATE_DEVICE: u64 = 0;

function tlbOf(vcpu: usize, who: u32): usize { return vcpu + VCPU_TLB + <usize>who * TLB_BYTES; }
function entryOf(vcpu: usize, who: u32, linear: u64): usize {
  return tlbOf(vcpu, who) + ((<usize>(linear >> 12)) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES;
}

/** Whose rights the present data accesses have: 0, 1 or 2, whatever the TLB in use. */
export function presentWho(vcpu: usize): u32 {
  if (load<u32>(vcpu, VCPU_CPL) == 3) return WHO_USER;
  return (load<u64>(vcpu, VCPU_CR4) & CR4_SMAP) != 0 && (load<u64>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0 ? WHO_SUPERVISOR_AC : WHO_SUPERVISOR;
}

/** Bits of the word of lines that say which 64-byte lines of this page of memory 1 hold decoded code. */
export function codeLines(hva: u64): u64 {
  const at = (hva >> 12) << 3;
  return at < <u64>CODE_LINES_BYTES ? atomic.load<u64>(<usize>CODE_LINES + <usize>at) : 0;
}

/** Choose the TLB of the present access class: after a change of CPL, RFLAGS.AC, CR0.AM, CR4.SMAP or DR7. */
export function updateAccessClass(vcpu: usize): void {
  const cpl = load<u32>(vcpu, VCPU_CPL);
  let access = presentWho(vcpu);
  if ((cpl == 3 && (load<u64>(vcpu, VCPU_CR0) & CR0_AM) != 0 && (load<u64>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) != 0) || watchesData(load<u64>(vcpu + 56, VCPU_DR))) access = CLASS_SLOW;
  store<u32>(vcpu, <u32>tlbOf(vcpu, access), VCPU_TLB_FIELD);
  updateFetchProof(vcpu);
}

/** Is a data breakpoint of DR7 enabled? */
export function watchesData(dr7: u64): bool {
  if ((dr7 & 0xff) == 0) return false;
  for (let i: u64 = 0; i < 4; i++) {
    if (((dr7 >> (i * 2)) & 3) != 0 && ((dr7 >> (16 + i * 4)) & 1) != 0) return true;
  }
  return false;
}

/** Recompute the code key and the stack mask: after a change of CS, SS, EFER.LMA, CR0.EM, CR0.TS or CR4.OSFXSR. */
export function updateMode(vcpu: usize): void {
  const codeAccess = load<u32>(vcpu + SEG_CS * 4, VCPU_SEG_ACCESS);
  const long = (load<u64>(vcpu, VCPU_EFER) & EFER_LMA) != 0 && (codeAccess & ACCESS_L) != 0;
  const trap = (load<u64>(vcpu, VCPU_CR0) & (CR0_EM | CR0_TS)) != 0 || (load<u64>(vcpu, VCPU_CR4) & CR4_OSFXSR) == 0;
  store<u32>(vcpu, (long ? 2 : codeAccess & ACCESS_DB ? 1 : 0) | (trap ? 4 : 0), VCPU_MODE);
  store<u64>(vcpu, long ? NEVER : load<u32>(vcpu + SEG_SS * 4, VCPU_SEG_ACCESS) & ACCESS_DB ? 0xffffffff : 0xffff, VCPU_STACK_MASK);
  updateFetchProof(vcpu);
}

/** After a change of the access class or the mode. */
function updateFetchProof(vcpu: usize): void {
  const access = (load<u32>(vcpu, VCPU_TLB_FIELD) - <u32>(vcpu + VCPU_TLB)) / TLB_BYTES, mode = load<u32>(vcpu, VCPU_MODE), old = load<u64>(vcpu, VCPU_FETCH_PROOF);
  if ((<u32>old & (FETCH_PROOF_STEP - 1)) == ((mode << FETCH_PROOF_MODE_SHIFT) | access)) return;
  const common = (old & ~<u64>(FETCH_PROOF_STEP - 1)) - load<u64>(fetchClass(vcpu, <u32>old & 3), CLASS_COUNT);
  store<u64>(vcpu, (common + load<u64>(fetchClass(vcpu, access), CLASS_COUNT)) | (mode << FETCH_PROOF_MODE_SHIFT) | access, VCPU_FETCH_PROOF);
}

/** Derived state after registers were written from outside. */
export function refreshState(vcpu: usize): void {
  updateMode(vcpu);
  updateAccessClass(vcpu);
  // Power-on clears the record, and with it what the logs know about the TLBs.
  if (load<u32>(vcpu, VCPU_WALK_GENERATION) == 0) tlbInitialize(vcpu);
  else tlbFlushAll(vcpu);
}

/** Empty every TLB, the never-filled one included: once, before the vCPU's first run. */
export function tlbInitialize(vcpu: usize): void {
  for (let access: i32 = 0; access < TLB_CLASSES; access++) forgetClass(vcpu, access);
  memory.fill(vcpu + VCPU_TLB, 0xff, TLB_BYTES * TLB_CLASSES);
  for (let access: usize = 0; access < FILLED_CLASSES; access++) {
    store<u32>(vcpu + access * 4, 0, VCPU_TLB_LOG_COUNT);
    store<u32>(vcpu + access * 4, 0, VCPU_TLB_GLOBAL_LOG_COUNT);
  }
  memory.fill(vcpu + VCPU_TLB_LARGE, 0, LARGE_BYTES);
  memory.fill(vcpu + VCPU_CODE_PAGES, 0, CODE_PAGES_ENTRIES * 32);
  walkCacheInitialize(vcpu);
}

// --- what may be fetched from where (memory-map.ts VCPU_FETCH_PROOF) ---
//
// Jumps and nested calls hold on to exec mappings that were once in the TLB. A class's part of the proof's count moves when one of them may have
// gone: an exec tag of a page that is flushed, or one that left the TLB earlier (the range of those is kept); a load of CR3 if non-global code was there.

const CLASS_COUNT: usize = 0, CLASS_NON_GLOBAL: usize = 8, CLASS_LOWEST: usize = 16, CLASS_HIGHEST: usize = 24;

function fetchClass(vcpu: usize, access: u32): usize { return vcpu + VCPU_FETCH_CLASSES + <usize>access * FETCH_CLASS_BYTES; }

/** Jumps of this class found before may lead elsewhere now. */
function forgetClass(vcpu: usize, access: u32): void {
  const state = fetchClass(vcpu, access), proof = load<u64>(vcpu, VCPU_FETCH_PROOF);
  store<u64>(state, load<u64>(state, CLASS_COUNT) + FETCH_PROOF_STEP, CLASS_COUNT);
  store<u64>(state, NEVER, CLASS_LOWEST);
  store<u64>(state, 0, CLASS_HIGHEST);
  if ((<u32>proof & 3) == access) store<u64>(vcpu, proof + FETCH_PROOF_STEP, VCPU_FETCH_PROOF);
}

/** The exec tag of an entry goes, while jumps that were found by it stay. */
function noteGone(state: usize, tag: u64): void {
  if (tag == NEVER) return;
  if (tag < load<u64>(state, CLASS_LOWEST)) store<u64>(state, tag, CLASS_LOWEST);
  if (tag > load<u64>(state, CLASS_HIGHEST)) store<u64>(state, tag, CLASS_HIGHEST);
}

function isGone(state: usize, page: u64): bool { return page >= load<u64>(state, CLASS_LOWEST) && page <= load<u64>(state, CLASS_HIGHEST); }

// --- flushes ---

function clearEntry(entry: usize): void {
  store<u64>(entry, NEVER, TLB_READ);
  store<u64>(entry, NEVER, TLB_WRITE);
  store<u64>(entry, NEVER, TLB_EXEC);
}

function logOf(vcpu: usize, access: u32, global: u32): usize { return vcpu + VCPU_TLB_LOGS + <usize>(access * 2 + global) * (TLB_LOG_ENTRIES * 4); }
function countOf(vcpu: usize, access: u32, global: u32): usize { return vcpu + (global ? VCPU_TLB_GLOBAL_LOG_COUNT : VCPU_TLB_LOG_COUNT) + access * 4; }

function flushLog(vcpu: usize, access: u32, global: u32): void {
  const countAt = countOf(vcpu, access, global), count = load<u32>(countAt), state = fetchClass(vcpu, access);
  if (count > LOG_ENTRIES) {
    memory.fill(tlbOf(vcpu, access), 0xff, TLB_BYTES);
    store<u64>(state, 0, CLASS_LOWEST);
    store<u64>(state, NEVER, CLASS_HIGHEST);
  } else {
    const log = logOf(vcpu, access, global);
    for (let i: u32 = 0; i < count; i++) {
      const entry = <usize>load<u32>(log + i * 4);
      // A slot may hold a global page by now.
      noteGone(state, load<u64>(entry, TLB_EXEC));
      clearEntry(entry);
    }
  }
  store<u32>(countAt, 0);
}

/** Drop every translation. */
export function tlbFlushAll(vcpu: usize): void {
  walkCacheFlush(vcpu);
  for (let access: u32 = 0; access < FILLED_CLASSES; access++) {
    flushLog(vcpu, access, 0);
    flushLog(vcpu, access, 1);
    store<u64>(fetchClass(vcpu, access), 0, CLASS_NON_GLOBAL);
    forgetClass(vcpu, access);
  }
  memory.fill(vcpu + VCPU_TLB_LARGE, 0, LARGE_BYTES);
}

/** Drop every translation of a page that is not global. */
export function tlbFlushNonGlobal(vcpu: usize): void {
  walkCacheFlush(vcpu);
  for (let access: u32 = 0; access < FILLED_CLASSES; access++) {
    const state = fetchClass(vcpu, access);
    flushLog(vcpu, access, 0);
    if (load<u64>(state, CLASS_NON_GLOBAL) == 0) continue;
    store<u64>(state, 0, CLASS_NON_GLOBAL);
    forgetClass(vcpu, access);
  }
}

/**
 * The filter's bit of a region: 2048 bits for those of 2 MiB, then 256 for those of 1 GiB. Each half of the address space has its half of them, so that
 * a kernel's map of all memory by large pages says nothing about the pages of programs.
 */
function largeBit(linear: u64, huge: bool): u32 {
  const upper = <u32>(linear >> 63);
  if (huge) return 2048 + (upper << 7) + (<u32>((linear >> 30) ^ (linear >> 37)) & 127);
  return (upper << 10) + (<u32>((linear >> 21) ^ (linear >> 31) ^ (linear >> 41)) & 1023);
}

function isLarge(vcpu: usize, linear: u64, huge: bool): bool {
  const bit = largeBit(linear, huge);
  return ((load<u64>(vcpu + (bit >> 6) * 8, VCPU_TLB_LARGE) >> (bit & 63)) & 1) != 0;
}

function noteLarge(vcpu: usize, linear: u64, huge: bool): void {
  const bit = largeBit(linear, huge), word = vcpu + (bit >> 6) * 8;
  store<u64>(word, load<u64>(word, VCPU_TLB_LARGE) | (<u64>1 << (bit & 63)), VCPU_TLB_LARGE);
}

/** Drop the translations of the page that holds `linear`, whatever its size. */
export function tlbFlushPage(vcpu: usize, linear: u64): void {
  walkCacheFlush(vcpu);
  // A large page lies in many entries. The filter may say so wrongly (then more is flushed), never miss one. 4 MiB pages count as two of 2 MiB.
  if (isLarge(vcpu, linear, true) || isLarge(vcpu, linear & ~<u64>0x200000, false) || isLarge(vcpu, linear | 0x200000, false)) {
    tlbFlushAll(vcpu);
    return;
  }
  const page = linear & ~<u64>0xfff;
  for (let who: u32 = 0; who < FILLED_CLASSES; who++) {
    const entry = entryOf(vcpu, who, linear), executable = load<u64>(entry, TLB_EXEC) == page;
    if (executable || isGone(fetchClass(vcpu, who), page)) forgetClass(vcpu, who);
    if (load<u64>(entry, TLB_READ) == page || load<u64>(entry, TLB_WRITE) == page || executable) clearEntry(entry);
  }
}

/** Stores to this page of memory 1 take the slow path from now on: code in it has been decoded. */
export function tlbProtectPage(vcpu: usize, hva: u64): void {
  const page = hva & ~<u64>0xfff;
  for (let access: u32 = 0; access < FILLED_CLASSES; access++) {
    const locals = load<u32>(countOf(vcpu, access, 0)), globals = load<u32>(countOf(vcpu, access, 1));
    if (locals > LOG_ENTRIES || globals > LOG_ENTRIES) {
      const start = tlbOf(vcpu, access);
      for (let entry = start; entry < start + TLB_BYTES; entry += TLB_ENTRY_BYTES) protectEntry(entry, page);
      continue;
    }
    protectLogged(logOf(vcpu, access, 0), locals, page);
    protectLogged(logOf(vcpu, access, 1), globals, page);
  }
}

/** Every entry that may hold something is in a log that has not overflowed. */
function protectLogged(log: usize, count: u32, page: u64): void {
  for (let i: u32 = 0; i < count; i++) protectEntry(<usize>load<u32>(log + i * 4), page);
}

function protectEntry(entry: usize, page: u64): void {
  const tag = load<u64>(entry, TLB_WRITE);
  if (tag != NEVER && tag + load<u64>(entry, TLB_ADDEND) == page) store<u64>(entry, NEVER, TLB_WRITE);
}

function codePageSlot(vcpu: usize, linear: u64): usize { return vcpu + VCPU_CODE_PAGES + (<usize>(linear >> 12) & (CODE_PAGES_ENTRIES - 1)) * 32; }

/** A page that holds code has no write tag, yet data beside the code may be stored often. @returns hva, or 0 where a walk must decide */
function codePageHva(vcpu: usize, linear: u64, who: u32): u64 {
  const slot = codePageSlot(vcpu, linear);
  if (load<u64>(slot) != ((linear & ~<u64>0xfff) | who | 4) || load<u64>(slot, 8) != <u64>load<u32>(vcpu, VCPU_WALK_GENERATION)) return 0;
  const hva = linear + load<u64>(slot, 16);
  return codeLines(hva) != 0 ? hva : 0;
}

/** hva of an access inside one page that the TLB of `who` allows; 0: not so simple. @param tag TLB_READ or TLB_WRITE; after a hit of that no code has to be told of a store */
export function tlbHit(vcpu: usize, linear: u64, sizeBytes: u32, tag: usize, who: u32): u64 {
  const entry = entryOf(vcpu, who, linear);
  return load<u64>(entry + tag) == (linear & ~<u64>0xfff) && (linear & 0xfff) + sizeBytes <= <u64>PAGE_BYTES ? linear + load<u64>(entry, TLB_ADDEND) : 0;
}

/**
 * Translate one linear address, filling the TLB of `who` on a miss.
 * @returns hva of `linear`; TRANSLATE_FAULT with #PF raised; TRANSLATE_DEVICE with translatedGpa set.
 */
export function translatePage(vcpu: usize, linear: u64, access: u32, who: u32): u64 {
  const page = linear & ~<u64>0xfff, entry = entryOf(vcpu, who, linear);
  if (load<u64>(entry + <usize>access * 8) == page) return linear + load<u64>(entry, TLB_ADDEND);
  if (access == ACCESS_WRITE) {
    const hva = codePageHva(vcpu, linear, who);
    if (hva != 0) return hva;
  }
  const missesAt = vcpu + VCPU_COUNTERS + COUNTER_TLB_MISS * 8;
  store<u64>(missesAt, load<u64>(missesAt) + 1);
  const found = walk(vcpu, linear, access, who, true);
  if (found == WALK_FAULT) {
    raisePf(vcpu, linear);
    return TRANSLATE_FAULT;
  }
  const gpa = found & ~<u64>0xfff, range = findRange(gpa, PAGE_BYTES);
  store<u64>(vcpu, gpa | (linear & 0xfff), VCPU_TRANSLATED_GPA);
  const protection = range != 0 ? rangeProtection(range) : 0;
  if (access == ACCESS_FETCH && (protection & PROTECTION_EXEC) == 0) {
    // Fetching from where there is no memory reads bytes FF, and FF FF is no instruction.
    raiseUd(vcpu);
    return TRANSLATE_FAULT;
  }
  if ((protection & PROTECTION_READ) == 0) return TRANSLATE_DEVICE;
  const hva = rangeHva(range, gpa);
  store<u64>(entry, found & PAGE_READ ? page : NEVER, TLB_READ);
  const writable = (found & PAGE_WRITE) != 0 && (found & PAGE_DIRTY) != 0 && (protection & PROTECTION_WRITE) != 0, code = codeLines(hva) != 0;
  store<u64>(entry, writable && !code ? page : NEVER, TLB_WRITE);
  if (writable && code) {
    const slot = codePageSlot(vcpu, linear);
    store<u64>(slot, page | who | 4);
    store<u64>(slot, <u64>load<u32>(vcpu, VCPU_WALK_GENERATION), 8);
    store<u64>(slot, hva - page, 16);
  }
  const executable = (found & PAGE_EXEC) != 0 && (protection & PROTECTION_EXEC) != 0, state = fetchClass(vcpu, who), gone = load<u64>(entry, TLB_EXEC);
  if (!executable || gone != page) noteGone(state, gone);
  if (executable && (found & PAGE_GLOBAL) == 0) store<u64>(state, 1, CLASS_NON_GLOBAL);
  store<u64>(entry, executable ? page : NEVER, TLB_EXEC);
  store<u64>(entry, hva - page, TLB_ADDEND);
  log(vcpu, who, found & PAGE_GLOBAL ? 1 : 0, entry);
  if (found & PAGE_LARGE) noteLarge(vcpu, linear, (found & PAGE_HUGE) != 0);
  return access == ACCESS_WRITE && (protection & PROTECTION_WRITE) == 0 ? TRANSLATE_DEVICE : hva + (linear & 0xfff);
}

/** Where a fetch would go, without a fault, a mark or an entry in the TLB. @returns hva; all ones where not to RAM */
export function peekPage(vcpu: usize, linear: u64): u64 {
  const found = walk(vcpu, linear, ACCESS_FETCH, presentWho(vcpu), false);
  if (found == WALK_FAULT) return NEVER;
  const gpa = found & ~<u64>0xfff, range = findRange(gpa, PAGE_BYTES);
  return range != 0 && (rangeProtection(range) & PROTECTION_EXEC) != 0 ? rangeHva(range, gpa) | (linear & 0xfff) : NEVER;
}

function log(vcpu: usize, who: u32, global: u32, entry: usize): void {
  const countAt = countOf(vcpu, who, global), count = load<u32>(countAt);
  const next = logOf(vcpu, who, global) + count * 4;
  // Whoever stores often to a page with code comes here each time: once in the log is enough.
  if (count != 0 && count <= LOG_ENTRIES && load<u32>(next - 4) == <u32>entry) return;
  if (count < LOG_ENTRIES) store<u32>(next, <u32>entry);
  if (count <= LOG_ENTRIES) store<u32>(countAt, count + 1);
}
