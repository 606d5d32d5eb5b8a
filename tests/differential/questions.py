"""Random questions about a dataset: half of them of shapes that a declared roll-up covers, half of any shape.

Kept to what has one right answer: having and order look only at metrics that both sides compute to the last bit.
"""

import stages
import zones

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns")
FILL_BUCKETS_MAX = 400
# Numeric filters, deviations and sums have one right answer for these.
NUMBERS = ("int", "float", "money")
# Open-ended ranges. What moves with every moment (a rate, the range before a rolling one) is not asked of them.
WORDS = ("day", "month", "year", "2d", "7d", "30d", "6mo", "12mo", "30h", "48h", "90m")
CALENDAR_WORDS = ("day", "month", "year", "2d", "7d", "30d", "6mo", "12mo")
PERCENTILES = ("p1", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p99.9", "p100")


class Profile:
    """What a generator must know of a dataset: its columns with sample values, its spans of time, its roll-ups."""

    def __init__(self, name, kinds, metrics, projects, spans):
        self.name, self.kinds, self.metrics = name, kinds, metrics
        self.projects, self.spans = projects, spans
        self.rollups = []
        self.samples = {}
        # Whether rows reach up to now, so that words like `7d` find some.
        self.is_recent = False
        # After so many days raw rows are gone, and a question may have no answer.
        self.raw_days = None

    def learn(self, rows):
        """Keeps sample values of each column, of maps by key; few-valued columns are worth grouping by."""
        for row in rows:
            for name, value in row.items():
                if name in ("_project", "_us"):
                    continue
                if self.kinds[name] == "map":
                    for key, text in (value or {}).items():
                        self.samples.setdefault(f"{name}.{key}", {})[text] = None
                elif self.kinds[name] == "strings":
                    self.samples.setdefault(name, {}).update(dict.fromkeys(value or []))
                elif value is not None:
                    self.samples.setdefault(name, {})[value] = None
        self.columns = sorted(self.samples)
        self.listed = {name: list(values)[:4_000] for name, values in self.samples.items()}

    def kind(self, name):
        return self.kinds.get(name, "string")

    def cardinality(self, name):
        return len(self.samples.get(name, ())) + 1


class Generator:
    """One stream of questions about one dataset."""

    def __init__(self, random, profile):
        self.random, self.profile = random, profile

    def chance(self, percent):
        return self.random.random() * 100 < percent

    def question(self):
        """The question, and whether a declared roll-up has all it needs."""
        rollups = self.profile.rollups
        rollup = self.random.choice(rollups) if rollups and self.chance(55) else None
        asked = {"dataset": self.profile.name, "project": self.random.choice(self.profile.projects)}
        if self.chance(75):
            asked["timezone"] = self.random.choice(ZONES)
        exact = asked["exact"] = self.chance(30)
        if not exact and self.chance(60):
            del asked["exact"]
        usable = rollup["dimensions"] if rollup else self.profile.columns
        asked["metrics"] = self.metrics(rollup, usable)
        time = self.time_dimension() if self.chance(60) else None
        asked["date_range"] = self.date_range(time, rollup, asked.get("timezone", "UTC"))
        if asked["date_range"] in WORDS:
            asked["metrics"] = [metric for metric in asked["metrics"] if self.definition(metric)["agg"] != "rate"] or [{"agg": "count", "as": "n"}]
        others = self.others(usable, bool(time) and isinstance(asked["date_range"], str))
        asked["dimensions"] = self.random.sample(others + ([time] if time else []), len(others) + bool(time))
        # An answer has no two columns of one name.
        asked["metrics"] = [metric for metric in asked["metrics"] if self.name(metric) not in others] or [{"agg": "count", "as": "n"}]
        if self.chance(50):
            asked["filters"] = [self.filter(usable, 2) for _ in range(self.random.randint(1, 2))]
        asked["include"] = {name: True for name in ("totals", "total_rows") if self.chance(45)}
        # Rarely: an explained answer is always computed.
        if self.chance(5):
            asked["include"]["explain"] = True
        self.extras(asked, time, others)
        self.order(asked, exact)
        return asked, rollup is not None

    def variant(self, asked):
        """An earlier question once more, or the same over another range, as a dashboard asks it."""
        if self.chance(50):
            return asked
        time = next((name for name in asked["dimensions"] if name.startswith("time")), None)
        moved = {**asked, "date_range": self.date_range(time, None, asked.get("timezone", "UTC"))}
        if isinstance(moved["date_range"], str):
            return asked
        moved["include"] = {name: True for name in asked["include"] if name != "fill"}
        return moved

    def others(self, usable, few):
        """Grouping columns; their combinations stay within what an answer may hold."""
        names, budget = [], 300 if few else 20_000
        for name in self.random.sample(list(usable), min(len(usable), self.random.choice((0, 1, 1, 2, 2, 3)))):
            if self.profile.cardinality(name) <= budget:
                budget //= self.profile.cardinality(name)
                names.append(name)
        return names

    def time_dimension(self):
        units = ("hour", "hour", "hour", "day", "day", "day", "week", "month", "year", "minute", "5m", "15m", "30m")
        return "time" if self.chance(8) else "time:" + self.random.choice(units)

    def date_range(self, time, rollup, zone):
        """A range where rows are: whole days, whole hours, ragged; some with an end that is still to come."""
        low, high = self.random.choice(self.profile.spans)
        kind = self.random.random()
        # Of rows that expire nobody says which was the first.
        if kind < 0.06 and self.profile.raw_days is None and time not in ("time", "time:minute", "time:5m"):
            return "all"
        if kind < 0.14 and self.profile.is_recent and time not in ("time", "time:minute", "time:5m"):
            return self.random.choice(WORDS)
        if kind < 0.30:
            first = zones.local_of(self.random.randint(low, high), zone).date()
            days = self.random.choice((1, 1, 2, 3, 7)) if time != "time:minute" else 1
            return [first.isoformat(), (first + zones.dt.timedelta(days=days - 1)).isoformat()]
        grid = zones.HOUR if kind < 0.55 else zones.MINUTE * self.random.choice((1, 5, 15, 30)) if kind < 0.85 else 1
        length = self.random.choice((1, 3, 6, 24, 48, 72)) * zones.HOUR
        if time == "time:minute":
            length = min(length, 6 * zones.HOUR)
        elif self.chance(20):
            low, high = min(span[0] for span in self.profile.spans), max(span[1] for span in self.profile.spans)
            length = high - low if time not in ("time", "time:5m") else length
        from_us = self.random.randint(low - zones.HOUR, high) // grid * grid
        length += 0 if grid == zones.HOUR else self.random.randint(0, zones.HOUR) // grid * grid
        return [self.written(from_us, zone), self.written(from_us + length, zone)]

    def written(self, us, zone):
        """An instant in UTC, with an offset, or as the zone's local time."""
        form = self.random.random()
        if form < 0.7:
            return zones.rfc3339(us)
        offset = zones.offset_us(us, zone)
        local = (zones.EPOCH + zones.dt.timedelta(microseconds=us + offset)).isoformat()
        # Of a repeated local time only the first is what the text says.
        if form < 0.85 and zones.instant_of(zones.dt.datetime.fromisoformat(local), zone) == us:
            return local
        sign, minutes = "-" if offset < 0 else "+", abs(offset) // zones.MINUTE
        return f"{local}{sign}{minutes // 60:02}:{minutes % 60:02}"

    # Metrics

    def metrics(self, rollup, usable):
        count = self.random.choice((1, 1, 2, 3, 4))
        if rollup:
            # Now and then some metrics are in this roll-up and others in another one, or in none.
            known = rollup["metrics"] if self.chance(75) else sorted(self.profile.metrics)
            names = self.random.sample(known, min(count, len(known)))
            # A roll-up keeps expressions, not names: the same metric written out is the same question.
            return [self.written_out(name, usable) if self.chance(30) else name for name in names]
        named = list(self.profile.metrics)
        chosen = self.random.sample(named, min(len(named), self.random.choice((0, 0, 1))))
        return chosen + [self.metric(usable, f"m{place}") for place in range(count)]

    def written_out(self, name, usable):
        metric = {**self.profile.metrics[name], "as": f"same_{name}"}
        if usable and self.chance(25):
            metric["filters"] = metric.get("filters", []) + [self.filter(usable, 1)]
        return metric

    def column_of(self, kinds):
        names = [name for name in self.profile.columns if self.profile.kind(name) in kinds]
        return self.random.choice(names) if names else None

    def metric(self, usable, name):
        metric = {"agg": "count"}
        number = self.column_of(NUMBERS)
        choice = self.random.randrange(10)
        if choice == 0:
            metric = {"agg": "ratio", "numerator": self.part(number), "denominator": self.part(number)}
        elif choice == 1:
            metric = {"agg": "rate"} | ({"column": number} if number and self.chance(50) else {})
        elif choice == 2:
            metric = {"agg": "uniq", "column": self.random.choice(self.profile.columns)}
        elif choice == 3 and self.column_of(("string", "bool", *NUMBERS)) and self.chance(85):
            column = self.column_of(("string", "bool", *NUMBERS))
            metric = {"agg": self.random.choice(("first", "last", "min", "max")), "column": column}
        elif choice == 3:
            metric = {"agg": self.random.choice(("min", "max")), "column": "ts"}
        elif choice in (4, 5) and number:
            metric = {"agg": self.random.choice(PERCENTILES), "column": number}
        elif choice >= 6 and number:
            metric = {"agg": self.random.choice(("sum", "sum", "avg", "stddev", "min", "max")), "column": number}
        if self.chance(30):
            metric["filters"] = [self.filter(usable, 1) for _ in range(self.random.randint(1, 2))]
        return {**metric, "as": name}

    def part(self, number):
        part = {"agg": "sum", "column": number} if number and self.chance(50) else {"agg": "count"}
        return part | ({"filters": [self.filter(self.profile.columns, 1)]} if self.chance(50) else {})

    # Filters

    def filter(self, usable, depth):
        if depth and self.chance(25) or not usable:
            parts = [self.filter(usable, depth - 1) for _ in range(self.random.randint(1, 3))] if usable else []
            operator = self.random.choice(("and", "or", "not")) if parts else "and"
            return ["not", parts[0]] if operator == "not" else [operator, parts]
        if self.chance(4):
            return [self.random.choice(("gt", "gte", "lt", "lte")), "ts", zones.rfc3339(self.random.randint(*self.random.choice(self.profile.spans)))]
        name = self.random.choice(list(usable))
        kind = self.profile.kind(name)
        if self.chance(10):
            return ["exists", name]
        values = [None if self.chance(12) else self.sample(name) for _ in range(self.random.choice((1, 1, 2, 3)))]
        if kind in NUMBERS and self.chance(70):
            return [self.random.choice(("gt", "gte", "lt", "lte")), name, self.sample(name)]
        if kind in ("string", "strings") and self.chance(45):
            return self.text_filter(name, kind)
        return [self.random.choice(("is", "is", "is_not")), name, values]

    def sample(self, name):
        value = self.random.choice(self.profile.listed[name])
        return value / 1e9 if self.profile.kind(name) == "money" else value

    def text_filter(self, name, kind):
        """A piece of a real value; case is folded only for letters on whose folding everyone agrees."""
        if kind == "string" and self.chance(12):
            return [self.random.choice(("gt", "gte", "lt", "lte")), name, self.sample(name)]
        text = self.sample(name)
        start = self.random.randrange(len(text) + 1)
        piece = text[start:start + self.random.randint(1, 6)]
        operator = self.random.choice(("contains", "contains_not", "starts_with", "ends_with", "matches", "matches_not", "is", "is_not"))
        if operator == "starts_with":
            piece = text[:self.random.randint(0, 4)]
        elif operator == "ends_with":
            piece = text[len(text) - self.random.randint(0, min(4, len(text))):]
        elif operator in ("is", "is_not"):
            piece = text
        elif operator.startswith("matches"):
            plain = "".join(letter for letter in piece if letter.isascii() and letter.isalnum()) or "a"
            piece = self.random.choice((f"^{plain}", f"{plain}$", f"{plain}|e", f"[{plain}].*", f"^.?{plain}"))
        folds = piece.isascii() and self.chance(40)
        if folds:
            piece = piece.upper() if self.chance(50) and not operator.startswith("matches") else piece
        return [operator, name, [piece]] + ([{"case_sensitive": False}] if folds else [])

    # Fill, comparison, having, order, pages

    def extras(self, asked, time, others):
        is_closed = isinstance(asked["date_range"], list)
        cells = 1
        for name in others:
            cells *= self.profile.cardinality(name)
        if time and time != "time" and self.chance(30) and cells * self.buckets(asked, time) <= 20_000:
            asked["include"]["fill"] = True
        if is_closed and self.chance(15):
            asked["compare"] = self.random.choice(("previous_period", "previous_period", "year_over_year", None))
            if asked["compare"] is None:
                asked["compare"] = self.date_range(time, None, asked.get("timezone", "UTC"))
                if isinstance(asked["compare"], str):
                    asked["compare"] = "previous_period"
        elif asked["date_range"] in CALENDAR_WORDS and self.chance(25):
            asked["compare"] = self.random.choice(("previous_period", "year_over_year"))
            if time == "time:minute":
                del asked["compare"]
        if self.chance(5):
            asked["format"] = "objects"

    def buckets(self, asked, time):
        if isinstance(asked["date_range"], str):
            return 370 * zones.DAY // zones.WIDTHS.get(time.partition(":")[2], zones.DAY)
        zone, low, high = asked.get("timezone", "UTC"), *asked["date_range"]
        if "T" not in low:
            days = (zones.dt.date.fromisoformat(high) - zones.dt.date.fromisoformat(low)).days + 1
            length = days * zones.DAY
        else:
            length = stages.instant(high, zone) - stages.instant(low, zone)
        return length // zones.WIDTHS.get(time.partition(":")[2], zones.DAY) + 2

    def definition(self, metric):
        return self.profile.metrics[metric] if isinstance(metric, str) else metric

    def name(self, metric):
        return metric if isinstance(metric, str) else metric["as"]

    def is_settled(self, metric, exact):
        """Whether both sides must agree on it to the last bit."""
        metric = self.definition(metric)
        agg, column = metric["agg"], metric.get("column")
        if agg in ("ratio", "rate", "stddev"):
            return False
        kind = self.profile.kind(column) if column else "int"
        if agg == "uniq" or agg.startswith("p"):
            return exact
        return column != "ts" and (kind != "float" or agg not in ("sum", "avg"))

    def order(self, asked, exact):
        settled = [metric for metric in asked["metrics"] if self.is_settled(metric, exact)]
        numeric = [metric for metric in settled if self.is_numeric(metric)]
        names, dimensions = [self.name(metric) for metric in settled], asked["dimensions"]
        has_time = any(name == "time" or name.startswith("time:") for name in dimensions)
        if numeric and self.chance(25):
            asked["having"] = [self.condition([self.name(metric) for metric in numeric])]
        keys = [[name, self.random.choice(("asc", "desc"))] for name in names + dimensions]
        if keys and self.chance(40):
            asked["order_by"] = self.random.sample(keys, self.random.randint(1, min(2, len(keys))))
        elif not has_time and dimensions and asked["metrics"][0] not in settled:
            asked["order_by"] = [[dimensions[0], self.random.choice(("asc", "desc"))]]
        if self.chance(35):
            asked["pagination"] = {"limit": self.random.choice((1, 3, 10, 40, 200))}
            if self.chance(30):
                asked["pagination"]["offset"] = self.random.choice((1, 2, 7, 50))
        else:
            asked["pagination"] = {"limit": 10_000}

    def is_numeric(self, metric):
        metric = self.definition(metric)
        return metric["agg"] not in ("min", "max", "first", "last") or self.profile.kind(metric["column"]) in NUMBERS

    def condition(self, names):
        if self.chance(20):
            operator, parts = self.random.choice(("and", "or", "not")), [self.condition(names) for _ in range(2)]
            return ["not", parts[0]] if operator == "not" else [operator, parts]
        name = self.random.choice(names)
        if self.chance(15):
            return ["exists", name]
        if self.chance(15):
            return [self.random.choice(("is", "is_not")), name, [None if self.chance(30) else self.random.randint(0, 5)]]
        return [self.random.choice(("gt", "gte", "lt", "lte")), name, self.random.choice((0, 1, 2, 3, 5, 10, 50, 100, 0.5, 1_000))]
