/**
 * String instructions: MOVS CMPS STOS LODS SCAS INS OUTS. A body is ONE iteration; `rep` wraps it with the rCX test and an interrupt window.
 * Implements: SDM vol. 2A/2B MOVS, CMPS, ..., REP; vol. 1 7.3.9 String Operations. Runs on: see cpu/emit.ts.
 */
import { RDI, RDX, RSI } from '../emit.ts';
import type { Emit, Size, Value } from '../emit.ts';
import { SEG } from '../state.ts';
import { inst, w } from './inst.ts';
import type { Body, Line } from './inst.ts';

const movs: Body = (b, dst, src) => {
  dst.write(src.read());                   // either may fault: rSI, rDI and rCX still name this element
  const step = b.pin(b.stringStep(dst.size));
  b.advance(RSI, step);
  b.advance(RDI, step);
};
const cmps: Body = (b, first, second) => {
  const y = b.pin(second.read()); // ES:rDI comes first: its faults win
  const x = b.pin(first.read()),
    step = b.pin(b.stringStep(first.size));
  b.advance(RSI, step);
  b.advance(RDI, step);
  b.setFlagsLater('sub', x, y, x);
};
const stos: Body = (b, dst, src) => {
  dst.write(src.read());
  b.advance(RDI, b.stringStep(dst.size));
};
const lods: Body = (b, dst, src) => {
  dst.write(src.read());
  b.advance(RSI, b.stringStep(src.size));
};
const scas: Body = (b, accumulator, src) => {
  const x = b.pin(accumulator.read()), y = b.pin(src.read());
  b.advance(RDI, b.stringStep(src.size));
  b.setFlagsLater('sub', x, y, x);
};
const portOf = (b: Emit): Value => b.pin(b.resize(b.register(RDX, 2).read(), 4));
const mayUsePort: Body = (b, place) => b.call('portCheck', portOf(b), b.constant(place.size, 4));
/** The destination is translated before the port is read: a page fault must not repeat the side effect. */
const ins: Body = (b, dst) => {
  const size = dst.size as Size, port = portOf(b), bytes = b.constant(size, 4);
  const host = b.probe(dst.linear(size, 'write'), size, b.constant(SEG.ES, 4));
  const value = b.call('portRead', port, bytes);
  b.storeHost(host, b.resize(value, size));
  b.advance(RDI, b.stringStep(size));
};
const outs: Body = (b, src) => {
  const size = src.size as Size, port = portOf(b), bytes = b.constant(size, 4);
  const value = b.pin(b.resize(src.read(), 4));
  b.call('portWrite', port, bytes, value);
  b.advance(RSI, b.stringStep(size));
};

const COMPARE = { flags: 'oszapc', rep: 'zero' } as const;

export const string: readonly Line[] = [
  inst('movs', [w('Yb'), 'Xb'], 'a4', movs, { rep: 'count', bulk: 'movs' }),
  inst('movs', [w('Yv'), 'Xv'], 'a5', movs, { rep: 'count', bulk: 'movs' }),
  inst('cmps', ['Xb', 'Yb'], 'a6', cmps, COMPARE),
  inst('cmps', ['Xv', 'Yv'], 'a7', cmps, COMPARE),
  inst('stos', [w('Yb'), 'AL'], 'aa', stos, { rep: 'count', bulk: 'stos' }),
  inst('stos', [w('Yv'), 'rAX'], 'ab', stos, { rep: 'count', bulk: 'stos' }),
  inst('lods', [w('AL'), 'Xb'], 'ac', lods, { rep: 'count' }),
  inst('lods', [w('rAX'), 'Xv'], 'ad', lods, { rep: 'count' }),
  inst('scas', ['AL', 'Yb'], 'ae', scas, COMPARE),
  inst('scas', ['rAX', 'Yv'], 'af', scas, COMPARE),
  inst('ins', [w('Yb')], '6c', ins, { rep: 'count', before: mayUsePort }),
  inst('ins', [w('Yz')], '6d', ins, { rep: 'count', before: mayUsePort }),
  inst('outs', ['Xb'], '6e', outs, { rep: 'count', before: mayUsePort }),
  inst('outs', ['Xz'], '6f', outs, { rep: 'count', before: mayUsePort }),
];
