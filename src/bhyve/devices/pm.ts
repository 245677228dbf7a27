/**
 * Power management: PM1 event and control blocks, GPE0, SMI command port, reset control.
 * Implements: ACPI 6.4 4.8.3.1 PM1 Event Grouping, 4.8.3.2 PM1 Control, 4.8.4.1 General-Purpose Events; bhyve-map 2.3.
 * Runs on: main event loop. Not modelled: sleep states other than S5 (soft off); the PM timer is in vmm.
 */
import { schema, u16, u8, type StateOf } from '../../base/schema.ts';
import type { Log } from '../../base/log.ts';
import type { PortHandler } from '../inout.ts';
import { ACPI_DISABLE, ACPI_ENABLE, SLP_TYP_S5 } from '../layout.ts';
import type { SuspendReason } from '../ports-of-machine.ts';
import { registers, type IrqLine, type StatefulDevice } from './device.ts';

const PM1_BM = 1 << 4,
  PM1_GBL = 1 << 5,
  PM1_PWRBTN = 1 << 8,
  PM1_SLPBTN = 1 << 9,
  PM1_RTC = 1 << 10,
  PM1_WAK = 1 << 15;
const PM1_STATUS_CLEARABLE = PM1_BM | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC | PM1_WAK;
const PM1_ENABLES = PM1_GBL | PM1_PWRBTN | PM1_RTC;
const SCI_EN = 1,
  SLP_TYP_SHIFT = 10,
  SLP_TYP_MASK = 7,
  SLP_EN = 1 << 13;
const GPE0_BITS = 1;

export const PM_STATE = schema('acpi-pm', 1, {
  pm1Status: u16({ doc: 'PM1 status', bits: { BM: 4, GBL: 5, PWRBTN: 8, SLPBTN: 9, RTC: 10, WAK: 15 } }),
  pm1Enable: u16({ doc: 'PM1 enable', bits: { GBL: 5, PWRBTN: 8, RTC: 10 } }),
  pm1Control: u16({ doc: 'PM1 control', bits: { SCI_EN: 0 } }),
  gpe0Status: u8({ doc: 'general-purpose events' }),
  gpe0Enable: u8({ doc: 'general-purpose events enabled' }),
});

const PM1_REGISTERS = registers<PowerManagement>({
  PM1_STS: { offset: 0, sizeBytes: 2, read: (pm) => pm.state.pm1Status, write: (pm, value) => pm.clearPm1(value) },
  PM1_EN: { offset: 2, sizeBytes: 2, field: 'pm1Enable', writable: PM1_ENABLES, after: (pm) => pm.updateSci() },
});
const CONTROL_REGISTERS = registers<PowerManagement>({
  PM1_CNT: { offset: 0, sizeBytes: 2, read: (pm) => pm.state.pm1Control, write: (pm, value) => pm.writeControl(value) },
});
const GPE0_REGISTERS = registers<PowerManagement>({
  GPE0_STS: { offset: 0, read: (pm) => pm.state.gpe0Status, write: (pm, value) => pm.clearGpe0(value) },
  GPE0_EN: { offset: 1, field: 'gpe0Enable', writable: GPE0_BITS, after: (pm) => pm.updateSci() },
});

export class PowerManagement implements StatefulDevice {
  readonly schema = PM_STATE;
  readonly state: StateOf<typeof PM_STATE> = PM_STATE.fresh();
  readonly #sci: IrqLine;
  readonly #suspend: (reason: SuspendReason) => void;
  readonly #log: Log;
  #asserted = false;

  constructor(sci: IrqLine, suspend: (reason: SuspendReason) => void, log: Log) {
    this.#sci = sci;
    this.#suspend = suspend;
    this.#log = log;
  }

  /** Blocks by name, for the port table. */
  get pm1Event(): PortHandler {
    return this.#block(PM1_REGISTERS);
  }
  get pm1Control(): PortHandler {
    return this.#block(CONTROL_REGISTERS);
  }
  get gpe0(): PortHandler {
    return this.#block(GPE0_REGISTERS);
  }

  /** Firmware's door to turn ACPI on and off (FADT SMI_CMD): write only. */
  get smiCommand(): PortHandler {
    return {
      read: () => undefined,
      write: (_offset, sizeBytes, value) => {
        if (sizeBytes !== 1) return false;
        if (value === ACPI_ENABLE) this.state.pm1Control |= SCI_EN;
        else if (value === ACPI_DISABLE) this.state.pm1Control &= ~SCI_EN;
        else this.#log.debug(`SMI command 0x${value.toString(16)}: ignored`);
        this.updateSci();
        return true;
      },
    };
  }

  reset(): void {
    PM_STATE.reset(this.state);
    this.updateSci();
  }

  restored(): void {
    this.updateSci();
  }

  /** The guest's operating system listens to power events. */
  get acpiEnabled(): boolean {
    return (this.state.pm1Control & SCI_EN) !== 0;
  }

  /** The fixed-feature power button. @returns false when the guest has not enabled ACPI, so nobody would notice. */
  pressPowerButton(): boolean {
    if (!this.acpiEnabled) return false;
    this.state.pm1Status |= PM1_PWRBTN;
    this.updateSci();
    return true;
  }

  /** Raise a general-purpose event. */
  raiseGpe0(bit: number): void {
    this.state.gpe0Status |= (1 << bit) & GPE0_BITS;
    this.updateSci();
  }

  clearPm1(ones: number): void {
    this.state.pm1Status &= ~(ones & PM1_STATUS_CLEARABLE);
    this.updateSci();
  }

  clearGpe0(ones: number): void {
    this.state.gpe0Status &= ~ones;
    this.updateSci();
  }

  writeControl(value: number): void {
    // SCI_EN belongs to the SMI command; SLP_EN reads as 0.
    this.state.pm1Control = (value & ~(SLP_EN | SCI_EN)) | (this.state.pm1Control & SCI_EN);
    if ((value & SLP_EN) === 0) return;
    const type = (value >> SLP_TYP_SHIFT) & SLP_TYP_MASK;
    if (type === SLP_TYP_S5) this.#suspend('poweroff');
    else this.#log.warn(`PM1 control 0x${value.toString(16)}: sleep type ${type} is not offered by the tables: ignored`);
  }

  updateSci(): void {
    const { pm1Status, pm1Enable, gpe0Status, gpe0Enable } = this.state;
    const level = this.acpiEnabled && ((pm1Status & pm1Enable) !== 0 || (gpe0Status & gpe0Enable) !== 0);
    if (level === this.#asserted) return;
    this.#asserted = level;
    if (level) this.#sci.assert();
    else this.#sci.deassert();
  }

  #block(table: typeof PM1_REGISTERS): PortHandler {
    return {
      read: (offset, sizeBytes) => table.read(this, offset, sizeBytes),
      write: (offset, sizeBytes, value) => table.write(this, offset, sizeBytes, value, this.#log),
    };
  }
}
