# Segments and privilege: segment loads, far transfers, call gates, IRET, SYSCALL, SYSENTER, compatibility mode, UMIP, I/O permission.
# SDM vol. 3A 5 Protection, 5.8 Privilege Level Checking When Transferring Program Control.
.include "runtime64.inc"
.set USER_SMALL, 0xb3           # SCRATCH_SEL, by the user
.set USER_READONLY, 0xbb

.macro LOAD_SEGMENT name, register, selector, vector, error=NONE
  TRY 1f
  mov eax, \selector
  mov \register, eax
1: WANT "\name", \vector, \error
.endm

main:
  # --- segment loads at CPL 0 ---
  LOAD_SEGMENT "load-ds-null", ds, 0, NONE
  LOAD_SEGMENT "load-ds-null-rpl-3", ds, 3, NONE
  LOAD_SEGMENT "load-ss-null-at-cpl-0", ss, 0, NONE
  LOAD_SEGMENT "gp-load-ss-null-rpl-3-at-cpl-0", ss, 3, 13, 0
  LOAD_SEGMENT "np-load-ds-absent", ds, ABSENT_DS, 11, ABSENT_DS
  LOAD_SEGMENT "ss-load-ss-absent", ss, ABSENT_DS, 12, ABSENT_DS
  LOAD_SEGMENT "load-ds-read-only", ds, READONLY_DS, NONE
  LOAD_SEGMENT "gp-load-ss-read-only", ss, READONLY_DS, 13, READONLY_DS
  LOAD_SEGMENT "gp-load-ds-execute-only", ds, EXECONLY_CS, 13, EXECONLY_CS
  LOAD_SEGMENT "load-ds-readable-code", ds, KERNEL_CS, NONE
  LOAD_SEGMENT "gp-load-ss-code", ss, KERNEL_CS, 13, KERNEL_CS
  LOAD_SEGMENT "gp-load-ds-tss", ds, TSS, 13, TSS
  LOAD_SEGMENT "gp-load-ss-rpl-differs", ss, KERNEL_DS+3, 13, KERNEL_DS
  LOAD_SEGMENT "gp-load-ss-dpl-differs", ss, USER_DS, 13, USER_DS-3
  LOAD_SEGMENT "gp-load-ds-beyond-limit", ds, 0x1000, 13, 0x1000
  LOAD_SEGMENT "gp-load-ds-from-absent-ldt", ds, 4, 13, 4
  TRY 1f
  mov eax, 8
  .byte 0x8e, 0xc8
1: WANT "ud-mov-to-cs", 6
  TRY 1f
  .byte 0x8e, 0xf0
1: WANT "ud-mov-to-segment-6", 6
  mov ax, KERNEL_DS
  mov ss, ax
  mov ds, ax
  mov es, ax
  # accessed bit
  mov rax, 0x00cf92000000ffff
  mov [gdt + SCRATCH_SEL], rax
  mov eax, SCRATCH_SEL
  mov ds, eax
  mov eax, [gdt + SCRATCH_SEL + 4]
  shr eax, 8
  and eax, 1
  CHECK "load-sets-accessed-bit", rax, 1
  # FS base from a descriptor, limit ignored
  mov rax, 0x12cf923456780fff
  mov [gdt + SCRATCH_SEL], rax
  mov eax, SCRATCH_SEL
  mov fs, eax
  READ_MSR 0xc0000100
  CHECK "fs-base-from-descriptor", rax, 0x12345678
  WRITE_MSR 0xc0000100, 0x1234567890
  READ_MSR 0xc0000100
  CHECK "fs-base-msr-64-bit", rax, 0x1234567890
  TRY 1f
  WRITE_MSR 0xc0000100, 0x1234567890123456
1: WANT "gp-fs-base-msr-non-canonical", 13, 0
  xor eax, eax
  mov fs, eax
  # --- LAR LSL VERR VERW ---
  mov eax, USER_DS
  lar ecx, eax
  setz dl
  movzx edx, dl
  CHECK "lar-zf", rdx, 1
  and ecx, 0xf0ff00             # bits 19:16 are undefined
  CHECK "lar-rights", rcx, 0xc0f300
  mov eax, SMALL_DS
  lsl ecx, eax
  CHECK "lsl-byte-granular", rcx, 0xfff
  mov eax, KERNEL_DS
  lsl ecx, eax
  CHECK "lsl-page-granular", rcx, 0xffffffff
  mov eax, 0x1000
  lar ecx, eax
  setz dl
  movzx edx, dl
  CHECK "lar-beyond-limit", rdx, 0
  mov eax, READONLY_DS
  verw ax
  setz dl
  verr ax
  setz dh
  movzx edx, dx
  CHECK "verr-verw-read-only", rdx, 0x100
  # --- far transfers in 64-bit mode ---
  TRY 1f
  push KERNEL_CS
  lea rax, [rip + 2f]
  push rax
  rex.w retf
2: int 0x80
1: WANT "retf-same-level", 0x80
  TRY 1f
  push 0
  lea rax, [rip + 1f]
  push rax
  rex.w retf
1: WANT "gp-retf-null-cs", 13, 0
  TRY 1f
  push ABSENT_CS
  lea rax, [rip + 1f]
  push rax
  rex.w retf
1: WANT "np-retf-absent-cs", 11, ABSENT_CS
  TRY 1f
  push KERNEL_DS
  lea rax, [rip + 1f]
  push rax
  rex.w retf
1: WANT "gp-retf-data-segment", 13, KERNEL_DS
  TRY 1f
  push KERNEL_CS
  mov rax, 0x800000000000
  push rax
  rex.w retf
1: WANT "gp-retf-non-canonical", 13, 0
  TRY 1f
  push USER_DS
  push USER_ALIAS + USER_STACK
  push USER_CS
  lea rax, [rip + user_int80]
  add rax, USER_ALIAS
  push rax
  rex.w retf
1: WANT "retf-to-outer-level", 0x80
  CHECK "retf-outer-cs", [f_cs], USER_CS
  CHECK "retf-outer-rsp", [f_rsp], USER_ALIAS + USER_STACK
  TRY 1f
  push 0
  push USER_ALIAS + USER_STACK
  push USER_CS
  lea rax, [rip + user_int80]
  push rax
  rex.w retf
1: WANT "gp-retf-outer-null-ss-rpl-0", 13, 0
  TRY 1f
  push KERNEL_DS
  push USER_ALIAS + USER_STACK
  push USER_CS
  lea rax, [rip + user_int80]
  push rax
  rex.w retf
1: WANT "gp-retf-outer-ss-of-inner-level", 13, KERNEL_DS
  TRY 1f
  jmp fword ptr [rip + far_conforming]
1: WANT "jmp-far-conforming", 0x80
  CHECK "conforming-keeps-cpl", [f_cs], CONFORMING_CS
  TRY 1f
  jmp fword ptr [rip + far_absent]
1: WANT "np-jmp-far-absent", 11, ABSENT_CS
  TRY 1f
  jmp fword ptr [rip + far_user]
1: WANT "gp-jmp-far-outer-level", 13, USER_CS-3
  TRY 1f
  jmp fword ptr [rip + far_tss]
1: WANT "gp-jmp-far-tss-in-long-mode", 13, TSS
  TRY 1f
  call fword ptr [rip + far_call]
1: mov rax, [f_rsp]
  mov r15d, [rax + 4]          # 32-bit operand: 4 bytes each
  WANT "call-far-same-level", 0x80
  movzx r15d, r15w
  CHECK "call-far-pushes-cs", r15, KERNEL_CS
  TRY 1f
  USER user_jmp_kernel
1: WANT "gp-user-jmp-far-to-kernel", 13, KERNEL_CS
  TRY 1f
  USER user_jmp_conforming
1: WANT "user-jmp-conforming-keeps-cpl-3", 0x80
  mov rax, [f_cs]
  and eax, 3
  CHECK "user-conforming-cpl", rax, 3
  # --- call gates ---
  mov r15, offset gate_target
  mov word ptr [gdt + GATE], r15w
  mov word ptr [gdt + GATE + 2], KERNEL_CS
  mov word ptr [gdt + GATE + 4], 0xec00
  shr r15, 16
  mov word ptr [gdt + GATE + 6], r15w
  mov dword ptr [gdt + GATE + 8], 0
  mov dword ptr [gdt + GATE + 12], 0
  TRY 1f
  USER user_call_gate
1: WANT "call-gate-from-user", 0x80
  CHECK "call-gate-cpl-0", [f_cs], KERNEL_CS
  CHECK "call-gate-ss-is-null", [f_ss], 0
  CHECK "call-gate-stack-from-tss", [f_rsp], STACK_TOP - 0x4000 - 32
  mov rax, [STACK_TOP - 0x4000 - 8]
  CHECK "call-gate-pushes-ss", rax, USER_DS
  mov rax, [STACK_TOP - 0x4000 - 16]
  CHECK "call-gate-pushes-rsp", rax, USER_ALIAS + USER_STACK
  mov rax, [STACK_TOP - 0x4000 - 24]
  CHECK "call-gate-pushes-cs", rax, USER_CS
  mov byte ptr [gdt + GATE + 5], 0x8c
  TRY 1f
  USER user_call_gate
1: WANT "gp-call-gate-dpl", 13, GATE
  mov byte ptr [gdt + GATE + 5], 0x6c
  TRY 1f
  USER user_call_gate
1: WANT "np-call-gate", 11, GATE
  mov byte ptr [gdt + GATE + 5], 0xec
  mov word ptr [gdt + GATE + 2], 0
  TRY 1f
  USER user_call_gate
1: WANT "gp-call-gate-null-selector", 13, 0
  mov word ptr [gdt + GATE + 2], KERNEL_CS
  TRY 1f
  call fword ptr [rip + far_gate]
1: WANT "call-gate-same-level", 0x80
  # --- interrupt gates from user ---
  TRY 1f
  USER user_int81
1: WANT "gp-int-gate-dpl", 13, 0x81*8+2
  TRY 1f
  USER user_int3
1: WANT "gp-int3-gate-dpl-0", 13, 3*8+2
  # --- IRET ---
  TRY 1f
  push KERNEL_DS
  push rsp
  push 2
  push 0
  lea rax, [rip + 1f]
  push rax
  iretq
1: WANT "gp-iret-null-cs", 13, 0
  TRY 1f
  mov rcx, rsp
  push 0                       # null SS is fine for CPL 0 in 64-bit mode
  push rcx
  push 0x202
  push KERNEL_CS
  lea rax, [rip + 2f]
  push rax
  iretq
2: cli
  int 0x80
1: WANT "iret-null-ss-at-cpl-0", 0x80
  TRY 1f
  push 3
  push USER_ALIAS + USER_STACK
  push 2
  push USER_CS
  lea rax, [rip + 1f]
  push rax
  iretq
1: WANT "gp-iret-null-ss-to-user", 13, 0
  TRY 1f
  pushfq
  or qword ptr [rsp], 0x4000
  popfq
  push KERNEL_DS
  push rsp
  push 2
  push KERNEL_CS
  lea rax, [rip + 1f]
  push rax
  iretq
1: push 2
  popfq
  WANT "gp-iret-with-nt-in-long-mode", 13, 0
  TRY 1f
  USER user_popf, 0x2
1: WANT "user-popf", 0x80
  mov rax, [f_rflags]
  and eax, 0x3200
  CHECK "popf-at-cpl-3-keeps-if-and-iopl", rax, 0
  TRY 1f
  USER user_popf_if, 0x3002
1: WANT "user-iopl-3-cli-sti", 0x80
  TRY 1f
  USER user_cli
1: WANT "gp-cli-at-cpl-3", 13, 0
  TRY 1f
  USER user_hlt
1: WANT "gp-hlt-at-cpl-3", 13, 0
  # a return to user clears DPL-0 data segments
  mov eax, KERNEL_DS
  mov ds, eax
  mov gs, eax
  TRY 1f
  USER user_int80
1: mov qword ptr [recover], 0
  mov eax, gs
  CHECK "return-to-user-nulls-gs", rax, 0
  mov eax, KERNEL_DS
  mov ds, eax

  # --- I/O permission ---
  TRY 1f
  USER user_out
1: WANT "gp-out-without-permission", 13, 0
  TRY 1f
  USER user_out, 0x3002
1: WANT "out-with-iopl-3", 0x80
  mov word ptr [tss + 102], 104   # a bitmap behind the TSS
  TRY 1f
  mov word ptr [gdt + TSS], 104 + 0x12
  mov byte ptr [gdt + TSS + 5], 0x89
  mov ax, TSS
  ltr ax
  mov byte ptr [tss + 104 + 0x10], 0xfe
  mov byte ptr [tss + 104 + 0x11], 0xff
  USER user_out
1: WANT "out-with-io-bitmap", 0x80
  mov byte ptr [tss + 104 + 0x10], 0xff
  TRY 1f
  USER user_out
1: WANT "gp-out-io-bitmap-bit-set", 13, 0
  TRY 1f
  mov ax, TSS
  ltr ax
1: WANT "gp-ltr-busy", 13, TSS
  NOT_ON_QEMU 9f, "gp-ltr-null # QEMU loads it, and dies later"
  TRY 1f
  xor eax, eax
  ltr ax
1: WANT "gp-ltr-null", 13, 0
9:

  # --- SYSCALL, SYSRET ---
  WRITE_MSR 0xc0000081, 0x0018000800000000
  mov r15, offset syscall_entry
  WRITE_MSR 0xc0000082, r15
  WRITE_MSR 0xc0000084, 0x700
  TRY 1f
  USER user_syscall, 0x403
1: WANT "syscall", 0x80
  CHECK "syscall-cs", [f_cs], KERNEL_CS
  CHECK "syscall-ss", [f_ss], KERNEL_DS
  lea rax, [rip + user_after_syscall]
  add rax, USER_ALIAS
  CHECK "syscall-rcx-is-return-address", [f_regs+8], rax
  mov rax, [f_regs + 56]
  and eax, 0x401
  CHECK "syscall-r11-holds-flags", rax, 0x401
  mov rax, [f_rflags]
  and eax, 0x401
  CHECK "syscall-masks-flags", rax, 1
  TRY 1f
  mov ecx, offset user_int80 + USER_ALIAS
  mov r11d, 0xd7 | 0x3000
  mov rsp, USER_ALIAS + USER_STACK
  rex.w sysret
1: WANT "sysret-64", 0x80
  CHECK "sysret-cs", [f_cs], USER_CS
  CHECK "sysret-ss", [f_ss], USER_DS
  mov rax, [f_rflags]
  and eax, 0x30d5 | 2
  CHECK "sysret-flags-from-r11", rax, 0x30d7
  TRY 1f
  mov rcx, 0x800000000000
  mov r11d, 2
  rex.w sysret
1: WANT "gp-sysret-non-canonical", 13, 0
  CHECK "gp-sysret-at-cpl-0", [f_cs], KERNEL_CS
  TRY 1f
  mov ecx, offset compat_int80 + USER_ALIAS
  mov r11d, 2
  mov rsp, USER_ALIAS + USER_STACK
  sysretd
1: WANT "sysret-32", 0x80
  CHECK "sysret-32-cs", [f_cs], USER_CS32
  TRY 1f
  USER user_sysret
1: WANT "gp-sysret-at-cpl-3", 13, 0
  mov ecx, 0xc0000080
  rdmsr
  and eax, ~1
  wrmsr
  TRY 1f
  USER user_syscall
1: WANT "ud-syscall-without-sce", 6
  mov ecx, 0xc0000080
  rdmsr
  or eax, 1
  wrmsr
  # --- SYSENTER, SYSEXIT ---
  WRITE_MSR 0x174, 0
  TRY 1f
  USER user_sysenter
1: WANT "gp-sysenter-null-cs", 13, 0
  WRITE_MSR 0x174, KERNEL_CS
  WRITE_MSR 0x175, STACK_TOP-0x5000
  mov r15, offset syscall_entry
  WRITE_MSR 0x176, r15
  TRY 1f
  USER user_sysenter
1: WANT "sysenter", 0x80
  CHECK "sysenter-cs", [f_cs], KERNEL_CS
  CHECK "sysenter-rsp", [f_rsp], STACK_TOP - 0x5000
  TRY 1f
  mov edx, offset user_int80 + USER_ALIAS
  mov ecx, USER_ALIAS + USER_STACK
  rex.w sysexit
1: WANT "sysexit-64", 0x80
  CHECK "sysexit-64-cs", [f_cs], KERNEL_CS + 35
  TRY 1f
  mov edx, offset compat_int80 + USER_ALIAS
  mov ecx, USER_ALIAS + USER_STACK
  .byte 0x0f, 0x35
1: WANT "sysexit-32", 0x80
  CHECK "sysexit-32-cs", [f_cs], KERNEL_CS + 19
  TRY 1f
  USER user_sysexit
1: WANT "gp-sysexit-at-cpl-3", 13, 0
  # --- SWAPGS ---
  WRITE_MSR 0xc0000101, 0x1111
  WRITE_MSR 0xc0000102, 0x2222
  swapgs
  READ_MSR 0xc0000101
  CHECK "swapgs-gs-base", rax, 0x2222
  READ_MSR 0xc0000102
  CHECK "swapgs-kernel-gs-base", rax, 0x1111
  TRY 1f
  USER user_swapgs
1: WANT "gp-swapgs-at-cpl-3", 13, 0
  # --- compatibility mode ---
  mov rax, 0x0040f30000000fff
  mov [gdt + 0xb0], rax
  mov rax, 0x00cff1000000ffff
  mov [gdt + 0xb8], rax
  TRY 1f
  mov rdx, 0x1122334455667788
  mov rcx, 0xffffffff00000001
  USER32 compat_code
1: WANT "compatibility-mode", 0x80
  CHECK "compat-cs", [f_cs], USER_CS32
  CHECK "compat-inc-is-not-rex", [f_regs+8], 2
  CHECK "compat-address-wraps-at-32-bits", [f_regs+24], 0x600d
  TRY 1f
  USER32 compat_limit
1: WANT "gp-compat-limit", 13, 0
  TRY 1f
  USER32 compat_readonly
1: WANT "gp-compat-write-to-read-only", 13, 0
  TRY 1f
  USER32 compat_null
1: WANT "gp-compat-null-ds", 13, 0
  TRY 1f
  USER32 compat_int80
1: CHECK "compat-frame-is-64-bit", [f_ss], USER_DS
  mov qword ptr [recover], 0
  # --- UMIP ---
  mov eax, 7
  xor ecx, ecx
  cpuid
  bt ecx, 2
  jnc 2f
  TRY 1f
  USER user_sgdt
1: WANT "sgdt-at-cpl-3-without-umip", 0x80
  mov rax, cr4
  or eax, 0x800
  mov cr4, rax
  .irp what, sgdt, sidt, sldt, str, smsw
  TRY 1f
  USER user_\what
1: WANT "gp-umip-\what", 13, 0
  .endr
  TRY 1f
  sgdt [rip + scratch]
1: WANT "umip-not-at-cpl-0", NONE
  mov rax, cr4
  and eax, ~0x800
  mov cr4, rax
  jmp 3f
2: SKIP "gp-umip-sgdt # CPUID has no UMIP"
3:
  # --- LDT ---
  mov r15, offset ldt
  mov word ptr [gdt + LDT], 15
  mov word ptr [gdt + LDT + 2], r15w
  shr r15, 16
  mov byte ptr [gdt + LDT + 4], r15b
  mov word ptr [gdt + LDT + 5], 0x0082
  mov eax, LDT
  lldt ax
  TRY 1f
  mov eax, 4                   # LDT[0] is a usable descriptor, unlike GDT[0]
  mov ds, eax
1: WANT "load-ds-from-ldt-entry-0", NONE
  TRY 1f
  mov eax, 0x14
  mov ds, eax
1: WANT "gp-load-beyond-ldt-limit", 13, 0x14
  TRY 1f
  mov eax, 0x1000
  lldt ax
1: WANT "gp-lldt-beyond-limit", 13, 0x1000
  TRY 1f
  mov eax, KERNEL_DS
  lldt ax
1: WANT "gp-lldt-wrong-type", 13, KERNEL_DS
  xor eax, eax
  lldt ax
  mov eax, KERNEL_DS
  mov ds, eax
  ret

syscall_entry:
  int 0x80
gate_target:
  int 0x80
user_int80:
  int 0x80
user_int81: int 0x81
user_int3: int3
user_jmp_kernel: jmp fword ptr [rip + far_kernel]
user_jmp_conforming: jmp fword ptr [rip + far_user_conforming]
user_call_gate: call fword ptr [rip + far_gate]
user_popf:
  push 0x3202
  popfq
  int 0x80
user_popf_if:
  cli
  sti
  cli
  int 0x80
user_cli: cli
user_hlt: hlt
user_out:
  mov dx, 0x80
  out dx, al
  int 0x80
user_syscall:
  xor eax, eax
  stc
  syscall
user_after_syscall:
  int 0x80
user_sysret: rex.w sysret
user_sysenter: sysenter
user_sysexit: rex.w sysexit
user_swapgs: swapgs
user_sgdt: sgdt [rip + scratch]
  int 0x80
user_sidt: sidt [rip + scratch]
  int 0x80
user_sldt: sldt eax
  int 0x80
user_str: str eax
  int 0x80
user_smsw: smsw eax
  int 0x80

.code32
compat_int80:
  int 0x80
compat_code:
  mov ax, USER_DS
  mov ds, ax
  .byte 0x41                   # inc ecx
  mov ebx, 0xf0000000
  mov ebx, [ebx + 0x10000000 + USER_ALIAS + compat_value]
  int 0x80
compat_limit:
  mov ax, USER_SMALL
  mov ds, ax
  mov eax, [0x1000]
  int 0x80
compat_readonly:
  mov ax, USER_READONLY
  mov ds, ax
  mov [0x1000], eax
  int 0x80
compat_null:
  xor eax, eax
  mov ds, ax
  mov eax, [0]
  int 0x80
.code64


.data
.align 16
far_conforming: .long gate_target
  .word CONFORMING_CS
far_absent: .long gate_target
  .word ABSENT_CS
far_user: .long gate_target
  .word USER_CS
far_tss: .long gate_target
  .word TSS
far_call: .long gate_target
  .word KERNEL_CS
far_kernel: .long gate_target
  .word KERNEL_CS
far_user_conforming: .long gate_target + USER_ALIAS
  .word CONFORMING_CS
far_gate: .long 0
  .word GATE
.align 16
compat_value: .long 0x600d
scratch: .fill 16, 1, 0
.align 8
ldt: .quad 0x00cf93000000ffff, 0
