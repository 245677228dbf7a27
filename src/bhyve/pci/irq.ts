/**
 * Routing of PCI INTx pins: to IOAPIC inputs 16-31, and through eight PIRQs to the ISA interrupts.
 * Implements: Intel 82371SB (PIIX3) 2.2.2 PIRQRC; bhyve-map 2.4. Runs on: main event loop.
 */
import { bytes, schema, type StateOf } from '../../base/schema.ts';
import type { Device } from '../devices/device.ts';
import { COM_PORTS, IOAPIC_PINS, KBD_IRQ, MOUSE_IRQ, PCI_IOAPIC_PIN, SCI_IRQ } from '../layout.ts';
import type { IrqLines } from '../ports-of-machine.ts';

export const PIRQ_COUNT = 8;
const PIRQ_OFF = 0x80,
  PIRQ_IRQ = 0x0f;
/** ISA interrupts that a PIRQ may use: 3-7, 9-12, 14, 15. */
const PERMITTED_IRQS = 0xdef8;

/** Where an INTx pin ends. `pirq` counts from 0. */
export interface IntxRoute {
  readonly ioapicPin: number;
  readonly pirq: number;
}

export const PIRQ_STATE = schema('pirq', 1, {
  registers: bytes({ sizeBytes: PIRQ_COUNT, doc: 'PIRQRC A-H: bit 7 disabled, bits 0-3 ISA interrupt' }),
});

export class PirqRouter implements Device {
  readonly schema = PIRQ_STATE;
  readonly state: StateOf<typeof PIRQ_STATE> = PIRQ_STATE.fresh();
  readonly #lines: IrqLines;
  /** Devices that hold each PIRQ; follows from the functions' state. */
  readonly #active = new Array<number>(PIRQ_COUNT).fill(0);
  readonly #pirqUses = new Array<number>(PIRQ_COUNT).fill(0);
  /** Infinity: reserved for a device on the ISA side. */
  readonly #irqUses = new Array<number>(16).fill(0);
  readonly #initial = new Uint8Array(PIRQ_COUNT).fill(PIRQ_OFF);
  #nextIoapicPin = 0;

  constructor(lines: IrqLines) {
    this.#lines = lines;
    for (const irq of [KBD_IRQ, MOUSE_IRQ, ...COM_PORTS.map((com) => com.irq)]) this.#irqUses[irq] = Infinity;
    this.#irqUses[SCI_IRQ] = 1;
    this.state.registers.set(this.#initial);
  }

  /** ISA interrupts that the link devices may offer: permitted, and nobody else's. */
  get possibleIrqs(): number[] {
    return Array.from({ length: 16 }, (_unused, irq) => irq).filter((irq) => this.#permitted(irq));
  }

  /**
   * Route one more pin. With a boot ROM the firmware knows the board's wiring, so it is fixed; otherwise it is spread evenly.
   * @param pin 1 to 4 (INTA to INTD).
   */
  route(slot: number, pin: number, fixed: boolean): IntxRoute {
    const pins = IOAPIC_PINS - PCI_IOAPIC_PIN;
    let pirq: number, ioapicPin: number;
    if (fixed) {
      pirq = (4 + slot + pin) % PIRQ_COUNT;
      ioapicPin = PCI_IOAPIC_PIN + ((4 + slot + pin) % PIRQ_COUNT);
    } else {
      pirq = this.#pirqUses.indexOf(Math.min(...this.#pirqUses));
      ioapicPin = PCI_IOAPIC_PIN + (this.#nextIoapicPin++ % pins);
    }
    this.#pirqUses[pirq] = (this.#pirqUses[pirq] ?? 0) + 1;
    if (this.#initial[pirq] === PIRQ_OFF) {
      const best = this.possibleIrqs.reduce((least, irq) => ((this.#irqUses[irq] ?? 0) < (this.#irqUses[least] ?? 0) ? irq : least));
      this.#irqUses[best] = (this.#irqUses[best] ?? 0) + 1;
      this.#initial[pirq] = best;
      this.#lines.isaSetTrigger(best, 'level');
    }
    this.state.registers[pirq] = this.#initial[pirq] ?? PIRQ_OFF;
    return { ioapicPin, pirq };
  }

  /** The ISA interrupt of a PIRQ, for the interrupt line register; 255: none. */
  irqOf(pirq: number): number {
    const value = this.read(pirq);
    return this.#valid(value) ? value & PIRQ_IRQ : 0xff;
  }

  reset(): void {
    for (let pirq = 0; pirq < PIRQ_COUNT; pirq++) this.write(pirq, this.#initial[pirq] ?? PIRQ_OFF);
  }

  read(pirq: number): number {
    return this.state.registers[pirq] ?? PIRQ_OFF;
  }

  /** Rerouting moves an asserted line. */
  write(pirq: number, value: number): void {
    const before = this.read(pirq);
    const after = value & (PIRQ_OFF | PIRQ_IRQ);
    if (before === after) return;
    const active = (this.#active[pirq] ?? 0) > 0;
    if (active && this.#valid(before)) this.#lines.isaDeassert(before & PIRQ_IRQ, -1);
    this.state.registers[pirq] = after;
    if (active && this.#valid(after)) this.#lines.isaAssert(after & PIRQ_IRQ, -1);
  }

  /** The IOAPIC input follows every device; the PIC sees a change only when the first asserts or the last lets go. */
  assert({ pirq, ioapicPin }: IntxRoute): void {
    const active = (this.#active[pirq] ?? 0) + 1;
    this.#active[pirq] = active;
    const value = this.read(pirq);
    if (active === 1 && this.#valid(value)) this.#lines.isaAssert(value & PIRQ_IRQ, ioapicPin);
    else this.#lines.ioapicAssert(ioapicPin);
  }

  deassert({ pirq, ioapicPin }: IntxRoute): void {
    const active = (this.#active[pirq] ?? 0) - 1;
    this.#active[pirq] = active;
    const value = this.read(pirq);
    if (active === 0 && this.#valid(value)) this.#lines.isaDeassert(value & PIRQ_IRQ, ioapicPin);
    else this.#lines.ioapicDeassert(ioapicPin);
  }

  #permitted(irq: number): boolean {
    return ((PERMITTED_IRQS >> irq) & 1) === 1 && this.#irqUses[irq] !== Infinity;
  }

  #valid(value: number): boolean {
    return (value & PIRQ_OFF) === 0 && this.#permitted(value & PIRQ_IRQ);
  }
}
