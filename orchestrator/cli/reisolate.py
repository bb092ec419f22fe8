"""`orchestrator reisolate`: close a partner, an application, a zone or a flow again, now. One person, no votes: it only subtracts.

Everything open that it means is closed on every device and read back; what is being opened goes back; plans that include it
lose their votes; commands of before fail on the devices. What that takes from others, what stays and why, and what goes on
the block list is told. Without a server it acts on the state directory, as the cut-off does.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from orchestrator.cli import exit_codes, without_server
from orchestrator.cli.client import Client, Json, add_options, show

POLL_S = 0.5
WAITS_S = 60.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("reisolate", help="close a partner, application, zone or flow again, now", description=__doc__)
    add_options(parser)
    without_server.add_here(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    for name in ("partner", "application", "zone", "flow"):
        what.add_argument(f"--{name}", metavar="NAME")
    parser.add_argument("--reason", required=True, metavar="TEXT")
    parser.add_argument(
        "--although-vital", action="append", default=[], metavar="NAME", help="block this partner too, although a layer keeps its flows"
    )
    parser.add_argument(
        "--wait", type=float, default=WAITS_S, metavar="S", help=f"how long to wait for the devices (default {WAITS_S:.0f})"
    )
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when everything is read back closed and no probe passed, 2 when not (yet)."""
    what = next(name for name in ("partner", "application", "zone", "flow") if getattr(arguments, name))
    name = getattr(arguments, what)
    answer = without_server.order(arguments, lambda server: _asked(server, arguments, what, name), lambda: _here(arguments, what, name))
    show(arguments, answer, of_reisolation(answer))
    return exit_codes.OK if answer["done"] and not answer["leaks"] else exit_codes.PARTIAL


def _asked(client: Client, arguments: argparse.Namespace, what: str, name: str) -> Json:
    body = {"what": what, "name": name, "reason": arguments.reason, "although_vital": arguments.although_vital}
    answer: Json = client.post("/v1/reisolations", body)
    end = time.monotonic() + arguments.wait
    while not (answer["done"] and answer["checked"]) and time.monotonic() < end:
        time.sleep(POLL_S)
        answer = client.get(f"/v1/reisolations/{answer['id']}")
    return answer


def _here(arguments: argparse.Namespace, what: Any, name: str) -> Json:
    from orchestrator.api.views_subtractions import reisolation
    from orchestrator.domain.commands import Reisolate
    from orchestrator.service.reisolating import EMERGENCY

    stages, by = without_server.opened(arguments)
    vital = tuple(arguments.although_vital)
    _, made = stages.reisolating.order(Reisolate(EMERGENCY, what, name, arguments.reason, epoch=0, by=by, although_vital=vital))
    stages.reisolating.wait()
    stages.runner.wait()
    for failure in (*stages.reisolating.failures, *stages.runner.failures):
        raise failure
    state = stages.journal.state()
    return reisolation(stages, state, state.reisolations[made.id])


def of_reisolation(answer: Json) -> str:
    lines = ["REHEARSAL · EXERCICE"] if answer["rehearsal"] else []
    lines.append(f"{answer['id']}: {answer['what']} {answer['name']} isolated again by {answer['by']}, epoch {answer['epoch']}")
    for name, stage in answer["stages"].items():
        closed = ", ".join(f"{flow} with {partner}" for flow, partner in stage["conversations"]) or "all of it"
        lines.append(f"  {name} is {stage['state']}: {closed}")
    if not answer["stages"]:
        lines.append("  nothing of it was open, running or voted on")
    lines += [f"  takes something from {one['flow']} with {one['partner']} ({one['stage']}): {one['where']}" for one in answer["takes"]]
    lines += [f"  {note}" for note in answer["notes"]]
    if answer["block"]:
        lines.append(f"  blocked as {answer['block']['id']}: {', '.join(answer['block']['networks'])}")
    lines += [f"  owed      {device}: {detail or 'not read back yet'}" for device, detail in answer["owed"].items()]
    lines += [f"  open      {leak}" for leak in answer["leaks"]]
    end = "closed on every device" if answer["done"] else "NOT closed everywhere: it is tried again in the background"
    return "\n".join([*lines, f"{end}; probes: {answer['checked'] or 'not asked yet'}"])
