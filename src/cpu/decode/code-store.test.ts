/** Decoded code that changes or ends with its page. Runs on: the test runner. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { HVA_RAM } from '../../base/memory-map.ts';
import { RUN_BUDGET, RUN_HALTED } from '../../base/vcpu-words.ts';
import { CODE32, SmallMachine } from '../testing/small-machine.ts';

/** Access rights of a 16-bit code segment. */
const CODE_16 = 0x809b;
const CODE = 0x8000,
  PAGE = 4096;
const RAX = 0,
  RCX = 1,
  RBX = 3,
  RDI = 7;

/** Flat 32-bit code without paging. */
function machine(): SmallMachine {
  const small = new SmallMachine({ ramBytes: 0x20000 });
  small.setFlatSegments(CODE32);
  small.set('cr0', 0x33n);
  small.set('rflags', 2n);
  small.set('rip', CODE);
  return small;
}
const put = (small: SmallMachine, at: number, hex: string): void => void small.ram.write(hex, at, 'hex');

test('a jump that is overwritten before its target is known is still a conditional one', () => {
  const small = machine();
  put(small, CODE, 'e938000000'); // jmp 8003dh
  put(small, CODE + 0x3d, '4349'); // inc ebx; dec ecx: in a line of their own
  put(small, CODE + 0x3f, '90');
  put(small, CODE + 0x40, '0f84ba000000'); // jz T
  put(small, CODE + 0x46, 'c605408000000f'); // mov byte [8040h], 0fh: the same byte again
  put(small, CODE + 0x4d, 'ebee'); // jmp 803dh
  put(small, CODE + 0x100, '4f740ab903000000e930ffffff'); // T: dec edi; jz END; mov ecx, 3; jmp 803dh
  put(small, CODE + 0x10d, 'f4'); // END: hlt
  small.set('gpr', 3, RCX);
  small.set('gpr', 4, RDI);
  small.refresh();
  equal(small.processor.run(1000), RUN_HALTED);
  deepEqual([small.get('gpr', RBX), small.get('gpr', RDI)], [12n, 0n]);
});

test('code that runs over the end of its page goes on in the next one, not at its start in another mode', () => {
  const small = machine();
  small.ram.fill(0x40, CODE, CODE + PAGE); // inc eax
  put(small, CODE + PAGE, 'f4');
  put(small, CODE + 2 * PAGE, '');
  small.refresh();
  equal(small.processor.run(10 * PAGE), RUN_HALTED);
  equal(small.get('gpr', RAX), BigInt(PAGE));
});

test('what follows a branch is decoded when it is come to, whatever was decoded in between', () => {
  const small = machine();
  put(small, CODE, '7501'); // jnz 8003h
  put(small, CODE + 2, '43'); // inc ebx
  put(small, CODE + 3, '49'); // dec ecx
  put(small, CODE + 4, '75fa'); // jnz 8000h
  put(small, CODE + 6, '41'); // inc ecx
  put(small, CODE + 7, '4f'); // dec edi
  put(small, CODE + 8, '75f6'); // jnz 8000h
  put(small, CODE + 10, 'f4ebfe'); // hlt; jmp $
  small.set('gpr', 3, RCX);
  small.set('gpr', 2, RDI);
  small.refresh();
  const { code } = small.processor;
  equal(small.processor.run(1), RUN_BUDGET);
  equal(code.stats.decodedInstructions, 1);
  equal(small.processor.run(1000), RUN_HALTED);
  equal(code.stats.decodedInstructions, 9);
  deepEqual([small.get('gpr', RBX), small.get('gpr', RCX), small.get('gpr', RDI)], [1n, 1n, 0n]);
});

test('what follows a branch may lie over two pages', () => {
  const small = machine();
  small.ram.fill(0x90, CODE, CODE + PAGE);
  put(small, CODE + PAGE - 3, '7500'); // jnz to what follows, which lies over two pages
  put(small, CODE + PAGE - 1, 'b807000000'); // mov eax, 7
  put(small, CODE + PAGE + 4, 'f4');
  small.set('rip', CODE + PAGE - 3);
  small.refresh();
  equal(small.processor.run(1000), RUN_HALTED);
  equal(small.get('gpr', RAX), 7n);
});

test('REP STOSB that writes over itself goes on with what stands there then', () => {
  const small = machine();
  put(small, CODE, '9090909090909090'); // nop, eight times
  put(small, CODE + 8, 'f3aa'); // rep stosb
  put(small, CODE + 10, '40f4'); // inc eax; hlt
  small.set('gpr', 0xf4, RAX); // hlt
  small.set('gpr', CODE, RDI);
  small.set('gpr', 100, RCX);
  small.refresh();
  equal(small.processor.run(5000), RUN_HALTED);
  // The HLT that stands where the prefix was is executed next: 91 elements are left.
  deepEqual([small.get('rip'), small.get('gpr', RCX), small.get('gpr', RAX)], [BigInt(CODE + 9), 91n, 0xf4n]);
});

test('code that was decoded in one mode is decoded anew in another', () => {
  const small = machine();
  put(small, CODE, '40f4'); // inc eax; hlt. In 64-bit code the first byte is a REX prefix.
  small.refresh();
  equal(small.processor.run(10), RUN_HALTED);
  const { code } = small.processor,
    { decodedInstructions } = code.stats;
  small.set('halted', 0);
  small.set('rip', CODE);
  equal(small.processor.run(10), RUN_HALTED);
  equal(code.stats.decodedInstructions, decodedInstructions);
  small.set('halted', 0);
  small.setFlatSegments(CODE_16);
  small.set('rip', CODE);
  small.refresh();
  equal(small.processor.run(10), RUN_HALTED);
  deepEqual([code.stats.decodedInstructions, small.get('gpr', RAX)], [decodedInstructions * 2, 3n]);
});

test('a write forgets what reaches into its line, from the instruction before it on, and nothing else', () => {
  const small = machine();
  small.ram.fill(0x90, CODE, CODE + PAGE);
  put(small, CODE + 0x7d, 'b807000000'); // mov eax, 7: from line 1 into line 2
  put(small, CODE + 0xfe, 'f4'); // hlt, in line 3
  small.refresh();
  equal(small.processor.run(1000), RUN_HALTED);
  const { code } = small.processor,
    mode = Number(small.get('mode')) << 12,
    isKnown = (offset: number): boolean => code.uopAt(HVA_RAM + CODE, offset | mode) !== 0;
  deepEqual([0, 0x7c, 0x7d, 0x82, 0xbf, 0xc0, 0xfe].map(isKnown), [true, true, true, true, true, true, true]);
  code.written(HVA_RAM + CODE, 1 << 2, 0);
  deepEqual([0, 0x7c, 0x7d, 0x82, 0xbf, 0xc0, 0xfe].map(isKnown), [true, true, false, false, false, true, true]);
});

test('where the room for micro-ops is full, everything is forgotten and goes on', () => {
  const bytes = 0x400000,
    small = new SmallMachine({ ramBytes: bytes + 0x10000 });
  small.setFlatSegments(CODE32);
  small.set('cr0', 0x33n);
  small.set('rflags', 2n);
  small.ram.fill(0x40, CODE, bytes); // inc eax
  put(small, bytes, 'f4');
  small.set('rip', CODE);
  small.refresh();
  equal(small.processor.run(bytes), RUN_HALTED);
  equal(small.get('gpr', RAX), BigInt(bytes - CODE));
  ok(small.processor.code.stats.flushes > 0);
});
