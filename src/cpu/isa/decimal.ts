/**
 * Decimal adjustment and other instructions of 32-bit code only: DAA DAS AAA AAS AAM AAD BOUND ARPL.
 * Implements: SDM vol. 2A AAA, AAD, AAM, AAS, ARPL, BOUND, DAA, DAS. Runs on: see cpu/emit.ts.
 */
import { inst, rw } from './inst.ts';
import type { Line } from './inst.ts';

const ZF = 0x40;

export const decimal: readonly Line[] = [
  inst('daa', [], '27', (b) => b.call('daa'), { mode: 'not64', flags: 'oszapc', effect: 'through', undefined: 'o' }),
  inst('das', [], '2f', (b) => b.call('das'), { mode: 'not64', flags: 'oszapc', effect: 'through', undefined: 'o' }),
  inst('aaa', [], '37', (b) => b.call('aaa'), { mode: 'not64', flags: 'ac', effect: 'through', undefined: 'oszp' }),
  inst('aas', [], '3f', (b) => b.call('aas'), { mode: 'not64', flags: 'ac', effect: 'through', undefined: 'oszp' }),
  inst('aam', ['Ib'], 'd4', (b, base) => b.call('aam', b.resize(base.read(), 4)), { mode: 'not64', flags: 'szp', undefined: 'oac' }),
  inst('aad', ['Ib'], 'd5', (b, base) => b.call('aad', b.resize(base.read(), 4)), { mode: 'not64', flags: 'szp', undefined: 'oac' }),
  inst('bound', ['Gv', 'M'], '62 /r', (b, index, bounds) => {
    const size = b.operandSize, at = b.pin(bounds.linear(size * 2, 'read')), segment = bounds.segment();
    const lower = b.load(at, size, segment), upper = b.load(b.integer('add', at, b.constant(size, 8)), size, segment);
    b.call('bound', b.resize(index.read(), 8, true), b.resize(lower, 8, true), b.resize(upper, 8, true));
  }, { mode: 'not64' }),
  inst('arpl', [rw('Ew'), 'Gw'], '63 /r', (b, dst, src) => {
    const segment = dst.isMemory ? dst.segment() : undefined;
    const old = segment ? b.load(dst.linear(2, 'read'), 2, segment) : b.pin(dst.read());
    const adjusted = b.pin(b.resize(b.call('arpl', b.resize(old, 4), b.resize(src.read(), 4)), 2));
    const raised = b.pin(b.compare('ne', adjusted, old));
    b.if(raised, () => {   // what stays as it is need not be writable
      if (segment) b.store(dst.linear(2, 'write'), adjusted, segment);
      else dst.write(adjusted);
    });
    b.setEflags(b.or(b.and(b.eflags(), b.constant(~ZF, 4)), b.shl(raised, b.constant(6, 4))));
  }, { mode: 'not64', flags: 'z', effect: 'update' }),
];
