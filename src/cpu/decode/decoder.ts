/**
 * Decodes one instruction: prefixes, opcode, ModRM, SIB, displacement, immediates; what comes out are numbers for a micro-op or a region.
 * Implements: SDM vol. 2A chapter 2 Instruction Format (without VEX). Runs on: the vCPU's thread. Hot: allocates nothing.
 */
import { MODE_16, MODE_64, SEG, VCPU } from '../state.ts';
import { PREFIX_66, PREFIX_ANY, PREFIX_F2, PREFIX_F3, PREFIX_NONE, PREFIX_NOREP } from '../isa/inst.ts';
import { CLASS, KIND, OPCODES, SIZE_V, SIZE_Y } from './table.ts';
import type { Row } from './table.ts';
import { ENV_LEGACY16, ENV_LEGACY32, ENV_LONG32, ENV_LONG64, PREFIX_LOCK, PREFIX_PLAIN, PREFIX_REP, PREFIX_REPNE } from './variants.ts';

/** Results of `decode`. */
export const DECODED = 0,
  DECODE_UNDEFINED = 1,
  DECODE_TRUNCATED = 2,
  DECODE_TOO_LONG = 3;

const MAX_LENGTH = 15;
/** Byte offsets in the vCPU record. */
const GPR = VCPU.offset.gpr,
  ZERO_SLOT = VCPU.offset.zero,
  RIP_SLOT = VCPU.offset.ripPage,
  SEG_BASE = VCPU.offset.segBase,
  VECTOR = VCPU.offset.vector,
  FPR = VCPU.offset.fpr;
/** Base and index registers of 16-bit addresses (SDM vol. 2A table 2-1). */
const BASE16 = [3, 3, 5, 5, 6, 7, 5, 3],
  INDEX16 = [6, 7, 6, 7, -1, -1, -1, -1];
/** Undefined opcodes behind 0f without operands; prefixes of later encodings, in 64-bit mode. */
const NO_MODRM = new Set([0x104, 0x10a, 0x10c, 0x10e, 0x10f, 0x124, 0x125, 0x126, 0x127, 0x136, 0x137]);
const VEX = new Set([0x62, 0xc4, 0xc5]);
const PREFIX_BYTES = new Uint8Array(256);
for (const byte of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]) PREFIX_BYTES[byte] = 1;

export class Decoder {
  // --- the last instruction decoded ---
  row!: Row;
  lengthBytes = 0;
  operandSize = 4;
  environment = ENV_LONG64 as number;
  prefix = PREFIX_PLAIN as number;
  isMemory = false;
  /** Slots of a memory operand (byte offsets in the vCPU record) and its displacement, sign-extended in two halves. */
  base = ZERO_SLOT;
  index = ZERO_SLOT;
  scale = 0;
  dispLow = 0;
  dispHigh = 0;
  /** The displacement counts from the next instruction. */
  ripRelative = false;
  segment = SEG.DS as number;
  readonly registers = new Int32Array(3);
  registerCount = 0;
  immediateLow = 0;
  immediateHigh = 0;
  /** Relative targets are a signed distance from the next instruction. */
  relative = false;
  hasImmediate = false;
  /** Bytes of the displacement of a memory operand and, behind it, at the end of the instruction, of an immediate operand. */
  displacementBytes = 0;
  immediateBytes = 0;

  #bytes: Uint8Array = new Uint8Array(0);
  #start = 0;
  #at = 0;
  #end = 0;
  #overrun = 0;

  /**
   * @param bytes readable from `start` to `end`; the instruction may go on beyond (DECODE_TRUNCATED).
   * @param mode MODE_16, MODE_32 or MODE_64.
   */
  decode(bytes: Uint8Array, start: number, end: number, mode: number): number {
    this.#bytes = bytes;
    this.#start = start;
    this.#at = start;
    this.#end = Math.min(end, start + MAX_LENGTH);
    this.#overrun = 0;
    const long = mode === MODE_64;

    // --- prefixes ---
    let rex = 0,
      narrow = false,
      addressOverride = false,
      repeat = 0,
      lock = false,
      override = -1;
    let byte = this.#byte();
    for (;;) {
      if (long && (byte & 0xf0) === 0x40) {
        rex = byte;
        byte = this.#byte();
        if (PREFIX_BYTES[byte] === 0 && (byte & 0xf0) !== 0x40) break;
        continue; // a REX that another prefix follows does not count
      }
      if (PREFIX_BYTES[byte] === 0) break;
      rex = 0;
      switch (byte) {
        case 0x66:
          narrow = true;
          break;
        case 0x67:
          addressOverride = true;
          break;
        case 0xf0:
          lock = true;
          break;
        case 0xf2:
        case 0xf3:
          repeat = byte;
          break;
        case 0x64:
          override = SEG.FS;
          break;
        case 0x65:
          override = SEG.GS;
          break;
        default:
          if (!long) override = (byte >> 3) & 3; // 26 ES, 2e CS, 36 SS, 3e DS
      }
      byte = this.#byte();
      if (this.#overrun) return this.#shortage();
    }

    // --- opcode ---
    let opcode = byte;
    if (opcode === 0x0f) {
      opcode = 0x100 + this.#byte();
      if (opcode === 0x138) opcode = 0x200 + this.#byte();
      else if (opcode === 0x13a) opcode = 0x300 + this.#byte();
    }
    if (this.#overrun) return this.#shortage();
    const rows = OPCODES[opcode]!;
    const modrm = this.#peek(),
      digit = (modrm >> 3) & 7,
      registerForm = modrm >= 0xc0;
    let row: Row | undefined;
    for (let i = 0; i < rows.length; i++) {
      const candidate = rows[i]!;
      if (candidate.mode !== 0 && (candidate.mode === 1) !== long) continue;
      if (candidate.prefix !== PREFIX_ANY && !matchesPrefix(candidate.prefix, narrow, repeat)) continue;
      if (candidate.digit >= 0 && candidate.digit !== digit) continue;
      if (candidate.modrmFrom >= 0 && (modrm < candidate.modrmFrom || modrm >= candidate.modrmEnd)) continue;
      if (candidate.mod !== 0 && (candidate.mod === 2) !== registerForm) continue;
      if (candidate.rexW >= 0 && (candidate.rexW === 1) !== ((rex & 8) !== 0)) continue;
      if (candidate.noRexB && (rex & 1) !== 0) continue;
      row = candidate;
      break;
    }
    if (row?.hasModrm && this.#at >= this.#end) {
      this.#overrun = 1;
      return this.#shortage();
    }
    this.environment = long
      ? addressOverride
        ? ENV_LONG32
        : ENV_LONG64
      : (mode === MODE_16) !== addressOverride
        ? ENV_LEGACY16
        : ENV_LEGACY32;
    if (!row) return this.#undefined(opcode, rows, rex, long, long ? !narrow || (rex & 8) !== 0 : (mode === MODE_16) === narrow);
    this.row = row;

    // --- attributes ---
    const narrowOperand = narrow && row.prefix !== PREFIX_66;
    const wide = (rex & 8) !== 0;
    this.operandSize = long ? (row.f64 || wide ? 8 : narrowOperand ? 2 : row.d64 ? 8 : 4) : (mode === MODE_16) !== narrowOperand ? 2 : 4;
    this.prefix = row.repeats ? (repeat === 0xf3 ? PREFIX_REP : repeat === 0xf2 ? PREFIX_REPNE : PREFIX_PLAIN) : PREFIX_PLAIN;
    this.segment = override >= 0 ? override : SEG.DS;
    this.isMemory = false;
    this.ripRelative = false;
    this.relative = false;
    this.hasImmediate = false;
    this.base = ZERO_SLOT;
    this.index = ZERO_SLOT;
    this.scale = 0;
    this.dispLow = 0;
    this.dispHigh = 0;
    this.immediateLow = 0;
    this.immediateHigh = 0;
    this.displacementBytes = 0;
    this.immediateBytes = 0;
    this.registerCount = 0;
    this.registers[0] = this.registers[1] = this.registers[2] = 0;

    // --- ModRM, SIB, displacement ---
    let reg = 0,
      rm = 0;
    if (row.hasModrm) {
      this.#byte();
      reg = digit | ((rex & 4) << 1);
      rm = (modrm & 7) | ((rex & 1) << 3);
      if (!registerForm && !row.alwaysRegister) {
        this.isMemory = true;
        if (this.environment === ENV_LEGACY16) this.#address16(modrm, override);
        else this.#address(modrm, rex, override, long);
      }
    }

    // --- operands ---
    const { operands } = row;
    let immediates = 0;
    for (let i = 0; i < operands.length; i++) {
      const operand = operands[i]!;
      switch (operand.kind) {
        case KIND.RM:
          if (!this.isMemory) this.#register(operand.registerClass, rm, this.#sizeOf(operand.size), rex);
          break;
        case KIND.REG:
          this.#register(operand.registerClass, reg, this.#sizeOf(operand.size), rex);
          break;
        case KIND.LOW:
          this.#register(CLASS.GPR, (opcode & 7) | ((rex & 1) << 3), this.#sizeOf(operand.size), rex);
          break;
        case KIND.FIXED:
          this.registers[this.registerCount++] = operand.register < 0 ? GPR + 1 : GPR + operand.register * 8;
          break;
        case KIND.NUMBER_REG:
          if (operand.registerClass === CLASS.SEGMENT) {
            reg &= 7;
            if (reg > SEG.GS) {
              if (this.#overrun) return this.#shortage();
              this.lengthBytes = this.#at - start;
              return DECODE_UNDEFINED;
            }
          }
          this.registers[this.registerCount++] = reg;
          break;
        case KIND.NUMBER_RM:
          this.registers[this.registerCount++] = modrm & 7;
          break;
        case KIND.IMM: {
          const size = this.#sizeOf(operand.size);
          if (immediates++ === 0) {
            this.immediateBytes = operand.signedByte ? 1 : size < 8 || this.#fullImmediate(row) ? size : 4;
            this.#immediate(this.immediateBytes, size);
          } else {
            const [low, high] = [this.immediateLow, this.immediateHigh];
            this.#immediate(size, size);
            this.dispLow = this.immediateLow;
            this.dispHigh = this.immediateHigh;
            this.immediateLow = low;
            this.immediateHigh = high;
          }
          this.hasImmediate = true;
          break;
        }
        case KIND.REL:
          this.#immediate(operand.size === 1 ? 1 : this.operandSize === 2 ? 2 : 4, 8);
          this.relative = true;
          this.hasImmediate = true;
          break;
        case KIND.MOFFS: {
          const size = this.environment === ENV_LONG64 ? 8 : this.environment === ENV_LEGACY16 ? 2 : 4;
          this.#immediate(size, 8);
          this.dispLow = size === 2 ? this.immediateLow & 0xffff : this.immediateLow;
          this.dispHigh = size === 8 ? this.immediateHigh : 0;
          this.isMemory = true;
          break;
        }
        case KIND.STRING_SOURCE:
          this.isMemory = true;
          this.base = GPR + 6 * 8;
          break;
        case KIND.FAR: {
          const size = this.operandSize;
          this.#immediate(size, 8);
          const low = size === 2 ? this.immediateLow & 0xffff : this.immediateLow;
          this.#immediate(2, 8);
          this.dispLow = this.immediateLow & 0xffff;
          this.dispHigh = 0;
          this.immediateLow = low;
          this.immediateHigh = 0;
          break;
        }
        case KIND.OPCODE:
          this.immediateLow = ((opcode & 7) << 8) | modrm;
          this.hasImmediate = true;
          break;
        case KIND.ONE:
          this.immediateLow = 1;
          this.hasImmediate = true;
          break;
      }
    }
    if (this.#overrun) return this.#shortage();
    if (lock) {
      if (!row.lockable || !this.isMemory) {
        this.lengthBytes = this.#at - start;
        return DECODE_UNDEFINED;
      }
      this.prefix = row.line.attributes.alwaysLocked ? PREFIX_PLAIN : PREFIX_LOCK;
    }
    this.lengthBytes = this.#at - start;
    return DECODED;
  }

  /**
   * Processors fetch the whole of an undefined instruction, so that beyond a page its #PF, and beyond 15 bytes #GP, come before #UD. What they
   * take for its operands is seen on them: those of its neighbours, else by its opcode map.
   */
  #undefined(opcode: number, rows: readonly Row[], rex: number, long: boolean, wide: boolean): number {
    let map = opcode;
    if (rows.length === 0 && opcode >= 0x139 && opcode <= 0x13f) {
      this.#byte(); // reserved maps of three bytes
      map = opcode === 0x13b || opcode >= 0x13e ? 0x300 : 0x200;
    }
    if (!(long && VEX.has(opcode)) && (rows.length > 0 ? rows.some((row) => row.hasModrm) : map >= 0x100 && !NO_MODRM.has(opcode))) {
      const modrm = this.#byte();
      if (modrm < 0xc0) {
        if (this.environment === ENV_LEGACY16) this.#address16(modrm, -1);
        else this.#address(modrm, rex, -1, long);
      }
    }
    const neighbour = rows.find((row) => row.operands.some((operand) => operand.kind === KIND.IMM || operand.kind === KIND.FAR));
    let immediateBytes = map >= 0x300 && !neighbour ? 1 : 0;
    for (const operand of neighbour?.operands ?? []) {
      if (operand.kind === KIND.FAR) immediateBytes += wide ? 6 : 4;
      else if (operand.kind === KIND.IMM)
        immediateBytes += operand.signedByte || operand.size === 1 ? 1 : operand.size === 2 || !wide ? 2 : 4;
    }
    while (immediateBytes-- > 0) this.#byte();
    if (this.#overrun) return this.#shortage();
    this.lengthBytes = this.#at - this.#start;
    return DECODE_UNDEFINED;
  }

  /** MOV r64, imm64 is the only one with eight bytes. */
  #fullImmediate(row: Row): boolean {
    return row.line.encoding.opcodes === 8 && row.line.name === 'mov';
  }

  #shortage(): number {
    this.lengthBytes = this.#end - this.#start;
    return this.#end - this.#start >= MAX_LENGTH ? DECODE_TOO_LONG : DECODE_TRUNCATED;
  }
  #byte(): number {
    if (this.#at >= this.#end) {
      this.#overrun = 1;
      return 0;
    }
    return this.#bytes[this.#at++]!;
  }
  #peek(): number {
    return this.#at < this.#end ? this.#bytes[this.#at]! : 0;
  }

  #sizeOf(size: number): number {
    if (size < SIZE_V) return size;
    if (size === SIZE_Y) return this.operandSize === 8 ? 8 : 4;
    return this.operandSize;
  }

  #register(registerClass: number, number: number, size: number, rex: number): void {
    let offset: number;
    if (registerClass === CLASS.GPR)
      offset = size === 1 && rex === 0 && number >= 4 && number < 8 ? GPR + (number - 4) * 8 + 1 : GPR + number * 8;
    else if (registerClass === CLASS.VECTOR) offset = VECTOR + number * 32;
    else offset = FPR + (number & 7) * 16;
    this.registers[this.registerCount++] = offset;
  }

  /** @param size bytes in the code; the value is sign-extended to 64 bits, then cut to `width` bytes. */
  #immediate(size: number, width: number): void {
    let low = this.#byte();
    if (size === 1) low = (low << 24) >> 24;
    else {
      low |= this.#byte() << 8;
      if (size === 2) low = (low << 16) >> 16;
      else low |= (this.#byte() << 16) | (this.#byte() << 24);
    }
    this.immediateLow = low;
    this.immediateHigh = low >> 31;
    if (size === 8) this.immediateHigh = this.#byte() | (this.#byte() << 8) | (this.#byte() << 16) | (this.#byte() << 24);
    if (width === 2) this.immediateLow &= 0xffff;
    else if (width === 1) this.immediateLow &= 0xff;
  }

  #displacement(size: number): void {
    if (size === 0) return;
    this.displacementBytes = size;
    this.#immediate(size, 8);
    this.dispLow = this.immediateLow;
    this.dispHigh = this.immediateHigh;
    this.immediateLow = 0;
    this.immediateHigh = 0;
  }

  #address(modrm: number, rex: number, override: number, long: boolean): void {
    const mod = modrm >> 6,
      low = modrm & 7;
    let base = low | ((rex & 1) << 3),
      displacement = mod === 1 ? 1 : mod === 2 ? 4 : 0;
    if (low === 4) {
      const sib = this.#byte(),
        index = ((sib >> 3) & 7) | ((rex & 2) << 2);
      base = (sib & 7) | ((rex & 1) << 3);
      if (index !== 4) {
        this.index = GPR + index * 8;
        this.scale = sib >> 6;
      }
      if ((sib & 7) === 5 && mod === 0) {
        base = -1;
        displacement = 4;
      }
    } else if (low === 5 && mod === 0) {
      base = -1;
      displacement = 4;
      this.ripRelative = long;
    }
    if (base >= 0) {
      this.base = GPR + base * 8;
      if (override < 0 && (base === 4 || base === 5)) this.segment = SEG.SS;
    } else if (this.ripRelative) this.base = RIP_SLOT;
    this.#displacement(displacement);
  }

  #address16(modrm: number, override: number): void {
    const mod = modrm >> 6,
      low = modrm & 7;
    let displacement = mod === 1 ? 1 : mod === 2 ? 2 : 0;
    if (mod === 0 && low === 6) displacement = 2;
    else {
      this.base = GPR + BASE16[low]! * 8;
      if (INDEX16[low]! >= 0) this.index = GPR + INDEX16[low]! * 8;
      if (override < 0 && BASE16[low] === 5) this.segment = SEG.SS;
    }
    this.#displacement(displacement);
  }

  /** Slot of the segment's base: only FS and GS have one in 64-bit mode; elsewhere the slow way adds it. */
  segmentSlot(): number {
    const long = this.environment <= ENV_LONG32;
    return long && this.segment >= SEG.FS ? SEG_BASE + this.segment * 8 : ZERO_SLOT;
  }
}

function matchesPrefix(wanted: number, narrow: boolean, repeat: number): boolean {
  switch (wanted) {
    case PREFIX_NONE:
      return !narrow && repeat === 0;
    case PREFIX_NOREP:
      return repeat === 0;
    case PREFIX_66:
      return narrow && repeat === 0;
    case PREFIX_F3:
      return repeat === 0xf3;
    case PREFIX_F2:
      return repeat === 0xf2;
    default:
      return true;
  }
}
