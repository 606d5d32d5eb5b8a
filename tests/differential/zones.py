"""Local time, from Python's zoneinfo: which buckets a range has, how each is labelled, where days start.

The contract's words: a bucket below a day floors by the instant's own offset, so a repeated hour is two; from a day up the
local calendar decides. Instants are micro-seconds since 1970. Knows nothing of questions.
"""

import bisect
import datetime as dt
import functools
from zoneinfo import ZoneInfo

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WIDTHS = {"minute": MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE, "hour": HOUR}
CALENDAR = ("day", "week", "month", "year")
EPOCH = dt.datetime(1970, 1, 1)


def offset_us(us, zone):
    """The zone's offset at an instant."""
    at = dt.datetime.fromtimestamp(us // 1_000_000, ZoneInfo(zone))
    return int(at.utcoffset().total_seconds()) * 1_000_000


@functools.cache
def changes_of(year, zone):
    """The offset at a UTC year's start and its changes as (instant, new offset); they happen at full minutes."""
    first, last = (int((dt.datetime(at, 1, 1) - EPOCH).total_seconds()) * 1_000_000 for at in (year, year + 1))
    found = [(first, offset_us(first, zone))]
    for at in range(first + HOUR, last, HOUR):
        offset = offset_us(at, zone)
        if offset == found[-1][1]:
            continue
        low, high = at - HOUR, at
        while high - low > MINUTE:
            middle = (low + high) // (2 * MINUTE) * MINUTE
            low, high = (middle, high) if offset_us(middle, zone) == found[-1][1] else (low, middle)
        found.append((high, offset))
    return found


class Clock:
    """One zone's offsets around a range, quick to ask."""

    def __init__(self, from_us, to_us, zone):
        years = ((EPOCH + dt.timedelta(microseconds=us)).year for us in (from_us, to_us))
        first, last = years
        self.runs = [run for year in range(first - 1, last + 2) for run in changes_of(year, zone)]
        self.starts = [start for start, _ in self.runs]

    def offset(self, us):
        return self.runs[max(bisect.bisect_right(self.starts, us) - 1, 0)][1]

    def next_change(self, us):
        """The next instant at which the offset may differ."""
        return self.starts[bisect.bisect_right(self.starts, us)]


def period_first(date, unit):
    """The first date of the day, week (from Monday), month or year that holds a date."""
    if unit == "week":
        return date - dt.timedelta(days=date.weekday())
    if unit == "month":
        return date.replace(day=1)
    return date.replace(month=1, day=1) if unit == "year" else date


def key_of(us, unit, offset):
    """What tells a bucket from others: (start, offset) below a day, its first date from a day up."""
    if unit in WIDTHS:
        width = WIDTHS[unit]
        return ((us + offset) // width * width - offset, offset)
    return period_first((EPOCH + dt.timedelta(microseconds=us + offset)).date(), unit)


def label_of(key):
    """How an answer writes a bucket."""
    if isinstance(key, dt.date):
        return key.isoformat()
    start, offset = key
    local = (EPOCH + dt.timedelta(microseconds=start + offset)).isoformat(timespec="seconds")
    if offset == 0:
        return local + "Z"
    minutes = abs(offset) // MINUTE
    return f"{local}{'-' if offset < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def buckets(from_us, to_us, unit, zone):
    """Every bucket that touches [from, to), ascending, as (key, seconds of it within the range)."""
    clock = Clock(from_us, to_us, zone)
    found = []
    at = from_us
    while at < to_us:
        offset = clock.offset(at)
        change = clock.next_change(at)
        key = key_of(at, unit, offset)
        if unit not in WIDTHS and found:
            # Where clocks go back over midnight a date would come twice; it ends with its first midnight.
            key = max(key, found[-1][0])
        if unit in WIDTHS:
            end = key[0] + WIDTHS[unit]
        else:
            # The next local midnight by this offset; a change of clocks before it cuts the step short.
            end = ((at + offset) // DAY + 1) * DAY - offset
        end = min(end, to_us, change)
        if found and found[-1][0] == key:
            found[-1][1] += end - at
        else:
            found.append([key, end - at])
        at = end
    return [(key, length / 1e6) for key, length in found]


def instant_of(local, zone):
    """The instant of a local moment; of two the first, and in a gap as far behind it as the clocks jump."""
    delta = local.replace(tzinfo=ZoneInfo(zone), fold=0) - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def day_start(date, zone):
    """The first instant of a local date."""
    return instant_of(dt.datetime.combine(date, dt.time()), zone)


def local_of(us, zone):
    """The local moment of an instant, without its zone."""
    return EPOCH + dt.timedelta(microseconds=us + offset_us(us, zone))


def months_later(date, count):
    """The same day of another month, or that month's last."""
    months = date.year * 12 + date.month - 1 + count
    year, month = divmod(months, 12)
    for day in range(date.day, 0, -1):
        try:
            return date.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    raise AssertionError("every month has a first day")


def automatic_unit(from_us, to_us):
    """What a bare `time` means for a range."""
    length = to_us - from_us
    for longest, unit in ((HOUR, "minute"), (6 * HOUR, "5m"), (48 * HOUR, "hour"), (92 * DAY, "day")):
        if length <= longest:
            return unit
    return "month"


def rfc3339(us):
    """An instant as UTC text with all its digits."""
    text = (EPOCH + dt.timedelta(microseconds=us)).isoformat()
    return text + "Z"


def parse(text):
    """An RFC 3339 instant as micro-seconds."""
    at = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    delta = at - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
