#!/usr/bin/env node
/**
 * The `bhyve` command of a checkout: sets up what is missing, then runs src/bhyve/main.ts.
 * Runs on: the command line, on any Node >= 20.
 */
import { launch } from '../scripts/bootstrap.mjs';

await launch('bhyve', process.argv.slice(2));
