"""`orchestrator drift`: what the devices hold that the log does not say, in packets; repair it, or accept what lies beside.

Repairing never opens anything: it closes, and suspends what was approved and is not there. Exit 2 when something is found (after
a repair: when something is left).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK, PARTIAL

Json = dict[str, Any]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "drift", help="what the devices hold that the log does not say", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", metavar="DEVICE", help="of this one only")
    parser.add_argument("--repair", action="store_true", help="close what should not be open; suspend what was approved and is not there")
    add_options(parser)
    parser.set_defaults(func=run)
    verbs = parser.add_subparsers(dest="action", metavar="ACTION")
    accept = verbs.add_parser("accept", help="a change beside the layer is right: later ones are compared with it")
    accept.add_argument("of", metavar="DEVICE")
    accept.add_argument("section")
    accept.add_argument("--reason", required=True, metavar="TEXT")
    add_options(accept)
    accept.set_defaults(func=run_accept)


def run(arguments: argparse.Namespace) -> int:
    client = Client(arguments)
    if arguments.repair:
        answer = client.post("/v1/drift/repair", {"devices": [arguments.device]} if arguments.device else {})
        show(arguments, answer, "\n".join(_repaired(answer)))
        return OK if answer["done"] and not any(device["left"] for device in answer["devices"]) else PARTIAL
    answer = client.get("/v1/drift", **({"device": arguments.device} if arguments.device else {}))
    show(arguments, answer, "\n".join(_found(answer)))
    return PARTIAL if answer["drift"] else OK


def run_accept(arguments: argparse.Namespace) -> int:
    body = {"device": arguments.of, "section": arguments.section, "reason": arguments.reason}
    answer = Client(arguments).post("/v1/drift/accept", body)
    show(arguments, answer, f"{arguments.section} of {arguments.of}: accepted, and what later ones are compared with")
    return OK


def _found(answer: Json) -> Iterator[str]:
    if not answer["devices"]:
        yield "no device holds a layer"
    elif not answer["drift"]:
        yield f"{len(answer['devices'])} devices hold what the log says"
    for device in answer["devices"]:
        if not device["looked"]:
            yield f"{device['device']}: not read just now" + ("; found last:" if device["found"] else "")
        for item in device["found"]:
            yield from _lines(device["device"], item)


def _repaired(answer: Json) -> Iterator[str]:
    if not answer["done"]:
        yield "it waits for what runs now, and goes on: look again with `orchestrator drift`"
    elif not answer["devices"]:
        yield "there is nothing to repair"
    for device in answer["devices"]:
        for text in device["did"]:
            yield f"{device['device']}: {text}"
        for item in device["left"]:
            yield from _lines(f"{device['device']}, left", item)


def _lines(where: str, item: Json) -> Iterator[str]:
    more = "MORE than before" if item["section"] else "MORE than approved"
    weight = more if item["more"] else "changed" if item["section"] else "less, or to be looked at"
    yield f"{where}: {weight}: {item['text']} (since {item['since']})" + (f" [{item['section']}]" if item["section"] else "")
    yield from (f"  + {line}" for line in item["appears"])
    yield from (f"  - {line}" for line in item["disappears"])
    yield from (f"    {line}" for line in item["diff"])
