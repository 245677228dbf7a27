/**
 * The pair of interrupt controllers of a PC, with their edge/level registers.
 * Implements: Intel 8259A data sheet (ICW1-4, OCW1-3, poll); ELCR of the PIIX 4.8. Runs on: any thread, under the device lock.
 * INTR feeds LINT0 of the local APICs and pin 0 of the IOAPIC. Not modelled: 8080 mode, buffered mode.
 */
import { VM_DEVICES } from '../../base/memory-map.ts';
import {
  DEVICES_PIC, PIC_CHIP_AUTO_EOI, PIC_CHIP_COUNTS, PIC_CHIP_ELCR, PIC_CHIP_ICW_STEP, PIC_CHIP_IMR, PIC_CHIP_IRR, PIC_CHIP_ISR, PIC_CHIP_LINES, PIC_CHIP_LOWEST,
  PIC_CHIP_NEED_ICW4, PIC_CHIP_POLL, PIC_CHIP_READ_ISR, PIC_CHIP_READY, PIC_CHIP_ROTATE_AUTO, PIC_CHIP_SINGLE, PIC_CHIP_SIZE_BYTES, PIC_CHIP_SPECIAL_MASK,
  PIC_CHIP_SPECIAL_NESTED, PIC_CHIP_VECTOR_BASE, PIC_CHIPS, PIC_INTR,
} from '../../generated/vmm-layout.ts';
import { EINVAL } from '../exits.ts';
import { IRQ_CASCADE } from '../layout.ts';
import { ioapicChange, ioapicPulseLocked } from './ioapic.ts';
import { picRaised } from './lapic.ts';
import { lockDevices, unlockDevices } from './lock.ts';

const PIC: usize = VM_DEVICES + DEVICES_PIC;
const MASTER: usize = PIC + PIC_CHIPS;
const SLAVE: usize = MASTER + PIC_CHIP_SIZE_BYTES;
/** IRQ 0, 1, 2 and 8, 13 are always edge-triggered. */
const ELCR_MASTER: u32 = 0xf8, ELCR_SLAVE: u32 = 0xde;

export function picReset(): void {
  memory.fill(PIC, 0, PIC_CHIPS + PIC_CHIP_SIZE_BYTES * 2);
  store<u32>(MASTER, 7, PIC_CHIP_LOWEST);
  store<u32>(SLAVE, 7, PIC_CHIP_LOWEST);
}

/** Requests as the IRR shows them: latched edges, and level inputs as they are. */
function requests(chip: usize): u32 {
  return load<u32>(chip, PIC_CHIP_IRR) | load<u32>(chip, PIC_CHIP_LINES) & load<u32>(chip, PIC_CHIP_ELCR);
}

/** Input that the chip would acknowledge now, or -1. 8259A "Fully Nested Mode", "Special Mask Mode", "Special Fully Nested Mode". */
function pending(chip: usize): i32 {
  if (load<u32>(chip, PIC_CHIP_READY) == 0) return -1;
  const mask = load<u32>(chip, PIC_CHIP_IMR), wanted = requests(chip) & ~mask;
  if (wanted == 0) return -1;
  let inService = load<u32>(chip, PIC_CHIP_ISR);
  if (load<u32>(chip, PIC_CHIP_SPECIAL_MASK) != 0) inService &= ~mask;
  const lowest = load<u32>(chip, PIC_CHIP_LOWEST);
  for (let step: u32 = 1; step <= 8; step++) {
    const input = (lowest + step) & 7, bit: u32 = 1 << input;
    if ((inService & bit) != 0) {
      // The slave may interrupt its own service with a higher request.
      const nested = chip == MASTER && input == IRQ_CASCADE && load<u32>(chip, PIC_CHIP_SPECIAL_NESTED) != 0 && (wanted & bit) != 0;
      return nested ? <i32>input : -1;
    }
    if ((wanted & bit) != 0) return <i32>input;
  }
  return -1;
}

/** Lock held. Carry the slave's output to the master and the master's to the CPUs. */
function update(): void {
  const cascade: u32 = 1 << IRQ_CASCADE, irr = load<u32>(MASTER, PIC_CHIP_IRR) & ~cascade;
  store<u32>(MASTER, pending(SLAVE) >= 0 ? irr | cascade : irr, PIC_CHIP_IRR);
  const intr: u32 = pending(MASTER) >= 0 ? 1 : 0, before = load<u32>(PIC, PIC_INTR);
  atomic.store<u32>(PIC, intr, PIC_INTR);
  if (intr != 0 && before == 0) {
    picRaised();
    ioapicPulseLocked(0);
  }
}

/** The INTR line, from any thread without the lock: a change is announced by picRaised(). */
export function picIntr(): bool { return atomic.load<u32>(PIC, PIC_INTR) != 0; }

/** The vector that an INTA would bring, or -1. */
export function picPeek(): i32 {
  lockDevices();
  let vector: i32 = -1;
  const input = pending(MASTER);
  if (input == IRQ_CASCADE) {
    const slaveInput = pending(SLAVE);
    vector = <i32>load<u32>(SLAVE, PIC_CHIP_VECTOR_BASE) | (slaveInput < 0 ? 7 : slaveInput);
  } else if (input >= 0) vector = <i32>load<u32>(MASTER, PIC_CHIP_VECTOR_BASE) | input;
  unlockDevices();
  return vector;
}

function acknowledge(chip: usize, input: u32): void {
  const bit: u32 = 1 << input;
  store<u32>(chip, load<u32>(chip, PIC_CHIP_IRR) & ~bit, PIC_CHIP_IRR);
  if (load<u32>(chip, PIC_CHIP_AUTO_EOI) == 0) store<u32>(chip, load<u32>(chip, PIC_CHIP_ISR) | bit, PIC_CHIP_ISR);
  else if (load<u32>(chip, PIC_CHIP_ROTATE_AUTO) != 0) store<u32>(chip, input, PIC_CHIP_LOWEST);
}

/** INTA. A request that has gone meanwhile gives input 7 of its chip, without an in-service bit there. */
export function picAcknowledge(): i32 {
  lockDevices();
  const input = pending(MASTER);
  let vector = <i32>load<u32>(MASTER, PIC_CHIP_VECTOR_BASE) | 7;
  if (input >= 0) {
    acknowledge(MASTER, input);
    vector = vector & ~7 | input;
    if (input == IRQ_CASCADE) {
      const slaveInput = pending(SLAVE);
      if (slaveInput >= 0) acknowledge(SLAVE, slaveInput);
      vector = <i32>load<u32>(SLAVE, PIC_CHIP_VECTOR_BASE) | (slaveInput < 0 ? 7 : slaveInput);
    }
  }
  // INTR falls between two acknowledgements, so that one more request is announced anew.
  atomic.store<u32>(PIC, 0, PIC_INTR);
  update();
  unlockDevices();
  return vector;
}

/** In-service input of the highest priority, or -1: what a non-specific EOI ends. */
function highestInService(chip: usize): i32 {
  let inService = load<u32>(chip, PIC_CHIP_ISR);
  // 8259A: in special mask mode a non-specific EOI does not clear a masked in-service bit.
  if (load<u32>(chip, PIC_CHIP_SPECIAL_MASK) != 0) inService &= ~load<u32>(chip, PIC_CHIP_IMR);
  const lowest = load<u32>(chip, PIC_CHIP_LOWEST);
  for (let step: u32 = 1; step <= 8; step++) {
    const input = (lowest + step) & 7;
    if ((inService >> input & 1) != 0) return <i32>input;
  }
  return -1;
}

function initialize(chip: usize, icw1: u32): void {
  store<u32>(chip, 0, PIC_CHIP_READY);
  store<u32>(chip, 2, PIC_CHIP_ICW_STEP);
  store<u32>(chip, icw1 & 1, PIC_CHIP_NEED_ICW4);
  store<u32>(chip, icw1 & 2, PIC_CHIP_SINGLE);
  // The edge sense circuit is reset: an input must rise again. LTIM is ignored, as the chip set's ELCR rules.
  store<u32>(chip, 0, PIC_CHIP_IRR);
  store<u32>(chip, 0, PIC_CHIP_ISR);
  store<u32>(chip, 0, PIC_CHIP_IMR);
  store<u32>(chip, 7, PIC_CHIP_LOWEST);
  store<u32>(chip, 0, PIC_CHIP_AUTO_EOI);
  store<u32>(chip, 0, PIC_CHIP_ROTATE_AUTO);
  store<u32>(chip, 0, PIC_CHIP_SPECIAL_MASK);
  store<u32>(chip, 0, PIC_CHIP_SPECIAL_NESTED);
  store<u32>(chip, 0, PIC_CHIP_READ_ISR);
  store<u32>(chip, 0, PIC_CHIP_POLL);
}

function writeOcw2(chip: usize, value: u32): void {
  const command = value >> 5, specific = (command & 2) != 0;
  if (command == 0 || command == 4) { store<u32>(chip, command, PIC_CHIP_ROTATE_AUTO); return; }
  if (command == 2) return;
  const input: i32 = specific ? <i32>(value & 7) : highestInService(chip);
  if (input < 0) return;
  // EOI (bit 5), rotation (bit 7); 6 sets the priority alone.
  if ((command & 1) != 0) store<u32>(chip, load<u32>(chip, PIC_CHIP_ISR) & ~(1 << input), PIC_CHIP_ISR);
  if ((command & 4) != 0) store<u32>(chip, input, PIC_CHIP_LOWEST);
}

function writeOcw3(chip: usize, value: u32): void {
  if ((value & 0x40) != 0) store<u32>(chip, value & 0x20, PIC_CHIP_SPECIAL_MASK);
  if ((value & 4) != 0) store<u32>(chip, 1, PIC_CHIP_POLL);
  else if ((value & 2) != 0) store<u32>(chip, value & 1, PIC_CHIP_READ_ISR);
}

function writeOddPort(chip: usize, value: u32): void {
  switch (load<u32>(chip, PIC_CHIP_ICW_STEP)) {
    case 2:
      store<u32>(chip, value & 0xf8, PIC_CHIP_VECTOR_BASE);
      nextIcw(chip, load<u32>(chip, PIC_CHIP_SINGLE) != 0 ? 4 : 3);
      break;
    // ICW3 wires the cascade, which on a PC is fixed.
    case 3: nextIcw(chip, 4); break;
    case 4:
      store<u32>(chip, value & 0x10, PIC_CHIP_SPECIAL_NESTED);
      store<u32>(chip, value & 2, PIC_CHIP_AUTO_EOI);
      nextIcw(chip, 0);
      break;
    default: store<u32>(chip, value, PIC_CHIP_IMR);
  }
}

function nextIcw(chip: usize, step: u32): void {
  const next: u32 = step == 4 && load<u32>(chip, PIC_CHIP_NEED_ICW4) == 0 ? 0 : step;
  store<u32>(chip, next, PIC_CHIP_ICW_STEP);
  if (next == 0) store<u32>(chip, 1, PIC_CHIP_READY);
}

/** Lock held. `odd` is the A0 pin. */
export function picWrite(slave: bool, odd: bool, value: u32): void {
  const chip = slave ? SLAVE : MASTER;
  if (odd) writeOddPort(chip, value);
  else if ((value & 0x10) != 0) initialize(chip, value);
  else if ((value & 8) != 0) writeOcw3(chip, value);
  else writeOcw2(chip, value);
  update();
}

/** Lock held. */
export function picRead(slave: bool, odd: bool): u32 {
  const chip = slave ? SLAVE : MASTER;
  if (load<u32>(chip, PIC_CHIP_POLL) != 0) {
    store<u32>(chip, 0, PIC_CHIP_POLL);
    const input = pending(chip);
    if (input < 0) return 0;
    acknowledge(chip, input);
    update();
    return 0x80 | input;
  }
  if (odd) return load<u32>(chip, PIC_CHIP_IMR);
  return load<u32>(chip, PIC_CHIP_READ_ISR) != 0 ? load<u32>(chip, PIC_CHIP_ISR) : requests(chip);
}

/** Lock held. */
export function elcrRead(slave: bool): u32 { return load<u32>(slave ? SLAVE : MASTER, PIC_CHIP_ELCR); }

export function elcrWrite(slave: bool, value: u32): void {
  store<u32>(slave ? SLAVE : MASTER, value & (slave ? ELCR_SLAVE : ELCR_MASTER), PIC_CHIP_ELCR);
  update();
}

/** Lock held. One more (+1) or one less (-1) device holds the line high. */
export function picChange(irq: u32, change: i32): void {
  // Input 2 of the master is the slave.
  if (irq == IRQ_CASCADE) return;
  const chip = irq >= 8 ? SLAVE : MASTER, input = irq & 7, bit: u32 = 1 << input, at = chip + (input << 2), count = load<i32>(at, PIC_CHIP_COUNTS);
  if (change < 0 && count == 0 || change > 0 && count == i32.MAX_VALUE) return;
  store<i32>(at, count + change, PIC_CHIP_COUNTS);
  if (change > 0 && count == 0) {
    store<u32>(chip, load<u32>(chip, PIC_CHIP_LINES) | bit, PIC_CHIP_LINES);
    if ((load<u32>(chip, PIC_CHIP_ELCR) & bit) == 0 && load<u32>(chip, PIC_CHIP_READY) != 0) store<u32>(chip, load<u32>(chip, PIC_CHIP_IRR) | bit, PIC_CHIP_IRR);
  } else if (change < 0 && count == 1) {
    // A latched edge stays: devices pulse.
    store<u32>(chip, load<u32>(chip, PIC_CHIP_LINES) & ~bit, PIC_CHIP_LINES);
  }
  update();
}

/** Lock held. */
export function isaChange(irq: u32, pin: i32, change: i32): void {
  picChange(irq, change);
  if (pin >= 0) ioapicChange(pin, change);
}

/** Lock held. */
export function isaPulseLocked(irq: u32, pin: i32): void {
  isaChange(irq, pin, 1);
  isaChange(irq, pin, -1);
}

export function picSetTrigger(irq: i32, level: bool): i32 {
  if (irq < 0 || irq > 15) return EINVAL;
  const slave = irq >= 8, chip = slave ? SLAVE : MASTER, bit: u32 = 1 << (irq & 7);
  if (((slave ? ELCR_SLAVE : ELCR_MASTER) & bit) == 0) return EINVAL;
  lockDevices();
  const elcr = load<u32>(chip, PIC_CHIP_ELCR);
  elcrWrite(slave, level ? elcr | bit : elcr & ~bit);
  unlockDevices();
  return 0;
}
