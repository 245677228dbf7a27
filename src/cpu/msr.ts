/**
 * Model-specific registers which are constants, as a table in memory 0 that cpu.wasm reads.
 * Implements: SDM vol. 4; bhyve-map 3.6 (what bhyve answers for Intel registers that guests read).
 * Runs on: whoever creates the VM. Registers with state are in cpu/assembly/msr.ts, those of the local APIC in vmm/assembly.
 */
import { MSR_ROWS, MSR_ROW_BYTES, MSR_TABLE, MSR_WRITE_FAULTS, MSR_WRITE_IGNORED } from '../base/memory-map.ts';

export interface ConstantMsr {
  readonly msr: number;
  readonly value: bigint;
  /** What a write does: #GP(0), or nothing. */
  readonly write: 'faults' | 'ignored';
  readonly doc: string;
}

/**
 * IA32_ARCH_CAPABILITIES: nothing is executed speculatively, so none of these attacks finds anything, and guests may leave out
 * their costly defences. RDCL_NO IBRS_ALL SKIP_L1DFL_VMENTRY SSB_NO MDS_NO IF_PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO FBSDP_NO PSDP_NO
 * BHI_NO PBRSB_NO GDS_NO RFDS_NO ITS_NO.
 */
const ARCH_CAPABILITIES = [0, 1, 3, 4, 5, 6, 8, 13, 14, 15, 20, 24, 26, 27, 62].reduce((bits, bit) => bits | (1n << BigInt(bit)), 0n);

export const CONSTANT_MSRS: readonly ConstantMsr[] = [
  { msr: 0x17, value: 0n, write: 'faults', doc: 'IA32_PLATFORM_ID' },
  { msr: 0x3a, value: 1n, write: 'faults', doc: 'IA32_FEATURE_CONTROL: locked, no VMX' },
  { msr: 0x8b, value: 0n, write: 'ignored', doc: 'IA32_BIOS_SIGN_ID: no microcode update' },
  { msr: 0x10a, value: ARCH_CAPABILITIES, write: 'faults', doc: 'IA32_ARCH_CAPABILITIES' },
  { msr: 0x606, value: 0xa1003n, write: 'faults', doc: 'MSR_RAPL_POWER_UNIT' },
  { msr: 0x611, value: 0n, write: 'faults', doc: 'MSR_PKG_ENERGY_STATUS' },
  { msr: 0x619, value: 0n, write: 'faults', doc: 'MSR_DRAM_ENERGY_STATUS' },
  { msr: 0x639, value: 0n, write: 'faults', doc: 'MSR_PP0_ENERGY_STATUS' },
  { msr: 0x641, value: 0n, write: 'faults', doc: 'MSR_PP1_ENERGY_STATUS' },
];

/** Write the table. @param memory0 all of memory 0 */
export function writeMsrTable(memory0: DataView, rows: readonly ConstantMsr[] = CONSTANT_MSRS): void {
  memory0.setUint32(MSR_TABLE, rows.length, true);
  rows.forEach(({ msr, value, write }, index) => {
    const at = MSR_ROWS + index * MSR_ROW_BYTES;
    memory0.setUint32(at, msr, true);
    memory0.setUint32(at + 4, write === 'ignored' ? MSR_WRITE_IGNORED : MSR_WRITE_FAULTS, true);
    memory0.setBigUint64(at + 8, value, true);
  });
}
