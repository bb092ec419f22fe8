"""Dated windows: from when to when a stage is open. Read from people's words, refused where they cannot be kept, shown in UTC
and in the site's time.

A window is part of its plan, of the plan's digest and of what its voters sign. Its end is on the device; no one need be there.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orchestrator.domain import conditions
from orchestrator.domain.decide_records import time
from orchestrator.domain.making import stamp
from orchestrator.domain.plan import Plan, Window
from orchestrator.domain.policy import Stage
from orchestrator.domain.stage_names import base
from orchestrator.domain.stages import LETS_THROUGH, RUNNING, VOTING, StageState
from orchestrator.domain.state import SiteState, StageStatus, moment
from orchestrator.domain.weekly_window import time_zone
from orchestrator.errors import IllegalTransition, Refused, UsageError

NOW = "now"


def read_time(text: str, timezone: str) -> datetime:
    """A time as people give it, in UTC: RFC 3339, or without a zone in the site's (an IANA name).

    Raises UsageError for what is no time, and for a local time that a change of clocks leaves out or brings twice.
    """
    try:
        naive = datetime.fromisoformat(text)
    except ValueError:
        naive = None
    if naive is None or naive.tzinfo is not None:
        return time(text).astimezone(UTC)
    zone = time_zone(timezone)
    if zone is None:
        raise UsageError(f"{text!r} has no time zone, and this machine does not know {timezone}", advice="for example 2026-07-01T12:00:00Z")
    offsets = {naive.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1)}
    if len(offsets) > 1:
        what = "there is no" if _left_out(naive, timezone) else "there are two times"
        raise UsageError(f"{what} {text} in {timezone}: the clocks change", advice="give the offset, for example 2026-10-25T02:30:00+02:00")
    return time(naive.replace(tzinfo=zone).isoformat()).astimezone(UTC)


def _left_out(naive: datetime, timezone: str) -> bool:
    zone = time_zone(timezone)
    return naive.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != naive


def local(at: str, timezone: str) -> str:
    """The same time as clocks on the site show it, with its offset; as it is where the zone is not known."""
    zone = time_zone(timezone)
    return moment(at).astimezone(zone).isoformat(timespec="seconds") if zone is not None else at


def window_of(state: SiteState, starts: str, ends: str, now: datetime) -> Window:
    """The window that these words mean; `now` as a start is this moment. Raises UsageError."""
    timezone = conditions.in_force(state).policy.timezone
    if not starts or not ends:
        raise UsageError("a window has a start and an end", advice="--from TIME --until TIME")
    begin = now if starts == NOW else read_time(starts, timezone)
    return Window(starts=stamp(begin), ends=stamp(read_time(ends, timezone)))


def require_window(state: SiteState, plan: Plan, now: datetime) -> None:
    """Raises Refused (rules `window-missing`, `window-not-asked`, `window-times`, `window-one-at-a-time`) unless the plan has
    the window that its stage asks for, and one that can be kept."""
    stage = conditions.declared(state, plan.stage)
    if stage.window is None:
        if plan.window is not None:
            raise Refused(
                f"{plan.stage} opens in no dated window",
                rule="window-not-asked",
                advice="plan it without --from and --until" + _lasts(stage),
            )
        if plan.on_expiry == "close" and stage.open_for is None:
            raise Refused(
                f"{plan.stage} closes by itself, and nothing says when", rule="window-missing", advice="give the stage a `window`"
            )
        return
    if plan.window is None:
        raise Refused(
            f"{plan.stage} opens in dated windows only", rule="window-missing", advice="say from when to when: --from TIME --until TIME"
        )
    _require_times(stage, plan, plan.window, now)
    if len(plan.partners) > 1:
        raise Refused(
            f"{plan.stage} opens to one partner at a time, not to {', '.join(plan.partners)}",
            rule="window-one-at-a-time",
            advice=f"--partner {plan.partners[0]}, and a window of its own for each of the others",
        )
    for other in overlapping(state, plan.stage, plan.window):
        assert other.plan is not None
        raise Refused(
            f"{other.name} is {other.state} for {', '.join(other.plan.partners)} in that time",
            rule="window-one-at-a-time",
            advice=f"begin at {_ends(other)} or later, or close {other.name} first",
        )


def _require_times(stage: Stage, plan: Plan, window: Window, now: datetime) -> None:
    assert stage.window is not None
    starts, ends, longest = moment(window.starts), moment(window.ends), stage.window.longest
    votable = now + timedelta(seconds=plan.expires_after_s)
    if ends <= starts:
        message, advice = f"the window ends ({window.ends}) before it begins ({window.starts})", "--from TIME --until a later TIME"
    elif starts < now - timedelta(milliseconds=1):  # times are kept in milliseconds
        message, advice = f"the window begins in the past ({window.starts})", "--from now, or a later time"
    elif ends - starts > longest:
        message, advice = f"the window lasts {ends - starts}, longer than the policy lets it ({longest})", "make it shorter"
    elif starts > votable:
        message = f"the plan can be voted on until {stamp(votable)}, and the window begins after that ({window.starts})"
        advice = "plan it nearer to its start, or ratify a longer `plan_expiry`"
    else:
        return
    raise Refused(f"{stage.name}: {message}", rule="window-times", advice=advice)


def _lasts(stage: Stage) -> str:
    return f": it is open for {stage.open_for} from its opening on" if stage.open_for is not None else ""


def _ends(status: StageStatus) -> str:
    assert status.plan is not None
    return status.ends_at or (status.plan.window.ends if status.plan.window is not None else "")


def overlapping(state: SiteState, stage: str, window: Window) -> tuple[StageStatus, ...]:
    """The same stage under another name (its supplements), whose window lies in that time and is planned or open."""
    return tuple(
        other
        for other in state.stages.values()
        if other.name != stage
        and base(other.name) == base(stage)
        and other.state in VOTING | RUNNING | LETS_THROUGH | {StageState.FAILED}
        and other.plan is not None
        and other.plan.window is not None
        and moment(other.plan.window.starts) < moment(window.ends)
        and moment(window.starts) < moment(_ends(other))
    )


def require_open_now(status: StageStatus, now: datetime) -> None:
    """Raises IllegalTransition (rules `window-not-begun`, `window-over`) outside of the window of its plan."""
    window = status.plan.window if status.plan is not None else None
    if window is None:
        return
    if now < moment(window.starts):
        raise IllegalTransition(
            f"{status.name} opens at {window.starts}, and not before",
            rule="window-not-begun",
            advice="nothing to do: the server opens it by itself then, if every condition holds",
        )
    if now >= moment(window.ends):
        raise IllegalTransition(f"the window of {status.name} was over at {window.ends}", rule="window-over", advice="plan another one")


def due_to_open(state: SiteState, now: datetime) -> tuple[StageStatus, ...]:
    """Approved stages whose window has begun and is not over."""
    return tuple(
        status
        for status in state.stages.values()
        if status.state is StageState.APPROVED
        and status.plan is not None
        and status.plan.window is not None
        and moment(status.plan.window.starts) <= now < moment(status.plan.window.ends)
    )
