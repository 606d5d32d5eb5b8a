SELECT date_trunc('minute', ts) AS minute, count(*) AS failures
FROM traces
WHERE model = 'gpt-4o' AND status <> 'ok' AND ts >= '2026-10-28 06:00:00' AND ts < '2026-10-28 12:00:00'
GROUP BY minute
ORDER BY minute
