/**
 * One virtual machine: memory, vCPUs, life cycle, interrupt lines, and the loop that answers exits.
 * Implements: bhyve-map 2.1, 3.1-3.3, 3.5 (libvmmapi's calls on a vmctx). Runs on: the VM's owner, which sleeps in Atomics.waitAsync; nothing polls.
 */
import {
  PCI_CONFIG,
  PCI_CONFIG_ADDRESS,
  PCI_CONFIG_FUNCTION_BYTES,
  PCI_FUNCTIONS,
  PORT_MODES,
  PORT_SHADOWS,
  TLB_BYTES,
  VCPUS,
  VCPU_STRIDE,
  VCPU_TLB,
  VM_BASE,
  WASM_PAGE_BYTES,
} from '../base/memory-map.ts';
import { VmError } from '../base/errors.ts';
import {
  MEMORY0_MAX_PAGES,
  cpuidRows,
  REQUEST_KICK,
  REQUEST_TLB,
  writeCpuidTable,
  writeMsrTable,
  type CpuidConfig,
  type CpuTier,
} from '../cpu/index.ts';
import { VCPU_TLB_GLOBAL_LOG_COUNT, VCPU_TLB_LARGE, VCPU_TLB_LOG_COUNT, VCPU_WALK_GENERATION } from '../generated/vcpu-layout.ts';
import { VM_OPTIONS } from '../generated/vmm-layout.ts';
import { GuestMemory } from './guest-memory.ts';
import { Holder } from './hold.ts';
import { CONTROL, EXIT_STATE, RUN_STATE, SharedWords, SUSPEND, suspendName, vcpuBase, type CpuSet, type SuspendHow } from './host-state.ts';
import type { VmmHost } from './host.ts';
import { createInCoreDevices, type InCoreDevices } from './in-core.ts';
import {
  HIGHMEM_GPA,
  MAX_VCPUS,
  PORT_MODE_EXIT,
  PORT_MODE_IN_CORE,
  PORT_MODE_NOTIFIED,
  PORT_MODE_OPEN_BUS,
  PORT_MODE_PCI_ADDRESS,
  PORT_MODE_PCI_DATA,
  PORT_MODE_POSTED,
  PORT_MODE_SHADOW,
  PORT_MODE_UNLESS_SAME,
  VM_OPTION_LENIENT_MSR,
  VM_OPTION_X2APIC,
} from './layout.ts';
import { MemoryMap, PROT_ALL, SEGMENT, type Mapping, type Segment } from './memory-map.ts';
import { Vcpu, type VcpuHome } from './vcpu.ts';
import { EXIT, exitName, type ExitHandler, type ExitName } from './vm-exit.ts';

export interface VmOptions {
  /** vCPUs that the VM can ever have: 1 unless said. */
  readonly maxCpus?: number;
  /** Room for named memory segments; resident only where touched. */
  readonly devmemBytes?: number;
  readonly tscHz?: number;
  readonly x2apic?: boolean;
  /** Unknown MSRs read 0 and ignore writes, instead of #GP. */
  readonly lenientMsr?: boolean;
  /** How guest code is run. */
  readonly cpuTier?: CpuTier;
  /** Bound on the memory of compiled guest code, in bytes; each vCPU has it. */
  readonly codeCacheBytes?: number;
  /** Who the processor says it is. */
  readonly cpu?: Pick<CpuidConfig, 'vendor' | 'brand' | 'family' | 'model' | 'stepping'>;
}

export interface Topology {
  readonly sockets: number;
  readonly cores: number;
  readonly threads: number;
  readonly maxCpus: number;
}

/** One line of get-memmap. */
export interface MapEntry extends Mapping {
  /** `sysmem` for system memory. */
  readonly name: string;
}

/** How the vCPU's thread answers a port: see vmm/layout.ts PORT_MODE_*. */
export type PortReadMode = 'exit' | 'in-core' | 'shadow' | 'open-bus' | 'pci-address' | 'pci-data';
export type PortWriteMode = 'exit' | 'in-core' | 'posted' | 'notified' | 'dropped' | 'pci-address' | 'unless-same';

const DEVMEM_BYTES = 384 * 2 ** 20;
/** Eight times the LAPIC timer: Linux multiplies CPUID 15h's crystal (in kHz) and numerator in 32 bits, so the ratio has to be small. */
const TSC_HZ = 8 * 134_217_728;
const PORT_COUNT = 0x10000;
const IPI_INIT = 5,
  IPI_STARTUP = 6;
/** Exits answered before the event loop gets a turn: else a guest that does nothing but I/O would starve timers and sockets. */
const EXITS_PER_TURN = 64;
const CLASSES = 3;
const OPTIONS_INDEX = (VM_BASE + VM_OPTIONS) >>> 2;

const READ_MODES: Readonly<Record<PortReadMode, number>> = {
  exit: PORT_MODE_EXIT,
  'in-core': PORT_MODE_IN_CORE,
  shadow: PORT_MODE_SHADOW,
  'open-bus': PORT_MODE_OPEN_BUS,
  'pci-address': PORT_MODE_PCI_ADDRESS,
  'pci-data': PORT_MODE_PCI_DATA,
};
const WRITE_MODES: Readonly<Record<PortWriteMode, number>> = {
  exit: PORT_MODE_EXIT,
  'in-core': PORT_MODE_IN_CORE,
  posted: PORT_MODE_POSTED,
  notified: PORT_MODE_NOTIFIED,
  dropped: PORT_MODE_OPEN_BUS,
  'pci-address': PORT_MODE_PCI_ADDRESS,
  'unless-same': PORT_MODE_UNLESS_SAME,
};

export class Vm {
  readonly name: string;
  readonly maxCpus: number;
  readonly memory0: WebAssembly.Memory;
  readonly #host: VmmHost;
  readonly #options: VmOptions;
  readonly #words: SharedWords;
  readonly #holder: Holder;
  readonly #home: VcpuHome;
  readonly #vcpus: (Vcpu | undefined)[] = [];
  readonly #handlers = new Map<number, ExitHandler>();
  /** vCPUs whose exit waits for a promise. */
  readonly #answering = new Map<number, Promise<void>>();
  #memory: GuestMemory | undefined;
  #map = new MemoryMap({ start: 0, end: 0 });
  #devices: InCoreDevices | undefined;
  #topology: Topology;
  #suspended = Promise.withResolvers<SuspendHow>();
  #isDestroyed = false;
  #isListening = false;

  /** @throws VmError EINVAL, ENOMEM. Names are checked by the registry. */
  constructor(name: string, host: VmmHost, options: VmOptions = {}) {
    const maxCpus = options.maxCpus ?? 1;
    if (!Number.isInteger(maxCpus) || maxCpus < 1 || maxCpus > MAX_VCPUS)
      throw new VmError('EINVAL', `${maxCpus} vCPUs: expected 1 to ${MAX_VCPUS}`);
    this.name = name;
    this.maxCpus = maxCpus;
    this.#host = host;
    this.#options = options;
    // Refuses a vendor or brand that does not fit.
    cpuidRows(options.cpu);
    const pages = (VCPUS + maxCpus * VCPU_STRIDE) / WASM_PAGE_BYTES;
    try {
      this.memory0 = new WebAssembly.Memory({ initial: pages, maximum: MEMORY0_MAX_PAGES, shared: true });
    } catch (cause) {
      throw new VmError('ENOMEM', `${maxCpus} vCPUs: this machine cannot give the memory`, { cause });
    }
    this.#words = new SharedWords(this.memory0);
    this.#holder = new Holder(this.#words);
    this.#topology = { sockets: maxCpus, cores: 1, threads: 1, maxCpus };
    this.#home = {
      words: this.#words,
      holder: this.#holder,
      devices: () => this.devices,
      memory: () => this.memory,
      map: () => this.#map,
      spawn: (vcpu, failed) =>
        host.spawnVcpu(
          {
            vcpu,
            memory0: this.memory0,
            memory1: this.memory.memory1,
            modules: host.modulesFor(this.memory.ramIndex),
            ...(options.cpuTier && { cpuTier: options.cpuTier }),
            ...(options.codeCacheBytes !== undefined && { codeCacheBytes: options.codeCacheBytes }),
          },
          failed,
        ),
      startClock: () => {
        this.#startClock();
      },
      failed: (vcpu, error) => {
        this.#threadFailed(vcpu, error);
      },
    };
    for (let id = 0; id < maxCpus; id++) this.vcpu(id);
    this.setExitHandler('ipi', (exit) => {
      this.#ipi(exit.code >>> 8, exit.code & 0xff, exit.value64);
    });
    // Nobody has to wait for it.
    this.#suspended.promise.catch(() => {});
  }

  // --- life cycle ---

  /** End every thread and wake every waiter; the VM is of no use afterwards. */
  async destroy(): Promise<void> {
    if (this.#isDestroyed) throw new VmError('EINVAL', `vm ${this.name}: destroyed already`);
    this.#isDestroyed = true;
    this.#words.suspend('destroy');
    for (const vcpu of this.#vcpus) if (vcpu !== undefined) this.#words.store(vcpu.id, 'control', CONTROL.END);
    await Promise.all(
      this.#vcpus.map(async (vcpu) => {
        await vcpu?.thread?.terminate();
      }),
    );
    this.#suspended.resolve(suspendName(this.#words.suspendHow) ?? 'destroy');
    this.#words.ring();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isDestroyed) await this.destroy();
  }

  /**
   * Back to power-on, as for a guest's reboot: vCPUs and devices are reset, devmem mappings go; system memory, segments, RTC stay.
   * @throws VmError EBUSY unless all active vCPUs are suspended.
   */
  reinit(): void {
    if (!this.#allSuspended()) throw new VmError('EBUSY', `vm ${this.name}: expected all active vCPUs suspended`);
    this.#allHeld(() => {
      for (const vcpu of this.#vcpus) vcpu?.powerOn();
      this.#words.clear('active');
      this.#words.clear('debug');
      this.#words.clear('halted');
      this.#words.clear('suspended');
      this.#devices?.reset();
      this.#map.unmapDevices();
      this.#mapChanged();
      for (const vcpu of this.#threads()) this.#words.mailWrittenPage(vcpu, -1);
      this.#suspended = Promise.withResolvers<SuspendHow>();
      this.#suspended.promise.catch(() => {});
      this.#words.clearSuspend();
    });
  }

  /** @throws VmError EALREADY: the first caller wins. */
  suspend(how: SuspendHow): void {
    if (!Object.hasOwn(SUSPEND, how)) throw new VmError('EINVAL', `suspend ${String(how)}: expected ${Object.keys(SUSPEND).join(', ')}`);
    if (!this.#words.suspend(how))
      throw new VmError('EALREADY', `vm ${this.name}: suspended already (${suspendName(this.#words.suspendHow) ?? ''})`);
    this.#checkSuspended();
  }

  /** Why the VM is being suspended, once someone has asked. */
  get suspendHow(): SuspendHow | undefined {
    return suspendName(this.#words.suspendHow);
  }

  /** Settled when every active vCPU has stopped after suspend(). @throws VmError EIO when a vCPU's thread died. */
  waitSuspended(): Promise<SuspendHow> {
    return this.#suspended.promise;
  }

  // --- memory ---

  /** Make system memory and map it: below 3 GiB, the rest from 4 GiB. Once. @throws VmError EINVAL, ENOMEM, EEXIST. */
  setupMemory(sizeBytes: number): void {
    if (this.#memory !== undefined) throw new VmError('EEXIST', `vm ${this.name}: has memory already`);
    const memory = new GuestMemory(this.memory0, this.#words, sizeBytes, this.#options.devmemBytes ?? DEVMEM_BYTES);
    const map = new MemoryMap(memory.arena);
    const { lowmemBytes, highmemBytes } = memory;
    map.allocate(SEGMENT.sysmem, highmemBytes > 0 ? HIGHMEM_GPA + highmemBytes : lowmemBytes, '');
    map.map({ gpa: 0, sizeBytes: lowmemBytes, segment: SEGMENT.sysmem, offset: 0, protection: PROT_ALL, flags: 0 });
    if (highmemBytes > 0)
      map.map({ gpa: HIGHMEM_GPA, sizeBytes: highmemBytes, segment: SEGMENT.sysmem, offset: HIGHMEM_GPA, protection: PROT_ALL, flags: 0 });
    this.#memory = memory;
    this.#map = map;
    map.publish(this.#words.view);
    const devices =
      this.#host.createDevices?.(this.memory0) ??
      createInCoreDevices(this.#host.modulesFor(memory.ramIndex).vmm, this.memory0, () => this.#host.nowNs());
    const { x2apic = false, lenientMsr = false, tscHz = TSC_HZ } = this.#options;
    devices.init({ vcpus: this.maxCpus, tscHz, options: (x2apic ? VM_OPTION_X2APIC : 0) | (lenientMsr ? VM_OPTION_LENIENT_MSR : 0) });
    this.#devices = devices;
  }

  /** @throws VmError ENXIO before setupMemory. */
  get memory(): GuestMemory {
    if (this.#memory === undefined) throw new VmError('ENXIO', `vm ${this.name}: has no memory yet`);
    return this.#memory;
  }

  get lowmemBytes(): number {
    return this.#memory?.lowmemBytes ?? 0;
  }
  get highmemBytes(): number {
    return this.#memory?.highmemBytes ?? 0;
  }
  readonly highmemBase = HIGHMEM_GPA;

  /**
   * A segment of device memory. An identical one that is there already is a success.
   * @throws VmError EINVAL (also for a different one of that number), ENAMETOOLONG, ENOMEM.
   */
  allocMemseg(id: number, sizeBytes: number, name: string): Segment {
    const present = this.#map.segment(id);
    if (present === undefined) {
      void this.memory;
      return this.#map.allocate(id, sizeBytes, name);
    }
    if (present.sizeBytes !== sizeBytes || present.name !== name) {
      throw new VmError(
        'EINVAL',
        `memory segment ${id}: '${name}' of ${sizeBytes} bytes: expected '${present.name}' of ${present.sizeBytes} bytes, which is there`,
      );
    }
    return present;
  }

  /** Length 0: unused. @throws VmError EINVAL for a number out of range. */
  getMemseg(id: number): { readonly sizeBytes: number; readonly name: string } {
    return this.#map.segment(id) ?? { sizeBytes: 0, name: '' };
  }

  segments(): readonly Segment[] {
    return this.#map.segments();
  }

  /** A segment as the host sees it, wherever and whether it is mapped. */
  createDevmem(id: number, name: string, sizeBytes: number): Uint8Array {
    const segment = this.allocMemseg(id, sizeBytes, name);
    return this.memory.bytes(segment.hva, segment.sizeBytes);
  }

  /** An identical mapping is a success. @throws VmError EINVAL, ENOSPC, EFAULT (overlap), EEXIST (another mapping begins there). */
  mmapMemseg(mapping: Mapping): void {
    const present = this.#map.next(mapping.gpa);
    if (present !== undefined && present.gpa === mapping.gpa) {
      const isSame = (['sizeBytes', 'segment', 'offset', 'protection', 'flags'] as const).every((key) => present[key] === mapping[key]);
      if (isSame) return;
      throw new VmError('EEXIST', `mapping 0x${mapping.gpa.toString(16)}: another one of segment ${present.segment} begins there`);
    }
    this.#allHeld(() => {
      this.#map.map(mapping);
      this.#mapChanged();
    });
  }

  /** @throws VmError EINVAL unless it is exactly one mapping. */
  munmapMemseg(gpa: number, sizeBytes: number): void {
    this.#allHeld(() => {
      this.#map.unmap(gpa, sizeBytes);
      this.#mapChanged();
    });
  }

  /** @throws VmError EINVAL unless it is exactly one mapping. */
  protectMemseg(gpa: number, sizeBytes: number, protection: number): void {
    this.#allHeld(() => {
      this.#map.protect(gpa, sizeBytes, protection);
      this.#mapChanged();
    });
  }

  /** The lowest mapping that starts at or above `gpa`. @throws VmError ENOENT behind the last. */
  mmapGetnext(gpa: number): Mapping {
    const mapping = this.#map.next(gpa);
    if (mapping === undefined) throw new VmError('ENOENT', `no mapping at or above 0x${gpa.toString(16)}`);
    return mapping;
  }

  /** All mappings in address order: get-memmap. */
  mappings(): MapEntry[] {
    return this.#map.mappings().map((mapping) => {
      const name = this.#map.segment(mapping.segment)?.name ?? '';
      return { ...mapping, name: name === '' ? 'sysmem' : name };
    });
  }

  /**
   * vm_map_gpa: guest RAM for a device.
   * @returns bytes shared with running vCPUs, or undefined unless all lie in lowmem or all in highmem. Whoever writes calls dirtyCode after it.
   */
  guestView(gpa: number, sizeBytes: number): Uint8Array | undefined {
    return this.#memory?.view(gpa, sizeBytes);
  }

  /** Write guest RAM, as DMA or a loader does. @throws VmError EFAULT when not all is RAM. */
  writeGuest(gpa: number, bytes: Uint8Array): void {
    const view = this.guestView(gpa, bytes.length);
    if (view === undefined) throw new VmError('EFAULT', `guest memory 0x${gpa.toString(16)} + ${bytes.length}: expected all RAM`);
    view.set(bytes);
    this.dirtyCode(gpa, bytes.length);
  }

  /** [gpa, gpa + sizeBytes) of RAM was written by a device: code decoded from it is dropped. */
  dirtyCode(gpa: number, sizeBytes: number): void {
    const memory = this.#memory;
    if (memory === undefined || !memory.isRam(gpa, sizeBytes)) return;
    memory.wroteCode(this.#hvaOfRam(gpa), sizeBytes, this.#threads());
  }

  /** Drop every cached translation, and the code decoded from the page that holds `gpa`. */
  flushTranslation(gpa: number): void {
    const mapping = this.#map.find(gpa, 1);
    this.#allHeld(() => {
      this.#flushTlbs();
      if (mapping === undefined) return;
      const page = Math.floor((this.#map.hvaOf(mapping) + gpa - mapping.gpa) / 4096);
      for (const vcpu of this.#threads()) this.#words.mailWrittenPage(vcpu, page);
    });
  }

  // --- vCPUs ---

  /** @throws VmError EINVAL beyond maxCpus. */
  vcpu(id: number): Vcpu {
    if (!Number.isInteger(id) || id < 0 || id >= this.maxCpus) throw new VmError('EINVAL', `vcpu ${id}: expected 0 to ${this.maxCpus - 1}`);
    return (this.#vcpus[id] ??= new Vcpu(this.#home, id));
  }

  activeCpus(): number[] {
    return this.#members('active');
  }
  suspendedCpus(): number[] {
    return this.#members('suspended');
  }
  debugCpus(): number[] {
    return this.#members('debug');
  }

  suspendAllCpus(): void {
    for (const id of this.activeCpus()) this.vcpu(id).suspendCpu();
  }

  resumeAllCpus(): void {
    for (const id of this.debugCpus()) this.vcpu(id).resumeCpu();
  }

  get topology(): Topology {
    return this.#topology;
  }

  /** @throws VmError EINVAL when it has more CPUs than the VM can have. */
  setTopology(sockets: number, cores: number, threads: number): void {
    const cpus = sockets * cores * threads;
    if (![sockets, cores, threads].every((count) => Number.isInteger(count) && count >= 1 && count <= 0xffff) || cpus > this.maxCpus) {
      throw new VmError(
        'EINVAL',
        `topology ${sockets} x ${cores} x ${threads}: expected whole numbers whose product is at most ${this.maxCpus}`,
      );
    }
    this.#topology = { sockets, cores, threads, maxCpus: this.maxCpus };
  }

  // --- exits ---

  /** Whoever answers exits of this kind; the last one set wins. Without one: reads give ones, writes go nowhere, MSRs raise #GP. */
  setExitHandler(name: ExitName, handler: ExitHandler): void {
    this.#handlers.set(EXIT[name], handler);
  }

  /** What empties the ring of posted writes, without waiting: a vCPU for which it is full could not be stopped else. */
  setRelief(relieve: () => void): void {
    this.#holder.relieve = relieve;
  }

  // --- interrupts, RTC, ports ---

  /** @throws VmError ENXIO before setupMemory. */
  get devices(): InCoreDevices {
    if (this.#devices === undefined) throw new VmError('ENXIO', `vm ${this.name}: has no memory yet`);
    return this.#devices;
  }

  lapicMsi(address: number, data: number): void {
    this.devices.lapicMsi(address, data);
  }
  /** @param vcpu -1: all. */
  lapicLocalIrq(vcpu: number, pin: number): void {
    this.devices.lapicLocalIrq(vcpu, pin);
  }
  ioapicAssertIrq(pin: number): void {
    this.devices.ioapicAssert(pin);
  }
  ioapicDeassertIrq(pin: number): void {
    this.devices.ioapicDeassert(pin);
  }
  ioapicPulseIrq(pin: number): void {
    this.devices.ioapicPulse(pin);
  }
  get ioapicPincount(): number {
    return this.devices.ioapicPincount;
  }
  isaAssertIrq(atpicIrq: number, ioapicIrq: number): void {
    this.devices.isaAssert(atpicIrq, ioapicIrq);
  }
  isaDeassertIrq(atpicIrq: number, ioapicIrq: number): void {
    this.devices.isaDeassert(atpicIrq, ioapicIrq);
  }
  isaPulseIrq(atpicIrq: number, ioapicIrq: number): void {
    this.devices.isaPulse(atpicIrq, ioapicIrq);
  }
  isaSetIrqTrigger(atpicIrq: number, trigger: 'edge' | 'level'): void {
    this.devices.isaSetTrigger(atpicIrq, trigger);
  }
  rtcRead(offset: number): number {
    return this.devices.rtcRead(offset);
  }
  rtcWrite(offset: number, value: number): void {
    this.devices.rtcWrite(offset, value);
  }
  /** Seconds since 1970. */
  rtcGettime(): number {
    return this.devices.rtcTime();
  }
  rtcSettime(seconds: number): void {
    this.devices.setRtcTime(seconds);
  }
  get hpetCapabilities(): number {
    return this.devices.hpetCapabilities;
  }

  /** May guests switch their LAPICs to x2APIC mode? Before the first instruction. */
  get x2apicState(): boolean {
    return (Atomics.load(this.#words.i32, OPTIONS_INDEX) & VM_OPTION_X2APIC) !== 0;
  }
  set x2apicState(enabled: boolean) {
    if (enabled) Atomics.or(this.#words.i32, OPTIONS_INDEX, VM_OPTION_X2APIC);
    else Atomics.and(this.#words.i32, OPTIONS_INDEX, ~VM_OPTION_X2APIC);
  }

  /** How vCPU threads answer so many ports from `port` on without asking. @throws VmError EINVAL. */
  setPortModes(port: number, ports: number, read: PortReadMode, write: PortWriteMode): void {
    checkPort(port);
    checkPort(port + ports - 1);
    void this.devices; // whose set-up clears the table
    new Uint8Array(this.memory0.buffer, PORT_MODES + port, ports).fill(READ_MODES[read] | (WRITE_MODES[write] << 4));
  }

  /** What a read of a `shadow` port gives. */
  setPortShadow(port: number, value: number): void {
    checkPort(port);
    this.#words.view.setUint8(PORT_SHADOWS + port, value);
  }

  /** A PCI function answers reads of `pci-data` ports, as setPciConfig says, while the register at CF8h selects it. @throws VmError EINVAL. */
  setPciFunction(bus: number, slot: number, func: number): void {
    const number = pciNumber(bus, slot, func);
    void this.devices; // whose set-up clears the set
    const at = PCI_FUNCTIONS + (number >> 3),
      { view } = this.#words;
    view.setUint8(at, view.getUint8(at) | (1 << (number & 7)));
  }

  /** What 4 bytes of a function's configuration space read as, until they are set again. @throws VmError EINVAL. */
  setPciConfig(bus: number, slot: number, func: number, offset: number, value: number): void {
    if (!Number.isInteger(offset / 4) || offset < 0 || offset >= PCI_CONFIG_FUNCTION_BYTES)
      throw new VmError('EINVAL', `PCI configuration register ${offset}: expected 0 to 252, a multiple of 4`);
    const at = PCI_CONFIG + pciNumber(bus, slot, func) * PCI_CONFIG_FUNCTION_BYTES + offset;
    Atomics.store(this.#words.i32, at >>> 2, value | 0);
  }

  /** The register at CF8h: `pci-address` ports are kept there, where the vCPUs' threads find it. */
  get pciAddress(): number {
    return Atomics.load(this.#words.i32, PCI_CONFIG_ADDRESS >>> 2) >>> 0;
  }
  set pciAddress(value: number) {
    Atomics.store(this.#words.i32, PCI_CONFIG_ADDRESS >>> 2, value | 0);
  }

  // --- the inside ---

  /** Before the first instruction: what CPUID says is settled now. */
  #startClock(): void {
    this.devices.startClock();
    if (this.#isListening) return;
    this.#isListening = true;
    const { sockets, cores, threads } = this.#topology;
    const { tscHz = TSC_HZ, cpu } = this.#options;
    writeCpuidTable(this.#words.view, cpuidRows({ ...cpu, sockets, cores, threads, tscHz, x2apic: this.x2apicState }));
    writeMsrTable(this.#words.view);
    void this.#answerExits().catch((error: unknown) => {
      this.#suspended.reject(error);
    });
  }

  /** Sleep until a vCPU rings, answer, sleep. */
  async #answerExits(): Promise<void> {
    const { i32, doorbellIndex } = this.#words;
    let answered = 0;
    while (!this.#isDestroyed) {
      const seen = Atomics.load(i32, doorbellIndex);
      for (const vcpu of this.#vcpus)
        if (vcpu !== undefined && this.#words.load(vcpu.id, 'exitState') === EXIT_STATE.PENDING && this.#answer(vcpu)) answered++;
      this.#checkSuspended();
      if (answered >= EXITS_PER_TURN) {
        answered = 0;
        await this.#host.yield();
      }
      const rung = Atomics.waitAsync(i32, doorbellIndex, seen);
      if (rung.async) await rung.value;
    }
  }

  /** @returns false when the exit is being answered already. */
  #answer(vcpu: Vcpu): boolean {
    if (this.#answering.has(vcpu.id)) return false;
    const { exit } = vcpu;
    const handler = this.#handlers.get(exit.reason);
    if (handler === undefined) {
      this.#host.log.warn(`vcpu ${vcpu.id}: exit ${exitName(exit.reason) ?? exit.reason} has no handler: answered as by an empty bus`);
      if (exit.reason === EXIT.rdmsr || exit.reason === EXIT.wrmsr) exit.answerMsr(false);
      else {
        exit.value = 0xffff_ffff;
        exit.valueHigh = 0xffff_ffff;
      }
      this.#answered(vcpu.id);
      return true;
    }
    const pending = handler(exit);
    if (pending === undefined) {
      this.#answered(vcpu.id);
      return true;
    }
    this.#answering.set(vcpu.id, pending);
    pending.then(
      // Unless a suspend has let the vCPU go meanwhile.
      () => {
        if (this.#answering.get(vcpu.id) === pending) this.#answered(vcpu.id);
      },
      (error: unknown) => {
        this.#suspended.reject(error);
      },
    );
    return true;
  }

  #answered(vcpu: number): void {
    this.#answering.delete(vcpu);
    const index = this.#words.vcpuIndex(vcpu, 'exitState');
    Atomics.store(this.#words.i32, index, EXIT_STATE.NONE);
    this.#words.waits.notify(this.#words.i32, index);
  }

  #ipi(mode: number, vector: number, targets: bigint): void {
    for (let id = 0; id < this.maxCpus; id++) {
      if (((targets >> BigInt(id)) & 1n) === 0n) continue;
      if (mode === IPI_INIT) this.vcpu(id).initIpi();
      else if (mode === IPI_STARTUP) this.vcpu(id).startupIpi(vector);
    }
  }

  #checkSuspended(): void {
    const how = suspendName(this.#words.suspendHow);
    if (how === undefined) return;
    // Nobody will see what they wait for: a console that takes no more must not keep the VM alive.
    for (const vcpu of [...this.#answering.keys()]) this.#answered(vcpu);
    if (this.#allSuspended()) this.#suspended.resolve(how);
  }

  #allSuspended(): boolean {
    const active = this.#words.set('active');
    if (this.#words.suspendHow !== 0) {
      // Who has no thread cannot enter the set by itself.
      for (const id of this.activeCpus())
        if (this.vcpu(id).thread === undefined || this.#words.load(id, 'state') === RUN_STATE.ENDED) this.#words.include('suspended', id);
    }
    return (this.#words.set('suspended') & active) === active;
  }

  #threadFailed(vcpu: number, cause: Error): void {
    this.#host.log.error(`vcpu ${vcpu}: its thread died: ${cause.message}`);
    this.#suspended.reject(new VmError('EIO', `vcpu ${vcpu}: its thread died: ${cause.message}`, { cause }));
    this.#words.include('suspended', vcpu);
    this.#words.suspend('destroy');
  }

  #members(name: CpuSet): number[] {
    const set = this.#words.set(name);
    return Array.from({ length: this.maxCpus }, (_, id) => id).filter((id) => ((set >> BigInt(id)) & 1n) !== 0n);
  }

  /** vCPUs that have a thread, and with it caches. */
  #threads(): number[] {
    return this.#vcpus.flatMap((vcpu) => (vcpu?.thread === undefined ? [] : [vcpu.id]));
  }

  #allHeld<T>(action: () => T): T {
    return this.#holder.withHeld(this.#threads(), action);
  }

  /** Every vCPU is held. */
  #mapChanged(): void {
    this.#map.publish(this.#words.view);
    this.#flushTlbs();
  }

  /** Every vCPU is held, so their TLBs may be written; a flush at their next look would come some instructions late. */
  #flushTlbs(): void {
    const bytes = new Uint8Array(this.memory0.buffer);
    for (const id of this.#threads()) {
      const base = vcpuBase(id);
      bytes.fill(0xff, base + VCPU_TLB, base + VCPU_TLB + CLASSES * TLB_BYTES);
      for (let at = 0; at < CLASSES * 4; at += 4) {
        this.#words.view.setUint32(base + VCPU_TLB_LOG_COUNT + at, 0, true);
        this.#words.view.setUint32(base + VCPU_TLB_GLOBAL_LOG_COUNT + at, 0, true);
      }
      bytes.fill(0, base + VCPU_TLB_LARGE, base + VCPU_TLB_LARGE + 64);
      // The cached paging levels are those of another generation then; 0 means that the TLBs have never been used.
      const generation = this.#words.view.getUint32(base + VCPU_WALK_GENERATION, true);
      if (generation !== 0) this.#words.view.setUint32(base + VCPU_WALK_GENERATION, (generation + 1) >>> 0 || 1, true);
      this.#words.request(id, REQUEST_TLB | REQUEST_KICK);
    }
  }

  #hvaOfRam(gpa: number): number {
    const mapping = this.#map.find(gpa, 1);
    return mapping === undefined ? 0 : this.#map.hvaOf(mapping) + gpa - mapping.gpa;
  }
}

/** @throws VmError EINVAL. */
function pciNumber(bus: number, slot: number, func: number): number {
  const number = (bus << 8) | (slot << 3) | func;
  if (number < 0 || number > 0xffff || slot > 31 || func > 7)
    throw new VmError('EINVAL', `PCI function ${bus}:${slot}:${func}: expected up to 255:31:7`);
  return number;
}

function checkPort(port: number): void {
  if (!Number.isInteger(port) || port < 0 || port >= PORT_COUNT) throw new VmError('EINVAL', `port ${port}: expected 0 to 65535`);
}
