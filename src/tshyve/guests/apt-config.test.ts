import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { debianMirrorsOf, mirrorsAt, parseAptProxy, parseDeb822Sources, parseOneLineSources, parseStanzas } from './apt-config.ts';

const DEB822 = `Types: deb deb-src
# the archive
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: trixie
Components: main
`;

test('deb822 sources: several types, comments, trailing slashes, stanzas that are switched off', () => {
  deepEqual(parseDeb822Sources(DEB822), [
    { uri: 'http://mirror.example/debian', suites: ['bookworm', 'bookworm-updates'], components: ['main', 'contrib'] },
    { uri: 'http://security.example/debian-security', suites: ['bookworm-security'], components: ['main'] },
  ]);
});

test('one-line sources: options, comments, deb-src lines and nonsense', () => {
  const text = `# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://a.example/debian bookworm main contrib # why
deb-src http://a.example/debian bookworm main
deb http://b.example/debian-security bookworm-security/updates main
deb
nonsense`;
  deepEqual(parseOneLineSources(text), [
    { uri: 'https://a.example/debian', suites: ['bookworm'], components: ['main', 'contrib'] },
    { uri: 'http://b.example/debian-security', suites: ['bookworm-security/updates'], components: ['main'] },
  ]);
});

test('Debian is told from other archives by the names of its suites, and by main', () => {
  const sources = [
    ...parseOneLineSources(
      'deb https://node.example/node_20.x nodistro main\ndeb http://nonfree.example/debian bookworm non-free\ndeb cdrom:[disk]/ bookworm main',
    ),
    ...parseDeb822Sources(DEB822),
  ];
  deepEqual(debianMirrorsOf(sources), {
    main: ['http://mirror.example/debian'],
    security: ['http://security.example/debian-security'],
    from: "this machine's apt sources",
  });
  equal(debianMirrorsOf(parseOneLineSources('deb http://archive.example/ubuntu jammy main')), undefined);
});

test('without a security archive in the sources, or with a mirror that is named, it lies beside the main one', () => {
  const beside = debianMirrorsOf(parseOneLineSources('deb http://a.example/debian bookworm main'));
  deepEqual(beside?.security, ['http://a.example/debian-security']);
  deepEqual(mirrorsAt('http://m.example/debian//').security, ['http://m.example/debian-security']);
});

test('stanzas end at empty lines and continue on indented ones', () => {
  const stanzas = parseStanzas('A: 1\nB:\n x\n y\n\n\nA: 2\n');
  deepEqual(
    stanzas.map((stanza) => Object.fromEntries(stanza)),
    [{ a: '1', b: '\nx\ny' }, { a: '2' }],
  );
});

test('apt.conf: proxies in both notations; comments; the last one counts', () => {
  deepEqual(parseAptProxy('Acquire::http::Proxy "http://one:3128";\n// Acquire::https::Proxy "http://no";\n'), { http: 'http://one:3128' });
  deepEqual(
    parseAptProxy(
      'Acquire { Retries "3"; http { Proxy "http://a/"; Timeout 5; }; https::Proxy "DIRECT"; };\nAcquire::http::Proxy "http://b/";',
    ),
    {
      http: 'http://b/',
      https: 'DIRECT',
    },
  );
  deepEqual(parseAptProxy('# nothing\nAPT::Periodic { Enable "1"; }; } } {'), {});
});
