// Dashboard questions, asked again and again: cached, or covered by roll-ups. Every answer's totals are held against the truth.

import { check } from 'k6';
import exec from 'k6/execution';
import { HOURS, range } from './lib/data.js';
import { careful, from_cache, options as build, summary, within } from './lib/run.js';
import { Server } from './lib/server.js';
import { settings as read } from './lib/settings.js';

const settings = read({ vus: 100, duration: '30s' });
const server = new Server(settings);

export const options = build(
  settings,
  { load: { executor: 'constant-vus', exec: 'load', vus: settings.vus, duration: `${settings.duration_s}s` } },
  {
    'http_req_failed{scenario:load}': ['rate==0'],
    'http_req_duration{scenario:load}': within(settings, { med: 5, 'p(95)': 20 }),
    answers_from_cache: from_cache(settings, 0.8),
  },
);

const DAY = 24;
const SHAPES = [
  { dimensions: ['time:day'], metrics: ['calls', 'tokens', 'cost', 'errors'] },
  { dimensions: ['model'], metrics: ['calls', 'tokens', 'cost', 'p95_duration'] },
  { dimensions: ['time:day', 'model'], metrics: ['calls', 'tokens', 'cost'] },
  { dimensions: ['status'], metrics: ['calls', 'tokens', 'cost'] },
];
const RANGES = [[0, HOURS], [HOURS - 7 * DAY, HOURS], [10 * DAY, 12 * DAY], [5 * DAY, 5 * DAY + 6]];
const QUESTIONS = SHAPES.flatMap((shape) => RANGES.map(([from, to]) => ({
  body: JSON.stringify({ dataset: server.dataset, date_range: range(from, to), include: { totals: true }, pagination: { limit: 10000 }, ...shape }),
  expected: server.truth(from, to),
})));

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
  const turn = exec.scenario.iterationInTest;
  const question = QUESTIONS[turn % QUESTIONS.length];
  const reply = server.ask(question.body);
  server.check_totals(reply, question.expected);
  // Once in a while the whole answer: its groups must add up to the totals.
  if (turn % 500 < QUESTIONS.length && reply.status === 200) {
    const calls = reply.json('results').reduce((sum, result) => sum + result.metrics[0], 0);
    check(reply, { 'groups add up': () => calls === question.expected.calls });
  }
});

export function teardown() {
  server.probe('end');
}

export const handleSummary = summary('queries', settings, ['load']);
