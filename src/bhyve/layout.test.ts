import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import * as vmm from '../vmm/layout.ts';
import { HIGHMEM_BASE, HPET_BASE, IOAPIC_BASE, IOAPIC_PINS, LAPIC_BASE, LOWMEM_LIMIT, PORT, RTC_IRQ } from './layout.ts';

test('the machine and the in-core devices agree on what both know', () => {
  deepEqual(
    [LOWMEM_LIMIT, HIGHMEM_BASE, IOAPIC_BASE, HPET_BASE, LAPIC_BASE],
    [vmm.LOWMEM_LIMIT_GPA, vmm.HIGHMEM_GPA, vmm.IOAPIC_GPA, vmm.HPET_GPA, vmm.LAPIC_GPA],
  );
  deepEqual([PORT.RTC_INDEX, PORT.PM_TIMER, IOAPIC_PINS, RTC_IRQ], [vmm.PORT_RTC_INDEX, vmm.PORT_PM_TIMER, vmm.IOAPIC_PINS, vmm.IRQ_RTC]);
});
