/**
 * Guest-physical ranges, ports and ISA lines of the machine: the one place where the devices' addresses are written.
 * Implements: bhyve-map 2.1-2.4. Runs on: anywhere; plain constants. Ranges are half open.
 */

export const KIB = 1024,
  MIB = 1024 * KIB,
  GIB = 1024 * MIB;

// --- guest-physical memory ---
export const LOWMEM_LIMIT = 3 * GIB;
export const HIGHMEM_BASE = 4 * GIB;
export const PCI_WINDOW32 = { start: 0xc000_0000, sizeBytes: 0x2000_0000 } as const;
export const ECAM = { start: 0xe000_0000, sizeBytes: 0x1000_0000 } as const;
export const IOAPIC_BASE = 0xfec0_0000;
export const HPET_BASE = 0xfed0_0000;
export const LAPIC_BASE = 0xfee0_0000;
export const TESTDEV_SCRATCH = { start: 0xff00_0000, sizeBytes: 64 * KIB } as const;
/** The ROM's devmem ends at 4 GiB. */
export const BOOTROM_MAX_BYTES = 16 * MIB;
/** 64-bit BARs: 32 GiB from the first multiple of 32 GiB behind RAM. */
export const PCI_WINDOW64_BYTES = 32 * GIB;

// --- tables below 1 MiB ---
export const MPTABLE_BASE = 0xf_0000;
export const SMBIOS_BASE = 0xf_1000;
export const SMBIOS_END = 0xf_2400;
export const ACPI_BASE = 0xf_2400;
export const ACPI_END = 0x10_0000;
/** RAM stops being listed here: the VGA window and option ROMs of a PC follow, up to 1 MiB. */
export const BASE_MEMORY_END = 0xa_0000;

// --- I/O ports ---
export const PORT = {
  KBD_DATA: 0x60,
  KBD_COMMAND: 0x64,
  RTC_INDEX: 0x70,
  POST: 0x84,
  FAST_RESET: 0x92,
  SMI_COMMAND: 0xb2,
  TESTDEV_LATCH: 0xe0,
  TESTDEV_FLUSH: 0xe4,
  TESTDEV_BYTE: 0xe8,
  TESTDEV_EXIT: 0xf4,
  TESTDEV_IRQ: 0x2000,
  PM1_EVENT: 0x400,
  PM1_CONTROL: 0x404,
  PM_TIMER: 0x408,
  GPE0: 0x40c,
  FWCFG_SELECTOR: 0x510,
  FWCFG_DATA: 0x511,
  PCI_ADDRESS: 0xcf8,
  RESET_CONTROL: 0xcf9,
  PCI_DATA: 0xcfc,
} as const;
/** I/O BARs are placed in this window. */
export const PCI_IO_WINDOW = { start: 0x2000, sizeBytes: 0xe000 } as const;

export const COM_PORTS = [
  { name: 'com1', port: 0x3f8, irq: 4 },
  { name: 'com2', port: 0x2f8, irq: 3 },
  { name: 'com3', port: 0x3e8, irq: 4 },
  { name: 'com4', port: 0x2e8, irq: 3 },
] as const;

// --- interrupt lines ---
export const KBD_IRQ = 1,
  RTC_IRQ = 8,
  SCI_IRQ = 9,
  MOUSE_IRQ = 12;
export const IOAPIC_PINS = 32;
/** IOAPIC pins of PCI INTx. */
export const PCI_IOAPIC_PIN = 16;

// --- ACPI values ---
export const ACPI_ENABLE = 0xa0,
  ACPI_DISABLE = 0xa1;
/** SLP_TYP of the soft-off state. */
export const SLP_TYP_S5 = 5;
/** Value that the reset register takes. */
export const RESET_VALUE = 6;
