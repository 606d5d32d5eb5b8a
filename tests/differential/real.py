"""Recorded data as datasets: each file's rows in the oracle's form, and what is worth asking. The folder's README lists the files."""

import csv
import datetime as dt
import glob
import gzip
import json
import os

import zones
from questions import Profile

COUNT = {"rows": {"agg": "count"}}


class Recorded:
    """A dataset with all its rows."""

    def __init__(self, name, kinds, metrics, dimensions, rows, sort=()):
        rows = [{"_project": "default", **row} for row in rows]
        times = [row["_us"] for row in rows]
        self.profile = Profile(name, kinds, {**COUNT, **metrics}, ("default",), [(min(times), max(times) + 1)])
        self.dimensions, self.rows, self.sort = dimensions, rows, list(sort)

    def definition(self, rollups):
        return {"time": "ts", "sort": self.sort, "columns": self.profile.kinds, "metrics": self.profile.metrics, "rollups": rollups}

    def rollup(self, random, name):
        """A random roll-up over the columns that are worth one."""
        dimensions = random.sample(self.dimensions, random.randint(0, min(3, len(self.dimensions))))
        names = sorted(self.profile.metrics)
        metrics = random.sample(names, random.randint(1, len(names)))
        return {"name": name, "dimensions": dimensions, "metrics": metrics, "tiers": random.choice((["1m", "5m", "1h", "1d"], ["1h"], ["5m", "1d"]))}


def datasets(folder):
    """All of them, in a fixed order."""
    return [make(folder) for make in (wiki, nasa, azure, moon, coffee, sensors)]


def text(folder, name):
    path = os.path.join(folder, name)
    with gzip.open(path, "rt", encoding="utf-8") if name.endswith(".gz") else open(path, encoding="utf-8", newline="") as file:
        return file.read()


def objects(folder, name):
    return [json.loads(line) for line in text(folder, name).splitlines() if line.strip()]


def plain_time(written):
    """A time without a zone, which is UTC; digits below a micro-second are cut."""
    head, _, fraction = written.partition(".")
    at = dt.datetime.fromisoformat(head.replace(" ", "T")) - zones.EPOCH
    return (at.days * 86_400 + at.seconds) * 1_000_000 + int((fraction + "000000")[:6])


def rename(row, kinds):
    return {name: row[name] for name in kinds if row.get(name) is not None}


def wiki(folder):
    texts = ("channel", "cityName", "comment", "countryIsoCode", "countryName", "namespace", "page", "regionName", "user")
    kinds = dict.fromkeys(texts, "string") | dict.fromkeys(("isAnonymous", "isMinor", "isNew", "isRobot", "isUnpatrolled"), "bool")
    kinds |= dict.fromkeys(("metroCode", "delta", "added", "deleted"), "int")
    rows = [{"_us": zones.parse(row["time"]), **rename(row, kinds)} for row in objects(folder, "web/wikiticker.ndjson.gz")]
    metrics = {
        "added": {"agg": "sum", "column": "added"}, "editors": {"agg": "uniq", "column": "user"},
        "mean_delta": {"agg": "avg", "column": "delta"}, "p95_added": {"agg": "p95", "column": "added"},
        "p10_delta": {"agg": "p10", "column": "delta"}, "last_page": {"agg": "last", "column": "page"},
        "robots": {"agg": "count", "filters": [["is", "isRobot", [True]]]}, "spread": {"agg": "stddev", "column": "delta"},
    }
    dimensions = ["channel", "isRobot", "namespace", "countryIsoCode", "isNew", "metroCode"]
    return Recorded("wiki", kinds, metrics, dimensions, rows, ["channel"])


def nasa(folder):
    kinds = dict.fromkeys(("host", "logname", "method", "url", "referer", "useragent"), "string") | dict.fromkeys(("response", "bytes"), "int")
    rows = []
    for line in csv.DictReader(text(folder, "web/nasa.tsv.gz").splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        row = {name: value for name, value in line.items() if name in kinds and value}
        row |= {name: int(row[name]) for name in ("response", "bytes") if name in row}
        rows.append({"_us": int(line["time"]) * 1_000_000, **row})
    metrics = {
        "hosts": {"agg": "uniq", "column": "host"}, "sent": {"agg": "sum", "column": "bytes"},
        "p95_bytes": {"agg": "p95", "column": "bytes"}, "largest": {"agg": "max", "column": "bytes"}, "pace": {"agg": "rate"},
        "errors": {"agg": "ratio", "numerator": {"agg": "count", "filters": [["gte", "response", 400]]}, "denominator": {"agg": "count"}},
    }
    return Recorded("nasa", kinds, metrics, ["method", "response"], rows)


def azure(folder):
    kinds = {"ContextTokens": "int", "GeneratedTokens": "int", "cost_usd": "money"}
    rows = []
    for line in csv.DictReader(text(folder, "llm/azure_code_2023.csv").splitlines()):
        context, generated = int(line["ContextTokens"]), int(line["GeneratedTokens"])
        cost = context * 2_500 + generated * 10_000
        rows.append({"_us": plain_time(line["TIMESTAMP"]), "ContextTokens": context, "GeneratedTokens": generated, "cost_usd": cost})
    metrics = {
        "cost": {"agg": "sum", "column": "cost_usd"}, "mean_cost": {"agg": "avg", "column": "cost_usd"},
        "p99_cost": {"agg": "p99", "column": "cost_usd"}, "p50_context": {"agg": "p50", "column": "ContextTokens"},
    }
    return Recorded("azure", kinds, metrics, [], rows)


def moon(folder):
    kinds = {"input_length": "int", "output_length": "int", "hash_ids": "strings"}
    rows = []
    for row in objects(folder, "llm/mooncake_conversation.jsonl.gz"):
        # Every row's list is short enough that all of them stay a quick question.
        row["hash_ids"] = [str(one) for one in row["hash_ids"][:8]]
        rows.append({"_us": (1_700_000_000_000 + row["timestamp"]) * 1_000, **rename(row, kinds)})
    metrics = {"input": {"agg": "sum", "column": "input_length"}, "p90_output": {"agg": "p90", "column": "output_length"},
               "blocks": {"agg": "uniq", "column": "hash_ids"}}
    return Recorded("moon", kinds, metrics, [], rows)


def coffee(folder):
    kinds = dict.fromkeys(("sceneID", "entityID", "beverageClass", "beverage", "beverageSide"), "string")
    kinds |= dict.fromkeys(("quadId", "beverageIndex", "quantity"), "int")
    rows = [{"_us": zones.parse(row["@timestamp"]), **rename(row, kinds)} for row in objects(folder, "machines/elasticoffee.ndjson.gz")]
    metrics = {"cups": {"agg": "sum", "column": "quantity"}, "first_drink": {"agg": "first", "column": "beverage"}}
    return Recorded("coffee", kinds, metrics, ["beverage", "beverageClass", "quadId", "entityID"], rows)


def sensors(folder):
    kinds, rows = {"sensor": "string", "value": "float"}, []
    for path in sorted(glob.glob(os.path.join(folder, "machines/nab/*.csv"))):
        name = os.path.splitext(os.path.basename(path))[0]
        for line in csv.DictReader(text(folder, path).splitlines()):
            rows.append({"_us": plain_time(line["timestamp"]), "sensor": name, "value": float(line["value"])})
    # Years of five-minute values: every sixth is enough to ask about.
    metrics = {
        "mean": {"agg": "avg", "column": "value"}, "top": {"agg": "max", "column": "value"}, "total": {"agg": "sum", "column": "value"},
        "spread": {"agg": "stddev", "column": "value"}, "p99": {"agg": "p99", "column": "value"},
    }
    return Recorded("sensors", kinds, metrics, ["sensor"], rows[::6])
