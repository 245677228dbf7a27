import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { CpuWasm } from './testing/cpu-wasm.ts';

const RAM_BYTES = 0x10_0000;
const cpu = (): CpuWasm => new CpuWasm(RAM_BYTES);
const CF = 1n,
  AF = 0x10n,
  ZF = 0x40n,
  SF = 0x80n,
  OF = 0x800n;

const EDGES = [
  0n,
  1n,
  2n,
  7n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_fffen,
  0xffff_ffff_ffff_ffffn,
  0x1234_5678_9abc_def0n,
];

test('DIV and IDIV agree with big integers at all edges', () => {
  const machine = cpu();
  for (const sizeBytes of [1, 2, 4, 8]) {
    const bits = sizeBytes * 8,
      range = 1n << BigInt(bits);
    const values = [...new Set(EDGES.map((value) => BigInt.asUintN(bits, value)))];
    for (const high of values)
      for (const low of values)
        for (const divisor of values) {
          const what = `${high.toString(16)}:${low.toString(16)} / ${divisor.toString(16)} (${bits})`;
          const unsigned = high * range + low;
          const quotient = machine.call('divide', high, low, divisor, sizeBytes);
          if (divisor === 0n || unsigned / divisor >= range) equal(machine.fault(), '#0', what);
          else deepEqual([machine.fault(), quotient, machine.get('scratch')], ['', unsigned / divisor, unsigned % divisor], what);

          const dividend = BigInt.asIntN(2 * bits, unsigned),
            by = BigInt.asIntN(bits, divisor);
          const signed = machine.call('divideSigned', BigInt.asIntN(bits, high), low, by, sizeBytes);
          const exact = by === 0n ? range : dividend / by;
          if (exact < -range / 2n || exact >= range / 2n) equal(machine.fault(), '#0', `i ${what}`);
          else
            deepEqual(
              [machine.fault(), BigInt.asIntN(64, signed), BigInt.asIntN(64, machine.get('scratch'))],
              ['', exact, dividend % by],
              `i ${what}`,
            );
        }
  }
});

test('high halves of products', () => {
  const machine = cpu();
  for (const x of EDGES)
    for (const y of EDGES) {
      equal(machine.call('multiplyHigh', x, y), (x * y) >> 64n);
      equal(machine.call('multiplyHighSigned', x, y), BigInt.asUintN(64, (BigInt.asIntN(64, x) * BigInt.asIntN(64, y)) >> 64n));
    }
});

test('BCD adjustments, examples of the manual and edges', () => {
  const run = (name: string, ax: bigint, flags: bigint, ...rest: number[]): readonly [string, bigint] => {
    const machine = cpu();
    machine.set('gpr', 0x1234_0000n | ax);
    machine.call('writeFlags', Number(flags));
    machine.call(name, ...rest);
    return [machine.get('gpr').toString(16), machine.call('readFlags') & (CF | AF | ZF | SF)];
  };
  deepEqual(run('daa', 0xaen, 0n), ['12340014', CF | AF]); // 79h + 35h = AEh
  deepEqual(run('daa', 0x9an, 0n), ['12340000', CF | AF | ZF]);
  deepEqual(run('daa', 0x45n, AF), ['1234004b', AF]);
  deepEqual(run('das', 0xeen, CF | AF), ['12340088', CF | AF | SF]); // 35h - 47h = EEh
  deepEqual(run('das', 0x05n, AF), ['123400ff', CF | AF | SF]);
  deepEqual(run('aaa', 0x00fan, 0n), ['12340200', CF | AF | ZF]); // AL + 6 carries into AH
  deepEqual(run('aas', 0x0204n, AF), ['1234000e', CF | AF]);
  deepEqual(run('aam', 0x3fn, 0n, 10), ['12340603', 0n]);
  deepEqual(run('aad', 0x0603n, 0n, 10), ['1234003f', 0n]);
  const machine = cpu();
  machine.call('aam', 0);
  equal(machine.fault(), '#0');
});

test('CRC32 is CRC-32C', () => {
  const machine = cpu();
  let crc = 0xffff_ffffn;
  for (const letter of '123456789') crc = machine.call('crc32', Number(crc), BigInt(letter.charCodeAt(0)), 1);
  equal(crc ^ 0xffff_ffffn, 0xe306_9283n); // the check value of the Castagnoli polynomial
  const [wide, narrow] = [
    machine.call('crc32', 1, 0x1122_3344_5566_7788n, 8),
    machine.call('crc32', Number(machine.call('crc32', 1, 0x5566_7788n, 4)), 0x1122_3344n, 4),
  ];
  equal(wide, narrow);
});

/** 16-bit stack at 0x8000, flat. */
function stacked(): CpuWasm {
  const machine = cpu();
  machine.set('gpr', 0x8000n, 4);
  machine.set('gpr', 0x7000n, 5);
  return machine;
}

test('ENTER builds a display and reserves the frame', () => {
  const machine = stacked();
  machine.write16(0x7000 - 2, 0xaaaa);
  machine.write16(0x7000 - 4, 0xbbbb);
  machine.call('enter', 2, 0x20, 3);
  equal(machine.fault(), '');
  deepEqual(
    [0x7ffe, 0x7ffc, 0x7ffa, 0x7ff8].map((at) => machine.read16(at)),
    [0x7000, 0xaaaa, 0xbbbb, 0x7ffe],
  );
  deepEqual([machine.get('gpr', 5), machine.get('gpr', 4)], [0x7ffen, 0x7ff8n - 0x20n]);
});

test('PUSHA and POPA pass all registers but the stack pointer', () => {
  const machine = stacked();
  for (let i = 0; i < 8; i++) if (i !== 4) machine.set('gpr', 0x1_0000 + i, i);
  machine.call('pushAll', 2);
  equal(machine.get('gpr', 4), 0x8000n - 16n);
  deepEqual([machine.read16(0x7ffe), machine.read16(0x7ff6), machine.read16(0x7ff0)], [0, 0x8000, 7]);
  for (let i = 0; i < 8; i++) if (i !== 4) machine.set('gpr', 0x5_ffff, i);
  machine.call('popAll', 2);
  deepEqual(
    Array.from({ length: 8 }, (_, i) => machine.get('gpr', i)),
    [0x5_0000n, 0x5_0001n, 0x5_0002n, 0x5_0003n, 0x8000n, 0x5_0005n, 0x5_0006n, 0x5_0007n],
  );
});

test('BOUND raises #BR outside, inclusive at both ends', () => {
  const machine = cpu();
  const check = (index: bigint): string => {
    machine.call('bound', index, -2n, 5n);
    return machine.fault();
  };
  deepEqual([check(-3n), check(-2n), check(5n), check(6n)], ['#5', '', '', '#5']);
});

test('PCMPxSTRx: the four aggregations, negation and lengths', () => {
  const machine = cpu();
  const load = (first: string, second: string): void => {
    [first, second].forEach((letters, operand) => {
      const bytes = new Uint8Array(16);
      new TextEncoder().encodeInto(letters, bytes);
      const view = new DataView(bytes.buffer);
      machine.set('scratch', view.getBigUint64(0, true), operand * 2);
      machine.set('scratch', view.getBigUint64(8, true), operand * 2 + 1);
    });
  };
  const index = (first: string, second: string, imm: number): readonly [bigint, bigint] => {
    load(first, second);
    return [machine.call('pcmpistri', imm), machine.call('readFlags')];
  };
  deepEqual(index('aeiou', 'strings', 0x00), [3n, CF | ZF | SF]); // any: the first vowel
  deepEqual(index('az', 'ABcDEF', 0x04), [2n, CF | ZF | SF]); // ranges
  deepEqual(index('abcX', 'abcY', 0x18), [3n, CF | ZF | SF]); // each, negated: the first difference
  deepEqual(index('ring', 'a string', 0x0c), [4n, CF | ZF | SF]); // ordered: a substring
  deepEqual(index('xyz', '0123456789abcdef', 0x00), [16n, SF]);
  deepEqual(index('a', 'abcabc', 0x40), [3n, CF | ZF | SF | OF]); // the last one
  load('ab', 'ba');
  machine.call('pcmpestrm', 0x40, 1n, -2n); // 'a' alone against two
  deepEqual([machine.get('scratch', 0), machine.call('readFlags') & CF], [0xff00n, CF]);
});
