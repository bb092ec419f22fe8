"""How often a device that cannot be read is tried again, and how often the log says so.

A table of waits and not a retry library: those (tenacity) repeat a call and sleep in between, in one thread; here a chore looks
at what is due, and what was tried outlives no process. The waits double up to a cap: a device that comes back is noticed within
seconds at first, within five minutes after a long night, and an old switch is not kept busy with logins.
"""

from __future__ import annotations

WAITS_S = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
LONGEST_S = 300.0


def wait_after(tries: int) -> float:
    """Seconds until the next try, after so many that failed (from 1)."""
    return WAITS_S[tries - 1] if 0 < tries <= len(WAITS_S) else LONGEST_S


def is_recorded(tries: int) -> bool:
    """The 1st, 2nd, 4th, 8th … failed try is written to the log: a device that stays away for a month fills nothing."""
    return tries > 0 and tries & (tries - 1) == 0
