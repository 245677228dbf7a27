/**
 * ACPI power management timer: 32 bits at 3.579545 MHz.
 * Implements: ACPI 6.4 4.8.3.3 Power Management Timer. Runs on: any thread; holds no state.
 */
import { PM_TIMER_HZ } from '../layout.ts';
import { NS_PER_SEC, scale, vmNowNs } from './clock.ts';

export function pmTimerRead(): u32 { return <u32>scale(vmNowNs(), PM_TIMER_HZ, NS_PER_SEC); }
