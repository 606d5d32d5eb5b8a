"""The lines of the table that judge roll-ups and caches, and what of their answers is compared. Measures nothing."""

import os

# The targets.
COLD_MS_MAX = {"top_users": 80, "day_provider": 15}
COLD_OTHERS_MS_MAX = 5
QUIET_P99_MS_MAX = 5
LIVE_P99_MS_MAX = 10
# Where the faster peer needs this long over raw rows, roll-ups must be so many times faster.
RAW_SLOW_MS = 150
TIMES_FASTER_MIN = 30
VIEWS_TIMES_FASTER_MIN = 2
GROWTH_MAX = 1.3
FRESH_MS_MAX = 150
COST_MAX = 0.20
SIDECAR_SHARE_MAX = 0.25
CACHED_SHARE_MIN = 0.70
HIT_SHARE_MIN = 0.80
GETS_PER_S_MIN = 250_000
SETS_PER_S_MIN = 60_000

# What was asked in which folder, and which file holds the exact answers. Of views only what is exact on their side
# too is compared: it shows that the view holds all rows.
COMPARED = [
    ("rollups", "answers-rollups", "questions/rollups", "exact-rollups-duckdb.json", "DuckDB"),
    ("rollups", "answers-rollups", "questions/rollups", "exact-rollups-clickhouse.json", "ClickHouse"),
    ("rollups", "answers-cold", "questions/rollups", "exact-rollups-duckdb.json", "DuckDB"),
    ("rollups", "answers-rollups", "questions/rollups", "exact-rollups-views.json", "ClickHouse's views"),
    ("rollups_live", "answers-live-as_asked", "questions-live", "exact-live-as_asked.json", "DuckDB"),
    ("rollups_live", "answers-live-computed", "questions-live", "exact-live-computed.json", "DuckDB"),
]


def sections():
    return [question_lines, growth_lines, freshness_lines, cost_lines, cache_lines]


def comparisons(results, work, here):
    """(phase, folder of answers, folder of questions, file of exact answers, whose) of every pair that is there."""
    for phase, answers, questions, exact, whose in COMPARED:
        questions = os.path.join(here if questions.startswith("questions/") else work, questions)
        answers, exact = os.path.join(work, answers), os.path.join(work, exact)
        if phase in results and os.path.isdir(answers) and os.path.exists(exact):
            yield answers, questions, exact, whose


def losses(results):
    """Rows that were acknowledged and are not counted, or counted and not acknowledged."""
    problems = []
    for form in ("as_asked", "computed"):
        live = (results.get("rollups_live") or {}).get(form)
        if live and live["rows_found"] != live["rows_expected"]:
            problems.append(f"live, {form}: {live['rows_expected']} rows acknowledged, {live['rows_found']} found")
    cost = results.get("rollup_cost")
    if cost and cost["lost_rows"]:
        problems.append(f"rollup-cost: {cost['lost_rows']} rows lost")
    rollups = results.get("rollups")
    if rollups and rollups["rows_found"] != results["sizes"]["query_rows"]:
        problems.append(f"rollups: {results['sizes']['query_rows']} rows acknowledged, {rollups['rows_found']} found")
    return problems


def ms(value):
    return "-" if value is None else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def pick(figures, *path):
    for key in path:
        figures = figures.get(key) if isinstance(figures, dict) else None
    return figures


def faster(line, name, ours, duckdb, clickhouse, times_min):
    """A line with how many times faster we are than the faster of the given peers."""
    peers = [peer for peer in (duckdb, clickhouse) if peer]
    if not (ours and peers):
        return line(name, ms(ours), ms(duckdb) if duckdb else "", ms(clickhouse) if clickhouse else "")
    times = min(peers) / ours
    judged = times_min is not None
    return line(
        name, ms(ours), ms(duckdb) if duckdb else "", ms(clickhouse) if clickhouse else "", f"{1 / times:.3f}×",
        f"{times:.1f}× faster" + (f", ≥ {times_min}" if judged else ""), times >= times_min if judged else None,
    )


def question_lines(results, line):
    rollups, live, peers = (results.get(phase) or {} for phase in ("rollups", "rollups_live", "rollups_peers"))
    for name in pick(rollups, "cold") or {}:
        cold = rollups["cold"][name]
        most = COLD_MS_MAX.get(name, COLD_OTHERS_MS_MAX)
        about = f"max {ms(cold['max_ms'])}; ≤ {most} ms"
        yield line(f"{name}, first ask of a process [{cold['source']}]", ms(cold["median_ms"]), target=about, met=cold["median_ms"] <= most)
        empty = pick(rollups, "no_partials", name)
        if empty:
            about = f"p99 {ms(empty['p99_ms'])}; ≤ {most} ms"
            yield line(f"{name}, partial cache empty", ms(empty["p50_ms"]), target=about, met=empty["p50_ms"] <= most)
        quiet = rollups["computed"]["questions"][name]["latency"]
        raw = [pick(peers, engine, "questions", name, "median_ms") for engine in ("duckdb", "clickhouse")]
        slow = all(raw) and min(raw) >= RAW_SLOW_MS
        yield faster(line, "  quiet, computed, p50; peers on raw rows", quiet["p50_ms"], *raw, TIMES_FASTER_MIN if slow else None)
        view = pick(peers, "clickhouse", "views", name, "median_ms")
        yield faster(line, "  the same; ClickHouse from views", quiet["p50_ms"], None, view, VIEWS_TIMES_FASTER_MIN)
        yield line(
            "  quiet, computed, p99", ms(quiet["p99_ms"]), target=f"≤ {QUIET_P99_MS_MAX} ms",
            met=quiet["p99_ms"] <= QUIET_P99_MS_MAX,
        )
        yield asked_line(line, "  quiet, as asked, p99", rollups["cached"]["questions"][name], QUIET_P99_MS_MAX)
        for form, text in [("as_asked", "as asked"), ("computed", "computed")]:
            asked = pick(live, form, "questions", name)
            if asked:
                yield asked_line(line, f"  under ingest, {text}, p99", asked, LIVE_P99_MS_MAX)
    for form in ("as_asked", "computed"):
        ingest = pick(live, form, "ingest")
        if ingest:
            about = f"acknowledged in p50 {ms(ingest['latency']['p50_ms'])}, p99 {ms(ingest['latency']['p99_ms'])}"
            yield line(f"rows/s that came in meanwhile ({form.replace('_', ' ')})", f"{ingest['rows_per_s']:,.0f}", target=about)


def asked_line(line, name, asked, most):
    latency, asks = asked["latency"], asked["asks"]
    about = f"p50 {ms(latency['p50_ms'])}, hits {asked['hits'] / asks:.0%}; ≤ {most} ms"
    if asked["unasked"]:
        about = f"{asked['unasked']} asks given up; " + about
    return line(name, ms(latency["p99_ms"]), target=about, met=latency["p99_ms"] <= most and not asked["unasked"])


def growth_lines(results, line):
    for name, sizes in (results.get("growth") or {}).items():
        days = sorted(sizes, key=int)
        for kind, value in [("cold", lambda size: size["cold"]["median_ms"]), ("repeated", lambda size: size["repeated_ms"])]:
            times = [value(sizes[day]) for day in days]
            grown = times[-1] / times[0]
            about = ", ".join(f"{day} d {ms(time)}" for day, time in zip(days, times))
            yield line(
                f"growth, {name}, {kind}, {days[-1]} d to {days[0]} d", f"{grown:.2f}×", target=f"{about}; < {GROWTH_MAX}",
                met=grown < GROWTH_MAX,
            )


def freshness_lines(results, line):
    fresh = results.get("freshness")
    if fresh:
        latency = fresh["latency"]
        about = f"p50 {ms(latency['p50_ms'])}, p99 {ms(latency['p99_ms'])}; ≤ {FRESH_MS_MAX} ms"
        yield line("acknowledged until counted, max", ms(latency["max_ms"]), target=about, met=latency["max_ms"] <= FRESH_MS_MAX)


def cost_lines(results, line):
    cost = results.get("rollup_cost")
    if cost:
        about = f"{cost['plain_rows_per_s'] / 1e3:,.0f}k without; ≤ {COST_MAX:.0%} less"
        name = "ingest with roll-ups, rows/s sealed"
        rate, less = f"{cost['rollups_rows_per_s'] / 1e3:,.0f}k", f"{-cost['cost']:+.1%}"
        share = cost["sidecar_share"]
        # Without any roll-up on disk there is nothing to judge.
        judged = lambda met: met if share else None
        yield line(name, rate, ratio=less, target=about, met=judged(cost["cost"] <= COST_MAX))
        about = f"≤ {SIDECAR_SHARE_MAX:.0%}"
        yield line("roll-ups' share of raw bytes", f"{share:.1%}", target=about, met=judged(share <= SIDECAR_SHARE_MAX))


def cache_lines(results, line):
    cached = results.get("cached_http")
    if cached:
        about = f"bare handler {cached['bare_per_s']:,.0f}, X-Cache {cached['x_cache']}; ≥ {CACHED_SHARE_MIN}"
        if cached["errors"]:
            about = f"{cached['errors']} errors; " + about
        share = cached["share"]
        met = share >= CACHED_SHARE_MIN and not cached["errors"]
        yield line("cached reads over HTTP, requests/s", f"{cached['ours_per_s']:,.0f}", ratio=f"{share:.2f}", target=about, met=met)
    mixed = results.get("dashboards")
    if mixed:
        about = f"{mixed['asks_per_s']:,.0f} asks/s, p99 {ms(mixed['latency']['p99_ms'])}; ≥ {HIT_SHARE_MIN:.0%}"
        hits = mixed["hit_share"]
        yield line("dashboards, hits of the answer cache", f"{hits:.1%}", target=about, met=hits >= HIT_SHARE_MIN)
    micro = results.get("cache_micro")
    if micro:
        for kind, least in [("gets", GETS_PER_S_MIN), ("sets", SETS_PER_S_MIN)]:
            # One thread must reach it: a guide's figure says nothing of cores.
            one, everywhere = (micro[threads][f"{kind}_per_s"] for threads in ("one_thread", "all_threads"))
            about = f"{everywhere / 1e3:,.0f}k on {micro['threads']} threads; ≥ {least / 1e3:,.0f}k"
            yield line(f"answer cache, {kind}/s on one thread", f"{one / 1e3:,.0f}k", target=about, met=one >= least)
