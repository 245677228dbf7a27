/**
 * The opcode maps as the build writes them and as a thread reads them.
 * Runs on: the test's thread.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LINES } from '../isa/index.ts';
import { rowTable } from './row-table.ts';
import { opcodeMaps } from './row.ts';
import { OPCODES } from './table.ts';

test('the built table is that of the declarations', () => {
  assert.deepEqual(OPCODES, opcodeMaps(rowTable(LINES)));
});

test('each line stands in the map at its opcodes', () => {
  LINES.forEach((line, index) => {
    const { map, opcode, opcodes } = line.encoding;
    for (let i = 0; i < opcodes; i++) {
      const row = OPCODES[map * 256 + opcode + i]!.find(({ lineIndex }) => lineIndex === index);
      assert.ok(row, `${line.name} ${line.encodingText}`);
      assert.deepEqual([row.line.name, row.operands.length, row.ends], [line.name, line.operands.length, line.ends]);
    }
  });
});

test('a row with a mandatory prefix comes before one that takes any', () => {
  for (const rows of OPCODES) {
    const firstPlain = rows.findIndex(({ prefix }) => prefix === 0);
    if (firstPlain >= 0) for (const { prefix } of rows.slice(firstPlain)) assert.equal(prefix, 0);
  }
});
