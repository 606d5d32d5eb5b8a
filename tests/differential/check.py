"""Holds an answer of the server to the oracle's, number by number. Knows the contract's bounds and no others."""

import copy
from decimal import Decimal

import zones

RELATIVE = 1e-9
ABSOLUTE = 1e-12
UNIQ_EXACT_MAX = 256
BOUNDS = {"uniq": Decimal("0.033"), "quantile": Decimal("0.01")}


def normalise(answer, asked, names):
    """An answer's rows as (dimensions, metrics), whatever their format."""
    if asked.get("format") != "objects":
        return [(row["dimensions"], row["metrics"]) for row in answer["results"]]
    dimensions = ["time" if name.startswith("time:") else name for name in asked["dimensions"]]
    return [([row[name] for name in dimensions], [row[name] for name in names]) for row in answer["results"]]


def bound_of(metric):
    """The largest error a metric may state, by its aggregates."""
    parts = [metric] if metric["agg"] != "ratio" else [metric["numerator"], metric["denominator"]]
    kinds = ["uniq" if part["agg"] == "uniq" else "quantile" for part in parts if part["agg"] == "uniq" or part["agg"][0] == "p"]
    return sum((BOUNDS[kind] for kind in kinds), Decimal(0))


def metric_fits(ours, theirs, stated, agg):
    """Whether a number of ours is what the oracle says, within the bound that the answer states."""
    value = theirs.value
    if value is None or ours is None:
        return value is None and ours is None
    if theirs.kind == "text":
        return ours == value
    if theirs.kind == "bool":
        return ours is value
    if theirs.kind == "time":
        return zones.parse(ours) == value
    if isinstance(ours, (str, bool)):
        return False
    if agg == "uniq" and value <= UNIQ_EXACT_MAX:
        stated = 0
    if theirs.kind in ("int", "money"):
        exact = Decimal(value) if theirs.kind == "int" else Decimal(value).scaleb(-9)
        if stated == 0:
            return Decimal(ours) == exact and (theirs.kind == "money" or isinstance(ours, int) or agg[0] == "p")
        return abs(Decimal(ours) - exact) <= abs(exact) * Decimal(stated) + Decimal(ABSOLUTE)
    allowed = max(RELATIVE, float(stated)) * max(abs(float(ours)), abs(value)) + theirs.slack + ABSOLUTE
    return abs(float(ours) - value) <= allowed


def cell_fits(ours, theirs):
    """Whether a dimension's cell is the oracle's."""
    if isinstance(theirs, tuple):
        return ours is not None and not isinstance(ours, (str, bool)) and Decimal(ours) == Decimal(theirs[1]).scaleb(-9)
    if isinstance(theirs, float):
        return isinstance(ours, (int, Decimal)) and float(ours) == theirs
    return type(ours) is type(theirs) and ours == theirs


def row_fault(ours, labels, values, stated, metrics):
    """What is wrong with one row, or None."""
    dimensions, cells = ours
    if len(dimensions) != len(labels) or not all(map(cell_fits, dimensions, labels)):
        return "other dimensions"
    for place, metric in enumerate(metrics):
        if not metric_fits(cells[place], values[place], stated[place], metric["agg"]):
            return f"metric {place} is {cells[place]}, not {values[place]}"
    return None


def difference(asked, metrics, names, answer, expected):
    """What is wrong with a page, in words, or None."""
    meta = answer["meta"]
    stated = meta["relative_error"]
    fault = quality_fault(asked, metrics, meta)
    if fault:
        return fault
    page = asked["pagination"]
    offset = page.get("offset", 0)
    wanted = expected.rows[offset:offset + page["limit"]]
    ours = normalise(answer, asked, names)
    if len(ours) != len(wanted):
        return f"{len(ours)} rows, not {len(wanted)}; first {ours[:1]} against {[row[1:3] for row in wanted[:1]]}"
    for at, (row, (_, labels, values, _)) in enumerate(zip(ours, wanted)):
        fault = row_fault(row, labels, values, stated, metrics)
        if fault:
            return f"row {at}: {fault}\n    ours   {row}\n    theirs {labels} {values}"
    if asked.get("include", {}).get("total_rows") and meta["total_rows"] != len(expected.rows):
        return f"total_rows {meta['total_rows']}, not {len(expected.rows)}"
    if expected.totals is not None:
        totals = answer["totals"]
        totals = [totals[name] for name in names] if asked.get("format") == "objects" else totals
        fault = row_fault(([], totals), [], expected.totals, stated, metrics)
        if fault:
            return f"totals: {fault}\n    ours   {answer['totals']}\n    theirs {expected.totals}"
    if asked.get("compare") is not None:
        entries = normalise({"results": answer["comparison"]}, asked, names)
        return comparison_fault(entries, wanted, stated, metrics)
    return None


def quality_fault(asked, metrics, meta):
    for metric, exact, stated in zip(metrics, meta["exact"], meta["relative_error"], strict=True):
        if exact != (stated == 0):
            return f"exact is {exact} and the error {stated}"
        if stated > bound_of(metric):
            return f"an error of {stated} for {metric['agg']}"
        if asked.get("exact") and not exact:
            return "asked to be exact, and is not"
    return None


def comparison_fault(comparison, wanted, stated, metrics):
    if len(comparison) != len(wanted):
        return f"{len(comparison)} compared rows, not {len(wanted)}"
    for at, (row, (_, labels, _, compared)) in enumerate(zip(comparison, wanted)):
        if compared is None:
            fault = None if all(cell is None for cell in row[1]) else "should be absent"
        else:
            fault = row_fault(row, labels, compared, stated, metrics)
        if fault:
            return f"compared row {at}: {fault}\n    ours   {row}\n    theirs {labels} {compared}"
    return None


def same(first, again):
    """What differs between two answers to one question over the same rows, or None; floats may differ in their last bits."""
    for member in ("results", "totals", "comparison"):
        if not equal(first.get(member), again.get(member)):
            return f"{member} changed:\n    first {short(first.get(member))}\n    again {short(again.get(member))}"
    for member in ("total_rows", "exact", "relative_error"):
        if first["meta"].get(member) != again["meta"].get(member):
            return f"meta.{member} changed: first {first['meta'].get(member)}, again {again['meta'].get(member)}"
    return None


def equal(one, other):
    if isinstance(one, (int, Decimal)) and isinstance(other, (int, Decimal)) and Decimal in (type(one), type(other)):
        return abs(one - other) <= Decimal(RELATIVE) * max(abs(one), abs(other)) + Decimal(ABSOLUTE)
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(equal(*pair) for pair in zip(one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    return one == other


def spoiled(answer, random):
    """A copy of an answer with something wrong in one row, beyond every bound; None where there is nothing to spoil."""
    wrong = copy.deepcopy(answer)
    rows = [row for row in wrong["results"] if "metrics" in row]
    if not rows:
        return None
    row = random.choice(rows)
    place = random.randrange(len(row["metrics"]))
    cell, way = row["metrics"][place], random.randrange(3)
    if way == 0:
        wrong["results"].remove(row)
    elif way == 1 and row["dimensions"]:
        at = random.randrange(len(row["dimensions"]))
        row["dimensions"][at] = "nowhere" if row["dimensions"][at] is None else None
    elif cell is None or isinstance(cell, (str, bool)):
        row["metrics"][place] = 1 if cell is None else None
    else:
        row["metrics"][place] = cell + 1 + abs(cell) / 10 if isinstance(cell, Decimal) else cell + 1 + abs(cell) // 10
    return wrong


def short(value):
    return str(value)[:1_000]
