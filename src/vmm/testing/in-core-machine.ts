/**
 * The in-core devices of a VM with a clock that tests move, and with what a device model or a CPU would do around them.
 * Runs on: tests.
 */
import { readFileSync } from 'node:fs';
import { VCPUS, VCPU_STRIDE } from '../../base/memory-map.ts';
import {
  VCPU_EXIT_CODE,
  VCPU_EXIT_GPA,
  VCPU_EXIT_IN,
  VCPU_EXIT_PORT,
  VCPU_EXIT_VALUE,
  VCPU_EXIT_WIDTH_BYTES,
  VCPU_NMI_PENDING,
  VCPU_REQUESTS,
  VCPU_SCRATCH,
} from '../../generated/vcpu-layout.ts';
import { HPET_GPA, IOAPIC_GPA, LAPIC_GPA, VM_OPTION_X2APIC } from '../layout.ts';
import { instantiateVmm, type VmmExports } from '../vmm-exports.ts';

const module = new WebAssembly.Module(readFileSync(new URL('../../generated/vmm.wasm', import.meta.url)));

export interface Exit {
  readonly reason: number;
  readonly vcpu: number;
  readonly input: boolean;
  readonly sizeBytes: number;
  readonly port: number;
  readonly gpa: bigint;
  readonly value: bigint;
  readonly code: number;
}

export class InCoreMachine {
  readonly memory: WebAssembly.Memory;
  readonly view: DataView;
  readonly vmm: VmmExports;
  readonly exits: Exit[] = [];
  /** Answer of the next exits that read. */
  answer = 0n;
  hostNs = 5_000_000;

  constructor({ vcpus = 1, tscHz = 2e9, options = VM_OPTION_X2APIC }: { vcpus?: number; tscHz?: number; options?: number } = {}) {
    const pages = (VCPUS + vcpus * VCPU_STRIDE) / 65536;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: 65536, shared: true });
    this.view = new DataView(this.memory.buffer);
    this.vmm = instantiateVmm(module, this.memory, {
      nowNs: () => this.hostNs,
      exit: (vcpu, reason) => {
        this.#exit(vcpu, reason);
      },
    });
    const error = this.vmm.vmmInit(vcpus, tscHz, options);
    if (error !== 0) throw new Error(`vmmInit: ${error}`);
  }

  #exit(vcpu: number, reason: number): void {
    const { view } = this;
    const input = view.getUint32(vcpu + VCPU_EXIT_IN, true) === 1;
    this.exits.push({
      reason,
      vcpu: (vcpu - VCPUS) / VCPU_STRIDE,
      input,
      sizeBytes: view.getUint32(vcpu + VCPU_EXIT_WIDTH_BYTES, true),
      port: view.getUint32(vcpu + VCPU_EXIT_PORT, true),
      gpa: view.getBigUint64(vcpu + VCPU_EXIT_GPA, true),
      value: view.getBigUint64(vcpu + VCPU_EXIT_VALUE, true),
      code: view.getUint32(vcpu + VCPU_EXIT_CODE, true),
    });
    if (input) view.setBigUint64(vcpu + VCPU_EXIT_VALUE, this.answer, true);
  }

  cpu(index = 0): number {
    return VCPUS + index * VCPU_STRIDE;
  }

  /** Move the clock and let vCPU `index` look at its timers. */
  advance(ns: number, index = 0): void {
    this.hostNs += ns;
    this.vmm.poll(this.cpu(index));
  }

  out(port: number, value: number): void {
    this.vmm.portWrite(this.cpu(), port, 1, value);
  }
  in(port: number): number {
    return this.vmm.portRead(this.cpu(), port, 1) >>> 0;
  }

  lapicRead(offset: number, index = 0): number {
    return Number(this.vmm.mmioRead(this.cpu(index), BigInt(LAPIC_GPA + offset), 4));
  }
  lapicWrite(offset: number, value: number, index = 0): void {
    this.vmm.mmioWrite(this.cpu(index), BigInt(LAPIC_GPA + offset), 4, BigInt(value >>> 0));
  }

  ioapicRead(register: number): number {
    this.vmm.mmioWrite(this.cpu(), BigInt(IOAPIC_GPA), 4, BigInt(register));
    return Number(this.vmm.mmioRead(this.cpu(), BigInt(IOAPIC_GPA + 0x10), 4));
  }

  ioapicWrite(register: number, value: number): void {
    this.vmm.mmioWrite(this.cpu(), BigInt(IOAPIC_GPA), 4, BigInt(register));
    this.vmm.mmioWrite(this.cpu(), BigInt(IOAPIC_GPA + 0x10), 4, BigInt(value >>> 0));
  }

  /** Redirection entry: high half first, so that it is complete when it is unmasked. */
  route(pin: number, low: number, destination = 0): void {
    this.ioapicWrite(0x11 + pin * 2, destination << 24);
    this.ioapicWrite(0x10 + pin * 2, low);
  }

  hpetRead(offset: number, sizeBytes = 4): bigint {
    return BigInt.asUintN(64, this.vmm.mmioRead(this.cpu(), BigInt(HPET_GPA + offset), sizeBytes));
  }
  hpetWrite(offset: number, value: number | bigint, sizeBytes = 4): void {
    this.vmm.mmioWrite(this.cpu(), BigInt(HPET_GPA + offset), sizeBytes, BigInt(value));
  }

  /** @returns undefined for #GP. */
  rdmsr(msr: number, index = 0): bigint | undefined {
    return this.vmm.msrRead(this.cpu(index), msr) === 1 ? this.view.getBigUint64(this.cpu(index) + VCPU_SCRATCH, true) : undefined;
  }

  /** @returns false for #GP. */
  wrmsr(msr: number, value: bigint, index = 0): boolean {
    return this.vmm.msrWrite(this.cpu(index), msr, value) === 1;
  }

  /** Take the pending interrupt as a CPU with IF = 1 would. @returns its vector, or -1. */
  take(index = 0): number {
    const vector = this.vmm.interruptVector(this.cpu(index));
    return vector < 0 ? -1 : this.vmm.interruptAck(this.cpu(index));
  }

  eoi(index = 0): void {
    this.lapicWrite(0xb0, 0, index);
  }
  enableLapic(index = 0): void {
    this.lapicWrite(0xf0, 0x1ff, index);
  }
  requests(index = 0): number {
    return this.view.getUint32(this.cpu(index) + VCPU_REQUESTS, true);
  }
  nmiPending(index = 0): boolean {
    return this.view.getUint32(this.cpu(index) + VCPU_NMI_PENDING, true) !== 0;
  }

  cmosRead(register: number): number {
    this.out(0x70, register);
    return this.in(0x71);
  }

  cmosWrite(register: number, value: number): void {
    this.out(0x70, register);
    this.out(0x71, value);
  }

  /** The usual PC set-up: vectors 20h and 28h, everything masked but what `mask` leaves open. */
  initPic(mask = 0xffff, icw4 = 1): void {
    for (const [port, base, cascade, bits] of [
      [0x20, 0x20, 4, mask & 0xff],
      [0xa0, 0x28, 2, mask >> 8],
    ] as const) {
      this.out(port, 0x11);
      this.out(port + 1, base);
      this.out(port + 1, cascade);
      this.out(port + 1, icw4);
      this.out(port + 1, bits);
    }
  }
}
