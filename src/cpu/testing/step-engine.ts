/**
 * What runs one instruction: the interface behind `npm run step`, the vectors' tests and compare.ts, and the list of engines.
 * Implements: the one-instruction runner's format.
 * Runs on: any thread of Node.
 */
import { VmError } from '../../base/errors.ts';
import { NativeCpu } from './native-cpu.ts';
import type { StepAnswer, StepInput, Unsupported } from './vectors.ts';

export interface StepEngine extends Disposable {
  readonly name: string;
  /** Run one instruction, or a whole repeated string instruction. No state is kept from one call to the next. */
  run(input: StepInput): StepAnswer | Unsupported;
}

/** `interpreter` and `jit` are our own processor, `...64` with 64-bit addresses in memory 1; `native` is this machine's. */
export const ENGINE_NAMES = ['interpreter', 'jit', 'interpreter64', 'jit64', 'native'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export async function openEngine(name: EngineName): Promise<StepEngine> {
  if (name === 'native') return new NativeEngine();
  const { ProcessorEngine } = await import('./processor-engine.ts');
  return ProcessorEngine.create(name.startsWith('jit'), name.endsWith('64') ? 'i64' : 'i32');
}

/** Prefixes of either mode, before a string instruction's opcode. */
const STRING_OPCODES = new Set([0x6c, 0x6d, 0x6e, 0x6f, 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]);
const LEGACY_PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

/** The opcode of the instruction (without escapes: 0x0f for the longer maps) and whether a repeat prefix stands before it. */
export function opcodeOf({ code, mode }: StepInput): { opcode: number; repeat: boolean } {
  let repeat = false;
  for (let at = 0; at < code.length; at += 2) {
    const byte = Number.parseInt(code.slice(at, at + 2), 16);
    if (byte === 0xf2 || byte === 0xf3) repeat = true;
    if (LEGACY_PREFIXES.has(byte) || (mode === 64 && byte >>> 4 === 4)) continue;
    return { opcode: byte, repeat };
  }
  return { opcode: -1, repeat };
}

export function isRepeatedString(input: StepInput): boolean {
  const { opcode, repeat } = opcodeOf(input);
  return repeat && STRING_OPCODES.has(opcode);
}

/** The real CPU, one process per instruction: for looking at single cases. */
class NativeEngine implements StepEngine {
  readonly name = 'native';
  readonly #cpu: NativeCpu;

  constructor() {
    const cpu = NativeCpu.open();
    if (cpu === null) throw new VmError('ENOTSUP', 'engine native: needs Linux on x86-64 with gcc');
    this.#cpu = cpu;
  }

  run(input: StepInput): StepAnswer | Unsupported {
    const [result] = this.#cpu.run([{ input, repeat: isRepeatedString(input), pushf: opcodeOf(input).opcode === 0x9c }]);
    if (!result) return { id: input.id, unsupported: 'the host could not finish it' };
    return { ...result.answer, mem: result.answer.mem.slice(0, input.mem.length) };
  }

  [Symbol.dispose](): void {
    this.#cpu[Symbol.dispose]();
  }
}
