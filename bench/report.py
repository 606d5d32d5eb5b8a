"""Turns the figures of a run into a table and holds the answers against exact ones. Measures nothing."""

import json
import os
from decimal import Decimal

import report_clients
import report_rollups
import report_soak

# The targets, and the bounds that API.md states for approximate metrics.
SHUFFLED_SHARE_MIN = 0.40
FILES_MAX = 300
SINGLE_P99_MS_MAX = 25
QUESTION_RATIO_MAX = 1.5
BYTES_PER_ROW_MAX = 46
PEAK_RSS_BYTES_MAX = 512 * 1024 * 1024
REPLAY_S_MAX = 2
COLD_BUILD_S_MAX = 600
PERCENTILE_ERROR_MAX = Decimal("0.01")
UNIQ_ERROR_MAX = Decimal("0.033")
# Averages of floats: the order of additions differs, and the peers' own rounding is in it.
FLOAT_ERROR_MAX = Decimal("1e-9")
# ClickHouse's views hold sketches of their own; what is compared of them is what is exact.
SKETCHES = ("uniq", "p95")


def show(results, work, questions):
    """Prints the table; returns whether every answer that could be compared agrees."""
    lines = [("figure", "Tidewater", "DuckDB", "ClickHouse", "ratio", "target", "met")]
    for section in [ingest_lines, single_lines, question_lines, size_lines, replay_lines, build_lines]:
        lines += section(results)
    for section in report_rollups.sections():
        lines += section(results, line)
    lines += report_clients.lines(results, line)
    lines += report_soak.lines(results, line)
    widths = [max(map(len, column)) for column in zip(*lines)]
    for name, *cells in lines:
        print("  ".join([name.ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(cells, widths[1:])]))
    problems = losses(results) + report_rollups.losses(results) + report_clients.losses(results) + report_soak.losses(results)
    for engine in ["duckdb", "clickhouse"]:
        problems += compare(os.path.join(work, "answers"), questions, os.path.join(work, f"exact-{engine}.json"), engine)
    for answers, asked, exact, whose in report_rollups.comparisons(results, work, os.path.dirname(questions)):
        problems += compare(answers, asked, exact, whose)
    for problem in problems:
        print(f"WRONG: {problem}")
    return not problems


def line(name, ours, duckdb="", clickhouse="", ratio="", target="", met=None):
    return (name, ours, duckdb, clickhouse, ratio, target, "" if met is None else "yes" if met else "NO")


def pick(results, *path):
    """A figure by its path, or None where its phase has not run."""
    for key in path:
        results = results.get(key) if isinstance(results, dict) else None
    return results


def text(value, form):
    return "-" if value is None else form.format(value)


def ratio_to(ours, peer):
    return ours / peer if ours and peer else None


def ingest_lines(results):
    thousand = lambda rate: "-" if rate is None else f"{rate / 1e3:,.0f}k"
    peers = [pick(results, engine, "ingest", "acked_rows_per_s") for engine in ("duckdb", "clickhouse")]
    for phase, name in [
        ("ingest", "ingest, in time order"),
        ("ingest_with_id", "ingest, with ids"),
        ("shuffled", "ingest, shuffled"),
    ]:
        ours = pick(results, phase, "sealed_rows_per_s")
        if ours is None:
            continue
        ratio = ratio_to(ours, peers[1])
        target, met = "", None
        if phase == "ingest":
            target, met = "≥ 1 × ClickHouse", ratio and ratio >= 1
        elif phase == "shuffled" and pick(results, "ingest", "sealed_rows_per_s"):
            share = ours / results["ingest"]["sealed_rows_per_s"]
            target, met = f"≥ {SHUFFLED_SHARE_MIN} of ordered: {share:.2f}", share >= SHUFFLED_SHARE_MIN
        yield line(f"{name}, rows/s sealed", thousand(ours), *map(thousand, peers), text(ratio, "{:.2f}×"), target, met)
    files = pick(results, "shuffled", "disk", "files")
    if files is not None:
        yield line("files after shuffled", str(files), target=f"≤ {FILES_MAX}", met=files <= FILES_MAX)


def single_lines(results):
    single = results.get("single")
    if single:
        p99 = single["latency"]["p99_ms"]
        yield line("single events, p99", f"{p99:.1f} ms", target=f"≤ {SINGLE_P99_MS_MAX} ms", met=p99 <= SINGLE_P99_MS_MAX)
        fdatasync = f"({single['fdatasync']['p50_ms']:.1f} ms each)"
        yield line("  in fdatasync p50", f"{single['p99_in_fdatasyncs']:.1f}", target=fdatasync)
        yield line("  errors", str(single["errors"]), target="0", met=single["errors"] == 0)


def question_lines(results):
    """Medians; the ratio is to the faster peer."""
    for name, ours in (pick(results, "queries", "questions") or {}).items():
        peers = [pick(results, engine, "questions", name, "median_ms") for engine in ("duckdb", "clickhouse")]
        ratio = ratio_to(ours["median_ms"], min((peer for peer in peers if peer), default=None))
        cells = [text(value, "{:.1f} ms") for value in (ours["median_ms"], *peers)]
        met = None if ratio is None else ratio <= QUESTION_RATIO_MAX
        yield line(name, *cells, text(ratio, "{:.2f}×"), f"≤ {QUESTION_RATIO_MAX} × faster", met)


def size_lines(results):
    disk, rows = pick(results, "queries", "disk", "bytes"), pick(results, "queries", "rows_found")
    if disk and rows:
        peers = [pick(results, engine, "load", "disk_bytes_per_row") for engine in ("duckdb", "clickhouse")]
        cells = [text(value, "{:.1f}") for value in (disk / rows, *peers)]
        ratio = text(ratio_to(disk / rows, peers[1]), "{:.2f}×")
        yield line("bytes a row on disk", *cells, ratio, f"≤ {BYTES_PER_ROW_MAX}", disk / rows <= BYTES_PER_ROW_MAX)
    peaks = [phase["peak_rss_bytes"] for phase in results.values() if isinstance(phase, dict) and "peak_rss_bytes" in phase]
    if peaks:
        target, met = f"≤ {PEAK_RSS_BYTES_MAX >> 20} MB", max(peaks) <= PEAK_RSS_BYTES_MAX
        yield line("peak memory (VmHWM)", f"{max(peaks) / 2**20:.0f} MB", target=target, met=met)


def replay_lines(results):
    replay = results.get("replay")
    if replay:
        name = f"replay of {replay['rows_in_log_only'] or 0:,.0f} rows, restart to ready"
        seconds = replay["restart_to_ready_s"]
        yield line(name, f"{seconds:.2f} s", target=f"≤ {REPLAY_S_MAX} s", met=seconds <= REPLAY_S_MAX)


def build_lines(results):
    seconds = pick(results, "cold_build", "seconds")
    if seconds:
        target, met = f"≤ {COLD_BUILD_S_MAX / 60:.0f} min", seconds <= COLD_BUILD_S_MAX
        yield line("cold release build", f"{seconds / 60:.1f} min", target=target, met=met)


def losses(results):
    """Phases after which a count does not equal what was acknowledged."""
    problems = []
    for phase in ["ingest", "ingest_with_id", "shuffled", "single", "replay"]:
        figures = results.get(phase) or {}
        acknowledged = figures.get("accepted", figures.get("rows"))
        if figures and figures["rows_found"] != acknowledged:
            problems.append(f"{phase}: {acknowledged} rows acknowledged, {figures['rows_found']} found")
    return problems


def compare(answers, questions, exact, whose):
    """What differs between our answers and exact ones: counts and sums not at all, sketches within their bound."""
    if not (os.path.exists(exact) and os.path.isdir(answers)):
        return []
    problems = []
    for name, rows in sorted(load(exact).items()):
        body = load(os.path.join(questions, f"{name}.json"))
        answer = load(os.path.join(answers, f"{name}.json"))
        ours = [row.get("dimensions", []) + row["metrics"] for row in answer["results"]]
        found = differences(body, ours, rows, without=SKETCHES if "views" in whose else ())
        said = "equal" if not found else f"{len(found)} differences"
        print(f"answers, {name} of {os.path.basename(answers)} against {whose}: {said}")
        problems += [f"{name}, {whose}: {difference}" for difference in found[:5]]
    return problems


def load(path):
    with open(path) as file:
        return json.load(file, parse_float=Decimal)


def differences(body, ours, exact, without=()):
    """Of rows by their dimensions, in any order; metrics of the kinds in `without` are left out."""
    dimensions = len(body.get("dimensions", []))
    by_key = lambda rows: {tuple(row[:dimensions]): row[dimensions:] for row in rows}
    ours, exact = by_key(ours), by_key(exact)
    found = [f"{key} is missing" for key in exact.keys() - ours.keys()]
    found += [f"{key} should not be there" for key in ours.keys() - exact.keys()]
    for key in exact.keys() & ours.keys():
        if len(ours[key]) != len(body["metrics"]):
            found.append(f"{key} has {len(ours[key])} metrics, {len(body['metrics'])} were asked for")
            continue
        for metric, mine, true in zip(body["metrics"], ours[key], exact[key]):
            if metric["agg"] in without:
                continue
            mine, true = Decimal(str(mine)), Decimal(true)
            if abs(mine - true) > error_max(metric["agg"]) * abs(true):
                found.append(f"{metric['as']} of {key} is {mine}, exactly {true}")
    return found


def error_max(aggregate):
    if aggregate == "uniq":
        return UNIQ_ERROR_MAX
    if aggregate == "avg":
        return FLOAT_ERROR_MAX
    return PERCENTILE_ERROR_MAX if aggregate[0] == "p" and aggregate[1:].isdigit() else Decimal(0)
