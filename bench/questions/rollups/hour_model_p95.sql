SELECT date_trunc('hour', ts) AS hour, model, count(*) AS calls, sum(cost_usd) AS cost, {p95_duration} AS p95
FROM traces
WHERE project = 'assistant' AND ts >= {start} AND ts < {end}
GROUP BY hour, model
ORDER BY hour, model
LIMIT 10000
