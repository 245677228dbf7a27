/* System calls, processes, page tables, signals and threads: the system group. */
#define _GNU_SOURCE
#include "workloads.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The shortest system call. */
uint64_t run_getpid(void) {
  uint64_t equal = 0;
  const long own = getpid();
  for (long n = scaled(1.5e6); n; n--) equal += syscall(SYS_getpid) == own;
  return equal;
}

/* The clock in the vDSO, or the system call where the kernel's clock source has none. */
uint64_t run_clock(void) {
  struct timespec now;
  uint64_t good = 0;
  for (long n = scaled(12e6); n; n--) good += clock_gettime(CLOCK_MONOTONIC, &now) == 0;
  return good;
}

/* One byte to another process and back. */
uint64_t run_pipe(void) {
  int there[2], back[2];
  uint8_t byte = 0;
  uint64_t checksum = 0;
  const long rounds = scaled(20000);
  if (pipe(there) || pipe(back)) return 0;
  pid_t child = fork();
  if (child < 0) return 0;
  if (child == 0) {
    for (long i = 0; i < rounds; i++) {
      if (read(there[0], &byte, 1) != 1) _exit(1);
      byte++;
      if (write(back[1], &byte, 1) != 1) _exit(1);
    }
    _exit(0);
  }
  for (long i = 0; i < rounds; i++) {
    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1) break;
    checksum += byte;
  }
  waitpid(child, NULL, 0);
  for (int i = 0; i < 2; i++) {
    close(there[i]);
    close(back[i]);
  }
  return checksum;
}

uint64_t run_fork(void) {
  uint64_t checksum = 0;
  int status;
  for (long n = scaled(600); n; n--) {
    pid_t child = fork();
    if (child < 0) return 0;
    if (child == 0) _exit(9);
    waitpid(child, &status, 0);
    checksum += WEXITSTATUS(status);
  }
  return checksum;
}

/* The child becomes this program again, which ends at once with status 42. */
uint64_t run_forkexec(void) {
  uint64_t good = 0;
  int status;
  for (long n = scaled(300); n; n--) {
    pid_t child = fork();
    if (child < 0) return 0;
    if (child == 0) {
      execl("/proc/self/exe", "bench", "-x", (char *)NULL);
      _exit(1);
    }
    waitpid(child, &status, 0);
    good += WIFEXITED(status) && WEXITSTATUS(status) == 42;
  }
  return good;
}

/* Map 2 MiB, touch its 512 pages, protect half, unmap. */
uint64_t run_mmap(void) {
  const size_t sizeBytes = 2 * MIB;
  uint64_t checksum = 0;
  for (long n = scaled(120); n; n--) {
    uint8_t *pages = mmap(NULL, sizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return 0;
    madvise(pages, sizeBytes, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < sizeBytes / 4096; i++) {
      pages[i * 4096] = i;
      checksum += pages[i * 4096];
    }
    mprotect(pages, sizeBytes / 2, PROT_READ);
    checksum += pages[4096];
    munmap(pages, sizeBytes);
  }
  return checksum;
}

/* Two processes hand the processor to each other. */
uint64_t run_yield(void) {
  const long rounds = scaled(60000);
  uint64_t good = 0;
  pid_t child = fork();
  if (child < 0) return 0;
  if (child == 0) {
    for (long i = 0; i < rounds; i++) sched_yield();
    _exit(0);
  }
  for (long i = 0; i < rounds; i++) good += sched_yield() == 0;
  waitpid(child, NULL, 0);
  return good;
}

static volatile uint64_t signalSum;
static void onSignal(int number) { signalSum += number; }

uint64_t run_signal(void) {
  signalSum = 0;
  signal(SIGUSR1, onSignal);
  for (long n = scaled(150000); n; n--) raise(SIGUSR1);
  return signalSum;
}

static uint64_t shared;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *addShared(void *argument) {
  for (long count = (long)argument, i = 0; i < count; i++) {
    __atomic_add_fetch(&shared, 3, __ATOMIC_SEQ_CST);
    if (i & 15) continue;
    pthread_mutex_lock(&mutex);
    __atomic_add_fetch(&shared, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&mutex);
  }
  return NULL;
}

/* Two threads with locked additions and a mutex: the sum is right only if both are. */
uint64_t run_threads(void) {
  const long count = scaled(1.25e6) * 16;
  pthread_t threads[2];
  shared = 0;
  for (int i = 0; i < 2; i++) {
    if (pthread_create(&threads[i], NULL, addShared, (void *)count)) return 0;
  }
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  return shared;
}
