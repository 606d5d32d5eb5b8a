"""The lines of the table that judge a server under many clients. Measures nothing."""

# The targets.
CACHED_PER_S_MIN, CACHED_P50_MS_MAX, CACHED_P95_MS_MAX = 5_000, 5, 20
COMPUTED_PER_S_MIN, COMPUTED_P95_MS_MAX, COMPUTED_P99_MS_MAX = 500, 100, 200
MIXED_PER_S_MIN, MIXED_P95_MS_MAX, MIXED_ERRORS_MAX, MIXED_HITS_MIN = 2_000, 100, 0.001, 0.80
STEADY_CORES_MAX = 0.5
# A schedule that was not kept measures another load.
STEADY_KEPT_MIN = 0.99
REQUEST_COST_MAX = 0.15


def lines(results, line):
    figures = results.get("clients_cached")
    if figures:
        yield rate(line, f"cached and covered, {figures['clients']} clients, answers/s", figures, figures["asks_per_s"], CACHED_PER_S_MIN)
        yield latency(line, figures, "p50_ms", CACHED_P50_MS_MAX)
        yield latency(line, figures, "p95_ms", CACHED_P95_MS_MAX)
    for record, besides in [("clients_computed", ""), ("clients_computed_top_list", " with the top list")]:
        figures = results.get(record)
        if figures:
            about = f"hits {figures['hit_share']:.0%}; "
            name = f"computed{besides}, {figures['clients']} clients, answers/s"
            yield rate(line, name, figures, figures["asks_per_s"], COMPUTED_PER_S_MIN, about)
            yield latency(line, figures, "p95_ms", COMPUTED_P95_MS_MAX)
            yield latency(line, figures, "p99_ms", COMPUTED_P99_MS_MAX)
    figures = results.get("clients_mixed")
    if figures:
        about = f"{figures['ingest']['rows_per_s']:,.0f} rows/s; "
        name = "mixed, 200 clients, requests/s"
        yield rate(line, name, figures, figures["requests_per_s"], MIXED_PER_S_MIN, about, MIXED_ERRORS_MAX)
        yield latency(line, figures, "p95_ms", MIXED_P95_MS_MAX)
        hits = figures["hit_share"]
        yield line("  hits", f"{hits:.1%}", target=f"> {MIXED_HITS_MIN:.0%}", met=hits > MIXED_HITS_MIN)
    figures = results.get("clients_steady")
    if figures:
        kept = figures["asks_per_s"] >= 1_000 * STEADY_KEPT_MIN and not figures["errors"]
        cores = figures["server_cores"]
        about = f"{figures['asks_per_s']:,.0f} answers/s, p99 {figures['latency']['p99_ms']:.1f} ms; < {STEADY_CORES_MAX}"
        yield line("cores at 1,000 questions/s", f"{cores:.2f}", target=about, met=kept and cores < STEADY_CORES_MAX)
    figures = results.get("request_cost")
    if figures:
        cost = 1 - figures["ours_share"]
        cpu = ", ".join(f"{name} {figures[f'{name}_cpu_us']:.1f}" for name in ("ours", "live", "bare"))
        about = f"µs of server CPU a request: {cpu}; without key and limits {1 - figures['live_share']:.0%}, {figures['errors']} errors; < {REQUEST_COST_MAX:.0%}"
        name = "key, limits, ids, beside a bare handler"
        yield line(name, f"{cost:.1%}", target=about, met=cost < REQUEST_COST_MAX and not figures["errors"])


def rate(line, name, figures, per_s, least, about="", errors_max=0.0):
    errors = figures["errors"] / figures["asks"]
    about += f"{figures['errors']} errors, {figures['server_cores']:.2f} cores; ≥ {least:,}"
    return line(name, f"{per_s:,.0f}", target=about, met=per_s >= least and errors <= errors_max)


def latency(line, figures, name, most):
    value = figures["latency"][name]
    return line(f"  {name.removesuffix('_ms')}", f"{value:.1f} ms", target=f"< {most} ms", met=value < most)


def losses(results):
    """Rows of the mixed load that were acknowledged and are not counted, or the other way round."""
    figures = results.get("clients_mixed")
    if figures and figures["rows_found"] != figures["rows_expected"]:
        return [f"mixed: {figures['rows_expected']} rows acknowledged, {figures['rows_found']} found"]
    return []
