/** Tests of vmm, in-core devices and processor together, in worker threads of Node; the guests are a few bytes of real-mode code. */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLog } from '../base/log.ts';
import { Vmmapi, type Vm, type VmOptions } from '../vmmapi/index.ts';
import { createNodeHost } from './host-node.ts';

const MIB = 2 ** 20;
const ENTRY = 0x7c00,
  HANDLER = 0x7d00;

/** A VM that begins with `code` at 0:7C00h in real mode. */
async function run(
  code: readonly number[],
  action: (vm: Vm) => Promise<void>,
  options: VmOptions = {},
  traceFd?: number,
  memoryBytes = 16 * MIB,
): Promise<void> {
  const api = new Vmmapi(createNodeHost({ log: silentLog, traceFd }));
  const vm = api.create('test', options);
  try {
    vm.setupMemory(memoryBytes);
    vm.writeGuest(ENTRY, new Uint8Array(code));
    const vcpu = vm.vcpu(0);
    vcpu.setDesc('cs', { base: 0n, limit: 0xffff, access: 0x93 });
    vcpu.setRegisterSet(['cs', 'rip', 'rsp'], [0n, BigInt(ENTRY), 0x7000n]);
    vcpu.activate();
    await action(vm);
  } finally {
    await api.destroy('test');
  }
}

test('a guest whose memory is too large for 32-bit addresses runs in every tier', async () => {
  // push cs; pop ds; mov cx,9; l: inc byte [7c80h]; loop l; mov al,[7c80h]; cli; hlt
  const code = [0x0e, 0x1f, 0xb9, 0x09, 0x00, 0xfe, 0x06, 0x80, 0x7c, 0xe2, 0xfa, 0xa0, 0x80, 0x7c, 0xfa, 0xf4];
  for (const cpuTier of ['interpreter', 'jit', 'always'] as const)
    await run(
      code,
      async (vm) => {
        equal(vm.memory.ramIndex, 'i64');
        vm.vcpu(0).start();
        equal(await vm.waitSuspended(), 'halt');
        equal(vm.vcpu(0).getRegister('rax') & 0xffn, 9n);
      },
      { cpuTier },
      undefined,
      4096 * MIB,
    );
});

test('port I/O of a guest reaches its handler, HLT with interrupts off ends it', async () => {
  // mov dx,3f8h; mov al,41h; out dx,al; in al,dx; out dx,al; cli; hlt
  await run([0xba, 0xf8, 0x03, 0xb0, 0x41, 0xee, 0xec, 0xee, 0xfa, 0xf4], async (vm) => {
    const seen: string[] = [];
    vm.setExitHandler('inout', (exit) => {
      seen.push(`${exit.isRead ? 'in' : `out ${exit.value.toString(16)}`} ${exit.port.toString(16)} ${exit.sizeBytes}`);
      if (exit.isRead) exit.value = 0x42;
    });
    vm.vcpu(0).start();
    equal(await vm.waitSuspended(), 'halt');
    deepEqual(seen, ['out 41 3f8 1', 'in 3f8 1', 'out 42 3f8 1']);
    deepEqual(vm.vcpu(0).getRegisterSet(['rip', 'rax']), [BigInt(ENTRY + 10), 0x42n]);
  });
});

test('a halted guest is woken by the timer of the PIT, through the PIC', async () => {
  await run(
    [
      0xfa,
      0x31,
      0xc0,
      0x8e,
      0xd8,
      0x8e,
      0xd0, // cli; ax, ds, ss = 0
      0xc7,
      0x06,
      0x20,
      0x00,
      HANDLER & 0xff,
      HANDLER >> 8,
      0xc7,
      0x06,
      0x22,
      0x00,
      0,
      0, // vector 8 = 0:HANDLER
      0xb0,
      0x11,
      0xe6,
      0x20,
      0xb0,
      8,
      0xe6,
      0x21,
      0xb0,
      4,
      0xe6,
      0x21,
      0xb0,
      1,
      0xe6,
      0x21,
      0xb0,
      0xfe,
      0xe6,
      0x21, // PIC: base 8, IRQ 0 only
      0xb0,
      0x34,
      0xe6,
      0x43,
      0xb0,
      0xa9,
      0xe6,
      0x40,
      0xb0,
      0x04,
      0xe6,
      0x40, // PIT: 1193 ticks, 1 ms, again and again
      0x31,
      0xc9,
      0xfb,
      0xf4,
      0x83,
      0xf9,
      3,
      0x75,
      0xfa,
      0xfa,
      0xf4, // cx = 0; sti; until cx == 3: hlt; cli; hlt
    ],
    async (vm) => {
      vm.writeGuest(HANDLER, new Uint8Array([0x41, 0xb0, 0x20, 0xe6, 0x20, 0xcf])); // inc cx; EOI; iret
      vm.vcpu(0).start();
      equal(await vm.waitSuspended(), 'halt');
      equal(vm.vcpu(0).getRegister('rcx'), 3n);
    },
  );
});

test('registers of a running guest are read, written and refreshed; it can be stopped and resumed', async () => {
  // l: inc bx; mov [7000h],bx; jmp l
  await run([0x43, 0x89, 0x1e, 0x00, 0x70, 0xeb, 0xf9], async (vm) => {
    const vcpu = vm.vcpu(0);
    vcpu.start();
    const turn = (): Promise<void> =>
      new Promise((resolve) => {
        setImmediate(resolve);
      });
    while (vcpu.getRegister('rbx') < 1000n) await turn();
    vcpu.suspendCpu();
    const before = vcpu.getRegisterSet(['rip', 'rbx', 'rflags']);
    deepEqual(vcpu.getRegisterSet(['rip', 'rbx', 'rflags']), before);
    ok((before[2]! & 2n) !== 0n);
    // Somewhere else: cli; hlt
    vm.writeGuest(0x6000, new Uint8Array([0xfa, 0xf4]));
    vcpu.setRegister('rip', 0x6000n);
    vcpu.resumeCpu();
    equal(await vm.waitSuspended(), 'halt');
  });
});

test('code that a device overwrites while it runs is executed anew', async () => {
  // l: jmp l
  await run([0xeb, 0xfe], async (vm) => {
    vm.vcpu(0).start();
    while (vm.vcpu(0).stats().at(-1)!.value < 100_000n)
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    vm.writeGuest(ENTRY, new Uint8Array([0xfa, 0xf4]));
    equal(await vm.waitSuspended(), 'halt');
  });
});

test('a trace of compiled code is complete when the VM has ended', async () => {
  for (const cpuTier of ['default', 'always'] as const) {
    const folder = mkdtempSync(join(tmpdir(), 'tshyve-trace-')),
      file = join(folder, 'trace'),
      fd = openSync(file, 'w');
    // l: inc bx; inc bx; inc cx; jmp l
    await run(
      [0x43, 0x43, 0x41, 0xeb, 0xfb],
      async (vm) => {
        vm.vcpu(0).start();
        const installed = (): bigint =>
          vm
            .vcpu(0)
            .stats()
            .find(({ name }) => name === 'tier 1: regions installed')!.value;
        while (installed() === 0n)
          await new Promise((resolve) => {
            setImmediate(resolve);
          });
        vm.writeGuest(ENTRY, new Uint8Array([0xfa, 0xf4]));
        equal(await vm.waitSuspended(), 'halt');
      },
      { cpuTier },
      fd,
    );
    closeSync(fd);
    const text = readFileSync(file, 'utf8');
    rmSync(folder, { recursive: true });
    match(
      text,
      /^region 1: rip 0x7c00, .*16-bit code.*\n[^]*inc bx\n[^]*\nregion 1 installed\nregion 1 killed: written at the whole page 0x7000/,
      cpuTier,
    );
  }
});

test('after a reset the same VM runs again as from power-on', async () => {
  // out 92h,al; l: jmp l
  await run([0xe6, 0x92, 0xeb, 0xfe], async (vm) => {
    for (let life = 0; life < 3; life++) {
      if (life > 0) {
        const vcpu = vm.vcpu(0);
        vm.reinit();
        equal(vcpu.getRegister('rip'), 0xfff0n);
        vcpu.setDesc('cs', { base: 0n, limit: 0xffff, access: 0x93 });
        vcpu.setRegisterSet(['cs', 'rip'], [0n, BigInt(ENTRY)]);
        vcpu.activate();
      }
      vm.setExitHandler('inout', () => {
        vm.suspend('reset');
      });
      vm.vcpu(0).start();
      equal(await vm.waitSuspended(), 'reset');
    }
  });
});

test('a triple fault ends the VM, an NMI wakes it from HLT', async () => {
  // lidt [7000h] (limit 0); int3
  await run([0x0f, 0x01, 0x1e, 0x00, 0x70, 0xcc], async (vm) => {
    vm.vcpu(0).start();
    equal(await vm.waitSuspended(), 'triplefault');
  });
  // sti; hlt; cli; hlt, with vector 2 at an iret
  await run([0xfb, 0xf4, 0xfa, 0xf4], async (vm) => {
    vm.writeGuest(8, new Uint8Array([HANDLER & 0xff, HANDLER >> 8, 0, 0]));
    vm.writeGuest(HANDLER, new Uint8Array([0xcf]));
    vm.vcpu(0).start();
    while (vm.vcpu(0).state !== 'sleeping')
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
    vm.vcpu(0).injectNmi();
    equal(await vm.waitSuspended(), 'halt');
  });
});
