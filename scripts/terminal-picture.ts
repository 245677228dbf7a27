/**
 * Draws the end of a terminal session as an SVG: the picture of a boot in the README.
 * Runs on: the command line. Not modelled: colours and cursor movement, which are left out.
 *
 *   printf 'uname -a\npoweroff\n' | npx tshyve run | node scripts/terminal-picture.ts > docs/boot.svg
 */
import { text as readText } from 'node:stream/consumers';

const COLUMNS = 100;
const ROWS = 28;
const CELL_WIDTH = 7.83;
const LINE_HEIGHT = 17;
const MARGIN = 16;

/** What a reader of the terminal saw last, line by line. */
export function visibleLines(transcript: string): string[] {
  // CSI and other escape sequences, then all control characters but the line feed.
  const plain = transcript.replace(/\x1b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])/g, '').replace(/[\x00-\x09\x0b-\x1f\x7f]/g, '');
  const lines = plain.trimEnd().split('\n');
  return lines.slice(-ROWS).map((line) => (line.length > COLUMNS ? `${line.slice(0, COLUMNS - 1)}…` : line));
}

export function terminalPicture(lines: readonly string[], title: string): string {
  const escape = (line: string): string => line.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  const width = Math.ceil(COLUMNS * CELL_WIDTH) + 2 * MARGIN;
  const height = lines.length * LINE_HEIGHT + 2 * MARGIN + 24;
  const rows = lines.map(
    (line, index) => `  <text x="${MARGIN}" y="${MARGIN + 24 + (index + 1) * LINE_HEIGHT - 4}">${escape(line)}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" role="img">
  <title>${escape(title)}</title>
  <style>text { fill: #d7dde6; white-space: pre; } .bar { fill: #8a94a3; }</style>
  <rect width="${width}" height="${height}" rx="8" fill="#15191f"/>
  <circle cx="20" cy="18" r="5" fill="#e0605a"/><circle cx="38" cy="18" r="5" fill="#e0b04a"/><circle cx="56" cy="18" r="5" fill="#58b368"/>
  <text class="bar" x="78" y="22">${escape(title)}</text>
${rows.join('\n')}
</svg>
`;
}

if (import.meta.main) process.stdout.write(terminalPicture(visibleLines(await readText(process.stdin)), process.argv[2] ?? 'npm start'));
