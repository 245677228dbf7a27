# Interrupt controllers and timers: LAPIC, IOAPIC, PIC, PIT, HPET, RTC, ACPI PM timer, HLT wake-up, interrupt shadows.
# SDM vol. 3A 11 APIC; 82093AA IOAPIC; 8259A, 8254, MC146818 data sheets; IA-PC HPET 1.0a.
.include "runtime64.inc"
.set IOAPIC, 0xfec00000
.set HPET, 0xfed00000

.macro IOAPIC_WRITE index, value
  push rax
  mov eax, IOAPIC
  mov dword ptr [rax], \index
  mov dword ptr [rax + 0x10], \value
  pop rax
.endm
.macro IOAPIC_READ index
  mov eax, IOAPIC
  mov dword ptr [rax], \index
  mov eax, [rax + 0x10]
.endm
# Interrupts on until `counts[vector]` is not 0 any more, or for long enough that it never comes.
.macro WAIT_FOR vector
  mov ecx, 20000000
7715: sti
  nop
  cmp qword ptr [counts + \vector * 8], 0
  jne 7716f
  dec ecx
  jnz 7715b
7716: cli
.endm
.macro CLEAR vector
  mov qword ptr [counts + \vector * 8], 0
  mov qword ptr [log_count], 0
  mov qword ptr [log], 0
.endm
.macro SELF_IPI vector
  LAPIC_WRITE 0x310, 0
  LAPIC_WRITE 0x300, 0x44000+\vector
.endm

main:
  # --- LAPIC registers ---
  READ_MSR 0x1b
  shr eax, 8
  and eax, 0xf
  CHECK "apic-base-bsp-and-enabled", rax, 9
  LAPIC_READ 0x30
  and eax, 0xf0
  CHECK "apic-version-integrated", rax, 0x10
  LAPIC_WRITE 0xf0, 0x1ff
  LAPIC_READ 0xf0
  and eax, 0x1ff
  CHECK "apic-svr", rax, 0x1ff
  mov dword ptr [ack], 1
  # --- self-IPI, priorities ---
  SELF_IPI 0x61
  LAPIC_READ 0x230             # IRR 0x60..0x7f
  CHECK "self-ipi-in-irr", rax, 2
  WAIT_FOR 0x61
  CHECK "self-ipi-delivered", [counts+0x61*8], 1
  LAPIC_READ 0x230
  CHECK "irr-clear-after-delivery", rax, 0
  LAPIC_READ 0x130
  CHECK "isr-clear-after-eoi", rax, 0
  CLEAR 0x61
  LAPIC_WRITE 0x310, 0
  LAPIC_WRITE 0x300, 0x4062    # destination by physical ID: this one
  WAIT_FOR 0x62
  CHECK "ipi-by-physical-destination", [counts+0x62*8], 1
  mov qword ptr [log_count], 0
  mov qword ptr [log], 0
  SELF_IPI 0x51
  SELF_IPI 0x71
  SELF_IPI 0x61
  sti
  nop
  nop
  cli
  mov eax, [log]
  and eax, 0xffffff
  CHECK "highest-vector-first", rax, 0x516171
  mov qword ptr [log_count], 0
  mov qword ptr [log], 0
  mov eax, 6                   # the class alone
  mov cr8, rax
  LAPIC_READ 0x80
  CHECK "cr8-is-tpr", rax, 0x60
  SELF_IPI 0x61
  SELF_IPI 0x71
  sti
  nop
  nop
  cli
  CHECK "tpr-holds-its-class-back", [log_count], 1
  LAPIC_READ 0xa0
  CHECK "ppr-follows-tpr", rax, 0x60
  xor eax, eax
  mov cr8, rax
  sti
  nop
  nop
  cli
  mov ax, [log]
  movzx eax, ax
  CHECK "delivered-when-tpr-drops", rax, 0x6171
  TRY 1f
  mov eax, 0x10
  mov cr8, rax
1: WANT "gp-cr8-reserved-bits", 13, 0
  # in service blocks its class: handler without EOI
  mov dword ptr [ack], 0
  mov qword ptr [log_count], 0
  mov qword ptr [log], 0
  SELF_IPI 0x61
  WAIT_FOR 0x61
  SELF_IPI 0x62                # same class
  SELF_IPI 0x81                # higher class
  sti
  nop
  nop
  cli
  mov eax, [log]
  and eax, 0xffffff
  CHECK "in-service-blocks-its-class", rax, 0x008161
  LAPIC_WRITE 0xb0, 0
  LAPIC_WRITE 0xb0, 0
  mov dword ptr [ack], 1
  sti
  nop
  nop
  cli
  mov eax, [log]
  shr eax, 16
  and eax, 0xff
  CHECK "eoi-lets-the-next-in", rax, 0x62
  # a vector below 16 is an error
  NOT_ON_QEMU 9f, "esr-illegal-vector # QEMU delivers it"
  LAPIC_WRITE 0x280, 0
  SELF_IPI 5
  LAPIC_WRITE 0x280, 0
  LAPIC_READ 0x280
  CHECK "esr-illegal-vector", rax, 0x20
9:
  # --- LAPIC timer ---
  CLEAR 0x40
  LAPIC_WRITE 0x3e0, 0xb       # divide by 1
  LAPIC_WRITE 0x320, 0x40      # one-shot
  LAPIC_WRITE 0x380, 100000
  WAIT_FOR 0x40
  CHECK "lapic-timer-one-shot", [counts+0x40*8], 1
  LAPIC_READ 0x390
  CHECK "one-shot-stops-at-0", rax, 0
  CLEAR 0x40
  LAPIC_WRITE 0x320, 0x20040   # periodic
  LAPIC_WRITE 0x380, 100000
  mov ecx, 100000000
1: sti
  nop
  cmp qword ptr [counts + 0x40 * 8], 3
  jae 2f
  dec ecx
  jnz 1b
2: cli
  LAPIC_WRITE 0x380, 0
  mov eax, [counts + 0x40 * 8]
  cmp eax, 3
  setae al
  movzx eax, al
  CHECK "lapic-timer-periodic", rax, 1
  sti
  nop
  nop
  cli
  CLEAR 0x40
  LAPIC_WRITE 0x320, 0x10040   # masked
  LAPIC_WRITE 0x380, 1000
  mov ecx, 1000000
1: pause
  loop 1b
  sti
  nop
  nop
  cli
  CHECK "lapic-timer-masked", [counts+0x40*8], 0
  # HLT wakes
  CLEAR 0x40
  LAPIC_WRITE 0x320, 0x40
  LAPIC_WRITE 0x380, 1000000
  sti
  hlt
hlt_next:
  cli
  CHECK "hlt-wakes-for-the-timer", [counts+0x40*8], 1
  CHECK "hlt-return-address", [i_rip], offset hlt_next
  # TSC deadline
  mov eax, 1
  cpuid
  bt ecx, 24
  jnc 2f
  CLEAR 0x41
  LAPIC_WRITE 0x320, 0x40041
  rdtsc
  shl rdx, 32
  or rax, rdx
  add rax, 1000000
  mov rdx, rax
  shr rdx, 32
  mov ecx, 0x6e0
  wrmsr
  WAIT_FOR 0x41
  CHECK "tsc-deadline", [counts+0x41*8], 1
  READ_MSR 0x6e0
  CHECK "tsc-deadline-msr-clears", rax, 0
  jmp 3f
2: SKIP "tsc-deadline # CPUID has none"
3:
  # --- STI shadow, CLI ---
  mov qword ptr [log_count], 0
  mov qword ptr [log], 0
  CLEAR 0x61
  SELF_IPI 0x61
  sti
  cli                          # in the shadow: nothing may come between
  CHECK "sti-shadow", [counts+0x61*8], 0
  sti
  nop
sti_next: nop
  cli
  CHECK "sti-delivers-after-one-instruction", [i_rip], offset sti_next
  # --- x2APIC ---
  mov eax, 1
  cpuid
  bt ecx, 21
  jnc 2f
  READ_MSR 0x1b
  or eax, 0xc00
  mov edx, 0
  mov ecx, 0x1b
  wrmsr
  CLEAR 0x63
  mov ecx, 0x83f
  mov eax, 0x63
  xor edx, edx
  wrmsr
  READ_MSR 0x823
  CHECK "x2apic-self-ipi-irr", rax, 8
  mov dword ptr [ack], 0
  sti
  nop
  nop
  cli
  CHECK "x2apic-self-ipi", [counts+0x63*8], 1
  TRY 1f
  mov ecx, 0x80b
  mov eax, 1
  xor edx, edx
  wrmsr
1: WANT "gp-x2apic-eoi-nonzero", 13, 0
  mov ecx, 0x80b
  xor eax, eax
  xor edx, edx
  wrmsr
  TRY 1f
  mov ecx, 0x1b
  rdmsr
  and eax, ~0x800
  wrmsr
1: WANT "gp-x2apic-without-enable", 13, 0
  READ_MSR 0x1b
  and eax, ~0xc00
  mov ecx, 0x1b
  xor edx, edx
  wrmsr
  or eax, 0x800
  wrmsr
  LAPIC_WRITE 0xf0, 0x1ff
  mov dword ptr [ack], 1
  jmp 3f
2: SKIP "x2apic-self-ipi # CPUID has no x2APIC"
3:
  # --- PIC and PIT ---
  mov dword ptr [ack], 2
  LAPIC_WRITE 0x350, 0x700     # LINT0: ExtINT
  mov al, 0x11                 # ICW1..4: vectors 0x20, 0x28
  out 0x20, al
  out 0xa0, al
  mov al, 0x20
  out 0x21, al
  mov al, 0x28
  out 0xa1, al
  mov al, 4
  out 0x21, al
  mov al, 2
  out 0xa1, al
  mov al, 1
  out 0x21, al
  out 0xa1, al
  mov al, 0xfe
  out 0x21, al
  mov al, 0xff
  out 0xa1, al
  in al, 0x21
  movzx eax, al
  CHECK "pic-mask-reads-back", rax, 0xfe
  CLEAR 0x20
  mov al, 0x30                 # channel 0, mode 0, 1000 ticks
  out 0x43, al
  mov al, 0xe8
  out 0x40, al
  mov al, 3
  out 0x40, al
  WAIT_FOR 0x20
  CHECK "pit-mode-0-through-pic", [counts+0x20*8], 1
  CLEAR 0x20
  mov al, 0x34                 # mode 2
  out 0x43, al
  mov al, 0xe8
  out 0x40, al
  mov al, 3
  out 0x40, al
  mov ecx, 100000000
1: sti
  nop
  cmp qword ptr [counts + 0x20 * 8], 3
  jae 2f
  dec ecx
  jnz 1b
2: cli
  mov eax, [counts + 0x20 * 8]
  cmp eax, 3
  setae al
  movzx eax, al
  CHECK "pit-mode-2-repeats", rax, 1
  mov al, 0xff
  out 0x21, al
  CLEAR 0x20
  mov ecx, 100000000           # until the PIT has asked again
1: mov al, 0x0a
  out 0x20, al
  in al, 0x20
  test al, 1
  jnz 2f
  dec ecx
  jnz 1b
2: sti
  nop
  nop
  cli
  CHECK "pic-mask-holds", [counts+0x20*8], 0
  mov al, 0x0a                 # OCW3: read IRR
  out 0x20, al
  in al, 0x20
  and eax, 1
  CHECK "pic-irr-while-masked", rax, 1
  # PIT channel 2 through port 61h
  in al, 0x61
  and al, 0xfc
  or al, 1
  out 0x61, al
  mov al, 0xb0                 # channel 2, mode 0
  out 0x43, al
  mov al, 0x00
  out 0x42, al
  mov al, 0x10
  out 0x42, al
  in al, 0x61
  and eax, 0x20
  CHECK "pit-channel-2-output-low", rax, 0
  mov ecx, 10000000
1: in al, 0x61
  test al, 0x20
  jnz 2f
  loop 1b
2: in al, 0x61
  and eax, 0x20
  CHECK "pit-channel-2-output-rises", rax, 0x20
  mov al, 0xe8                 # read-back: status of channel 2
  out 0x43, al
  in al, 0x42
  and eax, 0xbf                # without null count
  CHECK "pit-read-back-status", rax, 0xb0
  # --- IOAPIC: IRQ 4 is left alone; the PIT sits on pin 2 ---
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  LAPIC_WRITE 0x350, 0x10000
  mov dword ptr [ack], 1
  IOAPIC_READ 1
  shr eax, 16
  and eax, 0xff
  cmp eax, 23
  setae al
  movzx eax, al
  CHECK "ioapic-has-24-pins", rax, 1
  CLEAR 0x35
  IOAPIC_WRITE 0x15, 0
  IOAPIC_WRITE 0x14, 0x10035   # masked
  IOAPIC_READ 0x14
  and eax, 0x1afff
  CHECK "ioapic-entry-reads-back", rax, 0x10035
  IOAPIC_WRITE 0x14, 0x35      # edge, active high
  mov al, 0x34
  out 0x43, al
  mov al, 0xe8
  out 0x40, al
  mov al, 3
  out 0x40, al
  WAIT_FOR 0x35
  mov eax, [counts + 0x35 * 8]
  test eax, eax
  setnz al
  movzx eax, al
  CHECK "ioapic-edge-from-pit", rax, 1
  IOAPIC_WRITE 0x14, 0x10035
  # Level: pc-testdev sets a pin through port 2000h + pin
  CLEAR 0x36
  IOAPIC_WRITE 0x27, 0
  IOAPIC_WRITE 0x26, 0x8036    # pin 11, level
  mov dword ptr [ack], 0
  mov dx, 0x200b
  mov al, 1
  out dx, al
  WAIT_FOR 0x36
  CHECK "ioapic-level-delivers", [counts+0x36*8], 1
  IOAPIC_READ 0x26
  and eax, 0x4000
  CHECK "ioapic-remote-irr-set", rax, 0x4000
  LAPIC_READ 0x190             # TMR 0x20..0x3f
  bt eax, 0x16
  setc al
  movzx eax, al
  CHECK "tmr-set-for-level", rax, 1
  LAPIC_WRITE 0xb0, 0          # EOI while the line is still high: again
  sti
  nop
  nop
  nop
  cli
  CHECK "ioapic-level-again-after-eoi", [counts+0x36*8], 2
  mov dx, 0x200b
  xor eax, eax
  out dx, al
  LAPIC_WRITE 0xb0, 0
  sti
  nop
  nop
  nop
  cli
  CHECK "ioapic-level-quiet-when-low", [counts+0x36*8], 2
  IOAPIC_READ 0x26
  and eax, 0x4000
  CHECK "ioapic-remote-irr-clear", rax, 0
  mov dword ptr [ack], 1
  CLEAR 0x36
  IOAPIC_WRITE 0x26, 0x36      # pin 11, edge
  mov dx, 0x200b
  mov al, 1
  out dx, al
  sti
  nop
  nop
  nop
  cli
  mov al, 1
  out dx, al                   # no edge
  sti
  nop
  nop
  nop
  cli
  CHECK "ioapic-edge-once", [counts+0x36*8], 1
  xor eax, eax
  out dx, al
  IOAPIC_WRITE 0x26, 0x10036
  # --- HPET ---
  mov ebx, HPET
  mov rax, [rbx]
  cmp rax, -1
  je 8f
  shr rax, 32                  # period in femtoseconds: at most 100 ns
  cmp rax, 100000000
  setbe al
  movzx eax, al
  CHECK "hpet-period", rax, 1
  mov rax, [rbx + 0x10]
  and rax, ~3
  mov [rbx + 0x10], rax
  mov qword ptr [rbx + 0xf0], 0
  mov rax, [rbx + 0xf0]
  CHECK "hpet-counter-writable-while-stopped", rax, 0
  mov rax, [rbx + 0xf0]
  mov ecx, 1000
1: pause
  loop 1b
  CHECK "hpet-counter-stands-while-stopped", [rbx+0xf0], 0
  or qword ptr [rbx + 0x10], 1
  mov ecx, 100000
1: pause
  loop 1b
  mov rax, [rbx + 0xf0]
  test rax, rax
  setnz al
  movzx eax, al
  CHECK "hpet-counter-runs", rax, 1
  # timer 0, one-shot, to a pin that it allows
  mov rax, [rbx + 0x100]
  shr rax, 32
  bsr ecx, eax                 # highest allowed pin
  jz 8f
  mov r12d, ecx
  lea eax, [rcx * 2 + 0x10]
  mov edx, IOAPIC
  lea esi, [rax + 1]
  mov [rdx], esi
  mov dword ptr [rdx + 0x10], 0
  mov [rdx], eax
  mov dword ptr [rdx + 0x10], 0x37
  CLEAR 0x37
  mov eax, r12d
  shl eax, 9
  or eax, 4                    # interrupt enable, edge
  mov [rbx + 0x100], rax
  mov rax, [rbx + 0xf0]
  add rax, 100000
  mov [rbx + 0x108], rax
  WAIT_FOR 0x37
  CHECK "hpet-timer-one-shot", [counts+0x37*8], 1
  mov qword ptr [rbx + 0x100], 0
  lea eax, [r12 * 2 + 0x10]
  mov edx, IOAPIC
  mov [rdx], eax
  mov dword ptr [rdx + 0x10], 0x10037
8:
  # --- RTC ---
  mov al, 0x0d
  out 0x70, al
  in al, 0x71
  and eax, 0x80
  CHECK "rtc-valid-ram-and-time", rax, 0x80
  mov al, 0x0a
  out 0x70, al
  in al, 0x71
  and eax, 0x70
  CHECK "rtc-divider-runs", rax, 0x20
  mov al, 0x09
  out 0x70, al
  in al, 0x71
  movzx eax, al
  cmp eax, 0x20                # BCD year of this century
  setae al
  movzx eax, al
  CHECK "rtc-year", rax, 1
  mov al, 0x50                 # CMOS RAM
  out 0x70, al
  mov al, 0xa5
  out 0x71, al
  mov al, 0x50
  out 0x70, al
  in al, 0x71
  movzx eax, al
  CHECK "cmos-ram", rax, 0xa5
  # --- ACPI PM timer: 24 or 32 bits at 3.579545 MHz, at bhyve's port ---
  NOT_ON_QEMU 9f, "pm-timer-runs # QEMU has it elsewhere"
  mov dx, 0x408
  in eax, dx
  mov r12d, eax
  mov ecx, 100000
1: pause
  loop 1b
  in eax, dx
  cmp eax, r12d
  setne al
  movzx eax, al
  CHECK "pm-timer-runs", rax, 1
9:
  # --- RTC periodic interrupt, IRQ 8 ---
  LAPIC_WRITE 0xf0, 0x1ff
  mov qword ptr [ack], 1
  IOAPIC_WRITE 0x21, 0
  IOAPIC_WRITE 0x20, 0x38      # pin 8, edge
  CLEAR 0x38
  mov al, 0x0c                 # clears what is pending
  out 0x70, al
  in al, 0x71
  mov al, 0x0a
  out 0x70, al
  mov al, 0x26                 # 1024 Hz
  out 0x71, al
  mov al, 0x0b
  out 0x70, al
  in al, 0x71
  mov r12d, eax
  or al, 0x40                  # PIE
  mov r13d, eax
  mov al, 0x0b
  out 0x70, al
  mov eax, r13d
  out 0x71, al
  WAIT_FOR 0x38
  mov rax, [counts + 0x38 * 8]
  test rax, rax
  setnz al
  movzx eax, al
  CHECK "rtc-periodic-interrupt", rax, 1
  mov al, 0x0c
  out 0x70, al
  in al, 0x71
  and eax, 0xc0
  CHECK "rtc-status-c-says-why", rax, 0xc0
  mov al, 0x0b
  out 0x70, al
  mov eax, r12d
  out 0x71, al
  IOAPIC_WRITE 0x20, 0x10038
  # --- ports and memory that nobody claims ---
  mov dx, 0x3998
  in al, dx
  movzx eax, al
  CHECK "unclaimed-port-reads-ones", rax, 0xff
  in eax, dx
  CHECK "unclaimed-port-reads-32-ones", rax, 0xffffffff
  # --- pc-testdev's latches ---
  mov dx, 0xe0
  mov eax, 0x12345678
  out dx, eax
  in eax, dx
  CHECK "testdev-latch-32", rax, 0x12345678
  mov dx, 0xe0
  in ax, dx
  movzx eax, ax
  CHECK "testdev-latch-16", rax, 0x5678
  in al, dx
  movzx eax, al
  CHECK "testdev-latch-8", rax, 0x78
  mov dx, 0xe8
  mov al, 0x42
  out dx, al
  in al, dx
  movzx eax, al
  CHECK "testdev-byte-latch", rax, 0x42
  mov ebx, 0xff000000
  mov dword ptr [rbx + 0x10], 0xcafe
  mov eax, [rbx + 0x10]
  CHECK "testdev-scratch-mmio", rax, 0xcafe
  inc dword ptr [rbx + 0x10]
  mov eax, [rbx + 0x10]
  CHECK "read-modify-write-of-mmio", rax, 0xcaff
  mov dword ptr [rbx + 0x20], 0x11223344
  mov ax, [rbx + 0x21]
  movzx eax, ax
  CHECK "mmio-misaligned-16", rax, 0x2233
  # string I/O
  lea rsi, [rip + latch_bytes]
  mov dx, 0xe8
  mov ecx, 3
  cld
  rep outsb
  in al, dx
  movzx eax, al
  CHECK "rep-outsb", rax, 0x33
  lea rdi, [rip + latch_in]
  mov ecx, 4
  rep insb
  mov eax, [latch_in]
  CHECK "rep-insb", rax, 0x33333333
  ret

.data
latch_bytes: .byte 0x11, 0x22, 0x33
.align 8
latch_in: .quad 0
