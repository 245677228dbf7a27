/**
 * How downloads are shown: a bar that is redrawn on a terminal, a line per file elsewhere.
 * Runs on: main event loop.
 */

export interface ProgressItem {
  advance(sizeBytes: number): void;
  end(): void;
  /** The file starts again or is given up. */
  cancel(): void;
}

export interface Progress {
  /** @param sizeBytes undefined where the server does not say. */
  begin(label: string, sizeBytes: number | undefined): ProgressItem;
  /** A line above the bar. */
  line(text: string): void;
  /** Take the bar off the screen. */
  close(): void;
}

export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export const silentProgress: Progress = { begin: () => ({ advance() {}, end() {}, cancel() {} }), line() {}, close() {} };

const REDRAW_MS = 80;
/** Where there is no terminal, files below this are not worth a line. */
const LINE_BYTES = 256 << 10;

interface Item {
  readonly label: string;
  readonly sizeBytes: number | undefined;
  receivedBytes: number;
}

export function createProgress(stream: ProgressStream, nowMs: () => number = () => performance.now()): Progress {
  const items = new Set<Item>();
  let finishedBytes = 0;
  let drawnMs = -Infinity;
  let isDrawn = false;
  const startMs = nowMs();

  const erase = (): void => {
    if (isDrawn) stream.write('\r\x1b[K');
    isDrawn = false;
  };
  const draw = (): void => {
    if (stream.isTTY !== true || items.size === 0 || nowMs() - drawnMs < REDRAW_MS) return;
    drawnMs = nowMs();
    let received = finishedBytes;
    let total = finishedBytes;
    for (const item of items) {
      received += item.receivedBytes;
      total += Math.max(item.sizeBytes ?? 0, item.receivedBytes);
    }
    const rate = received / Math.max(1, nowMs() - startMs) / 1000;
    const right = ` ${megabytes(received)} of ${megabytes(total)} MB, ${rate.toFixed(1)} MB/s`;
    const width = Math.max(20, (stream.columns ?? 80) - 1);
    const barWidth = Math.max(8, Math.min(30, width - right.length - 24));
    const filled = total === 0 ? 0 : Math.round((barWidth * received) / total);
    const label = [...items].map((item) => item.label).join(', ');
    const room = Math.max(0, width - right.length - barWidth - 3);
    const left = label.length > room ? `${label.slice(0, Math.max(0, room - 1))}…` : label.padEnd(room);
    stream.write(`\r${left} [${'#'.repeat(filled)}${' '.repeat(barWidth - filled)}]${right}\x1b[K`);
    isDrawn = true;
  };

  return {
    begin(label, sizeBytes) {
      const item: Item = { label, sizeBytes, receivedBytes: 0 };
      const beganMs = nowMs();
      items.add(item);
      draw();
      return {
        advance(count) {
          item.receivedBytes += count;
          draw();
        },
        end() {
          if (!items.delete(item)) return;
          finishedBytes += item.receivedBytes;
          if (stream.isTTY !== true && item.receivedBytes >= LINE_BYTES) {
            stream.write(`fetched ${label}: ${megabytes(item.receivedBytes)} MB in ${((nowMs() - beganMs) / 1000).toFixed(1)} s\n`);
          }
          draw();
        },
        cancel() {
          items.delete(item);
        },
      };
    },
    line(text) {
      erase();
      stream.write(`${text}\n`);
    },
    close: erase,
  };
}

function megabytes(sizeBytes: number): string {
  return (sizeBytes / 1e6).toFixed(1);
}
