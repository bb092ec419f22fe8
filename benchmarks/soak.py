"""`make soak`: 200 stages opened and closed on the rehearsal hospital by one server; nothing is left over, and memory is flat.

    python -m benchmarks.soak [--rounds N]

Measured after rounds 10, 50, 100, 150 and 200: processes, threads, descriptors, sessions on the devices, namespaces and files
must be after the last round what they were after the tenth; the server's memory may grow by at most 32 MiB from round 50 to
round 200 (the log's own share: its hashes are held in memory). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.real_site import real_site
from tests.crash.soak import MORE_THAN_THIS_KIB, soak

ROUNDS, WARM, FLAT_FROM = 200, 10, 50


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    rounds = parser.parse_args(arguments).rounds
    warm, flat_from = min(WARM, rounds // 2), min(FLAT_FROM, rounds // 2)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory, real_site(f"so{os.getpid() % 100000}", Path(directory), tell) as site:
        result = soak(site, rounds, {warm, flat_from, rounds, *range(FLAT_FROM, rounds, 50)}, tell)
    left, grown = result.left_over(warm), result.grown_kib(flat_from)
    print(
        json.dumps(
            {
                "stages": rounds,
                "left_over": {name: list(pair) for name, pair in left.items()},
                "rss_kib": {number: measured.rss_kib for number, measured in result.at.items()},
                "grown_kib": grown,
                "bound_kib": MORE_THAN_THIS_KIB,
                "measured": result.as_json(),
                "seconds": round(time.monotonic() - started),
            }
        )
    )
    return 0 if not left and grown <= MORE_THAN_THIS_KIB else 1


def tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
