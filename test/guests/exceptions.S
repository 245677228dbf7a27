# Exceptions: vectors, error codes, return addresses, double faults, single steps, shadows, debug registers, IST, LOCK.
# SDM vol. 3A 6 Interrupt and Exception Handling, vol. 3B 18 Debug.
.include "runtime64.inc"

main:
  # --- each exception, its error code, and where it points ---
  TRY 1f
  xor edx, edx
  xor ecx, ecx
  mov eax, 1
div_here:
  div ecx
1: WANT "de-divide-by-zero", 0
  CHECK "de-rip-is-the-instruction", [f_rip], offset div_here
  TRY 1f
  mov edx, 1
  mov ecx, 1
  xor eax, eax
  div ecx
1: WANT "de-quotient-overflow", 0
  TRY 1f
  mov rax, 0x8000000000000000
  cqo
  mov rcx, -1
  idiv rcx
1: WANT "de-idiv-minimum-by-minus-one", 0
  TRY 1f
  int3
bp_next: nop
1: WANT "bp-int3", 3
  CHECK "bp-rip-is-after-int3", [f_rip], offset bp_next
  TRY 1f
  .byte 0xcd, 3
1: WANT "bp-int-3-two-bytes", 3
  TRY 1f
  int 4
1: WANT "of-int-4-software", 4
  TRY 1f
ud_here: ud2
1: WANT "ud-ud2", 6
  CHECK "ud-rip-is-the-instruction", [f_rip], offset ud_here
  TRY 1f
  .byte 0x06
1: WANT "ud-push-es-in-64-bit", 6
  TRY 1f
  .byte 0x0f, 0xff, 0xc0
1: WANT "ud-ud0", 6
  TRY 1f
  .byte 0x0f, 0xb9, 0xc0
1: WANT "ud-ud1", 6
  TRY 1f
  .byte 0xf0, 0x90
1: WANT "ud-lock-nop", 6
  TRY 1f
  .byte 0xf0, 0x01, 0xc0
1: WANT "ud-lock-add-register", 6
  TRY 1f
  .byte 0xf0, 0x39, 0x05, 0, 0, 0, 0
1: WANT "ud-lock-cmp-memory", 6
  TRY 1f
  .byte 0xf0, 0x8b, 0x05, 0, 0, 0, 0
1: WANT "ud-lock-mov-memory", 6
  TRY 1f
  lock add dword ptr [scratch], 1
  lock xchg [scratch], eax
  lock cmpxchg [scratch], ecx
  lock bts dword ptr [scratch], 1
  lock neg dword ptr [scratch]
1: WANT "lock-legal-forms-run", NONE
  # Register-direct forms which need memory
  TRY 1f
  .byte 0x8d, 0xc0
1: WANT "ud-lea-register", 6
  # CR0.TS, EM
  mov rax, cr0
  or eax, 8
  mov cr0, rax
  TRY 1f
  fld1
1: WANT "nm-x87-with-ts", 7
  TRY 1f
  movaps xmm0, xmm1
1: WANT "nm-sse-with-ts", 7
  TRY 1f
  fwait
1: WANT "nm-fwait-with-ts-and-mp", 7
  clts
  mov rax, cr0
  test al, 8
  setnz al
  movzx eax, al
  CHECK "clts-clears-ts", rax, 0
  mov rax, cr0
  or eax, 4
  mov cr0, rax
  TRY 1f
  fld1
1: WANT "nm-x87-with-em", 7
  TRY 1f
  movaps xmm0, xmm1
1: WANT "ud-sse-with-em", 6
  mov rax, cr0
  and eax, ~4
  mov cr0, rax
  mov rax, cr4
  and eax, ~0x200
  mov cr4, rax
  TRY 1f
  movaps xmm0, xmm1
1: WANT "ud-sse-without-osfxsr", 6
  mov rax, cr4
  or eax, 0x200
  mov cr4, rax
  # #GP
  TRY 1f
  mov rax, 0x0000800000000000
  mov rax, [rax]
1: WANT "gp-non-canonical", 13, 0
  TRY 1f
  mov rbp, 0x0000800000000000
  mov rax, [rbp]
1: WANT "ss-non-canonical-through-rbp", 12, 0
  TRY 1f
  mov rax, 0x0000800000000000
  jmp rax
1: WANT "gp-jump-non-canonical", 13, 0
  TRY 1f
  mov rsp, 0x0000800000000000
  push rax
1: WANT "df-push-non-canonical-and-its-frame", 8, 0
  mov qword ptr [idt + 0x90 * 16], 0
  mov qword ptr [idt + 0x90 * 16 + 8], 0
  TRY 1f
  int 0x90
1: WANT "gp-idt-gate-of-no-type", 13, 0x90*8+2
  mov word ptr [idt + 0x90 * 16 + 2], KERNEL_CS
  mov word ptr [idt + 0x90 * 16 + 4], 0x0e00
  TRY 1f
  int 0x90
1: WANT "np-idt-gate-not-present", 11, 0x90*8+2
  mov word ptr [idt + 0x90 * 16 + 4], 0x8e00
  mov word ptr [idt + 0x90 * 16 + 2], 0
  TRY 1f
  int 0x90
1: WANT "gp-idt-gate-null-selector", 13, 0
  mov word ptr [idt + 0x90 * 16 + 2], KERNEL_DS
  TRY 1f
  int 0x90
1: WANT "gp-idt-gate-to-data-segment", 13, KERNEL_DS
  mov word ptr [idt + 0x90 * 16 + 2], ABSENT_CS
  TRY 1f
  int 0x90
1: WANT "np-idt-gate-code-not-present", 11, ABSENT_CS
  mov word ptr [idt + 0x90 * 16 + 2], KERNEL_CS32
  TRY 1f
  int 0x90
1: WANT "gp-idt-gate-to-32-bit-code", 13, KERNEL_CS32
  lidt [short_idtr]
  TRY 1f
  int 0x90
1: lidt [idtr]
  WANT "gp-vector-beyond-idt-limit", 13, 0x90*8+2
  # #XM, #MF
  TRY 1f
  push 0x1d80                  # divide by zero unmasked
  ldmxcsr [rsp]
  pop rax
  pxor xmm0, xmm0
  mov eax, 0x3f800000
  movd xmm1, eax
  divss xmm1, xmm0
1: WANT "xm-divide-by-zero", 19
  stmxcsr [scratch]
  mov eax, [scratch]
  and eax, 0x3f
  CHECK "xm-sets-its-flag", rax, 4
  mov dword ptr [scratch], 0x1f80
  ldmxcsr [scratch]
  mov rax, cr4
  and eax, ~0x400
  mov cr4, rax
  TRY 1f
  mov dword ptr [scratch], 0x1d00
  ldmxcsr [scratch]
  pxor xmm0, xmm0
  mov eax, 0x3f800000
  movd xmm1, eax
  divss xmm1, xmm0
1: WANT "ud-simd-exception-without-osxmmexcpt", 6
  mov rax, cr4
  or eax, 0x400
  mov cr4, rax
  mov dword ptr [scratch], 0x1f80
  ldmxcsr [scratch]
  fninit
  mov word ptr [scratch], 0x37b  # zero divide unmasked
  fldcw [scratch]
  fld1
  fldz
  TRY 1f
  fdivp
mf_here: fwait
1: WANT "mf-at-the-next-waiting-instruction", 16
  CHECK "mf-rip-is-the-waiting-instruction", [f_rip], offset mf_here
  TRY 1f
  fnstsw ax
1: WANT "mf-not-at-fnstsw", NONE
  fninit
  # #AC at CPL 3 alone
  mov rax, cr0
  or eax, 0x40000
  mov cr0, rax
  TRY 1f
  pushfq
  or qword ptr [rsp], 0x40000
  popfq
  mov eax, [scratch + 1]
1: WANT "ac-not-at-cpl-0", NONE
  push 2
  popfq
  TRY 1f
  USER ac_user, 0x40002
1: WANT "ac-misaligned-at-cpl-3", 17, 0
  mov rax, cr0
  and eax, ~0x40000
  mov cr0, rax
  TRY 1f
  USER ac_user, 0x40002
1: WANT "ac-not-without-cr0-am", 0x80
  TRY 1f
  movaps xmm0, [scratch + 1]
1: WANT "gp-movaps-misaligned", 13, 0
  # --- frames ---
  mov r12, rsp
  and r12, -16
  lea r13, [r12 - 40]
  TRY 1f
  mov rsp, r12
  sub rsp, 8
  ud2
1: WANT "frame-from-cpl-0", 6
  mov rax, [f_frame]
  add rax, 16
  mov rcx, r12
  sub rcx, 16
  and rcx, -16
  sub rcx, 40
  CHECK "frame-aligned-to-16", rax, rcx
  mov rax, r12
  sub rax, 8
  CHECK "frame-holds-old-rsp", [f_rsp], rax
  CHECK "frame-holds-ss", [f_ss], KERNEL_DS
  TRY 1f
  USER ud_user
1: WANT "ud-from-cpl-3", 6
  CHECK "cpl3-frame-on-rsp0", [f_frame], STACK_TOP - 0x4000 - 56
  CHECK "cpl3-frame-cs", [f_cs], USER_CS
  CHECK "cpl3-frame-rsp", [f_rsp], USER_ALIAS + USER_STACK
  CHECK "cpl3-handler-ss-is-null", [f_ss_now], 0
  mov byte ptr [idt + 6 * 16 + 4], 2
  TRY 1f
  ud2
1: WANT "ist-entry-used", 6
  CHECK "ist-stack-is-ist2", [f_frame], IST2_TOP - 56
  mov byte ptr [idt + 6 * 16 + 4], 0
  # RF in the image of a fault
  TRY 1f
  ud2
1: mov rax, [f_rflags]
  shr rax, 16
  and eax, 1
  CHECK "rf-set-in-fault-image", rax, 1
  TRY 1f
  int 0x80
1: mov rax, [f_rflags]
  shr rax, 16
  and eax, 1
  CHECK "rf-clear-in-software-interrupt-image", rax, 0

  # --- double faults ---
  mov byte ptr [idt + 13 * 16 + 5], 0x0e      # #GP handler not present: contributory during contributory
  TRY 1f
  mov rax, 0x0000800000000000
  mov rax, [rax]
1: mov byte ptr [idt + 13 * 16 + 5], 0x8e
  WANT "df-gp-then-np", 8, 0
  CHECK "df-on-ist1", [f_frame], IST1_TOP - 56
  mov byte ptr [idt + 14 * 16 + 5], 0x0e
  TRY 1f
  mov rax, [0x4000000000]
1: mov byte ptr [idt + 14 * 16 + 5], 0x8e
  WANT "df-pf-then-np", 8, 0
  mov byte ptr [idt + 6 * 16 + 5], 0x0e       # benign, then #NP: handled one after the other
  TRY 1f
  ud2
1: mov byte ptr [idt + 6 * 16 + 5], 0x8e
  WANT "np-after-ud-is-no-double-fault-and-has-ext", 11, 6*8+3
  TRY 1f
  mov rsp, 0x4000000000        # the push of the #UD frame faults: #PF, whose own frame faults: #DF
  ud2
1: WANT "df-stack-page-fault", 8, 0
  mov byte ptr [idt + 0 * 16 + 5], 0x0e       # #DE is contributory
  TRY 1f
  xor ecx, ecx
  div ecx
1: mov byte ptr [idt + 0 * 16 + 5], 0x8e
  WANT "df-de-then-np", 8, 0
  # --- single step ---
  mov qword ptr [handler], offset step_handler
  mov dword ptr [step_count], 0
  pushfq
  pushfq
  or qword ptr [rsp], 0x100
  popfq                        # the trap comes after the next instruction
step_a: nop
step_b: nop
  popfq                        # TF off: one more trap, after POPF
step_c: nop
  mov qword ptr [handler], 0
  CHECK "tf-number-of-traps", [step_count], 3
  CHECK "tf-first-trap-after-one-instruction", [step_log], offset step_b
  CHECK "tf-last-trap-after-popf", [step_log + 16], offset step_c
  # MOV SS holds the trap back
  mov qword ptr [handler], offset step_handler
  mov dword ptr [step_count], 0
  mov ax, ss
  pushfq
  pushfq
  or qword ptr [rsp], 0x100
  popfq
  mov ss, ax
  nop
step_after_ss: popfq
  mov qword ptr [handler], 0
  CHECK "tf-blocked-by-mov-ss", [step_log], offset step_after_ss
  # repeated string: a trap after each iteration
  mov qword ptr [handler], offset step_handler
  mov dword ptr [step_count], 0
  lea rdi, [rip + scratch]
  mov ecx, 3
  pushfq
  pushfq
  or qword ptr [rsp], 0x100
  popfq
step_rep: rep stosb
  popfq
  mov qword ptr [handler], 0
  CHECK "tf-traps-each-iteration", [step_count], 4
  CHECK "tf-iteration-rip", [step_log], offset step_rep
  # INT n clears TF for its handler, and the image keeps it
  TRY 1f
  pushfq
  or qword ptr [rsp], 0x100
  popfq
  int 0x80
1: mov qword ptr [recover], 0
  pushfq
  pop rax
  shr eax, 8
  and eax, 1
  CHECK "tf-cleared-by-delivery", rax, 0
  mov rax, dr6
  shr eax, 14
  and eax, 1
  CHECK "dr6-bs-after-single-step", rax, 1

  # --- debug registers ---
  xor eax, eax
  mov dr6, rax
  lea rax, [rip + scratch]
  mov dr0, rax
  mov rax, 0x000d0402          # G0, write, 4 bytes
  mov dr7, rax
  mov qword ptr [handler], offset step_handler
  mov dword ptr [step_count], 0
  mov eax, [scratch]           # a read does not match
  mov byte ptr [scratch + 3], 1
db_write_next: nop
  mov qword ptr [handler], 0
  CHECK "db-write-watchpoint-once", [step_count], 1
  CHECK "db-write-trap-after-instruction", [step_log], offset db_write_next
  mov rax, dr6
  and eax, 0xf
  CHECK "dr6-b0", rax, 1
  mov rax, 0x000f0402          # read or write
  mov dr7, rax
  mov qword ptr [handler], offset step_handler
  mov dword ptr [step_count], 0
  mov al, [scratch + 1]
  mov al, [scratch + 4]
  mov qword ptr [handler], 0
  CHECK "db-read-watchpoint", [step_count], 1
  lea rax, [rip + db_here]
  mov dr1, rax
  mov rax, 0x408               # G1, execute
  mov dr7, rax
  TRY 1f
db_here: nop
1: WANT "db-instruction-breakpoint", 1
  CHECK "db-breakpoint-is-a-fault", [f_rip], offset db_here
  mov qword ptr [handler], offset rf_handler
  mov dword ptr [step_count], 0
  push KERNEL_DS
  push rsp
  add qword ptr [rsp], 8
  push 0x10002                 # IRET with RF: the breakpoint at its target is skipped once
  push KERNEL_CS
  lea rax, [rip + db_here2]
  mov dr1, rax
  push rax
  iretq
db_here2: nop
  mov qword ptr [handler], 0
  CHECK "rf-skips-one-breakpoint", [step_count], 0
  mov rax, 0x2000
  or rax, 0x400
  mov dr7, rax                 # GD
  TRY 1f
  mov rax, dr0
1: WANT "db-general-detect", 1
  mov rax, 0x400
  mov dr7, rax
  mov rax, dr6
  shr eax, 13
  and eax, 1
  CHECK "dr6-bd", rax, 1
  mov rax, dr7
  CHECK "dr7-bit-10-reads-1", rax, 0x400
  TRY 1f
  mov rax, 0x100000000
  mov dr7, rax
1: WANT "gp-dr7-upper-half", 13, 0
  mov rax, cr4
  or eax, 8
  mov cr4, rax
  TRY 1f
  mov rax, dr4
1: WANT "ud-dr4-with-de", 6
  mov rax, cr4
  and eax, ~8
  mov cr4, rax
  mov rax, dr6
  mov rcx, dr4
  CHECK "dr4-is-dr6-without-de", rcx, rax
  TRY 1f
  USER dr_user
1: WANT "gp-mov-dr-at-cpl-3", 13, 0
  # icebp
  TRY 1f
  .byte 0xf1
1: WANT "db-icebp", 1

  # --- NMI to self through the LAPIC ---
  LAPIC_WRITE 0xf0, 0x1ff
  mov qword ptr [handler], offset nmi_handler
  mov dword ptr [step_count], 0
  mov dword ptr [nmi_inside], 0
  LAPIC_WRITE 0x310, 0
  LAPIC_WRITE 0x300, 0x44400   # NMI, self
  mov ecx, 10000000
1: pause
  cmp dword ptr [step_count], 2
  loopne 1b
  mov qword ptr [handler], 0
  CHECK "nmi-delivered-with-if-clear", [step_log], 2
  CHECK "nmi-blocked-until-iret", [nmi_inside], 1
  CHECK "nmi-second-after-iret", [step_count], 2
  ret

# Logs rip and goes on.
step_handler:
  push rax
  push rcx
  mov ecx, [step_count]
  cmp ecx, 8
  jae 1f
  mov rax, [rsp + 16]
  mov [step_log + rcx * 8], rax
1: inc dword ptr [step_count]
  pop rcx
  pop rax
  iretq
rf_handler:
  inc dword ptr [step_count]
  or qword ptr [rsp + 16], 0x10000
  iretq
# The first one sends a second NMI, which must wait until the IRET.
nmi_handler:
  push rax
  push rcx
  mov eax, [f_vector]
  mov [step_log], rax
  inc dword ptr [step_count]
  cmp dword ptr [step_count], 1
  jne 1f
  LAPIC_WRITE 0x300, 0x44400
  mov ecx, 100000
2: pause
  loop 2b
  mov eax, [step_count]
  mov [nmi_inside], eax
1: pop rcx
  pop rax
  iretq
ac_user:
  mov eax, [rip + scratch + 1]
  int 0x80
ud_user:
  ud2
dr_user:
  mov rax, dr0

.data
.align 16
scratch: .fill 64, 1, 0
step_log: .fill 8, 8, 0
step_count: .quad 0
nmi_inside: .quad 0
short_idtr: .word 0x80 * 16 - 1
  .quad idt
