/*
 * bench [-s SCALE] [NAME...]: run the workloads named, or all; for each one line, `NAME SECONDS CHECKSUM`, and a last line of the whole.
 * bench -l: list them, `NAME GROUP`.
 */
#include "workloads.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What run_forkexec starts: this program, which ends at once with a status that nothing else has. */
#define CHILD_FLAG "-x"
#define CHILD_STATUS 42

#define COMPUTE_ROW(name) { #name, "compute", run_##name },
#define SYSTEM_ROW(name) { #name, "system", run_##name },
static const struct {
  const char *name;
  const char *group;
  uint64_t (*run)(void);
} WORKLOADS[] = { COMPUTE_WORKLOADS(COMPUTE_ROW) SYSTEM_WORKLOADS(SYSTEM_ROW) };
enum { WORKLOAD_COUNT = sizeof WORKLOADS / sizeof *WORKLOADS };

static double scale = 1;

long scaled(double full) {
  double count = full * scale;
  return count < 1 ? 1 : (long)count;
}

void *need(size_t sizeBytes) {
  void *memory = malloc(sizeBytes);
  if (!memory) {
    puts("bench: out of memory");
    exit(1);
  }
  return memory;
}

static double nowSeconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(int count, char **arguments) {
  int at = 1;
  if (at < count && !strcmp(arguments[at], CHILD_FLAG)) return CHILD_STATUS;
  if (at < count && !strcmp(arguments[at], "-l")) {
    for (int i = 0; i < WORKLOAD_COUNT; i++) printf("%s %s\n", WORKLOADS[i].name, WORKLOADS[i].group);
    return 0;
  }
  if (at + 1 < count && !strcmp(arguments[at], "-s")) {
    scale = atof(arguments[at + 1]);
    at += 2;
  }
  bool failed = false;
  double begin = nowSeconds();
  for (int i = 0; i < WORKLOAD_COUNT; i++) {
    bool wanted = at == count;
    for (int k = at; k < count; k++) wanted |= !strcmp(arguments[k], WORKLOADS[i].name);
    if (!wanted) continue;
    double start = nowSeconds();
    uint64_t checksum = WORKLOADS[i].run();
    printf("%s %.6f %016llx\n", WORKLOADS[i].name, nowSeconds() - start, (unsigned long long)checksum);
    fflush(stdout);
    failed |= checksum == 0;
  }
  printf("bench done %.6f\n", nowSeconds() - begin);
  return failed;
}
