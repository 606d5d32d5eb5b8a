// The shape of every run: a baseline (GET /health/live by as many clients), a probe, then the load; and the result as JSON.
//
// Machines differ and are shared. What is kept and compared is therefore the load's figures as multiples of the baseline's of the
// same run: requests, latency, and the server's processor time a request.

import { check } from 'k6';

const BASELINE_GAP_S = 1;

// Options of k6. `load` holds scenarios that start after the baseline, `bounds` further thresholds. A truth check is never relaxed.
export function options(settings, load, bounds) {
  const starts_s = settings.baseline_s + BASELINE_GAP_S;
  const scenarios = {
    baseline: { executor: 'constant-vus', exec: 'baseline', vus: Math.max(1, Math.min(settings.vus, 50)), duration: `${settings.baseline_s}s`, gracefulStop: '1s' },
    probe: { executor: 'per-vu-iterations', exec: 'probe', vus: 1, iterations: 1, startTime: `${starts_s}s` },
  };
  const thresholds = {
    checks: ['rate==1'],
    'http_reqs{scenario:baseline}': ['count>0'],
    'http_req_duration{scenario:baseline}': ['p(95)>=0'],
  };
  for (const [name, scenario] of Object.entries(load)) {
    scenarios[name] = { gracefulStop: '10s', ...scenario, startTime: `${starts_s}s` };
    thresholds[`http_reqs{scenario:${name}}`] = ['count>0'];
    thresholds[`http_req_failed{scenario:${name}}`] = ['rate<=1'];
    thresholds[`http_req_duration{scenario:${name}}`] = ['p(95)>=0'];
  }
  return {
    scenarios,
    thresholds: { ...thresholds, ...bounds },
    summaryTrendStats: ['avg', 'med', 'p(95)', 'p(99)', 'max'],
    setupTimeout: '10m',
  };
}

// An iteration whose exception is a failed check: k6 itself only prints it.
export function careful(iteration) {
  return (data) => {
    try {
      iteration(data);
    } catch (error) {
      check(error, { 'the script has no exception': () => false });
      throw error;
    }
  };
}

// Bounds on a latency, in milli-seconds, times the patience of the settings.
export function within(settings, limits) {
  return Object.entries(limits).map(([statistic, limit]) => `${statistic}<${limit * settings.patience}`);
}

// The least share of answers from the cache: it depends on how many ask within a tick, so on speed.
export function from_cache(settings, share) {
  return [`rate>${share / settings.patience}`];
}

// `handleSummary` of a script.
export function summary(script, settings, scenarios) {
  return (data) => {
    const result = outcome(script, settings, scenarios, data);
    const stamp = result.finished_at.replace(/[-:]|\.\d+/g, '');
    const text = JSON.stringify(result, null, 1);
    return { [`${settings.results}/${script}-${settings.profile}-${stamp}.json`]: text + '\n', stdout: report(result) };
  };
}

function outcome(script, settings, scenarios, data) {
  const value = (metric, statistic) => {
    const found = data.metrics[metric];
    return found === undefined ? null : found.values[statistic];
  };
  const of_scenario = (name, seconds) => ({
    requests: value(`http_reqs{scenario:${name}}`, 'count'),
    requests_per_s: round(value(`http_reqs{scenario:${name}}`, 'count') / seconds),
    failed_share: value(`http_req_failed{scenario:${name}}`, 'rate'),
    p50_ms: round(value(`http_req_duration{scenario:${name}}`, 'med')),
    p95_ms: round(value(`http_req_duration{scenario:${name}}`, 'p(95)')),
    p99_ms: round(value(`http_req_duration{scenario:${name}}`, 'p(99)')),
  });
  const baseline = of_scenario('baseline', settings.baseline_s);
  const load = Object.fromEntries(scenarios.map((name) => [name, of_scenario(name, settings.duration_s)]));
  const moments = ['start', 'load', 'end'].map((moment) => value(`server_cpu_s_${moment}`, 'value'));
  const requests = scenarios.reduce((sum, name) => sum + load[name].requests, 0);
  if (!moments.includes(null)) {
    baseline.server_cpu_us_per_request = round((1e6 * (moments[1] - moments[0])) / baseline.requests);
    load.server_cpu_us_per_request = round((1e6 * (moments[2] - moments[1])) / requests);
  }
  const failed = [];
  for (const [name, metric] of Object.entries(data.metrics)) {
    for (const [bound, verdict] of Object.entries(metric.thresholds || {})) {
      if (!verdict.ok) failed.push(`${name}: ${bound}`);
    }
  }
  const { url, key, results, ...shown } = settings;
  return {
    script, profile: settings.profile, finished_at: new Date().toISOString(), settings: shown,
    checks: { passed: value('checks', 'passes'), failed: value('checks', 'fails') },
    rows_accepted: value('rows_accepted', 'count'),
    answers_from_cache: value('answers_from_cache', 'rate'),
    server_memory_bytes: value('server_memory_bytes', 'max'),
    baseline, load, ratios: ratios(baseline, load, scenarios, requests / settings.duration_s), thresholds_failed: failed,
  };
}

// What compare.py holds against earlier runs.
function ratios(baseline, load, scenarios, requests_per_s) {
  const to_baseline = { requests: round(requests_per_s / baseline.requests_per_s) };
  for (const name of scenarios) to_baseline[`p95_${name}`] = round(load[name].p95_ms / baseline.p95_ms);
  if (load.server_cpu_us_per_request) {
    to_baseline.server_cpu = round(load.server_cpu_us_per_request / baseline.server_cpu_us_per_request);
  }
  return to_baseline;
}

function round(value) {
  return value === null || !Number.isFinite(value) ? null : Number(value.toPrecision(4));
}

function report(result) {
  const lines = [`${result.script}: ${result.checks.passed} checks passed, ${result.checks.failed} failed`];
  const entries = [['baseline', result.baseline], ...Object.entries(result.load).filter(([, figures]) => figures.requests !== undefined)];
  for (const [name, figures] of entries) {
    lines.push(`  ${name}: ${figures.requests_per_s} requests/s, p50 ${figures.p50_ms} ms, p95 ${figures.p95_ms} ms, p99 ${figures.p99_ms} ms, failed ${(100 * figures.failed_share).toFixed(2)} %`);
  }
  if (result.answers_from_cache !== null) lines.push(`  answers from the cache: ${(100 * result.answers_from_cache).toFixed(1)} %`);
  if (result.rows_accepted !== null) lines.push(`  rows accepted: ${result.rows_accepted}`);
  lines.push(`  of the baseline: ${JSON.stringify(result.ratios)}`);
  for (const bound of result.thresholds_failed) lines.push(`  MISSED ${bound}`);
  return lines.join('\n') + '\n';
}
