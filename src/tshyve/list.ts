/**
 * `tshyve list`: the guests that `run` and `pull` know, and which of them are here.
 * Runs on: main event loop.
 */
import { parseCommandLine, table, type Command } from './command.ts';
import { listGuests } from './guests/index.ts';
import { VmError } from '../base/errors.ts';
import { cacheFolder } from '../bhyve/index.ts';

const HELP = `usage: tshyve list [--json]

List the guests that 'tshyve run' knows by name, and which of them are in the cache (and so boot without network).

options:
  --json   the same as JSON, with the paths of the files
  --help   show this
`;

export const runList: Command = async (args, io) => {
  const { values, positionals } = parseCommandLine('list', args, { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } });
  if (values.help) {
    io.stdout.write(HELP);
    return 0;
  }
  if (positionals.length > 0) throw new VmError('EUSAGE', `tshyve list ${positionals[0]}: expected no operand`);
  const guests = await listGuests(io.env);
  if (values.json) {
    io.stdout.write(`${JSON.stringify(guests, null, 2)}\n`);
    return 0;
  }
  const rows = guests.map(({ name, description, cached }) => [
    name,
    cached ? `pulled ${cached.pulled.toISOString().slice(0, 10)}` : 'not pulled',
    cached ? `${(cached.sizeBytes / 1e6).toFixed(1)} MB` : '',
    cached ? cached.description : description,
  ]);
  io.stdout.write(table([['GUEST', 'STATE', 'SIZE', 'WHAT IT IS'], ...rows]));
  io.stdout.write(`cache: ${cacheFolder(io.env)}\n`);
  return 0;
};
