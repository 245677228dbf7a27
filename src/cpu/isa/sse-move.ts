/**
 * Moves of floating-point data between XMM registers and memory, and the MXCSR: MOVAPS MOVUPS MOVSS MOVSD MOVLPS MOVHPS MOVMSKPS MOVNTPS ...
 * Implements: SDM vol. 2A/2B MOVAPS, MOVHLPS, MOVSS, LDMXCSR ...; SDM vol. 1 10.2.3 MXCSR. Runs on: see cpu/emit.ts.
 */
import { move } from './mov.ts';
import { inst, rw, w } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';
import { SSE, SSE2, SSE3, writeElement } from './sse-float.ts';

const GP = 13;
/** Bits of MXCSR that exist: MXCSR_MASK as FXSAVE shows it. */
const MXCSR_MASK = 0xffff;

/** All 16 bytes. */
const whole: Body = (_b, dst, src) => dst.write(src.read());
/** A load of an element clears the rest of the register. */
const loadElement: Body = (_b, dst, src) => dst.write(src.readAlone());
/** Between registers the rest stays. */
const moveElement: Body = (b, dst, src) => (dst.isMemory ? dst.write(src.read()) : writeElement(b, dst, src.read()));
const toHigh: Body = (b, dst, src) => {
  const value = b.pin(src.read());
  dst.write(b.lane('i64x2.replace_lane', 1, dst.read(), value));
};
const fromHigh: Body = (b, dst, src) => {
  const high = b.lane('i64x2.extract_lane', 1, src.read());
  if (dst.isMemory) dst.write(high);
  else writeElement(b, dst, high);
};
const duplicate: Body = (b, dst, src) => dst.write(b.plain('i64x2.splat', src.read()));
const shuffled = (lanes: readonly number[]): Body => (b, dst, src) => {
  const value = b.pin(src.read());
  dst.write(b.shuffle(value, value, lanes));
};
const duplicateEven = shuffled([0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11]);
const duplicateOdd = shuffled([4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15]);

const anywhere = (attributes: Attributes): Attributes => ({ ...attributes, unaligned: true });

export const sseMove: readonly Line[] = [
  inst('movaps', [w('Vps'), 'Wps'], 'np 0f 28 /r', whole, SSE),
  inst('movaps', [w('Wps'), 'Vps'], 'np 0f 29 /r', whole, SSE),
  inst('movapd', [w('Vpd'), 'Wpd'], '66 0f 28 /r', whole, SSE2),
  inst('movapd', [w('Wpd'), 'Vpd'], '66 0f 29 /r', whole, SSE2),
  inst('movups', [w('Vps'), 'Wps'], 'np 0f 10 /r', whole, anywhere(SSE)),
  inst('movups', [w('Wps'), 'Vps'], 'np 0f 11 /r', whole, anywhere(SSE)),
  inst('movupd', [w('Vpd'), 'Wpd'], '66 0f 10 /r', whole, anywhere(SSE2)),
  inst('movupd', [w('Wpd'), 'Vpd'], '66 0f 11 /r', whole, anywhere(SSE2)),
  inst('movss', [w('Vss'), 'Uss'], 'f3 0f 10 /r', moveElement, SSE),
  inst('movss', [w('Vx'), 'Mss'], 'f3 0f 10 /r', loadElement, SSE),
  inst('movss', [w('Wss'), 'Vss'], 'f3 0f 11 /r', moveElement, SSE),
  inst('movsd', [w('Vsd'), 'Usd'], 'f2 0f 10 /r', moveElement, SSE2),
  inst('movsd', [w('Vx'), 'Msd'], 'f2 0f 10 /r', loadElement, SSE2),
  inst('movsd', [w('Wsd'), 'Vsd'], 'f2 0f 11 /r', moveElement, SSE2),
  inst('movhlps', [w('Vq'), 'Ux'], 'np 0f 12 /r', fromHigh, SSE),
  inst('movlps', [w('Vq'), 'Mq'], 'np 0f 12 /r', moveElement, SSE),
  inst('movlps', [w('Mq'), 'Vq'], 'np 0f 13 /r', move, SSE),
  inst('movlpd', [w('Vq'), 'Mq'], '66 0f 12 /r', moveElement, SSE2),
  inst('movlpd', [w('Mq'), 'Vq'], '66 0f 13 /r', move, SSE2),
  inst('movlhps', [rw('Vx'), 'Uq'], 'np 0f 16 /r', toHigh, SSE),
  inst('movhps', [rw('Vx'), 'Mq'], 'np 0f 16 /r', toHigh, SSE),
  inst('movhps', [w('Mq'), 'Vx'], 'np 0f 17 /r', fromHigh, SSE),
  inst('movhpd', [rw('Vx'), 'Mq'], '66 0f 16 /r', toHigh, SSE2),
  inst('movhpd', [w('Mq'), 'Vx'], '66 0f 17 /r', fromHigh, SSE2),
  inst('movddup', [w('Vx'), 'Wq'], 'f2 0f 12 /r', duplicate, SSE3),
  inst('movsldup', [w('Vx'), 'Wx'], 'f3 0f 12 /r', duplicateEven, SSE3),
  inst('movshdup', [w('Vx'), 'Wx'], 'f3 0f 16 /r', duplicateOdd, SSE3),
  inst('movntps', [w('Mx'), 'Vx'], 'np 0f 2b /r', whole, SSE),
  inst('movntpd', [w('Mx'), 'Vx'], '66 0f 2b /r', whole, SSE2),
  inst('movmskps', [w('Gd'), 'Ups'], 'np 0f 50 /r', (b, dst, src) => dst.write(b.plain('i32x4.bitmask', src.read())), SSE),
  inst('movmskpd', [w('Gd'), 'Upd'], '66 0f 50 /r', (b, dst, src) => dst.write(b.plain('i64x2.bitmask', src.read())), SSE2),
  inst('ldmxcsr', ['Md'], 'np 0f ae /2', (b, src) => {
    const value = b.pin(src.read());
    b.if(b.and(value, b.constant(~MXCSR_MASK, 4)), () => b.raise(GP, 'error'));
    b.setField('mxcsr', 'i32', value);
  }, SSE),
  inst('stmxcsr', [w('Md')], 'np 0f ae /3', (b, dst) => dst.write(b.field('mxcsr', 'i32')), SSE),
];
