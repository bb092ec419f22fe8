"""Indicators of compromise that nobody has answered: a monitor's reports with alerts, of this incident, which no later report
of the same monitor calls quiet again.
"""

from __future__ import annotations

from datetime import datetime

from orchestrator.domain.quiet import quiet
from orchestrator.domain.state import MonitorReport, SiteState, moment
from orchestrator.domain.unmet import Unmet

RULE = "indicator-open"


def open_indicators(state: SiteState, now: datetime) -> tuple[MonitorReport, ...]:
    """Each report with alerts since the incident began, unless the same monitor has since said "no alert" of all of its zones."""
    return tuple(
        report for report in state.monitor_reports if report.alerts and _counts(state, report) and not _answered(state, report, now)
    )


def unmet(state: SiteState, now: datetime) -> tuple[Unmet, ...]:
    """What holds back whatever asks for no open indicator."""
    return tuple(
        Unmet(
            RULE,
            f"{report.monitor} reported {report.alerts} alerts in {', '.join(report.coverage)} until {report.until}, and not quiet since",
            f"examine it; then: orchestrator monitor report {report.monitor} --since {report.until} --alerts 0 --coverage "
            f"{' '.join(report.coverage)} --file FILE",
        )
        for report in open_indicators(state, now)
    )


def _counts(state: SiteState, report: MonitorReport) -> bool:
    since = report.seq > state.incident_seq or (bool(state.incident_since) and moment(report.until) >= moment(state.incident_since))
    return state.counts(report.rehearsal) and since


def _answered(state: SiteState, report: MonitorReport, now: datetime) -> bool:
    theirs = [other for other in state.monitor_reports if other.monitor == report.monitor and state.counts(other.rehearsal)]
    said = quiet(theirs, frozenset(report.coverage), now)
    return said.until is not None and said.until > moment(report.until)
