SELECT date_trunc('day', ts) AS day, provider, count(*) AS calls, sum(cost_usd) AS cost, avg(duration_ms) AS duration,
    count(*) FILTER (WHERE status <> 'ok') AS errors
FROM traces
WHERE ts >= {start} AND ts < {end}
GROUP BY day, provider
ORDER BY day, provider
