/**
 * One virtual CPU as the owner of its VM sees it: life cycle, registers, events, capabilities, statistics, translation.
 * Implements: bhyve-map 3.1, 3.4-3.7 (libvmmapi's calls on a vcpu). Runs on: the VM's owner; touches the record only while it holds the vCPU.
 */
import { VCPU_HOST } from '../base/memory-map.ts';
import { VmError } from '../base/errors.ts';
import { REQUEST_KICK, REQUEST_NMI } from '../cpu/index.ts';
import { VCPU_CAPABILITIES, VCPU_COUNTERS, VCPU_CPL, VCPU_INTINFO, VCPU_NMI_PENDING, VCPU_RETIRED } from '../generated/vcpu-layout.ts';
import { capability, type CapabilityName } from './capabilities.ts';
import { checkIntinfo, exceptionIntinfo, INTINFO_VALID, type ExceptionInfo } from './events.ts';
import type { GuestMemory } from './guest-memory.ts';
import type { Holder } from './hold.ts';
import { CONTROL, RUN_STATE, VCPU_WORDS, vcpuBase, type SharedWords } from './host-state.ts';
import type { VcpuThread } from './host.ts';
import type { InCoreDevices } from './in-core.ts';
import type { MemoryMap } from './memory-map.ts';
import { translate, type GuestAccess, type Paging, type PagingMode, type Translation } from './paging.ts';
import { REGISTER_NAMES, RegisterFile, registerName, type DescriptorName, type RegisterId, type SegmentDescriptor } from './registers.ts';
import { COUNTER_NAMES, type Stat } from './stats.ts';
import { VmExit } from './vm-exit.ts';

/** What a vCPU needs of its VM. */
export interface VcpuHome {
  readonly words: SharedWords;
  readonly holder: Holder;
  /** @throws VmError ENXIO while the VM has no memory. */
  devices(): InCoreDevices;
  memory(): GuestMemory;
  map(): MemoryMap;
  spawn(vcpu: number, failed: (error: Error) => void): VcpuThread;
  startClock(): void;
  /** A thread died of an error. */
  failed(vcpu: number, error: Error): void;
}

export type RunStateName = 'idle' | 'running' | 'sleeping' | 'frozen';

const CR0_PE = 1n,
  CR0_WP = 1n << 16n,
  CR0_PG = 1n << 31n,
  CR4_PSE = 1n << 4n,
  CR4_PAE = 1n << 5n,
  CR4_SMEP = 1n << 20n,
  CR4_SMAP = 1n << 21n;
const EFER_LMA = 1n << 10n,
  EFER_NXE = 1n << 11n,
  RFLAGS_AC = 1n << 18n;
const VECTOR_DF = 8,
  VECTOR_GP = 13,
  VECTOR_PF = 14;
const PAGE_BYTES = 4096;

export class Vcpu {
  readonly id: number;
  /** The present exit, while a handler runs. */
  readonly exit: VmExit;
  readonly #home: VcpuHome;
  readonly #words: SharedWords;
  readonly #registers: RegisterFile;
  #thread: VcpuThread | undefined;
  #stored = new Set<CapabilityName>();
  /** In the state that INIT leaves, as application processors are from power-on: a SIPI starts it. */
  #waitsForSipi: boolean;

  constructor(home: VcpuHome, id: number) {
    this.id = id;
    this.#home = home;
    this.#words = home.words;
    this.#registers = new RegisterFile(home.words.view, vcpuBase(id));
    this.exit = new VmExit(this, home.words.view, vcpuBase(id));
    this.#waitsForSipi = id !== 0;
    this.#registers.powerOn(id);
  }

  // --- life cycle ---

  /** Make it one of the VM's CPUs, which executes nothing before start(). @throws VmError EBUSY when active. */
  activate(): void {
    if (this.isActive) throw new VmError('EBUSY', `vcpu ${this.id}: active already`);
    this.#words.include('active', this.id);
    this.prepare();
  }

  /** Begin to make its thread, which takes a while: before whatever else has to be done until it starts. Needs the VM's memory. */
  prepare(): void {
    this.#thread ??= this.#home.spawn(this.id, (error) => {
      this.#home.failed(this.id, error);
    });
  }

  get isActive(): boolean {
    return this.#words.has('active', this.id);
  }

  /** Let it execute until the VM is suspended. @throws VmError EINVAL when not active, or the VM is suspended. */
  start(): void {
    if (!this.isActive || this.#words.suspendHow !== 0)
      throw new VmError('EINVAL', `vcpu ${this.id}: expected active, and the VM not suspended`);
    this.#home.startClock();
    this.#words.store(this.id, 'control', CONTROL.RUN);
    this.#words.request(this.id, REQUEST_KICK);
  }

  /** Stop executing; it has stopped when this returns. */
  stop(): void {
    this.#words.store(this.id, 'control', CONTROL.STOP);
    this.#words.request(this.id, REQUEST_KICK);
    this.#home.holder.withHeld([this.id], () => {});
  }

  get state(): RunStateName {
    const state = this.#words.load(this.id, 'state');
    return state === RUN_STATE.RUNNING
      ? 'running'
      : state === RUN_STATE.SLEEPING
        ? 'sleeping'
        : state === RUN_STATE.EXITED || state === RUN_STATE.PAUSED
          ? 'frozen'
          : 'idle';
  }

  /** Enter the debug set: it executes nothing until resumeCpu(). @throws VmError EINVAL when not active. */
  suspendCpu(): void {
    if (!this.isActive) throw new VmError('EINVAL', `vcpu ${this.id}: expected active`);
    this.#words.include('debug', this.id);
    this.#words.request(this.id, REQUEST_KICK);
    this.#home.holder.withHeld([this.id], () => {});
  }

  /** @throws VmError EINVAL when it is not in the debug set. */
  resumeCpu(): void {
    if (!this.#words.has('debug', this.id)) throw new VmError('EINVAL', `vcpu ${this.id}: expected suspended by suspendCpu`);
    this.#words.exclude('debug', this.id);
    this.#words.request(this.id, REQUEST_KICK);
  }

  /** Execute `action` while the vCPU is held: several reads and writes as one. */
  held<T>(action: () => T): T {
    return this.#home.holder.withHeld([this.id], action);
  }

  /** Registers as INIT leaves them (vcpu_reset). */
  reset(): void {
    this.#change(() => {
      this.#registers.reset();
    });
  }

  /** @internal Everything as at power-on: reinit of the VM, which holds all vCPUs. */
  powerOn(): void {
    this.#registers.powerOn(this.id);
    this.#setPending(0n);
    this.#stored = new Set();
    this.#waitsForSipi = this.id !== 0;
    this.#words.store(this.id, 'control', CONTROL.STOP);
    this.#words.store(this.id, 'refresh', 1);
  }

  /** INIT: stop, and wait for a SIPI. */
  initIpi(): void {
    if (!this.isActive) return;
    this.suspendCpu();
    this.#waitsForSipi = true;
    this.#home.devices().initLapic(this.id);
  }

  /** SIPI: begin at vector * 4096 in real mode; ignored unless it waits for one. */
  startupIpi(vector: number): void {
    if (!this.isActive || !this.#waitsForSipi) return;
    this.#waitsForSipi = false;
    this.#change(() => {
      this.#registers.reset();
      this.#registers.set('cs', BigInt(vector << 8));
      this.#registers.setDescriptor('cs', { base: BigInt(vector << 12), limit: 0xffff, access: 0x93 });
      this.#registers.set('rip', 0n);
    });
    if (this.#words.has('debug', this.id)) this.resumeCpu();
    if (this.#words.load(this.id, 'control') !== CONTROL.RUN) this.start();
  }

  /** @internal */
  get thread(): VcpuThread | undefined {
    return this.#thread;
  }

  // --- registers ---

  getRegister(id: RegisterId): bigint {
    const name = registerName(id);
    return name === 'tpr' ? BigInt(this.#home.devices().readTpr(this.id)) : this.held(() => this.#registers.get(name));
  }

  setRegister(id: RegisterId, value: bigint): void {
    this.setRegisterSet([id], [value]);
  }

  /** @throws VmError EINVAL for more registers than there are. */
  getRegisterSet(ids: readonly RegisterId[]): bigint[] {
    checkBatch(ids.length);
    return this.held(() => ids.map((id) => this.getRegister(id)));
  }

  /** Stops at the first bad one; earlier ones keep their new values. @throws VmError EINVAL. */
  setRegisterSet(ids: readonly RegisterId[], values: readonly bigint[]): void {
    checkBatch(ids.length);
    if (values.length !== ids.length) throw new VmError('EINVAL', `${values.length} register values: expected ${ids.length}`);
    this.#change(() => {
      for (const [index, id] of ids.entries()) {
        const name = registerName(id),
          value = values[index]!; // as many as ids
        if (name === 'tpr') this.#home.devices().writeTpr(this.id, Number(value & 15n));
        else this.#registers.set(name, value);
      }
    });
  }

  /**
   * What firmware tells the processor about memory types, for who starts without firmware: Linux keeps its hands off the PAT else.
   * RAM is write-back, [start, end) is uncached. SDM vol. 3A 12.11.2.
   * @param sizeBytes a power of two that divides start
   */
  setMemoryTypes(uncached: { readonly start: number; readonly sizeBytes: number }): void {
    const { start, sizeBytes } = uncached;
    if (!Number.isInteger(Math.log2(sizeBytes)) || sizeBytes < PAGE_BYTES || start % sizeBytes !== 0)
      throw new VmError('EINVAL', `memory type of [${start}, ${start + sizeBytes}): expected a power of two of bytes, aligned`);
    this.#change(() => {
      this.#registers.setMtrrs(BigInt(start), BigInt(sizeBytes));
    });
  }

  getDesc(name: DescriptorName): SegmentDescriptor {
    return this.held(() => this.#registers.descriptor(name));
  }

  setDesc(name: DescriptorName, descriptor: SegmentDescriptor): void {
    this.#change(() => {
      this.#registers.setDescriptor(name, descriptor);
    });
  }

  /** Base and limit of gdtr or idtr, or of a segment: what vm_get_desc and vm_get_seg_desc share. */
  getSegDesc(name: DescriptorName): SegmentDescriptor & { readonly selector: number } {
    return this.held(() => ({
      ...this.#registers.descriptor(name),
      selector: name === 'gdtr' || name === 'idtr' ? 0 : Number(this.#registers.get(name)),
    }));
  }

  // --- events ---

  /**
   * Inject an exception at the next instruction.
   * @throws VmError EINVAL for a vector outside 0..31 or #DF, EBUSY while another one waits.
   */
  injectException(info: ExceptionInfo): void {
    const { vector } = info;
    if (!Number.isInteger(vector) || vector < 0 || vector > 31 || vector === VECTOR_DF)
      throw new VmError('EINVAL', `exception vector ${vector}: expected 0 to 31, not ${VECTOR_DF}`);
    this.held(() => {
      if ((this.#pending() & INTINFO_VALID) !== 0n) throw new VmError('EBUSY', `vcpu ${this.id}: an exception is pending already`);
      // Real mode pushes no error codes.
      this.#setPending(exceptionIntinfo((this.#registers.get('cr0') & CR0_PE) === 0n ? { vector } : info));
      this.#registers.set('intr_shadow', 0n);
    });
    this.#words.request(this.id, REQUEST_KICK);
  }

  /** `inDelivery`: an event that was being delivered; `pending`: an exception to inject. */
  getIntinfo(): { readonly inDelivery: bigint; readonly pending: bigint } {
    return this.held(() => ({ inDelivery: this.#registers.u64(VCPU_INTINFO), pending: this.#pending() }));
  }

  /** Record an event that was being delivered: it is delivered again. @throws VmError EINVAL. */
  setIntinfo(info: bigint): void {
    const checked = checkIntinfo(info);
    this.held(() => {
      this.#registers.setU64(VCPU_INTINFO, checked);
    });
    this.#words.request(this.id, REQUEST_KICK);
  }

  /** Several before the delivery collapse into one. */
  injectNmi(): void {
    Atomics.store(this.#words.i32, (vcpuBase(this.id) + VCPU_NMI_PENDING) >>> 2, 1);
    this.#words.request(this.id, REQUEST_NMI);
  }

  /** @throws VmError EINVAL for a vector outside 16..255. */
  lapicIrq(vector: number): void {
    this.#home.devices().lapicIrq(this.id, vector);
  }
  lapicLocalIrq(pin: number): void {
    this.#home.devices().lapicLocalIrq(this.id, pin);
  }

  // --- capabilities and statistics ---

  /** @throws VmError EINVAL (no capability), ENOENT (not available). */
  getCapability(id: string | number): boolean {
    const { name, capability: found } = capability(id);
    if (found.kind === 'always') return true;
    return found.kind === 'stored' ? this.#stored.has(name) : this.held(() => (this.#registers.u32(VCPU_CAPABILITIES) & found.bit) !== 0);
  }

  /** @throws VmError EINVAL, ENOENT (not available, or cannot be taken away). */
  setCapability(id: string | number, on: boolean): void {
    const { name, capability: found } = capability(id);
    if (found.kind === 'always') {
      if (!on) throw new VmError('ENOENT', `capability ${name}: cannot be switched off`);
    } else if (found.kind === 'stored') {
      if (on) this.#stored.add(name);
      else this.#stored.delete(name);
    } else {
      this.#change(() => {
        const bits = this.#registers.u32(VCPU_CAPABILITIES);
        this.#registers.setU32(VCPU_CAPABILITIES, on ? bits | found.bit : bits & ~found.bit);
      });
    }
  }

  /** A snapshot; counters go on while it is taken. */
  stats(): Stat[] {
    const stats: Stat[] = COUNTER_NAMES.map((name, index) => ({ name, value: this.#registers.u64(VCPU_COUNTERS + index * 8) }));
    return [...stats, { name: 'guest instructions executed', value: this.#registers.u64(VCPU_RETIRED) }];
  }

  // --- translation and copies ---

  /** How it translates at present: for gla2gpa. */
  getPaging(): Paging {
    return this.held(() => {
      const [cr0, cr3, cr4, efer, rflags] = (['cr0', 'cr3', 'cr4', 'efer', 'rflags'] as const).map((name) => this.#registers.get(name)) as [
        bigint,
        bigint,
        bigint,
        bigint,
        bigint,
      ];
      const mode: PagingMode = (cr0 & CR0_PG) === 0n ? 'flat' : (efer & EFER_LMA) !== 0n ? '64' : (cr4 & CR4_PAE) !== 0n ? 'pae' : '32';
      return {
        mode,
        cr3,
        cpl: this.#registers.u32(VCPU_CPL),
        wp: (cr0 & CR0_WP) !== 0n,
        pse: (cr4 & CR4_PSE) !== 0n,
        nxe: (efer & EFER_NXE) !== 0n,
        smep: (cr4 & CR4_SMEP) !== 0n,
        smap: (cr4 & CR4_SMAP) !== 0n && (rflags & RFLAGS_AC) === 0n,
      };
    });
  }

  /**
   * Translate as the guest would: sets accessed and dirty bits, and injects #PF (or #GP) when it fails.
   * @throws VmError EBUSY when an exception is pending already.
   */
  gla2gpa(gla: bigint, access: GuestAccess = {}, paging: Paging = this.getPaging()): Translation {
    return this.held(() => {
      const result = translate(paging, gla, access, this.#home.memory().entries(this.#home.map()), true);
      if ('fault' in result) {
        this.injectException({ vector: result.fault === 'pf' ? VECTOR_PF : VECTOR_GP, error: result.error });
        if (result.fault === 'pf') this.#registers.set('cr2', gla);
      }
      return result;
    });
  }

  /** Translate without any effect, rights unchecked: the debugger's view. */
  gla2gpaNofault(gla: bigint, paging: Paging = this.getPaging()): Translation {
    return translate(paging, gla, {}, this.#home.memory().entries(this.#home.map()), false);
  }

  /**
   * The pieces of [gla, gla + sizeBytes), page by page; nothing is copied yet, so that the copy cannot fail.
   * @returns the fault, if one was injected. @throws VmError EFAULT when a piece is not RAM.
   */
  copySetup(
    gla: bigint,
    sizeBytes: number,
    access: GuestAccess = {},
    paging: Paging = this.getPaging(),
  ): CopyPiece[] | Extract<Translation, { fault: string }> {
    const pieces: CopyPiece[] = [];
    for (let done = 0; done < sizeBytes;) {
      const at = gla + BigInt(done);
      const result = this.gla2gpa(at, access, paging);
      if ('fault' in result) return result;
      const pieceBytes = Math.min(sizeBytes - done, PAGE_BYTES - Number(at & 0xfffn));
      const bytes = this.#home.memory().view(result.gpa, pieceBytes);
      if (bytes === undefined)
        throw new VmError('EFAULT', `guest linear address 0x${at.toString(16)}: 0x${result.gpa.toString(16)} is not RAM`);
      pieces.push({ gpa: result.gpa, bytes });
      done += pieceBytes;
    }
    return pieces;
  }

  /** Wake it up from HLT, or end its slice, for a look at what has changed. */
  notify(): void {
    this.#words.request(this.id, REQUEST_KICK);
  }

  #change(action: () => void): void {
    this.held(() => {
      this.#words.store(this.id, 'refresh', 1);
      action();
    });
  }

  #pending(): bigint {
    return this.#registers.u64(VCPU_HOST + VCPU_WORDS.offset.pendingException);
  }
  #setPending(info: bigint): void {
    this.#registers.setU64(VCPU_HOST + VCPU_WORDS.offset.pendingException, info);
  }
}

export interface CopyPiece {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** vm_copyin: guest to host. */
export function copyin(pieces: readonly CopyPiece[], target: Uint8Array): void {
  let at = 0;
  for (const { bytes } of pieces) {
    target.set(bytes.subarray(0, target.length - at), at);
    at += bytes.length;
    if (at >= target.length) return;
  }
}

function checkBatch(count: number): void {
  if (count > REGISTER_NAMES.length) throw new VmError('EINVAL', `${count} registers: expected at most ${REGISTER_NAMES.length}`);
}
