"""`orchestrator demo`: the whole story, on real packets where the machine can, else on the simulated hospital.

Steps (the chapters that are printed):
 1 the hospital comes up                    5 people approve, stage after stage
 2 the policy is ratified                   6 who can reach the imaging portal now
 3 what was possible before                 7 the log is exported, verified; a tampered copy is refused
 4 one command cuts it off                  8 the summary: one JSON object, every value measured in this run
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from orchestrator.cli import exit_codes

STAGES = ("P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P3-outbound-mail", "P4-images")
PROFILE = "total"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("demo", help="the whole story, on the rehearsal hospital")
    parser.add_argument("--simulation", action="store_true", help="on the hospital in memory, even where the real one could run")
    parser.add_argument("--keep", action="store_true", help="leave the hospital up afterwards, to look around")
    parser.add_argument("--name", default=f"demo{os.getpid() % 100000}", help="the rehearsal hospital's name")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Exit 0 when every chapter went as it must; the last line printed is the summary."""
    from orchestrator.cli.demo_hospital import RealHospital, StoredSimulation, why_not_real
    from orchestrator.cli.demo_story import StoryBroken
    from orchestrator.cli.demo_telling import tell

    missing = why_not_real()
    if missing and not args.simulation:
        print(f"{missing[:1].upper()}{missing[1:]}.\nThe same story is told on the simulated hospital.", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    hospital = StoredSimulation(directory) if missing or args.simulation else RealHospital(args.name)
    try:
        print("\n── 1. The hospital comes up · L'hôpital démarre", flush=True)
        with hospital:
            summary = tell(hospital, directory, stages=STAGES, profile=PROFILE)
            if args.keep:
                print(f"\nLeft up: {hospital.how_to_visit()}")
                hospital.keep()
    except StoryBroken as broken:
        print(f"\nThe demo failed: {broken}", file=sys.stderr)
        return exit_codes.UNEXPECTED
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(summary))
    return exit_codes.OK
