SELECT date_trunc('minute', ts) AS minute, count(*) FILTER (WHERE status <> 'ok') AS errors
FROM traces
WHERE model = 'gpt-4o' AND ts >= {start} AND ts < {end}
GROUP BY minute
ORDER BY minute
LIMIT 10000
