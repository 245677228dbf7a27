/**
 * The door of vmm/.
 * Runs on: any thread.
 */
export { capabilityName2type, capabilityType2name, CAPABILITY_NAMES, type CapabilityName } from './capabilities.ts';
export { INTINFO_ERROR_VALID, INTINFO_TYPE, INTINFO_VALID, type ExceptionInfo } from './events.ts';
export { maxMemoryBytes } from './guest-memory.ts';
export { SUSPEND, type SuspendHow, type Waits } from './host-state.ts';
export type { EngineModules, ProcessorFactory, ProcessorHost, VcpuInit, VcpuProcessor, VcpuThread, VmmHost } from './host.ts';
export type { InCoreDevices } from './in-core.ts';
export { MAX_VCPUS, PROT_EXEC, PROT_READ, PROT_WRITE } from './layout.ts';
export { MAP_WIRED, MAX_SEGMENTS, SEGMENT, type Mapping, type Segment } from './memory-map.ts';
export type { GuestAccess, Paging, PagingMode, Translation } from './paging.ts';
export {
  DESCRIPTOR_NAMES,
  REGISTER_NAMES,
  type DescriptorName,
  type RegisterId,
  type RegisterName,
  type SegmentDescriptor,
} from './registers.ts';
export type { Stat } from './stats.ts';
export { PostedRing, type PostedSink } from './posted-ring.ts';
export { compilesElsewhere, loadProcessor, type ProcessorNeeds } from './create-processor.ts';
export {
  BUILD_ID,
  KeptRegions,
  RAM_INDEX_BITS,
  checkBuild,
  imageOf,
  loadCompiler,
  loadTrace,
  manifestOf,
  ramBytes,
  ramIndexOf,
  keptCodeIn,
  type CompileEntry,
  type CompiledModule,
  type Compiler,
  type RamIndex,
  type RegionEvent,
} from '../cpu/index.ts';
export { runVcpu, type LoopClock } from './vcpu-loop.ts';
export { copyin, type CopyPiece, type RunStateName, Vcpu } from './vcpu.ts';
export { EXIT, exitName, type ExitHandler, type ExitName, VmExit } from './vm-exit.ts';
export { Vm, type MapEntry, type PortReadMode, type PortWriteMode, type Topology, type VmOptions } from './vm.ts';
