"""`orchestrator monitor report MONITOR`: what a monitor says of a time that has passed: so many alerts, in these zones.

What a report does not speak of is silence, and silence is not "no alert".
"""

from __future__ import annotations

import argparse

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.records import add_document, digest_of


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("monitor", help="what the monitors say", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    report = verbs.add_parser("report", help="record a report")
    report.add_argument("monitor", help="as the gates of the stages name it")
    report.add_argument("--since", required=True, metavar="TIME", help="for example 2026-06-24T08:00:00Z")
    report.add_argument("--until", metavar="TIME", help="default: now")
    report.add_argument("--alerts", type=int, required=True, metavar="N")
    report.add_argument("--coverage", nargs="+", required=True, metavar="ZONE", help="the zones that it watched all that time")
    add_document(report)
    add_options(report)
    report.set_defaults(func=run_report)
    listing = verbs.add_parser("list", help="all reports")
    add_options(listing)
    listing.set_defaults(func=run_list)


def run_report(arguments: argparse.Namespace) -> int:
    body = {
        "monitor": arguments.monitor,
        "since": arguments.since,
        "until": arguments.until,
        "alerts": arguments.alerts,
        "coverage": arguments.coverage,
        "document_sha256": digest_of(arguments),
        "note": arguments.note,
    }
    answer = Client(arguments).post("/v1/monitor-reports", body)
    show(arguments, answer, f"recorded: {_line(answer)}, event {answer['seq']}")
    return OK


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/monitor-reports")
    show(arguments, answer, "\n".join(f"{report['at']}  {_line(report)}, by {report['by']}" for report in answer) or "no reports yet")
    return OK


def _line(report: dict[str, object]) -> str:
    zones = report["coverage"]
    assert isinstance(zones, list)
    alerts = f"{report['alerts']} alerts" if report["alerts"] else "no alert"
    return f"{report['monitor']}: {alerts} from {report['since']} to {report['until']} in {', '.join(zones)}"
