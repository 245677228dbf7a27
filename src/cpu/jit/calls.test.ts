import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import { ADD_RAX_2, CODE, DEC_RDI, HLT, INC_RAX, NOP, RET, call, distance, eachRun, remap } from '../testing/paged-machine.ts';

const FAR = 0x9000,
  OTHER = 0xa000;

test('a recursion deeper than calls are nested comes back', () => {
  // f: dec rdi; jz out; call f; inc rax; out: ret
  const f = CODE + 0x100;
  const code = {
    [CODE]: [...call(CODE, f), HLT],
    [f]: [...DEC_RDI, 0x74, 8, ...call(f + 5, f), ...INC_RAX, RET],
  };
  const depth = 9000;
  eachRun(code, (machine, slice) => {
    const length = BigInt(2 + 5 * (depth - 1) + 3);
    deepEqual(machine.run(slice, depth), { rax: BigInt(depth - 1), rsp: 0n, retired: length });
  });
});

test('a RET that goes elsewhere than its CALL came from', () => {
  // f: add qword [rsp], 3; ret. After the call: inc rax (skipped); add rax, 2
  const f = CODE + 0x100;
  const code = {
    [CODE]: [...call(CODE, f), ...INC_RAX, ...ADD_RAX_2, HLT],
    [f]: [0x48, 0x83, 0x04, 0x24, 3, RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice), { rax: 2n, rsp: 0n, retired: 5n }));
});

test('a callee that returns to its caller’s caller', () => {
  // g: add rsp, 8; ret
  const f = CODE + 0x100,
    g = CODE + 0x200;
  const code = {
    [CODE]: [...call(CODE, f), ...ADD_RAX_2, HLT],
    [f]: [...call(f, g), ...INC_RAX, RET],
    [g]: [0x48, 0x83, 0xc4, 8, RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice), { rax: 2n, rsp: 0n, retired: 6n }));
});

test('what a callee writes into its caller’s code is executed after its RET', () => {
  // f: xor byte [rip + ...], 2 ^ 7; ret: the immediate of the caller's next instruction
  const f = FAR + 0x100,
    patched = CODE + 5 + 3;
  const code = {
    [CODE]: [...call(CODE, f), ...ADD_RAX_2, HLT],
    [f]: [0x80, 0x35, ...distance(f + 7, patched), 2 ^ 7, RET],
  };
  eachRun(code, (machine, slice) => {
    const rax = machine.ram[patched] === 2 ? 7n : 2n;
    deepEqual(machine.run(slice), { rax, rsp: 0n, retired: 5n });
  });
});

test('a callee’s page is mapped elsewhere between two calls', () => {
  const first = call(CODE, FAR),
    change = remap(FAR, OTHER),
    second = CODE + first.length + change.length;
  const code = {
    [CODE]: [...first, ...change, ...call(second, FAR), ...remap(FAR, FAR), HLT],
    [FAR]: [...INC_RAX, RET],
    [OTHER]: [...ADD_RAX_2, RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice), { rax: 3n, rsp: 0n, retired: 11n }));
});

test('a callee maps its caller’s page elsewhere', () => {
  const there = call(CODE, FAR),
    back = [...ADD_RAX_2, ...remap(CODE, CODE)];
  const code = {
    [CODE]: [...there, ...INC_RAX, ...back.map(() => NOP), HLT],
    [OTHER]: [...there, ...back], // and on in CODE
    [FAR]: [...remap(CODE, OTHER), RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice).rax, 2n));
});
