"""`orchestrator login`: prove who you are by signing a challenge with your SSH key; get a short-lived token."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

NAMESPACE = "orchestrator-login@v1"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from orchestrator.cli.client import add_connection

    parser = subparsers.add_parser("login", help="prove who you are with your SSH key", description=__doc__)
    add_connection(parser)
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="your SSH key (or its .pub, when the agent holds it)")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Exit 0 when logged in; 4 when the signature is refused."""
    from orchestrator.cli.client import Client, keep_token
    from orchestrator.cli.ssh_sign import sign
    from orchestrator.errors import UsageError

    if not args.person:
        raise UsageError("who are you?", advice="--as PERSON")
    client = Client(args)
    challenge = client.anonymous("/v1/login/challenge", {"person": args.person})["challenge"]
    signature = sign(args.key, NAMESPACE, challenge.encode())
    answer = client.anonymous("/v1/login", {"person": args.person, "challenge": challenge, "signature": signature})
    keep_token(args.person, answer.pop("token"))
    print(json.dumps(answer) if args.json else f"logged in as {args.person} until {answer.get('expires_at', 'the token ends')}")
    return 0
