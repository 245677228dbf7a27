/** Functions, and what indirect jumps lead to, inside a region: far pages, and what ends such a region. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { HVA_RAM } from '../../base/memory-map.ts';
import { ADD_RAX_2, CODE, DEC_RDI, HLT, INC_RAX, NOP, PagedMachine, RET, call, jumpIfNotZero } from '../testing/paged-machine.ts';
import type { Code } from '../testing/paged-machine.ts';
import { REQUEST_CODE } from '../state.ts';
import type { CompileEntry, Compiler } from './compilation.ts';
import { LocalCompiler } from './region-compiler.ts';
import { RegionTrace } from './trace.ts';

const FAR = 0x4_0000,
  OTHER = 0x5_0000;
const COUNT = 200;
const ADD_RAX_AT = 3;

/** Tier 1 after a few jumps; what becomes of regions is written down. */
class Machine extends PagedMachine {
  text = '';
  /** What happens while something is compiled. */
  meanwhile = (): void => {};

  constructor(code: Code) {
    let nowNs = 0,
      local: LocalCompiler | undefined;
    const written: number[] = [];
    const compiler: Compiler = {
      submit: (entries: readonly CompileEntry[]) => {
        local ??= new LocalCompiler(
          this.memory0.buffer,
          { buffer: this.ram.buffer } as WebAssembly.Memory,
          undefined,
          new RegionTrace((text) => (this.text += text)),
        );
        local.submit(entries);
        this.meanwhile();
      },
      get hasAnswer() {
        return local?.hasAnswer === true;
      },
      take: () => local?.take(),
      tell: (event) => local?.tell!(event),
    };
    super('jit', code, {}, { hot: 8, batch: 1, compiler, nowNs: () => (nowNs += 1e7), takeWrittenPages: () => written.splice(0) });
    this.#written = written;
  }
  readonly #written: number[];

  /** A device writes a byte. */
  dma(at: number, value: number): void {
    this.ram[at] = value;
    this.#written.push((HVA_RAM + (at & -4096)) / 4096);
    this.set('requests', this.get('requests') | BigInt(REQUEST_CODE));
  }
  /** Until nothing more is compiled. @returns rAX of the last run */
  settled(rounds = 20): bigint {
    let rax = 0n;
    for (let i = 0; i < rounds; i++) ({ rax } = this.run(40, COUNT));
    return rax;
  }
  /** Has this entry a region now? */
  isCompiled(at: number): boolean {
    const region = new RegExp(`region (\\d+): rip 0x${at.toString(16)},`, 'g'),
      [, number] = [...this.text.matchAll(region)].at(-1) ?? [];
    return this.text.includes(`region ${number} installed`) && !this.text.includes(`region ${number} killed`);
  }
  get killed(): number {
    return this.processor.jit!.stats.changed;
  }
}

/** l: `body`; dec rdi; jnz l; hlt */
function loop(body: readonly number[]): readonly number[] {
  const inside = [...body, ...DEC_RDI];
  return [...inside, ...jumpIfNotZero(CODE + inside.length, CODE), HLT];
}
const CALL_FAR = { [CODE]: loop(call(CODE, FAR)), [FAR]: [...ADD_RAX_2, RET], [OTHER]: [...INC_RAX, NOP, RET] };

test('a small function far away has a copy in the loop that calls it', () => {
  const machine = new Machine(CALL_FAR),
    perRound = BigInt(1 + 2 + 2);
  machine.settled();
  deepEqual(machine.run(40, COUNT), { rax: BigInt(2 * COUNT), rsp: 0n, retired: perRound * BigInt(COUNT) + 1n });
  ok(machine.text.includes(`inside the call before 0x${(CODE + 5).toString(16)}`), machine.text);
});

test('what is written into a function by the guest ends the regions with a copy of it', () => {
  // mov [FAR + 3], dil: the number that is added; then the loop
  const patch = [0x40, 0x88, 0x3c, 0x25, (FAR + ADD_RAX_AT) & 0xff, (FAR + ADD_RAX_AT) >> 8, (FAR + ADD_RAX_AT) >> 16, 0],
    at = CODE + patch.length,
    inside = [...call(at, FAR), ...DEC_RDI];
  const machine = new Machine({
    ...CALL_FAR,
    [CODE]: [...patch, ...inside, ...jumpIfNotZero(at + inside.length, at), HLT],
  });
  const rounds = (count: number): bigint => machine.run(40, count).rax;
  // Each change of the count is a change of the code, so it stays alike until it is compiled.
  for (let i = 0; i < 20; i++) equal(rounds(100), 10_000n);
  equal(rounds(100), 10_000n);
  equal(rounds(50), 2500n);
  equal(rounds(51), 2601n);
});

test('a device that writes into a function ends the regions with a copy of it', () => {
  const machine = new Machine(CALL_FAR);
  equal(machine.settled(), BigInt(2 * COUNT));
  const { killed } = machine;
  machine.dma(FAR + ADD_RAX_AT, 3);
  equal(machine.run(40, COUNT).rax, BigInt(3 * COUNT));
  ok(machine.killed > killed);
});

test('a function that is patched whenever its caller is compiled: the region reads what is there now', () => {
  const machine = new Machine(CALL_FAR);
  let addend = 2;
  machine.meanwhile = () => machine.dma(FAR + ADD_RAX_AT, ++addend);
  machine.settled();
  ok(machine.isCompiled(CODE), machine.text);
  ok(machine.text.lastIndexOf('inside the call before') > machine.text.lastIndexOf('dropped'), machine.text);
  for (let i = 0; i < 10; i++) {
    machine.dma(FAR + ADD_RAX_AT, ++addend);
    equal(machine.run(40, COUNT).rax, BigInt(addend * COUNT));
  }
  ok(machine.isCompiled(CODE), 'it has outlived these changes');
});

test('a function whose operation is patched whenever its caller is compiled is called instead', () => {
  const machine = new Machine(CALL_FAR),
    ADD = 0xc0,
    SUB = 0xe8;
  let operation = ADD;
  machine.meanwhile = () => machine.dma(FAR + ADD_RAX_AT - 1, (operation ^= ADD ^ SUB));
  machine.settled(200); // it is told each 4096 rounds that it is still hot
  ok(machine.isCompiled(CODE), machine.text);
  equal(BigInt.asIntN(64, machine.run(40, COUNT).rax), BigInt((operation === ADD ? 2 : -2) * COUNT));
});

test('a function’s page is mapped elsewhere, and back', () => {
  const machine = new Machine(CALL_FAR);
  equal(machine.settled(), BigInt(2 * COUNT));
  machine.map(FAR, OTHER);
  equal(machine.run(40, COUNT).rax, BigInt(COUNT));
  machine.map(FAR, FAR);
  equal(machine.run(40, COUNT).rax, BigInt(2 * COUNT));
});

test('a page of functions that is mapped twice ends a region once', () => {
  const both = [...call(CODE, FAR), ...call(CODE + 5, OTHER)],
    machine = new Machine({ ...CALL_FAR, [CODE]: loop(both) });
  machine.map(OTHER, FAR);
  equal(machine.settled(), BigInt(4 * COUNT));
  const { killed } = machine;
  machine.dma(FAR + ADD_RAX_AT, 3);
  equal(machine.run(40, COUNT).rax, BigInt(6 * COUNT));
  const regions = new Set(machine.text.match(/region \d+ killed/g));
  equal(machine.killed - killed, regions.size);
});

test('a stub that jumps by memory, a table of functions: what they led to is followed, and anything else still happens', () => {
  // f: jmp [rip + ...]; and in the loop: call [rsi * 8 + ...]
  const TABLE = 0x6_0000,
    stub = CODE + 0x100,
    far = (address: number): number[] => [address & 0xff, address >> 8, address >> 16, 0];
  const FUNCTIONS = { [FAR]: [...ADD_RAX_2, RET], [OTHER]: [...INC_RAX, RET] };
  const viaStub = { ...FUNCTIONS, [CODE]: loop(call(CODE, stub)), [stub]: [0xff, 0x24, 0x25, ...far(TABLE)] },
    byTable = { ...FUNCTIONS, [CODE]: loop([0xff, 0x14, 0x25, ...far(TABLE)]) };
  for (const code of [viaStub, byTable]) {
    const machine = new Machine({ ...code, [TABLE]: far(FAR) });
    equal(machine.settled(), BigInt(2 * COUNT));
    ok(/if it goes to 0x40000: block \d/.test(machine.text), machine.text);
    machine.ram.writeUInt32LE(OTHER, TABLE);
    equal(machine.run(40, COUNT).rax, BigInt(COUNT));
    machine.ram.writeUInt32LE(FAR, TABLE);
    equal(machine.run(40, COUNT).rax, BigInt(2 * COUNT));
  }
});

test('a switch goes to its cases inside the region', () => {
  // mov rcx, rdi; and ecx, 7; jmp [rcx * 8 + TABLE]; case n: add rax, n; jmp end
  const TABLE = 0x6_0000,
    CASE = CODE + 0x100,
    END = CODE + 0x200,
    cases = 8;
  const head = [0x48, 0x89, 0xf9, 0x83, 0xe1, 7, 0xff, 0x24, 0xcd, 0, 0, 6, 0],
    code: Record<number, readonly number[]> = { [CODE]: head },
    table: number[] = [];
  for (let n = 0; n < cases; n++) {
    const at = CASE + n * 16;
    code[at] = [0x48, 0x83, 0xc0, n, 0xe9, (END - at - 9) & 0xff, (END - at - 9) >> 8, 0, 0];
    table.push(at & 0xff, at >> 8, 0, 0, 0, 0, 0, 0);
  }
  code[END] = [...DEC_RDI, ...jumpIfNotZero(END + 3, CODE), HLT];
  code[TABLE] = table;
  const machine = new Machine(code);
  const sum = Array.from({ length: COUNT }, (_, i) => (i + 1) & 7).reduce((a, b) => a + b);
  equal(machine.settled(), BigInt(sum));
  ok(machine.text.includes('br_table'));
});
