// Rows in batches from many clients, as fast as they are taken. Each client reads its own rows back; at the end none may be missing.

import { DEFINITION } from './lib/data.js';
import { careful, options as build, summary, within } from './lib/run.js';
import { Server } from './lib/server.js';
import { settings as read } from './lib/settings.js';
import { Writer, check_no_gaps } from './lib/writer.js';

const DATASET = 'load_ingest';
const settings = read({ vus: 20, duration: '30s', batch: 500 });
const server = new Server(settings);

export const options = build(
  settings,
  { load: { executor: 'constant-vus', exec: 'load', vus: settings.vus, duration: `${settings.duration_s}s` } },
  {
    'http_req_failed{scenario:load}': ['rate==0'],
    'http_req_duration{scenario:load}': within(settings, { 'p(95)': 250, 'p(99)': 1000 }),
    rows_accepted: ['count>0'],
  },
);

export function setup() {
  // What was sent two days ago is of no use to anybody.
  server.define(DATASET, { ...DEFINITION, retention: { raw: '2d' } });
  server.probe('start');
  return { run: `r${Date.now()}` };
}

export function baseline() {
  server.live();
}

export function probe() {
  server.probe('load');
}

let writer;

export const load = careful((data) => {
  writer = writer || new Writer(server, DATASET, data.run);
  writer.send();
});

export function teardown(data) {
  check_no_gaps(server, DATASET, data.run);
  server.probe('end');
}

export const handleSummary = summary('ingest', settings, ['load']);
