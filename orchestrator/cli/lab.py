"""`orchestrator lab`: the rehearsal hospital, for people."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import exit_codes

if TYPE_CHECKING:
    from orchestrator.lab.hospital import Hospital

INVENTORY = Path("inventory/valmont.yml")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("lab", help="the rehearsal hospital in network namespaces: up, down, status, shell")
    verbs = parser.add_subparsers(dest="lab_verb", required=True, metavar="VERB")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default="valmont", help="several hospitals can run at once under different names (default: %(default)s)")
    common.add_argument("--inventory", type=Path, default=INVENTORY, help="what to build (default: %(default)s)")
    common.add_argument("--lab-dir", type=Path, default=None, help="where its state lies (default: /run/orchestrator-lab/NAME)")
    for verb, about, function in (
        ("up", "build it, or repair what has died", _up),
        ("down", "remove it, also what a crash left", _down),
        ("status", "which nodes run", _status),
        ("shell", "a shell inside a node (`admin`: the orchestrator's place)", _shell),
        ("exec", "run a command inside a node", _exec),
        ("reboot", "power cycle a node: its running state is lost", _reboot),
    ):
        command = verbs.add_parser(verb, parents=[common], help=about, description=about)
        if verb in ("shell", "exec", "reboot"):
            command.add_argument("node")
        if verb == "exec":
            command.add_argument("words", nargs="+", metavar="-- COMMAND", help="the command and its arguments, after `--`")
        if verb == "status":
            command.add_argument("--json", action="store_true", help="for programs")
        command.set_defaults(func=function)


def hospital_of(args: argparse.Namespace) -> Hospital:
    """The hospital that the options name. Raises PolicyError (inventory), UsageError (name)."""
    from orchestrator.adapters.inventory_yaml import read_inventory
    from orchestrator.lab.hospital import Hospital

    return Hospital(read_inventory(args.inventory).site, args.name, args.lab_dir)


def _up(args: argparse.Namespace) -> int:
    hospital = hospital_of(args)
    started = time.monotonic()
    hospital.up(lambda line: print(f"{time.monotonic() - started:5.1f} s  {line}", flush=True))
    print(f"orchestrator's place: ip netns exec {hospital.layout.namespace('admin')} … · state: {hospital.directory}")
    return exit_codes.OK


def _down(args: argparse.Namespace) -> int:
    hospital = hospital_of(args)
    hospital.down()
    print(f"{hospital.name} is down")
    return exit_codes.OK


def _status(args: argparse.Namespace) -> int:
    status = hospital_of(args).status()
    if args.json:
        print(json.dumps(status))
    else:
        for name, node in status["nodes"].items():
            word = "ready" if node["ready"] else "starting" if node["running"] else "down"
            print(f"{name:<16} {word:<9} {node['management'] or '-'}")
        print(f"{status['name']}: {'up' if status['up'] else 'not up'} ({status['directory']})")
    return exit_codes.OK if status["up"] else exit_codes.PARTIAL


def _shell(args: argparse.Namespace) -> int:
    return _become(hospital_of(args), args.node, ["/bin/sh", "-l"])


def _exec(args: argparse.Namespace) -> int:
    return _become(hospital_of(args), args.node, args.words)


def _become(hospital: Hospital, node: str, argv: list[str]) -> int:
    words = [*hospital.entering(node), *argv]
    sys.stdout.flush()
    os.execvpe(words[0], words, {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"})


def _reboot(args: argparse.Namespace) -> int:
    hospital = hospital_of(args)
    hospital.reboot(args.node)
    print(f"{args.node} has rebooted")
    return exit_codes.OK
