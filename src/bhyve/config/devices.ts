/**
 * Arguments of `-s` and `-l`, and the table of device models behind them.
 * Implements: bhyve(8) `-s slot,emulation[,conf]`, `-l lpcdev[,conf]`; bhyve_config(5) pci.B.S.F.*, lpc.*.
 * Runs on: main event loop. Models which bhyve has and this version lacks are known by name, so that the error can say so.
 */
import { VmError } from '../../base/errors.ts';
import { quote } from './numbers.ts';
import type { ConfigTree } from './tree.ts';

export const PCI_MAX_BUS = 255,
  PCI_MAX_SLOT = 31,
  PCI_MAX_FUNCTION = 7;

interface PciModel {
  /** False: bhyve has it, this version does not. */
  readonly available: boolean;
  /** An alias is written to the tree as another model with these variables. */
  readonly alias?: { readonly model: string; readonly variables: Readonly<Record<string, string>> };
}

const LATER: PciModel = { available: false };

/** Every `-s` model of bhyve(8). */
export const PCI_MODELS: Readonly<Record<string, PciModel>> = {
  hostbridge: { available: true },
  amd_hostbridge: { available: true, alias: { model: 'hostbridge', variables: { 'pcireg.vendor': '0x1022', 'pcireg.device': '0x7432' } } },
  lpc: { available: true },
  ahci: LATER,
  'ahci-hd': LATER,
  'ahci-cd': LATER,
  nvme: LATER,
  e1000: LATER,
  fbuf: LATER,
  hda: LATER,
  passthru: LATER,
  uart: LATER,
  xhci: LATER,
  dummy: LATER,
  'virtio-net': LATER,
  'virtio-blk': LATER,
  'virtio-console': LATER,
  'virtio-scsi': LATER,
  'virtio-rnd': LATER,
  'virtio-9p': LATER,
  'virtio-input': LATER,
};

const COM_NAMES = ['com1', 'com2', 'com3', 'com4'] as const;
export type ComName = (typeof COM_NAMES)[number];
export { COM_NAMES };

export function pciHelp(): string {
  return Object.keys(PCI_MODELS)
    .filter((name) => PCI_MODELS[name]?.available)
    .map((name) => `${name}\n`)
    .join('');
}

/** Names as bhyve prints them, less those this version lacks (tpm). */
export function lpcHelp(): string {
  return ['bootrom', ...COM_NAMES, 'pc-testdev'].map((name) => `${name}\n`).join('');
}

/** bhyve compares with the argument's own length: any beginning of `help`, the empty one too. */
export function asksForHelp(argument: string): boolean {
  return 'help'.startsWith(argument);
}

export function unavailableModel(slot: string, model: string): VmError {
  return new VmError(
    'ENOTSUP',
    `pci slot ${slot}: device "${model}" is not in this version; expected one of ${pciHelp().trim().replaceAll('\n', ', ')}`,
  );
}

/**
 * Put a `-s` argument into the tree, as pci.BUS.SLOT.FUNCTION.
 * @throws VmError with bhyve's texts: Invalid PCI slot info field, unknown device, already occupied.
 */
export function parsePciSlot(tree: ConfigTree, argument: string): void {
  const [place = '', model, ...rest] = splitFirst(argument, 3);
  const numbers = /^[0-9]{1,3}(:[0-9]{1,3}){0,2}$/.test(place) ? place.split(':').map(Number) : [];
  const [bus, slot, func] = numbers.length === 3 ? numbers : [0, numbers[0], numbers[1] ?? 0];
  if (
    model === undefined ||
    bus === undefined ||
    slot === undefined ||
    func === undefined ||
    bus > PCI_MAX_BUS ||
    slot > PCI_MAX_SLOT ||
    func > PCI_MAX_FUNCTION
  ) {
    throw new VmError(
      'EINVAL',
      `Invalid PCI slot info field "${shown(argument)}"; expected [BUS:]SLOT[:FUNCTION],MODEL[,CONF] ` +
        'with bus 0 to 255, slot 0 to 31, function 0 to 7',
    );
  }
  const known = Object.hasOwn(PCI_MODELS, model) ? PCI_MODELS[model] : undefined;
  if (!known) {
    throw new VmError('EINVAL', `pci slot ${bus}:${slot}:${func}: unknown device "${shown(model)}"; -s help lists them`);
  }
  if (!known.available) throw unavailableModel(`${bus}:${slot}:${func}`, model);
  const node = `pci.${bus}.${slot}.${func}`;
  if (tree.isNode(node)) throw new VmError('EEXIST', `pci slot ${bus}:${slot}:${func} already occupied!`);
  tree.set(`${node}.device`, known.alias?.model ?? model);
  for (const [name, value] of Object.entries(known.alias?.variables ?? {})) tree.set(`${node}.${name}`, value);
  const conf = rest[0];
  if (conf !== undefined) setPlainOptions(tree, node, conf, `-s ${quote(argument)}`);
}

/** A host bridge and an LPC bridge in their usual places, unless the tree has such devices or something else there. */
export function addDefaultBridges(tree: ConfigTree): void {
  const devices = new Set(
    [...tree.entries()].filter(([path]) => /^pci\.[^.]+\.[^.]+\.[^.]+\.device$/.test(path)).map(([, device]) => device),
  );
  for (const [device, slots] of [
    ['hostbridge', [0]],
    ['lpc', [31, 1, 2, 3]],
  ] as const) {
    const slot = slots.find((candidate) => !tree.isNode(`pci.0.${candidate}`));
    if (!devices.has(device) && slot !== undefined) tree.set(`pci.0.${slot}.0.device`, device);
  }
}

/**
 * Put a `-l` argument into the tree. Names are taken in any case; `pctestdev` is pc-testdev, too.
 * @returns false when there is no such device.
 * @throws VmError EINVAL, ENOTSUP.
 */
export function parseLpcDevice(tree: ConfigTree, argument: string): boolean {
  const [name = '', conf] = splitFirst(argument, 2);
  const device = name.toLowerCase();
  const com = COM_NAMES.find((known) => known === device);
  if (com) {
    if (conf === undefined || conf === '') throw new VmError('EINVAL', `-l ${quote(argument)}: expected ${com},BACKEND; ${BACKENDS}`);
    tree.set(`lpc.${com}.path`, conf);
    return true;
  }
  switch (device) {
    case 'bootrom': {
      const [rom, second, more] = conf === undefined ? [] : splitFirst(conf, 3);
      if (rom === undefined || rom === '')
        throw new VmError('EINVAL', `invalid bootrom option "${shown(argument)}"; expected bootrom,FILE[,VARFILE][,fwcfg=bhyve|qemu]`);
      tree.set('lpc.bootrom', rom);
      if (second === undefined) return true;
      if (second.includes('=')) setPlainOptions(tree, 'lpc', second, `-l ${quote(argument)}`);
      else tree.set('lpc.bootvars', second);
      if (more !== undefined) setPlainOptions(tree, 'lpc', more, `-l ${quote(argument)}`);
      return true;
    }
    case 'pc-testdev':
    case 'pctestdev':
      if (conf !== undefined) throw new VmError('EINVAL', `-l ${quote(argument)}: expected pc-testdev without options`);
      tree.setBool('lpc.pc-testdev', true);
      return true;
    case 'tpm':
      throw new VmError(
        'ENOTSUP',
        `-l ${quote(argument)}: device "tpm" is not in this version; expected one of ${lpcHelp().trim().replaceAll('\n', ', ')}`,
      );
    default:
      return false;
  }
}

export const BACKENDS = 'a backend is stdio, none, a tty path (/dev/...) or tcp=HOST:PORT';

/** `name=value` or a bare `name`, which is true; comma separated. */
function setPlainOptions(tree: ConfigTree, node: string, text: string, flag: string): void {
  for (const word of text.split(',')) {
    const equals = word.indexOf('=');
    if (word === '' || equals === 0 || equals === word.length - 1)
      throw new VmError('EINVAL', `${flag}: invalid option ${quote(word)}; expected NAME or NAME=VALUE`);
    if (equals < 0) tree.setBool(`${node}.${word}`, true);
    else tree.set(`${node}.${word.slice(0, equals)}`, word.slice(equals + 1));
  }
}

/** Split at the first commas into at most `parts` pieces; the last keeps its commas. */
function splitFirst(text: string, parts: number): string[] {
  const pieces: string[] = [];
  let rest = text;
  while (pieces.length < parts - 1) {
    const comma = rest.indexOf(',');
    if (comma < 0) break;
    pieces.push(rest.slice(0, comma));
    rest = rest.slice(comma + 1);
  }
  return [...pieces, rest];
}

/** For bhyve's messages with double quotes. */
function shown(text: string): string {
  return quote(text).slice(1, -1);
}
