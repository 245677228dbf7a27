/**
 * Guest memory for handlers and helpers: the slow paths behind the inline TLB, probes, bounces, segment checks and code fetch.
 * Implements: docs/internals.md "Memory accesses"; SDM vol. 3A 5.3 Limit Checking, 6.15 #AC, 18.2.4 Debug Control Register (data breakpoints).
 * Runs on: the vCPU's own thread. A store is all or nothing: both pages are probed before a byte is written.
 */
import {
  BOUNCE_BYTES, PAGE_BYTES, TLB_ADDEND, TLB_ENTRIES, TLB_ENTRY_BYTES, TLB_READ, TLB_WRITE, VCPUS, VCPU_STRIDE,
} from '../../base/memory-map.ts';
import {
  VCPU_BOUNCE_GPA, VCPU_BOUNCE_GVA, VCPU_BOUNCE_KIND, VCPU_BOUNCE_SIZE_BYTES, VCPU_CPL, VCPU_CR0, VCPU_CR4, VCPU_DR, VCPU_MODE, VCPU_PENDING_DEBUG, VCPU_RFLAGS,
  VCPU_SCRATCH, VCPU_SEG_ACCESS, VCPU_SEG_BASE, VCPU_SEG_LIMIT, VCPU_TLB as VCPU_TLB_FIELD, VCPU_TRANSLATED_GPA,
} from '../../generated/vcpu-layout.ts';
import {
  ACCESS_CODE, ACCESS_DB, ACCESS_EXPAND_DOWN, ACCESS_READABLE, ACCESS_UNUSABLE, ACCESS_WRITABLE, CR0_AM, CR0_PE, CR4_DE, SEG_SS, VECTOR_AC,
} from './bits';
import { codeWritten } from './code';
import { faulted, raiseAddress, raiseGp } from './faults';
import {
  busMmioRead, busMmioWrite, ramCopy, ramCopyIn, ramCopyOut, ramFill, ramLoad16, ramLoad32, ramLoad64, ramLoad8, ramStore16, ramStore32, ramStore64, ramStore8,
} from './imports';
import { ACCESS_FETCH, ACCESS_READ, ACCESS_WRITE, WHO_SUPERVISOR, WHO_USER } from './paging';
import { raise } from './raise';
import { codeLines, peekPage, presentWho, tlbHit, translatePage, TRANSLATE_DEVICE, TRANSLATE_FAULT, watchesData } from './tlb';

const ALL_ONES: u64 = 0xffffffffffffffff;
const RFLAGS_AC: u64 = 0x40000, RFLAGS_DF: u64 = 0x400;
const BOUNCE_DEVICE_0: u32 = 1, BOUNCE_DEVICE_1: u32 = 2, BOUNCE_ACTIVE: u32 = 4;

export function isCanonical(address: u64): bool { return (<i64>(address << 16) >> 16) == <i64>address; }

function is64(vcpu: usize): bool { return (load<u32>(vcpu, VCPU_MODE) & 3) == 2; }

/** Linear address of the byte `offset` behind: outside 64-bit mode it wraps at 4 GiB. */
function after(vcpu: usize, linear: u64, offset: u64): u64 { return is64(vcpu) ? linear + offset : (linear + offset) & 0xffffffff; }

function canonicalRange(vcpu: usize, linear: u64, sizeBytes: u32, segment: u32): bool {
  if (isCanonical(linear) && (!is64(vcpu) || isCanonical(linear + sizeBytes - 1))) return true;
  raiseAddress(vcpu, segment);
  return false;
}

// --- pieces: at most a page each ---

function mmioLoad(vcpu: usize, gpa: u64, sizeBytes: u32): u64 {
  if (sizeBytes == 1 || sizeBytes == 2 || sizeBytes == 4 || sizeBytes == 8) return busMmioRead(vcpu, gpa, sizeBytes);
  let value: u64 = 0;
  for (let done: u32 = 0; done < sizeBytes;) {
    const part = partOf(sizeBytes - done);
    value |= (busMmioRead(vcpu, gpa + done, part) & maskOf(part)) << (done * 8);
    done += part;
  }
  return value;
}

function mmioStore(vcpu: usize, gpa: u64, sizeBytes: u32, value: u64): void {
  for (let done: u32 = 0; done < sizeBytes;) {
    const part = partOf(sizeBytes - done);
    busMmioWrite(vcpu, gpa + done, part, (value >> (done * 8)) & maskOf(part));
    done += part;
  }
}

/** The widest bus access within `sizeBytes`. */
function partOf(sizeBytes: u32): u32 { return sizeBytes >= 8 ? 8 : sizeBytes >= 4 ? 4 : sizeBytes >= 2 ? 2 : 1; }
function maskOf(sizeBytes: u32): u64 { return ALL_ONES >> (64 - sizeBytes * 8); }

/** @param sizeBytes 1..8, inside one page. @param hva or TRANSLATE_DEVICE, then `gpa` counts. */
function loadPiece(vcpu: usize, hva: u64, gpa: u64, sizeBytes: u32): u64 {
  if (hva == TRANSLATE_DEVICE) return mmioLoad(vcpu, gpa, sizeBytes) & maskOf(sizeBytes);
  if (sizeBytes == 8) return ramLoad64(hva);
  if (sizeBytes == 4) return ramLoad32(hva);
  if (sizeBytes == 2) return ramLoad16(hva);
  if (sizeBytes == 1) return ramLoad8(hva);
  let value: u64 = 0;
  for (let i: u32 = 0; i < sizeBytes; i++) value |= <u64>ramLoad8(hva + i) << (i * 8);
  return value;
}

function storePiece(vcpu: usize, hva: u64, gpa: u64, sizeBytes: u32, value: u64): void {
  if (hva == TRANSLATE_DEVICE) {
    mmioStore(vcpu, gpa, sizeBytes, value);
    return;
  }
  storeRam(hva, sizeBytes, value);
  noteWritten(vcpu, hva, sizeBytes);
}

/** Memory 1 alone: there is no decoded code, or the caller tells. */
function storeRam(hva: u64, sizeBytes: u32, value: u64): void {
  if (sizeBytes == 8) ramStore64(hva, value);
  else if (sizeBytes == 4) ramStore32(hva, <u32>value);
  else if (sizeBytes == 2) ramStore16(hva, <u32>value);
  else for (let i: u32 = 0; i < sizeBytes; i++) ramStore8(hva + i, <u32>(value >> (i * 8)) & 0xff);
}

/** The lines of its page that [hva, hva + sizeBytes) touches. */
function linesOf(hva: u64, sizeBytes: u32): u64 {
  const first = (hva & 0xfff) >> 6, last = ((hva & 0xfff) + sizeBytes - 1) >> 6;
  return (ALL_ONES << first) & (ALL_ONES >> (63 - min(last, 63)));
}

/** Memory 1 has changed: decoded code there is stale. The bytes lie in one page and have been stored already. */
function noteWritten(vcpu: usize, hva: u64, sizeBytes: u32): void {
  const code = codeLines(hva);
  if (code == 0) return;
  const touched = code & linesOf(hva, sizeBytes);
  if (touched == 0) return;
  codeWritten(vcpu, hva, touched);
}

// --- checks of the slow access class ---

/** #AC(0) at CPL 3 with CR0.AM and RFLAGS.AC. @returns true when it is raised */
export function misaligned(vcpu: usize, linear: u64, sizeBytes: u32): bool {
  if ((linear & (sizeBytes - 1)) == 0 || load<u32>(vcpu, VCPU_CPL) != 3) return false;
  if ((load<u64>(vcpu, VCPU_CR0) & CR0_AM) == 0 || (load<u64>(vcpu, VCPU_RFLAGS) & RFLAGS_AC) == 0) return false;
  raise(vcpu, VECTOR_AC, 1, 0);
  return true;
}

/**
 * Processors look at the alignment before they translate the address, whatever SDM table 6-2 says: #AC comes before #PF. Only the first byte
 * has to be canonical by then.
 */
function refused(vcpu: usize, linear: u64, sizeBytes: u32, segment: u32): bool {
  if ((linear & (sizeBytes - 1)) == 0) return false;
  if (isCanonical(linear)) return misaligned(vcpu, linear, sizeBytes);
  raiseAddress(vcpu, segment);
  return true;
}

/** Note which data breakpoints an access hits: the trap comes after the instruction (SDM 18.2.4, 18.2.5). */
function watch(vcpu: usize, linear: u64, sizeBytes: u32, write: bool): void {
  const dr7 = load<u64>(vcpu + 56, VCPU_DR);
  if (!watchesData(dr7)) return;
  let hit: u32 = 0;
  for (let i: usize = 0; i < 4; i++) {
    const kind = <u32>(dr7 >> (16 + i * 4)) & 3, span = spanOf(<u32>(dr7 >> (18 + i * 4)) & 3);
    const start = load<u64>(vcpu + i * 8, VCPU_DR) & ~(span - 1);
    if ((kind & 1) == 0 || (kind == 1 && !write) || linear + sizeBytes <= start || linear >= start + span) continue;
    // A hit of a disabled register may show in DR6 as well; only enabled ones raise. We report the enabled ones.
    if ((dr7 >> (i * 2)) & 3) hit |= 1 << <u32>i;
  }
  if (hit) store<u32>(vcpu, load<u32>(vcpu, VCPU_PENDING_DEBUG) | hit, VCPU_PENDING_DEBUG);
}

/** Note I/O breakpoints, which DR7 has under CR4.DE (R/W = 10). */
export function watchPort(vcpu: usize, port: u32, sizeBytes: u32): void {
  const dr7 = load<u64>(vcpu + 56, VCPU_DR);
  if ((dr7 & 0xff) == 0 || (load<u64>(vcpu, VCPU_CR4) & CR4_DE) == 0) return;
  for (let i: usize = 0; i < 4; i++) {
    if (((dr7 >> (i * 2)) & 3) == 0 || ((dr7 >> (16 + i * 4)) & 3) != 2) continue;
    const span = spanOf(<u32>(dr7 >> (18 + i * 4)) & 3), start = load<u64>(vcpu + i * 8, VCPU_DR) & ~(span - 1);
    if (<u64>port + sizeBytes > start && <u64>port < start + span) store<u32>(vcpu, load<u32>(vcpu, VCPU_PENDING_DEBUG) | (1 << <u32>i), VCPU_PENDING_DEBUG);
  }
}

/** Bytes of a breakpoint by its LEN field. */
function spanOf(code: u32): u64 { return code == 3 ? 4 : code == 2 ? 8 : code == 1 ? 2 : 1; }

/** DR6 bits of the instruction breakpoints at a linear address: a fault before the instruction, which the run loop raises. */
export function instructionBreakpoint(vcpu: usize, linear: u64): u32 {
  const dr7 = load<u64>(vcpu + 56, VCPU_DR);
  let hit: u32 = 0;
  for (let i: usize = 0; i < 4; i++) {
    if ((dr7 >> (i * 2) & 3) != 0 && (dr7 >> (16 + i * 4) & 3) == 0 && load<u64>(vcpu + i * 8, VCPU_DR) == linear) hit |= 1 << <u32>i;
  }
  return hit;
}

// --- accesses ---

/** Bytes of an access that lie in its first page. */
function firstBytes(linear: u64, sizeBytes: u32): u32 { return min(sizeBytes, <u32>(PAGE_BYTES - (linear & 0xfff))); }

function loadAs(vcpu: usize, linear: u64, sizeBytes: u32, segment: u32, who: u32): u64 {
  const quick = tlbHit(vcpu, linear, sizeBytes, TLB_READ, who);
  if (quick != 0) return loadPiece(vcpu, quick, 0, sizeBytes);
  if (!canonicalRange(vcpu, linear, sizeBytes, segment)) return 0;
  const first = firstBytes(linear, sizeBytes), hva = translatePage(vcpu, linear, ACCESS_READ, who);
  if (hva == TRANSLATE_FAULT) return 0;
  const gpa = load<u64>(vcpu, VCPU_TRANSLATED_GPA);
  if (first == sizeBytes) return loadPiece(vcpu, hva, gpa, sizeBytes);
  const hva1 = translatePage(vcpu, after(vcpu, linear, first), ACCESS_READ, who);
  if (hva1 == TRANSLATE_FAULT) return 0;
  const gpa1 = load<u64>(vcpu, VCPU_TRANSLATED_GPA);
  return loadPiece(vcpu, hva, gpa, first) | (loadPiece(vcpu, hva1, gpa1, sizeBytes - first) << (first * 8));
}

function storeAs(vcpu: usize, linear: u64, value: u64, sizeBytes: u32, segment: u32, who: u32): void {
  const quick = tlbHit(vcpu, linear, sizeBytes, TLB_WRITE, who);
  if (quick != 0) {
    storeRam(quick, sizeBytes, value);
    return;
  }
  if (!canonicalRange(vcpu, linear, sizeBytes, segment)) return;
  const first = firstBytes(linear, sizeBytes), hva = translatePage(vcpu, linear, ACCESS_WRITE, who);
  if (hva == TRANSLATE_FAULT) return;
  const gpa = load<u64>(vcpu, VCPU_TRANSLATED_GPA);
  if (first == sizeBytes) {
    storePiece(vcpu, hva, gpa, sizeBytes, value);
    return;
  }
  const hva1 = translatePage(vcpu, after(vcpu, linear, first), ACCESS_WRITE, who);
  if (hva1 == TRANSLATE_FAULT) return;
  const gpa1 = load<u64>(vcpu, VCPU_TRANSLATED_GPA);
  storePiece(vcpu, hva, gpa, first, value);
  storePiece(vcpu, hva1, gpa1, sizeBytes - first, value >> (first * 8));
}

function slowLoad(vcpu: usize, linear: u64, sizeBytes: u32, segment: u32): u64 {
  if (refused(vcpu, linear, sizeBytes, segment)) return 0;
  const value = loadAs(vcpu, linear, sizeBytes, segment, presentWho(vcpu));
  if (faulted(vcpu)) return 0;
  watch(vcpu, linear, sizeBytes, false);
  return value;
}

function slowStore(vcpu: usize, linear: u64, value: u64, sizeBytes: u32, segment: u32): void {
  if (refused(vcpu, linear, sizeBytes, segment)) return;
  storeAs(vcpu, linear, value, sizeBytes, segment, presentWho(vcpu));
  if (!faulted(vcpu)) watch(vcpu, linear, sizeBytes, true);
}

export function slowLoad8(vcpu: usize, gva: u64, segment: u32): u32 { return <u32>slowLoad(vcpu, gva, 1, segment); }
export function slowLoad16(vcpu: usize, gva: u64, segment: u32): u32 { return <u32>slowLoad(vcpu, gva, 2, segment); }
export function slowLoad32(vcpu: usize, gva: u64, segment: u32): u32 { return <u32>slowLoad(vcpu, gva, 4, segment); }
export function slowLoad64(vcpu: usize, gva: u64, segment: u32): u64 { return slowLoad(vcpu, gva, 8, segment); }
export function slowStore8(vcpu: usize, gva: u64, value: u32, segment: u32): void { slowStore(vcpu, gva, value, 1, segment); }
export function slowStore16(vcpu: usize, gva: u64, value: u32, segment: u32): void { slowStore(vcpu, gva, value, 2, segment); }
export function slowStore32(vcpu: usize, gva: u64, value: u32, segment: u32): void { slowStore(vcpu, gva, value, 4, segment); }
export function slowStore64(vcpu: usize, gva: u64, value: u64, segment: u32): void { slowStore(vcpu, gva, value, 8, segment); }

/** 16 bytes to scratch[0..1]. A misaligned one is refused by its instruction (#GP) or allowed: processors raise no #AC for MOVUPS and MOVDQU. */
export function slowLoad128(vcpu: usize, gva: u64, segment: u32): void {
  if (!probeRange(vcpu, gva, 16, segment, ACCESS_READ)) return;
  const who = presentWho(vcpu), low = loadAs(vcpu, gva, 8, segment, who);
  const high = loadAs(vcpu, after(vcpu, gva, 8), 8, segment, who);
  store<u64>(vcpu, low, VCPU_SCRATCH);
  store<u64>(vcpu + 8, high, VCPU_SCRATCH);
  watch(vcpu, gva, 16, false);
}

/** 16 bytes from scratch[0..1]. */
export function slowStore128(vcpu: usize, gva: u64, segment: u32): void {
  if (!probeRange(vcpu, gva, 16, segment, ACCESS_WRITE)) return;
  const who = presentWho(vcpu), low = load<u64>(vcpu, VCPU_SCRATCH), high = load<u64>(vcpu + 8, VCPU_SCRATCH);
  storeAs(vcpu, gva, low, 8, segment, who);
  storeAs(vcpu, after(vcpu, gva, 8), high, 8, segment, who);
  watch(vcpu, gva, 16, true);
}

/**
 * Bytes of the record to guest memory that was probed for writing, page by page.
 * @param from address in memory 0 @param sizeBytes to a device: a multiple of 8
 */
export function storeProbed(vcpu: usize, gva: u64, from: usize, sizeBytes: u32): void {
  for (let done: u32 = 0; done < sizeBytes;) {
    const linear = after(vcpu, gva, done), part = firstBytes(linear, sizeBytes - done), hva = translatePage(vcpu, linear, ACCESS_WRITE, presentWho(vcpu));
    if (hva == TRANSLATE_DEVICE) {
      const gpa = load<u64>(vcpu, VCPU_TRANSLATED_GPA);
      for (let i: u32 = 0; i < part; i += 8) busMmioWrite(vcpu, gpa + i, 8, load<u64>(from + done + i));
    } else {
      ramCopyOut(hva, from + done, part);
      noteWritten(vcpu, hva, part);
    }
    watch(vcpu, linear, part, true);
    done += part;
  }
}

/** Bytes of guest memory that was probed for reading to the record, as `storeProbed`. */
export function loadProbed(vcpu: usize, gva: u64, to: usize, sizeBytes: u32): void {
  for (let done: u32 = 0; done < sizeBytes;) {
    const linear = after(vcpu, gva, done), part = firstBytes(linear, sizeBytes - done), hva = translatePage(vcpu, linear, ACCESS_READ, presentWho(vcpu));
    if (hva == TRANSLATE_DEVICE) {
      const gpa = load<u64>(vcpu, VCPU_TRANSLATED_GPA);
      for (let i: u32 = 0; i < part; i += 8) store<u64>(to + done + i, busMmioRead(vcpu, gpa + i, 8));
    } else {
      ramCopyIn(to + done, hva, part);
    }
    watch(vcpu, linear, part, false);
    done += part;
  }
}

// --- implicit supervisor accesses: descriptor tables, TSS. SMAP holds for them whatever RFLAGS.AC says (SDM 4.6.1) ---

export function systemLoad8(vcpu: usize, gva: u64): u32 { return <u32>loadAs(vcpu, gva, 1, 0, WHO_SUPERVISOR); }
export function systemLoad16(vcpu: usize, gva: u64): u32 { return <u32>loadAs(vcpu, gva, 2, 0, WHO_SUPERVISOR); }
export function systemLoad32(vcpu: usize, gva: u64): u32 { return <u32>loadAs(vcpu, gva, 4, 0, WHO_SUPERVISOR); }
export function systemLoad64(vcpu: usize, gva: u64): u64 { return loadAs(vcpu, gva, 8, 0, WHO_SUPERVISOR); }
export function systemStore8(vcpu: usize, gva: u64, value: u32): void { storeAs(vcpu, gva, value, 1, 0, WHO_SUPERVISOR); }
export function systemStore16(vcpu: usize, gva: u64, value: u32): void { storeAs(vcpu, gva, value, 2, 0, WHO_SUPERVISOR); }
export function systemStore32(vcpu: usize, gva: u64, value: u32): void { storeAs(vcpu, gva, value, 4, 0, WHO_SUPERVISOR); }
export function systemStore64(vcpu: usize, gva: u64, value: u64): void { storeAs(vcpu, gva, value, 8, 0, WHO_SUPERVISOR); }

/** Accesses with the rights of a given class: pushes on the stack of an inner ring while CPL is still the outer one. */
export function loadWith(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32, who: u32): u64 {
  return who == WHO_USER && refused(vcpu, gva, sizeBytes, segment) ? 0 : loadAs(vcpu, gva, sizeBytes, segment, who);
}
export function storeWith(vcpu: usize, gva: u64, value: u64, sizeBytes: u32, segment: u32, who: u32): void {
  if (who != WHO_USER || !refused(vcpu, gva, sizeBytes, segment)) storeAs(vcpu, gva, value, sizeBytes, segment, who);
}

/** May the element of 1, 2, 4 or 8 bytes at `gva` be accessed? Raises what the access would raise. */
export function probeWith(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32, access: u32, who: u32): bool {
  return !(who == WHO_USER && refused(vcpu, gva, sizeBytes, segment)) && probeAs(vcpu, gva, sizeBytes, segment, access, who);
}

function probeAs(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32, access: u32, who: u32): bool {
  if (!canonicalRange(vcpu, gva, sizeBytes, segment)) return false;
  if (translatePage(vcpu, gva, access, who) == TRANSLATE_FAULT) return false;
  const first = firstBytes(gva, sizeBytes);
  return first == sizeBytes || translatePage(vcpu, after(vcpu, gva, first), access, who) != TRANSLATE_FAULT;
}

/** May [gva, gva + sizeBytes) be accessed with the rights of the present access class, whatever its alignment? sizeBytes is at most 4096. @param access ACCESS_READ or ACCESS_WRITE */
export function probeRange(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32, access: u32): bool {
  return probeAs(vcpu, gva, sizeBytes, segment, access, presentWho(vcpu));
}

// --- read-modify-write ---

function bounceOf(vcpu: usize): u64 { return <u64>((vcpu - VCPUS) / VCPU_STRIDE) * BOUNCE_BYTES; }

/**
 * Where a read-modify-write takes place: in RAM, or in this vCPU's bounce place (hva < HVA_RAM), filled with the present bytes;
 * then `commitBounce` follows the store. Checked for writing.
 * @param sizeBytes 1, 2, 4, 8 or 16
 */
export function slowProbe(vcpu: usize, gva: u64, sizeBytes: u32, segment: u32): u64 {
  const bounce = bounceOf(vcpu), who = presentWho(vcpu);
  store<u32>(vcpu, 0, VCPU_BOUNCE_KIND);
  if (refused(vcpu, gva, sizeBytes, segment) || !canonicalRange(vcpu, gva, sizeBytes, segment)) return bounce;
  const first = firstBytes(gva, sizeBytes), hva = translatePage(vcpu, gva, ACCESS_WRITE, who);
  if (hva == TRANSLATE_FAULT) return bounce;
  let kind: u32 = BOUNCE_ACTIVE, place = hva, place1: u64 = 0;
  if (hva == TRANSLATE_DEVICE) {
    kind |= BOUNCE_DEVICE_0;
    place = load<u64>(vcpu, VCPU_TRANSLATED_GPA);
  }
  if (first != sizeBytes) {
    const hva1 = translatePage(vcpu, after(vcpu, gva, first), ACCESS_WRITE, who);
    if (hva1 == TRANSLATE_FAULT) return bounce;
    place1 = hva1;
    if (hva1 == TRANSLATE_DEVICE) {
      kind |= BOUNCE_DEVICE_1;
      place1 = load<u64>(vcpu, VCPU_TRANSLATED_GPA);
    }
  }
  watch(vcpu, gva, sizeBytes, true);
  if (kind == BOUNCE_ACTIVE && first == sizeBytes && (codeLines(hva) & linesOf(hva, sizeBytes)) == 0) return hva;
  readBounce(vcpu, bounce, place, first, (kind & BOUNCE_DEVICE_0) != 0, gva);
  if (first != sizeBytes) readBounce(vcpu, bounce + first, place1, sizeBytes - first, (kind & BOUNCE_DEVICE_1) != 0, after(vcpu, gva, first));
  store<u64>(vcpu, gva, VCPU_BOUNCE_GVA);
  store<u64>(vcpu, place, VCPU_BOUNCE_GPA);
  store<u64>(vcpu + 8, place1, VCPU_BOUNCE_GPA);
  store<u32>(vcpu, sizeBytes, VCPU_BOUNCE_SIZE_BYTES);
  store<u32>(vcpu, kind, VCPU_BOUNCE_KIND);
  return bounce;
}

/** Copy the present bytes in. ROM reads as memory although stores to it go to the bus. */
function readBounce(vcpu: usize, bounce: u64, place: u64, sizeBytes: u32, device: bool, linear: u64): void {
  let hva = place;
  if (device) {
    const readable = translatePage(vcpu, linear, ACCESS_READ, presentWho(vcpu));
    hva = readable == TRANSLATE_FAULT ? TRANSLATE_DEVICE : readable;
  }
  for (let done: u32 = 0; done < sizeBytes;) {
    const part = partOf(sizeBytes - done), value = loadPiece(vcpu, hva == TRANSLATE_DEVICE ? TRANSLATE_DEVICE : hva + done, place + done, part);
    if (part == 8) ramStore64(bounce + done, value);
    else for (let i: u32 = 0; i < part; i++) ramStore8(bounce + done + i, <u32>(value >> (i * 8)) & 0xff);
    done += part;
  }
}

function writeBounce(vcpu: usize, bounce: u64, place: u64, sizeBytes: u32, device: bool): void {
  for (let done: u32 = 0; done < sizeBytes;) {
    const part = partOf(sizeBytes - done);
    let value: u64 = 0;
    for (let i: u32 = 0; i < part; i++) value |= <u64>ramLoad8(bounce + done + i) << (i * 8);
    storePiece(vcpu, device ? TRANSLATE_DEVICE : place + done, place + done, part, value);
    done += part;
  }
}

/** The read-modify-write has stored into the bounce place: carry it to where it belongs. */
export function commitBounce(vcpu: usize): void {
  const kind = load<u32>(vcpu, VCPU_BOUNCE_KIND);
  if (kind == 0) return;
  store<u32>(vcpu, 0, VCPU_BOUNCE_KIND);
  const bounce = bounceOf(vcpu), sizeBytes = load<u32>(vcpu, VCPU_BOUNCE_SIZE_BYTES), first = firstBytes(load<u64>(vcpu, VCPU_BOUNCE_GVA), sizeBytes);
  writeBounce(vcpu, bounce, load<u64>(vcpu, VCPU_BOUNCE_GPA), first, (kind & BOUNCE_DEVICE_0) != 0);
  if (first != sizeBytes) writeBounce(vcpu, bounce + first, load<u64>(vcpu + 8, VCPU_BOUNCE_GPA), sizeBytes - first, (kind & BOUNCE_DEVICE_1) != 0);
}

// --- segments outside 64-bit mode ---

/**
 * Linear address of segment:offset outside 64-bit mode; #GP(0) or #SS(0) by limit and rights.
 * @param sizeBytes 1..512 @param write 1 for a store or a read-modify-write
 * Source: SDM vol. 3A 5.3 Limit Checking, 5.4 Type Checking.
 */
export function legacyAddress(vcpu: usize, segment: u32, offset: u64, sizeBytes: u32, write: u32): u64 {
  const access = load<u32>(vcpu + segment * 4, VCPU_SEG_ACCESS), limit = <u64>load<u32>(vcpu + segment * 4, VCPU_SEG_LIMIT);
  const linear = (load<u64>(vcpu + segment * 8, VCPU_SEG_BASE) + offset) & 0xffffffff, last = offset + sizeBytes - 1;
  // Real mode writes through CS as well: types are checked in protected mode alone.
  const refused = (load<u64>(vcpu, VCPU_CR0) & CR0_PE) != 0
    && ((access & ACCESS_UNUSABLE) != 0 || ((access & ACCESS_CODE) != 0 ? write != 0 || (access & ACCESS_READABLE) == 0 : write != 0 && (access & ACCESS_WRITABLE) == 0));
  if (refused || !withinLimit(access, limit, offset, last)) raiseAddress(vcpu, segment);
  return linear;
}

/** Are the bytes [offset, last] inside the segment? An expand-down one holds what lies above its limit; one of 4 GiB never ends, it wraps. */
export function withinLimit(access: u32, limit: u64, offset: u64, last: u64): bool {
  if ((access & (ACCESS_CODE | ACCESS_EXPAND_DOWN)) == ACCESS_EXPAND_DOWN) return offset > limit && last <= (access & ACCESS_DB ? <u64>0xffffffff : <u64>0xffff);
  return last <= limit || limit == 0xffffffff;
}

// --- code ---

/**
 * Where the byte of code at `linear` lies.
 * @returns hva, or all ones with #GP(0) or #PF raised. Limits of CS are the decoder's business.
 */
export function fetchTranslate(vcpu: usize, linear: u64): u64 {
  if (!isCanonical(linear)) {
    raiseGp(vcpu, 0);
    return ALL_ONES;
  }
  const hva = translatePage(vcpu, linear, ACCESS_FETCH, load<u32>(vcpu, VCPU_CPL) == 3 ? WHO_USER : presentWho(vcpu));
  if (hva == TRANSLATE_DEVICE) {
    raise(vcpu, 6, 0, 0);
    return ALL_ONES;
  }
  return hva;
}

/** Where code at a linear address would be fetched from, asked without changing anything. @returns hva; all ones where there is none */
export function fetchPeek(vcpu: usize, linear: u64): u64 { return isCanonical(linear) ? peekPage(vcpu, linear) : ALL_ONES; }

// --- string instructions in bulk: the plain body does what these refuse ---

/** The hva behind an inline TLB hit, or 0. */
function hit(vcpu: usize, linear: u64, tag: usize): u64 {
  const entry = <usize>load<u32>(vcpu, VCPU_TLB_FIELD) + (<usize>(linear >> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES;
  return load<u64>(entry + tag) == (linear & ~<u64>0xfff) ? linear + load<u64>(entry, TLB_ADDEND) : 0;
}

/** Elements from `linear` up to the end of its page, at most `count`. */
function roomOf(linear: u64, log2Size: u32, count: u64): u64 { return min(count, (PAGE_BYTES - (linear & 0xfff)) >> log2Size); }

/**
 * REP MOVS upwards, as far as one page of each side goes and both are plain RAM in the TLB.
 * @returns elements moved; 0: do one the plain way.
 */
export function stringMove(vcpu: usize, destination: u64, source: u64, count: u64, log2Size: u32): u64 {
  const to = hit(vcpu, destination, TLB_WRITE), from = hit(vcpu, source, TLB_READ);
  if (to == 0 || from == 0) return 0;
  const elements = roomOf(source, log2Size, roomOf(destination, log2Size, count)), sizeBytes = elements << log2Size;
  // An overlap ahead repeats what it has just written; a copy of a piece would not.
  if (to > from && to < from + sizeBytes) return 0;
  if (elements != 0) ramCopy(to, from, sizeBytes);
  return elements;
}

/** Pages that a region's REP does at once before interrupts are let in. */
const BULK_PAGES: u32 = 16;

/** The same over several pages, in a region. @returns elements moved; fewer than `count`: the rest is tier 0's */
export function stringMovePages(vcpu: usize, destination: u64, source: u64, count: u64, log2Size: u32): u64 {
  let done: u64 = 0;
  if ((load<u64>(vcpu, VCPU_RFLAGS) & RFLAGS_DF) != 0) return 0;
  for (let pages = BULK_PAGES; pages > 0 && done < count; pages--) {
    const offset = done << log2Size, moved = stringMove(vcpu, destination + offset, source + offset, count - done, log2Size);
    if (moved == 0) break;
    done += moved;
  }
  return done;
}

/** REP STOS upwards, as far as the page goes. @returns elements stored; 0: do one the plain way. */
export function stringFill(vcpu: usize, destination: u64, value: u64, count: u64, log2Size: u32): u64 {
  const to = hit(vcpu, destination, TLB_WRITE);
  if (to == 0) return 0;
  const elements = roomOf(destination, log2Size, count), byte = value & 0xff, repeated = byte * 0x0101010101010101;
  if (elements == 0) return 0;
  if ((value & maskOf(1 << log2Size)) == (repeated & maskOf(1 << log2Size))) {
    ramFill(to, <u32>byte, elements << log2Size);
  } else {
    const end = to + (elements << log2Size);
    for (let at = to; at < end; at += <u64>1 << log2Size) {
      if (log2Size == 3) ramStore64(at, value);
      else if (log2Size == 2) ramStore32(at, <u32>value);
      else ramStore16(at, <u32>value);
    }
  }
  return elements;
}

/** The same over several pages, in a region. @returns elements stored; fewer than `count`: the rest is tier 0's */
export function stringFillPages(vcpu: usize, destination: u64, value: u64, count: u64, log2Size: u32): u64 {
  let done: u64 = 0;
  if ((load<u64>(vcpu, VCPU_RFLAGS) & RFLAGS_DF) != 0) return 0;
  for (let pages = BULK_PAGES; pages > 0 && done < count; pages--) {
    const stored = stringFill(vcpu, destination + (done << log2Size), value, count - done, log2Size);
    if (stored == 0) break;
    done += stored;
  }
  return done;
}
