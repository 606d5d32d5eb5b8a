SELECT bucket, model, sum(calls) AS calls, sum(cost) AS cost, quantileTDigestMerge(0.95)(p95) AS p95
FROM models_1h
WHERE project = 'assistant' AND bucket >= {start} AND bucket < {end}
GROUP BY bucket, model
ORDER BY bucket, model
LIMIT 10000
