/* Control flow of the compute group. */
#include "workloads.h"

/* An interpreter of byte code: one indirect jump for each step. */
uint64_t run_interp(void) {
  enum { LDI, ADD, XOR, SHR, MUL, DEC, JNZ, LD, ST, END };
  static const uint8_t program[] = {
    LDI, 0, 7, LDI, 1, 200, LD, 2, 0, ADD, 0, 2, XOR, 0, 1, MUL, 0, 1, SHR, 3, 0, ADD, 3, 2, ST, 3, 0, DEC, 1, 0, JNZ, 1, 6, END, 0, 0,
  };
  uint64_t r[4] = { 0 }, memory[16] = { 3 }, checksum = 0;
  for (long n = scaled(40000); n; n--) {
    for (const uint8_t *at = program;; at += 3) {
      uint8_t x = at[1], y = at[2];
      switch (at[0]) {
        case LDI: r[x] = x == 1 ? y : y + (uint64_t)n; break;
        case ADD: r[x] += r[y]; break;
        case XOR: r[x] ^= r[y]; break;
        case SHR: r[x] = r[y] >> 7; break;
        case MUL: r[x] *= r[y] | 1; break;
        case DEC: r[x]--; break;
        case JNZ: if (r[x]) at = program + y - 3; break;
        case LD: r[x] = memory[r[y] & 15]; break;
        case ST: memory[r[y] & 15] = r[x]; break;
        default: goto ended;
      }
    }
  ended:
    checksum += r[0] ^ r[3];
  }
  return checksum;
}

#define FUNCTION(name, value) static __attribute__((noinline)) uint64_t name(uint64_t x) { return value; }
FUNCTION(increment, x + 1)
FUNCTION(triple, x * 3)
FUNCTION(fold, x ^ x >> 5)
FUNCTION(subtract, x - (x << 3))
FUNCTION(invert, ~x)
FUNCTION(shiftAdd, x + (x >> 9))
FUNCTION(square, x * x)
FUNCTION(flip, x ^ 0x5555)
static uint64_t (*const FUNCTIONS[8])(uint64_t) = { increment, triple, fold, subtract, invert, shiftAdd, square, flip };

static __attribute__((noinline)) uint32_t fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

/* Function pointers picked at random, returns, recursion. */
uint64_t run_calls(void) {
  uint64_t state = 777, checksum = 0;
  for (long n = scaled(25e6); n; n--) checksum = FUNCTIONS[nextRandom(&state) & 7](checksum);
  for (long n = scaled(12); n; n--) checksum += fibonacci(27 + (checksum & 1));
  return checksum;
}

/* Conditions that cannot be predicted, a small switch, tests of bits. */
uint64_t run_branch(void) {
  uint64_t state = 31337, c = 1;
  for (long n = scaled(60e6); n; n--) {
    uint64_t x = nextRandom(&state);
    if (x & 1) c += x >> 60;
    else c ^= n;
    if ((x & 0x70) == 0x30) c = c << 1 | c >> 63;
    if ((int64_t)x < 0 && (x & 6) != 2) c -= 5;
    switch (x >> 10 & 3) {
      case 0: c *= 3; break;
      case 1: c += 11; break;
      case 2: if (c & 8) c--;
    }
  }
  return c;
}
