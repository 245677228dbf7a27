# CPUID, MSRs, FXSAVE and XSAVE, self-modifying code, string instructions, lazy corners of the integer unit.
# SDM vol. 1 13 XSAVE, vol. 3A 9.1.3 self-modifying code, vol. 4 MSRs.
.include "runtime64.inc"

main:
  # --- CPUID ---
  xor eax, eax
  cpuid
  cmp eax, 7
  setae al
  movzx eax, al
  CHECK "cpuid-maximum-leaf", rax, 1
  mov eax, 1
  cpuid
  mov r12d, ecx
  mov r13d, edx
  mov eax, r13d
  and eax, 0x07808111          # FPU TSC PAE CMOV? MMX FXSR SSE SSE2
  CHECK "cpuid-1-edx-baseline", rax, 0x07808111
  mov eax, r12d
  and eax, 0x00982201          # SSE3 SSSE3 CX16 SSE4.1 SSE4.2 POPCNT
  CHECK "cpuid-1-ecx-level-v2", rax, 0x00982201
  mov eax, 0x80000001
  cpuid
  mov eax, ecx
  and eax, 1
  CHECK "cpuid-lahf", rax, 1
  mov eax, edx
  and eax, 0x20100800
  CHECK "cpuid-syscall-nx-lm", rax, 0x20100800
  mov eax, 1
  mov rbx, -1
  cpuid
  mov rax, rbx
  shr rax, 32
  CHECK "cpuid-clears-upper-halves", rax, 0
  # OSXSAVE follows CR4
  bt r12d, 26
  jnc 8f
  mov rax, cr4
  and eax, ~0x40000
  mov cr4, rax
  mov eax, 1
  cpuid
  shr ecx, 27
  and ecx, 1
  CHECK "osxsave-clear", rcx, 0
  TRY 1f
  xor ecx, ecx
  xgetbv
1: WANT "ud-xgetbv-without-osxsave", 6
  mov rax, cr4
  or eax, 0x40000
  mov cr4, rax
  mov eax, 1
  cpuid
  shr ecx, 27
  and ecx, 1
  CHECK "osxsave-set", rcx, 1
  xor ecx, ecx
  xgetbv
  and eax, 1
  CHECK "xcr0-x87-always-set", rax, 1
  TRY 1f
  xor ecx, ecx
  xor edx, edx
  mov eax, 2
  xsetbv
1: WANT "gp-xsetbv-without-x87", 13, 0
  TRY 1f
  xor ecx, ecx
  xor edx, edx
  mov eax, 5
  xsetbv
1: WANT "gp-xsetbv-avx-without-sse", 13, 0
  TRY 1f
  mov ecx, 1
  xor edx, edx
  mov eax, 1
  xsetbv
1: WANT "gp-xsetbv-xcr1", 13, 0
  TRY 1f
  USER user_xsetbv
1: WANT "gp-xsetbv-at-cpl-3", 13, 0
  xor ecx, ecx
  xor edx, edx
  mov eax, 3
  xsetbv
  # XSAVE, XRSTOR
  lea rdi, [rip + area]
  mov ecx, 1024 / 8
  xor eax, eax
  rep stosq
  mov eax, 0x600d
  movd xmm5, eax
  fninit
  fld1
  mov eax, 3
  xor edx, edx
  lea rdi, [rip + area]
  xsave [rdi]
  mov eax, [rdi + 512]
  CHECK "xsave-xstate-bv", rax, 3
  mov eax, [rdi + 160 + 5 * 16]
  CHECK "xsave-xmm5", rax, 0x600d
  pxor xmm5, xmm5
  fninit
  mov eax, 3
  xor edx, edx
  xrstor [rdi]
  movd eax, xmm5
  CHECK "xrstor-xmm5", rax, 0x600d
  fnstsw ax
  and eax, 0x3800
  CHECK "xrstor-top", rax, 0x3800
  mov qword ptr [rdi + 512], 1 # SSE in its initial state
  mov eax, 3
  xor edx, edx
  xrstor [rdi]
  movd eax, xmm5
  CHECK "xrstor-initial-state", rax, 0
  TRY 1f
  mov rax, 1 << 40
  mov [rdi + 512], rax
  mov eax, -1
  mov edx, -1
  xrstor [rdi]
1: WANT "gp-xrstor-reserved-xstate-bv", 13, 0
  mov qword ptr [area + 512], 3
  TRY 1f
  lea rdi, [rip + area]
  mov eax, 3
  xor edx, edx
  xsave [rdi + 16]
1: WANT "gp-xsave-misaligned", 13, 0
  jmp 9f
8: SKIP "osxsave-clear # CPUID has no XSAVE"
9:
  # --- FXSAVE, FXRSTOR ---
  lea rdi, [rip + area]
  mov dword ptr [scratch], 0x1fa0
  ldmxcsr [scratch]
  mov eax, 0x77
  movd xmm15, eax
  fxsave [rdi]
  mov eax, [rdi + 24]
  CHECK "fxsave-mxcsr", rax, 0x1fa0
  mov eax, [rdi + 160 + 15 * 16]
  CHECK "fxsave-xmm15", rax, 0x77
  mov dword ptr [rdi + 24], 0x10000
  TRY 1f
  lea rdi, [rip + area]
  fxrstor [rdi]
1: WANT "gp-fxrstor-reserved-mxcsr", 13, 0
  TRY 1f
  mov dword ptr [scratch], 0x10000
  ldmxcsr [scratch]
1: WANT "gp-ldmxcsr-reserved", 13, 0
  TRY 1f
  lea rdi, [rip + area]
  fxsave [rdi + 8]
1: WANT "gp-fxsave-misaligned", 13, 0
  mov dword ptr [scratch], 0x1f80
  ldmxcsr [scratch]
  # --- MSRs ---
  TRY 1f
  mov ecx, 0x12345678
  rdmsr
1: WANT "gp-rdmsr-unknown", 13, 0
  TRY 1f
  mov ecx, 0x12345678
  wrmsr
1: WANT "gp-wrmsr-unknown", 13, 0
  TRY 1f
  USER user_rdmsr
1: WANT "gp-rdmsr-at-cpl-3", 13, 0
  TRY 1f
  WRITE_MSR 0xc0000080, 0xffffffff
1: WANT "gp-efer-reserved-bits", 13, 0
  TRY 1f
  WRITE_MSR 0xc0000082, 0x800000000000
1: WANT "gp-lstar-non-canonical", 13, 0
  TRY 1f
  WRITE_MSR 0x277, 0x0202020202020202
1: WANT "gp-pat-reserved-type", 13, 0
  WRITE_MSR 0x277, 0x0007040600070406
  READ_MSR 0x277
  mov rcx, 0x0007040600070406
  CHECK "pat-reads-back", rax, rcx
  WRITE_MSR 0xc0000103, 0x5a
  TRY 1f
  rdtscp
1: mov r12d, ecx
  WANT "rdtscp", NONE
  CHECK "rdtscp-aux", r12, 0x5a
  mov rax, cr4
  or eax, 4                    # TSD
  mov cr4, rax
  TRY 1f
  USER user_rdtsc
1: WANT "gp-rdtsc-with-tsd-at-cpl-3", 13, 0
  TRY 1f
  rdtsc
1: WANT "rdtsc-with-tsd-at-cpl-0", NONE
  mov rax, cr4
  and eax, ~4
  mov cr4, rax
  rdtsc
  mov r12d, eax
  mov r13d, edx
  rdtsc
  shl rdx, 32
  or rax, rdx
  shl r13, 32
  or r12, r13
  cmp rax, r12
  setae al
  movzx eax, al
  CHECK "tsc-does-not-go-back", rax, 1
  # FSGSBASE
  mov eax, 7
  xor ecx, ecx
  cpuid
  bt ebx, 0
  jnc 8f
  TRY 1f
  rdfsbase rax
1: WANT "ud-rdfsbase-without-cr4", 6
  mov rax, cr4
  or eax, 0x10000
  mov cr4, rax
  mov rax, 0x123456789a
  wrgsbase rax
  READ_MSR 0xc0000101
  mov rcx, 0x123456789a
  CHECK "wrgsbase", rax, rcx
  TRY 1f
  mov rax, 0x800000000000
  wrfsbase rax
1: WANT "gp-wrfsbase-non-canonical", 13, 0
  xor eax, eax
  wrgsbase rax
  jmp 9f
8: SKIP "ud-rdfsbase-without-cr4 # CPUID has no FSGSBASE"
9:
  # --- self-modifying code ---
  lea rbx, [rip + smc_a]
  mov byte ptr [rbx + 1], 7    # mov eax, imm32: its immediate
smc_a:
  mov eax, 1
  CHECK "smc-next-instruction", rax, 7
  xor r12d, r12d
  xor r13d, r13d
smc_loop:
  mov eax, 0
  add r12d, eax
  lea rbx, [rip + smc_loop]
  inc dword ptr [rbx + 1]
  inc r13d
  cmp r13d, 100
  jb smc_loop
  CHECK "smc-in-a-loop", r12, 4950
  # code written through another linear address
  mov eax, offset smc_alias
  add eax, USER_ALIAS
  mov r12, rax
  call smc_alias
  mov dword ptr [r12 + 1], 0x222
  call smc_alias
  CHECK "smc-through-an-alias", rax, 0x222
  # a whole routine copied over another, several times
  xor r14d, r14d
  mov r13d, 50
1: lea rsi, [rip + routine_a]
  test r13d, 1
  jz 2f
  lea rsi, [rip + routine_b]
2: lea rdi, [rip + routine]
  mov ecx, 8
  rep movsb
  call routine
  add r14d, eax
  dec r13d
  jnz 1b
  CHECK "smc-copied-routine", r14, 25 * 3 + 25 * 5
  # an instruction over a page boundary, its second half changed
  mov edi, FREE + 0xffe
  mov byte ptr [rdi], 0xb8
  mov dword ptr [rdi + 1], 0x11111111
  mov byte ptr [rdi + 5], 0xc3
  call rdi
  mov byte ptr [rdi + 4], 0x22
  call rdi
  CHECK "smc-second-page-of-an-instruction", rax, 0x22111111
  # the same bytes in 64-bit and in 32-bit code
  mov byte ptr [rdi], 0x40     # REX in one, INC EAX in the other
  mov byte ptr [rdi + 1], 0x90
  mov byte ptr [rdi + 2], 0xcd
  mov byte ptr [rdi + 3], 0x80
  mov r14, rdi
  TRY 1f
  mov eax, 5
  jmp r14
1: CHECK "bytes-as-64-bit-code", [f_regs], 5
  TRY 1f
  mov eax, 5
  push USER_DS
  push USER_ALIAS + USER_STACK
  push 2
  push USER_CS32
  lea rcx, [r14 + USER_ALIAS]
  push rcx
  iretq
1: CHECK "same-bytes-as-32-bit-code", [f_regs], 6
  mov qword ptr [recover], 0
  # --- strings ---
  lea rdi, [rip + area]
  mov ecx, 0
  mov eax, 0x1234
  rep stosb
  lea rax, [rip + area]
  CHECK "rep-with-count-0", rdi, rax
  lea rsi, [rip + area]
  lea rdi, [rip + area + 1]
  mov byte ptr [rsi], 0x5a
  mov ecx, 20
  rep movsb                    # overlapping: propagates the first byte
  mov al, [area + 20]
  movzx eax, al
  CHECK "rep-movsb-overlapping-forward", rax, 0x5a
  mov rax, 0x0807060504030201
  mov [area], rax
  lea rsi, [rip + area + 7]
  lea rdi, [rip + area + 9]
  std
  mov ecx, 8
  rep movsb
  cld
  mov rax, [area + 2]
  mov rcx, 0x0807060504030201
  CHECK "rep-movsb-backward-overlapping", rax, rcx
  lea rdi, [rip + area + 2]
  mov al, 5
  mov ecx, 8
  repne scasb
  CHECK "repne-scasb-count", rcx, 3
  lea rsi, [rip + area]
  lea rdi, [rip + area]
  mov ecx, 16
  repe cmpsb
  setz al
  movzx eax, al
  CHECK "repe-cmpsb-equal", rax, 1
  mov rcx, 0x100000002         # 67h: ECX counts, the upper half is cleared by the write
  lea edi, [rip + area]
  addr32 rep stosb
  CHECK "addr32-rep-counts-ecx", rcx, 0
  # --- corners ---
  mov rax, -1
  mov eax, eax
  mov rcx, 0xffffffff
  CHECK "32-bit-write-clears-upper-half", rax, rcx
  mov rax, -1
  xor ecx, ecx
  cmovnz eax, ecx              # not taken, yet the upper half goes
  mov rcx, 0xffffffff
  CHECK "cmov-not-taken-clears-upper-half", rax, rcx
  push rsp
  pop rax
  mov rcx, rsp
  CHECK "push-rsp-pushes-the-old-one", rax, rcx
  mov r12, rsp
  push 0
  pop rsp
  mov rax, rsp
  mov rsp, r12
  CHECK "pop-rsp", rax, 0
  mov rax, 0x1122334455667788
  bswap rax
  mov rcx, 0x8877665544332211
  CHECK "bswap", rax, rcx
  mov rdx, 0x1111
  mov rax, 0x2222
  mov [area], rax
  mov [area + 8], rdx
  mov rcx, 0x4444
  mov rbx, 0x3333
  lock cmpxchg16b [area]
  mov rax, [area + 8]
  CHECK "cmpxchg16b", rax, 0x4444
  TRY 1f
  lock cmpxchg16b [area + 8]
1: WANT "gp-cmpxchg16b-misaligned", 13, 0
  ret

user_xsetbv:
  xor ecx, ecx
  mov eax, 1
  xor edx, edx
  xsetbv
user_rdmsr:
  mov ecx, 0x10
  rdmsr
user_rdtsc: rdtsc
smc_alias:
  mov eax, 0x111
  ret
.align 16
routine: .fill 16, 1, 0x90
routine_a: mov eax, 3
  ret
  nop
  nop
routine_b: mov eax, 5
  ret
  nop
  nop

.data
.align 64
area: .fill 1088, 1, 0
scratch: .quad 0
