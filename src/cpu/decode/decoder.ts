/**
 * Decodes one instruction where no vCPU does: the door to decoder.wasm, which is the decoder of cpu.wasm (assembly/decoder.ts) alone.
 * Implements: SDM vol. 2A chapter 2 Instruction Format (without VEX). Runs on: any thread.
 */
import { DECODE_IMAGE, DECODE_IMAGE_END, WASM_PAGE_BYTES } from '../../base/memory-map.ts';
import { DECODE_IMAGE_BASE64 } from '../../generated/decode-image.ts';
import { DECODER_BASE64 } from '../../generated/decoder-wasm.ts';
import {
  DECODED,
  MAX_LENGTH,
  OUT_BASE,
  OUT_DISPLACEMENT,
  OUT_DISPLACEMENT_BYTES,
  OUT_ENVIRONMENT,
  OUT_HAS_IMMEDIATE,
  OUT_IMMEDIATE,
  OUT_IMMEDIATE_BYTES,
  OUT_INDEX,
  OUT_IS_MEMORY,
  OUT_LENGTH,
  OUT_LINE,
  OUT_OPERAND_SIZE,
  OUT_PREFIX,
  OUT_REGISTERS,
  OUT_REGISTER_COUNT,
  OUT_RELATIVE,
  OUT_RIP_RELATIVE,
  OUT_SCALE,
  OUT_SEGMENT,
  OUT_SEGMENT_SLOT,
} from './codes.ts';
import { ROWS } from './table.ts';
import type { Row } from './table.ts';

export { DECODED, DECODE_TOO_LONG, DECODE_TRUNCATED, DECODE_UNDEFINED } from './codes.ts';

interface DecoderExports {
  /** @param out where OUT_* go @returns DECODED or DECODE_* */
  decodeTo(out: number, bytes: number, available: number, mode: number): number;
}

/** In its memory: the instruction's bytes, what is found, the image. */
const BYTES = 0x1000,
  OUT = 0x1040;
const bytesOf = (base64: string): Uint8Array<ArrayBuffer> => Uint8Array.fromBase64(base64);

/** One for each thread, made when it is first needed. */
class DecoderModule {
  readonly bytes: Uint8Array;
  readonly out: Int32Array;
  readonly decodeTo: DecoderExports['decodeTo'];

  constructor() {
    const pages = DECODE_IMAGE_END / WASM_PAGE_BYTES,
      memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }),
      all = new Uint8Array(memory.buffer),
      module = new WebAssembly.Module(bytesOf(DECODER_BASE64));
    all.set(bytesOf(DECODE_IMAGE_BASE64), DECODE_IMAGE);
    this.bytes = all.subarray(BYTES, BYTES + MAX_LENGTH);
    this.out = new Int32Array(memory.buffer, OUT);
    ({ decodeTo: this.decodeTo } = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as DecoderExports);
  }
}
let shared: DecoderModule | undefined;

export class Decoder {
  // --- the last instruction decoded ---
  row!: Row;
  lengthBytes = 0;
  operandSize = 4;
  /** ENV_*. */
  environment = 0;
  /** PREFIX_PLAIN, PREFIX_REP ... */
  prefix = 0;
  isMemory = false;
  /** Slots of a memory operand (byte offsets in the vCPU record) and its displacement, sign-extended in two halves. */
  base = 0;
  index = 0;
  scale = 0;
  dispLow = 0;
  dispHigh = 0;
  /** The displacement counts from the next instruction. */
  ripRelative = false;
  segment = 0;
  /** Slot of the segment's base: only FS and GS have one in 64-bit mode. */
  segmentSlot = 0;
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

  readonly #module = (shared ??= new DecoderModule());

  /**
   * @param bytes readable from `start` to `end`; the instruction may go on beyond (DECODE_TRUNCATED).
   * @param mode MODE_16, MODE_32 or MODE_64.
   * @returns DECODED, or DECODE_* and nothing but the length
   */
  decode(bytes: Uint8Array, start: number, end: number, mode: number): number {
    const { bytes: copy, out, decodeTo } = this.#module,
      available = Math.min(end - start, MAX_LENGTH);
    for (let i = 0; i < available; i++) copy[i] = bytes[start + i]!;
    const status = decodeTo(OUT, BYTES, available, mode);
    this.lengthBytes = out[OUT_LENGTH]!;
    if (status !== DECODED) return status;
    this.row = ROWS[out[OUT_LINE]!]!;
    this.operandSize = out[OUT_OPERAND_SIZE]!;
    this.environment = out[OUT_ENVIRONMENT]!;
    this.prefix = out[OUT_PREFIX]!;
    this.isMemory = out[OUT_IS_MEMORY] !== 0;
    this.base = out[OUT_BASE]!;
    this.index = out[OUT_INDEX]!;
    this.scale = out[OUT_SCALE]!;
    this.dispLow = out[OUT_DISPLACEMENT]!;
    this.dispHigh = out[OUT_DISPLACEMENT + 1]!;
    this.ripRelative = out[OUT_RIP_RELATIVE] !== 0;
    this.segment = out[OUT_SEGMENT]!;
    this.segmentSlot = out[OUT_SEGMENT_SLOT]!;
    for (let i = 0; i < 3; i++) this.registers[i] = out[OUT_REGISTERS + i]!;
    this.registerCount = out[OUT_REGISTER_COUNT]!;
    this.immediateLow = out[OUT_IMMEDIATE]!;
    this.immediateHigh = out[OUT_IMMEDIATE + 1]!;
    this.relative = out[OUT_RELATIVE] !== 0;
    this.hasImmediate = out[OUT_HAS_IMMEDIATE] !== 0;
    this.displacementBytes = out[OUT_DISPLACEMENT_BYTES]!;
    this.immediateBytes = out[OUT_IMMEDIATE_BYTES]!;
    return status;
  }
}
