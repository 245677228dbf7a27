# How a machine ends: one image for each way, chosen by WAY. Assembled with --defsym WAY=n.
# ACPI 4.8.3.2 PM1 control (S5), port CF9h, 8042 command FEh, port 92h, triple fault, HLT with interrupts off, debug exit.
.include "runtime64.inc"

main:
  lea rdi, [rip + text]
  call print
.if WAY == 0                   # ACPI S5 at bhyve's PM1a control block: SLP_TYP 5, SLP_EN
  mov dx, 0x404
  in ax, dx
  or ax, 1                     # SCI_EN stays
  and ax, 0xc3ff
  or ax, 0x3400
  out dx, ax
.elseif WAY == 1               # CF9: full reset
  mov dx, 0xcf9
  mov al, 2
  out dx, al
  mov al, 6
  out dx, al
.elseif WAY == 2               # 8042: pulse the reset line
  mov al, 0xfe
  out 0x64, al
.elseif WAY == 3               # port 92h: fast reset
  in al, 0x92
  or al, 1
  out 0x92, al
.elseif WAY == 4               # triple fault
  lidt [rip + null_idtr]
  ud2
.elseif WAY == 5               # HLT with interrupts off
  cli
  hlt
.elseif WAY == 6               # debug exit, 32 bits wide
  mov dx, 0xf4
  mov eax, 0x15
  out dx, eax
.elseif WAY == 7               # a second boot: the first one resets, the second (RTC RAM says so) exits
  mov al, 0x51
  out 0x70, al
  in al, 0x71
  cmp al, 0x5a
  je 1f
  mov al, 0x51
  out 0x70, al
  mov al, 0x5a
  out 0x71, al
  mov dx, 0xcf9
  mov al, 6
  out dx, al
  jmp 2f
1: xor eax, eax
  out 0xf4, al
2:
.endif
  mov ecx, 10000000
1: pause
  loop 1b
  lea rdi, [rip + survived]
  call print
1: cli
  hlt
  jmp 1b

.section .rodata
text: .asciz "exits\n"
survived: .asciz "not ok still-running\n"
.data
null_idtr: .word 0
  .quad 0
