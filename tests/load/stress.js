// More and more clients, up to far past what the server can do. It may refuse (429, 503 with Retry-After); it may not fail, lie, lose
// an acknowledged row, or stop being alive. Afterwards it is as before.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { HOURS, mix, range } from './lib/data.js';
import { careful, options as build, summary, within } from './lib/run.js';
import { Server, is_polite_refusal, same_totals } from './lib/server.js';
import { settings as read } from './lib/settings.js';
import { Writer, check_no_gaps } from './lib/writer.js';

const settings = read({ vus: 500, duration: '2m', batch: 100 });
const server = new Server(settings);
http.setResponseCallback(http.expectedStatuses(200, 429, 503));

// A quarter of the time up to a fifth, half of the time up to all, the rest at all.
const part = (share) => `${Math.max(1, Math.round(settings.duration_s * share))}s`;
const stages = (vus) => [
  { duration: part(0.25), target: Math.ceil(vus / 5) },
  { duration: part(0.5), target: vus },
  { duration: part(0.25), target: vus },
];
const writers = Math.max(1, Math.round(settings.vus / 5));

export const options = build(
  settings,
  {
    ask: { executor: 'ramping-vus', exec: 'ask', startVUs: 1, stages: stages(Math.max(1, settings.vus - writers)) },
    send: { executor: 'ramping-vus', exec: 'send', startVUs: 1, stages: stages(writers) },
    live: { executor: 'constant-arrival-rate', exec: 'live', rate: 5, timeUnit: '1s', preAllocatedVUs: 5, duration: `${settings.duration_s}s` },
  },
  {
    'http_req_failed{scenario:ask}': ['rate<0.001'],
    'http_req_failed{scenario:send}': ['rate<0.001'],
    // Whoever watches the server must not take it for dead.
    'http_req_failed{scenario:live}': ['rate==0'],
    'http_req_duration{scenario:live}': within(settings, { 'p(95)': 1000 }),
    rows_accepted: ['count>0'],
  },
);

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

export const ask = careful(() => {
  const h = mix(exec.scenario.iterationInTest + 1);
  const from = h % (HOURS - 1);
  const to = from + 1 + ((h >>> 10) % (HOURS - from));
  const body = { dataset: server.dataset, date_range: range(from, to), dimensions: ['model'], metrics: ['calls', 'tokens', 'cost'], include: { totals: true }, max_staleness_ms: 0 };
  const reply = server.ask(JSON.stringify(body));
  check(reply, { 'a true answer or a polite refusal': (r) => is_polite_refusal(r) || (r.status === 200 && same_totals(r, server.truth(from, to))) });
  rest(reply);
});

let writer;

export const send = careful((data) => {
  writer = writer || new Writer(server, server.dataset, data.run, is_polite_refusal);
  rest(writer.send());
});

export const live = careful(() => {
  check(server.live(), { 'alive': (r) => r.status === 200 });
});

// Clients that obey would never stress; these come back after a tenth of what they were told.
function rest(reply) {
  if (reply.status !== 200) sleep(Number(reply.headers['Retry-After'] || 1) / 10);
}

export function teardown(data) {
  const ready = http.get(server.url('/health/ready'));
  check(ready, { 'ready afterwards': (r) => r.status === 200 });
  check_no_gaps(server, server.dataset, data.run);
  server.probe('end');
}

export const handleSummary = summary('stress', settings, ['ask', 'send', 'live']);
