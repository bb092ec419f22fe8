"""`orchestrator block`: addresses that nothing is let through for, whatever is kept or opened.

`block ADDRESS… --reason TEXT` puts addresses or networks on the list, by one person and at once, also without a server.
`block list` shows it, with every device. `block remove ADDRESS… --reason TEXT` asks to take them off, `block grant ID` grants
another person's request: removing lets something through again, never more than is approved.
"""

from __future__ import annotations

import argparse
import time

from orchestrator.cli import exit_codes, without_server
from orchestrator.cli.client import Client, Json, add_options, show
from orchestrator.errors import UsageError

POLL_S = 0.5
WAITS_S = 60.0
ACTIONS = ("list", "remove", "grant")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("block", help="put addresses on the block list; list, remove", description=__doc__)
    add_options(parser)
    without_server.add_here(parser)
    parser.add_argument("words", nargs="+", metavar="ADDRESS", help="addresses or networks; or: list, remove ADDRESS…, grant ID")
    parser.add_argument("--reason", default="", metavar="TEXT")
    parser.add_argument("--until", metavar="TIME", help="for example 2026-07-01T12:00:00Z (default: until it is removed)")
    parser.add_argument("--although-vital", action="append", default=[], metavar="NAME", help="a partner whose flows are kept, by name")
    parser.add_argument(
        "--wait", type=float, default=WAITS_S, metavar="S", help=f"how long to wait for the devices (default {WAITS_S:.0f})"
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every device that keeps a list has it, 2 when one does not (yet)."""
    first, *rest = arguments.words
    if first not in ACTIONS:
        return _block(arguments, arguments.words)
    if first == "list" and rest:
        raise UsageError("`block list` shows all of it, and takes no address", advice="orchestrator block list")
    if first == "remove" and not arguments.reason.strip():
        raise UsageError("who asks to unblock says why", advice="--reason TEXT")
    client = Client(arguments)
    if first == "list":
        answer = client.get("/v1/blocks")
        asked = client.get("/v1/blocks/removals")
        show(arguments, {**answer, "removals": asked}, of_list(answer, asked))
        return exit_codes.OK
    if not rest:
        raise UsageError(f"block {first} what?", advice="block remove ADDRESS… --reason TEXT, or block grant ID")
    if first == "remove":
        answer = client.post("/v1/blocks/removals", {"networks": rest, "reason": arguments.reason})
        text = f"{answer['id']} asked for: {', '.join(answer['networks'])}\n  → another person: orchestrator block grant {answer['id']}"
        show(arguments, answer, text)
        return exit_codes.OK
    for name in rest:
        answer = client.post(f"/v1/blocks/removals/{name}/grant")
        show(arguments, answer, f"{answer['id']} granted: {', '.join(answer['networks'])} may pass again as approved")
    return exit_codes.OK


def _block(arguments: argparse.Namespace, networks: list[str]) -> int:
    if not arguments.reason.strip():
        raise UsageError("a block says its reason", advice="--reason TEXT")
    answer = without_server.order(arguments, lambda server: _asked(server, arguments, networks), lambda: _here(arguments, networks))
    made = answer["made"]
    takes = [f"  takes something from {one['flow']} with {one['partner']} ({one['stage']})" for one in made["takes"]]
    show(arguments, answer, "\n".join([f"{made['id']} blocked: {', '.join(made['networks'])}", *takes, *_devices(answer)]))
    return exit_codes.PARTIAL if any(device["state"] == "owed" for device in answer["devices"]) else exit_codes.OK


def _asked(client: Client, arguments: argparse.Namespace, networks: list[str]) -> Json:
    body = {"networks": networks, "reason": arguments.reason, "until": arguments.until, "although_vital": arguments.although_vital}
    answer: Json = client.post("/v1/blocks", body)
    made, end = answer["made"], time.monotonic() + arguments.wait
    while any(device["state"] == "owed" for device in answer["devices"]) and time.monotonic() < end:
        time.sleep(POLL_S)
        answer = client.get("/v1/blocks")
    return {**answer, "made": made}


def _here(arguments: argparse.Namespace, networks: list[str]) -> Json:
    from orchestrator.api.views_subtractions import block, blocks
    from orchestrator.domain.commands import BlockNetworks
    from orchestrator.service.reisolating import EMERGENCY

    stages, by = without_server.opened(arguments)
    vital = tuple(arguments.although_vital)
    command = BlockNetworks(EMERGENCY, tuple(networks), arguments.reason, arguments.until or "", by, vital)
    state = stages.reisolating.block(command)
    made = block(list(state.blocks.values())[-1])
    stages.reisolating.wait()
    for failure in stages.reisolating.failures:
        raise failure
    return {**blocks(stages, stages.journal.state()), "made": made}


def of_list(answer: Json, asked: list[Json]) -> str:
    lines = [
        f"{block['id']:<4} {', '.join(block['left'])} — {block['reason']} (by {block['by']}, {block['at']}"
        + (f", until {block['until']})" if block["until"] else ")")
        for block in answer["blocks"]
    ]
    lines += [
        f"{one['id']:<4} asked to be taken off by {one['requested_by']}: {', '.join(one['networks'])} — {one['reason']}"
        for one in asked
        if not one["granted_by"]
    ]
    return "\n".join([*(lines or ["nothing is blocked"]), *_devices(answer)])


def _devices(answer: Json) -> list[str]:
    lines = []
    if not answer["devices"]:
        lines.append("  no device holds a layer: nothing is stopped yet; the list goes where a layer is laid (orchestrator cutoff)")
    for device in answer["devices"]:
        detail = f": {device['detail']}" if device["detail"] else ""
        lines.append(f"  {device['device']:<12} {device['state']}{detail}")
    return lines
