/**
 * x87, MMX and SSE state over more than one instruction: last opcode and pointers, the x87 seen as MMX, refusal as CR0 and CR4 say.
 * Implements: SDM vol. 1 8.1.8, 8.1.9, 9.6; vol. 3A table 2-2, 13.1. Runs on: Node; needs the built modules in src/generated.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { CAPABILITY_EXIT_ON_EXCEPTION, CAPABILITY_STEP, RUN_STEPPED } from './state.ts';
import { CODE32, SmallMachine } from './testing/small-machine.ts';
import type { Field } from './testing/small-machine.ts';

const RAM_BYTES = 0x10000;
const CODE = 0x1000;
const DATA = 0x2000;
const RBX = 3;
const CR0_PE = 1n;
const CR0_MP = 2n;
const CR0_EM = 4n;
const CR0_TS = 8n;
const CR0_NE = 0x20n;
const CR4_OSFXSR = 0x200n;
const NM = 7;
const UD = 6;
const MF = 16;

/** 32-bit protected mode without paging; runs a program to its end or to the first exception. */
class Machine extends SmallMachine {
  constructor() {
    super({ ramBytes: RAM_BYTES });
    this.setFlatSegments(CODE32);
    this.set('rflags', 2n);
    this.set('capabilities', CAPABILITY_EXIT_ON_EXCEPTION | CAPABILITY_STEP);
    this.set('fcw', 0x37f);
    this.control(0n, CR4_OSFXSR);
    this.set('gpr', DATA, RBX);
  }

  control(cr0: bigint, cr4: bigint): void {
    this.set('cr0', CR0_PE | CR0_NE | cr0);
    this.set('cr4', cr4);
  }
  number(name: Field): number {
    return Number(this.get(name));
  }
  memory(at: number, sizeBytes: number): string {
    return this.ram.toString('hex', at, at + sizeBytes);
  }
  store(at: number, hex: string): void {
    this.ram.write(hex, at, 'hex');
  }

  /** @returns the exception's vector, or undefined at the end. */
  run(...instructions: string[]): number | undefined {
    this.store(CODE, instructions.join(''));
    this.set('rip', CODE);
    this.set('fault', 0);
    this.refresh();
    for (let left = instructions.length; left > 0; left--) {
      if (this.processor.run(1) !== RUN_STEPPED) return this.number('fault') - 1;
    }
    return undefined;
  }
}

test('an unmasked exception leaves the opcode and the operand of its instruction', () => {
  const machine = new Machine();
  machine.set('fcw', 0x37e); // IE unmasked
  machine.store(DATA + 8, '0100a07f'); // a signalling NaN
  equal(machine.run('d9e8', 'd84308'), undefined); // fld1; fadd dword [ebx + 8]
  deepEqual(
    [machine.number('fop'), machine.number('fip'), machine.number('fdp'), machine.number('fsw') & 0x80],
    [0x043, CODE + 2, DATA + 8, 0x80],
  );
  equal(machine.run('d9e8'), MF);
  equal(machine.run('9b'), MF);
});

test('other instructions move the instruction pointer alone, and control instructions nothing', () => {
  const machine = new Machine();
  equal(machine.run('d9e8', 'd91b', '9b', 'd97b04', 'dfe0'), undefined); // fld1; fstp [ebx]; fwait; fnstcw [ebx + 4]; fnstsw ax
  deepEqual([machine.number('fop'), machine.number('fip'), machine.number('fdp')], [0, CODE + 2, 0]);
  equal(machine.memory(DATA, 6), '0000803f7f03');
  equal(machine.run('d933'), undefined); // fnstenv [ebx]
  equal(machine.memory(DATA + 12, 4), '02100000');
});

test('the opcode counts for register forms too', () => {
  const machine = new Machine();
  machine.set('fcw', 0x37b); // ZE unmasked
  equal(machine.run('d9ee', 'd9e8', 'dcf9'), undefined); // fldz; fld1; fdiv st1, st0: 0 / 1 is fine
  equal(machine.number('fop'), 0);
  equal(machine.run('dcf1'), undefined); // fdivr st1, st0: 1 / 0
  equal(machine.number('fop'), 0x4f1);
});

test('MMX registers are the x87 ones, without regard to TOP; EMMS empties them', () => {
  const machine = new Machine();
  machine.store(DATA, '0807060504030201');
  equal(machine.run('d9e8', '0f6f1b'), undefined); // fld1; movq mm3, [ebx]
  deepEqual([machine.number('fsw') & 0x3800, machine.number('ftw')], [0, 0xff]);
  equal(machine.run('0ffcdb', '0f7f5b08', '0f77'), undefined); // paddb mm3, mm3; movq [ebx + 8], mm3; emms
  equal(machine.memory(DATA + 8, 8), '100e0c0a08060402');
  equal(machine.number('ftw'), 0);
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
