/**
 * Moves of packed integers: MOVD, MOVQ, MOVDQA, MOVDQU, LDDQU, non-temporal and masked stores, between MMX and XMM; EMMS.
 * Implements: SDM vol. 2A/2B rows of those names. Runs on: see cpu/emit.ts.
 */
import { RDI } from '../emit.ts';
import type { Size, Value } from '../emit.ts';
import { inst, w } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';
import { MMX, SSE2, SSE41, beforeMemory, commitMmx, fromLow64, int, low64, vectorOf } from './packed.ts';

const FSW_TOP = 0x3800;

const copy: Body = (_, dst, src) => dst.write(src!.read());
/** To an MMX register. */
const toMmx: Body = (b, dst, src) => {
  beforeMemory(b, src!);
  commitMmx(b, dst, b.resize(src!.read(), 8));
};
/** From one, to a general register or memory. TOP becomes 0 even when the store faults, as processors have it; the tags do not change then. */
const fromMmx: Body = (b, dst, src) => {
  const value = b.pin(b.resize(src!.read(), dst.size as Size));
  if (dst.isMemory) {
    b.call('fpuWait');
    b.setField('fsw', 'i32', b.and(b.field('fsw', 'i32'), int(b, ~FSW_TOP)));
    dst.write(value);
    b.call('mmxEnter');
  } else {
    b.call('mmxEnter');
    dst.write(value);
  }
};
const betweenMmx: Body = (b, dst, src) => (dst.isMemory ? fromMmx(b, dst, src!) : toMmx(b, dst, src!));
const toVector: Body = (_, dst, src) => dst.write(src!.readAlone());
const fromVector: Body = (b, dst, src) => dst.write(b.resize(low64(b, src!.read()), dst.size as Size));
/** MOVQ xmm/m64, xmm: a register's upper half becomes zero. */
const lowHalf: Body = (b, dst, src) => {
  const value = low64(b, src!.read());
  dst.write(dst.isMemory ? value : b.alone(value));
};
const mmxToVector: Body = (b, dst, src) => {
  b.call('mmxEnter');
  dst.write(fromLow64(b, src!.read()));
};
const vectorToMmx: Body = (b, dst, src) => commitMmx(b, dst, low64(b, src!.read()));

/**
 * Bytes that the mask's high bits choose go to DS:rDI. Processors look at the upper half's address first, chosen or not; MMX state is
 * entered before that.
 */
const maskedStore: Body = (b, data, mask) => {
  const sizeBytes = data.size, { f } = b;
  if (sizeBytes === 8) b.call('mmxEnter');
  const at = b.pin(b.dataLinear(b.counter(RDI), sizeBytes, 'write')), segment = b.dataSegment();
  const place = (offset: Value): Value => {
    const sum = b.integer('add', at, offset);
    return b.long ? sum : b.and(sum, b.constant(0xffff_ffff, 8));
  };
  for (let offset = sizeBytes - 8; offset >= 0; offset -= 8) b.pin(b.probe(b.pin(place(b.constant(offset, 8))), 8, segment));
  const bytes = b.pin(vectorOf(b, data)), chosen = b.plain('i8x16.bitmask', vectorOf(b, mask!)), left = b.variable('i32', sizeBytes === 8 ? b.and(chosen, int(b, 0xff)) : chosen);
  b.if(left.get(), () => f.loop((again) => {
    const bits = left.get(), index = b.pin(b.integer('ctz', bits));
    const byte = b.lane('i8x16.extract_lane_u', 0, b.plain('i8x16.swizzle', bytes, b.plain('i8x16.splat', index)));
    b.store(place(b.resize(index, 8)), b.resize(byte, 1), segment);
    left.set(b.and(bits, b.integer('sub', bits, int(b, 1))));
    f.brIf(left.get(), again);
  }));
};

const UNALIGNED: Attributes = { ...SSE2, unaligned: true };
const LONG: Attributes = { mode: '64' };

export const packedMove: readonly Line[] = [
  inst('movd', [w('Pq'), 'Ed'], 'rex.w0 np 0f 6e /r', toMmx, MMX), inst('movq', [w('Pq'), 'Eq'], 'rex.w np 0f 6e /r', toMmx, { ...MMX, ...LONG }),
  inst('movd', [w('Ed'), 'Pq'], 'rex.w0 np 0f 7e /r', fromMmx, MMX), inst('movq', [w('Eq'), 'Pq'], 'rex.w np 0f 7e /r', fromMmx, { ...MMX, ...LONG }),
  inst('movd', [w('Vx'), 'Ed'], 'rex.w0 66 0f 6e /r', toVector, SSE2), inst('movq', [w('Vx'), 'Eq'], 'rex.w 66 0f 6e /r', toVector, { ...SSE2, ...LONG }),
  inst('movd', [w('Ed'), 'Vx'], 'rex.w0 66 0f 7e /r', fromVector, SSE2), inst('movq', [w('Eq'), 'Vx'], 'rex.w 66 0f 7e /r', fromVector, { ...SSE2, ...LONG }),
  inst('movq', [w('Pq'), 'Qq'], 'np 0f 6f /r', toMmx, MMX),
  inst('movq', [w('Qq'), 'Pq'], 'np 0f 7f /r', betweenMmx, MMX),
  inst('movq', [w('Vx'), 'Wq'], 'f3 0f 7e /r', toVector, SSE2),
  inst('movq', [w('Wq'), 'Vx'], '66 0f d6 /r', lowHalf, SSE2),
  inst('movq2dq', [w('Vx'), 'Nq'], 'f3 0f d6 /r', mmxToVector, SSE2),
  inst('movdq2q', [w('Pq'), 'Ux'], 'f2 0f d6 /r', vectorToMmx, SSE2),
  inst('movdqa', [w('Vx'), 'Wx'], '66 0f 6f /r', copy, SSE2), inst('movdqa', [w('Wx'), 'Vx'], '66 0f 7f /r', copy, SSE2),
  inst('movdqu', [w('Vx'), 'Wx'], 'f3 0f 6f /r', copy, UNALIGNED), inst('movdqu', [w('Wx'), 'Vx'], 'f3 0f 7f /r', copy, UNALIGNED),
  inst('lddqu', [w('Vx'), 'Mx'], 'f2 0f f0 /r', copy, { ...UNALIGNED, cpuid: 'sse3' }),
  inst('movntdqa', [w('Vx'), 'Mx'], '66 0f 38 2a /r', copy, SSE41),
  inst('movntdq', [w('Mx'), 'Vx'], '66 0f e7 /r', copy, SSE2),
  inst('movntq', [w('Mq'), 'Pq'], 'np 0f e7 /r', fromMmx, { ...MMX, cpuid: 'sse' }),
  inst('movnti', [w('My'), 'Gy'], 'np 0f c3 /r', copy, { cpuid: 'sse2' }),
  inst('maskmovq', ['Pq', 'Nq'], 'np 0f f7 /r', maskedStore, { ...MMX, cpuid: 'sse' }),
  inst('maskmovdqu', ['Vx', 'Ux'], '66 0f f7 /r', maskedStore, SSE2),
  inst('emms', [], 'np 0f 77', (b) => b.call('mmxLeave'), MMX),
];
