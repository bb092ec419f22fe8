"""`orchestrator login`: a challenge of the server, signed with your SSH key, for a token of fifteen minutes."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.cli.client import Client, Json, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.signing import sign
from orchestrator.errors import UsageError

NAMESPACE = "orchestrator-login@v1"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("login", help="prove who you are with your SSH key", description=__doc__)
    add_options(parser)
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="your private key, or the public one of a key in your agent"
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    person = arguments.person
    if not person:
        raise UsageError("who are you?", advice="--as PERSON, as the policy names you")
    answer = log_in(Client(arguments), person, arguments.key)
    show(arguments, {"person": person, "expires": answer["expires"]}, f"logged in as {person} until {answer['expires']}")
    return OK


def log_in(client: Client, person: str, key: Path) -> Json:
    """Signs a new challenge and keeps the token; the server's answer."""
    challenge = client.post("/v1/login/challenge", {"person": person})["challenge"]
    answer: Json = client.post("/v1/login", {"person": person, "challenge": challenge, "signature": sign(key, NAMESPACE, challenge)})
    client.keep_token(person, answer["token"])
    return answer
