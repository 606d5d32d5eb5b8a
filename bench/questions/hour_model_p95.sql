SELECT date_trunc('hour', ts) AS hour, model, count(*) AS calls, sum(cost_usd) AS cost, {p95_duration} AS p95
FROM traces
WHERE project = 'assistant' AND ts >= '2026-10-24 00:00:00' AND ts < '2026-10-31 00:00:00'
GROUP BY hour, model
ORDER BY hour, model
LIMIT 10000
