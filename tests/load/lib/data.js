// The fixed data and the true answers over it: row i is a pure function of i, so what a server must answer is known without it.

import { SharedArray } from 'k6/data';

export const START_MS = Date.UTC(2026, 0, 1);
export const HOURS = 30 * 24;
const HOUR_MS = 3600 * 1000;
const MODELS = ['alder', 'birch', 'cedar', 'elm', 'fir', 'hazel', 'larch', 'maple', 'oak', 'pine', 'rowan', 'yew'];
const USERS = 2000;

export const DEFINITION = {
  time: 'ts',
  sort: ['model'],
  columns: {
    run: 'string', worker: 'string', seq: 'int', model: 'string', status: 'string', user: 'string',
    tokens: 'int', duration_ms: 'float', cost_usd: 'money',
  },
  metrics: {
    calls: { agg: 'count' },
    tokens: { agg: 'sum', column: 'tokens' },
    cost: { agg: 'sum', column: 'cost_usd' },
    errors: { agg: 'count', filters: [['is_not', 'status', ['ok']]] },
    p95_duration: { agg: 'p95', column: 'duration_ms' },
    users: { agg: 'uniq', column: 'user' },
  },
  rollups: [
    { name: 'models', dimensions: ['model', 'status'], metrics: ['calls', 'tokens', 'cost', 'errors', 'p95_duration'] },
    { name: 'users', dimensions: ['user'], metrics: ['calls', 'cost'], tiers: ['1d'] },
  ],
};

// A hash with good low bits: 32 bits in, 32 bits out (the finaliser of MurmurHash3).
export function mix(seed) {
  let h = seed | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

// Columns that do not depend on who sends the row. Money is kept in millionths here, so that sums are exact.
function measured(i) {
  const h = mix(i + 1);
  return { h, tokens: h % 4000, micros: (h >>> 7) % 9000 };
}

// Row i of a run's rows, sent by a worker, at a time.
export function row(i, time_ms, run, worker) {
  const { h, tokens, micros } = measured(i);
  return {
    ts: new Date(time_ms).toISOString(), run, worker, seq: i,
    model: MODELS[h % MODELS.length], status: h % 40 === 0 ? 'error' : 'ok', user: `u${(h >>> 3) % USERS}`,
    tokens, duration_ms: 10 + ((h >>> 5) % 30000) / 10, cost_usd: (micros / 1e6).toFixed(6),
  };
}

// NDJSON of rows [from, to) at the times `time_of(i)`.
export function ndjson(from, to, time_of, run, worker) {
  const lines = [];
  for (let i = from; i < to; i++) lines.push(JSON.stringify(row(i, time_of(i), run, worker)));
  return lines.join('\n');
}

// When row i of `rows` fixed rows happened: evenly over the thirty days.
export function fixed_time(rows) {
  return (i) => START_MS + Math.floor((i * HOURS * HOUR_MS) / rows);
}

// What rows [from, to) come to.
export function sums(from, to) {
  const total = { calls: 0, tokens: 0, micros: 0 };
  for (let i = from; i < to; i++) {
    const { tokens, micros } = measured(i);
    total.calls += 1;
    total.tokens += tokens;
    total.micros += micros;
  }
  return total;
}

// Running sums of the fixed rows at every hour from 0 to HOURS; computed once for all virtual users.
export function hourly(rows) {
  return new SharedArray(`sums of ${rows} rows by hour`, () => {
    const at = [{ calls: 0, tokens: 0, micros: 0 }];
    const time = fixed_time(rows);
    let i = 0;
    for (let hour = 1; hour <= HOURS; hour++) {
      const from = i;
      while (i < rows && time(i) < START_MS + hour * HOUR_MS) i++;
      const here = sums(from, i);
      const before = at[hour - 1];
      at.push({ calls: before.calls + here.calls, tokens: before.tokens + here.tokens, micros: before.micros + here.micros });
    }
    return at;
  });
}

// The true totals of hours [from, to).
export function truth(at, from, to) {
  const [a, b] = [at[from], at[to]];
  return { calls: b.calls - a.calls, tokens: b.tokens - a.tokens, micros: b.micros - a.micros };
}

export function range(from, to) {
  const instant = (hour) => new Date(START_MS + hour * HOUR_MS).toISOString().replace('.000Z', 'Z');
  return [instant(from), instant(to)];
}

export function dataset_name(rows) {
  return `load_${rows}`;
}
