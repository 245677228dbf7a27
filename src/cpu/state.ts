/**
 * The state of one virtual CPU in memory 0, declared once. Register fields named in micro-ops are byte offsets into this record.
 * Implements: SDM vol. 1 3.4 Basic Program Execution Registers, vol. 3A 2.1 System Registers; bhyve's segment access word.
 * Runs on: the vCPU's own thread writes; others read only while the vCPU is stopped, except the fields marked "shared".
 */
import { field, layout } from '../base/layout.ts';

/** Order of the general registers in instruction encodings (SDM vol. 2A 2.1). */
export const GPR_NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;

/** Segment registers in their encoding order, then the two system ones. Arrays `seg*` are indexed by this. */
export const SEG = { ES: 0, CS: 1, SS: 2, DS: 3, FS: 4, GS: 5, LDTR: 6, TR: 7 } as const;

export const VCPU = layout('VCPU', {
  // --- slots reached by a micro-op's byte-sized fields: all below 256 ---
  gpr: field('u64', 'rax rcx rdx rbx rsp rbp rsi rdi r8..r15', { count: 16, at: 0 }),
  zero: field('u64', 'always 0: an absent base, index or segment', { at: 0x80 }),
  ripPage: field('u64', 'rip of byte 0 of the page being executed: rip = ripPage + offset of the micro-op', { at: 0x88 }),
  segBase: field('u64', 'base of ES CS SS DS FS GS LDTR TR', { count: 8, at: 0x90 }),

  // --- instruction pointer and flags ---
  rip: field('u64', 'instruction pointer; valid while no handler runs, and where a helper is told so', { at: 0x100 }),
  nextRip: field('u64', 'rip after the present instruction, for helpers which ask for it'),
  rflags: field('u64', 'RFLAGS without CF PF AF ZF SF OF (those bits are 0 here); bit 1 is set'),
  flagP: field('u64', 'lazy flags: first value, zero-extended to 64 bits'),
  flagQ: field('u64', 'lazy flags: second value'),
  flagR: field('u64', 'lazy flags: result of a later rotate'),
  flagOp: field('u32', 'lazy flags: size 0-1, kind 2-7, rotate overlay 8-11, shift count 16-'),
  budget: field('i32', 'guest instructions left, plus (address of the entry micro-op >> 5)'),
  exitUop: field('u32', 'micro-op that left the handlers'),
  fault: field('u32', 'exception raised by a helper: 0 none, else vector + 1'),
  faultError: field('u32', 'error code of `fault`'),
  faultHasError: field('u32', '1 when `fault` pushes an error code'),
  faultAddress: field('u64', 'CR2 of a page fault; written to cr2 on delivery'),
  shadow: field('u32', 'interrupt shadow: 1 STI, 2 MOV SS / POP SS; ends after the next instruction'),
  cpl: field('u32', 'current privilege level'),
  mode: field('u32', 'key of decoded code: MODE_* in bits 0-1, MODE_FPU_TRAP'),
  tlb: field('u32', 'address of the TLB of the present access class'),
  stackMask: field('u64', 'mask of rSP as an address: 0xffff, 0xffffffff or all ones'),

  // --- segments ---
  segSelector: field('u32', 'selector of ES CS SS DS FS GS LDTR TR', { count: 8 }),
  segAccess: field('u32', 'type 0-4 (with S), DPL 5-6, P 7, AVL 12, L 13, D 14, G 15, unusable 16', { count: 8 }),
  segLimit: field('u32', 'limit in bytes, granularity applied', { count: 8 }),
  gdtrBase: field('u64', ''),
  idtrBase: field('u64', ''),
  gdtrLimit: field('u32', ''),
  idtrLimit: field('u32', ''),

  // --- SIMD and x87 ---
  vector: field('v128', 'XMM/YMM 0-15, 32 bytes each: the XMM half first', { count: 32, at: 0x200 }),
  fpr: field('v128', 'physical x87 registers 0-7: 10 bytes each, MMX in the low 8', { count: 8, at: 0x400 }),
  mxcsr: field('u32', ''),
  fcw: field('u32', 'x87 control word'),
  fsw: field('u32', 'x87 status word with TOP'),
  ftw: field('u32', 'bit n: physical register n is in use (the FXSAVE form)'),
  fop: field('u32', 'x87 last opcode'),
  fcs: field('u32', ''),
  fds: field('u32', ''),
  fip: field('u64', 'x87 last instruction pointer'),
  fdp: field('u64', 'x87 last data pointer'),

  // --- control, debug and model-specific registers ---
  cr0: field('u64', '', { at: 0x500 }),
  cr2: field('u64', ''),
  cr3: field('u64', ''),
  cr4: field('u64', ''),
  cr8: field('u64', 'TPR bits 7:4'),
  efer: field('u64', ''),
  xcr0: field('u64', ''),
  dr: field('u64', 'DR0-DR7', { count: 8 }),
  star: field('u64', ''),
  lstar: field('u64', ''),
  cstar: field('u64', ''),
  sfmask: field('u64', 'IA32_FMASK'),
  kernelGsBase: field('u64', ''),
  sysenterCs: field('u64', ''),
  sysenterEsp: field('u64', ''),
  sysenterEip: field('u64', ''),
  pat: field('u64', ''),
  tscAux: field('u64', ''),
  tscOffset: field('u64', ''),
  apicBase: field('u64', ''),
  miscEnable: field('u64', ''),
  mtrrDefType: field('u64', ''),
  mtrrFixed: field('u64', '', { count: 11 }),
  mtrrVariable: field('u64', 'base, mask pairs', { count: 20 }),
  mcgStatus: field('u64', ''),
  debugctl: field('u64', ''),
  tscAdjust: field('u64', ''),
  pdpte: field('u64', 'PAE page directory pointers as loaded by MOV CR3', { count: 4 }),

  // --- events and exits ---
  requests: field('u32', 'shared, atomic OR: REQUEST_* bits others set to get attention', { at: 0x800 }),
  running: field('u32', 'shared: 1 while inside run()'),
  nmiBlocked: field('u32', '1 from NMI delivery until IRET'),
  nmiPending: field('u32', 'shared: an NMI waits'),
  intinfo: field(
    'u64',
    'event that was in delivery, bhyve format: vector 0-7, type 8-10, bit 11 error valid, bit 31 valid, error code above',
  ),
  injected: field('u64', 'exception to inject at next entry, same format'),
  halted: field('u32', '1 after HLT, until an event'),
  look: field('u32', 'LOOK_* bits: why the run loop must look before the next instruction; 0 nearly always'),
  apicId: field('u32', 'index of this vCPU'),
  capabilities: field('u32', 'CAPABILITY_* bits'),
  exitReason: field('u32', 'VM exit number, bhyve numbering (vmm/exits)'),
  exitWidthBytes: field('u32', '1, 2, 4 or 8'),
  exitIn: field('u32', '1 for IN or a read'),
  exitPort: field('u32', ''),
  exitCode: field('u32', 'MSR number, suspend reason, vector'),
  exitGpa: field('u64', 'address of a device access'),
  exitValue: field('u64', 'value written, or the answer'),
  bounceGva: field('u64', 'linear address of a read-modify-write that goes through the bounce page'),
  bounceGpa: field('u64', 'its two guest-physical pieces', { count: 2 }),
  bounceSizeBytes: field('u32', ''),
  bounceKind: field('u32', '0 none, 1 RAM across pages or with code, 2 device'),
  retired: field('u64', 'guest instructions executed'),
  tlbLogCount: field('u32', 'filled slots logged, non-global', { count: 4 }),
  tlbGlobalLogCount: field('u32', 'filled slots logged, global', { count: 4 }),
  scratch: field('u64', 'for helpers that return more than one value', { count: 16 }),
  counters: field('u64', 'statistics: vmm/stats names them', { count: 40 }),
  translatedGpa: field('u64', 'guest-physical address of the last translation which did not end in RAM'),
  walkGeneration: field('u32', 'part of every tag in VCPU_WALK_CACHE: another number empties it'),
  walkError: field('u32', 'page-fault error code of the last page walk that failed'),
  pendingDebug: field('u32', 'DR6 bits of data breakpoints hit by the present instruction; a trap #DB follows it'),
  tlbLarge: field('u64', 'filter of 2 MiB (0-31) and 1 GiB (32-35) regions with a large page in the TLB: INVLPG inside one flushes all', {
    count: 36,
  }),
  specCtrl: field('u64', 'IA32_SPEC_CTRL: kept; nothing here speculates'),

  // --- floating-point helpers (cpu/assembly/softfloat.ts, x87.ts, sse.ts) ---
  fpuOperand: field('u64', 'data pointer of the present x87 instruction, stored by its handler: goes to fdp with an unmasked exception'),
  fpuOpcode: field('u32', 'its 11-bit opcode, stored by its handler: goes to fop with an unmasked exception'),
  fpuPending: field('u32', 'status flags of a computed but not yet committed x87 store; bit 31: a store is under way'),
  softfloat: field('u64', 'work area of softfloat.ts', { count: 48 }),
  image: field('u64', 'FXSAVE, FSAVE and FSTENV images on their way between the record and guest memory', { count: 64 }),
});

/** Code size of the present code segment. */
export const MODE_16 = 0,
  MODE_32 = 1,
  MODE_64 = 2;
/** Of `mode`: those. */
export const CODE_SIZE_MASK = 3;
/**
 * Bit of `mode`: x87, MMX or SSE instructions might be refused (CR0.EM or TS set, CR4.OSFXSR clear), so code decoded under
 * this key checks before each of them. Code decoded without it checks nothing.
 */
export const MODE_FPU_TRAP = 4;

/**
 * TLB of each access class: who is asking decides which pages it may see. SLOW is never filled, so that every access takes the
 * slow path: alignment checking (CR0.AM, RFLAGS.AC, CPL 3) and data breakpoints live there.
 */
export const ACCESS_SUPERVISOR = 0,
  ACCESS_SUPERVISOR_AC = 1,
  ACCESS_USER = 2,
  ACCESS_SLOW = 3;

export * from '../base/vcpu-words.ts';
