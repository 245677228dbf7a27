/**
 * Fakes of what devices are given, and the checks that every device passes.
 * Implements: style rule "deviceContract". Runs on: tests only.
 */
import { deepEqual } from 'node:assert/strict';
import type { IrqLines, PortModes } from '../ports-of-machine.ts';
import type { IrqLine, StatefulDevice } from './device.ts';

/** An interrupt line that remembers its level and every edge. */
export class TestLine implements IrqLine {
  level = 0;
  edges = 0;
  assert(): void {
    this.level = 1;
    this.edges++;
  }
  deassert(): void {
    this.level = 0;
  }
  pulse(): void {
    this.edges++;
  }
}

/** Interrupt controllers that write down every call: `isaAssert 4 4`. */
export class TestIrqLines implements IrqLines {
  readonly calls: string[] = [];
  isaAssert(atpicIrq: number, ioapicIrq: number): void {
    this.calls.push(`isaAssert ${atpicIrq} ${ioapicIrq}`);
  }
  isaDeassert(atpicIrq: number, ioapicIrq: number): void {
    this.calls.push(`isaDeassert ${atpicIrq} ${ioapicIrq}`);
  }
  isaPulse(atpicIrq: number, ioapicIrq: number): void {
    this.calls.push(`isaPulse ${atpicIrq} ${ioapicIrq}`);
  }
  isaSetTrigger(atpicIrq: number, trigger: string): void {
    this.calls.push(`isaSetTrigger ${atpicIrq} ${trigger}`);
  }
  ioapicAssert(pin: number): void {
    this.calls.push(`ioapicAssert ${pin}`);
  }
  ioapicDeassert(pin: number): void {
    this.calls.push(`ioapicDeassert ${pin}`);
  }
  ioapicPulse(pin: number): void {
    this.calls.push(`ioapicPulse ${pin}`);
  }
  lapicMsi(address: number, data: number): void {
    this.calls.push(`lapicMsi 0x${address.toString(16)} 0x${data.toString(16)}`);
  }
  take(): string[] {
    return this.calls.splice(0);
  }
}

export class TestPortModes implements PortModes {
  readonly modes = new Map<number, string>();
  readonly shadows = new Map<number, number>();
  setModes(port: number, ports: number, read: string, write: string): void {
    for (let at = port; at < port + ports; at++) this.modes.set(at, `${read} ${write}`);
  }
  setShadow(port: number, value: number): void {
    this.shadows.set(port, value);
  }
  readonly pciFunctions: string[] = [];
  setPciFunction(bus: number, slot: number, func: number): void {
    this.pciFunctions.push(`${bus}:${slot}:${func}`);
  }
  /** By function and offset. */
  readonly pciConfig = new Map<string, number>();
  setPciConfig(bus: number, slot: number, func: number, offset: number, value: number): void {
    this.pciConfig.set(`${bus}:${slot}:${func} ${offset}`, value);
  }
  pciAddress = 0;
}

interface Registers {
  read(offset: number, sizeBytes: number): number | undefined;
  write(offset: number, sizeBytes: number, value: number): unknown;
}

/**
 * What holds for every device: reset gives the fresh state; save, restore, save is the identity; every offset survives every
 * width and any value, and reads stay within their width.
 */
export function deviceContract(create: () => StatefulDevice & Registers, windowBytes: number): void {
  const device = create();
  deepEqual(device.schema.save(device.state as never), device.schema.save(device.schema.fresh()), 'a new device has the fresh state');
  let seed = 1;
  const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);
  for (let round = 0; round < 2000; round++) {
    const sizeBytes = [1, 2, 4][(random() >>> 8) & 3] ?? 1;
    const offset = (random() >>> 8) % windowBytes;
    if (sizeBytes > windowBytes - offset) continue;
    const value = [0, 0xffff_ffff, random()][(random() >>> 8) & 3] ?? random();
    device.write(offset, sizeBytes, sizeBytes === 4 ? value : value % 2 ** (8 * sizeBytes));
    const answer = device.read(offset, sizeBytes);
    if (answer !== undefined && !(Number.isInteger(answer) && answer >= 0 && answer < 2 ** (8 * sizeBytes))) {
      throw new Error(`offset ${offset}, ${sizeBytes} bytes: answered ${answer}`);
    }
    if (round % 100 !== 0) continue;
    const saved = device.schema.save(device.state as never);
    const other = create();
    other.schema.restore(other.state as never, JSON.parse(JSON.stringify(saved)));
    other.restored?.();
    deepEqual(other.schema.save(other.state as never), saved, 'save, restore, save is the identity');
  }
  device.reset();
  deepEqual(device.schema.save(device.state as never), device.schema.save(device.schema.fresh()), 'reset gives the fresh state');
}
