/**
 * Moves between registers, memory and immediates: MOV MOVZX MOVSX MOVSXD MOVBE LEA XCHG BSWAP XLAT and the sign extensions of rAX.
 * Implements: SDM vol. 2A/2B MOV, LEA, MOVBE, XCHG ...; SDM vol. 1 3.4.1.1 (a 32-bit result clears the high half).
 * Runs on: see cpu/emit.ts.
 */
import { RAX, RBX } from '../emit.ts';
import type { Emit, Size, Value } from '../emit.ts';
import { inst, rw, w } from './inst.ts';
import type { Body, Line } from './inst.ts';

export const move: Body = (b, dst, src) => dst.write(b.resize(src.read(), dst.size as Size));
const moveSigned: Body = (b, dst, src) => dst.write(b.resize(src.read(), dst.size as Size, true));

/** With memory the store comes first: it may fault. */
const exchange: Body = (b, x, y) => {
  const first = b.pin(x.read()), second = b.pin(y.read());
  x.write(second);
  y.write(first);
};

export function swapBytes(b: Emit, x: Value): Value {
  const { size } = x;
  if (size === 2) return b.rotate(true, x, b.constant(8, 4));
  if (size === 4) {
    const alternate = (value: Value): Value => b.and(value, b.constant(0x00ff00ff, 4));
    return b.or(b.rotate(false, alternate(x), b.constant(8, 4)), alternate(b.rotate(true, x, b.constant(8, 4))));
  }
  let y = x;
  for (const [shift, mask] of [[8, 0x00ff00ff00ff00ffn], [16, 0x0000ffff0000ffffn]] as const) {
    y = b.or(b.and(b.shr(y, b.constant(shift, 8)), b.constant(mask, 8)), b.shl(b.and(y, b.constant(mask, 8)), b.constant(shift, 8)));
  }
  return b.rotate(true, y, b.constant(32, 8));
}

const reversed: Body = (b, dst, src) => dst.write(swapBytes(b, src.read()));

export const mov: readonly Line[] = [
  inst('mov', [w('Eb'), 'Gb'], '88 /r', move),
  inst('mov', [w('Ev'), 'Gv'], '89 /r', move),
  inst('mov', [w('Gb'), 'Eb'], '8a /r', move),
  inst('mov', [w('Gv'), 'Ev'], '8b /r', move),
  inst('mov', [w('AL'), 'Ob'], 'a0', move),
  inst('mov', [w('rAX'), 'Ov'], 'a1', move),
  inst('mov', [w('Ob'), 'AL'], 'a2', move),
  inst('mov', [w('Ov'), 'rAX'], 'a3', move),
  inst('mov', [w('Zb'), 'Ib'], 'b0+r', move),
  inst('mov', [w('Zv'), 'Iv'], 'b8+r', move),
  inst('mov', [w('Eb'), 'Ib'], 'c6 /0', move),
  inst('mov', [w('Ev'), 'Iz'], 'c7 /0', move),
  inst('movzx', [w('Gv'), 'Eb'], '0f b6 /r', move),
  inst('movzx', [w('Gv'), 'Ew'], '0f b7 /r', move),
  inst('movsx', [w('Gv'), 'Eb'], '0f be /r', moveSigned),
  inst('movsx', [w('Gv'), 'Ew'], '0f bf /r', moveSigned),
  inst('movsxd', [w('Gv'), 'Ez'], '63 /r', moveSigned, { mode: '64' }),
  inst('movbe', [w('Gv'), 'Mv'], 'nfx 0f 38 f0 /r', reversed, { cpuid: 'movbe' }),
  inst('movbe', [w('Mv'), 'Gv'], 'nfx 0f 38 f1 /r', reversed, { cpuid: 'movbe' }),
  inst('lea', [w('Gv'), 'M'], '8d /r', (b, dst, src) => dst.write(b.resize(src.address(), dst.size as Size))),
  inst('xchg', [rw('Eb'), rw('Gb')], '86 /r', exchange, { lock: true, alwaysLocked: true }),
  inst('xchg', [rw('Ev'), rw('Gv')], '87 /r', exchange, { lock: true, alwaysLocked: true }),
  inst('pause', [], 'f3 90', () => {}),
  inst('nop', [], 'rex.b0 90', () => {}),
  inst('xchg', [rw('Zv'), rw('rAX')], '90+r', exchange),
  inst('bswap', [rw('Zv')], '0f c8+r', (b, dst) => {
    // 16-bit BSWAP is undefined by the SDM; processors clear the word.
    dst.write(dst.size === 2 ? b.constant(0, 2) : swapBytes(b, dst.read()));
  }),
  inst('xlat', [], 'd7', (b) => {
    const offset = b.integer('add', b.counter(RBX), b.resize(b.register(RAX, 1).read(), 8));
    const within = b.addressSize === 8 ? offset : b.integer('and', offset, b.constant(b.addressSize === 4 ? 0xffff_ffff : 0xffff, 8));
    b.register(RAX, 1).write(b.load(b.dataLinear(within, 1, 'read'), 1, b.dataSegment()));
  }),
  // CBW CWDE CDQE, CWD CDQ CQO
  inst('cbw', [], '98', (b) => {
    const half = (b.operandSize / 2) as Size;
    b.register(RAX, b.operandSize).write(b.resize(b.register(RAX, half).read(), b.operandSize, true));
  }),
  inst('cwd', [w('rDX'), 'rAX'], '99', (b, dst, src) => {
    const { size } = dst;
    dst.write(b.sar(src.read(), b.constant(size * 8 - 1, size === 8 ? 8 : 4)));
  }),
];
