"""The lines of the table that judge a server under ten times the load it sustains. Measures nothing."""

# Memory may go up and down with what is kept, but not grow: the last quarter of the run beside the second one.
GROWTH_BYTES_MAX = 32 * 1024 * 1024
PEAK_RSS_BYTES_MAX = 512 * 1024 * 1024
# A cheap question beside a flood of expensive ones, and health beside everything.
CHEAP_P99_MS_MAX = 500
READY_MAX_MS_MAX = 2_000
MIB = 1024 * 1024


def lines(results, line):
    figures = results.get("soak")
    if not figures:
        return
    overload, watched = figures["overload"], figures["watched"]
    answered = sum(kind["answered_per_s"] for kind in overload.values())
    offered = sum(kind["offered_per_s"] for kind in overload.values())
    name = f"{figures['times']:.0f} × the sustained load, requests/s answered"
    yield line(name, f"{answered:,.0f}", target=f"{offered:,.0f} offered for {figures['seconds']} s; {statuses(overload)}")
    second, last, slope = flatness(watched["rss_bytes"])
    about = f"second quarter {second / MIB:.0f} MiB, last {last / MIB:.0f} MiB, slope {slope * 60 / MIB:+.1f} MiB/min; growth ≤ {GROWTH_BYTES_MAX // MIB} MiB"
    yield line("  memory, highest", f"{max(watched['rss_bytes']) / MIB:.0f} MiB", target=about, met=is_flat(figures) and figures["peak_rss_bytes"] <= PEAK_RSS_BYTES_MAX)
    cheap, ready = watched["cheap"], watched["ready"]
    yield line("  a cheap question meanwhile, p99", latency(cheap, "p99_ms"), target=f"{cheap['failures']} of {cheap['looks']} failed; < {CHEAP_P99_MS_MAX} ms",
               met=is_within(cheap, "p99_ms", CHEAP_P99_MS_MAX))
    yield line("  /health/ready meanwhile, longest", latency(ready, "max_ms"), target=f"{ready['failures']} of {ready['looks']} failed; < {READY_MAX_MS_MAX} ms",
               met=is_within(ready, "max_ms", READY_MAX_MS_MAX))
    rows = figures["rows"]
    about = f"of {rows['requests_acknowledged']} acknowledged, {rows['requests_refused']} refused, {rows['requests_unknown']} of unknown fate"
    yield line("  requests for rows with a wrong count", f"{rows['requests_wrong']}", target=about, met=not losses(results))


def statuses(overload):
    total = {}
    for kind in overload.values():
        for status, count in kind["statuses"].items():
            total[status] = total.get(status, 0) + count
    total["left out"] = sum(kind["left_out"] for kind in overload.values())
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(total.items()))


def latency(probe, name):
    return f"{probe['latency'][name]:.0f} ms" if probe["latency"] else "-"


def is_within(probe, name, most):
    return probe["failures"] == 0 and probe["latency"] is not None and probe["latency"][name] < most


def flatness(samples):
    """Means of the second and the last quarter, and the slope of the last three by least squares, in bytes a second."""
    quarter = max(1, len(samples) // 4)
    mean = lambda part: sum(part) / max(1, len(part))
    settled = samples[quarter:]
    middle, height = (len(settled) - 1) / 2, mean(settled)
    spread = sum((at - middle) ** 2 for at in range(len(settled))) or 1
    slope = sum((at - middle) * (value - height) for at, value in enumerate(settled)) / spread
    return mean(samples[quarter : 2 * quarter]), mean(samples[-quarter:]), slope


def is_flat(figures):
    second, last, _ = flatness(figures["watched"]["rss_bytes"])
    return last - second <= GROWTH_BYTES_MAX


def losses(results):
    """Rows that were acknowledged and are not there, and refusals that do not say when to come back."""
    figures = results.get("soak")
    if not figures:
        return []
    problems = []
    rows = figures["rows"]
    if rows["requests_wrong"]:
        problems.append(f"soak: {rows['requests_wrong']} requests for rows have a wrong count; {rows['first_wrong']}")
    expected = figures["rows_before"] + rows["rows_found"]
    for name in ("rows_counted", "rows_counted_after_restart"):
        if figures[name] != expected:
            problems.append(f"soak: {name} is {figures[name]}, not {expected}")
    for kind, counts in figures["overload"].items():
        if counts["without_retry_after"]:
            problems.append(f"soak: {counts['without_retry_after']} refusals of {kind} without Retry-After")
        strange = {status: count for status, count in counts["statuses"].items() if status not in ("200", "429", "503")}
        if strange:
            problems.append(f"soak: {kind} was answered {strange}; {counts['first_failure']}")
    if not is_flat(figures):
        problems.append("soak: memory grows")
    return problems
