/**
 * Random bytes behind random prefixes: the decoder and an independent one agree on what is an instruction, how long it is, where its memory
 * operand lies, and on its registers, immediates and targets.
 * Implements: SDM vol. 2A chapter 2 Instruction Format. Runs on: Node.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code, DecoderOptions, Formatter, FormatterSyntax, Decoder as Iced, Instruction, Mnemonic, OpKind, Register } from 'iced-x86';
import { Random } from '../testing/maker.ts';
import { isOfLevel } from '../testing/level.ts';
import { MODE_16, MODE_32, MODE_64, VCPU } from '../state.ts';
import { LINES } from '../isa/index.ts';
import { DECODED, Decoder } from './decoder.ts';

const MODES = { 16: MODE_16, 32: MODE_32, 64: MODE_64 } as const;
const CASES = 100_000;
const SLOT_BYTES = 32;
const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x66, 0x67, 0x67, 0xf0, 0xf2, 0xf3];
const MAPS: readonly (readonly number[])[] = [[], [], [], [0x0f], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];

/** CPUID does not show them; ours have no line. */
const REFUSED = new Set([Mnemonic.Monitor, Mnemonic.Mwait]);
/** Later instructions which an older processor takes for these; RSM is there outside of SMM, to raise #UD. */
const OLDER = new Map([
  [Mnemonic.Tzcnt, 'bsf'],
  [Mnemonic.Lzcnt, 'bsr'],
  [Mnemonic.Wbnoinvd, 'wbinvd'],
  [Mnemonic.Cldemote, 'nop'],
  [Mnemonic.Endbr32, 'nop'],
  [Mnemonic.Endbr64, 'nop'],
  [Mnemonic.Rdsspd, 'nop'],
  [Mnemonic.Rdsspq, 'nop'],
  [Mnemonic.Prefetchit0, 'prefetch'],
  [Mnemonic.Prefetchit1, 'prefetch'],
  [Mnemonic.Prefetchwt1, 'prefetchw'],
  [Mnemonic.Rsm, 'rsm'],
]);
/** The line itself raises #UD: CS as a destination, control and debug registers that are not there. */
const REFUSED_LATER = new Set(['0f 20 /r', '0f 21 /r', '0f 22 /r', '0f 23 /r', '8e /r']);

/** Prefixes in any order, also repeated; a REX before the opcode, before other prefixes, or twice; then an opcode and whatever follows. */
function bytes(random: Random, bits: 16 | 32 | 64): number[] {
  const out: number[] = [];
  const rex = (): number => 0x40 | random.below(16);
  while (random.chance(0.35)) out.push(bits === 64 && random.chance(0.1) ? rex() : random.pick(PREFIXES));
  if (random.chance(0.004)) for (let left = 14; left > 0; left--) out.push(0x2e);
  if (bits === 64 && random.chance(0.4)) out.push(rex());
  out.push(...random.pick(MAPS));
  while (out.length < 30) out.push(random.below(256));
  return out;
}

/** Byte offset of a register in the vCPU record; -1 for what is named by a number or lies elsewhere. */
function slotOf(register: Register): number {
  const { gpr, vector, fpr, zero, ripPage } = VCPU.offset;
  if (register === Register.None) return zero;
  if (register === Register.RIP || register === Register.EIP) return ripPage;
  if (register >= Register.AH && register <= Register.BH) return gpr + (register - Register.AH) * 8 + 1;
  if (register >= Register.AL && register <= Register.BL) return gpr + (register - Register.AL) * 8;
  if (register >= Register.SPL && register <= Register.R15L) return gpr + (register - Register.SPL + 4) * 8;
  if (register >= Register.AX && register <= Register.R15W) return gpr + (register - Register.AX) * 8;
  if (register >= Register.EAX && register <= Register.R15D) return gpr + (register - Register.EAX) * 8;
  if (register >= Register.RAX && register <= Register.R15) return gpr + (register - Register.RAX) * 8;
  if (register >= Register.XMM0 && register <= Register.XMM15) return vector + (register - Register.XMM0) * 32;
  if (register >= Register.MM0 && register <= Register.MM7) return fpr + (register - Register.MM0) * 16;
  return -1;
}

const SEGMENTS = [Register.ES, Register.CS, Register.SS, Register.DS, Register.FS, Register.GS];
const STRING_SOURCES = new Set([OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI]);
const IMMEDIATES = new Set([
  OpKind.Immediate8,
  OpKind.Immediate16,
  OpKind.Immediate32,
  OpKind.Immediate64,
  OpKind.Immediate8to16,
  OpKind.Immediate8to32,
  OpKind.Immediate8to64,
  OpKind.Immediate32to64,
]);
const NEAR = new Set([OpKind.NearBranch16, OpKind.NearBranch32, OpKind.NearBranch64]);

const join = (low: number, high: number): bigint => BigInt.asUintN(64, (BigInt(high) << 32n) | BigInt(low >>> 0));

/** What the two see differently; nothing where they agree. */
function differences(decoder: Decoder, iced: Instruction, bits: 16 | 32 | 64): string[] {
  const found: string[] = [];
  const same = (what: string, got: number | bigint, want: number | bigint): void => {
    if (got !== want) found.push(`${what} is ${got}, not ${want}`);
  };
  same('length', decoder.lengthBytes, iced.length);
  const registers: number[] = [];
  for (let operand = 0; operand < iced.opCount; operand++) {
    const kind = iced.opKind(operand);
    if (kind === OpKind.Memory && iced.mnemonic !== Mnemonic.Xlatb) compareMemory(decoder, iced, bits, same);
    else if (STRING_SOURCES.has(kind)) {
      same('base', decoder.base, VCPU.offset.gpr + 6 * 8);
      compareSegment(decoder, iced, bits, same);
    } else if (kind === OpKind.Register) registers.push(slotOf(iced.opRegister(operand)));
    else if (NEAR.has(kind)) {
      const width = kind === OpKind.NearBranch16 ? 16 : kind === OpKind.NearBranch32 ? 32 : 64;
      const target = join(decoder.immediateLow, decoder.immediateHigh) + BigInt(decoder.lengthBytes);
      same('target', BigInt.asUintN(width, target), iced.nearBranchTarget);
    } else if (IMMEDIATES.has(kind) && LINES[decoder.row.lineIndex]!.operands.length === iced.opCount && operand > 0) {
      const width = [OpKind.Immediate8, OpKind.Immediate16].includes(kind) || decoder.operandSize === 2 ? 8 : 32;
      const value = join(decoder.immediateLow, decoder.immediateHigh);
      if (decoder.row.name !== 'enter') same('immediate', BigInt.asUintN(width, value), BigInt.asUintN(width, iced.immediate(operand)));
    }
  }
  // Registers that an encoding implies need no operand here; where both name as many, they are the same ones.
  if (registers.length === decoder.registerCount && !registers.includes(-1))
    for (const [index, slot] of registers.entries()) same(`register ${index}`, decoder.registers[index]!, slot);
  return found;
}

type Same = (what: string, got: number | bigint, want: number | bigint) => void;

function compareMemory(decoder: Decoder, iced: Instruction, bits: 16 | 32 | 64, same: Same): void {
  const ripRelative = iced.memoryBase === Register.RIP || iced.memoryBase === Register.EIP;
  const addressBits = [2, 4, 8][decoder.environment === 3 ? 0 : decoder.environment === 0 ? 2 : 1]! * 8;
  same('is a memory operand', Number(decoder.isMemory), 1);
  same('base', decoder.base, slotOf(iced.memoryBase));
  same('index', decoder.index, slotOf(iced.memoryIndex));
  if (iced.memoryIndex !== Register.None) same('scale', 1 << decoder.scale, iced.memoryIndexScale);
  const displacement = join(decoder.dispLow, decoder.dispHigh) + (ripRelative ? BigInt(decoder.lengthBytes) : 0n);
  same('displacement', BigInt.asUintN(addressBits, displacement), BigInt.asUintN(addressBits, iced.memoryDisplacement));
  compareSegment(decoder, iced, bits, same);
}

/** In 64-bit mode ES, CS, SS and DS prefixes are ignored, which iced-x86 does not show. */
function compareSegment(decoder: Decoder, iced: Instruction, bits: 16 | 32 | 64, same: Same): void {
  const want = SEGMENTS.indexOf(iced.memorySegment);
  if (bits !== 64 || want >= 4 || decoder.segment >= 4) same('segment', decoder.segment, want);
}

for (const bits of [16, 32, 64] as const) {
  test(`${bits}-bit code: random instructions decode as another decoder has them`, () => {
    const random = new Random(0x7e57 + bits);
    const code = new Uint8Array(CASES * SLOT_BYTES);
    for (let at = 0; at < code.length; at += SLOT_BYTES) code.set(bytes(random, bits), at);
    const iced = new Iced(bits, code, DecoderOptions.None);
    const instruction = new Instruction();
    const formatter = new Formatter(FormatterSyntax.Intel);
    const decoder = new Decoder();
    const found = new Map<string, string>();
    let compared = 0;
    for (let at = 0; at < code.length; at += SLOT_BYTES) {
      iced.position = at;
      iced.ip = 0n;
      iced.decodeOut(instruction);
      const isValid = instruction.code !== Code.INVALID && isOfLevel(instruction) && !REFUSED.has(instruction.mnemonic);
      const decoded = decoder.decode(code, at, at + SLOT_BYTES, MODES[bits]) === DECODED;
      const hex = Buffer.from(code.subarray(at, at + 16)).toString('hex');
      const describe = (what: string, key: string): void => {
        if (!found.has(key)) found.set(key, `${hex}: ${what}: ${formatter.format(instruction)}`);
      };
      if (!isValid) {
        if (!decoded) continue;
        const { name, encodingText } = decoder.row;
        if (!REFUSED_LATER.has(encodingText) && OLDER.get(instruction.mnemonic) !== name) describe(`decoded as ${name}`, `extra ${name}`);
        continue;
      }
      compared++;
      if (!decoded) describe('not decoded', `missing ${Code[instruction.code]}`);
      else for (const line of differences(decoder, instruction, bits)) describe(line, `${Code[instruction.code]} ${line.split(' ')[0]}`);
    }
    formatter.free();
    instruction.free();
    iced.free();
    assert.ok(compared > CASES / 3, `only ${compared} were compared`);
    assert.deepEqual([...found.values()], []);
  });
}
