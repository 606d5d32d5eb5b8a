SELECT "user", sum(cost_usd) AS cost, count(*) AS calls
FROM traces
WHERE ts >= '2026-10-01 00:00:00' AND ts < '2026-10-31 00:00:00'
GROUP BY "user"
ORDER BY cost DESC, "user"
LIMIT 10
