/**
 * The one map of what vmm.wasm answers: guest-physical ranges, ports, ISA lines, IOAPIC pins, clock rates, port modes.
 * The device models' own map is bhyve/layout.ts. Plain integer constants only, because AssemblyScript reads this file too. Ranges are half-open.
 * Implements: bhyve-map 2.1 and 2.3. Runs on: any thread; holds no state.
 */

// Guest-physical ranges.
export const LOWMEM_LIMIT_GPA = 0xc0000000;
export const IOAPIC_GPA = 0xfec00000;
export const IOAPIC_END_GPA = 0xfec01000;
export const HPET_GPA = 0xfed00000;
export const HPET_END_GPA = 0xfed00400;
export const LAPIC_GPA = 0xfee00000;
export const LAPIC_END_GPA = 0xfee01000;
export const HIGHMEM_GPA = 0x100000000;

// Ports of the in-core devices.
export const PORT_PIC1 = 0x20;
export const PORT_PIT = 0x40;
export const PORT_NMI_STATUS = 0x61;
export const PORT_RTC_INDEX = 0x70;
export const PORT_RTC_DATA = 0x71;
export const PORT_PIC2 = 0xa0;
export const PORT_PM_TIMER = 0x408;
export const PORT_ELCR1 = 0x4d0;
export const PORT_ELCR2 = 0x4d1;

// ISA lines and IOAPIC pins.
export const IRQ_TIMER = 0;
export const GSI_TIMER = 2;
export const IRQ_CASCADE = 2;
export const IRQ_RTC = 8;
export const IOAPIC_PINS = 32;

// Clock rates.
export const PIT_HZ = 1193182;
export const PM_TIMER_HZ = 3579545;
export const HPET_HZ = 16777216;
export const HPET_PERIOD_FS = 59604644;
export const LAPIC_TIMER_HZ = 134217728;

/**
 * How an access to a port is answered: PORT_MODES holds a byte per port, the low nibble for reads, the high one for writes.
 * EXIT: a synchronous exit to the main loop. IN_CORE: a device of vmm.wasm. SHADOW (reads): the byte in PORT_SHADOWS.
 * POSTED, NOTIFIED (writes): into the posted ring without waiting; NOTIFIED wakes the main loop at once.
 * OPEN_BUS: reads give ones, writes are dropped, nobody is asked.
 * UNLESS_SAME (writes): an exit, but nothing at all where a byte is written that PORT_SHADOWS holds and reads answer from there.
 * PCI_ADDRESS: a dword is kept and read back there, another width is an exit. PCI_DATA (reads): from the function's bytes at PCI_CONFIG, ones where
 * the kept address names no function that is in PCI_FUNCTIONS; an exit where the access is not aligned.
 */
export const PORT_MODE_EXIT = 0,
  PORT_MODE_IN_CORE = 1,
  PORT_MODE_SHADOW = 2,
  PORT_MODE_POSTED = 3,
  PORT_MODE_NOTIFIED = 4,
  PORT_MODE_OPEN_BUS = 5,
  PORT_MODE_PCI_ADDRESS = 6,
  PORT_MODE_PCI_DATA = 7,
  PORT_MODE_UNLESS_SAME = 8;

/** Bits of VM.options. */
export const VM_OPTION_X2APIC = 1,
  VM_OPTION_LENIENT_MSR = 2,
  VM_OPTION_EXTENDED_DESTINATION = 4,
  VM_OPTION_AMD = 8;

/** Limits of the shared tables. */
export const MAX_VCPUS = 63;
export const MAX_POSTED_RANGES = 64;
export const POSTED_ENTRIES = 2048;
/** Fields of POSTED_ENTRY.control. */
export const POSTED_SIZE_SHIFT = 20,
  POSTED_VCPU_SHIFT = 24,
  POSTED_MEMORY = 0x40000000;

export const PROT_READ = 1,
  PROT_WRITE = 2,
  PROT_EXEC = 4;
