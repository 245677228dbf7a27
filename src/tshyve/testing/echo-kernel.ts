/**
 * The smallest guest with a conversation: a flat multiboot kernel of 32-bit code that says `ready`, then repeats what it reads from com1
 * until it has read `q`; then it ends by pc-testdev's debug-exit port with status 7, and without that device it halts for ever.
 * Implements: Multiboot 0.6.96 3.1.3 The address fields of Multiboot header.
 */
const LOAD_GPA = 0x10_0000;
const HEADER_BYTES = 32;
const MAGIC = 0x1bad_b002,
  ADDRESSES_VALID = 0x1_0000;

/** @param greeting ASCII. */
export function echoKernel(greeting = 'ready\n'): Uint8Array {
  const code = [
    0xfa, //       cli
    0xbe,
    0,
    0,
    0,
    0, //       mov  esi, greeting
    0xba,
    0xf8,
    0x03,
    0,
    0, //       mov  edx, 3f8h
    0xac, // say:  lodsb
    0x84,
    0xc0, //       test al, al
    0x74,
    0x03, //       jz   echo
    0xee, //       out  dx, al
    0xeb,
    0xf8, //       jmp  say
    0xba,
    0xfd,
    0x03,
    0,
    0, // echo: mov  edx, 3fdh
    0xec, // wait: in   al, dx
    0xa8,
    0x01, //       test al, 1
    0x74,
    0xfb, //       jz   wait
    0xba,
    0xf8,
    0x03,
    0,
    0, //       mov  edx, 3f8h
    0xec, //       in   al, dx
    0xee, //       out  dx, al
    0x3c,
    0x71, //       cmp  al, 'q'
    0x75,
    0xeb, //       jne  echo
    0xb0,
    0x03, //       mov  al, 3
    0xe6,
    0xf4, //       out  0f4h, al
    0xf4, //       hlt
  ];
  return flatKernel(code, { 2: greeting });
}

/**
 * A flat multiboot kernel, loaded at 1 MiB.
 * @param texts by the offset in `code` of the 32-bit word that shall hold the text's address.
 */
export function flatKernel(code: readonly number[], texts: Readonly<Record<number, string>> = {}): Uint8Array {
  const encoded = Object.entries(texts).map(([offset, text]) => ({ offset: Number(offset), bytes: new TextEncoder().encode(`${text}\0`) }));
  const image = new Uint8Array(HEADER_BYTES + code.length + encoded.reduce((sum, { bytes }) => sum + bytes.length, 0));
  const view = new DataView(image.buffer);
  image.set(code, HEADER_BYTES);
  let at = HEADER_BYTES + code.length;
  for (const { offset, bytes } of encoded) {
    image.set(bytes, at);
    view.setUint32(HEADER_BYTES + offset, LOAD_GPA + at, true);
    at += bytes.length;
  }
  const end = LOAD_GPA + image.length;
  const header = [MAGIC, ADDRESSES_VALID, -(MAGIC + ADDRESSES_VALID), LOAD_GPA, LOAD_GPA, end, end, LOAD_GPA + HEADER_BYTES];
  for (const [index, word] of header.entries()) view.setUint32(index * 4, word, true);
  return image;
}

/** Writes `sizeBytes` times `x`, then ends by pc-testdev with status 1. */
export function floodKernel(sizeBytes: number): Uint8Array {
  return flatKernel([
    0xfa, //       cli
    0xb9,
    ...[0, 8, 16, 24].map((shift) => (sizeBytes >>> shift) & 0xff), // mov ecx, sizeBytes
    0xba,
    0xf8,
    0x03,
    0,
    0, //       mov  edx, 3f8h
    0xb0,
    0x78, //       mov  al, 'x'
    0xee, // more: out  dx, al
    0x49, //       dec  ecx
    0x75,
    0xfc, //       jnz  more
    0xb0,
    0x00, //       mov  al, 0
    0xe6,
    0xf4, //       out  0f4h, al
    0xf4, //       hlt
  ]);
}

/** Writes `boot`, counts its boots in memory (which a reset keeps), resets by CF9h twice; the third time it powers off by ACPI. */
export function rebootKernel(): Uint8Array {
  return flatKernel(
    [
      0xfa, //       cli
      0xbe,
      0,
      0,
      0,
      0, //       mov  esi, text
      0xba,
      0xf8,
      0x03,
      0,
      0, //       mov  edx, 3f8h
      0xac, // say:  lodsb
      0x84,
      0xc0, //       test al, al
      0x74,
      0x03, //       jz   done
      0xee, //       out  dx, al
      0xeb,
      0xf8, //       jmp  say
      0xff,
      0x05,
      0x00,
      0x00,
      0x20,
      0x00, // done: inc  dword [200000h]
      0x83,
      0x3d,
      0x00,
      0x00,
      0x20,
      0x00,
      0x03, //       cmp  dword [200000h], 3
      0x74,
      0x09, //       je   off
      0xb0,
      0x06, //       mov  al, 6
      0x66,
      0xba,
      0xf9,
      0x0c, //       mov  dx, 0cf9h
      0xee, //       out  dx, al
      0xeb,
      0xfe, //       jmp  $
      0xba,
      0x04,
      0x04,
      0,
      0, // off:  mov  edx, 404h
      0xb8,
      0x00,
      0x34,
      0,
      0, //       mov  eax, SLP_EN | 5 << 10
      0x66,
      0xef, //       out  dx, ax
      0xeb,
      0xfe, //       jmp  $
    ],
    { 2: 'boot\n' },
  );
}
