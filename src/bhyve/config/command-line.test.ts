import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { VmError } from '../../base/errors.ts';
import { parseCommandLine } from './command-line.ts';
import type { CommandLine } from './command-line.ts';
import { readSettings } from './settings.ts';
import { ConfigTree } from './tree.ts';

const FILES: Readonly<Record<string, string>> = { good: 'memory.size=1G\ncpus=1\n# c\n\nlpc.com1.path=stdio\n', bad: 'a=1\nb\n' };
const parse = (...args: string[]): CommandLine =>
  parseCommandLine(args, {
    program: 'bhyve',
    readConfigFile(path) {
      const text = FILES[path];
      if (text === undefined) throw new VmError('ENOENT', `Failed to open configuration file ${path}: ENOENT`);
      return text;
    },
    warn() {},
  });
const LIMITS = { memory: { maxBytes: 8 * 2 ** 30, because: 'test' }, maxCpus: 4, hostName: 'host' };

function treeFor(...args: string[]): ConfigTree {
  const result = parse(...args);
  assert.equal(result.kind, 'run', result.kind === 'exit' ? result.error : '');
  return result.kind === 'run' ? result.tree : new ConfigTree();
}

test('each flag sets its variable', () => {
  for (const [args, variable, value] of [
    [['-a'], 'x86.x2apic', 'false'],
    [['-x'], 'x86.x2apic', 'true'],
    [['-xa'], 'x86.x2apic', 'false'],
    [['-C'], 'memory.guest_in_core', 'true'],
    [['-D'], 'destroy_on_poweroff', 'true'],
    [['-e'], 'x86.strictio', 'true'],
    [['-H'], 'x86.vmexit_on_hlt', 'true'],
    [['-P'], 'x86.vmexit_on_pause', 'true'],
    [['-S'], 'memory.wired', 'true'],
    [['-u'], 'rtc.use_localtime', 'false'],
    [['-W'], 'virtio_msix', 'false'],
    [['-w'], 'x86.strictmsr', 'false'],
    [['-Y'], 'x86.mptable', 'false'],
    [['-A'], 'acpi_tables', 'true'],
    [['-AHPI'], 'x86.vmexit_on_pause', 'true'],
    [['-U', 'abc'], 'uuid', 'abc'],
    [['-m', '1G'], 'memory.size', '1G'],
    [[], 'memory.size', '256M'],
    [['-m1G', '-m', '2G'], 'memory.size', '2G'],
    [['-o', 'a.b=c=d'], 'a.b', 'c=d'],
    [['-k', 'good'], 'memory.size', '1G'],
    [['-k', 'good', '-m2G'], 'memory.size', '2G'],
    [['-m2G', '-k', 'good'], 'memory.size', '1G'],
    [['-c', '4'], 'cpus', '4'],
    [['-c', 'cores=2,sockets=2,4'], 'cores', '2'],
    [['-c', ''], 'threads', '1'],
    [['-s', '0,hostbridge'], 'pci.0.0.0.device', 'hostbridge'],
    [['-s', '31,lpc'], 'pci.0.31.0.device', 'lpc'],
    [['-s', '31:3,lpc'], 'pci.0.31.3.device', 'lpc'],
    [['-s', '2:3:4,hostbridge'], 'pci.2.3.4.device', 'hostbridge'],
    [['-s', '0,amd_hostbridge'], 'pci.0.0.0.device', 'hostbridge'],
    [['-s', '0,amd_hostbridge'], 'pci.0.0.0.pcireg.vendor', '0x1022'],
    [['-s', '0,hostbridge,pcireg.vendor=0x1234,x'], 'pci.0.0.0.x', 'true'],
    [['-l', 'com1,stdio'], 'lpc.com1.path', 'stdio'],
    [['-l', 'COM2,tcp=[::1]:1'], 'lpc.com2.path', 'tcp=[::1]:1'],
    [['-l', 'pc-testdev'], 'lpc.pc-testdev', 'true'],
    [['-l', 'pctestdev'], 'lpc.pc-testdev', 'true'],
    [['-l', 'bootrom,/r'], 'lpc.bootrom', '/r'],
    [['-l', 'bootrom,/r,/v'], 'lpc.bootvars', '/v'],
    [['-l', 'bootrom,/r,fwcfg=qemu'], 'lpc.fwcfg', 'qemu'],
    [['-l', 'bootrom,/r,/v,fwcfg=qemu'], 'lpc.fwcfg', 'qemu'],
  ] as const)
    assert.equal(treeFor(...args, 'vm').get(variable), value, `${args.join(' ')} ${variable}`);
  assert.equal(treeFor('-o', 'name=x').get('name'), 'x');
  assert.equal(treeFor('-o', 'name=x', 'y').get('name'), 'y');
});

test("malformed options end with bhyve's text and status", () => {
  for (const [args, status, message] of [
    [['-o', 'x'], 64, "bhyve: invalid configuration option 'x'; expected NAME=VALUE"],
    [['-o', 'x='], 64, "bhyve: invalid configuration option 'x='"],
    [['-c', 'x=1'], 64, "bhyve: invalid cpu topology 'x=1'"],
    [['-c', 'cpus='], 4, "bhyve: Invalid value for cpus: ''"],
    [['-l', 'com5,stdio'], 64, "bhyve: invalid lpc device configuration 'com5,stdio'"],
    [['-l', 'com1'], 4, "bhyve: -l 'com1': expected com1,BACKEND"],
    [['-l', 'bootrom'], 4, 'bhyve: invalid bootrom option "bootrom"'],
    [['-l', 'tpm,passthru,/dev/tpm0'], 4, 'bhyve: -l \'tpm,passthru,/dev/tpm0\': device "tpm" is not in this version'],
    [['-l', 'pc-testdev,x'], 4, "bhyve: -l 'pc-testdev,x': expected pc-testdev without options"],
    [['-k', 'none'], 4, 'bhyve: Failed to open configuration file none'],
    [['-k', 'bad'], 4, "bhyve: bad line 2: invalid config option 'b'"],
    [['-m', ''], 4, "bhyve: -m '': invalid memsize"],
    [['-s', '3'], 4, 'bhyve: Invalid PCI slot info field "3"'],
    [['-s', '32,lpc'], 4, 'bhyve: Invalid PCI slot info field "32,lpc"'],
    [['-s', '1:8,lpc'], 4, 'bhyve: Invalid PCI slot info field'],
    [['-s', '256:1:1,lpc'], 4, 'bhyve: Invalid PCI slot info field'],
    [['-s', '1:2:3:4,lpc'], 4, 'bhyve: Invalid PCI slot info field'],
    [['-s', '-1,lpc'], 4, 'bhyve: Invalid PCI slot info field'],
    [['-s', '1x,lpc'], 4, 'bhyve: Invalid PCI slot info field'],
    [['-s', '3,floppy'], 4, 'bhyve: pci slot 0:3:0: unknown device "floppy"'],
    [['-s', '3,constructor'], 4, 'bhyve: pci slot 0:3:0: unknown device "constructor"'],
    [['-s', '3,virtio-blk,/x'], 4, 'bhyve: pci slot 0:3:0: device "virtio-blk" is not in this version'],
    [['-s', '3,lpc', '-s', '0:3:0,hostbridge'], 4, 'bhyve: pci slot 0:3:0 already occupied!'],
    [['-G', '1234'], 4, "bhyve: -G '1234': the debug server: not in this version"],
    [['-f', 'x'], 4, "bhyve: -f 'x'"],
    [['-n', 'x'], 4, "bhyve: -n 'x'"],
    [['-p', '0:0'], 4, "bhyve: -p '0:0'"],
    [['-r', 'x'], 4, "bhyve: -r 'x'"],
    [['-K', 'x'], 4, "bhyve: -K 'x'"],
    [['-U', ''], 4, 'bhyve: uuid: the value is empty'],
    [['-o', 'name.x=1'], 4, 'bhyve: Attempting to add value'],
    [['-o', 'config.dump=x'], 4, "bhyve: Invalid value 'x' for boolean variable config.dump"],
  ] as const) {
    const result = parse(...args, 'vm');
    assert.equal(result.kind, 'exit', args.join(' '));
    if (result.kind !== 'exit') continue;
    assert.equal(result.status, status, args.join(' '));
    assert.ok(result.error.startsWith(message), result.error);
    assert.equal(result.error.split('\n').length, 2, 'one line');
    assert.equal(result.out, '');
  }
});

test('usage errors print the usage and end with 1; -h ends with 0', () => {
  for (const [args, first] of [
    [['-z', 'vm'], 'bhyve: illegal option -- z'],
    [['-m'], 'bhyve: option requires an argument -- m'],
    [['-b', 'vm'], 'bhyve: illegal option -- b'],
    [['-g', '0', 'vm'], 'bhyve: illegal option -- g'],
    [['a', 'b'], "bhyve: one VM name expected, got 'a' 'b'"],
    [[], 'bhyve: no VM name'],
    [[''], "bhyve: the VM's name is empty"],
  ] as const) {
    const result = parse(...args);
    assert.ok(result.kind === 'exit' && result.status === 1 && result.error.startsWith(`${first}\nUsage: bhyve `), JSON.stringify(result));
  }
  const long = parse('--help');
  assert.ok(long.kind === 'exit' && long.status === 0 && long.out.startsWith('Usage: bhyve '));
  const help = parse('-Hh', 'vm');
  assert.ok(help.kind === 'exit' && help.status === 0 && help.error.startsWith('Usage: bhyve '));
});

test('-s and -l help, by any beginning of the word, end with 0', () => {
  for (const word of ['help', 'h', 'hel', '']) {
    assert.deepEqual(parse('-s', word), { kind: 'exit', status: 0, out: 'hostbridge\namd_hostbridge\nlpc\n', error: '' });
    assert.deepEqual(parse('-l', word), { kind: 'exit', status: 0, out: 'bootrom\ncom1\ncom2\ncom3\ncom4\npc-testdev\n', error: '' });
  }
});

test('config.dump prints a -k file and ends with 1', () => {
  const result = parse(
    '-HAP',
    '-c',
    '2',
    '-m',
    '1G',
    '-s',
    '0,hostbridge',
    '-s',
    '31,lpc',
    '-l',
    'com1,stdio',
    '-o',
    'x=%(name)',
    '-o',
    'config.dump=1',
    'vm',
  );
  assert.ok(result.kind === 'exit' && result.status === 1 && result.error === '');
  if (result.kind !== 'exit') return;
  const copy = new ConfigTree();
  copy.setFile('dump', result.out.replace('config.dump=1\n', ''));
  assert.deepEqual(
    [copy.get('x'), copy.get('pci.0.31.0.device'), copy.get('cpus'), copy.get('name'), copy.get('config.dump')],
    ['vm', 'lpc', '2', 'vm', undefined],
  );
});

test('settings: what a tree comes to', () => {
  const settings = readSettings(
    treeFor(
      '-HPwxu',
      '-c',
      '4',
      '-m',
      '512',
      '-s',
      '0,hostbridge',
      '-s',
      '31,lpc',
      '-l',
      'com1,stdio',
      '-l',
      'com3,/dev/x',
      '-l',
      'pc-testdev',
      '-o',
      'kernel=/k',
      '-o',
      'cmdline=a b=c',
      'vm',
    ),
    LIMITS,
  );
  assert.deepEqual(settings.topology, { cpus: 4, sockets: 4, cores: 1, threads: 1 });
  assert.equal(settings.memoryBytes, 512 * 2 ** 20);
  assert.deepEqual(
    settings.pci.map(({ bus, slot, func, device }) => `${bus}:${slot}:${func}=${device}`),
    ['0:0:0=hostbridge', '0:31:0=lpc'],
  );
  assert.deepEqual(settings.serial, [
    { port: 'com1', backend: 'stdio' },
    { port: 'com3', backend: '/dev/x' },
  ]);
  assert.deepEqual(settings.boot, { kernel: '/k', initrd: undefined, cmdline: 'a b=c' });
  assert.deepEqual(
    [settings.strictMsr, settings.x2apic, settings.rtcLocalTime, settings.hltExit, settings.pcTestDev],
    [false, true, false, true, true],
  );
  assert.match(settings.uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-3[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(readSettings(treeFor('vm'), LIMITS).uuid, settings.uuid);
  assert.notEqual(readSettings(treeFor('vm2'), LIMITS).uuid, settings.uuid);
});

test('settings: topology as bhyve computes it', () => {
  for (const [spec, cpus, sockets, cores, threads] of [
    ['1', 1, 1, 1, 1],
    ['4', 4, 4, 1, 1],
    ['', 1, 1, 1, 1],
    ['cores=2', 2, 1, 2, 1],
    ['sockets=2,cores=2', 4, 2, 2, 1],
    ['threads=2,cpus=4,sockets=2', 4, 2, 1, 2],
    ['0x2', 2, 2, 1, 1],
    ['2,1', 1, 1, 1, 1],
  ] as const)
    assert.deepEqual(readSettings(treeFor('-c', spec, 'vm'), LIMITS).topology, { cpus, sockets, cores, threads }, spec);
  for (const [spec, message] of [
    ['4,cores=2', 'Topology (4 sockets, 2 cores, 1 threads) does not match 4 vCPUs'],
    ['5', '5 vCPUs requested but only 4 available'],
    ['0', "Invalid value for cpus: '0'; expected 1 to 65535"],
    ['-1', "Invalid value for cpus: '-1'; expected 1 to 65535"],
    ['65536', "Invalid value for cpus: '65536'; expected 1 to 65535"],
    ['2x', "Invalid value for cpus: '2x'; expected 1 to 65535"],
    ['cores=65535,threads=2', 'Computed number of vCPUs too high: 131070; expected at most 65535'],
  ] as const)
    assert.throws(() => readSettings(treeFor('-c', spec, 'vm'), LIMITS), { message });
});

test('settings: each bad variable is named with its value and what is accepted', () => {
  for (const [options, message] of [
    [['memory.size=0'], /^-m '0': invalid memsize/],
    [['memory.size=9G'], /^-m '9G': invalid memsize; .* to 8G/],
    [['uuid=1'], /^-U '1': invalid UUID/],
    [['x86.strictio=maybe'], /boolean variable x86.strictio/],
    [['memory.wired=2'], /boolean variable memory.wired/],
    [['lpc.com1.path=file'], /^-l com1 'file': unknown backend; expected stdio, none, a tty path/],
    [['lpc.com2.path=tcp=x'], /^-l com2 'tcp=x'/],
    [['lpc.com2.path=tcp=x:99999'], /^-l com2 'tcp=x:99999'/],
    [['gdb.port=1234'], /^gdb.port='1234': the debug server/],
    [['tpm.type=swtpm'], /^tpm\.\*: the TPM/],
    [['vcpu.0.cpuset=1'], /^vcpu\.\*: pinning/],
    [['domains.0.size=1G'], /^domains\.\*: NUMA/],
    [['keyboard.layout=de'], /^keyboard.layout='de'/],
    [['initrd=/x'], /^initrd='\/x': there is no kernel/],
    [['cmdline=x'], /^cmdline='x': there is no kernel/],
    [['kernel=/k', 'lpc.bootrom=/r'], /expected one of them/],
    [['kernel=/k', `cmdline=${'x'.repeat(70_000)}`], /70000 characters; expected at most 65535/],
    [['lpc.bootvars=/v'], /there is no boot ROM/],
    [['lpc.fwcfg=x'], /^lpc.fwcfg='x': expected bhyve or qemu/],
    [['cpu.codecache=lots'], /^cpu.codecache 'lots'/],
    [['cpu.codecache=4G'], /^cpu.codecache '4G'/],
    [['cpu.tracejit=x', 'cpu.tier=interpreter'], /^cpu.tracejit='x': nothing is compiled/],
    [['cpu.tier=9'], /^cpu.tier='9': expected default or interpreter/],
    [['pci.0.0.0.x=1'], /^pci.0.0.0: missing "device" value/],
    [['pci.0.0.8.device=lpc'], /is no such place/],
    [['pci.0.00.0.device=lpc'], /is no such place/],
    [['pci.0.3.0.device=virtio-net'], /device "virtio-net" is not in this version/],
    [['pci.0.3.0.device=zip'], /unknown device 'zip'/],
    [['pci.1.3.0.device=lpc'], /LPC bridge can be present only on bus 0/],
    [['pci.0.3.0.device=lpc', 'pci.0.4.0.device=lpc'], /Only one LPC bridge is allowed/],
    [['pci.0.3.0.device=amd_hostbridge'], /an alias of -s/],
    [[`name=${'x'.repeat(230)}`], /^VM name .*expected 1 to 229/],
    [['name=a/b'], /^VM name 'a\/b'/],
  ] as const) {
    const tree = treeFor(...options.flatMap((option) => ['-o', option]), ...(options[0].startsWith('name=') ? [] : ['vm']));
    assert.throws(
      () => readSettings(tree, LIMITS),
      (error) => {
        assert.ok(error instanceof VmError);
        assert.match(error.message, message);
        assert.ok(!error.message.includes('\n'));
        return true;
      },
    );
  }
  assert.equal(readSettings(treeFor('-o', 'gdb.port=0', '-o', 'unknown.variable=1', 'vm'), LIMITS).cpuTier, 'default');
});

const word = fc.oneof(
  fc.string(),
  fc.constantFrom(
    '-s',
    '-l',
    '-m',
    '-c',
    '-o',
    '-k',
    '-HAP',
    '-U',
    '--',
    'vm',
    'good',
    '31,lpc',
    '0,hostbridge',
    'com1,stdio',
    '1G',
    'cpus=2',
  ),
  fc.stringMatching(/^[0-9:]{1,8},[a-z-]{1,9}(,[a-z=,.]{0,9})?$/),
  fc.stringMatching(/^(com[1-5]|bootrom|tpm|pc-testdev),[a-z=,/:0-9]{0,12}$/),
  fc.stringMatching(/^(cpus|sockets|cores|threads|x)=[0-9x,=]{0,9}$/),
);

test('fuzz: no command line ends in anything but a tree, a text or a VmError', () => {
  fc.assert(
    fc.property(fc.array(word), (args) => {
      const result = parse(...args);
      if (result.kind === 'exit') {
        assert.ok([0, 1, 4, 64].includes(result.status));
        return;
      }
      const copy = new ConfigTree();
      copy.setFile('dump', result.tree.dump());
      assert.deepEqual([...copy.entries()], [...result.tree.entries()]);
      try {
        readSettings(result.tree, LIMITS);
      } catch (error) {
        assert.ok(error instanceof VmError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
