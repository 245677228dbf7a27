/**
 * Decodes one instruction: prefixes, opcode, ModRM, SIB, displacement, immediates; what comes out are numbers for a micro-op or a region.
 * What it knows of instructions are the rows of the image (cpu/decode/image.ts).
 * Implements: SDM vol. 2A chapter 2 Instruction Format (without VEX). Runs on: the vCPU's own thread (cpu.wasm); any thread (decoder.wasm).
 */
import { DECODE_IMAGE } from '../../base/memory-map.ts';
import {
  CLASS_GPR, CLASS_SEGMENT, CLASS_VECTOR, DECODED, DECODE_TOO_LONG, DECODE_TRUNCATED, DECODE_UNDEFINED, ENV_LEGACY16, ENV_LEGACY32, ENV_LONG32, ENV_LONG64, IMAGE_OPCODES, IMAGE_ROWS,
  KIND_FAR, KIND_FIXED, KIND_IMM, KIND_LOW, KIND_MOFFS, KIND_NUMBER_REG, KIND_NUMBER_RM, KIND_ONE, KIND_OPCODE, KIND_REG, KIND_REL, KIND_RM, KIND_STRING_SOURCE, MAX_LENGTH,
  OPCODE_BITS, OPCODE_FIRST, OPCODE_MODRM, OPCODE_MORE, OPCODE_NARROW, OPCODE_ROWS, OPCODE_SHIFT, OPCODE_VEX, OPCODE_WIDE, OPERAND_SHIFT, OPERAND_SIGNED_BYTE, PREFIX_LOCK, PREFIX_PLAIN,
  PREFIX_REP, PREFIX_REPNE, ROW_ALWAYS_LOCKED, ROW_ALWAYS_REGISTER, ROW_BITS, ROW_D64, ROW_DIGIT, ROW_F64,
  ROW_FULL_IMMEDIATE, ROW_HAS_MODRM, ROW_LOCKABLE, ROW_MOD, ROW_MODE, ROW_MODRM_END, ROW_MODRM_FROM, ROW_NO_REX_B, ROW_OPERANDS, ROW_OPERAND_COUNT, ROW_PREFIX, ROW_REPEATS, ROW_REX_W,
  ROW_SHIFT, SIZE_V, SIZE_Y,
} from '../decode/codes.ts';
import { PREFIX_66, PREFIX_F2, PREFIX_F3, PREFIX_NONE, PREFIX_NOREP } from '../isa/prefixes.ts';
import { VCPU_FPR, VCPU_GPR, VCPU_RIP_PAGE, VCPU_SEG_BASE, VCPU_VECTOR, VCPU_ZERO } from '../../generated/vcpu-layout.ts';
import { SEG_DS, SEG_FS, SEG_GS, SEG_SS } from './bits';

const MODE_16: u32 = 0, MODE_64: u32 = 2;
const RBX: i32 = 3, RSP: i32 = 4, RBP: i32 = 5, RSI: i32 = 6, RDI: i32 = 7, NONE: i32 = -1;
const LOW_HALF: i64 = 0xffffffff;

// --- the last instruction decoded ---

/** Its row in the image. */
export let row: usize = 0;
export let lengthBytes: u32 = 0;
export let operandSize: u32 = 4;
export let environment: u32 = ENV_LONG64;
export let prefix: u32 = PREFIX_PLAIN;
export let isMemory: bool = false;
/** Slots of a memory operand (byte offsets in the vCPU record) and its displacement. */
export let base: u32 = VCPU_ZERO;
export let index: u32 = VCPU_ZERO;
export let scale: u32 = 0;
export let displacement: i64 = 0;
/** The displacement counts from the next instruction. */
export let ripRelative: bool = false;
export let segment: u32 = 0;
export let register0: u32 = 0;
export let register1: u32 = 0;
export let register2: u32 = 0;
export let registerCount: u32 = 0;
export let immediate: i64 = 0;
/** Relative targets are a signed distance from the next instruction. */
export let relative: bool = false;
export let hasImmediate: bool = false;
/** Bytes of the displacement of a memory operand and, behind it, at the end of the instruction, of an immediate operand. */
export let displacementBytes: u32 = 0;
export let immediateBytes: u32 = 0;

// --- where it is being read ---

let start: usize = 0;
let at: usize = 0;
let end: usize = 0;
let overrun: bool = false;

function byte(): u32 {
  if (at >= end) {
    overrun = true;
    return 0;
  }
  return load<u8>(at++);
}

function shortage(): u32 {
  lengthBytes = <u32>(end - start);
  return lengthBytes >= <u32>MAX_LENGTH ? DECODE_TOO_LONG : DECODE_TRUNCATED;
}

function refused(): u32 {
  lengthBytes = <u32>(at - start);
  return DECODE_UNDEFINED;
}

function isPrefix(code: u32): bool {
  return (code & 0xe7) == 0x26 || code - 0x64 <= 3 || code == 0xf0 || (code & 0xfe) == 0xf2;
}

function matchesPrefix(wanted: u32, narrow: bool, repeat: u32): bool {
  switch (wanted) {
    case PREFIX_NONE: return !narrow && repeat == 0;
    case PREFIX_NOREP: return repeat == 0;
    case PREFIX_66: return narrow && repeat == 0;
    case PREFIX_F3: return repeat == 0xf3;
    case PREFIX_F2: return repeat == 0xf2;
    default: return true;
  }
}

/** @returns the row that takes it, or 0 */
function rowOf(opcode: u32, modrm: u32, rex: u32, narrow: bool, repeat: u32, long: bool): usize {
  const entry = <usize>DECODE_IMAGE + IMAGE_OPCODES + (<usize>opcode << OPCODE_SHIFT), digit = <i32>(modrm >> 3) & 7, mod: u32 = modrm >= 0xc0 ? 2 : 1, rexW = <i32>(rex >> 3) & 1;
  let candidate = <usize>DECODE_IMAGE + IMAGE_ROWS + (<usize>load<u16>(entry, OPCODE_FIRST) << ROW_SHIFT);
  for (let left = <u32>load<u8>(entry, OPCODE_ROWS); left > 0; left--, candidate += 1 << ROW_SHIFT) {
    const mode: u32 = load<u8>(candidate, ROW_MODE), wantedDigit: i32 = load<i8>(candidate, ROW_DIGIT), from: i32 = load<i16>(candidate, ROW_MODRM_FROM);
    const wantedMod: u32 = load<u8>(candidate, ROW_MOD), wantedRexW: i32 = load<i8>(candidate, ROW_REX_W);
    if (mode != 0 && (mode == 1) != long) continue;
    if (!matchesPrefix(load<u8>(candidate, ROW_PREFIX), narrow, repeat)) continue;
    if (wantedDigit >= 0 && wantedDigit != digit) continue;
    if (from >= 0 && (<i32>modrm < from || modrm >= <u32>load<u16>(candidate, ROW_MODRM_END))) continue;
    if (wantedMod != 0 && wantedMod != mod) continue;
    if (wantedRexW >= 0 && wantedRexW != rexW) continue;
    if ((load<u16>(candidate, ROW_BITS) & ROW_NO_REX_B) != 0 && (rex & 1) != 0) continue;
    return candidate;
  }
  return 0;
}

/**
 * @param bytes address of the instruction, readable for `available` bytes; it may go on beyond (DECODE_TRUNCATED)
 * @param mode MODE_16, MODE_32 or MODE_64
 * @returns DECODED or DECODE_*
 */
export function decode(bytes: usize, available: u32, mode: u32): u32 {
  start = bytes;
  at = bytes;
  end = bytes + min(available, MAX_LENGTH);
  overrun = false;
  const long = mode == MODE_64;

  // --- prefixes ---
  let rex: u32 = 0, narrow = false, addressOverride = false, repeat: u32 = 0, lock = false, replaced: i32 = -1, code = byte();
  for (;;) {
    if (long && (code & 0xf0) == 0x40) {
      rex = code;
      code = byte();
      if (!isPrefix(code) && (code & 0xf0) != 0x40) break;
      continue;   // a REX that another prefix follows does not count
    }
    if (!isPrefix(code)) break;
    rex = 0;
    if (code == 0x66) narrow = true;
    else if (code == 0x67) addressOverride = true;
    else if (code == 0xf0) lock = true;
    else if (code >= 0xf2) repeat = code;
    else if (code == 0x64) replaced = SEG_FS;
    else if (code == 0x65) replaced = SEG_GS;
    else if (!long) replaced = (code >> 3) & 3;   // 26 ES, 2e CS, 36 SS, 3e DS
    code = byte();
    if (overrun) return shortage();
  }

  // --- opcode ---
  let opcode = code;
  if (opcode == 0x0f) {
    opcode = 0x100 + byte();
    if (opcode == 0x138) opcode = 0x200 + byte();
    else if (opcode == 0x13a) opcode = 0x300 + byte();
  }
  if (overrun) return shortage();
  const modrm: u32 = at < end ? load<u8>(at) : 0;
  row = rowOf(opcode, modrm, rex, narrow, repeat, long);
  const bits: u32 = row != 0 ? load<u16>(row, ROW_BITS) : 0;
  if ((bits & ROW_HAS_MODRM) != 0 && at >= end) {
    overrun = true;
    return shortage();
  }
  environment = long ? (addressOverride ? ENV_LONG32 : ENV_LONG64) : (mode == MODE_16) != addressOverride ? ENV_LEGACY16 : ENV_LEGACY32;
  const wide = (rex & 8) != 0;
  if (row == 0) return undefinedOpcode(opcode, rex, long, long ? !narrow || wide : (mode == MODE_16) == narrow);

  // --- attributes ---
  const narrowOperand = narrow && load<u8>(row, ROW_PREFIX) != PREFIX_66;
  operandSize = long ? ((bits & ROW_F64) != 0 || wide ? 8 : narrowOperand ? 2 : (bits & ROW_D64) != 0 ? 8 : 4) : (mode == MODE_16) != narrowOperand ? 2 : 4;
  prefix = (bits & ROW_REPEATS) == 0 ? PREFIX_PLAIN : repeat == 0xf3 ? PREFIX_REP : repeat == 0xf2 ? PREFIX_REPNE : PREFIX_PLAIN;
  segment = replaced >= 0 ? replaced : SEG_DS;
  isMemory = false;
  ripRelative = false;
  relative = false;
  hasImmediate = false;
  base = VCPU_ZERO;
  index = VCPU_ZERO;
  scale = 0;
  displacement = 0;
  immediate = 0;
  displacementBytes = 0;
  immediateBytes = 0;
  registerCount = 0;
  register0 = 0;
  register1 = 0;
  register2 = 0;

  // --- ModRM, SIB, displacement ---
  let reg: u32 = 0, rm: u32 = 0;
  if ((bits & ROW_HAS_MODRM) != 0) {
    at++;
    reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
    rm = (modrm & 7) | ((rex & 1) << 3);
    if (modrm < 0xc0 && (bits & ROW_ALWAYS_REGISTER) == 0) {
      isMemory = true;
      address(modrm, rex, replaced, long);
    }
  }

  // --- operands ---
  let immediates: u32 = 0, operand = row + ROW_OPERANDS;
  for (let left = <u32>load<u8>(row, ROW_OPERAND_COUNT); left > 0; left--, operand += 1 << OPERAND_SHIFT) {
    const operandClass: u32 = load<u8>(operand, 1) & 7, size = sizeOf(load<u8>(operand, 2));
    switch (<i32>load<u8>(operand)) {
      case KIND_RM:
        if (!isMemory) addRegister(slotOf(operandClass, rm, size, rex));
        break;
      case KIND_REG:
        addRegister(slotOf(operandClass, reg, size, rex));
        break;
      case KIND_LOW:
        addRegister(slotOf(CLASS_GPR, (opcode & 7) | ((rex & 1) << 3), size, rex));
        break;
      case KIND_FIXED: {
        const number: i32 = load<i8>(operand, 3);
        addRegister(number < 0 ? VCPU_GPR + 1 : VCPU_GPR + <u32>number * 8);   // negative: AH
        break;
      }
      case KIND_NUMBER_REG:
        if (operandClass == CLASS_SEGMENT) {
          reg &= 7;
          if (reg > SEG_GS) return overrun ? shortage() : refused();
        }
        addRegister(reg);
        break;
      case KIND_NUMBER_RM:
        addRegister(modrm & 7);
        break;
      case KIND_IMM:
        if (immediates++ == 0) {
          immediateBytes = (load<u8>(operand, 1) & OPERAND_SIGNED_BYTE) != 0 ? 1 : size < 8 || (bits & ROW_FULL_IMMEDIATE) != 0 ? size : 4;
          immediate = immediateOf(immediateBytes, size);
        } else displacement = immediateOf(size, size);
        hasImmediate = true;
        break;
      case KIND_REL:
        immediate = immediateOf(load<u8>(operand, 2) == 1 ? 1 : operandSize == 2 ? 2 : 4, 8);
        relative = true;
        hasImmediate = true;
        break;
      case KIND_MOFFS:
        if (environment == ENV_LONG64) displacement = immediateOf(8, 8);
        else displacement = environment == ENV_LEGACY16 ? immediateOf(2, 8) & 0xffff : immediateOf(4, 8) & LOW_HALF;
        isMemory = true;
        break;
      case KIND_STRING_SOURCE:
        isMemory = true;
        base = VCPU_GPR + RSI * 8;
        break;
      case KIND_FAR:
        immediate = immediateOf(operandSize, 8) & (operandSize == 2 ? 0xffff : LOW_HALF);
        displacement = immediateOf(2, 8) & 0xffff;
        break;
      case KIND_OPCODE:
        immediate = ((opcode & 7) << 8) | modrm;
        hasImmediate = true;
        break;
      case KIND_ONE:
        immediate = 1;
        hasImmediate = true;
        break;
      default:   // the destination of a string instruction goes without saying
    }
  }
  if (overrun) return shortage();
  if (lock) {
    if ((bits & ROW_LOCKABLE) == 0 || !isMemory) return refused();
    prefix = (bits & ROW_ALWAYS_LOCKED) != 0 ? PREFIX_PLAIN : PREFIX_LOCK;
  }
  lengthBytes = <u32>(at - start);
  return DECODED;
}

/**
 * Processors fetch the whole of an undefined instruction, so that beyond a page its #PF, and beyond 15 bytes #GP, come before #UD. What they
 * take for its operands is seen on them: those of its neighbours, else by its opcode map.
 */
function undefinedOpcode(opcode: u32, rex: u32, long: bool, wide: bool): u32 {
  const entry = <usize>DECODE_IMAGE + IMAGE_OPCODES + (<usize>opcode << OPCODE_SHIFT), bits: u32 = load<u8>(entry, OPCODE_BITS);
  if ((bits & OPCODE_MORE) != 0) byte();   // reserved maps of three bytes
  if ((bits & OPCODE_MODRM) != 0 && !(long && (bits & OPCODE_VEX) != 0)) {
    const modrm = byte();
    if (modrm < 0xc0) address(modrm, rex, -1, long);
  }
  for (let left: u32 = wide ? load<u8>(entry, OPCODE_WIDE) : load<u8>(entry, OPCODE_NARROW); left > 0; left--) byte();
  return overrun ? shortage() : refused();
}

function sizeOf(size: u32): u32 { return size < <u32>SIZE_V ? size : size == SIZE_Y ? (operandSize == 8 ? 8 : 4) : operandSize; }

/** Byte offset of a register in the vCPU record. */
function slotOf(registerClass: u32, number: u32, size: u32, rex: u32): u32 {
  if (registerClass == CLASS_GPR) return size == 1 && rex == 0 && number >= 4 && number < 8 ? VCPU_GPR + (number - 4) * 8 + 1 : VCPU_GPR + number * 8;
  return registerClass == CLASS_VECTOR ? VCPU_VECTOR + number * 32 : VCPU_FPR + (number & 7) * 16;
}

function addRegister(slot: u32): void {
  if (registerCount == 0) register0 = slot;
  else if (registerCount == 1) register1 = slot;
  else register2 = slot;
  registerCount++;
}

/** @param size bytes in the code; the value is sign-extended to 64 bits, then its low half is cut to `width` bytes. */
function immediateOf(size: u32, width: u32): i64 {
  let value: i64 = 0;
  if (at + size > end) {
    at = end;
    overrun = true;
    return 0;
  }
  if (size == 1) value = load<i8>(at);
  else if (size == 2) value = load<i16>(at);
  else if (size == 4) value = load<i32>(at);
  else value = load<i64>(at);
  at += size;
  if (width == 1) return (value & ~LOW_HALF) | (value & 0xff);
  return width == 2 ? (value & ~LOW_HALF) | (value & 0xffff) : value;
}

function readDisplacement(size: u32): void {
  displacementBytes = size;
  if (size != 0) displacement = immediateOf(size, 8);
}

/** Base, index and displacement of a memory operand. @param replaced number of the segment that a prefix names, or -1 */
function address(modrm: u32, rex: u32, replaced: i32, long: bool): void {
  if (environment == ENV_LEGACY16) {
    address16(modrm, replaced);
    return;
  }
  const mod = modrm >> 6, low = modrm & 7;
  let number = <i32>(low | ((rex & 1) << 3)), size: u32 = mod == 1 ? 1 : mod == 2 ? 4 : 0;
  if (low == 4) {
    const sib = byte(), indexNumber = ((sib >> 3) & 7) | ((rex & 2) << 2);
    number = <i32>((sib & 7) | ((rex & 1) << 3));
    if (indexNumber != 4) {
      index = VCPU_GPR + indexNumber * 8;
      scale = sib >> 6;
    }
    if ((sib & 7) == 5 && mod == 0) {
      number = NONE;
      size = 4;
    }
  } else if (low == 5 && mod == 0) {
    number = NONE;
    size = 4;
    ripRelative = long;
  }
  if (number >= 0) {
    base = VCPU_GPR + <u32>number * 8;
    if (replaced < 0 && (number == RSP || number == RBP)) segment = SEG_SS;
  } else if (ripRelative) base = VCPU_RIP_PAGE;
  readDisplacement(size);
}

/** SDM vol. 2A table 2-1. */
function address16(modrm: u32, replaced: i32): void {
  const mod = modrm >> 6, low = modrm & 7;
  let size: u32 = mod == 1 ? 1 : mod == 2 ? 2 : 0;
  if (mod == 0 && low == 6) size = 2;
  else {
    const number = low == 2 || low == 3 || low == 6 ? RBP : low == 4 ? RSI : low == 5 ? RDI : RBX;
    base = VCPU_GPR + <u32>number * 8;
    if (low < 4) index = VCPU_GPR + <u32>((low & 1) != 0 ? RDI : RSI) * 8;
    if (replaced < 0 && number == RBP) segment = SEG_SS;
  }
  readDisplacement(size);
}

/** Slot of the segment's base: only FS and GS have one in 64-bit mode; elsewhere the slow way adds it. */
export function segmentSlot(): u32 { return environment <= <u32>ENV_LONG32 && segment >= SEG_FS ? VCPU_SEG_BASE + segment * 8 : VCPU_ZERO; }
