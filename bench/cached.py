"""The phases that measure the answer cache: over HTTP beside a bare handler, in a mixed load, and by itself.

Measures and records; report_rollups.py judges.
"""

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time

import rollups
from server import ADMIN_KEY, free_port

HERE = os.path.dirname(os.path.abspath(__file__))
WRK_THREADS, WRK_CONNECTIONS = 2, 64
ASKED = "top_users"
# Ranges of the mixed load's questions beside the fixed one: words that move with the clock, as dashboards use them.
WORDS = ["24h", "7d", "30d"]
BARE_STARTS_WITHIN_S = 10


def cached_http(bench):
    """Requests a second of one cached question and of a bare handler that returns the same bytes, in turns."""
    if shutil.which("wrk") is None:
        print("cached-http is not measured: there is no wrk (apt-get install wrk)", file=sys.stderr)
        return
    rollups.load(bench)
    figures = {"ours": [], "bare": []}
    with rollups.server(bench, "rollups") as running:
        figures["x_cache"] = prepare(bench, running)
        with bare_handler(bench, "cached-answer.json", "/api/v1/query") as (url, _):
            for _ in range(3):
                figures["ours"].append(wrk(bench, running.url))
                figures["bare"].append(wrk(bench, url))
        figures["peak_rss_bytes"] = running.peak_rss_bytes()
    rate = lambda name: statistics.median(per_s(run) for run in figures[name])
    figures |= {"ours_per_s": rate("ours"), "bare_per_s": rate("bare"), "share": rate("ours") / rate("bare")}
    figures["errors"] = sum(run["errors"] for run in figures["ours"] + figures["bare"])
    bench.record("cached_http", figures)


def prepare(bench, running):
    """Writes the question and its answer where wrk and the bare handler read them; how a repeat is answered."""
    with open(os.path.join(rollups.QUESTIONS, f"{ASKED}.json")) as file:
        body = {**json.load(file), "dataset": "llm_traces"}
    with open(bench.path("cached-question.json"), "w") as file:
        json.dump(body, file)
    for _ in range(3):
        answer = running.request("POST", "/api/v1/query", body)
    with open(bench.path("cached-answer.json"), "wb") as file:
        file.write(answer)
    return running.last_headers.get("X-Cache")


def per_s(run):
    return run["requests"] / run["seconds"]


@contextlib.contextmanager
def bare_handler(bench, body, path):
    """Address and process id of a handler that answers every request to the path with the file's bytes."""
    address = ("127.0.0.1", free_port())
    url = f"http://{address[0]}:{address[1]}"
    arguments = ["bare", "--listen", f"{address[0]}:{address[1]}", "--body", bench.path(body), "--path", path]
    process = subprocess.Popen([bench.binary("tidewater-bench"), *arguments])
    try:
        deadline = time.monotonic() + BARE_STARTS_WITHIN_S
        while True:
            try:
                socket.create_connection(address, timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield url, process.pid
    finally:
        process.kill()
        process.wait()


def wrk(bench, url):
    """One run's totals."""
    load = ["-t", WRK_THREADS, "-c", WRK_CONNECTIONS, "-d", f"{bench.wrk_seconds}s", "-s", os.path.join(HERE, "cached.lua")]
    done = subprocess.run(
        ["wrk", *map(str, load), f"{url}/api/v1/query"], check=True, stdout=subprocess.PIPE,
        env={**os.environ, "BENCH_BODY": bench.path("cached-question.json"), "BENCH_KEY": ADMIN_KEY},
    )
    return json.loads(done.stdout.splitlines()[-1])


def dashboards(bench):
    """Twenty questions, sixteen people, rows coming in: the share of answers that came from the cache."""
    rollups.load(bench)
    folder = bench.path("questions-dashboards")
    write_dashboard_questions(folder)
    with rollups.server_on_copy(bench) as running:
        load = ["--questions", folder, "--clients", 16, "--seconds", bench.live_seconds]
        ingest = ["--ingest-rate", bench.live_rate // 10, "--row-times", "now"]
        figures = bench.client("dashboards", *bench.target(running), *load, *ingest)
        figures["peak_rss_bytes"] = running.peak_rss_bytes()
    bench.record("dashboards", figures)


def write_dashboard_questions(folder):
    """The five questions over their own ranges and over words."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for place, range_of in enumerate([None, *WORDS]):
        for name in rollups.NAMES:
            with open(os.path.join(rollups.QUESTIONS, f"{name}.json")) as file:
                body = json.load(file)
            if range_of:
                body["date_range"] = range_of
            with open(os.path.join(folder, f"{place}-{name}.json"), "w") as file:
                json.dump(body, file)


def cache_micro(bench):
    """The answer cache by itself."""
    bench.record("cache_micro", bench.client("cache-micro", "--seconds", min(2, bench.wrk_seconds)))
