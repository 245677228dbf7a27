import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { VCPUS } from '../base/memory-map.ts';
import { RUN_HALTED, VCPU } from './state.ts';
import { CODE32, SmallMachine } from './testing/small-machine.ts';

const RAM_BYTES = 0x10_0000;
const CODE = 0x1000,
  MXCSR = 0x2000,
  INPUT = 0x1_0000,
  OUTPUT = 0x8_0000;
const PAIRS = 2000,
  PAIR_BYTES = 32;
const PE = 0x20,
  DEFAULT = 0x1f80,
  FLUSHING = 0x9fc0;

/** Flat 32-bit code at CPL 0 without paging, and the helpers by name. */
class Machine extends SmallMachine {
  constructor() {
    super({ ramBytes: RAM_BYTES });
  }

  call(helper: string, ...values: number[]): void {
    (this.processor.cpu as unknown as Record<string, (...values: number[]) => void>)[helper]!(VCPUS, ...values);
  }

  /** Run `instruction` (XMM0, XMM1) on every pair of the input, each with this MXCSR; results and MXCSRs go to the output. */
  run(instruction: string, mxcsr: number): void {
    // ldmxcsr [ebx]; movups xmm0, [esi]; movups xmm1, [esi+10h]
    const head = '0fae130f10060f104e10';
    // movups [edi], xmm0; stmxcsr [edi+10h]; add esi, 20h; add edi, 20h; dec ecx; jnz
    const tail = '0f11070fae5f1083c62083c7204975';
    const back = (head.length + instruction.length + tail.length) / 2 + 1;
    const code = Buffer.from(`${head}${instruction}${tail}${(256 - back).toString(16)}f4`, 'hex');
    code.copy(this.ram, CODE);
    this.ram.writeUInt32LE(mxcsr, MXCSR);
    this.set('cr0', 0x33n);
    this.set('cr4', 0x600n);
    this.setFlatSegments(CODE32);
    this.set('rip', CODE);
    this.set('rflags', 2n);
    for (const [register, value] of [
      [1, PAIRS],
      [3, MXCSR],
      [6, INPUT],
      [7, OUTPUT],
    ] as const)
      this.set('gpr', value, register);
    this.refresh();
    equal(this.processor.run(PAIRS * 100), RUN_HALTED);
    this.set('halted', 0);
  }

  /** Result of pair n and its MXCSR, with PE. */
  result(n: number): string {
    const at = OUTPUT + n * PAIR_BYTES,
      word = (index: number): string =>
        this.ram
          .readUInt32LE(at + index * 4)
          .toString(16)
          .padStart(8, '0');
    return `${word(3)}_${word(2)}_${word(1)}_${word(0)} ${(this.ram.readUInt32LE(at + 16) | PE).toString(16)}`;
  }
}

/** Around zero, the smallest normal number, one and infinity. */
const EDGES32 = [
  0, 1, 0x7f_ffff, 0x80_0000, 0x80_0001, 0x3f7f_ffff, 0x3f80_0000, 0x4eff_ffff, 0x4f00_0000, 0x7f7f_ffff, 0x7f80_0000, 0x7f80_0001,
  0x7fc0_0001,
];
/** High halves of the same with 11 bits of exponent, and the limits of narrowing to f32. */
const EDGES64 = [
  0, 0xf_ffff, 0x10_0000, 0x3fef_ffff, 0x3ff0_0000, 0x41df_ffff, 0x7fef_ffff, 0x7ff0_0000, 0x7ff8_0000, 0x3810_0000, 0x47ef_ffff,
];

/** Edges, ordinary numbers and random bits, always the same. */
function fill(machine: Machine, double: boolean): void {
  let state = 0x2545_f491;
  const random = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const word = (edges: readonly number[], one: number, spread: number): number => {
    const sign = random(2) * 0x8000_0000;
    if (random(3) === 0) return edges[random(edges.length)]! + sign;
    return (random(2) ? one - spread / 2 + random(spread) : random(0x8000_0000)) + sign;
  };
  for (let at = INPUT; at < INPUT + PAIRS * PAIR_BYTES; at += 8) {
    const low = double ? (random(3) === 0 ? random(3) - 1 : random(2 ** 32)) : word(EDGES32, 0x3f80_0000, 0x300_0000);
    machine.ram.writeUInt32LE(low >>> 0, at);
    machine.ram.writeUInt32LE(double ? word(EDGES64, 0x3ff0_0000, 0x40_0000) : word(EDGES32, 0x3f80_0000, 0x300_0000), at + 4);
  }
}

/** With PE clear the exact helpers work, with PE set wasm's own arithmetic; code bytes by name, XMM0 and XMM1 in the operands. */
const GATED: Readonly<Record<string, readonly [code: string, double: boolean]>> = {
  addps: ['0f58c1', false],
  addpd: ['660f58c1', true],
  addss: ['f30f58c1', false],
  addsd: ['f20f58c1', true],
  subps: ['0f5cc1', false],
  subsd: ['f20f5cc1', true],
  mulps: ['0f59c1', false],
  mulpd: ['660f59c1', true],
  mulss: ['f30f59c1', false],
  mulsd: ['f20f59c1', true],
  divps: ['0f5ec1', false],
  divpd: ['660f5ec1', true],
  divss: ['f30f5ec1', false],
  divsd: ['f20f5ec1', true],
  sqrtps: ['0f51c1', false],
  sqrtpd: ['660f51c1', true],
  sqrtss: ['f30f51c1', false],
  sqrtsd: ['f20f51c1', true],
  addsubps: ['f20fd0c1', false],
  addsubpd: ['660fd0c1', true],
  haddps: ['f20f7cc1', false],
  hsubpd: ['660f7dc1', true],
  cvtsd2ss: ['f20f5ac1', true],
  cvtpd2ps: ['660f5ac1', true],
  cvtdq2ps: ['0f5bc1', false],
  cvtps2dq: ['660f5bc1', false],
  cvttps2dq: ['f30f5bc1', false],
  cvtpd2dq: ['f20fe6c1', true],
  cvttpd2dq: ['660fe6c1', true],
  'roundps nearest': ['660f3a08c100', false],
  'roundpd down': ['660f3a09c101', true],
  'roundss up': ['660f3a0ac102', false],
  'roundsd as MXCSR': ['660f3a0bc104', true],
  // cvtsd2si eax, xmm1; movd xmm0, eax
  cvtsd2si: ['f20f2dc1660f6ec0', true],
  cvttss2si: ['f30f2cc1660f6ec0', false],
};

for (const [name, [code, double]] of Object.entries(GATED)) {
  test(`${name}: the fast way and the exact one agree`, () => {
    const machine = new Machine();
    fill(machine, double);
    for (const mxcsr of [DEFAULT, FLUSHING]) {
      machine.run(code, mxcsr);
      const exact = Array.from({ length: PAIRS }, (_, n) => machine.result(n));
      machine.run(code, mxcsr | PE);
      for (let n = 0; n < PAIRS; n++) equal(machine.result(n), exact[n], `pair ${n}, MXCSR ${mxcsr.toString(16)}`);
    }
  });
}

const MIN = 13,
  MAX = 15,
  F32_TO_F64 = 4,
  TRUNCATE = 0;
/** These have a fast way under any MXCSR; the helper is called by itself: [code, double, helper, arguments before the addresses, lanes]. */
const UNGATED: Readonly<
  Record<string, readonly [code: string, double: boolean, helper: string, before: readonly number[], lanes: number]>
> = {
  minps: ['0f5dc1', false, 'sseArithmeticF32', [MIN], 4],
  minsd: ['f20f5dc1', true, 'sseArithmeticF64', [MIN], 1],
  maxpd: ['660f5fc1', true, 'sseArithmeticF64', [MAX], 2],
  maxss: ['f30f5fc1', false, 'sseArithmeticF32', [MAX], 1],
  ...Object.fromEntries(
    Array.from({ length: 8 }, (_, predicate) => [
      [`cmpps ${predicate}`, [`0fc2c10${predicate}`, false, 'sseCompareF32', [predicate], 4]],
      [`cmpsd ${predicate}`, [`f20fc2c10${predicate}`, true, 'sseCompareF64', [predicate], 1]],
    ]).flat() as [string, [string, boolean, string, number[], number]][],
  ),
  cvtss2sd: ['f30f5ac1', false, 'sseConvert', [F32_TO_F64, TRUNCATE], 1],
  cvtps2pd: ['0f5ac1', false, 'sseConvert', [F32_TO_F64, TRUNCATE], 2],
};

for (const [name, [code, double, helper, before, lanes]] of Object.entries(UNGATED)) {
  test(`${name}: as its helper`, () => {
    const machine = new Machine(),
      { record, ram } = machine,
      { offset } = VCPU;
    fill(machine, double);
    for (const mxcsr of [DEFAULT, FLUSHING]) {
      machine.run(code, mxcsr);
      const fast = Array.from({ length: PAIRS }, (_, n) => machine.result(n));
      for (let n = 0; n < PAIRS; n++) {
        for (let at = 0; at < 16; at += 4) {
          record.setUint32(offset.vector + at, ram.readUInt32LE(INPUT + n * PAIR_BYTES + at), true);
          record.setUint32(offset.vector + 32 + at, ram.readUInt32LE(INPUT + n * PAIR_BYTES + 16 + at), true);
        }
        record.setUint32(offset.mxcsr, mxcsr, true);
        const dst = VCPUS + offset.vector,
          src = dst + 32;
        machine.call(helper, ...before, dst, ...(helper === 'sseConvert' ? [src] : [dst, src]), lanes);
        for (let at = 0; at < 16; at += 4) ram.writeUInt32LE(record.getUint32(offset.vector + at, true), OUTPUT + n * PAIR_BYTES + at);
        ram.writeUInt32LE(record.getUint32(offset.mxcsr, true), OUTPUT + n * PAIR_BYTES + 16);
        equal(fast[n], machine.result(n), `pair ${n}, MXCSR ${mxcsr.toString(16)}`);
      }
    }
  });
}
