/** Tests of a VM's life: memory, registers, events, and vCPU threads that run a scripted processor. */
import { deepEqual, equal, ok, rejects, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { CODE_LINES, GUEST_MAP_COUNT, GUEST_MAP_RANGES, GUEST_MAP_RANGE_BYTES, HVA_RAM, VCPU_TLB } from '../base/memory-map.ts';
import { ramBytes } from '../cpu/index.ts';
import { VCPU_CPL, VCPU_NMI_PENDING } from '../generated/vcpu-layout.ts';
import { exceptionIntinfo } from './events.ts';
import { SharedWords, vcpuBase } from './host-state.ts';
import { HIGHMEM_GPA, PROT_EXEC, PROT_READ } from './layout.ts';
import { fakeDevices, threadHost, threadlessHost } from './testing/fakes.ts';
import { OP } from './testing/scripted-processor.ts';
import { REGISTER_NAMES } from './registers.ts';
import { copyin } from './vcpu.ts';
import { Vm, type VmOptions } from './vm.ts';

const MIB = 2 ** 20,
  GIB = 2 ** 30;
const code = (expected: string) => ({ code: expected });

function still(options: VmOptions = {}, sizeBytes = 16 * MIB): Vm {
  const vm = new Vm('still', threadlessHost(), options);
  vm.setupMemory(sizeBytes);
  return vm;
}

/** A VM whose vCPU 0 will execute `program`. */
async function withRunning(program: readonly number[], action: (vm: Vm) => Promise<void>, options: VmOptions = {}): Promise<void> {
  await using vm = new Vm('running', threadHost(), options);
  vm.setupMemory(16 * MIB);
  vm.writeGuest(0, new Uint8Array(program));
  const vcpu = vm.vcpu(0);
  vcpu.setRegister('rip', 0n);
  vcpu.activate();
  await action(vm);
}

test('get-memmap of an 8 GiB guest with a 2 MiB ROM, and unmapping the ROM leaves RAM at 4 GiB alone', () => {
  const vm = still({}, 8 * GIB);
  const rom = vm.createDevmem(1, 'bootrom', 2 * MIB);
  vm.mmapMemseg({ gpa: 0xffe0_0000, sizeBytes: 2 * MIB, segment: 1, offset: 0, protection: PROT_READ | PROT_EXEC, flags: 0 });
  rom[0] = 0x5a;
  const shown = (): unknown[] =>
    vm.mappings().map(({ gpa, sizeBytes, name }) => [gpa, sizeBytes >= 4 * MIB ? `${sizeBytes / MIB}MB` : `${sizeBytes / 1024}KB`, name]);
  deepEqual(shown(), [
    [0, '3072MB', 'sysmem'],
    [0xffe0_0000, '2048KB', 'bootrom'],
    [HIGHMEM_GPA, '5120MB', 'sysmem'],
  ]);
  const ram = vm.guestView(HIGHMEM_GPA, 4096)!;
  ram[0] = 0x77;
  vm.munmapMemseg(0xffe0_0000, 2 * MIB);
  deepEqual(shown(), [
    [0, '3072MB', 'sysmem'],
    [HIGHMEM_GPA, '5120MB', 'sysmem'],
  ]);
  equal(vm.guestView(HIGHMEM_GPA, 4096)![0], 0x77);
  equal(rom[0], 0x5a);
  equal(new DataView(vm.memory0.buffer).getUint32(GUEST_MAP_COUNT, true), 2);
});

test('an 8 GiB guest costs what it touches', () => {
  const before = process.memoryUsage.rss();
  const vm = still({}, 8 * GIB);
  vm.guestView(8 * GIB, 1)![0] = 1;
  ok(process.memoryUsage.rss() - before < 64 * MIB);
});

test('memory 1 has 32-bit addresses while it is small enough, and holds whatever is mapped', () => {
  const DEVICES = 384 * MIB;
  for (const [sizeBytes, devmemBytes, ramIndex] of [
    [16 * MIB, DEVICES, 'i32'],
    [3 * GIB, DEVICES, 'i32'],
    [3 * GIB, GIB / 2 - HVA_RAM, 'i32'],
    [3 * GIB, GIB / 2 - HVA_RAM + 4096, 'i64'],
    [3 * GIB + 16 * MIB, DEVICES, 'i64'],
  ] as const) {
    const vm = still({ devmemBytes }, sizeBytes),
      { memory } = vm;
    equal(memory.ramIndex, ramIndex, `${sizeBytes} + ${devmemBytes}`);
    const romBytes = devmemBytes - 4096;
    vm.createDevmem(1, 'bootrom', romBytes);
    vm.mmapMemseg({ gpa: 8 * GIB, sizeBytes: romBytes, segment: 1, offset: 0, protection: PROT_READ, flags: 0 });
    const words = new DataView(vm.memory0.buffer),
      count = words.getUint32(GUEST_MAP_COUNT, true);
    for (let at = GUEST_MAP_RANGES; at < GUEST_MAP_RANGES + count * GUEST_MAP_RANGE_BYTES; at += GUEST_MAP_RANGE_BYTES) {
      const [gpa, end, hva] = [0, 8, 16].map((field) => Number(words.getBigUint64(at + field, true))) as [number, number, number];
      ok(hva + (end - gpa) <= ramBytes(memory.memory1).length);
    }
  }
});

test('guest memory is reached inside lowmem or inside highmem only', () => {
  const vm = still({}, 3 * GIB + 16 * MIB);
  for (const [gpa, size, isRam] of [
    [0, 1, true],
    [3 * GIB - 1, 1, true],
    [3 * GIB - 1, 2, false],
    [3 * GIB, 1, false],
    [HIGHMEM_GPA - 1, 1, false],
    [HIGHMEM_GPA, 16 * MIB, true],
    [HIGHMEM_GPA, 16 * MIB + 1, false],
    [HIGHMEM_GPA + 16 * MIB, 0, false],
    [0, HIGHMEM_GPA + 1, false],
    [-1, 1, false],
    [0, -1, false],
    [2 ** 53, 1, false],
    [Number.NaN, 1, false],
    [0.5, 1, false],
    [0, Number.MAX_SAFE_INTEGER, false],
  ] as const)
    equal(vm.guestView(gpa, size) !== undefined, isRam, `${gpa} + ${size}`);
  throws(() => {
    vm.writeGuest(3 * GIB - 1, new Uint8Array(2));
  }, code('EFAULT'));
});

test('segments and mappings: identical is a success, different is an error', () => {
  const vm = still();
  const mapping = { gpa: 0xff00_0000, sizeBytes: 4096, segment: 1, offset: 0, protection: 7, flags: 0 };
  vm.allocMemseg(1, 8192, 'bootrom');
  vm.allocMemseg(1, 8192, 'bootrom');
  throws(() => vm.allocMemseg(1, 4096, 'bootrom'), code('EINVAL'));
  throws(() => vm.allocMemseg(1, 8192, 'other'), code('EINVAL'));
  deepEqual(vm.getMemseg(2), { sizeBytes: 0, name: '' });
  throws(() => vm.getMemseg(99), code('EINVAL'));
  vm.mmapMemseg(mapping);
  vm.mmapMemseg(mapping);
  throws(() => {
    vm.mmapMemseg({ ...mapping, sizeBytes: 8192 });
  }, code('EEXIST'));
  throws(() => {
    vm.mmapMemseg({ ...mapping, gpa: mapping.gpa - 4096, sizeBytes: 8192 });
  }, code('EFAULT'));
  throws(() => {
    vm.munmapMemseg(mapping.gpa, 8192);
  }, code('EINVAL'));
  equal(vm.mmapGetnext(1).gpa, mapping.gpa);
  throws(() => vm.mmapGetnext(mapping.gpa + 1), code('ENOENT'));
  vm.protectMemseg(mapping.gpa, 4096, PROT_READ);
  equal(vm.mappings()[1]!.protection, PROT_READ);
});

test('memory that is wrong or beyond the engine is refused, and nothing works without any', () => {
  const vm = new Vm('none', threadlessHost());
  for (const size of [0, -4096, 1, 4097, Number.NaN])
    throws(() => {
      vm.setupMemory(size);
    }, code('EINVAL'));
  throws(() => {
    vm.setupMemory(64 * GIB);
  }, code('ENOMEM'));
  throws(() => {
    vm.ioapicPulseIrq(4);
  }, code('ENXIO'));
  throws(() => vm.allocMemseg(1, 4096, 'x'), code('ENXIO'));
  vm.setupMemory(MIB);
  throws(() => {
    vm.setupMemory(MIB);
  }, code('EEXIST'));
  throws(() => new Vm('many', threadlessHost(), { maxCpus: 64 }), code('EINVAL'));
  throws(() => new Vm('short', threadlessHost(), { cpu: { vendor: 'short' } }), code('EINVAL'));
});

test('life-cycle errors', async () => {
  const vm = still({ maxCpus: 2 });
  const vcpu = vm.vcpu(0);
  throws(() => vm.vcpu(2), code('EINVAL'));
  throws(() => {
    vcpu.start();
  }, code('EINVAL'));
  throws(() => {
    vcpu.suspendCpu();
  }, code('EINVAL'));
  throws(() => {
    vcpu.resumeCpu();
  }, code('EINVAL'));
  vcpu.activate();
  throws(() => {
    vcpu.activate();
  }, code('EBUSY'));
  deepEqual(vm.activeCpus(), [0]);
  vcpu.suspendCpu();
  deepEqual(vm.debugCpus(), [0]);
  vcpu.resumeCpu();
  throws(() => {
    vcpu.resumeCpu();
  }, code('EINVAL'));
  throws(() => {
    vm.reinit();
  }, code('EBUSY'));
  throws(() => {
    vm.suspend('none' as 'reset');
  }, code('EINVAL'));
  vm.suspend('reset');
  throws(() => {
    vm.suspend('poweroff');
  }, code('EALREADY'));
  equal(vm.suspendHow, 'reset');
  throws(() => {
    vcpu.start();
  }, code('EINVAL'));
  await vm.destroy();
  await rejects(vm.destroy(), code('EINVAL'));
});

test('topology must fit', () => {
  const vm = still({ maxCpus: 4 });
  vm.setTopology(2, 2, 1);
  deepEqual(vm.topology, { sockets: 2, cores: 2, threads: 1, maxCpus: 4 });
  throws(() => {
    vm.setTopology(5, 1, 1);
  }, code('EINVAL'));
  throws(() => {
    vm.setTopology(0, 1, 1);
  }, code('EINVAL'));
});

test('a vCPU begins in the reset state', () => {
  const vcpu = still().vcpu(0);
  deepEqual(vcpu.getRegisterSet(['rip', 'rflags', 'cr0', 'rdx', 'rax', 'dr6', 'dr7', 'cs', 'efer', 'cr4']), [
    0xfff0n,
    2n,
    0x20n,
    0xf00n,
    0n,
    0xffff0ff0n,
    0x400n,
    0xf000n,
    0n,
    0n,
  ]);
  deepEqual(vcpu.getSegDesc('cs'), { selector: 0xf000, base: 0xffff0000n, limit: 0xffff, access: 0x93 });
  deepEqual(vcpu.getDesc('tr'), { base: 0n, limit: 0, access: 0x8b });
  deepEqual(vcpu.getDesc('ldtr'), { base: 0n, limit: 0xffff, access: 0x82 });
  deepEqual(vcpu.getDesc('gdtr'), { base: 0n, limit: 0xffff, access: 0 });
});

test('every register keeps what is written to it, by name and by number', () => {
  const vcpu = still().vcpu(0);
  for (const [number, name] of REGISTER_NAMES.entries()) {
    if (['idtr', 'gdtr', 'entry_inst_length'].includes(name)) {
      throws(() => vcpu.getRegister(name), code('EINVAL'));
      continue;
    }
    const isNarrow = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'].includes(name);
    const value =
      name === 'tpr'
        ? 9n
        : name === 'intr_shadow'
          ? 1n
          : name === 'rflags'
            ? 0x246ad7n
            : isNarrow
              ? 0x1238n
              : (BigInt(number) << 56n) | 0x123n;
    vcpu.setRegister(number, value);
    equal(vcpu.getRegister(name), value, name);
  }
  throws(() => vcpu.getRegister(49), code('EINVAL'));
  throws(() => vcpu.getRegister('xyz' as 'rax'), code('EINVAL'));
});

test('a batch stops at the first bad register and keeps what it set before', () => {
  const vcpu = still().vcpu(0);
  throws(() => {
    vcpu.setRegisterSet(['rax', 'idtr', 'rbx'], [1n, 2n, 3n]);
  }, code('EINVAL'));
  deepEqual(vcpu.getRegisterSet(['rax', 'rbx']), [1n, 0n]);
  throws(() => vcpu.getRegisterSet(Array.from({ length: 50 }, () => 'rax')), code('EINVAL'));
  throws(() => {
    vcpu.setRegisterSet(['rax'], []);
  }, code('EINVAL'));
});

test('descriptors: a limit of 32 bits, and SS gives the privilege level', () => {
  const vm = still();
  const vcpu = vm.vcpu(0);
  const flat = { base: 0xffff_8000_0000_0000n, limit: 0xffff_ffff, access: 0xa09b };
  vcpu.setDesc('cs', flat);
  deepEqual(vcpu.getDesc('cs'), flat);
  throws(() => {
    vcpu.setDesc('cs', { ...flat, limit: 2 ** 32 });
  }, code('EINVAL'));
  vcpu.setDesc('ss', { base: 0n, limit: 0xffff_ffff, access: 0xc0f3 });
  equal(new DataView(vm.memory0.buffer).getUint32(vcpuBase(0) + VCPU_CPL, true), 3);
  vcpu.setDesc('idtr', { base: 0x1000n, limit: 0xfff, access: 0 });
  deepEqual(vcpu.getDesc('idtr'), { base: 0x1000n, limit: 0xfff, access: 0 });
});

test('an exception is injected once, without an error code in real mode, and ends the interrupt shadow', () => {
  const vcpu = still().vcpu(0);
  for (const vector of [-1, 32, 8, 1.5])
    throws(() => {
      vcpu.injectException({ vector });
    }, code('EINVAL'));
  vcpu.setRegister('intr_shadow', 1n);
  vcpu.injectException({ vector: 13, error: 0x18 });
  equal(vcpu.getIntinfo().pending, exceptionIntinfo({ vector: 13 }));
  equal(vcpu.getRegister('intr_shadow'), 0n);
  throws(() => {
    vcpu.injectException({ vector: 6 });
  }, code('EBUSY'));
  const protectedMode = still().vcpu(0);
  protectedMode.setRegister('cr0', 0x21n);
  protectedMode.injectException({ vector: 13, error: 0x18 });
  equal(protectedMode.getIntinfo().pending, exceptionIntinfo({ vector: 13, error: 0x18 }));
  throws(() => {
    protectedMode.setIntinfo(0x8000_0203n);
  }, code('EINVAL'));
  protectedMode.setIntinfo(0x8000_0202n);
  equal(protectedMode.getIntinfo().inDelivery, 0x8000_0202n);
});

test('capabilities by name and number', () => {
  const vcpu = still().vcpu(0);
  equal(vcpu.getCapability('hlt_exit'), false);
  vcpu.setCapability('hlt_exit', true);
  equal(vcpu.getCapability(0), true);
  vcpu.setCapability('pause_exit', true);
  equal(vcpu.getCapability('pause_exit'), true);
  equal(vcpu.getCapability('unrestricted_guest'), true);
  throws(() => {
    vcpu.setCapability('unrestricted_guest', false);
  }, code('ENOENT'));
  throws(() => vcpu.getCapability('rflags_tf'), code('ENOENT'));
  throws(() => vcpu.getCapability('nonsense'), code('EINVAL'));
  throws(() => vcpu.getCapability(11), code('EINVAL'));
});

test('translation through the guest-physical map, with and without effects', () => {
  const vm = still();
  const vcpu = vm.vcpu(0);
  const view = vm.guestView(0, 0x8000)!,
    entry = new DataView(view.buffer, view.byteOffset);
  for (const [at, value] of [
    [0x1000, 0x2003n],
    [0x2000, 0x3003n],
    [0x3000, 0x4003n],
    [0x4000, 0x5001n],
  ] as const)
    entry.setBigUint64(at, value, true);
  vcpu.setRegisterSet(['cr0', 'cr3', 'cr4', 'efer'], [0x8001_0021n, 0x1000n, 0x20n, 0x500n]);
  vm.writeGuest(0x5ffe, new Uint8Array([1, 2]));
  deepEqual(vcpu.gla2gpaNofault(0x234n), { gpa: 0x5234, pageBytes: 4096 });
  equal(entry.getBigUint64(0x4000, true), 0x5001n);
  deepEqual(vcpu.gla2gpa(0x234n), { gpa: 0x5234, pageBytes: 4096 });
  equal(entry.getBigUint64(0x4000, true), 0x5021n);
  const pieces = vcpu.copySetup(0xffen, 2);
  ok(Array.isArray(pieces));
  const copy = new Uint8Array(2);
  copyin(pieces, copy);
  deepEqual([...copy], [1, 2]);
  deepEqual(vcpu.copySetup(0xffen, 4), { fault: 'pf', error: 0 });
  equal(vcpu.getIntinfo().pending, exceptionIntinfo({ vector: 14, error: 0 }));
  equal(vcpu.getRegister('cr2'), 0x1000n);
  entry.setBigUint64(0x4008, 0xfee0_0003n, true);
  throws(() => vcpu.copySetup(0x1000n, 4), code('EFAULT'));
});

test('a write by a device into decoded code is mailed, by page and line', () => {
  const vm = still();
  vm.vcpu(0).activate();
  const words = new SharedWords(vm.memory0);
  const page = (HVA_RAM + 0x3000) / 4096;
  words.u64[(CODE_LINES + page * 8) / 8] = 1n << 40n;
  vm.dirtyCode(0x3000, 40 * 64);
  deepEqual(words.takeWrittenPages(0), []);
  vm.writeGuest(0x3000 + 40 * 64 + 63, new Uint8Array(1));
  vm.writeGuest(0x2fff, new Uint8Array(0x2000));
  deepEqual(words.takeWrittenPages(0), [page, page]);
  for (let index = 0; index < 65; index++) vm.dirtyCode(0x3000, 4096);
  equal(words.takeWrittenPages(0), undefined);
  deepEqual(words.takeWrittenPages(0), []);
  vm.dirtyCode(16 * MIB - 1, 2);
  deepEqual(words.takeWrittenPages(0), []);
});

test('a change of the map empties the TLBs of vCPUs that have a thread', () => {
  const vm = still();
  vm.vcpu(0).activate();
  const words = new SharedWords(vm.memory0);
  const entry = (vcpuBase(0) + VCPU_TLB) / 8;
  words.u64[entry] = 0x1000n;
  vm.allocMemseg(2, 4096, 'fb');
  vm.mmapMemseg({ gpa: 0xc000_0000, sizeBytes: 4096, segment: 2, offset: 0, protection: 3, flags: 0 });
  equal(words.u64[entry], 0xffff_ffff_ffff_ffffn);
  words.u64[entry] = 0x1000n;
  vm.flushTranslation(0x1000);
  equal(words.u64[entry], 0xffff_ffff_ffff_ffffn);
  deepEqual(words.takeWrittenPages(0), [(HVA_RAM + 0x1000) / 4096]);
});

test('port I/O exits reach the handler and its answer the guest', async () => {
  await withRunning([OP.OUT, OP.IN, OP.OUT, OP.SPIN], async (vm) => {
    const seen: string[] = [];
    const done = Promise.withResolvers<void>();
    vm.setExitHandler('inout', (exit) => {
      seen.push(`${exit.isRead ? 'in' : 'out'} ${exit.port.toString(16)} ${exit.sizeBytes} ${exit.isRead ? '' : exit.value}`);
      if (exit.isRead) exit.value = 0x42;
      if (seen.length === 3) done.resolve();
    });
    vm.vcpu(0).setRegisterSet(['rax', 'rdx'], [7n, 0x3f8n]);
    vm.vcpu(0).start();
    await done.promise;
    deepEqual(seen, ['out 3f8 1 7', 'in 3f8 1 ', 'out 3f8 1 66']);
    equal(
      vm
        .vcpu(0)
        .stats()
        .find(({ name }) => name === 'total number of vm exits')?.value,
      3n,
    );
  });
});

test('a handler may take its time, and registers can be read while it does', async () => {
  await withRunning([OP.IN, OP.OUT, OP.SPIN], async (vm) => {
    const answers: number[] = [];
    const done = Promise.withResolvers<void>();
    vm.setExitHandler('inout', async (exit) => {
      if (exit.isRead) {
        equal(exit.vcpu.state, 'frozen');
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
        exit.vcpu.setRegister('rbx', exit.vcpu.getRegister('rdx'));
        exit.value = 0x99;
      } else {
        answers.push(exit.value);
        done.resolve();
      }
    });
    vm.vcpu(0).setRegister('rdx', 0x60n);
    vm.vcpu(0).start();
    await done.promise;
    deepEqual(answers, [0x99]);
    equal(vm.vcpu(0).getRegister('rbx'), 0x60n);
  });
});

test('a handler that never ends does not keep a suspended VM alive, and its late answer changes nothing', async () => {
  await withRunning([OP.IN, OP.SPIN], async (vm) => {
    const late = Promise.withResolvers<void>();
    const entered = Promise.withResolvers<void>();
    vm.setExitHandler('inout', () => {
      entered.resolve();
      return late.promise;
    });
    vm.vcpu(0).start();
    await entered.promise;
    vm.suspend('poweroff');
    equal(await vm.waitSuspended(), 'poweroff');
    late.resolve();
    await late.promise;
    deepEqual(vm.suspendedCpus(), [0]);
  });
});

test('suspend stops every vCPU, reinit makes it as new, and it runs again', async () => {
  await withRunning(
    [OP.INC, OP.LOOP],
    async (vm) => {
      vm.vcpu(1).activate();
      vm.vcpu(1).suspendCpu();
      vm.vcpu(0).start();
      vm.vcpu(1).start();
      vm.createDevmem(1, 'bootrom', 4096);
      vm.mmapMemseg({ gpa: 0xffff_f000, sizeBytes: 4096, segment: 1, offset: 0, protection: 5, flags: 0 });
      throws(() => {
        vm.reinit();
      }, code('EBUSY'));
      vm.suspend('reset');
      equal(await vm.waitSuspended(), 'reset');
      deepEqual(vm.suspendedCpus(), [0, 1]);
      vm.reinit();
      deepEqual([vm.activeCpus(), vm.suspendedCpus(), vm.debugCpus(), vm.mappings().length, vm.suspendHow], [[], [], [], 1, undefined]);
      equal(vm.vcpu(0).getRegister('rip'), 0xfff0n);
      equal(vm.guestView(0, 1)![0], OP.INC);

      vm.writeGuest(0, new Uint8Array([OP.TRIPLE]));
      vm.vcpu(0).setRegister('rip', 0n);
      vm.vcpu(0).activate();
      vm.vcpu(0).start();
      equal(await vm.waitSuspended(), 'triplefault');
    },
    { maxCpus: 2 },
  );
});

test('registers of a running vCPU are read between two instructions, and it goes on', async () => {
  await withRunning([OP.INC, OP.LOOP], async (vm) => {
    const vcpu = vm.vcpu(0);
    vcpu.start();
    let last = -1n;
    for (let reads = 0; reads < 20; reads++) {
      const [now] = vcpu.getRegisterSet(['rbx']);
      ok(now! >= last);
      last = now!;
    }
    vcpu.setRegister('rbx', 0n);
    while (vcpu.getRegister('rbx') === 0n)
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    vcpu.suspendCpu();
    const stopped = vcpu.getRegister('rbx');
    equal(vcpu.getRegister('rbx'), stopped);
    vcpu.resumeCpu();
    while (vcpu.getRegister('rbx') === stopped)
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
  });
});

test('HLT with interrupts off ends the VM; with them on it sleeps until an NMI or an exception', async () => {
  await withRunning([OP.CLI, OP.HLT], async (vm) => {
    vm.vcpu(0).start();
    equal(await vm.waitSuspended(), 'halt');
  });
  await withRunning([OP.STI, OP.HLT, OP.OUT, OP.HLT, OP.OUT, OP.SPIN], async (vm) => {
    const vcpu = vm.vcpu(0);
    let outs = 0;
    let reached = Promise.withResolvers<void>();
    vm.setExitHandler('inout', () => {
      outs++;
      reached.resolve();
    });
    const sleeping = async (): Promise<void> => {
      while (vcpu.state !== 'sleeping')
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
    };
    vcpu.start();
    await sleeping();
    vcpu.injectNmi();
    await reached.promise;
    equal(outs, 1);
    reached = Promise.withResolvers();
    await sleeping();
    vcpu.injectException({ vector: 6 });
    await reached.promise;
    deepEqual(vcpu.getRegisterSet(['r8', 'rcx']), [6n, 1n]);
    equal(new DataView(vm.memory0.buffer).getUint32(vcpuBase(0) + VCPU_NMI_PENDING, true), 0);
  });
});

test('INIT and SIPI start an application processor, a second SIPI does nothing', async () => {
  await withRunning(
    [OP.SPIN],
    async (vm) => {
      const ap = vm.vcpu(1);
      ap.activate();
      ap.suspendCpu();
      ap.start();
      vm.writeGuest(0x8000, new Uint8Array([OP.IN, OP.SPIN]));
      const started = Promise.withResolvers<number>();
      vm.setExitHandler('inout', (exit) => {
        started.resolve(exit.vcpu.id);
      });
      vm.vcpu(0).start();
      ap.initIpi();
      ap.startupIpi(8);
      deepEqual(ap.getSegDesc('cs'), { selector: 0x800, base: 0x8000n, limit: 0xffff, access: 0x93 });
      ap.setRegister('rip', 0x8000n); // the scripted processor knows no segments
      vm.vcpu(0).stop();
      equal(await started.promise, 1);
      ap.startupIpi(9);
      equal(ap.getDesc('cs').base, 0x8000n);
    },
    { maxCpus: 2 },
  );
});

test('a thread that dies of an error fails the VM with EIO', async () => {
  await withRunning([OP.THROW], async (vm) => {
    vm.vcpu(0).start();
    await rejects(vm.waitSuspended(), code('EIO'));
  });
});

test('two VMs in one process do not see each other', async () => {
  await withRunning([OP.IN, OP.TRIPLE], async (one) => {
    await withRunning([OP.IN, OP.CLI, OP.HLT], async (two) => {
      const seen: string[] = [];
      one.setExitHandler('inout', () => {
        seen.push('one');
      });
      two.setExitHandler('inout', () => {
        seen.push('two');
      });
      one.vcpu(0).start();
      two.vcpu(0).start();
      deepEqual(await Promise.all([one.waitSuspended(), two.waitSuspended()]), ['triplefault', 'halt']);
      deepEqual(seen.toSorted(), ['one', 'two']);
    });
  });
});

test('interrupt and RTC calls go to the devices', () => {
  const devices = fakeDevices();
  const vm = new Vm('calls', threadlessHost(devices));
  vm.setupMemory(MIB);
  devices.calls.length = 0;
  vm.isaPulseIrq(4, 4);
  vm.lapicMsi(0xfee0_0000, 0x41);
  vm.vcpu(0).lapicIrq(0x30);
  vm.rtcWrite(0x34, 1);
  deepEqual(devices.calls, ['isaPulse 4 4', `lapicMsi ${0xfee0_0000} 65`, 'lapicIrq 0 48', 'rtcWrite 52 1']);
});
