import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import { VCPUS, VCPU_TLB } from '../../base/memory-map.ts';
import { MODE_64 } from '../state.ts';
import { onlyPage } from './code-window.ts';
import type { CompileEntry, CompiledModule } from './compilation.ts';
import { RegionCompiler } from './region-compiler.ts';

/** mov rax, rcx; inner: inc rax; dec rcx; jnz inner; inc rax; ret */
const CODE = '4889c8' + '48ffc0' + '48ffc9' + '75f8' + '48ffc0' + 'c3',
  FUNCTION = 0,
  INNER = 3;

function compiler(limits?: ConstructorParameters<typeof RegionCompiler>[1]): (...offsets: number[]) => CompiledModule {
  const memory1 = Buffer.alloc(4096);
  memory1.write(CODE, 'hex');
  const regions = new RegionCompiler(memory1, limits);
  return (...offsets) => {
    const modules: CompiledModule[] = [],
      entries = offsets.map((offset): CompileEntry => ({
        slot: 100 + offset,
        vcpu: VCPUS,
        tlb: VCPUS + VCPU_TLB,
        hvaPage: 0,
        offset,
        pages: onlyPage(0),
        mode: MODE_64,
      }));
    regions.compile(entries, (module) => modules.push(module));
    return modules[0]!;
  };
}
const slots = ({ regions }: CompiledModule): number[] => regions.map(({ slot }) => slot);

test('an entry that lies in another region waits until it is asked for again', () => {
  const compile = compiler(),
    both = compile(INNER, FUNCTION);
  deepEqual([slots(both), both.covered], [[100 + FUNCTION], [100 + INNER]]);
  const again = compile(INNER);
  deepEqual([slots(again), again.covered], [[100 + INNER], []]);
});

test('where every entry is compiled, that one is, too', () => {
  const both = compiler({ cap: 100, minimum: 1 })(INNER, FUNCTION);
  deepEqual([slots(both), both.covered], [[100 + FUNCTION, 100 + INNER], []]);
});
