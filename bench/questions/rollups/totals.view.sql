SELECT calls, cost, users
FROM (SELECT sum(calls) AS calls, sum(cost) AS cost FROM models_1d WHERE bucket >= {start} AND bucket < {end}) AS sums,
    (SELECT uniqCombinedMerge(14)(users) AS users FROM audience_1d WHERE bucket >= {start} AND bucket < {end}) AS distinct_users
