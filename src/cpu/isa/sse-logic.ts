/**
 * Bitwise logic on floating-point registers: ANDPS ANDNPS ORPS XORPS and their PD forms.
 * Implements: SDM vol. 2A/2B/2C ANDPS, ANDNPS, ORPS, XORPS. Runs on: see cpu/emit.ts.
 */
import { inst, rw } from './inst.ts';
import type { Body, Line } from './inst.ts';
import { SSE, SSE2 } from './sse-float.ts';

const logic = (op: 'v128.and' | 'v128.or' | 'v128.xor'): Body => (b, dst, src) => {
  const value = b.pin(src.read());
  dst.write(b.plain(op, dst.read(), value));
};
const and = logic('v128.and'), or = logic('v128.or'), xor = logic('v128.xor');
/** The destination is what is inverted. */
const andNot: Body = (b, dst, src) => {
  const value = b.pin(src.read());
  dst.write(b.plain('v128.andnot', value, dst.read()));
};

export const sseLogic: readonly Line[] = [
  inst('andps', [rw('Vps'), 'Wps'], 'np 0f 54 /r', and, SSE),
  inst('andpd', [rw('Vpd'), 'Wpd'], '66 0f 54 /r', and, SSE2),
  inst('andnps', [rw('Vps'), 'Wps'], 'np 0f 55 /r', andNot, SSE),
  inst('andnpd', [rw('Vpd'), 'Wpd'], '66 0f 55 /r', andNot, SSE2),
  inst('orps', [rw('Vps'), 'Wps'], 'np 0f 56 /r', or, SSE),
  inst('orpd', [rw('Vpd'), 'Wpd'], '66 0f 56 /r', or, SSE2),
  inst('xorps', [rw('Vps'), 'Wps'], 'np 0f 57 /r', xor, SSE),
  inst('xorpd', [rw('Vpd'), 'Wpd'], '66 0f 57 /r', xor, SSE2),
];
