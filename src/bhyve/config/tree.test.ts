import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VmError } from '../../base/errors.ts';
import { ConfigTree, escapeValue } from './tree.ts';

const treeOf = (variables: Readonly<Record<string, string>>, warn?: (message: string) => void): ConfigTree => {
  const tree = new ConfigTree(warn);
  for (const [name, value] of Object.entries(variables)) tree.set(name, value);
  return tree;
};

test('inner nodes carry no value and variables no children', () => {
  const tree = treeOf({ 'a.b': '1', 'a.c.d': '2' });
  assert.deepEqual(
    [tree.get('a.b'), tree.get('a.c.d'), tree.get('a'), tree.get('a.b.x'), tree.isNode('a.c')],
    ['1', '2', undefined, undefined, true],
  );
  assert.deepEqual(tree.children('a'), ['b', 'c']);
  assert.deepEqual(tree.children('a.b'), []);
  assert.throws(() => tree.set('a.b.c', 'x'), { message: 'Configuration node a.b.c is a child of existing variable a.b' });
  assert.throws(() => tree.set('a.c', 'x'), { message: "Attempting to add value 'x' to existing node a.c" });
  for (const path of ['', '.', 'a..b', 'a.', '.a', '#a', 'a\nb'])
    assert.throws(() => tree.set(path, 'x'), { message: /^Invalid configuration node/ });
});

test('a later value wins, in its first place', () => {
  const tree = treeOf({ a: '1', b: '2' });
  tree.set('a', '3');
  assert.equal(tree.dump(), 'a=3\nb=2\n');
});

test('references, percent signs and backslashes expand', () => {
  const warnings: string[] = [];
  const tree = treeOf(
    {
      name: 'vm',
      'a.b': 'x%(name)y',
      plain: 'a\\b',
      percent: '100%% \\% %(a.b)',
      odd: '50%',
      unknown: '<%(nope)>',
      empty: '<%()>',
      open: '%(name',
      self: '%(self)',
      trailing: '%%\\',
    },
    (message) => warnings.push(message),
  );
  for (const [name, value] of [
    ['a.b', 'xvmy'],
    ['plain', 'a\\b'],
    ['percent', '100% % xvmy'],
    ['odd', '50%'],
    ['unknown', '<>'],
    ['empty', '<>'],
    ['open', '%(name'],
    ['self', ''],
    ['trailing', '%'],
  ] as const)
    assert.equal(tree.get(name), value);
  assert.equal(warnings.length, 6);
});

test('a value that refers to many others ends with an error, not with the memory', () => {
  const tree = new ConfigTree();
  for (let level = 0; level < 14; level++) tree.set(`v${level}`, `%(v${level + 1})`.repeat(100));
  tree.set('v14', 'x');
  assert.throws(() => tree.get('v0'), { code: 'EINVAL', message: /references/ });
});

test('booleans and integers', () => {
  for (const [text, value] of [
    ['true', true],
    ['ON', true],
    ['Yes', true],
    ['1', true],
    ['false', false],
    ['off', false],
    ['NO', false],
    ['0', false],
  ] as const) {
    assert.equal(treeOf({ x: text }).bool('x', !value), value);
  }
  for (const text of ['2', 'y', 'truee', ' true'])
    assert.throws(() => treeOf({ x: text }).bool('x', true), { message: /boolean variable x/ });
  assert.equal(new ConfigTree().bool('x', true), true);
  for (const [text, value] of [
    ['10', 10],
    ['0x10', 16],
    ['010', 8],
    [' 7', 7],
    ['+3', 3],
    ['0', 0],
  ] as const) {
    assert.equal(treeOf({ x: text }).integer('x', -1, 0, 100), value);
  }
  for (const text of ['', '101', '-1', '1.5', '09', '1 ', 'x', '0x', '99999999999999999999']) {
    const tree = new ConfigTree();
    if (text !== '') tree.set('x', text);
    else continue;
    assert.throws(() => tree.integer('x', 0, 0, 100), { message: /^Invalid value for x: .*expected 0 to 100$/ }, text);
  }
});

test('-k files: comments, empty lines, errors with their line', () => {
  const tree = new ConfigTree();
  tree.setFile('f', '# c\n\na.b=1\nname=x y = z\n');
  assert.equal(tree.dump(), 'a.b=1\nname=x y = z\n');
  for (const [text, message] of [
    ['a=1\nb', "f line 2: invalid config option 'b'; expected NAME=VALUE"],
    ['a=', "f line 1: invalid config option 'a='; expected NAME=VALUE"],
    ['a=1\n\na.b=2', 'f line 3: Configuration node a.b is a child of existing variable a'],
    ['=1', "f line 1: Invalid configuration node: ''; expected names with dots between them"],
  ] as const)
    assert.throws(() => new ConfigTree().setFile('f', text), { message });
});

const variableName = fc.array(fc.stringMatching(/^[a-z0-9_-]{1,6}$/), { minLength: 1, maxLength: 4 }).map((parts) => parts.join('.'));
const variableValue = fc.string({ minLength: 1 }).filter((text) => !/[\0\n\r]/.test(text));

test('property: dump is a -k file of the same tree', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(variableName, variableValue)), (variables) => {
      const tree = new ConfigTree();
      for (const [name, value] of variables) {
        try {
          tree.set(name, value);
        } catch (error) {
          assert.ok(error instanceof VmError);
        }
      }
      const copy = new ConfigTree();
      copy.setFile('dump', tree.dump());
      assert.deepEqual([...copy.entries()], [...tree.entries()]);
    }),
  );
});

test('property: an escaped value expands to itself', () => {
  fc.assert(
    fc.property(variableValue, (value) => {
      assert.equal(treeOf({ x: escapeValue(value) }).get('x'), value);
    }),
  );
});

test('fuzz: any option and any reference ends in a value or a VmError', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.string(),
          fc.string().map((text) => `a=%(${text})%`),
          fc.constantFrom('a=%(b)', 'b=%(a)%(a)', 'a.b=1'),
        ),
      ),
      (options) => {
        const tree = new ConfigTree();
        for (const option of options) {
          try {
            tree.setOption(option);
            for (const [path] of tree.entries()) tree.get(path);
          } catch (error) {
            assert.ok(error instanceof VmError, String(error));
          }
        }
      },
    ),
  );
});
