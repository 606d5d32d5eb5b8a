// A virtual user that sends rows and checks that the server has exactly those: its own count and sums, read back at the version
// of its last acknowledgement. Every row that any writer sent is in some writer's count, so nothing can be lost or doubled unseen.

import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { ndjson, sums } from './data.js';

const rows_accepted = new Counter('rows_accepted');
// Read back after so many batches.
const BATCHES_PER_CHECK = 20;

export class Writer {
  constructor(server, dataset, run, is_refusal = () => false) {
    Object.assign(this, { server, dataset, run, is_refusal });
    this.worker = `w${exec.vu.idInTest}`;
    this.sent = 0;
    this.batches = 0;
    this.expected = { calls: 0, tokens: 0, micros: 0 };
  }

  // One batch. A refused or broken request is sent again as it was, with its token, by the next call.
  send() {
    const { batch } = this.server.settings;
    if (!this.body) {
      const now = Date.now();
      this.body = ndjson(this.sent, this.sent + batch, () => now, this.run, this.worker);
    }
    const reply = this.server.ingest(this.dataset, this.body, `${this.run}-${this.worker}-${this.sent}`);
    if (reply.status !== 200) {
      check(reply, { 'rows are taken': () => this.is_refusal(reply) });
      return reply;
    }
    check(reply, { 'rows are taken': () => reply.json('accepted') === batch && reply.json('rejected') === 0 });
    rows_accepted.add(batch);
    const added = sums(this.sent, this.sent + batch);
    for (const name of Object.keys(added)) this.expected[name] += added[name];
    this.sent += batch;
    this.body = null;
    this.version = reply.json('version');
    this.batches += 1;
    if (this.batches % BATCHES_PER_CHECK === 1) this.read_back();
    return reply;
  }

  read_back() {
    const question = {
      dataset: this.dataset, date_range: '24h', metrics: ['calls', 'tokens', 'cost'], min_version: this.version, max_staleness_ms: 0,
      filters: [['is', 'run', [this.run]], ['is', 'worker', [this.worker]]],
    };
    const reply = this.server.ask(JSON.stringify(question));
    if (this.is_refusal(reply)) return;
    check(reply, {
      'acknowledged rows are counted, once': (r) => r.status === 200
        && r.json('results.0.metrics.0') === this.expected.calls
        && r.json('results.0.metrics.1') === this.expected.tokens
        && Math.round(r.json('results.0.metrics.2') * 1e6) === this.expected.micros,
    });
  }
}

// At the end: of every writer's rows 0..n none is missing. A batch whose reply was lost may be there or not, as a whole.
export function check_no_gaps(server, dataset, run) {
  const question = {
    dataset, date_range: '24h', dimensions: ['worker'], filters: [['is', 'run', [run]]], pagination: { limit: 10000 }, max_staleness_ms: 0,
    metrics: ['calls', { agg: 'max', column: 'seq', as: 'last' }, { agg: 'min', column: 'seq', as: 'first' }, 'tokens'],
  };
  const reply = server.ask(JSON.stringify(question));
  const is_whole = (result) => {
    const [calls, last, first, tokens] = result.metrics;
    return first === 0 && last === calls - 1 && calls % server.settings.batch === 0 && tokens === sums(0, calls).tokens;
  };
  check(reply, { 'no writer has a gap': (r) => r.status === 200 && r.json('results').length > 0 && r.json('results').every(is_whole) });
}
