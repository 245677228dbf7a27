/**
 * x87 control: control and status words, environment, whole state, waiting. They record neither opcode nor operand.
 * Implements: SDM vol. 2A FINIT FCLEX FLDCW FSTCW FSTSW FLDENV FSTENV FSAVE FRSTOR FNOP WAIT. Runs on: see cpu/emit.ts.
 */
import type { HelperName } from '../helpers.ts';
import { inst, w } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';
import { number, x87 } from './x87-line.ts';

const X87: Attributes = { fpu: 'x87', cpuid: 'fpu' };
const ENVIRONMENT_BYTES = 28, ENVIRONMENT_BYTES_16 = 14, REGISTERS_BYTES = 80;

const simple = (name: HelperName): Body => (b) => b.call(name);
/** @param waits FLDENV and FRSTOR look for a pending exception before they touch memory. */
const image = (name: 'fpuStoreEnvironment' | 'fpuLoadEnvironment' | 'fpuSave' | 'fpuRestore', waits: boolean, registersBytes: number): Body => (b, area) => {
  if (waits) b.call('fpuWait');
  const wide = b.operandSize !== 2, sizeBytes = (wide ? ENVIRONMENT_BYTES : ENVIRONMENT_BYTES_16) + registersBytes;
  b.call(name, area.linear(sizeBytes, waits ? 'read' : 'write'), area.segment(), number(b, wide ? 1 : 0));
};
const statusWord: Body = (b, dst) => dst.write(b.resize(b.field('fsw', 'i32'), 2));
const nothing: Body = () => {};

export const x87Control: readonly Line[] = [
  inst('fwait', [], '9b', simple('fpuWait'), { fpu: 'fwait', cpuid: 'fpu' }),
  x87('fnop', [], 'd9 d0', simple('fpuNop')),
  inst('fldcw', ['Mw'], 'd9 /5', (b, src) => {
    b.call('fpuWait');
    b.call('fpuLoadControl', src.read());
  }, X87),
  inst('fnstcw', [w('Mw')], 'd9 /7', (b, dst) => dst.write(b.resize(b.field('fcw', 'i32'), 2)), X87),
  inst('fnstsw', [w('Mw')], 'dd /7', statusWord, X87),
  inst('fnstsw', [w('AX')], 'df e0', statusWord, X87),
  inst('fldenv', ['M'], 'd9 /4', image('fpuLoadEnvironment', true, 0), X87),
  inst('fnstenv', ['M'], 'd9 /6', image('fpuStoreEnvironment', false, 0), X87),
  inst('frstor', ['M'], 'dd /4', image('fpuRestore', true, REGISTERS_BYTES), X87),
  inst('fnsave', ['M'], 'dd /6', image('fpuSave', false, REGISTERS_BYTES), X87),
  inst('fnclex', [], 'db e2', simple('fpuClearExceptions'), X87),
  inst('fninit', [], 'db e3', simple('fpuInitialize'), X87),
  // Of the 8087 and the 80287; they do nothing since.
  inst('fneni', [], 'db e0', nothing, X87),
  inst('fndisi', [], 'db e1', nothing, X87),
  inst('fnsetpm', [], 'db e4', nothing, X87),
];
