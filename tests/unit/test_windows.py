"""The arithmetic of windows and ends, without a hospital: times that people give, deadlines, renewals, warnings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.checks.words import stages as checked_stages
from orchestrator.domain.expiry import (
    WARNED_BEFORE_H,
    closed_early,
    late_by,
    renewal_due,
    seconds_to_send,
    warning_due,
)
from orchestrator.domain.making import stamp
from orchestrator.domain.recuts import LATEST, Recut
from orchestrator.domain.state import Deadline
from orchestrator.domain.windows import local, read_time
from orchestrator.errors import UsageError
from tests.service.reopening import valmont

PARIS = "Europe/Paris"
NOW = datetime(2026, 6, 24, 8, 0, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
SPANS = st.timedeltas(timedelta(seconds=1), timedelta(days=40))


# --- times that people give ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01T09:00", "2026-07-01T07:00:00.000Z"),
        ("2026-01-01T09:00", "2026-01-01T08:00:00.000Z"),
        ("2026-07-01T09:00:00Z", "2026-07-01T09:00:00.000Z"),
        ("2026-07-01T09:00:00-05:00", "2026-07-01T14:00:00.000Z"),
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00.000Z"),  # said with its offset, it is one time
        ("2026-10-25T01:59", "2026-10-24T23:59:00.000Z"),
        ("2026-10-25T03:00", "2026-10-25T02:00:00.000Z"),
    ],
)
def test_a_time_without_a_zone_is_of_the_site(text: str, expected: str) -> None:
    assert stamp(read_time(text, PARIS)) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-10-25T02:30", "two times"),
        ("2026-03-29T02:30", "no 2026-03-29T02:30"),
        ("noon", "no RFC 3339 time"),
        ("", "no RFC 3339 time"),
        ("1999-01-01T00:00", "not of this century"),
        ("2100-01-01T00:00Z", "not of this century"),
    ],
)
def test_what_is_no_time_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_time(text, PARIS)


def test_an_unknown_zone_asks_for_an_offset() -> None:
    with pytest.raises(UsageError, match="Europe/Nowhere"):
        read_time("2026-07-01T09:00", "Europe/Nowhere")


@given(MOMENTS)
def test_what_is_shown_in_local_time_means_the_same_time(at: datetime) -> None:
    at = at.replace(microsecond=0)
    assert read_time(local(stamp(at), PARIS), PARIS) == at


@given(MOMENTS)
def test_a_local_time_is_read_as_its_zone_says_or_refused(at: datetime) -> None:
    there = at.astimezone(ZoneInfo(PARIS)).replace(tzinfo=None, microsecond=0)
    try:
        read = read_time(there.isoformat(), PARIS)
    except UsageError:
        assert there.replace(tzinfo=ZoneInfo(PARIS)).utcoffset() != there.replace(tzinfo=ZoneInfo(PARIS), fold=1).utcoffset()
    else:
        assert read.astimezone(ZoneInfo(PARIS)).replace(tzinfo=None) == there


# --- deadlines on devices ------------------------------------------------------------------------------------------------


@given(MOMENTS, SPANS, st.integers(1, 10**6), st.integers(0, 60))
def test_a_device_is_never_given_more_than_what_is_left(now: datetime, left: timedelta, longest: int, late: int) -> None:
    seconds = seconds_to_send(now + left, now, longest, late)
    assert seconds <= longest
    assert timedelta(seconds=seconds + late) <= left
    assert seconds == longest or timedelta(seconds=seconds + late + 1) > left


@settings(deadline=None)
@given(SPANS, st.integers(7200, 10**6), st.integers(1, 300))
def test_looking_often_enough_a_device_stays_open_to_the_end_and_no_longer(lasts: timedelta, longest: int, every_s: int) -> None:
    """A device, and a server that looks every so many seconds: it never closes before the end, and closes at it."""
    end = NOW + lasts
    sent = seconds_to_send(end, NOW, longest)
    closes, now, renewals = NOW + timedelta(seconds=sent), NOW, 0
    deadline = Deadline(stamp(closes), sent, stamp(end))
    while renewals < 10_000 and now < end:
        step = max(timedelta(seconds=every_s), (closes - now) / 2 - timedelta(seconds=every_s))
        now = min(now + step, end)
        if closes <= now:
            break
        if renewal_due(deadline, datetime.fromisoformat(stamp(end)), now):
            sent, renewals = seconds_to_send(end, now, longest), renewals + 1
            closes = now + timedelta(seconds=sent)
            deadline = Deadline(stamp(closes), sent, stamp(end))
    assert end - timedelta(seconds=6) <= closes <= end
    assert renewals <= 2 * lasts / timedelta(seconds=longest) + 2


def test_an_end_that_was_moved_is_sent_again_at_once() -> None:
    end = NOW + timedelta(hours=10)
    deadline = Deadline(stamp(end), 36_000, stamp(end))
    assert not renewal_due(deadline, end, NOW)
    assert renewal_due(deadline, end + timedelta(hours=1), NOW)


def test_what_closes_too_late_is_corrected_once() -> None:
    end = NOW + timedelta(hours=1)
    late = Deadline(stamp(end + timedelta(seconds=12.5)), 3600, stamp(end))
    assert late_by(late, end) == 13
    assert renewal_due(late, end, NOW)
    again = Deadline(stamp(end + timedelta(seconds=9)), 3587, stamp(end), late_s=13)
    assert not renewal_due(again, end, NOW)
    assert late_by(Deadline(stamp(end + timedelta(seconds=5)), 3600, stamp(end)), end) == 0


@given(SPANS, SPANS)
def test_what_has_closed_is_never_renewed(since: timedelta, left: timedelta) -> None:
    deadline = Deadline(stamp(NOW - since), 100, stamp(NOW + left))
    assert not renewal_due(deadline, NOW + left, NOW)
    assert closed_early(deadline, NOW + left, NOW) == (left > timedelta(seconds=5))


# --- warnings --------------------------------------------------------------------------------------------------------------


@given(SPANS, st.lists(SPANS, max_size=12))
def test_each_warning_is_given_once_and_none_before_the_opening(open_for: timedelta, looks: list[timedelta]) -> None:
    opened, end = NOW, NOW + open_for
    given_, warned = [], 0
    for now in sorted(NOW + look for look in looks):
        hours = warning_due(opened, end, warned, now)
        if hours is not None:
            assert opened < end - timedelta(hours=hours) <= now < end
            given_.append(hours)
            warned = hours
    assert given_ == sorted(set(given_), reverse=True)
    assert set(given_) <= set(WARNED_BEFORE_H)


def test_who_looks_every_minute_gives_all_three() -> None:
    end, warned, given_ = NOW + timedelta(hours=30), 0, []
    for minute in range(30 * 60 + 10):
        hours = warning_due(NOW, end, warned, NOW + timedelta(minutes=minute))
        if hours is not None:
            given_.append((hours, minute))
            warned = hours
    assert given_ == [(24, 6 * 60), (4, 26 * 60), (1, 29 * 60)]


# --- planned re-cuts --------------------------------------------------------------------------------------------------------


@given(st.timedeltas(timedelta(days=-2), timedelta(days=2)))
def test_a_re_cut_waits_is_due_or_asks(after: timedelta) -> None:
    recut = Recut("C1", stamp(NOW), "total", "eviction", "rssi", stamp(NOW))
    now = NOW + after
    assert (now < NOW) + recut.is_due(now) + recut.asks(now) == 1
    assert recut.asks(now) == (after > LATEST)


# --- what `policy check` says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closing", "open_for", "said"),
    [
        (("sms", "payment", "outside-labs"), timedelta(days=30), []),
        ((), timedelta(days=30), []),
        (("sms",), timedelta(days=30), ["after 30d, sms closes by itself and payment does not: one plan cannot do both"]),
        (("sms",), None, ["sms closes by itself, but P5-patients-and-payments opens in no dated window, and for no time"]),
    ],
)
def test_a_stage_says_one_thing_about_its_end(closing: tuple[str, ...], open_for: timedelta | None, said: list[str]) -> None:
    site, policy = valmont()
    name = "P5-patients-and-payments"
    changed = policy.model_copy(
        update={
            "stages": tuple(s.model_copy(update={"open_for": open_for}) if s.name == name else s for s in policy.stages),
            "flows": tuple(f.model_copy(update={"on_expiry": "close"}) if f.name in closing else f for f in policy.flows),
        }
    )
    assert [problem.message for problem in checked_stages(site, changed)] == said
