SELECT count(*) AS calls, sum(cost_usd) AS cost, {uniq_user} AS users
FROM traces
WHERE ts >= {start} AND ts < {end}
