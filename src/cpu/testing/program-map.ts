/**
 * Where the programs of the lockstep tests find things: linear addresses, and the physical pages behind them.
 *
 * Neighbours in linear memory are no neighbours in physical memory. The code can be reached at two addresses, and each of its pages has a
 * copy that can be mapped in its place; the page table lies in the data, so that programs change their own mapping.
 * Runs on: any thread; constants only.
 */
export const PAGE = 4096;
export const RAM_BYTES = 0x70000;

// Physical and linear alike: what the processor and the handlers need.
export const PML4 = 0x1000,
  PDPT = 0x2000,
  PD = 0x3000,
  PT = 0x4000,
  PAE_PDPT = 0x5000,
  GDT = 0x6000,
  IDT = 0x7000,
  TSS = 0x9000,
  HANDLERS = 0xa000,
  HANDLER_STACK_TOP = 0xd000,
  /** u32: exceptions so far; u32: interrupts so far; u32: SYSCALLs. */
  COUNTS = 0xe000,
  /** What FXSAVE saved at the last exception. */
  FXSAVE_IMAGE = 0xe200,
  /** u16 for each byte of code: offset of the instruction that follows the one which starts there, 0 where none does. */
  NEXT_TABLE = 0x10000;

/** Code, and its second address. Its pages lie at CODE_GPA in another order, their copies COPY_BIT above. */
export const CODE = 0x20000,
  CODE_ALIAS = 0x40000,
  CODE_PAGES = 4,
  CODE_BYTES = CODE_PAGES * PAGE,
  CODE_GPA = 0x30000,
  COPY_BIT = 0x8000;
/** Where the program begins: near the end of its first page. */
export const ENTRY = 0xe80;

export const DATA = 0x50000,
  DATA_PAGES = 8,
  DATA_BYTES = DATA_PAGES * PAGE,
  DATA_GPA = 0x50000;
/** The page table, seen as data; out of reach of REP. */
export const PT_WINDOW = 0x68000;
/** Loop counters and pointers of the program, in the last data page. */
export const SLOTS = DATA + DATA_BYTES - 0x100;
export const STACK = 0x60000,
  STACK_PAGES = 4,
  STACK_TOP = STACK + STACK_PAGES * PAGE - 0x100;

/** Many pages, all of them the data's in turn: a place of its own for each access that is to fault. The page table ends with them. */
export const WINDOW = 0x80000,
  LINEAR_END = 0x200000,
  WINDOW_PAGES = (LINEAR_END - WINDOW) / PAGE;

/** Interrupt vectors: reload CR3; an interrupt from outside. */
export const VECTOR_RELOAD = 0x80,
  VECTOR_EXTERNAL = 0x40;
