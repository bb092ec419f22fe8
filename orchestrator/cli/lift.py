"""`orchestrator lift`: what lifting the layer makes possible, by name; accept a difference from the flow matrix, or take that back.

The lift itself is a stage of the policy: plan, vote and apply it with `orchestrator stage`.
"""

from __future__ import annotations

import argparse
from typing import Any

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("lift", help="what lifting the layer makes possible; accept differences", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    shown = verbs.add_parser("show", help="devices, guards, differences by name and what they answered last")
    add_options(shown)
    shown.set_defaults(func=run_show)
    for name, help_ in (("accept", "what passes there does not stop the lift"), ("withdraw", "take an acceptance back")):
        verb = verbs.add_parser(name, help=help_)
        verb.add_argument("names", nargs="+", metavar="NAME", help="a difference, or a pair of zones such as offices-to-internet")
        verb.add_argument("--reason", required=True, metavar="TEXT")
        add_options(verb)
        verb.set_defaults(func=run_decide)


def run_show(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/lift")
    show(arguments, answer, "\n".join(lines(answer)))
    return OK


def run_decide(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post(f"/v1/lift/{arguments.action}", {"names": arguments.names, "reason": arguments.reason})
    named = ", ".join(item["name"] for item in answer["accepted"]) or "none"
    show(arguments, answer, f"recorded; accepted now: {named}")
    return OK


def lines(answer: dict[str, Any]) -> list[str]:
    """Devices, what the plan names, then the differences: first those that passed and nobody has accepted."""
    told = [f"{answer['stage']}: {answer['state']}" + (f" ({answer['detail']})" if answer["detail"] else "")]
    told += [f"  {device}: {layer}" for device, layer in answer["devices"].items()]
    if plan := answer["plan"]:
        told += of_lift(plan)
    order = sorted(answer["differences"], key=lambda item: (item["accepted"] is not None, item["passed"] is not True, item["name"]))
    for item in order:
        passed = {True: "passed", False: "did not pass", None: "not asked yet"}[item["passed"]]
        by = item["accepted"]
        whether = f"accepted by {by['by']}: {by['reason']}" if by is not None else "not accepted"
        told.append(f"  {item['name']:<44} {passed:<14} {whether}")
    return told


def of_lift(plan: dict[str, Any]) -> list[str]:
    """What the plan of a lift names, for voters too."""
    told = [
        f"    beyond the matrix at {guard['device']} {guard['guard']}: {guard['boxes']} sets of packets, the site's own rules alone decide"
        for guard in plan["guards"]
        if guard["boxes"]
    ]
    told += [f"    left closed: {text}" for text in plan["deferred"]]
    told += [f"    waived: {text}" for text in plan["waivers"]]
    told += [f"    blocked until then: {name}" for name in plan["blocked"]]
    told += [f"    accepted: {item['name']} by {item['by']}: {item['reason']}" for item in plan["accepted"]]
    open_ = len(plan["differences"])
    told.append(f"    asked on live traffic beyond the matrix: {open_} differences (orchestrator lift show)")
    return [
        *told,
        *(f"    site rules of {item['device']}: sha256 {item['sha256'][:16]}… {item['reference']}" for item in plan["site_rules"]),
    ]
