import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VmError } from '../../base/errors.ts';
import { MIB } from '../layout.ts';
import type { InitialState } from '../ports-of-machine.ts';
import { loadBootrom, loadKernel, type BootSource } from './index.ts';
import { bzImage, elfImage, multibootHeaderBytes, testGuest, type BzImageOptions, type TestGuest } from './testing.ts';

const RAM = 32 * MIB;

function source(bytes: Uint8Array, rest: Partial<BootSource> = {}): BootSource {
  return { kernel: { name: 'kernel.img', bytes }, commandLine: 'console=ttyS0', ...rest };
}

function boot(
  bytes: Uint8Array,
  rest: Partial<BootSource> = {},
  guest = testGuest(RAM),
): { guest: TestGuest; state: InitialState; protocol: string } {
  return { guest, ...loadKernel(source(bytes, rest), guest) };
}

const register = (state: InitialState, name: string): number => Number(state.registers[name]);
const patched = (bytes: Uint8Array, patch: (view: DataView) => void): Uint8Array => {
  const copy = bytes.slice();
  patch(new DataView(copy.buffer));
  return copy;
};

// --- Linux ---

test('a bzImage is entered at its 64-bit entry with zero page, command line, memory map and page tables', () => {
  const initrd = { name: 'initrd.gz', bytes: new Uint8Array(5000).fill(7) };
  const { guest, state, protocol } = boot(bzImage(), { initrd });
  equal(protocol, 'linux');
  equal(register(state, 'rip'), 0x100_0200);
  equal(guest.ram[0x100_0000], 0x90);
  deepEqual(
    [
      register(state, 'cr0'),
      register(state, 'cr4'),
      register(state, 'efer'),
      register(state, 'rflags'),
      register(state, 'cs'),
      register(state, 'ds'),
    ],
    [0x8000_0031, 0x20, 0x500, 2, 0x10, 0x18],
  );
  deepEqual(state.descriptors.cs, { base: 0n, limit: 0xffff_ffff, access: 0xa09b });
  const zeroPage = register(state, 'rsi');
  const { view } = guest;
  equal(view.getUint8(zeroPage + 0x210), 0xff);
  equal(guest.text(view.getUint32(zeroPage + 0x228, true)), 'console=ttyS0');
  equal(Number(view.getBigUint64(zeroPage + 0x70, true)), 0xf2400);
  equal(view.getUint8(zeroPage + 0x1e8), 2);
  equal(Number(view.getBigUint64(zeroPage + 0x2d0 + 20 + 8, true)), 31 * MIB);
  const initrdAt = view.getUint32(zeroPage + 0x218, true);
  equal(view.getUint32(zeroPage + 0x21c, true), 5000);
  deepEqual([initrdAt % 4096, initrdAt + 8192, guest.ram[initrdAt + 4999]], [0, RAM, 7]);
  // The page tables map 4 GiB one to one.
  const cr3 = register(state, 'cr3');
  for (const gva of [0, 0x100_0200, 0xffff_f000]) {
    const pdpt = Number(view.getBigUint64(cr3, true) & ~0xfffn);
    const pd = Number(view.getBigUint64(pdpt + Math.floor(gva / 2 ** 30) * 8, true) & ~0xfffn);
    equal(Number(view.getBigUint64(pd + (Math.floor(gva / 2 ** 21) % 512) * 8, true)), Math.floor(gva / 2 ** 21) * 2 ** 21 + 0x83);
  }
  const gdt = Number(state.descriptors.gdtr?.base);
  equal(view.getBigUint64(gdt + 0x10, true), 0x00af_9b00_0000_ffffn);
  equal(view.getBigUint64(gdt + 0x18, true), 0x00cf_9300_0000_ffffn);
});

test('a relocatable kernel goes where there is room, an initrd never above initrd_addr_max', () => {
  const small = testGuest(12 * MIB);
  const { state } = loadKernel(source(bzImage()), small);
  equal(register(state, 'rip'), 0x20_0200);
  const { guest, state: limited } = boot(bzImage({ initrdLast: 24 * MIB - 1 }), { initrd: { name: 'i', bytes: new Uint8Array(4096) } });
  equal(guest.view.getUint32(register(limited, 'rsi') + 0x218, true), 24 * MIB - 4096);
});

test('what is wrong with a bzImage is named with its value', () => {
  const image = (options: BzImageOptions): Uint8Array => bzImage(options);
  const change = (offset: number, sizeBytes: 1 | 2 | 4, value: number): Uint8Array =>
    patched(bzImage(), (view) => {
      if (sizeBytes === 1) view.setUint8(offset, value);
      else if (sizeBytes === 2) view.setUint16(offset, value, true);
      else view.setUint32(offset, value, true);
    });
  for (const [bytes, code, message] of [
    [bzImage().subarray(0, 0x3000), 'ENOEXEC', /kernel.img: syssize=0x400 .*expected at most the 10752 bytes .*truncated/],
    [bzImage().subarray(0, 0x210), 'ENOEXEC', /kernel.img: loadflags at 0x211, 1 bytes: expected inside the file of 528 bytes/],
    [change(0x1fe, 2, 0), 'ENOEXEC', /boot_flag=0x0: expected 0xaa55/],
    [image({ version: 0x20b }), 'ENOEXEC', /boot protocol version=2.11: expected 2.12 or later/],
    [change(0x201, 1, 0x10), 'ENOEXEC', /end of the setup header=0x212: expected 0x264 to 0x290/],
    [change(0x201, 1, 0xff), 'ENOEXEC', /end of the setup header=0x301/],
    [change(0x211, 1, 0), 'ENOEXEC', /loadflags=0x0: expected bit 0/],
    [change(0x236, 2, 0), 'ENOEXEC', /xloadflags=0x0: expected bit 0/],
    [change(0x1f1, 1, 0xff), 'ENOEXEC', /syssize/],
    [change(0x24c, 4, 0xffff_ffff), 'ENOEXEC', /payload_offset, payload_length=0x400, 0xffffffff/],
    [change(0x230, 4, 0x3000), 'ENOEXEC', /kernel_alignment=0x3000: expected a power of two/],
    [image({ preferred: 0xffff_ffff_ffff_f000n }), 'ENOEXEC', /pref_address=0xfffffffffffff000: expected an address or size below/],
    [
      image({ preferred: 0x200_0000n, relocatable: false }),
      'ENOEXEC',
      /pref_address and init_size: \[0x2000000, 0x2100000\): expected inside guest RAM/,
    ],
    [image({ preferred: 0x1000n, relocatable: false }), 'ENOEXEC', /pref_address=0x1000/],
    [image({ initSizeBytes: 0x8000_0000 }), 'ENOMEM', /pref_address and init_size: 2147483648 bytes: expected at most \d+ bytes/],
  ] as const) {
    throws(() => boot(bytes), { code, message }, String(message));
  }
  throws(() => boot(bzImage(), { commandLine: 'x'.repeat(2048) }), {
    code: 'EINVAL',
    message: /command line of 2048 bytes .*at most 2047/,
  });
  throws(() => boot(bzImage(), { commandLine: 'a\0b' }), { code: 'EINVAL', message: /NUL/ });
  throws(() => boot(bzImage(), { initrd: { name: 'huge.gz', bytes: new Uint8Array(RAM) } }), {
    code: 'ENOMEM',
    message: /huge.gz: initrd .* 33554432 bytes: expected at most \d+ bytes/,
  });
  throws(() => boot(bzImage(), { initrd: { name: 'empty', bytes: new Uint8Array() } }), {
    code: 'EINVAL',
    message: /empty: initrd of 0 bytes/,
  });
  throws(
    () =>
      boot(bzImage(), { modules: [0, 1].map((index) => ({ image: { name: `m${index}`, bytes: new Uint8Array(1) }, commandLine: '' })) }),
    /m1: a Linux bzImage takes one initrd/,
  );
  throws(() => boot(new Uint8Array(100)), { code: 'ENOEXEC', message: /unknown kernel format \(100 bytes\): expected a Linux bzImage/ });
  throws(() => boot(new Uint8Array()), { code: 'ENOEXEC' });
});

// --- PVH ---

const CODE = { physical: 0x100_0000n, virtual: 0xffff_ffff_8100_0000n, data: new Uint8Array(64).fill(0xf4), memoryBytes: 0x2000n };

test('a PVH kernel finds start info, memory map, modules and the ACPI root', () => {
  const initrd = { name: 'initrd', bytes: Uint8Array.of(1, 2, 3) };
  const used = new Uint8Array(RAM).fill(0xee, 0x100_0000, 0x101_0000);
  for (const is64 of [true, false]) {
    const segment = is64 ? CODE : { ...CODE, virtual: 0xc100_0000n };
    const { guest, state, protocol } = boot(
      elfImage({ is64, entry: segment.virtual, segments: [segment], pvhEntry: 0x100_0010n }),
      { initrd },
      testGuest(RAM, used.slice()),
    );
    equal(protocol, 'pvh');
    deepEqual([register(state, 'rip'), register(state, 'cr0') & 0x8000_0001, register(state, 'efer')], [0x100_0010, 1, 0]);
    deepEqual([state.descriptors.cs?.access, state.descriptors.ds?.access], [0xc09b, 0xc093]);
    deepEqual([guest.ram[0x100_003f], guest.ram[0x100_0040], guest.ram[0x100_1fff], guest.ram[0x100_2000]], [0xf4, 0, 0, 0xee]);
    const info = register(state, 'rbx');
    const { view } = guest;
    deepEqual([view.getUint32(info, true), view.getUint32(info + 4, true), view.getUint32(info + 12, true)], [0x336ec578, 1, 1]);
    const list = Number(view.getBigUint64(info + 16, true));
    const module = Number(view.getBigUint64(list, true));
    deepEqual([...guest.ram.subarray(module, module + 3), Number(view.getBigUint64(list + 8, true))], [1, 2, 3, 3]);
    equal(guest.text(Number(view.getBigUint64(info + 24, true))), 'console=ttyS0');
    equal(Number(view.getBigUint64(info + 32, true)), 0xf2400);
    const memmap = Number(view.getBigUint64(info + 40, true));
    deepEqual(
      [view.getUint32(info + 48, true), Number(view.getBigUint64(memmap + 24, true)), view.getUint32(memmap + 40, true)],
      [2, MIB, 1],
    );
  }
});

test('what is wrong with an ELF file is named with its value', () => {
  const good = (): Uint8Array => elfImage({ is64: true, entry: 0n, segments: [CODE], pvhEntry: 0x100_0000n });
  const segments = (...list: { physical: bigint; memoryBytes?: bigint }[]): Uint8Array =>
    elfImage({
      is64: true,
      entry: 0n,
      segments: list.map((segment) => ({ data: new Uint8Array(64), ...segment })),
      pvhEntry: list[0]?.physical ?? 0n,
    });
  for (const [bytes, message] of [
    [good().subarray(0, 40), /e_phoff|e_phentsize|e_phnum/],
    [good().subarray(0, 100), /program headers/],
    [
      patched(good(), (view) => {
        view.setUint8(4, 3);
      }),
      /EI_CLASS=3/,
    ],
    [
      patched(good(), (view) => {
        view.setUint8(5, 2);
      }),
      /EI_DATA=2/,
    ],
    [
      patched(good(), (view) => {
        view.setUint16(16, 1, true);
      }),
      /e_type=1/,
    ],
    [
      patched(good(), (view) => {
        view.setUint16(18, 183, true);
      }),
      /e_machine=183/,
    ],
    [
      patched(good(), (view) => {
        view.setUint16(56, 0xffff, true);
      }),
      /e_phnum=65535: expected 1 to 128/,
    ],
    [
      patched(good(), (view) => {
        view.setUint16(54, 8, true);
      }),
      /e_phentsize=8: expected 56/,
    ],
    [
      patched(good(), (view) => {
        view.setBigUint64(32, 0xffff_ffff_ffff_ff00n, true);
      }),
      /e_phoff=0xffffffffffffff00/,
    ],
    [
      patched(good(), (view) => {
        view.setBigUint64(64 + 40, 1n, true);
      }),
      /p_memsz=0x1: expected at least p_filesz, 0x40/,
    ],
    [
      patched(good(), (view) => {
        view.setBigUint64(64 + 8, 0x1_0000n, true);
      }),
      /p_offset, p_filesz at 0x10000/,
    ],
    [segments({ physical: 0xffff_ffff_ffff_f000n, memoryBytes: 0x2000n }), /p_paddr=0xfffffffffffff000: expected an address or size below/],
    [
      segments({ physical: 0x1f0_0000n, memoryBytes: 0x20_0000n }),
      /program header 0 p_paddr, p_memsz: \[0x1f00000, 0x2100000\): expected inside guest RAM \(\[0x0, 0xa0000\) \[0x100000, 0x2000000\)\)/,
    ],
    [segments({ physical: 0x9_f000n, memoryBytes: 0x2000n }), /expected inside guest RAM/],
    [segments({ physical: 0xf_2400n }), /expected inside guest RAM/],
    [
      segments({ physical: 0x20_0000n, memoryBytes: 0x2000n }, { physical: 0x20_1fffn }),
      /program header 1 .*overlaps kernel.img: program header 0/,
    ],
    [segments({ physical: 0n }), /overlaps first page/],
    [
      elfImage({ is64: true, entry: 0n, segments: [CODE], pvhEntry: 0x50_0000n }),
      /XEN_ELFNOTE_PHYS32_ENTRY=0x500000: expected an address below 4 GiB inside/,
    ],
    [elfImage({ is64: true, entry: 0n, segments: [], pvhEntry: 0n }), /expected at least one segment/],
    [elfImage({ is64: true, entry: 0n, segments: [CODE] }), /an ELF file without entry for us/],
  ] as const) {
    throws(
      () => boot(bytes),
      (error) => error instanceof VmError && message.test(error.message) && error.message.startsWith('kernel.img: '),
      String(message),
    );
  }
});

// --- multiboot ---

test('a multiboot ELF kernel gets its information block, modules and command line', () => {
  const modules = [{ image: { name: 'mod', bytes: Uint8Array.of(9, 8) }, commandLine: 'mod one' }];
  const bytes = elfImage({
    is64: false,
    entry: 0xc010_0004n,
    segments: [{ physical: 0x10_0000n, virtual: 0xc010_0000n, data: new Uint8Array(256).fill(0x90) }],
    prefix: multibootHeaderBytes(3),
  });
  const { guest, state, protocol } = boot(bytes, { modules, initrd: { name: 'env.img', bytes: Uint8Array.of(5) } });
  equal(protocol, 'multiboot');
  deepEqual([register(state, 'rax'), register(state, 'rip'), register(state, 'cr0') & 1], [0x2badb002, 0x10_0004, 1]);
  const info = register(state, 'rbx');
  const { view } = guest;
  const word = (gpa: number): number => view.getUint32(gpa, true);
  equal(word(info), 1 | 4 | 8 | 64 | 512);
  deepEqual([word(info + 4), word(info + 8)], [640, 31 * 1024]);
  equal(guest.text(word(info + 16)), 'kernel.img console=ttyS0');
  equal(guest.text(word(info + 64)), 'tshyve');
  equal(word(info + 20), 2);
  const list = word(info + 24);
  deepEqual([guest.ram[word(list)], word(list + 4) - word(list), guest.text(word(list + 8))], [5, 1, 'env.img']);
  deepEqual([guest.ram[word(list + 16) + 1], word(list + 16) % 4096, guest.text(word(list + 24))], [8, 0, 'mod one']);
  deepEqual([word(info + 44), word(word(info + 48)), word(word(info + 48) + 20)], [48, 20, 1]);
});

test('a flat multiboot kernel is loaded where its header says, and nothing of ours lies in it', () => {
  const load = 0x10_0000,
    end = load + 0x1000,
    bss = 0x1c0_0000;
  const bytes = new Uint8Array(0x1100).fill(0x90);
  bytes.set(multibootHeaderBytes(0x1_0000, [load + 0x20, load, end, bss, load + 0x80]), 0x120);
  const { guest, state } = boot(bytes, { initrd: { name: 'm', bytes: new Uint8Array(9000) } });
  equal(register(state, 'rip'), load + 0x80);
  equal(guest.view.getUint32(load + 0x20, true), 0x1bad_b002);
  const info = register(state, 'rbx');
  const inImage = (gpa: number): boolean => gpa >= load && gpa < bss;
  const list = guest.view.getUint32(info + 24, true);
  for (const gpa of [
    info,
    list,
    guest.view.getUint32(list, true),
    guest.view.getUint32(info + 16, true),
    Number(state.descriptors.gdtr?.base),
  ])
    ok(!inImage(gpa) && gpa > 0, gpa.toString(16));
});

test('a command line is there even when none was given', () => {
  const bytes = elfImage({
    is64: false,
    entry: 0x10_0000n,
    segments: [{ physical: 0x10_0000n, data: new Uint8Array(16) }],
    prefix: multibootHeaderBytes(0),
  });
  const { guest, state } = boot(bytes, { commandLine: '' });
  equal(guest.text(guest.view.getUint32(register(state, 'rbx') + 16, true)), 'kernel.img');
});

test('what is wrong with a multiboot image is named with its value', () => {
  const flat = (...addresses: number[]): Uint8Array => {
    const bytes = new Uint8Array(0x200);
    bytes.set(multibootHeaderBytes(0x1_0000, addresses));
    return bytes;
  };
  for (const [bytes, message] of [
    [flat(0x10_0000, 0x10_0001, 0, 0, 0), /load_addr=0x100001/],
    [flat(0x10_0000, 0xf_0000, 0, 0, 0), /load_addr=0xf0000/],
    [flat(0x10_0000, 0x10_0000, 0x20_0000, 0, 0x10_0000), /load_end_addr=0x200000: .*truncated/],
    [flat(0x10_0000, 0x10_0000, 0xf_ffff, 0, 0x10_0000), /load_end_addr=0xfffff/],
    [flat(0x10_0000, 0x10_0000, 0, 0x10_0010, 0x10_0000), /bss_end_addr=0x100010: expected 0 or at least 0x100200/],
    [flat(0x10_0000, 0x10_0000, 0, 0, 0x20_0000), /entry_addr=0x200000: expected inside/],
    [flat(0xffff_ff00, 0xffff_ff00, 0, 0, 0xffff_ff00), /load_addr and bss_end_addr: .*expected inside guest RAM/],
    [flat(0x10_0000, 0x10_0000, 0, 0xf000_0000, 0x10_0000), /expected inside guest RAM/],
    [multibootHeaderBytes(0x1_0000).subarray(0, 20), /load_end_addr at 0x14, 4 bytes: expected inside the file of 20 bytes/],
    [multibootHeaderBytes(8), /multiboot flags=0x8: expected no demands but/],
    [multibootHeaderBytes(0), /expected an ELF file, or bit 16/],
    [
      elfImage({
        is64: false,
        entry: 0x30_0000n,
        segments: [{ physical: 0x10_0000n, data: new Uint8Array(16) }],
        prefix: multibootHeaderBytes(0),
      }),
      /e_entry=0x300000: expected an address inside/,
    ],
  ] as const) {
    throws(
      () => boot(bytes),
      (error) => error instanceof VmError && error.code === 'ENOEXEC' && message.test(error.message),
      String(message),
    );
  }
});

// --- boot ROM ---

test('a boot ROM ends at 4 GiB and has whole pages', () => {
  const mapped: unknown[] = [];
  const vm = {
    mapDevmem: (name: string, gpa: number, sizeBytes: number, protection: string): Uint8Array => {
      mapped.push(name, gpa, sizeBytes, protection);
      return new Uint8Array(sizeBytes);
    },
  };
  deepEqual(loadBootrom({ name: 'OVMF.fd', bytes: new Uint8Array(2 * MIB) }, vm), { registers: {}, descriptors: {} });
  deepEqual(mapped, ['bootrom', 0xffe0_0000, 2 * MIB, 'rx']);
  for (const sizeBytes of [0, 100, 4097, 17 * MIB]) {
    throws(() => loadBootrom({ name: 'OVMF.fd', bytes: new Uint8Array(sizeBytes) }, vm), {
      code: 'EINVAL',
      message: /OVMF.fd: boot ROM of \d+ bytes: expected a multiple of 4096 up to 16777216/,
    });
  }
});

// --- hostile input ---

test('mutated images load or are refused with a VmError', () => {
  const flat = new Uint8Array(0x200);
  flat.set(multibootHeaderBytes(0x1_0000, [0x10_0000, 0x10_0000, 0, 0x10_1000, 0x10_0000]));
  const valid = [
    bzImage({ codeBytes: 0x800, initSizeBytes: 0x1000 }),
    elfImage({ is64: true, entry: CODE.virtual, segments: [CODE], pvhEntry: 0x100_0000n }),
    elfImage({ is64: false, entry: 0x10_0000n, segments: [{ physical: 0x10_0000n, data: new Uint8Array(64) }], pvhEntry: 0x10_0000n }),
    elfImage({
      is64: false,
      entry: 0x10_0000n,
      segments: [{ physical: 0x10_0000n, data: new Uint8Array(64) }],
      prefix: multibootHeaderBytes(3),
    }),
    flat,
  ];
  const guest = testGuest(RAM);
  const interesting = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: valid.length - 1 }),
      fc.array(fc.tuple(fc.integer({ min: 0, max: 0x3ff }), fc.integer({ min: 1, max: 8 }), interesting), { maxLength: 6 }),
      fc.option(fc.integer({ min: 0, max: 0x1000 })),
      (which, mutations, cut) => {
        const bytes = valid[which]!.slice(0, cut ?? undefined);
        // Small images, so that most mutations hit a header; for the bzImage they start at the setup header.
        const base = which === 0 ? 0x1f0 : 0;
        for (const [offset, count, value] of mutations) bytes.fill(value, base + (offset % 0x100), base + (offset % 0x100) + count);
        try {
          loadKernel(source(bytes, { initrd: { name: 'i', bytes: new Uint8Array(16) } }), guest);
        } catch (error) {
          if (!(error instanceof VmError) || error.code === 'EDOOFUS') throw error;
        }
      },
    ),
    { numRuns: 3000 },
  );
});
