# 4-level paging: page sizes, present, write, user, execute, A and D bits, WP, SMEP, SMAP, PCID, global pages, reserved bits, invalidation.
# SDM vol. 3A 4 Paging.
.include "runtime64.inc"

.macro SET entry, value            # page-table entry := value
  mov rax, \value
  mov [\entry], rax
  FLUSH
.endm
.macro BITS name, entry, want      # A and D of an entry
  mov rax, [\entry]
  shr rax, 5
  and eax, 3
  CHECK "\name", rax, \want
.endm

main:
  xor eax, eax
  mov edi, TEST_PDPT
  mov ecx, 0x3000
  rep stosb
  mov qword ptr [TEST_PDPT], TEST_PD + 7
  mov qword ptr [TEST_PD], TEST_PT + 7
  mov rbx, TEST
  mov r14, 0x5a5a5a5a
  mov dword ptr [FREE], 0x11111111
  mov dword ptr [FREE + 0x1000], 0x22222222

  # --- not present, error codes ---
  TRY 1f
  mov eax, [rbx]
1: WANT "pf-not-present-read", 14, 0
  CHECK "cr2-of-a-read", [f_cr2], rbx
  TRY 1f
  mov [rbx + 0x18], eax
1: WANT "pf-not-present-write", 14, 2
  lea rax, [rbx + 0x18]
  CHECK "cr2-of-a-write", [f_cr2], rax
  TRY 1f
  jmp rbx
1: WANT "pf-not-present-fetch", 14, 0x10
  CHECK "rip-of-a-fetch-fault", [f_rip], rbx
  TRY 1f
  USER user_read
1: WANT "pf-not-present-user-read", 14, 4
  TRY 1f
  USER user_write
1: WANT "pf-not-present-user-write", 14, 6
  TRY 1f
  USER user_fetch
1: WANT "pf-not-present-user-fetch", 14, 0x14
  mov rax, 0x8040000000
  TRY 1f
  mov eax, [rax]
1: WANT "pf-pdpte-not-present", 14, 0
  mov rax, 0x10000000000
  TRY 1f
  mov eax, [rax]
1: WANT "pf-pml4e-not-present", 14, 0

  # --- 4 KiB ---
  SET TEST_PT, FREE+3
  mov eax, [rbx]
  CHECK "4k-read", rax, 0x11111111
  BITS "a-set-d-clear-by-read", TEST_PT, 1
  BITS "a-of-pde", TEST_PD, 1
  BITS "a-of-pdpte", TEST_PDPT, 1
  mov dword ptr [rbx], 0x11111111
  BITS "d-set-by-write", TEST_PT, 3
  BITS "d-not-in-pde-of-a-table", TEST_PD, 1
  SET TEST_PT, FREE+1
  TRY 1f
  mov dword ptr [rbx], 1
1: WANT "pf-write-protected-supervisor", 14, 3
  BITS "d-not-set-by-a-fault", TEST_PT, 0
  mov rax, cr0
  and eax, ~0x10000
  mov cr0, rax
  TRY 1f
  mov dword ptr [rbx], 0x11111111
1: WANT "wp-clear-supervisor-writes", NONE
  BITS "d-set-with-wp-clear", TEST_PT, 3
  SET TEST_PT, FREE+5
  TRY 1f
  USER user_write
1: WANT "wp-clear-user-still-faults", 14, 7
  mov rax, cr0
  or eax, 0x10000
  mov cr0, rax
  SET TEST_PT, FREE+3
  TRY 1f
  USER user_read
1: WANT "pf-supervisor-page-from-user", 14, 5
  TRY 1f
  USER user_write
1: WANT "pf-supervisor-page-user-write", 14, 7
  SET TEST_PT, FREE+7
  TRY 1f
  USER user_read
1: WANT "user-page-from-user", 0x80
  mov qword ptr [TEST_PD], TEST_PT + 3
  FLUSH
  TRY 1f
  USER user_read
1: WANT "pf-user-bit-missing-above", 14, 5
  mov qword ptr [TEST_PD], TEST_PT + 5
  FLUSH
  TRY 1f
  mov [rbx], eax
1: WANT "pf-write-bit-missing-above", 14, 3
  mov qword ptr [TEST_PD], TEST_PT + 7
  FLUSH
  # a read-modify-write says W; CMPXCHG and BT likewise
  SET TEST_PT, FREE+1
  TRY 1f
  add dword ptr [rbx], 0
1: WANT "pf-rmw-is-a-write", 14, 3
  TRY 1f
  mov eax, 0x77777777
  lock cmpxchg [rbx], ecx
1: WANT "pf-cmpxchg-unequal-is-a-write", 14, 3
  TRY 1f
  bt dword ptr [rbx], 1
1: WANT "bt-is-a-read", NONE
  # page crossing
  SET TEST_PT, FREE+3
  SET TEST_PT+8, 0
  TRY 1f
  mov dword ptr [rbx + 0xffe], 0x12345678
1: WANT "pf-second-page-of-a-write", 14, 2
  lea rax, [rbx + 0x1000]
  CHECK "cr2-second-page", [f_cr2], rax
  movzx eax, word ptr [FREE + 0xffe]
  CHECK "nothing-written-when-the-second-page-faults", rax, 0
  SET TEST_PT+8, FREE+0x5003
  mov dword ptr [rbx + 0xffe], 0x12345678
  movzx eax, word ptr [FREE + 0x5000]
  CHECK "write-across-pages-to-scattered-frames", rax, 0x1234
  # a locked operation across pages
  mov dword ptr [rbx + 0xffe], 0x0001ffff
  lock inc dword ptr [rbx + 0xffe]
  mov eax, [rbx + 0xffe]
  CHECK "lock-across-pages", rax, 0x00020000

  # --- NX ---
  SET TEST_PT, 0x8000000000000000+FREE+7
  mov byte ptr [FREE], 0xc3
  TRY 1f
  call rbx
1: WANT "pf-nx", 14, 0x11
  TRY 1f
  USER user_fetch
1: WANT "pf-nx-user", 14, 0x15
  SET TEST_PT, FREE+3
  TRY 1f
  call rbx
1: WANT "fetch-without-nx", NONE
  mov rax, 0x8000000000000000+TEST_PT+7
  mov [TEST_PD], rax
  FLUSH
  TRY 1f
  call rbx
1: WANT "pf-nx-in-pde", 14, 0x11
  mov qword ptr [TEST_PD], TEST_PT + 7
  FLUSH
  mov ecx, 0xc0000080
  rdmsr
  and eax, ~0x800
  wrmsr
  SET TEST_PT, 0x8000000000000000+FREE+3
  TRY 1f
  mov eax, [rbx]
1: WANT "pf-nx-bit-reserved-without-nxe", 14, 9
  SET TEST_PT, 0
  TRY 1f
  jmp rbx
1: WANT "pf-no-id-bit-without-nxe", 14, 0
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x800
  wrmsr
  mov dword ptr [FREE], 0x11111111

  # --- reserved bits ---
  SET TEST_PT, 0x0008000000000003+FREE   # bit 51: above MAXPHYADDR unless that is 52
  mov eax, 0x80000008
  cpuid
  mov rbx, TEST
  cmp al, 52
  je 2f
  TRY 1f
  mov eax, [rbx]
1: WANT "pf-reserved-physical-bit", 14, 9
  jmp 3f
2: SKIP "pf-reserved-physical-bit # MAXPHYADDR is 52"
3: SET TEST_PT, FREE+3
  mov qword ptr [TEST_PD], FREE + 0x2000 + 0x83
  FLUSH
  TRY 1f
  mov eax, [rbx]
1: WANT "pf-reserved-bits-of-a-2m-page", 14, 9
  mov qword ptr [TEST_PD], TEST_PT + 7
  mov rax, [PML4 + 8]
  or rax, 0x80
  mov [PML4 + 8], rax
  FLUSH
  TRY 1f
  mov eax, [rbx]
1: WANT "pf-ps-in-pml4e", 14, 9
  and qword ptr [PML4 + 8], ~0x80
  FLUSH

  # --- 2 MiB, 1 GiB ---
  mov qword ptr [TEST_PD + 8], 0x200000 + 0x83
  lea r12, [rbx + 0x200000 + FREE - 0x200000]
  mov eax, [r12]
  CHECK "2m-read", rax, 0x11111111
  BITS "2m-a", TEST_PD+8, 1
  mov dword ptr [r12], 0x11111111
  BITS "2m-d", TEST_PD+8, 3
  mov eax, 0x80000001
  cpuid
  mov rbx, TEST
  bt edx, 26
  jnc 2f
  mov qword ptr [TEST_PDPT + 8], 0x83
  lea r12, [rbx + 0x40000000 + FREE]
  mov eax, [r12 + 0x1000]
  CHECK "1g-read", rax, 0x22222222
  BITS "1g-a", TEST_PDPT+8, 1
  mov dword ptr [r12 + 0x1000], 0x22222222
  BITS "1g-d", TEST_PDPT+8, 3
  mov qword ptr [TEST_PDPT + 8], 0x2083
  FLUSH
  TRY 1f
  mov eax, [r12]
1: WANT "pf-reserved-bits-of-a-1g-page", 14, 9
  jmp 3f
2: SKIP "1g-read # CPUID has no 1 GiB pages"
3:
  # --- invalidation ---
  SET TEST_PT, FREE+3
  mov eax, [rbx]
  mov qword ptr [TEST_PT], FREE + 0x1003
  invlpg [rbx]
  mov eax, [rbx]
  CHECK "invlpg", rax, 0x22222222
  mov qword ptr [TEST_PT], FREE + 3
  FLUSH
  mov eax, [rbx]
  CHECK "mov-cr3-flushes", rax, 0x11111111
  TRY 1f
  USER user_invlpg
1: WANT "gp-invlpg-at-cpl-3", 13, 0
  # more permissive entries need no flush: a fault walks again
  SET TEST_PT, FREE+1
  mov eax, [rbx]
  mov qword ptr [TEST_PT], FREE + 3
  TRY 1f
  mov dword ptr [rbx], 0x11111111
1: WANT "no-spurious-fault-after-walk", NONE
  # global
  mov rax, cr4
  or eax, 0x80
  mov cr4, rax
  mov qword ptr [TEST_PT], FREE + 0x103
  invlpg [rbx]
  mov eax, [rbx]
  mov qword ptr [TEST_PT], FREE + 0x1103
  mov rax, cr4
  and eax, ~0x80
  mov cr4, rax
  mov eax, [rbx]
  CHECK "cr4-pge-change-flushes-global", rax, 0x22222222
  SET TEST_PT, FREE+3

  # --- SMEP, SMAP ---
  mov eax, 7
  xor ecx, ecx
  cpuid
  mov r13d, ebx
  mov rbx, TEST
  bt r13d, 7
  jnc 2f
  SET TEST_PT, FREE+7
  mov byte ptr [FREE], 0xc3
  mov rax, cr4
  or eax, 0x100000
  mov cr4, rax
  TRY 1f
  call rbx
1: WANT "pf-smep", 14, 0x11
  SET TEST_PT, FREE+3
  TRY 1f
  call rbx
1: WANT "smep-allows-supervisor-page", NONE
  mov rax, cr4
  and eax, ~0x100000
  mov cr4, rax
  mov dword ptr [FREE], 0x11111111
  jmp 3f
2: SKIP "pf-smep # CPUID has no SMEP"
3: bt r13d, 20
  jnc 2f
  SET TEST_PT, FREE+7
  mov rax, cr4
  or eax, 0x200000
  mov cr4, rax
  clac
  TRY 1f
  mov eax, [rbx]
1: WANT "pf-smap-read", 14, 1
  TRY 1f
  mov dword ptr [rbx], 0x11111111
1: WANT "pf-smap-write", 14, 3
  stac
  TRY 1f
  mov eax, [rbx]
1: clac
  WANT "smap-stac-allows", NONE
  # implicit supervisor accesses ignore AC: an LDT on a user page
  mov rax, [gdt + KERNEL_DS]
  mov [FREE + 8], rax
  mov rax, 0x0000820000000fff
  mov [gdt + LDT], rax
  mov qword ptr [gdt + LDT + 8], TEST >> 32
  mov eax, LDT
  lldt ax
  stac
  TRY 1f
  mov eax, 0xc
  mov es, eax
1: clac
  xor eax, eax
  lldt ax
  WANT "pf-smap-implicit-access-despite-ac", 14, 1
  TRY 1f
  USER user_stac
1: WANT "ud-stac-at-cpl-3", 6
  mov rax, cr4
  and eax, ~0x200000
  mov cr4, rax
  jmp 3f
2: SKIP "pf-smap-read # CPUID has no SMAP"
3:
  # --- PCID ---
  mov eax, 1
  cpuid
  mov rbx, TEST
  bt ecx, 17
  jnc 2f
  SET TEST_PT, FREE+3
  TRY 1f
  mov rax, cr3
  or eax, 1
  mov cr3, rax
  mov rax, cr4
  or eax, 0x20000
  mov cr4, rax
1: WANT "gp-pcide-with-nonzero-pcid", 13, 0
  mov rax, PML4
  mov cr3, rax
  mov rax, cr4
  or eax, 0x20000
  mov cr4, rax
  mov eax, [rbx]               # cached under PCID 0
  mov rax, PML4 + 1
  mov cr3, rax
  mov eax, [rbx]
  mov qword ptr [TEST_PT], FREE + 0x1003
  mov rax, PML4 + 2
  mov cr3, rax
  mov eax, [rbx]
  CHECK "pcid-new-context-walks", rax, 0x22222222
  mov rax, PML4 + 1
  mov cr3, rax                 # bit 63 clear: flushes PCID 1
  mov eax, [rbx]
  CHECK "pcid-mov-cr3-flushes-its-own", rax, 0x22222222
  mov qword ptr [TEST_PT], FREE + 3
  mov eax, 7
  xor ecx, ecx
  cpuid
  bt ebx, 10
  mov rbx, TEST
  jnc 4f
  mov eax, [rbx]
  mov qword ptr [TEST_PT], FREE + 0x1003
  mov qword ptr [descriptor], 1
  mov [descriptor + 8], rbx
  xor eax, eax
  invpcid rax, [rip + descriptor]
  mov eax, [rbx]
  CHECK "invpcid-address", rax, 0x22222222
  mov qword ptr [TEST_PT], FREE + 3
  mov eax, 2
  invpcid rax, [rip + descriptor]
  mov eax, [rbx]
  CHECK "invpcid-all", rax, 0x11111111
  TRY 1f
  mov eax, 4
  invpcid rax, [rip + descriptor]
1: WANT "gp-invpcid-type-4", 13, 0
  TRY 1f
  mov qword ptr [descriptor], 0x1000
  xor eax, eax
  invpcid rax, [rip + descriptor]
1: WANT "gp-invpcid-reserved-pcid-bits", 13, 0
  jmp 5f
4: SKIP "invpcid-address # CPUID has no INVPCID"
5: mov rax, PML4
  mov cr3, rax
  mov rax, cr4
  and eax, ~0x20000
  mov cr4, rax
  jmp 3f
2: SKIP "pcid-new-context-walks # CPUID has no PCID"
3:
  # --- control registers ---
  NOT_ON_QEMU 9f, "gp-pe-clear-with-pg # QEMU obeys"
  TRY 1f
  mov rax, cr0
  btr rax, 0
  mov cr0, rax
1: WANT "gp-pe-clear-with-pg", 13, 0
  TRY 1f
  mov rax, cr0
  or rax, 0x20000000           # NW without CD
  mov cr0, rax
1: WANT "gp-nw-without-cd", 13, 0
  TRY 1f
  mov rax, cr0
  bts rax, 32
  mov cr0, rax
1: WANT "gp-cr0-upper-half", 13, 0
  TRY 1f
  mov rax, cr4
  and eax, ~0x20
  mov cr4, rax
1: WANT "gp-pae-clear-in-long-mode", 13, 0
  TRY 1f
  mov rax, cr4
  bts rax, 31
  mov cr4, rax
1: WANT "gp-cr4-reserved-bit", 13, 0
  TRY 1f
  mov rax, cr3
  bts rax, 62
  mov cr3, rax
1: WANT "gp-cr3-reserved-bit", 13, 0
  TRY 1f
  mov ecx, 0xc0000080
  rdmsr
  and eax, ~0x100
  wrmsr
1: WANT "gp-lme-clear-with-paging", 13, 0
9:
  # --- a string instruction that faults midway ---
  SET TEST_PT, FREE+3
  SET TEST_PT+8, 0
  lea rdi, [rbx + 0xff8]
  mov ecx, 4
  mov eax, 0x33333333
  cld
  TRY 1f
rep_here: rep stosd
1: WANT "pf-inside-rep-stos", 14, 2
  CHECK "rep-rip-is-the-instruction", [f_rip], offset rep_here
  CHECK "rep-rcx-keeps-progress", [f_regs+8], 2
  lea rax, [rbx + 0x1000]
  CHECK "rep-rdi-keeps-progress", [f_regs+40], rax
  SET TEST_PT+8, FREE+0x1003
  mov rdi, [f_regs + 40]
  mov ecx, 2
  mov eax, 0x33333333
  rep stosd
  mov eax, [FREE + 0x1004]
  CHECK "rep-restart-completes", rax, 0x33333333
  # instructions that fault leave registers alone
  SET TEST_PT+8, 0
  lea rsi, [rbx + 0x1000]
  mov r12, rsp
  TRY 1f
  push qword ptr [rsi]
1: WANT "pf-push-memory", 14, 0
  CHECK "push-fault-keeps-rsp", [f_rsp], r12
  TRY 1f
  mov rax, 0x1234
  xchg rax, [rsi]
1: CHECK "xchg-fault-keeps-register", [f_regs], 0x1234
  mov qword ptr [recover], 0
  ret

user_read:
  mov rbx, TEST
  mov eax, [rbx]
  int 0x80
user_write:
  mov rbx, TEST
  mov [rbx], eax
  int 0x80
user_fetch:
  mov rbx, TEST
  jmp rbx
user_invlpg:
  invlpg [rbx]
user_stac:
  stac

.data
.align 16
descriptor: .quad 0, 0
