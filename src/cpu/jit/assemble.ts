/**
 * Makes a region one wasm function (vcpu, entry micro-op) -> LEAVE_* reason, as a handler is: structured control flow around the instructions
 * that jit/known-emit.ts emits, the budget, and one end for every way out, which writes registers and flags back.
 *
 * A fault branches to `caught`; the local `site` says where it was, and how many instructions had retired since the budget was last charged.
 * A store that changes the region's own code ends the region after that instruction.
 * Implements: docs/internals.md "Calls and faults"; Ramsey, Beyond Relooper (2022), for the structure. Runs on: where regions are compiled.
 */
import { PAGE_BYTES, UOP_SHIFT } from '../../base/memory-map.ts';
import { ENV_LONG32, ENV_LONG64 } from '../decode/variants.ts';
import { LEAVE_REGION_FAULT } from '../interp/leave.ts';
import { VCPU } from '../state.ts';
import { FunctionBuilder, Label } from '../wasm/function.ts';
import type { Node } from '../wasm/function.ts';
import { SITE_COUNT_SHIFT } from './holes.ts';
import { KnownEmit, RegionLocals } from './known-emit.ts';
import type { KnownFlags, RegionContext } from './known-emit.ts';
import { dominates, isBackEdge } from './region.ts';
import type { Block, Instruction, Region } from './region.ts';


/** @returns the function: what stands before the region's code is known only at its end, when all registers that it uses are. */
export function assemble(region: Region, context: RegionContext): FunctionBuilder {
  return new Assembler(region, context).build();
}

class Assembler {
  readonly #f = new FunctionBuilder(['i32', 'i32']);
  readonly #region: Region;
  readonly #context: RegionContext;
  readonly #locals = new RegionLocals(this.#f);
  readonly #caught = new Label();
  readonly #exit = new Label();
  readonly #emit: KnownEmit;
  readonly #long: boolean;
  readonly #labels = new Map<Block, Label>();
  readonly #loopLabels = new Map<Block, Label>();
  /** Instructions since the budget was charged. */
  #uncharged = 0;

  constructor(region: Region, context: RegionContext) {
    const { environment } = region.entry.instructions[0]!;
    this.#region = region;
    this.#context = context;
    this.#long = environment === ENV_LONG64 || environment === ENV_LONG32;
    this.#emit = new KnownEmit(this.#f, this.#long, this.#locals, this.#caught, context);
  }

  build(): FunctionBuilder {
    const f = this.#f;
    f.open('block', this.#exit);
    f.open('block', this.#caught);
    this.#tree(this.#region.entry);
    f.unreachable();
    f.close();
    this.#end(true);
    f.close();
    this.#end(false);
    return this.#withHead();
  }

  // --- ways in and out ---

  #withHead(): FunctionBuilder {
    const f = this.#f,
      locals = this.#locals,
      whole = new FunctionBuilder(f.params),
      vcpu = whole.get(0, 'i32');
    whole.locals.push(...f.locals);
    for (const [index, local] of locals.registers) whole.set(local, whole.load('i64', vcpu, VCPU.offset.gpr + index * 8));
    whole.set(locals.op, whole.load('i32', vcpu, VCPU.offset.flagOp));
    whole.set(locals.p, whole.load('i64', vcpu, VCPU.offset.flagP));
    whole.set(locals.q, whole.load('i64', vcpu, VCPU.offset.flagQ));
    whole.set(locals.r, whole.load('i64', vcpu, VCPU.offset.flagR));
    whole.set(locals.ripPage, whole.load('i64', vcpu, VCPU.offset.ripPage));
    whole.set(locals.tlb, whole.load('i32', vcpu, VCPU.offset.tlb));
    const entry = whole.op('shr_u', whole.get(1, 'i32'), whole.i32(UOP_SHIFT));
    whole.set(locals.budget, whole.op('sub', whole.load('i32', vcpu, VCPU.offset.budget), entry));
    whole.flush();
    whole.out.append(f.out);
    return whole;
  }
  /** Write everything back; return with a fault, or go on at exitRip. */
  #end(fault: boolean): void {
    const f = this.#f,
      locals = this.#locals,
      vcpu = f.get(0, 'i32'),
      budget = f.get(locals.budget, 'i32');
    for (const index of locals.written) f.store('i64', vcpu, f.get(locals.register(index), 'i64'), VCPU.offset.gpr + index * 8);
    this.#emit.storeRecord(f);
    if (fault) {
      const site = f.get(locals.site, 'i32'),
        offset = f.op('and', site, f.i32(PAGE_BYTES - 1)),
        sum = f.op('add', f.get(locals.ripPage, 'i64'), f.widen(offset));
      f.store('i64', vcpu, this.#long ? sum : f.op('and', sum, f.i64(0xffff_ffff)), VCPU.offset.rip);
      f.store('i32', vcpu, f.op('sub', budget, f.op('shr_u', site, f.i32(SITE_COUNT_SHIFT))), VCPU.offset.budget);
      f.return(f.i32(LEAVE_REGION_FAULT));
    } else f.returnCall(this.#context.gotoIndex(this.#long), [vcpu, f.get(locals.exitRip, 'i64'), budget]);
    f.flush();
  }
  #charge(): void {
    this.#chargeOnly();
    this.#uncharged = 0;
  }
  /** For a way out beside the main path, which charges for itself. */
  #chargeOnly(): void {
    if (this.#uncharged === 0) return;
    const f = this.#f,
      { budget } = this.#locals;
    f.set(budget, f.op('sub', f.get(budget, 'i32'), f.i32(this.#uncharged)));
  }
  #leave(rip: Node): void {
    this.#f.set(this.#locals.exitRip, rip);
    this.#f.br(this.#exit);
  }

  // --- structure ---

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
      last = block.instructions.at(-1)!,
      [taken, next] = block.targets;
    emit.known = known;
    for (const instruction of block.instructions) {
      // A branch cannot fault, and leaves its condition on the wasm stack.
      if (instruction === last && next !== undefined) {
        this.#uncharged++;
        this.#charge();
        emit.instruction(last, 0);
      } else this.#instruction(instruction);
    }
    this.#charge();
    if (taken === undefined) {
      f.br(this.#exit);
      f.flush();
    } else if (next === undefined) this.#goto(block, taken, last, last.relative);
    else {
      f.open('if', new Label());
      const after = emit.known;
      this.#goto(block, taken, last, true);
      f.else();
      emit.known = after;
      this.#goto(block, next, last, false);
      f.close();
      f.unreachable();
      f.flush();
    }
  }
  #instruction(instruction: Instruction): void {
    const f = this.#f,
      storedSlowly = this.#emit.instruction(instruction, instruction.offset | (this.#uncharged << SITE_COUNT_SHIFT));
    this.#uncharged++;
    if (!storedSlowly || instruction.row.ends !== 'no') return;
    f.if(f.get(this.#locals.changed, 'i32'), () => {
      this.#chargeOnly();
      this.#leave(this.#emit.ripAt(instruction.offset + instruction.lengthBytes));
    });
    f.flush();
  }
  #goto(from: Block, offset: number, last: Instruction, byJump: boolean): void {
    const f = this.#f,
      to = this.#region.blocks.get(offset);
    if (!to || (isBackEdge(from, to) && !dominates(to, from))) this.#leave(byJump ? this.#emit.targetRip(last) : this.#emit.ripAt(offset));
    else if (isBackEdge(from, to)) {
      f.if(f.compare('le_s', f.get(this.#locals.budget, 'i32'), f.i32(0)), () => this.#leave(this.#emit.ripAt(offset)));
      f.br(labelIn(this.#loopLabels, to));
    } else if (to.forwardIn > 1) f.br(labelIn(this.#labels, to));
    else {
      f.flush();
      this.#tree(to, this.#emit.known);
    }
    f.flush();
  }
}

function labelIn(labels: Map<Block, Label>, block: Block): Label {
  let label = labels.get(block);
  if (!label) {
    label = new Label();
    labels.set(block, label);
  }
  return label;
}
