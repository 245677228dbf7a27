import type { Operation } from './softfloat-oracle.ts';
export const SSE_OPERATIONS: readonly Operation[] = [];
