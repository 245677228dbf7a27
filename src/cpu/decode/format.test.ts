import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { Code, Decoder as Iced, DecoderOptions, Formatter, FormatterSyntax, Instruction } from 'iced-x86';
import { MODE_16, MODE_32, MODE_64 } from '../state.ts';
import { Random } from '../testing/maker.ts';
import { isOfLevel } from '../testing/level.ts';
import { DECODED, Decoder } from './decoder.ts';
import { formatInstruction } from './format.ts';
import { FPU_CLASS } from './variants.ts';

const MODES = { 16: MODE_16, 32: MODE_32, 64: MODE_64 } as const;
const RIP = 0x1000;

function format(bits: 16 | 32 | 64, code: string): string {
  const decoder = new Decoder(),
    bytes = Buffer.from(code.replaceAll(' ', ''), 'hex');
  equal(decoder.decode(bytes, 0, bytes.length, MODES[bits]), DECODED, code);
  return formatInstruction(decoder, BigInt(RIP));
}

test('instructions read as in the manual', () => {
  for (const [code, text] of [
    ['48 89 e5', 'mov rbp, rsp'],
    ['48 b8 88 77 66 55 44 33 22 11', 'mov rax, 0x1122334455667788'],
    ['88 e5', 'mov ch, ah'],
    ['40 88 e5', 'mov bpl, spl'],
    ['44 0f b7 f8', 'movzx r15d, ax'],
    ['83 c0 ff', 'add eax, 0xffffffff'],
    ['8b 44 8d f8', 'mov eax, dword ptr [rbp+rcx*4-0x8]'],
    ['48 8b 05 f0 ff ff ff', 'mov rax, qword ptr [rip-0x10]'],
    ['65 48 8b 04 25 28 00 00 00', 'mov rax, qword ptr gs:[0x28]'],
    ['f0 0f b1 0a', 'lock cmpxchg dword ptr [rdx], ecx'],
    ['f3 48 a5', 'rep movsq qword ptr [rdi], qword ptr [rsi]'],
    ['f2 ae', 'repne scasb byte ptr [rdi]'],
    ['48 98', 'cdqe'],
    ['99', 'cdq'],
    ['67 e3 10', 'jecxz 0x1013'],
    ['75 f0', 'jne 0xff2'],
    ['e8 00 00 00 00', 'call 0x1005'],
    ['48 ff 18', 'call far ptr [rax]'],
    ['6a ff', 'push 0xffffffffffffffff'],
    ['c8 08 00 01', 'enter 0x8, 0x1'],
    ['0f 22 d8', 'mov cr3, rax'],
    ['66 0f 70 c1 1b', 'pshufd xmm0, xmm1, 0x1b'],
    ['0f 6f 08', 'movq mm1, qword ptr [rax]'],
    ['de c1', 'faddp st(1), st(0)'],
    ['d8 c1', 'fadd st(0), st(1)'],
    ['ec', 'in al, dx'],
    ['0f ae 00', 'fxsave [rax]'],
  ] as const)
    equal(format(64, code), text);
  equal(format(32, '9a 11 22 33 44 55 66'), 'call 0x6655:0x44332211');
  equal(format(32, '2e 8b 00'), 'mov eax, dword ptr cs:[eax]');
  equal(format(16, '8b 46 fe'), 'mov ax, word ptr [bp-0x2]');
  equal(format(16, '64 a4'), 'movsb byte ptr [di], byte ptr fs:[si]');
});

/** Both, without what each says in its own way: prefixes without effect, the x87's top, widths of descriptors and of what is never read. */
function usual(text: string, name: string, isX87: boolean): string {
  let out = text
    .replace(/^((bnd|hint-not-taken|hint-taken|data16|data32|addr16|addr32|xacquire|xrelease|data64) )+/, '')
    .replace(/^ret far/, 'retf')
    .replace(/^(call|jmp) far 0x(\w+), 0x(\w+)/, '$1 0x$3:0x$2')
    .replace(/^prefetch\w*/, 'prefetch')
    .replace(/^(xsave|xsaveopt|xrstor|fxsave|fxrstor|pcmp.str.)64/, '$1')
    .replace(/^fstpnce/, 'fstp')
    .replace(/^rep ret/, 'ret')
    .replace(/^lock xchg/, 'xchg')
    .replace(/^(maskmov.*), .s$/, '$1')
    .replace(/\*1([+-])/, '$1')
    .replace(/es:\[([re]?di)\]/, '[$1]')
    .replace(/fpu\w+ ptr /, '');
  if (isX87)
    out = out
      .replace(/\bst(\(0\))?(, )?(?!\()/g, '')
      .replace(/,? *$/, '')
      .replace(/ st\(1\)$/, '');
  if (name === 'nop' || name === 'lar' || name === 'lsl' || name === 'xlat' || name === 'prefetch') return name;
  if (/^(l[defgs]s|[ls][gi]dt|bound|call|jmp|prefetchw|invpcid)/.test(name))
    out = out.replace(/(far )?((xmmword|fword|dword|tbyte|qword|word|byte|far) ptr )?([a-z]s:)?\[/, '[$4');
  return out;
}

const CASES = 60_000,
  SLOT_BYTES = 32;
const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x2e];
const MAPS: readonly (readonly number[])[] = [[], [], [], [0x0f], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]];

for (const bits of [16, 32, 64] as const)
  test(`${bits}-bit code: random instructions read as another formatter has them`, () => {
    const random = new Random(0xf0a7 + bits),
      code = new Uint8Array(CASES * SLOT_BYTES);
    for (let at = 0; at < code.length; at += SLOT_BYTES) {
      const out: number[] = [];
      while (random.chance(0.25)) out.push(random.pick(PREFIXES));
      if (bits === 64 && random.chance(0.4)) out.push(0x40 | random.below(16));
      out.push(...random.pick(MAPS));
      while (out.length < 30) out.push(random.below(256));
      code.set(out, at);
    }
    const iced = new Iced(bits, code, DecoderOptions.None),
      instruction = new Instruction(),
      formatter = new Formatter(FormatterSyntax.Intel),
      decoder = new Decoder(),
      found = new Map<string, string>();
    formatter.hexPrefix = '0x';
    formatter.hexSuffix = '';
    formatter.uppercaseHex = false;
    formatter.leadingZeros = false;
    formatter.branchLeadingZeros = false;
    formatter.smallHexNumbersInDecimal = false;
    formatter.spaceAfterOperandSeparator = true;
    formatter.ripRelativeAddresses = true;
    formatter.showBranchSize = false;
    formatter.memorySizeOptions = 1;
    formatter.usePseudoOps = false;
    let compared = 0;
    for (let at = 0; at < code.length; at += SLOT_BYTES) {
      iced.position = at;
      iced.ip = BigInt(RIP);
      iced.decodeOut(instruction);
      if (
        instruction.code === Code.INVALID ||
        instruction.isInvalid ||
        !isOfLevel(instruction) ||
        decoder.decode(code, at, at + SLOT_BYTES, MODES[bits]) !== DECODED
      )
        continue;
      compared++;
      const { name, encodingText } = decoder.row,
        [mine, his] = [formatInstruction(decoder, BigInt(RIP)), formatter.format(instruction)].map((text) =>
          usual(text, name, decoder.row.fpuClass === FPU_CLASS.x87),
        );
      if (mine !== his)
        found.set(
          `${name} ${encodingText} `,
          `${Buffer.from(code.subarray(at, at + decoder.lengthBytes)).toString('hex')}: ${mine} | ${his}`,
        );
    }
    formatter.free();
    instruction.free();
    iced.free();
    ok(compared > CASES / 4, `only ${compared} were compared`);
    deepEqual([...found.values()], []);
  });
