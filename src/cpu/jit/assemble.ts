/**
 * Makes a region one wasm function (vcpu, entry micro-op) -> LEAVE_* reason, as a handler is: structured control flow around the instructions
 * that jit/known-emit.ts emits, the budget, nested calls, and the ways out.
 *
 * What has to be loaded and written back where is known at the end, so its code fills holes (jit/register-flow.ts). Rare ways out (a fault, a
 * used-up budget, a store that changes the region's own code) share one end: the local `site` tells it where they come from and what is dirty.
 *
 * A guest CALL is a call: the callee's RET finds at VCPU_RETURN_TOP that its address is awaited and returns LEAVE_RETURN; any other reason
 * is for the run loop, so every frame hands it on. State is in the record meanwhile, and anything may have happened before that RET.
 * Implements: docs/internals.md "Calls and faults"; Ramsey, Beyond Relooper (2022), for the structure. Runs on: where regions are compiled.
 */
import {
  PAGE_BYTES,
  RETURN_FRAME_BYTES,
  TLB_ADDEND,
  TLB_EXEC,
  UOP_SHIFT,
  VCPU_FETCH_PROOF,
  VCPU_RETURNS_END,
  VCPU_RETURN_TOP,
} from '../../base/memory-map.ts';
import { ENV_LONG32, ENV_LONG64 } from '../decode/variants.ts';
import { LEAVE_OTHER_CLASS, LEAVE_REGION_FAULT, LEAVE_RETURN } from '../interp/leave.ts';
import { ifJumpKnown, returnIfAwaited } from '../interp/open-emit.ts';
import { VCPU } from '../state.ts';
import { tlbIndex } from '../tlb-entry.ts';
import { Bytes } from '../wasm/bytes.ts';
import { FunctionBuilder, Label } from '../wasm/function.ts';
import type { Fill, Node } from '../wasm/function.ts';
import type { FunctionBody } from '../wasm/module.ts';
import type { Type } from '../wasm/opcodes.ts';
import { pageOf } from './code-window.ts';
import { isBackEdge } from './flow-graph.ts';
import { KnownEmit, REGISTER_FLAGS, REGISTER_MXCSR, REGISTER_ROTATED, RegionLocals } from './known-emit.ts';
import type { KnownFlags, RegionContext, Template } from './known-emit.ts';
import type { OpenField } from './open-fields.ts';
import { perfectHash } from './perfect-hash.ts';
import type { PerfectHash } from './perfect-hash.ts';
import { emitPlace } from './relocations.ts';
import { CALLS, CHANGES, FAULTS, NO_POINT, Points, flowRegisters } from './register-flow.ts';
import type { Bank, Point } from './register-flow.ts';
import { rememberingBlocks } from './remembering.ts';
import { isRepeated } from './region.ts';
import { CHANGES_CLASS } from './template-emit.ts';
import type { Block, Instruction, Region } from './region.ts';

/**
 * `site`: offset of the instruction in its page, or behind it; above it which of the region's pages that is, and the instructions not yet charged;
 * in the upper half which general registers are dirty.
 */
const SITE_OFFSET_BITS = 13,
  SITE_PAGE_BITS = 5,
  SITE_PLACE_BITS = SITE_OFFSET_BITS + SITE_PAGE_BITS;
const REGISTERS = 16;
const VECTOR_BYTES = 32,
  LAST_VECTOR = 1 << 15;
/** So many targets of an indirect jump are told apart by a table, fewer by comparing one after the other. */
const LEAST_TABLE = 4;
const ALIAS_PROVED = 500;
/** Instructions behind which accesses may be of another class. */
const CLASS_CHANGES: ReadonlySet<string> = CHANGES_CLASS;
/** What a frame of the baseline compiler takes besides its locals, roughly. */
const FRAME_BYTES = 256;

export interface RegionBody extends FunctionBody {
  readonly locals: readonly Type[];
  /** Fields of the guest's code that might move, if the code did not depend on their values. */
  readonly fixed: readonly OpenField[];
  /** For a reader of the code. */
  readonly localNames: () => ReadonlyMap<number, string>;
}

/** What stands before the region's code is known only at its end, when all registers that it uses are. */
export function assemble(region: Region, context: RegionContext): RegionBody {
  return new Assembler(region, context).build();
}

/** Code without what fills its gaps, and with it, of one region after the other: what is kept is a copy. */
const SCRATCH = new Bytes(1 << 16),
  FILLED = new Bytes(1 << 16);
function emptied(bytes: Bytes): Bytes {
  bytes.size = 0;
  bytes.hints = undefined;
  bytes.marks = undefined;
  return bytes;
}

class Assembler {
  readonly #f = new FunctionBuilder(['i32', 'i32'], emptied(SCRATCH));
  readonly #region: Region;
  readonly #context: RegionContext;
  readonly #locals = new RegionLocals(this.#f);
  readonly #caught = new Label();
  readonly #exit = new Label();
  readonly #emit: KnownEmit;
  readonly #long: boolean;
  readonly #remembering: Uint8Array | undefined;
  readonly #labels = new Map<Block, Label>();
  readonly #loopLabels = new Map<Block, Label>();
  readonly #points: Points;
  readonly #choices = new Map<Block, number>();
  /** Pages that have been proved: a bit for each of the region's. */
  readonly #proved = this.#f.newLocal('i32');
  /** Instructions since the budget was charged. */
  #uncharged = 0;
  #usesVectors = false;

  constructor(region: Region, context: RegionContext) {
    const { environment } = region.entry.instructions[0]!;
    this.#region = region;
    this.#context = context;
    this.#points = new Points(region);
    this.#long = environment === ENV_LONG64 || environment === ENV_LONG32;
    this.#emit = new KnownEmit(this.#f, this.#long, this.#locals, this.#caught, context);
    this.#remembering = rememberingBlocks(region);
    const changesClass = region.blocks.some(({ instructions }) => instructions.some(({ line }) => CLASS_CHANGES.has(line.name)));
    this.#emit.begin(region.entry.start, changesClass);
    this.#emit.remembersAny = this.#remembering !== undefined;
    this.#emit.fillSite = this.#siteBefore;
  }

  build(): RegionBody {
    const f = this.#f;
    let live = 0,
      liveVectors = 0;
    // What is in a local takes a register of the host everywhere; a constant becomes part of the addresses.
    f.set(0, f.i32(this.#context.vcpu));
    f.flush();
    f.later((out) => this.#load(out, live, liveVectors));
    this.#begin();
    f.open('block', this.#exit);
    f.open('block', this.#caught);
    this.#tree(this.#region.entry);
    f.unreachable();
    f.close();
    this.#rareEnd();
    f.close();
    this.#end();
    live = flowRegisters(this.#region, this.#points, 'general');
    if (this.#usesVectors) liveVectors = flowRegisters(this.#region, this.#points, 'vectors');
    const out = f.filled(emptied(FILLED));
    return {
      params: f.params,
      locals: f.locals,
      out,
      fixed: this.#emit.fixed,
      localNames: () => this.#localNames(),
    };
  }

  #localNames(): Map<number, string> {
    const names = this.#emit.localNames().set(this.#proved, 'proved');
    for (const [{ order }, local] of this.#choices) names.set(local, `choice${order}`);
    return names;
  }

  // --- ways in and out ---

  #begin(): void {
    const f = this.#f,
      locals = this.#locals,
      vcpu = f.get(0, 'i32');
    f.later(this.#emit.forgetPages);
    f.set(locals.ripPage, f.load('i64', vcpu, VCPU.offset.ripPage));
    const entry = f.op('shr_u', f.get(1, 'i32'), f.i32(UOP_SHIFT));
    f.set(locals.budget, f.op('sub', f.load('i32', vcpu, VCPU.offset.budget), entry));
    f.if(
      f.compare('ne', f.load('i32', vcpu, VCPU.offset.tlb), f.i32(this.#context.tlb)),
      () => {
        f.store('i64', vcpu, this.#emit.ripAt(this.#region.entry.start), VCPU.offset.rip);
        f.store('i32', vcpu, f.get(locals.budget, 'i32'), VCPU.offset.budget);
        f.return(f.i32(LEAVE_OTHER_CLASS));
      },
      undefined,
      'unlikely',
    );
    f.flush();
  }
  /** Everything is written back: go on at exitRip. */
  #end(): void {
    const f = this.#f,
      { exitRip, budget } = this.#locals,
      vcpu = f.get(0, 'i32'),
      rip = f.get(exitRip, 'i64'),
      left = f.get(budget, 'i32');
    if (this.#long)
      f.if(f.compare('gt_s', left, f.i32(0)), () =>
        ifJumpKnown(f, rip, left, (handler, uop) => f.returnCallIndirect(this.#context.handlerType, handler, [vcpu, uop])),
      );
    this.#goto(rip);
    f.flush();
  }
  #goto(rip: Node): void {
    const f = this.#f;
    f.returnCall(this.#context.gotoIndex(this.#long), [f.get(0, 'i32'), rip, f.get(this.#locals.budget, 'i32')]);
  }
  /** `site` says what is dirty. Without a fault tier 0 goes on there. */
  #rareEnd(): void {
    const f = this.#f,
      { site, siteVectors, budget, ripPage } = this.#locals,
      vcpu = f.get(0, 'i32'),
      low = f.pin(f.wrap(f.get(site, 'i64'))),
      high = f.pin(f.wrap(f.op('shr_u', f.get(site, 'i64'), f.i64(32))));
    const storeWhere = (dirty: Node, bank: Bank, last: number): void => {
      const written = this.#points.written(bank),
        store: Fill = bank === 'general' ? (out, bit) => this.#store(out, bit, 0) : (out, bit) => this.#store(out, 0, bit);
      for (let bit = 1; bit <= last; bit <<= 1) if (written & bit) f.if(f.op('and', dirty, f.i32(bit)), () => f.later(store, bit));
    };
    storeWhere(high, 'general', REGISTER_ROTATED);
    if (this.#usesVectors) storeWhere(f.pin(f.get(siteVectors, 'i32')), 'vectors', LAST_VECTOR);
    const offset = f.op('and', low, f.i32((1 << SITE_OFFSET_BITS) - 1)),
      sum = f.op('add', f.op('add', f.get(ripPage, 'i64'), this.#distanceAt(low)), f.widen(offset)),
      rip = f.pin(this.#long ? sum : f.op('and', sum, f.i64(0xffff_ffff)));
    f.set(budget, f.op('sub', f.get(budget, 'i32'), f.op('shr_u', low, f.i32(SITE_PLACE_BITS))));
    f.if(f.compare('eqz', f.load('i32', vcpu, VCPU.offset.fault)), () => this.#goto(rip));
    f.store('i64', vcpu, rip, VCPU.offset.rip);
    f.store('i32', vcpu, f.get(budget, 'i32'), VCPU.offset.budget);
    f.return(f.i32(LEAVE_REGION_FAULT));
    f.flush();
  }
  /** Bytes from the entry's page to the one in the low half of a site. */
  #distanceAt(low: Node): Node {
    const f = this.#f,
      index = f.op('and', f.op('shr_u', low, f.i32(SITE_OFFSET_BITS)), f.i32((1 << SITE_PAGE_BITS) - 1));
    return this.#region.pages.reduce<Node>(
      (others, page, at) => (at === 0 ? others : f.select(f.compare('eq', index, f.i32(at)), f.i64(page * PAGE_BYTES), others)),
      f.i64(0),
    );
  }
  /** @param offset of an instruction of the region, or behind one */
  #siteOf(offset: number): number {
    const { pages } = this.#region,
      at = pages.indexOf(pageOf(offset)),
      index = at < 0 ? pages.indexOf(pageOf(offset) - 1) : at;
    return (offset - pages[index]! * PAGE_BYTES) | (index << SITE_OFFSET_BITS) | (this.#uncharged << SITE_PLACE_BITS);
  }
  /** Set `site`: what is dirty is so before a point, or after it. */
  readonly #siteBefore: Fill = (out, low, point) =>
    this.#siteIs(out, low, this.#points.general.dirtyBefore[point]!, this.#points.vectors.dirtyBefore[point]!);
  readonly #siteAfter: Fill = (out, low, point) =>
    this.#siteIs(out, low, this.#points.general.dirtyAfter[point]!, this.#points.vectors.dirtyAfter[point]!);
  #siteIs(out: Bytes, low: number, high: number, vectors: number): void {
    const { site, siteVectors } = this.#locals;
    out.u8(0x42);
    out.s64(low, high);
    out.localSet(site);
    if (!this.#usesVectors) return;
    out.u8(0x41);
    out.s32(vectors);
    out.localSet(siteVectors);
  }
  /** Beside the main path, which goes on. */
  #leaveRarely(condition: Node, offset: number, point: Point): void {
    const f = this.#f;
    f.if(
      condition,
      () => {
        f.later(this.#siteAfter, this.#siteOf(offset), point);
        f.br(this.#caught);
      },
      undefined,
      'unlikely',
    );
  }
  readonly #storeDirty: Fill = (out, point) =>
    this.#store(out, this.#points.general.dirtyAfter[point]!, this.#points.vectors.dirtyAfter[point]!);
  readonly #loadLive: Fill = (out, point) =>
    this.#load(out, this.#points.general.liveAfter[point]!, this.#points.vectors.liveAfter[point]!);
  #writeBack(point: Point): void {
    if (point !== NO_POINT) this.#f.later(this.#storeDirty, point);
  }
  #leave(rip: Node, point: Point): void {
    const f = this.#f;
    this.#writeBack(point);
    f.set(this.#locals.exitRip, rip);
    f.br(this.#exit);
  }
  #charge(): void {
    if (this.#uncharged > 0) {
      const { budget } = this.#locals,
        out = this.#f.here();
      out.localGet(budget);
      out.u8(0x41);
      out.s32(this.#uncharged);
      out.u8(0x6b);
      out.localSet(budget);
    }
    this.#uncharged = 0;
  }
  /** After a store: has it changed this region's code? After a REP: is there more to do? */
  #leaveIfChanged(offset: number, point: Point): void {
    const f = this.#f,
      out = f.here(),
      low = this.#siteOf(offset);
    out.localGet(this.#locals.changed);
    out.hint(false);
    out.u8(0x04);
    out.u8(0x40);
    f.laterHere(this.#siteAfter, low, point);
    out.u8(0x0c);
    out.u32(f.depthOf(this.#caught) + 1);
    out.u8(0x0b);
  }

  /** Is what the region was made from still mapped here? Whoever finds out once knows it until the region is left: see #call. */
  #provePages(block: Block): void {
    const f = this.#f,
      { ripPage, otherTlb } = this.#locals;
    for (const page of block.unproved) {
      const bit = 1 << this.#region.pages.indexOf(page),
        get = (): Node => f.get(this.#proved, 'i32', ALIAS_PROVED);
      f.if(
        f.compare('eqz', f.op('and', get(), f.i32(bit))),
        () => {
          const linear = f.pin(f.op('add', f.get(ripPage, 'i64'), f.i64(page * PAGE_BYTES))),
            index = tlbIndex(f, linear),
            entry = f.pin(this.#emit.changesClass ? f.op('add', index, f.get(otherTlb, 'i32')) : index),
            field = (offset: number): Node => f.load('i64', entry, this.#emit.tlbStart + offset),
            hva = f.op('add', linear, field(TLB_ADDEND)),
            differs = f.op('or', f.op('xor', field(TLB_EXEC), linear), f.op('xor', hva, this.#placeOf(page)));
          f.if(
            f.compare('ne', differs, f.i64(0)),
            () => {
              f.later(this.#siteBefore, this.#siteOf(block.start), this.#points.next);
              f.br(this.#caught);
            },
            undefined,
            'unlikely',
          );
          f.set(this.#proved, f.op('or', get(), f.i32(bit)), ALIAS_PROVED);
        },
        undefined,
        'unlikely',
      );
      f.flush();
    }
  }

  /** Where a page lies in memory 1. */
  #placeOf(page: number): Node {
    return this.#f.encoded('i64', (out) => emitPlace(out, 'i64', page * PAGE_BYTES, this.#context.hvaOf(page)));
  }

  // --- registers between locals and the record ---

  #transfer(mask: number, each: (local: number, offset: number, isLong: boolean) => void): void {
    const { registers, op, p, q, r } = this.#locals,
      { gpr, flagOp, flagP, flagQ, flagR } = VCPU.offset;
    for (let index = 0; index < REGISTERS; index++) if (mask & (1 << index)) each(registers[index]!, gpr + index * 8, true);
    if (mask & REGISTER_FLAGS) {
      each(op, flagOp, false);
      each(p, flagP, true);
      each(q, flagQ, true);
    }
    if (mask & REGISTER_ROTATED) each(r, flagR, true);
  }
  #transferVectors(mask: number, each: (local: number, offset: number) => void): void {
    for (let bit = 1, offset = VCPU.offset.vector, index = 0; bit <= LAST_VECTOR; bit <<= 1, offset += VECTOR_BYTES, index++)
      if (mask & bit) each(this.#locals.vectors[index]!, offset);
  }
  #load(out: Bytes, mask: number, vectors: number): void {
    this.#transferVectors(vectors, (local, offset) => {
      out.localGet(0);
      out.u8(0xfd);
      out.u8(0);
      out.u8(4);
      out.u32(offset);
      out.localSet(local);
    });
    if (vectors & REGISTER_MXCSR) this.#emit.learnMxcsr(out);
    this.#transfer(mask, (local, offset, isLong) => {
      out.localGet(0);
      out.u8(isLong ? 0x29 : 0x28);
      out.u8(isLong ? 3 : 2);
      out.u32(offset);
      out.localSet(local);
    });
  }
  #store(out: Bytes, mask: number, vectors: number): void {
    this.#transferVectors(vectors, (local, offset) => {
      out.localGet(0);
      out.localGet(local);
      out.u8(0xfd);
      out.u8(11);
      out.u8(4);
      out.u32(offset);
    });
    this.#transfer(mask, (local, offset, isLong) => {
      out.localGet(0);
      out.localGet(local);
      out.u8(isLong ? 0x37 : 0x36);
      out.u8(isLong ? 3 : 2);
      out.u32(offset);
    });
  }

  // --- calls ---

  /** After the instruction: its target is in exitRip. @param next offset behind it */
  #call(point: Point, next: number): void {
    const f = this.#f,
      { exitRip, budget, returnTop } = this.#locals,
      vcpu = f.get(0, 'i32'),
      target = f.get(exitRip, 'i64'),
      left = f.get(budget, 'i32'),
      reason = f.newLocal('i32'),
      [returnRip, proof] = [f.newLocal('i64'), f.newLocal('i64')];
    this.#writeBack(point);
    f.set(returnTop, f.load('i32', vcpu, VCPU_RETURN_TOP));
    const full = f.compare('ge_u', f.get(returnTop, 'i32'), f.op('add', vcpu, f.i32(VCPU_RETURNS_END)));
    f.brIf(f.op('or', full, f.compare('le_s', left, f.i32(0))), this.#exit, 'unlikely');
    f.set(returnRip, this.#emit.ripAt(next));
    f.set(proof, f.load('i64', vcpu, VCPU_FETCH_PROOF));
    f.later(this.#nest, returnRip);
    ifJumpKnown(
      f,
      target,
      left,
      (handler, uop) => f.set(reason, f.callIndirect(this.#context.handlerType, handler, [vcpu, uop], 'i32')),
      () => f.set(reason, f.callNow(this.#context.gotoIndex(true), 'i32', [vcpu, target, left])),
    );
    f.if(f.compare('ne', f.get(reason, 'i32'), f.i32(LEAVE_RETURN)), () => f.return(f.get(reason, 'i32')), undefined, 'unlikely');
    f.store('i32', vcpu, f.get(returnTop, 'i32'), VCPU_RETURN_TOP);
    f.set(budget, f.load('i32', vcpu, VCPU.offset.budget));
    // The callee may have changed this region's code, or what is mapped here, or returned to here in another address space.
    const moved = f.compare('ne', f.load('i64', vcpu, VCPU_FETCH_PROOF), f.get(proof, 'i64'));
    f.set(exitRip, f.get(returnRip, 'i64'));
    f.brIf(moved, this.#exit, 'unlikely');
    f.later(this.#loadLive, point);
    f.later(this.#emit.forgetPages);
    f.flush();
  }
  /** Take places in VCPU_RETURNS, as many as this frame needs; the last holds what is waited for. */
  readonly #nest: Fill = (out, returnRip) => {
    const bytes = this.#f.locals.reduce((sum, type) => sum + (type === 'v128' ? 16 : 8), FRAME_BYTES),
      step = Math.ceil(bytes / RETURN_FRAME_BYTES) * 8,
      { returnTop } = this.#locals;
    out.localGet(returnTop);
    out.localGet(returnRip);
    out.u8(0x37);
    out.u8(3);
    out.u32(step);
    out.localGet(0);
    out.localGet(returnTop);
    out.u8(0x41);
    out.s32(step);
    out.u8(0x6a);
    out.u8(0x36);
    out.u8(2);
    out.u32(VCPU_RETURN_TOP);
  };
  /** The last instruction leaves: a call outside 64-bit mode, RET, an indirect jump. */
  #depart(last: Instruction, point: Point): void {
    const f = this.#f,
      { exitRip, budget } = this.#locals;
    this.#writeBack(point);
    if (this.#long && last.line.name === 'ret') returnIfAwaited(f, f.get(exitRip, 'i64'), f.get(budget, 'i32'));
    f.br(this.#exit);
    f.flush();
  }

  // --- structure ---

  /**
   * The target is in exitRip: go to the block there, if it is one of the first `count` targets.
   * @param otherwise emits what happens else; it does not come back
   */
  #pick(block: Block, point: Point, count: number, otherwise: () => void): void {
    const f = this.#f,
      emit = this.#emit,
      { known } = emit,
      held = block.targets.map((_, which) => which).filter((which) => which < count && block.edges[which]);
    /** At the target, unless it is another one after all. */
    const arm = (which: number, other: Label): void => {
      const target = block.targets[which]!;
      f.brIf(f.compare('ne', f.get(this.#locals.exitRip, 'i64'), emit.ripAt(target)), other, 'unlikely');
      f.flush();
      emit.known = known;
      this.#arrive(block, which, point);
    };
    const hash = held.length < LEAST_TABLE ? undefined : perfectHash(held.map((which) => block.targets[which]!));
    if (hash) this.#byTable(hash, held, arm);
    else
      for (const which of held) {
        const other = new Label();
        f.open('block', other);
        arm(which, other);
        f.close();
      }
    emit.known = known;
    otherwise();
    f.flush();
  }
  #byTable({ multiplier, shift, places }: PerfectHash, held: readonly number[], arm: (which: number, other: Label) => void): void {
    const f = this.#f,
      { exitRip, ripPage } = this.#locals,
      labels = held.map(() => new Label()),
      other = new Label();
    f.open('block', other);
    for (const label of labels.toReversed()) f.open('block', label);
    const distance = f.wrap(f.op('sub', f.get(exitRip, 'i64'), f.get(ripPage, 'i64'))),
      place = f.op('shr_u', f.op('mul', distance, f.i32(multiplier)), f.i32(shift));
    f.brTable(
      place,
      places.map((at) => labels[at] ?? other),
      other,
    );
    for (const which of held) {
      f.close();
      arm(which, other);
    }
    f.close();
  }
  /** Go to a function, or behind its CALL, which may have stored to code. */
  #arrive(block: Block, which: number, point: Point): void {
    if (this.#points.changes(point)) this.#leaveIfChanged(block.targets[which]!, point);
    this.#follow(block, which, point);
  }
  /** A call that nests, and what comes behind it: the last of the block's targets. */
  #nestAndGoOn(block: Block, point: Point): void {
    const behind = block.targets.length - 1;
    this.#call(point, block.targets[behind]!);
    this.#emit.known = undefined;
    // Nothing is dirty.
    this.#follow(block, behind, NO_POINT);
  }

  /** A merge point's code follows a wasm block that encloses everything which branches to it. */
  #tree(block: Block, known?: KnownFlags): void {
    const f = this.#f,
      merges = block.children.filter((child) => child.forwardIn > 1).sort((a, b) => b.order - a.order);
    // A loop and a merge have a label each: forward edges leave the merge's block, back-edges go to the loop.
    if (block.loopHeader) f.open('loop', labelIn(this.#loopLabels, block));
    for (const merge of merges) f.open('block', labelIn(this.#labels, merge));
    this.#block(block, block.loopHeader ? undefined : known);
    for (let i = merges.length - 1; i >= 0; i--) {
      f.close();
      this.#tree(merges[i]!);
    }
    if (block.loopHeader) {
      f.close();
      f.unreachable();
      f.flush();
    }
  }
  /** @param known of the flags, where there is only one way to come here. */
  #block(block: Block, known: KnownFlags | undefined): void {
    const f = this.#f,
      emit = this.#emit,
      { ending } = block,
      last = block.instructions.at(-1)!; // a block that dispatches has none, and asks for none
    emit.known = known;
    emit.remembers = this.#remembering?.[block.order] === 1;
    this.#points.open(block);
    let point: Point = NO_POINT;
    this.#provePages(block);
    for (const instruction of block.instructions) {
      // A branch cannot fault, and leaves its condition on the wasm stack.
      if (instruction === last && ending === 'branches') {
        this.#uncharged++;
        this.#charge();
        point = this.#emitted(block, instruction, this.#emit.template(instruction));
      } else point = this.#instruction(block, instruction);
    }
    this.#charge();
    switch (ending) {
      case 'leaves':
        this.#depart(last, point);
        break;
      case 'nests':
        this.#nestAndGoOn(block, point);
        break;
      case 'returns':
      case 'picks':
        this.#pick(block, point, block.targets.length, () => this.#depart(last, point));
        break;
      case 'guesses':
        this.#pick(block, point, block.targets.length - 1, () => this.#nestAndGoOn(block, point));
        break;
      case 'enters':
        this.#arrive(block, 0, point);
        break;
      case 'goes':
        this.#follow(block, 0, point);
        break;
      case 'dispatches':
        this.#dispatch(block, this.#points.add(block, 0));
        break;
      case 'branches': {
        f.open('if', new Label());
        const after = emit.known;
        this.#follow(block, 0, point);
        f.else();
        emit.known = after;
        this.#follow(block, 1, point);
        f.close();
        f.unreachable();
        f.flush();
      }
    }
  }
  /** The local that says which target of a block that dispatches is meant. */
  #choiceOf(dispatch: Block): number {
    let local = this.#choices.get(dispatch);
    if (local === undefined) {
      local = this.#f.newLocal('i32');
      this.#choices.set(dispatch, local);
    }
    return local;
  }
  #dispatch(block: Block, point: Point): void {
    const f = this.#f,
      labels = block.targets.map(() => new Label());
    for (const label of labels.toReversed()) f.open('block', label);
    f.brTable(f.get(this.#choiceOf(block), 'i32'), labels.slice(0, -1), labels.at(-1)!);
    for (const which of labels.keys()) {
      f.close();
      this.#emit.known = undefined;
      this.#follow(block, which, point);
    }
  }
  #emitted(block: Block, instruction: Instruction, template: Template): Point {
    const emit = this.#emit,
      points = this.#points,
      isInside = instruction.row.ends === 'no';
    emit.instruction(instruction, template, this.#uncharged);
    this.#usesVectors ||= (emit.vectorReads | emit.vectorWrites) !== 0;
    const { general, vectors } = points,
      faults = template.faults || (points.isFirst(block) && block.unproved.length > 0),
      changes = isRepeated(instruction) || (template.storedSlowly && (isInside || block.ending === 'enters' || block.ending === 'guesses')),
      calls = !isInside && block.ending === 'nests',
      point = points.add(block, (faults ? FAULTS : 0) | (changes ? CHANGES : 0) | (calls ? CALLS : 0));
    general.reads[point] = emit.reads;
    general.writes[point] = emit.writes;
    vectors.reads[point] = emit.vectorReads;
    vectors.writes[point] = emit.vectorWrites;
    return point;
  }
  #instruction(block: Block, instruction: Instruction): Point {
    const template = this.#emit.template(instruction);
    if (template.faults) {
      this.#emit.siteLow = this.#siteOf(instruction.offset);
      this.#emit.sitePoint = this.#points.next;
    }
    const point = this.#emitted(block, instruction, template);
    if (isRepeated(instruction)) this.#leaveIfChanged(instruction.offset, point);
    this.#uncharged++;
    if (isRepeated(instruction)) return point;
    if (this.#points.changes(point) && instruction.row.ends === 'no')
      this.#leaveIfChanged(instruction.offset + instruction.lengthBytes, point);
    return point;
  }
  /** @param which of the block's targets @param point the last one of the block, or NO_POINT */
  #follow(from: Block, which: number, point: Point): void {
    const f = this.#f,
      to = from.edges[which],
      offset = from.targets[which]!,
      last = from.instructions.at(-1);
    for (const { edge, dispatch, value } of from.choices) if (edge === which) f.set(this.#choiceOf(dispatch), f.i32(value));
    if (!to) this.#leave(which === 0 && last && isTaken(last) ? this.#emit.targetRip(last) : this.#emit.ripAt(offset), point);
    else if (isBackEdge(from, to)) {
      this.#leaveRarely(f.compare('le_s', f.get(this.#locals.budget, 'i32'), f.i32(0)), offset, point);
      f.br(labelIn(this.#loopLabels, to));
    } else if (to.forwardIn > 1) f.br(labelIn(this.#labels, to));
    else {
      f.flush();
      this.#tree(to, this.#emit.known);
    }
    f.flush();
  }
}

/** Does it jump to where it says, as opposed to the next instruction? */
const isTaken = ({ row: { ends } }: Instruction): boolean => ends === 'jump' || ends === 'branch';

function labelIn(labels: Map<Block, Label>, block: Block): Label {
  let label = labels.get(block);
  if (!label) {
    label = new Label();
    labels.set(block, label);
  }
  return label;
}
