"""`make crash`: the orchestrator is killed (SIGKILL) at every point where it writes to the log or talks to a device.

    python -m benchmarks.crash [--only WORDS] [--sample N] [--simulated] [--real N]

Every point of the simulated hospital in the forms *just before*, *just after, its outcome lost*, and, of what is sent to a
device, *before, the command arriving after the recovery* (tests/crash); then at least 30 points of the real one. The last
line is `{"crash_points": N, "survived": N, "left_open": 0, "lost_events": 0, …}`; the exit code says whether all survived.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from tests.crash.campaign import campaign


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORDS", help="operations with these words in their name")
    parser.add_argument("--sample", type=int, metavar="N", help="so many simulated points only, always the same")
    args = parser.parse_args(arguments)
    started = time.monotonic()
    result = campaign(only=args.only, sample=args.sample, tell=lambda line: print(line, flush=True))
    print(
        json.dumps(
            {
                "crash_points": result.points,
                "survived": result.survived,
                "left_open": result.left_open,
                "lost_events": result.lost_events,
                "simulated": result.by_operation,
                "seconds": round(time.monotonic() - started),
            }
        )
    )
    return 0 if result.points == result.survived > 0 and not result.failures else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
