/* Programs that write programs: part of the system group. */
#include "workloads.h"
#include <string.h>
#include <sys/mman.h>

static uint8_t *mapCode(size_t sizeBytes) {
  uint8_t *code = mmap(NULL, sizeBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return code == MAP_FAILED ? NULL : code;
}

/* Each call runs a function that has just been written. */
uint64_t run_jit(void) {
  const size_t sizeBytes = 64 * KIB;
  uint8_t *code = mapCode(sizeBytes);
  uint64_t value = 1;
  if (!code) return 0;
  for (long count = scaled(60000), i = 0; i < count; i++) {
    uint8_t *function = code + (i * 64 & (sizeBytes - 1));
    uint32_t constant = i * 2654435761u | 1;
    memcpy(function, "\x48\x8d\x04\x3f\x48\x05", 6);  /* lea rax, [rdi + rdi]; add rax, ... */
    memcpy(function + 6, &constant, 4);               /* ... constant */
    memcpy(function + 10, "\x48\x31\xf8\xc3", 4);     /* xor rax, rdi; ret */
    function[12] = i & 1 ? 0xf8 : 0xf0;               /* or xor rax, rsi */
    value = ((uint64_t(*)(uint64_t, uint64_t))function)(value, i);
  }
  munmap(code, sizeBytes);
  return value;
}

/* A hot function whose constant is patched every 20,000 calls, as a runtime patches its call sites. */
uint64_t run_smc(void) {
  const long callsPerPatch = 20000;
  uint8_t *code = mapCode(4096);
  uint64_t value = 1;
  if (!code) return 0;
  memcpy(code, "\x48\x8d\x47\x01\x48\x69\xc0\x0d\x66\x19\x00\xc3", 12); /* lea rax, [rdi + 1]; imul rax, rax, 1664525; ret */
  for (long count = scaled(40e6), i = 0; i < count; i++) {
    if (i % callsPerPatch == 0) code[3] = i / callsPerPatch;
    value = ((uint64_t(*)(uint64_t))code)(value);
  }
  munmap(code, 4096);
  return value;
}
