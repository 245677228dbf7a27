/**
 * Records of the VM and of its in-core devices in memory 0, declared once.
 * Runs on: any thread; who writes a record is said beside it.
 */
import type { Layout } from '../base/layout.ts';

export const VMM_LAYOUTS: readonly Layout<string>[] = [];
