# What the paths through the processor cost that a system uses all the time: `path NAME TICKS ROUNDS` for each, after `period FEMTOSECONDS` of the
# HPET's main counter, all in hexadecimal, then `paths done`. One CPU, CPL 0 but where a name says so.
# Each is run TIMES times; what counts is the last, when everything has been compiled.
.include "runtime64.inc"

.set HPET, 0xfed00000
.set HPET_PERIOD, 4
.set HPET_CONFIGURATION, 0x10
.set HPET_COUNTER, 0xf0
.set LAPIC_EOI, 0xb0
.set LAPIC_SPURIOUS, 0xf0
.set LAPIC_ICR, 0x300
.set ROUNDS, 500000
.set TIMES, 4
.set VECTOR_PF, 14
.set VECTOR_CALL, 0x81
.set VECTOR_SELF, 0x82
.set STAR, 0xc0000081
.set LSTAR, 0xc0000082
.set FMASK, 0xc0000084
.set FS_BASE, 0xc0000100
.set KERNEL_GS_BASE, 0xc0000102
.set STAR_SELECTORS, ((USER_CS - 16) << 48) | (KERNEL_CS << 32)

# Between these stands the path; rsp, rbp and r12 to r15 stay as they are.
.macro BEGIN
  mov r13d, TIMES
6: mov r15d, ROUNDS
  call now
  mov r14, rax
7:
.endm
.macro END name
  dec r15d
  jnz 7b
  call now
  sub rax, r14
  dec r13d
  jnz 6b
  REPORT "\name"
.endm
# rax: ticks
.macro REPORT name
  .pushsection .rodata
7716: .asciz "path \name "
  .popsection
  lea rdi, [rip + 7716b]
  call report
.endm
.macro GATE vector, target
  mov eax, offset \target
  mov [idt + \vector * 16], ax
  shr eax, 16
  mov [idt + \vector * 16 + 6], ax
.endm

main:
  GATE VECTOR_PF, on_page_fault
  GATE VECTOR_CALL, on_call
  GATE VECTOR_SELF, on_self
  mov ebx, HPET
  or dword ptr [rbx + HPET_CONFIGURATION], 1
  lea rdi, [rip + text_period]
  call print
  mov edi, [rbx + HPET_PERIOD]
  call print_hex
  call newline
  LAPIC_WRITE LAPIC_SPURIOUS, 0x1ff
  WRITE_MSR STAR, STAR_SELECTORS
  mov eax, offset on_syscall
  xor edx, edx
  mov ecx, LSTAR
  wrmsr
  WRITE_MSR FMASK, 0x200
  WRITE_MSR KERNEL_GS_BASE, 0

  BEGIN
  nop
  END "loop"
  BEGIN
  rdtsc
  END "RDTSC"
  BEGIN
  xor eax, eax
  cpuid
  END "CPUID"
  BEGIN
  swapgs
  END "SWAPGS"
  BEGIN
  mov ecx, FS_BASE
  xor eax, eax
  xor edx, edx
  wrmsr
  END "WRMSR FS_BASE"
  BEGIN
  sti
  cli
  END "STI, CLI"
  BEGIN
  pushfq
  popfq
  END "PUSHFQ, POPFQ"
  mov ebx, FREE
  BEGIN
  invlpg [rbx]
  mov al, [rbx]
  END "INVLPG, access"
  BEGIN
  mov rax, cr3
  mov cr3, rax
  mov al, [rbx]
  END "MOV CR3, access"
  BEGIN
  fxsave64 [rbx]
  fxrstor64 [rbx]
  END "FXSAVE, FXRSTOR"
  mov eax, 1
  cpuid
  bt ecx, 26
  jnc 1f
  mov rax, cr4
  or eax, 0x40000
  mov cr4, rax
  mov ebx, FREE
  mov edi, FREE
  mov ecx, 1024
  xor eax, eax
  rep stosd
  BEGIN
  mov eax, 3
  xor edx, edx
  xsave64 [rbx]
  xrstor64 [rbx]
  END "XSAVE, XRSTOR"
1:
  BEGIN
  int VECTOR_CALL
  END "INT, IRETQ"
  mov rbx, TEST
  BEGIN
  mov al, [rbx]                # two bytes, which the handler skips
  END "page fault, IRETQ"
  sti
  BEGIN
  mov eax, LAPIC + LAPIC_ICR
  mov dword ptr [rax], 0x40000 + VECTOR_SELF
  END "interrupt, EOI, IRETQ"
  cli

  mov r13d, TIMES
1: call now
  mov r14, rax
  mov r15d, ROUNDS
  TRY 2f
  USER user_calls
2: call now
  sub rax, r14
  dec r13d
  jnz 1b
  REPORT "SYSCALL, SYSRETQ"
  lea rdi, [rip + text_end]
  call print
  ret

user_calls:                    # CPL 3
  syscall
  dec r15d
  jnz user_calls
  int 0x80
on_syscall:
  sysretq
on_call:
  iretq
on_page_fault:
  add rsp, 8
  add qword ptr [rsp], 2
  iretq
on_self:
  LAPIC_WRITE LAPIC_EOI, 0
  iretq

now:                           # -> rax; keeps all else
  mov eax, HPET + HPET_COUNTER
  mov rax, [rax]
  ret
report:                        # rdi name, rax ticks
  push rax
  call print
  pop rdi
  call print_hex
  mov al, ' '
  call put_char
  mov edi, ROUNDS
  call print_hex
  jmp newline

.section .rodata
text_period: .asciz "period "
text_end: .asciz "paths done\n"
