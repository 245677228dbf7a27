import { deepEqual, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { terminalPicture, visibleLines } from './terminal-picture.ts';

test('escape sequences and carriage returns are left out; long lines are cut', () => {
  deepEqual(visibleLines('\x1b[1mbold\x1b[0m\r\n/ # \x1b[6nls\r\n'), ['bold', '/ # ls']);
  deepEqual(visibleLines('x'.repeat(200))[0]!.length, 100);
});

test('the text is safe inside SVG', () => {
  ok(terminalPicture(['a < b & c'], 'x > y').includes('a &lt; b &amp; c'));
});
