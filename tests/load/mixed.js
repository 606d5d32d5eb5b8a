// Four fifths of the clients ask, one fifth sends rows at a fixed rate into the same dataset. Questions over the fixed days have known
// answers, whatever comes in; questions over now must never count fewer rows than before.

import { check } from 'k6';
import exec from 'k6/execution';
import { HOURS, range } from './lib/data.js';
import { careful, from_cache, options as build, summary, within } from './lib/run.js';
import { Server } from './lib/server.js';
import { settings as read } from './lib/settings.js';
import { Writer, check_no_gaps } from './lib/writer.js';

const settings = read({ vus: 200, duration: '30s', batch: 25, rows_per_s: 10000 });
const server = new Server(settings);
const writers = Math.max(1, Math.round(settings.vus / 5));
const readers = Math.max(1, settings.vus - writers);
// Writes due in a second.
const rate = Math.max(1, Math.round(settings.rows_per_s / settings.batch));
const duration = `${settings.duration_s}s`;

export const options = build(
  settings,
  {
    ask: { executor: 'constant-vus', exec: 'ask', vus: readers, duration },
    send: { executor: 'constant-arrival-rate', exec: 'send', rate, timeUnit: '1s', preAllocatedVUs: writers, maxVUs: writers, duration },
  },
  {
    'http_req_failed{scenario:ask}': ['rate<0.001'],
    'http_req_failed{scenario:send}': ['rate<0.001'],
    'http_req_duration{scenario:ask}': within(settings, { 'p(95)': 100 }),
    'http_req_duration{scenario:send}': within(settings, { 'p(95)': 250 }),
    answers_from_cache: from_cache(settings, 0.8),
    rows_accepted: ['count>0'],
  },
);

const DAY = 24;
const METRICS = ['calls', 'tokens', 'cost'];
const FIXED = [['time:day'], ['model'], ['time:day', 'model'], ['status']].flatMap((dimensions) => [[0, HOURS], [7 * DAY, 14 * DAY]].map(([from, to]) => ({
  body: JSON.stringify({ dataset: server.dataset, date_range: range(from, to), dimensions, metrics: METRICS, include: { totals: true } }),
  expected: server.truth(from, to),
})));
const NOW = ['model', 'status'].map((dimension) => JSON.stringify(
  { dataset: server.dataset, date_range: '24h', dimensions: [dimension], metrics: METRICS, include: { totals: true } },
));

export function setup() {
  server.prepare();
  return { run: `r${Date.now()}` };
}

export function baseline() {
  server.live();
}

export function probe() {
  server.probe('load');
}

const counted = NOW.map(() => 0);

export const ask = careful(() => {
  const turn = exec.scenario.iterationInTest % (FIXED.length + NOW.length);
  if (turn < FIXED.length) {
    server.check_totals(server.ask(FIXED[turn].body), FIXED[turn].expected);
    return;
  }
  const which = turn - FIXED.length;
  const reply = server.ask(NOW[which]);
  const calls = reply.status === 200 ? reply.json('totals.0') : 0;
  check(reply, { 'answered': (r) => r.status === 200, 'counts never fall': () => calls >= counted[which] });
  counted[which] = Math.max(counted[which], calls);
});

let writer;

export const send = careful((data) => {
  writer = writer || new Writer(server, server.dataset, data.run);
  writer.send();
});

export function teardown(data) {
  check_no_gaps(server, server.dataset, data.run);
  server.probe('end');
}

export const handleSummary = summary('mixed', settings, ['ask', 'send']);
