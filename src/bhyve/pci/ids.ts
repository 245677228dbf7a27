/**
 * Numbers of PCI configuration space: header offsets, command bits, capabilities, classes, identities.
 * Implements: PCI Local Bus 3.0 6.1 Configuration Space Organization, appendix D Class Codes, 6.8 MSI and MSI-X.
 */
export const CONFIG_BYTES = 256;
export const REG = {
  VENDOR: 0x00,
  DEVICE: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION: 0x08,
  PROG_IF: 0x09,
  SUBCLASS: 0x0a,
  CLASS: 0x0b,
  CACHE_LINE: 0x0c,
  LATENCY: 0x0d,
  HEADER_TYPE: 0x0e,
  BAR0: 0x10,
  SUBVENDOR: 0x2c,
  SUBDEVICE: 0x2e,
  ROM: 0x30,
  CAPABILITIES: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
} as const;
export const BAR_COUNT = 6;

export const COMMAND_IO = 1,
  COMMAND_MEMORY = 2,
  COMMAND_MASTER = 4,
  COMMAND_SERR = 0x100,
  COMMAND_INTX_OFF = 0x400;
export const COMMAND_WRITABLE = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | 0x40 | COMMAND_SERR | COMMAND_INTX_OFF;
export const STATUS_INTX = 0x08,
  STATUS_CAPABILITIES = 0x10;
export const HEADER_MULTI_FUNCTION = 0x80;

export const BAR_IO = 1,
  BAR_MEM64 = 4,
  BAR_PREFETCH = 8;
export const CAP_MSI = 0x05,
  CAP_EXPRESS = 0x10,
  CAP_MSIX = 0x11;
export const FIRST_CAPABILITY = 0x40;

export const CLASS_BRIDGE = 0x06,
  SUBCLASS_HOST = 0x00,
  SUBCLASS_ISA = 0x01;
/** PCI Express capability: device type "root port of a root complex". */
export const EXPRESS_ROOT_PORT = 4;

export const VENDOR_INTEL = 0x8086,
  VENDOR_NETAPP = 0x1275;
export const DEVICE_PIIX3_ISA = 0x7000,
  DEVICE_BHYVE_HOSTBRIDGE = 0x1275;
