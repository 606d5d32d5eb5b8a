"""The same questions, answered by DuckDB: one SQL statement per range gives the groups, a second one the totals; fill,
having, order and pages follow in plain Python. Written from the contract; shares nothing with the server.

A row's table holds `_project`, `_us` (micro-seconds), `_off_ZONE` (DuckDB's own offset of the zone, from ICU) and the
columns; money is an integer of 1e-9 units.
"""

import datetime as dt
import functools
import json
import math
import os
import tempfile
from fractions import Fraction

import duckdb
import zones
from filters import column_sql, condition, identifier, literal

SQL_TYPES = {
    "string": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "money": "BIGINT",
    "strings": "VARCHAR[]", "map": "MAP(VARCHAR, VARCHAR)",
}
MONEY = 10**9
# An answer may be from the tick before, and a question takes its time.
NOW_SLACK_S = 2.0


class Value:
    """A metric's exact value: `number` (or text, bool, instant, None) and how far rounding may carry an answer off."""

    __slots__ = ("kind", "value", "slack")

    def __init__(self, kind, value, slack=0.0):
        self.kind, self.value, self.slack = kind, value, slack

    def __repr__(self):
        return f"{self.value}" if self.kind != "money" else f"{self.value}e-9"

    def number(self):
        """For having and ratios; None for null."""
        if self.value is None or self.kind in ("text", "bool", "time"):
            return None
        return self.value / MONEY if self.kind == "money" else self.value


class Groups:
    """Every group of one range: its key (a bucket as its index) and its metrics."""

    def __init__(self, cells, buckets):
        self.cells, self.buckets = cells, buckets


class Oracle:
    """DuckDB in memory with the rows of all datasets."""

    def __init__(self, zone_names):
        self.db = duckdb.connect()
        self.db.execute("SET threads = 1")
        self.zones = zone_names
        self.kinds = {}
        self.statements = []

    def define(self, dataset, kinds):
        """A table for a dataset; `kinds` maps each column but time to its type."""
        self.kinds[dataset] = dict(kinds)
        columns = ["_project VARCHAR", "_us BIGINT"]
        columns += [f"{identifier('_off_' + zone)} BIGINT" for zone in self.zones]
        columns += [f"{identifier(name)} {SQL_TYPES[kind]}" for name, kind in kinds.items()]
        self.db.execute(f"CREATE TABLE {identifier(dataset)} ({', '.join(columns)})")

    def insert(self, dataset, rows):
        """Rows as objects with `_project`, `_us` and columns; money in units."""
        with tempfile.NamedTemporaryFile("w", suffix=".ndjson", delete=False) as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        types = {"_project": "VARCHAR", "_us": "BIGINT"}
        types |= {name: SQL_TYPES[kind] for name, kind in self.kinds[dataset].items()}
        columns = ", ".join(f"{identifier(name)}: '{kind}'" for name, kind in types.items())
        offsets = "".join(
            f", epoch_us(make_timestamptz(_us) AT TIME ZONE '{zone}') - _us AS {identifier('_off_' + zone)}"
            for zone in self.zones
        )
        source = f"read_json('{file.name}', format = 'newline_delimited', columns = {{{columns}}})"
        self.db.execute(f"INSERT INTO {identifier(dataset)} BY NAME SELECT *{offsets} FROM {source}")
        os.unlink(file.name)

    def delete(self, dataset, project, filters, from_us, to_us):
        """What `rows/delete` takes away; gives the number of rows."""
        where = self.where(dataset, project, filters, from_us, to_us, "UTC")
        return self.db.execute(f"DELETE FROM {identifier(dataset)} WHERE {where}").fetchone()[0]

    def where(self, dataset, project, filters, from_us, to_us, zone):
        parts = [f"_project = {literal(project)}", f"_us >= {from_us}"]
        parts += [] if to_us is None else [f"_us < {to_us}"]
        parts += [condition(part, self.kinds[dataset], zone) for part in filters]
        return " AND ".join(parts)

    def fetch(self, sql):
        self.statements.append(sql)
        return self.db.execute(sql).fetchall()

    def first_row_us(self, dataset, project):
        return self.fetch(f"SELECT min(_us) FROM {identifier(dataset)} WHERE _project = {literal(project)}")[0][0]

    def groups(self, asked, from_us, to_us, metrics, dimensions, limits):
        """All groups of a range. `limits` are the instants that its buckets and seconds stop at; where that is now, nobody
        knows it better than to `NOW_SLACK_S`."""
        kinds, zone = self.kinds[asked["dataset"]], asked.get("timezone", "UTC")
        where = self.where(
            asked["dataset"], asked.get("project", "default"), asked.get("filters", []), from_us, to_us, zone
        )
        source = f"SELECT * FROM {identifier(asked['dataset'])} WHERE {where}"
        keys, unit = [], None
        for place, name in enumerate(dimensions):
            if name.startswith("time:") and name not in kinds:
                unit = name.partition(":")[2]
                keys.append(bucket_sql(unit, zone))
            elif kinds.get(name) == "strings":
                column = identifier(name)
                elements = f"CASE WHEN len(coalesce({column}, [])) = 0 THEN [NULL] ELSE list_distinct({column}) END"
                source = f"SELECT *, unnest({elements}) AS _element_{place} FROM ({source})"
                keys.append(f"_element_{place}")
            else:
                keys.append(column_sql(name, kinds))
        measures = [measure(part, kinds, zone) for metric in metrics for part in metric_parts(metric)]
        columns = keys + [column for part in measures for column in part.columns]
        grouping = f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}" if keys else ""
        sql = f"SELECT {', '.join(columns)} FROM ({source}){grouping}"
        buckets = zones.buckets(*limits, unit, zone) if unit and limits[0] < limits[1] else []
        places = {key: index for index, (key, _) in enumerate(buckets)}
        whole = (limits[1] - limits[0]) / 1e6
        cells = {}
        for row in self.fetch(sql):
            key, seconds = [], whole
            for name, cell in zip(dimensions, row):
                if name.startswith("time:") and name not in kinds:
                    cell = places[bucket_key(cell, unit)]
                    seconds = buckets[cell][1]
                key.append(cell)
            loose_s = NOW_SLACK_S if to_us is None or to_us > limits[1] else 0.0
            cells[tuple(key)] = finish(metrics, measures, row[len(keys):], seconds, loose_s)
        return Groups(cells, buckets)

    def nothing(self, asked, metrics, seconds):
        """The metrics of a bucket without rows."""
        kinds, zone = self.kinds[asked["dataset"]], asked.get("timezone", "UTC")
        measures = [measure(part, kinds, zone) for metric in metrics for part in metric_parts(metric)]
        return finish(metrics, measures, [column for part in measures for column in part.empty], seconds, 0.0)


def bucket_sql(unit, zone):
    offset = identifier("_off_" + zone)
    if unit in zones.WIDTHS:
        width = zones.WIDTHS[unit]
        return f"{{'start': (_us + {offset}) // {width} * {width} - {offset}, 'offset': {offset}}}"
    return f"date_trunc('{unit}', make_timestamp(_us + {offset}))::DATE"


def bucket_key(cell, unit):
    if unit in zones.WIDTHS:
        return (cell["start"], cell["offset"])
    return cell if type(cell) is dt.date else cell.date()


def metric_parts(metric):
    """The plain aggregates of a metric, each with all filters that apply to it."""
    if metric["agg"] != "ratio":
        return [metric]
    own = metric.get("filters", [])
    parts = (metric["numerator"], metric["denominator"])
    return [{**part, "filters": own + part.get("filters", [])} for part in parts]


class Measure:
    """SQL columns of one aggregate, what they hold over no rows, and how they become its value."""

    def __init__(self, columns, empty, value):
        self.columns, self.empty, self.value = columns, empty, value


def measure(metric, kinds, zone):
    """One plain aggregate as SQL."""
    agg, name = metric["agg"], metric.get("column")
    conditions = [condition(part, kinds, zone) for part in metric.get("filters", [])]
    if name is None:
        kept = " AND ".join(conditions) or "true"
        return Measure([f"count(*) FILTER (WHERE {kept})"], [0], lambda n: Value("int", n))
    column, kind = column_sql(name, kinds), column_kind(name, kinds)
    kept = " AND ".join(conditions + [f"{column} IS NOT NULL"])
    over = lambda sql: f"{sql} FILTER (WHERE {kept})"  # noqa: E731
    if agg in ("sum", "rate", "avg", "stddev"):
        return moments(agg, column, kind, over)
    if agg == "uniq":
        if kind == "strings":
            sql = f"len(list_distinct(flatten(coalesce({over(f'list({column})')}, []))))"
        else:
            sql = over(f"count(DISTINCT {column})")
        return Measure([sql], [0], lambda n: Value("int", n))
    shown = {"string": "text"}.get(kind, kind)
    if agg in ("min", "max"):
        return Measure([over(f"{agg}({column})")], [None], lambda value: Value(shown, value))
    if agg in ("first", "last"):
        pick = "min" if agg == "first" else "max"
        sql = over(f"{pick}({{'us': _us, 'value': {column}}})")
        return Measure([sql], [None], lambda pair: Value(shown, pair and pair["value"]))
    thousandths = round(float(agg[1:]) * 10)
    rank = f"greatest(1, ({thousandths} * {over('count(*)')} + 999) // 1000)"
    sql = f"list_sort({over(f'list({column})')})[{rank}]"
    return Measure([sql], [None], lambda value: Value(shown, value))


def moments(agg, column, kind, over):
    """Sums, averages and deviations: integers exactly, floats with what their rounding may amount to."""
    if kind == "float":
        columns = [over("count(*)"), over(f"fsum({column})"), over(f"sum(abs({column}))"),
                   over(f"stddev_samp({column})"), over(f"max(abs({column}))")]
        finish_value = float_moments
    else:
        wide = f"{column}::HUGEINT"
        columns = [over("count(*)"), over(f"sum({wide})"), over(f"sum({wide} * {wide})")]
        finish_value = whole_moments
    return Measure(columns, [0] + [None] * (len(columns) - 1), functools.partial(finish_value, agg, kind))


def float_moments(agg, _kind, n, total, total_abs, deviation, largest):
    slack = 1e-14 * (total_abs or 0.0)
    if agg in ("sum", "rate"):
        return Value("float", total or 0.0, slack)
    if agg == "avg":
        return Value("float", total / n if n else None, slack / n if n else 0.0)
    return Value("float", deviation if n > 1 else None, 1e-12 * (largest or 0.0))


def whole_moments(agg, kind, n, total, squares):
    if agg in ("sum", "rate"):
        return Value(kind, total or 0)
    if agg == "avg":
        if n == 0:
            return Value(kind, None)
        mean = Fraction(total, n)
        # Python rounds fractions half to even, as the contract rounds money.
        return Value("money", round(mean)) if kind == "money" else Value("float", float(mean))
    if n < 2:
        return Value("float", None)
    deviation = math.sqrt(Fraction(squares * n - total * total, n * (n - 1)))
    return Value("float", deviation / MONEY if kind == "money" else deviation)


def finish(metrics, measures, cells, seconds, loose_s):
    """The metrics of one group from its SQL columns."""
    values, at, taken = [], 0, iter(measures)
    for metric in metrics:
        parts = []
        for _ in metric_parts(metric):
            part = next(taken)
            parts.append(part.value(*cells[at:at + len(part.columns)]))
            at += len(part.columns)
        if metric["agg"] == "ratio":
            parts = [ratio(*parts)]
        elif metric["agg"] == "rate":
            rate = parts[0].number() / seconds
            parts = [Value("float", rate, parts[0].slack / seconds + abs(rate) * loose_s / seconds)]
        values.append(parts[0])
    return values


def ratio(numerator, denominator):
    top, bottom = numerator.number(), denominator.number()
    if top is None or not bottom:
        return Value("float", None)
    return Value("float", top / bottom, numerator.slack / abs(bottom) + abs(top) * denominator.slack / bottom**2)


def column_kind(name, kinds):
    if name in kinds:
        return kinds[name]
    return "string" if "." in name else "time"
