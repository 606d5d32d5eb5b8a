// Talking to a server: requests with the key, setting the fixed data up, and whether an answer is true.

import http from 'k6/http';
import { check, fail, sleep } from 'k6';
import { Gauge, Rate } from 'k6/metrics';
import { DEFINITION, HOURS, dataset_name, fixed_time, hourly, ndjson, range, truth } from './data.js';

const JSON_TYPE = 'application/json';
const NDJSON_TYPE = 'application/x-ndjson';
const SETUP_ROWS_PER_REQUEST = 5000;
// Longest wait while setting up for a server that says it is full.
const TRIES_MAX = 60;
// Longest wait for roll-ups of the fixed rows, in seconds; questions are answered from raw rows meanwhile, which is another test.
const SEALED_WITHIN_S = 60;

const answers_from_cache = new Rate('answers_from_cache');
// Processor seconds of the server before the baseline, before the load and after it; its memory at the end.
const cpu = { start: new Gauge('server_cpu_s_start'), load: new Gauge('server_cpu_s_load'), end: new Gauge('server_cpu_s_end') };
const memory = new Gauge('server_memory_bytes');

export class Server {
  constructor(settings) {
    this.settings = settings;
    this.dataset = dataset_name(settings.rows);
    this.headers = { Authorization: `Bearer ${settings.key}` };
    if (settings.project) this.headers['X-Project'] = settings.project;
    this.json = { headers: { ...this.headers, 'Content-Type': JSON_TYPE } };
    this.at = hourly(settings.rows);
  }

  url(path) {
    return this.settings.url + path;
  }

  // GET /health/live: what HTTP costs here with hardly any work behind it.
  live() {
    return http.get(this.url('/health/live'));
  }

  // Sends rows; the token makes a repeated request count once.
  ingest(dataset, body, token) {
    const headers = { ...this.headers, 'Content-Type': NDJSON_TYPE, 'Idempotency-Key': token };
    return http.post(this.url(`/api/v1/ingest/${dataset}`), body, { headers });
  }

  ask(body) {
    return http.post(this.url('/api/v1/query'), body, this.json);
  }

  // Whether an answer is there and its first totals (calls, tokens, cost) are the true ones.
  check_totals(reply, expected) {
    answers_from_cache.add(reply.headers['X-Cache'] === 'hit');
    return check(reply, {
      'answered': (r) => r.status === 200,
      'totals are true': (r) => r.status === 200 && same_totals(r, expected),
    });
  }

  // Defines the dataset and loads the fixed rows where they are not there yet. The same rows again change nothing.
  prepare() {
    const { rows } = this.settings;
    this.define(this.dataset, DEFINITION);
    const time = fixed_time(rows);
    if (this.fixed_rows() === 0) {
      for (let from = 0; from < rows; from += SETUP_ROWS_PER_REQUEST) {
        const to = Math.min(from + SETUP_ROWS_PER_REQUEST, rows);
        this.must_take(ndjson(from, to, time, 'fixed', 'setup'), `${this.dataset}-${from}`);
      }
      this.wait_until_sealed();
    }
    const found = this.fixed_rows();
    if (found !== rows) fail(`${this.dataset} holds ${found} fixed rows instead of ${rows}: drop it and run again`);
    this.probe('start');
  }

  // Creates a dataset unless it is there, so that a key without the scope admin is enough from the second run on.
  define(name, definition) {
    const found = http.get(this.url(`/api/v1/datasets/${name}`), { headers: this.headers, responseCallback: http.expectedStatuses(200, 404) });
    if (found.status === 200) return;
    if (found.status !== 404) fail(`GET of the dataset ${name}: ${found.status} ${found.body}`);
    const put = http.put(this.url(`/api/v1/datasets/${name}`), JSON.stringify(definition), this.json);
    if (put.status >= 300) fail(`PUT of the dataset ${name}: ${put.status} ${put.body}`);
  }

  must_take(body, token) {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const reply = this.ingest(this.dataset, body, token);
      if (reply.status === 200 && reply.json('rejected') === 0) return;
      if (reply.status !== 429 && reply.status !== 503) fail(`set-up rows: ${reply.status} ${reply.body}`);
      sleep(Number(reply.headers['Retry-After'] || 1));
    }
    fail('the server stays full while the fixed rows are loaded');
  }

  fixed_rows() {
    const body = { dataset: this.dataset, date_range: range(0, HOURS), metrics: ['calls'], filters: [['is', 'run', ['fixed']]], max_staleness_ms: 0 };
    const reply = this.ask(JSON.stringify(body));
    if (reply.status !== 200) fail(`counting the fixed rows: ${reply.status} ${reply.body}`);
    return reply.json('results.0.metrics.0') || 0;
  }

  // Rows in memory have no roll-ups yet; a quiet server flushes them by itself.
  wait_until_sealed() {
    for (let waited = 0; waited < SEALED_WITHIN_S; waited++) {
      if (this.metrics().tidewater_memtable_rows === 0) return;
      sleep(1);
    }
    console.warn(`rows are still in memory after ${SEALED_WITHIN_S} s: the first questions read raw rows`);
  }

  // Metrics without labels; empty where /metrics is not open to this key.
  metrics() {
    const reply = http.get(this.url('/metrics'), { headers: this.headers });
    const found = {};
    if (reply.status !== 200) return found;
    for (const line of reply.body.split('\n')) {
      const parts = /^([a-z_]+) (\S+)$/.exec(line);
      if (parts) found[parts[1]] = Number(parts[2]);
    }
    return found;
  }

  // Notes the server's processor time and memory at one of the moments `start`, `load` and `end`.
  probe(moment) {
    const found = this.metrics();
    if (found.process_cpu_seconds_total !== undefined) cpu[moment].add(found.process_cpu_seconds_total);
    if (found.process_resident_memory_bytes !== undefined) memory.add(found.process_resident_memory_bytes);
  }

  // The true totals of hours [from, to) of the fixed rows.
  truth(from, to) {
    return truth(this.at, from, to);
  }
}

// Reads three numbers out of the body instead of parsing all of it: the client shares the machine with the server.
export function same_totals(reply, expected) {
  return reply.json('totals.0') === expected.calls
    && reply.json('totals.1') === expected.tokens
    && Math.round(reply.json('totals.2') * 1e6) === expected.micros;
}

// Whether a refusal is one that tells the client what to do.
export function is_polite_refusal(reply) {
  return (reply.status === 429 || reply.status === 503) && Number(reply.headers['Retry-After']) >= 0;
}
