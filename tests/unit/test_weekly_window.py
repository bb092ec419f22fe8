"""Weekly windows: over midnight, at the change of clocks, within their first and last day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.gates import WeeklyWindow
from orchestrator.domain.weekly_window import opens_in, time_zone

PARIS = ZoneInfo("Europe/Paris")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def window(**words: Any) -> WeeklyWindow:
    return WeeklyWindow.model_validate({"days": ["mon"], "opens": "22:00", "closes": "06:00", **words})


def at(text: str) -> datetime:
    """A local time in Paris."""
    return datetime.fromisoformat(text).replace(tzinfo=PARIS).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        ("2026-06-22T22:00", 0),  # a Monday
        ("2026-06-23T05:59", 0),
        ("2026-06-23T06:00", 160),
        ("2026-06-22T21:00", 1),
        ("2026-06-21T22:00", 24),
        ("2026-06-22T05:00", 17),  # the small hours of Monday belong to Sunday's window, which there is not
    ],
)
def test_over_midnight(now: str, hours: float) -> None:
    assert opens_in(window(), PARIS, at(now)) == timedelta(hours=hours)


def test_the_night_of_the_change_is_counted_as_it_is() -> None:
    """On 25 October 2026 there are two hours between two and three o'clock; on 29 March none."""
    autumn = window(days=["sat"], opens="23:00", closes="04:00")
    assert opens_in(autumn, PARIS, datetime(2026, 10, 25, 2, 30, tzinfo=UTC)) == timedelta(0)  # 03:30, six hours after it opened
    assert opens_in(autumn, PARIS, datetime(2026, 10, 25, 3, 0, tzinfo=UTC)) != timedelta(0)
    spring = window(days=["sun"], opens="04:00", closes="05:00")
    assert opens_in(spring, PARIS, at("2026-03-29T00:00")) == timedelta(hours=3)


def test_between_its_first_and_its_last_day() -> None:
    bounded = window(not_before="2026-07-01T00:00:00Z", not_after="2026-07-07T00:00:00Z")  # Monday 6 July, 22:00 to 02:00 in Paris
    assert opens_in(bounded, PARIS, at("2026-06-22T23:00")) == at("2026-07-06T22:00") - at("2026-06-22T23:00")
    assert opens_in(bounded, PARIS, at("2026-07-07T01:59")) == timedelta(0)
    assert opens_in(bounded, PARIS, at("2026-07-07T02:00")) is None


def test_a_time_zone_that_nobody_knows() -> None:
    assert time_zone("Europe/Valmont") is None
    assert time_zone("../etc/passwd") is None
    assert time_zone("Europe/Paris") == PARIS


@given(
    st.sets(st.sampled_from(DAYS), min_size=1), st.integers(0, 23), st.integers(0, 23), st.integers(0, 366 * 24 * 60),
)  # fmt: skip
def test_it_is_open_when_it_says_it_will_be_and_not_a_minute_before(days: set[str], opens: int, closes: int, minutes: int) -> None:
    weekly = window(days=sorted(days), opens=f"{opens:02}:00", closes=f"{closes:02}:00")
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    wait = opens_in(weekly, PARIS, now)
    assert wait is not None
    assert wait <= timedelta(days=7, hours=1)
    assert opens_in(weekly, PARIS, now + wait) == timedelta(0)
    if wait:
        assert opens_in(weekly, PARIS, now + wait - timedelta(minutes=1)) == timedelta(minutes=1)
