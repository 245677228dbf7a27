/**
 * The LPC (ISA) bridge, a PIIX3: its PIRQ route control registers.
 * Implements: Intel 82371SB (PIIX3) 2.2.2 PIRQRC[A:D]; bhyve-map 1.6 (E-H at 68h-6Bh). Runs on: main event loop.
 */
import type { Log } from '../../base/log.ts';
import { PciFunction, type PciIdentity } from './function.ts';
import { CLASS_BRIDGE, DEVICE_PIIX3_ISA, SUBCLASS_ISA, VENDOR_INTEL } from './ids.ts';
import { PIRQ_COUNT, type PirqRouter } from './irq.ts';

export const LPC_IDENTITY: PciIdentity = {
  vendor: VENDOR_INTEL,
  device: DEVICE_PIIX3_ISA,
  classCode: CLASS_BRIDGE,
  subclass: SUBCLASS_ISA,
};

/** Offset of a PIRQ's register in configuration space. */
export const pirqRegister = (pirq: number): number => (pirq < 4 ? 0x60 + pirq : 0x68 + pirq - 4);

export function createLpc(
  place: { readonly bus: number; readonly slot: number; readonly func: number },
  identity: PciIdentity,
  router: PirqRouter,
  log: Log,
): LpcBridge {
  return new LpcBridge({ ...place, name: 'lpc' }, identity, router, log);
}

export class LpcBridge extends PciFunction {
  readonly #router: PirqRouter;

  constructor(
    place: { readonly bus: number; readonly slot: number; readonly func: number; readonly name: string },
    identity: PciIdentity,
    router: PirqRouter,
    log: Log,
  ) {
    super(place, identity, log);
    this.#router = router;
  }

  /** The registers are the router's; configuration space only shows them. */
  override readConfig(offset: number, sizeBytes: number): number {
    for (let pirq = 0; pirq < PIRQ_COUNT; pirq++) this.setConfig(pirqRegister(pirq), 1, this.#router.read(pirq));
    return super.readConfig(offset, sizeBytes);
  }

  override writeConfig(offset: number, sizeBytes: number, value: number): void {
    for (let pirq = 0; pirq < PIRQ_COUNT; pirq++) {
      const index = pirqRegister(pirq) - offset;
      if (index >= 0 && index < sizeBytes) this.#router.write(pirq, Math.floor(value / 2 ** (8 * index)) % 256);
    }
    super.writeConfig(offset, sizeBytes, value);
  }

  override reset(): void {
    this.#router.reset();
    super.reset();
  }
}
