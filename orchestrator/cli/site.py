"""`orchestrator site`: what there is to see of the site, as the server knows it: one table each, or `--json`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.tables import table

# What is shown of each thing: (path, its options, columns).
SEEN: Mapping[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "posture": ("/v1/posture", "the posture, its epoch, what ends, what drifts", (), ()),
    "policy": ("/v1/policy", "what is ratified", (), ()),
    "devices": ("/v1/devices", "devices and what lies on them", (), ("device", "platform", "step", "since", "epoch", "slots")),
    "people": ("/v1/people", "people and their roles", (), ("person", "title", "roles", "owns")),
    "applications": ("/v1/applications", "applications and their flows", (), ("name", "zone", "owner", "criteria")),
    "partners": ("/v1/partners", "partners, whether they are ready", (), ("name", "kind", "zone", "ready", "attestation_state")),
    "flows": (
        "/v1/flows", "the flow matrix, with the state of each conversation", ("application", "partner"),
        ("name", "application", "direction", "services", "conversations"),
    ),
    "votes": ("/v1/votes", "votes on the plans that stand now", ("stage",), ("seq", "at", "stage", "person", "choice", "roles", "reason")),
    "checks": ("/v1/checks", "what probes answered", ("stage", "after", "limit"), ("seq", "at", "stage", "purpose", "verdict", "check")),
    "events": (
        "/v1/events", "the log, a page", ("type", "stage", "device", "actor", "after", "limit"),
        ("seq", "at", "type", "actor", "stage", "device"),
    ),
    "extensions": (
        "/v1/extensions", "later ends that were asked for", (), ("id", "stage", "until", "requested_by", "granted_by", "reason"),
    ),
    "reisolations": ("/v1/reisolations", "what was closed again", (), ("id", "at", "what", "name", "by", "done", "checked", "reason")),
    "reisolation": ("/v1/reisolations/{name}", "one of them, device by device", (), ()),
    "plan": ("/v1/stages/{name}/plan", "the plan of a stage, scripts included", (), ()),
    "health": ("/v1/health", "whether the server is well; needs no login", (), ()),
    "rules": ("/v1/rules", "every rule that refuses; needs no login", (), ()),
    "rule": ("/v1/rules/{name}", "one of them: what a refusal means; needs no login", (), ()),
}  # fmt: skip


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("site", help="what there is to see of the site", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="WHAT")
    for name, (path, help_, filters, _) in SEEN.items():
        verb = verbs.add_parser(name, help=help_)
        if "{name}" in path:
            verb.add_argument("name", metavar="NAME")
        for option in filters:
            verb.add_argument(f"--{option}", metavar="VALUE")
        add_options(verb)
        verb.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    path, _, filters, columns = SEEN[arguments.action]
    query = {name: getattr(arguments, name) for name in filters if getattr(arguments, name) is not None}
    answer = Client(arguments).get(path.format(name=quote(getattr(arguments, "name", ""), safe="")), **query)
    show(arguments, answer, text(answer, columns))
    return OK


def text(answer: Any, columns: tuple[str, ...]) -> str:
    """A list as a table, an object as `name  value` lines."""
    if isinstance(answer, dict) and isinstance(answer.get("events"), list):
        answer = answer["events"]
    if isinstance(answer, list):
        return table(answer, columns) or "none"
    return table([{"name": name, "value": value} for name, value in answer.items()], ("name", "value"), head=False)
