/**
 * The DSDT's contents: soft-off, PCI root bridges, the ISA devices behind the LPC bridge, interrupt links.
 * Implements: ACPI 6.4 6.2.13 _PRT, 6.2.2 _CRS, 7.4.2.5 _S5; PCI Firmware 3.2 4.1.2 (ECAM is reserved by a motherboard resource);
 * bhyve-map 2.2. Runs on: main event loop.
 */
import { COM_PORTS, ECAM, HPET_BASE, KBD_IRQ, MOUSE_IRQ, PCI_IO_WINDOW, PCI_WINDOW32, PORT, RTC_IRQ, SLP_TYP_S5 } from '../layout.ts';
import {
  REGION_PCI_CONFIG,
  and,
  arg,
  byteFields,
  call,
  createWordField,
  decrement,
  device,
  dwordMemory,
  eisaId,
  findSetRightBit,
  ifThen,
  integer,
  io,
  irqLevelLowShared,
  irqNoFlags,
  lequal,
  lless,
  local,
  memory32Fixed,
  method,
  name,
  operationRegion,
  otherwise,
  packageOf,
  path,
  qwordMemory,
  resourceTemplate,
  returns,
  scope,
  shiftLeft,
  store,
  text,
  toBytes,
  wordBusNumber,
  wordIo,
  type Aml,
} from './aml.ts';

export interface DsdtPin {
  readonly bus: number;
  readonly slot: number;
  /** 1 to 4. */
  readonly pin: number;
  readonly ioapicPin: number;
  readonly pirq: number;
}

export interface DsdtInput {
  /** Bus numbers in use, bus 0 always among them. */
  readonly buses: readonly number[];
  readonly intx: readonly DsdtPin[];
  readonly lpc: { readonly slot: number; readonly func: number } | undefined;
  /** Offsets of the PIRQ registers in the LPC bridge's configuration space. */
  readonly pirqRegisters: readonly number[];
  readonly possibleIrqs: readonly number[];
  readonly window64: { readonly start: number; readonly sizeBytes: number };
  readonly hasFwcfg: boolean;
}

const letterOf = (pirq: number): string => String.fromCharCode(0x41 + pirq);
const bridgeName = (bus: number): string => `PC${bus.toString(16).toUpperCase().padStart(2, '0')}`;

export function dsdt(input: DsdtInput): Uint8Array {
  return toBytes(
    name('\\_S5', packageOf(integer(SLP_TYP_S5), integer(0))),
    name('\\PICM', integer(0)),
    method('\\_PIC', 1, store(arg(0), path('PICM'))),
    scope('\\_SB', ...input.buses.map((bus) => rootBridge(bus, input)), hpet()),
  );
}

function rootBridge(bus: number, input: DsdtInput): Aml {
  const isFirst = bus === 0;
  const nextBus = input.buses.find((other) => other > bus) ?? 256;
  // Legacy ports, and all windows, belong to the first bridge.
  const resources = [
    wordBusNumber(bus, nextBus - bus),
    ...(isFirst
      ? [
          io(PORT.PCI_ADDRESS, 8),
          wordIo(0, PORT.PCI_ADDRESS),
          wordIo(PORT.PCI_DATA + 4, PCI_IO_WINDOW.start - PORT.PCI_DATA - 4),
          wordIo(PCI_IO_WINDOW.start, PCI_IO_WINDOW.sizeBytes),
          dwordMemory(PCI_WINDOW32.start, PCI_WINDOW32.sizeBytes),
          qwordMemory(input.window64.start, input.window64.sizeBytes),
        ]
      : []),
  ];
  return device(
    bridgeName(bus),
    name('_HID', eisaId('PNP0A03')),
    name('_UID', integer(bus)),
    name('_BBN', integer(bus)),
    name('_CRS', resourceTemplate(...resources)),
    ...routing(
      input.intx.filter((entry) => entry.bus === bus),
      input.lpc !== undefined,
    ),
    ...(isFirst && input.lpc !== undefined ? [isaBridge(input.lpc, input)] : []),
  );
}

/** _PRT for the IOAPIC and, when the LPC bridge has links, for the PIC; the guest says by _PIC which it uses. */
function routing(pins: readonly DsdtPin[], hasLinks: boolean): Aml[] {
  const address = (entry: DsdtPin): Aml => integer(entry.slot * 0x10000 + 0xffff);
  const apic = packageOf(...pins.map((entry) => packageOf(address(entry), integer(entry.pin - 1), integer(0), integer(entry.ioapicPin))));
  if (!hasLinks) return [name('APRT', apic), method('_PRT', 0, returns(path('APRT')))];
  const pic = packageOf(
    ...pins.map((entry) =>
      packageOf(address(entry), integer(entry.pin - 1), path(`\\_SB.PC00.ISA.LNK${letterOf(entry.pirq)}`), integer(0)),
    ),
  );
  return [
    name('PPRT', pic),
    name('APRT', apic),
    method('_PRT', 0, ifThen(path('\\PICM'), returns(path('APRT'))), otherwise(returns(path('PPRT')))),
  ];
}

function isaBridge(lpc: { readonly slot: number; readonly func: number }, input: DsdtInput): Aml {
  const pirqs = input.pirqRegisters.map((offset, pirq) => ({ name: `PIR${letterOf(pirq)}`, offset }));
  return device(
    'ISA',
    name('_ADR', integer(lpc.slot * 0x10000 + lpc.func)),
    operationRegion('LPCR', REGION_PCI_CONFIG, 0, 0x100),
    byteFields('LPCR', pirqs),
    // Is this a PIRQ register's value that names an interrupt? (Not disabled, none of 0-2, 8, 13.)
    method(
      'PIRV',
      1,
      ifThen(and(arg(0), integer(0x80)), returns(integer(0))),
      and(arg(0), integer(0x0f), local(0)),
      ifThen(lless(local(0), integer(3)), returns(integer(0))),
      ifThen(lequal(local(0), integer(8)), returns(integer(0))),
      ifThen(lequal(local(0), integer(13)), returns(integer(0))),
      returns(integer(1)),
    ),
    ...pirqs.map((_register, pirq) => link(pirq, input.possibleIrqs)),
    device(
      'SIO',
      name('_HID', eisaId('PNP0C02')),
      name(
        '_CRS',
        resourceTemplate(
          memory32Fixed(ECAM.start, ECAM.sizeBytes, true),
          io(0x61, 1),
          io(PORT.POST, 1),
          io(PORT.FAST_RESET, 1),
          io(PORT.SMI_COMMAND, 1),
          io(PORT.PM1_EVENT, 4),
          io(PORT.PM1_CONTROL, 2),
          io(PORT.PM_TIMER, 4),
          io(PORT.GPE0, 2),
          io(0x4d0, 2),
        ),
      ),
    ),
    ...COM_PORTS.map((com, index) => isaDevice(com.name.toUpperCase(), 'PNP0501', index + 1, io(com.port, 8), irqNoFlags(com.irq))),
    isaDevice('RTC', 'PNP0B00', undefined, io(PORT.RTC_INDEX, 2), irqNoFlags(RTC_IRQ)),
    isaDevice('KBD', 'PNP0303', undefined, io(PORT.KBD_DATA, 1), io(PORT.KBD_COMMAND, 1), irqNoFlags(KBD_IRQ)),
    isaDevice('MOU', 'PNP0F13', undefined, irqNoFlags(MOUSE_IRQ)),
    isaDevice('PIC', 'PNP0000', undefined, io(0x20, 2), io(0xa0, 2), irqNoFlags(2)),
    isaDevice('TIMR', 'PNP0100', undefined, io(0x40, 4), irqNoFlags(0)),
    ...(input.hasFwcfg
      ? [
          device(
            'FWCF',
            name('_HID', text('QEMU0002')),
            name('_STA', integer(0x0b)),
            name('_CRS', resourceTemplate(io(PORT.FWCFG_SELECTOR, 2))),
          ),
        ]
      : []),
  );
}

function isaDevice(deviceName: string, id: string, uid: number | undefined, ...resources: readonly Aml[]): Aml {
  return device(
    deviceName,
    name('_HID', eisaId(id)),
    ...(uid === undefined ? [] : [name('_UID', integer(uid))]),
    name('_CRS', resourceTemplate(...resources)),
  );
}

/** A PCI interrupt link over one PIRQ register. */
function link(pirq: number, possibleIrqs: readonly number[]): Aml {
  const letter = letterOf(pirq);
  const register = path(`PIR${letter}`);
  // Offset of the mask in the IRQ descriptor, the first of its template.
  const maskAt = 1;
  return device(
    `LNK${letter}`,
    name('_HID', eisaId('PNP0C0F')),
    name('_UID', integer(pirq + 1)),
    method('_STA', 0, ifThen(call('PIRV', register), returns(integer(0x0b))), otherwise(returns(integer(0x09)))),
    name('_PRS', resourceTemplate(irqLevelLowShared(...possibleIrqs))),
    name(`CB0${pirq + 1}`, resourceTemplate(irqLevelLowShared())),
    createWordField(path(`CB0${pirq + 1}`), maskAt, `CIR${letter}`),
    method(
      '_CRS',
      0,
      and(register, integer(0x8f), local(0)),
      ifThen(call('PIRV', local(0)), shiftLeft(integer(1), local(0), path(`CIR${letter}`))),
      otherwise(store(integer(0), path(`CIR${letter}`))),
      returns(path(`CB0${pirq + 1}`)),
    ),
    method('_DIS', 0, store(integer(0x80), register)),
    method(
      '_SRS',
      1,
      createWordField(arg(0), maskAt, `SIR${letter}`),
      findSetRightBit(path(`SIR${letter}`), local(0)),
      store(decrement(local(0)), register),
    ),
  );
}

function hpet(): Aml {
  return device(
    'HPET',
    name('_HID', eisaId('PNP0103')),
    name('_UID', integer(0)),
    name('_CRS', resourceTemplate(memory32Fixed(HPET_BASE, 0x400, true))),
  );
}
