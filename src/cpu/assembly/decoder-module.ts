/**
 * What decoder.wasm exports: the decoder alone, for who decodes without a vCPU.
 * Implements: cpu/decode/decoder.ts is its other side. Runs on: any thread.
 */
import {
  DECODED, OUT_BASE, OUT_DISPLACEMENT, OUT_DISPLACEMENT_BYTES, OUT_ENVIRONMENT, OUT_HAS_IMMEDIATE, OUT_IMMEDIATE, OUT_IMMEDIATE_BYTES, OUT_INDEX, OUT_IS_MEMORY, OUT_LENGTH, OUT_LINE,
  OUT_OPERAND_SIZE, OUT_PREFIX, OUT_REGISTERS, OUT_REGISTER_COUNT, OUT_RELATIVE, OUT_RIP_RELATIVE, OUT_SCALE, OUT_SEGMENT, OUT_SEGMENT_SLOT, ROW_LINE,
} from '../decode/codes.ts';
import {
  base, decode, displacement, displacementBytes, environment, hasImmediate, immediate, immediateBytes, index, isMemory, lengthBytes, operandSize, prefix, register0, register1, register2,
  registerCount, relative, ripRelative, row, scale, segment, segmentSlot,
} from './decoder';

/** @param out where the instruction's OUT_* go; of one that is not DECODED its length only @returns DECODED or DECODE_* */
export function decodeTo(out: usize, bytes: usize, available: u32, mode: u32): u32 {
  const status = decode(bytes, available, mode);
  store<u32>(out + OUT_LENGTH * 4, lengthBytes);
  if (status != DECODED) return status;
  store<u32>(out + OUT_LINE * 4, load<u16>(row, ROW_LINE));
  store<u32>(out + OUT_OPERAND_SIZE * 4, operandSize);
  store<u32>(out + OUT_ENVIRONMENT * 4, environment);
  store<u32>(out + OUT_PREFIX * 4, prefix);
  store<u32>(out + OUT_IS_MEMORY * 4, isMemory);
  store<u32>(out + OUT_BASE * 4, base);
  store<u32>(out + OUT_INDEX * 4, index);
  store<u32>(out + OUT_SCALE * 4, scale);
  store<u32>(out + OUT_SEGMENT * 4, segment);
  store<u32>(out + OUT_RIP_RELATIVE * 4, ripRelative);
  store<u32>(out + OUT_RELATIVE * 4, relative);
  store<u32>(out + OUT_HAS_IMMEDIATE * 4, hasImmediate);
  store<u32>(out + OUT_DISPLACEMENT_BYTES * 4, displacementBytes);
  store<u32>(out + OUT_IMMEDIATE_BYTES * 4, immediateBytes);
  store<u32>(out + OUT_REGISTER_COUNT * 4, registerCount);
  store<u32>(out + OUT_REGISTERS * 4, register0);
  store<u32>(out + OUT_REGISTERS * 4 + 4, register1);
  store<u32>(out + OUT_REGISTERS * 4 + 8, register2);
  store<u32>(out + OUT_SEGMENT_SLOT * 4, segmentSlot());
  store<i64>(out + OUT_DISPLACEMENT * 4, displacement);
  store<i64>(out + OUT_IMMEDIATE * 4, immediate);
  return status;
}
