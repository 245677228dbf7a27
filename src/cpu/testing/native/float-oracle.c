/*
 * Runs single x87 and SSE instructions on the real processor, for comparison with the floating-point helpers.
 * Implements: nothing of the machine; it is the reference. Runs on: the command line of an x86-64 Linux host, started by softfloat.test.ts.
 *
 * Standard input: records { u8 code[16]; u8 fxsave[512]; u8 memory[128] }; the code may address `memory` through RSI.
 * Standard output: records { u32 signal; u32 rflags; u64 rax; u8 fxsave[512]; u8 memory[128] }. RFLAGS status bits are set before.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct input { uint8_t code[16]; uint8_t fx[512]; uint8_t memory[128]; };
struct output { uint32_t signal, rflags; uint64_t rax; uint8_t fx[512]; uint8_t memory[128]; };

static sigjmp_buf escape;
static uint8_t state[512] __attribute__((aligned(64)));
static volatile int signalled;

static void on_signal(int number, siginfo_t *info, void *context) {
  ucontext_t *user = context;
  (void)info;
  signalled = number;
  memcpy(state, user->uc_mcontext.fpregs, 512);
  siglongjmp(escape, 1);
}

int main(void) {
  static struct input in;
  static struct output out;
  static uint8_t before[512] __attribute__((aligned(64)));
  uint8_t *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
  if (code == MAP_FAILED) return 1;
  sigaction(SIGFPE, &action, 0);
  sigaction(SIGILL, &action, 0);
  sigaction(SIGSEGV, &action, 0);
  memset(code, 0x90, 64);
  code[64] = 0xc3;
  while (fread(&in, sizeof in, 1, stdin) == 1) {
    memcpy(code, in.code, 16);
    memcpy(before, in.fx, 512);
    memcpy(out.memory, in.memory, 128);
    signalled = 0;
    static uint64_t flags, rax;
    flags = 0x8d5;
    rax = 0x1122334455667788;
    if (sigsetjmp(escape, 1) == 0) {
      __asm__ volatile(
          "sub $128, %%rsp\n\t"
          "fxrstor64 (%[before])\n\t"
          "pushfq\n\torq %[flags], (%%rsp)\n\tpopfq\n\t"
          "call *%[code]\n\t"
          "fxsave64 (%[after])\n\t"
          "pushfq\n\tpopq %[flags]\n\t"
          "add $128, %%rsp\n\t"
          "fnclex\n\tfninit\n\t"
          : [flags] "+r"(flags), "+a"(rax)
          : [before] "r"(before), [after] "r"(state), [code] "r"(code), "S"(out.memory)
          : "memory", "cc", "rcx");
    }
    uint32_t mxcsr = 0x1f80;
    __asm__ volatile("fnclex\n\tfninit\n\tldmxcsr %0" : : "m"(mxcsr));
    out.signal = signalled;
    out.rflags = (uint32_t)flags & 0x8d5;
    out.rax = rax;
    memcpy(out.fx, state, 512);
    if (fwrite(&out, sizeof out, 1, stdout) != 1) return 1;
  }
  return 0;
}
