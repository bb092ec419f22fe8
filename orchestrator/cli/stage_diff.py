"""`orchestrator stage diff`: a stage's plan against the one made now, or against what its devices hold."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from orchestrator.cli import exit_codes
from orchestrator.cli.client import Client, add_options, show


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `diff` to the actions of `stage`."""
    verb = verbs.add_parser("diff", help="its plan against the one made now, or against its devices")
    verb.add_argument("stage")
    verb.add_argument("--devices", action="store_true", help="read its devices back now, and compare what passes there")
    add_options(verb)
    verb.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit 0 when they are the same, 2 when something differs or cannot be told."""
    query = {"devices": "true"} if arguments.devices else {}
    answer = Client(arguments).get(f"/v1/stages/{arguments.stage}/difference", **query)
    show(arguments, answer, "\n".join(_lines(answer)))
    return exit_codes.OK if answer["same"] else exit_codes.PARTIAL


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    whole = "its devices hold exactly what the log says" if answer["against"] == "devices" else "the plan made now is the same"
    if answer["same"]:
        yield f"{answer['stage']}: {whole}"
    for device, boxes in answer["devices"].items():
        yield device
        yield from (f"  + {box}" for box in boxes["appears"])
        yield from (f"  - {box}" for box in boxes["disappears"])
    for device, why in answer["guards"].items():
        yield f"{device}: {why}"
    for device, why in answer["unknown"].items():
        yield f"{device}: {why}" if device else why
    if answer["text_moved"]:
        yield "the same packets pass, but it is not the same text: plan it again and vote again"
