/**
 * `npm run vectors -- --count N --seed S [--out FILE]`: fresh single-instruction vectors from this machine's CPU.
 * Runs on: the command line. FILE ending in .br or .gz is compressed; without it, JSON lines on standard output.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { Maker } from './maker.ts';
import { NativeCpu } from './native-cpu.ts';
import type { VectorsHead } from './vectors.ts';

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    out: { type: 'string' },
  },
});
const count = Number(values.count),
  seed = Number(values.seed);
using cpu = NativeCpu.open();
if (cpu === null) {
  process.stderr.write('vectors: needs Linux on x86-64 with gcc\n');
  process.exit(1);
}
const model = /^model name\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
const family = ['cpu family', 'model', 'stepping']
  .map((name) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1])
  .join('/');
const head: VectorsHead = {
  cpu: `${model} (family/model/stepping ${family})`,
  recorder: 'src/cpu/testing/native/generator.c',
  seed,
  count,
};
const vectors = new Maker(seed).vectors(cpu, count);
const text = `${[head, ...vectors].map((line) => JSON.stringify(line)).join('\n')}\n`;
if (values.out === undefined) process.stdout.write(text);
else if (values.out.endsWith('.br')) {
  writeFileSync(
    values.out,
    brotliCompressSync(text, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: text.length },
    }),
  );
} else writeFileSync(values.out, values.out.endsWith('.gz') ? gzipSync(text, { level: 9 }) : text);
