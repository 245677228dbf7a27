/**
 * Generates tier 0: one function per distinct (body, operand shapes, what the body asked for), from the declarations in isa/.
 * Implements: docs/internals.md "Wasm modules". Runs on: built ahead of time (interp/build.ts).
 */
import { TLB_ADDEND, TLB_EXEC, UOP_BYTES, UOP_HANDLER, UOP_IMM, UOP_OFFSET, UOP_TARGET } from '../../base/memory-map.ts';
import {
  ENV_LEGACY32,
  FIRST_HANDLER,
  FIRST_PAIR,
  HANDLER_CONTINUE,
  HANDLER_FPU_CHECK,
  HANDLER_LINK,
  HANDLER_SLOTS,
  HANDLER_STALE,
  HANDLER_STOP,
  HANDLER_STRADDLE,
  HANDLER_TOO_LONG,
  HANDLER_UNDEFINED,
  PREFIX_LOCK,
  PREFIX_PLAIN,
  PREFIX_REP,
  PREFIX_REPNE,
  VARIANTS,
  variantOf,
} from '../decode/variants.ts';
import { inBulk } from '../bulk.ts';
import { RCX, RDI, RSI } from '../emit.ts';
import type { Operand, Shape, Size, Value } from '../emit.ts';
import { importRam } from '../guest-ram.ts';
import type { RamIndex } from '../guest-ram.ts';
import { HELPERS } from '../helpers.ts';
import type { HelperName } from '../helpers.ts';
import { LINES } from '../isa/index.ts';
import type { Body, Line } from '../isa/inst.ts';
import { VCPU } from '../state.ts';
import { FunctionBuilder } from '../wasm/function.ts';
import type { Label } from '../wasm/function.ts';
import { MEMORY0_MAX_PAGES } from '../wasm/limits.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import type { Type } from '../wasm/opcodes.ts';
import { LEAVE_BUDGET, LEAVE_LOOKUP, LEAVE_STRADDLE } from './leave.ts';
import { shapesOf } from '../shapes.ts';
import { tlbEntry } from '../tlb-entry.ts';
import { ENVIRONMENTS, OpenEmit, emitAfterSystem, emitAfterTransfer, emitGoto, leaveByFault } from './open-emit.ts';
import type { HandlerContext } from './open-emit.ts';
import { pairNames } from './pairs.ts';

export interface Handlers {
  readonly module: Uint8Array<ArrayBuffer>;
  /** Handler of each line and variant: `manifest[line * VARIANTS + variant]`, 0 where there is none; then the pairs, see `pairsOf`. */
  readonly manifest: Uint16Array;
  /** One more than the highest handler number of one instruction. */
  readonly count: number;
  /** Mnemonic and shape of each handler, for tracing. */
  readonly names: readonly string[];
}

/** Iterations of a repeated instruction before it lets interrupts in. */
const REP_ITERATIONS = 1024;
const A_PAGE = { movs: 'stringMove', stos: 'stringFill' } as const;
const SIZES: readonly Size[] = [2, 4, 8];
const UD = 6,
  GP = 13;
const CC_EQUAL = 4,
  CC_NOT_EQUAL = 5;

const shapeText = (shape: Shape): string => {
  switch (shape.kind) {
    case 'mem':
      return `m${shape.size * 8}${shape.write ? (shape.read ? '!' : '=') : ''}${shape.aligned ? 'a' : ''}${shape.locked ? 'L' : ''}`;
    case 'gpr':
      return `r${shape.size * 8}`;
    case 'imm':
      return `i${shape.size * 8}`;
    case 'vector':
      return `x${shape.size * 8}`;
    case 'mmx':
      return `mm${shape.size * 8}`;
    case 'stringDestination':
      return `di${shape.size * 8}`;
    default:
      return shape.kind;
  }
};

/** Prefix variants that a line has in this form. */
function prefixesOf(line: Line, isMemory: boolean): readonly number[] {
  if (line.attributes.rep) return [PREFIX_PLAIN, PREFIX_REP, PREFIX_REPNE];
  if (line.attributes.lock && isMemory) return [PREFIX_PLAIN, PREFIX_LOCK];
  return [PREFIX_PLAIN];
}

const hasMemoryForm = (line: Line): boolean => line.operands.some((code) => 'EMWQOX'.includes(code.kind) && code.kind.length === 1);
const hasRegisterForm = (line: Line): boolean => !line.operands.some((code) => code.kind === 'M' || code.kind === 'O' || code.kind === 'X');

/** Wrap one iteration in the rCX test and an interrupt window (SDM vol. 2B REP). */
function repeat(b: OpenEmit, line: Line, operands: readonly Operand[], prefix: number): void {
  const f = b.f,
    zero = f.i32(0),
    compares = line.attributes.rep === 'zero';
  line.attributes.before?.(b, ...operands);
  // Processors clear the upper halves of what ECX, ESI and EDI count before they look at ECX: of all three in MOVS, of EDI in STOS.
  if (b.long && b.addressSize === 4) {
    const narrowed = line.attributes.bulk === 'movs' ? [RCX, RSI, RDI] : line.attributes.bulk === 'stos' ? [RCX, RDI] : [RCX];
    for (const index of narrowed) b.register(index, 4).write(b.register(index, 4).read());
  }
  const limit = b.variable('i32', f.select(f.compare('gt_s', b.remaining(0), f.i32(1)), f.i32(REP_ITERATIONS), f.i32(1)));
  // Who writes over the instruction itself goes on with what stands there now (SDM 3A 10.1.3), and not with the rest of the window.
  const handler = b.variable('i32', b.uopField('u16', UOP_HANDLER));
  b.whenStoredSlowly = () => f.if(f.compare('ne', b.uopField('u16', UOP_HANDLER), handler.get()), () => limit.set(f.i32(1)));
  // Interrupted or faulting, REPE and REPNE show the flags from before the first iteration (SDM vol. 2A CMPS, "Operation").
  const before = compares ? b.record().map((value, i) => b.variable(i === 0 ? 'i32' : 'i64', value)) : [],
    { caught } = b;
  const takeBack = (): void => {
    const [op, p, q, r] = before.map((variable) => variable.get());
    b.setFlags(op!, p!, q!, 0, r!); // a comparison has a record of four
  };
  const iterate = (): void =>
    f.loop((again) => {
      const count = f.pin(b.counter(RCX));
      f.if(f.compare('eqz', count), () => b.next());
      if (line.attributes.bulk && b.long && b.addressSize === 8) bulk(b, line, operands, count, limit, again);
      line.body(b, ...operands);
      const counter = b.register(RCX, b.addressSize);
      counter.write(b.sub(counter.read(), b.constant(1, b.addressSize)));
      if (compares) f.if(f.compare('eqz', b.condition(prefix === PREFIX_REP ? CC_EQUAL : CC_NOT_EQUAL)), () => b.next());
      f.if(f.compare('eqz', b.counter(RCX)), () => b.next());
      limit.set(f.op('sub', limit.get(), f.i32(1)));
      f.brIf(f.compare('gt_s', limit.get(), zero), again);
    });
  if (compares) {
    f.block((interrupted) => {
      f.block((faulted) => {
        b.caught = faulted;
        iterate();
        f.br(interrupted);
      });
      takeBack();
      b.caught = caught;
      f.br(caught);
    });
    takeBack();
  } else iterate();
  b.leaveInside();
  b.ended = true;
}

/** A page's worth of MOVS or STOS at once; 0 elements where only the plain way is exact. */
function bulk(
  b: OpenEmit,
  line: Line,
  operands: readonly Operand[],
  count: Value,
  limit: { get(): Value; set(value: Value): void },
  again: Label,
): void {
  const f = b.f;
  const forward = f.op(
    'and',
    f.compare('eqz', f.op('and', b.field('rflags', 'i64'), f.i64(0x400))),
    f.compare('gt_s', limit.get(), f.i32(1)),
  );
  f.if(forward, () => {
    const done = inBulk(b, line, operands, count, A_PAGE);
    f.if(f.compare('ne', done, f.i64(0)), () => {
      limit.set(f.op('sub', limit.get(), f.i32(32)));
      f.brIf(f.compare('gt_s', limit.get(), f.i32(0)), again);
      f.if(f.compare('eqz', b.counter(RCX)), () => b.next());
      b.leaveInside();
    });
  });
}

/** @param goOn false: another instruction follows in the same handler. */
function emitLine(b: OpenEmit, line: Line, shapes: readonly Shape[], prefix: number, goOn = true): void {
  let registers = 0,
    immediates = 0;
  const operands = shapes.map((shape) => {
    const usesField = shape.kind === 'gpr' || shape.kind === 'vector' || shape.kind === 'mmx' || shape.kind === 'number';
    return b.operand(shape, usesField ? registers++ : shape.kind === 'imm' ? immediates++ : 0);
  });
  const locked = shapes.some((shape) => shape.kind === 'mem' && shape.locked);
  if (line.attributes.rep && prefix !== PREFIX_PLAIN) repeat(b, line, operands, prefix);
  else if (locked) {
    b.f.loop((again) => {
      b.lockedLoop(again);
      line.body(b, ...operands);
    });
  } else {
    line.attributes.before?.(b, ...operands);
    line.body(b, ...operands);
  }
  if (line.ends === 'system' || line.ends === 'transfer') b.leaveSystem(line.ends === 'transfer');
  else if (!b.ended && goOn) b.next();
}

export function buildHandlers(ramIndex: RamIndex): Handlers {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 'i32', 1, MEMORY0_MAX_PAGES);
  importRam(module, ramIndex);
  const handlerType = module.type(['i32', 'i32'], ['i32']);
  module.importTable('env', 'table', { type: handlerType, slots: HANDLER_SLOTS });
  const helpers = new Map<string, number>();
  for (const [name, helper] of Object.entries(HELPERS) as [HelperName, { parameters: readonly Type[]; result?: Type; bare?: true }][]) {
    helpers.set(
      name,
      module.importFunction(
        'cpu',
        name,
        helper.bare ? helper.parameters : ['i32', ...helper.parameters],
        helper.result ? [helper.result] : [],
      ),
    );
  }
  const gotos = [true, false].map((long) => {
    const f = new FunctionBuilder(['i32', 'i64', 'i32']);
    emitGoto(f, long, handlerType);
    f.flush();
    return module.add(f, ['i32'], { exportAs: long ? 'goto64' : 'gotoLegacy' });
  });
  const [goto64, gotoLegacy] = gotos as [number, number];
  const continuation = (params: readonly Type[], emit: (f: FunctionBuilder) => void): number => {
    const f = new FunctionBuilder(params);
    emit(f);
    f.flush();
    return module.add(f, ['i32']);
  };
  const context: HandlerContext = {
    ramIndex,
    handlerType,
    goto64,
    gotoLegacy,
    afterSystem64: continuation(['i32', 'i32', 'i64', 'i32'], (f) => emitAfterSystem(f, goto64, handlerType)),
    afterSystemLegacy: continuation(['i32', 'i32', 'i64', 'i32'], (f) => emitAfterSystem(f, gotoLegacy, handlerType)),
    afterTransfer: continuation(['i32', 'i32', 'i32'], (f) => emitAfterTransfer(f, goto64, gotoLegacy)),
    helperIndex: (name) => helpers.get(name)!,
  };

  const names: string[] = [];
  const build = (
    slot: number | undefined,
    operandSize: Size,
    environment: number,
    emit: (b: OpenEmit) => void,
  ): { readonly f: FunctionBuilder; readonly used: OpenEmit['used'] } => {
    const f = new FunctionBuilder(['i32', 'i32']);
    let used: OpenEmit['used'] | undefined;
    f.block((caught) => {
      const b = new OpenEmit(f, caught, operandSize, ENVIRONMENTS[environment]!, context);
      emit(b);
      used = b.used;
    });
    leaveByFault(f);
    if (slot !== undefined) {
      f.flush();
      f.unreachable();
      f.flush();
      module.add(f, ['i32'], { tableSlot: slot });
    }
    return { f, used: used! };
  };
  emitPseudoHandlers((slot, name, emit) => {
    names[slot] = name;
    build(slot, 4, 0, emit);
  });

  const bodies = new Map<Body, number>(),
    byKey = new Map<string, number>(),
    usedBy = new Map<string, OpenEmit['used']>();
  const manifest = new Uint16Array(LINES.length * VARIANTS);
  const recipes = new Map<number, Recipe>();
  let count = FIRST_HANDLER;
  LINES.forEach((line, lineIndex) => {
    if (!bodies.has(line.body)) bodies.set(line.body, bodies.size);
    const forms = [...(hasRegisterForm(line) ? [false] : []), ...(hasMemoryForm(line) ? [true] : [])];
    for (const isMemory of forms)
      for (const prefix of prefixesOf(line, isMemory))
        for (const [sizeIndex, operandSize] of SIZES.entries())
          for (let environment = 0; environment < 4; environment++) {
            const long = environment < ENV_LEGACY32,
              mode = line.attributes.mode ?? 'any';
            if ((long && mode === 'not64') || (!long && (mode === '64' || operandSize === 8))) continue;
            const shapes = shapesOf(line, operandSize, isMemory, prefix);
            const key0 = `${line.name} ${shapes.map(shapeText).join(',')} ${['', 'rep', 'repne', 'lock'][prefix]} #${bodies.get(line.body)!}${line.attributes.bulk ? 'b' : ''}${line.attributes.rep ?? ''}${line.ends}`;
            const probeKey = `${key0} ${long} ${operandSize}`;
            let used = usedBy.get(probeKey);
            if (!used) {
              ({ used } = build(undefined, operandSize, environment, (b) => emitLine(b, line, shapes, prefix)));
              usedBy.set(probeKey, used);
            }
            const { addressSize } = ENVIRONMENTS[environment]!;
            const key = `${key0}${used.operandSize ? ` o${operandSize * 8}` : ''}${used.addressSize ? ` a${addressSize * 8}` : ''}${used.long ? (long ? ' long' : ' legacy') : ''}`;
            let handler = byKey.get(key);
            if (handler === undefined) {
              handler = count++;
              byKey.set(key, handler);
              names[handler] = key
                .replace(/ #\d+\w*/, '')
                .replace(/ +/g, ' ')
                .trim();
              recipes.set(handler, { line, shapes, prefix, operandSize, environment });
              build(handler, operandSize, environment, (b) => emitLine(b, line, shapes, prefix));
            }
            manifest[lineIndex * VARIANTS + variantOf(sizeIndex, isMemory, environment, prefix)] = handler;
          }
  });
  const pairs = buildPairs(module, context, names, recipes);
  const whole = Uint16Array.of(...manifest, ...pairs, pairs.length / 3);
  module.addCustom('manifest', new Uint8Array(whole.buffer));
  return { module: module.encode(), manifest: whole, count, names };
}

/** What a handler was made from. */
interface Recipe {
  readonly line: Line;
  readonly shapes: readonly Shape[];
  readonly prefix: number;
  readonly operandSize: Size;
  readonly environment: number;
}

function buildPairs(module: ModuleBuilder, context: HandlerContext, names: string[], recipes: ReadonlyMap<number, Recipe>): Uint16Array {
  const byName = new Map<string, number[]>();
  for (const handler of recipes.keys()) byName.set(names[handler]!, [...(byName.get(names[handler]!) ?? []), handler]);
  const pairs: number[] = [];
  let slot = FIRST_PAIR;
  for (const [firstName, secondName] of pairNames()) {
    const firsts = byName.get(firstName),
      seconds = byName.get(secondName);
    if (!firsts || !seconds) throw new Error(`no handler for the pair ${firstName}; ${secondName}`);
    for (const firstHandler of firsts) {
      for (const secondHandler of seconds) {
        const first = recipes.get(firstHandler)!,
          second = recipes.get(secondHandler)!,
          f = new FunctionBuilder(['i32', 'i32']);
        f.block((secondCaught) => {
          f.block((firstCaught) => {
            const a = new OpenEmit(f, firstCaught, first.operandSize, ENVIRONMENTS[first.environment]!, context);
            a.flagsWanted = second.line.effect !== 'write' || second.shapes.some((shape) => shape.kind === 'mem');
            emitLine(a, first.line, first.shapes, first.prefix, false);
            const b = new OpenEmit(f, secondCaught, second.operandSize, ENVIRONMENTS[second.environment]!, context, UOP_BYTES, a.known);
            emitLine(b, second.line, second.shapes, second.prefix);
          });
          leaveByFault(f);
        });
        leaveByFault(f, UOP_BYTES);
        f.flush();
        f.unreachable();
        f.flush();
        module.add(f, ['i32'], { tableSlot: slot });
        names[slot] = `${firstName}; ${secondName}`;
        pairs.push(firstHandler, secondHandler, slot++);
      }
    }
  }
  return Uint16Array.from(pairs);
}

/** Handlers that are no instruction of the guest: they leave the count of instructions as it is. */
function emitPseudoHandlers(add: (slot: number, name: string, emit: (b: OpenEmit) => void) => void): void {
  const uncounted = (b: OpenEmit): void =>
    b.f.store('i32', b.vcpu(), b.f.op('add', b.f.load('i32', b.vcpu(), VCPU.offset.budget), b.f.i32(1)), VCPU.offset.budget);
  const here = (b: OpenEmit): Value =>
    b.f.op('add', b.f.load('i64', b.vcpu(), VCPU.offset.ripPage), b.f.widen(b.uopField('u16', UOP_OFFSET)));
  add(HANDLER_STOP, '(stop)', (b) => b.leave(LEAVE_BUDGET, here(b), b.remaining(0)));
  add(HANDLER_LINK, '(link)', (b) => {
    const target = b.f.pin(b.uopField('i32', UOP_TARGET));
    b.setBudget(b.remaining(0), target);
    b.dispatch(target);
  });
  // Straight-line code runs on into code that is decoded elsewhere, such as the next page.
  add(HANDLER_CONTINUE, '(continue)', (b) => b.leave(LEAVE_LOOKUP, here(b), b.remaining(0)));
  add(HANDLER_STALE, '(stale)', (b) => b.leave(LEAVE_LOOKUP, here(b), b.remaining(0)));
  add(HANDLER_STRADDLE, '(straddle)', (b) => {
    const f = b.f,
      vcpu = b.vcpu();
    const linear = f.pin(
      f.op('add', f.op('add', f.load('i64', vcpu, VCPU.offset.ripPage), f.load('i64', vcpu, VCPU.offset.segBase + 8)), f.i64(4096)),
    );
    const entry = tlbEntry(f, f.load('i32', vcpu, VCPU.offset.tlb), linear);
    const proved = f.op(
      'and',
      f.compare('eq', f.load('i64', entry, TLB_EXEC), linear),
      f.compare('eq', f.op('add', linear, f.load('i64', entry, TLB_ADDEND)), b.uopField('i64', UOP_IMM)),
    );
    f.if(f.compare('eqz', proved), () => b.leave(LEAVE_STRADDLE, here(b), b.remaining(0)));
    uncounted(b);
    b.next();
  });
  add(HANDLER_FPU_CHECK, '(fpu check)', (b) => {
    b.call('checkFpu', b.uopField('i32', UOP_IMM));
    uncounted(b);
    b.next();
  });
  add(HANDLER_UNDEFINED, '(undefined)', (b) => {
    b.raise(UD);
    b.next();
  });
  add(HANDLER_TOO_LONG, '(too long)', (b) => {
    b.raise(GP, 'error');
    b.next();
  });
}
