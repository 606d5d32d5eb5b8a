"""A made-up dataset with every type of column, nulls, empty and unicode text, repeated values, and days around changes of clocks."""

import time

import zones
from questions import Profile

NAME = "made"
PROJECTS = ("shop", "wiki")
KINDS = {
    "channel": "string", "user": "string", "is_robot": "bool", "plan": "int", "added": "int", "score": "float",
    "cost_usd": "money", "tags": "strings", "props": "map",
}
METRICS = {
    "rows": {"agg": "count"},
    "total_added": {"agg": "sum", "column": "added"},
    "mean_added": {"agg": "avg", "column": "added"},
    "spread_added": {"agg": "stddev", "column": "added"},
    "cost": {"agg": "sum", "column": "cost_usd"},
    "mean_cost": {"agg": "avg", "column": "cost_usd"},
    "users": {"agg": "uniq", "column": "user"},
    "tag_kinds": {"agg": "uniq", "column": "tags"},
    "p95_added": {"agg": "p95", "column": "added"},
    "p50_cost": {"agg": "p50", "column": "cost_usd"},
    "score_sum": {"agg": "sum", "column": "score"},
    "mean_score": {"agg": "avg", "column": "score"},
    "spread_score": {"agg": "stddev", "column": "score"},
    "top_score": {"agg": "max", "column": "score"},
    "least_cost": {"agg": "min", "column": "cost_usd"},
    "last_user": {"agg": "last", "column": "user"},
    "first_plan": {"agg": "first", "column": "plan"},
    "top_channel": {"agg": "max", "column": "channel"},
    "robots": {"agg": "count", "filters": [["is", "is_robot", [True]]]},
    "paid": {"agg": "sum", "column": "cost_usd", "filters": [["gt", "plan", 1], ["is_not", "channel", ["en", None]]]},
    "robot_share": {
        "agg": "ratio", "numerator": {"agg": "count", "filters": [["is", "is_robot", [True]]]}, "denominator": {"agg": "count"},
    },
    "pace": {"agg": "rate"},
}
# Columns with few values, which roll-ups group by.
DIMENSIONS = ("channel", "is_robot", "plan", "tags", "props.browser", "props.ver", "user")
CHANNELS = ("en", "EN", "de", "#ünïcode", "zürich", "ZÜRICH", "日本語", "", "fr", "a,b", 'quo"te', "it's", "new\nline", "👩‍🚀")
TAGS = ("red", "green", "blue", "Ünique", "", "red ")
# Berlin changes on 26 October 2025, New York and St John's on 2 November and 8 March, Lord Howe on 5 April 2026.
SPANS = (("2025-10-25T09:00:00Z", 54), ("2025-11-01T20:00:00Z", 30), ("2026-03-07T22:00:00Z", 26), ("2026-04-04T06:00:00Z", 40))


# The latest rows lie so far back from now.
RECENT = (52 * zones.HOUR, 10 * zones.MINUTE)


def profile():
    spans = [(zones.parse(start), zones.parse(start) + hours * zones.HOUR) for start, hours in SPANS]
    now_us = time.time_ns() // 1_000
    made = Profile(NAME, KINDS, METRICS, PROJECTS, spans + [(now_us - RECENT[0], now_us - RECENT[1])])
    made.is_recent = True
    return made


def aged_profile():
    """The same columns, with rows whose raw form has expired when they arrive, and rows of today."""
    now_us = time.time_ns() // 1_000
    old_us = now_us - AGED_DAYS * zones.DAY
    spans = [(old_us - 30 * zones.HOUR, old_us), (now_us - RECENT[0], now_us - RECENT[1])]
    made = Profile(AGED, KINDS, METRICS, PROJECTS[:1], spans)
    made.is_recent, made.raw_days = True, RAW_DAYS
    return made


# Tiers that outlive raw rows are stored however little they save, so that small data is answered from them too.
KEPT = {"raw": "3000d", "1m": "3600d", "5m": "3600d", "1h": "3600d", "1d": "3600d"}
AGED = "aged"
RAW_DAYS, AGED_DAYS = 20, 40
AGED_KEPT = {"raw": f"{RAW_DAYS}d", "1h": "400d", "1d": "400d"}


def definition(rollups, kept):
    return {"time": "ts", "sort": ["channel"], "columns": KINDS, "metrics": METRICS, "rollups": rollups, "retention": kept}


def rollup(random, name):
    """A random roll-up: any dimensions, metrics and tiers."""
    dimensions = random.sample(DIMENSIONS, random.choice((0, 1, 2, 2, 3, 4)))
    metrics = sorted(random.sample(sorted(METRICS), random.randint(2, len(METRICS))))
    tiers = random.choice((["1m", "5m", "1h", "1d"], ["1h", "1d"], ["1h"], ["5m", "1h"], ["1d"], ["1m"], ["1m", "1d"]))
    return {"name": name, "dimensions": dimensions, "metrics": metrics, "tiers": tiers}


def row(random, spans, projects=PROJECTS):
    """One row as the oracle keeps it."""
    low, high = random.choice(spans)
    # Shared seconds and minutes, so that times tie.
    grid = random.choice((zones.MINUTE, 1_000_000, 1_000_003, 1))
    made = {"_project": random.choice(projects), "_us": random.randrange(low, high) // grid * grid}

    def put(name, percent, value):
        if random.random() * 100 < percent:
            made[name] = value() if callable(value) else value

    put("channel", 93, lambda: random.choice(CHANNELS))
    put("user", 95, lambda: f"u{random.randrange(40) * random.randrange(40)}")
    put("is_robot", 90, lambda: random.random() < 0.3)
    put("plan", 85, lambda: random.choice((0, 1, 2, 3, 10, -1)))
    put("added", 85, lambda: 4_000_000_000_000 if random.random() < 0.01 else random.randrange(-700, 1_300))
    put("score", 80, lambda: random.choice((random.randrange(-900, 4_000) / 8, random.randrange(-9_000, 40_000) / 1_000, 0.0, 1e9 / 3)))
    put("cost_usd", 80, lambda: random.choice((random.randrange(-10**9, 5 * 10**9), random.randrange(50), 10**9 * random.randrange(3))))
    put("tags", 75, lambda: [random.choice(TAGS) for _ in range(random.randrange(4))])
    put("props", 70, lambda: properties(random))
    return made


def properties(random):
    made = {"browser": random.choice(("Firefox", "Chrome", "chrome", ""))}
    if random.random() < 0.5:
        made["ver"] = random.choice(("1", "2", "10"))
    if random.random() < 0.02:
        made["rare key"] = "yes"
    return made
