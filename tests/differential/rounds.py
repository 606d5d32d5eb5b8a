"""What happens in which order: rows arrive, are flushed, deleted, survive restarts, and questions are asked in between.

Every question is asked of the server three times (anew, again, and past the answer cache), then in a batch and from several clients
at once; some in pages, by GET, or in a later round, there also over another range.
"""

import collections
import concurrent.futures
import json
import signal
import time
import urllib.parse
from decimal import Decimal

import check
import generated
import stages
import zones
from questions import WORDS, Generator
from server import Client, Refused

ROUNDS = 5
# An answer may be so old; after it what was acknowledged must be in it.
STALENESS_S = 0.15
DIFFERENCES_MAX = 10
BATCH = 12
# Clients that ask at once.
CROWD = 4
AGAIN_PERCENT = 25
NOISE_PROJECT = "noise"


class Rounds:
    """The server, the oracle, and what was found."""

    def __init__(self, server, oracle, random, seed):
        self.server, self.oracle, self.random, self.seed = server, oracle, random, seed
        self.differences = 0
        self.counts = collections.Counter()
        self.version = None

    def summary(self):
        parts = [f"{self.differences} differences"]
        return ", ".join(parts + [f"{count} {what}" for what, count in sorted(self.counts.items())])

    # Datasets

    def generated(self, rows, questions):
        """Rows in random order over several rounds, with deletes, restarts and a roll-up that comes later."""
        profile = generated.profile()
        made = [generated.row(self.random, profile.spans) for _ in range(rows)]
        profile.learn(made)
        profile.rollups = [generated.rollup(self.random, f"r{place}") for place in range(3)]
        self.define(profile, generated.definition(profile.rollups, generated.KEPT))
        asked = []
        for turn in range(ROUNDS):
            self.send(profile, made[turn * rows // ROUNDS:(turn + 1) * rows // ROUNDS])
            self.event(turn, profile)
            count = questions * (turn + 1) // ROUNDS - questions * turn // ROUNDS
            asked += self.ask_many(profile, count, asked)

    def event(self, turn, profile):
        """What disturbs the rows of a round."""
        if turn in (1, 3):
            self.delete(profile)
        if turn == 2:
            self.server.restart(signal.SIGKILL)
            profile.rollups.append(generated.rollup(self.random, "late"))
            self.server.client.call("PUT", f"/api/v1/datasets/{profile.name}", generated.definition(profile.rollups, generated.KEPT))
        if turn == 4:
            self.server.restart()
            self.settle()

    def aged(self, rows, questions):
        """Rows older than raw retention, which only tiers keep, and newer ones; the same answers or none."""
        profile = generated.aged_profile()
        made = [generated.row(self.random, profile.spans, profile.projects) for _ in range(rows)]
        profile.learn(made)
        profile.rollups = [generated.rollup(self.random, f"r{place}") for place in range(3)]
        self.define(profile, generated.definition(profile.rollups, generated.AGED_KEPT))
        self.send(profile, made[:rows // 2])
        self.settle()
        self.send(profile, made[rows // 2:])
        asked = self.ask_many(profile, questions // 2, [])
        self.server.restart()
        self.settle()
        self.ask_many(profile, questions - questions // 2, asked)

    def recorded(self, each, questions):
        """Recorded rows in random order, then questions; no events."""
        each.profile.learn(each.rows)
        each.profile.rollups = [each.rollup(self.random, f"r{place}") for place in range(2)]
        self.define(each.profile, each.definition(each.profile.rollups))
        self.send(each.profile, self.random.sample(each.rows, len(each.rows)), 4_000)
        self.ask_many(each.profile, questions, [])

    def define(self, profile, definition):
        self.oracle.define(profile.name, profile.kinds)
        self.server.client.call("PUT", f"/api/v1/datasets/{profile.name}", definition)

    # Rows

    def send(self, profile, rows, most=1_500):
        """Rows in requests of random size, each of one project."""
        for project in profile.projects:
            own, at = [row for row in rows if row["_project"] == project], 0
            while at < len(own):
                part = own[at:at + self.random.randint(1, most)]
                at += len(part)
                body = "".join(json.dumps(self.wire(row, profile.kinds)) + "\n" for row in part)
                path = f"/api/v1/ingest/{profile.name}?project={project}"
                reply = self.server.client.call("POST", path, body, "application/x-ndjson")
                if reply["accepted"] != len(part):
                    raise RuntimeError(f"{reply}")
                self.version = reply["version"]
        self.oracle.insert(profile.name, rows)
        time.sleep(STALENESS_S)

    def wire(self, row, kinds):
        """A row as it is sent: times and money in any of the forms the contract takes."""
        us = row["_us"]
        sent = {"ts": us if self.random.random() < 0.5 else zones.rfc3339(us)}
        for name, kind in kinds.items():
            if name in row:
                sent[name] = format(Decimal(row[name]).scaleb(-9), "f") if kind == "money" else row[name]
            elif self.random.random() < 0.1:
                sent[name] = None
        return sent

    def noise(self, profile):
        """Rows of another project: they move the state on and belong into no answer."""
        body = json.dumps({"ts": profile.spans[0][0]}) + "\n"
        self.server.client.call("POST", f"/api/v1/ingest/{profile.name}?project={NOISE_PROJECT}", body * 5, "application/x-ndjson")

    def delete(self, profile):
        """Takes some users' rows, or a few hours, from both sides."""
        project, (low, high) = self.random.choice(profile.projects), self.random.choice(profile.spans)
        users = [f"u{self.random.randrange(200)}" for _ in range(3)]
        filters = self.random.choice(([["is", "user", users]], [["is", "channel", ["fr", None]], ["gt", "added", 300]], []))
        if not filters:
            low = self.random.randrange(low, high)
            high = low + zones.HOUR
        body = {"dataset": profile.name, "project": project, "filters": filters,
                "date_range": [zones.rfc3339(low), zones.rfc3339(high)]}
        self.server.client.call("POST", "/api/v1/rows/delete", body)
        self.counts["rows deleted"] += self.oracle.delete(profile.name, project, filters, low, high)

    def settle(self):
        """Waits until no row is left in memory alone."""
        deadline = time.monotonic() + 60
        while b"\ntidewater_memtable_rows 0\n" not in self.server.client.send("GET", "/metrics")[1]:
            if time.monotonic() > deadline:
                raise RuntimeError("rows stay in memory")
            time.sleep(0.05)

    # Questions

    def ask_many(self, profile, count, earlier):
        """Questions of a round; gives them back, so that a later round can ask them again."""
        generator, asked, answers = Generator(self.random, profile), [], []
        for index in range(count):
            if index % 10 == 0:
                self.noise(profile)
            if earlier and self.random.random() * 100 < AGAIN_PERCENT:
                question, covered = generator.variant(self.random.choice(earlier)), False
            else:
                question, covered = generator.question()
            self.counts["of a roll-up's shape"] += covered
            asked.append(question)
            answer = self.ask(profile, question)
            if answer is not None:
                answers.append((question, answer))
            if len(answers) == BATCH:
                self.batch(answers)
                self.crowd(answers)
                answers = []
            if self.differences >= DIFFERENCES_MAX:
                raise SystemExit(f"seed {self.seed}: {self.differences} differences; stopped")
        return asked

    def ask(self, profile, question):
        """Checks a question in every form; gives its answer where it was right and will stay so."""
        self.counts["questions"] += 1
        metrics = [profile.metrics[metric] if isinstance(metric, str) else metric for metric in question["metrics"]]
        names = [metric if isinstance(metric, str) else metric["as"] for metric in question["metrics"]]
        self.oracle.statements.clear()
        sent = dict(question)
        if self.version and self.random.random() < 0.2:
            sent["min_version"] = self.version
        before = self.moment(question, -STALENESS_S)
        try:
            answer = self.first(sent)
            self.counts["answers from roll-ups"] += "rollup" in answer["meta"]["source"]
            expected = stages.answer(question, metrics, names, self.oracle, now_us())
            fault = check.difference(question, metrics, names, answer, expected)
            if not fault and not moves(question, metrics) and self.random.random() < 0.05:
                self.spoil(question, metrics, names, answer, expected)
            fault = fault or not moves(question, metrics) and self.repeated(question, answer) or self.paged(question, metrics, names, answer, expected)
        except Refused as refusal:
            fault, answer = self.refusal_fault(profile, question, refusal), None
        if before != self.moment(question):
            self.counts["met a change of minute"] += 1
            return None
        if fault:
            self.report(question, fault, answer)
            return None
        return answer if before is None and not moves(question, metrics) else None

    def spoil(self, question, metrics, names, answer, expected):
        """A wrong answer must be found: a check that lets one pass is worth nothing."""
        wrong = check.spoiled(answer, self.random)
        if wrong is not None:
            self.counts["spoiled answers found"] += 1
            if not check.difference(question, metrics, names, wrong, expected):
                raise RuntimeError(f"a spoiled answer passes: {json.dumps(question)}\n{wrong['results'][:5]}")

    def refusal_fault(self, profile, question, refusal):
        """Only what reaches behind raw retention may have no answer."""
        oldest_us = now_us() - (profile.raw_days or 0) * zones.DAY
        if profile.raw_days and refusal.problem.get("code") == "range_not_covered" and first_us(question, profile) < oldest_us:
            self.counts["not covered any more"] += 1
            return None
        return f"refused with {refusal}"

    def moment(self, question, shift_s=0.0):
        """What of an open-ended question depends on the clock: it is the same through all of its askings, or it is no test."""
        if question["date_range"] not in WORDS:
            return None
        return (now_us() + int(shift_s * 1e6)) // zones.MINUTE

    def first(self, question):
        if self.random.random() < 0.05:
            return self.server.client.call("GET", "/api/v1/query?q=" + urllib.parse.quote(json.dumps(question)))
        return self.server.client.call("POST", "/api/v1/query", question)

    def repeated(self, question, answer):
        """The same question again, which caches may answer, and once past them."""
        for changes in ({}, {"max_staleness_ms": 0}):
            again = self.server.client.call("POST", "/api/v1/query", {**question, **changes})
            self.counts[f"repeats: {self.server.client.cache}"] += 1
            fault = check.same(answer, again)
            if fault:
                return f"asked again {changes or ''}: {fault}; sources {answer['meta']['source']}, {again['meta']['source']}"
        return None

    def paged(self, question, metrics, names, answer, expected):
        """All pages joined are the whole answer."""
        limit = question["pagination"]["limit"]
        if "offset" in question["pagination"] or limit >= len(expected.rows) or len(expected.rows) > 60 * limit:
            return None
        self.counts["read in pages"] += 1
        pages = [answer]
        while pages[-1]["meta"]["next_cursor"] is not None:
            page = {"limit": limit, "cursor": pages[-1]["meta"]["next_cursor"]}
            pages.append(self.server.client.call("POST", "/api/v1/query", {**question, "pagination": page}))
        joined = [row for page in pages for row in check.normalise(page, question, names)]
        stated = answer["meta"]["relative_error"]
        if len(joined) != len(expected.rows):
            return f"{len(pages)} pages hold {len(joined)} rows, not {len(expected.rows)}"
        for at, (row, (_, labels, values, _)) in enumerate(zip(joined, expected.rows)):
            fault = check.row_fault(row, labels, values, stated, metrics)
            if fault:
                return f"row {at} of the pages: {fault}\n    ours   {row}\n    theirs {labels} {values}"
        return None

    def batch(self, answers):
        """The same questions in one request, which may share scans."""
        reply = self.server.client.call("POST", "/api/v1/query/batch", {"queries": [question for question, _ in answers]})
        for (question, answer), again in zip(answers, reply["answers"], strict=True):
            fault = check.same(answer, again) if "meta" in again else f"{again}"
            if fault:
                self.report(question, f"in a batch: {fault}", answer)

    def crowd(self, answers):
        """The same questions from many clients at once: they may share computations and scans."""
        address = self.server.address

        def ask(place):
            client = Client(address)
            order = answers[place:] + answers[:place]
            changes = {"max_staleness_ms": 0} if place % 2 else {}
            return [(*pair, client.call("POST", "/api/v1/query", {**pair[0], **changes})) for pair in order]

        with concurrent.futures.ThreadPoolExecutor(CROWD) as threads:
            for found in threads.map(ask, range(CROWD)):
                for question, answer, again in found:
                    fault = check.same(answer, again)
                    if fault:
                        self.report(question, f"in a crowd: {fault}", answer)

    def report(self, question, fault, answer):
        self.differences += 1
        source = answer["meta"]["source"] if answer else "-"
        print(f"--- difference {self.differences}, seed {self.seed}, source {source}\n{json.dumps(question, ensure_ascii=False)}")
        print("\n".join(f"  SQL: {sql}" for sql in self.oracle.statements) + f"\n  {fault}", flush=True)


def now_us():
    return time.time_ns() // 1_000


def first_us(question, profile):
    """Where a question's ranges begin; those of words and comparisons as far back as rows go."""
    zone, span = question.get("timezone", "UTC"), profile.spans[0][0]
    if "compare" in question or isinstance(question["date_range"], str):
        return span
    return stages.resolve(question["date_range"], zone, now_us(), None, span).from_us


def moves(question, metrics):
    """Whether an answer changes with the clock alone: a rate over a range that goes on."""
    if not any(metric["agg"] == "rate" for metric in metrics):
        return False
    zone, ranges = question.get("timezone", "UTC"), [question["date_range"], question.get("compare")]
    ends = [stages.resolve(each, zone, 0, None, 0).to_us for each in ranges if isinstance(each, list)]
    return isinstance(ranges[0], str) or max(ends) > now_us() - zones.HOUR
