/**
 * `node src/cpu/jit/emit.bench.ts [program]`: what forming and emitting regions costs, per guest instruction, in a fresh process and warm.
 * The guest code is an ELF program for x86-64 (default: this Node itself), its regions those that start at targets of direct calls.
 * Runs on: the command line.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { VCPUS, VCPU_TLB } from '../../base/memory-map.ts';
import { DECODED, Decoder } from '../decode/decoder.ts';
import { MODE_64 } from '../state.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { assemble } from './assemble.ts';
import { CodeWindow, onlyPage } from './code-window.ts';
import { RegionFormer } from './region.ts';
import { templates } from './templates.ts';

const { stats } = templates.i32;
const CODE_BYTES = 1 << 22;
const CAP = 200,
  BATCH = 24,
  COLD = 5000,
  ROUNDS = 3;

/** Code of the first executable segment, from its start. */
function codeOf(path: string): Uint8Array {
  const file = openSync(path, 'r'),
    head = Buffer.alloc(4096);
  readSync(file, head, 0, 4096, 0);
  const table = Number(head.readBigUInt64LE(32));
  for (let i = 0; i < head.readUInt16LE(56); i++) {
    const at = table + i * 56;
    if (head.readUInt32LE(at) !== 1 || (head.readUInt32LE(at + 4) & 1) === 0) continue;
    const start = Number(head.readBigUInt64LE(at + 8)),
      size = Math.min(CODE_BYTES, Number(head.readBigUInt64LE(at + 32)), fstatSync(file).size - start),
      code = Buffer.alloc(CODE_BYTES);
    readSync(file, code, 0, size, start);
    closeSync(file);
    return code;
  }
  throw new Error(`${path} has no executable segment`);
}

/** Where direct calls go, in the order in which a sweep meets them. */
function callTargets(code: Uint8Array): number[] {
  const decoder = new Decoder(),
    targets = new Set<number>();
  for (let at = 0; at < code.length - 16;) {
    if (decoder.decode(code, at, code.length, MODE_64) !== DECODED) {
      at++;
      continue;
    }
    at += decoder.lengthBytes;
    const target = at + decoder.immediateLow;
    if (decoder.row.ends === 'call' && decoder.relative && target > 0 && target < code.length - 4096) targets.add(target);
  }
  return [...targets];
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);
/** CPU time of this thread: wall time says little on a machine with other work. */
const nowUs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return user + system;
};
const context = {
  helperIndex: () => 3,
  gotoIndex: () => 4,
  handlerType: 0,
  ramIndex: 'i32' as const,
  hvaOf: () => 0,
  slot: 7,
  vcpu: VCPUS,
  tlb: VCPUS + VCPU_TLB,
  fpuTrap: false,
};
const former = new RegionFormer();
const code = codeOf(process.argv[2] ?? process.execPath),
  window = new CodeWindow(code),
  entries = callTargets(code);

/** @returns what was done with `entries` from `first` on, until `limit` instructions. */
function run(first: number, limit: number): { next: number; instructions: number; bytes: number; formUs: number; emitUs: number } {
  let instructions = 0,
    bytes = 0,
    formUs = 0,
    emitUs = 0,
    next = first;
  while (next < entries.length && instructions < limit) {
    const started = nowUs(),
      regions = entries
        .slice(next, next + BATCH)
        .flatMap((entry) => former.form(window.open(onlyPage(entry & -4096)), entry & 4095, MODE_64, CAP) ?? []),
      formed = nowUs(),
      module = new ModuleBuilder();
    for (const region of regions) module.add(assemble(region, context), ['i32']);
    bytes += module.encode().length;
    const done = nowUs();
    for (const region of regions) instructions += region.size;
    formUs += formed - started;
    emitUs += done - formed;
    next += BATCH;
  }
  return { next, instructions, bytes, formUs, emitUs };
}

function report(name: string, { instructions, bytes, formUs, emitUs }: ReturnType<typeof run>): void {
  const per = (value: number): string => (value / instructions).toFixed(2).padStart(7);
  print(
    `${name.padEnd(12)} ${String(instructions).padStart(7)} instructions: form ${per(formUs)} us, emit ${per(emitUs)} us, ${per(bytes)} bytes`,
  );
}

const cold = run(0, COLD),
  { recorded, recordMs } = stats;
report('cold', cold);
print(`             ${recorded} templates recorded in ${recordMs.toFixed(1)} ms`);
report('rest', run(cold.next, 100_000));
for (let round = 0; round < ROUNDS; round++) report('warm', run(0, 50_000));
print(`             ${stats.recorded} templates recorded in ${stats.recordMs.toFixed(1)} ms`);
