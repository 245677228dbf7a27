import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { createProgress } from './progress.ts';

function recorder(isTTY: boolean): { text: string[]; nowMs: { value: number }; progress: ReturnType<typeof createProgress> } {
  const text: string[] = [];
  const nowMs = { value: 0 };
  return { text, nowMs, progress: createProgress({ isTTY, columns: 80, write: (line) => text.push(line) }, () => nowMs.value) };
}

test('without a terminal: one line per file of some size, no control characters', () => {
  const { text, nowMs, progress } = recorder(false);
  const item = progress.begin('kernel', 20e6);
  item.advance(20e6);
  nowMs.value = 2000;
  item.end();
  const small = progress.begin('InRelease', 1000);
  small.advance(1000);
  small.end();
  progress.close();
  deepEqual(text, ['fetched kernel: 20.0 MB in 2.0 s\n']);
});

test('on a terminal: a bar within the width, redrawn at most every 80 ms, taken away at the end', () => {
  const { text, nowMs, progress } = recorder(true);
  const item = progress.begin('a-very-long-name-of-a-package-that-does-not-fit-beside-the-bar', 10e6);
  for (let i = 0; i < 100; i++) {
    nowMs.value += 8;
    item.advance(1e5);
  }
  item.end();
  progress.close();
  ok(text.length >= 9 && text.length <= 13, String(text.length));
  for (const line of text) ok(line.replace(/\r|\x1b\[K/g, '').length < 80, line);
  ok(/\[#+ *\] \d+\.\d of 10\.0 MB, \d+\.\d MB\/s/.test(text.at(-2)!), text.at(-2)!);
  equal(text.at(-1), '\r\x1b[K');
});

test('a line goes above the bar', () => {
  const { text, progress } = recorder(true);
  progress.begin('x', 10);
  progress.line('a remark');
  deepEqual(text.slice(1), ['\r\x1b[K', 'a remark\n']);
});
