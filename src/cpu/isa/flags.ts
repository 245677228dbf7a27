/**
 * Instructions on single flags: LAHF SAHF CLC STC CMC CLD STD CLI STI CLAC STAC.
 * Implements: SDM vol. 2A CLC, CLD, CMC, LAHF; 2B SAHF, STC, STD, STI. Runs on: see cpu/emit.ts.
 */
import { inst, w } from './inst.ts';
import type { Body, Line } from './inst.ts';

const CF = 1, OF = 0x800, LOW_FLAGS = 0xd5;
const DF = 0x400n;

const direction = (set: boolean): Body => (b) => {
  const flags = b.field('rflags', 'i64');
  b.setField('rflags', 'i64', set ? b.or(flags, b.constant(DF, 8)) : b.and(flags, b.constant(~DF, 8)));
};

export const flags: readonly Line[] = [
  inst('sahf', ['AH'], '9e', (b, ah) => {
    const low = b.and(b.resize(ah.read(), 4), b.constant(LOW_FLAGS, 4));
    b.setEflags(b.or(b.and(b.eflags(), b.constant(OF, 4)), low));
  }, { flags: 'szapc', effect: 'through' }),
  inst('lahf', [w('AH')], '9f', (b, ah) => ah.write(b.resize(b.or(b.and(b.eflags(), b.constant(LOW_FLAGS, 4)), b.constant(2, 4)), 1)), { effect: 'read' }),
  // Undocumented, and in every processor: AL := CF ? FF : 0.
  inst('salc', [w('AL')], 'd6', (b, al) => al.write(b.resize(b.sub(b.constant(0, 4), b.carry()), 1)), { effect: 'read', mode: 'not64' }),
  inst('cmc', [], 'f5', (b) => b.setEflags(b.xor(b.eflags(), b.constant(CF, 4))), { flags: 'c', effect: 'through' }),
  inst('clc', [], 'f8', (b) => b.setEflags(b.and(b.eflags(), b.constant(~CF, 4))), { flags: 'c', effect: 'through' }),
  inst('stc', [], 'f9', (b) => b.setEflags(b.or(b.eflags(), b.constant(CF, 4))), { flags: 'c', effect: 'through' }),
  inst('cld', [], 'fc', direction(false)),
  inst('std', [], 'fd', direction(true)),
  inst('cli', [], 'fa', (b) => b.call('cli'), { ends: 'no' }),
  inst('sti', [], 'fb', (b) => b.call('sti'), { ends: 'system' }),
  inst('clac', [], 'np 0f 01 ca', (b) => b.call('clac'), { cpuid: 'smap' }),
  inst('stac', [], 'np 0f 01 cb', (b) => b.call('stac'), { cpuid: 'smap' }),
];
