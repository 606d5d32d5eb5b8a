SELECT "user", sum(cost_usd) AS cost, count(*) AS calls
FROM traces
WHERE ts >= {start} AND ts < {end}
GROUP BY "user"
ORDER BY cost DESC, "user"
LIMIT 10
