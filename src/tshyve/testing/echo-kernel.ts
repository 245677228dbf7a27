/**
 * The smallest guest with a conversation: a flat multiboot kernel of 32-bit code that says `ready`, then repeats what it reads from com1
 * until it has read `q`; then it ends by pc-testdev's debug-exit port with status 7, and without that device it halts for ever.
 * Implements: Multiboot 0.6.96 3.1.3 The address fields of Multiboot header.
 */
const LOAD_GPA = 0x10_0000;
const HEADER_BYTES = 32;
const MAGIC = 0x1bad_b002, ADDRESSES_VALID = 0x1_0000;

/** @param greeting ASCII. */
export function echoKernel(greeting = 'ready\n'): Uint8Array {
  const code = [
    0xfa,                           //       cli
    0xbe, 0, 0, 0, 0,               //       mov  esi, greeting
    0xba, 0xf8, 0x03, 0, 0,         //       mov  edx, 3f8h
    0xac,                           // say:  lodsb
    0x84, 0xc0,                     //       test al, al
    0x74, 0x03,                     //       jz   echo
    0xee,                           //       out  dx, al
    0xeb, 0xf8,                     //       jmp  say
    0xba, 0xfd, 0x03, 0, 0,         // echo: mov  edx, 3fdh
    0xec,                           // wait: in   al, dx
    0xa8, 0x01,                     //       test al, 1
    0x74, 0xfb,                     //       jz   wait
    0xba, 0xf8, 0x03, 0, 0,         //       mov  edx, 3f8h
    0xec,                           //       in   al, dx
    0xee,                           //       out  dx, al
    0x3c, 0x71,                     //       cmp  al, 'q'
    0x75, 0xeb,                     //       jne  echo
    0xb0, 0x03,                     //       mov  al, 3
    0xe6, 0xf4,                     //       out  0f4h, al
    0xf4,                           //       hlt
  ];
  const text = new TextEncoder().encode(`${greeting}\0`);
  const image = new Uint8Array(HEADER_BYTES + code.length + text.length);
  image.set(code, HEADER_BYTES);
  image.set(text, HEADER_BYTES + code.length);
  const view = new DataView(image.buffer);
  view.setUint32(HEADER_BYTES + 2, LOAD_GPA + HEADER_BYTES + code.length, true);
  const end = LOAD_GPA + image.length;
  const header = [MAGIC, ADDRESSES_VALID, -(MAGIC + ADDRESSES_VALID), LOAD_GPA, LOAD_GPA, end, end, LOAD_GPA + HEADER_BYTES];
  for (const [index, word] of header.entries()) view.setUint32(index * 4, word, true);
  return image;
}
