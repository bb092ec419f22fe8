"""How long a monitor has been saying "no alert", from its reports."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import datetime

from orchestrator.domain.state import MonitorReport, moment


@dataclass(frozen=True)
class Quiet:
    """The unbroken time without alert that ends last (`since` to `until`), and the end of the last period with one.
    None: nothing was said."""

    since: datetime | None
    until: datetime | None
    alert_until: datetime | None


def quiet(reports: Iterable[MonitorReport], zones: Set[str], now: datetime) -> Quiet:
    """What the reports say of these zones. "No alert" is believed of zones that the report covers, all of them; an alert
    is feared in every zone that it covers. Reports that touch or overlap are one period; a gap is silence."""
    past = [report for report in reports if moment(report.until) <= now]
    alerts = [moment(report.until) for report in past if report.alerts and zones & set(report.coverage)]
    alert_until = max(alerts, default=None)
    spans = sorted((moment(r.since), moment(r.until)) for r in past if not r.alerts and zones <= set(r.coverage))
    since = until = None
    for start, end in spans:
        if until is None or start > until:
            since, until = start, end
        else:
            until = max(until, end)
    if since is not None and until is not None and alert_until is not None:
        since = max(since, alert_until)  # before that it was not quiet, whatever another report says
        if since >= until:
            since = until = None
    return Quiet(since, until, alert_until)
