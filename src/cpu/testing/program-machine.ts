/**
 * The machine that random programs run in: the small machine with tables, handlers and mappings of program-map.ts, its state compared with
 * another one's, and an interrupt line.
 * Implements: SDM vol. 3A 3.4.5 Segment Descriptors, 4.4 and 4.5 page tables, 6.14.1 64-Bit Mode IDT, 7.2.1 TSS. Runs on: any thread of Node.
 */
import { HVA_RAM, VCPUS } from '../../base/memory-map.ts';
import { REQUEST_CODE, REQUEST_TLB } from '../../base/vcpu-words.ts';
import { GPR_NAMES, SEG, VCPU } from '../state.ts';
import { nearBorder } from './program-assembler.ts';
import type { Program, ProgramMode } from './program-assembler.ts';
import { SYSCALL_ENTRY, handlerCode } from './program-handlers.ts';
import {
  CODE,
  CODE_ALIAS,
  CODE_BYTES,
  CODE_GPA,
  CODE_PAGES,
  COPY_BIT,
  DATA,
  DATA_BYTES,
  DATA_GPA,
  DATA_PAGES,
  ENTRY,
  GDT,
  HANDLERS,
  HANDLER_STACK_TOP,
  IDT,
  NEXT_TABLE,
  PAE_PDPT,
  PAGE,
  PD,
  PDPT,
  PML4,
  PT,
  PT_WINDOW,
  WINDOW,
  WINDOW_PAGES,
  RAM_BYTES,
  STACK,
  STACK_TOP,
  TSS,
  VECTOR_EXTERNAL,
  VECTOR_RELOAD,
} from './program-map.ts';
import { Random } from './random.ts';
import { SmallMachine } from './small-machine.ts';
import type { Field, SmallMachineOptions } from './small-machine.ts';

/** P RW US A D: the accessed and dirty bits are set already, so that no walk changes the tables. */
const PAGE_BITS = 0x67n;
const TABLE_BITS = 0x67n;
const KERNEL_CODE = 0x08,
  KERNEL_DATA = 0x10,
  USER_CODE = 0x1b,
  USER_DATA = 0x23,
  TASK = 0x28,
  /** SYSRET: SS and 64-bit CS follow it. */
  SYSRET_BASE = 0x2b;
const ACCESS_NARROW_CODE = 0x80fb,
  ACCESS_NARROW_STACK = 0x80f3;

interface Surroundings {
  readonly kernelCode: bigint;
  readonly userCode: bigint;
  readonly userAccess: number;
  readonly longMode: boolean;
  readonly base: number;
}
const MODES: Readonly<Record<ProgramMode, Surroundings>> = {
  long: { kernelCode: 0x00af9b000000ffffn, userCode: 0x00affb000000ffffn, userAccess: 0xa0fb, longMode: true, base: 0 },
  compat: { kernelCode: 0x00af9b000000ffffn, userCode: 0x00cffb000000ffffn, userAccess: 0xc0fb, longMode: true, base: 0 },
  protected: { kernelCode: 0x00cf9b000000ffffn, userCode: 0x00cffb000000ffffn, userAccess: 0xc0fb, longMode: false, base: 0 },
  '16-bit': {
    kernelCode: 0x00cf9b000000ffffn,
    userCode: 0x008ffb000000ffffn | (BigInt(CODE) << 16n),
    userAccess: ACCESS_NARROW_CODE,
    longMode: false,
    base: CODE,
  },
};

/** What must be alike in both tiers, in the order of the report. */
const FIELDS: readonly (readonly [Field, number])[] = [
  ['rip', 1],
  ['retired', 1],
  ['gpr', 16],
  ['rflags', 1],
  ['cpl', 1],
  ['segSelector', 8],
  ['segBase', 8],
  ['cr2', 1],
  ['cr3', 1],
  ['shadow', 1],
  ['mxcsr', 1],
  ['fcw', 1],
  ['fsw', 1],
  ['ftw', 1],
  ['fop', 1],
  ['fip', 1],
  ['fdp', 1],
  ['dr', 8],
];
const FPR_BYTES = 10;
/** Bytes of the record that must be alike: where they are not, the fields are looked at. */
const SPANS = [
  ...FIELDS.filter(([name]) => name !== 'rflags').map(
    ([name, count]) => [VCPU.offset[name], VCPU.offset[name] + count * VCPU.fields[name].strideBytes] as const,
  ),
  [VCPU.offset.vector, VCPU.offset.fpr] as const,
  ...Array.from({ length: 8 }, (_, register) => [VCPU.offset.fpr + register * 16, VCPU.offset.fpr + register * 16 + FPR_BYTES] as const),
];

/** Memory as a program finds it. */
interface Image {
  readonly program: Program;
  readonly seed: number;
  readonly ram: Buffer;
  /** Where SYSCALL goes. */
  readonly syscallEntry: number;
}

export class ProgramMachine extends SmallMachine {
  readonly #bytes = Buffer.from(this.memory0.buffer as ArrayBuffer, VCPUS, VCPU.sizeBytes);
  /** Is the interrupt line high? */
  interrupt = false;
  #writtenPages: number[] = [];
  #image: Image | undefined;

  constructor(options: Partial<SmallMachineOptions> = {}) {
    let nowNs = 0;
    super({
      ...options,
      nowNs: () => (nowNs += 1e6),
      ramBytes: RAM_BYTES,
      takeWrittenPages: () => this.#writtenPages.splice(0),
      bus: {
        interruptVector: () => (this.interrupt ? VECTOR_EXTERNAL : -1),
        interruptAck: () => {
          this.interrupt = false;
          return VECTOR_EXTERNAL;
        },
      },
    });
  }

  /**
   * Everything anew: the same seed gives the same registers, data and order of pages.
   * @param code 'keep code': the program and the seed are those of the last time, and what was decoded and compiled is used again
   */
  load(program: Program, seed: number, code?: 'keep code'): void {
    const random = new Random(seed ^ 0x5bd1e995),
      { mode } = program,
      surroundings = MODES[mode];
    if (!code) this.processor.code.flush();
    this.interrupt = false;
    if (this.#image?.program !== program || this.#image.seed !== seed) this.#image = this.#buildImage(program, seed);
    this.ram.set(this.#image.ram);

    this.memory0.fill(0, VCPUS + VCPU.offset.gpr, VCPUS + VCPU.offset.zero);
    for (const [name] of FIELDS) for (let i = 0; i < VCPU.fields[name].count; i++) this.set(name, 0, i);
    const user = mode !== 'long' || random.once(3);
    this.set('cr0', 0x8005_0033n);
    this.set('cr3', surroundings.longMode ? PML4 : PAE_PDPT);
    this.set('cr4', 0x10620n);
    this.set('efer', surroundings.longMode ? 0xd01n : 0x801n);
    this.set('xcr0', 3n);
    [PD, 0, 0, 0].forEach((table, i) => this.set('pdpte', table === 0 ? 0n : BigInt(table) | 1n, i));
    const narrow = mode === '16-bit',
      data = user ? 0xc0f3 : 0xc093;
    this.setFlatSegments(user ? surroundings.userAccess : 0xa09b, data);
    for (let segment: number = SEG.ES; segment <= SEG.GS; segment++)
      this.set(
        'segSelector',
        user ? (segment === SEG.CS ? USER_CODE : USER_DATA) : segment === SEG.CS ? KERNEL_CODE : KERNEL_DATA,
        segment,
      );
    this.set('cpl', user ? 3 : 0);
    this.set('segBase', surroundings.base, SEG.CS);
    if (narrow) {
      for (const segment of [SEG.ES, SEG.DS]) this.set('segBase', DATA, segment);
      this.set('segBase', STACK, SEG.SS);
      this.set('segAccess', ACCESS_NARROW_STACK, SEG.SS);
    }
    this.set('star', (BigInt(SYSRET_BASE) << 48n) | (BigInt(KERNEL_CODE) << 32n));
    this.set('lstar', this.#image.syscallEntry);
    this.set('sfmask', 0x700n);
    this.set('kernelGsBase', DATA);
    this.set('segSelector', TASK, SEG.TR);
    this.set('segBase', TSS, SEG.TR);
    this.set('segLimit', 0x67, SEG.TR);
    this.set('segAccess', 0x8b, SEG.TR);
    this.set('segAccess', 0x10082, SEG.LDTR);
    this.set('gdtrBase', GDT);
    this.set('gdtrLimit', 0x3f);
    this.set('idtrBase', IDT);
    this.set('idtrLimit', 0xfff);

    this.set('rflags', 0x202n);
    this.set('dr', 0xffff0ff0n, 6);
    this.set('dr', 0x400n, 7);
    this.set('mxcsr', random.pick([0x1f80, 0x1fa0, 0x9fc0]));
    this.set('fcw', 0x37f);
    this.set('halted', 0);
    this.set('fault', 0);
    this.set('capabilities', 0);
    this.set('pendingDebug', 0);
    this.set('requests', 0);
    this.#writtenPages.length = 0;
    this.memory0.fill(0, VCPUS + VCPU.offset.vector, VCPUS + VCPU.offset.mxcsr);
    for (let lane = 0; lane < 32; lane++) this.set('vector', (BigInt(random.next()) << 32n) | BigInt(random.next()), (lane >> 1) * 2);
    for (let register = 0; register < (mode === 'long' ? 16 : 8); register++)
      this.set('gpr', BigInt(random.next()) | (mode === 'long' ? BigInt(random.below(4)) << 60n : 0n), register);
    this.set('gpr', 2 + random.below(40), 1);
    this.set('gpr', STACK_TOP - (narrow ? STACK : 0) - 8 * random.below(4), 4);
    for (const base of [3, 6, 7, ...(mode === 'long' ? [13, 14] : [])]) this.set('gpr', nearBorder(random, DATA, DATA_PAGES, narrow), base);
    this.set('rip', CODE + ENTRY - surroundings.base);
    this.flags = random.next() & 0x8d5;
    this.processor.cpu.tlbFlushAll(VCPUS);
    this.processor.refreshState();
  }

  #buildImage(program: Program, seed: number): Image {
    const random = new Random(seed ^ 0x2545f491),
      { ram } = this;
    ram.fill(0);
    for (let at = 0; at < DATA_BYTES; at += 4) ram.writeUInt32LE(random.next(), DATA_GPA + at);
    this.#buildPageTables(random);
    const syscallEntry = this.#buildDescriptors(MODES[program.mode]);
    this.#loadCode(program, random);
    return { program, seed, ram: Buffer.from(ram), syscallEntry };
  }

  #buildPageTables(random: Random): void {
    const put = (at: number, value: bigint): void => void this.ram.writeBigUInt64LE(value, at);
    put(PML4, BigInt(PDPT) | TABLE_BITS);
    put(PDPT, BigInt(PD) | TABLE_BITS);
    put(PAE_PDPT, BigInt(PD) | 1n);
    put(PD, BigInt(PT) | TABLE_BITS);
    for (let page = 0; page < RAM_BYTES / PAGE; page++) put(PT + page * 8, BigInt(page * PAGE) | PAGE_BITS);
    // The pages of the code in another order, and seen twice.
    const order = Array.from({ length: CODE_PAGES }, (_, page) => page);
    for (let last = CODE_PAGES - 1; last > 0; last--) {
      const other = random.below(last + 1);
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    order.forEach((to, page) => {
      for (const start of [CODE, CODE_ALIAS]) put(PT + (start / PAGE + page) * 8, BigInt(CODE_GPA + to * PAGE) | PAGE_BITS);
    });
    // The data backwards; one page of it is missing, one is read-only.
    for (let page = 0; page < DATA_PAGES; page++) {
      const bits = page === 2 ? PAGE_BITS & ~1n : page === 4 ? PAGE_BITS & ~2n : PAGE_BITS;
      put(PT + (DATA / PAGE + page) * 8, BigInt(DATA_GPA + (DATA_PAGES - 1 - page) * PAGE) | bits);
    }
    for (let page = 0; page < WINDOW_PAGES; page++)
      put(PT + (WINDOW / PAGE + page) * 8, BigInt(DATA_GPA + (page % DATA_PAGES) * PAGE) | PAGE_BITS);
    put(PT + (PT_WINDOW / PAGE) * 8, BigInt(PT) | PAGE_BITS);
  }

  /** @returns where SYSCALL goes */
  #buildDescriptors({ kernelCode, userCode, longMode }: Surroundings): number {
    const { ram } = this,
      { code, entries } = handlerCode(longMode);
    [0n, kernelCode, 0x00cf93000000ffffn, userCode, 0x00cff3000000ffffn, 0n, 0x00cff3000000ffffn, 0x00affb000000ffffn].forEach(
      (descriptor, i) => ram.writeBigUInt64LE(descriptor, GDT + i * 8),
    );
    ram.set(code, HANDLERS);
    for (const [vector, entry] of entries) {
      if (vector === SYSCALL_ENTRY) continue;
      const dpl = vector === VECTOR_RELOAD || vector === 3 || vector === 4 ? 3 : 0,
        low = (entry & 0xffff) | (KERNEL_CODE << 16),
        high = (entry & 0xffff0000) | 0x8e00 | (dpl << 13) | (longMode ? 1 : 0),
        at = IDT + vector * (longMode ? 16 : 8);
      ram.writeUInt32LE(low >>> 0, at);
      ram.writeUInt32LE(high >>> 0, at + 4);
    }
    if (longMode) {
      ram.writeBigUInt64LE(BigInt(HANDLER_STACK_TOP), TSS + 4);
      ram.writeBigUInt64LE(BigInt(HANDLER_STACK_TOP), TSS + 0x24); // IST1
    } else {
      ram.writeUInt32LE(HANDLER_STACK_TOP, TSS + 4);
      ram.writeUInt16LE(KERNEL_DATA, TSS + 8);
    }
    return entries.get(SYSCALL_ENTRY)!;
  }

  #loadCode({ code, next }: Program, random: Random): void {
    const { ram } = this;
    const whole = Buffer.alloc(CODE_BYTES, 0xcc);
    whole.set(code, ENTRY);
    for (let page = 0; page < CODE_PAGES; page++) {
      const gpa = Number(ram.readBigUInt64LE(PT + (CODE / PAGE + page) * 8) & 0xff000n);
      for (const to of [gpa, gpa + COPY_BIT]) whole.copy(ram, to, page * PAGE, (page + 1) * PAGE);
    }
    // The copies differ here and there.
    for (let i = 0; i < 8; i++) {
      const at = CODE_GPA + COPY_BIT + random.below(CODE_BYTES);
      if (ram[at]! < 0x40) ram[at]! ^= 8;
    }
    for (const [at, after] of next) ram.writeUInt16LE(after, NEXT_TABLE + at * 2);
  }

  // --- what happens from outside, between slices ---

  #request(bit: number): void {
    this.set('requests', this.get('requests') | BigInt(bit));
  }
  /** Guest-physical address of a byte of code, as it is mapped now (or would be, were it present). */
  codeGpa(offset: number): number {
    return Number(this.ram.readBigUInt64LE(PT + (CODE / PAGE + Math.floor(offset / PAGE)) * 8) & 0xff000n) + (offset % PAGE);
  }
  /** A device writes a byte of memory. */
  dma(gpa: number, value: number): void {
    this.ram[gpa] = value;
    this.#writtenPages.push((HVA_RAM + gpa - (gpa % PAGE)) / PAGE);
    this.#request(REQUEST_CODE);
  }
  /** An entry of the page table changes, and the TLB is emptied. @param toggled bits */
  remap(linearPage: number, toggled: bigint): void {
    const at = PT + linearPage * 8;
    this.ram.writeBigUInt64LE(this.ram.readBigUInt64LE(at) ^ toggled, at);
    this.#request(REQUEST_TLB);
  }

  /** What differs between this machine and the one that is right, in words; '' when nothing does. */
  difference(right: ProgramMachine): string {
    if (
      this.flags === right.flags &&
      this.get('rflags') === right.get('rflags') &&
      SPANS.every(([start, end]) => this.#bytes.compare(right.#bytes, start, end, start, end) === 0) &&
      this.ram.equals(right.ram)
    )
      return '';
    const different: string[] = [];
    for (const [name, count] of FIELDS)
      for (let i = 0; i < count; i++) {
        const [mine, his] = [this, right].map((machine) => machine.get(name, i) | (name === 'rflags' ? BigInt(machine.flags) : 0n));
        if (mine !== his)
          different.push(
            `${name === 'gpr' ? GPR_NAMES[i]! : count > 1 ? `${name}${i}` : name} ${mine!.toString(16)}, not ${his!.toString(16)}`,
          );
      }
    for (let register = 0; register < 16; register++)
      different.push(...this.#bytesDiffer(right, `xmm${register}`, VCPU.offset.vector + register * 32, 16));
    for (let register = 0; register < 8; register++)
      different.push(...this.#bytesDiffer(right, `fpr${register}`, VCPU.offset.fpr + register * 16, FPR_BYTES));
    if (!this.ram.equals(right.ram)) {
      const at = this.ram.findIndex((byte, i) => byte !== right.ram[i]);
      different.push(`memory at ${at.toString(16)}: ${this.ram.toString('hex', at, at + 8)}, not ${right.ram.toString('hex', at, at + 8)}`);
    }
    return different.join('; ');
  }
  #bytesDiffer(right: ProgramMachine, name: string, at: number, sizeBytes: number): string[] {
    const [mine, his] = [this, right].map((machine) => machine.#bytes.subarray(at, at + sizeBytes));
    return mine!.equals(his!) ? [] : [`${name} ${mine!.toString('hex')}, not ${his!.toString('hex')}`];
  }
}
