/**
 * System instructions: segments, descriptor tables, far transfers, control, debug and model-specific registers, TLB, extended state.
 * Implements: SDM vol. 2A/2B/2D rows named below; vol. 3A 2.8 System Instruction Summary. Runs on: see cpu/emit.ts.
 */
import { RAX, RCX, RDX } from '../emit.ts';
import type { Emit, Operand, Size, Value } from '../emit.ts';
import { EVENT_ICEBP, EVENT_SOFTWARE, EVENT_SOFTWARE_EXCEPTION } from '../helpers.ts';
import type { HelperName } from '../helpers.ts';
import { SEG, VCPU } from '../state.ts';
import { inst, rw, w } from './inst.ts';
import type { Body, Line } from './inst.ts';

const UD = 6, VECTOR_DB = 1, VECTOR_BP = 3, VECTOR_OF = 4, CC_OVERFLOW = 0, CC_EQUAL = 4, CF = 1;
const constant4 = (b: Emit, n: number): Value => b.constant(n, 4);
/** A helper without operands. */
const plain = (name: HelperName): Body => (b) => b.call(name);
const undefined_: Body = (b) => b.raise(UD);

// --- segments and descriptor tables ---

const selectorOf = (b: Emit, segment: Operand): Value => {
  const address = b.integer('add', b.vcpu(), b.shl(segment.number(), constant4(b, 2)));
  return b.and(b.loadAt(address, 'i32', VCPU.offset.segSelector), constant4(b, 0xffff));
};
const farPointer = (b: Emit, src: Operand): { readonly offset: Value; readonly selector: Value } => {
  const size = b.operandSize, at = b.pin(src.linear(size + 2, 'read')), segment = src.segment();
  const offset = b.load(at, size, segment), selector = b.load(b.integer('add', at, b.constant(size, 8)), 2, segment);
  return { offset, selector: b.resize(selector, 4) };
};
const loadPointer = (segment: keyof typeof SEG): Body => (b, dst, src) => {
  const { offset, selector } = farPointer(b, src);
  b.call('loadSegment', constant4(b, SEG[segment]), selector);
  dst.write(offset);
};
const table = (name: 'lgdt' | 'lidt' | 'sgdt' | 'sidt'): Body => (b, operand) => {
  const size = b.long ? 8 : b.operandSize;
  b.call(name, operand.linear(size === 8 ? 10 : 6, name[0] === 's' ? 'write' : 'read'), operand.segment(), constant4(b, size));
};
const probeRights = (name: 'lar' | 'lsl'): Body => (b, dst, src) => {
  const result = b.call(name, b.resize(src.read(), 4), b.resize(dst.read(), 8), constant4(b, dst.size));
  b.if(b.condition(CC_EQUAL), () => dst.write(b.resize(result, dst.size as Size)));
};
const storeSelector = (name: 'sldt' | 'str'): Body => (b, dst) => dst.write(b.resize(b.call(name), dst.size as Size));
const takeSelector = (name: 'lldt' | 'ltr' | 'verr' | 'verw'): Body => (b, src) => {
  if (name === 'lldt' || name === 'ltr') b.call('requireSupervisor');   // before the operand is read
  b.call(name, b.resize(src.read(), 4));
};

const segments: readonly Line[] = [
  inst('mov', [w('Rv'), 'Sw'], '8c /r', (b, dst, src) => dst.write(b.resize(selectorOf(b, src), dst.size as Size))),
  inst('mov', [w('Mw'), 'Sw'], '8c /r', (b, dst, src) => dst.write(b.resize(selectorOf(b, src), 2))),
  inst('mov', ['Sw', 'Ew'], '8e /r', (b, dst, src) => {
    b.if(b.compare('eq', dst.number(), constant4(b, SEG.CS)), () => b.raise(UD));
    b.call('moveToSegment', dst.number(), b.resize(src.read(), 4));
  }, { ends: 'system' }),
  inst('les', [w('Gv'), 'Mp'], 'c4 /r', loadPointer('ES'), { mode: 'not64', ends: 'system' }),
  inst('lds', [w('Gv'), 'Mp'], 'c5 /r', loadPointer('DS'), { mode: 'not64', ends: 'system' }),
  inst('lss', [w('Gv'), 'Mp'], '0f b2 /r', loadPointer('SS'), { ends: 'system' }),
  inst('lfs', [w('Gv'), 'Mp'], '0f b4 /r', loadPointer('FS'), { ends: 'system' }),
  inst('lgs', [w('Gv'), 'Mp'], '0f b5 /r', loadPointer('GS'), { ends: 'system' }),
  inst('sldt', [w('Rv')], '0f 00 /0', storeSelector('sldt')),
  inst('sldt', [w('Mw')], '0f 00 /0', storeSelector('sldt')),
  inst('str', [w('Rv')], '0f 00 /1', storeSelector('str')),
  inst('str', [w('Mw')], '0f 00 /1', storeSelector('str')),
  inst('lldt', ['Ew'], '0f 00 /2', takeSelector('lldt'), { ends: 'system' }),
  inst('ltr', ['Ew'], '0f 00 /3', takeSelector('ltr'), { ends: 'system' }),
  inst('verr', ['Ew'], '0f 00 /4', takeSelector('verr'), { flags: 'z', effect: 'update' }),
  inst('verw', ['Ew'], '0f 00 /5', takeSelector('verw'), { flags: 'z', effect: 'update' }),
  inst('sgdt', ['M'], '0f 01 /0', table('sgdt')),
  inst('sidt', ['M'], '0f 01 /1', table('sidt')),
  inst('lgdt', ['M'], '0f 01 /2', table('lgdt'), { ends: 'system' }),
  inst('lidt', ['M'], '0f 01 /3', table('lidt'), { ends: 'system' }),
  inst('lar', [rw('Gv'), 'Ew'], '0f 02 /r', probeRights('lar'), { flags: 'z', effect: 'update' }),
  inst('lsl', [rw('Gv'), 'Ew'], '0f 03 /r', probeRights('lsl'), { flags: 'z', effect: 'update' }),
  inst('rdfsbase', [w('Ry')], 'f3 0f ae /0', (b, dst) => dst.write(b.resize(b.call('readSegmentBase', constant4(b, SEG.FS)), dst.size as Size)), { mode: '64', cpuid: 'fsgsbase' }),
  inst('rdgsbase', [w('Ry')], 'f3 0f ae /1', (b, dst) => dst.write(b.resize(b.call('readSegmentBase', constant4(b, SEG.GS)), dst.size as Size)), { mode: '64', cpuid: 'fsgsbase' }),
  inst('wrfsbase', ['Ry'], 'f3 0f ae /2', (b, src) => b.call('writeSegmentBase', constant4(b, SEG.FS), b.resize(src.read(), 8)), { mode: '64', cpuid: 'fsgsbase' }),
  inst('wrgsbase', ['Ry'], 'f3 0f ae /3', (b, src) => b.call('writeSegmentBase', constant4(b, SEG.GS), b.resize(src.read(), 8)), { mode: '64', cpuid: 'fsgsbase' }),
  inst('swapgs', [], '0f 01 f8', plain('swapgs'), { mode: '64' }),
];

// --- transfers between code segments, interrupts ---

const farDirect = (name: 'farJump' | 'farCall'): Body => (b, target) => {
  b.call(name, target.number(), b.resize(b.resize(target.read(), b.operandSize), 8), constant4(b, b.operandSize));
};
const farIndirect = (name: 'farJump' | 'farCall'): Body => (b, src) => {
  const { offset, selector } = farPointer(b, src);
  b.call(name, selector, b.resize(offset, 8), constant4(b, b.operandSize));
};
const interrupt = (vector: number, kind: number): Body => (b) => b.call('softwareInterrupt', constant4(b, vector), constant4(b, kind));

const transfers: readonly Line[] = [
  inst('jmp', ['Ap'], 'ea', farDirect('farJump'), { mode: 'not64', ends: 'transfer' }),
  inst('call', ['Ap'], '9a', farDirect('farCall'), { mode: 'not64', ends: 'transfer' }),
  inst('jmp', ['Mp'], 'ff /5', farIndirect('farJump'), { ends: 'transfer' }),
  inst('call', ['Mp'], 'ff /3', farIndirect('farCall'), { ends: 'transfer' }),
  inst('retf', ['Iw'], 'ca', (b, release) => b.call('farReturn', constant4(b, b.operandSize), b.resize(release.read(), 4)), { ends: 'transfer' }),
  inst('retf', [], 'cb', (b) => b.call('farReturn', constant4(b, b.operandSize), constant4(b, 0)), { ends: 'transfer' }),
  inst('int3', [], 'cc', interrupt(VECTOR_BP, EVENT_SOFTWARE_EXCEPTION), { ends: 'transfer' }),
  inst('int', ['Ib'], 'cd', (b, vector) => b.call('softwareInterrupt', b.resize(vector.read(), 4), constant4(b, EVENT_SOFTWARE)), { ends: 'transfer' }),
  inst('into', [], 'ce', (b) => {
    b.setField('rip', 'i64', b.nextRip());
    b.if(b.condition(CC_OVERFLOW), () => b.call('softwareInterrupt', constant4(b, VECTOR_OF), constant4(b, EVENT_SOFTWARE_EXCEPTION)));
  }, { mode: 'not64', ends: 'transfer' }),
  inst('int1', [], 'f1', interrupt(VECTOR_DB, EVENT_ICEBP), { ends: 'transfer' }),
  inst('iret', [], 'cf', (b) => b.call('iret', constant4(b, b.operandSize)), { ends: 'transfer' }),
  inst('syscall', [], '0f 05', plain('syscall'), { ends: 'transfer' }),
  inst('sysret', [], '0f 07', (b) => b.call('sysret', constant4(b, b.operandSize === 8 ? 8 : 4)), { ends: 'transfer' }),
  inst('sysenter', [], '0f 34', plain('sysenter'), { ends: 'transfer' }),
  inst('sysexit', [], '0f 35', (b) => b.call('sysexit', constant4(b, b.operandSize === 8 ? 8 : 4)), { ends: 'transfer' }),
];

// --- control, debug and model-specific registers, processor state ---

const readRegister = (name: 'readControl' | 'readDebug'): Body => (b, dst, src) => dst.write(b.resize(b.call(name, src.number()), dst.size as Size));
const writeRegister = (name: 'writeControl' | 'writeDebug'): Body => (b, dst, src) => b.call(name, dst.number(), b.resize(src.read(), 8));
const saveArea = (name: 'fxsave' | 'fxrstor' | 'xsave' | 'xsaveopt' | 'xrstor', bytes: number): Body => (b, area) => {
  const wide = b.constant(b.operandSize === 8 ? 1 : 0, 4);
  b.call(name, area.linear(bytes, name.endsWith('rstor') ? 'read' : 'write'), area.segment(), wide);
};
const XSAVE_MINIMUM_BYTES = 576;
const randomNumber: Body = (b, dst) => {
  dst.write(b.resize(b.call('random'), dst.size as Size));
  b.setEflags(constant4(b, CF));
};

const timeStamp: Body = (b) => {
  const ticks = b.pin(b.call('readTsc', b.instructionsLeft()));
  b.register(RAX, 4).write(b.resize(ticks, 4));
  b.register(RDX, 4).write(b.resize(b.shr(ticks, b.constant(32, 8)), 4));
};

const control: readonly Line[] = [
  inst('mov', [w('Rv'), 'Cd'], '0f 20 /r', readRegister('readControl'), { f64: true, ends: 'no' }),
  inst('mov', [w('Rv'), 'Dd'], '0f 21 /r', readRegister('readDebug'), { f64: true }),
  inst('mov', ['Cd', 'Rv'], '0f 22 /r', writeRegister('writeControl'), { f64: true, ends: 'system' }),
  inst('mov', ['Dd', 'Rv'], '0f 23 /r', writeRegister('writeDebug'), { f64: true, ends: 'system' }),
  inst('smsw', [w('Rv')], '0f 01 /4', (b, dst) => dst.write(b.resize(b.call('smsw'), dst.size as Size))),
  inst('smsw', [w('Mw')], '0f 01 /4', (b, dst) => dst.write(b.resize(b.call('smsw'), 2))),
  inst('lmsw', ['Ew'], '0f 01 /6', (b, src) => {
    b.call('requireSupervisor');           // before the operand is read
    b.call('lmsw', b.resize(src.read(), 4));
  }, { ends: 'system' }),
  inst('clts', [], '0f 06', plain('clts'), { ends: 'system' }),
  inst('invlpg', ['M'], '0f 01 /7', (b, place) => b.call('invlpg', place.linear(1, 'read')), { ends: 'system' }),
  inst('invpcid', ['Gy', 'M'], '66 0f 38 82 /r', (b, type, descriptor) => {
    b.call('invpcid', b.resize(type.read(), 8), descriptor.linear(16, 'read'), descriptor.segment());
  }, { ends: 'system', f64: true, cpuid: 'invpcid' }),
  inst('invd', [], '0f 08', plain('requireSupervisor')),
  inst('wbinvd', [], '0f 09', plain('requireSupervisor')),
  inst('hlt', [], 'f4', plain('hlt'), { ends: 'system' }),
  inst('wrmsr', [], '0f 30', plain('wrmsr'), { ends: 'system' }),
  inst('rdtsc', [], '0f 31', timeStamp),
  inst('rdmsr', [], '0f 32', plain('rdmsr')),
  inst('rdpmc', [], '0f 33', plain('rdpmc')),
  inst('cpuid', [], '0f a2', plain('cpuid')),
  inst('rdtscp', [], '0f 01 f9', (b) => {
    timeStamp(b);
    b.register(RCX, 4).write(b.resize(b.field('tscAux', 'i64'), 4));
  }, { cpuid: 'rdtscp' }),
  inst('xgetbv', [], 'np 0f 01 d0', plain('xgetbv'), { cpuid: 'xsave' }),
  inst('xsetbv', [], 'np 0f 01 d1', plain('xsetbv'), { ends: 'system', cpuid: 'xsave' }),
  inst('fxsave', ['M'], 'np 0f ae /0', saveArea('fxsave', 512)),
  inst('fxrstor', ['M'], 'np 0f ae /1', saveArea('fxrstor', 512), { ends: 'system' }),
  inst('xsave', ['M'], 'np 0f ae /4', saveArea('xsave', XSAVE_MINIMUM_BYTES), { cpuid: 'xsave' }),
  inst('xrstor', ['M'], 'np 0f ae /5', saveArea('xrstor', XSAVE_MINIMUM_BYTES), { ends: 'system', cpuid: 'xsave' }),
  inst('xsaveopt', ['M'], 'np 0f ae /6', saveArea('xsaveopt', XSAVE_MINIMUM_BYTES), { cpuid: 'xsaveopt' }),
  inst('rdrand', [w('Rv')], 'nfx 0f c7 /6', randomNumber, { flags: 'oszapc', cpuid: 'rdrand' }),
  inst('rdseed', [w('Rv')], 'nfx 0f c7 /7', randomNumber, { flags: 'oszapc', cpuid: 'rdseed' }),
  inst('rsm', [], '0f aa', undefined_),
];

// --- hints, fences, undefined ---

const nothing: Body = () => {};
/** Loads pass earlier stores to other places, here as there (SDM 3A 10.2.2): only this one keeps them from it. */
const fence: Body = (b) => b.f.fence();
/** The cache line is checked like a load of one byte. */
const touch: Body = (b, line) => {
  b.pin(b.load(line.linear(1, 'read'), 1, line.segment()));
};

const hints: readonly Line[] = [
  inst('prefetchw', ['M'], '0f 0d /r', nothing),
  inst('nop', ['Rv'], '0f 0d /r', nothing),
  inst('prefetch', ['M'], '0f 18 /r', nothing),
  ...['18', '19', '1a', '1b', '1c', '1d', '1e', '1f'].map((opcode) => inst('nop', ['Ev'], `0f ${opcode} /r`, nothing)),
  inst('clflush', ['Mb'], 'np 0f ae /7', touch, { cpuid: 'clflush' }),
  inst('clflushopt', ['Mb'], '66 0f ae /7', touch, { cpuid: 'clflushopt' }),
  ...['e8', 'e9', 'ea', 'eb', 'ec', 'ed', 'ee', 'ef'].map((modrm) => inst('lfence', [], `np 0f ae ${modrm}`, nothing, { cpuid: 'sse2' })),
  ...['f0', 'f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7'].map((modrm) => inst('mfence', [], `np 0f ae ${modrm}`, fence, { cpuid: 'sse2' })),
  ...['f8', 'f9', 'fa', 'fb', 'fc', 'fd', 'fe', 'ff'].map((modrm) => inst('sfence', [], `np 0f ae ${modrm}`, nothing, { cpuid: 'sse' })),
  inst('ud2', [], '0f 0b', undefined_),
  inst('ud1', ['Gv', 'Ev'], '0f b9 /r', undefined_),
  inst('ud0', ['Gv', 'Ev'], '0f ff /r', undefined_),
];

export const system: readonly Line[] = [...segments, ...transfers, ...control, ...hints];
