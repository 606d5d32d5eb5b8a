"""From a question to its whole answer: the range it means, groups from the oracle, then fill, having, order and comparison."""

import datetime as dt
import re

import zones

DAY_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}$")
WORD = re.compile(r"(\d+)(d|h|m|mo)$")


class Range:
    """`[from, to)`; open-ended words have no `to` but a natural end. `step` leads to the period before."""

    def __init__(self, from_us, to_us, step, natural_us=None):
        self.from_us, self.to_us, self.step = from_us, to_us, step
        self.natural_us = to_us if natural_us is None else natural_us

    def seen(self, now_us):
        """The part that is not in the future."""
        return self.from_us, now_us if self.to_us is None else min(self.to_us, now_us)


class Answer:
    """`rows` are (cells, labels, metrics, compared metrics or None) in final order, before limit and offset."""

    def __init__(self, rows, totals):
        self.rows, self.totals = rows, totals


def instant(text, zone):
    if text.endswith("Z") or re.search(r"T.*[+-]\d\d:\d\d$", text):
        return zones.parse(text)
    return zones.instant_of(dt.datetime.fromisoformat(text), zone)


def resolve(date_range, zone, now_us, unit, first_row_us):
    """The range that a request states."""
    if isinstance(date_range, str):
        return resolve_word(date_range, zone, now_us, unit, first_row_us)
    low, high = date_range
    if DAY_TEXT.match(low):
        first, last = dt.date.fromisoformat(low), dt.date.fromisoformat(high)
        end = zones.day_start(last + dt.timedelta(days=1), zone)
        return Range(zones.day_start(first, zone), end, ("days", (last - first).days + 1))
    from_us, to_us = instant(low, zone), instant(high, zone)
    return Range(from_us, to_us, ("length", to_us - from_us))


def resolve_word(word, zone, now_us, unit, first_row_us):
    today = zones.local_of(now_us, zone).date()
    if word == "all":
        return Range(first_row_us, None, ("length", now_us - first_row_us), now_us)
    if word in ("day", "month", "year"):
        first = zones.period_first(today, word) if word != "day" else today
        months = {"month": 1, "year": 12}.get(word)
        if months is None:
            count, kind = 1, "d"
        else:
            end = zones.months_later(first, months)
            return Range(zones.day_start(first, zone), None, ("months", months), zones.day_start(end, zone))
    else:
        found = WORD.match(word)
        count, kind = int(found[1]), found[2]
    if kind == "d":
        first, end = today - dt.timedelta(days=count - 1), today + dt.timedelta(days=1)
        return Range(zones.day_start(first, zone), None, ("days", count), zones.day_start(end, zone))
    if kind == "mo":
        first = zones.months_later(today.replace(day=1), 1 - count)
        end = zones.months_later(first, count)
        return Range(zones.day_start(first, zone), None, ("months", count), zones.day_start(end, zone))
    length = count * (zones.HOUR if kind == "h" else zones.MINUTE)
    from_us = floor(now_us - length, unit or "minute", zone)
    return Range(from_us, None, ("length", length), now_us)


def floor(us, unit, zone):
    key = zones.key_of(us, unit, zones.offset_us(us, zone))
    return key[0] if isinstance(key, tuple) else zones.day_start(key, zone)


def earlier(us, step, zone):
    """An instant one step back: calendar steps keep the local time of day."""
    kind, count = step
    if kind == "length":
        return us - count
    local = zones.local_of(us, zone)
    date = local.date() - dt.timedelta(days=count) if kind == "days" else zones.months_later(local.date(), -count)
    return zones.instant_of(dt.datetime.combine(date, local.time()), zone)


def compared_range(compare, own, zone, now_us, unit):
    if compare == "previous_period":
        step = own.step
    elif compare == "year_over_year":
        step = ("months", 12)
    else:
        return resolve(compare, zone, now_us, unit, None)
    return Range(earlier(own.from_us, step, zone), earlier(own.natural_us, step, zone), own.step)


def is_time(name, kinds):
    return name not in kinds and (name == "time" or name.startswith("time:"))


def answer(asked, metrics, names, oracle, now_us):
    """The whole answer. `metrics` are written out, `names` are theirs in the answer."""
    zone, kinds = asked.get("timezone", "UTC"), oracle.kinds[asked["dataset"]]
    dimensions = asked.get("dimensions", [])
    place = next((at for at, name in enumerate(dimensions) if is_time(name, kinds)), None)
    unit = None if place is None else dimensions[place].partition(":")[2] or None
    first_us = oracle.first_row_us(asked["dataset"], asked["project"]) if asked["date_range"] == "all" else None
    own = resolve(asked["date_range"], zone, now_us, unit, now_us if first_us is None else first_us)
    if place is not None and unit is None:
        unit = zones.automatic_unit(own.from_us, own.natural_us)
        dimensions = [f"time:{unit}" if at == place else name for at, name in enumerate(dimensions)]

    def groups(of, with_dimensions):
        return oracle.groups(asked, of.from_us, of.to_us, metrics, with_dimensions, of.seen(now_us))

    found = groups(own, dimensions)
    totals = list(groups(own, []).cells.values())[0] if asked.get("include", {}).get("totals") else None
    if asked.get("include", {}).get("fill") and place is not None:
        fill(found, place, len(dimensions), lambda seconds: oracle.nothing(asked, metrics, seconds))
    compared = None
    if asked.get("compare") is not None:
        compared = groups(compared_range(asked["compare"], own, zone, now_us, unit), dimensions).cells
    rows = []
    for key, values in found.cells.items():
        if all(holds(part, names, values) for part in asked.get("having", [])):
            labels = [shown(cell, at == place, found, kinds.get(name)) for at, (name, cell) in enumerate(zip(dimensions, key))]
            rows.append((key, labels, values, None if compared is None else compared.get(key)))
    for index, is_metric, descending in reversed(order_keys(asked, dimensions, place, names)):
        sort(rows, index, is_metric, descending)
    return Answer(rows, totals)


def fill(found, place, width, nothing):
    """Adds buckets without rows to every series that has rows; a chart of time alone is one series, also without rows."""
    series = {()} if width == 1 else {key[:place] + key[place + 1:] for key in found.cells}
    for rest in series:
        for index, (_, seconds) in enumerate(found.buckets):
            key = rest[:place] + (index,) + rest[place:]
            if key not in found.cells:
                found.cells[key] = nothing(seconds)


def shown(cell, is_bucket, found, kind):
    """A dimension's cell as an answer writes it; money stays in units."""
    if is_bucket:
        return zones.label_of(found.buckets[cell][0])
    return ("money", cell) if kind == "money" and cell is not None else cell


def order_keys(asked, dimensions, place, names):
    """(index, whether a metric, whether descending), the most important first; every dimension is in it."""
    keys = []
    for name, direction in asked.get("order_by", []):
        if name in names:
            keys.append((names.index(name), True, direction == "desc"))
        else:
            at = next(at for at, known in enumerate(dimensions) if name == known or at == place and name.startswith("time"))
            keys.append((at, False, direction == "desc"))
    if not keys:
        keys.append((0, True, True) if place is None else (place, False, False))
    return keys + [(at, False, False) for at in range(len(dimensions))]


def sort(rows, index, is_metric, descending):
    """One stable pass; null last both ways, text by its bytes."""
    def cell(row):
        value = row[2][index].value if is_metric else row[0][index]
        return value.encode() if isinstance(value, str) else value

    nulls = [row for row in rows if cell(row) is None]
    others = [row for row in rows if cell(row) is not None]
    others.sort(key=cell, reverse=descending)
    rows[:] = others + nulls


def holds(part, names, values):
    """A condition of having over finished metrics; null is in no order and equals only null."""
    operator = part[0]
    if operator in ("and", "or"):
        return (all if operator == "and" else any)(holds(each, names, values) for each in part[1])
    if operator == "not":
        return not holds(part[1], names, values)
    number = values[names.index(part[1])].number()
    if operator == "exists":
        return number is not None
    if operator in ("is", "is_not"):
        return (number in part[2]) == (operator == "is")
    if number is None:
        return False
    wanted = part[2]
    return {"gt": number > wanted, "gte": number >= wanted, "lt": number < wanted, "lte": number <= wanted}[operator]
