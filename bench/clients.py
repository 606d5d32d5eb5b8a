"""The phases that measure a server under many clients: cached, computed and mixed load, steady load, and what every request costs.

Measures and records; report_clients.py judges.
"""

import contextlib
import datetime
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

import cached
import rollups
from server import ADMIN_KEY, cpu_seconds

HERE = os.path.dirname(os.path.abspath(__file__))
CACHED_CLIENTS, COMPUTED_CLIENTS, MIXED_CLIENTS, STEADY_CLIENTS = 100, 50, 200, 50
# Of the mixed load's clients, how many send rows; and the rows of one request, so that a fifth of about 2,000 requests a
# second brings 10,000 rows.
SENDERS = MIXED_CLIENTS // 5
MIXED_ROWS_PER_S, MIXED_ROWS_PER_REQUEST = 10_000, 25
# How long an asking client waits, on average: without any latency 160 of them ask 2,000 questions a second, and with the
# 400 requests of the senders a fifth is left before the load falls under 2,000.
MIXED_THINK_MS = 80
STEADY_ASKS_PER_S = 1_000
# Ranges of the computed load: each question shifted by so many days (or hours, where its range is below a day).
SHIFTS = 30
# The question that has a group for each of a hundred thousand users.
TOP_LIST = "top_users"


def clients_cached(bench):
    """Cached and covered questions, asked as fast as they are answered."""
    with rollups_server(bench, "rollups") as running:
        load = ["--questions", dashboard_questions(bench), "--clients", CACHED_CLIENTS, "--think-ms", 0]
        bench.record("clients_cached", measured(bench, running, load))


def clients_computed(bench):
    """Aggregations that the answer cache does not hold: another range, and another name for the last metric, each time. Once the four
    with few or some thousand groups, once with the top list over a hundred thousand users besides."""
    few = [name for name in rollups.NAMES if name != TOP_LIST]
    for record, names in [("clients_computed", few), ("clients_computed_top_list", rollups.NAMES)]:
        with rollups_server(bench, "rollups") as running:
            questions = shifted_questions(bench, names)
            load = ["--questions", questions, "--clients", COMPUTED_CLIENTS, "--think-ms", 0, "--skew", 0, "--computed"]
            bench.record(record, measured(bench, running, load))


def clients_mixed(bench):
    """Four fifths of the clients ask, one fifth sends rows with the clock's time."""
    rollups.load(bench)
    with rollups.server_on_copy(bench) as running:
        load = ["--questions", dashboard_questions(bench), "--clients", MIXED_CLIENTS - SENDERS, "--think-ms", MIXED_THINK_MS]
        rows = ["--ingest-rate", MIXED_ROWS_PER_S, "--rows-per-request", MIXED_ROWS_PER_REQUEST, "--senders", SENDERS, "--row-times", "now"]
        figures = measured(bench, running, [*load, *rows])
        figures["requests_per_s"] = figures["asks_per_s"] + figures["ingest"]["requests"] / bench.live_seconds
        figures["rows_found"] = running.count("llm_traces")
        figures["rows_expected"] = bench.query_rows + figures["ingest"]["rows"]
    bench.record("clients_mixed", figures)


def clients_steady(bench):
    """A thousand cached and covered questions a second, on a schedule: what they take of a core."""
    with rollups_server(bench, "rollups") as running:
        load = ["--questions", dashboard_questions(bench), "--clients", STEADY_CLIENTS, "--rate", STEADY_ASKS_PER_S]
        bench.record("clients_steady", measured(bench, running, load))


def request_cost(bench):
    """Requests a second of a route that does next to nothing (a list of no datasets), with key, limits and ids, beside a bare handler."""
    if shutil.which("wrk") is None:
        print("request-cost is not measured: there is no wrk (apt-get install wrk)", file=sys.stderr)
        return
    path = "/api/v1/datasets"
    figures = {"ours": [], "live": [], "bare": []}
    with bench.server("cost-of-requests") as running:
        with open(bench.path("cheap-answer.json"), "wb") as file:
            file.write(running.request("GET", path))
        with cached.bare_handler(bench, "cheap-answer.json", path) as (url, bare):
            for _ in range(3):
                figures["ours"].append(wrk_get(bench, running.url + path, running.process.pid))
                figures["live"].append(wrk_get(bench, running.url + "/health/live", running.process.pid))
                figures["bare"].append(wrk_get(bench, url + path, bare))
        figures["peak_rss_bytes"] = running.peak_rss_bytes()
    shutil.rmtree(bench.path("data-cost-of-requests"))
    # Pairs that ran one after the other share what else the machine did.
    for name in ("ours", "live"):
        shares = sorted(cached.per_s(mine) / cached.per_s(bare) for mine, bare in zip(figures[name], figures["bare"]))
        figures[f"{name}_share"] = shares[len(shares) // 2]
    # Whatever else the machine does disturbs processor time less than requests a second.
    for name in ("ours", "live", "bare"):
        figures[f"{name}_cpu_us"] = statistics.median(run["cpu_us"] for run in figures[name])
    figures["errors"] = sum(run["errors"] for name in ("ours", "live", "bare") for run in figures[name])
    bench.record("request_cost", figures)


def wrk_get(bench, url, pid):
    """One run's totals, with the processor time a request took of the process that answered."""
    load = ["-t", cached.WRK_THREADS, "-c", cached.WRK_CONNECTIONS, "-d", f"{bench.wrk_seconds}s", "-s", os.path.join(HERE, "get.lua")]
    before = cpu_seconds(pid)
    done = subprocess.run(
        ["wrk", *map(str, load), url], check=True, stdout=subprocess.PIPE, env={**os.environ, "BENCH_KEY": ADMIN_KEY},
    )
    run = json.loads(done.stdout.splitlines()[-1])
    return {**run, "cpu_us": 1e6 * (cpu_seconds(pid) - before) / run["requests"]}


def measured(bench, running, load):
    """One run of the client after a short one that is not counted; with the server's processor time and memory."""
    short = ["--seconds", 2]
    without_rows = load[: load.index("--ingest-rate")] if "--ingest-rate" in load else load
    bench.client("dashboards", *bench.target(running), *without_rows, *short)
    cpu, started = running.cpu_seconds(), time.perf_counter()
    figures = bench.client("dashboards", *bench.target(running), *load, "--seconds", bench.live_seconds)
    figures["server_cores"] = (running.cpu_seconds() - cpu) / (time.perf_counter() - started)
    figures["peak_rss_bytes"] = running.peak_rss_bytes()
    return figures


@contextlib.contextmanager
def rollups_server(bench, name):
    rollups.load(bench)
    with rollups.server(bench, name) as running:
        yield running


def dashboard_questions(bench):
    """The folder of twenty questions: fixed ranges, and ranges that move with the clock."""
    folder = bench.path("questions-dashboards")
    cached.write_dashboard_questions(folder)
    return folder


def shifted_questions(bench, names):
    """The folder of these questions, each over every shifted range."""
    folder = bench.path("questions-shifted")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for name in names:
        with open(os.path.join(rollups.QUESTIONS, f"{name}.json")) as file:
            body = json.load(file)
        start, end = (datetime.datetime.fromisoformat(instant) for instant in body["date_range"])
        step = datetime.timedelta(days=1) if end - start >= datetime.timedelta(days=1) else datetime.timedelta(hours=1)
        for shift in range(SHIFTS):
            body["date_range"] = [f"{instant - shift * step:%Y-%m-%dT%H:%M:%SZ}" for instant in (start, end)]
            with open(os.path.join(folder, f"{name}-{shift:02}.json"), "w") as file:
                json.dump(body, file)
    return folder
