/** Decoded code that changes or ends with its page. Runs on: the test runner. */
import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { RUN_HALTED } from '../../base/vcpu-words.ts';
import { CODE32, SmallMachine } from '../testing/small-machine.ts';

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
