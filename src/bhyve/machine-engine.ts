/**
 * The engine that is real: vmm below, the machine's devices above, and the exits of the vCPUs between them.
 * Implements: engine.ts over vmmapi; bhyverun's main loop (vm_loop) and start-up order: VM, memory, machine, loader, BSP last.
 * Runs on: main event loop.
 */
import { VmError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { DESCRIPTOR_NAMES, PostedRing, PROT_EXEC, PROT_READ, PROT_WRITE, REGISTER_NAMES, SEGMENT, Vmmapi } from '../vmmapi/index.ts';
import type { RegisterName, SuspendHow, Vcpu, Vm, VmExit, VmmHost } from '../vmmapi/index.ts';
import { formatSize } from './config/numbers.ts';
import type { CreateEngine, Engine, EngineEnd, EngineRequest, Inspection } from './engine.ts';
import { createNodeHost } from './host-node.ts';
import type { VmSettings } from './config/settings.ts';
import { openTrace } from './trace-file.ts';
import type { ImageFile } from './loaders/image.ts';
import { HIGHMEM_BASE, LOWMEM_LIMIT } from './layout.ts';
import { createMachine } from './machine.ts';
import type { Boot, Machine } from './machine.ts';
import type { InitialState, MachineVm, SuspendReason } from './ports-of-machine.ts';

const PROTECTION = { rx: PROT_READ | PROT_EXEC, rw: PROT_READ | PROT_WRITE } as const;
const MS_PER_MINUTE = 60_000;
const BSP = 0;
/** For a person: what a debugger's `info registers` shows. Segments follow with their descriptors. */
const SHOWN_REGISTERS = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'rsp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
  'cr0',
  'cr2',
  'cr3',
  'cr4',
  'efer',
  'dr6',
  'dr7',
] as const satisfies readonly RegisterName[];
const REGISTERS_A_LINE = 3;
const SHOWN_CODE_BYTES = 24;

class MachineEngine implements Engine {
  readonly #request: EngineRequest;
  readonly #api: Vmmapi;
  readonly #vm: Vm;
  readonly #boot: Boot;
  readonly #log: Log;
  readonly #startMs = performance.now();
  #machine: Machine;
  #ring: PostedRing | undefined;
  #ringDone: Promise<void> = Promise.resolve();
  #debugStatus: number | undefined;
  #suspendAsked = Promise.withResolvers<void>();
  #lives = 0;
  #running = false;

  constructor(request: EngineRequest, makeHost: MakeHost) {
    const { settings, boot, bootrom, log } = request;
    this.#request = request;
    this.#log = log;
    if (bootrom) this.#boot = { bootrom };
    else if (boot) {
      const { kernel, initrd, modules, commandLine } = boot;
      this.#boot = { kernel: { kernel, ...(initrd && { initrd }), modules, commandLine } };
    } else throw new VmError('ENOEXEC', `${settings.name}: nothing to boot`);
    const { cpus, sockets, cores, threads } = settings.topology;
    this.#api = new Vmmapi(makeHost(log.named('vmm'), settings));
    this.#vm = this.#api.create(settings.name, {
      maxCpus: cpus,
      x2apic: settings.x2apic,
      lenientMsr: !settings.strictMsr,
      cpuTier: settings.cpuTier,
      codeCacheBytes: settings.codeCacheBytes,
    });
    this.#vm.setTopology(sockets, cores, threads);
    this.#vm.setupMemory(settings.memoryBytes);
    // Its thread begins while kernel and devices are being set up.
    this.#vm.vcpu(BSP).prepare();
    this.#setExitHandlers();
    this.#vm.setRelief(() => {
      this.#ring?.drainAll();
    });
    // Whatever is wrong with kernel or devices is known before anything runs.
    this.#machine = this.#powerOn();
  }

  async run(): Promise<EngineEnd> {
    const vm = this.#vm;
    if (this.#lives++ > 0) {
      vm.reinit();
      this.#machine = this.#powerOn();
    }
    this.#debugStatus = undefined;
    this.#suspendAsked = Promise.withResolvers();
    this.#startRing();
    this.#running = true;
    let how: SuspendHow;
    try {
      for (let id = 0; id < this.#request.settings.topology.cpus; id++) vm.vcpu(id).activate();
      vm.vcpu(BSP).start();
      // The ring ends before the VM does only when it fails.
      how = await Promise.race([vm.waitSuspended(), this.#ringDone.then(() => vm.waitSuspended())]);
    } finally {
      this.#running = false;
      await this.#stopRing();
    }
    if (this.#debugStatus !== undefined) return { reason: 'debug-exit', status: this.#debugStatus };
    if (how === 'triplefault') this.#log.debug(`${vm.name}: triple fault\n${this.#registers()}`);
    if (how === 'destroy') throw new VmError('EIO', `${vm.name}: the VM was destroyed while it ran`);
    return { reason: how };
  }

  suspend(reason: 'reset' | 'poweroff'): void {
    suspend(this.#vm, reason);
    // A vCPU that waits for a slow reader could not stop.
    this.#suspendAsked.resolve();
  }

  pressPowerButton(): boolean {
    return this.#running && this.#machine.pressPowerButton();
  }

  injectNmi(): void {
    this.#vm.vcpu(BSP).injectNmi();
  }

  inspect(what: Inspection): Promise<string> {
    const text = what === 'registers' ? this.#registers() : what === 'stats' ? this.#stats() : this.#status();
    return Promise.resolve(text);
  }

  async close(): Promise<void> {
    await this.#stopRing();
    await this.#api.destroy(this.#vm.name);
  }

  /** A machine as at power-on, with what boots in its memory and in the registers of the boot processor. */
  #powerOn(): Machine {
    const { settings, config, backends, bootrom, log } = this.#request;
    const machine = createMachine(
      settings,
      config,
      machineVm(this.#vm),
      {
        log,
        clock: { nowMs: () => Date.now(), localOffsetMs: () => -new Date().getTimezoneOffset() * MS_PER_MINUTE },
        serial: backends,
        debugExit: (status) => {
          this.#debugStatus ??= status;
          suspend(this.#vm, 'poweroff');
        },
      },
      bootrom !== undefined,
    );
    const { protocol, state } = machine.load(this.#boot);
    for (const image of imagesOf(this.#boot)) image.release?.();
    setState(this.#vm, state);
    if (protocol !== 'bootrom') this.#setMemoryTypes();
    log.debug(`${settings.name}: ${protocol} loaded, ${formatSize(settings.memoryBytes)} of memory`);
    return machine;
  }

  /** Without firmware, its part is ours: all below 4 GiB that is not RAM is uncached. */
  #setMemoryTypes(): void {
    const uncached = { start: LOWMEM_LIMIT, sizeBytes: HIGHMEM_BASE - LOWMEM_LIMIT };
    for (let id = 0; id < this.#request.settings.topology.cpus; id++) this.#vm.vcpu(id).setMemoryTypes(uncached);
  }

  // --- exits: hot ---

  #setExitHandlers(): void {
    this.#vm.setExitHandler('inout', (exit) => this.#inout(exit));
    this.#vm.setExitHandler('mmio', (exit) => this.#mmio(exit));
    this.#vm.setRelief(() => this.#ring?.drainAll());
  }

  #inout(exit: VmExit): void | Promise<void> {
    // What the vCPU posted, it did before this.
    this.#ring?.drainAll();
    const { id } = exit.vcpu;
    if (exit.isRead) {
      exit.value = this.#machine.handlePortRead(id, exit.port, exit.sizeBytes) >>> 0;
      return undefined;
    }
    this.#machine.handlePortWrite(id, exit.port, exit.sizeBytes, exit.value);
    // A slow reader of a serial port holds the vCPU here.
    return this.#congestion();
  }

  #mmio(exit: VmExit): void {
    this.#ring?.drainAll();
    const { id } = exit.vcpu;
    if (!exit.isRead) {
      this.#machine.handleMmioWrite(id, exit.gpa, exit.sizeBytes, exit.value, exit.valueHigh);
      return;
    }
    const value = this.#machine.handleMmioRead(id, exit.gpa, exit.sizeBytes) >>> 0;
    exit.value = value;
    if (exit.sizeBytes === 8) exit.valueHigh = this.#machine.mmioReadHigh >>> 0;
  }

  /** @returns undefined while every reader keeps up. */
  #congestion(): Promise<void> | undefined {
    if (this.#vm.suspendHow !== undefined) return undefined;
    for (const backend of this.#request.backends.values()) {
      if (backend.congested) return Promise.race([backend.drained(), this.#suspendAsked.promise]);
    }
    return undefined;
  }

  #startRing(): void {
    this.#ring = new PostedRing(
      this.#vm.memory0,
      {
        writePort: (port, sizeBytes, value, vcpu) => {
          this.#machine.handlePortWrite(vcpu, port, sizeBytes, value);
        },
        writeMemory: (gpa, sizeBytes, low, high, vcpu) => {
          this.#machine.handleMmioWrite(vcpu, gpa, sizeBytes, low, high);
        },
      },
      async () => {
        await (this.#congestion() ??
          new Promise((resolve) => {
            setImmediate(resolve);
          }));
      },
    );
    this.#ringDone = this.#ring.run();
    // Reported when the run ends; nothing a guest does gets here.
    this.#ringDone.catch((error: unknown) => {
      this.#log.error(`posted writes: ${String(error)}`);
    });
  }

  async #stopRing(): Promise<void> {
    const ring = this.#ring;
    if (!ring) return;
    this.#ring = undefined;
    ring.drainAll();
    ring.close();
    await this.#ringDone;
  }

  // --- for a person ---

  #registers(): string {
    const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0');
    const lines: string[] = [];
    for (const id of this.#vm.activeCpus()) {
      const vcpu = this.#vm.vcpu(id);
      lines.push(`vcpu ${id} (${vcpu.state})`);
      // One moment for all of them.
      vcpu.held(() => {
        for (let at = 0; at < SHOWN_REGISTERS.length; at += REGISTERS_A_LINE) {
          lines.push(
            SHOWN_REGISTERS.slice(at, at + REGISTERS_A_LINE)
              .map((name) => `${name.padStart(6)} ${hex(vcpu.getRegister(name), 16)}`)
              .join('  '),
          );
        }
        lines.push(`  code ${this.#codeAt(vcpu)}`);
        for (const name of DESCRIPTOR_NAMES) {
          const { selector, base, limit, access } = vcpu.getSegDesc(name);
          lines.push(`${name.padStart(6)} ${hex(selector, 4)} base ${hex(base, 16)} limit ${hex(limit, 8)} access ${hex(access, 5)}`);
        }
      });
    }
    return lines.map((line) => `${line}\n`).join('');
  }

  /** Bytes of the instruction at rip and of what follows in its page. */
  #codeAt(vcpu: Vcpu): string {
    const at = BigInt.asUintN(64, vcpu.getSegDesc('cs').base + vcpu.getRegister('rip'));
    const place = vcpu.gla2gpaNofault(at);
    if ('fault' in place) return 'not mapped';
    const bytes = this.#vm.guestView(place.gpa, Math.min(SHOWN_CODE_BYTES, 0x1000 - (place.gpa % 0x1000)));
    return bytes ? [...bytes].map((value) => value.toString(16).padStart(2, '0')).join(' ') : 'not RAM';
  }

  #stats(): string {
    const seconds = (performance.now() - this.#startMs) / 1000;
    const memory = process.memoryUsage();
    const rows: (readonly [string, string])[] = [];
    let instructions = 0n;
    for (const id of this.#vm.activeCpus()) {
      for (const { name, value } of this.#vm.vcpu(id).stats()) {
        if (value !== 0n) rows.push([`vcpu ${id}: ${name}`, `${value}`]);
        if (name === 'guest instructions executed') instructions += value;
      }
    }
    rows.push(
      ['resets', `${Math.max(0, this.#lives - 1)}`],
      ['seconds since the VM was made', seconds.toFixed(3)],
      ['guest instructions a second', `${(Number(instructions) / 1e6 / seconds).toFixed(1)} M`],
      ['resident memory of the process', `${(memory.rss / 2 ** 20).toFixed(0)} MiB`],
    );
    return rows.map(([name, value]) => `${name.padEnd(56)} ${value}\n`).join('');
  }

  #status(): string {
    const { settings, backends } = this.#request;
    const states = this.#vm
      .activeCpus()
      .map((id) => `vcpu ${id} ${this.#vm.vcpu(id).state}`)
      .join(', ');
    return [
      `name: ${settings.name}`,
      `state: ${this.#running ? 'running' : 'not running'}${states && `; ${states}`}`,
      `memory: ${formatSize(settings.memoryBytes)}`,
      `serial: ${[...backends.keys()].join(' ') || 'none'}`,
      ...this.#machine.describe(),
      '',
    ].join('\n');
  }
}

function imagesOf(boot: Boot): ImageFile[] {
  if ('bootrom' in boot) return [boot.bootrom];
  const { kernel, initrd, modules = [] } = boot.kernel;
  return [kernel, ...(initrd ? [initrd] : []), ...modules.map(({ image }) => image)];
}

/** The first caller wins. */
function suspend(vm: Vm, reason: SuspendReason): void {
  if (vm.suspendHow === undefined) vm.suspend(reason);
}

/** vmmapi's handle as the devices know it. */
function machineVm(vm: Vm): MachineVm {
  const bootSegments = new Map<string, number>(Object.entries(SEGMENT));
  return {
    name: vm.name,
    lowmemBytes: vm.lowmemBytes,
    highmemBytes: vm.highmemBytes,
    memory: { view: (gpa, sizeBytes) => vm.guestView(gpa, sizeBytes) },
    irq: {
      isaAssert: (atpicIrq, ioapicIrq) => {
        vm.isaAssertIrq(atpicIrq, ioapicIrq);
      },
      isaDeassert: (atpicIrq, ioapicIrq) => {
        vm.isaDeassertIrq(atpicIrq, ioapicIrq);
      },
      isaPulse: (atpicIrq, ioapicIrq) => {
        vm.isaPulseIrq(atpicIrq, ioapicIrq);
      },
      isaSetTrigger: (atpicIrq, trigger) => {
        vm.isaSetIrqTrigger(atpicIrq, trigger);
      },
      ioapicAssert: (pin) => {
        vm.ioapicAssertIrq(pin);
      },
      ioapicDeassert: (pin) => {
        vm.ioapicDeassertIrq(pin);
      },
      ioapicPulse: (pin) => {
        vm.ioapicPulseIrq(pin);
      },
      lapicMsi: (address, data) => {
        vm.lapicMsi(address, data);
      },
    },
    ports: {
      setModes: (port, ports, read, write) => {
        vm.setPortModes(port, ports, read, write === 'open-bus' ? 'dropped' : write);
      },
      setShadow: (port, value) => {
        vm.setPortShadow(port, value);
      },
      setPciFunction: (bus, slot, func) => {
        vm.setPciFunction(bus, slot, func);
      },
      setPciConfig: (bus, slot, func, offset, value) => {
        vm.setPciConfig(bus, slot, func, offset, value);
      },
      get pciAddress() {
        return vm.pciAddress;
      },
      set pciAddress(value) {
        vm.pciAddress = value;
      },
    },
    suspend: (reason) => {
      suspend(vm, reason);
    },
    flushTranslation: (gpa) => {
      vm.flushTranslation(gpa);
    },
    rtcWrite: (offset, value) => {
      vm.rtcWrite(offset, value);
    },
    rtcSetTime: (seconds) => {
      vm.rtcSettime(seconds);
    },
    hpetCapabilities: vm.hpetCapabilities,
    mapDevmem: (name, gpa, sizeBytes, protection) => {
      const segment = bootSegments.get(name);
      if (segment === undefined) throw new VmError('EINVAL', `device memory '${name}': expected ${[...bootSegments.keys()].join(', ')}`);
      const bytes = vm.createDevmem(segment, name, sizeBytes);
      vm.mmapMemseg({ gpa, sizeBytes, segment, offset: 0, protection: PROTECTION[protection], flags: 0 });
      return bytes;
    },
  };
}

/** Registers as the loader left them; the rest as after power-on. */
function setState(vm: Vm, state: InitialState): void {
  const bsp = vm.vcpu(BSP);
  const known = new Set<string>(REGISTER_NAMES);
  bsp.held(() => {
    for (const [name, descriptor] of Object.entries(state.descriptors)) bsp.setDesc(name as keyof InitialState['descriptors'], descriptor);
    for (const [name, value] of Object.entries(state.registers)) {
      if (!known.has(name)) throw new VmError('EDOOFUS', `loader: register ${name}: the vCPU has none of that name`);
      bsp.setRegister(name as RegisterName, value);
    }
  });
}

type MakeHost = (log: Log, settings: Pick<VmSettings, 'traceJit' | 'codeStore'>) => VmmHost;

/** An engine whose threads, clock and modules are `makeHost`'s. */
export function createEngineOn(makeHost: MakeHost): CreateEngine {
  return (request) => Promise.resolve().then(() => new MachineEngine(request, makeHost));
}

export const createEngine: CreateEngine = createEngineOn((log, { traceJit, codeStore }) =>
  createNodeHost({ log, traceFd: traceJit === undefined ? undefined : openTrace(traceJit), codeStore }),
);
