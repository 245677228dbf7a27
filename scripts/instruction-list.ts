/**
 * Writes docs/instructions.md, the list of all instructions, from their declarations.
 * Runs on: the command line: `npm run docs`.
 */
import { writeFileSync } from 'node:fs';
import { LINES } from '../src/cpu/isa/index.ts';
import type { Line } from '../src/cpu/isa/inst.ts';

/** One row per mnemonic: its encodings with their operands, and the CPUID features that its lines ask for. */
export function instructionList(lines: readonly Line[]): string {
  const byName = Map.groupBy(lines, (line) => line.name);
  const rows = [...byName]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, forms]) => {
      const encodings = forms.map(
        (form) => `\`${form.encodingText}\`${form.operands.length > 0 ? ` ${form.operands.map((operand) => operand.text).join(',')}` : ''}`,
      );
      const features = [...new Set(forms.map((form) => form.attributes.cpuid).filter((feature) => feature !== undefined))];
      return `| ${name} | ${encodings.join('; ')} | ${features.join(', ')} |`;
    });
  return `# Instructions

Written by \`npm run docs\` from the declarations in \`src/cpu/isa\`: ${byName.size} mnemonics, ${lines.length} lines. Operand codes are those of
SDM volume 2, appendix A; \`Zv\` is the register in the opcode's low bits, \`Ibs\` a sign-extended byte.

| mnemonic | encodings and operands | CPUID |
| --- | --- | --- |
${rows.join('\n')}
`;
}

if (import.meta.main) writeFileSync(new URL('../docs/instructions.md', import.meta.url), instructionList(LINES));
