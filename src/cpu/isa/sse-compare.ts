/**
 * SSE comparisons: CMPPS CMPPD CMPSS CMPSD, COMISS COMISD UCOMISS UCOMISD.
 * Implements: SDM vol. 2A CMPPS (table 3-1, predicates 0-7), COMISS; vol. 2B UCOMISS. Runs on: see cpu/emit.ts.
 * Without NaNs and denormals no flag is set, whatever MXCSR says; with them cpu/assembly/sse.ts compares.
 */
import type { Emit, Value } from '../emit.ts';
import { inst, rw } from './inst.ts';
import type { Attributes, Body, Line } from './inst.ts';
import {
  F32, F64, SSE, SSE2, addressOf, areComparable, both, either, floatOf, headOf, int, isDenormal, isExtreme, notAll, reader, writeElement,
} from './sse-float.ts';
import type { Format } from './sse-float.ts';

interface Relation { readonly less: Value; readonly equal: Value; readonly rare: Value }

function relationOf(b: Emit, format: Format, x: Value, y: Value): Relation {
  const first = floatOf(b, format, x), second = floatOf(b, format, y);
  const compare = (name: 'lt' | 'gt' | 'eq'): Value => b.plain(`${format.scalar}.${name}`, first, second);
  const less = b.pin(compare('lt')), equal = b.pin(compare('eq')), unordered = b.isZero(b.or(b.or(less, equal), compare('gt')));
  return { less, equal, rare: b.or(b.or(isDenormal(b, format, x), isDenormal(b, format, y)), unordered) };
}

// --- CMP: predicate bits 0-1 equal, less, less or equal, unordered; bit 2 the opposite ---

const scalar = (format: Format): Body => (b, dst, src, immediate) => {
  const y = b.pin(src.read()), x = b.pin(dst.read()), predicate = b.pin(b.and(b.resize(immediate!.read(), 4), int(b, 7)));
  b.attempt((rare) => {
    const relation = relationOf(b, format, x, y);
    rare(relation.rare);
    // Bit n is the truth of predicate n; 3, unordered, is false here.
    const truths = b.or(b.or(relation.equal, b.shl(relation.less, int(b, 1))), b.shl(b.or(relation.less, relation.equal), int(b, 2)));
    const truth = b.xor(b.and(b.shr(truths, b.and(predicate, int(b, 3))), int(b, 1)), b.shr(predicate, int(b, 2)));
    writeElement(b, dst, b.resize(b.negate(truth), format.sizeBytes, true));
  }, () => {
    const helper = format === F32 ? 'sseCompareF32' : 'sseCompareF64';
    dst.throughRecord((first) => b.call(helper, predicate, first, first, addressOf(b, src, y), int(b, 1)));
  });
};

const packed = (format: Format): Body => (b, dst, src, immediate) => {
  const y = b.pin(src.read()), x = b.pin(dst.read()), predicate = b.pin(b.and(b.resize(immediate!.read(), 4), int(b, 7)));
  b.attempt((rare) => {
    rare(notAll(b, both(b, areComparable(b, format, x), areComparable(b, format, y))));
    const low = b.pin(b.and(predicate, int(b, 3)));
    const when = (condition: Value): Value => b.plain('i32x4.splat', b.negate(condition));
    const isEqual = b.plain(`${format.packed}.eq`, x, y), isLess = b.plain(`${format.packed}.lt`, x, y);
    const equal = both(b, isEqual, when(b.isZero(b.and(low, int(b, 1))))), less = both(b, isLess, when(b.compare('lt_u', b.sub(low, int(b, 1)), int(b, 2))));
    dst.write(b.plain('v128.xor', either(b, equal, less), when(b.shr(predicate, int(b, 2)))));
  }, () => {
    const helper = format === F32 ? 'sseCompareF32' : 'sseCompareF64';
    dst.throughRecord((first) => b.call(helper, predicate, first, first, addressOf(b, src, y), int(b, format.lanes)));
  });
};

// --- COMI and UCOMI differ in which NaNs are invalid ---

const CF = 0, ZF = 6;
const flags = (format: Format, quiet: 0 | 1): Body => (b, first, second) => {
  const again = reader(b, second), found = b.variable('i32');
  b.attempt((rare) => {
    const extreme = b.or(isExtreme(b, format, headOf(b, format, first, first.read())), isExtreme(b, format, headOf(b, format, second, again())));
    b.if(extreme, () => rare(relationOf(b, format, first.read(), again()).rare), undefined, 'unlikely');
    const one = floatOf(b, format, first.read()), other = floatOf(b, format, again());
    const less = b.plain(`${format.scalar}.lt`, one, other), notMore = b.plain(`${format.scalar}.le`, one, other);
    found.set(b.or(b.shl(less, int(b, CF)), b.shl(b.xor(notMore, less), int(b, ZF))));
  }, () => found.set(b.call(format === F32 ? 'sseCompareFlagsF32' : 'sseCompareFlagsF64', int(b, quiet), first.read(), again())));
  b.setEflags(found.get());
};
const withFlags = (attributes: Attributes): Attributes => ({ ...attributes, flags: 'oszapc' });

export const sseCompare: readonly Line[] = [
  inst('cmpps', [rw('Vps'), 'Wps', 'Ib'], 'np 0f c2 /r', packed(F32), SSE),
  inst('cmppd', [rw('Vpd'), 'Wpd', 'Ib'], '66 0f c2 /r', packed(F64), SSE2),
  inst('cmpss', [rw('Vss'), 'Wss', 'Ib'], 'f3 0f c2 /r', scalar(F32), SSE),
  inst('cmpsd', [rw('Vsd'), 'Wsd', 'Ib'], 'f2 0f c2 /r', scalar(F64), SSE2),
  inst('ucomiss', ['Vss', 'Wss'], 'np 0f 2e /r', flags(F32, 1), withFlags(SSE)),
  inst('ucomisd', ['Vsd', 'Wsd'], '66 0f 2e /r', flags(F64, 1), withFlags(SSE2)),
  inst('comiss', ['Vss', 'Wss'], 'np 0f 2f /r', flags(F32, 0), withFlags(SSE)),
  inst('comisd', ['Vsd', 'Wsd'], '66 0f 2f /r', flags(F64, 0), withFlags(SSE2)),
];
