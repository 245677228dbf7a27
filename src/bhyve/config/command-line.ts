/**
 * The command line of bhyve: options become variables of the configuration tree.
 * Implements: bhyve(8) options, left to right, a later one wins; usage; `-s help`, `-l help`, `config.dump`.
 * Runs on: main event loop. Not in this version: -f -G -K -n -p -r; they are refused by name, never ignored.
 */
import { VmError } from '../../base/errors.ts';
import { asksForHelp, lpcHelp, parseLpcDevice, parsePciSlot, pciHelp } from './devices.ts';
import { getopt } from './getopt.ts';
import { quote } from './numbers.ts';
import { parseTopology } from './topology.ts';
import { ConfigTree } from './tree.ts';

/** sysexits(3) EX_USAGE: bhyve ends with it when -c, -l or -o are malformed. */
export const EX_USAGE = 64;
export const EXIT_ERROR = 4;
const EXIT_USAGE = 1;
const EXIT_DUMPED = 1;

const LETTERS = 'aehuwxACDHIPSWYf:k:n:o:p:G:c:s:m:l:K:U:r:';

/** What the command line came to: a tree to run, or text to print and a status to end with. */
export type CommandLine =
  | { readonly kind: 'run'; readonly tree: ConfigTree }
  | { readonly kind: 'exit'; readonly status: number; readonly out: string; readonly error: string };

export interface CommandLineHost {
  readonly program: string;
  /** @throws VmError when the file cannot be read, with a message which names it. */
  readConfigFile(path: string): string;
  warn(message: string): void;
}

/** Variables before any option is seen. */
export function setDefaults(tree: ConfigTree): void {
  tree.setBool('acpi_tables', true);
  tree.setBool('acpi_tables_in_memory', true);
  tree.set('memory.size', '256M');
  tree.setBool('x86.strictmsr', true);
  tree.set('lpc.fwcfg', 'bhyve');
}

/** Flags without an argument: the variable and the value each one sets. */
const SWITCHES: Readonly<Record<string, readonly [variable: string, value: boolean] | null>> = {
  a: ['x86.x2apic', false],
  // Accepted for old scripts: tables are always made, an IOAPIC is always there.
  A: null,
  I: null,
  C: ['memory.guest_in_core', true],
  D: ['destroy_on_poweroff', true],
  e: ['x86.strictio', true],
  H: ['x86.vmexit_on_hlt', true],
  P: ['x86.vmexit_on_pause', true],
  S: ['memory.wired', true],
  u: ['rtc.use_localtime', false],
  W: ['virtio_msix', false],
  w: ['x86.strictmsr', false],
  x: ['x86.x2apic', true],
  Y: ['x86.mptable', false],
};

const NOT_HERE: Readonly<Record<string, string>> = {
  f: 'fw_cfg files',
  G: 'the debug server',
  K: 'keyboard layouts',
  n: 'NUMA domains',
  p: 'pinning of vCPUs',
  r: 'restoring a snapshot',
};

/** Parse `args` (without the program's own name). Never throws for anything a user can write. */
export function parseCommandLine(args: readonly string[], host: CommandLineHost): CommandLine {
  const tree = new ConfigTree(host.warn);
  // No option of bhyve's, but a line that nobody can mean otherwise.
  if (args.length === 1 && args[0] === '--help') return exit(0, usage(host.program), '');
  const usageError = (message: string): CommandLine => exit(EXIT_USAGE, '', `${message}${usage(host.program)}`);
  try {
    setDefaults(tree);
    const { options, operands } = getopt(host.program, args, LETTERS);
    for (const { name, argument = '' } of options) {
      const ended = applyOption(tree, host, name, argument);
      if (ended) return ended;
    }
    if (operands.length > 1) return usageError(`${host.program}: one VM name expected, got ${operands.map(quote).join(' ')}\n`);
    const name = operands[0];
    if (name !== undefined) {
      if (name === '') return usageError(`${host.program}: the VM's name is empty\n`);
      tree.set('name', name);
    }
    if (tree.get('name') === undefined) return usageError(`${host.program}: no VM name\n`);
    if (tree.bool('config.dump', false)) return exit(EXIT_DUMPED, tree.dump(), '');
    return { kind: 'run', tree };
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    // getopt's messages carry the program's name already.
    if (error.code === 'EUSAGE') return usageError(`${error.message}\n`);
    return fail(host, EXIT_ERROR, error.message);
  }
}

function applyOption(tree: ConfigTree, host: CommandLineHost, name: string, argument: string): CommandLine | undefined {
  const toSet = SWITCHES[name];
  if (toSet === null) return undefined;
  if (toSet) {
    tree.setBool(...toSet);
    return undefined;
  }
  const missing = NOT_HERE[name];
  if (missing) return fail(host, EXIT_ERROR, `-${name} ${quote(argument)}: ${missing}: not in this version`);
  switch (name) {
    case 'c':
      return parseTopology(tree, argument)
        ? undefined
        : fail(host, EX_USAGE, `invalid cpu topology ${quote(argument)}; expected [[cpus=]N][,sockets=N][,cores=N][,threads=N]`);
    case 'k':
      tree.setFile(argument, host.readConfigFile(argument));
      return undefined;
    case 'l':
      if (asksForHelp(argument)) return exit(0, lpcHelp(), '');
      return parseLpcDevice(tree, argument)
        ? undefined
        : fail(host, EX_USAGE, `invalid lpc device configuration ${quote(argument)}; -l help lists the devices`);
    case 'm':
      if (argument === '') return fail(host, EXIT_ERROR, "-m '': invalid memsize; expected SIZE[K|M|G|T]");
      tree.set('memory.size', argument);
      return undefined;
    case 'o':
      return tree.setOption(argument)
        ? undefined
        : fail(host, EX_USAGE, `invalid configuration option ${quote(argument)}; expected NAME=VALUE`);
    case 's':
      if (asksForHelp(argument)) return exit(0, pciHelp(), '');
      parsePciSlot(tree, argument);
      return undefined;
    case 'U':
      tree.set('uuid', argument);
      return undefined;
    default:
      return exit(0, '', usage(host.program));
  }
}

function fail(host: CommandLineHost, status: number, message: string): CommandLine {
  return exit(status, '', `${host.program}: ${message}\n`);
}

function exit(status: number, out: string, error: string): CommandLine {
  return { kind: 'exit', status, out, error };
}

export function usage(program: string): string {
  const indent = ' '.repeat(`Usage: ${program} `.length);
  return `Usage: ${program} [-aACDeHhPSuWwxY]
${indent}[-c [[cpus=]numcpus][,sockets=n][,cores=n][,threads=n]]
${indent}[-k config_file] [-l lpc] [-m mem] [-o var=value]
${indent}[-s pci] [-U uuid] vmname
       -A: no effect: ACPI tables are always made
       -a: local APIC in xAPIC mode (default)
       -C: guest memory goes into core files
       -c: number of vCPUs, or their topology
       -D: destroy the VM when the guest powers off
       -e: an access to a port that nothing answers ends the run
       -H: HLT leaves the guest
       -h: this help
       -k: file of name=value lines
       -l: LPC device: help, com1..com4,backend, bootrom,file, pc-testdev
       -m: memory size: MiB, or bytes with K, M, G or T
       -o: set configuration variable 'var' to 'value'
       -P: PAUSE leaves the guest
       -S: guest memory cannot be swapped
       -s: PCI device: help, or [bus:]slot[:function],model[,configuration]
       -U: UUID of the VM
       -u: RTC keeps UTC
       -W: virtio uses MSI, not MSI-X
       -w: unknown MSRs read 0 and ignore writes
       -x: local APIC in x2APIC mode
       -Y: no MP table
Direct boot of a kernel: -o kernel=FILE [-o initrd=FILE] [-o cmdline=TEXT]
Exit status: 0 reset, 1 powered off, 2 halted, 3 triple fault, 4 error
`;
}
