/**
 * Port accesses: answered by a device in this module, by a shadow byte, by the posted ring, or by an exit to the main loop.
 * Implements: SDM vol 1 "Input/Output"; bhyve-map 2.3; modes in layout.ts. Runs on: the vCPU's own thread.
 * The first port's mode decides for the whole access; byte-wide in-core devices take a wider access byte by byte, each by its own
 * port's mode, as the bus of a PC does.
 */
import { PCI_CONFIG, PCI_CONFIG_ADDRESS, PCI_CONFIG_FUNCTION_BYTES, PCI_FUNCTIONS, PCI_FUNCTIONS_BYTES, PORT_MODES, PORT_SHADOWS } from '../../base/memory-map.ts';
import { VCPU_EXIT_IN, VCPU_EXIT_PORT, VCPU_EXIT_REASON, VCPU_EXIT_VALUE, VCPU_EXIT_WIDTH_BYTES } from '../../generated/vcpu-layout.ts';
import { EXIT_INOUT } from '../exits.ts';
import {
  PORT_ELCR1, PORT_ELCR2, PORT_MODE_IN_CORE, PORT_MODE_NOTIFIED, PORT_MODE_OPEN_BUS, PORT_MODE_PCI_ADDRESS, PORT_MODE_PCI_DATA, PORT_MODE_POSTED,
  PORT_MODE_SHADOW, PORT_MODE_UNLESS_SAME, PORT_NMI_STATUS, PORT_PIC1, PORT_PIC2, PORT_PIT,
  PORT_PM_TIMER, PORT_RTC_DATA, PORT_RTC_INDEX,
} from '../layout.ts';
import { hostExit } from './host.ts';
import { lockDevices, unlockDevices } from './lock.ts';
import { elcrRead, elcrWrite, picRead, picWrite } from './pic.ts';
import { nmiStatusRead, nmiStatusWrite, pitRead, pitWrite } from './pit.ts';
import { pmTimerRead } from './pmtimer.ts';
import { postPort } from './posted.ts';
import { rtcPortRead, rtcPortWrite, rtcSelect } from './rtc.ts';

/** Of the register at CF8h (PCI Local Bus 3.0 3.2.2.3.2). */
const PCI_ADDRESS_ENABLE: u32 = 0x80000000;
const PCI_ADDRESS_BITS: u32 = 0x80fffffc;

function ones(sizeBytes: u32): u32 { return sizeBytes >= 4 ? 0xffffffff : (<u32>1 << (sizeBytes << 3)) - 1; }

function readMode(port: u32): u32 { return atomic.load<u8>(PORT_MODES + (port & 0xffff)) & 15; }
function writeMode(port: u32): u32 { return atomic.load<u8>(PORT_MODES + (port & 0xffff)) >> 4; }

function inCore(port: u32): void { store<u8>(PORT_MODES + port, PORT_MODE_IN_CORE | PORT_MODE_IN_CORE << 4); }

/** At creation: the in-core devices; every other port exits until the machine says otherwise. */
export function portsInit(): void {
  memory.fill(PORT_MODES, 0, 0x10000);
  memory.fill(PORT_SHADOWS, 0, 0x10000);
  memory.fill(PCI_FUNCTIONS, 0, PCI_FUNCTIONS_BYTES);
  for (let i: u32 = 0; i < 2; i++) { inCore(PORT_PIC1 + i); inCore(PORT_PIC2 + i); inCore(PORT_ELCR1 + i); inCore(PORT_RTC_INDEX + i); }
  for (let i: u32 = 0; i < 4; i++) { inCore(PORT_PIT + i); inCore(PORT_PM_TIMER + i); }
  inCore(PORT_NMI_STATUS);
}

function exitRead(vcpu: usize, port: u32, sizeBytes: u32): u32 {
  store<u32>(vcpu, EXIT_INOUT, VCPU_EXIT_REASON);
  store<u32>(vcpu, port, VCPU_EXIT_PORT);
  store<u32>(vcpu, sizeBytes, VCPU_EXIT_WIDTH_BYTES);
  store<u32>(vcpu, 1, VCPU_EXIT_IN);
  store<u64>(vcpu, ones(sizeBytes), VCPU_EXIT_VALUE);
  hostExit(<u32>vcpu, EXIT_INOUT);
  return <u32>load<u64>(vcpu, VCPU_EXIT_VALUE) & ones(sizeBytes);
}

function exitWrite(vcpu: usize, port: u32, sizeBytes: u32, value: u32): void {
  store<u32>(vcpu, EXIT_INOUT, VCPU_EXIT_REASON);
  store<u32>(vcpu, port, VCPU_EXIT_PORT);
  store<u32>(vcpu, sizeBytes, VCPU_EXIT_WIDTH_BYTES);
  store<u32>(vcpu, 0, VCPU_EXIT_IN);
  store<u64>(vcpu, value, VCPU_EXIT_VALUE);
  hostExit(<u32>vcpu, EXIT_INOUT);
}

/** One byte of an in-core device. */
function deviceRead(port: u32): u32 {
  lockDevices();
  let value: u32 = 0xff;
  switch (port) {
    case PORT_PIC1: case PORT_PIC1 + 1: value = picRead(false, port != PORT_PIC1); break;
    case PORT_PIC2: case PORT_PIC2 + 1: value = picRead(true, port != PORT_PIC2); break;
    case PORT_ELCR1: case PORT_ELCR2: value = elcrRead(port == PORT_ELCR2); break;
    case PORT_PIT: case PORT_PIT + 1: case PORT_PIT + 2: case PORT_PIT + 3: value = pitRead(port - PORT_PIT); break;
    case PORT_NMI_STATUS: value = nmiStatusRead(); break;
    case PORT_RTC_DATA: value = rtcPortRead(); break;
  }
  unlockDevices();
  return value & 0xff;
}

function deviceWrite(port: u32, value: u32): void {
  lockDevices();
  switch (port) {
    case PORT_PIC1: case PORT_PIC1 + 1: picWrite(false, port != PORT_PIC1, value); break;
    case PORT_PIC2: case PORT_PIC2 + 1: picWrite(true, port != PORT_PIC2, value); break;
    case PORT_ELCR1: case PORT_ELCR2: elcrWrite(port == PORT_ELCR2, value); break;
    case PORT_PIT: case PORT_PIT + 1: case PORT_PIT + 2: case PORT_PIT + 3: pitWrite(port - PORT_PIT, value); break;
    case PORT_NMI_STATUS: nmiStatusWrite(value); break;
    case PORT_RTC_INDEX: rtcSelect(value); break;
    case PORT_RTC_DATA: rtcPortWrite(value); break;
  }
  unlockDevices();
}

/** Power-on state of what is kept here. */
export function portsReset(): void { atomic.store<u32>(PCI_CONFIG_ADDRESS, 0); }

/** What the kept configuration address selects. A guest reads hundreds of registers, and looks for 8,000 functions that are not there. */
function pciRead(vcpu: usize, port: u32, sizeBytes: u32): u32 {
  const address = atomic.load<u32>(PCI_CONFIG_ADDRESS), bdf = address >> 8 & 0xffff;
  if ((address & PCI_ADDRESS_ENABLE) == 0 || (atomic.load<u8>(PCI_FUNCTIONS + (bdf >> 3)) >> <u8>(bdf & 7) & 1) == 0) return ones(sizeBytes);
  if ((port & sizeBytes - 1) != 0) return exitRead(vcpu, port, sizeBytes);
  return atomic.load<u32>(PCI_CONFIG + bdf * PCI_CONFIG_FUNCTION_BYTES + (address & 0xfc)) >> ((port & 3) << 3) & ones(sizeBytes);
}

/** All bytes shadowed? */
function shadowed(port: u32, sizeBytes: u32): bool {
  for (let i: u32 = 0; i < sizeBytes; i++) if (readMode(port + i) != PORT_MODE_SHADOW) return false;
  return true;
}

export function readPort(vcpu: usize, port: u32, sizeBytes: u32): u32 {
  port &= 0xffff;
  if (sizeBytes != 1 && sizeBytes != 2 && sizeBytes != 4) return 0xffffffff;
  switch (readMode(port)) {
    case PORT_MODE_IN_CORE:
      // The PM timer is read as a dword only.
      if (port - <u32>PORT_PM_TIMER < 4) return port == PORT_PM_TIMER && sizeBytes == 4 ? pmTimerRead() : ones(sizeBytes);
      if (sizeBytes == 1) return deviceRead(port);
      break;
    case PORT_MODE_SHADOW: {
      if (!shadowed(port, sizeBytes)) return exitRead(vcpu, port, sizeBytes);
      let value: u32 = 0;
      for (let i: u32 = 0; i < sizeBytes; i++) value |= <u32>atomic.load<u8>(PORT_SHADOWS + (port + i & 0xffff)) << (i << 3);
      return value;
    }
    case PORT_MODE_OPEN_BUS: return ones(sizeBytes);
    case PORT_MODE_PCI_ADDRESS: return sizeBytes == 4 ? atomic.load<u32>(PCI_CONFIG_ADDRESS) : exitRead(vcpu, port, sizeBytes);
    case PORT_MODE_PCI_DATA: return pciRead(vcpu, port, sizeBytes);
    default: return exitRead(vcpu, port, sizeBytes);
  }
  let value: u32 = 0;
  for (let i: u32 = 0; i < sizeBytes; i++) value |= readPort(vcpu, port + i, 1) << (i << 3);
  return value;
}

export function writePort(vcpu: usize, port: u32, sizeBytes: u32, value: u32): void {
  port &= 0xffff;
  if (sizeBytes != 1 && sizeBytes != 2 && sizeBytes != 4) return;
  value &= ones(sizeBytes);
  const mode = writeMode(port);
  switch (mode) {
    case PORT_MODE_IN_CORE:
      if (port - <u32>PORT_PM_TIMER < 4) return;
      if (sizeBytes == 1) { deviceWrite(port, value); return; }
      break;
    case PORT_MODE_PCI_ADDRESS:
      if (sizeBytes == 4) atomic.store<u32>(PCI_CONFIG_ADDRESS, value & PCI_ADDRESS_BITS);
      else exitWrite(vcpu, port, sizeBytes, value);
      return;
    case PORT_MODE_POSTED: case PORT_MODE_NOTIFIED: postPort(vcpu, port, sizeBytes, value, mode); return;
    case PORT_MODE_OPEN_BUS: return;
    case PORT_MODE_UNLESS_SAME:
      if (sizeBytes == 1 && readMode(port) == PORT_MODE_SHADOW && <u32>atomic.load<u8>(PORT_SHADOWS + port) == value) return;
      exitWrite(vcpu, port, sizeBytes, value);
      return;
    default: exitWrite(vcpu, port, sizeBytes, value); return;
  }
  for (let i: u32 = 0; i < sizeBytes; i++) writePort(vcpu, port + i, 1, value >> (i << 3) & 0xff);
}
