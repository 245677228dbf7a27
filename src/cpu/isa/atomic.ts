/**
 * Read-modify-write that synchronises: XADD CMPXCHG CMPXCHG8B CMPXCHG16B.
 * Implements: SDM vol. 2A CMPXCHG, CMPXCHG8B/CMPXCHG16B; 2B XADD; vol. 3A 9.1.2 Bus Locking. Runs on: see cpu/emit.ts.
 */
import { RAX, RBX, RCX, RDX } from '../emit.ts';
import type { Size } from '../emit.ts';
import { inst, rw } from './inst.ts';
import type { Body, Line } from './inst.ts';

const ZF = 0x40;

const exchangeAdd: Body = (b, dst, src) => {
  const x = b.pin(dst.read()), y = b.pin(src.read()), result = b.pin(b.add(x, y));
  if (dst.isMemory) dst.write(result);
  src.write(x);
  if (!dst.isMemory) dst.write(result);    // one register twice ends up with the sum
  b.setFlagsLater('add', x, y, result);
};

const compareExchange: Body = (b, dst, src) => {
  const accumulator = b.register(RAX, dst.size as Size), x = b.pin(dst.read()), expected = b.pin(accumulator.read());
  const equal = b.pin(b.compare('eq', x, expected));
  if (dst.isMemory) dst.write(b.select(equal, src.read(), x));   // memory is written either way
  b.if(equal, () => {
    if (!dst.isMemory) dst.write(src.read());
  }, () => accumulator.write(x));
  b.setFlagsLater('sub', expected, x, x);
};

const compareExchange8: Body = (b, dst) => {
  const half = (index: number) => b.register(index, 4), x = b.pin(dst.read()), thirtyTwo = b.constant(32, 8);
  const join = (high: number, low: number) => b.or(b.resize(half(low).read(), 8), b.shl(b.resize(half(high).read(), 8), thirtyTwo));
  const equal = b.pin(b.compare('eq', x, join(RDX, RAX)));
  dst.write(b.select(equal, join(RCX, RBX), x));
  b.if(b.isZero(equal), () => {
    half(RAX).write(b.resize(x, 4));
    half(RDX).write(b.resize(b.shr(x, thirtyTwo), 4));
  });
  b.setEflags(b.or(b.and(b.eflags(), b.constant(~ZF, 4)), b.shl(equal, b.constant(6, 4))));
};
const compareExchange16: Body = (b, dst) => {
  const whole = (index: number) => b.register(index, 8), x = b.pin(dst.read());
  const low = b.pin(b.lane('i64x2.extract_lane', 0, x)), high = b.pin(b.lane('i64x2.extract_lane', 1, x));
  const equal = b.pin(b.and(b.compare('eq', low, whole(RAX).read()), b.compare('eq', high, whole(RDX).read())));
  const replacement = b.lane('i64x2.replace_lane', 1, b.plain('i64x2.splat', whole(RBX).read()), whole(RCX).read());
  dst.write(b.select(equal, replacement, x));
  b.if(b.isZero(equal), () => {
    whole(RAX).write(low);
    whole(RDX).write(high);
  });
  b.setEflags(b.or(b.and(b.eflags(), b.constant(~ZF, 4)), b.shl(equal, b.constant(6, 4))));
};

export const atomic: readonly Line[] = [
  inst('xadd', [rw('Eb'), rw('Gb')], '0f c0 /r', exchangeAdd, { flags: 'oszapc', lock: true }),
  inst('xadd', [rw('Ev'), rw('Gv')], '0f c1 /r', exchangeAdd, { flags: 'oszapc', lock: true }),
  inst('cmpxchg', [rw('Eb'), 'Gb'], '0f b0 /r', compareExchange, { flags: 'oszapc', lock: true }),
  inst('cmpxchg', [rw('Ev'), 'Gv'], '0f b1 /r', compareExchange, { flags: 'oszapc', lock: true }),
  inst('cmpxchg8b', [rw('Mq')], 'rex.w0 0f c7 /1', compareExchange8, { flags: 'z', effect: 'through', lock: true }),
  inst('cmpxchg16b', [rw('Mdq')], 'rex.w 0f c7 /1', compareExchange16, { flags: 'z', effect: 'through', lock: true, aligned: true, cpuid: 'cx16' }),
];
