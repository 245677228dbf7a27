/**
 * The machine of one VM on the main event loop: devices, tables and loaders put together in bhyve's start-up order, and the doors
 * through which exits reach them.
 * Implements: bhyverun's start-up order (bhyve-map 1.2), bhyve-map 2. Runs on: main event loop.
 * Not modelled: TPM, VM generation id, option ROMs.
 */
import { VmError } from '../base/errors.ts';
import type { Fields, Saved, Schema } from '../base/schema.ts';
import { dsdt } from './acpi/dsdt.ts';
import { mpTable } from './acpi/mptable.ts';
import { smbiosTables } from './acpi/smbios.ts';
import { tableLoaderFiles } from './acpi/table-loader.ts';
import { acpiTables } from './acpi/tables.ts';
import { noBackend } from './chars/backend.ts';
import { Atkbdc } from './devices/atkbdc.ts';
import { attachCom, isaLine } from './devices/com.ts';
import type { Device } from './devices/device.ts';
import { Fwctl } from './devices/fwctl.ts';
import { PcTestDev } from './devices/pctestdev.ts';
import { PowerManagement } from './devices/pm.ts';
import { QemuFwcfg } from './devices/qemu-fwcfg.ts';
import { ResetPorts } from './devices/reset-ports.ts';
import { e820Bytes, e820OfRam, type E820Entry } from './e820.ts';
import { PortTable, type PortSpan } from './inout.ts';
import { COM_PORTS, KBD_IRQ, KIB, MIB, MOUSE_IRQ, MPTABLE_BASE, PORT, SCI_IRQ, SMBIOS_BASE } from './layout.ts';
import { loadBootrom, loadKernel, type BootProtocol, type BootSource, type ImageFile } from './loaders/index.ts';
import { MmioMap } from './mem.ts';
import { PciBus, window64Of } from './pci/bus.ts';
import type { PciFunction, PciIdentity } from './pci/function.ts';
import { HOSTBRIDGE_IDENTITY, createHostbridge } from './pci/hostbridge.ts';
import { PIRQ_COUNT, PirqRouter } from './pci/irq.ts';
import { LPC_IDENTITY, createLpc, pirqRegister } from './pci/lpc.ts';
import type { ConfigReader, InitialState, MachineEnv, MachineSettings, MachineVm, SuspendReason } from './ports-of-machine.ts';

/** Below this nothing boots, and the tables have no place. */
const MIN_LOWMEM_BYTES = 2 * MIB;

/** Ports that vmm.wasm answers: this table never claims or opens them. */
const IN_CORE_PORTS: readonly PortSpan[] = [
  [0x20, 0x21],
  [0x40, 0x43],
  [0x61, 0x61],
  [0x70, 0x71],
  [0xa0, 0xa1],
  [PORT.PM_TIMER, PORT.PM_TIMER + 3],
  [0x4d0, 0x4d1],
];

interface NamedDevice {
  readonly name: string;
  readonly device: Device & { readonly schema: Schema<Fields>; readonly state: object };
}

/** What boots: a kernel that is loaded by its own protocol, or firmware. */
export type Boot = { readonly kernel: BootSource } | { readonly bootrom: ImageFile };

/**
 * Build the machine. The VM exists, its memory is there, no vCPU runs.
 * @param hasBootrom firmware will boot: it enables the BARs and knows fixed interrupt routes.
 * @throws VmError for whatever in the configuration cannot be built.
 */
export function createMachine(
  settings: MachineSettings,
  config: ConfigReader,
  vm: MachineVm,
  env: MachineEnv,
  hasBootrom: boolean,
): Machine {
  return new Machine(settings, config, vm, env, hasBootrom);
}

export class Machine {
  readonly e820: readonly E820Entry[];
  readonly ports: PortTable;
  readonly memory: MmioMap;
  readonly pci: PciBus;
  readonly pm: PowerManagement;
  /** The upper half of the last 8-byte read through handleMmioRead. */
  mmioReadHigh = 0;
  readonly #settings: MachineSettings;
  readonly #config: ConfigReader;
  readonly #vm: MachineVm;
  readonly #env: MachineEnv;
  readonly #pirq: PirqRouter;
  readonly #hasBootrom: boolean;
  /** In the order of creation; save files name them. */
  readonly #devices: NamedDevice[] = [];
  #lpc: PciFunction | undefined;
  #fwcfg: QemuFwcfg | undefined;
  #rsdpGpa = 0;
  #loaded = false;

  constructor(settings: MachineSettings, config: ConfigReader, vm: MachineVm, env: MachineEnv, hasBootrom: boolean) {
    this.#settings = settings;
    this.#config = config;
    this.#vm = vm;
    this.#env = env;
    this.#hasBootrom = hasBootrom;
    if (vm.lowmemBytes < MIN_LOWMEM_BYTES) {
      throw new VmError('EINVAL', `-m: ${vm.lowmemBytes} bytes of memory: expected at least ${MIN_LOWMEM_BYTES / MIB}M`);
    }
    const { log } = env;
    this.ports = new PortTable(vm.ports, log.named('inout'), settings.strictIo);
    this.ports.claimNothing(IN_CORE_PORTS);
    this.memory = new MmioMap();

    const suspend = (reason: SuspendReason): void => {
      vm.suspend(reason);
    };
    this.#createChipset(suspend);
    this.pm = this.#add('pm', new PowerManagement(isaLine(vm.irq, SCI_IRQ), suspend, log.named('pm')));
    this.#attachPm();
    this.#pirq = this.#add('pirq', new PirqRouter(vm.irq));
    vm.irq.isaSetTrigger(SCI_IRQ, 'level');
    this.#initRtc();
    this.e820 = e820OfRam(vm.lowmemBytes, vm.highmemBytes);

    this.#createFirmwareConfig();
    this.pci = new PciBus({ ports: this.ports, memory: this.memory, lines: vm.irq, pirq: this.#pirq, log: log.named('pci') });
    this.#add('pci', this.pci);
    this.#createPci();
    this.#createLpcDevices();
    this.#writeTables();
  }

  /**
   * Put what boots into the guest's memory.
   * @returns the protocol, and the registers of the boot processor.
   * @throws VmError naming file, field, value and what is accepted.
   */
  load(boot: Boot): { readonly protocol: BootProtocol | 'bootrom'; readonly state: InitialState } {
    if (this.#loaded) throw new VmError('EALREADY', 'load: this machine has booted already: expected a fresh one');
    this.#loaded = true;
    if ('bootrom' in boot) return { protocol: 'bootrom', state: loadBootrom(boot.bootrom, this.#vm) };
    return loadKernel(boot.kernel, { memory: this.#vm.memory, e820: this.e820, rsdpGpa: this.#rsdpGpa });
  }

  // --- exits: hot ---

  /** @throws VmError EIO for a port nobody has, with `-e`. */
  handlePortRead(_vcpu: number, port: number, sizeBytes: number): number {
    return this.ports.read(port, sizeBytes);
  }

  /** @throws VmError EIO for a port nobody has, with `-e`. */
  handlePortWrite(_vcpu: number, port: number, sizeBytes: number, value: number): void {
    this.ports.write(port, sizeBytes, value);
  }

  /** 1, 2, 4 or 8 bytes; of 8 the upper half is then in `mmioReadHigh`: devices see two accesses, low first. */
  handleMmioRead(vcpu: number, gpa: number, sizeBytes: number): number {
    if (sizeBytes !== 8) return this.memory.read(vcpu, gpa, sizeBytes);
    const low = this.memory.read(vcpu, gpa, 4);
    this.mmioReadHigh = this.memory.read(vcpu, gpa + 4, 4);
    return low;
  }

  /** @param high upper half of an 8-byte value. */
  handleMmioWrite(vcpu: number, gpa: number, sizeBytes: number, value: number, high = 0): void {
    if (sizeBytes !== 8) {
      this.memory.write(vcpu, gpa, sizeBytes, value);
      return;
    }
    this.memory.write(vcpu, gpa, 4, value);
    this.memory.write(vcpu, gpa + 4, 4, high);
  }

  // --- life cycle ---

  /** @returns false when the guest has not enabled ACPI: nobody would notice, and SIGTERM keeps its default effect. */
  pressPowerButton(): boolean {
    return this.pm.pressPowerButton();
  }

  /** Every device back to its reset state. In-core devices are reset after this: interrupt lines are let go of here first. */
  reset(): void {
    for (const { device } of this.#devices) device.reset();
  }

  pause(): void {
    for (const { device } of this.#devices) device.pause?.();
  }

  resume(): void {
    for (const { device } of this.#devices) device.resume?.();
  }

  /** State of every device by name; JSON. */
  save(): Record<string, Saved> {
    return Object.fromEntries(this.#stateful().map(({ name, part }) => [name, part.schema.save(part.state as never)]));
  }

  /** @throws VmError EINVAL when a device is missing, superfluous, or its state does not fit. */
  restore(saved: Readonly<Record<string, Saved>>): void {
    const parts = this.#stateful();
    const unknown = Object.keys(saved).find((name) => !parts.some((part) => part.name === name));
    if (unknown !== undefined) throw new VmError('EINVAL', `saved machine: device '${unknown}' is not part of this configuration`);
    for (const { name, part } of parts) {
      const state = saved[name];
      if (state === undefined) throw new VmError('EINVAL', `saved machine: device '${name}' is missing`);
      part.schema.restore(part.state as never, state);
    }
    for (const { device } of this.#devices) device.restored?.();
    for (const pci of this.pci.functions()) pci.restored();
  }

  /** One line per device and field, for a person. */
  describe(): string[] {
    return this.#stateful().flatMap(({ name, part }) => part.schema.print(part.state as never).map((line) => `${name}: ${line}`));
  }

  #stateful(): { readonly name: string; readonly part: { readonly schema: Schema<Fields>; readonly state: object } }[] {
    return [
      ...this.#devices.map(({ name, device }) => ({ name, part: device })),
      ...this.pci.functions().map((pci) => ({ name: `${pci.name}@pci.${pci.bus}.${pci.slot}.${pci.func}`, part: pci })),
    ];
  }

  // --- construction, in bhyve's order ---

  #add<Added extends NamedDevice['device']>(name: string, device: Added): Added {
    this.#devices.push({ name, device });
    return device;
  }

  /** 8042, fast reset, reset control, POST. */
  #createChipset(suspend: (reason: SuspendReason) => void): void {
    const { irq } = this.#vm;
    const resetVm = (): void => {
      suspend('reset');
    };
    const keyboard = this.#add(
      'atkbdc',
      new Atkbdc(isaLine(irq, KBD_IRQ), isaLine(irq, MOUSE_IRQ), resetVm, this.#env.log.named('atkbdc')),
    );
    this.ports.register({ name: '8042 data', port: PORT.KBD_DATA, sizeBytes: 1, handler: keyboard.data });
    this.ports.register({ name: '8042 command', port: PORT.KBD_COMMAND, sizeBytes: 1, handler: keyboard.command });
    // Drivers wait in loops on the status, whose read changes nothing.
    this.ports.setMode(PORT.KBD_COMMAND, 'shadow', 'exit');
    keyboard.onStatus = (status) => {
      this.ports.setShadow(PORT.KBD_COMMAND, status);
    };
    keyboard.restored();
    const resets = this.#add('reset-ports', new ResetPorts(resetVm));
    this.ports.register({ name: 'fast A20 and reset', port: PORT.FAST_RESET, sizeBytes: 1, handler: resets.port92 });
    this.ports.register({ name: 'POST', port: PORT.POST, sizeBytes: 1, handler: resets.post });
    this.#resetPorts = resets;
  }

  #resetPorts!: ResetPorts; // set by #createChipset, which the constructor calls first

  #attachPm(): void {
    this.ports.register({ name: 'PM1 event', port: PORT.PM1_EVENT, sizeBytes: 4, handler: this.pm.pm1Event });
    this.ports.register({ name: 'PM1 control', port: PORT.PM1_CONTROL, sizeBytes: 2, handler: this.pm.pm1Control });
    this.ports.register({ name: 'GPE0', port: PORT.GPE0, sizeBytes: 2, handler: this.pm.gpe0 });
    this.ports.register({ name: 'SMI command', port: PORT.SMI_COMMAND, sizeBytes: 1, handler: this.pm.smiCommand });
  }

  /** Time of day, and the memory sizes that firmware reads from the CMOS (34h: above 16 MiB, 5Bh: above 4 GiB, in 64 KiB). */
  #initRtc(): void {
    const { clock } = this.#env;
    const vm = this.#vm;
    vm.rtcSetTime(Math.floor((clock.nowMs() + (this.#settings.rtcLocalTime ? clock.localOffsetMs() : 0)) / 1000));
    const above16M = Math.floor(Math.max(0, vm.lowmemBytes - 16 * MIB) / (64 * KIB));
    const above4G = Math.floor(vm.highmemBytes / (64 * KIB));
    for (const [offset, value] of [
      [0x34, above16M],
      [0x35, above16M / 2 ** 8],
      [0x5b, above4G],
      [0x5c, above4G / 2 ** 8],
      [0x5d, above4G / 2 ** 16],
    ] as const) {
      vm.rtcWrite(offset, Math.floor(value) % 256);
    }
  }

  /** Firmware chooses by lpc.fwcfg; without firmware a kernel finds fw_cfg. */
  #createFirmwareConfig(): void {
    const { cpus } = this.#settings.topology;
    const handler =
      this.#hasBootrom && this.#config.get('lpc.fwcfg') !== 'qemu'
        ? this.#add('fwctl', new Fwctl(cpus, this.#env.log.named('fwctl')))
        : this.#add('fwcfg', (this.#fwcfg = new QemuFwcfg(cpus)));
    // fwctl's data port is a dword at the selector's address.
    this.ports.register({
      name: 'firmware configuration',
      port: PORT.FWCFG_SELECTOR,
      sizeBytes: this.#fwcfg === undefined ? 4 : 2,
      handler,
    });
    this.#fwcfg?.addFile('etc/e820', e820Bytes(this.e820));
    this.#fwcfg?.addFile('opt/bhyve/hw.ncpu', new TextEncoder().encode(`${cpus}\0`));
  }

  #createPci(): void {
    const log = this.#env.log;
    for (const { bus, slot, func, device } of this.#settings.pci) {
      const node = `pci.${bus}.${slot}.${func}`;
      const place = { bus, slot, func };
      const instance = log.named(`pci${bus}:${slot}:${func}`);
      if (device === 'hostbridge') this.pci.add(createHostbridge(place, this.#identity(`${node}.pcireg`, HOSTBRIDGE_IDENTITY), instance));
      else if (device === 'lpc') {
        if (this.#lpc !== undefined) throw new VmError('EEXIST', `-s ${bus}:${slot}:${func},lpc: Only one LPC bridge is allowed.`);
        if (bus !== 0) throw new VmError('EINVAL', `-s ${bus}:${slot}:${func},lpc: LPC bridge can be present only on bus 0.`);
        this.#lpc = createLpc(place, this.#identity('lpc.pcireg', LPC_IDENTITY), this.#pirq, instance);
        this.pci.add(this.#lpc);
      } else
        throw new VmError(
          'ENOTSUP',
          `-s ${bus}:${slot}:${func},${device}: device "${device}" is not in this version: expected hostbridge or lpc`,
        );
    }
    this.pci.attach(this.#resetPorts);
    this.pci.powerUp({
      enableBars: this.#bool('pci.enable_bars', !this.#hasBootrom),
      lowmemBytes: this.#vm.lowmemBytes,
      highmemBytes: this.#vm.highmemBytes,
    });
  }

  /** What sits behind the LPC bridge is there only with it: the COM ports, with or without something at their other end. */
  #createLpcDevices(): void {
    const { log, serial, debugExit } = this.#env;
    const vm = this.#vm;
    if (this.#lpc === undefined) {
      if (serial.size > 0 || this.#settings.pcTestDev)
        log.warn(
          `there is no lpc bridge (-s 31,lpc): ${[...serial.keys(), ...(this.#settings.pcTestDev ? ['pc-testdev'] : [])].join(', ')} cannot be reached`,
        );
      return;
    }
    for (const com of COM_PORTS) this.#add(com.name, attachCom(com, this.ports, vm.irq, serial.get(com.name) ?? noBackend(), log));
    if (!this.#settings.pcTestDev) return;
    const testdev = this.#add(
      'pc-testdev',
      new PcTestDev({
        lines: vm.irq,
        exit: debugExit,
        flushTranslation: (gpa) => {
          vm.flushTranslation(gpa);
        },
        log: log.named('pc-testdev'),
      }),
    );
    testdev.attach(this.ports, this.memory);
  }

  #writeTables(): void {
    const { topology, uuid } = this.#settings;
    const vm = this.#vm;
    const functions = this.pci.functions();
    const buses = [...new Set([0, ...functions.map((pci) => pci.bus)])].sort((a, b) => a - b);
    if (this.#bool('x86.mptable', true)) this.#write(MPTABLE_BASE, mpTable(topology.cpus, this.pci.intx(), buses));
    this.#write(
      SMBIOS_BASE,
      smbiosTables({
        get: (name) => this.#config.get(name),
        uuid,
        sockets: topology.sockets,
        coresPerSocket: topology.cores,
        threadsPerCore: topology.threads,
        lowmemBytes: vm.lowmemBytes,
        highmemBytes: vm.highmemBytes,
      }),
    );
    if (!this.#bool('acpi_tables', true)) return;
    const tables = acpiTables({
      cpus: topology.cpus,
      hpetCapabilities: vm.hpetCapabilities,
      dsdt: dsdt({
        buses,
        intx: this.pci.intx(),
        lpc: this.#lpc,
        pirqRegisters: Array.from({ length: PIRQ_COUNT }, (_unused, pirq) => pirqRegister(pirq)),
        possibleIrqs: this.#pirq.possibleIrqs,
        window64: window64Of(vm.highmemBytes),
        hasFwcfg: this.#fwcfg !== undefined,
      }),
    });
    for (const file of tableLoaderFiles(tables)) this.#fwcfg?.addFile(file.name, file.bytes);
    if (!this.#bool('acpi_tables_in_memory', true)) return;
    this.#write(tables.gpa, tables.bytes);
    this.#rsdpGpa = tables.rsdpGpa;
  }

  #write(gpa: number, bytes: Uint8Array): void {
    const view = this.#vm.memory.view(gpa, bytes.length);
    if (view === undefined) throw new VmError('EFAULT', `tables at 0x${gpa.toString(16)}: not guest RAM`);
    view.set(bytes);
  }

  /** `pcireg.*` variables change what a bridge says it is; hexadecimal. */
  #identity(node: string, standard: PciIdentity): PciIdentity {
    const read = (name: string, present: number, most: number): number => {
      const text = this.#config.get(`${node}.${name}`);
      if (text === undefined) return present;
      const value = /^(0[xX])?[0-9a-fA-F]{1,8}$/.test(text) ? Number.parseInt(text, 16) : NaN;
      if (!(value <= most))
        throw new VmError('EINVAL', `${node}.${name}=${text}: expected a hexadecimal number up to 0x${most.toString(16)}`);
      return value;
    };
    return {
      ...standard,
      vendor: read('vendor', standard.vendor, 0xffff),
      device: read('device', standard.device, 0xffff),
      revision: read('revid', standard.revision ?? 0, 0xff),
      subVendor: read('subvendor', standard.subVendor ?? 0, 0xffff),
      subDevice: read('subdevice', standard.subDevice ?? 0, 0xffff),
    };
  }

  #bool(name: string, standard: boolean): boolean {
    const text = this.#config.get(name);
    if (text === undefined) return standard;
    if (/^(true|on|yes|1)$/i.test(text)) return true;
    if (/^(false|off|no|0)$/i.test(text)) return false;
    throw new VmError('EINVAL', `${name}=${text}: expected true, on, yes, 1, false, off, no or 0`);
  }
}
