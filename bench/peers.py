#!/usr/bin/env python3
"""Loads the benchmark's NDJSON files into DuckDB or ClickHouse and asks the same questions.

Each engine runs inside this process with two threads and a durable insert; neither pays for HTTP, which
Tidewater does. Prints one JSON line. Does not compare anything: report.py does.

    bench/peers.py duckdb --files FOLDER --work FOLDER [--questions FOLDER] [--views] [--repeat 9] [--exact FILE]

A question is a JSON body for Tidewater and SQL for the peers, in which {start} and {end} stand for the body's range. With
--views ClickHouse also keeps the materialised views of views.py and answers NAME.view.sql from them.
"""

import argparse
import datetime
import glob
import importlib.util
import json
import os
import shutil
import statistics
import sys
import time

import views

THREADS = 2
HERE = os.path.dirname(os.path.abspath(__file__))

# The two expressions for which every engine has its own form. The quick form is each engine's fastest:
# DuckDB's quantile_disc (nearest-rank, as Tidewater's percentiles are) beats its approx_quantile, ClickHouse's
# default quantile (a reservoir of 8,192) beats its quantileDD. Exact forms are asked once, for the comparison.
FORMS = {
    "duckdb": {
        "quick": {"p95_duration": "quantile_disc(duration_ms, 0.95)", "uniq_user": 'approx_count_distinct("user")'},
        "exact": {"p95_duration": "quantile_disc(duration_ms, 0.95)", "uniq_user": 'count(DISTINCT "user")'},
    },
    "clickhouse": {
        "quick": {"p95_duration": "quantile(0.95)(duration_ms)", "uniq_user": 'uniq("user")'},
        "exact": {
            # ClickHouse has no nearest-rank quantile: quantileExactLow takes the next rank where 0.95 n is whole.
            "p95_duration": "arraySort(groupArray(duration_ms))[intDiv(95 * count() + 99, 100)]",
            "uniq_user": 'uniqExact("user")',
        },
    },
}


class DuckDB:
    """A native database file; the insert commits, the checkpoint rewrites it into its final form."""

    COLUMNS = {
        "ts": "TIMESTAMP", "project": "VARCHAR", "provider": "VARCHAR", "model": "VARCHAR", "user": "VARCHAR",
        "status": "VARCHAR", "input_tokens": "BIGINT", "output_tokens": "BIGINT", "duration_ms": "DOUBLE",
        "cost_usd": "DECIMAL(18,9)", "trace_id": "VARCHAR",
    }

    def __init__(self, folder):
        import duckdb

        os.makedirs(folder, exist_ok=True)
        self.db = duckdb.connect(os.path.join(folder, "traces.duckdb"))
        self.db.execute(f"SET threads = {THREADS}")
        self.version = duckdb.__version__

    def create(self):
        columns = ", ".join(f'"{name}" {kind}' for name, kind in self.COLUMNS.items())
        self.db.execute(f"CREATE TABLE traces ({columns})")

    def create_views(self):
        sys.exit("DuckDB has no materialised views")

    def insert(self, path):
        self.db.execute(
            f"INSERT INTO traces SELECT * FROM read_json('{path}', format = 'newline_delimited', columns = {self.COLUMNS})"
        )

    def settle(self):
        self.db.execute("CHECKPOINT")

    def wait_for_clean_up(self):
        """Nothing to wait for: the file has no second copy of the rows."""

    def timed(self, sql):
        """Seconds for the engine's own work, then rows as lists of text; turning them into text is not timed."""
        started = time.perf_counter()
        result = self.db.execute(sql)
        seconds = time.perf_counter() - started
        return seconds, [[str(value) for value in row] for row in result.fetchall()]

    def close(self):
        self.db.close()


class ClickHouse:
    """MergeTree with low-cardinality columns where ClickHouse's manual advises them (up to 10,000 values);
    measured, users are faster as plain strings too."""

    def __init__(self, folder):
        from chdb import session

        os.makedirs(folder, exist_ok=True)
        self.session = session.Session(folder)
        self.version = str(self.session.query("SELECT version()", "TabSeparated")).strip()
        self.session.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        self.session.query("USE bench")
        for name, value in {
            "max_threads": THREADS,
            "max_insert_threads": THREADS,
            "date_time_input_format": "'best_effort'",
            "output_format_json_quote_64bit_integers": 1,
            "output_format_json_quote_decimals": 1,
        }.items():
            self.session.query(f"SET {name} = {value}")

    def create(self):
        self.session.query(
            f"""CREATE TABLE traces (
                ts DateTime64(3, 'UTC'), project LowCardinality(String), provider LowCardinality(String),
                model LowCardinality(String), "user" String, status LowCardinality(String), input_tokens Int64,
                output_tokens Int64, duration_ms Float64, cost_usd Decimal(18, 9), trace_id String
            ) ENGINE = MergeTree ORDER BY (project, ts)
            SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, {views.CLEAN_UP_SOON}"""
        )

    def create_views(self):
        for statement in views.statements():
            self.session.query(statement)

    def insert(self, path):
        self.session.query(f"INSERT INTO traces SELECT * FROM file('{path}', 'JSONEachRow')")

    def settle(self):
        for table in str(self.session.query("SHOW TABLES WHERE NOT endsWith(name, '_of_traces')", "TSV")).split():
            self.session.query(f"OPTIMIZE TABLE {table} FINAL")

    def wait_for_clean_up(self):
        """Parts that were merged away stay on disk for a while; without them the size is what it will be."""
        deadline = time.time() + 600
        while time.time() < deadline:
            left = str(self.session.query("SELECT count() FROM system.parts WHERE database = 'bench' AND NOT active", "CSV"))
            if left.strip() == "0":
                return
            time.sleep(1)

    def timed(self, sql):
        started = time.perf_counter()
        text = str(self.session.query(sql, "JSONCompactEachRow"))
        seconds = time.perf_counter() - started
        return seconds, [[str(value) for value in json.loads(line)] for line in text.splitlines()]

    def close(self):
        self.session.close()


ENGINES = {"duckdb": ("duckdb", DuckDB), "clickhouse": ("chdb", ClickHouse)}


def folder_bytes(folder):
    return sum(
        os.lstat(os.path.join(root, name)).st_blocks * 512 for root, _, names in os.walk(folder) for name in names
    )


def questions(folder, form, kind="sql"):
    """Name, JSON body and SQL of every question; `kind` is the extension of the SQL."""
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path) as body, open(path[: -len("json")] + kind) as sql:
            body = json.load(body)
            start, end = (sql_time(instant) for instant in body["date_range"])
            yield os.path.basename(path)[: -len(".json")], body, sql.read().format(**form, start=start, end=end)


def sql_time(instant):
    """An RFC 3339 instant in UTC as an SQL literal."""
    return f"'{datetime.datetime.fromisoformat(instant).astimezone(datetime.timezone.utc):%Y-%m-%d %H:%M:%S}'"


def labelled(rows, dimensions):
    """Rows with time labels as Tidewater writes them."""
    for row in rows:
        for place, dimension in enumerate(dimensions):
            if dimension == "time:day":
                row[place] = row[place][:10]
            elif dimension.startswith("time:"):
                row[place] = row[place][:19].replace(" ", "T") + "Z"
    return rows


def load(engine, files, folder, with_views):
    engine.create()
    if with_views:
        engine.create_views()
    started = time.perf_counter()
    for path in files:
        engine.insert(path)
    acked_s = time.perf_counter() - started
    engine.settle()
    settled_s = time.perf_counter() - started
    engine.wait_for_clean_up()
    _, [[rows]] = engine.timed("SELECT count(*) FROM traces")
    size = folder_bytes(folder)
    return {
        "rows": int(rows), "acked_s": acked_s, "acked_rows_per_s": int(rows) / acked_s, "settled_s": settled_s,
        "disk_bytes": size, "disk_bytes_per_row": size / int(rows),
    }


def ask(engine, asked, repeat):
    """Figures and answers of every question; the first run warms up."""
    figures, answers = {}, {}
    for name, body, sql in asked:
        times = []
        for _ in range(repeat + 1):
            seconds, rows = engine.timed(sql)
            times.append(seconds * 1e3)
        timed = times[1:] or times
        figures[name] = {"min_ms": min(timed), "median_ms": statistics.median(timed), "rows": len(rows)}
        answers[name] = labelled(rows, body.get("dimensions", []))
    return figures, answers


def write(path, answers):
    if path:
        with open(path, "w") as out:
            json.dump(answers, out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--files", help="load the *.ndjson of this folder into an empty database")
    parser.add_argument("--work", required=True, help="the folder for the database")
    parser.add_argument("--add", help="insert this NDJSON file into the database that is there")
    parser.add_argument("--questions", default=os.path.join(HERE, "questions"), help="the folder of JSON bodies and SQL")
    parser.add_argument("--views", action="store_true", help="also answer from materialised views")
    parser.add_argument("--repeat", type=int, default=9, help="timed runs of each question; 0 asks nothing")
    parser.add_argument("--exact", help="write exact answers to this file")
    parser.add_argument("--view-answers", help="write the answers from views to this file")
    options = parser.parse_args()

    module, engine_class = ENGINES[options.engine]
    if importlib.util.find_spec(module) is None:
        sys.exit(f"{options.engine} is not measured: Python has no module '{module}' (pip install {module})")
    folder = os.path.join(options.work, options.engine)
    if options.files:
        shutil.rmtree(folder, ignore_errors=True)
    engine = engine_class(folder)
    figures = {"engine": options.engine, "version": engine.version}
    if options.files:
        files = sorted(glob.glob(os.path.join(options.files, "*.ndjson")))
        figures["ingest"] = load(engine, files, folder, options.views)
    if options.add:
        engine.insert(options.add)
    asked = lambda form, kind="sql": questions(options.questions, FORMS[options.engine][form], kind)
    if options.repeat:
        figures["questions"], _ = ask(engine, asked("quick"), options.repeat)
        if options.views:
            figures["views"], answers = ask(engine, asked("quick", "view.sql"), options.repeat)
            write(options.view_answers, answers)
    if options.exact:
        _, answers = ask(engine, asked("exact"), 0)
        write(options.exact, answers)
    engine.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
