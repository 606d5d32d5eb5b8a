// Aggregations that no cache of answers holds: every ask has its own range, filter and order of metrics, and asks for an answer of
// this moment. Totals of any whole hours are known, so every answer is checked.

import exec from 'k6/execution';
import { HOURS, mix, range } from './lib/data.js';
import { careful, options as build, summary, within } from './lib/run.js';
import { Server } from './lib/server.js';
import { settings as read } from './lib/settings.js';

const settings = read({ vus: 50, duration: '30s' });
const server = new Server(settings);

export const options = build(
  settings,
  { load: { executor: 'constant-vus', exec: 'load', vus: settings.vus, duration: `${settings.duration_s}s` } },
  {
    'http_req_failed{scenario:load}': ['rate==0'],
    'http_req_duration{scenario:load}': within(settings, { 'p(95)': 100, 'p(99)': 200 }),
    // What is measured would not be a cold cache otherwise.
    answers_from_cache: ['rate<0.05'],
  },
);

const SHAPES = [
  { dimensions: ['time:day', 'model'], metrics: ['calls', 'tokens', 'cost', 'p95_duration'] },
  { dimensions: ['model', 'status'], metrics: ['calls', 'tokens', 'cost', 'errors'] },
  { dimensions: ['time:hour'], metrics: ['calls', 'tokens', 'cost'], pagination: { limit: 1000 } },
  { dimensions: ['model'], metrics: ['calls', 'tokens', 'cost', 'p95_duration'], order_by: [['cost', 'desc']], pagination: { limit: 5 } },
];

export function setup() {
  server.prepare();
}

export function baseline() {
  server.live();
}

export function probe() {
  server.probe('load');
}

export const load = careful(() => {
  const h = mix(exec.scenario.iterationInTest + 1);
  const from = h % (HOURS - 1);
  const to = from + 1 + ((h >>> 10) % (HOURS - from));
  const shape = SHAPES[(h >>> 20) % SHAPES.length];
  const body = { dataset: server.dataset, date_range: range(from, to), include: { totals: true }, max_staleness_ms: 0, ...shape };
  server.check_totals(server.ask(JSON.stringify(body)), server.truth(from, to));
});

export function teardown() {
  server.probe('end');
}

export const handleSummary = summary('aggregations', settings, ['load']);
