import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../base/log.ts';
import { Atkbdc } from './atkbdc.ts';
import { registers } from './device.ts';
import { Fwctl } from './fwctl.ts';
import { PcTestDev } from './pctestdev.ts';
import { PowerManagement } from './pm.ts';
import { QemuFwcfg } from './qemu-fwcfg.ts';
import { ResetPorts } from './reset-ports.ts';
import { TestIrqLines, TestLine, deviceContract } from './testing.ts';

function keyboard() {
  const kbd = new TestLine(),
    aux = new TestLine();
  let resets = 0;
  const device = new Atkbdc(
    kbd,
    aux,
    () => {
      resets++;
    },
    silentLog,
  );
  return {
    device,
    kbd,
    aux,
    resets: () => resets,
    in: (offset: number) => device.read(offset, 1) ?? -1,
    out: (offset: number, value: number) => {
      device.write(offset, 1, value);
    },
  };
}

test('every device obeys the contract', () => {
  deviceContract(() => keyboard().device, 5);
  deviceContract(() => new QemuFwcfg(2), 2);
  deviceContract(() => new Fwctl(2, silentLog), 4);
  deviceContract(() => {
    const pm = new PowerManagement(new TestLine(), () => {}, silentLog);
    const blocks = [pm.pm1Event, pm.pm1Control, pm.gpe0, pm.smiCommand];
    return Object.assign(pm, {
      read: (offset: number, sizeBytes: number) => blocks[offset >> 2]?.read(offset & 3, sizeBytes),
      write: (offset: number, sizeBytes: number, value: number) => blocks[offset >> 2]?.write(offset & 3, sizeBytes, value),
    });
  }, 16);
  deviceContract(() => {
    const reset = new ResetPorts(() => {});
    return Object.assign(reset, {
      read: reset.port92.read,
      write: (offset: number, sizeBytes: number, value: number) => {
        reset.writeResetControl(value & 0xff);
        return reset.port92.write(offset, sizeBytes, value);
      },
    });
  }, 1);
  deviceContract(() => {
    const device = new PcTestDev({ lines: new TestIrqLines(), exit() {}, flushTranslation() {}, log: silentLog });
    return Object.assign(device, { read: device.scratch.read, write: device.scratch.write });
  }, 65536);
});

test('registers: wide accesses reach several, narrow ones are merged, gaps read ones', () => {
  const owner = { state: { low: 0x1234, high: 0x56 }, writes: [] as number[] };
  const table = registers<typeof owner>({
    LOW: { offset: 0, sizeBytes: 2, field: 'low', writable: 0x0fff },
    HIGH: { offset: 2, field: 'high' },
    COMMAND: {
      offset: 4,
      sizeBytes: 2,
      write: (target, value) => {
        target.writes.push(value);
      },
    },
  });
  equal(table.read(owner, 0, 4), 0xff56_1234);
  equal(table.read(owner, 1, 1), 0x12);
  equal(table.read(owner, 8, 4), undefined);
  equal(table.write(owner, 1, 1, 0xff), true);
  equal(owner.state.low, 0x1f34);
  table.write(owner, 4, 1, 1); // half of a register that acts: dropped
  table.write(owner, 4, 2, 0x0102);
  table.write(owner, 2, 4, 0x0304_aabb);
  deepEqual([owner.writes, owner.state.high], [[0x0102, 0x0304], 0xbb]);
  equal(table.write(owner, 9, 2, 0), false);
});

test("8042: Linux's probe of controller, keyboard and mouse", () => {
  const { in: read, out, kbd, aux } = keyboard();
  equal(read(4) & 1, 0);
  out(4, 0xaa);
  deepEqual([read(4) & 5, read(0)], [5, 0x55]);
  out(4, 0x20);
  equal(read(0), 0x04);
  out(4, 0x60);
  out(0, 0x47); // both interrupts, system flag, translation
  out(4, 0xa9);
  equal(read(0), 0);
  out(4, 0xd3);
  out(0, 0x5a);
  deepEqual([read(4) & 0x21, aux.edges, read(0)], [0x21, 1, 0x5a]); // loop of the mouse port
  out(0, 0xf2);
  deepEqual([kbd.edges > 0, read(0), read(0), read(0)], [true, 0xfa, 0xab, 0x41]); // translated
  out(0, 0xed);
  equal(read(0), 0xfa);
  out(0, 0x07);
  equal(read(0), 0xfa);
  out(4, 0xd4);
  out(0, 0xff);
  deepEqual([read(4) & 0x20, read(0), read(0), read(0)], [0x20, 0xfa, 0xaa, 0]);
  for (const value of [0xe9]) {
    out(4, 0xd4);
    out(0, value);
  }
  deepEqual([read(0), read(0), read(0), read(0)], [0xfa, 0, 2, 100]);
  equal(read(4) & 1, 0);
});

test('8042: each byte at the head of the queue raises its line once', () => {
  const { out, in: read, kbd } = keyboard();
  out(4, 0x60);
  out(0, 0x01);
  out(0, 0xff);
  equal(kbd.edges, 1);
  equal(read(0), 0xfa);
  equal(kbd.edges, 2); // AAh moved up
  equal(read(0), 0xaa);
  equal(kbd.edges, 2);
});

test('8042: pulses of the reset line', () => {
  const { out, resets } = keyboard();
  out(4, 0xff);
  equal(resets(), 0);
  out(4, 0xfe);
  out(4, 0xd1);
  out(0, 0xdd); // A20 on, no reset
  equal(resets(), 1);
  out(4, 0xd1);
  out(0, 0xdc);
  equal(resets(), 2);
});

test('fwctl gives hw.ncpu, and survives sizes that lie', () => {
  const device = new Fwctl(3, silentLog);
  const request = (...words: number[]): number[] => {
    for (const word of words) device.write(0, 4, word);
    const sizeBytes = device.read(0, 4) ?? 0;
    const reply = [sizeBytes];
    for (let at = 4; at < sizeBytes; at += 4) reply.push(device.read(0, 4) ?? -1);
    return reply;
  };
  equal(device.read(0, 4), 0xffff_ffff);
  device.write(0, 2, 0);
  equal(String.fromCharCode(...[0, 1, 2, 3].map(() => device.read(1, 1) ?? 0)), 'BHYV');
  const name = [0x6e2e7768, 0x00757063]; // "hw.ncpu"
  deepEqual(request(20, 3, 7, ...name), [20, 3, 7, 0, 3]);
  deepEqual(request(20, 4, 8, ...name), [20, 4, 8, 0, 4]);
  deepEqual(request(12, 1, 9), [16, 1, 9, 0]);
  deepEqual(request(16, 3, 10, 0x78), [16, 3, 10, 2]);
  deepEqual(request(16, 5, 11, 0), [16, 5, 11, 2]);
  for (const sizeBytes of [0, 11, 13 + 80, 0x7fff_ffff, 0xffff_ffff]) deepEqual(request(sizeBytes)[0], 16);
  deepEqual(request(13, 2, 12, 0x41), [17, 2, 12, 0, 0x41]);
  device.write(0, 4, 20);
  device.write(0, 2, 0); // reset in the middle of a request
  device.write(0, 4, 99); // out of turn
  equal(device.read(1, 1), 0x42);
});

test('fw_cfg: names are checked, items end in zeroes', () => {
  const device = new QemuFwcfg(1);
  device.addFile('b', Uint8Array.of(1, 2));
  device.addFile('a', Uint8Array.of(3));
  device.write(0, 2, 0x19);
  const directory = Array.from({ length: 132 }, () => device.read(1, 1) ?? -1);
  deepEqual(
    [directory.slice(0, 12), directory[12], directory.slice(68, 76), directory[76]],
    [[0, 0, 0, 2, 0, 0, 0, 1, 0, 0x21, 0, 0], 0x61, [0, 0, 0, 2, 0, 0x20, 0, 0], 0x62],
  );
  device.write(0, 2, 0x20);
  deepEqual([device.read(1, 1), device.read(1, 1), device.read(1, 1)], [1, 2, 0]);
  for (const [name, code] of [
    ['a', 'EEXIST'],
    ['x'.repeat(56), 'ENAMETOOLONG'],
  ] as const) {
    try {
      device.addFile(name, Uint8Array.of());
    } catch (error) {
      equal((error as { code: string }).code, code);
      continue;
    }
    throw new Error(`${name}: taken`);
  }
});
