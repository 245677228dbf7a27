/**
 * The decoded code of one vCPU: runs of micro-ops in memory 0, found by physical address (an offset in memory 1) and mode.
 *
 * A page of code is known by its place in memory 1, so a change of mappings throws nothing away. Lines of 64 bytes that have been decoded are
 * marked in CODE_LINES; whoever stores into one calls `codeWritten`, and what overlaps becomes STALE: running code meets it and looks again.
 * Implements: docs/cpu.md "Decoded once"; SDM vol. 3A 9.1.3 Handling Self- and Cross-Modifying Code. Runs on: the vCPU's own thread.
 */
import {
  CODE_CACHE_ENTRY_BYTES, CODE_CACHE_SETS, CODE_CACHE_SET_SHIFT, CODE_LINES, FETCH_PROOF_STEP, HANDLER_MANIFEST, PAGE_BYTES, PAIR_FIRSTS, PAIR_HANDLERS, PAIR_SECONDS, UOP_ATTRIBUTES,
  UOP_BASE, UOP_BYTES, UOP_DISP, UOP_HANDLER, UOP_HEAT, UOP_IMM, UOP_INDEX, UOP_LENGTH, UOP_OFFSET, UOP_REG0, UOP_REG1, UOP_REG2, UOP_SCALE, UOP_SEGMENT, UOP_TARGET, VCPU_CODE,
  VCPU_CODE_AWAITED, VCPU_CODE_CACHE, VCPU_CODE_STATISTICS, VCPU_FETCH_PROOF, VCPU_TIER1_PAGES, VCPU_UOPS,
} from '../../base/memory-map.ts';
import {
  DECODED, DECODE_TRUNCATED, DECODE_UNDEFINED, ENDS_BRANCH, ENDS_NO, ENDS_SYSTEM, ENV_LONG32, MAX_LENGTH, ROW_ENDS, ROW_FPU_CLASS, ROW_LINE, VARIANTS,
} from '../decode/codes.ts';
import {
  FIRST_PAIR, HANDLER_CONTINUE, HANDLER_FPU_CHECK, HANDLER_LINK, HANDLER_STALE, HANDLER_STRADDLE, HANDLER_TOO_LONG, HANDLER_UNDEFINED,
} from '../decode/pseudo.ts';
import { VCPU_MODE, VCPU_RIP, VCPU_SCRATCH, VCPU_SEG_BASE } from '../../generated/vcpu-layout.ts';
import {
  CODE_LOWEST, CODE_NEXT, NODE_KEY, NODE_UOP, PAGE_DECODED, PAGE_STALE, PAGE_TAILS, PAGE_WAITING, RECORDS_RESERVE_BYTES, addNode, clearUop, dropNode, eachPage, eachUopNear, forgetPages,
  hasNode, hvaOf, isDecoded, listOf, needPage, pageAt, setDecoded, setUop, uopAt,
} from './code-pages';
import {
  base, decode, displacement, environment, immediate, index, isMemory, lengthBytes, operandSize, prefix, register0, register1, register2, relative, ripRelative, row, scale, segment,
  segmentSlot,
} from './decoder';
import { ramLoad64, ramLoad8 } from './imports';
import { fetchTranslate } from './memory';
import { tlbProtectPage } from './tlb';

/** Code of a page has been decoded, from one offset up to another, while tier 1 waits for entries. */
@external('host', 'codeDecoded') declare function hostCodeDecoded(vcpu: usize, hvaPage: f64, from: u32, end: u32): void;
/** Lines (scratch, u64) of a page have been written that tier 1 knows. It leaves there those of which it wants to be told on. */
@external('host', 'codeWritten') declare function hostCodeWritten(vcpu: usize, hvaPage: f64): void;
/** Code at rip, at this hva, is to be compiled before it is executed. */
@external('host', 'codeFirst') declare function hostCodeFirst(vcpu: usize, hva: f64): void;
@external('host', 'codeFlushed') declare function hostCodeFlushed(vcpu: usize): void;

// Of the vCPU, in words from VCPU_CODE; code-pages.ts has the first ones.
/** The last micro-op written, where it stands for what follows a branch and nobody has come to yet; else 0. Its page, and the key there. */
const CODE_OPEN_UOP: usize = VCPU_CODE + 12, CODE_OPEN_PAGE: usize = VCPU_CODE + 16, CODE_OPEN_KEY: usize = VCPU_CODE + 20;
/** Times that a place is jumped to before tier 1 is asked to compile it; 0: never. */
const CODE_THRESHOLD: usize = VCPU_CODE + 24;
const CODE_INSTRUCTIONS: usize = VCPU_CODE_STATISTICS, CODE_RUNS: usize = VCPU_CODE_STATISTICS + 4, CODE_INVALIDATED: usize = VCPU_CODE_STATISTICS + 8;
const CODE_FLUSHES: usize = VCPU_CODE_STATISTICS + 12, CODE_LOOKUPS: usize = VCPU_CODE_STATISTICS + 16;
/** The bytes of the instruction that is being decoded. */
const CODE_BYTES: usize = VCPU_CODE + 64;

const MAX_RUN: u32 = 256;
/** Micro-ops that a run may need at most, with its checks and its end. */
const RUN_RESERVE_BYTES: u32 = (MAX_RUN * 2 + 4) * UOP_BYTES;
/** Overwritten micro-ops of one key that are remembered: older ones lead to one of these. */
const MAX_STALE: u32 = 16;
const MODE_64: u32 = 2, MODE_FPU_TRAP: u32 = 4;
const PAGE: u32 = PAGE_BYTES, OFFSET_MASK: u32 = PAGE - 1;
const ALL: u64 = 0xffffffffffffffff;

function count(vcpu: usize, statistic: usize): void { store<u32>(vcpu + statistic, load<u32>(vcpu + statistic) + 1); }

// --- beginning and end ---

/** @param threshold jumps to a place before it is hot; 1: it is compiled at its first execution; 0: never */
export function codeInitialize(vcpu: usize, threshold: u32): void {
  memory.fill(vcpu + VCPU_CODE, 0, CODE_BYTES - VCPU_CODE);
  store<u32>(vcpu, threshold, CODE_THRESHOLD);
  clear(vcpu);
}

function clear(vcpu: usize): void {
  forgetPages(vcpu);
  store<u32>(vcpu, <u32>(vcpu + VCPU_UOPS), CODE_NEXT);
  store<u32>(vcpu, 0, CODE_OPEN_UOP);
  memory.fill(vcpu + VCPU_CODE_CACHE, 0xff, <usize>CODE_CACHE_SETS << CODE_CACHE_SET_SHIFT);
}

/** Forget everything. Only while no handler runs. */
export function codeFlush(vcpu: usize): void {
  count(vcpu, CODE_FLUSHES);
  eachPage(vcpu, (page: usize) => atomic.store<u64>(linesAt(hvaOf(page)), 0));
  clear(vcpu);
  codeForgetJumps(vcpu);
  hostCodeFlushed(vcpu);
}

/** Jumps found before may lead elsewhere now. */
export function codeForgetJumps(vcpu: usize): void { store<u64>(vcpu, load<u64>(vcpu, VCPU_FETCH_PROOF) + FETCH_PROOF_STEP, VCPU_FETCH_PROOF); }

// --- lines ---

function linesAt(hva: u64): usize { return <usize>CODE_LINES + (<usize>(hva >> 12) << 3); }

/** These lines of a page have been decoded. */
function markLines(vcpu: usize, hva: u64, lines: u64): void {
  const at = linesAt(hva), known = atomic.load<u64>(at);
  if (known == 0) tlbProtectPage(vcpu, hva);
  if ((lines & ~known) != 0) atomic.or<u64>(at, lines);
}
/** @param hvaPage and lines (two halves) as JavaScript has them */
export function codeMarkLines(vcpu: usize, hvaPage: f64, linesLow: u32, linesHigh: u32): void { markLines(vcpu, <u64>hvaPage, (<u64>linesHigh << 32) | linesLow); }

/** Lines that [offset, end) touches. */
function linesOf(offset: u32, end: u32): u64 { return (ALL << (offset >> 6)) & (ALL >> (63 - ((end - 1) >> 6))); }

// --- the code cache ---

function setOf(vcpu: usize, hva: u64): usize { return vcpu + VCPU_CODE_CACHE + (<usize>((<u32>hva ^ <u32>(hva >> 12)) & (CODE_CACHE_SETS - 1)) << CODE_CACHE_SET_SHIFT); }

/** @returns its entry, or 0 */
export function cachedAt(vcpu: usize, hva: u64, mode: u32): usize {
  const key = hva | (<u64>mode << 48), newer = setOf(vcpu, hva);
  if (load<u64>(newer) == key) return newer;
  return load<u64>(newer, CODE_CACHE_ENTRY_BYTES) == key ? newer + CODE_CACHE_ENTRY_BYTES : 0;
}

function enter(vcpu: usize, hva: u64, mode: u32, uop: u32): void {
  const set = setOf(vcpu, hva);
  memory.copy(set + CODE_CACHE_ENTRY_BYTES, set, CODE_CACHE_ENTRY_BYTES);
  store<u64>(set, hva | (<u64>mode << 48));
  store<u32>(set, uop, 8);
  store<u32>(set, load<u32>(vcpu, CODE_THRESHOLD), 12);
}

// --- finding ---

/** Where rip is, in linear addresses. */
export function linearOfRip(vcpu: usize): u64 {
  const rip = load<u64>(vcpu, VCPU_RIP);
  return (load<u32>(vcpu, VCPU_MODE) & 3) == MODE_64 ? rip : (rip + load<u64>(vcpu + 8, VCPU_SEG_BASE)) & 0xffffffff;
}

/** Where the page after that of rip is fetched from; all ones with a fault raised. @param offset of rip in its page */
function pageAfterRip(vcpu: usize, offset: u32): u64 { return fetchTranslate(vcpu, linearOfRip(vcpu) - offset + PAGE_BYTES); }

/**
 * Micro-op of the vCPU's rip, decoding what is not known yet; it is entered into the code cache.
 * @param hva where rip is fetched from
 * @returns 0 when fetching the rest of an instruction faults (the fault is in the record).
 */
export function codeLookup(vcpu: usize, hva: u64): u32 {
  count(vcpu, CODE_LOOKUPS);
  const mode = load<u32>(vcpu, VCPU_MODE), offset = <u32>hva & OFFSET_MASK, key = offset | (mode << 12), page = pageAt(vcpu, hva);
  let uop: u32 = page == 0 ? 0 : uopAt(page, key);
  if (uop != 0 && load<u16>(<usize>uop, UOP_HANDLER) == HANDLER_STRADDLE) {
    const second = pageAfterRip(vcpu, offset);
    if (second == ALL) return 0;
    if (second != load<u64>(<usize>uop, UOP_IMM)) {
      kill(vcpu, page, key, uop);
      uop = 0;
    }
  }
  if (uop == 0) {
    uop = decodeRun(vcpu, hva, mode);
    if (uop == 0) return 0;
  }
  enter(vcpu, hva, mode, uop);
  if (load<u32>(vcpu, CODE_THRESHOLD) == 1) hostCodeFirst(vcpu, <f64>hva);
  return uop;
}
/** The same for JavaScript. */
export function codeLookupAt(vcpu: usize, hva: f64): u32 { return codeLookup(vcpu, <u64>hva); }

/** @returns the micro-op of a key (offset | mode << 12) of a page, or 0 */
export function codeUopAt(vcpu: usize, hvaPage: f64, key: u32): u32 {
  const page = pageAt(vcpu, <u64>hvaPage);
  return page == 0 ? 0 : uopAt(page, key);
}
/** @returns address of the bits that say which offsets of a page have been decoded, in any mode; 0: none */
export function codeDecodedBits(vcpu: usize, hvaPage: f64): usize {
  const page = pageAt(vcpu, <u64>hvaPage);
  return page == 0 ? 0 : page + PAGE_DECODED;
}

// --- what was written ---

/** Bytes of the given 64-byte lines of a page of memory 1, a bit each, have changed: forget what was decoded there. */
export function codeWritten(vcpu: usize, hva: u64, lines: u64): void {
  const page = pageAt(vcpu, hva), isKnown = isKnownToTier1(vcpu, hva);
  if (page == 0 && !isKnown) return;
  let kept: u64 = 0;
  if (isKnown) {
    store<u64>(vcpu, lines, VCPU_SCRATCH);
    hostCodeWritten(vcpu, <f64>(hva & ~<u64>OFFSET_MASK));
    kept = load<u64>(vcpu, VCPU_SCRATCH);
  }
  if (page != 0) {
    count(vcpu, CODE_INVALIDATED);
    eachUopNear(vcpu, page, lines, killTouched);
    if ((lines & 1) != 0) killTails(vcpu, page);
  }
  atomic.and<u64>(linesAt(hva), ~lines | kept);
}
/** The same for JavaScript. */
export function codeWrittenAt(vcpu: usize, hvaPage: f64, linesLow: u32, linesHigh: u32): void { codeWritten(vcpu, <u64>hvaPage, (<u64>linesHigh << 32) | linesLow); }

function isKnownToTier1(vcpu: usize, hva: u64): bool {
  const number = <u32>(hva >> 12);
  return ((<u32>load<u8>(vcpu + (number >> 3), VCPU_TIER1_PAGES) >> (number & 7)) & 1) != 0;
}

function killTouched(vcpu: usize, page: usize, key: u32, uop: u32, lines: u64): void {
  const offset = key & OFFSET_MASK, length: u32 = load<u8>(<usize>uop, UOP_LENGTH);
  if ((linesOf(offset, min(offset + max(length, 1), PAGE)) & lines) != 0) kill(vcpu, page, key, uop);
}

function killTails(vcpu: usize, page: usize): void {
  const list = page + PAGE_TAILS;
  while (load<u32>(list) != 0) {
    const node = <usize>load<u32>(list), first = <usize>load<u32>(node, NODE_KEY), key = load<u32>(node, NODE_UOP), uop = uopAt(first, key);
    if (uop != 0) kill(vcpu, first, key, uop);
    dropNode(vcpu, list);
  }
}

function kill(vcpu: usize, page: usize, key: u32, uop: u32): void {
  store<u16>(<usize>uop, <u16>HANDLER_STALE, UOP_HANDLER);
  codeSeparate(uop - UOP_BYTES);
  clearUop(page, key);
  noteStale(vcpu, page, key, uop);
  const entry = setOf(vcpu, hvaOf(page) + (key & OFFSET_MASK));
  for (let at = entry; at <= entry + CODE_CACHE_ENTRY_BYTES; at += CODE_CACHE_ENTRY_BYTES) if (load<u32>(at, 8) == uop) store<u64>(at, ALL);
}

/** Whoever still comes to it goes on where its key is decoded next. */
function noteStale(vcpu: usize, page: usize, key: u32, uop: u32): void {
  const list = listOf(page, PAGE_STALE, key);
  let known: u32 = 0, oldest: usize = 0;
  for (let link = list; load<u32>(link) != 0; link = <usize>load<u32>(link)) {
    if (load<u32>(<usize>load<u32>(link), NODE_KEY) != key) continue;
    known++;
    oldest = link;
  }
  if (known >= MAX_STALE) dropNode(vcpu, oldest);
  if (hasNode(vcpu)) addNode(vcpu, list, key, uop);
}

/** The micro-op after this one is no longer what it was paired with. */
export function codeSeparate(uop: u32): void {
  if (<i32>load<u16>(<usize>uop, UOP_HANDLER) >= FIRST_PAIR) store<u16>(<usize>uop, load<u16>(<usize>uop, UOP_REG2), UOP_HANDLER);
}

// --- decoding ---

/** Straight-line code, up to what may never be executed: what follows a branch is decoded when it is come to. @returns its first micro-op, or 0 with a fault raised */
function decodeRun(vcpu: usize, hva: u64, mode: u32): u32 {
  if (load<u32>(vcpu, CODE_LOWEST) - load<u32>(vcpu, CODE_NEXT) < RUN_RESERVE_BYTES + RECORDS_RESERVE_BYTES) codeFlush(vcpu);
  const page = needPage(vcpu, hva), hvaPage = hvaOf(page), resumes = isResumed(vcpu, page, (<u32>hva & OFFSET_MASK) | (mode << 12)), first = load<u32>(vcpu, CODE_NEXT);
  count(vcpu, CODE_RUNS);
  let at = <u32>hva & OFFSET_MASK, branched = false;
  for (let instructions: u32 = 0; ; instructions++) {
    const key = at | (mode << 12), known: u32 = instructions > 0 && at < PAGE && isDecoded(page, at) ? uopAt(page, key) : 0;
    if (known != 0) {
      store<u32>(<usize>pseudo(vcpu, HANDLER_LINK, at, 0), known, UOP_TARGET);
      break;
    }
    if (at >= PAGE || instructions == MAX_RUN) {
      pseudo(vcpu, HANDLER_CONTINUE, at, 0);
      break;
    }
    if (branched) {
      store<u32>(vcpu, pseudo(vcpu, HANDLER_CONTINUE, at, 0), CODE_OPEN_UOP);
      store<u32>(vcpu, <u32>page, CODE_OPEN_PAGE);
      store<u32>(vcpu, key, CODE_OPEN_KEY);
      break;
    }
    const here = min(PAGE - at, MAX_LENGTH);
    fetch(vcpu, hvaPage + at, here);
    let status = decode(vcpu + CODE_BYTES, here, mode & 3), second = ALL;
    if (status == DECODE_TRUNCATED) {
      if (instructions > 0) {
        pseudo(vcpu, HANDLER_CONTINUE, at, 0);
        break;
      }
      second = pageAfterRip(vcpu, at);
      if (second == ALL) {
        if (resumes) store<u32>(vcpu, first + UOP_BYTES, CODE_NEXT);
        return 0;
      }
      for (let i = here; i < <u32>MAX_LENGTH; i++) store<u8>(vcpu + CODE_BYTES + i, <u8>ramLoad8(second + i - here));
      status = decode(vcpu + CODE_BYTES, MAX_LENGTH, mode & 3);
    }
    const end = at + lengthBytes, entry = load<u32>(vcpu, CODE_NEXT);
    markLines(vcpu, hvaPage, linesOf(at, min(end, PAGE)));
    store<u32>(vcpu, 0, CODE_OPEN_UOP);
    setUop(vcpu, page, key, entry);
    setDecoded(page, at);
    if (second != ALL && end > PAGE) {
      store<u64>(<usize>pseudo(vcpu, HANDLER_STRADDLE, at, lengthBytes), second, UOP_IMM);
      markLines(vcpu, second, linesOf(0, end - PAGE));
      addNode(vcpu, needPage(vcpu, second) + PAGE_TAILS, <u32>page, key);
    }
    if (status == DECODED) {
      encode(vcpu, page, at, mode);
      if (instructions > 0) pair(load<u32>(vcpu, CODE_NEXT) - UOP_BYTES);
    } else pseudo(vcpu, status == DECODE_UNDEFINED ? HANDLER_UNDEFINED : HANDLER_TOO_LONG, at, lengthBytes);
    resolve(vcpu, page, key, entry);
    if (status != DECODED) break;
    count(vcpu, CODE_INSTRUCTIONS);
    at = end;
    const ends: u32 = load<u8>(row, ROW_ENDS);
    branched = ends == ENDS_BRANCH;
    if (ends != ENDS_NO && !branched && ends != ENDS_SYSTEM) break;
    if (end > PAGE) {
      pseudo(vcpu, HANDLER_CONTINUE, at, 0);
      break;
    }
  }
  if (load<u32>(vcpu, VCPU_CODE_AWAITED) != 0 && isKnownToTier1(vcpu, hvaPage)) hostCodeDecoded(vcpu, <f64>hvaPage, <u32>hva & OFFSET_MASK, at);
  return first;
}

/** @param sizeBytes up to MAX_LENGTH, in one page */
function fetch(vcpu: usize, hva: u64, sizeBytes: u32): void {
  const to = vcpu + CODE_BYTES;
  if (sizeBytes == MAX_LENGTH) {
    store<u64>(to, ramLoad64(hva));
    store<u64>(to, ramLoad64(hva + MAX_LENGTH - 8), MAX_LENGTH - 8);
  } else for (let i: u32 = 0; i < sizeBytes; i++) store<u8>(to + i, <u8>ramLoad8(hva + i));
}

/** A run begins. @returns true: it is what was left open, and takes its place; whatever else is open waits for its own turn */
function isResumed(vcpu: usize, page: usize, key: u32): bool {
  const uop = load<u32>(vcpu, CODE_OPEN_UOP);
  if (uop == 0) return false;
  const openPage = <usize>load<u32>(vcpu, CODE_OPEN_PAGE), openKey = load<u32>(vcpu, CODE_OPEN_KEY);
  if (page == openPage && key == openKey) {
    store<u32>(vcpu, uop, CODE_NEXT);
    return true;
  }
  store<u32>(vcpu, 0, CODE_OPEN_UOP);
  link(vcpu, openPage, uop, openKey);
  return false;
}

/** Let the micro-op before this one do both, where there is a handler for that. */
function pair(second: u32): void {
  const first = <usize>second - UOP_BYTES, own = load<u16>(first, UOP_HANDLER);
  if (<i32>own >= FIRST_PAIR) return;
  const both = load<u16>(<usize>PAIR_HANDLERS + (((<usize>load<u8>(<usize>PAIR_FIRSTS + own) << 8) | load<u8>(<usize>PAIR_SECONDS + load<u16>(<usize>second, UOP_HANDLER))) << 1));
  if (both == 0) return;
  store<u16>(first, own, UOP_REG2);
  store<u16>(first, both, UOP_HANDLER);
}

/** A micro-op, all 0 but for its handler and place. @returns its address */
function pseudo(vcpu: usize, handler: u32, offset: u32, length: u32): u32 {
  const uop = load<u32>(vcpu, CODE_NEXT);
  store<u32>(vcpu, uop + UOP_BYTES, CODE_NEXT);
  for (let at = <usize>uop; at < <usize>uop + UOP_BYTES; at += 8) store<u64>(at, 0);
  store<u16>(<usize>uop, <u16>handler, UOP_HANDLER);
  store<u16>(<usize>uop, <u16>offset, UOP_OFFSET);
  store<u8>(<usize>uop, <u8>length, UOP_LENGTH);
  return uop;
}

/** Write the decoder's last instruction as a micro-op, after a check where the FPU may refuse it. */
function encode(vcpu: usize, page: usize, offset: u32, mode: u32): void {
  const fpuClass: u32 = load<u8>(row, ROW_FPU_CLASS), next = offset + lengthBytes;
  if ((mode & MODE_FPU_TRAP) != 0 && fpuClass != 0) store<u32>(<usize>pseudo(vcpu, HANDLER_FPU_CHECK, offset, lengthBytes), fpuClass, UOP_IMM);
  const variant = (((operandSize >> 2) * 2 + <u32>isMemory) * 4 + environment) * 4 + prefix;
  const handler = load<u16>(<usize>HANDLER_MANIFEST + ((<usize>load<u16>(row, ROW_LINE) * VARIANTS + variant) << 1));
  const uop = pseudo(vcpu, handler != 0 ? handler : HANDLER_UNDEFINED, offset, lengthBytes), target = immediate + next;
  store<u16>(<usize>uop, <u16>register0, UOP_REG0);
  store<u16>(<usize>uop, <u16>register1, UOP_REG1);
  store<u16>(<usize>uop, <u16>register2, UOP_REG2);
  store<u8>(<usize>uop, <u8>base, UOP_BASE);
  store<u8>(<usize>uop, <u8>index, UOP_INDEX);
  store<u8>(<usize>uop, <u8>scale, UOP_SCALE);
  store<u8>(<usize>uop, <u8>segmentSlot(), UOP_SEGMENT);
  store<u8>(<usize>uop, <u8>((environment <= <u32>ENV_LONG32 ? 2 : 1) | (segment << 2)), UOP_ATTRIBUTES);
  if (!relative) {
    store<i64>(<usize>uop, ripRelative ? displacement + next : displacement, UOP_DISP);
    store<i64>(<usize>uop, immediate, UOP_IMM);
    return;
  }
  store<u32>(<usize>uop, load<u32>(vcpu, CODE_THRESHOLD), UOP_HEAT);
  store<i64>(<usize>uop, target, UOP_IMM);
  if (<u64>target < <u64>PAGE) link(vcpu, page, uop, <u32>target | (mode << 12));
}

function link(vcpu: usize, page: usize, uop: u32, key: u32): void {
  const target = uopAt(page, key);
  if (target != 0) store<u32>(<usize>uop, target, UOP_TARGET);
  else if (hasNode(vcpu)) addNode(vcpu, listOf(page, PAGE_WAITING, key), key, uop);
}

/** A key has its micro-op: what waits for it, and what stood there before, leads to it. */
function resolve(vcpu: usize, page: usize, key: u32, uop: u32): void {
  for (let node = <usize>load<u32>(listOf(page, PAGE_STALE, key)); node != 0; node = <usize>load<u32>(node)) {
    if (load<u32>(node, NODE_KEY) != key) continue;
    const old = <usize>load<u32>(node, NODE_UOP);
    store<u16>(old, <u16>HANDLER_LINK, UOP_HANDLER);
    store<u32>(old, uop, UOP_TARGET);
  }
  for (let at = listOf(page, PAGE_WAITING, key); load<u32>(at) != 0;) {
    const node = <usize>load<u32>(at);
    if (load<u32>(node, NODE_KEY) != key) {
      at = node;
      continue;
    }
    // A jump that was overwritten meanwhile leads to what stands there now, and no further.
    const jump = <usize>load<u32>(node, NODE_UOP), handler: u32 = load<u16>(jump, UOP_HANDLER);
    if (handler == HANDLER_CONTINUE) store<u16>(jump, <u16>HANDLER_LINK, UOP_HANDLER);
    if (handler != HANDLER_LINK) store<u32>(jump, uop, UOP_TARGET);
    dropNode(vcpu, at);
  }
}
