/**
 * What a finished configuration tree means: every variable this version obeys, read once, with its checks.
 * Implements: bhyve_config(5); bhyverun's order of checks (topology, memory, then devices).
 * Runs on: main event loop. A variable of a feature that is not in this version is an error here, however it was set.
 */
import { md5 } from '@noble/hashes/legacy.js';
import { VmError } from '../../base/errors.ts';
import { parseBackend } from '../chars/backend-name.ts';
import { COM_NAMES, PCI_MAX_BUS, PCI_MAX_FUNCTION, PCI_MAX_SLOT, PCI_MODELS, unavailableModel } from './devices.ts';
import type { ComName } from './devices.ts';
import { parseMemorySize, quote } from './numbers.ts';
import type { MemoryLimit } from './numbers.ts';
import { readTopology } from './topology.ts';
import type { Topology } from './topology.ts';
import type { ConfigTree } from './tree.ts';

export const CPU_TIERS = ['default', 'interpreter', 'jit', 'always'] as const;
/** In place of a file's name: standard error. */
export const TRACE_STDERR = '-';
export type CpuTier = (typeof CPU_TIERS)[number];

export interface MachineLimits {
  readonly memory: MemoryLimit;
  readonly maxCpus: number;
  /** For the default UUID. */
  readonly hostName: string;
}

export interface PciPlace {
  readonly bus: number;
  readonly slot: number;
  readonly func: number;
  readonly device: string;
}

export interface DirectBoot {
  readonly kernel: string;
  /** The initial RAM disk; of a multiboot kernel its modules, each `FILE[ COMMAND LINE]`, comma separated. */
  readonly initrd: string | undefined;
  readonly cmdline: string;
}

export interface VmSettings {
  readonly name: string;
  readonly topology: Topology;
  readonly memoryBytes: number;
  readonly uuid: string;
  readonly strictIo: boolean;
  /** False: unknown MSRs read 0 and ignore writes (`-w`). */
  readonly strictMsr: boolean;
  readonly verboseMsr: boolean;
  readonly x2apic: boolean;
  readonly hltExit: boolean;
  readonly pauseExit: boolean;
  readonly rtcLocalTime: boolean;
  readonly destroyOnPoweroff: boolean;
  readonly pci: readonly PciPlace[];
  /** Ports that have a backend. */
  readonly serial: readonly { readonly port: ComName; readonly backend: string }[];
  readonly pcTestDev: boolean;
  readonly bootrom: string | undefined;
  readonly bootvars: string | undefined;
  readonly boot: DirectBoot | undefined;
  readonly cpuTier: CpuTier;
  /** Memory of the host that compiled guest code may take, for each vCPU. */
  readonly codeCacheBytes: number;
  /** Folder where compiled code is kept from one run to the next; undefined: none. */
  readonly codeStore: string | undefined;
  /** File for text about compiled code; undefined: none. */
  readonly traceJit: string | undefined;
  /** Ctrl-A keys on a stdio console that is a terminal. */
  readonly consoleEscapes: boolean;
}

/** In place of the folder for code. */
const NO_STORE = 'none';
const MAX_NAME_CHARS = 229;
/** Linux's own limit is 2047; a multiboot kernel or another loader may take more. */
const MAX_CMDLINE_CHARS = 65_535;

/** Variables of features which are not here: set to anything but `off`, they end the start. */
const NOT_HERE: readonly { readonly variable: string; readonly off?: string; readonly what: string }[] = [
  { variable: 'gdb.port', off: '0', what: 'the debug server (-G)' },
  { variable: 'keyboard.layout', what: 'keyboard layouts (-K)' },
  { variable: 'domains', what: 'NUMA domains (-n)' },
  { variable: 'vcpu', what: 'pinning of vCPUs (-p)' },
  { variable: 'fw_cfg', what: 'fw_cfg files (-f)' },
  { variable: 'tpm', what: 'the TPM (-l tpm)' },
];

/** Booleans that change nothing here, but must be booleans. */
const IGNORED_BOOLEANS = [
  'memory.guest_in_core',
  'memory.wired',
  'virtio_msix',
  'x86.mptable',
  'acpi_tables',
  'acpi_tables_in_memory',
  'monitor',
  'pci.enable_bars',
  'gdb.wait',
] as const;

/** @throws VmError for the first variable that cannot be obeyed: it names the variable, the value and what is accepted. */
export function readSettings(tree: ConfigTree, limits: MachineLimits): VmSettings {
  const name = readName(tree);
  const topology = readTopology(tree, limits.maxCpus);
  const memoryBytes = parseMemorySize(
    tree.get('memory.size') === undefined ? 'memory.size' : '-m',
    tree.get('memory.size') ?? '256M',
    limits.memory,
  );
  for (const { variable, off, what } of NOT_HERE) {
    const value = tree.get(variable);
    if ((value !== undefined && value !== off) || tree.isNode(variable)) {
      throw new VmError('ENOTSUP', `${variable}${value === undefined ? '.*' : `=${quote(value)}`}: ${what}: not in this version`);
    }
  }
  for (const variable of IGNORED_BOOLEANS) tree.bool(variable, false);
  const boot = readBoot(tree);
  const bootrom = tree.get('lpc.bootrom') ?? tree.get('bootrom');
  const bootvars = tree.get('lpc.bootvars') ?? tree.get('bootvars');
  if (bootvars !== undefined && bootrom === undefined) {
    throw new VmError('EINVAL', `lpc.bootvars=${quote(bootvars)}: there is no boot ROM; expected lpc.bootrom, too`);
  }
  if (bootrom !== undefined && boot)
    throw new VmError('EINVAL', `kernel=${quote(boot.kernel)} and lpc.bootrom=${quote(bootrom)}: expected one of them`);
  const fwcfg = tree.get('lpc.fwcfg') ?? 'bhyve';
  if (fwcfg !== 'bhyve' && fwcfg !== 'qemu') throw new VmError('EINVAL', `lpc.fwcfg=${quote(fwcfg)}: expected bhyve or qemu`);
  return {
    name,
    topology,
    memoryBytes,
    uuid: readUuid(tree, limits.hostName, name),
    strictIo: tree.bool('x86.strictio', false),
    strictMsr: tree.bool('x86.strictmsr', true),
    verboseMsr: tree.bool('x86.verbosemsr', false),
    x2apic: tree.bool('x86.x2apic', false),
    hltExit: tree.bool('x86.vmexit_on_hlt', false),
    pauseExit: tree.bool('x86.vmexit_on_pause', false),
    rtcLocalTime: tree.bool('rtc.use_localtime', true),
    destroyOnPoweroff: tree.bool('destroy_on_poweroff', false),
    pci: readPci(tree),
    serial: COM_NAMES.flatMap((port) => {
      const backend = tree.get(`lpc.${port}.path`);
      if (backend === undefined) return [];
      parseBackend(`-l ${port}`, backend);
      return [{ port, backend }];
    }),
    pcTestDev: tree.bool('lpc.pc-testdev', false),
    bootrom,
    bootvars,
    boot,
    cpuTier: readTier(tree),
    codeCacheBytes: parseMemorySize('cpu.codecache', tree.get('cpu.codecache') ?? '256M', CODE_CACHE_LIMIT),
    codeStore: tree.get('cpu.codestore') === NO_STORE ? undefined : tree.get('cpu.codestore'),
    traceJit: readTraceJit(tree),
    consoleEscapes: tree.bool('console.escape', false),
  };
}

function readName(tree: ConfigTree): string {
  const name = tree.get('name') ?? '';
  if (name === '' || name.length > MAX_NAME_CHARS || /[/\0\s]/.test(name) || name === '.' || name === '..') {
    throw new VmError(
      name.length > MAX_NAME_CHARS ? 'ENAMETOOLONG' : 'EINVAL',
      `VM name ${quote(name)}: expected 1 to ${MAX_NAME_CHARS} characters without blanks and slashes`,
    );
  }
  return name;
}

/** V8 reserves no more than 4 GiB of code for a process. */
const CODE_CACHE_LIMIT = { maxBytes: 2 ** 31, because: 'room for code in one process' };

function readTier(tree: ConfigTree): CpuTier {
  const text = tree.get('cpu.tier') ?? 'default';
  const tier = CPU_TIERS.find((known) => known === text);
  if (!tier) throw new VmError('EINVAL', `cpu.tier=${quote(text)}: expected ${CPU_TIERS.join(' or ')}`);
  return tier;
}

function readTraceJit(tree: ConfigTree): string | undefined {
  const path = tree.get('cpu.tracejit');
  if (path !== undefined && readTier(tree) === 'interpreter')
    throw new VmError('EINVAL', `cpu.tracejit=${quote(path)}: nothing is compiled with cpu.tier='interpreter'`);
  return path;
}

function readBoot(tree: ConfigTree): DirectBoot | undefined {
  const kernel = tree.get('kernel');
  const initrd = tree.get('initrd');
  const cmdline = tree.get('cmdline');
  if (kernel === undefined) {
    const stray = initrd !== undefined ? `initrd=${quote(initrd)}` : cmdline !== undefined ? `cmdline=${quote(cmdline)}` : undefined;
    if (stray !== undefined) throw new VmError('EINVAL', `${stray}: there is no kernel; expected kernel=FILE, too`);
    return undefined;
  }
  if ((cmdline?.length ?? 0) > MAX_CMDLINE_CHARS) {
    throw new VmError('EINVAL', `cmdline=${quote(cmdline ?? '')}: ${cmdline?.length} characters; expected at most ${MAX_CMDLINE_CHARS}`);
  }
  return { kernel, initrd, cmdline: cmdline ?? '' };
}

/** Without `-U`: made of the host's and the VM's name, so that it stays the same from run to run. */
function readUuid(tree: ConfigTree, hostName: string, name: string): string {
  const given = tree.get('uuid');
  if (given !== undefined) {
    if (!/^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(given)) {
      throw new VmError('EINVAL', `-U ${quote(given)}: invalid UUID; expected 8-4-4-4-12 hexadecimal digits`);
    }
    return given.toLowerCase();
  }
  const digest = Buffer.from(md5(new TextEncoder().encode(name + hostName)));
  // RFC 9562 5.3: version 3, variant 10.
  digest[6] = ((digest[6] ?? 0) & 0x0f) | 0x30;
  digest[8] = ((digest[8] ?? 0) & 0x3f) | 0x80;
  const hex = digest.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

function readPci(tree: ConfigTree): PciPlace[] {
  const places: PciPlace[] = [];
  const number = (text: string, max: number, path: string): number => {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(text) || Number(text) > max) {
      throw new VmError('EINVAL', `${path}: ${quote(text)} is no such place; expected pci.BUS.SLOT.FUNCTION, decimal, up to pci.255.31.7`);
    }
    return Number(text);
  };
  for (const busName of tree.children('pci')) {
    if (!tree.isNode(`pci.${busName}`)) continue;
    const bus = number(busName, PCI_MAX_BUS, `pci.${busName}`);
    for (const slotName of tree.children(`pci.${busName}`)) {
      const slot = number(slotName, PCI_MAX_SLOT, `pci.${busName}.${slotName}`);
      for (const funcName of tree.children(`pci.${busName}.${slotName}`)) {
        const node = `pci.${busName}.${slotName}.${funcName}`;
        const func = number(funcName, PCI_MAX_FUNCTION, node);
        const device = tree.get(`${node}.device`);
        if (device === undefined) throw new VmError('EINVAL', `${node}: missing "device" value; expected ${node}.device=MODEL`);
        const model = Object.hasOwn(PCI_MODELS, device) ? PCI_MODELS[device] : undefined;
        if (!model) throw new VmError('EINVAL', `pci slot ${bus}:${slot}:${func}: unknown device ${quote(device)}; -s help lists them`);
        if (!model.available) throw unavailableModel(`${bus}:${slot}:${func}`, device);
        if (model.alias) {
          throw new VmError(
            'EINVAL',
            `${node}.device=${device}: an alias of -s; expected ${model.alias.model} with its own variables here`,
          );
        }
        places.push({ bus, slot, func, device });
      }
    }
  }
  const bridges = places.filter(({ device }) => device === 'lpc');
  const second = bridges[1];
  if (second) throw new VmError('EINVAL', `pci slot ${second.bus}:${second.slot}:${second.func}: Only one LPC bridge is allowed.`);
  const far = bridges.find(({ bus }) => bus !== 0);
  if (far) throw new VmError('EINVAL', `pci slot ${far.bus}:${far.slot}:${far.func}: LPC bridge can be present only on bus 0.`);
  return places;
}
