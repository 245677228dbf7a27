/**
 * Every legacy-encoded instruction of the level is decoded, with the length that an independent decoder finds, and nothing besides.
 * Implements: CPUID features of x86-64-v2 (psABI 1.0 table 3.1) and those that the CPU adds; SDM vol. 2D Appendix A. Runs on: Node.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code, CodeExt, DecoderOptions, Decoder as Iced, Instruction } from 'iced-x86';
import { isOfLevel } from '../testing/level.ts';
import { MODE_32, MODE_64 } from '../state.ts';
import { DECODED, Decoder } from './decoder.ts';

/** Not there, and why. */
const REFUSED: Readonly<Record<string, string>> = {
  MONITOR: 'CPUID says so; both raise #UD',
  MWAIT: 'CPUID says so; both raise #UD',
};
/** Decoded although iced-x86 calls some of their encodings invalid: the line itself raises #UD for them. */
const REFUSED_LATER = new Set(['0f 20 /r', '0f 21 /r', '0f 22 /r', '0f 23 /r', '8e /r']);

const BYTES = 16;
const PREFIXES: readonly (readonly number[])[] = [[], [0x66], [0xf3], [0xf2]];
const MAPS: readonly (readonly number[])[] = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];
const NO_OPCODES = new Set([0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);
/** One byte opcodes and `0f` ones where a whole ModRM byte may name an instruction. */
const WHOLE_MODRM = new Set([0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0x101, 0x1ae, 0x1c7]);
const FILLER = 0x11;

/** Each opcode with each mandatory prefix, with and without REX.W, memory and registers, each ModRM.reg. */
function encodings(bits: 32 | 64): Uint8Array<ArrayBuffer> {
  const heads: number[][] = [];
  MAPS.forEach((map, mapIndex) => {
    for (let opcode = 0; opcode < 256; opcode++) {
      if (mapIndex === 0 && (NO_OPCODES.has(opcode) || (bits === 64 && opcode >> 4 === 4))) continue;
      if (mapIndex === 1 && (opcode === 0x38 || opcode === 0x3a)) continue;
      const whole = WHOLE_MODRM.has(mapIndex * 256 + opcode);
      for (const prefix of PREFIXES) {
        for (const rex of bits === 64 ? [[], [0x48]] : [[]]) {
          for (let modrm = 3; modrm < 0x100; modrm += modrm < 0xc0 ? 8 : whole ? 1 : 8) {
            if (modrm === 0x43) modrm = whole ? 0xc0 : 0xc1;
            heads.push([...prefix, ...rex, ...map, opcode, modrm]);
          }
        }
      }
    }
  });
  const all = new Uint8Array(heads.length * BYTES).fill(FILLER);
  heads.forEach((head, index) => all.set(head, index * BYTES));
  return all;
}

/** Forms that are not decoded, or with another length; and lines that take what nobody else does. */
function compare(bits: 32 | 64): { readonly missing: string[]; readonly extra: string[]; readonly compared: number } {
  const all = encodings(bits);
  const missing = new Set<string>();
  const extra = new Set<string>();
  const decoder = new Decoder();
  const iced = new Iced(bits, all, DecoderOptions.None);
  const instruction = new Instruction();
  const inLevel = new Map<Code, boolean>();
  let compared = 0;
  for (let at = 0; at < all.length; at += BYTES) {
    iced.position = at;
    iced.decodeOut(instruction);
    const code = instruction.code;
    const status = decoder.decode(all, at, at + BYTES, bits === 64 ? MODE_64 : MODE_32);
    if (code === Code.INVALID) {
      if (status === DECODED && !REFUSED_LATER.has(decoder.row.encodingText)) extra.add(`${decoder.row.name} ${decoder.row.encodingText}`);
      continue;
    }
    let wanted = inLevel.get(code);
    if (wanted === undefined) {
      wanted = isOfLevel(instruction);
      inLevel.set(code, wanted);
    }
    if (!wanted) continue;
    compared++;
    if (status === DECODED && decoder.lengthBytes === instruction.length) continue;
    const info = CodeExt.opCode(code);
    const mnemonic = info.instructionString.split(' ')[0]!;
    if (!(mnemonic in REFUSED))
      missing.add(`${info.instructionString}${status === DECODED ? `, ${decoder.lengthBytes} bytes for ${instruction.length}` : ''}`);
    info.free();
  }
  instruction.free();
  iced.free();
  return { missing: [...missing].toSorted(), extra: [...extra].toSorted(), compared };
}

for (const bits of [64, 32] as const) {
  test(`${bits}-bit code: every instruction of the level decodes, and no other encoding does`, () => {
    const { missing, extra, compared } = compare(bits);
    assert.ok(compared > 10_000, `only ${compared} encodings were compared`);
    assert.deepEqual(missing, []);
    assert.deepEqual(extra, []);
  });
}
