/*
 * Runs single instructions on the real CPU and reports the state before and after each: the recorder of the vectors.
 * Implements: the surroundings that docs name for the one-instruction runner (two 64 KiB regions, CPL 3, IOPL 0); Linux signal frames,
 * FXSAVE image of SDM vol. 1 10.5.1.
 * Runs on: Linux x86-64 only, started by native-cpu.ts. Reads records on stdin until it ends, then writes one answer per record.
 *
 * A signal handler is the whole engine: it changes the saved context to the state wanted, with TF set, and returns; the processor
 * runs one instruction and comes back with the next signal. Nothing has to be assembled around the instruction, so it may be of
 * any length, at any address, and may write anything. The 32-bit mode is the selector 0x23 in the same context.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

enum { REGION_BYTES = 0x10000, FLAG_REPEAT = 1, FLAG_PUSHF = 2, MAX_REPEATS = 70000 };
static const uint64_t regionStart[2] = {0x10000000, 0x20000000};

/* One record of input; mem entries follow: {u64 address, u32 sizeBytes, u32 0, bytes padded to 8}. */
struct input {
  uint32_t sizeBytes, id, mode, flags, codeBytes, memCount;
  uint8_t code[16];
  uint64_t gpr[16], rip, rflags;
  uint8_t fx[512];
};
/* One record of output; then the bytes of each mem entry (padded to 8), then `changedCount` entries {u64, u32, u32, before, after}. */
struct output {
  uint32_t sizeBytes, id, status;
  int32_t exception;
  uint32_t error, changedCount;
  uint64_t cr2, gpr[16], rip, rflags;
  uint8_t fx[512];
};

static uint8_t *inputs, *inputsEnd, *next;
static uint8_t *outputs;
static size_t outputBytes, outputRoom;
static uint8_t *shadow[2];
static struct input *present;
static ucontext_t mainContext;
static uint8_t mainFx[512];
static unsigned repeats;
static struct input *atLastAlarm;
static uint64_t hostFsBase;
static int running;

static const int gregOf[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static uint64_t pad8(uint64_t n) { return (n + 7) & ~7ull; }

/* Copies into both the region and its shadow; what lies outside of the regions is not written. */
static void place(uint64_t address, const uint8_t *bytes, uint64_t sizeBytes) {
  for (uint64_t i = 0; i < sizeBytes; i++) {
    for (int r = 0; r < 2; r++) {
      uint64_t offset = address + i - regionStart[r];
      if (offset < REGION_BYTES) *(uint8_t *)(regionStart[r] + offset) = shadow[r][offset] = bytes ? bytes[i] : 0;
    }
  }
}

static void *grow(size_t sizeBytes) {
  if (outputBytes + sizeBytes > outputRoom) {
    size_t room = (outputRoom + sizeBytes) * 2;
    outputs = mremap(outputs, outputRoom, room, MREMAP_MAYMOVE);
    if (outputs == MAP_FAILED) _exit(3);
    outputRoom = room;
  }
  void *at = outputs + outputBytes;
  memset(at, 0, sizeBytes);
  outputBytes += sizeBytes;
  return at;
}

static void finish(ucontext_t *context, int signalNumber) {
  greg_t *g = context->uc_mcontext.gregs;
  uint64_t mask = present->mode == 32 ? 0xffffffffull : ~0ull;
  size_t start = outputBytes;
  struct output *out = grow(sizeof *out);
  out->id = present->id;
  out->status = signalNumber == SIGALRM || repeats >= MAX_REPEATS ? 2 : 0;
  out->exception = g[REG_TRAPNO] == 1 ? -1 : (int)g[REG_TRAPNO];
  out->error = (uint32_t)g[REG_ERR];
  out->cr2 = (uint64_t)g[REG_CR2];
  for (int i = 0; i < 16; i++) out->gpr[i] = (uint64_t)g[gregOf[i]] & mask;
  out->rip = (uint64_t)g[REG_RIP] & mask;
  out->rflags = (uint64_t)g[REG_EFL] & ~0x10100ull; /* TF is ours, RF comes with the signal */
  memcpy(out->fx, context->uc_mcontext.fpregs, 512);
  /* PUSHF has stored our TF. */
  if ((present->flags & FLAG_PUSHF) && out->exception < 0) *((uint8_t *)out->gpr[4] + 1) &= ~1;

  uint8_t *entry = (uint8_t *)(present + 1);
  for (uint32_t i = 0; i < present->memCount; i++) {
    uint64_t address = *(uint64_t *)entry;
    uint32_t sizeBytes = *(uint32_t *)(entry + 8);
    memcpy(grow(pad8(sizeBytes)), (void *)address, sizeBytes);
    entry += 16 + pad8(sizeBytes);
  }
  uint32_t changedCount = 0;
  for (int r = 0; r < 2; r++) {
    uint8_t *now = (uint8_t *)regionStart[r];
    if (memcmp(now, shadow[r], REGION_BYTES) == 0) continue;
    for (uint32_t i = 0; i < REGION_BYTES; i++) {
      if (now[i] == shadow[r][i]) continue;
      uint32_t end = i + 1, same = 0; /* one entry swallows gaps of up to 8 equal bytes */
      for (uint32_t j = i + 1; j < REGION_BYTES && same < 8; j++) {
        if (now[j] != shadow[r][j]) { end = j + 1; same = 0; } else same++;
      }
      uint32_t sizeBytes = end - i;
      uint8_t *changed = grow(16 + 2 * pad8(sizeBytes));
      *(uint64_t *)changed = regionStart[r] + i;
      *(uint32_t *)(changed + 8) = sizeBytes;
      memcpy(changed + 16, shadow[r] + i, sizeBytes);
      memcpy(changed + 16 + pad8(sizeBytes), now + i, sizeBytes);
      memset(now + i, 0, sizeBytes);
      memset(shadow[r] + i, 0, sizeBytes);
      changedCount++;
      i = end;
    }
  }
  out = (struct output *)(outputs + start); /* it may have moved */
  out->changedCount = changedCount;
  out->sizeBytes = (uint32_t)(outputBytes - start);

  entry = (uint8_t *)(present + 1);
  for (uint32_t i = 0; i < present->memCount; i++) {
    place(*(uint64_t *)entry, 0, *(uint32_t *)(entry + 8));
    entry += 16 + pad8(*(uint32_t *)(entry + 8));
  }
  place(present->rip, 0, present->codeBytes);
}

static void load(ucontext_t *context) {
  greg_t *g = context->uc_mcontext.gregs;
  present = (struct input *)next;
  next += present->sizeBytes;
  repeats = 0;
  uint8_t *entry = (uint8_t *)(present + 1);
  for (uint32_t i = 0; i < present->memCount; i++) {
    uint32_t sizeBytes = *(uint32_t *)(entry + 8);
    place(*(uint64_t *)entry, entry + 16, sizeBytes);
    entry += 16 + pad8(sizeBytes);
  }
  place(present->rip, present->code, present->codeBytes);
  for (int i = 0; i < 16; i++) g[gregOf[i]] = (greg_t)present->gpr[i];
  g[REG_RIP] = (greg_t)present->rip;
  g[REG_EFL] = (greg_t)(present->rflags | 0x100);
  g[REG_CSGSFS] = (greg_t)((0x2bull << 48) | (present->mode == 32 ? 0x23 : 0x33));
  uint8_t *fx = (uint8_t *)context->uc_mcontext.fpregs;
  memcpy(fx, present->fx, 416);
  /* Frame with an XSAVE area (FP_XSTATE_MAGIC1): x87 and SSE from the image, everything wider in its initial state. */
  if (*(uint32_t *)(fx + 464) == 0x46505853) *(uint64_t *)(fx + 512) = 3;
}

static long systemCall2(long number, long a, long b) {
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
  return result;
}

__attribute__((used)) static void onSignal(int signalNumber, siginfo_t *info, void *contextPointer) {
  (void)info;
  ucontext_t *context = contextPointer;
  greg_t *g = context->uc_mcontext.gregs;
  systemCall2(SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, (long)hostFsBase);
  if (!running) {
    if (signalNumber != SIGILL) _exit(4);
    running = 1;
    memcpy(mainContext.uc_mcontext.gregs, g, sizeof mainContext.uc_mcontext.gregs);
    memcpy(mainFx, context->uc_mcontext.fpregs, 416);
    load(context);
  } else if (signalNumber == SIGALRM && atLastAlarm != present) {
    atLastAlarm = present;
  } else if ((present->flags & FLAG_REPEAT) && g[REG_TRAPNO] == 1 && (uint64_t)g[REG_RIP] == present->rip && ++repeats < MAX_REPEATS) {
    /* TF traps after each iteration: the next one. */
  } else {
    finish(context, signalNumber);
    if (next < inputsEnd) {
      load(context);
    } else {
      running = 0;
      memcpy(g, mainContext.uc_mcontext.gregs, sizeof mainContext.uc_mcontext.gregs);
      g[REG_RIP] += 2; /* behind the UD2 */
      memcpy(context->uc_mcontext.fpregs, mainFx, 416);
      return;
    }
  }
  /* All segments flat with base 0 (loading FS and GS clears their bases), also for 32-bit code. No TLS from here on. */
  __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(0x2b));
}

/* The vector's flags still hold here: AC, NT, DF and ID must not reach C code or the next vector. */
void entry(void);
__asm__("entry: pushq $0x202; popfq; jmp onSignal");

int main(void) {
  for (int r = 0; r < 2; r++) {
    void *at = mmap((void *)regionStart[r], REGION_BYTES, PROT_READ | PROT_WRITE | (r ? PROT_EXEC : 0),
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != (void *)regionStart[r]) { fprintf(stderr, "generator: cannot map 0x%lx\n", (unsigned long)regionStart[r]); return 2; }
    shadow[r] = mmap(0, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  size_t room = 1 << 20, got = 0;
  inputs = malloc(room);
  for (;;) {
    ssize_t n = read(0, inputs + got, room - got);
    if (n <= 0) break;
    got += (size_t)n;
    if (got == room) inputs = realloc(inputs, room *= 2);
  }
  next = inputs;
  inputsEnd = inputs + got;
  if (got == 0) return 0;
  outputRoom = 1 << 20;
  outputs = mmap(0, outputRoom, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  systemCall2(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, (long)&hostFsBase);

  stack_t stack = {.ss_sp = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), .ss_size = 1 << 20};
  sigaltstack(&stack, 0);
  struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
  action.sa_sigaction = (void (*)(int, siginfo_t *, void *))entry;
  sigfillset(&action.sa_mask);
  static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGALRM};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, 0);
  struct itimerval every = {{1, 0}, {1, 0}};
  setitimer(ITIMER_REAL, &every, 0);

  __asm__ volatile("ud2" : : : "memory");

  struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &never, 0);
  for (size_t done = 0; done < outputBytes;) {
    ssize_t n = write(1, outputs + done, outputBytes - done);
    if (n <= 0) return 5;
    done += (size_t)n;
  }
  return 0;
}
