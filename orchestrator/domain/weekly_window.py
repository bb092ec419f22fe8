"""Weekly windows in local time: whether one is open, and how long until the next one.

Local times are read in the site's time zone, with its changes of clock: a window from 22:00 to 06:00 is an hour longer or
shorter in the nights of the change. (The time zone comes from the tz database of the machine.)
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from orchestrator.domain.gates import WeeklyWindow

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NIGHT = timedelta(days=1)


@lru_cache(maxsize=8)
def time_zone(name: str) -> ZoneInfo | None:
    """The time zone of this IANA name; None when this machine knows none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def opens_in(window: WeeklyWindow, zone: ZoneInfo, now: datetime) -> timedelta | None:
    """Zero when a window is open at `now`, else the time until the next one opens; None when none ever will again."""
    earliest = max(now, window.not_before) if window.not_before is not None else now
    first = earliest.astimezone(zone).date() - _NIGHT  # a window of yesterday may last until today
    for days in range(10):  # a week, and the nights around it
        span = _span(window, zone, first + timedelta(days=days))
        if span is None:
            continue
        start, end = span
        if end > now:
            return max(start - now, timedelta(0))
    return None


def _span(window: WeeklyWindow, zone: ZoneInfo, day: date) -> tuple[datetime, datetime] | None:
    """The window that opens on this day, in UTC, within `not_before` and `not_after`; None when there is none."""
    if _DAYS[day.weekday()] not in window.days:
        return None
    opens, closes = time.fromisoformat(window.opens), time.fromisoformat(window.closes)
    start = datetime.combine(day, opens, zone).astimezone(UTC)
    end = datetime.combine(day if closes > opens else day + _NIGHT, closes, zone).astimezone(UTC)
    if window.not_before is not None:
        start = max(start, window.not_before)
    if window.not_after is not None:
        end = min(end, window.not_after)
    return (start, end) if start < end else None
