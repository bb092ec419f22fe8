"""The live matrix: in the rehearsal hospital, every probe of the matrix (zone × zone × service, both families) before the
cut-off, after it and after each stage, compared with the computation.

    python -m benchmarks.live_matrix [--profile internet] [--profile total] [--stage P0-lifelines …] [--name mtx]

One hospital per profile; it is removed afterwards, whatever happens. The last line is one JSON object; the exit code is 1
when any answer disagrees, or when a hole that is made by hand goes unnoticed. Stages that this version cannot apply (dated
windows) are compared in the computation only, and named as such.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.lab.hospital import Hospital

ROOT = Path(__file__).parents[1]
INVENTORY, POLICY = ROOT / "inventory" / "valmont.yml", ROOT / "policies" / "valmont"
PROFILES = ("internet", "total")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--profile", action="append", metavar="NAME", help=f"cut with this profile (default: {', '.join(PROFILES)}, in turn)"
    )
    parser.add_argument("--stage", action="append", metavar="STAGE", help="open these stages only, in this order (default: all)")
    parser.add_argument("--name", default=f"mtx{os.getpid() % 100000}", help="the rehearsal hospital's name")
    chosen = parser.parse_args(arguments)
    found = {profile: live_matrix(chosen.name, profile, chosen.stage) for profile in chosen.profile or PROFILES}
    wrong = sum(result["disagreements"] for result in found.values())
    noticed = all(result["control"].get("exactly") for result in found.values())
    print(json.dumps({"disagreements": wrong, "hole_made_by_hand_noticed": noticed, "profiles": found}))
    return 0 if noticed and not wrong else 1


def live_matrix(name: str, profile: str, stages: Sequence[str] | None = None) -> dict[str, Any]:
    """One hospital, one cut-off, stage after stage. Raises RuntimeError when the story itself does not get through."""
    site = read_inventory(INVENTORY).site
    hospital = Hospital(site, name)
    started = time.monotonic()
    try:
        hospital.up()
        command = [*hospital.entering("admin"), sys.executable, "-m", "benchmarks.live_matrix_inside", name, profile, *(stages or ())]
        with subprocess.Popen(
            command, cwd=ROOT, env=_environment(hospital), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            last = ""
            try:
                for line in process.stdout:
                    print(last, end="", flush=True)
                    last = line
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise RuntimeError(f"the live matrix under {profile} ended with {process.returncode}: {last}")
        result: dict[str, Any] = json.loads(last)
        return {**result, "seconds": round(time.monotonic() - started, 1)}
    finally:
        hospital.down()


def _environment(hospital: Hospital) -> dict[str, str]:
    return {
        **os.environ,
        "ORCHESTRATOR_STATE": str(hospital.layout.state),
        "ORCHESTRATOR_INVENTORY": str(INVENTORY),
        "ORCHESTRATOR_POLICY": str(POLICY),
        "PYTHONUNBUFFERED": "1",
    }


if __name__ == "__main__":
    sys.exit(main())
