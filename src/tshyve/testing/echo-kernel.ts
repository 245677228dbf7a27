/**
 * The smallest guests: flat multiboot kernels of 32-bit code, each instruction with its bytes, so that no assembler is needed.
 * Implements: Multiboot 0.6.96 3.1.3 The address fields of Multiboot header. Runs on: in a guest.
 */
const LOAD_GPA = 0x10_0000;
const HEADER_BYTES = 32;
const MAGIC = 0x1bad_b002;
const ADDRESSES_VALID = 0x1_0000;

/** Bytes in hexadecimal, and what they say. `TEXT` is the address of the kernel's text. */
type Line = readonly [bytes: string, assembly: string];

const SAY: readonly Line[] = [
  ['fa', '      cli'],
  ['be TEXT', '      mov  esi, text'],
  ['ba f8 03 00 00', '      mov  edx, 3f8h'],
  ['ac', 'say:  lodsb'],
  ['84 c0', '      test al, al'],
  ['74 03', '      jz   said'],
  ['ee', '      out  dx, al'],
  ['eb f8', '      jmp  say'],
];

/**
 * Says `greeting`, then repeats what it reads from com1 until it has read `q`; then it ends by pc-testdev's debug-exit port with
 * status 7, and without that device it halts for ever.
 * @param greeting ASCII.
 */
export function echoKernel(greeting = 'ready\n'): Uint8Array {
  return flatKernel(
    [
      ...SAY,
      ['ba fd 03 00 00', 'said: mov  edx, 3fdh'],
      ['ec', 'wait: in   al, dx'],
      ['a8 01', '      test al, 1'],
      ['74 fb', '      jz   wait'],
      ['ba f8 03 00 00', '      mov  edx, 3f8h'],
      ['ec', '      in   al, dx'],
      ['ee', '      out  dx, al'],
      ['3c 71', "      cmp  al, 'q'"],
      ['75 eb', '      jne  said'],
      ['b0 03', '      mov  al, 3'],
      ['e6 f4', '      out  0f4h, al'],
      ['f4', '      hlt'],
    ],
    greeting,
  );
}

/** Writes `sizeBytes` times `x`, then ends by pc-testdev with status 1. */
export function floodKernel(sizeBytes: number): Uint8Array {
  return flatKernel([
    ['fa', '      cli'],
    [`b9 ${[0, 8, 16, 24].map((shift) => ((sizeBytes >>> shift) & 0xff).toString(16)).join(' ')}`, '      mov  ecx, sizeBytes'],
    ['ba f8 03 00 00', '      mov  edx, 3f8h'],
    ['b0 78', "      mov  al, 'x'"],
    ['ee', 'more: out  dx, al'],
    ['49', '      dec  ecx'],
    ['75 fc', '      jnz  more'],
    ['b0 00', '      mov  al, 0'],
    ['e6 f4', '      out  0f4h, al'],
    ['f4', '      hlt'],
  ]);
}

/** Writes `boot`, counts its boots in memory (which a reset keeps), resets by CF9h twice, behind which nobody may hear it say `!`; the third time it powers off by ACPI. */
export function rebootKernel(): Uint8Array {
  return flatKernel(
    [
      ...SAY,
      ['ff 05 00 00 20 00', 'said: inc  dword [200000h]'],
      ['83 3d 00 00 20 00 03', '      cmp  dword [200000h], 3'],
      ['74 12', '      je   off'],
      ['b0 06', '      mov  al, 6'],
      ['66 ba f9 0c', '      mov  dx, 0cf9h'],
      ['ee', '      out  dx, al'],
      ['eb 00', '      jmp  here'],
      ['66 ba f8 03', 'here: mov  dx, 3f8h'],
      ['b0 21', "      mov  al, '!'"],
      ['ee', '      out  dx, al'],
      ['eb fe', '      jmp  $'],
      ['ba 04 04 00 00', 'off:  mov  edx, 404h'],
      ['b8 00 34 00 00', '      mov  eax, SLP_EN | 5 << 10'],
      ['66 ef', '      out  dx, ax'],
      ['eb fe', '      jmp  $'],
    ],
    'boot\n',
  );
}

/** Reads port 80h, where nothing is, and halts for ever. */
export function portReadKernel(): Uint8Array {
  return flatKernel([
    ['fa', '      cli'],
    ['e4 80', '      in   al, 80h'],
    ['f4', '      hlt'],
  ]);
}

/** A flat multiboot kernel, loaded at 1 MiB: header, code, text. */
function flatKernel(lines: readonly Line[], text = ''): Uint8Array {
  const words = lines.flatMap(([bytes]) => bytes.split(' ').flatMap((word) => (word === 'TEXT' ? ['TEXT', '', '', ''] : [word])));
  const encoded = new TextEncoder().encode(`${text}\0`);
  const image = new Uint8Array(HEADER_BYTES + words.length + encoded.length);
  const view = new DataView(image.buffer);
  const textGpa = LOAD_GPA + HEADER_BYTES + words.length;
  for (const [index, word] of words.entries()) {
    if (word === 'TEXT') view.setUint32(HEADER_BYTES + index, textGpa, true);
    else if (word !== '') image[HEADER_BYTES + index] = Number.parseInt(word, 16);
  }
  image.set(encoded, HEADER_BYTES + words.length);
  const end = LOAD_GPA + image.length;
  const header = [MAGIC, ADDRESSES_VALID, -(MAGIC + ADDRESSES_VALID), LOAD_GPA, LOAD_GPA, end, end, LOAD_GPA + HEADER_BYTES];
  for (const [index, word] of header.entries()) view.setUint32(index * 4, word, true);
  return image;
}
