/**
 * Port I/O: who may, and the way to the bus.
 * Implements: SDM vol. 1 19.5 Protected-Mode I/O (IOPL, I/O permission bitmap).
 * Runs on: the vCPU's own thread.
 */
import { VCPU_CPL, VCPU_RFLAGS } from '../../generated/vcpu-layout.ts';
import { ACCESS_TYPE, ACCESS_UNUSABLE, SEG_TR } from './bits';
import { faulted, raiseGp } from './faults';
import { busPortRead, busPortWrite } from './imports';
import { systemLoad16, watchPort } from './memory';
import { isProtected, segAccess, segBase, segLimit } from './segments';

/** #GP(0) when the present code may not touch [port, port + sizeBytes). */
export function portCheck(vcpu: usize, port: u32, sizeBytes: u32): void {
  if (!isProtected(vcpu) || load<u32>(vcpu, VCPU_CPL) <= (<u32>(load<u64>(vcpu, VCPU_RFLAGS) >> 12) & 3)) return;
  const access = segAccess(vcpu, SEG_TR), type = access & ACCESS_TYPE, limit = segLimit(vcpu, SEG_TR), tss = segBase(vcpu, SEG_TR);
  if ((access & ACCESS_UNUSABLE) != 0 || (type != 9 && type != 11) || limit < 0x67) {
    raiseGp(vcpu, 0);
    return;
  }
  const map = systemLoad16(vcpu, tss + 0x66);
  if (faulted(vcpu)) return;
  const at = map + ((port & 0xffff) >> 3);
  // Two bytes are always read, so the map ends with one of ones (SDM 1 19.5.2).
  if (at + 1 > limit) {
    raiseGp(vcpu, 0);
    return;
  }
  const bits = systemLoad16(vcpu, tss + at) >> (port & 7);
  if (!faulted(vcpu) && (bits & ((1 << sizeBytes) - 1)) != 0) raiseGp(vcpu, 0);
}

export function portRead(vcpu: usize, port: u32, sizeBytes: u32): u32 {
  watchPort(vcpu, port & 0xffff, sizeBytes);
  return busPortRead(vcpu, port & 0xffff, sizeBytes);
}

export function portWrite(vcpu: usize, port: u32, sizeBytes: u32, value: u32): void {
  watchPort(vcpu, port & 0xffff, sizeBytes);
  busPortWrite(vcpu, port & 0xffff, sizeBytes, value);
}
