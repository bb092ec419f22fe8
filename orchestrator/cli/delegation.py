"""`orchestrator delegation`: lend roles of yours to somebody for a while, take that back, see who stands in for whom."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from orchestrator.cli import exit_codes
from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.signing import sign
from orchestrator.domain.plain_text import shown
from orchestrator.errors import UsageError

NAMESPACE = "reconnect-delegation@v1"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("delegation", help="lend roles of yours for a while", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    grant = verbs.add_parser("grant", help="sign and hand in a delegation of roles of yours, for 7 days at most")
    grant.add_argument("taker", help="who acts instead of you")
    grant.add_argument("--role", action="append", required=True, metavar="ROLE", help="a role of yours (repeatable)")
    grant.add_argument("--application", action="append", metavar="NAME", help="which of yours, for application-owner (repeatable)")
    grant.add_argument("--hours", type=int, default=24, metavar="N", help="it runs for so long, from now on (default: %(default)s)")
    grant.add_argument("--reason", required=True, metavar="TEXT")
    grant.add_argument("--key", type=Path, required=True, metavar="FILE", help="your private key, or the public one of a key in your agent")
    grant.add_argument("--yes", action="store_true", help="do not ask before signing")
    add_options(grant)
    grant.set_defaults(func=run_grant)
    revoke = verbs.add_parser("revoke", help="take one back, at once: its giver, or a security officer")
    revoke.add_argument("delegation", help="as `orchestrator delegation list` names it")
    revoke.add_argument("--reason", default="", metavar="TEXT")
    add_options(revoke)
    revoke.set_defaults(func=run_revoke)
    list_ = verbs.add_parser("list", help="all of them: of the policy, and granted since")
    add_options(list_)
    list_.set_defaults(func=run_list)


def run_grant(arguments: argparse.Namespace) -> int:
    """Shows what is lent before it is signed; asks at a terminal."""
    client = Client(arguments)
    query: dict[str, str | list[str]] = {
        "taker": arguments.taker,
        "role": arguments.role,
        "minutes": str(arguments.hours * 60),
        "reason": arguments.reason,
    }
    if arguments.application:
        query["application"] = arguments.application
    statement = client.get("/v1/delegations/statement", **query)["statement"]
    if not arguments.json:
        print(shown(_to_be_signed(json.loads(statement))))
    if not arguments.yes:
        if not sys.stdin.isatty():
            raise UsageError("there is no terminal to ask at", advice="--yes signs without asking")
        if input("sign and lend? [y/N] ").strip().lower() not in ("y", "yes", "o", "oui"):
            print("nothing was signed")
            return exit_codes.REFUSED
    answer = client.post("/v1/delegations", {"statement": statement, "signature": sign(arguments.key, NAMESPACE, statement)})
    show(arguments, answer, f"recorded: {_line(answer)}")
    return exit_codes.OK


def run_revoke(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post(f"/v1/delegations/{arguments.delegation}/revoke", {"reason": arguments.reason})
    show(arguments, answer, f"taken back: {_line(answer)}")
    return exit_codes.OK


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/delegations")
    show(arguments, answer, "\n".join(_line(item) for item in answer) or "nobody stands in for anybody")
    return exit_codes.OK


def _line(item: dict[str, Any]) -> str:
    applications = f" ({', '.join(item['applications'])})" if item["applications"] else ""
    when = f"from {item['starts']} to {item['ends']}"
    now = "runs" if item["runs"] else f"taken back at {item['revoked_at']}" if item["revoked_at"] else "does not run now"
    lent = f"{', '.join(item['roles'])}{applications}"
    return f"{item['delegation']}: {item['giver']} → {item['taker']}, {lent}, {when}, by {item['by']}; {now}"


def _to_be_signed(statement: dict[str, Any]) -> str:
    applications = f" for {', '.join(statement['applications'])}" if statement["applications"] else ""
    return (
        f"you lend {', '.join(statement['roles'])}{applications} of {statement['site']} to {statement['taker']}\n"
        f"  from {statement['starts']} to {statement['ends']}: {statement['reason']}\n"
        "  they act instead of you, never beside: what you propose or vote on yourself, they do not vote on for you"
    )
