import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VmError } from '../../base/errors.ts';
import { getopt, getoptLong } from './getopt.ts';

const flat = (args: string[], letters = 'abc:s:'): [string, string[]] => {
  const { options, operands } = getopt('bhyve', args, letters);
  return [options.map(({ name, argument }) => (argument === undefined ? name : `${name}=${argument}`)).join(' '), [...operands]];
};

test('getopt takes grouped flags and attached or following arguments', () => {
  for (const [args, options, operands] of [
    [['-ab', 'vm'], 'a b', ['vm']],
    [['-a', '-b', 'vm'], 'a b', ['vm']],
    [['-abc2', 'vm'], 'a b c=2', ['vm']],
    [['-abc', '2', 'vm'], 'a b c=2', ['vm']],
    [['-c', '-a', 'vm'], 'c=-a', ['vm']],
    [['-c', '', 'vm'], 'c=', ['vm']],
    [['-c', '--', 'vm'], 'c=--', ['vm']],
    [['-s0,hostbridge', '-s', '31,lpc'], 's=0,hostbridge s=31,lpc', []],
    [['vm', '-a'], '', ['vm', '-a']],
    [['-a', '--', '-b'], 'a', ['-b']],
    [['-a', '-', '-b'], 'a', ['-', '-b']],
    [[], '', []],
  ] as const)
    assert.deepEqual(flat([...args]), [options, [...operands]], args.join(' '));
});

test('getopt says what getopt(3) says', () => {
  for (const [args, message] of [
    [['-z'], 'bhyve: illegal option -- z'],
    [['-az'], 'bhyve: illegal option -- z'],
    [['-:'], 'bhyve: illegal option -- :'],
    [['--help'], 'bhyve: illegal option -- -'],
    [['-a', '-c'], 'bhyve: option requires an argument -- c'],
  ] as const)
    assert.throws(() => flat([...args]), { code: 'EUSAGE', message });
});

const LONGS = [
  { name: 'get-rip', argument: 'none' },
  { name: 'get-rflags', argument: 'none' },
  { name: 'vm', argument: 'required' },
  { name: 'set-mem', argument: 'required' },
  { name: 'help', argument: 'none', short: 'h' },
  { name: 'get', argument: 'none' },
] as const;
const long = (args: string[], permute = false): string => {
  const { options, operands } = getoptLong('bhyvectl', args, 'hv:', LONGS, { permute });
  return [...options.map(({ name, argument }) => (argument === undefined ? name : `${name}=${argument}`)), '|', ...operands].join(' ');
};

test('getopt_long takes unambiguous beginnings, and arguments either way', () => {
  for (const [args, result] of [
    [['--vm=x', '--get-rip'], 'vm=x get-rip |'],
    [['--vm', 'x', '--get-ri'], 'vm=x get-rip |'],
    [['--set=4', '--vm', '--get-rip'], 'set-mem=4 vm=--get-rip |'],
    [['--get', 'rest', '--vm=x'], 'get | rest --vm=x'],
    [['-hv', 'x', '--he'], 'h v=x h |'],
    [['--vm=', 'y'], 'vm= | y'],
  ] as const)
    assert.equal(long([...args]), result);
  assert.equal(long(['a', '--vm=x', 'b', '-h', '--', '--vm'], true), 'vm=x h | a b --vm');
});

test('getopt_long says what getopt_long(3) says', () => {
  for (const [args, message] of [
    [['--foo=1'], "bhyvectl: unrecognized option `--foo'"],
    [['--get-r'], "bhyvectl: option `--get-r' is ambiguous"],
    [['--get-rip=1'], "bhyvectl: option `--get-rip' doesn't allow an argument"],
    [['--vm'], "bhyvectl: option `--vm' requires an argument"],
    [['-z'], 'bhyvectl: invalid option -- z'],
  ] as const)
    assert.throws(() => long([...args]), { code: 'EUSAGE', message });
});

test('property: options written in any grouping come back in order', () => {
  const option = fc.oneof(
    fc.constantFrom('a', 'b').map((name) => ({ name, argument: undefined })),
    fc.record({ name: fc.constantFrom('c', 's'), argument: fc.string() }, { noNullPrototype: true }),
  );
  fc.assert(
    fc.property(fc.array(option), fc.array(fc.boolean()), fc.array(fc.string({ minLength: 1 })), (options, attach, operands) => {
      const args: string[] = [];
      let open = false;
      for (const [index, { name, argument }] of options.entries()) {
        if (open && attach[index]) args.push(`${args.pop()}${name}`);
        else args.push(`-${name}`);
        open = argument === undefined;
        if (argument === undefined) continue;
        if (attach[index] && argument !== '') args.push(`${args.pop()}${argument}`);
        else args.push(argument);
      }
      const parsed = getopt('x', [...args, '--', ...operands], 'abc:s:');
      assert.deepEqual(parsed, { options, operands });
    }),
  );
});

test('fuzz: getopt and getopt_long end with a VmError or a result on any words', () => {
  fc.assert(
    fc.property(fc.array(fc.string()), fc.boolean(), (args, permute) => {
      for (const run of [() => getopt('x', args, 'abc:s:'), () => getoptLong('x', args, 'hv:', LONGS, { permute })]) {
        try {
          run();
        } catch (error) {
          assert.ok(error instanceof VmError && error.code === 'EUSAGE');
        }
      }
    }),
  );
});
