import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../../base/log.ts';
import { MemoryBackend } from '../chars/backend.ts';
import { PortTable } from '../inout.ts';
import { attachCom } from './com.ts';
import { TestIrqLines, TestLine, TestPortModes, deviceContract } from './testing.ts';
import { Uart16550 } from './uart16550.ts';

function uart() {
  const line = new TestLine();
  const backend = new MemoryBackend();
  return { line, backend, uart: new Uart16550(line, backend, silentLog) };
}
const in8 = (device: Uart16550, offset: number): number => device.read(offset, 1) ?? -1;

test('the UART obeys the contract of devices', () => {
  deviceContract(() => new Uart16550(new TestLine(), new MemoryBackend(), silentLog), 8);
});

test('a transmitted byte leaves at once and raises THRE when that is enabled', () => {
  const { line, backend, uart: u } = uart();
  u.write(0, 1, 0x41);
  equal(backend.text(), 'A');
  equal(line.level, 0);
  u.write(1, 1, 2);
  equal(line.level, 1);
  equal(in8(u, 2), 0x02);
  deepEqual([line.level, in8(u, 2)], [0, 0x01]); // taken by the read
  u.write(0, 1, 0x42);
  equal(line.level, 1);
});

test('received bytes fill the FIFO, the rest waits outside', () => {
  const { line, backend, uart: u } = uart();
  u.write(1, 1, 1);
  u.write(2, 1, 0x81); // FIFO, trigger 8
  backend.feed('0123456');
  equal(in8(u, 2), 0xcc); // timeout: below the trigger
  backend.feed('789abcdefXYZ');
  equal(in8(u, 2), 0xc4);
  equal(backend.waiting, 3);
  let text = '';
  while ((in8(u, 5) & 1) !== 0) text += String.fromCharCode(in8(u, 0));
  equal(text, '0123456789abcdefXYZ');
  equal(line.level, 0);
});

test('without FIFOs one byte is taken at a time, and toggling the FIFO loses nothing', () => {
  const { backend, uart: u } = uart();
  u.write(1, 1, 1);
  backend.feed('ab');
  equal(backend.waiting, 1);
  u.write(2, 1, 1);
  deepEqual([in8(u, 0), in8(u, 0)], [0x61, 0x62]);
});

test('input that comes before the driver listens survives its start-up', () => {
  const { line, backend, uart: u } = uart();
  backend.feed('ls\n');
  for (let round = 0; round < 3; round++) {
    // console output polls LSR, too
    equal(in8(u, 5), 0x60);
    u.write(0, 1, 0x2e);
  }
  u.write(2, 1, 7); // FIFOs on and emptied
  equal(in8(u, 0), 0);
  u.write(1, 1, 1);
  equal(line.level, 1);
  deepEqual([in8(u, 0), in8(u, 0), in8(u, 0)], [0x6c, 0x73, 0x0a]);
});

test('a FIFO that is emptied while the driver listens gives its bytes again', () => {
  const { line, backend, uart: u } = uart();
  u.write(1, 1, 1); // Linux's set_termios: the interrupt first, then the FIFO
  backend.feed('typed line');
  u.write(2, 1, 0x01);
  u.write(2, 1, 0x81);
  equal(line.level, 1);
  let text = '';
  while ((in8(u, 5) & 1) !== 0) text += String.fromCharCode(in8(u, 0));
  equal(text, 'typed line');
});

test('a guest that only polls gets its input, too', () => {
  const { backend, uart: u } = uart();
  backend.feed('ok');
  let reads = 0;
  while ((in8(u, 5) & 1) === 0) reads++;
  ok(reads < 20);
  deepEqual([in8(u, 0), in8(u, 5) & 1, in8(u, 0)], [0x6f, 1, 0x6b]);
});

test('DLAB switches the first two registers; word accesses reach both', () => {
  const { uart: u } = uart();
  u.write(3, 1, 0x83);
  u.write(0, 2, 0x1234);
  equal(u.state.divisor, 0x1234);
  equal(u.read(0, 2), 0x1234);
  u.write(3, 1, 0x03);
  equal(in8(u, 1), 0);
});

test('loopback turns bytes and modem lines around, and can overrun', () => {
  const { line, backend, uart: u } = uart();
  u.write(4, 1, 0x10);
  equal(in8(u, 6), 0x0b); // CTS DSR DCD went away
  equal(in8(u, 6), 0x00);
  u.write(4, 1, 0x1f);
  equal(in8(u, 6), 0xfb);
  u.write(4, 1, 0x1b);
  equal(in8(u, 6), 0xb4); // trailing edge of RI
  u.write(1, 1, 4);
  u.write(0, 1, 0x55);
  u.write(0, 1, 0x66);
  equal(line.level, 1);
  equal(in8(u, 2), 0x06);
  equal(in8(u, 5), 0x63);
  equal(in8(u, 5), 0x61);
  equal(in8(u, 0), 0x66);
  equal(backend.output.length, 0);
});

test('com1 posts THR and shadows what has no side effect', () => {
  const modes = new TestPortModes();
  const lines = new TestIrqLines();
  const ports = new PortTable(modes, silentLog, false);
  const backend = new MemoryBackend();
  attachCom({ name: 'com1', port: 0x3f8, irq: 4 }, ports, lines, backend, silentLog);
  deepEqual([modes.modes.get(0x3f8), modes.modes.get(0x3fd), modes.shadows.get(0x3fd)], ['exit posted', 'shadow exit', 0x60]);
  deepEqual([modes.modes.get(0x3f9), modes.shadows.get(0x3f9)], ['shadow unless-same', 0]);
  ports.write(0x3f9, 1, 0x03);
  equal(modes.shadows.get(0x3f9), 0x03);
  deepEqual(lines.take(), ['isaAssert 4 4']);
  equal(modes.modes.get(0x3f8), 'exit notified'); // the guest waits for the next interrupt
  equal(modes.modes.get(0x3fa), 'exit exit'); // a read of IIR now takes the interrupt
  equal(ports.read(0x3fa, 1), 0x02);
  deepEqual(lines.take(), ['isaDeassert 4 4']);
  deepEqual([modes.modes.get(0x3fa), modes.shadows.get(0x3fa)], ['shadow exit', 0x01]);
  backend.feed('x');
  deepEqual([modes.shadows.get(0x3fd), modes.shadows.get(0x3fa)], [0x61, 0x04]);
  ports.write(0x3fb, 1, 0x80);
  deepEqual([modes.modes.get(0x3f8), modes.modes.get(0x3f9)], ['exit exit', 'exit exit']); // DLAB: they are the divisor
});

test('an interrupt finds its reason in the shadows', () => {
  const modes = new TestPortModes();
  const seen: unknown[] = [];
  const lines = new TestIrqLines();
  lines.isaAssert = () => {
    seen.push(modes.modes.get(0x3fa), modes.shadows.get(0x3fa), modes.shadows.get(0x3fd));
  };
  const ports = new PortTable(modes, silentLog, false);
  const backend = new MemoryBackend();
  attachCom({ name: 'com1', port: 0x3f8, irq: 4 }, ports, lines, backend, silentLog);
  ports.write(0x3f9, 1, 0x01);
  backend.feed('x');
  deepEqual(seen, ['shadow exit', 0x04, 0x61]);
});
