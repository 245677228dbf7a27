/**
 * The floating-point helpers against a real processor: a recorded sample everywhere, fresh cases where gcc and an x86-64 Linux are.
 * Runs on: node:test, after a build. `FLOAT_SEED` and `FLOAT_CASES` (of each instruction) ask for other and more fresh cases.
 */
import { equal, ok } from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FloatCpu, askProcessor, differences } from './softfloat-oracle.ts';
import { OPERATIONS, casesOf, readSample } from './softfloat-sample.ts';

const wasmFile = process.env['FLOAT_WASM'] ?? fileURLToPath(new URL('../../generated/cpu.wasm', import.meta.url));
ok(existsSync(wasmFile), 'cpu.wasm is there: npm run build');

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('every recorded answer of a real processor is given bit for bit', () => {
  const cpu = new FloatCpu(wasmFile);
  const failures: string[] = [];
  const sample = readSample();
  for (const { operation, input, answer } of sample) {
    const found = differences(operation, cpu.run(operation, input), answer);
    if (found.length > 0) failures.push(`${operation.name}: ${found.join(', ')}; input ${hex(input)}`);
  }
  ok(sample.length > 8000);
  equal(failures.length, 0, failures.slice(0, 5).join('\n'));
});

test('fresh cases agree with this processor', (context) => {
  const seed = Number(process.env['FLOAT_SEED'] ?? 1);
  const count = Number(process.env['FLOAT_CASES'] ?? 20);
  const cases = OPERATIONS.flatMap((operation) => casesOf(operation, seed, count).map((input) => ({ operation, input })));
  const answers = askProcessor(cases.map(({ input }) => input));
  if (answers === undefined)
    return context.skip('no gcc, or no Linux on a processor of Intel, whose pointers and choice of NaNs are modelled');
  const cpu = new FloatCpu(wasmFile);
  const failures: string[] = [];
  for (const [number, { operation, input }] of cases.entries()) {
    const found = differences(operation, cpu.run(operation, input), answers[number]!);
    if (found.length > 0) failures.push(`${operation.name}: ${found.join(', ')}; input ${hex(input)}`);
  }
  equal(failures.length, 0, `FLOAT_SEED=${seed}\n${failures.slice(0, 5).join('\n')}`);
});

test('a store leaves stack and status alone until it is committed', () => {
  const cpu = new FloatCpu(wasmFile);
  cpu.view.setUint32(cpu.at('fcw'), 0x37f, true);
  cpu.call('fpuLoadConstant', 3);
  const before = cpu.view.getUint32(cpu.at('fsw'), true);
  equal(BigInt.asUintN(64, BigInt(cpu.call('fpuStoreF64Value'))), 0x400921fb54442d18n);
  equal(cpu.view.getUint32(cpu.at('fsw'), true), before);
  cpu.call('fpuStoreCommit', 1);
  equal(cpu.view.getUint32(cpu.at('fsw'), true), 0x20);
  equal(cpu.view.getUint32(cpu.at('ftw'), true), 0);
});

test('an unmasked exception raises 16 at the next waiting instruction only', () => {
  const cpu = new FloatCpu(wasmFile);
  cpu.view.setUint32(cpu.at('fcw'), 0x37e, true);
  cpu.call('fpuSquareRoot'); // stack underflow
  equal(cpu.fault, 0);
  equal(cpu.view.getUint32(cpu.at('fsw'), true), 0x80c1);
  cpu.call('fpuWait');
  equal(cpu.fault, 17);
});

test('the real-mode environment holds linear addresses and the opcode', () => {
  const cpu = new FloatCpu(wasmFile);
  cpu.view.setBigUint64(cpu.at('fip'), 0x12345678n, true);
  cpu.view.setBigUint64(cpu.at('fdp'), 0x9abcdef0n, true);
  cpu.view.setUint32(cpu.at('fop'), 0x5a5, true);
  equal(cpu.call('fpuBuildEnvironment', 1), 28);
  equal(cpu.view.getUint32(cpu.at('image') + 12, true), 0xffff5678);
  equal(cpu.view.getUint32(cpu.at('image') + 16, true), 0x1234 * 0x1000 + 0x5a5);
  cpu.call('fpuInitialize');
  equal(cpu.call('fpuApplyEnvironment', 1), 28);
  equal(cpu.view.getBigUint64(cpu.at('fip'), true), 0x12345678n);
  equal(cpu.view.getBigUint64(cpu.at('fdp'), true), 0x9abcdef0n);
  equal(cpu.view.getUint32(cpu.at('fop'), true), 0x5a5);
});

test('FXRSTOR keeps reserved control bits fixed and computes ES and B again', () => {
  const cpu = new FloatCpu(wasmFile);
  // Recorded on a real processor.
  for (const [fcw, fsw, fcwAfter, fswAfter] of [
    [0x37e, 0x0001, 0x37e, 0x8081],
    [0x37f, 0x8080, 0x37f, 0x0000],
    [0x37f, 0x0081, 0x37f, 0x0001],
    [0xffff, 0x0000, 0x1f7f, 0x0000],
    [0x0000, 0x8000, 0x0040, 0x0000],
  ] as const) {
    cpu.view.setUint16(cpu.at('image'), fcw, true);
    cpu.view.setUint16(cpu.at('image') + 2, fsw, true);
    cpu.call('fpuApplyFxImage', 1);
    cpu.call('fpuBuildFxImage', 1);
    equal(cpu.view.getUint16(cpu.at('image'), true), fcwAfter);
    equal(cpu.view.getUint16(cpu.at('image') + 2, true), fswAfter);
  }
});

test('an unmasked SSE exception is 19, or 6 while CR4.OSXMMEXCPT is clear, and leaves the destination', () => {
  for (const [cr4, vector] of [
    [0x600n, 19],
    [0x200n, 6],
  ] as const) {
    const cpu = new FloatCpu(wasmFile);
    cpu.view.setBigUint64(cpu.at('cr4'), cr4, true);
    cpu.view.setUint32(cpu.at('mxcsr'), 0x1d80, true); // ZE unmasked
    cpu.view.setFloat64(cpu.xmm(0), 1, true);
    cpu.call('sseArithmeticF64', 14, cpu.xmm(0), cpu.xmm(0), cpu.xmm(1), 1);
    equal(cpu.fault, vector + 1);
    equal(cpu.view.getUint32(cpu.at('mxcsr'), true), 0x1d84);
    equal(cpu.view.getFloat64(cpu.xmm(0), true), 1);
  }
});

test('operands of 256 bits have eight lanes', () => {
  const cpu = new FloatCpu(wasmFile);
  cpu.view.setUint32(cpu.at('mxcsr'), 0x1f80, true);
  for (let i = 0; i < 8; i++) {
    cpu.view.setFloat32(cpu.xmm(1) + i * 4, i, true);
    cpu.view.setFloat32(cpu.xmm(2) + i * 4, 0.5, true);
  }
  cpu.call('sseArithmeticF32', 8, cpu.xmm(0), cpu.xmm(1), cpu.xmm(2), 8);
  for (let i = 0; i < 8; i++) equal(cpu.view.getFloat32(cpu.xmm(0) + i * 4, true), i + 0.5);
});
