from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.config.durations import Duration, expiry, next_reset, parse_duration

# fmt: off
ACCEPTED = [
    ("30s", "30s"), ("30m", "30m"), ("1h", "1h"), ("24h", "24h"), ("1d", "1d"), ("7d", "7d"), ("1w", "1w"), ("30d", "30d"),
    ("1mo", "1mo"), ("hourly", "1h"), ("daily", "24h"), ("weekly", "7d"), ("monthly", "30d"), (" Monthly ", "30d"),
    ("DAILY", "24h"), ("1h30m", "1h"), ("90d", "90d"), ("2w", "2w"),
]
REJECTED = [
    "", " ", "month", "1M", "1y", "2mo", "0mo", "0d", "-1d", "1.5d", "d", "yearly", "99999999999999999999d", "101y",
    "1D", "٣٠d",
]
# fmt: on


@pytest.mark.parametrize(("written", "understood"), ACCEPTED)
def test_what_litellm_accepts_is_accepted(written: str, understood: str) -> None:
    assert str(parse_duration(written)) == understood


@pytest.mark.parametrize("written", REJECTED)
def test_what_litellm_rejects_is_rejected(written: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write one like '1h'"):
        parse_duration(written)


def test_a_duration_knows_its_seconds() -> None:
    assert [parse_duration(w).seconds for w in ("30s", "2m", "1h", "1d", "1w", "1mo")] == [
        30, 120, 3600, 86_400, 604_800, 2_592_000,
    ]  # fmt: skip


# Saturday, 2026-11-21; resets measured on LiteLLM Proxy 1.106.2 at this time: 7d -> 23rd, 30d -> December, 1d -> 22nd.
NOW = "2026-11-21T22:39:02+00:00"
RESETS = [
    ("1d", "2026-11-22T00:00:00+00:00"),
    ("24h", "2026-11-22T00:00:00+00:00"),
    ("daily", "2026-11-22T00:00:00+00:00"),
    ("86400s", "2026-11-22T00:00:00+00:00"),
    ("7d", "2026-11-23T00:00:00+00:00"),
    ("1w", "2026-11-23T00:00:00+00:00"),
    ("weekly", "2026-11-23T00:00:00+00:00"),
    ("30d", "2026-12-01T00:00:00+00:00"),
    ("1mo", "2026-12-01T00:00:00+00:00"),
    ("monthly", "2026-12-01T00:00:00+00:00"),
    ("2d", "2026-11-23T00:00:00+00:00"),
    ("10d", "2026-12-01T00:00:00+00:00"),
    ("2w", "2026-12-05T00:00:00+00:00"),
    ("48h", "2026-11-23T00:00:00+00:00"),
    ("1h", "2026-11-21T23:00:00+00:00"),
    ("hourly", "2026-11-21T23:00:00+00:00"),
    ("6h", "2026-11-22T00:00:00+00:00"),
    ("5h", "2026-11-22T00:00:00+00:00"),  # 20:00 was the last multiple; midnight always ends one
    ("30m", "2026-11-21T23:00:00+00:00"),
    ("15m", "2026-11-21T22:45:00+00:00"),
    ("30s", "2026-11-21T22:39:30+00:00"),
    ("36h", "2026-11-22T12:00:00+00:00"),
]


@pytest.mark.parametrize(("written", "reset"), RESETS)
def test_budgets_start_anew_with_the_calendar(written: str, reset: str) -> None:
    assert next_reset(parse_duration(written), datetime.fromisoformat(NOW)) == datetime.fromisoformat(reset)


ELSEWHERE = [
    # (duration, now, time zone, reset time, reset)
    ("1d", "2026-11-21T22:39:02+00:00", "Asia/Tokyo", "00:00", "2026-11-23T00:00:00+09:00"),
    ("7d", "2026-11-22T15:00:00+00:00", "Asia/Tokyo", "00:00", "2026-11-30T00:00:00+09:00"),  # Monday began there
    ("30d", "2026-11-30T23:30:00+00:00", "Europe/Berlin", "00:00", "2027-01-01T00:00:00+01:00"),
    ("1d", "2026-11-21T05:00:00+00:00", "UTC", "06:30", "2026-11-21T06:30:00+00:00"),
    ("1d", "2026-11-21T06:30:00+00:00", "UTC", "06:30", "2026-11-22T06:30:00+00:00"),
    ("7d", "2026-11-23T05:00:00+00:00", "UTC", "06:30", "2026-11-23T06:30:00+00:00"),
    ("30d", "2026-12-01T05:00:00+00:00", "UTC", "06:30", "2026-12-01T06:30:00+00:00"),
    ("3d", "2026-11-21T05:00:00+00:00", "UTC", "06:30", "2026-11-23T06:30:00+00:00"),
    ("30d", "2026-12-15T00:00:00+00:00", "UTC", "00:00", "2027-01-01T00:00:00+00:00"),
    # The clock is set forward at 02:00 on 2026-03-29 and back at 03:00 on 2026-10-25.
    ("1d", "2026-03-28T12:00:00+01:00", "Europe/Berlin", "00:00", "2026-03-29T00:00:00+01:00"),
    ("1d", "2026-03-29T12:00:00+02:00", "Europe/Berlin", "00:00", "2026-03-30T00:00:00+02:00"),
    ("1d", "2026-03-28T12:00:00+01:00", "Europe/Berlin", "02:30", "2026-03-29T03:30:00+02:00"),  # 02:30 is skipped
    ("1d", "2026-10-25T00:00:00+02:00", "Europe/Berlin", "02:30", "2026-10-25T02:30:00+02:00"),  # the first of two
    ("1d", "2026-10-25T02:10:00+01:00", "Europe/Berlin", "02:30", "2026-10-26T02:30:00+01:00"),
    ("12h", "2026-03-29T05:00:00+02:00", "Europe/Berlin", "00:00", "2026-03-29T12:00:00+02:00"),
    ("1h", "2026-03-29T01:30:00+01:00", "Europe/Berlin", "00:00", "2026-03-29T03:00:00+02:00"),
    ("1h", "2026-10-25T02:30:00+02:00", "Europe/Berlin", "00:00", "2026-10-25T02:00:00+01:00"),
    ("1h", "2026-10-25T02:30:00+01:00", "Europe/Berlin", "00:00", "2026-10-25T03:00:00+01:00"),
]


@pytest.mark.parametrize(("written", "now", "zone", "reset_time", "reset"), ELSEWHERE)
def test_resets_follow_the_time_zone_and_the_time_of_day(
    written: str, now: str, zone: str, reset_time: str, reset: str
) -> None:
    found = next_reset(parse_duration(written), datetime.fromisoformat(now), timezone=zone, reset_time=reset_time)
    assert found == datetime.fromisoformat(reset)
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("zone", "reset_time", "reason"),
    [
        ("Mars/Olympus", "00:00", "not a time zone"),
        ("../etc/passwd", "00:00", "not a time zone"),
        ("UTC", "24:00", "not a time of day"),
        ("UTC", "6:30", "not a time of day"),
    ],
)
def test_a_zone_or_a_time_that_does_not_exist_is_refused(zone: str, reset_time: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        next_reset(Duration(1, "d"), datetime(2026, 1, 1, tzinfo=UTC), timezone=zone, reset_time=reset_time)


def test_a_naive_now_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        next_reset(Duration(1, "d"), datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("written", "now", "ends"),
    [
        ("30s", "2026-01-31T10:00:00+00:00", "2026-01-31T10:00:30+00:00"),
        ("30m", "2026-01-31T10:00:00+00:00", "2026-01-31T10:30:00+00:00"),
        ("30h", "2026-01-31T10:00:00+00:00", "2026-02-01T16:00:00+00:00"),
        ("30d", "2026-01-31T10:00:00+00:00", "2026-03-02T10:00:00+00:00"),
        ("1mo", "2026-01-15T10:00:00+00:00", "2026-02-15T10:00:00+00:00"),
        ("1mo", "2026-01-31T10:00:00+00:00", "2026-02-28T10:00:00+00:00"),
        ("1mo", "2028-01-31T10:00:00+00:00", "2028-02-29T10:00:00+00:00"),
        ("1mo", "2026-12-31T10:00:00+00:00", "2027-01-31T10:00:00+00:00"),
        ("1mo", "2026-01-31T23:30:00-05:00", "2026-03-01T04:30:00+00:00"),  # February in UTC already
    ],
)
def test_a_key_ends_after_its_duration_and_months_follow_the_calendar(written: str, now: str, ends: str) -> None:
    assert expiry(parse_duration(written), datetime.fromisoformat(now)) == datetime.fromisoformat(ends)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu"]
durations = st.one_of(
    st.builds(Duration, st.integers(1, 200_000), st.just("s")),
    st.builds(Duration, st.integers(1, 5_000), st.sampled_from(["m", "h"])),
    st.builds(Duration, st.integers(1, 400), st.sampled_from(["d", "w"])),
    st.just(Duration(1, "mo")),
)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
times = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59))


@given(durations, moments, st.sampled_from(ZONES), times)
def test_a_reset_is_always_ahead_and_not_much_further_than_its_length(
    duration: Duration, now: datetime, zone: str, reset_time: str
) -> None:
    reset = next_reset(duration, now, timezone=zone, reset_time=reset_time)
    assert reset > now
    assert reset - now <= timedelta(seconds=duration.seconds) + timedelta(days=2)


@given(durations, moments, st.sampled_from(ZONES), times)
def test_aligned_resets_are_the_same_seen_from_anywhere_before_them(
    duration: Duration, now: datetime, zone: str, reset_time: str
) -> None:
    whole_days = duration.seconds % 86_400 == 0
    if whole_days and str(duration) not in ("1d", "24h", "7d", "1w", "30d", "1mo"):
        return  # so many days ahead of today: that moves with today
    reset = next_reset(duration, now, timezone=zone, reset_time=reset_time)
    just_before = max(now, reset - timedelta(microseconds=1))
    assert next_reset(duration, just_before, timezone=zone, reset_time=reset_time) == reset


@given(moments, st.sampled_from(ZONES), times)
def test_day_resets_stand_at_the_reset_time_of_their_zone(now: datetime, zone: str, reset_time: str) -> None:
    for written, fits in (
        ("1d", lambda local: True),
        ("7d", lambda local: local.weekday() == 0),
        ("30d", lambda local: local.day == 1),
    ):
        local = next_reset(parse_duration(written), now, timezone=zone, reset_time=reset_time).astimezone(
            ZoneInfo(zone)
        )
        hour, minute = int(reset_time[:2]), int(reset_time[3:])
        skipped = (local.hour, local.minute) != (hour, minute)
        assert not skipped or (local - timedelta(hours=2)).utcoffset() != local.utcoffset()
        assert fits(local)


@given(durations, moments)
def test_a_key_always_ends_later(duration: Duration, now: datetime) -> None:
    assert now < expiry(duration, now) <= now + timedelta(seconds=duration.seconds + 2 * 86_400)
