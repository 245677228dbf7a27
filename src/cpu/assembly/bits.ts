/**
 * Bits of the control, debug and segment registers, and the vectors of exceptions.
 * Implements: SDM vol. 3A 2.5 Control Registers, 3.4.5 Segment Descriptors, 6.3 Sources of Interrupts, 18.2 Debug Registers.
 * Runs on: the vCPU's own thread; holds no state.
 */
export const VECTOR_DE: u32 = 0, VECTOR_DB: u32 = 1, VECTOR_NMI: u32 = 2, VECTOR_BP: u32 = 3, VECTOR_OF: u32 = 4, VECTOR_BR: u32 = 5, VECTOR_UD: u32 = 6,
  VECTOR_NM: u32 = 7, VECTOR_DF: u32 = 8, VECTOR_TS: u32 = 10, VECTOR_NP: u32 = 11, VECTOR_SS: u32 = 12, VECTOR_GP: u32 = 13, VECTOR_PF: u32 = 14,
  VECTOR_MF: u32 = 16, VECTOR_AC: u32 = 17, VECTOR_MC: u32 = 18, VECTOR_XM: u32 = 19;

export const CR0_PE: u64 = 1, CR0_MP: u64 = 2, CR0_EM: u64 = 4, CR0_TS: u64 = 8, CR0_ET: u64 = 0x10, CR0_NE: u64 = 0x20, CR0_WP: u64 = 0x10000, CR0_AM: u64 = 0x40000,
  CR0_NW: u64 = 0x20000000, CR0_CD: u64 = 0x40000000, CR0_PG: u64 = 0x80000000;
export const CR0_KNOWN: u64 = 0xe005003f;

export const CR4_TSD: u64 = 4, CR4_DE: u64 = 8, CR4_PSE: u64 = 0x10, CR4_PAE: u64 = 0x20, CR4_MCE: u64 = 0x40, CR4_PGE: u64 = 0x80, CR4_PCE: u64 = 0x100,
  CR4_OSFXSR: u64 = 0x200, CR4_OSXMMEXCPT: u64 = 0x400, CR4_UMIP: u64 = 0x800, CR4_FSGSBASE: u64 = 0x10000, CR4_PCIDE: u64 = 0x20000, CR4_OSXSAVE: u64 = 0x40000,
  CR4_SMEP: u64 = 0x100000, CR4_SMAP: u64 = 0x200000;
/** What CPUID offers; VME and PVI belong to virtual-8086 mode, which is not offered. */
export const CR4_KNOWN: u64 = 0x370ffc;

export const EFER_SCE: u64 = 1, EFER_LME: u64 = 0x100, EFER_LMA: u64 = 0x400, EFER_NXE: u64 = 0x800;

export const XCR0_X87: u64 = 1, XCR0_SSE: u64 = 2;

/** Segment access word: as in the second dword of a descriptor from bit 8, and "unusable". */
export const ACCESS_TYPE: u32 = 0x1f, ACCESS_S: u32 = 0x10, ACCESS_CODE: u32 = 8, ACCESS_EXPAND_DOWN: u32 = 4, ACCESS_CONFORMING: u32 = 4, ACCESS_WRITABLE: u32 = 2,
  ACCESS_READABLE: u32 = 2, ACCESS_ACCESSED: u32 = 1, ACCESS_P: u32 = 0x80, ACCESS_L: u32 = 0x2000, ACCESS_DB: u32 = 0x4000, ACCESS_G: u32 = 0x8000,
  ACCESS_UNUSABLE: u32 = 0x10000;

export const SEG_ES: u32 = 0, SEG_CS: u32 = 1, SEG_SS: u32 = 2, SEG_DS: u32 = 3, SEG_FS: u32 = 4, SEG_GS: u32 = 5, SEG_LDTR: u32 = 6, SEG_TR: u32 = 7;

/** MAXPHYADDR as CPUID 80000008h says. */
export const PHYSICAL_ADDRESS_BITS: u64 = 46;

export const DR6_FIXED: u64 = 0xffff0ff0, DR6_BD: u64 = 0x2000, DR6_BS: u64 = 0x4000, DR6_BT: u64 = 0x8000, DR7_GD: u64 = 0x2000, DR7_FIXED: u64 = 0x400;
