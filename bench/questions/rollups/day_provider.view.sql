SELECT bucket, provider, sum(calls) AS n, sum(cost) AS cost, sum(duration) / n AS duration, sum(errors) AS errors
FROM models_1d
WHERE bucket >= {start} AND bucket < {end}
GROUP BY bucket, provider
ORDER BY bucket, provider
