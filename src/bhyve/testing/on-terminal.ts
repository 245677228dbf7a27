/**
 * Tests with a real terminal: a program on a pseudo-terminal, made by python3 where there is one.
 * Runs on: main event loop of a test.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SCRIPT = fileURLToPath(new URL('on-terminal.py', import.meta.url));

export interface TerminalResult {
  readonly output: string;
  /** Minus the signal's number when one ended it. */
  readonly status: number;
  readonly restored: boolean;
  readonly failed: string | null;
}

export type TerminalStep = { readonly expect: string } | { readonly send: string } | { readonly signal: string } | { readonly raw: true };

const hasPython = spawnSync('python3', ['-c', 'import pty']).status === 0;

/** A test: run `node ...args`, take the steps, check that the terminal is as it was, and then the rest. */
export function testOnTerminal(
  name: string,
  args: readonly string[],
  steps: readonly TerminalStep[],
  check: (result: TerminalResult) => void,
): void {
  test(name, { skip: hasPython ? false : 'python3 is not here to make a pseudo-terminal' }, () => {
    const argv = [SCRIPT, JSON.stringify(steps), process.execPath, '--disable-warning=ExperimentalWarning', ...args];
    const { stdout, stderr } = spawnSync('python3', argv, { encoding: 'utf8', timeout: 30_000 });
    assert.notEqual(stdout, '', stderr);
    const result = JSON.parse(stdout) as TerminalResult;
    assert.equal(result.failed, null, JSON.stringify(result));
    assert.equal(result.restored, true, 'the terminal is as it was');
    check(result);
  });
}
