/** REP MOVS and STOS inside a region: what is done at once, and what is left to tier 0 in the middle. Each program runs in both tiers. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { MODE_64, RUN_HALTED, RUN_TRIPLE_FAULT } from '../state.ts';
import { CODE, HLT, INC_RAX, PagedMachine, RET, TIERS, call, distance } from '../testing/paged-machine.ts';
import { CodeWindow, onlyPage } from './code-window.ts';
import { RegionFormer } from './region.ts';

const PAGE = 0x1000,
  FROM = 0x2_0000,
  TO = 0x3_0000,
  ABSENT = 0x5_0000;
const RAX = 0,
  RCX = 1,
  RSI = 6,
  RDI = 7;
const REP_MOVSB = [0xf3, 0xa4],
  REP_MOVSQ = [0xf3, 0x48, 0xa5],
  REP_STOSB = [0xf3, 0xaa],
  REP_STOSD = [0xf2, 0xab],
  STD = 0xfd,
  CLD = 0xfc;
const mov = (register: number, value: number): readonly number[] => [0xb8 + register, ...distance(0, value)];
/** rSI, rDI and rCX; an instruction that leaves a register dirty; the REP; one behind it. */
const program = (from: number, to: number, count: number, ...rep: readonly number[]): readonly number[] => [
  ...mov(RSI, from),
  ...mov(RDI, to),
  ...mov(RCX, count),
  ...INC_RAX,
  ...rep,
  ...INC_RAX,
  HLT,
];

interface Case {
  readonly rep: readonly number[];
  readonly from?: number;
  readonly to?: number;
  readonly count: number;
  readonly sizeBytes?: number;
  readonly back?: true;
}
const CASES: Readonly<Record<string, Case>> = {
  'bytes within a page': { rep: REP_MOVSB, count: 100 },
  nothing: { rep: REP_MOVSB, count: 0 },
  'over many pages, each side at another place of its page': { rep: REP_MOVSB, from: FROM + 5, to: TO + 1000, count: 9 * PAGE },
  'quadwords of which one lies over two pages': { rep: REP_MOVSQ, from: FROM + 3, to: TO + 4, count: 1500, sizeBytes: 8 },
  'an overlap ahead': { rep: REP_MOVSB, from: FROM, to: FROM + 3, count: 5000 },
  'an overlap behind': { rep: REP_MOVSB, from: FROM + 3, to: FROM, count: 5000 },
  downwards: { rep: [STD, ...REP_MOVSB, CLD], from: FROM + PAGE, to: TO + PAGE, count: 300, back: true },
};
for (const [name, { rep, from = FROM, to = TO, count, sizeBytes = 1, back }] of Object.entries(CASES))
  test(`REP MOVS: ${name}`, () => {
    for (const tier of TIERS)
      for (const slice of [1, 3, 1000]) {
        const machine = new PagedMachine(tier, { [CODE]: program(from, to, count, ...rep) });
        for (let run = 0; run < 3; run++) {
          for (let i = 0; i < 12 * PAGE; i++) machine.ram[FROM + i] = (i * 7) ^ (i >> 8);
          const expected = Buffer.from(machine.ram),
            step = back ? -1 : 1;
          for (let i = 0; i < count * sizeBytes; i++) expected[to + i * step] = expected[from + i * step]!;
          const { rax, retired } = machine.run(slice);
          deepEqual([rax, retired], [2n, back ? 9n : 7n]);
          const moved = count * sizeBytes * step;
          deepEqual(
            [machine.get('gpr', RCX), machine.get('gpr', RSI), machine.get('gpr', RDI)],
            [0n, BigInt(from + moved), BigInt(to + moved)],
          );
          ok(machine.ram.equals(expected), `${tier} ${slice} ${run}`);
        }
      }
  });

test('REP STOS: bytes alike, and words that are not, over pages', () => {
  for (const tier of TIERS)
    for (const [rep, sizeBytes] of [
      [REP_STOSB, 1],
      [REP_STOSD, 4],
    ] as const) {
      const count = 3 * PAGE,
        machine = new PagedMachine(tier, { [CODE]: [...program(0, TO + 2, count, ...rep)] });
      for (let run = 0; run < 3; run++) {
        machine.ram.fill(0xee, TO, TO + 0x1_0000);
        equal(machine.run(1000).rax, 2n);
        for (let at = 0; at < 0x1_0000; at++) {
          const inside = at >= 2 && at < 2 + count * sizeBytes;
          if (machine.ram[TO + at] !== (!inside ? 0xee : (at - 2) % sizeBytes === 0 ? 1 : 0)) throw new Error(`${tier}: byte ${at}`);
        }
      }
    }
});

test('a fault in the middle: the registers name the element, and the instruction is not counted', () => {
  for (const tier of TIERS)
    for (const slice of [1, 1000]) {
      const machine = new PagedMachine(tier, { [CODE]: program(FROM, ABSENT - 2 * PAGE - 10, 5 * PAGE, ...REP_MOVSB) });
      machine.map(ABSENT, 0);
      machine.ram[0x4000 + (ABSENT / PAGE) * 8]! &= ~1;
      for (let run = 0; run < 3; run++) {
        const before = machine.get('retired');
        equal(machine.runOn(slice, 0), RUN_TRIPLE_FAULT);
        const done = 2 * PAGE + 10;
        deepEqual(
          [RAX, RCX, RSI, RDI].map((register) => Number(machine.get('gpr', register))),
          [1, 5 * PAGE - done, FROM + done, ABSENT],
        );
        deepEqual([machine.get('cr2'), machine.get('retired') - before], [BigInt(ABSENT), 4n]);
      }
    }
});

test('a REP that overwrites what comes behind it', () => {
  // After the REP stand two INC rAX, which become NOPs.
  const behind = CODE + 5 + 5 + 3 + REP_STOSB.length,
    code = [...mov(RDI, behind), ...mov(RCX, 2 * INC_RAX.length), 0x04, 0x90, 0x90, ...REP_STOSB, ...INC_RAX, ...INC_RAX, HLT];
  for (const tier of TIERS) {
    const machine = new PagedMachine(tier, { [CODE]: code });
    equal(machine.run(1000).rax, 0x90n);
    equal(machine.run(1000).rax, 0x90n);
  }
});

test('a function that is one REP has its place in its caller’s region', () => {
  const COPY = CODE + 0x100,
    page = new Uint8Array(PAGE);
  page.set([...call(0, COPY - CODE), RET]);
  page.set([...INC_RAX, ...REP_MOVSB, RET], COPY - CODE);
  const { blocks, size } = new RegionFormer().form(new CodeWindow(page).open(onlyPage(0)), 0, MODE_64, 100)!;
  deepEqual([blocks.length, size], [3, 5]);
  // At an entry it would be left to itself.
  page.set([...REP_MOVSB, RET]);
  equal(new RegionFormer().form(new CodeWindow(page).open(onlyPage(0)), 0, MODE_64, 100), undefined);
});

test('the loop around a REP is the same in both tiers', () => {
  // l: mov esi, FROM; mov ecx, 40; rep movsb (rDI goes on); add eax, 1; cmp eax, 200; jne l; hlt
  const inside = [...mov(RSI, FROM), ...mov(RCX, 40), ...REP_MOVSB, 0x83, 0xc0, 1, 0x3d, 200, 0, 0, 0],
    code = [...inside, 0x75, 256 - inside.length - 2, HLT];
  for (const tier of TIERS) {
    const machine = new PagedMachine(tier, { [CODE]: code });
    for (let i = 0; i < 40; i++) machine.ram[FROM + i] = i + 1;
    machine.set('gpr', 0);
    equal(machine.runOn(1000, TO), RUN_HALTED);
    for (let i = 0; i < 200 * 40; i++) equal(machine.ram[TO + i], (i % 40) + 1);
    equal(machine.get('gpr', RDI), BigInt(TO + 8000));
  }
});
