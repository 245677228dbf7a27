/**
 * The picture of the report: bars, readable on a light and on a dark page.
 * Implements: SVG 2; colours follow prefers-color-scheme. Runs on: any thread.
 */

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** Behind the bar. */
  readonly text: string;
  readonly series: 'ours' | 'theirs' | 'summary';
}

export interface Section {
  readonly title: string;
  readonly bars: readonly Bar[];
  /** `seconds` begin at 0; a `ratio` grows from 1 to both sides, on a logarithmic scale. */
  readonly scale: 'seconds' | 'ratio';
}

const WIDTH = 760;
const LABEL_WIDTH = 130;
const TEXT_WIDTH = 70;
const BAR_HEIGHT = 14;
const ROW_HEIGHT = 20;
const TITLE_HEIGHT = 38;
const PLOT_LEFT = LABEL_WIDTH;
const PLOT_WIDTH = WIDTH - LABEL_WIDTH - TEXT_WIDTH;
/** Room for the text of the shortest bar of a ratio, which stands on its left. */
const RATIO_MARGIN = 50;
const RATIO_LINES = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100];

const STYLE = `
    text { font: 12px system-ui, sans-serif; fill: #1f2328; }
    .title { font-weight: 600; font-size: 13px; }
    .line { stroke: #d1d9e0; }
    .one { stroke: #59636e; }
    .axis { fill: #59636e; font-size: 10px; }
    .ours { fill: #2f6fde; }
    .theirs { fill: #9a6700; }
    .summary { fill: #1a7f37; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .line { stroke: #30363d; }
      .one { stroke: #8b949e; }
      .axis { fill: #8b949e; }
      .ours { fill: #58a6ff; }
      .theirs { fill: #d29922; }
      .summary { fill: #3fb950; }
    }`;

export function barChart(title: string, sections: readonly Section[]): string {
  const parts: string[] = [];
  let top = 8;
  for (const section of sections) {
    parts.push(...(section.scale === 'seconds' ? secondsSection(section, top) : ratioSection(section, top)));
    top += TITLE_HEIGHT + section.bars.length * ROW_HEIGHT + 14;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" width="${WIDTH}" height="${top}" role="img">`,
    `  <title>${escape(title)}</title>`,
    `  <style>${STYLE}\n  </style>`,
    ...parts.map((part) => `  ${part}`),
    '</svg>',
    '',
  ].join('\n');
}

function secondsSection({ title, bars }: Section, top: number): string[] {
  const longest = Math.max(...bars.map(({ value }) => value));
  return [
    heading(title, top),
    ...bars.flatMap((bar, index) => {
      const width = (bar.value / longest) * PLOT_WIDTH;
      return row(bar, top + TITLE_HEIGHT + index * ROW_HEIGHT, PLOT_LEFT, width, PLOT_LEFT + width + 6, 'start');
    }),
  ];
}

function ratioSection({ title, bars }: Section, top: number): string[] {
  const logarithms = bars.map(({ value }) => Math.log10(value));
  const low = Math.min(-0.1, ...logarithms);
  const high = Math.max(0.1, ...logarithms);
  const placeOf = (ratio: number): number =>
    PLOT_LEFT + RATIO_MARGIN + ((Math.log10(ratio) - low) / (high - low)) * (PLOT_WIDTH - RATIO_MARGIN);
  const bottom = top + TITLE_HEIGHT + bars.length * ROW_HEIGHT;
  const lines = RATIO_LINES.filter((ratio) => Math.log10(ratio) >= low && Math.log10(ratio) <= high).flatMap((ratio) => [
    `<line class="${ratio === 1 ? 'one' : 'line'}" x1="${round(placeOf(ratio))}" x2="${round(placeOf(ratio))}" y1="${top + TITLE_HEIGHT - 6}" y2="${bottom}"/>`,
    `<text class="axis" x="${round(placeOf(ratio))}" y="${top + TITLE_HEIGHT - 9}" text-anchor="middle">${ratio}</text>`,
  ]);
  return [
    heading(title, top),
    ...lines,
    ...bars.flatMap((bar, index) => {
      const [one, end] = [placeOf(1), placeOf(bar.value)];
      const isSlower = end < one;
      return row(
        bar,
        top + TITLE_HEIGHT + index * ROW_HEIGHT,
        Math.min(one, end),
        Math.abs(end - one),
        isSlower ? end - 6 : end + 6,
        isSlower ? 'end' : 'start',
      );
    }),
  ];
}

function heading(title: string, top: number): string {
  return `<text class="title" x="0" y="${top + 12}">${escape(title)}</text>`;
}

function row({ label, text, series }: Bar, top: number, left: number, width: number, textAt: number, anchor: 'start' | 'end'): string[] {
  const baseline = top + BAR_HEIGHT - 3;
  return [
    `<text x="${LABEL_WIDTH - 8}" y="${baseline}" text-anchor="end">${escape(label)}</text>`,
    `<rect class="${series}" x="${round(left)}" y="${top}" width="${round(Math.max(1, width))}" height="${BAR_HEIGHT}" rx="2"/>`,
    `<text x="${round(textAt)}" y="${baseline}" text-anchor="${anchor}">${escape(text)}</text>`,
  ];
}

const round = (value: number): string => value.toFixed(1);

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}
