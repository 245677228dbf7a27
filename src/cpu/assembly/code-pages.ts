/**
 * What is known of each page of memory 1 that has decoded code: where its instructions have their micro-ops, by offset and mode, and who waits for one.
 * Most of a page is never executed: there is a table for each 64-byte line that was, and for each mode it was executed in.
 * Everything here lies at the end of the vCPU's room for micro-ops and grows towards them; it goes when they go.
 * Implements: docs/cpu.md "Decoded once". Runs on: the vCPU's own thread.
 */
import { PAGE_BYTES, VCPU_CODE, VCPU_CODE_DIRECTORY, VCPU_UOPS_END } from '../../base/memory-map.ts';
import { MAX_LENGTH } from '../decode/codes.ts';

// Of the vCPU, in words from VCPU_CODE.
/** Address of the next micro-op; of the lowest record. */
export const CODE_NEXT: usize = VCPU_CODE;
export const CODE_LOWEST: usize = VCPU_CODE + 4;
const CODE_FREE_NODES: usize = VCPU_CODE + 8;

const DIRECTORY_BYTES: usize = 0x4000;
const CHUNK_SHIFT: u32 = 10, CHUNK_BYTES: u32 = 4096;

// A page.
const PAGE_HVA: usize = 0, PAGE_MODES: usize = 8;
/** Straddling micro-ops whose second half lies here: nodes { next, page of the first half, key there }. */
export const PAGE_TAILS: usize = 12;
/** Offsets of instructions decoded in any mode: a bit each. What is not there has never been executed. */
export const PAGE_DECODED: usize = 16;
/** By line: nodes { next, key, micro-op }. Jumps that wait for their target to be decoded; micro-ops that were overwritten, newest first. */
export const PAGE_WAITING: usize = PAGE_DECODED + (PAGE_BYTES >> 3);
export const PAGE_STALE: usize = PAGE_WAITING + 256;
const PAGE_RECORD_BYTES: u32 = <u32>PAGE_STALE + 256;
// The tables of a page for one mode: { next mode's, mode, table by line }.
const MODE_NEXT: usize = 0, MODE_MODE: usize = 4, MODE_LINES: usize = 8;
const MODE_BYTES: u32 = 8 + 256;
// A table: a micro-op by offset in the line.
const TABLE_BYTES: u32 = 256;
const LINE_SHIFT: u32 = 6, LINES: u32 = 64, LINE_BYTES: u32 = 64;

// A node of a list: { next, two words }.
export const NODE_KEY: usize = 4;
export const NODE_UOP: usize = 8;
const NODE_BYTES: u32 = 16;

/** What a run may need at most beside its micro-ops: a table and a list's node for each of 256 instructions, two pages. */
export const RECORDS_RESERVE_BYTES: u32 = 0x20000;

/** Everything is forgotten. */
export function forgetPages(vcpu: usize): void {
  memory.fill(vcpu + VCPU_CODE_DIRECTORY, 0, DIRECTORY_BYTES);
  store<u32>(vcpu, <u32>(vcpu + VCPU_UOPS_END), CODE_LOWEST);
  store<u32>(vcpu, 0, CODE_FREE_NODES);
}

/** @returns room, all 0. Whoever decodes has seen to it that there is some (RECORDS_RESERVE_BYTES). */
function take(vcpu: usize, sizeBytes: u32): usize {
  const at = load<u32>(vcpu, CODE_LOWEST) - sizeBytes;
  store<u32>(vcpu, at, CODE_LOWEST);
  memory.fill(<usize>at, 0, sizeBytes);
  return <usize>at;
}

function directoryEntry(vcpu: usize, hva: u64): usize { return vcpu + VCPU_CODE_DIRECTORY + <usize>(hva >> (12 + CHUNK_SHIFT)) * 4; }
function chunkEntry(chunk: usize, hva: u64): usize { return chunk + ((<usize>(hva >> 12) & ((1 << CHUNK_SHIFT) - 1)) << 2); }

/** @returns the page's record, or 0 */
export function pageAt(vcpu: usize, hva: u64): usize {
  const chunk = <usize>load<u32>(directoryEntry(vcpu, hva));
  return chunk == 0 ? 0 : <usize>load<u32>(chunkEntry(chunk, hva));
}

/** The page's record, a new one where there is none. */
export function needPage(vcpu: usize, hva: u64): usize {
  const known = pageAt(vcpu, hva);
  if (known != 0) return known;
  const entry = directoryEntry(vcpu, hva);
  if (load<u32>(entry) == 0) store<u32>(entry, <u32>take(vcpu, CHUNK_BYTES));
  const page = take(vcpu, PAGE_RECORD_BYTES);
  store<u64>(page, hva & ~<u64>(PAGE_BYTES - 1), PAGE_HVA);
  store<u32>(chunkEntry(<usize>load<u32>(entry), hva), <u32>page);
  return page;
}

export function hvaOf(page: usize): u64 { return load<u64>(page, PAGE_HVA); }

/** Calls `visit` for each page. */
export function eachPage(vcpu: usize, visit: (page: usize) => void): void {
  for (let entry = vcpu + VCPU_CODE_DIRECTORY; entry < vcpu + VCPU_CODE_DIRECTORY + DIRECTORY_BYTES; entry += 4) {
    const chunk = <usize>load<u32>(entry);
    if (chunk == 0) continue;
    for (let at = chunk; at < chunk + CHUNK_BYTES; at += 4) if (load<u32>(at) != 0) visit(<usize>load<u32>(at));
  }
}

// --- micro-ops by key: offset | mode << 12 ---

function tablesOf(page: usize, mode: u32): usize {
  let tables = <usize>load<u32>(page, PAGE_MODES);
  while (tables != 0 && load<u32>(tables, MODE_MODE) != mode) tables = <usize>load<u32>(tables, MODE_NEXT);
  return tables;
}
function lineEntry(tables: usize, key: u32): usize { return tables + MODE_LINES + ((key >> LINE_SHIFT) & (LINES - 1)) * 4; }
function uopEntry(table: usize, key: u32): usize { return table + (key & (LINE_BYTES - 1)) * 4; }

/** @returns the micro-op, or 0 */
export function uopAt(page: usize, key: u32): u32 {
  const tables = tablesOf(page, key >> 12);
  if (tables == 0) return 0;
  const table = <usize>load<u32>(lineEntry(tables, key));
  return table == 0 ? 0 : load<u32>(uopEntry(table, key));
}

export function setUop(vcpu: usize, page: usize, key: u32, uop: u32): void {
  let tables = tablesOf(page, key >> 12);
  if (tables == 0) {
    tables = take(vcpu, MODE_BYTES);
    store<u32>(tables, key >> 12, MODE_MODE);
    store<u32>(tables, load<u32>(page, PAGE_MODES), MODE_NEXT);
    store<u32>(page, <u32>tables, PAGE_MODES);
  }
  const line = lineEntry(tables, key);
  if (load<u32>(line) == 0) store<u32>(line, <u32>take(vcpu, TABLE_BYTES));
  store<u32>(uopEntry(<usize>load<u32>(line), key), uop);
}

/** There is one. */
export function clearUop(page: usize, key: u32): void { store<u32>(uopEntry(<usize>load<u32>(lineEntry(tablesOf(page, key >> 12), key)), key), 0); }

/**
 * Calls `visit` for what may reach into the given 64-byte lines, a bit each: also for what begins less than an instruction before one. It may
 * clear what it is called for.
 */
export function eachUopNear(vcpu: usize, page: usize, lines: u64, visit: (vcpu: usize, page: usize, key: u32, uop: u32, lines: u64) => void): void {
  for (let tables = <usize>load<u32>(page, PAGE_MODES); tables != 0; tables = <usize>load<u32>(tables, MODE_NEXT)) {
    const mode = load<u32>(tables, MODE_MODE) << 12;
    for (let line: u32 = 0; line < LINES; line++) {
      const table = <usize>load<u32>(tables + line * 4, MODE_LINES);
      if (table == 0) continue;
      const from: u32 = ((lines >> line) & 1) != 0 ? 0 : line < LINES - 1 && ((lines >> (line + 1)) & 1) != 0 ? LINE_BYTES - MAX_LENGTH + 1 : LINE_BYTES;
      for (let at = from; at < LINE_BYTES; at++) {
        const uop = load<u32>(table + at * 4);
        if (uop != 0) visit(vcpu, page, (line << LINE_SHIFT) | at | mode, uop, lines);
      }
    }
  }
}

export function isDecoded(page: usize, offset: u32): bool { return ((<u32>load<u8>(page + (offset >> 3), PAGE_DECODED) >> (offset & 7)) & 1) != 0; }
export function setDecoded(page: usize, offset: u32): void {
  const at = page + (offset >> 3), bit: u32 = 1 << (offset & 7);
  store<u8>(at, <u8>(<u32>load<u8>(at, PAGE_DECODED) | bit), PAGE_DECODED);
}

// --- lists ---

/** Where the list of a key's line begins. @param lists PAGE_WAITING, PAGE_STALE */
export function listOf(page: usize, lists: usize, key: u32): usize { return page + lists + ((key >> LINE_SHIFT) & (LINES - 1)) * 4; }

/** Is there room for a node, also between two runs? */
export function hasNode(vcpu: usize): bool {
  return load<u32>(vcpu, CODE_FREE_NODES) != 0 || load<u32>(vcpu, CODE_LOWEST) - load<u32>(vcpu, CODE_NEXT) >= NODE_BYTES;
}

/** A new node at the beginning of a list. */
export function addNode(vcpu: usize, list: usize, first: u32, second: u32): void {
  let node = <usize>load<u32>(vcpu, CODE_FREE_NODES);
  if (node != 0) store<u32>(vcpu, load<u32>(node), CODE_FREE_NODES);
  else node = take(vcpu, NODE_BYTES);
  store<u32>(node, load<u32>(list));
  store<u32>(node, first, NODE_KEY);
  store<u32>(node, second, NODE_UOP);
  store<u32>(list, <u32>node);
}

/** @param link what leads to the node: the list, or the node before it; it leads to the next one then */
export function dropNode(vcpu: usize, link: usize): void {
  const node = <usize>load<u32>(link);
  store<u32>(link, load<u32>(node));
  store<u32>(node, load<u32>(vcpu, CODE_FREE_NODES));
  store<u32>(vcpu, <u32>node, CODE_FREE_NODES);
}
