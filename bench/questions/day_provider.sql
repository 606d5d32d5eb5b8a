SELECT date_trunc('day', ts) AS day, provider, count(*) AS calls, sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cost_usd) AS cost
FROM traces
WHERE ts >= '2026-10-01 00:00:00' AND ts < '2026-10-31 00:00:00'
GROUP BY day, provider
ORDER BY day, provider
