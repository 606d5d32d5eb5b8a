"""The phase that offers a server ten times the load that it sustains. Measures and records; report_soak.py judges."""

import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))
# What a client that sends rows adds to each, so that every request can be looked up at the end.
MARKS = {"sender": "string", "request": "int"}


def soak(bench):
    """Rows first, so that heavy questions are heavy; then the closed loop, and the open one at ten times its rate."""
    with bench.server("soak") as running:
        with open(os.path.join(HERE, "dataset.rollups.json")) as file:
            dataset = json.load(file)
        dataset["columns"].update(MARKS)
        running.request("PUT", "/api/v1/datasets/llm_traces", dataset)
        bench.client("ingest", *bench.target(running), "--rows", bench.soak_rows)
        load = ["--pid", running.process.pid, "--seconds", bench.soak_seconds, "--find-seconds", max(5, bench.soak_seconds // 8)]
        figures = bench.client("soak", *bench.target(running), *load, "--idle", bench.soak_idle)
        figures["rows_before"] = bench.soak_rows
        figures["rows_counted"] = running.count("llm_traces")
        figures["peak_rss_bytes"] = running.peak_rss_bytes()
        figures["refused"] = {
            reason: running.metric(f'tidewater_queries_refused_total{{reason="{reason}"}}')
            for reason in ("queue_full", "project_share", "waited_too_long", "memory")
        }
    with bench.server("soak", fresh=False) as running:
        # What was acknowledged is there after a restart too.
        figures["rows_counted_after_restart"] = running.count("llm_traces")
    bench.record("soak", figures)
