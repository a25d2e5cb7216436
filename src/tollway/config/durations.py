"""Duration strings as LiteLLM writes them ("30d", "monthly"): when such a budget starts anew, when such a key ends.

Budgets follow the calendar: a "30d" budget made on the 21st starts anew on the 1st. The rules and the lists of accepted
and rejected words were measured on LiteLLM Proxy 1.106.2 (2026-11-21). Nothing here reads a clock: `now` comes in.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

from msgspec import Struct

#: A word stands for what LiteLLM reads it as.
WORDS = {"hourly": "1h", "daily": "24h", "weekly": "7d", "monthly": "30d"}

_AMOUNT = re.compile(r"([0-9]+)(mo|s|m|h|d|w)")
_RESET_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "mo": 30 * 86_400}
_DAY_S = 86_400
_DURATION_S_MAX = 100 * 366 * _DAY_S


class Duration(Struct, frozen=True):
    """`value` times `unit`, which is one of s, m, h, d, w, mo. `str()` gives the string that was understood."""

    value: int
    unit: str

    @property
    def seconds(self) -> int:
        """Its length in seconds; a month counts as 30 days."""
        return self.value * _SECONDS[self.unit]

    def __str__(self) -> str:
        return f"{self.value}{self.unit}"


def parse_duration(written: str) -> Duration:
    """Reads "30s", "30m", "24h", "7d", "1w", "1mo", "hourly", "daily", "weekly" or "monthly" (words in any case).

    Like LiteLLM it reads the first amount only: "1h30m" is one hour. Of months there is only "1mo". Raises ValueError
    with a sentence for people otherwise, and for nothing ("0d") and more than a hundred years.
    """
    found = _AMOUNT.match(WORDS.get(written.strip().lower(), written))
    if found:
        duration = Duration(int(found[1][:12]), found[2])  # twelve digits are too long in any unit
        if (duration.unit != "mo" or duration.value == 1) and 0 < duration.seconds <= _DURATION_S_MAX:
            return duration
    raise ValueError(f"{written!r} is not a duration; write one like '1h', '24h', '7d', '30d' or '1mo'")


def parse_reset_time(written: str) -> time:
    """Reads "HH:MM", 00:00 to 23:59. Raises ValueError."""
    found = _RESET_TIME.fullmatch(written)
    if not found:
        raise ValueError(f"{written!r} is not a time of day; write one like '06:30'")
    return time(int(found[1]), int(found[2]))


def parse_timezone(name: str) -> tzinfo:
    """The IANA time zone of that name. Raises ValueError if this machine does not know it."""
    if name in ("UTC", "Etc/UTC"):
        return UTC  # needs no time zone database, which small container images lack
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(f"{name!r} is not a time zone known here; write one like 'Europe/Berlin'") from error


def next_reset(duration: Duration, now: datetime, *, timezone: str = "UTC", reset_time: str = "00:00") -> datetime:
    """When a budget of that length starts anew: the first boundary after `now` (aware), in UTC.

    1d and 24h: the next day's `reset_time` in `timezone`; 7d and 1w: next Monday's; 30d and 1mo: that of the next
    month's 1st; any other number of whole days: so many days ahead. Shorter ones end at multiples of their length
    counted from local midnight, and at midnight; other lengths over a day at multiples counted from 1970-01-01 UTC.
    A `reset_time` that the clock skips means the moment after the gap; one that it shows twice means the first.
    Raises ValueError for a time zone or a time of day that do not exist, and for a `now` without a time zone.
    """
    if now.tzinfo is None:
        raise ValueError("`now` needs a time zone")
    zone = parse_timezone(timezone)
    if duration.seconds % _DAY_S == 0:
        return _next_day_boundary(duration, now, zone, parse_reset_time(reset_time))
    if duration.seconds < _DAY_S:
        return _next_boundary_within_day(duration.seconds, now, zone)
    periods = int(now.timestamp()) // duration.seconds + 1
    return datetime.fromtimestamp(periods * duration.seconds, UTC)


def expiry(duration: Duration, now: datetime) -> datetime:
    """When a key of that length, made `now` (aware), ends, in UTC. A month ends on the same day or the last."""
    now = now.astimezone(UTC)
    if duration.unit != "mo":
        return now + timedelta(seconds=duration.seconds)
    first = _first_of_next_month(now.date())
    last_day = (_first_of_next_month(first) - timedelta(days=1)).day
    return now.replace(year=first.year, month=first.month, day=min(now.day, last_day))


def _next_day_boundary(duration: Duration, now: datetime, zone: tzinfo, reset_time: time) -> datetime:
    today = now.astimezone(zone).date()
    if _moment(today, reset_time, zone) > now:  # the day that began at yesterday's reset time is still on
        today -= timedelta(days=1)
    days = duration.seconds // _DAY_S
    if duration.unit == "mo" or (duration.unit == "d" and days == 30):
        ahead = _first_of_next_month(today)
    elif duration.unit in ("d", "w") and days == 7:
        ahead = today + timedelta(days=7 - today.weekday())
    else:
        ahead = today + timedelta(days=days)
    return _moment(ahead, reset_time, zone)


def _next_boundary_within_day(length_s: int, now: datetime, zone: tzinfo) -> datetime:
    today = now.astimezone(zone).date()
    midnight = _moment(today, time(), zone)
    tomorrow = _moment(today + timedelta(days=1), time(), zone)
    if length_s <= 3600:  # elapsed time: where the clock is set back, the hour that comes twice has boundaries twice
        passed = int((now - midnight).total_seconds()) // length_s
        return min(midnight + timedelta(seconds=(passed + 1) * length_s), tomorrow)
    # The clock's time: 12h ends at noon on the day the clock is changed, too.
    for start_s in range(length_s, _DAY_S, length_s):
        boundary = _moment(today, time(start_s // 3600, start_s // 60 % 60, start_s % 60), zone)
        if boundary > now:
            return boundary
    return tomorrow


def _moment(day: date, clock: time, zone: tzinfo) -> datetime:
    return datetime.combine(day, clock, zone).astimezone(UTC)


def _first_of_next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
