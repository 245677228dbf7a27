# 32-bit protected mode, 32-bit and PAE paging, real mode and unreal mode, entered from long mode and left again at the end.
# SDM vol. 3A 3.4 Logical and Linear Addresses, 4.3 32-bit paging, 4.4 PAE paging, 9.9 Mode Switching, 20 8086 Emulation (real mode parts).
#
# Each part runs in its own mode and leaves its findings in `results`; the 64-bit half reports them afterwards with the runtime's CHECK.
.include "runtime64.inc"
.set DS32, 0x10
.set CS32, 0x30
.set PD32, 0x2c0000            # 32-bit page directory: identity with 4 MiB pages
.set PT32, 0x2c1000
.set PAE_PDPT, 0x2c2000
.set PAE_PD, 0x2c3000          # four pages
.set PAE_PT, 0x2c8000
.set WINDOW, 0x80000000        # linear page for the tests, mapped by PT32 or PAE_PT

.macro RESULT index, value     # 32-bit code
  push eax
  mov eax, \value
  mov [results + \index * 8], eax
  pop eax
.endm
# Like TRY, in 32-bit code.
.macro TRY32 label
  mov dword ptr [l_vector], 0xffffffff
  mov dword ptr [l_error], 0xffffffff
  mov [l_esp], esp
  mov dword ptr [l_recover], offset \label
.endm
.macro RESULT_FAULT index
  push eax
  mov eax, [l_vector]
  mov [results + \index * 8 + 4], eax
  mov eax, [l_error]
  mov [results + \index * 8], eax
  pop eax
.endm
.macro REPORT name, index, value:vararg
  mov rax, [results + \index * 8]
  mov r10, rax
  mov r11, \value
  CHECK "\name", r10, r11
.endm
.macro REPORT_FAULT name, index, vector, error=NONE
  mov rax, [results + \index * 8]
  mov r10, rax
  mov rax, (\vector << 32) | \error
  mov r11, rax
  CHECK "\name", r10, r11
.endm

main:
  lgdt [rip + gdtr32]
  jmp fword ptr [rip + far32]
.code32
protected:
  mov eax, DS32
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov fs, eax
  mov gs, eax
  mov esp, STACK_TOP - 0x8000
  mov eax, cr0
  and eax, 0x7fffffff          # paging off: long mode ends
  mov cr0, eax
  mov ecx, 0xc0000080
  rdmsr
  RESULT 0, eax                # LMA is clear now
  and eax, ~0x100
  wrmsr
  # 32-bit IDT and TSS
  mov edi, offset idt32
  mov eax, offset stubs32
  mov ecx, 32
1: mov [edi], ax
  mov word ptr [edi + 2], CS32
  mov word ptr [edi + 4], 0x8e00
  mov edx, eax
  shr edx, 16
  mov [edi + 6], dx
  add edi, 8
  add eax, 16
  loop 1b
  mov eax, offset stub80
  mov [edi - 256 + 0x80 * 8], ax
  mov word ptr [edi - 256 + 0x80 * 8 + 2], CS32
  mov word ptr [edi - 256 + 0x80 * 8 + 4], 0xee00
  shr eax, 16
  mov [edi - 256 + 0x80 * 8 + 6], ax
  lidt [idtr32]
  mov eax, offset tss32
  mov [gdt32 + 0x38 + 2], ax
  shr eax, 16
  mov [gdt32 + 0x38 + 4], al
  mov [gdt32 + 0x38 + 7], ah
  mov byte ptr [gdt32 + 0x38 + 5], 0x89
  mov eax, 0x38
  ltr ax
  # --- limits and rights, no paging ---
  mov eax, 0x78                # limit 0xfff, byte granular
  mov fs, eax
  TRY32 1f
  mov eax, fs:[0xffc]
1: RESULT_FAULT 1
  TRY32 1f
  mov eax, fs:[0xffd]
1: RESULT_FAULT 2
  TRY32 1f
  mov al, fs:[0xfff]
1: RESULT_FAULT 3
  mov eax, 0x80                # expand-down, limit 0xfff: valid above it
  mov fs, eax
  TRY32 1f
  mov al, fs:[0xfff]
1: RESULT_FAULT 4
  TRY32 1f
  mov al, fs:[0x1000]
1: RESULT_FAULT 5
  mov eax, 0x68                # read-only
  mov fs, eax
  TRY32 1f
  mov byte ptr fs:[scratch], 0
1: RESULT_FAULT 6
  mov eax, 0x70                # execute-only
  TRY32 1f
  mov fs, eax
1: RESULT_FAULT 7
  xor eax, eax
  mov fs, eax
  TRY32 1f
  mov eax, fs:[0]
1: RESULT_FAULT 8
  TRY32 1f
  xor eax, eax
  mov ss, eax
1: RESULT_FAULT 9
  mov eax, 0x88                # stack with limit 0xfff
  mov ecx, ss
  mov edx, esp
  TRY32 1f
  mov ss, eax
  mov esp, 0x900               # the fault's own frame must fit
  mov ebp, 0xffd
  mov eax, [ebp]
1: mov ss, ecx
  mov esp, edx
  RESULT_FAULT 10
  # base is added, the sum wraps
  mov eax, 0x90                # base 0xffffff00
  mov fs, eax
  mov dword ptr [scratch], 0x600d
  mov eax, fs:[scratch + 0x100]
  RESULT 11, eax
  mov eax, DS32
  mov fs, eax
  # opcodes of 32-bit mode alone
  mov eax, 0x12345678
  inc eax
  RESULT 12, eax
  mov al, 0x9a
  mov ah, 0
  daa
  movzx eax, al
  RESULT 13, eax
  TRY32 1f
  mov ecx, 5
  bound ecx, [bounds]
1: RESULT_FAULT 14
  TRY32 1f
  mov al, 0x7f
  add al, 1
  into
1: RESULT_FAULT 15
  pushad
  mov eax, [esp + 12]          # the old ESP
  lea ecx, [esp + 32]
  sub eax, ecx
  mov [scratch], eax
  popad
  RESULT 16, [scratch]
  push DS32
  pop es
  mov ax, es
  movzx eax, ax
  RESULT 17, eax
  # ring 3 and back: stack from the 32-bit TSS
  TRY32 1f
  push 0x23
  push USER_STACK
  push 2
  push 0x1b
  push offset user32
  iretd
1: RESULT_FAULT 18
  RESULT 19, [l_cs]
  RESULT 20, [l_user_esp]
  mov eax, DS32
  mov ds, eax
  mov es, eax
  # 16-bit code segment
  mov dword ptr [scratch], 0
  ljmp 0x48, 16f - 0x100000
.code16
16: mov ax, 0x7fff
  inc ax
  mov ebx, offset scratch
  mov ds:[ebx], ax
  .byte 0x66, 0xea             # ljmp to 32-bit code
  .long back32
  .word CS32
.code32
back32:
  movzx eax, word ptr [scratch]
  RESULT 21, eax
  # --- 32-bit paging ---
  mov edi, PD32
  mov eax, 0x83
  mov ecx, 1024
1: mov [edi], eax
  add eax, 0x400000
  add edi, 4
  loop 1b
  mov edi, PT32
  xor eax, eax
  mov ecx, 1024
  rep stosd
  mov dword ptr [PD32 + (WINDOW >> 22) * 4], PT32 + 7
  mov dword ptr [PT32], FREE + 3
  mov dword ptr [FREE], 0x11111111
  mov eax, cr4
  and eax, ~0x20               # PAE off
  or eax, 0x10                 # PSE on
  mov cr4, eax
  mov eax, PD32
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80010000
  mov cr0, eax
  mov eax, [WINDOW]
  RESULT 22, eax
  mov eax, [PT32]
  and eax, 0x60
  RESULT 23, eax
  mov dword ptr [WINDOW], 0x11111111
  mov eax, [PT32]
  and eax, 0x60
  RESULT 24, eax
  TRY32 1f
  mov eax, [WINDOW + 0x1000]
1: RESULT_FAULT 25
  mov eax, cr2
  RESULT 26, eax
  mov dword ptr [PT32], FREE + 1
  invlpg [WINDOW]
  TRY32 1f
  mov dword ptr [WINDOW], 1
1: RESULT_FAULT 27
  mov eax, [PD32]
  and eax, 0x60
  RESULT 28, eax               # the 4 MiB page with this code and data: A and D
  mov dword ptr [PD32 + 0x204 * 4], 0x200083   # bit 21: reserved with a page size of 4 MiB
  TRY32 1f
  mov eax, [WINDOW + 0x1000000]
1: RESULT_FAULT 29
  # --- PAE ---
  mov eax, cr0
  and eax, 0x7fffffff
  mov cr0, eax
  mov edi, PAE_PDPT
  xor eax, eax
  mov ecx, 0x7000 / 4
  rep stosd
  mov dword ptr [PAE_PDPT], PAE_PD + 1
  mov dword ptr [PAE_PDPT + 8], PAE_PD + 0x1001
  mov dword ptr [PAE_PDPT + 16], PAE_PD + 0x2001
  mov dword ptr [PAE_PDPT + 24], PAE_PD + 0x3001
  mov edi, PAE_PD
  mov eax, 0x83
  mov ecx, 2048
1: mov [edi], eax
  add eax, 0x200000
  add edi, 8
  loop 1b
  mov dword ptr [PAE_PD + 0x2000], PAE_PT + 7
  mov dword ptr [PAE_PT], FREE + 3
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, PAE_PDPT
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  mov eax, [WINDOW]
  RESULT 30, eax
  mov dword ptr [WINDOW], 0x11111111
  mov eax, [PAE_PT]
  and eax, 0x60
  RESULT 31, eax
  mov dword ptr [PAE_PT + 4], 0x80000000       # NX
  invlpg [WINDOW]
  TRY32 1f
  mov eax, offset WINDOW
  jmp eax
1: RESULT_FAULT 32
  mov dword ptr [PAE_PT + 4], 0
  mov dword ptr [PAE_PT], FREE + 0x1003
  mov dword ptr [FREE + 0x1000], 0x22222222
  invlpg [WINDOW]
  mov eax, [WINDOW]
  RESULT 33, eax
  # PDPTEs are loaded by MOV CR3 alone
  mov dword ptr [PAE_PDPT + 16], 0
  invlpg [WINDOW]
  TRY32 1f
  mov eax, [WINDOW]
1: RESULT_FAULT 34
  mov eax, cr3
  mov cr3, eax
  TRY32 1f
  mov eax, [WINDOW]
1: RESULT_FAULT 35
  mov dword ptr [PAE_PDPT + 16], PAE_PD + 0x2003  # bit 1 is reserved in a PDPTE
  TRY32 1f
  mov eax, cr3
  mov cr3, eax
1: RESULT_FAULT 36
  mov dword ptr [PAE_PDPT + 16], PAE_PD + 0x2001
  mov eax, cr3
  mov cr3, eax
  # --- real mode ---
  mov eax, cr0
  and eax, 0x7fffffff
  mov cr0, eax
  mov esi, offset real_start
  mov edi, 0x8000
  mov ecx, offset real_end
  sub ecx, esi
  rep movsb
  ljmp 0x58, 0x8000 + (real16 - real_start)
real_start:
.code16
real16:                        # 16-bit protected mode, CS base 0 (selector 0x98 would do as well)
  mov ax, 0x50
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x7000
  mov ax, 0x10                 # FS keeps its 4 GiB limit: unreal mode
  mov fs, ax
  lidt ds:[0x8000 + (idtr_real - real_start)]
  mov eax, cr0
  and al, 0xfe
  mov cr0, eax
  .byte 0xea                   # far jump to 0:...
  .word 0x8000 + (real_mode - real_start), 0
real_mode:
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov word ptr ds:[0x7100], cs
  mov ax, 0x1234               # segment * 16
  mov es, ax
  mov byte ptr es:[5], 0x77
  mov ax, 0x1000
  mov ds, ax
  mov al, ds:[0x2345]
  mov bx, 0
  mov ds, bx
  mov ds:[0x7104], al
  # an interrupt through the real-mode table, with a 6-byte frame
  mov word ptr ds:[0x60 * 4], 0x8000 + (real_int - real_start)
  mov word ptr ds:[0x60 * 4 + 2], 0
  mov word ptr ds:[13 * 4], 0x8000 + (real_gp - real_start)
  mov word ptr ds:[13 * 4 + 2], 0
  mov word ptr ds:[6 * 4], 0x8000 + (real_ud - real_start)
  mov word ptr ds:[6 * 4 + 2], 0
  mov bp, sp
  int 0x60
real_int_next:
  # word access at offset 0xffff: #GP, without an error code
  mov word ptr ds:[0x710a], 0
  mov bx, 0xffff
  mov ax, ds:[bx]
  # unreal: FS reaches beyond 64 KiB
  mov ebx, offset results
  mov dword ptr fs:[ebx + 40 * 8], 0x5a5a
  mov ax, 0xffff
  mov es, ax
  mov byte ptr es:[0x10], 0x66 # FFFF0h + 10h = 100000h with A20 on
  ud2
real_after_ud:
  # back to protected mode
  mov eax, cr0
  or al, 1
  mov cr0, eax
  .byte 0x66, 0xea
  .long from_real
  .word CS32
real_int:
  mov word ptr ds:[0x7106], sp
  sub bp, sp
  mov word ptr ds:[0x7108], bp
  iret
real_gp:
  inc word ptr ds:[0x710a]
  pop cx                       # IP of the faulting instruction
  add cx, 2
  push cx
  iret
real_ud:
  inc word ptr ds:[0x710c]
  pop cx
  add cx, 2
  push cx
  iret
idtr_real: .word 0x3ff
  .long 0
real_end:
.code32
from_real:
  mov eax, DS32
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov fs, eax
  mov gs, eax
  mov esp, STACK_TOP - 0x8000
  movzx eax, word ptr [0x7100]
  RESULT 37, eax
  movzx eax, byte ptr [0x7104]
  RESULT 38, eax
  movzx eax, word ptr [0x7108]
  RESULT 39, eax
  movzx eax, word ptr [0x710a]
  RESULT 41, eax
  movzx eax, word ptr [0x710c]
  RESULT 42, eax
  movzx eax, byte ptr [0x100000]
  RESULT 43, eax
  # --- back to long mode ---
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, PML4
  mov cr3, eax
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x100
  wrmsr
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  lgdt [gdtr]
  ljmp KERNEL_CS, offset long_again

user32:
  mov eax, 0x23                # IRET has nulled DS: its DPL is 0
  mov ds, eax
  mov eax, [scratch]
  int 0x80

# Stack: vector, error, eip, cs, eflags, (esp, ss).
.align 16
stubs32:
.set n, 0
.rept 32
  .align 16
  .if (n == 8) || ((n >= 10) && (n <= 14)) || (n == 17)
    push n
  .else
    push -1
    push n
  .endif
  jmp exception32
  .set n, n + 1
.endr
stub80:
  push -1
  push 0x80
exception32:
  mov eax, DS32
  mov ds, eax
  mov eax, [esp]
  mov [l_vector], eax
  mov eax, [esp + 4]
  mov [l_error], eax
  mov eax, [esp + 12]
  mov [l_cs], eax
  mov eax, [esp + 20]
  mov [l_user_esp], eax
  mov eax, DS32
  mov ss, eax
  mov esp, [l_esp]
  jmp [l_recover]

.code64
long_again:
  mov rsp, STACK_TOP - 8       # main's return address
  mov eax, KERNEL_DS
  mov ds, eax
  mov es, eax
  mov ss, eax
  lidt [rip + idtr]
  mov byte ptr [gdt + TSS + 5], 0x89
  mov ax, TSS
  ltr ax
  mov rax, [results]
  bt rax, 10
  setc al
  movzx eax, al
  CHECK "lma-clears-with-paging", rax, 0
  REPORT_FAULT "limit-last-dword", 1, NONE
  REPORT_FAULT "gp-limit-dword-across", 2, 13, 0
  REPORT_FAULT "limit-last-byte", 3, NONE
  REPORT_FAULT "gp-expand-down-below", 4, 13, 0
  REPORT_FAULT "expand-down-above", 5, NONE
  REPORT_FAULT "gp-write-read-only-segment", 6, 13, 0
  REPORT_FAULT "gp-load-execute-only", 7, 13, 0x70
  REPORT_FAULT "gp-null-segment-access", 8, 13, 0
  REPORT_FAULT "gp-load-null-ss-32", 9, 13, 0
  REPORT_FAULT "ss-beyond-limit-through-ebp", 10, 12, 0
  REPORT "segment-base-wraps", 11, 0x600d
  REPORT "inc-eax-short-form", 12, 0x12345679
  REPORT "daa", 13, 0x00
  REPORT_FAULT "br-bound", 14, 5
  REPORT_FAULT "of-into", 15, 4
  REPORT "pushad-old-esp", 16, 0
  REPORT "pop-es", 17, DS32
  REPORT_FAULT "ring-3-and-back-32", 18, 0x80
  REPORT "ring-3-cs-32", 19, 0x1b
  REPORT "ring-3-esp-32", 20, USER_STACK
  REPORT "code16-operand-size", 21, 0x8000
  REPORT "paging32-read", 22, 0x11111111
  REPORT "paging32-a", 23, 0x20
  REPORT "paging32-d", 24, 0x60
  REPORT_FAULT "pf-paging32-not-present", 25, 14, 0
  REPORT "paging32-cr2", 26, WINDOW+0x1000
  REPORT_FAULT "pf-paging32-write-protect", 27, 14, 3
  REPORT "paging32-4m-a-d", 28, 0x60
  REPORT_FAULT "pf-paging32-reserved-bit-of-4m-page", 29, 14, 9
  REPORT "pae-read", 30, 0x11111111
  REPORT "pae-a-d", 31, 0x60
  REPORT_FAULT "pf-pae-nx", 32, 14, 0x11
  REPORT "pae-invlpg", 33, 0x22222222
  REPORT_FAULT "pae-pdpte-cached", 34, NONE
  REPORT_FAULT "pf-pae-pdpte-after-mov-cr3", 35, 14, 0
  REPORT_FAULT "gp-pae-pdpte-reserved-bit", 36, 13, 0
  REPORT "real-cs", 37, 0
  REPORT "real-segment-times-16", 38, 0x77
  REPORT "real-int-frame-6-bytes", 39, 6
  REPORT "unreal-4g-limit", 40, 0x5a5a
  REPORT "real-gp-at-offset-ffff", 41, 1
  REPORT "real-ud", 42, 1
  REPORT "a20-on", 43, 0x66
  ret

.data
.align 16
far32: .long protected
  .word CS32
gdt32:
  .quad 0
  .quad 0x00af9b000000ffff     # 08
  .quad 0x00cf93000000ffff     # 10
  .quad 0x00cffb000000ffff     # 18
  .quad 0x00cff3000000ffff     # 20
  .quad 0
  .quad 0x00cf9b000000ffff     # 30
  .quad 0x0000890000000067     # 38 TSS32
  .quad 0
  .quad 0x000f9b100000ffff     # 48 code16, base 1 MiB
  .quad 0x000093000000ffff     # 50 data16
  .quad 0x00009b000000ffff, 0  # 58 code16, base 0
  .quad 0x00cf91000000ffff     # 68 read-only
  .quad 0x00cf99000000ffff     # 70 execute-only
  .quad 0x0040930000000fff     # 78 limit 0xfff
  .quad 0x0040970000000fff     # 80 expand-down
  .quad 0x0040930000000fff     # 88 small stack
  .quad 0xffcf93ffff00ffff     # 90 base 0xffffff00
gdt32_end:
.align 16
gdtr32: .word gdt32_end - gdt32 - 1
  .quad gdt32
idtr32: .word 0x81 * 8 - 1
  .quad idt32
.align 16
tss32: .long 0, STACK_TOP - 0xc000, DS32
  .fill 92, 1, 0
bounds: .long 6, 10
scratch: .quad 0
l_vector: .long 0
l_error: .long 0
l_esp: .long 0
l_recover: .long 0
l_cs: .long 0
l_user_esp: .long 0
.align 8
results: .fill 64, 8, 0
.bss
.align 16
idt32: .skip 0x81 * 8
