/**
 * Numbers that the decoder's tables and its results consist of. Plain constants, because AssemblyScript reads this file too.
 */

/** Results of decoding. */
export const DECODED = 0;
export const DECODE_UNDEFINED = 1;
/** The instruction goes on beyond the bytes that are there. */
export const DECODE_TRUNCATED = 2;
export const DECODE_TOO_LONG = 3;
/** Bytes of the longest instruction (SDM vol. 2A 2.3.11). */
export const MAX_LENGTH = 15;

/** Prefixes that choose a variant of a handler. */
export const PREFIX_PLAIN = 0;
export const PREFIX_REP = 1;
export const PREFIX_REPNE = 2;
export const PREFIX_LOCK = 3;

/** Environments: 64-bit mode with 64- or 32-bit addresses, other modes with 32- or 16-bit ones. */
export const ENV_LONG64 = 0;
export const ENV_LONG32 = 1;
export const ENV_LEGACY32 = 2;
export const ENV_LEGACY16 = 3;
/** Variants of a line: operand size (3), register or memory (2), environment (4), prefix (4). */
export const VARIANTS = 96;

/** How an operand is found (SDM vol. 2D A.2.1). */
export const KIND_RM = 0;
export const KIND_REG = 1;
export const KIND_LOW = 2;
export const KIND_FIXED = 3;
export const KIND_IMM = 4;
export const KIND_REL = 5;
export const KIND_MOFFS = 6;
export const KIND_STRING_SOURCE = 7;
export const KIND_STRING_DESTINATION = 8;
export const KIND_NUMBER_REG = 9;
export const KIND_NUMBER_RM = 10;
export const KIND_FAR = 11;
export const KIND_ONE = 12;
export const KIND_OPCODE = 13;

/** Register class of an operand. */
export const CLASS_GPR = 0;
export const CLASS_VECTOR = 1;
export const CLASS_MMX = 2;
export const CLASS_NUMBER = 3;
export const CLASS_SEGMENT = 4;

/** Operand sizes that depend on the instruction; others are bytes. */
export const SIZE_V = 32;
/** 8 bytes with REX.W, else 4. */
export const SIZE_Y = 33;
export const SIZE_Z = 34;

/** What ends a run of decoded code: nothing, a branch behind which it may go on, an instruction after which the processor looks for events. */
export const ENDS_NO = 0;
export const ENDS_BRANCH = 1;
export const ENDS_SYSTEM = 2;
export const ENDS_OTHERWISE = 3;

// Bits of a row.
export const ROW_HAS_MODRM = 1;
/** ModRM.mod is ignored: always a register (MOV CRn, DRn). */
export const ROW_ALWAYS_REGISTER = 2;
export const ROW_NO_REX_B = 4;
export const ROW_D64 = 8;
export const ROW_F64 = 16;
export const ROW_LOCKABLE = 32;
export const ROW_REPEATS = 64;
export const ROW_ALWAYS_LOCKED = 128;
/** Its immediate may have eight bytes: MOV r64, imm64. */
export const ROW_FULL_IMMEDIATE = 256;

// --- the image: what the decoder reads of the declarations (decode/image.ts) ---

/** By map * 256 + opcode: { u16 first row, u8 rows, u8 OPCODE_*, u8 and u8 bytes that an undefined one takes as its immediate: narrow, wide }. */
export const IMAGE_OPCODES = 0;
export const OPCODE_SHIFT = 3;
export const OPCODE_FIRST = 0;
export const OPCODE_ROWS = 2;
export const OPCODE_BITS = 3;
export const OPCODE_NARROW = 4;
export const OPCODE_WIDE = 5;
/** An undefined one takes a ModRM byte; another byte before that; no ModRM byte in 64-bit mode, where it begins a later encoding. */
export const OPCODE_MODRM = 1;
export const OPCODE_MORE = 2;
export const OPCODE_VEX = 4;
/** Rows, those of an opcode one after the other. */
export const IMAGE_ROWS = 8192;
export const ROW_SHIFT = 5;
export const ROW_LINE = 0;
export const ROW_BITS = 2;
export const ROW_PREFIX = 4;
export const ROW_DIGIT = 5;
export const ROW_MODRM_FROM = 6;
export const ROW_MODRM_END = 8;
/** 0 either, 1 memory, 2 register. */
export const ROW_MOD = 10;
export const ROW_REX_W = 11;
/** 0 any, 1 only 64-bit mode, 2 not in it. */
export const ROW_MODE = 12;
export const ROW_FPU_CLASS = 13;
export const ROW_ENDS = 14;
export const ROW_OPERAND_COUNT = 15;
/** { u8 KIND_*, u8 CLASS_* with OPERAND_SIGNED_BYTE, u8 size, i8 register } each. */
export const ROW_OPERANDS = 16;
export const OPERAND_SHIFT = 2;
export const MAX_OPERANDS = 4;
export const OPERAND_SIGNED_BYTE = 128;

// --- the last instruction, in words, for who decodes outside of cpu.wasm ---
export const OUT_LINE = 0;
export const OUT_LENGTH = 1;
export const OUT_OPERAND_SIZE = 2;
export const OUT_ENVIRONMENT = 3;
export const OUT_PREFIX = 4;
export const OUT_IS_MEMORY = 5;
export const OUT_BASE = 6;
export const OUT_INDEX = 7;
export const OUT_SCALE = 8;
export const OUT_SEGMENT = 9;
export const OUT_RIP_RELATIVE = 10;
export const OUT_RELATIVE = 11;
export const OUT_HAS_IMMEDIATE = 12;
export const OUT_DISPLACEMENT_BYTES = 13;
export const OUT_IMMEDIATE_BYTES = 14;
export const OUT_REGISTER_COUNT = 15;
export const OUT_REGISTERS = 16;
export const OUT_SEGMENT_SLOT = 19;
/** Two words each: low, high. */
export const OUT_DISPLACEMENT = 20;
export const OUT_IMMEDIATE = 22;
export const OUT_WORDS = 24;
