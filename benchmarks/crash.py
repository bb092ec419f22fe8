"""`make crash`: the orchestrator is killed (SIGKILL) at every point where it writes to the log or talks to a device.

    python -m benchmarks.crash [--only WORDS] [--sample N] [--real N] [--real-only]

Every point of the simulated hospital in the forms *just before*, *just after, its outcome lost*, and, of what is sent to a
device, *before, the command arriving after the recovery*; then so many points of the real one (30), chosen among all of them,
always the same, some of them *in the middle of it* (tests/crash). The last line is
`{"crash_points": N, "survived": N, "left_open": 0, "lost_events": 0, …}`; the exit code says whether all survived.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.campaign import Result, campaign
from tests.crash.real_deaths import RealDeaths, chosen
from tests.crash.real_site import real_site

REAL = 30
WAITS_EVERY = 6  # of so many real deaths, one is left alone until the confirm window is over


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="WORDS", help="simulated operations with these words in their name")
    parser.add_argument("--sample", type=int, metavar="N", help="so many simulated points only, always the same")
    parser.add_argument("--real", type=int, default=REAL, metavar="N", help="so many points of the real hospital (default: %(default)s)")
    parser.add_argument("--real-only", action="store_true", help="none of the simulated ones")
    args = parser.parse_args(arguments)
    started = time.monotonic()
    simulated = Result() if args.real_only else campaign(only=args.only, sample=args.sample, tell=tell)
    real = real_campaign(args.real) if args.real else Result()
    failures = simulated.failures + real.failures
    points, survived = simulated.points + real.points, simulated.survived + real.survived
    print(
        json.dumps(
            {
                "crash_points": points,
                "survived": survived,
                "left_open": simulated.left_open + real.left_open,
                "lost_events": simulated.lost_events + real.lost_events,
                "simulated_points": simulated.points,
                "real_points": real.points,
                "operations": {**simulated.by_operation, **real.by_operation},
                "seconds": round(time.monotonic() - started),
            }
        )
    )
    return 0 if points == survived > 0 and not failures else 1


def real_campaign(count: int) -> Result:
    """On a hospital of its own."""
    result = Result()
    with tempfile.TemporaryDirectory(prefix="crash-") as directory, real_site(f"cr{os.getpid() % 100000}", Path(directory), tell) as site:
        deaths = RealDeaths(site, tell)
        try:
            every = deaths.deaths()
            tell(f"{len(every):5} points of the real hospital; {count} of them:")
            for number, death in enumerate(chosen(every, count), start=1):
                began = time.monotonic()
                verdict = deaths.die(death, waits=number % WAITS_EVERY == 0)
                result.count(verdict)
                for line in verdict.lines():
                    tell(f"FAILED {line}")
                told = "survived" if verdict.survived else "FAILED"
                tell(f"{number:3} of {count} {told} in {time.monotonic() - began:.0f} s: {verdict.operation} · {verdict.point}")
        finally:
            deaths.stop()
    return result


def tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
