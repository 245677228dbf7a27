import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { RUN_TRIPLE_FAULT } from '../state.ts';
import {
  ADD_RAX_2,
  CODE,
  DEC_RDI,
  HLT,
  INC_RAX,
  NOP,
  PagedMachine,
  RET,
  TIERS,
  call,
  distance,
  eachRun,
  jumpIfNotZero,
  remap,
} from '../testing/paged-machine.ts';

const NEXT = CODE + 0x1000,
  OTHER = 0x1_0000,
  FAR = 0x1_2000;
const STAC = [0x0f, 0x01, 0xcb],
  CLAC = [0x0f, 0x01, 0xca];
/** mov rcx, [FAR] */
const LOAD_RCX = [0x48, 0x8b, 0x0c, 0x25, ...distance(0, FAR)];
const nops = (count: number): number[] => new Array<number>(count).fill(NOP);

/** A loop whose body begins 16 bytes before a page's end. @param body what lies on the border */
function overBorder(body: readonly number[]): { start: number; bytes: readonly number[] } {
  const start = NEXT - 16,
    inside = [...nops(12), ...body, ...DEC_RDI];
  return { start, bytes: [...inside, ...jumpIfNotZero(start + inside.length, start), RET] };
}

test('a loop over the border of two pages', () => {
  for (const body of [[NOP, ...INC_RAX], INC_RAX, [...nops(2), ...INC_RAX], [NOP, NOP, NOP, NOP, ...INC_RAX]]) {
    const { start, bytes } = overBorder(body);
    const code = { [CODE]: [...call(CODE, start), HLT], [start]: bytes };
    const count = 50,
      perRound = 12 + body.length - INC_RAX.length + 1 + 2;
    eachRun(code, (machine, slice) =>
      deepEqual(machine.run(slice, count), { rax: BigInt(count), rsp: 0n, retired: BigInt(3 + perRound * count) }),
    );
  }
});

test('the second page is another one the next time', () => {
  const { start, bytes } = overBorder([...nops(4), ...INC_RAX]),
    first = call(CODE, start),
    change = remap(NEXT, OTHER),
    second = call(CODE + first.length + change.length, start);
  const code = {
    [CODE]: [...first, ...change, ...second, ...remap(NEXT, NEXT), HLT],
    [start]: bytes,
    // The same with 5 for 1: add rax, 5 is a byte longer, so that the loop's end moves, too.
    [OTHER]: [0x48, 0x83, 0xc0, 5, ...DEC_RDI, RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice, 3).rax, 8n));
});

test('a callee maps another second page behind its caller', () => {
  // The call is the last instruction of a page; behind it stands INC here, ADD there.
  const at = NEXT - 5,
    back = remap(NEXT, NEXT);
  const code = {
    [CODE]: [0xe9, ...distance(CODE + 5, at)],
    [at]: call(at, FAR),
    [NEXT]: [...INC_RAX, ...nops(1 + back.length), HLT],
    [OTHER]: [...ADD_RAX_2, ...back],
    [FAR]: [...remap(NEXT, OTHER), RET],
  };
  eachRun(code, (machine, slice) => deepEqual(machine.run(slice).rax, 2n));
});

test('a store from the first page into the second is seen at once', () => {
  // xor byte [the immediate of ADD in the next page], 2 ^ 7
  const start = NEXT - 7;
  const code = {
    [CODE]: [0xe9, ...distance(CODE + 5, start)],
    [start]: [0x80, 0x35, ...distance(NEXT, NEXT + 3), 2 ^ 7],
    [NEXT]: [...ADD_RAX_2, HLT],
  };
  eachRun(code, (machine, slice) => {
    const rax = machine.ram[NEXT + 3] === 2 ? 7n : 2n;
    deepEqual(machine.run(slice).rax, rax);
  });
});

test('a function reads a page of the user with RFLAGS.AC only, under SMAP', () => {
  // An access class each, and a region is for one of them. stac; call OTHER, 200 times; clac; call OTHER.
  const start = CODE + STAC.length,
    loop = [...call(start, OTHER), ...DEC_RDI],
    end = start + loop.length + 6;
  const code = {
    [CODE]: [...STAC, ...loop, ...jumpIfNotZero(start + loop.length, start), ...CLAC, ...call(end + CLAC.length, OTHER), HLT],
    [OTHER]: [...INC_RAX, ...LOAD_RCX, RET],
  };
  for (const tier of TIERS) {
    const machine = new PagedMachine(tier, code);
    machine.enableSmap(FAR);
    for (let i = 0; i < 3; i++) {
      equal(machine.runOn(1000, 200), RUN_TRIPLE_FAULT);
      equal(machine.get('gpr', 0), 201n);
      equal(machine.get('cr2'), BigInt(FAR));
      equal(machine.get('retired'), BigInt((6 * 200 + 4) * (i + 1)));
    }
  }
});

test('what STAC allows, CLAC forbids in the same block', () => {
  const code = { [CODE]: [...STAC, ...INC_RAX, ...LOAD_RCX, ...CLAC, ...INC_RAX, ...LOAD_RCX, ...INC_RAX, HLT] };
  for (const tier of TIERS) {
    const machine = new PagedMachine(tier, code);
    machine.enableSmap(FAR);
    for (let i = 0; i < 3; i++) {
      equal(machine.runOn(1000, 0), RUN_TRIPLE_FAULT);
      deepEqual([machine.get('gpr', 0), machine.get('cr2'), machine.get('retired')], [2n, BigInt(FAR), BigInt(5 * (i + 1))]);
    }
  }
});
