/**
 * The real CPU behind the engine interface of the one-instruction runner: builds native/generator.c and speaks its records.
 * Implements: FXSAVE image, SDM vol. 1 10.5.1 and table 10-2; error codes of page faults, SDM vol. 3A 4.7.
 * Runs on: Linux on x86-64 with gcc; elsewhere `NativeCpu.open` returns null.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { GPR_NAMES } from '../state.ts';
import { VmError } from '../../base/errors.ts';
import type { FpuState, MemoryBytes, StepAnswer, StepInput } from './vectors.ts';

const HEAD_IN = 24 + 16 + 18 * 8 + 512;
const HEAD_OUT = 24 + 19 * 8 + 512;
const FLAG_REPEAT = 1,
  FLAG_PUSHF = 2;
/** Regions of the format; everything else is not present, whatever the host has there. */
const REGIONS = [0x10000000n, 0x20000000n];
const REGION_BYTES = 0x10000n;

export interface NativeRequest {
  readonly input: StepInput;
  readonly repeat: boolean;
  readonly pushf: boolean;
}
/** The answer, with the input as completed by the bytes which the instruction changed. */
export interface NativeResult {
  readonly input: StepInput;
  readonly answer: StepAnswer;
}

const pad8 = (sizeBytes: number): number => (sizeBytes + 7) & ~7;
const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/**
 * Is this host's processor of the vendor whose choices ours makes where vendors differ? AMD's cut rip to 16 bits in near branches with 66h, take other
 * registers for LSS with REX.W, keep other NaNs.
 */
export const isModelledVendor = (): boolean => cpus()[0]?.model.includes('Intel') === true;

export class NativeCpu implements Disposable {
  readonly #folder: string;
  readonly #program: string;

  private constructor(folder: string, program: string) {
    this.#folder = folder;
    this.#program = program;
  }

  /** @returns null where this machine can not run it */
  static open(): NativeCpu | null {
    if (process.platform !== 'linux' || process.arch !== 'x64' || spawnSync('gcc', ['--version']).status !== 0) return null;
    const folder = mkdtempSync(join(tmpdir(), 'tshyve-native-'));
    const program = join(folder, 'generator');
    const source = fileURLToPath(new URL('native/generator.c', import.meta.url));
    const { status, stderr } = spawnSync('gcc', ['-O2', '-fno-stack-protector', '-fcf-protection=none', '-o', program, source], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new VmError('EIO', `gcc ${source}: ${stderr}`);
    return new NativeCpu(folder, program);
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Answers in the order of the requests; null for one that the CPU could not finish. */
  run(requests: readonly NativeRequest[]): (NativeResult | null)[] {
    const records = requests.map(encode);
    const { status, stdout, stderr, signal } = spawnSync(this.#program, { input: Buffer.concat(records), maxBuffer: 1 << 30 });
    if (status !== 0) throw new VmError('EIO', `native/generator ended with ${status ?? signal}: ${stderr.toString()}`);
    const results: (NativeResult | null)[] = [];
    let at = 0;
    for (const request of requests) {
      const sizeBytes = stdout.readUInt32LE(at);
      results.push(decode(stdout.subarray(at, at + sizeBytes), request.input));
      at += sizeBytes;
    }
    return results;
  }
}

function encode({ input, repeat, pushf }: NativeRequest): Buffer {
  const code = Buffer.from(input.code, 'hex');
  const entries = input.mem.map(({ addr, data }) => ({ address: BigInt(addr), bytes: Buffer.from(data, 'hex') }));
  const sizeBytes = HEAD_IN + entries.reduce((sum, { bytes }) => sum + 16 + pad8(bytes.length), 0);
  const record = Buffer.alloc(sizeBytes);
  [sizeBytes, input.id, input.mode, (repeat ? FLAG_REPEAT : 0) | (pushf ? FLAG_PUSHF : 0), code.length, entries.length].forEach(
    (value, index) => record.writeUInt32LE(value, index * 4),
  );
  code.copy(record, 24, 0, 16);
  for (const [index, name] of GPR_NAMES.entries()) record.writeBigUInt64LE(BigInt(input.regs[name] ?? 0), 40 + index * 8);
  record.writeBigUInt64LE(BigInt(input.regs['rip']!), 168);
  record.writeBigUInt64LE(BigInt(input.regs['rflags']!), 176);
  encodeFxsave(record.subarray(184, 184 + 512), input);
  let at = HEAD_IN;
  for (const { address, bytes } of entries) {
    record.writeBigUInt64LE(address, at);
    record.writeUInt32LE(bytes.length, at + 8);
    bytes.copy(record, at + 16);
    at += 16 + pad8(bytes.length);
  }
  return record;
}

function encodeFxsave(image: Buffer, { fpu, xmm, mxcsr }: StepInput): void {
  image.writeUInt16LE(Number(fpu?.fcw ?? 0x37f), 0);
  image.writeUInt16LE(Number(fpu?.fsw ?? 0), 2);
  image[4] = Number(fpu?.ftw ?? 0);
  image.writeUInt32LE(Number(mxcsr ?? 0x1f80), 24);
  fpu?.st.forEach((value, index) => image.write(value, 32 + index * 16, 'hex'));
  xmm?.forEach((value, index) => image.write(value, 160 + index * 16, 'hex'));
}

function decode(record: Buffer, input: StepInput): NativeResult | null {
  if (record.readUInt32LE(8) !== 0) return null;
  const vector = record.readInt32LE(12);
  const cr2 = record.readBigUInt64LE(24);
  const regs: Record<string, string> = {};
  for (const [index, name] of GPR_NAMES.entries()) if (name in input.regs) regs[name] = hex(record.readBigUInt64LE(32 + index * 8));
  regs['rip'] = hex(record.readBigUInt64LE(160));
  regs['rflags'] = hex(record.readBigUInt64LE(168));
  const image = record.subarray(176, 176 + 512);
  let at = HEAD_OUT;
  const memory: MemoryBytes[] = input.mem.map(({ addr, data }) => {
    const bytes = record.toString('hex', at, at + data.length / 2);
    at += pad8(data.length / 2);
    return { addr, data: bytes };
  });
  // Bytes changed outside of the input's entries become entries of their own; those that lie inside are known already.
  const added: MemoryBytes[] = [];
  for (let left = record.readUInt32LE(20); left > 0; left--) {
    const address = record.readBigUInt64LE(at),
      sizeBytes = record.readUInt32LE(at + 8);
    const before = record.toString('hex', at + 16, at + 16 + sizeBytes);
    const after = record.toString('hex', at + 16 + pad8(sizeBytes), at + 16 + pad8(sizeBytes) + sizeBytes);
    at += 16 + 2 * pad8(sizeBytes);
    const inside = input.mem.some(
      ({ addr, data }) => BigInt(addr) <= address && address + BigInt(sizeBytes) <= BigInt(addr) + BigInt(data.length / 2),
    );
    if (inside) continue;
    added.push({ addr: hex(address), data: before });
    memory.push({ addr: hex(address), data: after });
  }
  return {
    input: added.length === 0 ? input : { ...input, mem: [...input.mem, ...added] },
    answer: {
      id: input.id,
      exception: vector < 0 ? null : vector,
      ...([12, 13, 14].includes(vector) && {
        error: hex(vector === 14 ? pageFaultError(record.readUInt32LE(16), cr2) : record.readUInt32LE(16)),
      }),
      ...(vector === 14 && { cr2: hex(cr2) }),
      regs,
      ...(input.xmm && {
        xmm: input.xmm.map((_, index) => image.toString('hex', 160 + index * 16, 176 + index * 16)),
        mxcsr: hex(image.readUInt32LE(24)),
      }),
      ...(input.fpu && { fpu: decodeFpu(image) }),
      mem: memory,
    },
  };
}

function decodeFpu(image: Buffer): FpuState {
  return {
    fcw: hex(image.readUInt16LE(0)),
    fsw: hex(image.readUInt16LE(2)),
    ftw: hex(image[4]!),
    st: Array.from({ length: 8 }, (_, index) => image.toString('hex', 32 + index * 16, 42 + index * 16)),
  };
}

/** The host has its kernel in the upper half: there P says nothing about the machine of the format, where nothing is present. */
function pageFaultError(error: number, address: bigint): number {
  const mapped = REGIONS.some((start) => start <= address && address < start + REGION_BYTES);
  return mapped ? error : error & ~1;
}
