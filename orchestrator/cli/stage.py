"""`orchestrator stage`: plan, vote, apply, cancel and revert the stages of the reopening."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from orchestrator.cli import exit_codes, stage_diff, stage_extend, stage_next
from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.signing import sign
from orchestrator.cli.stage_text import of_list, of_stage, to_be_signed
from orchestrator.domain.plain_text import shown
from orchestrator.errors import UsageError

NAMESPACE = "reconnect-approval@v1"
RESUME = "resume"
RUNNING = ("applying", "verifying", "observing", "reverting")
POLL_S = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("stage", help="plan, vote, apply, verify and open a stage", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def verb(name: str, help_: str, func: Any, *, stage: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=help_)
        if stage:
            made.add_argument("stage")
        add_options(made)
        made.set_defaults(func=func)
        return made

    stage_next.add_verb(verbs)
    stage_diff.add_verb(verbs)
    stage_extend.add_verb(verbs)
    verb("list", "all stages, in order", run_list, stage=False)
    verb("show", "one stage: state, plan, votes, what it waits for", run_show)
    plan = verb("plan", "make its plan", run_plan)
    plan.add_argument("--partner", action="append", metavar="NAME", help="only this partner (repeatable); the others are deferred")
    plan.add_argument("--from", dest="starts", metavar="TIME", help="of a dated window: RFC 3339, without a zone in the site's, or `now`")
    plan.add_argument("--until", dest="ends", metavar="TIME", help="its end, on the devices")
    vote = verb("vote", "sign and hand in your vote on its plan", run_vote)
    vote.add_argument("--key", type=Path, required=True, metavar="FILE", help="your private key, or the public one of a key in your agent")
    vote.add_argument("--deny", action="store_true")
    vote.add_argument("--reason", default="", metavar="TEXT", help="needed for a denial")
    vote.add_argument("--yes", action="store_true", help="do not ask before signing")
    for name, help_ in (("apply", "open it"), ("revert", "close it again")):
        begun = verb(name, help_, run_begun)
        begun.add_argument("--wait", action="store_true", help="until it has come to an end; prints each step")
        if name == "revert":
            begun.add_argument("--reason", default="", metavar="TEXT")
    defer = verb("defer", "leave it closed by decision, for the stage that lifts the layer", run_defer)
    defer.add_argument("--reason", required=True, metavar="TEXT")
    verb("cancel", "drop its plan", run_cancel).add_argument("--reason", default="", metavar="TEXT")


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/stages")
    show(arguments, answer, of_list(answer))
    return exit_codes.OK


def run_show(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get(f"/v1/stages/{arguments.stage}")
    show(arguments, answer, of_stage(answer))
    return exit_codes.OK


def run_plan(arguments: argparse.Namespace) -> int:
    body: dict[str, Any] = {"partners": arguments.partner} if arguments.partner else {}
    if arguments.starts or arguments.ends:
        body["window"] = {"starts": arguments.starts or "", "ends": arguments.ends or ""}
    answer = Client(arguments).post(f"/v1/stages/{arguments.stage}/plan", body)
    show(arguments, answer, of_stage(answer))
    return exit_codes.OK


def run_vote(arguments: argparse.Namespace) -> int:
    """Shows what is voted on before it is signed; asks at a terminal. Exit code 4 when the vote is refused."""
    client = Client(arguments)
    path = f"/v1/stages/{arguments.stage}"
    choice = "deny" if arguments.deny else "approve"
    statement = client.get(f"{path}/vote-statement", choice=choice, reason=arguments.reason)["statement"]
    stage = client.get(path)
    if not arguments.json:
        print(shown(to_be_signed(json.loads(statement), stage)))
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask at", advice="--yes signs without asking")
        if input(f"sign and {choice}? [y/N] ").strip().lower() not in ("y", "yes", "o", "oui"):
            print("nothing was signed")
            return exit_codes.REFUSED
    answer = client.post(f"{path}/votes", {"statement": statement, "signature": sign(arguments.key, NAMESPACE, statement)})
    needed = ", ".join(f"{count} {role}" for role, count in answer["still_needed"].items())
    show(
        arguments,
        answer,
        f"vote recorded: {choice}; {answer['stage']} is {answer['state']}" + (f", still needed: {needed}" if needed else ""),
    )
    return exit_codes.OK


def run_cancel(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post(f"/v1/stages/{arguments.stage}/cancel", {"reason": arguments.reason})
    show(arguments, answer, f"{answer['stage']} is {answer['state']}")
    return exit_codes.OK


def run_defer(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post(f"/v1/stages/{arguments.stage}/defer", {"reason": arguments.reason})
    show(arguments, answer, f"{answer['stage']} is {answer['state']}: {answer['detail']}")
    return exit_codes.OK


def run_begun(arguments: argparse.Namespace) -> int:
    """With --wait: exit code 0 when it ended as asked for (all that was planned is open; reverted), 2 when not."""
    client = Client(arguments)
    path = f"/v1/stages/{arguments.stage}"
    body = {"reason": arguments.reason} if arguments.action == "revert" else None
    answer = client.post(f"{path}/{arguments.action}", body)
    if arguments.wait:
        answer = _follow(client, path, answer, quiet=arguments.json)
    show(arguments, answer, f"{answer['stage']} is {answer['state']}" + (f": {answer['detail']}" if answer["detail"] else ""))
    reached = _all_open(answer) if arguments.action == "apply" else answer["state"] == "reverted"
    return exit_codes.OK if not arguments.wait or reached else exit_codes.PARTIAL


def _all_open(stage: dict[str, Any]) -> bool:
    """Everything that the plan was to open: what it left out may be closed, and of a resumption all is back."""
    if stage["stage"] == RESUME:
        return stage["state"] == "ended" and "; not: " not in stage["detail"]
    left_out = {"open", "deferred"}.issuperset(one["state"] for one in stage["conversations"])
    return stage["state"] == "open" or (stage["state"] == "partially-open" and left_out)


def _follow(client: Client, path: str, answer: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    state = ""
    while answer["state"] in RUNNING:
        if answer["state"] != state and not quiet:
            print(f"{answer['since']}  {answer['state']}", flush=True)
        state = answer["state"]
        time.sleep(POLL_S)
        answer = client.get(path)
    return answer
