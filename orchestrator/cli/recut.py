"""`orchestrator recut`: a cut-off at a date (the day on which the attacker is evicted). One person schedules it, without votes.

At its date the server starts `orchestrator cutoff` as a process of its own. A server that was down and comes back within an hour
starts it at once; later than that it asks: cut off by hand, or cancel it.
"""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.cli import exit_codes
from orchestrator.cli.client import Client, add_options, show

Json = dict[str, Any]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("recut", help="schedule a cut-off at a date", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def verb(name: str, help_: str, func: Any) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=help_)
        add_options(made)
        made.set_defaults(func=func)
        return made

    made = verb("schedule", "schedule one", run_schedule)
    made.add_argument("--at", required=True, metavar="TIME", help="RFC 3339; without a zone, in the site's")
    made.add_argument("--profile", required=True, metavar="NAME", help="isolation profile")
    made.add_argument("--reason", required=True, metavar="TEXT")
    verb("list", "all of them", run_list)
    cancelled = verb("cancel", "cancel one", run_cancel)
    cancelled.add_argument("recut", metavar="ID", help="as `recut list` shows it")
    cancelled.add_argument("--reason", required=True, metavar="TEXT")


def run_schedule(arguments: argparse.Namespace) -> int:
    body = {"at": arguments.at, "profile": arguments.profile, "reason": arguments.reason}
    answer = Client(arguments).post("/v1/recuts", body)
    show(arguments, answer, of_recut(answer))
    return exit_codes.OK


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/recuts")
    show(arguments, answer, "\n".join(of_recut(item) for item in answer) or "none")
    return exit_codes.OK


def run_cancel(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post(f"/v1/recuts/{arguments.recut}/cancel", {"reason": arguments.reason})
    show(arguments, answer, of_recut(answer))
    return exit_codes.OK


def of_recut(item: Json) -> str:
    """One line; a second one for what waits for a person."""
    over = f", {item['state']} at {item['ended_at']} by {item['ended_by']}: {item['ended_because']}" if item["ended_at"] else ""
    when = f"{item['at']} ({item['at_local']})"
    line = f"{item['id']} {item['state']}: profile {item['profile']} at {when}, by {item['by']}: {item['reason']}"
    asks = f"\n  MISSED · MANQUÉE: orchestrator cutoff --profile {item['profile']}, or orchestrator recut cancel {item['id']} --reason TEXT"
    return line + over + (asks if item["asks"] else "")
