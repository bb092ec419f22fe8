"""`orchestrator incident`: name the incident, see and judge its cut-offs, order one through the server.

`incident cut` asks the server; `orchestrator cutoff` needs none, and is what to use when in doubt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from orchestrator.cli.client import Client, Json, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.tables import table


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("incident", help="name it; its cut-offs and what is said of them", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def verb(name: str, help_: str, func: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=help_)
        add_options(made)
        made.set_defaults(func=func)
        return made

    declare = verb("declare", "give the incident its name", run_declare)
    declare.add_argument("name", metavar="NAME")
    declare.add_argument("--title", required=True, metavar="TEXT")
    verb("list", "all of them", run_list)
    verb("show", "one of them", run_show).add_argument("name", metavar="NAME")
    verb("cuts", "its cut-offs, who ordered them, what was said of them", run_cuts)
    cut = verb("cut", "cut off now, through the server", run_cut)
    cut.add_argument("--profile", metavar="NAME", help="default: the policy's")
    cut.add_argument("--reason", required=True, metavar="TEXT")
    for name, help_ in (("ratify", "say that a cut-off was right"), ("contest", "say that it was not; opens nothing")):
        judge = verb(name, help_, run_judge)
        judge.add_argument("epoch", type=int, metavar="EPOCH", help="as `incident cuts` shows it")
        judge.add_argument("--reason", required=True, metavar="TEXT")


def run_declare(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post("/v1/incidents", {"name": arguments.name, "title": arguments.title})
    show(arguments, answer, f"declared: {answer['name']}: {answer['title']}")
    return OK


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/incidents")
    show(arguments, answer, table(answer, ("at", "name", "by", "title")) or "none is declared")
    return OK


def run_show(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get(f"/v1/incidents/{arguments.name}")
    show(arguments, answer, table([answer], ("at", "name", "by", "title")))
    return OK


def run_cuts(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/cutoffs")
    show(arguments, answer, "\n".join(of_cut(one) for one in answer) or "none")
    return OK


def run_cut(arguments: argparse.Namespace) -> int:
    body = {"reason": arguments.reason, **({"profile": arguments.profile} if arguments.profile else {})}
    answer = Client(arguments).post("/v1/cutoffs", body)
    show(arguments, answer, f"the emergency command has been started with profile {answer['profile']}\n  → orchestrator status")
    return OK


def run_judge(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post(f"/v1/cutoffs/{arguments.epoch}/{arguments.action}", {"reason": arguments.reason})
    show(arguments, answer, of_cut(answer))
    return OK


def of_cut(one: Json) -> str:
    """One cut-off, and below it what authorities said of it."""
    line = f"{one['epoch']}  {one['at']}  {one['verdict']}: profile {one['profile']}, by {one['by']}: {one['reason'] or '-'}"
    said = [
        f"  {'ratified · ratifiée' if said['ratified'] else 'CONTESTED · CONTESTÉE'} by {said['by']} at {said['at']}: {said['reason']}"
        for said in one["judgements"]
    ]
    return "\n".join([line, *said])
