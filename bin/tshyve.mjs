#!/usr/bin/env node
/**
 * The `tshyve` command of a checkout: sets up what is missing, then runs src/tshyve/main.ts.
 * Runs on: the command line, on any Node >= 20.
 */
import { launch } from '../scripts/bootstrap.mjs';

await launch('tshyve', process.argv.slice(2));
