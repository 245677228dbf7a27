/* Integer arithmetic of the compute group. */
#include "workloads.h"
#include <stdlib.h>
#include <string.h>

/* A table lookup per byte, in one dependent chain. */
uint64_t run_crc32(void) {
  uint32_t table[256];
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t remainder = i;
    for (int bit = 0; bit < 8; bit++) remainder = remainder & 1 ? remainder >> 1 ^ 0xedb88320 : remainder >> 1;
    table[i] = remainder;
  }
  uint8_t *data = need(MIB);
  for (uint32_t i = 0; i < MIB; i++) data[i] = i * 2654435761u >> 24;
  uint32_t crc = ~0u;
  for (long n = scaled(120); n; n--) {
    for (uint32_t i = 0; i < MIB; i++) crc = table[(crc ^ data[i]) & 255] ^ crc >> 8;
  }
  free(data);
  return crc;
}

/* FIPS 180-4 4.2.2 */
static const uint32_t SHA256_CONSTANTS[64] = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotateRight(uint32_t value, int count) { return value >> count | value << (32 - count); }

/* 32-bit rotates and adds, unrolled by the compiler: one block after the other, without padding. */
uint64_t run_sha256(void) {
  uint32_t hash[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
  uint32_t w[64], s[8];
  for (long n = scaled(500000); n; n--) {
    for (uint32_t i = 0; i < 16; i++) w[i] = __builtin_bswap32(i * 0x9e3779b9u + (uint32_t)n);
    for (int i = 16; i < 64; i++) {
      uint32_t low = rotateRight(w[i - 15], 7) ^ rotateRight(w[i - 15], 18) ^ w[i - 15] >> 3;
      uint32_t high = rotateRight(w[i - 2], 17) ^ rotateRight(w[i - 2], 19) ^ w[i - 2] >> 10;
      w[i] = w[i - 16] + w[i - 7] + low + high;
    }
    memcpy(s, hash, sizeof s);
    for (int i = 0; i < 64; i++) {
      uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
      uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
      uint32_t first =
        s[7] + (rotateRight(s[4], 6) ^ rotateRight(s[4], 11) ^ rotateRight(s[4], 25)) + choice + SHA256_CONSTANTS[i] + w[i];
      uint32_t second = (rotateRight(s[0], 2) ^ rotateRight(s[0], 13) ^ rotateRight(s[0], 22)) + majority;
      for (int k = 7; k; k--) s[k] = s[k - 1];
      s[4] += first;
      s[0] = first + second;
    }
    for (int i = 0; i < 8; i++) hash[i] += s[i];
  }
  return (uint64_t)hash[0] << 32 | hash[7];
}

static int compareNumbers(const void *left, const void *right) {
  uint32_t x = *(const uint32_t *)left, y = *(const uint32_t *)right;
  return x < y ? -1 : x > y;
}

/* The C library's sort: indirect calls and branches that cannot be predicted. */
uint64_t run_qsort(void) {
  long count = scaled(600000);
  uint32_t *values = need(count * sizeof *values);
  uint64_t state = 88172645463325252, checksum = 0;
  for (int round = 0; round < 2; round++) {
    for (long i = 0; i < count; i++) values[i] = nextRandom(&state);
    qsort(values, count, sizeof *values, compareNumbers);
    for (long i = 0; i < count; i += 97) checksum = checksum * 31 + values[i];
  }
  free(values);
  return checksum;
}

/* Byte stores with growing strides. */
uint64_t run_sieve(void) {
  long last = scaled(12e6), primes = 0;
  uint8_t *isPrime = need(last + 1);
  for (int round = 0; round < 2; round++) {
    memset(isPrime, 1, last + 1);
    primes = 0;
    for (long i = 2; i * i <= last; i++) {
      if (isPrime[i]) for (long k = i * i; k <= last; k += i) isPrime[k] = 0;
    }
    for (long i = 2; i <= last; i++) primes += isPrime[i];
  }
  free(isPrime);
  return primes;
}

/* 64 x 64 -> 128 bit products, sums with carry, divisions: a school multiplication of two numbers of 64 words. */
uint64_t run_bignum(void) {
  enum { WORDS = 64 };
  uint64_t x[WORDS], y[WORDS], product[2 * WORDS], state = 1234567, checksum = 0;
  for (int i = 0; i < WORDS; i++) {
    x[i] = nextRandom(&state);
    y[i] = nextRandom(&state);
  }
  for (long n = scaled(25000); n; n--) {
    memset(product, 0, sizeof product);
    for (int i = 0; i < WORDS; i++) {
      uint64_t carry = 0;
      for (int k = 0; k < WORDS; k++) {
        unsigned __int128 sum = (unsigned __int128)x[i] * y[k] + product[i + k] + carry;
        product[i + k] = sum;
        carry = sum >> 64;
      }
      product[i + WORDS] = carry;
    }
    for (int i = 0; i < WORDS; i++) {
      x[i] ^= product[i + WORDS / 2];
      checksum += product[i] / (y[i] >> 20 | 1) + product[i + WORDS] % 1000003;
    }
  }
  return checksum;
}
