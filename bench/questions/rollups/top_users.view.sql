SELECT "user", sum(cost) AS cost, sum(calls) AS calls
FROM users_1d
WHERE bucket >= {start} AND bucket < {end}
GROUP BY "user"
ORDER BY cost DESC, "user"
LIMIT 10
