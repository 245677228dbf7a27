/**
 * x87, MMX and SSE state over more than one instruction: last opcode and pointers, the x87 seen as MMX, refusal as CR0 and CR4 say.
 * Implements: SDM vol. 1 8.1.8, 8.1.9, 9.6; vol. 3A table 2-2, 13.1. Runs on: Node; needs the built modules in src/generated.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GUEST_MAP_COUNT, GUEST_MAP_RANGES, HVA_RAM, VCPUS, WASM_PAGE_BYTES } from '../base/memory-map.ts';
import { Processor, memory0Pages } from './processor.ts';
import type { Bus } from './processor.ts';
import { CAPABILITY_EXIT_ON_EXCEPTION, CAPABILITY_STEP, RUN_STEPPED, SEG, VCPU } from './state.ts';
import { MEMORY0_MAX_PAGES, MEMORY1_MAX_PAGES } from './wasm/limits.ts';

const RAM_BYTES = 0x10000;
const CODE = 0x1000;
const DATA = 0x2000;
const RBX = 3;
const { offset } = VCPU;
/** 32-bit code and data of ring 0, 4 GiB. */
const CODE_ACCESS = 0xc09b;
const DATA_ACCESS = 0xc093;
const CR0_PE = 1n;
const CR0_MP = 2n;
const CR0_EM = 4n;
const CR0_TS = 8n;
const CR0_NE = 0x20n;
const CR4_OSFXSR = 0x200n;
const NM = 7;
const UD = 6;
const MF = 16;

const NO_DEVICES: Bus = {
  mmioRead: () => 0n,
  mmioWrite: () => {},
  portRead: () => 0,
  portWrite: () => {},
  msrRead: () => 0,
  msrWrite: () => 0,
  interruptVector: () => -1,
  interruptAck: () => -1,
  readTpr: () => 0,
  writeTpr: () => {},
  tsc: () => 0n,
};

/** 32-bit protected mode without paging; runs a program to its end or to the first exception. */
class Machine {
  readonly #processor: Processor;
  readonly #view: DataView;
  readonly #ram: Buffer;

  constructor() {
    const memory0 = new WebAssembly.Memory({ initial: memory0Pages(1), maximum: MEMORY0_MAX_PAGES, shared: true });
    // Memory64 is not in the library's types yet.
    const memory1 = new WebAssembly.Memory({
      address: 'i64',
      initial: BigInt((HVA_RAM + RAM_BYTES) / WASM_PAGE_BYTES),
      maximum: BigInt(MEMORY1_MAX_PAGES),
      shared: true,
    } as unknown as WebAssembly.MemoryDescriptor);
    this.#view = new DataView(memory0.buffer);
    this.#ram = Buffer.from(memory1.buffer as ArrayBuffer, HVA_RAM, RAM_BYTES);
    this.#view.setUint32(GUEST_MAP_COUNT, 1, true);
    [0n, BigInt(RAM_BYTES), BigInt(HVA_RAM)].forEach((value, index) => this.#view.setBigUint64(GUEST_MAP_RANGES + index * 8, value, true));
    this.#view.setUint32(GUEST_MAP_RANGES + 24, 7, true);
    const generated = (name: string): Buffer<ArrayBuffer> => readFileSync(new URL(`../generated/${name}`, import.meta.url));
    const manifest = generated('handlers.manifest');
    this.#processor = new Processor({
      index: 0,
      memory0,
      memory1,
      bus: NO_DEVICES,
      nowNs: () => 0,
      exit: () => {},
      random: () => {},
      modules: {
        ram: new WebAssembly.Module(generated('ram.wasm')),
        cpu: new WebAssembly.Module(generated('cpu.wasm')),
        handlers: new WebAssembly.Module(generated('handlers.wasm')),
        manifest: new Uint16Array(manifest.buffer, manifest.byteOffset, manifest.byteLength / 2),
      },
    });
    for (let segment: number = SEG.ES; segment <= SEG.GS; segment++) {
      this.set32('segAccess', segment === SEG.CS ? CODE_ACCESS : DATA_ACCESS, segment);
      this.set32('segLimit', 0xffff_ffff, segment);
    }
    this.set64('rflags', 2n);
    this.set32('capabilities', CAPABILITY_EXIT_ON_EXCEPTION | CAPABILITY_STEP);
    this.set32('fcw', 0x37f);
    this.control(0n, CR4_OSFXSR);
    this.set64('gpr', BigInt(DATA), RBX);
  }

  control(cr0: bigint, cr4: bigint): void {
    this.set64('cr0', CR0_PE | CR0_NE | cr0);
    this.set64('cr4', cr4);
  }
  set32(name: 'segAccess' | 'segLimit' | 'capabilities' | 'fcw' | 'fault', value: number, index = 0): void {
    this.#view.setUint32(VCPUS + offset[name] + index * 4, value, true);
  }
  set64(name: 'gpr' | 'rflags' | 'rip' | 'cr0' | 'cr4', value: bigint, index = 0): void {
    this.#view.setBigUint64(VCPUS + offset[name] + index * 8, value, true);
  }
  get(name: 'fop' | 'fip' | 'fdp' | 'fsw' | 'ftw' | 'fault'): number {
    return this.#view.getUint32(VCPUS + offset[name], true);
  }
  memory(at: number, sizeBytes: number): string {
    return this.#ram.toString('hex', at, at + sizeBytes);
  }
  store(at: number, hex: string): void {
    this.#ram.write(hex, at, 'hex');
  }

  /** @returns the exception's vector, or undefined at the end. */
  run(...instructions: string[]): number | undefined {
    const { code } = this.#processor;
    code.flush();
    this.store(CODE, instructions.join(''));
    this.set64('rip', BigInt(CODE));
    this.set32('fault', 0);
    this.#processor.refreshState();
    for (let left = instructions.length; left > 0; left--) {
      if (this.#processor.run(1) !== RUN_STEPPED) return this.get('fault') - 1;
    }
    return undefined;
  }
}

test('an unmasked exception leaves the opcode and the operand of its instruction', () => {
  const machine = new Machine();
  machine.set32('fcw', 0x37e); // IE unmasked
  machine.store(DATA + 8, '0100a07f'); // a signalling NaN
  equal(machine.run('d9e8', 'd84308'), undefined); // fld1; fadd dword [ebx + 8]
  deepEqual([machine.get('fop'), machine.get('fip'), machine.get('fdp'), machine.get('fsw') & 0x80], [0x043, CODE + 2, DATA + 8, 0x80]);
  equal(machine.run('d9e8'), MF);
  equal(machine.run('9b'), MF);
});

test('other instructions move the instruction pointer alone, and control instructions nothing', () => {
  const machine = new Machine();
  equal(machine.run('d9e8', 'd91b', '9b', 'd97b04', 'dfe0'), undefined); // fld1; fstp [ebx]; fwait; fnstcw [ebx + 4]; fnstsw ax
  deepEqual([machine.get('fop'), machine.get('fip'), machine.get('fdp')], [0, CODE + 2, 0]);
  equal(machine.memory(DATA, 6), '0000803f7f03');
  equal(machine.run('d933'), undefined); // fnstenv [ebx]
  equal(machine.memory(DATA + 12, 4), '02100000');
});

test('the opcode counts for register forms too', () => {
  const machine = new Machine();
  machine.set32('fcw', 0x37b); // ZE unmasked
  equal(machine.run('d9ee', 'd9e8', 'dcf9'), undefined); // fldz; fld1; fdiv st1, st0: 0 / 1 is fine
  equal(machine.get('fop'), 0);
  equal(machine.run('dcf1'), undefined); // fdivr st1, st0: 1 / 0
  equal(machine.get('fop'), 0x4f1);
});

test('MMX registers are the x87 ones, without regard to TOP; EMMS empties them', () => {
  const machine = new Machine();
  machine.store(DATA, '0807060504030201');
  equal(machine.run('d9e8', '0f6f1b'), undefined); // fld1; movq mm3, [ebx]
  deepEqual([machine.get('fsw') & 0x3800, machine.get('ftw')], [0, 0xff]);
  equal(machine.run('0ffcdb', '0f7f5b08', '0f77'), undefined); // paddb mm3, mm3; movq [ebx + 8], mm3; emms
  equal(machine.memory(DATA + 8, 8), '100e0c0a08060402');
  equal(machine.get('ftw'), 0);
});

test('CR0 and CR4 refuse each class of instructions', () => {
  const machine = new Machine();
  const CLASSES = {
    x87: 'd9d0',
    fwait: '9b',
    mmx: '0fefc0',
    sse: '660fefc0',
    'sse mov': '660f6f03',
    movnti: '0fc303',
    'x87 control': 'dbe3',
  };
  const outcome = (cr0: bigint, cr4: bigint): Record<string, number | undefined> => {
    machine.control(cr0, cr4);
    return Object.fromEntries(Object.entries(CLASSES).map(([name, code]) => [name, machine.run(code)]));
  };
  const none = undefined;
  deepEqual(outcome(0n, CR4_OSFXSR), { x87: none, fwait: none, mmx: none, sse: none, 'sse mov': none, movnti: none, 'x87 control': none });
  deepEqual(outcome(0n, 0n), { x87: none, fwait: none, mmx: none, sse: UD, 'sse mov': UD, movnti: none, 'x87 control': none });
  deepEqual(outcome(CR0_TS, CR4_OSFXSR), { x87: NM, fwait: none, mmx: NM, sse: NM, 'sse mov': NM, movnti: none, 'x87 control': NM });
  deepEqual(outcome(CR0_TS | CR0_MP, CR4_OSFXSR), { x87: NM, fwait: NM, mmx: NM, sse: NM, 'sse mov': NM, movnti: none, 'x87 control': NM });
  deepEqual(outcome(CR0_EM, CR4_OSFXSR), { x87: NM, fwait: none, mmx: UD, sse: UD, 'sse mov': UD, movnti: none, 'x87 control': NM });
});
