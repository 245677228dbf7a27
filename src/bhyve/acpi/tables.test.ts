import { deepEqual, equal, match, throws } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { HIGHMEM_BASE, GIB, MPTABLE_BASE, SMBIOS_BASE } from '../layout.ts';
import { device, eisaId, integer, method, name, packageOf, path, text, toBytes } from './aml.ts';
import { checksum } from './bytes.ts';
import { dsdt, type DsdtInput } from './dsdt.ts';
import { mpTable } from './mptable.ts';
import { smbiosTables } from './smbios.ts';
import { LOADER_FILE, RSDP_FILE, TABLES_FILE, tableLoaderFiles } from './table-loader.ts';
import { acpiTables, type AcpiTables } from './tables.ts';

const DSDT_INPUT: DsdtInput = {
  buses: [0],
  intx: [
    { bus: 0, slot: 3, pin: 1, ioapicPin: 16, pirq: 0 },
    { bus: 0, slot: 3, pin: 2, ioapicPin: 17, pirq: 1 },
  ],
  lpc: { slot: 31, func: 0 },
  pirqRegisters: [0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6a, 0x6b],
  possibleIrqs: [5, 6, 7, 9, 10, 11, 14, 15],
  window64: { start: 32 * GIB, sizeBytes: 32 * GIB },
  hasFwcfg: true,
};

function tableOf(tables: AcpiTables, signature: string): Uint8Array {
  const at = (tables.places.get(signature) ?? NaN) - tables.gpa;
  const lengthBytes = new DataView(tables.bytes.buffer).getUint32(at + 4, true);
  return tables.bytes.slice(at, at + lengthBytes);
}

test('AML terms are encoded as ACPI 20.2 says', () => {
  deepEqual(eisaId('PNP0A03'), [0x0c, 0x41, 0xd0, 0x0a, 0x03]);
  deepEqual(
    [...toBytes(integer(0), integer(1), integer(2), integer(0x1234), integer(0x12345678), integer(2 ** 32))],
    [0, 1, 0x0a, 2, 0x0b, 0x34, 0x12, 0x0c, 0x78, 0x56, 0x34, 0x12, 0x0e, 0, 0, 0, 0, 1, 0, 0, 0],
  );
  equal(Buffer.from(toBytes(path('\\_SB.PC00.ISA'))).toString('latin1'), '\\\x2f\x03_SB_PC00ISA_');
  equal(Buffer.from(toBytes(name('ABC', text('hi')))).toString('latin1'), '\x08ABC_\x0dhi\0');
  deepEqual([...toBytes(packageOf(integer(5), integer(0)))], [0x12, 5, 2, 0x0a, 5, 0]);
  const long = toBytes(device('DEV', name('BIG', text('x'.repeat(80)))));
  deepEqual([...long.subarray(0, 4)], [0x5b, 0x82, 0x40 | ((long.length - 2) % 16), (long.length - 2) >> 4]);
  deepEqual([...toBytes(method('_PIC', 1))], [0x14, 6, 0x5f, 0x50, 0x49, 0x43, 1]);
});

test('every table sums up to zero, and the root pointers reach them', () => {
  const tables = acpiTables({ cpus: 3, hpetCapabilities: 0x80860701, dsdt: dsdt(DSDT_INPUT) });
  for (const signature of ['RSDT', 'XSDT', 'APIC', 'FACP', 'HPET', 'MCFG', 'DSDT']) {
    const table = tableOf(tables, signature);
    equal(Buffer.from(table.subarray(0, 4)).toString(), signature);
    equal(checksum(table), 0, signature);
    equal(Buffer.from(table.subarray(10, 16)).toString(), 'BHYVE ');
  }
  equal(checksum(tables.bytes.subarray(0, 20)), 0);
  equal(checksum(tables.bytes.subarray(0, 36)), 0);
  equal(tableOf(tables, 'FACP').length, 268);
  equal(tableOf(tables, 'APIC').length, 44 + 3 * 8 + 12 + 10 + 10 + 6);
  equal((tables.places.get('FACS') ?? 1) % 64, 0);
  const xsdt = tableOf(tables, 'XSDT');
  deepEqual(
    [0, 1, 2, 3].map((index) => Number(new DataView(xsdt.buffer).getBigUint64(36 + index * 8, true))),
    ['APIC', 'FACP', 'HPET', 'MCFG'].map((signature) => tables.places.get(signature)),
  );
});

const hasIasl = spawnSync('iasl', ['-v']).status === 0;

test('iasl reads every table back', { skip: hasIasl ? false : 'iasl is not installed (acpica-tools)' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'tshyve-acpi-'));
  try {
    for (const input of [DSDT_INPUT, { ...DSDT_INPUT, lpc: undefined, buses: [0, 4], hasFwcfg: false }]) {
      const tables = acpiTables({ cpus: 4, hpetCapabilities: 0x80860701, dsdt: dsdt(input) });
      for (const signature of ['APIC', 'FACP', 'HPET', 'MCFG', 'FACS', 'DSDT']) {
        const file = join(folder, `${signature.toLowerCase()}.aml`);
        writeFileSync(file, tableOf(tables, signature));
        const result = spawnSync('iasl', ['-d', file], { encoding: 'utf8' });
        equal(result.status, 0, result.stdout + result.stderr);
        equal(/error|warning|invalid/i.test(result.stderr), false, result.stderr);
        const source = readFileSync(file.replace('.aml', '.dsl'), 'utf8');
        // iasl wants the hypervisor identity of revision 6 in every FADT, so its complaint about ours (5.1) means nothing.
        if (signature !== 'FACP') equal(/\*\*\*\*|Invalid|Unknown/.exec(source)?.[0], undefined, source);
        if (signature !== 'DSDT') continue;
        // What was disassembled must compile again, to the same length.
        const compiled = spawnSync('iasl', ['-ve', '-p', join(folder, 'again'), file.replace('.aml', '.dsl')], { encoding: 'utf8' });
        equal(compiled.status, 0, compiled.stdout + compiled.stderr);
        match(source, /Device \(PC00\)/);
        match(source, /_S5/);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** What firmware does with the files: place the blobs, run the script. */
function linkTables(
  files: readonly { readonly name: string; readonly bytes: Uint8Array }[],
  addresses: ReadonlyMap<string, number>,
): Map<string, Uint8Array> {
  const blobs = new Map(files.map((file) => [file.name, file.bytes.slice()]));
  const script = blobs.get(LOADER_FILE) ?? new Uint8Array();
  const view = new DataView(script.buffer);
  const name = (at: number): string => String.fromCharCode(...script.subarray(at, script.indexOf(0, at)));
  for (let at = 0; at < script.length; at += 128) {
    const blob = blobs.get(name(at + 4)) ?? new Uint8Array();
    if (view.getUint32(at, true) === 2) {
      const target = new DataView(blob.buffer),
        offset = view.getUint32(at + 4 + 2 * 56, true);
      target.setUint32(offset, target.getUint32(offset, true) + (addresses.get(name(at + 4 + 56)) ?? 0), true);
    } else if (view.getUint32(at, true) === 3) {
      const [where = 0, start = 0, lengthBytes = 0] = [0, 4, 8].map((field) => view.getUint32(at + 4 + 56 + field, true));
      blob[where] = checksum(blob.subarray(start, start + lengthBytes));
    }
  }
  return blobs;
}

test('firmware that runs the loader script gets the same tables at its own addresses', () => {
  const tables = acpiTables({ cpus: 2, hpetCapabilities: 0x80860701, dsdt: dsdt(DSDT_INPUT) });
  const files = tableLoaderFiles(tables);
  const asBuilt = linkTables(files, new Map([[TABLES_FILE, tables.gpa + 0x40]]));
  deepEqual(asBuilt.get(RSDP_FILE), tables.bytes.slice(0, 36));
  deepEqual(asBuilt.get(TABLES_FILE), tables.bytes.slice(0x40));
  const moved = linkTables(files, new Map([[TABLES_FILE, 0x7f00_0000]]));
  const rsdp = moved.get(RSDP_FILE) ?? new Uint8Array();
  equal(checksum(rsdp), 0);
  equal(new DataView(rsdp.buffer).getUint32(24, true), 0x7f00_0040);
  equal((files.find((file) => file.name === LOADER_FILE)?.bytes.length ?? 1) % 128, 0);
});

test('too many vCPUs for the area are refused', () => {
  throws(() => acpiTables({ cpus: 8000, hpetCapabilities: 0, dsdt: new Uint8Array() }), /8000 vCPUs take \d+ bytes: expected at most/);
  throws(() => mpTable(300, [], [0]), /300 vCPUs/);
  throws(() => mpTable(1, [], [0, 2]), /expected -Y/);
});

test('the MP table has its checksums, its entry count and the PCI pins', () => {
  const bytes = mpTable(2, [{ bus: 0, slot: 3, pin: 2, ioapicPin: 17 }], [0]);
  equal(checksum(bytes.subarray(0, 16)), 0);
  equal(checksum(bytes.subarray(16)), 0);
  const view = new DataView(bytes.buffer);
  equal(view.getUint32(4, true), MPTABLE_BASE + 16);
  equal(view.getUint16(16 + 4, true), bytes.length - 16);
  equal(view.getUint16(16 + 34, true), 2 + 2 + 1 + 16 + 1 + 2);
  deepEqual([...bytes.subarray(bytes.length - 24, bytes.length - 16)], [3, 0, 0x0f, 0, 0, (3 << 2) | 1, 0, 17]);
});

test('SMBIOS structures can be walked and carry the configured strings', () => {
  const bytes = smbiosTables({
    get: (variable) => (variable === 'system.product_name' ? 'Our product' : undefined),
    uuid: '00112233-4455-6677-8899-aabbccddeeff',
    sockets: 2,
    coresPerSocket: 2,
    threadsPerCore: 1,
    lowmemBytes: 3 * GIB,
    highmemBytes: 5 * GIB,
  });
  equal(checksum(bytes.subarray(0, 31)), 0);
  equal(checksum(bytes.subarray(16, 31)), 0);
  const view = new DataView(bytes.buffer);
  let at = view.getUint32(24, true) - SMBIOS_BASE;
  const end = at + view.getUint16(22, true);
  const types: number[] = [];
  const found: string[] = [];
  while (at < end) {
    const type = bytes[at] ?? 0,
      lengthBytes = bytes[at + 1] ?? 0;
    types.push(type);
    if (type === 1) deepEqual([...bytes.subarray(at + 8, at + 16)], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66]);
    equal(
      lengthBytes,
      { 0: 0x18, 1: 0x1b, 2: 0x0f, 3: 0x16, 4: 0x2a, 16: 0x17, 17: 0x22, 19: 0x1f, 32: 0x0b, 127: 4 }[type],
      `length of type ${type}`,
    );
    let next = at + lengthBytes;
    while (bytes[next] !== 0 || bytes[next + 1] !== 0) next++;
    found.push(Buffer.from(bytes.subarray(at + lengthBytes, next)).toString());
    at = next + 2;
  }
  equal(at, end);
  deepEqual(types, [0, 1, 2, 3, 4, 4, 16, 17, 19, 19, 32, 127]);
  equal(view.getUint16(28, true), types.length);
  match(found[1] ?? '', /FreeBSD\0Our product\x001.0\0None\0None\0Virtual Machine/);
  equal(HIGHMEM_BASE, 4 * GIB);
});
