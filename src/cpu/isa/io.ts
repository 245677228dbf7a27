/**
 * Ports: IN OUT (INS and OUTS are in string.ts).
 * Implements: SDM vol. 2A IN, 2B OUT; vol. 1 19.5 Protected-Mode I/O. Runs on: see cpu/emit.ts.
 */
import { RAX } from '../emit.ts';
import type { Size } from '../emit.ts';
import { inst } from './inst.ts';
import type { Body, Line } from './inst.ts';

const input = (bytes: 1 | undefined): Body => (b, port) => {
  const size: Size = bytes ?? (b.operandSize === 2 ? 2 : 4), number = b.pin(b.resize(port.read(), 4));
  b.call('portCheck', number, b.constant(size, 4));
  b.register(RAX, size).write(b.resize(b.call('portRead', number, b.constant(size, 4)), size));
};
const output = (bytes: 1 | undefined): Body => (b, port) => {
  const size: Size = bytes ?? (b.operandSize === 2 ? 2 : 4), number = b.pin(b.resize(port.read(), 4));
  b.call('portCheck', number, b.constant(size, 4));
  b.call('portWrite', number, b.constant(size, 4), b.resize(b.register(RAX, size).read(), 4));
};
const byteIn = input(1), wideIn = input(undefined), byteOut = output(1), wideOut = output(undefined);

/** They end a block: a device may have raised an interrupt or ended the run. */
export const io: readonly Line[] = [
  inst('in', ['Ib'], 'e4', byteIn, { ends: 'system' }),
  inst('in', ['Ib'], 'e5', wideIn, { ends: 'system' }),
  inst('in', ['DX'], 'ec', byteIn, { ends: 'system' }),
  inst('in', ['DX'], 'ed', wideIn, { ends: 'system' }),
  inst('out', ['Ib'], 'e6', byteOut, { ends: 'system' }),
  inst('out', ['Ib'], 'e7', wideOut, { ends: 'system' }),
  inst('out', ['DX'], 'ee', byteOut, { ends: 'system' }),
  inst('out', ['DX'], 'ef', wideOut, { ends: 'system' }),
];
