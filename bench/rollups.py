"""The phases that measure roll-ups: questions cold, quiet and under ingest, growth, freshness, cost.

Every phase starts servers on folders of its own or on copies of the loaded one, which no phase changes.
Measures and records; report_rollups.py judges.
"""

import contextlib
import datetime
import glob
import json
import os
import shutil
import statistics
import subprocess

from server import Server

HERE = os.path.dirname(os.path.abspath(__file__))
QUESTIONS = os.path.join(HERE, "questions", "rollups")
NAMES = sorted(os.path.basename(path)[: -len(".json")] for path in glob.glob(os.path.join(QUESTIONS, "*.json")))
DAYS = 30
# The generated rows end here.
DATA_END = datetime.datetime(2026, 10, 31, tzinfo=datetime.timezone.utc)
# A restart must be cold: it answers nothing by itself before the first question comes.
NO_WARMING = {"TIDEWATER_CACHE__WARM_QUESTIONS_MAX": "0"}
# Nothing is kept of a question: each is asked as if it were the first one, of a process that has run for a while.
NO_PARTIALS = {"TIDEWATER_CACHE__PARTIALS_BYTES_MAX": "0"}
COLD_ASKS = 60
# A dataset with one row. A question over it wakes up threads and allocators, and fills no cache that counts.
WARM_UP_DATASET = "warm_up"


def rollups(bench):
    """The five questions on a settled store: first asks of fresh processes, then many asks."""
    load(bench)
    figures = {"cold": cold(bench), "no_partials": no_partials(bench)}
    with server(bench, "rollups") as running:
        target = bench.target(running)
        asking = ["--questions", QUESTIONS, "--times", bench.asks]
        # Once unmeasured, so that the partial caches hold what a dashboard's second minute finds there.
        bench.client("asks", *target, "--questions", QUESTIONS, "--times", 2, "--staleness-ms", 0)
        figures["computed"] = bench.client("asks", *target, *asking, "--staleness-ms", 0, "--vary")
        figures["cached"] = bench.client("asks", *target, *asking, "--answers", bench.path("answers-rollups"))
        figures["rows_found"] = running.count("llm_traces")
        figures["disk"] = running.disk()
        figures["peak_rss_bytes"] = running.peak_rss_bytes()
    bench.record("rollups", figures)


def rollups_live(bench):
    """The five questions in an open loop while rows come in; once as users ask, once with every answer computed."""
    load(bench)
    write_questions(bench, "questions-live", live_range)
    figures = {}
    for name, form in [("as_asked", []), ("computed", ["--staleness-ms", 0, "--vary"])]:
        record = bench.path(f"live-{name}.ndjson")
        with contextlib.suppress(FileNotFoundError):
            os.remove(record)
        with server_on_copy(bench) as running:
            load_of_asks = ["--rate", 10, "--seconds", bench.live_seconds, "--questions", bench.path("questions-live")]
            ingest = ["--ingest-rate", bench.live_rate, "--record", record]
            answers = ["--answers", bench.path(f"answers-live-{name}")]
            figures[name] = bench.client("asks", *bench.target(running), *load_of_asks, *ingest, *answers, *form)
            figures[name]["rows_found"] = running.count("llm_traces")
            figures[name]["rows_expected"] = bench.query_rows + figures[name]["ingest"]["rows"]
            figures[name]["peak_rss_bytes"] = running.peak_rss_bytes()
    bench.record("rollups_live", figures)


def rollups_peers(bench):
    """The same questions: both peers over raw rows, ClickHouse from views, and exact answers for both phases above."""
    figures = {}
    for engine in ["duckdb", "clickhouse"]:
        arguments = ["--questions", QUESTIONS, "--repeat", bench.repeat, "--exact", bench.path(f"exact-rollups-{engine}.json")]
        if engine == "clickhouse":
            arguments += ["--views", "--view-answers", bench.path("exact-rollups-views.json")]
        figures[engine] = bench.peer(engine, "peers-rollups", *arguments, files=bench.traces(bench.query_rows))
    shutil.rmtree(bench.path("peers-rollups", "clickhouse"))
    for name in ["as_asked", "computed"]:
        record = bench.path(f"live-{name}.ndjson")
        if os.path.exists(record):
            shutil.copytree(bench.path("peers-rollups"), bench.path("peers-live"))
            exact = ["--repeat", 0, "--exact", bench.path(f"exact-live-{name}.json")]
            bench.peer("duckdb", "peers-live", "--questions", bench.path("questions-live"), "--add", record, *exact)
            shutil.rmtree(bench.path("peers-live"))
    shutil.rmtree(bench.path("peers-rollups"))
    bench.record("rollups_peers", figures)


def cold(bench):
    """First asks: a fresh process each, files in the page cache. Milliseconds by question."""
    read_files(bench.path("data-rollups"))
    samples = {name: [] for name in NAMES}
    for _ in range(bench.restarts):
        for name in NAMES:
            samples[name].append(first_ask(bench, "rollups", QUESTIONS, name, "answers-cold"))
    return {name: summary(times) for name, times in samples.items()}


def no_partials(bench):
    """Computed answers of a running server whose partial cache holds nothing. Milliseconds by question."""
    with server(bench, "rollups", NO_PARTIALS) as running:
        target = bench.target(running)
        bench.client("asks", *target, "--questions", QUESTIONS, "--times", 2, "--staleness-ms", 0)
        asked = bench.client("asks", *target, "--questions", QUESTIONS, "--times", COLD_ASKS, "--staleness-ms", 0, "--vary")
    return {name: question["latency"] for name, question in asked["questions"].items()}


def summary(asks):
    """Of (milliseconds, source, warm-up milliseconds) of each restart."""
    times, sources, warm_ups = zip(*asks)
    return {
        "median_ms": statistics.median(times), "max_ms": max(times), "restarts": len(times),
        "warm_up_ms": statistics.median(warm_ups), "source": sources[-1],
    }


def first_ask(bench, data, questions, name, answers):
    with server(bench, data) as running:
        asked = bench.client(
            "asks", *bench.target(running), "--questions", questions, "--only", name, "--times", 1,
            "--warm-up", bench.path("warm-up.json"), "--answers", bench.path(answers),
        )
    figure = asked["questions"][name]
    return figure["latency"]["max_ms"], figure["source"], asked["warm_up_ms"]


def growth(bench):
    """The same rate kept for 3, 30 and 90 days, the same 3 days asked: cold and repeated."""
    write_questions(bench, "questions-growth", lambda start, end: (DATA_END - datetime.timedelta(days=3), DATA_END))
    questions = bench.path("questions-growth")
    folders = {days: load(bench, days) for days in (3, DAYS, 90)}
    first = {days: {name: [] for name in NAMES} for days in folders}
    repeated = {days: {name: [] for name in NAMES} for days in folders}
    # In turns, so that whatever else the machine does meets all sizes alike.
    for _ in range(bench.restarts):
        for days, folder in folders.items():
            read_files(bench.path(f"data-{folder}"))
            for name in NAMES:
                first[days][name].append(first_ask(bench, folder, questions, name, f"answers-growth-{days}"))
            with server(bench, folder) as running:
                form = ["--times", bench.asks // 5, "--staleness-ms", 0, "--vary"]
                asked = bench.client("asks", *bench.target(running), "--questions", questions, *form)
            for name, figure in asked["questions"].items():
                repeated[days][name].append(figure["latency"]["p50_ms"])
    bench.record("growth", {
        name: {
            str(days): {"cold": summary(first[days][name]), "repeated_ms": statistics.median(repeated[days][name])}
            for days in folders
        }
        for name in NAMES
    })


def freshness(bench):
    """From a row's acknowledgement until a question counts it, under ingest."""
    load(bench)
    with server_on_copy(bench) as running:
        load_of_rows = ["--ingest-rate", bench.live_rate, "--seconds", bench.live_seconds]
        figures = bench.client("freshness", *bench.target(running), *load_of_rows)
        figures["peak_rss_bytes"] = running.peak_rss_bytes()
    bench.record("freshness", figures)


def rollup_cost(bench):
    """Ingest with and without roll-ups, in turns; bytes of roll-ups beside raw rows."""
    runs = {"plain": [], "rollups": []}
    # Either goes first and last once, so that neither has the quieter half of the time.
    for name in ["plain", "rollups", "rollups", "plain"]:
        with bench.server(f"cost-{name}", env=bench.ingest_env) as running:
            create_dataset(running, "dataset.rollups.json" if name == "rollups" else "dataset.json")
            run = bench.client("ingest", *bench.target(running), "--files", bench.traces(bench.rows))
            run["rows_found"] = running.count("llm_traces")
            run["peak_rss_bytes"] = running.peak_rss_bytes()
            run["disk"] = running.disk()
        shutil.rmtree(bench.path(f"data-cost-{name}"))
        runs[name].append(run)
    rate = lambda name: statistics.mean(run["sealed_rows_per_s"] for run in runs[name])
    disk = runs["rollups"][-1]["disk"]
    bench.record("rollup_cost", {
        "plain_rows_per_s": rate("plain"), "rollups_rows_per_s": rate("rollups"),
        "cost": 1 - rate("rollups") / rate("plain"),
        "settled_s": {name: [run["settled_s"] for run in runs[name]] for name in runs},
        "raw_bytes": disk["segment_bytes"], "sidecar_bytes": disk["sidecar_bytes"],
        "sidecar_share": disk["sidecar_bytes"] / disk["segment_bytes"],
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs["rollups"]),
        "lost_rows": sum(run["accepted"] - run["rows_found"] for name in runs for run in runs[name]),
    })


def load(bench, days=DAYS):
    """The data folder's name after loading and settling the rows of so many days, where that has not been done yet."""
    rows = bench.query_rows * days // DAYS
    name = "rollups" if days == DAYS else f"rollups-{days}d"
    marker = bench.path(f"data-{name}.loaded")
    if os.path.exists(marker):
        with open(marker) as file:
            if file.read() == str(rows):
                return name
        os.remove(marker)
    with bench.server(name, env=bench.ingest_env) as running:
        create_dataset(running, "dataset.rollups.json")
        running.request("PUT", f"/api/v1/datasets/{WARM_UP_DATASET}", {"time": "ts", "columns": {"a": "string"}})
        running.request("POST", f"/api/v1/ingest/{WARM_UP_DATASET}", {"ts": "2026-10-30T00:00:00Z", "a": "a"})
        # The benchmark's files hold the rows of 30 days only; other sizes are the same rows a day.
        source = ["--files", bench.traces(rows)] if days == DAYS else ["--rows", rows, "--days", days]
        figures = bench.client("ingest", *bench.target(running), *source, "--at-rest")
        figures["peak_rss_bytes"] = running.peak_rss_bytes()
        figures["disk"] = running.disk()
    bench.record(f"load_{name}", figures)
    with open(bench.path("warm-up.json"), "w") as file:
        json.dump({"dataset": WARM_UP_DATASET, "date_range": "all", "metrics": [{"agg": "count"}], "dimensions": ["a"]}, file)
    with open(marker, "w") as file:
        file.write(str(rows))
    return name


def create_dataset(running, file_name):
    with open(os.path.join(HERE, file_name)) as file:
        running.request("PUT", "/api/v1/datasets/llm_traces", json.load(file))


@contextlib.contextmanager
def server(bench, name, env={}):
    """A server on a loaded folder that starts cold, whether or not this build can warm itself."""
    with bench.server(name, fresh=False, env=env | (NO_WARMING if can_warm(bench) else {})) as running:
        yield running


@contextlib.contextmanager
def server_on_copy(bench):
    """A server on a copy of the loaded folder, as users run it."""
    copy = bench.path("data-rollups-copy")
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run(["cp", "-a", "--reflink=auto", bench.path("data-rollups"), copy], check=True)
    with bench.server("rollups-copy", fresh=False) as running:
        yield running
    shutil.rmtree(copy)


def can_warm(bench):
    """Whether this build knows the setting; one that does not refuses to start with it."""
    if bench.warms is None:
        data = bench.path("data-probe")
        try:
            with Server(bench.binary("tidewater"), data, bench.path("server.log"), NO_WARMING):
                bench.warms = True
        except RuntimeError:
            bench.warms = False
        shutil.rmtree(data, ignore_errors=True)
    return bench.warms


def read_files(folder):
    """Brings a folder into the page cache."""
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def write_questions(bench, folder, new_range):
    """A copy of the questions, each with another range."""
    os.makedirs(bench.path(folder), exist_ok=True)
    for name in NAMES:
        with open(os.path.join(QUESTIONS, f"{name}.json")) as file:
            body = json.load(file)
        start, end = new_range(*(datetime.datetime.fromisoformat(instant) for instant in body["date_range"]))
        body["date_range"] = [f"{instant:%Y-%m-%dT%H:%M:%SZ}" for instant in (start, end)]
        if "time:minute" in body.get("dimensions", []):
            body["pagination"] = {"limit": 10_000}
        with open(bench.path(folder, f"{name}.json"), "w") as file:
            json.dump(body, file)
        shutil.copy(os.path.join(QUESTIONS, f"{name}.sql"), bench.path(folder))


def live_range(start, end):
    """As long as before, but so that it holds the rows that come in, which begin where the data ends."""
    ahead = datetime.timedelta(hours=2 if end - start < datetime.timedelta(days=1) else 24)
    return DATA_END + ahead - (end - start), DATA_END + ahead
