/** Tests of vmm/assembly/lapic.ts, lapic-timer.ts, routing.ts and msr.ts by their registers. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { VCPU_APIC_BASE, VCPU_TSC_OFFSET } from '../generated/vcpu-layout.ts';
import { EINVAL, EXIT_IPI } from './exits.ts';
import { VM_OPTION_AMD, VM_OPTION_LENIENT_MSR } from './layout.ts';
import { InCoreMachine } from './testing/in-core-machine.ts';

const APIC_BASE = 0x1b,
  TSC_DEADLINE = 0x6e0;
const TPR = 0x80,
  PPR = 0xa0,
  LDR = 0xd0,
  DFR = 0xe0,
  SVR = 0xf0,
  ISR = 0x100,
  TMR = 0x180,
  IRR = 0x200,
  ESR = 0x280,
  ICR_LOW = 0x300,
  ICR_HIGH = 0x310;
const LVT_TIMER = 0x320,
  LVT_LINT0 = 0x350,
  LVT_LINT1 = 0x360,
  LVT_ERROR = 0x370,
  INITIAL = 0x380,
  CURRENT = 0x390,
  DIVIDE = 0x3e0;
const MASKED = 0x10000,
  PERIODIC = 0x20000,
  DEADLINE = 0x40000;
const ENABLED = 0xfee00800n,
  X2 = 0xfee00c00n;

function machine(options?: ConstructorParameters<typeof InCoreMachine>[0]): InCoreMachine {
  const m = new InCoreMachine(options);
  for (let i = 0; i < (options?.vcpus ?? 1); i++) m.enableLapic(i);
  return m;
}

test('a LAPIC out of reset has the values of the SDM', () => {
  const m = new InCoreMachine({ vcpus: 2 });
  for (const [offset, value] of [
    [0x20, 0],
    [0x30, 0x60010],
    [TPR, 0],
    [PPR, 0],
    [LDR, 0],
    [DFR, 0xffffffff],
    [SVR, 0xff],
    [ESR, 0],
    [ICR_LOW, 0],
    [ICR_HIGH, 0],
    [INITIAL, 0],
    [CURRENT, 0],
    [DIVIDE, 0],
    [0x2f0, MASKED],
    [LVT_TIMER, MASKED],
    [0x330, MASKED],
    [0x340, MASKED],
    [LVT_LINT0, MASKED],
    [LVT_LINT1, MASKED],
    [LVT_ERROR, MASKED],
  ] as const)
    equal(m.lapicRead(offset), value, `offset ${offset.toString(16)}`);
  equal(m.lapicRead(0x20, 1), 0x1000000);
  equal(m.rdmsr(APIC_BASE), 0xfee00900n);
  equal(m.rdmsr(APIC_BASE, 1), ENABLED);
  equal(m.vmm.interruptVector(m.cpu()), -1);
  equal(m.vmm.nextDeadlineNs(m.cpu()), Infinity);
});

test('interrupts are delivered by priority class and wait for EOI', () => {
  const m = machine();
  for (const vector of [0x31, 0x52, 0x55]) equal(m.vmm.lapicIrq(0, vector), 0);
  equal(m.vmm.lapicIrq(0, 15), EINVAL);
  equal(m.vmm.lapicIrq(1, 0x30), EINVAL);
  equal(m.vmm.interruptVector(m.cpu()), 0x55);
  equal(m.take(), 0x55);
  equal(m.lapicRead(PPR), 0x50);
  equal(m.lapicRead(ISR + 0x20), 1 << 0x15);
  equal(m.take(), -1, '52h is of the same class');
  m.vmm.lapicIrq(0, 0x61);
  equal(m.take(), 0x61, 'a higher class interrupts the service');
  m.eoi();
  equal(m.take(), -1);
  m.eoi();
  equal(m.take(), 0x52);
  m.eoi();
  equal(m.take(), 0x31);
  m.eoi();
  equal(m.lapicRead(PPR), 0);
  m.eoi();
  equal(m.take(), -1, 'an EOI without service does nothing');
});

test('the task priority holds back its class, by MMIO and by CR8', () => {
  const m = machine();
  m.vmm.writeTpr(m.cpu(), 5);
  equal(m.lapicRead(TPR), 0x50);
  equal(m.vmm.readTpr(m.cpu()), 5);
  m.vmm.lapicIrq(0, 0x5f);
  equal(m.take(), -1);
  m.vmm.lapicIrq(0, 0x60);
  equal(m.take(), 0x60);
  m.eoi();
  m.lapicWrite(TPR, 0x4f);
  equal(m.vmm.readTpr(m.cpu()), 4);
  ok((m.requests() & 2) !== 0, 'lowering TPR asks for attention');
  equal(m.take(), 0x5f);
});

test('illegal vectors set ESR and fire the error LVT', () => {
  const m = machine();
  m.lapicWrite(LVT_ERROR, 0x33);
  m.lapicWrite(ICR_LOW, 0x40005);
  equal(m.lapicRead(ESR), 0, 'latched by a write only');
  m.lapicWrite(ESR, 0);
  equal(m.lapicRead(ESR), 0x20);
  m.lapicWrite(ESR, 0);
  equal(m.lapicRead(ESR), 0);
  equal(m.take(), 0x33);
  m.eoi();
  m.vmm.lapicMsi(0xfee00000n, 0x0an);
  equal(m.take(), 0x33);
  m.lapicWrite(ESR, 0);
  equal(m.lapicRead(ESR), 0x40);
});

test('software disable masks the LVTs, refuses new interrupts and keeps what was accepted', () => {
  const m = machine();
  m.lapicWrite(LVT_TIMER, 0x40);
  m.vmm.lapicIrq(0, 0x41);
  equal(m.vmm.interruptVector(m.cpu()), 0x41);
  m.lapicWrite(SVR, 0xff);
  equal(m.lapicRead(LVT_TIMER), MASKED | 0x40);
  m.lapicWrite(LVT_TIMER, 0x40);
  equal(m.lapicRead(LVT_TIMER), MASKED | 0x40);
  m.vmm.lapicIrq(0, 0x71);
  equal(m.take(), 0x41);
});

test('IPIs reach self, all, all but self, physical, flat and cluster destinations', () => {
  const m = machine({ vcpus: 4 });
  const pending = (): number[] =>
    [0, 1, 2, 3].map((i) => {
      const v = m.take(i);
      if (v >= 0) m.eoi(i);
      return v;
    });
  const send = (low: number, high = 0, from = 0): number[] => {
    m.lapicWrite(ICR_HIGH, high << 24, from);
    m.lapicWrite(ICR_LOW, low, from);
    return pending();
  };
  deepEqual(send(0x40041), [0x41, -1, -1, -1]);
  deepEqual(send(0x80042), [0x42, 0x42, 0x42, 0x42]);
  deepEqual(send(0xc0043, 0, 2), [0x43, 0x43, -1, 0x43]);
  deepEqual(send(0x44, 3), [-1, -1, -1, 0x44]);
  deepEqual(send(0x45, 0xff), [0x45, 0x45, 0x45, 0x45]);
  deepEqual(send(0x46, 9), [-1, -1, -1, -1]);
  for (let i = 0; i < 4; i++) m.lapicWrite(LDR, (1 << i) << 24, i);
  deepEqual(send(0x847, 0b1010), [-1, 0x47, -1, 0x47]);
  for (let i = 0; i < 4; i++) {
    m.lapicWrite(DFR, 0, i);
    m.lapicWrite(LDR, (((i >> 1) << 4) | (1 << (i & 1))) << 24, i);
  }
  deepEqual(send(0x848, 0x13), [-1, -1, 0x48, 0x48]);
  m.lapicWrite(TPR, 0x80, 2);
  deepEqual(send(0x949, 0x13), [-1, -1, -1, 0x49], 'lowest priority');
  m.lapicWrite(ICR_HIGH, 1 << 24);
  m.lapicWrite(ICR_LOW, 0x400);
  deepEqual(
    [0, 1, 2, 3].map((i) => m.nmiPending(i)),
    [false, true, false, false],
  );
});

test('INIT and STARTUP leave as IPI exits; INIT de-assert does not', () => {
  const m = machine({ vcpus: 3 });
  m.lapicWrite(ICR_LOW, 0xc4500);
  m.lapicWrite(ICR_LOW, 0x88500);
  m.lapicWrite(ICR_HIGH, 2 << 24);
  m.lapicWrite(ICR_LOW, 0x469a);
  deepEqual(
    m.exits.map(({ reason, code, value }) => [reason, code, value]),
    [
      [EXIT_IPI, 0x500, 0b110n],
      [EXIT_IPI, 0x69a, 0b100n],
    ],
  );
});

test('LINT0 as ExtINT lets the PIC through, LINT1 is NMI', () => {
  const m = machine();
  m.initPic(0xfffe);
  m.vmm.isaPulse(0, -1);
  equal(m.take(), -1, 'LINT0 is masked');
  m.lapicWrite(LVT_LINT0, 0x700);
  equal(m.take(), 0x20);
  equal(m.take(), -1);
  m.lapicWrite(LVT_LINT1, 0x400);
  m.vmm.lapicLocalIrq(-1, 5);
  equal(m.nmiPending(), true);
  equal(m.vmm.lapicLocalIrq(0, 7), EINVAL);
});

test('the timer counts down once, at the bus clock over the divider', () => {
  const m = machine();
  m.lapicWrite(LVT_TIMER, 0x50);
  m.lapicWrite(DIVIDE, 0xb);
  m.lapicWrite(INITIAL, 134_217_728);
  m.advance(250_000_000);
  equal(m.lapicRead(CURRENT), 100_663_296);
  equal(m.vmm.nextDeadlineNs(m.cpu()), m.hostNs + 750_000_000);
  m.advance(749_999_999);
  equal(m.take(), -1);
  m.advance(1);
  equal(m.take(), 0x50);
  equal(m.lapicRead(CURRENT), 0);
  equal(m.vmm.nextDeadlineNs(m.cpu()), Infinity);
  m.eoi();
  for (const [code, divider] of [
    [0, 2],
    [1, 4],
    [2, 8],
    [3, 16],
    [8, 32],
    [9, 64],
    [10, 128],
    [11, 1],
  ] as const) {
    m.lapicWrite(DIVIDE, code);
    m.lapicWrite(INITIAL, 1 << 20);
    m.advance((7_812_500 / 2) * divider);
    equal(m.lapicRead(CURRENT), 1 << 19, `divider ${divider}`);
  }
  m.lapicWrite(INITIAL, 0);
  equal(m.lapicRead(CURRENT), 0);
});

test('a periodic timer keeps its phase when the host is late, and a change of divider keeps the count', () => {
  const m = machine();
  m.lapicWrite(LVT_TIMER, PERIODIC | 0x51);
  m.lapicWrite(DIVIDE, 0xb);
  m.lapicWrite(INITIAL, 134_217_728 / 64);
  const period = 1e9 / 64;
  m.advance(period * 3.5);
  equal(m.take(), 0x51);
  m.eoi();
  equal(m.take(), -1, 'late periods collapse');
  equal(m.vmm.nextDeadlineNs(m.cpu()), 5_000_000 + period * 4);
  equal(m.lapicRead(CURRENT), 134_217_728 / 128);
  m.lapicWrite(DIVIDE, 0);
  equal(m.lapicRead(CURRENT), 134_217_728 / 128);
  m.advance(period + 1);
  equal(m.take(), 0x51);
  m.eoi();
  m.advance(period * 2 + 1);
  equal(m.take(), 0x51);
  m.lapicWrite(LVT_TIMER, MASKED | PERIODIC | 0x51);
  equal(m.vmm.nextDeadlineNs(m.cpu()), Infinity, 'a masked timer wakes nobody');
});

test('TSC-deadline fires when the guest TSC reaches it, and reads 0 afterwards', () => {
  const m = machine({ tscHz: 3e9 });
  equal(m.wrmsr(TSC_DEADLINE, 100n), true);
  equal(m.rdmsr(TSC_DEADLINE), 0n, 'ignored outside of its mode');
  m.lapicWrite(LVT_TIMER, DEADLINE | 0x61);
  m.lapicWrite(INITIAL, 500);
  equal(m.lapicRead(CURRENT), 0);
  const now = m.vmm.tsc(m.cpu());
  m.wrmsr(TSC_DEADLINE, now + 3000n);
  equal(m.rdmsr(TSC_DEADLINE), now + 3000n);
  m.advance(999);
  equal(m.take(), -1);
  m.advance(1);
  ok(m.vmm.tsc(m.cpu()) >= now + 3000n);
  equal(m.take(), 0x61);
  equal(m.rdmsr(TSC_DEADLINE), 0n);
  m.eoi();
  m.wrmsr(TSC_DEADLINE, 1n);
  equal(m.take(), 0x61, 'a deadline in the past fires at once');
  m.eoi();
  m.wrmsr(TSC_DEADLINE, m.vmm.tsc(m.cpu()) + 3000n);
  m.lapicWrite(LVT_TIMER, 0x61);
  m.advance(5000);
  equal(m.take(), -1, 'a change of mode disarms');
});

test('a new TSC offset moves the deadline', () => {
  const m = machine({ tscHz: 1e9 });
  m.lapicWrite(LVT_TIMER, DEADLINE | 0x61);
  m.wrmsr(TSC_DEADLINE, 1_000_000n);
  m.view.setBigUint64(m.cpu() + VCPU_TSC_OFFSET, 900_000n, true);
  equal(m.vmm.nextDeadlineNs(m.cpu()), m.hostNs + 100_000);
  m.advance(100_000);
  equal(m.take(), 0x61);
});

test('the TSC is exact and monotone over centuries of ticks', () => {
  const m = new InCoreMachine({ tscHz: 2_999_999_999 });
  m.hostNs += 86_400e9 * 50;
  equal(m.vmm.tsc(m.cpu()), 2_999_999_999n * 86_400n * 50n);
  m.hostNs -= 1000;
  equal(m.vmm.tsc(m.cpu()), 2_999_999_999n * 86_400n * 50n, 'a host clock that steps back is not seen');
});

test("within a slice RDTSC counts on by the instructions executed, and the slice's end brings it to the clock", () => {
  const m = new InCoreMachine({ tscHz: 1e9 });
  const rdtsc = (retired: number): bigint => m.vmm.tscAt(m.cpu(), BigInt(retired));
  equal(rdtsc(0), 0n, 'no rate is known yet');
  m.advance(40_000);
  equal(rdtsc(10_000), 40_000n, 'the clock: 4 ticks an instruction');
  m.hostNs += 1_000;
  equal(rdtsc(10_100), 40_400n, 'the instructions');
  m.advance(9_000);
  equal(rdtsc(10_200), 50_000n, 'the clock again');
  equal(rdtsc(15_000), 69_200n);
  m.advance(1_000);
  equal(rdtsc(15_001), 69_200n, 'ahead of the clock it waits');
});

test('RDTSC reads the clock after a device was used, and always where several vCPUs may compare', () => {
  for (const vcpus of [1, 2]) {
    const m = new InCoreMachine({ tscHz: 1e9, vcpus });
    m.advance(40_000);
    m.vmm.tscAt(m.cpu(), 10_000n);
    m.hostNs += 5_000;
    if (vcpus === 1) m.vmm.portRead(m.cpu(), 0x40, 1);
    equal(m.vmm.tscAt(m.cpu(), 10_001n), 45_000n);
  }
});

test('the clock stands still between stop and start', () => {
  const m = machine();
  m.advance(1000);
  m.vmm.clockStop();
  m.hostNs += 1e9;
  equal(m.vmm.nowNs(), 1000);
  equal(m.vmm.nextDeadlineNs(m.cpu()), Infinity);
  m.vmm.clockStart();
  m.hostNs += 5;
  equal(m.vmm.nowNs(), 1005);
});

test('IA32_APIC_BASE allows the transitions of the SDM only', () => {
  const m = new InCoreMachine({ vcpus: 2 });
  const go = (value: bigint): boolean => m.wrmsr(APIC_BASE, value, 1);
  equal(go(0xfee01800n), false, 'the base does not move');
  equal(go(0xfee00400n), false, 'EXTD without EN');
  equal(go(0xfee00801n), false, 'a reserved bit');
  equal(go(ENABLED | (1n << 40n)), false);
  equal(go(0xfee00000n), true);
  equal(m.lapicRead(SVR, 1), 0xffffffff, 'the page is not there');
  equal(go(X2), false, 'disabled to x2APIC');
  equal(go(ENABLED), true);
  equal(go(X2), true);
  equal(m.rdmsr(APIC_BASE, 1), X2);
  equal(go(ENABLED), false, 'x2APIC to xAPIC');
  m.vmm.lapicInit(1);
  equal(m.rdmsr(APIC_BASE, 1), X2, 'INIT keeps the mode');
  equal(go(0xfee00000n), true);
  const without = new InCoreMachine({ options: 0 });
  equal(without.wrmsr(APIC_BASE, 0xfee00d00n), false);
  m.vmm.vmmReset();
  equal(m.view.getBigUint64(m.cpu(1) + VCPU_APIC_BASE, true), ENABLED);
});

test('x2APIC: ids, ICR in one write, self IPI, and #GP where the SDM says so', () => {
  const m = machine({ vcpus: 20 });
  for (let i = 0; i < 20; i++) equal(m.wrmsr(APIC_BASE, i === 0 ? 0xfee00d00n : X2, i), true);
  equal(m.rdmsr(0x802, 18), 18n);
  equal(m.rdmsr(0x80d, 18), 0x10004n);
  equal(m.lapicRead(0x20), 0xffffffff, 'no MMIO in x2APIC mode');
  equal(m.wrmsr(0x83f, 0x81n), true);
  equal(m.take(), 0x81);
  equal(m.wrmsr(0x80b, 0n), true);
  equal(m.wrmsr(0x830, (18n << 32n) | 0x82n), true);
  equal(m.rdmsr(0x830), (18n << 32n) | 0x82n);
  equal(m.take(18), 0x82);
  m.wrmsr(0x830, (0x10005n << 32n) | 0x883n);
  deepEqual(
    [16, 17, 18].map((i) => m.vmm.interruptVector(m.cpu(i))),
    [0x83, -1, -1],
    '18 is still serving 82h',
  );
  m.wrmsr(0x830, (0xffffffffn << 32n) | 0x91n);
  deepEqual(
    [1, 7, 18].map((i) => m.vmm.interruptVector(m.cpu(i))),
    [0x91, 0x91, 0x91],
  );
  for (const [msr, value] of [
    [0x802, 0n],
    [0x803, 0n],
    [0x808, 0x100n],
    [0x80a, 0n],
    [0x80b, 1n],
    [0x80d, 0n],
    [0x80e, 0n],
    [0x810, 0n],
    [0x828, 1n],
    [0x830, 1n << 20n],
    [0x831, 0n],
    [0x839, 0n],
    [0x83f, 0x100n],
    [0x840, 0n],
    [0x8ff, 0n],
    [0x832, 1n << 32n],
  ] as const)
    equal(m.wrmsr(msr, value), false, `wrmsr ${msr.toString(16)}`);
  for (const msr of [0x80b, 0x80e, 0x83f, 0x831, 0x800, 0x8ff]) equal(m.rdmsr(msr), undefined, `rdmsr ${msr.toString(16)}`);
  equal(machine().rdmsr(0x802), undefined, 'not in xAPIC mode');
});

test('unknown MSRs fault, or with -w read 0', () => {
  const m = new InCoreMachine();
  equal(m.rdmsr(0x12345), undefined);
  equal(m.wrmsr(0x12345, 1n), false);
  const lenient = new InCoreMachine({ options: VM_OPTION_LENIENT_MSR });
  equal(lenient.rdmsr(0x12345), 0n);
  equal(lenient.wrmsr(0x12345, 1n), true);
  const amd = new InCoreMachine({ options: VM_OPTION_AMD });
  equal(amd.rdmsr(0xc0010114), 0x18n);
  equal(amd.rdmsr(0xc0010008), undefined);
  equal(amd.wrmsr(0xc0010004, 7n), true);
});

test('MSIs: address, hint and mode bits, delivery modes', () => {
  const m = machine({ vcpus: 2 });
  equal(m.vmm.lapicMsi(0xfed00000n, 0x40n), EINVAL);
  equal(m.vmm.lapicMsi(0x1fee00000n, 0x40n), EINVAL);
  equal(m.vmm.lapicMsi(0xfee01000n, 0x40n), 0);
  deepEqual([m.take(0), m.take(1)], [-1, 0x40]);
  for (let i = 0; i < 2; i++) m.lapicWrite(LDR, 1 << (24 + i), i);
  m.eoi(1);
  m.vmm.lapicMsi(0xfee0200cn, 0x50n);
  deepEqual([m.take(0), m.take(1)], [-1, 0x50]);
  m.vmm.lapicMsi(0xfee00000n, 0x400n);
  equal(m.nmiPending(0), true);
  equal(m.lapicRead(TMR + 0x20, 1), 0, 'edge');
  m.vmm.lapicMsi(0xfeeff000n, 0x1_0000_0041n);
  equal(m.take(0), 0x41);
});

test('every width at every offset of the page survives any value', () => {
  const m = machine();
  for (let offset = 0; offset < 0x1000; offset++) {
    for (const size of [1, 2, 4, 8]) {
      if (offset + size > 0x1000 || (offset & ~15) === ICR_LOW) continue;
      m.vmm.mmioWrite(m.cpu(), BigInt(0xfee00000 + offset), size, 0xffff_ffff_ffff_ffffn);
      const value = m.vmm.mmioRead(m.cpu(), BigInt(0xfee00000 + offset), size);
      ok(BigInt.asUintN(64, value) < 1n << BigInt(size * 8));
    }
  }
  m.lapicWrite(IRR, 0xffffffff);
  equal(m.lapicRead(IRR), 0, 'read-only');
});
