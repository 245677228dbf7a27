/**
 * Power-on state of the processor.
 * Implements: SDM vol. 3A 9.1.1 Processor State After Reset, table 9-1.
 * Runs on: the vCPU's own thread, or its owner while it is stopped. The local APIC, its base register and the clock are the vmm's.
 */
import {
  VCPU_BOUNCE_KIND, VCPU_CPL, VCPU_CR0, VCPU_CR2, VCPU_CR3, VCPU_CR4, VCPU_CR8, VCPU_CSTAR, VCPU_DEBUGCTL, VCPU_DR, VCPU_EFER, VCPU_FAULT, VCPU_FCS, VCPU_FCW, VCPU_FDP, VCPU_FDS,
  VCPU_FIP, VCPU_FOP, VCPU_FPR, VCPU_FSW, VCPU_FTW, VCPU_GDTR_BASE, VCPU_GDTR_LIMIT, VCPU_GPR, VCPU_HALTED, VCPU_IDTR_BASE, VCPU_IDTR_LIMIT, VCPU_KERNEL_GS_BASE,
  VCPU_LSTAR, VCPU_MCG_STATUS, VCPU_MISC_ENABLE, VCPU_MTRR_DEF_TYPE, VCPU_MTRR_FIXED, VCPU_MTRR_VARIABLE, VCPU_MXCSR, VCPU_NMI_BLOCKED, VCPU_PAT, VCPU_PDPTE, VCPU_PENDING_DEBUG,
  VCPU_RFLAGS, VCPU_RIP, VCPU_SFMASK, VCPU_SHADOW, VCPU_SPEC_CTRL, VCPU_STAR, VCPU_SYSENTER_CS, VCPU_SYSENTER_EIP, VCPU_SYSENTER_ESP, VCPU_TSC_ADJUST, VCPU_TSC_AUX,
  VCPU_VECTOR, VCPU_XCR0,
} from '../../generated/vcpu-layout.ts';
import { signature } from './cpuid';
import { DR6_FIXED, DR7_FIXED, SEG_CS, SEG_GS, SEG_LDTR, SEG_TR } from './bits';
import { writeFlags } from './flags';
import { setSegment } from './segments';
import { tlbInitialize, updateAccessClass, updateMode } from './tlb';

/** Fast strings on; branch trace and precise event sampling not available. */
const MISC_ENABLE: u64 = 0x1801;
const PAT: u64 = 0x0007040600070406;

/** Put the vCPU into its state after RESET. */
export function resetCpu(vcpu: usize): void {
  memory.fill(vcpu + VCPU_GPR, 0, 16 * 8);
  store<u64>(vcpu + 2 * 8, signature(), VCPU_GPR);
  store<u64>(vcpu, 0xfff0, VCPU_RIP);
  store<u64>(vcpu, 2, VCPU_RFLAGS);
  writeFlags(vcpu, 0);
  store<u32>(vcpu, 0, VCPU_CPL);
  for (let segment: u32 = 0; segment <= SEG_GS; segment++) setSegment(vcpu, segment, 0, 0, 0xffff, 0x93);
  setSegment(vcpu, SEG_CS, 0xf000, 0xffff0000, 0xffff, 0x9b);
  setSegment(vcpu, SEG_LDTR, 0, 0, 0xffff, 0x82);
  setSegment(vcpu, SEG_TR, 0, 0, 0xffff, 0x8b);
  store<u64>(vcpu, 0, VCPU_GDTR_BASE);
  store<u64>(vcpu, 0, VCPU_IDTR_BASE);
  store<u32>(vcpu, 0xffff, VCPU_GDTR_LIMIT);
  store<u32>(vcpu, 0xffff, VCPU_IDTR_LIMIT);
  store<u64>(vcpu, 0x60000010, VCPU_CR0);
  store<u64>(vcpu, 0, VCPU_CR2);
  store<u64>(vcpu, 0, VCPU_CR3);
  store<u64>(vcpu, 0, VCPU_CR4);
  store<u64>(vcpu, 0, VCPU_CR8);
  store<u64>(vcpu, 0, VCPU_EFER);
  store<u64>(vcpu, 1, VCPU_XCR0);
  memory.fill(vcpu + VCPU_DR, 0, 6 * 8);
  store<u64>(vcpu + 48, DR6_FIXED, VCPU_DR);
  store<u64>(vcpu + 56, DR7_FIXED, VCPU_DR);
  memory.fill(vcpu + VCPU_VECTOR, 0, 16 * 32);
  memory.fill(vcpu + VCPU_FPR, 0, 8 * 16);
  store<u32>(vcpu, 0x1f80, VCPU_MXCSR);
  store<u32>(vcpu, 0x40, VCPU_FCW);
  store<u32>(vcpu, 0, VCPU_FSW);
  store<u32>(vcpu, 0xff, VCPU_FTW);
  store<u32>(vcpu, 0, VCPU_FOP);
  store<u32>(vcpu, 0, VCPU_FCS);
  store<u32>(vcpu, 0, VCPU_FDS);
  store<u64>(vcpu, 0, VCPU_FIP);
  store<u64>(vcpu, 0, VCPU_FDP);
  store<u64>(vcpu, 0, VCPU_STAR);
  store<u64>(vcpu, 0, VCPU_LSTAR);
  store<u64>(vcpu, 0, VCPU_CSTAR);
  store<u64>(vcpu, 0, VCPU_SFMASK);
  store<u64>(vcpu, 0, VCPU_KERNEL_GS_BASE);
  store<u64>(vcpu, 0, VCPU_SYSENTER_CS);
  store<u64>(vcpu, 0, VCPU_SYSENTER_ESP);
  store<u64>(vcpu, 0, VCPU_SYSENTER_EIP);
  store<u64>(vcpu, PAT, VCPU_PAT);
  store<u64>(vcpu, 0, VCPU_TSC_AUX);
  store<u64>(vcpu, 0, VCPU_TSC_ADJUST);
  store<u64>(vcpu, MISC_ENABLE, VCPU_MISC_ENABLE);
  store<u64>(vcpu, 0, VCPU_MTRR_DEF_TYPE);
  memory.fill(vcpu + VCPU_MTRR_FIXED, 0, 11 * 8);
  memory.fill(vcpu + VCPU_MTRR_VARIABLE, 0, 20 * 8);
  memory.fill(vcpu + VCPU_PDPTE, 0, 4 * 8);
  store<u64>(vcpu, 0, VCPU_MCG_STATUS);
  store<u64>(vcpu, 0, VCPU_DEBUGCTL);
  store<u64>(vcpu, 0, VCPU_SPEC_CTRL);
  store<u32>(vcpu, 0, VCPU_SHADOW);
  store<u32>(vcpu, 0, VCPU_FAULT);
  store<u32>(vcpu, 0, VCPU_HALTED);
  store<u32>(vcpu, 0, VCPU_NMI_BLOCKED);
  store<u32>(vcpu, 0, VCPU_PENDING_DEBUG);
  store<u32>(vcpu, 0, VCPU_BOUNCE_KIND);
  tlbInitialize(vcpu);
  updateMode(vcpu);
  updateAccessClass(vcpu);
}
