/**
 * ram32.wasm, ram64.wasm: what AssemblyScript cannot express. Accessors of memory 1, since it knows one 32-bit memory only: it passes an hva as
 * 64 bits. And the table of handlers, all of one type.
 * Implements: docs/internals.md "Wasm modules". Runs on: built ahead of time; used by every thread.
 */
import { HANDLER_SLOTS } from '../decode/pseudo.ts';
import { RAM_MEMORY, RAM_START, importRam } from '../guest-ram.ts';
import type { RamIndex } from '../guest-ram.ts';
import { FunctionBuilder } from '../wasm/function.ts';
import type { Node } from '../wasm/function.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { MEMORY0_MAX_PAGES } from '../wasm/limits.ts';
import type { CompareExchangeKind, LoadKind, StoreKind, Type } from '../wasm/opcodes.ts';

const LOADS: readonly (readonly [string, LoadKind, Type])[] = [
  ['ld8', 'u8', 'i32'],
  ['ld16', 'u16', 'i32'],
  ['ld32', 'i32', 'i32'],
  ['ld64', 'i64', 'i64'],
];
const STORES: readonly (readonly [string, StoreKind, Type])[] = [
  ['st8', 'u8', 'i32'],
  ['st16', 'u16', 'i32'],
  ['st32', 'i32', 'i32'],
  ['st64', 'i64', 'i64'],
];
const EXCHANGES: readonly (readonly [string, CompareExchangeKind, Type])[] = [
  ['cas32', 'i32', 'i32'],
  ['cas64', 'i64', 'i64'],
];

export function buildRam(ramIndex: RamIndex): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder(),
    ram = RAM_MEMORY[ramIndex],
    start = RAM_START[ramIndex],
    /** A parameter that is an hva or a number of bytes. */
    index = (f: FunctionBuilder, parameter: number): Node => {
      const whole = f.get(parameter, 'i64');
      return ramIndex === 'i32' ? f.wrap(whole) : whole;
    },
    /** An hva where no offset can be given. */
    place = (f: FunctionBuilder, parameter: number): Node => {
      const hva = index(f, parameter);
      return ramIndex === 'i32' ? f.op('add', hva, f.i32(start)) : hva;
    };
  module.importMemory('env', 'memory', 'i32', 1, MEMORY0_MAX_PAGES);
  importRam(module, ramIndex);
  for (const [exportAs, kind, type] of LOADS) {
    const f = new FunctionBuilder(['i64']);
    f.flushValue(f.load(kind, index(f, 0), start, 0, ram));
    module.add(f, [type], { exportAs });
  }
  for (const [exportAs, kind, type] of STORES) {
    const f = new FunctionBuilder(['i64', type]);
    f.store(kind, index(f, 0), f.get(1, type), start, 0, ram);
    f.flush();
    module.add(f, [], { exportAs });
  }
  for (const [exportAs, kind, type] of EXCHANGES) {
    const f = new FunctionBuilder(['i64', type, type]);
    f.flushValue(f.compareExchange(kind, index(f, 0), f.get(1, type), f.get(2, type), start, ram));
    module.add(f, [type], { exportAs });
  }
  {
    const f = new FunctionBuilder(['i64', 'i64', 'i64']);
    f.copyMemory(ram, ram, place(f, 0), place(f, 1), index(f, 2));
    f.flush();
    module.add(f, [], { exportAs: 'copy' });
  }
  {
    const f = new FunctionBuilder(['i64', 'i32', 'i64']);
    f.fillMemory(ram, place(f, 0), f.get(1, 'i32'), index(f, 2));
    f.flush();
    module.add(f, [], { exportAs: 'fill' });
  }
  {
    const f = new FunctionBuilder(['i32', 'i64', 'i32']);
    f.copyMemory(0, ram, f.get(0, 'i32'), place(f, 1), f.get(2, 'i32'));
    f.flush();
    module.add(f, [], { exportAs: 'copyIn' });
  }
  {
    const f = new FunctionBuilder(['i64', 'i32', 'i32']);
    f.copyMemory(ram, 0, place(f, 0), f.get(1, 'i32'), f.get(2, 'i32'));
    f.flush();
    module.add(f, [], { exportAs: 'copyOut' });
  }
  {
    // (handler, vcpu, micro-op) -> LEAVE_*
    const handlerType = module.type(['i32', 'i32'], ['i32']),
      f = new FunctionBuilder(['i32', 'i32', 'i32']);
    module.exportTable('table', { type: handlerType, slots: HANDLER_SLOTS });
    f.flushValue(f.callIndirect(handlerType, f.get(0, 'i32'), [f.get(1, 'i32'), f.get(2, 'i32')], 'i32'));
    module.add(f, ['i32'], { exportAs: 'enter' });
  }
  return module.encode();
}
