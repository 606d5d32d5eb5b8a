SELECT count(*) AS calls, sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cost_usd) AS cost, {uniq_user} AS users
FROM traces
WHERE ts >= '2026-10-01 00:00:00' AND ts < '2026-10-31 00:00:00'
