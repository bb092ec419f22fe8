"""`orchestrator cutoff`: cuts the hospital off. The steps are those of `orchestrator.service.cutoff` and docs/cutoff.md."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.exit_codes import OK, PARTIAL
from orchestrator.cli.terminal import Terminal, ask_name, login_name, outlive_the_terminal, seconds_since_start
from orchestrator.settings import StateDirectory, state_directory

if TYPE_CHECKING:
    from orchestrator.service.cutoff_surroundings import Order, Surroundings

EPILOG = "exit codes: 0 cut off and verified · 2 cut off in part: see what is open · 3 bad input · 5 this machine lacks something"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("cutoff", help="cut the hospital off, now", description=__doc__, epilog=EPILOG)
    parser.add_argument("--profile", metavar="NAME", help="isolation profile (default: the one named in the ratified policy)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")
    parser.add_argument("--by", default="", metavar="NAME", help="who ordered it (default: asked afterwards at a terminal, else the login)")
    parser.add_argument("--dry-run", action="store_true", help="only say which live sessions would die, by application and destination")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output; progress on standard error")
    parser.add_argument("--state", default=argparse.SUPPRESS, metavar="DIR", help="state directory")
    parser.add_argument("--pack", type=Path, metavar="FILE", help="use this cut pack first (the stick in the safe)")
    parser.add_argument("--print-sheet", action="store_true", help="print the paper sheet for cutting by hand, and do nothing else")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when verified, 2 when partial. Raises InputError when there is nothing to cut with."""
    state = StateDirectory(Path(arguments.state)) if getattr(arguments, "state", None) else state_directory()
    started = time.monotonic() - seconds_since_start()
    if arguments.print_sheet:
        return _print_sheet(arguments, state)
    out = Terminal(sys.stdout)
    if not arguments.dry_run:
        outlive_the_terminal(Terminal(sys.stderr))

    from orchestrator.service.cutoff_surroundings import Order
    from orchestrator.wiring_cutoff import emergency_surroundings

    named = bool(arguments.by) or arguments.json
    around = emergency_surroundings(
        state, elapsed=lambda: time.monotonic() - started, pack=arguments.pack,
        ask_name=str if named else lambda: ask_name(out, login_name()),
    )  # fmt: skip
    order = Order(arguments.profile, arguments.reason, arguments.by or login_name())
    if arguments.dry_run:
        return _dry_run(arguments, order, around, out)

    from orchestrator.service.cutoff import Cutoff

    verdict = Cutoff(order, around, (Terminal(sys.stderr) if arguments.json else out).line).run()
    if arguments.json:
        out.line(json.dumps(verdict.as_json(), ensure_ascii=False))
    else:
        out.line("")
        for line in verdict.lines():
            out.line(line)
    return OK if verdict.verified else PARTIAL


def _dry_run(arguments: argparse.Namespace, order: Order, around: Surroundings, out: Terminal) -> int:
    from orchestrator.service.cutoff_dry_run import applications, dry_run
    from orchestrator.wiring_cutoff import policy_on_disk

    found = dry_run(order, around, applications(policy_on_disk()))
    for line in [json.dumps(found.as_json(), ensure_ascii=False)] if arguments.json else found.lines():
        out.line(line)
    return OK if not found.silent else PARTIAL


def _print_sheet(arguments: argparse.Namespace, state: StateDirectory) -> int:
    from orchestrator.service.cutoff_pack import chosen_profile, load_pack
    from orchestrator.service.cutoff_sheet import sheets
    from orchestrator.wiring_cutoff import emergency_surroundings

    around = emergency_surroundings(state, elapsed=float, pack=arguments.pack)
    pack = load_pack(around.candidates, verify=around.verify, render=around.render, profile=arguments.profile)
    profile = chosen_profile(pack.body, arguments.profile) if arguments.profile else None
    for warning in pack.warnings:
        Terminal(sys.stderr).line(f"warning: {warning}")
    sys.stdout.write(sheets(pack.body, profile))
    return OK
