/**
 * Multiplication and division: MUL IMUL DIV IDIV, and CRC32 POPCNT beside them.
 * Implements: SDM vol. 2A DIV, IDIV, IMUL, CRC32; 2B MUL, POPCNT. Runs on: see cpu/emit.ts.
 */
import { RAX, RDX } from '../emit.ts';
import type { Emit, Size, Value } from '../emit.ts';
import { inst, rw, w } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';

const DE = 0;

/** High half of a 64 x 64 product from four 32 x 32 ones: wasm has no wide multiply. */
function multiplyHigh(b: Emit, x: Value, y: Value, signed: boolean): Value {
  const c = (n: number): Value => b.constant(n, 8), low = (v: Value): Value => b.and(v, b.constant(0xffff_ffffn, 8)), high = (v: Value): Value => b.shr(v, c(32));
  const xl = low(x), xh = high(x), yl = low(y), yh = high(y);
  const middle = b.add(b.mul(xh, yl), high(b.mul(xl, yl)));
  const other = b.add(b.mul(xl, yh), low(middle));
  const product = b.add(b.mul(xh, yh), b.add(high(middle), high(other)));
  return signed ? b.sub(b.sub(product, b.and(b.sar(x, c(63)), y)), b.and(b.sar(y, c(63)), x)) : product;
}

/** IMUL with two or three operands: CF and OF say that the product did not fit; the record keeps the factors. */
const imul: Body = (b, dst, first, second) => {
  const size = dst.size as Size, x = b.pin(first!.read()), y = b.pin(b.resize((second ?? dst).read(), size, true)), low = b.pin(b.mul(x, y));
  dst.write(low);
  b.setFlags('imul', x, y);
};

/** rDX:rAX := rAX * operand. */
const wideProduct = (signed: boolean): Body => (b, src) => {
  const size = src.size as Size, bits = size * 8, rax = b.register(RAX, size), x = b.pin(rax.read()), y = b.pin(src.read());
  let low: Value, high: Value;
  if (size === 8) {
    low = b.pin(b.mul(x, y));
    high = b.pin(multiplyHigh(b, x, y, signed));
  } else {
    const product = b.pin(b.mul(b.resize(x, 8, signed), b.resize(y, 8, signed)));
    low = b.pin(b.resize(product, size));
    high = b.pin(b.resize(b.shr(product, b.constant(bits, 8)), size));
  }
  if (size === 1) b.register(RAX, 2).write(b.or(b.resize(low, 2), b.shl(b.resize(high, 2), b.constant(8, 4))));
  else {
    rax.write(low);
    b.register(RDX, size).write(high);
  }
  if (!b.flagsWanted) return;
  const fits = signed ? b.sar(low, b.constant(bits - 1, size === 8 ? 8 : 4)) : b.constant(0, size);
  b.setFlags('mul', low, b.compare('ne', high, fits));
};

/** DIV and IDIV of 8, 16 and 32 bits, in i64. */
function divideNarrow(b: Emit, size: Size, divisorNarrow: Value, signed: boolean): void {
  const bits = size * 8, divisor = b.pin(b.resize(divisorNarrow, 8, signed));
  const wide = size === 1 ? b.resize(b.register(RAX, 2).read(), 8, signed)
    : b.or(b.resize(b.register(RAX, size).read(), 8), b.shl(b.resize(b.register(RDX, size).read(), 8, signed), b.constant(bits, 8)));
  const dividend = b.pin(wide);
  b.if(b.isZero(divisor), () => b.raise(DE));
  let quotient: Value, remainder: Value;
  if (signed) {
    // wasm traps on the smallest number divided by -1: divide by 1 and negate.
    const minusOne = b.pin(b.compare('eq', divisor, b.constant(-1, 8))), by = b.pin(b.select(minusOne, b.constant(1, 8), divisor));
    const positive = b.pin(b.integer('div_s', dividend, by));
    quotient = b.pin(b.select(minusOne, b.negate(positive), positive));
    remainder = b.pin(b.integer('rem_s', dividend, by));
    const truncated = b.resize(b.resize(quotient, size), 8, true);
    b.if(b.compare('ne', quotient, truncated), () => b.raise(DE));
  } else {
    quotient = b.pin(b.integer('div_u', dividend, divisor));
    remainder = b.pin(b.integer('rem_u', dividend, divisor));
    b.if(b.compare('ne', b.shr(quotient, b.constant(bits, 8)), b.constant(0, 8)), () => b.raise(DE));
  }
  if (size === 1) b.register(RAX, 2).write(b.or(b.resize(b.resize(quotient, 1), 2), b.shl(b.resize(b.resize(remainder, 1), 2), b.constant(8, 4))));
  else {
    b.register(RAX, size).write(b.resize(quotient, size));
    b.register(RDX, size).write(b.resize(remainder, size));
  }
}

/** 64-bit DIV and IDIV: wasm's own where the high half only extends the low one, else the helper. */
function divideWide(b: Emit, divisorValue: Value, signed: boolean): void {
  const rax = b.register(RAX, 8), rdx = b.register(RDX, 8), low = b.pin(rax.read()), high = b.pin(rdx.read()), divisor = b.pin(divisorValue);
  const extends64 = b.compare('eq', high, signed ? b.sar(low, b.constant(63, 8)) : b.constant(0, 8));
  // 0 divides nothing; -1 may overflow: both, and they alone, have divisor + 1 < 2.
  const tame = signed ? b.compare('ge_u', b.add(divisor, b.constant(1, 8)), b.constant(2, 8)) : b.compare('ne', divisor, b.constant(0, 8));
  b.if(b.and(extends64, tame), () => {
    const quotient = b.pin(b.integer(signed ? 'div_s' : 'div_u', low, divisor)), remainder = b.pin(b.integer(signed ? 'rem_s' : 'rem_u', low, divisor));
    rax.write(quotient);
    rdx.write(remainder);
  }, () => {
    const quotient = b.call(signed ? 'divideSigned' : 'divide', high, low, divisor, b.constant(8, 4)), remainder = b.pin(b.field('scratch', 'i64'));
    rax.write(quotient);
    rdx.write(remainder);
  });
}
const quotient = (signed: boolean): Body => (b, src) => {
  if (src.size === 8) divideWide(b, src.read(), signed);
  else divideNarrow(b, src.size as Size, src.read(), signed);
};

const PRODUCT: Attributes = { flags: 'oc', undefined: 'szap' };
const QUOTIENT: Attributes = { undefined: 'oszapc' };
const mulBody = wideProduct(false), imulBody = wideProduct(true), divBody = quotient(false), idivBody = quotient(true);
const crc: Body = (b, dst, src) => {
  const sum = b.call('crc32', b.resize(dst.read(), 4), b.resize(src.read(), 8), b.constant(src.size, 4));
  dst.write(b.resize(sum, dst.size as Size));
};

export const multiply: readonly Line[] = [
  inst('imul', [rw('Gv'), 'Ev'], '0f af /r', imul, PRODUCT),
  inst('imul', [w('Gv'), 'Ev', 'Iz'], '69 /r', imul, PRODUCT),
  inst('imul', [w('Gv'), 'Ev', 'Ibs'], '6b /r', imul, PRODUCT),
  inst('mul', ['Eb'], 'f6 /4', mulBody, PRODUCT),
  inst('mul', ['Ev'], 'f7 /4', mulBody, PRODUCT),
  inst('imul', ['Eb'], 'f6 /5', imulBody, PRODUCT),
  inst('imul', ['Ev'], 'f7 /5', imulBody, PRODUCT),
  inst('div', ['Eb'], 'f6 /6', divBody, QUOTIENT),
  inst('div', ['Ev'], 'f7 /6', divBody, QUOTIENT),
  inst('idiv', ['Eb'], 'f6 /7', idivBody, QUOTIENT),
  inst('idiv', ['Ev'], 'f7 /7', idivBody, QUOTIENT),
  inst('crc32', [rw('Gy'), 'Eb'], 'f2 0f 38 f0 /r', crc, { cpuid: 'sse4.2' }),
  inst('crc32', [rw('Gy'), 'Ev'], 'f2 0f 38 f1 /r', crc, { cpuid: 'sse4.2' }),
  inst('popcnt', [w('Gv'), 'Ev'], 'f3 0f b8 /r', (b, dst, src) => {
    const x = b.pin(src.read());
    dst.write(b.integer('popcnt', x));
    b.setEflags(b.shl(b.isZero(x), b.constant(6, 4)));
  }, { flags: 'oszapc', cpuid: 'popcnt' }),
];
