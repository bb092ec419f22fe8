"""`orchestrator policy diff`: what two policies allow differently, in packets, in order and in people."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import exit_codes
from orchestrator.settings import inventory_path, policy_path, state_directory

if TYPE_CHECKING:
    from orchestrator.domain.policy_changes import Change, PolicyDifference
    from orchestrator.domain.rule_lists import Difference
    from orchestrator.wiring_policy import Read

RATIFIED = "ratified"


def add_verb(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `diff` to the verbs of `policy`."""
    verb = subparsers.add_parser(
        "diff",
        help="what two policies allow differently: reachability, order, people",
        description="A and B are folders of policy files, or `ratified` for what is in force. Default: ratified, and the files on disk.",
    )
    verb.add_argument("before", nargs="?", default=RATIFIED, metavar="A", help="the one before (default: ratified)")
    verb.add_argument("after", nargs="?", metavar="B", help="the one after (default $ORCHESTRATOR_POLICY)")
    verb.add_argument("--inventory", type=Path, metavar="FILE", help="the inventory of the folders (default $ORCHESTRATOR_INVENTORY)")
    verb.add_argument("--inventory-before", type=Path, metavar="FILE", help="the inventory of A, when it is another one")
    verb.add_argument("--rehearsal", action="store_true", help="folders with the rehearsal overlay (rehearsal.yaml)")
    verb.add_argument("--json", action="store_true", help="print one JSON object")
    verb.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit 0, whether or not something differs; 3 for files with findings, 4 when nothing is ratified."""
    from orchestrator.domain.policy_changes import between

    inventory = arguments.inventory or inventory_path()
    before = _read(arguments.before, arguments.inventory_before or inventory, arguments.rehearsal)
    after = _read(arguments.after or str(policy_path()), inventory, arguments.rehearsal)
    difference = between((before.site, before.policy), (after.site, after.policy), before.signers, after.signers)
    if arguments.json:
        print(json.dumps(as_json(difference), ensure_ascii=False, indent=2))
    else:
        print("\n".join(lines(difference)))
    return exit_codes.OK


def _read(name: str, inventory: Path, rehearsal: bool) -> Read:
    from orchestrator.wiring_policy import read_files, read_ratified

    return read_ratified(state_directory()) if name == RATIFIED else read_files(state_directory(), inventory, Path(name), rehearsal)


def lines(difference: PolicyDifference) -> Iterator[str]:
    """For people: what becomes possible first, because that is what is voted on."""
    if not difference:
        yield "no difference: the same packets, the same order, the same people"
        return
    yield _verdict(difference)
    yield from _of_packets("all stages together", {"": difference.overall} if difference.overall else {})
    yield from _of_packets("stage by stage", difference.reachability)
    yield from _of_packets("on the devices, by another way", difference.devices)
    yield from _of_packets("through a cut", {f"{profile} on {device}": item for (profile, device), item in difference.cut.items()})
    for title, changes in (
        ("what a cut guards", difference.guards),
        ("order", difference.order),
        ("people", difference.people),
        ("keys", difference.keys),
        ("other", difference.other),
        ("inventory", difference.inventory),
    ):
        yield from _of_changes(title, changes)


def _verdict(difference: PolicyDifference) -> str:
    if difference.widens:
        packets = (difference.overall, *difference.cut.values(), *difference.devices.values())
        if any(item.appears for item in packets):
            return "IT WIDENS: packets become possible"
        return f"IT WIDENS: more passes by {', '.join(dict.fromkeys(change.place for change in difference.looser))}"
    if difference.inventory:
        return "it widens nothing that a stage or a cut lets pass; but the inventory describes another site: read what it says below"
    return "it widens nothing: no packet becomes possible"


def _of_packets(title: str, differences: Mapping[str, Difference]) -> Iterator[str]:
    if differences:
        yield f"\n{title}"
    for name, difference in differences.items():
        if name:
            yield f"  {name}"
        yield from (f"    {line}" for line in difference.describe())


def _of_changes(title: str, changes: Sequence[Change]) -> Iterator[str]:
    if changes:
        yield f"\n{title}"
    yield from (f"    {change.describe()}" for change in changes)


def as_json(difference: PolicyDifference) -> dict[str, Any]:
    """The same for programs."""
    return {
        "same": not difference,
        "widens": difference.widens,
        "overall": _packets(difference.overall),
        "stages": {name: _packets(item) for name, item in difference.reachability.items()},
        "cut": [{"profile": profile, "device": device, **_packets(item)} for (profile, device), item in difference.cut.items()],
        "devices": {name: _packets(item) for name, item in difference.devices.items()},
        **{
            title: [vars(change) for change in getattr(difference, title)]
            for title in ("guards", "looser", "order", "people", "keys", "other", "inventory")
        },
    }


def _packets(difference: Difference) -> dict[str, list[str]]:
    return {
        "appears": [box.describe() for box in difference.appears.summary()],
        "disappears": [box.describe() for box in difference.disappears.summary()],
    }
