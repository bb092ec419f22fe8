"""`orchestrator waiver`: go on without a gate for a while (*dérogation*): one person requests it, another grants it.

It names its reason and the risk that is accepted, ends within 30 days, and is listed everywhere until then. No waiver stands
for a vote, a predecessor, eradication or care.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.stage_text import of_waiver


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("waiver", help="request, grant and end waivers of gates", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def verb(name: str, help_: str, func: Any) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=help_)
        add_options(made)
        made.set_defaults(func=func)
        return made

    request = verb("request", "ask for one; it stands for nothing before it is granted", run_request)
    request.add_argument("stage")
    request.add_argument("gate", help="its id, as `orchestrator stage show` lists it")
    request.add_argument("--partner", metavar="NAME", help="for this partner only")
    request.add_argument("--reason", required=True, metavar="TEXT", help="why the gate cannot wait")
    request.add_argument("--risk", required=True, metavar="TEXT", help="the risk that is accepted")
    until = request.add_mutually_exclusive_group(required=True)
    until.add_argument("--until", metavar="TIME", help="for example 2026-07-01T12:00:00Z; at most 30 days from now")
    until.add_argument("--days", type=int, metavar="N")
    verb("grant", "grant another person's", run_move).add_argument("waiver")
    end = verb("end", "take it back, or say that it is not granted", run_move)
    end.add_argument("waiver")
    end.add_argument("--reason", default="", metavar="TEXT")
    verb("list", "all of them, those that are over too", run_list)


def run_request(arguments: argparse.Namespace) -> int:
    until = arguments.until or (datetime.now(UTC) + timedelta(days=arguments.days)).isoformat(timespec="seconds")
    body = {
        "stage": arguments.stage,
        "gate": arguments.gate,
        "partner": arguments.partner,
        "reason": arguments.reason,
        "accepted_risk": arguments.risk,
        "until": until,
    }
    answer = Client(arguments).post("/v1/waivers", body)
    show(arguments, answer, f"requested: {of_waiver(answer)}\n  → another person: orchestrator waiver grant {answer['id']}")
    return OK


def run_move(arguments: argparse.Namespace) -> int:
    body = {"reason": arguments.reason} if arguments.action == "end" else None
    answer = Client(arguments).post(f"/v1/waivers/{arguments.waiver}/{arguments.action}", body)
    show(arguments, answer, f"{answer['state']}: {of_waiver(answer)}")
    return OK


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/waivers")
    lines = [f"{'in force' if waiver['in_force'] else waiver['state']:<10} {of_waiver(waiver)}" for waiver in answer]
    show(arguments, answer, "\n".join(lines) or "no waivers")
    return OK
