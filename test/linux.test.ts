/**
 * Debian's own kernel, unmodified, from power-on to power-off.
 * Runs on: the test runner; skipped where the guest is not in the cache and no mirror is in reach.
 */
import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { guestOrSkip, LinuxGuest } from './linux-guest.ts';

/** A module for each place that is executed once would take minutes: tier 1 from the first execution is for the small guests. */
const TIERS = process.env['TSHYVE_TEST_FULL'] ? (['default', 'interpreter'] as const) : (['default'] as const);

for (const cpuTier of TIERS)
  test(`Debian boots to a shell, works, and powers off, tier ${cpuTier}`, async (t) => {
    if (!(await guestOrSkip(t, 'debian'))) return;
    await using linux = await LinuxGuest.boot({ guest: 'debian', cpuTier });

    match(await linux.run('uname -sm; cat /proc/cmdline'), /^Linux x86_64\nconsole=ttyS0\b/);
    equal(await linux.run('echo $((6 * 7)); expr 123456789 \\* 987654321'), '42\n121932631112635269');
    // FIPS 180-4's own example, and 1 MiB of zeros through a pipe, a compressor and back.
    equal(await linux.run('printf abc | sha256sum'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -');
    equal(
      await linux.run('dd if=/dev/zero bs=1024 count=1024 2>/dev/null | gzip | gunzip | sha256sum'),
      '30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58  -',
    );
    // SSE2 in the division, x87 in the C library's printf.
    equal(await linux.run('awk "BEGIN { printf \\"%.17g %.10f\\\\n\\", 1 / 3, 355 / 113 }"'), '0.33333333333333331 3.1415929204');
    equal(await linux.run('mkdir /tmp/a && cd /tmp/a && seq 1000 > b && ln -s b c && wc -l < c && rm -r /tmp/a'), '1000');

    equal(await linux.run('cat /sys/devices/system/clocksource/clocksource0/current_clocksource'), 'tsc');
    const guestSeconds = Number(await linux.run('date +%s'));
    ok(Math.abs(guestSeconds - Date.now() / 1000) < 60, `the guest's clock: ${guestSeconds}`);
    const [before = 0, after = 0] = (await linux.run('cut -d" " -f1 /proc/uptime; sleep 1; cut -d" " -f1 /proc/uptime'))
      .split('\n')
      .map(Number);
    ok(after - before >= 1, `sleep 1: from ${before} to ${after}`);
    match(await linux.run('cat /proc/interrupts'), /4: +[1-9]\d* +IO-APIC +4-edge +ttyS0[^]*LOC: +[1-9]/);

    deepEqual(await linux.complaints(), []);
    deepEqual(await linux.end('poweroff'), { reason: 'poweroff' });
    deepEqual(linux.logged, []);
  });
