/**
 * The decoder's tables as the build writes them and as a thread reads them.
 * Runs on: the test's thread.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DECODE_IMAGE, HANDLER_MANIFEST, HANDLER_MANIFEST_END, PAIR_FIRSTS, PAIR_HANDLERS, PAIR_SECONDS } from '../../base/memory-map.ts';
import { LINES } from '../isa/index.ts';
import { decodeImage } from './image.ts';
import { opcodeRows, rowTable } from './row-table.ts';
import { rowsOf } from './row.ts';
import { ROWS } from './table.ts';
import { writeDecodeTables } from './tables.ts';

const OPCODES = opcodeRows(LINES);

test('the built tables are those of the declarations', () => {
  assert.deepEqual(ROWS, rowsOf(rowTable(LINES)));
  const memory = new ArrayBuffer(HANDLER_MANIFEST_END + 0x100000),
    image = decodeImage(OPCODES);
  writeDecodeTables(memory, Uint16Array.of(7, 0));
  assert.deepEqual(new Uint8Array(memory, DECODE_IMAGE, image.length), image);
  assert.equal(new Uint16Array(memory, HANDLER_MANIFEST)[0], 7);
});

test('each line stands in the map at its opcodes', () => {
  LINES.forEach((line, index) => {
    const { map, opcode, opcodes } = line.encoding;
    for (let i = 0; i < opcodes; i++) {
      const row = OPCODES[map * 256 + opcode + i]!.find(({ lineIndex }) => lineIndex === index);
      assert.ok(row, `${line.name} ${line.encodingText}`);
      assert.deepEqual([row.name, row.operands.length, row.ends], [line.name, line.operands.length, line.ends]);
    }
  });
});

test('a row with a mandatory prefix comes before one that takes any', () => {
  for (const rows of OPCODES) {
    const firstPlain = rows.findIndex(({ prefix }) => prefix === 0);
    if (firstPlain >= 0) for (const { prefix } of rows.slice(firstPlain)) assert.equal(prefix, 0);
  }
});

test('a pair is found by both of its handlers and by nothing else', () => {
  const memory = new ArrayBuffer(HANDLER_MANIFEST_END + 0x100000),
    bytes = new Uint8Array(memory),
    handlers = new Uint16Array(memory, PAIR_HANDLERS),
    pairs = [
      [20, 30, 40],
      [20, 31, 41],
      [21, 30, 42],
    ];
  writeDecodeTables(memory, Uint16Array.from([...pairs.flat(), pairs.length]));
  for (let first = 19; first < 23; first++)
    for (let second = 29; second < 33; second++) {
      const wanted = pairs.find(([a, b]) => a === first && b === second)?.[2] ?? 0;
      assert.equal(handlers[(bytes[PAIR_FIRSTS + first]! << 8) | bytes[PAIR_SECONDS + second]!], wanted);
    }
});
