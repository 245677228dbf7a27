/**
 * com1..com4: a UART on its ports and its ISA line, wired so that the hot paths leave the vCPU without waiting.
 * Implements: bhyve-map 2.3 (ports and IRQs); internals "ports" (posted writes, shadowed reads).
 * Runs on: main event loop.
 */
import type { Log } from '../../base/log.ts';
import type { CharBackend } from '../chars/backend.ts';
import type { PortTable } from '../inout.ts';
import type { IrqLines, PortWrite } from '../ports-of-machine.ts';
import type { IrqLine } from './device.ts';
import { IER_ETBEI, Uart16550 } from './uart16550.ts';

export interface ComPort {
  readonly name: string;
  readonly port: number;
  readonly irq: number;
}

const THR = 0,
  IER = 1,
  IIR = 2,
  LCR = 3,
  MCR = 4,
  LSR = 5,
  MSR = 6,
  SCR = 7;

/** An ISA input, on the PIC and on the IOAPIC pin of the same number. */
export function isaLine(lines: IrqLines, irq: number): IrqLine {
  return {
    assert: () => {
      lines.isaAssert(irq, irq);
    },
    deassert: () => {
      lines.isaDeassert(irq, irq);
    },
    pulse: () => {
      lines.isaPulse(irq, irq);
    },
  };
}

export function attachCom(com: ComPort, ports: PortTable, lines: IrqLines, backend: CharBackend, log: Log): Uart16550 {
  const uart = new Uart16550(isaLine(lines, com.irq), backend, log.named(com.name));
  ports.register({ name: com.name, port: com.port, sizeBytes: 8, handler: uart });

  // What each port was last told, so that a byte of output costs no call when nothing changed.
  const told: (number | undefined)[] = [];
  const shadow = (offset: number, value: number | undefined, write: PortWrite = 'exit'): void => {
    if (told[offset] === value && offset in told) return;
    told[offset] = value;
    if (value !== undefined) ports.setShadow(com.port + offset, value);
    ports.setMode(com.port + offset, value === undefined ? 'exit' : 'shadow', value === undefined ? 'exit' : write);
  };
  let sent: PortWrite | undefined;
  uart.onChange = () => {
    const shadows = uart.shadows();
    // Linux turns interrupts off around each line of its console, where they are off already.
    shadow(IER, shadows.ier, 'unless-same');
    shadow(IIR, shadows.iir);
    shadow(LCR, shadows.lcr);
    shadow(MCR, shadows.mcr);
    shadow(SCR, shadows.scr);
    shadow(LSR, shadows.lsr);
    shadow(MSR, shadows.msr);
    // Who waits for the transmitter's interrupt waits for the byte to be taken; others see an empty transmitter all the time.
    const isAwaited = ((shadows.ier ?? 0) & IER_ETBEI) !== 0;
    const transmit = !shadows.transmitOnly ? 'exit' : isAwaited ? 'notified' : 'posted';
    if (transmit === sent) return;
    sent = transmit;
    ports.setMode(com.port + THR, 'exit', transmit);
  };
  uart.changed();
  return uart;
}
