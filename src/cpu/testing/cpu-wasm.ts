/**
 * cpu.wasm alone, over real memory 0 and a small guest RAM written in JavaScript: helpers are called directly and the record is looked at.
 * Implements: docs/internals.md "Wasm modules" (ram, bus and host as plain functions). Runs on: tests.
 */
import { readFileSync } from 'node:fs';
import {
  CODE_LINES,
  GUEST_MAP_COUNT,
  GUEST_MAP_RANGES,
  GUEST_MAP_RANGE_BYTES,
  HVA_RAM,
  PROTECTION_EXEC,
  PROTECTION_READ,
  PROTECTION_WRITE,
  VCPUS,
  VCPU_STRIDE,
  VCPU_TIER1_PAGES,
} from '../../base/memory-map.ts';
import { VCPU } from '../state.ts';

export type Helper = (vcpu: number, ...values: (number | bigint)[]) => number | bigint;
type FieldName = keyof typeof VCPU.fields;

export const ALL_ONES = 0xffff_ffff_ffff_ffffn;

export interface MapRange {
  readonly gpa: bigint;
  readonly end: bigint;
  /** Offset in memory 1; HVA_RAM + gpa if absent. */
  readonly hva?: bigint;
  readonly protection?: number;
}

export interface BusAccess {
  readonly kind: 'read' | 'write' | 'in' | 'out';
  readonly at: bigint;
  readonly sizeBytes: number;
  readonly value: bigint;
}

const compiled = new WebAssembly.Module(readFileSync(new URL('../../generated/cpu.wasm', import.meta.url)));

/** Exports of the built module, by name. */
export const cpuExports = (): readonly WebAssembly.ModuleExportDescriptor[] => WebAssembly.Module.exports(compiled);
export const cpuBytes = (): Uint8Array => readFileSync(new URL('../../generated/cpu.wasm', import.meta.url));

export class CpuWasm {
  readonly vcpu = VCPUS;
  readonly memory0 = new WebAssembly.Memory({ initial: (VCPUS + VCPU_STRIDE) / 65536, maximum: 65536, shared: true });
  readonly record = new DataView(this.memory0.buffer);
  readonly ram: DataView;
  readonly accesses: BusAccess[] = [];
  /** Calls of host.codeWritten, of all pages: page and lines, which stay marked. */
  readonly codeWritten: { page: number; lines: bigint }[] = [];
  readonly msrs = new Map<number, bigint>();
  /** What device reads answer. */
  deviceValue = 0x1122_3344_5566_7788n;
  tsc = 0n;
  tpr = 0;
  readonly #exports: Record<string, Helper>;

  constructor(ramBytes: number, map?: readonly MapRange[]) {
    const ram = new DataView(new ArrayBuffer(HVA_RAM + ramBytes));
    this.ram = ram;
    const at = (hva: bigint): number => Number(hva);
    const { record, accesses } = this;
    const cut = (value: bigint, sizeBytes: number): bigint => BigInt.asUintN(sizeBytes * 8, value);
    const note = (kind: BusAccess['kind'], address: bigint, sizeBytes: number, value: bigint): void => {
      accesses.push({ kind, at: BigInt.asUintN(64, address), sizeBytes, value: cut(value, sizeBytes) });
    };
    const cas = (hva: bigint, expected: bigint, value: bigint): bigint => {
      const old = ram.getBigUint64(at(hva), true);
      if (old === BigInt.asUintN(64, expected)) ram.setBigUint64(at(hva), value, true);
      return old;
    };
    const instance = new WebAssembly.Instance(compiled, {
      env: { memory: this.memory0 },
      ram: {
        ld8: (hva: bigint) => ram.getUint8(at(hva)),
        ld16: (hva: bigint) => ram.getUint16(at(hva), true),
        ld32: (hva: bigint) => ram.getUint32(at(hva), true),
        ld64: (hva: bigint) => ram.getBigUint64(at(hva), true),
        st8: (hva: bigint, value: number) => ram.setUint8(at(hva), value),
        st16: (hva: bigint, value: number) => ram.setUint16(at(hva), value, true),
        st32: (hva: bigint, value: number) => ram.setUint32(at(hva), value, true),
        st64: (hva: bigint, value: bigint) => ram.setBigUint64(at(hva), value, true),
        cas32: (hva: bigint, expected: number, value: number) => {
          const old = ram.getUint32(at(hva), true);
          if (old === expected >>> 0) ram.setUint32(at(hva), value, true);
          return old;
        },
        cas64: cas,
        copy: (to: bigint, from: bigint, sizeBytes: bigint) =>
          new Uint8Array(ram.buffer).copyWithin(at(to), at(from), at(from) + Number(sizeBytes)),
        copyIn: (to: number, from: bigint, sizeBytes: number) =>
          new Uint8Array(this.memory0.buffer).set(new Uint8Array(ram.buffer, at(from), sizeBytes), to),
        copyOut: (to: bigint, from: number, sizeBytes: number) =>
          new Uint8Array(ram.buffer).set(new Uint8Array(this.memory0.buffer, from, sizeBytes), at(to)),
        enter: () => {
          throw new Error('there are no handlers');
        },
        fill: (to: bigint, byte: number, sizeBytes: bigint) => new Uint8Array(ram.buffer).fill(byte, at(to), at(to) + Number(sizeBytes)),
      },
      bus: {
        mmioRead: (_: number, gpa: bigint, sizeBytes: number) => {
          note('read', gpa, sizeBytes, this.deviceValue);
          return cut(this.deviceValue, sizeBytes);
        },
        mmioWrite: (_: number, gpa: bigint, sizeBytes: number, value: bigint) => note('write', gpa, sizeBytes, value),
        portRead: (_: number, port: number, sizeBytes: number) => {
          note('in', BigInt(port), sizeBytes, this.deviceValue);
          return Number(cut(this.deviceValue, sizeBytes));
        },
        portWrite: (_: number, port: number, sizeBytes: number, value: number) => note('out', BigInt(port), sizeBytes, BigInt(value)),
        msrRead: (_: number, msr: number) => {
          const value = this.msrs.get(msr >>> 0);
          if (value !== undefined) this.set('scratch', value);
          return value === undefined ? 0 : 1;
        },
        msrWrite: (_: number, msr: number, value: bigint) => {
          if (!this.msrs.has(msr >>> 0)) return 0;
          this.msrs.set(msr >>> 0, BigInt.asUintN(64, value));
          return 1;
        },
        readTpr: () => this.tpr,
        writeTpr: (_: number, value: number) => {
          this.tpr = value;
        },
        tsc: () => this.tsc + this.get('tscOffset'),
        tscAt: () => this.tsc + this.get('tscOffset'),
        interruptVector: () => -1,
        interruptAck: () => -1,
        poll: () => undefined,
      },
      host: {
        nowNs: () => 0,
        hot: () => undefined,
        codeFirst: () => undefined,
        codeDecoded: () => undefined,
        codeFlushed: () => undefined,
        codeRequest: () => undefined,
        exit: () => undefined,
        codeWritten: (_: number, page: number) => this.codeWritten.push({ page, lines: this.get('scratch') }),
        random: () => this.set('scratch', 0x0123_4567_89ab_cdefn),
      },
    });
    this.#exports = instance.exports as Record<string, Helper>;
    new Uint8Array(this.memory0.buffer).fill(0xff, VCPUS + VCPU_TIER1_PAGES, VCPUS + VCPU_TIER1_PAGES + ((HVA_RAM + ramBytes) >> 15) + 1);
    const ranges = map ?? [{ gpa: 0n, end: BigInt(ramBytes) }];
    record.setUint32(GUEST_MAP_COUNT, ranges.length, true);
    ranges.forEach(({ gpa, end, hva, protection }, index) => {
      const range = GUEST_MAP_RANGES + index * GUEST_MAP_RANGE_BYTES;
      record.setBigUint64(range, gpa, true);
      record.setBigUint64(range + 8, end, true);
      record.setBigUint64(range + 16, hva ?? gpa + BigInt(HVA_RAM), true);
      record.setUint32(range + 24, protection ?? PROTECTION_READ | PROTECTION_WRITE | PROTECTION_EXEC, true);
    });
    this.call('resetCpu');
  }

  /** Call a helper; a u64 result comes unsigned. */
  call(name: string, ...values: (number | bigint)[]): bigint {
    const helper = this.#exports[name];
    if (helper === undefined) throw new Error(`cpu.wasm exports no ${name}`);
    const result = helper(this.vcpu, ...values);
    if (result === undefined) return 0n;
    return typeof result === 'bigint' ? BigInt.asUintN(64, result) : BigInt(result >>> 0);
  }

  #place(name: FieldName, index: number): readonly [number, number] {
    const { type, strideBytes } = VCPU.fields[name];
    return [this.vcpu + VCPU.offset[name] + index * strideBytes, type === 'u64' ? 8 : type === 'v128' ? 16 : 4];
  }

  get(name: FieldName, index = 0): bigint {
    const [at, width] = this.#place(name, index);
    return width >= 8 ? this.record.getBigUint64(at, true) : BigInt(this.record.getUint32(at, true));
  }

  set(name: FieldName, value: bigint | number, index = 0): void {
    const [at, width] = this.#place(name, index);
    if (width >= 8) this.record.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
    else this.record.setUint32(at, Number(BigInt.asUintN(32, BigInt(value))), true);
  }

  /** Guest-physical memory of the first range. */
  read64(gpa: bigint | number): bigint {
    return this.ram.getBigUint64(HVA_RAM + Number(gpa), true);
  }
  read32(gpa: bigint | number): number {
    return this.ram.getUint32(HVA_RAM + Number(gpa), true);
  }
  read16(gpa: bigint | number): number {
    return this.ram.getUint16(HVA_RAM + Number(gpa), true);
  }
  read8(gpa: bigint | number): number {
    return this.ram.getUint8(HVA_RAM + Number(gpa));
  }
  write64(gpa: bigint | number, value: bigint): void {
    this.ram.setBigUint64(HVA_RAM + Number(gpa), BigInt.asUintN(64, value), true);
  }
  write32(gpa: bigint | number, value: number): void {
    this.ram.setUint32(HVA_RAM + Number(gpa), value, true);
  }
  write16(gpa: bigint | number, value: number): void {
    this.ram.setUint16(HVA_RAM + Number(gpa), value, true);
  }
  write8(gpa: bigint | number, value: number): void {
    this.ram.setUint8(HVA_RAM + Number(gpa), value);
  }

  /** The fault a helper raised, as `#13(8)`, and clear it; '' when there is none. */
  fault(): string {
    const raised = Number(this.get('fault'));
    this.set('fault', 0);
    if (raised === 0) return '';
    return this.get('faultHasError') === 1n ? `#${raised - 1}(${this.get('faultError').toString(16)})` : `#${raised - 1}`;
  }

  /** Mark 64-byte lines of the page of this hva as decoded code. */
  setCodeLines(hva: number, lines: bigint): void {
    this.record.setBigUint64(CODE_LINES + (hva >>> 12) * 8, lines, true);
  }

  setSegment(segment: number, selector: number, base: bigint, limit: number, access: number): void {
    this.set('segSelector', selector, segment);
    this.set('segBase', base, segment);
    this.set('segLimit', limit, segment);
    this.set('segAccess', access, segment);
  }

  /** Everything a fault must leave alone: registers, flags, segments and control registers. */
  architecturalState(): string {
    const names = [
      'gpr',
      'rip',
      'rflags',
      'cpl',
      'segSelector',
      'segBase',
      'segLimit',
      'segAccess',
      'cr0',
      'cr2',
      'cr3',
      'cr4',
      'efer',
      'dr',
      'shadow',
      'gdtrBase',
      'idtrBase',
    ] as const;
    const flags = this.call('readFlags').toString(16);
    return (
      names
        .map((name) => `${name} ${Array.from({ length: VCPU.fields[name].count }, (_, i) => this.get(name, i).toString(16)).join(' ')}`)
        .join('\n') + flags
    );
  }
}

/** A 64-bit descriptor. @param access as in the record: bits 0-7 type, S, DPL, P; 12-15 AVL, L, D, G */
export function descriptor(base: number, limit: number, access: number): bigint {
  const raw = access & 0x8000 ? limit >>> 12 : limit;
  return (
    BigInt(raw & 0xffff) |
    (BigInt(base & 0xffffff) << 16n) |
    (BigInt(access & 0xff) << 40n) |
    (BigInt((raw >>> 16) & 15) << 48n) |
    (BigInt((access >>> 12) & 15) << 52n) |
    (BigInt((base >>> 24) & 0xff) << 56n)
  );
}
