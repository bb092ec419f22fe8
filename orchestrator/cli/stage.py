"""`orchestrator stage list | show | plan | vote | apply | cancel | revert`: the reopening, stage after stage."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import exit_codes

if TYPE_CHECKING:
    from orchestrator.cli.client import Client

NAMESPACE = "reconnect-approval@v1"
RUNNING = ("applying", "verifying", "observing", "reverting")
POLL_S = 0.3


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = subparsers.add_parser("stage", help="plan, vote, apply and open a stage", description=__doc__).add_subparsers(
        dest="stage_verb", metavar="VERB", required=True
    )
    _verb(verbs, "list", "every stage and its state", _list, named=False)
    _verb(verbs, "show", "one stage: state, plan, votes", _show)
    plan = _verb(verbs, "plan", "make the plan that people vote on", _plan)
    plan.add_argument("--partner", action="append", default=None, metavar="NAME", help="only this partner (once per partner)")
    vote = _verb(verbs, "vote", "sign and hand in your vote", _vote)
    vote.add_argument("--key", type=Path, required=True, metavar="FILE", help="your SSH key")
    vote.add_argument("--deny", action="store_true", help="vote against; needs a reason")
    vote.add_argument("--reason", default="", metavar="TEXT")
    vote.add_argument("--yes", action="store_true", help="do not ask again after showing what is voted on")
    for name, help_, function in (("apply", "carry out an approved stage", _apply), ("revert", "close it again; needs no vote", _revert)):
        parser = _verb(verbs, name, help_, function)
        parser.add_argument("--wait", action="store_true", help="until it has ended, telling each state")
        parser.add_argument("--timeout", type=float, default=3600.0, metavar="S", help="with --wait: at most so many seconds")
        if name == "revert":
            parser.add_argument("--reason", required=True, metavar="TEXT")
    _verb(verbs, "cancel", "give up a plan", _cancel).add_argument("--reason", required=True, metavar="TEXT")


def _verb(verbs: Any, name: str, help_: str, function: Any, *, named: bool = True) -> argparse.ArgumentParser:
    from orchestrator.cli.client import add_connection

    parser: argparse.ArgumentParser = verbs.add_parser(name, help=help_)
    if named:
        parser.add_argument("stage", metavar="STAGE")
    add_connection(parser)
    parser.set_defaults(func=function)
    return parser


def _client(args: argparse.Namespace) -> Client:
    from orchestrator.cli.client import Client

    return Client(args)


def _list(args: argparse.Namespace) -> int:
    stages = _client(args).get("/v1/stages")["stages"]
    if args.json:
        print(json.dumps({"stages": stages}, ensure_ascii=False))
        return exit_codes.OK
    for stage in stages:
        print(f"{stage['stage']:<24} {stage['state']:<18} {stage.get('title', {}).get('en', '')}")
    return exit_codes.OK


def _show(args: argparse.Namespace) -> int:
    _tell(args, _client(args).get(f"/v1/stages/{args.stage}"))
    return exit_codes.OK


def _plan(args: argparse.Namespace) -> int:
    _tell(args, _client(args).post(f"/v1/stages/{args.stage}/plan", {"partners": args.partner} if args.partner else {}))
    return exit_codes.OK


def _vote(args: argparse.Namespace) -> int:
    from orchestrator.cli.ssh_sign import sign
    from orchestrator.errors import UsageError

    client = _client(args)
    choice = "deny" if args.deny else "approve"
    statement = client.get(f"/v1/stages/{args.stage}/vote-statement", choice=choice, reason=args.reason)["statement"]
    if not args.yes:
        print(_lines(client.get(f"/v1/stages/{args.stage}")), file=sys.stderr)
        if not sys.stdin.isatty():
            raise UsageError("a vote is asked for again at a terminal", advice="--yes when you have read what is voted on")
        if (
            input(f"{choice} {args.stage}, as {client.person}? Type the first 8 characters of the plan's digest: ")
            != (json.loads(statement)["plan_digest"][:8])
        ):
            raise UsageError("that is not the plan's digest: no vote was cast")
    signature = sign(args.key, NAMESPACE, statement.encode())
    stage = client.post(f"/v1/stages/{args.stage}/votes", {"statement": statement, "signature": signature})
    if args.json:
        print(json.dumps(stage, ensure_ascii=False))
    else:
        print(f"{client.person} votes {choice} on plan {json.loads(statement)['plan_digest'][:16]}…: {args.stage} is {stage['state']}")
    return exit_codes.OK


def _apply(args: argparse.Namespace) -> int:
    return _watched(args, _client(args).post(f"/v1/stages/{args.stage}/apply"), wanted="open")


def _revert(args: argparse.Namespace) -> int:
    return _watched(args, _client(args).post(f"/v1/stages/{args.stage}/revert", {"reason": args.reason}), wanted="reverted")


def _cancel(args: argparse.Namespace) -> int:
    _tell(args, _client(args).post(f"/v1/stages/{args.stage}/cancel", {"reason": args.reason}))
    return exit_codes.OK


def _watched(args: argparse.Namespace, stage: dict[str, Any], *, wanted: str) -> int:
    """With --wait, tells each state until it has ended. Exit 0 when it ended as wanted, else 2."""
    if not args.wait:
        _tell(args, stage)
        return exit_codes.OK
    client, ends, said = _client(args), time.monotonic() + args.timeout, ""
    while time.monotonic() < ends:
        stage = client.get(f"/v1/stages/{args.stage}")
        if stage["state"] != said and not args.json:
            said = stage["state"]
            print(f"{args.stage} is {said}{' — ' + stage['detail'] if stage.get('detail') else ''}", flush=True)
        if stage["state"] not in RUNNING:
            break
        time.sleep(POLL_S)
    if args.json:
        print(json.dumps(stage, ensure_ascii=False))
    return exit_codes.OK if stage["state"] == wanted else exit_codes.PARTIAL


def _tell(args: argparse.Namespace, stage: dict[str, Any]) -> None:
    print(json.dumps(stage, ensure_ascii=False) if args.json else _lines(stage))


def _lines(stage: dict[str, Any]) -> str:
    """What a person must see before voting: state, digest, what becomes possible, on which devices, who voted."""
    lines = [f"{stage['stage']} is {stage['state']}"]
    if stage.get("detail"):
        lines.append(f"  {stage['detail']}")
    plan = stage.get("plan")
    if plan:
        if plan.get("rehearsal"):
            lines.append("  REHEARSAL")
        lines.append(f"  plan     sha256:{stage['plan_digest']}  by {stage.get('proposer', '?')}")
        lines += [
            f"  opens    {line['source']} → {line['destination']} {line['service']}  ({line['flow']}, {line['partner']}; "
            f"enforced by {', '.join(line['through'])})"
            for line in plan["becomes_possible"]
        ]
        lines += [
            f"  changes  {device['device']}: {len(device['change']['openings'])} openings"
            + (f", releases {', '.join(device['change']['releases'])}" if device["change"]["releases"] else "")
            for device in plan["devices"]
        ]
    lines += [f"  vote     {vote['choice']} by {vote['person']}" for vote in stage.get("votes", [])]
    return "\n".join(lines)
