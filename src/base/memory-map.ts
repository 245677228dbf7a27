/**
 * The one map of memory 0 (shared, 32-bit): machine state. Memory 1 (part of it, or one of its own: cpu/guest-ram.ts) is guest RAM and ROM.
 * Plain integer constants only, because AssemblyScript reads this file too. Sizes in bytes.
 *
 *   0x0000_0000  guard: nothing lives at address 0
 *   0x0000_1000  VM: life cycle, clock, guest-physical map
 *   0x0001_0000  devices which all vCPUs share: IOAPIC PIC PIT HPET RTC PM timer
 *   0x0002_0000  port modes and port shadows, one byte per I/O port
 *   0x0004_0000  ring of posted writes
 *   0x0005_0000  PCI configuration address, and which functions there are
 *   0x0008_0000  CPUID and MSR tables
 *   0x0010_0000  tables of the decoder; handlers by line and variant; pairs of handlers
 *   0x0100_0000  code lines: one u64 per page of memory 1, a bit per 64 bytes that have been decoded
 *   0x0300_0000  PCI configuration space of every function (resident is only what is there)
 *   0x0400_0000  vCPU 0, vCPU 1, ... 64 MiB apart (resident is only what they touch)
 */
export const WASM_PAGE_BYTES = 65536;

export const VM_BASE = 0x1000;
export const GUEST_MAP = 0x2000;
/** u32 number of ranges; the ranges, sorted by gpa, page-aligned and half open: { gpa u64, end u64, hva u64, protection u32 (PROTECTION_*), 0 u32 }. */
export const GUEST_MAP_COUNT = 0x2000;
export const GUEST_MAP_RANGES = 0x2010;
export const GUEST_MAP_RANGE_BYTES = 32;
export const GUEST_MAP_MAXIMUM = 64;
export const PROTECTION_READ = 1,
  PROTECTION_WRITE = 2,
  PROTECTION_EXEC = 4;
/** Words between the vCPUs' threads and the owner of the VM: vmm/host-state.ts. */
export const VM_HOST = 0x1e00;
export const VM_DEVICES = 0x10000;
export const PORT_MODES = 0x20000;
export const PORT_SHADOWS = 0x30000;
export const POSTED_RING = 0x40000;
export const POSTED_RING_BYTES = 0x10000;
/** u32: the register at CF8h; a bit per function that answers, by bus << 8 | slot << 3 | function: vmm/assembly/ports.ts. */
export const PCI_CONFIG_ADDRESS = 0x50000;
export const PCI_FUNCTIONS = 0x52000;
export const PCI_FUNCTIONS_BYTES = 0x2000;
export const CPUID_TABLE = 0x80000;
/** u32 number of rows at CPUID_TABLE; rows sorted by leaf, subleaf: { leaf, subleaf (or CPUID_ANY_SUBLEAF), eax, ebx, ecx, edx }, u32 each. */
export const CPUID_ROWS = 0x80010;
export const CPUID_ROW_BYTES = 24;
export const CPUID_ANY_SUBLEAF = -1;
export const MSR_TABLE = 0x90000;
/** u32 number of rows at MSR_TABLE; rows { msr u32, MSR_WRITE_* u32, value u64 } of constant registers. */
export const MSR_ROWS = 0x90010;
export const MSR_ROW_BYTES = 16;
export const MSR_WRITE_FAULTS = 0,
  MSR_WRITE_IGNORED = 1;
/** 256 x u32: CRC-32C of each byte; cpu.wasm fills it in at first use. */
export const CRC32C_TABLE = 0x98000;
/** What the decoder reads of the declarations: cpu/decode/codes.ts IMAGE_*. */
export const DECODE_IMAGE = 0x100000;
export const DECODE_IMAGE_END = 0x120000;
/** u16 handler by line * VARIANTS + variant; 0: there is none. */
export const HANDLER_MANIFEST = 0x140000;
export const HANDLER_MANIFEST_END = 0x200000;
/** u8 by handler: which first, which second of a pair it is, 0 for none; u16 by first << 8 | second: the handler that does both. */
export const PAIR_FIRSTS = 0x200000;
export const PAIR_SECONDS = 0x210000;
export const PAIR_HANDLERS = 0x220000;
export const CODE_LINES = 0x1000000;
export const CODE_LINES_BYTES = 0x2000000;
/** What the configuration registers read as: 256 bytes a function, by its number; the main loop writes, as dwords. */
export const PCI_CONFIG = 0x3000000;
export const PCI_CONFIG_FUNCTION_BYTES = 256;

export const VCPUS = 0x4000000;
export const VCPU_STRIDE = 0x4000000;

// Within a vCPU's 64 MiB.
export const VCPU_STATE_BYTES = 0x1000;
export const VCPU_LAPIC = 0x1000;
export const VCPU_LAPIC_BYTES = 0x1000;
/** Copy of a micro-op followed by a stop, for single steps. */
export const VCPU_STEP_UOPS = 0x2000;
/** Where the page tables of recently walked 2 MiB regions lie (4-level paging): 64 x { tag u64, hva of the table u64, AND and OR of the entries above u64 }. */
export const VCPU_WALK_CACHE = 0x8000;
export const WALK_CACHE_ENTRIES = 64;
export const WALK_CACHE_ENTRY_BYTES = 32;
/** Pages with code that may be stored to, by the slow path: 64 x { linear page and class u64, walkGeneration u64, addend u64, 0 u64 }. */
export const VCPU_CODE_PAGES = 0x8800;
export const CODE_PAGES_ENTRIES = 64;
/** Words between this vCPU's thread and the owner of the VM: vmm/host-state.ts. */
export const VCPU_HOST = 0x10000;
/** Logs of filled slots of the TLBs (u32 entry addresses): non-global, then global, for each class that is filled. */
export const VCPU_TLB_LOGS = 0x20000;
export const TLB_LOG_ENTRIES = 2048;
/** Where indirect jumps of tier 0 went: 8192 x { rip of the jump u64, of its target u64 }, see cpu/interp/seen-targets.ts. */
export const VCPU_TARGETS = 0x40000;
export const TARGETS_ENTRIES = 8192;
export const TARGETS_SHIFT = 4;
/** Records of pages with decoded code, by the number of their page in memory 1: 4096 x u32 address of a table of 1024 x u32; 0: none. */
export const VCPU_CODE_DIRECTORY = 0x60000;
/** What is known of decoded code as a whole: cpu/assembly/code.ts CODE_*. */
export const VCPU_CODE = 0x64000;
/** u32: not 0 while tier 1 waits for entries to be decoded. */
export const VCPU_CODE_AWAITED = 0x6401c;
/** 5 x u32: instructions decoded, runs of them, times that a page's code was written, that all was forgotten, that the code cache did not know a place. */
export const VCPU_CODE_STATISTICS = 0x64020;
/**
 * u64: what was proved about where linear addresses fetch from. Bits 0-1 are the access class, 2-4 `mode`; the rest counts the events that may
 * drop such a translation of that class, and regions that are removed. What was found under another value is looked up again. Not in the record, because no reset
 * may set it back.
 */
export const VCPU_FETCH_PROOF = 0xc8000;
export const FETCH_PROOF_MODE_SHIFT = 2;
export const FETCH_PROOF_STEP = 32;
/** u32 address: the innermost nested guest call's place in VCPU_RETURNS. */
export const VCPU_RETURN_TOP = 0xc8008;
/** By access class, what stands behind the fetch proof: 4 x { its part of the count u64, 1 while non-global code may be mapped u64, lowest and highest page whose exec tag gave way to another u64 }. */
export const VCPU_FETCH_CLASSES = 0xc8020;
export const FETCH_CLASS_BYTES = 32;
/** Regions that were jumped to, found by linear address: 4096 x { rip u64, fetch proof u64, micro-op u32, its handler u32, 0 u64 }. */
export const VCPU_JUMPS = 0xd0000;
export const JUMPS_ENTRIES = 4096;
export const JUMPS_SHIFT = 5;
/** Return addresses of nested guest calls, u64 each; a frame takes a place for each RETURN_FRAME_BYTES of the host's stack that it is expected to need. */
export const VCPU_RETURNS = 0xf0000;
/** No place beyond this offset is used to nest further. */
export const VCPU_RETURNS_END = 0xf2000;
export const RETURN_FRAME_BYTES = 512;
/** Where a physical code address has its micro-op: 32768 sets of two x { key u64, micro-op u32, jumps left before it is hot u32 }; the newer one first. */
export const VCPU_CODE_CACHE = 0x100000;
export const CODE_CACHE_SETS = 32768;
export const CODE_CACHE_ENTRY_BYTES = 16;
export const CODE_CACHE_SET_SHIFT = 5;
/** Software TLBs: four access classes of 16384 entries of 32 bytes. The last is never filled: every access takes the slow path. */
export const VCPU_TLB = 0x200000;
export const TLB_ENTRIES = 16384;
export const TLB_ENTRY_BYTES = 32;
export const TLB_BYTES = 0x80000;
export const TLB_CLASSES = 4;
/** A linear address shifted right by this, and masked, is its entry's offset in a TLB. */
export const TLB_INDEX_SHIFT = 7,
  TLB_INDEX_MASK = (TLB_ENTRIES - 1) << 5;
export const VCPU_UOPS = 0x400000;
/** Micro-ops from here on upwards; from the end downwards what is known of the pages they come from. */
export const VCPU_UOPS_END = 0x3f00000;
/** A bit for each page of memory 1 of which tier 1 wants to know that its code was written. */
export const VCPU_TIER1_PAGES = 0x3f00000;
/** By region slot: the micro-op that the region stands in for. */
export const VCPU_REGION_UOPS = 0x3f80000;

// A TLB entry. A tag is the linear page address (low 12 bits 0), or -1 when that access is not allowed without the slow path.
export const TLB_READ = 0;
export const TLB_WRITE = 8;
export const TLB_EXEC = 16;
export const TLB_ADDEND = 24;

/** Guest-physical 0 lies here in memory 1; below are bounce pages, one of 256 bytes per vCPU, so that `hva < HVA_RAM` tells them apart. */
export const HVA_RAM = 0x10000;
export const BOUNCE_BYTES = 256;
export const PAGE_BYTES = 4096;

// A micro-op: 32 bytes.
export const UOP_BYTES = 32;
export const UOP_SHIFT = 5;
export const UOP_HANDLER = 0;
export const UOP_REG0 = 2;
export const UOP_REG1 = 4;
export const UOP_REG2 = 6;
export const UOP_BASE = 8;
export const UOP_INDEX = 9;
export const UOP_SCALE = 10;
/** Byte offset of the segment's base in the vCPU record (the zero slot where it is flat). */
export const UOP_SEGMENT = 11;
/** Offset of the instruction in its page, 0..4095 (next: plus length). */
export const UOP_OFFSET = 12;
export const UOP_LENGTH = 14;
/** Bits 0-1 log2 of the address size in bytes minus 1 (0 16-bit, 1 32-bit, 2 64-bit); bits 2-4 segment register number. */
export const UOP_ATTRIBUTES = 15;
export const UOP_DISP = 16;
/** Micro-op that a direct jump inside the page goes to, or 0 while unknown (shares UOP_DISP: such lines have no memory operand). */
export const UOP_TARGET = 16;
export const UOP_HEAT = 20;
export const UOP_IMM = 24;

/** Places in a vCPU's `counters` that wasm counts itself; vmm/stats.ts names all of them. */
export const COUNTER_NMI = 17;
export const COUNTER_EXTINT = 18;
export const COUNTER_TLB_MISS = 19;
/** Counted by the vCPU's thread for tier 1: cpu/jit/statistics.ts. */
export const COUNTER_TIER1 = 20;
