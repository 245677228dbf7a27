/* Memory accesses of the compute group. */
#include "workloads.h"
#include <stdlib.h>
#include <string.h>

/* Blocks of 64 MiB through the C library, which picks SSE2 or the string instructions by CPUID. */
uint64_t run_memcpy(void) {
  const size_t sizeBytes = 64 * MIB;
  uint8_t *from = need(sizeBytes), *to = need(sizeBytes);
  uint64_t checksum = 0;
  memset(from, 7, sizeBytes);
  for (long count = scaled(24), i = 0; i < count; i++) {
    from[i * 4099] = i;
    memcpy(to, from, sizeBytes);
    checksum += to[i * 4099] + to[i * 5003];
  }
  free(from);
  free(to);
  return checksum;
}

/* The string instructions themselves, on 4 KiB and on 24 bytes. */
uint64_t run_repstr(void) {
  uint8_t *a = need(MIB), *b = need(MIB);
  uint64_t checksum = 0;
  memset(a, 5, MIB);
  memset(b, 0, MIB);
  for (long rounds = scaled(400000), i = 0; i < rounds; i++) {
    void *source = a + (i * 4096 & (MIB - 4096)), *destination = b + (i * 8192 & (MIB - 4096));
    long count = 512;
    __asm__ volatile("rep movsq" : "+S"(source), "+D"(destination), "+c"(count)::"memory");
    destination = b + (i * 64 & (MIB - 64));
    count = 24;
    __asm__ volatile("rep stosb" : "+D"(destination), "+c"(count) : "a"(i) : "memory");
    source = b + (i * 64 & (MIB - 64));
    destination = a + 24;
    count = 24;
    __asm__ volatile("repe cmpsb" : "+S"(source), "+D"(destination), "+c"(count)::"memory", "cc");
    checksum += count + b[i & (MIB - 1)];
  }
  free(a);
  free(b);
  return checksum;
}

/* A walk along random pointers through 32 MiB: each step one load that misses TLB and cache. */
uint64_t run_chase(void) {
  const uint32_t count = 32 * MIB / sizeof(uint32_t);
  uint32_t *next = need(count * sizeof *next), at = 0;
  uint64_t state = 99991;
  for (uint32_t i = 0; i < count; i++) next[i] = i;
  for (uint32_t i = count - 1; i; i--) { /* Sattolo's shuffle: one cycle through all */
    uint32_t other = nextRandom(&state) % i, swap = next[i];
    next[i] = next[other];
    next[other] = swap;
  }
  for (long steps = scaled(4e6); steps; steps--) at = next[at];
  free(next);
  return at;
}

/* Read, add, write every 4160 bytes of 64 MiB: each time another page. */
uint64_t run_stride(void) {
  const long words = 64 * MIB / sizeof(uint64_t);
  uint64_t *values = need(64 * MIB), checksum = 0;
  memset(values, 0, 64 * MIB);
  for (long rounds = scaled(800), i = 0; i < rounds; i++) {
    for (long k = i & 7; k < words; k += 520) checksum += values[k] += k + i;
  }
  free(values);
  return checksum;
}

/* strlen, memchr, strcmp, strstr: SSE2 compares of bytes in the C library. */
uint64_t run_strings(void) {
  enum { LENGTH = 65536 };
  char *text = need(LENGTH + 1), *other = need(LENGTH + 1);
  uint64_t state = 42, checksum = 0;
  for (int i = 0; i < LENGTH; i++) text[i] = 'a' + nextRandom(&state) % 24;
  text[LENGTH] = 0;
  strcpy(other, text);
  other[65000] = 'z';
  for (long rounds = scaled(15000), i = 0; i < rounds; i++) {
    char *start = text + (i * 37 & 4095);
    checksum += strlen(start) + (memchr(other, 'z', LENGTH) != NULL) + (strcmp(text, other) > 0);
    if (!(i & 15)) checksum += strstr(start, "zzyx") != NULL;
  }
  free(text);
  free(other);
  return checksum;
}
