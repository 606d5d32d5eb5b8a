// What a run is told by its environment, with defaults. README.md lists every variable. Nothing here talks to a server.

// k6 gives options a unit; rates need the number of seconds.
const SECONDS = { s: 1, m: 60, h: 3600 };

function number(name, fallback) {
  const text = __ENV[name];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name} must be a number from 0 on, not '${text}'`);
  return value;
}

function seconds(name, fallback) {
  const text = __ENV[name] || fallback;
  const parts = /^(\d+)([smh])$/.exec(text);
  if (!parts) throw new Error(`${name} must be a whole number and s, m or h, like 30s, not '${text}'`);
  return Number(parts[1]) * SECONDS[parts[2]];
}

function key() {
  if (!__ENV.TIDEWATER_KEY) throw new Error('TIDEWATER_KEY must hold an API key with the scopes ingest, query and, the first time, admin');
  return __ENV.TIDEWATER_KEY;
}

// The settings of one script; `defaults` are its own clients, duration and the like.
export function settings(defaults) {
  return {
    url: (__ENV.TIDEWATER_URL || 'http://127.0.0.1:8321').replace(/\/+$/, ''),
    key: key(),
    project: __ENV.TIDEWATER_PROJECT || '',
    vus: number('LOAD_VUS', defaults.vus),
    duration_s: seconds('LOAD_DURATION', defaults.duration),
    baseline_s: seconds('LOAD_BASELINE', '5s'),
    // Rows of the fixed data that questions are asked about.
    rows: number('LOAD_ROWS', 100000),
    // Rows in one ingest request, and rows a second where a script sends at a fixed rate.
    batch: number('LOAD_BATCH', defaults.batch || 100),
    rows_per_s: number('LOAD_ROWS_PER_S', defaults.rows_per_s || 0),
    // Every bound on a latency is multiplied by this: a debug build on a busy machine says nothing about latency.
    patience: number('LOAD_PATIENCE', 1),
    // Results are only ever compared with results of the same profile.
    profile: __ENV.LOAD_PROFILE || 'default',
    results: __ENV.LOAD_RESULTS || import.meta.resolve('../results').replace('file://', ''),
  };
}
