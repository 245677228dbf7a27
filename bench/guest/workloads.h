/*
 * What the workloads share.
 * A workload does a fixed amount of work and returns a checksum of it, never 0, which is the same on every machine for one scale.
 */
#ifndef WORKLOADS_H
#define WORKLOADS_H
#include <stddef.h>
#include <stdint.h>

#define KIB 1024u
#define MIB (1024u * KIB)

/* The group a workload belongs to: what the processor does, or what kernel and memory management do. */
#define COMPUTE_WORKLOADS(X)                                                                                                          \
  X(crc32) X(sha256) X(qsort) X(sieve) X(bignum) X(memcpy) X(repstr) X(chase) X(stride) X(strings)                                    \
  X(nbody) X(matmul) X(mandel) X(x87) X(cvt) X(interp) X(calls) X(branch)
#define SYSTEM_WORKLOADS(X) X(getpid) X(clock) X(pipe) X(fork) X(forkexec) X(mmap) X(yield) X(signal) X(threads) X(jit) X(smc)

#define DECLARE_WORKLOAD(name) uint64_t run_##name(void);
COMPUTE_WORKLOADS(DECLARE_WORKLOAD)
SYSTEM_WORKLOADS(DECLARE_WORKLOAD)

/* How often to repeat something that is done `full` times at scale 1; at least once. */
long scaled(double full);

/* malloc that ends the program when there is no memory. */
void *need(size_t sizeBytes);

/* xorshift64 (Marsaglia 2003). */
static inline uint64_t nextRandom(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}
#endif
