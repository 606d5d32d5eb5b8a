"""ClickHouse's own roll-ups: AggregatingMergeTree tables that materialised views fill with every insert.

Their grain is that of the tiers Tidewater keeps of the same roll-ups on these rows: models by hour and by day, users and
audience by day. Minutes would be more than a tenth of the raw rows' size on either side, so neither keeps them. Each question
is asked of the coarsest table that answers it. Knows no question.
"""

# Parts that were merged away leave the disk at once, so that its size is what it will be.
CLEAN_UP_SOON = (
    "old_parts_lifetime = 1, cleanup_delay_period = 1, max_cleanup_delay_period = 1, cleanup_delay_period_random_add = 0"
)
# Measured on four million rows: quantileTDigest merges as fast as quantile and faster than quantileDD, quantileGK and
# quantileBFloat16 (quantileTiming is faster and knows whole milliseconds only); uniqCombined merges three times as fast as
# uniq, and 14 bits are the precision of Tidewater's sketch.
MODELS = (
    "provider, model, status, count() AS calls, sum(cost_usd) AS cost, sum(duration_ms) AS duration, "
    "countIf(status <> 'ok') AS errors, quantileTDigestState(0.95)(duration_ms) AS p95"
)
MODELS_COLUMNS = """
    provider LowCardinality(String), model LowCardinality(String), status LowCardinality(String),
    calls SimpleAggregateFunction(sum, UInt64), cost SimpleAggregateFunction(sum, Decimal(38, 9)),
    duration SimpleAggregateFunction(sum, Float64), errors SimpleAggregateFunction(sum, UInt64),
    p95 AggregateFunction(quantileTDigest(0.95), Float64)"""

# Name: bucket, what it is grouped and sorted by after (project, bucket), columns, and what the view selects of the raw rows.
TABLES = {
    "models_1h": ("toStartOfHour(ts)", ", provider, model, status", MODELS_COLUMNS, MODELS),
    "models_1d": ("toStartOfDay(ts)", ", provider, model, status", MODELS_COLUMNS, MODELS),
    "users_1d": (
        "toStartOfDay(ts)",
        ', "user"',
        """
    "user" String, calls SimpleAggregateFunction(sum, UInt64), cost SimpleAggregateFunction(sum, Decimal(38, 9))""",
        '"user", count() AS calls, sum(cost_usd) AS cost',
    ),
    "audience_1d": (
        "toStartOfDay(ts)",
        "",
        """
    users AggregateFunction(uniqCombined(14), String)""",
        'uniqCombinedState(14)("user") AS users',
    ),
}


def statements():
    """What creates the tables and the views; run it before the first insert."""
    for name, (bucket, keys, columns, selected) in TABLES.items():
        yield (
            f"CREATE TABLE {name} (project LowCardinality(String), bucket DateTime('UTC'),{columns}) "
            f"ENGINE = AggregatingMergeTree ORDER BY (project, bucket{keys}) SETTINGS {CLEAN_UP_SOON}"
        )
        yield (
            f"CREATE MATERIALIZED VIEW {name}_of_traces TO {name} AS "
            f"SELECT project, {bucket} AS bucket, {selected} FROM traces GROUP BY project, bucket{keys}"
        )
